//! The table of what a hostile member puts into an envelope, or a server into names and reasons: each
//! is shown as what it is, in one line, and does nothing to the terminal.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use comity_client::content::{CONTENT_TYPE, text_of};
use comity_client::terminal::clean::clean;
use comity_client::terminal::say;
use comity_mls_engine::{Change, Device, Event, Item, Message, Name, Unreadable, Warning, What};
use comity_xmpp::jid::BareJid;
use uuid::Uuid;

const ROOM: &str = "~aaaaaaaaaaaaaaaaaaaaaaaaaa@a.example";
const MALLORY: &str = "mallory@b.example";

fn jid(text: &str) -> BareJid {
    BareJid::parse(text).unwrap()
}

fn mallory() -> Device {
    Device {
        account: MALLORY.to_owned(),
        device: [0x66; 16],
    }
}

fn item(what: What) -> Item {
    Item {
        seq: 7,
        time: 1_767_225_600_000,
        what,
    }
}

fn message(content_type: &str, content: &[u8]) -> Message {
    Message {
        sender: mallory(),
        id: [7; 16],
        content_type: content_type.to_owned(),
        content: content.to_vec(),
    }
}

/// An envelope with these inside, that is in order otherwise.
fn envelope(inside: &str) -> String {
    affixed(inside, MALLORY, ROOM, "2026-01-01T00:00:00Z")
}

fn affixed(inside: &str, from: &str, to: &str, stamp: &str) -> String {
    format!(
        "<envelope xmlns='urn:xmpp:sce:1'><content>{inside}</content><rpad>x</rpad>\
         <from jid='{from}'/><to jid='{to}'/><time stamp='{stamp}'/></envelope>"
    )
}

fn body(text: &str) -> String {
    envelope(&format!("<body xmlns='jabber:client'>{text}</body>"))
}

/// Nothing in it moves a cursor, and it is one line.
fn assert_tame(line: &str, of: &str) {
    let wild =
        |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    assert!(!line.chars().any(wild), "{of}: {line:?}");
}

/// Not shown as something that was said, and said so.
fn refused(of: &str, content: &str) {
    refused_octets(of, content.as_bytes());
}

fn refused_octets(of: &str, content: &[u8]) {
    let message = message(CONTENT_TYPE, content);
    assert_eq!(text_of(&jid(ROOM), &message), None, "{of}");
    let item = item(What::Message(message));
    let line = clean(&say::item(&jid(ROOM), &item));
    assert!(
        line.contains("(the content is no XEP-0420 envelope")
            || line.contains("(the envelope says"),
        "{of}: {line}"
    );
    assert_tame(&line, of);
    let object = say::item_json(&jid(ROOM), &item);
    assert!(object["text"].is_null(), "{of}: {object}");
    assert!(!object.to_string().contains('\u{1b}'), "{of}: {object}");
}

/// Shown, as text and nothing else.
fn shown(of: &str, content: &str, expected: &str) {
    let message = message(CONTENT_TYPE, content.as_bytes());
    assert_eq!(
        text_of(&jid(ROOM), &message).as_deref(),
        Some(expected),
        "{of}"
    );
    let line = clean(&say::item(&jid(ROOM), &item(What::Message(message))));
    assert!(line.contains(&format!("{MALLORY}: ")), "{of}: {line}");
    assert_tame(&line, of);
}

#[test]
fn what_is_no_envelope_is_called_so() {
    let fine = body("hello");
    shown("an envelope", &fine, "hello");
    refused_octets("octets", &[0xff, 0xfe, 0x00, 0x80]);
    refused("nothing", "");
    refused("text", "hello");
    refused("one that breaks off", &fine[..fine.len() - 12]);
    refused("two", &format!("{fine}{fine}"));
    refused("one with something behind it", &format!("{fine}and more"));
    refused(
        "another root",
        "<message xmlns='jabber:client'><body>hello</body></message>",
    );
    refused(
        "another namespace",
        &fine.replace("urn:xmpp:sce:1", "urn:xmpp:sce:9"),
    );
    refused(
        "tags that cross",
        "<envelope xmlns='urn:xmpp:sce:1'><content></envelope></content>",
    );
    refused("no content", &fine.replace("content", "other"));
    refused("a doctype", &format!("<!DOCTYPE envelope>{fine}"));
    refused(
        "entities that grow",
        &format!(
            "<!DOCTYPE e [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]>{}",
            body("&b;")
        ),
    );
    refused("an entity of its own", &body("&file;"));
    refused("a comment", &body("<!-- hidden -->hello"));
    refused("a processing instruction", &body("<?run this?>hello"));
    refused(
        "a prefix that is bound to nothing",
        &envelope("<x:body>hello</x:body>"),
    );
    refused(
        "an attribute twice",
        &envelope("<body xmlns='jabber:client' a='1' a='2'>x</body>"),
    );
    refused("a character that XML forbids", &body("&#x1b;[2J"));
    refused("the same, written out", &body("\u{1b}[2J"));
    refused("a NUL", &body("&#0;"));
    let mut latin = body("hello").into_bytes();
    let place = latin.windows(5).position(|w| w == b"hello").unwrap();
    latin[place + 1] = 0xe9;
    refused_octets("another encoding", &latin);
    let deep = 5_000;
    refused(
        "no floor",
        &envelope(&format!("{}{}", "<a>".repeat(deep), "</a>".repeat(deep))),
    );
    let many: String = (0..5_000).map(|n| format!(" a{n}=''")).collect();
    // As many as fit into a message are read past in no time.
    let crowded = envelope(&format!("<body xmlns='jabber:client'{many}>hello</body>"));
    shown("attributes without end", &crowded, "hello");
}

