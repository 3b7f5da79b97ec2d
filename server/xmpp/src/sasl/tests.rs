use std::num::NonZeroU32;

use super::client::{Expect, Fault, Requested, Scram};
use super::*;

const ROUNDS: NonZeroU32 = NonZeroU32::new(4096).unwrap();

fn keys(hash: Hash, salt: &str) -> ScramKeys {
    ScramKeys::derive(hash, "pencil", &decode(salt).unwrap(), ROUNDS)
}

/// One exchange as an RFC prints it; client and server each produce their lines of it.
struct Exchange {
    hash: Hash,
    client_nonce: &'static str,
    server_nonce: &'static str,
    salt: &'static str,
    client_first: &'static str,
    server_first: &'static str,
    client_final: &'static str,
    server_final: &'static str,
}

/// RFC 5802 §5.
const SHA_1: Exchange = Exchange {
    hash: Hash::Sha1,
    client_nonce: "fyko+d2lbbFgONRv9qkxdawL",
    server_nonce: "3rfcNHYJY1ZVvWVs7j",
    salt: "QSXCR+Q6sek8bf92",
    client_first: "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
    server_first: "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
    client_final: "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,\
                   p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
    server_final: "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
};

/// RFC 7677 §3.
const SHA_256: Exchange = Exchange {
    hash: Hash::Sha256,
    client_nonce: "rOprNGfwEbeRWgbNEkqO",
    server_nonce: "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
    salt: "W22ZaJ0SNY7soEsUEjb6gQ==",
    client_first: "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
    server_first: "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                   s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
    client_final: "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                   p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
    server_final: "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
};

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn the_exchanges_of_the_rfcs() {
    for exchange in [SHA_1, SHA_256] {
        let (scram, first) = begin(&exchange, &Requested::Unsupported);
        assert_eq!(text(&first), exchange.client_first);
        let waiting = ScramFirst::parse(&first, false, &Bindings::default()).unwrap();
        assert_eq!(
            (waiting.username.as_str(), &waiting.authzid),
            ("user", &None)
        );
        let keys = keys(exchange.hash, exchange.salt);
        let (challenge, waiting) = waiting.challenge(keys, exchange.server_nonce);
        assert_eq!(text(&challenge), exchange.server_first);
        let (expect, response) = scram.respond(&challenge).unwrap();
        assert_eq!(text(&response), exchange.client_final);
        let accepted = waiting.finish(&response).unwrap();
        assert_eq!(text(&accepted.message), exchange.server_final);
        assert_eq!(expect.verify(&accepted.message), Ok(()));
    }
}

fn begin(exchange: &Exchange, requested: &Requested) -> (Scram, Vec<u8>) {
    Scram::new(
        exchange.hash,
        "user",
        "pencil",
        exchange.client_nonce,
        requested,
    )
    .unwrap()
}

fn waiting(first: &str) -> ScramWaiting {
    let first = ScramFirst::parse(first.as_bytes(), false, &Bindings::default()).unwrap();
    first
        .challenge(keys(Hash::Sha1, SHA_1.salt), SHA_1.server_nonce)
        .1
}

#[test]
fn a_wrong_final_message_is_refused() {
    let refuse = |message: &str, expect: Condition| {
        let failure = waiting(SHA_1.client_first)
            .finish(message.as_bytes())
            .unwrap_err();
        assert_eq!(failure.condition, expect, "{message}");
    };
    let right = SHA_1.client_final;
    assert!(waiting(SHA_1.client_first).finish(right.as_bytes()).is_ok());
    refuse(&right.replace("p=v0", "p=v1"), Condition::NotAuthorized);
    refuse(&right.replace("Vs7j", "Vs7k"), Condition::NotAuthorized);
    // `y,,` where `n,,` was said.
    refuse(&right.replace("biws", "eSws"), Condition::NotAuthorized);
    refuse(
        &right.replace("p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=", "p=AAAA"),
        Condition::NotAuthorized,
    );
    refuse(
        &right.replace("p=v0X8", "p=!!!!"),
        Condition::MalformedRequest,
    );
    refuse("c=biws,r=x", Condition::MalformedRequest);
    refuse("r=x,c=biws,p=AAAA", Condition::MalformedRequest);
    refuse("", Condition::MalformedRequest);
}

