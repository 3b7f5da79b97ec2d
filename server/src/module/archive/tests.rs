//! Two accounts talk; their clients look up what was said.

use std::time::Duration;

use comity_xmpp::element::Element;
use comity_xmpp::ns;
use comity_xmpp::stanza::Stanza;

use super::MODULE;
use crate::play::{Person, Play};

const ROMEO: &str = "romeo@a.example";
const JULIET: &str = "juliet@a.example";
const PATIENCE: Duration = Duration::from_secs(10);

/// A result: its id, and the forwarded message.
type Found = (String, Element);

async fn say(person: &Person, to: &str, inner: &str) {
    let message = format!("<message type='chat' to='{to}'>{inner}</message>");
    person.send(&message).await;
}

fn body(text: &str) -> String {
    format!("<body>{text}</body>")
}

fn field(var: &str, value: &str) -> String {
    format!("<field var='{var}'><value>{value}</value></field>")
}

fn form(fields: &str) -> String {
    let form_type = field("FORM_TYPE", ns::MAM);
    format!("<x xmlns='jabber:x:data' type='submit'>{form_type}{fields}</x>")
}

fn set(inner: &str) -> String {
    format!("<set xmlns='http://jabber.org/protocol/rsm'>{inner}</set>")
}

/// Asks; the results, and the answer behind them.
async fn ask(person: &mut Person, inner: &str) -> (Vec<Found>, Stanza) {
    person
        .send(&format!(
            "<iq type='set' id='q'><query xmlns='urn:xmpp:mam:2' queryid='f'>{inner}</query></iq>"
        ))
        .await;
    let mut found = Vec::new();
    loop {
        let stanza = person.next(PATIENCE).await.expect("an answer");
        let Some(result) = stanza.child(ns::MAM, "result") else {
            return (found, (*stanza).clone());
        };
        assert_eq!(result.attr("queryid"), Some("f"));
        let account = person.jid.to_bare();
        assert_eq!(stanza.from.as_ref(), Some(account.as_jid()));
        assert_eq!(stanza.to.as_ref(), Some(&person.jid));
        let forwarded = result.child(ns::FORWARD, "forwarded").unwrap();
        assert!(forwarded.child(ns::DELAY, "delay").is_some());
        let message = forwarded.child(ns::CLIENT, "message").unwrap();
        found.push((result.attr("id").unwrap().to_owned(), message.clone()));
    }
}

fn bodies(found: &[Found]) -> Vec<String> {
    let body = |message: &Element| message.child(ns::CLIENT, "body").map(Element::text);
    found
        .iter()
        .map(|(_, message)| body(message).unwrap_or_default())
        .collect()
}

/// The given id of a message for `account`, by its own server.
fn id_by(message: &Element, account: &str) -> Option<String> {
    let ids: Vec<_> = message
        .children_named(ns::SID, "stanza-id")
        .filter(|id| id.attr("by") == Some(account))
        .collect();
    assert!(ids.len() <= 1, "one id by {account}");
    ids.first()?.attr("id").map(str::to_owned)
}

fn given(stanza: &Stanza, account: &str) -> Option<String> {
    let ids: Vec<_> = stanza
        .children()
        .iter()
        .map(|child| stanza.element(child))
        .filter(|id| id.is(ns::SID, "stanza-id") && id.attr("by") == Some(account))
        .collect();
    assert!(ids.len() <= 1, "one id by {account}");
    ids.first()?.attr("id").map(str::to_owned)
}

/// What is said about earlier messages: XEP-0184, XEP-0333, XEP-0308, XEP-0444, XEP-0461, XEP-0424.
const ABOUT: &[(&str, &str)] = &[
    ("chat", "<received xmlns='urn:xmpp:receipts' id='m'/>"),
    ("normal", "<received xmlns='urn:xmpp:receipts' id='m'/>"),
    (
        "chat",
        "<displayed xmlns='urn:xmpp:chat-markers:0' id='m'/>",
    ),
    (
        "chat",
        "<body>art thou</body><replace xmlns='urn:xmpp:message-correct:0' id='m'/>",
    ),
    (
        "chat",
        "<reactions xmlns='urn:xmpp:reactions:0' id='m'><reaction>&#x1f339;</reaction></reactions>",
    ),
    (
        "chat",
        "<body>I</body><reply xmlns='urn:xmpp:reply:0' to='romeo@a.example' id='m'/>",
    ),
    (
        "chat",
        "<retract xmlns='urn:xmpp:message-retract:1' id='m'/>\
         <fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:message-retract:1'/>",
    ),
];