#[test]
fn an_envelope_of_somebody_else_or_for_elsewhere_is_called_so() {
    let inside = "<body xmlns='jabber:client'>I agree</body>";
    let stamp = "2026-01-01T00:00:00Z";
    refused(
        "from Alice",
        &affixed(inside, "alice@a.example", ROOM, stamp),
    );
    refused(
        "to another room",
        &affixed(
            inside,
            MALLORY,
            "~bbbbbbbbbbbbbbbbbbbbbbbbbb@a.example",
            stamp,
        ),
    );
    refused("from nobody", &affixed(inside, "", ROOM, stamp));
    refused("from no address", &affixed(inside, "@@", ROOM, stamp));
    refused(
        "from a resource",
        &affixed(inside, "mallory@b.example/x", ROOM, stamp),
    );
    refused("at no time", &affixed(inside, MALLORY, ROOM, "noon"));
    refused(
        "before time began",
        &affixed(inside, MALLORY, ROOM, "0000-00-00T00:00:00Z"),
    );
    let whole = affixed(inside, MALLORY, ROOM, stamp);
    refused("without a sender", &whole.replace("<from", "<frum"));
    refused("without an address", &whole.replace("<to", "<too"));
    refused("without a time", &whole.replace("<time", "<tyme"));
}

#[test]
fn what_steers_a_terminal_is_shown_and_steers_nothing() {
    for (of, text) in [
        ("a sequence of eight bits", "\u{9b}2J"),
        ("a title of eight bits", "\u{9d}0;owned\u{9c}"),
        ("another line", "hello\nalice@a.example: I agree"),
        ("text that runs backwards", "\u{202e}dekcart\u{202c}"),
        ("an isolate", "\u{2066}a\u{2069}"),
        ("a tab", "a\tb"),
        ("a DEL", "a\u{7f}b"),
        ("tags that nobody sees", "a\u{e0041}"),
    ] {
        shown(of, &body(text), text);
    }
}

/// What would set a title, end the line, colour the screen and turn text round.
const HOSTILE: &str = "\u{1b}]0;owned\u{7}\r\n\u{9b}31m\u{202e}";

#[test]
fn names_and_reasons_in_a_history_steer_nothing() {
    let hostile = HOSTILE;
    let other = Device {
        account: hostile.to_owned(),
        device: [1; 16],
    };
    let change = Change {
        who: other.clone(),
        by: Some(other.clone()),
    };
    let named = Name {
        name: hostile.to_owned(),
        by: other.clone(),
    };
    let unreadable = Unreadable {
        sender: hostile.to_owned(),
        why: hostile.to_owned(),
    };
    let whats = [
        What::Message(message(hostile, b"x")),
        What::Joined(vec![other.clone()]),
        What::Added(change.clone()),
        What::Removed(change),
        What::Updated(other),
        What::Named(named),
        What::Unreadable(unreadable),
    ];
    for what in whats {
        let item = item(what);
        let of = format!("{:?}", item.what);
        assert_tame(&clean(&say::item(&jid(ROOM), &item)), &of);
        // JSON escapes what is below a space; the rest is text to whoever reads it.
        let object = say::item_json(&jid(ROOM), &item).to_string();
        assert!(!object.chars().any(|c| c < ' '), "{of}: {object}");
    }
}

#[test]
fn names_and_reasons_in_events_steer_nothing() {
    let room = Some(jid(ROOM));
    let why = HOSTILE.to_owned();
    for event in [
        Event::RoomNamed {
            room: jid(ROOM),
            name: why.clone(),
        },
        Event::RoomStopped {
            room: jid(ROOM),
            seq: 1,
            why: why.clone(),
        },
        Event::RoomResyncing {
            room: jid(ROOM),
            seq: 1,
            why: why.clone(),
        },
        Event::NotInvited {
            room: jid(ROOM),
            account: jid(MALLORY),
            device: None,
            why: why.clone(),
        },
        Event::OwnDevice {
            id: Uuid::nil(),
            name: Some(why.clone()),
            revoked: false,
        },
        Event::Warning {
            room: room.clone(),
            warning: Warning::BadWelcome { why: why.clone() },
        },
        Event::Warning {
            room,
            warning: Warning::Anchors {
                domain: why.clone(),
                why,
            },
        },
    ] {
        let line = say::event(&event).unwrap();
        assert_tame(&clean(&line), &line);
    }
}
