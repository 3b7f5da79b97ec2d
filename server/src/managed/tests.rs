//! What is kept of a session says the same as what its client has counted.

use std::sync::Arc;
use std::time::Duration;

use comity_c2s::link::{Count, Manage, Server as _};
use comity_storage::{Form, RestoreSessions, RestoredSession};

use crate::play::{Person, Play, stanza};

const ROMEO: &str = "romeo@a.example";
const JULIET: &str = "juliet@a.example";

async fn manage(play: &Play, person: &Person, key: &str) {
    let queue = |session: &mut crate::sessions::Session| session.outbound.id();
    let manage = Manage {
        key: key.into(),
        resumable: true,
        first: 0,
        queue: play.home.sessions.with(&person.jid, queue).unwrap(),
    };
    assert!(play.home.manage(&person.jid, manage).await);
}

async fn say(person: &Person, to: &str, body: &str) {
    let message = format!("<message type='chat' to='{to}'><body>{body}</body></message>");
    person.send(&message).await;
}

/// What its client counts each message as, by its words.
async fn counted(person: &mut Person) -> Vec<(u32, String)> {
    let mut counted = Vec::new();
    let mut count = 0;
    while let Some(stanza) = person.next(Duration::from_millis(200)).await {
        count += 1;
        let text = String::from_utf8(stanza.payload().to_vec()).unwrap();
        if let Some((_, rest)) = text.split_once("<body>") {
            counted.push((count, rest.split_once('<').unwrap().0.to_owned()));
        }
    }
    counted
}

fn kept(session: &RestoredSession) -> Vec<(u32, String)> {
    let stanzas = session.stanzas.iter();
    stanzas
        .map(|kept| {
            let text = String::from_utf8(kept.stanza.clone()).unwrap();
            let (_, rest) = text.split_once("<body>").unwrap();
            let body = rest.split_once('<').unwrap().0.to_owned();
            (kept.said.unwrap(), body)
        })
        .collect()
}

async fn restored(play: &Play, key: &str) -> RestoredSession {
    let all = play.home.storage.write(RestoreSessions).await.unwrap();
    all.into_iter().find(|session| session.key == key).unwrap()
}

#[tokio::test]
async fn messages_are_kept_with_their_numbers() {
    let play = Play::of(&[ROMEO, JULIET]).await;
    let mut romeo = play.login("romeo@a.example/orchard").await;
    let mut phone = play.bind("romeo@a.example/phone").await;
    manage(&play, &phone, "phone").await;
    phone
        .send("<iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>")
        .await;
    for n in 0..70 {
        say(&romeo, JULIET, &format!("waited {n}")).await;
    }
    let mut juliet = play.bind("juliet@a.example/balcony").await;
    manage(&play, &juliet, "juliet").await;
    juliet.send("<presence/>").await;
    say(&romeo, JULIET, "while she is given those").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(play.home.storage.offline_count(JULIET).await.unwrap(), 0);
    romeo.send(&format!("<presence to='{JULIET}'/>")).await;
    say(&romeo, "juliet@a.example/balcony", "to her client").await;
    let typing = "<composing xmlns='http://jabber.org/protocol/chatstates'/>";
    let message = format!("<message type='chat' to='{JULIET}'>{typing}</message>");
    romeo.send(&message).await;
    say(&romeo, JULIET, "to her").await;
    play.arrives(
        "<message from='nurse@b.example' to='juliet@a.example'><body>from elsewhere</body>\
         </message>",
    )
    .await;
    romeo
        .send(&format!(
            "<message to='{JULIET}'><body>not archived</body>\
             <no-permanent-store xmlns='urn:xmpp:hints'/></message>"
        ))
        .await;
    let hers = counted(&mut juliet).await;
    assert_eq!(hers.len(), 75);
    let all = play.home.storage.write(RestoreSessions).await.unwrap();
    let of = |key: &str| all.iter().find(|session| session.key == key).unwrap();
    assert_eq!(kept(of("juliet")), hers);
    // What he has sent, for his other client; all but what carries no archived message.
    let his = counted(&mut phone).await;
    let his: Vec<_> = his
        .into_iter()
        .filter(|(_, body)| body != "not archived")
        .collect();
    assert_eq!(kept(of("phone")), his);
    assert!(
        of("phone")
            .stanzas
            .iter()
            .all(|kept| kept.form == Form::Sent)
    );
    romeo.forget().await;
}

