//! RFC 6121's own examples, between people of one domain and of two.

use crate::play::{Person, Play};

const ROMEO: &str = "romeo@a.example";
const JULIET: &str = "juliet@a.example";

#[tokio::test]
async fn a_subscription_from_request_to_goodbye() {
    let play = Play::of(&[ROMEO, JULIET]).await;
    let mut romeo = play.login("romeo@a.example/orchard").await;
    let mut juliet = play.login("juliet@a.example/balcony").await;

    // §3.1.2: the request, and the push to the resource that has asked for the roster.
    romeo
        .send("<presence id='s1' to='juliet@a.example/balcony' type='subscribe'/>")
        .await;
    romeo
        .gets(
            "<iq type='set' from='romeo@a.example' to='romeo@a.example/orchard' id='roster-1'>
             <query xmlns='jabber:iq:roster' ver='1'>\
             <item jid='juliet@a.example' subscription='none' ask='subscribe'/></query></iq>"
                .replace("\n             ", "")
                .as_str(),
        )
        .await;
    juliet
        .gets("<presence id='s1' from='romeo@a.example' to='juliet@a.example' type='subscribe'/>")
        .await;

    // §3.1.5, §3.1.6: agreed; he is told, and sees her from now on.
    juliet
        .send("<presence id='s2' to='romeo@a.example' type='subscribed'/>")
        .await;
    romeo
        .gets("<presence id='s2' from='juliet@a.example' to='romeo@a.example' type='subscribed'/>")
        .await;
    romeo
        .gets(&push(
            ROMEO,
            "orchard",
            2,
            "jid='juliet@a.example' subscription='to'",
        ))
        .await;
    juliet
        .gets(&push(
            JULIET,
            "balcony",
            1,
            "jid='romeo@a.example' subscription='from'",
        ))
        .await;
    romeo
        .gets("<presence from='juliet@a.example/balcony' to='romeo@a.example'/>")
        .await;

    // §3.2: she takes it back.
    juliet
        .send("<presence to='romeo@a.example' type='unsubscribed'/>")
        .await;
    romeo
        .gets("<presence from='juliet@a.example' to='romeo@a.example' type='unsubscribed'/>")
        .await;
    romeo
        .gets(&push(
            ROMEO,
            "orchard",
            3,
            "jid='juliet@a.example' subscription='none'",
        ))
        .await;
    juliet
        .gets(&push(
            JULIET,
            "balcony",
            2,
            "jid='romeo@a.example' subscription='none'",
        ))
        .await;
    romeo
        .gets("<presence from='juliet@a.example/balcony' to='romeo@a.example' type='unavailable'/>")
        .await;
    romeo.gets_nothing().await;
    juliet.gets_nothing().await;
}

fn push(account: &str, resource: &str, version: u64, item: &str) -> String {
    format!(
        "<iq type='set' from='{account}' to='{account}/{resource}' id='roster-{version}'>\
         <query xmlns='jabber:iq:roster' ver='{version}'><item {item}/></query></iq>"
    )
}

/// Both see each other.
async fn friends(play: &Play, one: &str, other: &str) {
    for (sender, receiver) in [(one, other), (other, one)] {
        let asking = play.bind(&format!("{sender}/asking")).await;
        let agreeing = play.bind(&format!("{receiver}/agreeing")).await;
        asking
            .send(&format!("<presence to='{receiver}' type='subscribe'/>"))
            .await;
        agreeing
            .send(&format!("<presence to='{sender}' type='subscribed'/>"))
            .await;
        asking.leaves(&[]).await;
        agreeing.leaves(&[]).await;
    }
}

#[tokio::test]
async fn a_request_waits_for_its_answer_at_every_login() {
    let play = Play::of(&[ROMEO, JULIET]).await;
    let romeo = play.login("romeo@a.example/orchard").await;
    romeo
        .send("<presence to='juliet@a.example' type='subscribe'><status>x</status></presence>")
        .await;
    let request = "<presence from='romeo@a.example' to='juliet@a.example' type='subscribe'>\
                   <status>x</status></presence>";
    for _ in 0..2 {
        let mut juliet = play.bind("juliet@a.example/balcony").await;
        juliet.send("<presence/>").await;
        juliet
            .gets("<presence from='juliet@a.example/balcony' to='juliet@a.example'/>")
            .await;
        juliet.gets(request).await;
        juliet.gets_nothing().await;
        juliet.leaves(&[]).await;
    }
    let juliet = play.login("juliet@a.example/balcony").await;
    juliet
        .send("<presence to='romeo@a.example' type='unsubscribed'/>")
        .await;
    let mut again = play.login("juliet@a.example/chamber").await;
    again.gets_nothing().await;
}