#[test]
fn extensions_are_passed_over_and_mandatory_ones_refused() {
    let first = ScramFirst::parse(b"n,,n=user,r=abc,x=ignored", false, &Bindings::default());
    assert!(first.is_ok());
    for bad in [
        "n,,m=must,n=user,r=abc",
        "n,,n=user",
        "n,,n=,r=abc",
        "n,,n=user,r=",
        "n,,n=us=er,r=abc",
        "n,,n=user,r=a\u{7f}",
        "n,x=y,n=user,r=abc",
        "n,,n=user,r=abc,",
        "z,,n=user,r=abc",
        "n,n=user,r=abc",
        "",
    ] {
        let failure = ScramFirst::parse(bad.as_bytes(), false, &Bindings::default()).unwrap_err();
        assert_eq!(failure.condition, Condition::MalformedRequest, "{bad}");
    }
    let long = format!("n,,n=user,r={}", "a".repeat(300));
    assert!(ScramFirst::parse(long.as_bytes(), false, &Bindings::default()).is_err());
}

#[test]
fn names_are_escaped() {
    let (_, first) =
        Scram::new(Hash::Sha1, "a=b,c", "pencil", "x", &Requested::Unsupported).unwrap();
    assert_eq!(text(&first), "n,,n=a=3Db=2Cc,r=x");
    let parsed = ScramFirst::parse(b"n,a=x=2Cy,n=a=3Db=2Cc,r=x", false, &Bindings::default());
    let parsed = parsed.unwrap();
    assert_eq!(parsed.username, "a=b,c");
    assert_eq!(parsed.authzid.as_deref(), Some("x,y"));
}

#[test]
fn channel_binding_is_checked_at_both_ends() {
    let bindings = Bindings(vec![("tls-exporter", vec![7; 32])]);
    let run = |requested: Requested, plus: bool, bindings: &Bindings| {
        let (scram, first) = begin(&SHA_256, &requested);
        let waiting = ScramFirst::parse(&first, plus, bindings)?;
        let (challenge, waiting) = waiting.challenge(keys(Hash::Sha256, SHA_256.salt), "xyz");
        let (_, response) = scram.respond(&challenge).unwrap();
        waiting.finish(&response).map(|_| ())
    };
    let bound = |byte: u8| Requested::Bound("tls-exporter".to_owned(), vec![byte; 32]);
    let refused = Err(Condition::NotAuthorized);
    let malformed = Err(Condition::MalformedRequest);
    let none = Bindings::default();
    for (requested, plus, bindings, expect) in [
        (bound(7), true, &bindings, Ok(())),
        // Another TLS connection than ours: somebody stands in between.
        (bound(8), true, &bindings, refused),
        (bound(7), false, &bindings, malformed),
        (bound(7), true, &none, malformed),
        (Requested::Unsupported, true, &bindings, malformed),
        (Requested::Unsupported, false, &bindings, Ok(())),
        (Requested::NotOffered, false, &none, Ok(())),
        // We did offer it: somebody removed the offer.
        (Requested::NotOffered, false, &bindings, refused),
    ] {
        let verdict = run(requested.clone(), plus, bindings).map_err(|e: Failure| e.condition);
        assert_eq!(verdict, expect, "{requested:?} {plus}");
    }
}

#[test]
fn a_client_is_not_deceived() {
    let respond = |message: &str| {
        begin(&SHA_1, &Requested::Unsupported)
            .0
            .respond(message.as_bytes())
            .map(|_| ())
    };
    let right = SHA_1.server_first;
    assert_eq!(respond(right), Ok(()));
    assert_eq!(
        respond(&right.replace("r=fyko", "r=fykp")),
        Err(Fault::Nonce)
    );
    assert_eq!(
        respond("r=fyko+d2lbbFgONRv9qkxdawL,s=QSXC,i=4096"),
        Err(Fault::Nonce)
    );
    assert_eq!(
        respond(&right.replace("4096", "1")),
        Err(Fault::Iterations(1))
    );
    assert_eq!(
        respond(&right.replace("4096", "4000000000")),
        Err(Fault::Iterations(4_000_000_000))
    );
    for bad in [
        &right.replace("4096", "0"),
        &right.replace("4096", "+4096"),
        &right.replace(",s=", ",t="),
        "m=x",
    ] {
        assert!(matches!(respond(bad), Err(Fault::Malformed(_))), "{bad}");
    }
    let verify = |message: &str| expect().verify(message.as_bytes());
    assert_eq!(verify(SHA_1.server_final), Ok(()));
    assert_eq!(verify(SHA_256.server_final), Err(Fault::Impostor));
    assert_eq!(verify("v="), Err(Fault::Impostor));
    assert_eq!(
        verify("e=unknown-user"),
        Err(Fault::Refused("unknown-user".to_owned()))
    );
    assert!(matches!(verify(""), Err(Fault::Malformed(_))));
}

