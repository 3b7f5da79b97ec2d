use super::*;

fn hosts() -> Hosts {
    Hosts::new(["a.example".to_owned(), "c.example".to_owned()])
}

fn jid(text: &str) -> Jid {
    Jid::parse(text).unwrap()
}

fn bare(text: &str) -> BareJid {
    BareJid::parse(text).unwrap()
}

#[track_caller]
fn check(to: Option<&str>, expected: &Hop) {
    for kind in [
        Kind::Message(MessageType::Chat),
        Kind::Presence(PresenceType::Available),
        Kind::Iq(IqType::Get),
    ] {
        let mut stanza = Stanza::new(kind);
        stanza.to = to.map(jid);
        assert_eq!(
            route(&jid("alice@a.example/phone"), &stanza, &hosts()),
            *expected,
            "{kind:?} to {to:?}"
        );
    }
}

#[test]
fn every_address_has_its_hop() {
    check(None, &Hop::Account(bare("alice@a.example")));
    check(Some("a.example"), &Hop::Domain(bare("a.example")));
    check(Some("c.example"), &Hop::Domain(bare("c.example")));
    check(Some("a.example/any"), &Hop::Domain(bare("a.example")));
    check(Some("bob@a.example"), &Hop::Account(bare("bob@a.example")));
    check(
        Some("bob@a.example/x"),
        &Hop::Session(jid("bob@a.example/x")),
    );
    check(Some("~room@a.example"), &Hop::Room(bare("~room@a.example")));
    check(Some("~room@a.example/x"), &Hop::Bounce(unavailable()));
    check(Some("bob@b.example"), &Hop::Remote("b.example".to_owned()));
    check(
        Some("~room@b.example"),
        &Hop::Remote("b.example".to_owned()),
    );
    check(Some("b.example/x"), &Hop::Remote("b.example".to_owned()));
    check(
        Some("sub.a.example"),
        &Hop::Remote("sub.a.example".to_owned()),
    );
}

/// RFC 6121 §8.5.4, table 1, the choices of this server filled in: O store, E refuse, S ignore,
/// D deliver to the resource, A to all non-negative resources.
#[test]
fn messages_fare_as_the_table_says() {
    use MessageType::{Chat, Error, Groupchat, Headline, Normal};
    let kinds = [Normal, Chat, Groupchat, Headline, Error];
    let down = (jid("bob@a.example/down"), -1);
    let one = (jid("bob@a.example/one"), 0);
    let two = (jid("bob@a.example/two"), 5);
    let rows = [
        // available, to bare, full match, full without a match: by kind
        (vec![], "OOESS", "DDDDD", "EOESS"),
        (vec![down.clone()], "OOESS", "DDDDD", "EOESS"),
        (vec![one.clone()], "AAEAS", "DDDDD", "EAESS"),
        (vec![down, one, two], "AAEAS", "DDDDD", "EAESS"),
    ];
    let to = jid("bob@a.example/x");
    for (available, at_the_bare, matched, unmatched) in rows {
        let ready: Vec<Jid> = available
            .iter()
            .filter(|(_, priority)| *priority >= 0)
            .map(|(jid, _)| jid.clone())
            .collect();
        for (place, kind) in kinds.into_iter().enumerate() {
            let expected = |letters: &str| match letters.as_bytes()[place] {
                b'O' => Verdict::Store,
                b'E' => Verdict::Refuse,
                b'S' => Verdict::Ignore,
                b'D' => Verdict::Deliver(vec![to.clone()]),
                _ => Verdict::Deliver(ready.clone()),
            };
            assert_eq!(at_bare(kind, &available), expected(at_the_bare), "{kind:?}");
            assert_eq!(
                at_full(kind, &to, true, &available),
                expected(matched),
                "{kind:?}"
            );
            assert_eq!(
                at_full(kind, &to, false, &available),
                expected(unmatched),
                "{kind:?}"
            );
        }
    }
}

#[test]
fn what_must_not_be_lost_waits_for_its_domain() {
    assert!(keeps(Kind::Message(MessageType::Chat)));
    assert!(keeps(Kind::Presence(PresenceType::Subscribe)));
    assert!(!keeps(Kind::Presence(PresenceType::Probe)));
    assert!(keeps(Kind::Message(MessageType::Error)));
    assert!(!keeps(Kind::Iq(IqType::Set)));
}