#[tokio::test]
async fn whoever_comes_and_goes_is_seen() {
    let play = Play::of(&[ROMEO, JULIET]).await;
    friends(&play, ROMEO, JULIET).await;
    let mut juliet = play.login("juliet@a.example/balcony").await;

    let mut romeo = play.bind("romeo@a.example/orchard").await;
    romeo.send("<presence><show>away</show></presence>").await;
    juliet
        .gets(
            "<presence from='romeo@a.example/orchard' to='juliet@a.example'>\
             <show>away</show></presence>",
        )
        .await;
    // §4.2.2: himself; §4.3: who is there.
    romeo
        .gets(
            "<presence from='romeo@a.example/orchard' to='romeo@a.example'>\
             <show>away</show></presence>",
        )
        .await;
    romeo
        .gets("<presence from='juliet@a.example/balcony' to='romeo@a.example/orchard'/>")
        .await;

    // A second resource of his: they see each other.
    let mut phone = play.bind("romeo@a.example/phone").await;
    phone
        .send("<presence><priority>-1</priority></presence>")
        .await;
    let there = "<presence from='romeo@a.example/phone' to='romeo@a.example'>\
                 <priority>-1</priority></presence>";
    romeo.gets(there).await;
    phone.gets(there).await;
    phone
        .gets(
            "<presence from='romeo@a.example/orchard' to='romeo@a.example/phone'>\
             <show>away</show></presence>",
        )
        .await;
    phone.forget().await;
    juliet.forget().await;

    // §4.5: said, and not said.
    phone
        .send("<presence type='unavailable'><status>bye</status></presence>")
        .await;
    for person in [&mut juliet, &mut romeo] {
        let to = person.jid.to_bare();
        person
            .gets(&format!(
                "<presence from='romeo@a.example/phone' to='{to}' type='unavailable'>\
                 <status>bye</status></presence>"
            ))
            .await;
    }
    romeo.leaves(&[]).await;
    juliet
        .gets("<presence from='romeo@a.example/orchard' to='juliet@a.example' type='unavailable'/>")
        .await;
    phone.leaves(&[]).await;
    juliet.gets_nothing().await;
}

#[tokio::test]
async fn a_bad_priority_is_refused() {
    let play = Play::of(&[ROMEO]).await;
    let mut romeo = play.bind("romeo@a.example/orchard").await;
    romeo
        .send("<presence id='p'><priority>128</priority></presence>")
        .await;
    romeo
        .gets(
            "<presence id='p' to='romeo@a.example/orchard' type='error'><error type='modify'>\
             <bad-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>",
        )
        .await;
}

#[tokio::test]
async fn directed_presence_ends_with_the_session() {
    let play = Play::of(&[ROMEO, JULIET]).await;
    let mut juliet = play.login("juliet@a.example/balcony").await;
    let romeo = play.login("romeo@a.example/orchard").await;
    romeo
        .send("<presence to='juliet@a.example/balcony'/>")
        .await;
    romeo
        .send("<presence to='room@muc.b.example/romeo'/>")
        .await;
    juliet
        .gets("<presence from='romeo@a.example/orchard' to='juliet@a.example/balcony'/>")
        .await;
    play.sent_away(&["<presence from='romeo@a.example/orchard' to='room@muc.b.example/romeo'/>"]);
    romeo.leaves(&[]).await;
    juliet
        .gets(
            "<presence from='romeo@a.example/orchard' to='juliet@a.example/balcony' \
             type='unavailable'/>",
        )
        .await;
    play.sent_away(&[
        "<presence from='romeo@a.example/orchard' to='room@muc.b.example/romeo' \
         type='unavailable'/>",
    ]);
    juliet.gets_nothing().await;
}

#[tokio::test]
async fn strangers_and_absent_accounts_look_alike_to_a_probe() {
    let play = Play::of(&[ROMEO]).await;
    let _romeo = play.login("romeo@a.example/orchard").await;
    for account in [ROMEO, "nobody@a.example"] {
        play.arrives(&format!(
            "<presence type='probe' from='x@b.example/y' to='{account}'/>"
        ))
        .await;
        play.queued(
            "b.example",
            &[&format!(
                "<presence type='unsubscribed' from='{account}' to='x@b.example'/>"
            )],
        )
        .await;
    }
    play.sent_away(&[]);
}

