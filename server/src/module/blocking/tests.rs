use crate::home::Limits;
use crate::play::{Person, Play};

const ALICE: &str = "alice@a.example";
const BOB: &str = "bob@a.example";

const UNAVAILABLE: &str = "<error type='cancel'>\
     <service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>";
const BLOCKED: &str = "<error type='cancel'>\
     <not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
     <blocked xmlns='urn:xmpp:blocking:errors'/></error>";

async fn block(person: &mut Person, jid: &str) {
    person
        .send(&format!(
            "<iq type='set' id='b'><block xmlns='urn:xmpp:blocking'><item jid='{jid}'/></block></iq>"
        ))
        .await;
    let to = person.jid.clone();
    person
        .gets(&format!("<iq type='result' id='b' to='{to}'/>"))
        .await;
}

/// Both see each other's presence; each has one session.
async fn friends(play: &Play) -> (Person, Person) {
    let mut alice = play.login("alice@a.example/1").await;
    let mut bob = play.login("bob@a.example/1").await;
    for (person, other) in [(&alice, BOB), (&bob, ALICE)] {
        person
            .send(&format!("<presence type='subscribe' to='{other}'/>"))
            .await;
    }
    for (person, other) in [(&alice, BOB), (&bob, ALICE)] {
        person
            .send(&format!("<presence type='subscribed' to='{other}'/>"))
            .await;
    }
    alice.forget().await;
    bob.forget().await;
    (alice, bob)
}

/// XEP-0191 §3.2, §3.3, §3.5, §3.6: the list, its changes, and who is told of them.
#[tokio::test]
async fn changes_are_pushed_to_who_has_asked_for_the_list() {
    let play = Play::of(&[ALICE]).await;
    let mut one = play.login("alice@a.example/1").await;
    let mut two = play.login("alice@a.example/2").await;
    one.forget().await;
    one.send("<iq type='get' id='l'><blocklist xmlns='urn:xmpp:blocking'/></iq>")
        .await;
    one.gets(
        "<iq type='result' id='l' to='alice@a.example/1'><blocklist xmlns='urn:xmpp:blocking'/></iq>",
    )
    .await;
    block(&mut two, "eve@b.example").await;
    one.gets(
        "<iq type='set' id='blocking-b' from='alice@a.example' to='alice@a.example/1'>\
         <block xmlns='urn:xmpp:blocking'><item jid='eve@b.example'/></block></iq>",
    )
    .await;
    two.gets_nothing().await;
    two.send("<iq type='get' id='l'><blocklist xmlns='urn:xmpp:blocking'/></iq>")
        .await;
    two.gets(
        "<iq type='result' id='l' to='alice@a.example/2'><blocklist xmlns='urn:xmpp:blocking'>\
         <item jid='eve@b.example'/></blocklist></iq>",
    )
    .await;
    two.send("<iq type='set' id='u'><unblock xmlns='urn:xmpp:blocking'/></iq>")
        .await;
    two.gets("<iq type='result' id='u' to='alice@a.example/2'/>")
        .await;
    for (person, to) in [
        (&mut one, "alice@a.example/1"),
        (&mut two, "alice@a.example/2"),
    ] {
        person
            .gets(&format!(
                "<iq type='set' id='blocking-u' from='alice@a.example' to='{to}'>\
                 <unblock xmlns='urn:xmpp:blocking'/></iq>"
            ))
            .await;
    }
    one.send("<message to='eve@b.example' id='m'><body>hi</body></message>")
        .await;
    one.gets_nothing().await;
}

