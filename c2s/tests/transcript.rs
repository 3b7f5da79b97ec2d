//! Transcripts of clients' streams. S: is what our side says.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use comity_c2s::link::Credentials;
use comity_c2s::negotiate::{self, Negotiate, Secured};
use comity_c2s::session::{self, Session};
use comity_net::tls::EndPoint;
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError, StreamCondition, StreamError};
use comity_xmpp::frame::Limits;
use comity_xmpp::jid::Jid;
use comity_xmpp::machine::{Frame, Machine as _};
use comity_xmpp::ns;
use comity_xmpp::sasl::client::{Requested, Scram};
use comity_xmpp::sasl::{Hash, ScramKeys, decode, encode};
use comity_xmpp::stanza::Stanza;
use comity_xmpp::stream::Header;
use comity_xmpp::transcript::Transcript;

const LIMITS: Limits = Limits {
    element_bytes: 16 * 1024,
    depth: 16,
    attributes: 32,
    name_bytes: 256,
};
const OPEN: &str = "C: <?xml version='1.0'?><stream:stream to='a.example' version='1.0' \
    xml:lang='de' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
const HEADER: &str = "S: <stream:stream *from='a.example'*";

fn negotiate(secured: bool) -> Transcript<Negotiate> {
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
    let secured = secured.then_some(Secured::default());
    Transcript::new(LIMITS, |now| Negotiate::new(settings, secured, now))
}

/// Of a certificate made for this.
fn end_point() -> EndPoint {
    let name = format!("comity-c2s-{}", comity_net::random::id());
    let directory = std::env::temp_dir().join(name);
    let domains = ["a.example".to_owned()];
    let made = comity_net::tls::local::ensure(&directory, &domains, SystemTime::now()).unwrap();
    let chain = made.certificates[0].load().unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    EndPoint::of(&chain[0]).unwrap()
}

fn keys(hash: Hash) -> ScramKeys {
    ScramKeys::derive(hash, "sesame", b"salt", 4096.try_into().unwrap())
}

fn command(words: &str) -> negotiate::Command {
    use negotiate::Command;
    match words {
        "tls" => Command::TlsStarted(Secured::default()),
        "tls with exporter" => Command::TlsStarted(Secured {
            exporter: Some([7; 32]),
            end_point: None,
        }),
        "tls with both bindings" => Command::TlsStarted(Secured {
            exporter: Some([7; 32]),
            end_point: Some(end_point()),
        }),
        "credentials" | "disabled" => Command::Credentials(Credentials {
            sha1: keys(Hash::Sha1),
            sha256: keys(Hash::Sha256),
            plain: Hash::Sha256,
            usable: words == "credentials",
        }),
        "right" => Command::Checked(true),
        "wrong" => Command::Checked(false),
        "refused" => Command::Bound(Err(StanzaError::new(
            ErrorType::Wait,
            StanzaCondition::ResourceConstraint,
        ))),
        "gone" => Command::Resumed(Err(negotiate::NotResumed { h: None })),
        "made" => Command::Registered(Ok(())),
        "taken" => Command::Registered(Err(StanzaError::new(
            ErrorType::Cancel,
            StanzaCondition::Conflict,
        ))),
        "stop" => Command::Close(StreamError::new(StreamCondition::SystemShutdown, "bye")),
        "back" => Command::Resumed(Ok(negotiate::Resumed {
            session: Jid::parse("alice@a.example/phone").unwrap(),
            h: 3,
        })),
        "expired" => Command::Resumed(Err(negotiate::NotResumed { h: Some(4) })),
        resumable if resumable.starts_with("resumable ") => {
            Command::Bound(Ok(negotiate::NewSession {
                session: Jid::parse(&resumable["resumable ".len()..]).unwrap(),
                id: Some("some-id".into()),
                welcome: Vec::new(),
            }))
        }
        jid => Command::Bound(Ok(negotiate::NewSession {
            session: Jid::parse(jid).unwrap(),
            id: None,
            welcome: Vec::new(),
        })),
    }
}

#[track_caller]
fn play(stage: &mut Transcript<Negotiate>, script: &str) {
    stage.play(script, command);
}