/// He and his contact at another domain see each other.
async fn with_his_nurse(play: &Play) -> Person {
    let mut romeo = play.login("romeo@a.example/orchard").await;
    romeo
        .send("<presence to='nurse@b.example' type='subscribe'/>")
        .await;
    play.queued(
        "b.example",
        &["<presence type='subscribe' from='romeo@a.example' to='nurse@b.example'/>"],
    )
    .await;
    romeo
        .gets(&push(
            ROMEO,
            "orchard",
            1,
            "jid='nurse@b.example' subscription='none' ask='subscribe'",
        ))
        .await;

    play.arrives("<presence type='subscribed' from='nurse@b.example' to='romeo@a.example'/>")
        .await;
    romeo
        .gets("<presence type='subscribed' from='nurse@b.example' to='romeo@a.example'/>")
        .await;
    romeo
        .gets(&push(
            ROMEO,
            "orchard",
            2,
            "jid='nurse@b.example' subscription='to'",
        ))
        .await;

    // She asks in turn; he agrees, and she sees what he is.
    play.arrives("<presence type='subscribe' from='nurse@b.example' to='romeo@a.example'/>")
        .await;
    romeo
        .gets("<presence type='subscribe' from='nurse@b.example' to='romeo@a.example'/>")
        .await;
    romeo
        .send("<presence to='nurse@b.example' type='subscribed'/>")
        .await;
    play.queued(
        "b.example",
        &["<presence type='subscribed' from='romeo@a.example' to='nurse@b.example'/>"],
    )
    .await;
    play.sent_away(&["<presence from='romeo@a.example/orchard' to='nurse@b.example'/>"]);
    romeo.forget().await;

    romeo
}

#[tokio::test]
async fn a_contact_of_another_domain() {
    let play = Play::of(&[ROMEO]).await;
    let mut romeo = with_his_nurse(&play).await;

    // Her presence, her probe, and her forgetting that she was subscribed.
    play.arrives("<presence from='nurse@b.example/hall' to='romeo@a.example'/>")
        .await;
    romeo
        .gets("<presence from='nurse@b.example/hall' to='romeo@a.example'/>")
        .await;
    play.arrives("<presence type='probe' from='nurse@b.example/hall' to='romeo@a.example'/>")
        .await;
    play.sent_away(&["<presence from='romeo@a.example/orchard' to='nurse@b.example/hall'/>"]);
    play.arrives("<presence type='subscribe' from='nurse@b.example' to='romeo@a.example'/>")
        .await;
    play.queued(
        "b.example",
        &["<presence type='subscribed' from='romeo@a.example' to='nurse@b.example'/>"],
    )
    .await;
    play.sent_away(&["<presence from='romeo@a.example/orchard' to='nurse@b.example'/>"]);
    romeo.gets_nothing().await;

    // At his next login she is told, and asked.
    let phone = play.bind("romeo@a.example/phone").await;
    phone.send("<presence/>").await;
    play.sent_away(&[
        "<presence from='romeo@a.example/phone' to='nurse@b.example'/>",
        "<presence from='romeo@a.example/phone' to='nurse@b.example' type='probe'/>",
    ]);

    // §2.5: out of the roster ends both.
    phone
        .send(
            "<iq type='set' id='r'><query xmlns='jabber:iq:roster'>\
             <item jid='nurse@b.example' subscription='remove'/></query></iq>",
        )
        .await;
    play.queued(
        "b.example",
        &[
            "<presence type='unsubscribe' from='romeo@a.example' to='nurse@b.example'/>",
            "<presence type='unsubscribed' from='romeo@a.example' to='nurse@b.example'/>",
        ],
    )
    .await;
}

/// §3.4.
#[tokio::test]
async fn agreement_beforehand() {
    let play = Play::of(&[ROMEO, JULIET]).await;
    let mut juliet = play.login("juliet@a.example/balcony").await;
    juliet
        .send("<presence to='romeo@a.example' type='subscribed'/>")
        .await;
    juliet
        .gets(&push(
            JULIET,
            "balcony",
            1,
            "jid='romeo@a.example' subscription='none' approved='true'",
        ))
        .await;
    let mut romeo = play.login("romeo@a.example/orchard").await;
    romeo
        .send("<presence to='juliet@a.example' type='subscribe'/>")
        .await;
    romeo
        .gets(&push(
            ROMEO,
            "orchard",
            1,
            "jid='juliet@a.example' subscription='none' ask='subscribe'",
        ))
        .await;
    romeo
        .gets("<presence from='juliet@a.example' to='romeo@a.example' type='subscribed'/>")
        .await;
    romeo
        .gets(&push(
            ROMEO,
            "orchard",
            2,
            "jid='juliet@a.example' subscription='to'",
        ))
        .await;
    romeo
        .gets("<presence from='juliet@a.example/balcony' to='romeo@a.example'/>")
        .await;
    juliet
        .gets(&push(
            JULIET,
            "balcony",
            2,
            "jid='romeo@a.example' subscription='from' approved='true'",
        ))
        .await;
    juliet.gets_nothing().await;
}

#[tokio::test]
async fn an_account_that_is_not_there_is_silent() {
    let play = Play::of(&[ROMEO]).await;
    play.arrives("<presence type='subscribe' from='x@b.example' to='nobody@a.example'/>")
        .await;
    play.arrives("<presence from='x@b.example/y' to='nobody@a.example'/>")
        .await;
    play.queued("b.example", &[]).await;
    play.sent_away(&[]);
}