/// They reach the client that is meant, another of the same person and both archives, whole.
#[tokio::test]
async fn what_is_said_about_messages_is_of_the_conversation() {
    let play = Play::of(&[ROMEO, JULIET]).await;
    let mut balcony = play.login("juliet@a.example/balcony").await;
    let mut chamber = play.login("juliet@a.example/chamber").await;
    chamber
        .send("<iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>")
        .await;
    balcony.forget().await;
    chamber.forget().await;
    let mut romeo = play.login("romeo@a.example/orchard").await;
    let whole = |message: &Element, payload: &str| {
        let expected = format!("<message>{payload}</message>");
        let expected = crate::play::stanza(&expected);
        expected.children().iter().all(|child| {
            let child = expected.element(child);
            message
                .children_named(&child.ns, &child.name)
                .any(|found| *found == child)
        })
    };
    for (kind, payload) in ABOUT {
        let to = "juliet@a.example/balcony";
        romeo
            .send(&format!(
                "<message type='{kind}' to='{to}' id='x'>{payload}</message>"
            ))
            .await;
        let got = balcony.next(PATIENCE).await.unwrap();
        let mut message = Element::new(ns::CLIENT, "message");
        for child in got.children() {
            message.push(got.element(child));
        }
        assert!(whole(&message, payload), "{payload}");
        let copy = chamber.next(PATIENCE).await.unwrap();
        let copy = copy.child(ns::CARBONS, "received").unwrap();
        let copy = copy.child(ns::FORWARD, "forwarded").unwrap();
        let copy = copy.child(ns::CLIENT, "message").unwrap();
        assert!(whole(copy, payload), "{payload}");
    }
    for person in [&mut romeo, &mut chamber] {
        let (found, _) = ask(person, "").await;
        assert_eq!(found.len(), ABOUT.len());
        for ((_, message), (kind, payload)) in found.iter().zip(ABOUT) {
            assert!(whole(message, payload), "{payload}");
            assert_eq!(message.attr("type").unwrap_or("normal"), *kind);
        }
    }
}

/// A message, its copies, what is handed over later and what is looked up bear one name.
#[tokio::test]
async fn one_name_everywhere() {
    let play = Play::of(&[ROMEO, JULIET]).await;
    let mut orchard = play.login("romeo@a.example/orchard").await;
    let mut phone = play.login("romeo@a.example/phone").await;
    for person in [&mut orchard, &mut phone] {
        person
            .send("<iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>")
            .await;
        person.forget().await;
    }
    let forged = "<stanza-id xmlns='urn:xmpp:sid:0' by='juliet@a.example' id='forged'/>\
                  <stanza-id xmlns='urn:xmpp:sid:0' by='romeo@a.example' id='forged'/>\
                  <stanza-id xmlns='urn:xmpp:sid:0' by='room@b.example' id='theirs'/>\
                  <origin-id xmlns='urn:xmpp:sid:0' id='mine'/>";
    // Nobody is there: it waits.
    say(&orchard, JULIET, &format!("{}{forged}", body("a"))).await;
    let copy = phone.next(PATIENCE).await.unwrap();
    let sent = copy.child(ns::CARBONS, "sent").unwrap();
    let sent = sent.child(ns::FORWARD, "forwarded").unwrap();
    let sent = sent.child(ns::CLIENT, "message").unwrap();
    let of_romeo = id_by(sent, ROMEO).unwrap();
    assert_eq!(id_by(sent, JULIET), None);

    let mut juliet = play.bind("juliet@a.example/balcony").await;
    juliet.send("<presence/>").await;
    let own = juliet.next(PATIENCE).await.unwrap();
    assert!(!own.has(ns::CLIENT, "body"));
    let kept = juliet.next(PATIENCE).await.unwrap();
    let of_juliet = given(&kept, JULIET).unwrap();
    assert_ne!(of_juliet, "forged");
    assert_eq!(
        given(&kept, ROMEO),
        None,
        "what romeo's archive calls it is his"
    );
    assert_eq!(given(&kept, "room@b.example").as_deref(), Some("theirs"));
    assert!(kept.has(ns::SID, "origin-id"));

    let (found, answer) = ask(&mut juliet, "").await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].0, of_juliet);
    assert_eq!(id_by(&found[0].1, JULIET), Some(of_juliet));
    let fin = answer.child(ns::MAM, "fin").unwrap();
    assert_eq!(fin.attr("complete"), Some("true"));
    let (found, _) = ask(&mut orchard, "").await;
    assert_eq!(found[0].0, of_romeo);
    assert_eq!(bodies(&found), ["a"]);

    // To somebody who is there, and to oneself.
    say(&juliet, ROMEO, &body("b")).await;
    let live = orchard.next(PATIENCE).await.unwrap();
    let named = given(&live, ROMEO).unwrap();
    assert_eq!(
        given(&phone.next(PATIENCE).await.unwrap(), ROMEO).unwrap(),
        named
    );
    say(&orchard, ROMEO, &body("note")).await;
    orchard.forget().await;
    let (found, _) = ask(&mut orchard, "").await;
    assert_eq!(bodies(&found), ["a", "b", "note"]);
    assert_eq!(found[1].0, named);
}

