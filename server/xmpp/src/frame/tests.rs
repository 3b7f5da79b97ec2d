use super::*;

const LIMITS: Limits = Limits {
    element_bytes: 256,
    depth: 4,
    attributes: 4,
    name_bytes: 16,
};
const OPEN: &str = "<s:stream xmlns='jabber:client' xmlns:s='http://etherx.jabber.org/streams'>";

/// A frame in a form that is easy to write down.
fn name(frame: Frame) -> String {
    match frame {
        Frame::Open(header) => format!("open {}", header.content_ns),
        Frame::Element(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Frame::Close => "close".to_owned(),
        Frame::Fault(error) => format!("fault {}", error.condition.as_str()),
    }
}

/// The frames of an input that arrives in pieces of so many bytes.
fn frames(input: &str, piece: usize) -> Vec<String> {
    let mut framing = TcpFraming::new(LIMITS);
    let mut found = Vec::new();
    for piece in input.as_bytes().chunks(piece) {
        framing.buffer().extend_from_slice(piece);
        while let Some(frame) = framing.next_frame() {
            found.push(name(frame));
        }
    }
    found
}

/// However the bytes arrive, the frames are the same.
#[track_caller]
fn check(input: &str, expect: &[&str]) {
    for piece in [1, 2, 3, 7, 64, input.len().max(1)] {
        assert_eq!(frames(input, piece), expect, "in pieces of {piece}");
    }
}

#[track_caller]
fn inside(input: &str, expect: &[&str]) {
    let mut all = vec!["open jabber:client"];
    all.extend_from_slice(expect);
    check(&format!("{OPEN}{input}"), &all);
}

#[test]
fn a_stream_from_its_start_to_its_end() {
    check(
        &format!(
            "<?xml version='1.0'?>\n{OPEN} \n<a/> <b x='>' y=\"/>'\">t<c>u</c></b></s:stream>x"
        ),
        &[
            "open jabber:client",
            "<a/>",
            "<b x='>' y=\"/>'\">t<c>u</c></b>",
            "close",
        ],
    );
    inside(
        "<a><![CDATA[</a>] ]>]]]></a><b/>",
        &["<a><![CDATA[</a>] ]>]]]></a>", "<b/>"],
    );
    inside("<a></a >< /a>", &["<a></a >", "fault not-well-formed"]);
}

#[test]
fn what_xmpp_forbids_is_refused_at_once() {
    inside("<!-", &["fault restricted-xml"]);
    inside("<a><!-", &["fault restricted-xml"]);
    inside("<?x", &["fault restricted-xml"]);
    inside("<a><?xml version='1.0'?>", &["fault restricted-xml"]);
    inside("<!DOCTYPE", &["fault restricted-xml"]);
    inside("<![CDATA[", &["fault not-well-formed"]);
    inside("<a><![CDAT[", &["fault not-well-formed"]);
    inside("text", &["fault bad-format"]);
    inside("</stream>", &["fault not-well-formed"]);
    inside("<>", &["fault not-well-formed"]);
    inside("<a / >", &["fault not-well-formed"]);
    inside("<a b>", &["fault not-well-formed"]);
    check("<!DOCTYPE", &["fault restricted-xml"]);
    check("<?xm-", &["fault restricted-xml"]);
    check("<?xml version='1.0'?><?xml ", &["fault restricted-xml"]);
    check(
        "<?xml version='1.0' encoding='latin1'?>",
        &["fault unsupported-encoding"],
    );
    check("</s:stream>", &["fault not-well-formed"]);
    check(&OPEN.replace('>', "/>"), &["fault bad-format"]);
    check("<a>", &["fault invalid-namespace"]);
}

#[test]
fn limits_hold_as_bytes_arrive() {
    let fault = &["fault policy-violation"];
    inside(&format!("<a>{}", "x".repeat(300)), fault);
    inside(&format!("<a b='{}", "x".repeat(300)), fault);
    inside(&format!("<a><![CDATA[{}", "x".repeat(300)), fault);
    inside(&format!("<a{}", "x".repeat(20)), fault);
    inside(&format!("<a b{}", "x".repeat(20)), fault);
    inside(&format!("<a></a{}", "x".repeat(20)), fault);
    inside("<a a='' b='' c='' d='' e", fault);
    inside("<a><b><c><d><e>", fault);
    inside("<a><b><c><d><e/>", fault);
    let most = format!("<a>{}</a>", "x".repeat(256 - 7));
    inside(&most, &[&most]);
    inside("<a><b><c><d/></c></b></a>", &["<a><b><c><d/></c></b></a>"]);
}

#[test]
fn whitespace_between_elements_costs_nothing() {
    let mut framing = TcpFraming::new(LIMITS);
    framing.buffer().extend_from_slice(OPEN.as_bytes());
    assert!(framing.next_frame().is_some());
    for _ in 0..1000 {
        framing.buffer().extend_from_slice(&[b' '; 100]);
        assert_eq!(framing.next_frame(), None);
        assert!(framing.buffer().is_empty());
    }
}

#[test]
fn a_stream_starts_again_on_the_same_transport() {
    let mut framing = TcpFraming::new(LIMITS);
    framing
        .buffer()
        .extend_from_slice(format!("{OPEN}<starttls/><injected/>").as_bytes());
    assert!(framing.next_frame().is_some());
    assert!(framing.next_frame().is_some());
    framing.restart(true);
    assert_eq!(framing.next_frame(), None);
    framing
        .buffer()
        .extend_from_slice(format!("{OPEN}<auth/> \n<?xml version='1.0'?>{OPEN}<a/>").as_bytes());
    assert_eq!(
        framing.next_frame().map(name).as_deref(),
        Some("open jabber:client")
    );
    assert_eq!(framing.next_frame().map(name).as_deref(), Some("<auth/>"));
    framing.restart(false);
    assert_eq!(
        framing.next_frame().map(name).as_deref(),
        Some("open jabber:client")
    );
    assert_eq!(framing.next_frame().map(name).as_deref(), Some("<a/>"));
}

#[test]
fn frames_are_written_as_they_are_read() {
    let mut header = Header::of(crate::ns::CLIENT);
    header.prefixes = vec![("stream".to_owned(), crate::ns::STREAM.to_owned())];
    let sent = [
        Frame::Open(header),
        Frame::Element(Bytes::from_static(b"<presence/>")),
        Frame::Close,
    ];
    let mut framing = TcpFraming::new(LIMITS);
    for frame in &sent {
        assert_eq!(TcpFraming::write(frame, framing.buffer()), Ok(()));
    }
    for frame in sent {
        assert_eq!(framing.next_frame(), Some(frame));
    }
}

#[test]
fn a_fault_is_given_once() {
    let mut framing = TcpFraming::new(LIMITS);
    framing.buffer().extend_from_slice(b"<!-- --><a/>");
    assert!(matches!(framing.next_frame(), Some(Frame::Fault(_))));
    assert_eq!(framing.next_frame(), None);
    assert!(framing.buffer().is_empty());
}

#[test]
fn a_small_element_does_not_keep_the_whole_read() {
    let limits = Limits {
        element_bytes: 1 << 16,
        ..LIMITS
    };
    let mut framing = TcpFraming::new(limits);
    let large = format!("<a>{}</a>", "x".repeat(2 * COPIED_BYTES));
    let read = format!("{OPEN}<b/>{large}<c/>");
    framing.buffer().extend_from_slice(read.as_bytes());
    let first = framing.buffer().as_ptr() as usize;
    let range = first..first + read.len();
    let mut inside = Vec::new();
    while let Some(frame) = framing.next_frame() {
        if let Frame::Element(bytes) = frame {
            inside.push(range.contains(&(bytes.as_ptr() as usize)));
        }
    }
    assert_eq!(inside, [false, true, false]);
}