/// XEP-0191 §3.3, §3.4: the blocked contact sees the account go, and reaches it no more.
#[tokio::test]
async fn a_blocked_contact_finds_nobody_there() {
    let play = Play::of(&[ALICE, BOB]).await;
    let (mut alice, mut bob) = friends(&play).await;
    block(&mut alice, BOB).await;
    bob.gets("<presence type='unavailable' from='alice@a.example/1' to='bob@a.example'/>")
        .await;
    for to in [ALICE, "alice@a.example/1"] {
        bob.send(&format!(
            "<message to='{to}' id='m' type='chat'><body>hi</body></message>"
        ))
        .await;
        bob.gets(&format!(
            "<message type='error' from='{to}' to='bob@a.example/1' id='m'>{UNAVAILABLE}</message>"
        ))
        .await;
        bob.send(&format!(
            "<iq type='get' to='{to}' id='q'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
        ))
        .await;
        bob.gets(&format!(
            "<iq type='error' from='{to}' to='bob@a.example/1' id='q'>{UNAVAILABLE}</iq>"
        ))
        .await;
    }
    bob.send("<presence to='alice@a.example/1'/>").await;
    bob.send("<presence><show>away</show></presence>").await;
    bob.forget().await;
    alice.send("<presence><show>dnd</show></presence>").await;
    alice
        .gets("<presence from='alice@a.example/1' to='alice@a.example'><show>dnd</show></presence>")
        .await;
    alice.gets_nothing().await;
    bob.gets_nothing().await;
}

/// XEP-0191 §3.4: nor does the account's own client reach whom it has blocked.
#[tokio::test]
async fn the_account_has_to_unblock_first() {
    let play = Play::of(&[ALICE]).await;
    let mut alice = play.login("alice@a.example/1").await;
    block(&mut alice, "eve@b.example").await;
    for (stanza, reply) in [
        (
            "<message to='eve@b.example/x' id='1'><body>hi</body></message>",
            "message",
        ),
        (
            "<iq type='get' to='eve@b.example/x' id='1'><ping xmlns='urn:xmpp:ping'/></iq>",
            "iq",
        ),
        ("<presence to='eve@b.example/x' id='1'/>", "presence"),
    ] {
        alice.send(stanza).await;
        alice
            .gets(&format!(
                "<{reply} type='error' from='eve@b.example/x' to='alice@a.example/1' id='1'>\
                 {BLOCKED}</{reply}>"
            ))
            .await;
    }
    play.sent_away(&[]);
    play.queued("b.example", &[]).await;
}

/// A whole domain, and one resource, of another server.
#[tokio::test]
async fn other_domains_are_blocked_over_streams_too() {
    let play = Play::of(&[ALICE]).await;
    let mut alice = play.login("alice@a.example/1").await;
    alice.send("<presence to='eve@b.example/phone'/>").await;
    alice.send("<presence to='mallory@d.example/x'/>").await;
    play.forget_away();
    block(&mut alice, "eve@b.example/phone").await;
    play.sent_away(&[
        "<presence type='unavailable' from='alice@a.example/1' to='eve@b.example/phone'/>",
    ]);
    block(&mut alice, "d.example").await;
    play.sent_away(&[
        "<presence type='unavailable' from='alice@a.example/1' to='mallory@d.example/x'/>",
    ]);
    for from in ["eve@b.example/phone", "mallory@d.example/x", "d.example"] {
        let domain = &from[from.find('@').map_or(0, |at| at + 1)..];
        let domain = domain.split('/').next().unwrap();
        play.arrives(&format!(
            "<message from='{from}' to='{ALICE}' id='m' type='chat'><body>x</body></message>"
        ))
        .await;
        play.queued(
            domain,
            &[&format!(
                "<message type='error' from='{ALICE}' to='{from}' id='m'>{UNAVAILABLE}</message>"
            )],
        )
        .await;
        play.arrives(&format!(
            "<presence from='{from}' to='{ALICE}' type='subscribe'/>"
        ))
        .await;
        play.arrives(&format!(
            "<presence from='{from}' to='{ALICE}' type='probe'/>"
        ))
        .await;
        play.arrives(&format!(
            "<message from='{from}' to='{ALICE}' type='error'/>"
        ))
        .await;
    }
    play.sent_away(&[]);
    alice.gets_nothing().await;
    // Another resource of the same person is none of it.
    play.arrives(
        "<message from='eve@b.example/desk' to='alice@a.example' type='chat'><body>x</body></message>",
    )
    .await;
    alice
        .gets("<message from='eve@b.example/desk' to='alice@a.example' type='chat'><body>x</body></message>")
        .await;
    // Nobody has asked to subscribe.
    let waiting = play
        .home
        .storage
        .subscription_requests(ALICE)
        .await
        .unwrap();
    assert!(waiting.is_empty());
}