/// Seven messages to two people, the last three an hour later; when that is.
async fn seven(play: &Play, romeo: &Person) -> String {
    let mut noon = String::new();
    for n in 0..7 {
        if n == 4 {
            play.clock.forward(Duration::from_secs(3600));
            noon = crate::time::stamp(play.home.now_ms());
        }
        let to = if n % 2 == 0 {
            JULIET
        } else {
            "nurse@b.example"
        };
        say(romeo, to, &body(&n.to_string())).await;
    }
    noon
}

#[tokio::test]
async fn pages_in_both_directions() {
    let play = Play::of(&[ROMEO, JULIET]).await;
    let mut romeo = play.login("romeo@a.example/orchard").await;
    let noon = seven(&play, &romeo).await;
    let max = |n: usize, inner: &str| set(&format!("<max>{n}</max>{inner}"));
    let (all, _) = ask(&mut romeo, "").await;
    assert_eq!(bodies(&all), ["0", "1", "2", "3", "4", "5", "6"]);
    let uid = |n: usize| all[n].0.clone();
    let after = |n| format!("<after>{}</after>", uid(n));
    let before = |n| format!("<before>{}</before>", uid(n));
    for (inner, expected, complete) in [
        (max(3, ""), &["0", "1", "2"] as &[_], false),
        (max(3, &after(2)), &["3", "4", "5"], false),
        (max(3, &after(3)), &["4", "5", "6"], true),
        (max(3, &after(6)), &[], true),
        (max(3, "<before/>"), &["4", "5", "6"], false),
        (max(3, &before(3)), &["0", "1", "2"], true),
        (max(3, &before(4)), &["1", "2", "3"], false),
        (max(0, ""), &[], false),
        (
            format!("{}<flip-page/>", max(3, "<before/>")),
            &["6", "5", "4"],
            false,
        ),
        (form(&field("with", JULIET)), &["0", "2", "4", "6"], true),
        (
            form(&field("with", "juliet@a.example/elsewhere")),
            &[],
            true,
        ),
        (form(&field("start", &noon)), &["4", "5", "6"], true),
        (
            form(&field("end", "2027-01-15T08:00:00Z")),
            &["0", "1", "2", "3"],
            true,
        ),
        (
            form(&(field("with", JULIET) + &field("start", &noon))),
            &["4", "6"],
            true,
        ),
        (
            form(&(field("after-id", &uid(1)) + &field("before-id", &uid(5)))),
            &["2", "3", "4"],
            true,
        ),
        (
            form(&field(
                "ids",
                &format!("{}</value><value>{}", uid(5), uid(2)),
            )),
            &["2", "5"],
            true,
        ),
    ] {
        let (found, answer) = ask(&mut romeo, &inner).await;
        assert_eq!(bodies(&found), expected, "{inner}");
        let fin = answer.child(ns::MAM, "fin").unwrap();
        assert_eq!(fin.attr("complete") == Some("true"), complete, "{inner}");
    }
}

