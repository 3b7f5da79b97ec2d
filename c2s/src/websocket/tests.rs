use comity_xmpp::error::StreamCondition;

use super::*;

const LIMITS: Limits = Limits {
    element_bytes: 200,
    depth: 4,
    attributes: 8,
    name_bytes: 64,
};

/// The server's end, and a client's to write to it and read from it.
struct Ends {
    server: WebSocketFraming,
    client: WebSocketFraming,
}

fn ends() -> Ends {
    Ends {
        server: WebSocketFraming::new(LIMITS),
        client: WebSocketFraming::with_role(
            Role::Client,
            Limits {
                element_bytes: 1 << 20,
                ..LIMITS
            },
        ),
    }
}

impl Ends {
    fn send(&mut self, message: Message) -> Option<Frame> {
        self.client
            .context
            .write(&mut self.client.wire, message)
            .unwrap();
        self.client.context.flush(&mut self.client.wire).unwrap();
        let bytes = self.client.wire.output.split();
        // Byte by byte: nothing depends on how it arrives.
        for byte in bytes {
            self.server.buffer().extend_from_slice(&[byte]);
            if let Some(frame) = self.server.next_frame() {
                return Some(frame);
            }
        }
        None
    }

    fn text(&mut self, text: &str) -> Option<Frame> {
        self.send(Message::text(text))
    }

    /// What the client sees of a frame.
    fn put(&mut self, frame: &Frame) -> Vec<Message> {
        let mut out = BytesMut::new();
        self.server.put(frame, &mut out).unwrap();
        self.seen(out)
    }

    fn seen(&mut self, out: BytesMut) -> Vec<Message> {
        self.client.wire.input.unsplit(out);
        std::iter::from_fn(|| self.client.context.read(&mut self.client.wire).ok()).collect()
    }
}

#[test]
fn a_stream_opens_speaks_and_closes() {
    let mut ends = ends();
    let open = ends.text(
        "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='a.example' version='1.0' xml:lang='de'/>",
    );
    let Some(Frame::Open(header)) = open else {
        panic!("{open:?}");
    };
    assert_eq!(header.to.unwrap().as_str(), "a.example");
    assert_eq!(
        (header.version, header.lang.as_deref()),
        (Some((1, 0)), Some("de"))
    );
    assert_eq!(header.content_ns, ns::CLIENT);
    let message = "<message xmlns='jabber:client'><body>ö</body></message>";
    assert_eq!(
        ends.text(message),
        Some(Frame::Element(Bytes::from(message)))
    );
    assert_eq!(ends.text(" "), None);
    let close = "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>";
    assert_eq!(ends.text(close), Some(Frame::Close));
    assert_eq!(ends.text(message), None);
}

#[test]
fn what_is_not_one_element_is_a_fault() {
    for (text, condition) in [
        ("<a/><b/>", StreamCondition::BadFormat),
        ("<a>", StreamCondition::BadFormat),
        ("<a/>x", StreamCondition::BadFormat),
        ("x<a/>", StreamCondition::BadFormat),
        (
            "<a><b><c><d><e/></d></c></b></a>",
            StreamCondition::PolicyViolation,
        ),
        (
            "<hello xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>",
            StreamCondition::UnsupportedStanzaType,
        ),
        (
            "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='@'/>",
            StreamCondition::HostUnknown,
        ),
        (
            "<stream:stream xmlns:stream='http://etherx.jabber.org/streams' to='a.example'>",
            StreamCondition::BadFormat,
        ),
    ] {
        match ends().text(text) {
            Some(Frame::Fault(error)) => assert_eq!(error.condition, condition, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
    let long = format!("<a>{}</a>", "x".repeat(200));
    assert!(matches!(ends().text(&long), Some(Frame::Fault(_))));
    assert!(matches!(
        ends().send(Message::binary(&b"<a/>"[..])),
        Some(Frame::Fault(_))
    ));
    // RFC 6455 §5.1: a client masks.
    let mut server = WebSocketFraming::new(LIMITS);
    server.buffer().extend_from_slice(b"\x81\x04<a/>");
    assert!(matches!(server.next_frame(), Some(Frame::Fault(_))));
}

#[test]
fn limits_grow_with_the_stream() {
    let mut ends = ends();
    ends.server.set_limits(Limits {
        element_bytes: 1000,
        ..LIMITS
    });
    let long = format!("<a>{}</a>", "x".repeat(200));
    assert!(matches!(ends.text(&long), Some(Frame::Element(_))));
}

#[test]
fn what_we_say_stands_alone() {
    for (said, expected) in [
        ("<message/>", "<message xmlns='jabber:client'/>"),
        (
            "<message to='a&gt;b'><x xmlns='y'/></message>",
            "<message xmlns='jabber:client' to='a&gt;b'><x xmlns='y'/></message>",
        ),
        (
            "<iq id=' xmlns='/>",
            "<iq xmlns='jabber:client' id=' xmlns='/>",
        ),
        (
            "<iq><x xmlns='y'/></iq>",
            "<iq xmlns='jabber:client'><x xmlns='y'/></iq>",
        ),
        ("<r xmlns='urn:xmpp:sm:3'/>", "<r xmlns='urn:xmpp:sm:3'/>"),
        (
            "<a h='1' xmlns='urn:xmpp:sm:3'/>",
            "<a h='1' xmlns='urn:xmpp:sm:3'/>",
        ),
        (
            "<stream:features xmlns:stream='x'/>",
            "<stream:features xmlns:stream='x'/>",
        ),
    ] {
        let seen = ends().put(&Frame::Element(Bytes::copy_from_slice(said.as_bytes())));
        assert_eq!(seen, [Message::text(expected)]);
    }
    let mut header = Header::of(ns::CLIENT);
    header.id = Some("1".to_owned());
    let seen = ends().put(&Frame::Open(header));
    let open = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' id='1' version='1.0'/>";
    assert_eq!(seen, [Message::text(open)]);
    let seen = ends().put(&Frame::Close);
    assert_eq!(
        seen[0],
        Message::text("<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>")
    );
    assert!(matches!(seen[1], Message::Close(_)));
}

#[test]
fn pings_are_answered_and_a_close_ends_the_stream() {
    let mut ends = ends();
    assert_eq!(ends.send(Message::Ping(Bytes::from_static(b"p"))), None);
    let mut out = BytesMut::new();
    ends.server.put_control(&mut out);
    assert_eq!(ends.seen(out), [Message::Pong(Bytes::from_static(b"p"))]);
    assert_eq!(ends.send(Message::Close(None)), Some(Frame::Close));
}
