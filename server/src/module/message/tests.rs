//! Messages to those who are there, to those who are not, and to those who have just gone.

use std::time::Duration;

use comity_s2s::link::Server;
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::ns;

use crate::deliver;
use crate::home::Limits;
use crate::play::{Play, stanza};

const ROMEO: &str = "romeo@a.example";
const JULIET: &str = "juliet@a.example";

fn chat(from: &str, to: &str, body: &str) -> String {
    format!("<message type='chat' from='{from}' to='{to}'><body>{body}</body></message>")
}

fn kept(body: &str) -> String {
    format!(
        "<message type='chat' from='romeo@a.example/orchard' to='juliet@a.example'>\
         <body>{body}</body><delay xmlns='urn:xmpp:delay' from='a.example' \
         stamp='2027-01-15T08:00:00.000Z'/></message>"
    )
}

const UNAVAILABLE: &str = "<error type='cancel'>\
     <service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>";

#[tokio::test]
async fn to_each_client_that_wants_messages() {
    let play = Play::of(&[ROMEO, JULIET]).await;
    let romeo = play.login("romeo@a.example/orchard").await;
    let mut balcony = play.login("juliet@a.example/balcony").await;
    let mut chamber = play.login("juliet@a.example/chamber").await;
    let mut quiet = play.bind("juliet@a.example/quiet").await;
    quiet
        .send("<presence><priority>-5</priority></presence>")
        .await;
    for person in [&mut balcony, &mut chamber, &mut quiet] {
        person.forget().await;
    }
    romeo
        .send("<message type='chat' to='juliet@a.example'><body>hi</body></message>")
        .await;
    let hi = chat("romeo@a.example/orchard", "juliet@a.example", "hi");
    balcony.gets(&hi).await;
    chamber.gets(&hi).await;
    quiet.gets_nothing().await;

    romeo
        .send("<message type='chat' to='juliet@a.example/quiet'><body>you</body></message>")
        .await;
    quiet
        .gets(&chat(
            "romeo@a.example/orchard",
            "juliet@a.example/quiet",
            "you",
        ))
        .await;
    balcony.gets_nothing().await;
}

#[tokio::test]
async fn kept_in_order_until_somebody_is_there() {
    let play = Play::of(&[ROMEO, JULIET]).await;
    let romeo = play.login("romeo@a.example/orchard").await;
    for n in 0..150 {
        romeo
            .send(&format!(
                "<message type='chat' to='juliet@a.example'><body>{n}</body></message>"
            ))
            .await;
    }
    play.clock.forward(Duration::from_secs(60));

    // §8.5.2.2.1: not to a client that wants no messages.
    let mut quiet = play.bind("juliet@a.example/quiet").await;
    quiet
        .send("<presence><priority>-1</priority></presence>")
        .await;
    quiet.forget().await;

    let mut juliet = play.bind_with("juliet@a.example/balcony", 8).await;
    juliet.send("<presence/>").await;
    // What is said meanwhile comes after what was kept.
    romeo
        .send("<message type='chat' to='juliet@a.example'><body>now</body></message>")
        .await;
    juliet
        .gets("<presence from='juliet@a.example/balcony' to='juliet@a.example'/>")
        .await;
    juliet
        .gets(
            "<presence from='juliet@a.example/quiet' to='juliet@a.example/balcony'>\
             <priority>-1</priority></presence>",
        )
        .await;
    for n in 0..150 {
        juliet.gets(&kept(&n.to_string())).await;
    }
    juliet
        .gets(&chat("romeo@a.example/orchard", "juliet@a.example", "now"))
        .await;
    juliet.leaves(&[]).await;
    let mut juliet = play.login("juliet@a.example/balcony").await;
    juliet.gets_nothing().await;
}

