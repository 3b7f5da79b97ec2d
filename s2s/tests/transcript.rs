//! Transcripts of streams with peers. S: is what our side says, C: what the peer does.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use comity_net::tls::verdict::Unproven;
use comity_s2s::certificate::Proof;
use comity_s2s::dialback::{Query, Secret, Verdict};
use comity_s2s::incoming::{self, Domains, Incoming, WINDOW};
use comity_s2s::outgoing::{self, Outgoing, Parcel};
use comity_xmpp::error::{StanzaCondition, StreamCondition, StreamError};
use comity_xmpp::frame::Limits;
use comity_xmpp::transcript::Transcript;

const LIMITS: Limits = Limits {
    element_bytes: 16 * 1024,
    depth: 16,
    attributes: 32,
    name_bytes: 256,
};
const MINUTE: Duration = Duration::from_secs(60);

/// A certificate for these domains.
struct For(&'static [&'static str]);

impl Proof for For {
    fn speaks_for(&self, _: &str, domain: &str, _: SystemTime) -> Result<(), Unproven> {
        if self.0.contains(&domain) {
            return Ok(());
        }
        Err(Unproven::OtherName {
            wanted: domain.to_owned(),
            found: self.0.iter().map(|&name| name.to_owned()).collect(),
        })
    }
}

/// No certificate at all.
struct Nothing;

impl Proof for Nothing {
    fn speaks_for(&self, _: &str, _: &str, _: SystemTime) -> Result<(), Unproven> {
        Err(Unproven::Absent)
    }
}

fn secret() -> Secret {
    Secret::new(b"s3cr3tf0rd14lb4ck")
}

fn query(theirs: &str, key: &str) -> Query {
    Query {
        ours: "a.example".to_owned(),
        theirs: theirs.to_owned(),
        id: "one".to_owned(),
        key: key.to_owned(),
    }
}

fn header(from: &str, to: &str) -> String {
    format!(
        "C: <?xml version='1.0'?><stream:stream {from} {to} version='1.0' xmlns='jabber:server' \
         xmlns:stream='http://etherx.jabber.org/streams'>"
    )
}

fn from_b() -> String {
    header("from='b.example'", "to='a.example'")
}

fn incoming(proof: Option<&'static [&'static str]>) -> Transcript<Incoming> {
    let proof = proof.map(|names| Box::new(For(names)) as Box<dyn Proof>);
    incoming_with(proof, None)
}

fn incoming_with(proof: Option<Box<dyn Proof>>, dialback: Option<Secret>) -> Transcript<Incoming> {
    let settings = incoming::Settings {
        domains: Domains {
            serves: Arc::new(|domain| domain.ends_with("a.example")),
            federates: Arc::new(|ours, domain| {
                domain != "evil.example" && ours != "quiet.a.example"
            }),
            dials_back: Arc::new(|_, domain| domain != "strict.example"),
        },
        ids: ["one".to_owned(), "two".to_owned(), "three".to_owned()],
        dialback,
        bidi: false,
        negotiation: MINUTE,
        idle: 10 * MINUTE,
    };
    Transcript::new(LIMITS, |now| Incoming::new(settings, proof, now))
}

#[track_caller]
fn receive(stage: &mut Transcript<Incoming>, script: &str) {
    use incoming::Command;
    stage.play(script, |words| match words {
        "tls" => Command::TlsStarted(Box::new(For(&["b.example"]))),
        "committed" => Command::Committed,
        "held" => Command::Held(41),
        "close" => Command::Close(None),
        "valid" => Command::Verified(query("b.example", "KEY"), Verdict::Valid),
        "invalid" => Command::Verified(query("b.example", "KEY"), Verdict::Invalid),
        "unreachable" => Command::Verified(
            query("b.example", "KEY"),
            Verdict::Error(StanzaCondition::RemoteServerTimeout),
        ),
        "c valid" => Command::Verified(query("c.example", "KEY2"), Verdict::Valid),
        _ => Command::Close(Some(StreamError::new(
            StreamCondition::SystemShutdown,
            "bye",
        ))),
    });
}

fn trusted() -> Transcript<Incoming> {
    trusted_with(None)
}

