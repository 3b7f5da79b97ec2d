//! Requests: who answers what, and what nobody learns.

use crate::play::Play;

const ROMEO: &str = "romeo@a.example";
const JULIET: &str = "juliet@a.example";

const UNAVAILABLE: &str = "<error type='cancel'>\
     <service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>";

#[tokio::test]
async fn the_domain_answers_what_it_can() {
    let play = Play::of(&[ROMEO]).await;
    let mut romeo = play.login("romeo@a.example/orchard").await;
    romeo
        .send("<iq type='get' id='1' to='a.example'><ping xmlns='urn:xmpp:ping'/></iq>")
        .await;
    romeo
        .gets("<iq type='result' id='1' from='a.example' to='romeo@a.example/orchard'/>")
        .await;
    romeo
        .send("<iq type='get' id='2'><ping xmlns='urn:xmpp:ping'/></iq>")
        .await;
    romeo
        .gets("<iq type='result' id='2' to='romeo@a.example/orchard'/>")
        .await;
    romeo
        .send(
            "<iq type='set' id='3'>\
             <session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>",
        )
        .await;
    romeo
        .gets("<iq type='result' id='3' to='romeo@a.example/orchard'/>")
        .await;
    romeo
        .send(
            "<iq type='get' id='4' to='a.example'>\
             <query xmlns='http://jabber.org/protocol/disco#items'/></iq>",
        )
        .await;
    romeo
        .gets(
            "<iq type='result' id='4' from='a.example' to='romeo@a.example/orchard'>\
             <query xmlns='http://jabber.org/protocol/disco#items'/></iq>",
        )
        .await;
    play.arrives(
        "<iq type='get' id='5' from='b.example' to='a.example'><ping xmlns='urn:xmpp:ping'/></iq>",
    )
    .await;
    play.sent_away(&["<iq type='result' id='5' from='a.example' to='b.example'/>"]);
}

/// The same answer whether the account exists, is away, or gives nothing to this requester.
#[tokio::test]
async fn strangers_learn_nothing() {
    let play = Play::of(&[ROMEO, JULIET]).await;
    let mut romeo = play.login("romeo@a.example/orchard").await;
    let payloads = [
        "<query xmlns='http://jabber.org/protocol/disco#info'/>",
        "<query xmlns='http://jabber.org/protocol/disco#items'/>",
        "<query xmlns='jabber:iq:roster'/>",
        "<ping xmlns='urn:xmpp:ping'/>",
        "<anything xmlns='urn:example'/>",
    ];
    for payload in payloads {
        for to in [
            JULIET,
            "juliet@a.example/gone",
            "nobody@a.example",
            "nobody@a.example/x",
        ] {
            romeo
                .send(&format!("<iq type='get' id='q' to='{to}'>{payload}</iq>"))
                .await;
            romeo
                .gets(&format!(
                    "<iq type='error' id='q' from='{to}' to='romeo@a.example/orchard'>\
                     {UNAVAILABLE}</iq>"
                ))
                .await;
        }
    }
}

#[tokio::test]
async fn clients_ask_each_other() {
    let play = Play::of(&[ROMEO, JULIET]).await;
    let mut romeo = play.login("romeo@a.example/orchard").await;
    let mut juliet = play.login("juliet@a.example/balcony").await;
    let question = |from: &str| {
        format!(
            "<iq type='get' id='v' {from}to='juliet@a.example/balcony'>\
             <query xmlns='jabber:iq:version'/></iq>"
        )
    };
    romeo.send(&question("")).await;
    juliet
        .gets(&question("from='romeo@a.example/orchard' "))
        .await;
    juliet
        .send("<iq type='result' id='v' to='romeo@a.example/orchard'/>")
        .await;
    romeo
        .gets(
            "<iq type='result' id='v' from='juliet@a.example/balcony' \
             to='romeo@a.example/orchard'/>",
        )
        .await;
    // Asked, and gone without an answer.
    let asked = question("from='romeo@a.example/orchard' ");
    juliet.leaves(&[&asked]).await;
    romeo
        .gets(&format!(
            "<iq type='error' id='v' from='juliet@a.example/balcony' \
             to='romeo@a.example/orchard'>{UNAVAILABLE}</iq>"
        ))
        .await;
}