#[tokio::test]
async fn counts_and_presence_are_kept_with_messages() {
    let play = Play::of(&[ROMEO, JULIET]).await;
    let romeo = play.bind("romeo@a.example/orchard").await;
    manage(&play, &romeo, "romeo").await;
    let key: Arc<str> = "romeo".into();
    let send = async |text: &str, h| {
        let mut stanza = stanza(text);
        stanza.from = Some(romeo.jid.clone());
        let count = Some(Count {
            key: Arc::clone(&key),
            h,
        });
        play.home.stanza(&romeo.jid, stanza, count).await
    };
    let priority = "<presence><priority>3</priority></presence>";
    assert_eq!(send(priority, 1).await, None);
    let body = format!("<message to='{JULIET}'><body>x</body></message>");
    assert_eq!(send(&body, 2).await, Some(2));
    let session = restored(&play, "romeo").await;
    assert_eq!(session.handled, 2);
    assert_eq!(session.state.priority, 3);
    assert!(session.state.presence.is_some());
    // One that nobody can be given is handled too.
    let nobody = "<message to='nobody@a.example'><body>x</body></message>";
    assert_eq!(send(nobody, 3).await, Some(3));
    assert_eq!(restored(&play, "romeo").await.handled, 3);
    let count = Count { key, h: 4 };
    assert!(play.home.keep(&romeo.jid, count).await);
    assert_eq!(restored(&play, "romeo").await.handled, 4);
}

/// Messages that followed one another are kept together, with the last of their counts; what is not
/// kept leaves in its turn.
#[tokio::test]
async fn messages_are_kept_together_and_leave_in_order() {
    let play = Play::of(&[ROMEO, JULIET]).await;
    let romeo = play.bind("romeo@a.example/orchard").await;
    manage(&play, &romeo, "romeo").await;
    let mut juliet = play.login("juliet@a.example/balcony").await;
    let key: Arc<str> = "romeo".into();
    let typing = "<composing xmlns='http://jabber.org/protocol/chatstates'/>";
    let messages: Vec<_> = ["<body>a</body>", "<body>b</body>", typing, "<body>c</body>"]
        .iter()
        .zip(1..)
        .map(|(content, h)| {
            let text = format!("<message type='chat' to='{JULIET}'>{content}</message>");
            let mut message = stanza(&text);
            message.from = Some(romeo.jid.clone());
            let count = Count {
                key: Arc::clone(&key),
                h,
            };
            (message, Some(count))
        })
        .collect();
    let said: Vec<_> = messages.iter().map(|(said, _)| said.clone()).collect();
    assert_eq!(play.home.messages(&romeo.jid, messages).await, Some(4));
    for said in said {
        let given = juliet
            .next(std::time::Duration::from_secs(5))
            .await
            .unwrap();
        let child = |stanza: &comity_xmpp::stanza::Stanza| stanza.element(&stanza.children()[0]);
        assert_eq!(child(&given), child(&said));
    }
    assert_eq!(restored(&play, "romeo").await.handled, 4);
}

/// What its client has is forgotten, and all of it with the session.
#[tokio::test]
async fn what_is_acknowledged_is_forgotten() {
    let play = Play::of(&[ROMEO, JULIET]).await;
    let romeo = play.login("romeo@a.example/orchard").await;
    let mut juliet = play.bind("juliet@a.example/balcony").await;
    manage(&play, &juliet, "juliet").await;
    juliet.send("<presence/>").await;
    for n in 0..3 {
        say(&romeo, JULIET, &n.to_string()).await;
    }
    let hers = counted(&mut juliet).await;
    let key: Arc<str> = "juliet".into();
    let (second, _) = hers[1];
    let more = usize::try_from(second).unwrap();
    play.home.acknowledged(&juliet.jid, &key, more);
    super::forget_acknowledged(&play.home).await;
    assert_eq!(kept(&restored(&play, "juliet").await), hers[2..]);
    let jid = juliet.jid.clone();
    play.home.unbind(&jid, Some(key), Vec::new()).await;
    let all = play.home.storage.write(RestoreSessions).await.unwrap();
    assert!(all.is_empty());
}