#[tokio::test]
async fn what_a_client_has_not_acknowledged_comes_again() {
    let play = Play::of(&[ROMEO, JULIET]).await;
    let juliet = play.login("juliet@a.example/balcony").await;
    let unacked = chat(
        "romeo@a.example/orchard",
        "juliet@a.example/balcony",
        "lost?",
    );
    juliet.leaves(&[&unacked]).await;
    let mut juliet = play.bind("juliet@a.example/chamber").await;
    juliet.send("<presence/>").await;
    juliet
        .gets("<presence from='juliet@a.example/chamber' to='juliet@a.example'/>")
        .await;
    juliet
        .gets(
            "<message type='chat' from='romeo@a.example/orchard' to='juliet@a.example/balcony'>\
             <body>lost?</body><delay xmlns='urn:xmpp:delay' from='a.example' \
             stamp='2027-01-15T08:00:00.000Z'/></message>",
        )
        .await;
    // With somebody else there, it goes there at once.
    let other = play.login("juliet@a.example/balcony").await;
    juliet.forget().await;
    let to_all = chat("romeo@a.example/orchard", "juliet@a.example", "had it");
    // She has been there longer than the other, and so has had what was for both.
    other.leaves(&[&unacked, &to_all]).await;
    juliet.gets(&unacked).await;
    juliet
        .gets(
            "<presence type='unavailable' from='juliet@a.example/balcony' to='juliet@a.example'/>",
        )
        .await;
    juliet.gets_nothing().await;
}

/// A client that has lost its connection comes back before the server has noticed.
#[tokio::test]
async fn a_session_gives_way_to_its_successor() {
    let play = Play::of(&[ROMEO, JULIET]).await;
    let romeo = play.login("romeo@a.example/orchard").await;
    let mut old = play.login("juliet@a.example/balcony").await;
    let mut new = play.login("juliet@a.example/balcony").await;
    old.is_thrown_out().await;
    let lost = chat("romeo@a.example/orchard", "juliet@a.example", "lost?");
    old.leaves(&[&lost]).await;
    new.gets(&lost).await;
    romeo
        .send("<message type='chat' to='juliet@a.example'><body>x</body></message>")
        .await;
    new.gets(&chat("romeo@a.example/orchard", "juliet@a.example", "x"))
        .await;
    new.leaves(&[]).await;
    assert!(play.home.sessions.with(&again_jid(), |_| ()).is_none());
}

fn again_jid() -> comity_xmpp::jid::Jid {
    "juliet@a.example/balcony".parse().unwrap()
}

#[tokio::test]
async fn a_session_that_went_unnoticed() {
    let play = Play::of(&[ROMEO, JULIET]).await;
    let mut romeo = play.login("romeo@a.example/orchard").await;
    let juliet = play.bind_with("juliet@a.example/balcony", 2).await;
    juliet.send("<presence/>").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    // Her queue holds her own presence and one message; nobody reads it.
    for n in 0..3 {
        romeo
            .send(&format!(
                "<message type='chat' to='juliet@a.example'><body>{n}</body></message>"
            ))
            .await;
    }
    juliet
        .leaves(&[&chat("romeo@a.example/orchard", "juliet@a.example", "0")])
        .await;
    let mut juliet = play.bind("juliet@a.example/chamber").await;
    juliet.send("<presence/>").await;
    juliet
        .gets("<presence from='juliet@a.example/chamber' to='juliet@a.example'/>")
        .await;
    for n in ["1", "2", "0"] {
        juliet.gets(&kept(n)).await;
    }
    romeo.gets_nothing().await;
}

/// Whether to keep a message is decided before it is kept; its recipient may come in between.
#[tokio::test]
async fn kept_for_somebody_who_has_just_come() {
    let play = Play::of(&[ROMEO, JULIET]).await;
    let mut juliet = play.login("juliet@a.example/balcony").await;
    for n in ["0", "1"] {
        let message = stanza(&chat("romeo@a.example/orchard", "juliet@a.example", n));
        let account = JULIET.parse().unwrap();
        let envelope = super::envelope(&message);
        let store = crate::route::Verdict::Store;
        let accepted = super::accept(
            &play.home,
            &account,
            message,
            super::AcceptMessage::default(),
            store,
        );
        let decision = accepted.with_copies(envelope, deliver::Deliveries::none());
        let deliveries = decision.carry_out(&play.home).await;
        deliver::deliver(&play.home, deliveries).await;
    }
    for n in ["0", "1"] {
        juliet.gets(&kept(n)).await;
    }
    juliet.leaves(&[]).await;
    assert_eq!(play.home.storage.offline_count(JULIET).await.unwrap(), 0);
}