#[tokio::test]
async fn requests_to_other_domains_are_sent_and_not_kept() {
    let play = Play::of(&[ROMEO]).await;
    let romeo = play.login("romeo@a.example/orchard").await;
    romeo
        .send("<iq type='get' id='1' to='b.example'><ping xmlns='urn:xmpp:ping'/></iq>")
        .await;
    play.sent_away(&[
        "<iq type='get' id='1' from='romeo@a.example/orchard' to='b.example'>\
         <ping xmlns='urn:xmpp:ping'/></iq>",
    ]);
    play.queued("b.example", &[]).await;
}

/// What a client says of its device is taken out; a session that has proved none has none.
#[tokio::test]
async fn room_requests_bear_the_proven_device_only() {
    let play = Play::of(&[ROMEO]).await;
    let romeo = play.login("romeo@a.example/orchard").await;
    let device = uuid::Uuid::from_u128(7);
    let request = |device: &str| {
        format!(
            "<iq type='get' id='1' from='romeo@a.example/orchard' to='~room@b.example'>\
             <info xmlns='urn:xmpp:mls:0:room'>{device}</info></iq>"
        )
    };
    let forged = request("<device id='00000000-0000-0000-0000-000000000009'/>");
    romeo.send(&forged).await;
    play.sent_away(&[&request("")]);
    play.home
        .sessions
        .with(&romeo.jid, |session| session.device = Some(device));
    romeo.send(&forged).await;
    play.sent_away(&[&request(&format!("<device id='{device}'/>"))]);
}

#[tokio::test]
async fn the_server_asks_and_believes_only_who_was_asked() {
    use comity_xmpp::element::Element;
    use comity_xmpp::jid::Jid;
    use comity_xmpp::stanza::IqType;

    let play = Play::of(&[]).await;
    let home = play.home.clone();
    let asking = tokio::spawn(async move {
        let payload = Element::new("urn:xmpp:ping", "ping");
        let (from, to) = (
            Jid::parse("a.example").unwrap(),
            Jid::parse("b.example").unwrap(),
        );
        crate::requests::ask(&home, from, to, IqType::Get, &payload).await
    });
    let id = loop {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        if let Some(id) = play.away.last_id() {
            break id;
        }
    };
    for from in ["x@b.example", "d.example", "b.example"] {
        assert!(!asking.is_finished());
        play.arrives(&format!(
            "<iq type='result' id='{id}' from='{from}' to='a.example'/>"
        ))
        .await;
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(asking.await.unwrap().is_ok());
}

/// RFC 6121 §2.1.6: nobody can put a contact into somebody else's list, here or elsewhere.
#[tokio::test]
async fn a_roster_push_of_a_client_goes_nowhere() {
    let play = Play::of(&[ROMEO, JULIET]).await;
    let mut romeo = play.login("romeo@a.example/orchard").await;
    let mut juliet = play.login("juliet@a.example/balcony").await;
    let push = "<query xmlns='jabber:iq:roster'><item jid='eve@b.example'/></query>";
    for to in [
        JULIET,
        "juliet@a.example/balcony",
        "nurse@b.example",
        "nurse@b.example/x",
    ] {
        romeo
            .send(&format!("<iq type='set' id='r' to='{to}'>{push}</iq>"))
            .await;
        romeo
            .gets(&format!(
                "<iq type='error' id='r' from='{to}' to='romeo@a.example/orchard'>{UNAVAILABLE}</iq>"
            ))
            .await;
    }
    play.arrives(&format!(
        "<iq type='set' id='r' from='eve@b.example/x' to='juliet@a.example/balcony'>{push}</iq>"
    ))
    .await;
    juliet.gets_nothing().await;
    play.sent_away(&[&format!(
        "<iq type='error' id='r' from='juliet@a.example/balcony' to='eve@b.example/x'>\
         {UNAVAILABLE}</iq>"
    )]);
}