#[tokio::test]
async fn who_comes_from_the_end_is_not_told_where_a_page_lies() {
    let play = Play::of(&[ROMEO, JULIET]).await;
    let mut romeo = play.login("romeo@a.example/orchard").await;
    seven(&play, &romeo).await;
    let (_, answer) = ask(&mut romeo, &set("<max>1</max><before/>")).await;
    let fin = answer.child(ns::MAM, "fin").unwrap();
    let first = fin
        .child(ns::RSM, "set")
        .unwrap()
        .child(ns::RSM, "first")
        .unwrap();
    assert_eq!(first.attr("index"), None);
}

#[tokio::test]
async fn where_a_page_lies_and_the_archive_ends() {
    let play = Play::of(&[ROMEO, JULIET]).await;
    let mut romeo = play.login("romeo@a.example/orchard").await;
    seven(&play, &romeo).await;
    let (all, _) = ask(&mut romeo, "").await;
    let uid = |n: usize| all[n].0.clone();
    let page = set(&format!("<max>2</max><after>{}</after>", uid(2)));
    let (_, answer) = ask(&mut romeo, &page).await;
    let fin = answer.child(ns::MAM, "fin").unwrap();
    let set = fin.child(ns::RSM, "set").unwrap();
    let text = |name| set.child(ns::RSM, name).map(Element::text);
    assert_eq!(text("first"), Some(uid(3)));
    assert_eq!(text("last"), Some(uid(4)));
    assert_eq!(text("count").as_deref(), Some("7"));
    let index = set.child(ns::RSM, "first").and_then(|f| f.attr("index"));
    assert_eq!(index, Some("3"));
    romeo
        .send("<iq type='get' id='m'><metadata xmlns='urn:xmpp:mam:2'/></iq>")
        .await;
    romeo
        .gets(&format!(
            "<iq type='result' id='m' to='romeo@a.example/orchard'>\
             <metadata xmlns='urn:xmpp:mam:2'>\
             <start id='{}' timestamp='2027-01-15T08:00:00.000Z'/>\
             <end id='{}' timestamp='2027-01-15T09:00:00.000Z'/></metadata></iq>",
            uid(0),
            uid(6)
        ))
        .await;
    // A client that asks for all at once need not ask for that (XEP-0386).
    let welcome = comity_c2s::link::Server::welcome(&play.home, &romeo.jid).await;
    let start = welcome[0].child(ns::MAM, "start").unwrap();
    assert_eq!(start.attr("id"), Some(uid(0).as_str()));
}

#[tokio::test]
async fn what_cannot_be_asked() {
    let play = Play::of(&[ROMEO, JULIET]).await;
    let mut romeo = play.login("romeo@a.example/orchard").await;
    let many: String = (0..251).map(|n| format!("<value>{n}</value>")).collect();
    for (inner, condition) in [
        (set("<after>nothing</after>"), "item-not-found"),
        (set("<before>nothing</before>"), "item-not-found"),
        (form(&field("before-id", "nothing")), "item-not-found"),
        (form(&field("after-id", "nothing")), "item-not-found"),
        (form(&field("ids", "nothing")), "item-not-found"),
        (form(&field("after-id", &"x".repeat(300))), "item-not-found"),
        (set("<max>x</max>"), "bad-request"),
        (set("<after>a</after><before>b</before>"), "bad-request"),
        (set("<index>1</index>"), "feature-not-implemented"),
        (form(&field("start", "yesterday")), "bad-request"),
        (form(&field("end", "2027-02-30T00:00:00Z")), "bad-request"),
        (form(&field("with", "a@@b")), "bad-request"),
        (form("<field var='start'/>"), "bad-request"),
        (
            form(&format!("<field var='ids'>{many}</field>")),
            "bad-request",
        ),
        (
            form(&field("include-groupchat", "true")),
            "feature-not-implemented",
        ),
        (
            form(&field("{urn:x}search", "x")),
            "feature-not-implemented",
        ),
        (
            "<x xmlns='jabber:x:data' type='submit'/>".to_owned(),
            "bad-request",
        ),
        ("<x xmlns='jabber:x:data'/>".to_owned(), "bad-request"),
    ] {
        let (found, answer) = ask(&mut romeo, &inner).await;
        assert!(found.is_empty());
        let error = answer
            .error()
            .unwrap_or_else(|| panic!("{inner} is answered"));
        assert_eq!(error.condition.as_str(), condition, "{inner}");
    }
    // Somebody else's archive, whether there is such an account or not.
    for who in [JULIET, "nobody@a.example"] {
        romeo
            .send(&format!(
                "<iq type='set' id='q' to='{who}'><query xmlns='urn:xmpp:mam:2'/></iq>"
            ))
            .await;
        romeo
            .gets(&format!(
                "<iq type='error' id='q' from='{who}' to='romeo@a.example/orchard'>\
                 <error type='auth'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
                 </error></iq>"
            ))
            .await;
    }
}