/// She comes while he writes, at another moment each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_comes_once_and_in_order_to_somebody_who_comes() {
    const ALL: usize = 100;
    const ROUNDS: u64 = 15;
    let play = Play::of(&[ROMEO, JULIET]).await;
    let romeo = play.login("romeo@a.example/orchard").await;
    for round in 0..ROUNDS {
        let writing = async {
            for n in 0..ALL {
                let to = "<message type='chat' to='juliet@a.example'><body>";
                romeo.send(&format!("{to}{n}</body></message>")).await;
            }
        };
        let reading = async {
            tokio::time::sleep(Duration::from_micros(round * 1300)).await;
            let mut juliet = play.bind("juliet@a.example/balcony").await;
            juliet.send("<presence/>").await;
            let mut got = Vec::new();
            while got.len() < ALL
                && let Some(stanza) = juliet.next(Duration::from_secs(5)).await
            {
                let body = stanza.child(ns::CLIENT, "body");
                got.extend(body.map(|body| body.text().parse::<usize>().unwrap()));
            }
            juliet.leaves(&[]).await;
            got
        };
        let (got, ()) = tokio::join!(reading, writing);
        assert_eq!(got, (0..ALL).collect::<Vec<_>>(), "round {round}");
    }
}

#[tokio::test]
async fn nobody_and_a_full_store_look_alike() {
    let limits = Limits {
        offline_messages: 1,
        ..Limits::default()
    };
    let play = Play::with(&[ROMEO, JULIET], limits).await;
    let mut romeo = play.login("romeo@a.example/orchard").await;
    let to = |who: &str| format!("<message id='m' type='chat' to='{who}'><body>x</body></message>");
    romeo.send(&to(JULIET)).await;
    romeo.gets_nothing().await;
    for who in [JULIET, "nobody@a.example", "nobody@a.example/x"] {
        romeo.send(&to(who)).await;
        romeo
            .gets(&format!(
                "<message id='m' type='error' from='{who}' to='romeo@a.example/orchard'>\
                 {UNAVAILABLE}</message>"
            ))
            .await;
    }
}

#[tokio::test]
async fn errors_are_never_answered() {
    let play = Play::of(&[ROMEO]).await;
    let mut romeo = play.login("romeo@a.example/orchard").await;
    for to in [
        "nobody@a.example",
        "nobody@a.example/x",
        "a.example",
        "~room@a.example",
    ] {
        romeo
            .send(&format!(
                "<message type='error' to='{to}'>{UNAVAILABLE}</message>"
            ))
            .await;
        romeo
            .send(&format!(
                "<iq id='1' type='error' to='{to}'>{UNAVAILABLE}</iq>"
            ))
            .await;
        romeo
            .send(&format!("<iq id='1' type='result' to='{to}'/>"))
            .await;
    }
    romeo.gets_nothing().await;
}

#[tokio::test]
async fn between_domains_messages_wait_in_the_outbox() {
    let play = Play::of(&[ROMEO]).await;
    let mut romeo = play.login("romeo@a.example/orchard").await;
    romeo
        .send("<message type='chat' to='nurse@b.example'><body>x</body></message>")
        .await;
    play.queued(
        "b.example",
        &[&chat("romeo@a.example/orchard", "nurse@b.example", "x")],
    )
    .await;
    play.arrives(&chat("nurse@b.example/hall", "romeo@a.example", "y"))
        .await;
    romeo
        .gets(&chat("nurse@b.example/hall", "romeo@a.example", "y"))
        .await;
    // Nobody relays through us.
    play.arrives(&chat("nurse@b.example/hall", "x@d.example", "y"))
        .await;
    play.queued("d.example", &[]).await;
}

#[tokio::test]
async fn two_domains_of_one_process() {
    let play = Play::of(&[ROMEO, "paris@c.example"]).await;
    let romeo = play.login("romeo@a.example/orchard").await;
    let mut paris = play.login("paris@c.example/hall").await;
    romeo
        .send("<message type='chat' to='paris@c.example'><body>x</body></message>")
        .await;
    paris
        .gets(&chat("romeo@a.example/orchard", "paris@c.example", "x"))
        .await;
    play.sent_away(&[]);
}

#[tokio::test]
async fn what_waited_too_long_comes_back() {
    let play = Play::of(&[ROMEO]).await;
    let mut romeo = play.login("romeo@a.example/orchard").await;
    romeo
        .send("<message id='m' type='chat' to='nurse@b.example'><body>x</body></message>")
        .await;
    let expire = crate::module::outbox::MODULE.tick.unwrap().run;
    crate::deliver::deliver(&play.home, expire(play.home.clone()).await).await;
    romeo.gets_nothing().await;
    play.clock.forward(Duration::from_secs(4 * 24 * 3600));
    crate::deliver::deliver(&play.home, expire(play.home.clone()).await).await;
    romeo
        .gets(
            "<message id='m' type='error' from='nurse@b.example' to='romeo@a.example/orchard'>\
             <error type='wait'><remote-server-timeout \
             xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>",
        )
        .await;
    play.queued("b.example", &[]).await;
}