fn trusted_with(dialback: Option<Secret>) -> Transcript<Incoming> {
    let mut stage = incoming_with(Some(Box::new(For(&["b.example"]))), dialback);
    let open = from_b();
    receive(
        &mut stage,
        &format!(
            "{open}
            S: <stream:stream *from='a.example' to='b.example' id='one'*
            S: <stream:features*<mechanism>EXTERNAL</mechanism>*
            C: <auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>
            S: <success*
            E: Restart
            {open}
            S: <stream:stream *id='two'*
            S: <stream:features*<sm xmlns='urn:xmpp:sm:3'/>*
            E: Trusted(\"b.example\")"
        ),
    );
    stage
}

#[test]
fn a_peer_proves_itself_by_its_certificate() {
    let mut stage = incoming(None);
    let open = from_b();
    receive(
        &mut stage,
        &format!(
            "{open}
            S: <stream:stream *
            S: <stream:features*<starttls*<required/>*
            C: <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>
            S: <proceed*
            E: StartTls
            !: tls
            {open}
            S: <stream:stream *id='two'*
            S: <stream:features*<mechanism>EXTERNAL</mechanism>*
            C: <auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>Yi5leGFtcGxl</auth>
            S: <success*
            E: Restart
            {open}
            S: <stream:stream *id='three'*
            S: <stream:features*
            E: Trusted(\"b.example\")"
        ),
    );
    trusted();
}

#[test]
fn a_certificate_for_another_proves_nothing() {
    let mut stage = incoming(Some(&["c.example"]));
    let open = from_b();
    receive(
        &mut stage,
        &format!(
            "{open}
            S: <stream:stream *
            S: <stream:error*<not-authorized *c.example, not for b.example*
            S: </stream:stream>
            E: Closed(Some(*"
        ),
    );
}

#[test]
fn headers_that_cannot_be_served() {
    let b = "from='b.example'";
    let a = "to='a.example'";
    for (from, to, condition) in [
        (b, "to='c.example'", "host-unknown"),
        (b, "", "host-unknown"),
        (b, "to='x@a.example'", "host-unknown"),
        ("", a, "improper-addressing"),
        ("from='x@b.example'", a, "improper-addressing"),
        ("from='evil.example'", a, "policy-violation"),
        ("from='a.example'", a, "policy-violation"),
    ] {
        let mut stage = incoming(None);
        let open = header(from, to);
        receive(
            &mut stage,
            &format!(
                "{open}
                S: <stream:stream *
                S: <stream:error*<{condition} *<text *
                S: </stream:stream>
                E: Closed(Some(*"
            ),
        );
    }
    for (wrong, condition) in [
        (
            from_b().replace("jabber:server", "jabber:client"),
            "invalid-namespace",
        ),
        (
            from_b().replace("version='1.0' x", "x"),
            "unsupported-version",
        ),
    ] {
        let mut stage = incoming(None);
        receive(
            &mut stage,
            &format!(
                "{wrong}
                S: <stream:stream *
                S: <stream:error*<{condition} *
                S: </stream:stream>
                E: Closed(Some(*"
            ),
        );
    }
}

#[test]
fn external_is_for_the_domain_of_the_header() {
    let mut stage = incoming(Some(&["b.example"]));
    let open = from_b();
    receive(
        &mut stage,
        &format!(
            "{open}
            S: <stream:stream *
            S: <stream:features*
            C: <auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>=</auth>
            S: <failure*<invalid-mechanism/>*
            C: <auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>Yy5leGFtcGxl</auth>
            S: <failure*<invalid-authzid/>*
            C: <auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'/>
            S: <challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>
            C: <response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>?</response>
            S: <failure*<incorrect-encoding/>*
            S: <stream:error*<policy-violation *
            S: </stream:stream>
            E: Closed(Some(*"
        ),
    );
}

#[test]
fn after_authentication_the_domain_stays() {
    let mut stage = incoming(Some(&["b.example", "c.example"]));
    let (open, other) = (from_b(), header("from='c.example'", "to='a.example'"));
    receive(
        &mut stage,
        &format!(
            "{open}
            S: <stream:stream *
            S: <stream:features*
            C: <auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'/>
            S: <challenge*
            C: <response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>=</response>
            S: <success*
            E: Restart
            {other}
            S: <stream:stream *
            S: <stream:error*<invalid-from *
            S: </stream:stream>
            E: Closed(Some(*"
        ),
    );
}

#[test]
fn nothing_comes_before_its_time() {
    let open = from_b();
    for (proof, sent, condition) in [
        (
            None,
            "<message from='b.example' to='a.example'/>",
            "policy-violation",
        ),
        (
            None,
            "<db:result xmlns:db='jabber:server:dialback'>x</db:result>",
            "policy-violation",
        ),
        (
            Some(&["b.example"][..]),
            "<message from='b.example' to='a.example'/>",
            "not-authorized",
        ),
        (
            Some(&["b.example"][..]),
            "<enable xmlns='urn:xmpp:sm:3'/>",
            "not-authorized",
        ),
    ] {
        let mut stage = incoming(proof);
        receive(
            &mut stage,
            &format!(
                "{open}
                S: <stream:stream *
                S: <stream:features*
                C: {sent}
                S: <stream:error*<{condition} *
                S: </stream:stream>
                E: Closed(Some(*"
            ),
        );
    }
}

#[test]
fn stanzas_come_from_the_proved_domain_and_go_to_ours() {
    let mut stage = trusted();
    receive(
        &mut stage,
        "C: <message from='bob@b.example/x' to='alice@a.example'/>
        E: Stanza(*bob@b.example/x*
        !: committed
        C: <message from='b.example' to='rooms.a.example'/>
        E: Stanza(*",
    );
    for (sent, condition) in [
        (
            "<message from='bob@c.example' to='alice@a.example'/>",
            "invalid-from",
        ),
        (
            "<message from='bob@sub.b.example' to='alice@a.example'/>",
            "invalid-from",
        ),
        ("<message to='alice@a.example'/>", "improper-addressing"),
        ("<message from='bob@b.example'/>", "improper-addressing"),
        // What is malformed beside that is looked at no better.
        ("<iq type='fetch' to='a.example'/>", "improper-addressing"),
        ("<iq type='fetch' from='b.example'/>", "improper-addressing"),
        ("<message to='@@'/>", "improper-addressing"),
        ("<message from='bob@c.example' to='@@'/>", "invalid-from"),
        (
            "<iq type='fetch' from='c.example' to='a.example'/>",
            "invalid-from",
        ),
        (
            "<iq type='result' from='b.example' to='c.example'/>",
            "host-unknown",
        ),
        (
            "<message from='bob@b.example' to='x@c.example'/>",
            "host-unknown",
        ),
        // Ours too, but without streams with b.example; what a.example believes does not help.
        (
            "<message from='bob@b.example' to='x@quiet.a.example'/>",
            "policy-violation",
        ),
        (
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
            "unsupported-stanza-type",
        ),
        ("<a xmlns='urn:xmpp:sm:3' h='0'/>", "policy-violation"),
    ] {
        let mut stage = trusted();
        receive(
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

/// A bad stanza is answered, an error that is one is not, and the stream goes on.
#[test]
fn errors_are_not_answered_with_errors() {
    let mut stage = trusted();
    receive(
        &mut stage,
        "C: <iq from='bob@b.example' to='a.example' type='fetch' id='q'/>
        E: Answer(*
        C: <iq from='bob@b.example' to='a.example' type='error'/>
        C: <message from='bob@b.example' to='a.example' type='error'/>
        E: Stanza(*
        !: committed
        C: <message from='bob@b.example' to='alice@a.example'/>
        E: Stanza(*",
    );
}

#[test]
fn acknowledgements_count_what_is_committed() {
    let mut stage = trusted();
    receive(
        &mut stage,
        "C: <enable xmlns='urn:xmpp:sm:3'/>
        S: <enabled xmlns='urn:xmpp:sm:3'/>
        C: <message from='b.example' to='a.example'/><r xmlns='urn:xmpp:sm:3'/>
        E: Stanza(*
        !: committed
        S: <a xmlns='urn:xmpp:sm:3' h='1'/>
        C: <iq from='bob@b.example' to='a.example' type='fetch' id='q'/>
        E: Answer(*to: Some(bob@b.example)*
        C: <resume xmlns='urn:xmpp:sm:3' h='1' previd='x'/>
        S: <failed*<item-not-found *
        !: stop
        S: <a xmlns='urn:xmpp:sm:3' h='2'/>
        S: <stream:error*<system-shutdown *
        S: </stream:stream>
        E: Closed(Some(*",
    );
}

#[test]
fn the_window_of_uncommitted_stanzas_is_bounded() {
    let mut stage = trusted();
    for _ in 0..WINDOW {
        receive(
            &mut stage,
            "C: <message from='b.example' to='a.example'/>
            E: Stanza(*",
        );
    }
    receive(
        &mut stage,
        "C: <message from='b.example' to='a.example' id='beyond'/>
        !: committed
        E: Stanza(*beyond*",
    );
}

#[test]
fn silence_ends_in_good_order_and_what_was_on_its_way_is_taken() {
    let mut stage = trusted();
    receive(
        &mut stage,
        "T: 599
        T: 1
        S: </stream:stream>
        C: <message from='b.example' to='a.example'/>
        E: Stanza(*
        C: </stream:stream>
        E: Closed(None)",
    );
    let mut stage = incoming(None);
    receive(
        &mut stage,
        "T: 60
        S: <stream:stream *
        S: <stream:error*<connection-timeout *
        S: </stream:stream>
        E: Closed(Some(*",
    );
}

fn outgoing(proof: Option<&'static [&'static str]>) -> Transcript<Outgoing> {
    outgoing_with(proof, None, None)
}

fn outgoing_with(
    proof: Option<&'static [&'static str]>,
    dialback: Option<Secret>,
    verify: Option<Query>,
) -> Transcript<Outgoing> {
    let settings = outgoing::Settings {
        ours: "a.example".to_owned(),
        theirs: "b.example".to_owned(),
        queue: Some("ours".to_owned()),
        dialback,
        verify,
        bidi: None,
        negotiation: MINUTE,
    };
    let proof = proof.map(|names| Box::new(For(names)) as Box<dyn Proof>);
    Transcript::new(LIMITS, |now| Outgoing::new(settings, proof, now))
}

#[track_caller]
fn send(stage: &mut Transcript<Outgoing>, script: &str) {
    use outgoing::Command;
    stage.play(script, |words| match words {
        "tls" => Command::TlsStarted(Box::new(For(&["b.example"]))),
        "tls of another" => Command::TlsStarted(Box::new(For(&["c.example"]))),
        "flushed" => Command::Flushed,
        "close" => Command::Close(None),
        row => Command::Send(
            Parcel::Row(row.parse().unwrap()),
            format!("<message id='{row}'/>").into(),
        ),
    });
}

fn answer() -> String {
    header("from='b.example'", "to='a.example' id='x'")
}

const OURS: &str = "S: <stream:stream *from='a.example' to='b.example'*";

/// A stream that is ready, to a peer with or without acknowledgements.
fn ready(acknowledges: bool) -> Transcript<Outgoing> {
    let mut stage = outgoing(Some(&["b.example"]));
    let open = answer();
    let (offer, rest) = if acknowledges {
        (
            "<sm xmlns='urn:xmpp:sm:3'/>",
            "S: <enable xmlns='urn:xmpp:sm:3'/>
            C: <enabled xmlns='urn:xmpp:sm:3'/>",
        )
    } else {
        ("", "")
    };
    send(
        &mut stage,
        &format!(
            "{OURS}
            {open}
            C: <stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms></stream:features>
            S: <auth*mechanism='EXTERNAL'>YS5leGFtcGxl</auth>
            C: <success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>
            E: Restart
            {OURS}
            {open}
            C: <stream:features>{offer}</stream:features>
            {rest}
            E: Ready"
        ),
    );
    stage
}

#[test]
fn we_go_to_a_peer() {
    let mut stage = outgoing(None);
    let open = answer();
    send(
        &mut stage,
        &format!(
            "{OURS}
            {open}
            C: <stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>
            S: <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>
            C: <proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><stream:features/>
            E: StartTls
            !: tls
            {OURS}
            {open}
            C: <stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms></stream:features>
            S: <auth*"
        ),
    );
    ready(true);
    ready(false);
}

#[test]
fn a_peer_that_cannot_prove_itself_hears_nothing() {
    let mut stage = outgoing(None);
    let open = answer();
    send(
        &mut stage,
        &format!(
            "{OURS}
            {open}
            C: <stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>
            S: <starttls*
            C: <proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>
            E: StartTls
            !: tls of another
            E: Closed(Unproven*c.example*"
        ),
    );
    let mut direct = outgoing(Some(&["c.example"]));
    send(&mut direct, "E: Closed(Unproven*");
}

#[test]
fn peers_that_offer_too_little() {
    let open = answer();
    let mut stage = outgoing(None);
    send(
        &mut stage,
        &format!(
            "{OURS}
            {open}
            C: <stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>
            S: </stream:stream>
            E: Closed(NoTls(*"
        ),
    );
    let mut stage = outgoing(Some(&["b.example"]));
    send(
        &mut stage,
        &format!(
            "{OURS}
            {open}
            C: <stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>
            S: </stream:stream>
            E: Closed(NoExternal(*"
        ),
    );
    let mut stage = outgoing(Some(&["b.example"]));
    send(
        &mut stage,
        &format!(
            "{OURS}
            {open}
            C: <stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms></stream:features>
            S: <auth*
            C: <failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>
            S: </stream:stream>
            E: Closed(Refused*"
        ),
    );
}

#[test]
fn delivered_is_what_is_acknowledged() {
    let mut stage = ready(true);
    send(
        &mut stage,
        "!: 1
        S: <message id='1'/>
        S: <r xmlns='urn:xmpp:sm:3'/>
        !: 2
        S: <message id='2'/>
        !: flushed
        C: <r xmlns='urn:xmpp:sm:3'/>
        S: <a xmlns='urn:xmpp:sm:3' h='0'/>
        C: <a xmlns='urn:xmpp:sm:3' h='1'/>
        S: <r xmlns='urn:xmpp:sm:3'/>
        E: Delivered([Row(1)])
        C: <stream:error><system-shutdown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>
        S: </stream:stream>
        E: Closed(Stream(*SystemShutdown*",
    );
    assert_eq!(stage.machine.into_unacked(), [Parcel::Row(2)]);
}

#[test]
fn without_acknowledgements_delivered_is_what_is_written() {
    let mut stage = ready(false);
    send(
        &mut stage,
        "!: 1
        S: <message id='1'/>
        !: flushed
        E: Delivered([Row(1)])
        !: 2
        S: <message id='2'/>",
    );
    assert_eq!(stage.machine.into_unacked(), [Parcel::Row(2)]);
}

#[test]
fn a_peer_that_acknowledges_nothing_or_too_much() {
    let mut stage = ready(true);
    send(
        &mut stage,
        "T: 3600
        !: 1
        S: <message id='1'/>
        S: <r *
        T: 59
        !: 2
        S: <message id='2'/>
        T: 1
        S: <stream:error*<connection-timeout *
        S: </stream:stream>
        E: Closed(Stream(*",
    );
    let mut stage = ready(true);
    send(
        &mut stage,
        "C: <a xmlns='urn:xmpp:sm:3' h='1'/>
        S: <stream:error*<undefined-condition *<handled-count-too-high *
        S: </stream:stream>
        E: Closed(Stream(*",
    );
}

#[test]
fn stanzas_have_no_way_back_on_our_stream() {
    let mut stage = ready(true);
    send(
        &mut stage,
        "C: <message from='bob@b.example' to='alice@a.example'/>
        S: <stream:error*<policy-violation *
        S: </stream:stream>
        E: Closed(Stream(*",
    );
}

#[test]
fn our_close_waits_for_theirs_but_not_for_ever() {
    let mut stage = ready(true);
    send(
        &mut stage,
        "!: 1
        S: <message id='1'/>
        S: <r *
        !: close
        S: </stream:stream>
        C: <a xmlns='urn:xmpp:sm:3' h='1'/>
        E: Delivered([Row(1)])
        !: 2
        T: 5
        E: Closed(Orderly)",
    );
    assert_eq!(stage.machine.into_unacked(), [Parcel::Row(2)]);
}

const QUEUE: &str = "xmlns='urn:xmpp:comity:queue:0'";

#[test]
fn a_peer_that_counts_its_queue_learns_how_far_it_is_held() {
    let mut stage = trusted();
    receive(
        &mut stage,
        &format!(
            "C: <open {QUEUE} queue='q1'/><message from='b.example' to='a.example' id='early'/>
            E: Opened(\"q1\")
            !: held
            S: <held {QUEUE} number='41'/>
            E: Stanza(*early*None)
            C: <next {QUEUE} number='42'/>
            C: <message from='b.example' to='a.example' id='numbered'/>
            E: Stanza(*numbered*Some(42))
            C: <message from='b.example' to='a.example' id='beside'/>
            E: Stanza(*beside*None)"
        ),
    );
    let open = format!("<open {QUEUE} queue='q1'/>");
    let long = "q".repeat(65);
    for (before, sent, condition) in [
        (
            false,
            format!("<next {QUEUE} number='1'/>"),
            "policy-violation",
        ),
        (false, format!("<open {QUEUE}/>"), "bad-format"),
        (
            false,
            format!("<open {QUEUE} queue='{long}'/>"),
            "bad-format",
        ),
        (false, format!("<close {QUEUE}/>"), "policy-violation"),
        (true, open.clone(), "policy-violation"),
        (true, format!("<next {QUEUE}/>"), "bad-format"),
        (true, format!("<next {QUEUE} number='0'/>"), "bad-format"),
        (true, format!("<next {QUEUE} number='-3'/>"), "bad-format"),
        (
            true,
            format!("<next {QUEUE} number='1'/><next {QUEUE} number='2'/>"),
            "policy-violation",
        ),
    ] {
        let mut stage = trusted();
        if before {
            let script = format!("C: {open}\nE: Opened(*\n!: held\nS: <held *");
            receive(&mut stage, &script);
        }
        receive(
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
fn rows_carry_their_number_where_the_peer_counts() {
    let mut stage = outgoing(Some(&["b.example"]));
    let open = answer();
    send(
        &mut stage,
        &format!(
            "{OURS}
            {open}
            C: <stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms></stream:features>
            S: <auth*
            C: <success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>
            E: Restart
            {OURS}
            {open}
            C: <stream:features><sm xmlns='urn:xmpp:sm:3'/><queue {QUEUE}/></stream:features>
            S: <open {QUEUE} queue='ours'/>
            C: <held {QUEUE} number='6'/>
            S: <enable *
            C: <enabled xmlns='urn:xmpp:sm:3'/>
            E: Ready
            !: 7
            S: <next {QUEUE} number='7'/>
            S: <message id='7'/>
            S: <r *
            C: <a xmlns='urn:xmpp:sm:3' h='1'/>
            E: Delivered([Row(7)])"
        ),
    );
    assert_eq!(stage.machine.held(), Some(6));
}

const DB: &str = "xmlns:db='jabber:server:dialback'";

/// A peer without a certificate, where dialback is allowed, that has shown its key.
fn key_shown() -> Transcript<Incoming> {
    let mut stage = incoming_with(Some(Box::new(Nothing)), Some(secret()));
    let open = from_b();
    receive(
        &mut stage,
        &format!(
            "{open}
            S: <stream:stream *xmlns:db='jabber:server:dialback'*id='one'*
            S: <stream:features**<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>*
            C: <db:result {DB} from='b.example' to='a.example'>KEY</db:result>
            E: Verify(Query {{ ours: \"a.example\", theirs: \"b.example\", id: \"one\", key: \"KEY\" }})"
        ),
    );
    stage
}

#[test]
fn a_peer_without_a_certificate_proves_itself_by_dialback() {
    let mut stage = key_shown();
    receive(
        &mut stage,
        "!: valid
        S: <db:result from='a.example' to='b.example' type='valid'/>
        E: Trusted(\"b.example\")
        C: <message from='bob@b.example' to='alice@a.example'/>
        E: Stanza(*",
    );
    // A further pair on the same stream (XEP-0220 §2.6); until then it is not believed.
    receive(
        &mut stage,
        &format!(
            "C: <db:result {DB} from='c.example' to='a.example'>KEY2</db:result>
            E: Verify(*theirs: \"c.example\"*
            !: c valid
            S: <db:result *from='a.example' to='c.example' type='valid'/>
            C: <message from='carol@c.example' to='alice@a.example'/>
            E: Stanza(*carol*
            C: <message from='carol@c.example' to='x@rooms.a.example'/>
            S: <stream:error*<invalid-from *
            S: </stream:stream>
            E: Closed(Some(*"
        ),
    );
    let mut stage = key_shown();
    receive(
        &mut stage,
        "!: invalid
        S: <db:result *type='invalid'/>
        S: <stream:error*<not-authorized *
        S: </stream:stream>
        E: Closed(Some(*",
    );
    let mut stage = key_shown();
    receive(
        &mut stage,
        "!: unreachable
        S: <db:result *type='error'><error *<remote-server-timeout *
        C: <message from='bob@b.example' to='alice@a.example'/>
        S: <stream:error*<not-authorized *
        S: </stream:stream>
        E: Closed(Some(*",
    );
}

#[test]
fn dialback_that_is_refused() {
    let open = from_b();
    let result =
        |from: &str, to: &str| format!("<db:result {DB} from='{from}' to='{to}'>KEY</db:result>");
    // Never where it is not allowed, and never for a certificate that was shown and failed.
    for (dialback, expected) in [
        (
            None,
            "S: <stream:error*<not-authorized *
            S: </stream:stream>
            E: Closed(Some(*"
                .to_owned(),
        ),
        (
            Some(secret()),
            format!(
                "S: <stream:features*<dialback *
                C: {}
                S: <stream:error*<not-authorized *c.example, not for b.example*
                S: </stream:stream>
                E: Closed(Some(*",
                result("b.example", "a.example")
            ),
        ),
    ] {
        let mut stage = incoming_with(Some(Box::new(For(&["c.example"]))), dialback);
        receive(
            &mut stage,
            &format!("{open}\nS: <stream:stream *\n{expected}"),
        );
    }
}

#[test]
fn dialback_that_is_no_proof_of_the_header() {
    let open = from_b();
    let result =
        |from: &str, to: &str| format!("<db:result {DB} from='{from}' to='{to}'>KEY</db:result>");
    for (sent, expected) in [
        (
            result("evil.example", "a.example"),
            "S: <stream:error*<invalid-from *",
        ),
        (
            result("b.example", "rooms.a.example"),
            "S: <stream:error*<invalid-from *",
        ),
        (
            format!("<db:result {DB} to='a.example'>KEY</db:result>"),
            "S: <stream:error*<improper-addressing *",
        ),
        (
            format!("<db:other {DB} from='b.example' to='a.example'/>"),
            "S: <stream:error*<policy-violation *",
        ),
    ] {
        let mut stage = incoming_with(Some(Box::new(Nothing)), Some(secret()));
        receive(
            &mut stage,
            &format!(
                "{open}
                S: <stream:stream *
                S: <stream:features*
                C: {sent}
                {expected}
                S: </stream:stream>
                E: Closed(Some(*"
            ),
        );
    }
}

/// Where a certificate is required, no key takes its place, nor its side.
#[test]
fn a_key_is_worth_nothing_where_a_certificate_is_required() {
    let open = header("from='strict.example'", "to='a.example'");
    let mut stage = incoming_with(Some(Box::new(Nothing)), Some(secret()));
    receive(
        &mut stage,
        &format!(
            "{open}
            S: <stream:stream *
            S: <stream:error*<not-authorized *does not prove strict.example*
            S: </stream:stream>
            E: Closed(Some(*"
        ),
    );
    let key = format!("<db:result {DB} from='strict.example' to='a.example'>KEY</db:result>");
    let proof = Box::new(For(&["strict.example"]));
    let mut stage = incoming_with(Some(proof), Some(secret()));
    receive(
        &mut stage,
        &format!(
            "{open}
            S: <stream:stream *
            S: <stream:features*<mechanism>EXTERNAL</mechanism></mechanisms></stream:features>
            C: {key}
            S: <stream:error*<policy-violation *asks for a certificate*
            S: </stream:stream>
            E: Closed(Some(*"
        ),
    );
    // On a stream of somebody else's, the answer is for the key alone.
    let mut stage = trusted_with(Some(secret()));
    receive(
        &mut stage,
        &format!(
            "C: {key}
            S: <db:result *to='strict.example' type='error'><error *<policy-violation *
            C: <message from='bob@b.example' to='alice@a.example'/>
            E: Stanza(*"
        ),
    );
}

#[test]
fn an_answer_to_no_question_proves_nothing() {
    let open = from_b();
    // Whoever hopes to be believed for an answer to no question (XEP-0220 §2.4).
    let mut stage = incoming_with(Some(Box::new(Nothing)), Some(secret()));
    receive(
        &mut stage,
        &format!(
            "{open}
            S: <stream:stream *
            S: <stream:features*
            C: <db:result {DB} from='b.example' to='a.example' type='valid'/>
            C: <db:verify {DB} from='b.example' to='a.example' id='one' type='valid'/>
            C: <message from='bob@b.example' to='alice@a.example'/>
            S: <stream:error*<not-authorized *
            S: </stream:stream>
            E: Closed(Some(*"
        ),
    );
}

#[test]
fn further_pairs_have_their_limits() {
    let result =
        |from: &str, to: &str| format!("<db:result {DB} from='{from}' to='{to}'>KEY</db:result>");
    let mut stage = key_shown();
    let more = |theirs: &str, ours: &str, condition: &str| {
        format!(
            "C: {}\nS: <db:result *type='error'><error *<{condition} *\n",
            result(theirs, ours)
        )
    };
    let valid = "!: valid\nS: <db:result *\nE: Trusted(*\n";
    receive(
        &mut stage,
        &format!(
            "{valid}{}{}{}",
            more("c.example", "nobody.example", "item-not-found"),
            more("evil.example", "a.example", "policy-violation"),
            more("a.example", "a.example", "policy-violation"),
        ),
    );
    for n in 0..8 {
        let script = format!(
            "C: {}\nE: Verify(*",
            result(&format!("{n}.example"), "a.example")
        );
        receive(&mut stage, &script);
    }
    receive(
        &mut stage,
        &more("9.example", "a.example", "resource-constraint"),
    );
}

#[test]
fn we_vouch_for_keys_that_are_ours_and_no_others() {
    let key = secret().key("b.example", "a.example", "theirs");
    let mut stage = incoming_with(Some(Box::new(Nothing)), Some(secret()));
    let open = from_b();
    let ask = |to: &str, id: &str, key: &str| {
        format!("C: <db:verify {DB} from='b.example' to='{to}' id='{id}'>{key}</db:verify>")
    };
    receive(
        &mut stage,
        &format!(
            "{open}
            S: <stream:stream *
            S: <stream:features*
            {}
            S: <db:verify from='a.example' to='b.example' id='theirs' type='valid'/>
            {}
            S: <db:verify *id='other' type='invalid'/>
            {}
            S: <db:verify *from='d.example'*type='error'><error *<item-not-found *",
            ask("a.example", "theirs", &key),
            ask("a.example", "other", &key),
            ask("d.example", "theirs", &key),
        ),
    );
}

#[test]
fn we_prove_ourselves_by_dialback_where_our_certificate_is_not_wanted() {
    let open = answer();
    let key = secret().key("b.example", "a.example", "x");
    let shown = format!("S: <db:result from='a.example' to='b.example'>{key}</db:result>");
    let offer = "<dialback xmlns='urn:xmpp:features:dialback'/>";
    let external = "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms>";
    let failed = "S: <auth *
        C: <failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>";
    for (features, before) in [
        (offer.to_owned(), ""),
        (format!("{external}{offer}"), failed),
    ] {
        for (verdict, expected) in [
            ("type='valid'", "E: Ready\n!: 1\nS: <message id='1'/>"),
            (
                "type='invalid'",
                "S: </stream:stream>\nE: Closed(Dialback*Invalid*",
            ),
            (
                "type='error'",
                "S: </stream:stream>\nE: Closed(Dialback*Error*",
            ),
        ] {
            let mut stage = outgoing_with(Some(&["b.example"]), Some(secret()), None);
            send(
                &mut stage,
                &format!(
                    "{OURS}
                    {open}
                    C: <stream:features>{features}</stream:features>
                    {before}
                    {shown}
                    C: <db:result {DB} from='c.example' to='a.example' type='valid'/>
                    C: <db:result {DB} from='b.example' to='a.example' {verdict}/>
                    {expected}"
                ),
            );
        }
    }
}

#[test]
fn we_ask_about_a_key() {
    let open = answer();
    let mut stage = outgoing_with(Some(&["b.example"]), None, Some(query("b.example", "KEY")));
    send(
        &mut stage,
        &format!(
            "{OURS}
            {open}
            C: <stream:features/>
            S: <db:verify from='a.example' to='b.example' id='one'>KEY</db:verify>
            C: <db:verify {DB} from='b.example' to='a.example' id='two' type='valid'/>
            C: <db:verify {DB} from='b.example' to='a.example' id='one' type='valid'/>
            E: Verdict(Valid)"
        ),
    );
}