#[tokio::test]
async fn what_the_form_offers() {
    let play = Play::of(&[ROMEO]).await;
    let mut romeo = play.login("romeo@a.example/orchard").await;
    romeo
        .send("<iq type='get' id='q'><query xmlns='urn:xmpp:mam:2'/></iq>")
        .await;
    let fields = ["with", "start", "end", "before-id", "after-id"].map(|var| {
        let kind = if var == "with" {
            "jid-single"
        } else {
            "text-single"
        };
        format!("<field var='{var}' type='{kind}'/>")
    });
    romeo
        .gets(&format!(
            "<iq type='result' id='q' to='romeo@a.example/orchard'>\
             <query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data' type='form'>\
             <field var='FORM_TYPE' type='hidden'><value>urn:xmpp:mam:2</value></field>{}\
             <field var='ids' type='list-multi'>\
             <validate xmlns='http://jabber.org/protocol/xdata-validate' datatype='xs:string'>\
             <open/></validate></field></x></query></iq>",
            fields.concat()
        ))
        .await;
}

fn prefs(default: &str, always: &str, never: &str) -> String {
    let list = |jids: &str| {
        jids.split_whitespace()
            .map(|jid| format!("<jid>{jid}</jid>"))
            .collect::<String>()
    };
    format!(
        "<prefs xmlns='urn:xmpp:mam:2' default='{default}'><always>{}</always>\
         <never>{}</never></prefs>",
        list(always),
        list(never)
    )
}

#[tokio::test]
async fn whose_messages_are_kept_the_account_says() {
    let play = Play::of(&[ROMEO, JULIET]).await;
    let mut romeo = play.login("romeo@a.example/orchard").await;
    let answered =
        |inner: &str| format!("<iq type='result' id='p' to='romeo@a.example/orchard'>{inner}</iq>");
    romeo
        .send("<iq type='get' id='p'><prefs xmlns='urn:xmpp:mam:2'/></iq>")
        .await;
    romeo.gets(&answered(&prefs("always", "", ""))).await;
    let mut n = 0;
    for (default, always, never, to, kept) in [
        ("always", "", "juliet@a.example", JULIET, false),
        ("always", "", "juliet@a.example", "nurse@b.example", true),
        ("never", "juliet@a.example", "", JULIET, true),
        ("never", "", "", JULIET, false),
        ("roster", "", "", JULIET, false),
        ("roster", "", "", "friend@b.example", true),
        (
            "never",
            "juliet@a.example/x",
            "",
            "juliet@a.example/x",
            true,
        ),
        ("never", "juliet@a.example/x", "", JULIET, false),
        (
            "always",
            "juliet@a.example/x",
            "juliet@a.example",
            JULIET,
            false,
        ),
    ] {
        romeo
            .send(
                "<iq type='set' id='r'><query xmlns='jabber:iq:roster'>\
                 <item jid='friend@b.example'/></query></iq>",
            )
            .await;
        romeo.forget().await;
        let wanted = prefs(default, always, never);
        romeo
            .send(&format!("<iq type='set' id='p'>{wanted}</iq>"))
            .await;
        romeo.gets(&answered(&wanted)).await;
        n += 1;
        say(&romeo, to, &body(&n.to_string())).await;
        let (found, _) = ask(&mut romeo, "").await;
        let last = bodies(&found).pop();
        let is_kept = last == Some(n.to_string());
        assert_eq!(is_kept, kept, "{default} +{always} -{never} {to}");
    }
    // Read again where it was forgotten.
    let read = play.home.storage.archive_preferences(ROMEO).await.unwrap();
    assert_eq!(read.unwrap().exceptions.len(), 2);
}

