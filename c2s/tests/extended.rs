//! Transcripts of the Extensible SASL Profile (XEP-0388) with Bind 2 (XEP-0386) and resumption.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::Duration;

use comity_c2s::link::{Credentials, FastAccepted, FastToken};
use comity_c2s::negotiate::{self, Command, Negotiate, Secured};
use comity_xmpp::element::Element;
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::frame::Limits;
use comity_xmpp::jid::Jid;
use comity_xmpp::machine::{Frame, Machine as _};
use comity_xmpp::sasl::client::{Requested, Scram};
use comity_xmpp::sasl::{Hash, ScramKeys, decode, encode};
use comity_xmpp::transcript::Transcript;

const LIMITS: Limits = Limits {
    element_bytes: 16 * 1024,
    depth: 16,
    attributes: 32,
    name_bytes: 256,
};
const OPEN: &str = "C: <stream:stream to='a.example' version='1.0' \
    xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
const HEADER: &str = "S: <stream:stream *from='a.example'*";
const PHONE: &str = "alice@a.example/phone";

fn keys(hash: Hash) -> ScramKeys {
    ScramKeys::derive(hash, "sesame", b"salt", 4096.try_into().unwrap())
}

fn command(words: &str) -> Command {
    let session = || Jid::parse(PHONE).unwrap();
    let new = |id: Option<&str>| negotiate::NewSession {
        session: session(),
        id: id.map(Into::into),
        welcome: Vec::new(),
    };
    match words {
        "credentials" => Command::Credentials(Credentials {
            sha1: keys(Hash::Sha1),
            sha256: keys(Hash::Sha256),
            plain: Hash::Sha256,
            usable: true,
        }),
        "token" => Command::Token(Some(FastToken {
            token: "secret".to_owned(),
            expiry: "2030-01-01T00:00:00Z".to_owned(),
        })),
        "accepted" => Command::Fast(Some(FastAccepted {
            proof: vec![2, 2],
            token: None,
        })),
        "refused token" => Command::Fast(None),
        "right" => Command::Checked(true),
        "wrong" => Command::Checked(false),
        "bound" => Command::Bound(Ok(new(None))),
        "bound with more" => Command::Bound(Ok(negotiate::NewSession {
            welcome: vec![Element::new("urn:x", "more")],
            ..new(None)
        })),
        "bound with id" => Command::Bound(Ok(new(Some("some-id")))),
        "refused" => Command::Bound(Err(StanzaError::new(
            ErrorType::Wait,
            StanzaCondition::ResourceConstraint,
        ))),
        "back" => Command::Resumed(Ok(negotiate::Resumed {
            session: session(),
            h: 3,
        })),
        "expired" => Command::Resumed(Err(negotiate::NotResumed { h: Some(4) })),
        words => panic!("no such command: {words}"),
    }
}

#[track_caller]
fn play(stage: &mut Transcript<Negotiate>, script: &str) {
    stage.play(script, command);
}

/// A client with TLS, at the offer.
fn stage() -> Transcript<Negotiate> {
    let mut drawn = 0;
    let settings = negotiate::Settings {
        serves: Arc::new(|domain| domain == "a.example"),
        random: Box::new(move || {
            drawn += 1;
            format!("random{drawn}")
        }),
        plain: true,
        scram: vec![Hash::Sha256, Hash::Sha1],
        register: true,
        negotiation: Duration::from_secs(60),
        resumption: Some(Duration::from_secs(300)),
        fast: true,
        early_bytes: 16_384,
        bytes: 262_144,
        idle: Duration::from_secs(330),
    };
    let secured = Some(Secured::default());
    let mut stage = Transcript::new(LIMITS, |now| Negotiate::new(settings, secured, now));
    play(
        &mut stage,
        &format!(
            "{OPEN}
            {HEADER}
            S: <stream:features*<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>16384</max-bytes></limits>*<authentication xmlns='urn:xmpp:sasl:2'><mechanism>SCRAM-SHA-256</mechanism>*<inline><bind xmlns='urn:xmpp:bind:0'><inline><feature var='urn:xmpp:carbons:2'/><feature var='urn:xmpp:csi:0'/><feature var='urn:xmpp:sm:3'/></inline></bind><sm xmlns='urn:xmpp:sm:3'/><fast xmlns='urn:xmpp:fast:0'><mechanism>HT-SHA-256-NONE</mechanism></fast></inline></authentication>*</stream:features>"
        ),
    );
    stage
}

