//! XEP-0163's story, between people of one domain and of two: Juliet's tune.

use std::time::Duration;

use comity_xmpp::ns;
use comity_xmpp::stanza::{IqType, Kind};

use crate::play::{Person, Play};

const ROMEO: &str = "romeo@a.example";
const JULIET: &str = "juliet@a.example";
const TUNE: &str = "http://jabber.org/protocol/tune";
const SOON: Duration = Duration::from_secs(10);

/// What a client that listens to tunes shows: the answer to disco#info, and its hash.
const INFO: &str = "<identity category='client' type='pc'/>\
    <feature var='http://jabber.org/protocol/tune+notify'/>";

fn ver() -> String {
    use base64::Engine as _;
    let text = "client/pc//<http://jabber.org/protocol/tune+notify<";
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(digest)
}

fn caps() -> String {
    format!(
        "<c xmlns='http://jabber.org/protocol/caps' hash='sha-256' node='urn:listener' ver='{}'/>",
        ver()
    )
}

fn answer(id: &str, to: &str, from: &str) -> String {
    format!(
        "<iq type='result' id='{id}' to='{to}' from='{from}'>\
         <query xmlns='http://jabber.org/protocol/disco#info' node='urn:listener#{}'>{INFO}</query>\
         </iq>",
        ver()
    )
}

fn publish(item: &str, options: &str) -> String {
    format!(
        "<iq type='set' id='p'><pubsub xmlns='http://jabber.org/protocol/pubsub'>\
         <publish node='{TUNE}'><item id='{item}'><tune xmlns='{TUNE}'><title>{item}</title></tune>\
         </item></publish>{options}</pubsub></iq>"
    )
}

fn options(fields: &[(&str, &str)]) -> String {
    let fields: String = fields
        .iter()
        .map(|(var, value)| format!("<field var='pubsub#{var}'><value>{value}</value></field>"))
        .collect();
    format!(
        "<publish-options><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' \
         type='hidden'><value>http://jabber.org/protocol/pubsub#publish-options</value></field>\
         {fields}</x></publish-options>"
    )
}

fn published(to: &str, item: &str) -> String {
    format!(
        "<iq type='result' id='p' to='{to}'><pubsub \
         xmlns='http://jabber.org/protocol/pubsub'><publish node='{TUNE}'><item id='{item}'/>\
         </publish></pubsub></iq>"
    )
}

fn event(from: &str, to: &str, item: &str) -> String {
    format!(
        "<message type='headline' from='{from}' to='{to}'><event \
         xmlns='http://jabber.org/protocol/pubsub#event'><items node='{TUNE}'><item id='{item}'>\
         <tune xmlns='{TUNE}'><title>{item}</title></tune></item></items></event></message>"
    )
}

fn items(id: &str, to: &str) -> String {
    format!(
        "<iq type='get' id='{id}' to='{to}'><pubsub xmlns='http://jabber.org/protocol/pubsub'>\
         <items node='{TUNE}'/></pubsub></iq>"
    )
}

/// The condition of the error that answers, and the application's own.
async fn refused(person: &mut Person) -> (String, String) {
    let found = person.next(SOON).await.expect("an answer");
    assert_eq!(found.kind, Kind::Iq(IqType::Error));
    let error = found.error().unwrap();
    let application = error.application.map(|element| element.name);
    (
        error.condition.as_str().to_owned(),
        application.unwrap_or_default(),
    )
}

/// A client that listens to tunes comes online; asked what it can, it says so.
async fn listens(play: &Play, jid: &str, known: bool) -> Person {
    let mut person = play.bind(jid).await;
    person
        .send(&format!("<presence>{}</presence>", caps()))
        .await;
    let mut asked = None;
    while let Some(found) = person.next(if known { SOON / 100 } else { SOON }).await {
        if found.has(ns::DISCO_INFO, "query") {
            asked = found.id.clone();
            break;
        }
    }
    assert_eq!(asked.is_none(), known, "a hash is asked about once");
    if let Some(id) = asked {
        let account = person.jid.to_bare();
        person
            .send(&answer(&id, account.as_str(), person.jid.as_str()))
            .await;
    }
    person
}