#[tokio::test]
async fn wishes_that_cannot_be_understood() {
    let play = Play::of(&[ROMEO]).await;
    let mut romeo = play.login("romeo@a.example/orchard").await;
    for refused in [
        "<prefs xmlns='urn:xmpp:mam:2'/>".to_owned(),
        prefs("sometimes", "", ""),
        prefs("always", "@", ""),
        prefs("always", JULIET, JULIET),
    ] {
        romeo
            .send(&format!("<iq type='set' id='p'>{refused}</iq>"))
            .await;
        let answer = romeo.next(PATIENCE).await.unwrap();
        let condition = answer.error().map(|error| error.condition.as_str());
        assert_eq!(condition, Some("bad-request"), "{refused}");
    }
}

#[tokio::test]
async fn what_was_refused_is_not_kept_and_what_is_old_is_forgotten() {
    let play = Play::of(&[ROMEO, JULIET]).await;
    let mut romeo = play.login("romeo@a.example/orchard").await;
    say(&romeo, "nobody@a.example", &body("x")).await;
    romeo.forget().await;
    let (found, _) = ask(&mut romeo, "").await;
    assert!(found.is_empty());
    say(&romeo, JULIET, &body("old")).await;
    play.clock.forward(Duration::from_secs(200 * 24 * 3600));
    say(&romeo, JULIET, &body("new")).await;
    play.clock.forward(Duration::from_secs(200 * 24 * 3600));
    (MODULE.tick.unwrap().run)(play.home.clone()).await;
    let (found, _) = ask(&mut romeo, "").await;
    assert_eq!(bodies(&found), ["new"]);
}

/// Another domain's messages are in the archive once, with their places, and live as kept.
#[tokio::test]
async fn what_other_domains_say() {
    let play = Play::of(&[JULIET]).await;
    let mut juliet = play.login("juliet@a.example/balcony").await;
    let chat = |text: &str| {
        format!(
            "<message type='chat' from='romeo@b.example/x' to='juliet@a.example'>\
             <stanza-id xmlns='urn:xmpp:sid:0' by='juliet@a.example' id='forged'/>{}</message>",
            body(text)
        )
    };
    let chats = ["a", "b", "c"].map(chat);
    let run: Vec<_> = chats.iter().map(String::as_str).collect();
    assert_eq!(play.arrive(Some(1), &run[..2]).await, 2);
    assert_eq!(play.arrive(Some(2), &run[1..]).await, 2);
    let mut live = Vec::new();
    for _ in 0..3 {
        let stanza = juliet.next(PATIENCE).await.unwrap();
        live.push(given(&stanza, JULIET).unwrap());
    }
    let (found, _) = ask(&mut juliet, &form(&field("with", "romeo@b.example"))).await;
    let ids: Vec<_> = found.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(ids, live);
    assert_eq!(bodies(&found), ["a", "b", "c"]);
}

/// Somebody who asks for more than the queue holds is served at their own pace.
#[tokio::test]
async fn a_page_larger_than_the_queue() {
    let play = Play::of(&[ROMEO]).await;
    let mut romeo = play.login("romeo@a.example/orchard").await;
    for n in 0..260 {
        say(&romeo, "nurse@b.example", &body(&n.to_string())).await;
    }
    let mut phone = play.bind_with("romeo@a.example/phone", 4).await;
    let home = play.home.clone();
    let jid = phone.jid.clone();
    let asking = tokio::spawn(async move {
        let mut query = crate::play::stanza(
            "<iq type='set' id='q'><query xmlns='urn:xmpp:mam:2'>\
             <set xmlns='http://jabber.org/protocol/rsm'><max>1000</max></set></query></iq>",
        );
        query.from = Some(jid.clone());
        comity_c2s::link::Server::stanza(&home, &jid, query, None).await;
    });
    let mut results = 0;
    while let Some(stanza) = phone.next(PATIENCE).await {
        if !stanza.has(ns::MAM, "result") {
            break;
        }
        results += 1;
    }
    assert_eq!(results, 250);
    asking.await.unwrap();
    romeo.forget().await;
}