/// A client with TLS, at the offer of mechanisms.
fn secured() -> Transcript<Negotiate> {
    let mut stage = negotiate(true);
    play(
        &mut stage,
        &format!(
            "{OPEN}
            {HEADER}
            S: <stream:features*<mechanisms*SCRAM-SHA-256</mechanism>*SCRAM-SHA-1<*PLAIN<*</stream:features>"
        ),
    );
    stage
}

fn plain(authzid: &str, user: &str, password: &str) -> String {
    let message = encode(format!("{authzid}\0{user}\0{password}").as_bytes());
    format!(
        "C: <auth xmlns='{}' mechanism='PLAIN'>{message}</auth>",
        ns::SASL
    )
}

fn authenticated() -> Transcript<Negotiate> {
    let mut stage = secured();
    let auth = plain("", "alice", "sesame");
    play(
        &mut stage,
        &format!(
            "{auth}
            E: Credentials(alice@a.example)
            !: credentials
            E: Check(*
            !: right
            S: <success*
            E: Restart
            {OPEN}
            {HEADER}
            S: <stream:features*<bind*<sm*"
        ),
    );
    stage
}

const BIND: &str = "C: <iq type='set' id='b1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
    <resource>phone</resource></bind></iq>";

fn session() -> Transcript<Session> {
    let mut stage = authenticated();
    play(
        &mut stage,
        &format!(
            "{BIND}
            E: Bind {{ account: alice@a.example, resource: Some(\"phone\"), options: *
            !: alice@a.example/phone
            S: <iq type='result' id='b1'><bind*<jid>alice@a.example/phone</jid></bind></iq>
            E: Done"
        ),
    );
    stage.map(|negotiate, now| {
        let settings = session::Settings {
            silence: Duration::from_secs(300),
            sign_of_life: Duration::from_secs(30),
            unacked: 8,
            resumption: Some(Duration::from_secs(300)),
        };
        Session::begin(negotiate, None, settings, now).expect("bound")
    })
}

fn committed(kept: Option<u32>) -> session::Command {
    session::Command::Committed { stanzas: 1, kept }
}

fn stanza(text: &str) -> Stanza {
    let bytes = bytes::Bytes::copy_from_slice(text.as_bytes());
    Stanza::parse(&bytes, &Header::of(ns::CLIENT)).unwrap()
}

#[track_caller]
fn talk(stage: &mut Transcript<Session>, script: &str) {
    use session::Command;
    stage.play(script, |words| match words {
        "committed" => committed(None),
        "committed 1" => committed(Some(1)),
        "committed 2" => committed(Some(2)),
        "kept 3" => Command::Kept(Some(3)),
        "not kept" => Command::Kept(None),
        "nothing" => Command::Void,
        "not managed" => Command::Managed(None),
        "managed" => Command::Managed(Some(session::Managed {
            key: "key".into(),
            id: None,
        })),
        "flushed" => Command::Flushed,
        "close" => Command::Close(None),
        "id" => Command::Managed(Some(session::Managed {
            key: "key".into(),
            id: Some("id".into()),
        })),
        "stop" => Command::Close(Some(StreamError::new(
            StreamCondition::SystemShutdown,
            "bye",
        ))),
        text => Command::Deliver(Arc::new(stanza(text))),
    });
}

#[test]
fn the_whole_way_to_a_session() {
    let mut stage = negotiate(false);
    play(
        &mut stage,
        &format!(
            "{OPEN}
            {HEADER}
            S: <stream:features*<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>
            C: <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>
            S: <proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>
            E: StartTls
            !: tls
            {OPEN}
            {HEADER}
            S: <stream:features*<mechanism>SCRAM-SHA-256</mechanism>*"
        ),
    );
    session();
}

#[test]
fn what_was_said_in_clear_after_starttls_is_never_read() {
    let mut stage = negotiate(false);
    play(
        &mut stage,
        &format!(
            "{OPEN}
            {HEADER}
            S: <stream:features*
            C: <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGFsaWNlAHNlc2FtZQ==</auth>
            S: <proceed*
            E: StartTls
            !: tls
            {OPEN}
            {HEADER}
            S: <stream:features*<mechanisms*"
        ),
    );
}

#[test]
fn channel_binding_is_offered_where_the_connection_has_one() {
    let mut stage = negotiate(false);
    play(
        &mut stage,
        &format!(
            "{OPEN}
            {HEADER}
            S: <stream:features*
            C: <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>
            S: <proceed*
            E: StartTls
            !: tls with exporter
            {OPEN}
            {HEADER}
            S: <stream:features*<mechanism>SCRAM-SHA-256-PLUS</mechanism>*<channel-binding type='tls-exporter'/>*"
        ),
    );
}

/// XEP-0440, XEP-0484: each binding is offered, for SCRAM and for tokens.
#[test]
fn the_certificates_binding_is_offered_beside() {
    let mut stage = negotiate(false);
    play(
        &mut stage,
        &format!(
            "{OPEN}
            {HEADER}
            S: <stream:features*
            C: <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>
            S: <proceed*
            E: StartTls
            !: tls with both bindings
            {OPEN}
            {HEADER}
            S: <stream:features*<channel-binding type='tls-exporter'/><channel-binding type='tls-server-end-point'/>*<mechanism>HT-SHA-256-EXPR</mechanism><mechanism>HT-SHA-256-ENDP</mechanism><mechanism>HT-SHA-256-NONE</mechanism>*"
        ),
    );
}

#[test]
fn headers_that_cannot_be_served() {
    let wrong = [
        (
            "to='b.example' version='1.0' xmlns='jabber:client'",
            "host-unknown",
        ),
        ("version='1.0' xmlns='jabber:client'", "host-unknown"),
        (
            "to='x@a.example' version='1.0' xmlns='jabber:client'",
            "host-unknown",
        ),
        (
            "to='a.example' xmlns='jabber:client'",
            "unsupported-version",
        ),
        (
            "to='a.example' version='0.9' xmlns='jabber:client'",
            "unsupported-version",
        ),
        (
            "to='a.example' version='1.0' xmlns='jabber:server'",
            "invalid-namespace",
        ),
        ("to='a.example' version='1.0'", "invalid-namespace"),
    ];
    for (attributes, condition) in wrong {
        let mut stage = negotiate(false);
        play(
            &mut stage,
            &format!(
                "C: <stream:stream {attributes} xmlns:stream='http://etherx.jabber.org/streams'>
                S: <stream:stream *
                S: <stream:error*<{condition} *<text *
                S: </stream:stream>
                E: Closed(Some(*"
            ),
        );
    }
}

#[test]
fn nothing_comes_before_its_time() {
    let early = [
        "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AA==</auth>",
        "<message to='x@a.example'/>",
        "<enable xmlns='urn:xmpp:sm:3'/>",
    ];
    for early in early {
        let mut stage = negotiate(false);
        play(
            &mut stage,
            &format!(
                "{OPEN}
                {HEADER}
                S: <stream:features*
                C: {early}
                S: <stream:error*<policy-violation *
                S: </stream:stream>
                E: Closed(Some(*"
            ),
        );
    }
    let mut stage = secured();
    play(
        &mut stage,
        "C: <message to='x@a.example'/>
        S: <stream:error*<not-authorized *
        S: </stream:stream>
        E: Closed(Some(*",
    );
    let mut stage = authenticated();
    play(
        &mut stage,
        "C: <message to='x@a.example'/>
        S: <stream:error*<not-authorized *
        S: </stream:stream>
        E: Closed(Some(*",
    );
}

/// The text of the element that was said last.
fn text_of(said: Option<String>) -> Vec<u8> {
    let said = said.expect("something was said");
    let text = said.split(['<', '>']).nth(2).unwrap();
    decode(text).unwrap()
}

#[test]
fn scram_to_its_end() {
    let wanted = Requested::Unsupported;
    for (name, hash) in [("SCRAM-SHA-256", Hash::Sha256), ("SCRAM-SHA-1", Hash::Sha1)] {
        for password in ["sesame", "wrong"] {
            let mut stage = secured();
            let (scram, first) = Scram::new(hash, "alice", password, "n", &wanted).unwrap();
            let first = encode(&first);
            play(
                &mut stage,
                &format!(
                    "C: <auth xmlns='{}' mechanism='{name}'>{first}</auth>
                    E: Credentials(alice@a.example)",
                    ns::SASL
                ),
            );
            stage.machine.command(command("credentials"), stage.now);
            let challenge = text_of(stage.say());
            let (expect, last) = scram.respond(&challenge).unwrap();
            let response = format!(
                "<response xmlns='{}'>{}</response>",
                ns::SASL,
                encode(&last)
            );
            if password == "wrong" {
                play(
                    &mut stage,
                    &format!(
                        "C: {response}\nS: <failure*<not-authorized/>*\n\
                         E: Failed(Some(alice@a.example))"
                    ),
                );
                continue;
            }
            let frame = Frame::Element(response.into());
            stage.machine.receive(frame, stage.now);
            expect.verify(&text_of(stage.say())).unwrap();
            play(&mut stage, "E: Restart");
        }
    }
}

#[test]
fn whoever_would_be_another_is_refused() {
    let mut stage = secured();
    let auth = plain("bob@a.example", "alice", "sesame");
    play(
        &mut stage,
        &format!("{auth}\nS: <failure*<invalid-authzid/>*\nE: Failed(None)"),
    );
    for user in ["alice@b.example", "a lice", "@", "alice/x", "a.example/"] {
        let auth = plain("", user, "sesame");
        let mut stage = secured();
        play(
            &mut stage,
            &format!("{auth}\nS: <failure*<not-authorized/>*\nE: Failed(None)"),
        );
    }
    let auth = plain("alice@a.example", "alice@a.example", "sesame");
    play(
        &mut stage,
        &format!("{auth}\nE: Credentials(alice@a.example)"),
    );
}

#[test]
fn a_disabled_account_looks_like_a_wrong_password() {
    let auth = plain("", "alice", "sesame");
    for (credentials, answer) in [("disabled", "right"), ("credentials", "wrong")] {
        let mut stage = secured();
        play(
            &mut stage,
            &format!(
                "{auth}
                E: Credentials(*
                !: {credentials}
                E: Check(*
                !: {answer}
                S: <failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>
                E: Failed(Some(alice@a.example))"
            ),
        );
    }
}

#[test]
fn an_account_is_made_on_the_stream_that_then_logs_in() {
    let mut stage = secured();
    let query = |content: &str| format!("<query xmlns='jabber:iq:register'>{content}</query>");
    let wish = |id: &str, name: &str| {
        let both = format!("<username>{name}</username><password>sesame</password>");
        format!(
            "<iq type='set' id='{id}' to='a.example'>{}</iq>",
            query(&both)
        )
    };
    play(
        &mut stage,
        &format!(
            "C: <iq type='get' id='1'>{}</iq>
            S: <iq type='result' id='1'><query xmlns='jabber:iq:register'><instructions>*</instructions><username/><password/></query></iq>
            C: {}
            E: Register(Registration {{ account: alice@a.example*
            !: taken
            S: <iq type='error' from='a.example' id='2'><error type='cancel'><conflict *
            C: {}
            E: Register(Registration {{ account: al@a.example*
            !: made
            S: <iq type='result' from='a.example' id='3'/>
            {}
            E: Credentials(al@a.example)",
            query(""),
            wish("2", "alice"),
            wish("3", "Al"),
            plain("", "al", "sesame"),
        ),
    );
}

#[test]
fn who_asks_for_no_possible_account_is_told_so_a_few_times() {
    for (content, condition) in [
        ("<username>alice</username>", "not-acceptable"),
        ("<password>sesame</password>", "not-acceptable"),
        ("<username/><password>s</password>", "not-acceptable"),
        (
            "<username>@</username><password>s</password>",
            "not-acceptable",
        ),
        (
            "<username>b@c.example/</username><password>s</password>",
            "not-acceptable",
        ),
        (
            "<username>a/b</username><password>s</password>",
            "not-acceptable",
        ),
        ("<remove/>", "not-allowed"),
    ] {
        let mut stage = secured();
        let query = format!("<query xmlns='jabber:iq:register'>{content}</query>");
        let tries: Vec<String> = (1..negotiate::ATTEMPTS)
            .map(|n| {
                format!(
                    "C: <iq type='set' id='{n}'>{query}</iq>
                    S: <iq type='error' id='{n}'><error *<{condition} *"
                )
            })
            .collect();
        play(
            &mut stage,
            &format!(
                "{}
                C: <iq type='set' id='5'>{query}</iq>
                S: <iq type='error' id='5'*
                S: <stream:error*<policy-violation *
                S: </stream:stream>
                E: Closed(Some(*",
                tries.join("\n"),
            ),
        );
    }
    for other in [
        "<iq type='get' id='1'><query xmlns='jabber:iq:roster'/></iq>",
        "<iq type='get' id='1' to='b.example'><query xmlns='jabber:iq:register'/></iq>",
        "<message to='a.example'/>",
    ] {
        let mut stage = secured();
        play(
            &mut stage,
            &format!(
                "C: {other}
                S: <stream:error*<not-authorized *
                S: </stream:stream>
                E: Closed(Some(*"
            ),
        );
    }
}

#[test]
fn mechanisms_that_are_not_offered_and_messages_that_are_none() {
    let mut stage = secured();
    play(
        &mut stage,
        "C: <auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='DIGEST-MD5'/>
        S: <failure*<invalid-mechanism/>*
        E: Failed(None)
        C: <auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>?</auth>
        S: <failure*<incorrect-encoding/>*
        E: Failed(None)
        C: <response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>AA==</response>
        S: <failure*<malformed-request/>*
        E: Failed(None)
        C: <auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'/>
        S: <challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>
        C: <abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>
        S: <failure*<aborted/>*",
    );
}

#[test]
fn failures_to_authenticate_have_a_limit() {
    let mut stage = secured();
    let bad = "C: <auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='X'/>
        S: <failure*";
    for _ in 1..negotiate::ATTEMPTS {
        play(&mut stage, &format!("{bad}\nE: Failed(None)"));
    }
    play(
        &mut stage,
        &format!(
            "{bad}
            E: Failed(None)
            S: <stream:error*<policy-violation *
            S: </stream:stream>
            E: Closed(Some(*"
        ),
    );
}

#[test]
fn negotiation_does_not_last_for_ever() {
    let mut stage = secured();
    play(
        &mut stage,
        "T: 59
        T: 1
        S: <stream:error*<connection-timeout *
        S: </stream:stream>
        E: Closed(Some(*",
    );
}

#[test]
fn a_stop_is_told_in_the_middle_of_it() {
    let mut stage = negotiate(false);
    play(
        &mut stage,
        "!: stop
        S: <stream:stream *
        S: <stream:error*<system-shutdown *
        S: </stream:stream>
        E: Closed(Some(*",
    );
}

#[test]
fn too_large_before_login() {
    let mut stage = secured();
    let large = "x".repeat(LIMITS.element_bytes);
    play(
        &mut stage,
        &format!(
            "C: <auth>{large}
            S: <stream:error*<policy-violation *
            S: </stream:stream>
            E: Closed(Some(*"
        ),
    );
}

#[test]
fn after_authentication_the_host_stays() {
    let mut stage = secured();
    let auth = plain("", "alice", "sesame");
    let elsewhere = OPEN.replace("a.example", "b.example");
    play(
        &mut stage,
        &format!(
            "{auth}
            E: Credentials(*
            !: credentials
            E: Check(*
            !: right
            S: <success*
            E: Restart
            {elsewhere}
            S: <stream:stream *
            S: <stream:error*<host-unknown *
            S: </stream:stream>
            E: Closed(Some(*"
        ),
    );
}

#[test]
fn binding_may_be_refused_and_tried_again() {
    let mut stage = authenticated();
    play(
        &mut stage,
        &format!(
            "{BIND}
            E: Bind*
            !: refused
            S: <iq type='error' id='b1'><error type='wait'><resource-constraint *
            C: <iq type='set' id='b2'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>&#x200B;</resource></bind></iq>
            S: <iq type='error' id='b2'><error type='modify'><bad-request *
            C: <resume xmlns='urn:xmpp:sm:3' h='0' previd='x'/>
            E: Resume {{ account: alice@a.example, id: \"x\", h: 0 }}
            !: gone
            S: <failed xmlns='urn:xmpp:sm:3'><item-not-found *
            C: <enable xmlns='urn:xmpp:sm:3'/>
            S: <failed xmlns='urn:xmpp:sm:3'><unexpected-request *
            C: <iq type='set' id='b3'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>
            E: Bind {{ account: alice@a.example, resource: None, options: *
            !: alice@a.example/made
            S: <iq type='result' id='b3'>*<jid>alice@a.example/made</jid>*
            E: Done"
        ),
    );
}

#[test]
fn stanzas_are_stamped_and_false_ones_end_the_stream() {
    let mut stage = session();
    talk(
        &mut stage,
        "C: <message to='bob@b.example'><body>hi</body></message>
        E: Stanza(*from: Some(alice@a.example/phone)*
        !: committed
        C: <message from='alice@a.example' to='bob@b.example'/>
        E: Stanza(*from: Some(alice@a.example/phone)*
        !: committed
        C: <message from='alice@a.example/other' to='bob@b.example'/>
        S: <stream:error*<invalid-from *
        S: </stream:stream>
        E: Closed(Some(*",
    );
}

#[test]
fn a_bad_stanza_is_answered_and_the_stream_goes_on() {
    let mut stage = session();
    talk(
        &mut stage,
        "C: <iq type='fetch' id='1' to='a.example'><x xmlns='y'/></iq>
        E: Answer(Stanza { kind: Iq(Error)*alice@a.example/phone*bad-request*
        C: <message to='@@' id='2'><body>hi</body></message>
        E: Answer(Stanza { kind: Message(Error)*alice@a.example/phone*jid-malformed*
        C: <message to='bob@b.example'/>
        E: Stanza(*",
    );
}

#[test]
fn what_is_no_stanza_ends_the_stream() {
    for (sent, condition) in [
        // A false 'from' beside another fault, too.
        ("<message from='eve@a.example' to='@@'/>", "invalid-from"),
        ("<query xmlns='jabber:client'/>", "unsupported-stanza-type"),
        ("<message xmlns='urn:x'/>", "*"),
        ("<!-- hi --><message/>", "*restricted-xml"),
        ("<message></presence>", "not-well-formed"),
    ] {
        let mut stage = session();
        talk(
            &mut stage,
            &format!(
                "C: {sent}
                S: <stream:error*<{condition} *
                S: </stream:stream>
                E: Closed(Some(*"
            ),
        );
    }
}

#[test]
fn acknowledgements_count_what_is_committed() {
    let mut stage = session();
    talk(
        &mut stage,
        "C: <presence/>
        E: Stanza(*
        C: <enable xmlns='urn:xmpp:sm:3' resume='true'/>
        E: Manage { resume: true }
        !: id
        S: <enabled xmlns='urn:xmpp:sm:3' id='id' resume='true' max='300'/>
        C: <message id='1'/><message id='2'/><r xmlns='urn:xmpp:sm:3'/>
        E: Stanza(*
        E: Stanza(*
        !: committed
        !: committed 1
        !: committed 2
        S: <a xmlns='urn:xmpp:sm:3' h='2'/>
        C: <enable xmlns='urn:xmpp:sm:3'/>
        S: <failed xmlns='urn:xmpp:sm:3'><unexpected-request *
        C: <message id='3'/>
        E: Stanza(*
        !: committed
        C: <r xmlns='urn:xmpp:sm:3'/>
        E: Keep(3)
        !: not kept
        C: <r xmlns='urn:xmpp:sm:3'/>
        E: Keep(3)
        C: <iq type='result' id='comity-ping'/>
        !: kept 3
        S: <a xmlns='urn:xmpp:sm:3' h='3'/>
        E: Keep(4)
        C: </stream:stream>
        S: <a xmlns='urn:xmpp:sm:3' h='3'/>
        S: </stream:stream>
        E: Closed(None)",
    );
}

#[test]
fn what_is_not_acknowledged_is_kept() {
    let mut stage = session();
    talk(
        &mut stage,
        "C: <enable xmlns='urn:xmpp:sm:3'/>
        E: Manage { resume: false }
        !: not managed
        S: <enabled*
        !: <message id='1'/>
        S: <message id='1'/>
        S: <r xmlns='urn:xmpp:sm:3'/>
        !: <message id='2'/>
        S: <message id='2'/>
        !: flushed
        C: <a xmlns='urn:xmpp:sm:3' h='1'/>
        S: <r xmlns='urn:xmpp:sm:3'/>",
    );
    let ids: Vec<_> = stage
        .machine
        .into_unacked()
        .iter()
        .map(|s| s.id.clone())
        .collect();
    assert_eq!(ids, [Some("2".into())]);
}

#[test]
fn without_acknowledgements_what_was_written_is_gone() {
    let mut stage = session();
    talk(
        &mut stage,
        "!: <message id='1'/>
        S: <message id='1'/>
        !: flushed
        !: <message id='2'/>
        S: <message id='2'/>",
    );
    let ids: Vec<_> = stage
        .machine
        .into_unacked()
        .iter()
        .map(|s| s.id.clone())
        .collect();
    assert_eq!(ids, [Some("2".into())]);
}

#[test]
fn a_client_that_acknowledges_too_much_or_too_little() {
    let mut stage = session();
    talk(
        &mut stage,
        "C: <enable xmlns='urn:xmpp:sm:3'/>
        E: Manage { resume: false }
        !: not managed
        S: <enabled*
        C: <a xmlns='urn:xmpp:sm:3' h='1'/>
        S: <a *h='0'/>
        S: <stream:error*<undefined-condition *<handled-count-too-high *
        S: </stream:stream>
        E: Closed(Some(*",
    );
    let mut stage = session();
    talk(
        &mut stage,
        "C: <enable xmlns='urn:xmpp:sm:3'/>
        E: Manage { resume: false }
        !: not managed
        S: <enabled*
        !: <message/>
        S: <message/>
        S: <r *",
    );
    for _ in 0..7 {
        talk(&mut stage, "!: <message/>\nS: <message/>");
    }
    talk(
        &mut stage,
        "!: <message/>
        S: <message/>
        S: <a *
        S: <stream:error*<policy-violation *
        S: </stream:stream>
        E: Closed(Some(*",
    );
    assert_eq!(stage.machine.into_unacked().len(), 9);
}

#[test]
fn silence_is_asked_about_and_then_ended() {
    let mut stage = session();
    talk(
        &mut stage,
        "T: 300
        S: <iq type='get' from='a.example' to='alice@a.example/phone' id='comity-ping'>*
        C: <iq type='result' id='comity-ping' to='a.example'/>
        T: 299
        T: 1
        S: <iq type='get'*
        T: 30
        S: <stream:error*<connection-timeout *
        S: </stream:stream>
        E: Closed(Some(*",
    );
    let mut stage = session();
    talk(
        &mut stage,
        "C: <enable xmlns='urn:xmpp:sm:3'/>
        E: Manage { resume: false }
        !: not managed
        S: <enabled*
        T: 300
        S: <r xmlns='urn:xmpp:sm:3'/>
        C: <a xmlns='urn:xmpp:sm:3' h='0'/>
        T: 30",
    );
}

#[test]
fn our_close_waits_for_theirs_but_not_for_ever() {
    let mut stage = session();
    talk(
        &mut stage,
        "!: close
        S: </stream:stream>
        C: <message id='late'/>
        E: Stanza(*
        !: <message id='too late'/>
        T: 5
        E: Closed(None)",
    );
    assert_eq!(stage.machine.into_unacked().len(), 1);
}

#[test]
fn old_clients_may_ask_for_a_session() {
    let mut stage = session();
    talk(
        &mut stage,
        "C: <iq type='set' id='s'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>
        E: Answer(Stanza { kind: Iq(Result)*",
    );
}

#[test]
fn the_window_of_uncommitted_stanzas_is_bounded() {
    let mut stage = session();
    for _ in 0..session::WINDOW {
        talk(&mut stage, "C: <message/>\nE: Stanza(*");
    }
    talk(
        &mut stage,
        "C: <message id='beyond'/>\n!: committed\nE: Stanza(*beyond*",
    );
}

#[test]
fn whether_anybody_looks_at_the_client() {
    let mut stage = session();
    talk(
        &mut stage,
        "C: <inactive xmlns='urn:xmpp:csi:0'/>
        E: Idle(true)
        C: <active xmlns='urn:xmpp:csi:0'/>
        E: Idle(false)",
    );
}

/// What was counted is said, even if nothing has come of it.
#[test]
fn an_empty_place_is_filled() {
    let mut stage = session();
    talk(
        &mut stage,
        "!: nothing
        C: <enable xmlns='urn:xmpp:sm:3'/>
        E: Manage { resume: false }
        !: managed
        S: <enabled xmlns='urn:xmpp:sm:3'/>
        !: nothing
        S: <iq type='get' *id='comity-ping'><ping *
        S: <r xmlns='urn:xmpp:sm:3'/>
        C: <a xmlns='urn:xmpp:sm:3' h='1'/>
        E: Acknowledged(1)",
    );
}