/// XEP-0191 §3.5: the contact sees the account again, and the account the contact.
#[tokio::test]
async fn presence_comes_back_with_the_contact() {
    let play = Play::of(&[ALICE, BOB]).await;
    let (mut alice, mut bob) = friends(&play).await;
    block(&mut alice, "a.example").await;
    bob.forget().await;
    alice
        .send("<iq type='set' id='u'><unblock xmlns='urn:xmpp:blocking'><item jid='a.example'/></unblock></iq>")
        .await;
    alice
        .gets("<iq type='result' id='u' to='alice@a.example/1'/>")
        .await;
    bob.gets("<presence from='alice@a.example/1' to='bob@a.example'/>")
        .await;
    alice
        .gets("<presence from='bob@a.example/1' to='alice@a.example'/>")
        .await;
    alice.gets_nothing().await;
}

/// Whoever gives up a subscription does so, blocked or not: rosters agree afterwards.
#[tokio::test]
async fn subscriptions_can_be_given_up_by_who_is_blocked() {
    let play = Play::of(&[ALICE, BOB]).await;
    let (mut alice, mut bob) = friends(&play).await;
    block(&mut alice, BOB).await;
    bob.send(
        "<iq type='set' id='r'><query xmlns='jabber:iq:roster'>\
         <item jid='alice@a.example' subscription='remove'/></query></iq>",
    )
    .await;
    bob.forget().await;
    let left = play
        .home
        .storage
        .contact(ALICE, BOB)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(left.subscription, comity_storage::Subscription::None);
}

#[tokio::test]
async fn what_is_no_change_is_refused() {
    let limits = Limits {
        blocked: 2,
        ..Limits::default()
    };
    let play = Play::with(&[ALICE], limits).await;
    let mut alice = play.login("alice@a.example/1").await;
    for (change, kind, condition) in [
        (
            "<block xmlns='urn:xmpp:blocking'/>",
            "modify",
            "bad-request",
        ),
        (
            "<block xmlns='urn:xmpp:blocking'><item/></block>",
            "modify",
            "bad-request",
        ),
        (
            "<block xmlns='urn:xmpp:blocking'><jid jid='a@b'/></block>",
            "modify",
            "bad-request",
        ),
        (
            "<block xmlns='urn:xmpp:blocking'><item jid='@'/></block>",
            "modify",
            "jid-malformed",
        ),
        (
            "<unblock xmlns='urn:xmpp:blocking'><item jid='@'/></unblock>",
            "modify",
            "jid-malformed",
        ),
        (
            "<block xmlns='urn:xmpp:blocking'><item jid='alice@a.example'/></block>",
            "cancel",
            "not-allowed",
        ),
        (
            "<block xmlns='urn:xmpp:blocking'><item jid='a@b'/><item jid='c@b'/><item jid='d@b'/></block>",
            "wait",
            "resource-constraint",
        ),
    ] {
        alice
            .send(&format!("<iq type='set' id='x'>{change}</iq>"))
            .await;
        alice
            .gets(&format!(
                "<iq type='error' id='x' to='alice@a.example/1'><error type='{kind}'>\
                 <{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
            ))
            .await;
    }
    // Nobody else's list can be seen or changed.
    alice
        .send(
            "<iq type='get' id='x' to='bob@a.example'><blocklist xmlns='urn:xmpp:blocking'/></iq>",
        )
        .await;
    alice
        .gets(&format!(
            "<iq type='error' id='x' from='bob@a.example' to='alice@a.example/1'>{UNAVAILABLE}</iq>"
        ))
        .await;
}