fn expect() -> Expect {
    let (scram, _) = begin(&SHA_1, &Requested::Unsupported);
    scram.respond(SHA_1.server_first.as_bytes()).unwrap().0
}

#[test]
fn plain_is_three_parts() {
    // RFC 4616 §4.
    let plain = Plain::parse(b"Ursel\0Kurt\0xipj3plmq").unwrap();
    assert_eq!(plain.authzid.as_deref(), Some("Ursel"));
    assert_eq!(
        (plain.authcid.as_str(), plain.password.as_str()),
        ("Kurt", "xipj3plmq")
    );
    assert_eq!(
        plain.message().as_deref(),
        Some(&b"Ursel\0Kurt\0xipj3plmq"[..])
    );
    assert!(!format!("{plain:?}").contains("xipj3plmq"));
    assert_eq!(Plain::parse(b"\0tim\0tanstaaf").unwrap().authzid, None);
    for bad in [
        &b""[..],
        b"\0",
        b"\0\0",
        b"\0tim\0",
        b"\0\0x",
        b"\0a\0b\0c",
        b"\0a\0\xff",
        b"tim",
    ] {
        let failure = Plain::parse(bad).unwrap_err();
        assert_eq!(failure.condition, Condition::MalformedRequest);
    }
    let forged = Plain {
        authcid: "a\0b".to_owned(),
        ..plain
    };
    assert_eq!(forged.message(), None);
}

#[test]
fn external_may_name_an_identity() {
    assert_eq!(external_authzid(b""), Ok(None));
    assert_eq!(
        external_authzid(b"a.example"),
        Ok(Some("a.example".to_owned()))
    );
    assert!(external_authzid(b"a\0b").is_err());
    assert!(external_authzid(b"\xff").is_err());
}

#[test]
fn base64_is_strict() {
    assert_eq!(decode("="), Ok(vec![]));
    assert_eq!(decode(""), Ok(vec![]));
    assert_eq!(decode("AGp1bGlldA=="), Ok(b"\0juliet".to_vec()));
    assert_eq!(encode(b""), "=");
    assert_eq!(encode(b"\0juliet"), "AGp1bGlldA==");
    for bad in [
        "AGp1bGlldA",
        "AGp1bGlldA=",
        "AGp1bGlldB==",
        " AGp1bGlldA==",
        "AGp1\nbGlldA==",
        "A",
        "-_==",
        "==",
    ] {
        assert_eq!(
            decode(bad).map_err(|f| f.condition),
            Err(Condition::IncorrectEncoding),
            "{bad:?}"
        );
    }
    assert_eq!(decode(&"A".repeat(5460)).map(|bytes| bytes.len()), Ok(4095));
    assert_eq!(
        decode(&"A".repeat(5464)).map_err(|f| f.condition),
        Err(Condition::MalformedRequest)
    );
}

#[test]
fn mechanisms_and_failures_have_names() {
    for name in [
        "SCRAM-SHA-256-PLUS",
        "SCRAM-SHA-256",
        "SCRAM-SHA-1-PLUS",
        "SCRAM-SHA-1",
        "PLAIN",
        "EXTERNAL",
    ] {
        assert_eq!(
            Mechanism::from_name(name).map(Mechanism::as_str),
            Some(name)
        );
    }
    assert_eq!(Mechanism::from_name("DIGEST-MD5"), None);
    let failure = Failure::new(Condition::InvalidAuthzid).with_text("not you");
    assert_eq!(Failure::from_element(&failure.to_element()), Some(failure));
}