#[tokio::test]
async fn what_is_for_no_domain_comes_back_soon() {
    let play = Play::of(&[ROMEO]).await;
    let mut romeo = play.login("romeo@a.example/orchard").await;
    for domain in ["b.example", "misspelt.example"] {
        romeo
            .send(&format!(
                "<message id='m' type='chat' to='nurse@{domain}'><body>x</body></message>"
            ))
            .await;
    }
    *play.away.unknown.lock().unwrap() = vec!["misspelt.example".to_owned()];
    let expire = crate::module::outbox::MODULE.tick.unwrap().run;
    crate::deliver::deliver(&play.home, expire(play.home.clone()).await).await;
    romeo.gets_nothing().await;
    play.clock.forward(Duration::from_secs(6 * 60));
    crate::deliver::deliver(&play.home, expire(play.home.clone()).await).await;
    romeo
        .gets(
            "<message id='m' type='error' from='nurse@misspelt.example' \
             to='romeo@a.example/orchard'><error type='cancel'><remote-server-not-found \
             xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>",
        )
        .await;
    romeo.gets_nothing().await;
    play.queued("misspelt.example", &[]).await;
    assert_eq!(
        play.home.storage.outbox_length("b.example").await.unwrap(),
        1
    );
}

/// What cannot be sent to another domain comes back, but not as an answer to an error.
#[tokio::test]
async fn an_error_that_cannot_be_sent_is_not_answered() {
    let play = Play::of(&[ROMEO]).await;
    let mut romeo = play.login("romeo@a.example/orchard").await;
    let why = || StanzaError::new(ErrorType::Wait, StanzaCondition::RemoteServerTimeout);
    let sent = |name: &str, attributes: &str| {
        let text = format!(
            "<{name} {attributes} id='m' from='romeo@a.example/orchard' to='nurse@b.example'/>"
        );
        stanza(&text)
    };
    for (name, attributes) in [
        ("message", "type='error'"),
        ("iq", "type='error'"),
        ("iq", "type='result'"),
        ("presence", "type='error'"),
        ("presence", "type='unavailable'"),
        ("presence", "type='probe'"),
    ] {
        let stanza = sent(name, attributes);
        Server::undeliverable(&play.home, "b.example", stanza, why()).await;
    }
    romeo.gets_nothing().await;
    play.sent_away(&[]);
    let stanza = sent("message", "type='chat'");
    Server::undeliverable(&play.home, "b.example", stanza, why()).await;
    let back = romeo.next(std::time::Duration::from_secs(5)).await.unwrap();
    assert_eq!(back.error(), Some(why()));
}

/// Days later people are there by other sessions, or not there.
#[tokio::test]
async fn what_waited_too_long_comes_back_to_whoever_is_there_or_comes() {
    let play = Play::of(&[ROMEO, JULIET]).await;
    let lost = "<message id='m' type='chat' to='nurse@b.example'><body>x</body></message>";
    let back = |whom: &str, since: &str| {
        format!(
            "<message id='m' type='error' from='nurse@b.example' to='{whom}'>\
             <error type='wait'><remote-server-timeout \
             xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>{since}</message>"
        )
    };
    for who in ["romeo@a.example/orchard", "juliet@a.example/balcony"] {
        let person = play.login(who).await;
        person.send(lost).await;
        person.leaves(&[]).await;
    }
    let mut romeo = play.login("romeo@a.example/street").await;
    play.clock.forward(Duration::from_secs(4 * 24 * 3600));
    let expire = crate::module::outbox::MODULE.tick.unwrap().run;
    crate::deliver::deliver(&play.home, expire(play.home.clone()).await).await;
    romeo.gets(&back(ROMEO, "")).await;
    let mut juliet = play.bind("juliet@a.example/tomb").await;
    juliet.send("<presence/>").await;
    juliet
        .gets("<presence from='juliet@a.example/tomb' to='juliet@a.example'/>")
        .await;
    let since = "<delay xmlns='urn:xmpp:delay' from='a.example' stamp='2027-01-19T08:00:00.000Z'/>";
    juliet.gets(&back(JULIET, since)).await;
}
