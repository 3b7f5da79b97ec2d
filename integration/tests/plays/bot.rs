//! The example of the client library: a bot that joins an encrypted room and answers.

use std::process::{Child, Command, Stdio};

use comity_xmpp::jid::BareJid;
use integration::stage::{PASSWORD, Stage};

struct Bot(Child);

impl Drop for Bot {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(stage: &Stage) -> Bot {
    let home = &stage.homes[0];
    let password = stage.folder().join("bot.password");
    std::fs::write(&password, PASSWORD).unwrap();
    let mut bot = Command::new(integration::binary("examples/bot"));
    bot.arg(format!("bot@{}", home.domain()))
        .arg(password)
        .arg(stage.folder().join("bot"))
        .arg(home.c2s().to_string())
        .args(home.roots())
        .stdout(Stdio::null());
    Bot(bot.spawn().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_joins_and_answers() {
    let stage = Stage::set("bot", &["montague.example", "capulet.example"]);
    let mut juliet = stage.person(1, "juliet").await.unwrap();
    stage.homes[0].add_user("bot", PASSWORD).unwrap();
    let bot = start(&stage);
    let account = BareJid::parse("bot@montague.example").unwrap();
    let room = juliet.create_room("Nurse").await.unwrap();
    invite_when_there(&mut juliet, &room, &account).await;
    for words in ["Is he coming?", "Tell me"] {
        juliet.send(&room, words).await.unwrap();
        let answer = format!("you said: {words}");
        juliet.hears(&room, &answer).await.unwrap();
    }
    // It dies, and goes on where it was: what was answered is not answered again.
    drop(bot);
    juliet.send(&room, "Are you there?").await.unwrap();
    let _bot = start(&stage);
    juliet
        .hears(&room, "you said: Are you there?")
        .await
        .unwrap();
}

/// The bot has to enrol first, which takes it a moment.
async fn invite_when_there(
    juliet: &mut integration::person::Person,
    room: &BareJid,
    account: &BareJid,
) {
    use comity_client::agent::Update;
    use comity_mls_engine::{Event, What};
    for _ in 0..60 {
        let (at, accounts) = (room.clone(), vec![account.clone()]);
        let invite = juliet.verb(move |engine, now| engine.invite(&at, &accounts, now));
        invite.await.unwrap();
        let settled = juliet.until("the bot or why not", |update| match update {
            Update::Engine(Event::NotInvited { .. }) => Some(false),
            Update::Engine(Event::Item { item, .. }) => {
                matches!(item.what, What::Added(_)).then_some(true)
            }
            _ => None,
        });
        if settled.await.unwrap() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    panic!("the bot never came");
}