async fn friends(play: &Play) {
    for (sender, receiver) in [(ROMEO, JULIET), (JULIET, ROMEO)] {
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
async fn a_tune_reaches_those_who_listen() {
    let play = Play::of(&[ROMEO, JULIET]).await;
    friends(&play).await;
    let mut romeo = listens(&play, "romeo@a.example/orchard", false).await;
    romeo.forget().await;
    let mut deaf = play.login("romeo@a.example/deaf").await;
    let mut juliet = listens(&play, "juliet@a.example/balcony", true).await;
    juliet.forget().await;
    romeo.forget().await;
    deaf.forget().await;
    juliet.send(&publish("one", "")).await;
    juliet
        .gets(&published("juliet@a.example/balcony", "one"))
        .await;
    juliet
        .gets(&event(JULIET, "juliet@a.example/balcony", "one"))
        .await;
    romeo
        .gets(&event(JULIET, "romeo@a.example/orchard", "one"))
        .await;
    deaf.gets_nothing().await;
    // A second client of his learns the last item when it comes, whoever asked about its hash.
    let mut phone = play.bind("romeo@a.example/phone").await;
    phone
        .send(&format!("<presence>{}</presence>", caps()))
        .await;
    loop {
        let found = phone.next(SOON).await.expect("the last item");
        if found.has(ns::PUBSUB_EVENT, "event") {
            break;
        }
    }
    // He reads it, and she takes it back.
    deaf.forget().await;
    deaf.send(&items("i", JULIET)).await;
    let found = deaf.next(SOON).await.unwrap();
    let content = found.child(ns::PUBSUB, "pubsub").unwrap();
    assert_eq!(
        content
            .child(ns::PUBSUB, "items")
            .unwrap()
            .elements()
            .count(),
        1
    );
    juliet
        .send(&format!(
            "<iq type='set' id='r'><pubsub xmlns='http://jabber.org/protocol/pubsub'>\
             <retract node='{TUNE}'><item id='one'/></retract></pubsub></iq>"
        ))
        .await;
    romeo.forget().await;
    deaf.send(&items("i", JULIET)).await;
    let found = deaf.next(SOON).await.unwrap();
    let content = found.child(ns::PUBSUB, "pubsub").unwrap();
    assert_eq!(
        content
            .child(ns::PUBSUB, "items")
            .unwrap()
            .elements()
            .count(),
        0
    );
}

#[tokio::test]
async fn a_listener_of_another_domain() {
    let play = Play::of(&[JULIET]).await;
    let mut juliet = play.login("juliet@a.example/balcony").await;
    juliet
        .send("<presence to='nurse@b.example' type='subscribed'/>")
        .await;
    play.arrives("<presence type='subscribe' from='nurse@b.example' to='juliet@a.example'/>")
        .await;
    juliet.forget().await;
    juliet.send(&publish("one", "")).await;
    juliet
        .gets(&published("juliet@a.example/balcony", "one"))
        .await;
    play.forget_away();
    let presence = format!(
        "<presence from='nurse@b.example/hall' to='juliet@a.example'>{}</presence>",
        caps()
    );
    play.arrives(&presence).await;
    let before = play.away.count();
    wait_for(&play, before + 1).await;
    let id = play.away.last_id().unwrap();
    play.forget_away();
    play.arrives(&answer(&id, JULIET, "nurse@b.example/hall"))
        .await;
    let told = |item: &str| event(JULIET, "nurse@b.example/hall", item);
    wait_for_row(&play).await;
    play.queued("b.example", &[&agreed(), &told("one")]).await;
    juliet.send(&publish("two", "")).await;
    play.queued("b.example", &[&told("two")]).await;
    // Seen again, nothing is new; gone, she is told no more.
    play.arrives(&presence).await;
    play.arrives(
        "<presence type='unavailable' from='nurse@b.example/hall' to='juliet@a.example'/>",
    )
    .await;
    juliet.send(&publish("three", "")).await;
    play.queued("b.example", &[]).await;
}

/// Whoever shows herself before she is let in is told once she is, if she is a contact.
#[tokio::test]
async fn a_listener_who_came_before_the_agreement() {
    for contact in [true, false] {
        let play = Play::of(&[JULIET]).await;
        let mut juliet = play.login("juliet@a.example/balcony").await;
        juliet.send(&publish("one", "")).await;
        if contact {
            juliet
                .send("<presence to='nurse@b.example' type='subscribe'/>")
                .await;
            play.arrives(
                "<presence type='subscribed' from='nurse@b.example' to='juliet@a.example'/>",
            )
            .await;
        }
        let presence = format!(
            "<presence from='nurse@b.example/hall' to='juliet@a.example'>{}</presence>",
            caps()
        );
        play.arrives(&presence).await;
        play.arrives("<presence type='subscribe' from='nurse@b.example' to='juliet@a.example'/>")
            .await;
        juliet.forget().await;
        let before = play.away.count();
        juliet
            .send("<presence to='nurse@b.example' type='subscribed'/>")
            .await;
        // Our presence, and the question what she wants to hear of.
        wait_for(&play, before + 1 + usize::from(contact)).await;
        if !contact {
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert_eq!(play.away.count(), before + 1);
            continue;
        }
        let id = play.away.last_id().unwrap();
        play.forget_away();
        play.arrives(&answer(&id, JULIET, "nurse@b.example/hall"))
            .await;
        let told = |item: &str| event(JULIET, "nurse@b.example/hall", item);
        wait_for_rows(&play, 3).await;
        let asked = "<presence type='subscribe' from='juliet@a.example' to='nurse@b.example'/>";
        play.queued("b.example", &[asked, &agreed(), &told("one")])
            .await;
        juliet.send(&publish("two", "")).await;
        play.queued("b.example", &[&told("two")]).await;
    }
}

fn agreed() -> String {
    "<presence type='subscribed' from='juliet@a.example' to='nurse@b.example'/>".to_owned()
}

async fn wait_for(play: &Play, count: usize) {
    for _ in 0..1000 {
        if play.away.count() >= count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("nothing was sent away");
}

async fn wait_for_row(play: &Play) {
    wait_for_rows(play, 2).await;
}

async fn wait_for_rows(play: &Play, count: usize) {
    for _ in 0..1000 {
        let rows = play.home.storage.outbox("b.example", 0, 10).await.unwrap();
        if rows.len() >= count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("nothing was queued");
}

#[tokio::test]
async fn strangers_learn_nothing_of_what_is_not_open() {
    let play = Play::of(&[ROMEO, JULIET]).await;
    let mut romeo = play.login("romeo@a.example/orchard").await;
    let required = (
        "not-authorized".to_owned(),
        "presence-subscription-required".to_owned(),
    );
    let juliet = play.login("juliet@a.example/balcony").await;
    for to in [JULIET, "nobody@a.example"] {
        romeo.send(&items("i", to)).await;
        assert_eq!(refused(&mut romeo).await, required, "{to}, before");
    }
    juliet
        .send(&publish("one", &options(&[("access_model", "whitelist")])))
        .await;
    romeo.send(&items("i", JULIET)).await;
    assert_eq!(refused(&mut romeo).await, required);
    let configure = format!(
        "<iq type='set' id='c'><pubsub xmlns='http://jabber.org/protocol/pubsub#owner'>\
         <configure node='{TUNE}'><x xmlns='jabber:x:data' type='submit'>\
         <field var='pubsub#access_model'><value>open</value></field></x></configure></pubsub></iq>"
    );
    juliet.send(&configure).await;
    romeo.send(&items("i", JULIET)).await;
    let found = romeo.next(SOON).await.unwrap();
    assert_eq!(found.kind, Kind::Iq(IqType::Result));
    // Others do not manage her nodes.
    romeo
        .send(&configure.replace("id='c'", "id='c' to='juliet@a.example'"))
        .await;
    assert_eq!(refused(&mut romeo).await.0, "forbidden");
}

#[tokio::test]
async fn a_publisher_states_what_it_expects() {
    let play = Play::of(&[JULIET]).await;
    let mut juliet = play.login("juliet@a.example/balcony").await;
    let whitelist = options(&[("access_model", "whitelist"), ("max_items", "max")]);
    juliet.send(&publish("one", &whitelist)).await;
    juliet
        .gets(&published("juliet@a.example/balcony", "one"))
        .await;
    juliet.send(&publish("two", &whitelist)).await;
    juliet
        .gets(&published("juliet@a.example/balcony", "two"))
        .await;
    let conflict = ("conflict".to_owned(), "precondition-not-met".to_owned());
    for other in [("access_model", "open"), ("telepathy", "1")] {
        juliet.send(&publish("three", &options(&[other]))).await;
        assert_eq!(refused(&mut juliet).await, conflict, "{other:?}");
    }
    let held = play
        .home
        .storage
        .pubsub_items(JULIET, TUNE, 9)
        .await
        .unwrap();
    assert_eq!(held.len(), 2);
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let play = Play::of(&[JULIET]).await;
    let mut juliet = play.login("juliet@a.example/balcony").await;
    for (request, condition, detail) in [
        ("<publish/>", "bad-request", "nodeid-required"),
        ("<publish node='n'/>", "bad-request", "item-required"),
        (
            "<publish node='n'><item/></publish>",
            "bad-request",
            "payload-required",
        ),
        (
            "<publish node='n'><item><a xmlns='x'/><b xmlns='x'/></item></publish>",
            "bad-request",
            "invalid-payload",
        ),
        (
            "<publish node='n'><item><a xmlns='x'/></item><item><a xmlns='x'/></item></publish>",
            "not-allowed",
            "max-items-exceeded",
        ),
        ("<retract node='n'/>", "bad-request", "item-required"),
        (
            "<retract node='n'><item id='1'/></retract>",
            "item-not-found",
            "",
        ),
        ("<subscribe node='n'/>", "bad-request", "jid-required"),
        (
            "<subscribe node='n' jid='x@b.example'/>",
            "bad-request",
            "invalid-jid",
        ),
        (
            "<unsubscribe node='n' jid='juliet@a.example'/>",
            "unexpected-request",
            "not-subscribed",
        ),
        (
            "<options node='n'/>",
            "feature-not-implemented",
            "unsupported",
        ),
        ("<telepathy/>", "bad-request", "invalid-payload"),
    ] {
        juliet
            .send(&format!(
                "<iq type='set' id='x'><pubsub xmlns='http://jabber.org/protocol/pubsub'>\
                 {request}</pubsub></iq>"
            ))
            .await;
        let expected = (condition.to_owned(), detail.to_owned());
        assert_eq!(refused(&mut juliet).await, expected, "{request}");
    }
    let large = "x".repeat(200_000);
    juliet
        .send(&publish("one", "").replace("<title>one", &format!("<title>{large}")))
        .await;
    assert_eq!(refused(&mut juliet).await.1, "payload-too-big");
}

#[tokio::test]
async fn the_owner_is_asked_and_lets_somebody_in() {
    let play = Play::of(&[ROMEO, JULIET]).await;
    let mut juliet = play.login("juliet@a.example/balcony").await;
    let mut romeo = play.login("romeo@a.example/orchard").await;
    juliet
        .send(&publish("one", &options(&[("access_model", "authorize")])))
        .await;
    juliet
        .gets(&published("juliet@a.example/balcony", "one"))
        .await;
    romeo
        .send(&format!(
            "<iq type='set' id='s' to='juliet@a.example'><pubsub \
             xmlns='http://jabber.org/protocol/pubsub'><subscribe node='{TUNE}' \
             jid='romeo@a.example'/></pubsub></iq>"
        ))
        .await;
    romeo
        .gets(&format!(
            "<iq type='result' id='s' from='juliet@a.example' to='romeo@a.example/orchard'>\
             <pubsub xmlns='http://jabber.org/protocol/pubsub'><subscription node='{TUNE}' \
             jid='romeo@a.example' subscription='pending'/></pubsub></iq>"
        ))
        .await;
    let request = juliet.next(SOON).await.unwrap();
    assert!(request.has(ns::DATA, "x"), "she is asked");
    juliet
        .send(&format!(
            "<message to='juliet@a.example'><x xmlns='jabber:x:data' type='submit'>\
             <field var='FORM_TYPE' type='hidden'><value>\
             http://jabber.org/protocol/pubsub#subscribe_authorization</value></field>\
             <field var='pubsub#node'><value>{TUNE}</value></field>\
             <field var='pubsub#subscriber_jid'><value>romeo@a.example</value></field>\
             <field var='pubsub#allow'><value>1</value></field></x></message>"
        ))
        .await;
    romeo
        .gets(&format!(
            "<message type='headline' from='juliet@a.example' to='romeo@a.example'><event \
             xmlns='http://jabber.org/protocol/pubsub#event'><subscription node='{TUNE}' \
             jid='romeo@a.example' subscription='subscribed'/></event></message>"
        ))
        .await;
    juliet.send(&publish("two", "")).await;
    romeo.gets(&event(JULIET, ROMEO, "two")).await;
}

#[tokio::test]
async fn nodes_are_discovered_by_who_may_read_them() {
    let play = Play::of(&[ROMEO, JULIET]).await;
    friends(&play).await;
    let mut juliet = play.login("juliet@a.example/balcony").await;
    let mut romeo = play.login("romeo@a.example/orchard").await;
    juliet.send(&publish("one", "")).await;
    romeo.forget().await;
    let ask = |ns: &str, node: &str| {
        format!("<iq type='get' id='d' to='juliet@a.example'><query xmlns='{ns}' {node}/></iq>")
    };
    romeo.send(&ask(ns::DISCO_ITEMS, "")).await;
    romeo
        .gets(&format!(
            "<iq type='result' id='d' from='juliet@a.example' to='romeo@a.example/orchard'>\
             <query xmlns='http://jabber.org/protocol/disco#items'>\
             <item jid='juliet@a.example' node='{TUNE}'/></query></iq>"
        ))
        .await;
    romeo
        .send(&ask(ns::DISCO_ITEMS, &format!("node='{TUNE}'")))
        .await;
    romeo
        .gets(&format!(
            "<iq type='result' id='d' from='juliet@a.example' to='romeo@a.example/orchard'>\
             <query xmlns='http://jabber.org/protocol/disco#items' node='{TUNE}'>\
             <item jid='juliet@a.example' name='one'/></query></iq>"
        ))
        .await;
    romeo.send(&ask(ns::DISCO_INFO, "node='urn:other'")).await;
    assert_eq!(refused(&mut romeo).await.0, "item-not-found");
    juliet.forget().await;
    juliet
        .send(&format!(
            "<iq type='set' id='a'><pubsub xmlns='http://jabber.org/protocol/pubsub#owner'>\
             <affiliations node='{TUNE}'><affiliation jid='romeo@a.example' \
             affiliation='outcast'/></affiliations></pubsub></iq>"
        ))
        .await;
    juliet.forget().await;
    romeo.send(&items("i", JULIET)).await;
    assert_eq!(refused(&mut romeo).await.0, "forbidden");
}

/// XEP-0490, XEP-0223: how far a conversation was read, for one's own clients and nobody else.
#[tokio::test]
async fn what_was_read_is_known_to_all_ones_clients() {
    const DISPLAYED: &str = "urn:xmpp:mds:displayed:0";
    let play = Play::of(&[ROMEO, JULIET]).await;
    friends(&play).await;
    let (mut balcony, mut chamber) = (
        play.login("juliet@a.example/balcony").await,
        play.login("juliet@a.example/chamber").await,
    );
    let mut romeo = play.login("romeo@a.example/orchard").await;
    for jid in [&chamber.jid, &romeo.jid] {
        let shown = crate::module::caps::Shown {
            hash: "sha-256".to_owned(),
            node: "urn:x".to_owned(),
            ver: "x".to_owned(),
        };
        let nodes = std::collections::HashSet::from([DISPLAYED.to_owned()]);
        let interests = (shown, std::sync::Arc::new(nodes));
        play.home
            .sessions
            .with(jid, |session| session.interests = Some(interests));
    }
    for person in [&mut balcony, &mut chamber, &mut romeo] {
        person.forget().await;
    }
    let displayed = "<displayed xmlns='urn:xmpp:mds:displayed:0'><stanza-id \
         xmlns='urn:xmpp:sid:0' by='juliet@a.example' id='42'/></displayed>";
    let private = options(&[
        ("persist_items", "true"),
        ("max_items", "max"),
        ("send_last_published_item", "never"),
        ("access_model", "whitelist"),
    ]);
    balcony
        .send(&format!(
            "<iq type='set' id='d'><pubsub xmlns='http://jabber.org/protocol/pubsub'>\
             <publish node='{DISPLAYED}'><item id='{ROMEO}'>{displayed}</item></publish>\
             {private}</pubsub></iq>"
        ))
        .await;
    chamber
        .gets(&format!(
            "<message type='headline' from='{JULIET}' to='juliet@a.example/chamber'><event \
             xmlns='http://jabber.org/protocol/pubsub#event'><items node='{DISPLAYED}'>\
             <item id='{ROMEO}'>{displayed}</item></items></event></message>"
        ))
        .await;
    romeo.gets_nothing().await;
    romeo
        .send(&format!(
            "<iq type='get' id='d' to='{JULIET}'><pubsub \
             xmlns='http://jabber.org/protocol/pubsub'><items node='{DISPLAYED}'/></pubsub></iq>"
        ))
        .await;
    let (condition, detail) = refused(&mut romeo).await;
    assert_eq!(
        (condition.as_str(), detail.as_str()),
        ("not-allowed", "closed-node")
    );
}
