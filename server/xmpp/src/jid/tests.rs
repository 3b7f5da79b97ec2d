use std::collections::HashSet;

use super::*;

#[track_caller]
fn check(input: &str, expect: &str) {
    match Jid::parse(input) {
        Ok(jid) => {
            assert_eq!(jid.as_str(), expect);
            assert_eq!(Jid::parse(expect).as_ref(), Ok(&jid), "not stable");
        }
        Err(error) => panic!("{input:?}: {error}"),
    }
}

#[track_caller]
fn refuse(input: &str, part: &str) {
    match Jid::parse(input) {
        Ok(jid) => panic!("{input:?} was accepted as {jid}"),
        Err(JidError::Part { part: found, .. }) => assert_eq!(found, part),
    }
}

#[test]
fn rfc_7622_examples_that_conform() {
    // RFC 7622 §3.5, table 1.
    check("juliet@example.com", "juliet@example.com");
    check("juliet@example.com/foo", "juliet@example.com/foo");
    check("juliet@example.com/foo bar", "juliet@example.com/foo bar");
    check("juliet@example.com/foo@bar", "juliet@example.com/foo@bar");
    check("foo\\20bar@example.com", "foo\\20bar@example.com");
    check("fussball@example.com", "fussball@example.com");
    check("fu\u{df}ball@example.com", "fu\u{df}ball@example.com");
    check("\u{3c0}@example.com", "\u{3c0}@example.com");
    check("\u{3a3}@example.com/foo", "\u{3c3}@example.com/foo");
    check("\u{3c3}@example.com/foo", "\u{3c3}@example.com/foo");
    check("\u{3c2}@example.com/foo", "\u{3c2}@example.com/foo");
    check("king@example.com/\u{265a}", "king@example.com/\u{265a}");
    check("example.com", "example.com");
    check("example.com/foobar", "example.com/foobar");
    check("a.example.com/b@example.net", "a.example.com/b@example.net");
}

#[test]
fn rfc_7622_examples_that_violate() {
    // RFC 7622 §3.5, table 2.
    refuse("\"juliet\"@example.com", "localpart");
    refuse("foo bar@example.com", "localpart");
    refuse("@example.com/", "resourcepart");
    refuse("henry\u{2163}@example.com", "localpart");
    refuse("\u{265a}@example.com", "localpart");
    refuse("juliet@", "domainpart");
    refuse("/foobar", "domainpart");
}

#[test]
fn case_and_width_of_a_localpart_are_mapped() {
    check("Juliet@example.com", "juliet@example.com");
    check("\u{ff2a}uliet@example.com", "juliet@example.com");
    check("e\u{301}@example.com", "\u{e9}@example.com");
    // RFC 7622 §3.3.1, after the width mapping.
    refuse("a\u{ff1a}b@example.com", "localpart");
    refuse("a\u{ff1c}b@example.com", "localpart");
}

#[test]
fn domains_are_internationalized() {
    check("Example.COM", "example.com");
    check("example.com.", "example.com");
    check("b\u{fc}cher.example", "b\u{fc}cher.example");
    check("B\u{dc}CHER.example", "b\u{fc}cher.example");
    check("xn--bcher-kva.example", "b\u{fc}cher.example");
    check("example\u{3002}com", "example.com");
    check("example\u{3002}com\u{3002}", "example.com");
    refuse("i\u{2665}ny.example", "domainpart");
    refuse("a..b", "domainpart");
    refuse(".", "domainpart");
    refuse("example.com..", "domainpart");
    refuse("-a.example", "domainpart");
    refuse("a_b.example", "domainpart");
    refuse("a b.example", "domainpart");
    refuse("xn--a.example", "domainpart");
    refuse(&format!("{}.example", "a".repeat(64)), "domainpart");
    check(
        &format!("{}.example", "a".repeat(63)),
        &format!("{}.example", "a".repeat(63)),
    );
}

#[test]
fn ip_literals_are_domains() {
    check("a@127.0.0.1", "a@127.0.0.1");
    check("[::1]", "[::1]");
    check("a@[2001:DB8:0:0::1]/r", "a@[2001:db8::1]/r");
    refuse("[::1", "domainpart");
    refuse("[127.0.0.1]", "domainpart");
    refuse("a@[fe80::1%eth0]", "domainpart");
    refuse("1.2.3", "domainpart");
    check("a.8", "a.8");
    refuse("256.1.1.1", "domainpart");
}

#[test]
fn every_part_has_its_limit() {
    let most = "a".repeat(1023);
    let more = "a".repeat(1024);
    check(&format!("{most}@b/{most}"), &format!("{most}@b/{most}"));
    refuse(&format!("{more}@b"), "localpart");
    refuse(&format!("b/{more}"), "resourcepart");
    let label = "a".repeat(63);
    let domain = [label.as_str(); 16].join(".");
    assert_eq!(domain.len(), 1023);
    check(&domain, &domain);
    refuse(&format!("{domain}a"), "domainpart");
    refuse(&format!("b/{}", "\u{e9}".repeat(512)), "resourcepart");
}

#[test]
fn resources_are_opaque() {
    check("a@b/Foo", "a@b/Foo");
    check("a@b/x\u{a0}y", "a@b/x y");
    // Newer than Unicode 6.3, where the registry of PRECIS has stopped.
    check("a@b/Phone \u{1f916}", "a@b/Phone \u{1f916}");
    refuse("a@b/x\ty", "resourcepart");
    refuse("a@b/x\u{200b}y", "resourcepart");
    refuse("a@b/x\u{e000}y", "resourcepart");
    refuse("a@b/x\u{0}y", "resourcepart");
}

#[test]
fn parts_are_found_again() -> Result<(), JidError> {
    let jid = Jid::parse("a@b.example/r@/s")?;
    assert_eq!(jid.local(), Some("a"));
    assert_eq!(jid.domain(), "b.example");
    assert_eq!(jid.resource(), Some("r@/s"));
    assert_eq!(jid.to_bare(), BareJid::parse("a@b.example")?);
    assert_eq!(jid.to_bare().with_resource("r@/s")?, jid);
    assert!(BareJid::parse("a@b/c").is_err());
    assert_eq!(BareJid::parse("b")?.local(), None);
    Ok(())
}

#[test]
fn a_bare_address_taken_from_another_is_like_any_bare_one() -> Result<(), JidError> {
    let taken = Jid::parse("a@b.example/c")?.to_bare();
    let own = BareJid::parse("a@b.example")?;
    assert_eq!((&taken, taken.to_string()), (&own, own.to_string()));
    assert!(HashSet::from([own]).contains(&taken));
    let taken = Jid::from(taken);
    assert!(taken.is_bare());
    assert_eq!(taken.resource(), None);
    assert_eq!(taken.domain(), "b.example");
    assert_eq!(taken.to_bare(), BareJid::parse("a@b.example")?);
    assert!(taken < Jid::parse("a@b.example/c")?);
    Ok(())
}
