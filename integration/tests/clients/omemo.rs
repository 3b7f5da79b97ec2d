//! OMEMO (XEP-0384) by slixmpp-omemo: keys and lists of devices in nodes of XEP-0163, published with
//! options (XEP-0060 §7.1.5) that open them to everybody, and messages the server cannot read.

use integration::ordinary::Ordinary;
use integration::stage::{PASSWORD, Stage};
use serde_json::json;

const QUESTION: &str = "How camest thou hither, tell me, and wherefore?";
const ANSWER: &str = "With love's light wings did I o'er-perch these walls";

#[tokio::test]
async fn omemo_at_one_domain() {
    let stage = Stage::set("omemo-one", &["verona.example"]);
    love_talk(&stage, "juliet@verona.example", "romeo@verona.example").await;
}

#[tokio::test]
async fn omemo_between_two_domains() {
    let stage = Stage::set("omemo-two", &["capulet.example", "montague.example"]);
    love_talk(&stage, "juliet@capulet.example", "romeo@montague.example").await;
}

/// They are not in each other's rosters, so that their keys are found for being open.
async fn love_talk(stage: &Stage, juliet: &str, romeo: &str) {
    let mut lovers = Vec::new();
    for (jid, home) in [(juliet, stage.homes.first()), (romeo, stage.homes.last())] {
        let home = home.unwrap();
        home.add_account(jid, PASSWORD).unwrap();
        lovers
            .push(Ordinary::login_by("encrypting.py", jid, PASSWORD, home.c2s(), &home.ca()).await);
    }
    let [juliet, romeo] = &mut lovers[..] else {
        unreachable!("they are two")
    };
    encrypts(juliet, romeo, QUESTION).await;
    encrypts(romeo, juliet, ANSWER).await;
    // The second message of a conversation goes by keys that the first has made.
    encrypts(
        juliet,
        romeo,
        "By whose direction found'st thou out this place?",
    )
    .await;
}

async fn encrypts(who: &mut Ordinary, whom: &mut Ordinary, text: &str) {
    who.order(&json!({"do": "encrypt", "to": whom.jid(), "text": text}))
        .unwrap();
    let heard = json!({"event": "encrypted", "from": who.jid(), "text": text});
    whom.until(&heard).await;
    let trouble = who.already(&json!({"event": "error"}));
    assert_eq!(trouble, None);
}