/// The client says this.
fn hear(stage: &mut Transcript<Negotiate>, text: &str) {
    let frame = Frame::Element(text.to_owned().into_bytes().into());
    stage.machine.receive(frame, stage.now);
}

/// `<authenticate/>` with PLAIN, and what follows until the password is known to be right.
fn authenticate(inline: &str) -> String {
    let message = encode(b"\0alice\0sesame");
    format!(
        "C: <authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'><initial-response>{message}</initial-response>{inline}</authenticate>
        E: Credentials(alice@a.example)
        !: credentials
        E: Check(*
        !: right"
    )
}

const AGENT: &str =
    "<user-agent id='d4565fa7-4d72-4749-b3d3-740edbf87770'><software>x</software></user-agent>";

#[test]
fn without_more_the_features_follow_and_binding_goes_the_old_way() {
    let mut stage = stage();
    let authenticate = authenticate("");
    play(
        &mut stage,
        &format!(
            "{authenticate}
            S: <success xmlns='urn:xmpp:sasl:2'><authorization-identifier>alice@a.example</authorization-identifier></success>
            S: <stream:features*<bind *<max-bytes>262144</max-bytes><idle-seconds>330</idle-seconds>*
            C: <iq type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>
            E: Bind {{ account: alice@a.example, resource: None, options: BindOptions {{ carbons: false, acking: false, resumable: false }} }}
            !: bound
            S: <iq type='result' id='1'>*{PHONE}*
            E: Done"
        ),
    );
}

/// Such as where its archive begins and ends (XEP-0313).
#[test]
fn what_else_there_is_to_know_comes_with_the_session() {
    let mut stage = stage();
    let authenticate = authenticate("<bind xmlns='urn:xmpp:bind:0'/>");
    play(
        &mut stage,
        &format!(
            "{authenticate}
            E: Bind *
            !: bound with more
            S: <success *<bound xmlns='urn:xmpp:bind:0'><more xmlns='urn:x'/></bound></success>
            S: <stream:features*
            E: Done"
        ),
    );
}

#[test]
fn everything_in_one_round_trip() {
    let mut stage = stage();
    let bind = "<bind xmlns='urn:xmpp:bind:0'><tag>phone</tag><enable xmlns='urn:xmpp:carbons:2'/><enable xmlns='urn:xmpp:sm:3' resume='true'/></bind>";
    let authenticate = authenticate(&format!("{AGENT}{bind}"));
    play(
        &mut stage,
        &format!(
            "{authenticate}
            E: Bind {{ account: alice@a.example, resource: Some(\"phone.*\"), options: BindOptions {{ carbons: true, acking: true, resumable: true }} }}
            !: bound with id
            S: <success xmlns='urn:xmpp:sasl:2'><authorization-identifier>{PHONE}</authorization-identifier><bound xmlns='urn:xmpp:bind:0'><enabled xmlns='urn:xmpp:sm:3' id='some-id' resume='true' max='300'/></bound></success>
            S: <stream:features*
            E: Done"
        ),
    );
}

#[test]
fn a_device_keeps_its_resource_and_shows_no_other_its_identifier() {
    let resource = |agent: &str| {
        let mut stage = stage();
        let bind = "<bind xmlns='urn:xmpp:bind:0'><tag>phone</tag></bind>";
        let agent = format!("<user-agent id='{agent}'/>");
        let script = authenticate(&format!("{agent}{bind}"));
        let (first, _) = script.split_once('\n').unwrap();
        hear(&mut stage, first.strip_prefix("C: ").unwrap());
        for words in ["credentials", "right"] {
            stage.machine.poll_event();
            stage.machine.command(command(words), stage.now);
        }
        let event = stage.machine.poll_event();
        let Some(negotiate::Event::Bind { resource, .. }) = event else {
            panic!("{event:?}");
        };
        resource.unwrap()
    };
    let first = resource("d4565fa7-4d72-4749-b3d3-740edbf87770");
    assert_eq!(first, resource("d4565fa7-4d72-4749-b3d3-740edbf87770"));
    assert_ne!(first, resource("d4565fa7-4d72-4749-b3d3-740edbf87771"));
    assert!(
        first.starts_with("phone.") && first.len() == "phone.".len() + 12,
        "{first}"
    );
    assert!(!first.contains("d4565fa7"));
}

#[test]
fn an_old_session_comes_back_with_the_success() {
    let mut stage = stage();
    let inline =
        "<resume xmlns='urn:xmpp:sm:3' previd='old' h='7'/><bind xmlns='urn:xmpp:bind:0'/>";
    let authenticate = authenticate(inline);
    play(
        &mut stage,
        &format!(
            "{authenticate}
            E: Resume {{ account: alice@a.example, id: \"old\", h: 7 }}
            !: back
            S: <success xmlns='urn:xmpp:sasl:2'><authorization-identifier>{PHONE}</authorization-identifier><resumed xmlns='urn:xmpp:sm:3' previd='old' h='3'/></success>
            E: Done"
        ),
    );
}

#[test]
fn where_the_old_session_is_gone_binding_goes_ahead() {
    let mut stage = stage();
    let inline = "<resume xmlns='urn:xmpp:sm:3' previd='old' h='7'/><bind xmlns='urn:xmpp:bind:0'><enable xmlns='urn:xmpp:sm:3'/></bind>";
    let authenticate = authenticate(inline);
    play(
        &mut stage,
        &format!(
            "{authenticate}
            E: Resume*
            !: expired
            E: Bind*
            !: bound
            S: <success xmlns='urn:xmpp:sasl:2'><authorization-identifier>{PHONE}</authorization-identifier><failed xmlns='urn:xmpp:sm:3' h='4'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed><bound xmlns='urn:xmpp:bind:0'><enabled xmlns='urn:xmpp:sm:3'/></bound></success>
            S: <stream:features*
            E: Done"
        ),
    );
}

#[test]
fn a_session_that_cannot_be_is_asked_for_again() {
    let mut stage = stage();
    let authenticate = authenticate("<bind xmlns='urn:xmpp:bind:0'/>");
    play(
        &mut stage,
        &format!(
            "{authenticate}
            E: Bind*
            !: refused
            S: <success *>alice@a.example<*
            S: <stream:features*<bind *"
        ),
    );
}

#[test]
fn scram_proves_both_sides() {
    let mut stage = stage();
    let wanted = Requested::Unsupported;
    let (scram, first) = Scram::new(Hash::Sha256, "alice", "sesame", "n", &wanted).unwrap();
    let first = encode(&first);
    hear(
        &mut stage,
        &format!(
            "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='SCRAM-SHA-256'>\
             <initial-response>{first}</initial-response></authenticate>"
        ),
    );
    stage.machine.poll_event();
    stage.machine.command(command("credentials"), stage.now);
    let challenge = stage.say().unwrap();
    let text = between(
        &challenge,
        "<challenge xmlns='urn:xmpp:sasl:2'>",
        "</challenge>",
    );
    let (expect, answer) = scram.respond(&decode(text).unwrap()).unwrap();
    let answer = encode(&answer);
    let response = format!("<response xmlns='urn:xmpp:sasl:2'>{answer}</response>");
    hear(&mut stage, &response);
    let success = stage.say().unwrap();
    let proof = between(&success, "<additional-data>", "</additional-data>");
    expect.verify(&decode(proof).unwrap()).unwrap();
    let who = "<authorization-identifier>alice@a.example</authorization-identifier>";
    assert!(success.contains(who), "{success}");
    play(&mut stage, "S: <stream:features*");
}

#[test]
fn refusals_are_in_the_words_of_the_profile() {
    let mut stage = stage();
    let message = encode(b"\0alice\0wrong");
    play(
        &mut stage,
        &format!(
            "C: <authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'><initial-response>{message}</initial-response><bind xmlns='urn:xmpp:bind:0'/></authenticate>
            E: Credentials(alice@a.example)
            !: credentials
            E: Check(*
            !: wrong
            S: <failure xmlns='urn:xmpp:sasl:2'><not-authorized xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/></failure>
            E: Failed(Some(alice@a.example))
            C: <authenticate xmlns='urn:xmpp:sasl:2' mechanism='X'/>
            S: <failure xmlns='urn:xmpp:sasl:2'><invalid-mechanism *
            E: Failed(None)
            C: <response xmlns='urn:xmpp:sasl:2'/>
            S: <failure xmlns='urn:xmpp:sasl:2'><malformed-request *
            E: Failed(None)
            C: <abort xmlns='urn:xmpp:sasl:2'/>
            S: <failure xmlns='urn:xmpp:sasl:2'><aborted *
            C: <auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='X'/>
            S: <failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>*
            E: Failed(None)
            S: <stream:error *<policy-violation *
            S: </stream:stream>
            E: Closed(*"
        ),
    );
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    text.split_once(start).unwrap().1.split_once(end).unwrap().0
}

const FAST: &str = "<fast xmlns='urn:xmpp:fast:0' count='2'/>";

/// `<authenticate/>` with a token.
fn with_token(mechanism: &str, message: &[u8], inline: &str) -> String {
    let message = encode(message);
    format!(
        "C: <authenticate xmlns='urn:xmpp:sasl:2' mechanism='{mechanism}'><initial-response>{message}</initial-response>{inline}</authenticate>"
    )
}

#[test]
fn a_token_is_asked_for_and_logs_in_again() {
    let mut stage = stage();
    let request = "<request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-NONE'/>";
    let authenticate = authenticate(&format!("{AGENT}{request}<bind xmlns='urn:xmpp:bind:0'/>"));
    play(
        &mut stage,
        &format!(
            "{authenticate}
            E: Token(FastWanted {{ account: alice@a.example, agent: \"d4565fa7*\", mechanism: \"HT-SHA-256-NONE\" }})
            !: token
            E: Bind*
            !: bound
            S: <success *<token xmlns='urn:xmpp:fast:0' expiry='2030-01-01T00:00:00Z' token='secret'/><bound *
            S: <stream:features*
            E: Done"
        ),
    );
    let mut stage = self::stage();
    let message = [&b"alice\0"[..], &[1; 32]].concat();
    let authenticate = with_token(
        "HT-SHA-256-NONE",
        &message,
        &format!("{AGENT}{FAST}<bind xmlns='urn:xmpp:bind:0'/>"),
    );
    play(
        &mut stage,
        &format!(
            "{authenticate}
            E: Fast(FastAttempt {{ token: FastWanted {{ account: alice@a.example, *count: Some(2), invalidate: false }})
            !: accepted
            E: Bind*
            !: bound
            S: <success xmlns='urn:xmpp:sasl:2'><additional-data>AgI=</additional-data>*<bound *
            S: <stream:features*
            E: Done"
        ),
    );
}

#[test]
fn a_token_that_is_refused_leaves_the_password() {
    let mut stage = stage();
    let message = [&b"alice\0"[..], &[1; 32]].concat();
    let token = with_token("HT-SHA-256-NONE", &message, &format!("{AGENT}{FAST}"));
    let password = authenticate("");
    play(
        &mut stage,
        &format!(
            "{token}
            E: Fast(*
            !: refused token
            S: <failure xmlns='urn:xmpp:sasl:2'><not-authorized *
            E: Failed(Some(alice@a.example))
            {password}
            S: <success *
            S: <stream:features*"
        ),
    );
}

#[test]
fn messages_of_tokens_that_are_none() {
    let good = [&b"alice\0"[..], &[1; 32]].concat();
    let short = [&b"alice\0"[..], &[1; 31]].concat();
    let nobody = [&b"\0"[..], &[1; 32]].concat();
    let foreign = [&b"alice@b.example\0"[..], &[1; 32]].concat();
    let both = format!("{AGENT}{FAST}");
    for (mechanism, message, inline, condition) in [
        ("HT-SHA-256-EXPR", &good, both.as_str(), "invalid-mechanism"),
        ("HT-SHA-1-NONE", &good, &both, "invalid-mechanism"),
        ("HT-SHA-256-NONE", &short, &both, "malformed-request"),
        ("HT-SHA-256-NONE", &nobody, &both, "malformed-request"),
        ("HT-SHA-256-NONE", &foreign, &both, "not-authorized"),
        ("HT-SHA-256-NONE", &good, AGENT, "malformed-request"),
        ("HT-SHA-256-NONE", &good, FAST, "malformed-request"),
    ] {
        let token = with_token(mechanism, message, inline);
        play(
            &mut stage(),
            &format!(
                "{token}\nS: <failure xmlns='urn:xmpp:sasl:2'><{condition} *\nE: Failed(None)"
            ),
        );
    }
}
