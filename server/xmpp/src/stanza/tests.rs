use super::*;
use crate::error::{ErrorType, StanzaCondition, StreamCondition};

fn header() -> Header {
    let mut header = Header::of(ns::CLIENT);
    header.lang = Some("en".to_owned());
    header.prefixes = vec![
        ("stream".to_owned(), ns::STREAM.to_owned()),
        ("p".to_owned(), "urn:p".to_owned()),
        ("c".to_owned(), ns::CLIENT.to_owned()),
    ];
    header
}

fn parse(text: &str) -> Result<Stanza, Unacceptable> {
    Stanza::parse(&Bytes::copy_from_slice(text.as_bytes()), &header())
}

#[track_caller]
fn accepted(text: &str) -> Stanza {
    match parse(text) {
        Ok(stanza) => stanza,
        Err(error) => panic!("{text}: {error}"),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The payload is closed as expected, and each child is where its range says.
#[track_caller]
fn closed(payload: &str, expect: &str) {
    let stanza = accepted(&format!(
        "<message xml:lang='de' xmlns:o='urn:o'>{payload}</message>"
    ));
    assert_eq!(text(stanza.payload()), expect);
    for child in stanza.children() {
        let element = stanza.element(child);
        assert_eq!((&*element.ns, &*element.name), (&*child.ns, &*child.name));
        let alone = xml::parse(
            &stanza.payload()[child.range.clone()],
            &Header::of(ns::CLIENT),
        );
        assert_eq!(alone.as_ref(), Ok(&element));
    }
}

#[test]
fn a_payload_that_is_closed_stays_as_it_is() {
    for payload in [
        "<body>hi</body>",
        "<body/> <x xmlns='urn:x'><y/></x>",
        "<q:x xmlns:q='urn:x' q:a='1'><q:y/></q:x>",
        "<body><![CDATA[<]]></body>",
        "<x xmlns='urn:x' xml:lang='fr'/>",
        "<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'/></forwarded>",
    ] {
        closed(payload, payload);
    }
}

#[test]
fn prefixes_from_outside_are_declared_inside() {
    closed("<p:x/>", "<p:x xmlns:p='urn:p'/>");
    closed("<o:x ><o:y/></o:x>", "<o:x xmlns:o='urn:o' ><o:y/></o:x>");
    closed(
        "<x xmlns='urn:x'><o:y p:a='1'/></x>",
        "<x xmlns:o='urn:o' xmlns:p='urn:p' xmlns='urn:x'><o:y p:a='1'/></x>",
    );
    closed(
        "<o:x xmlns:o='urn:inner'/><o:y/>",
        "<o:x xmlns:o='urn:inner'/><o:y xmlns:o='urn:o'/>",
    );
}

#[test]
fn a_stated_content_namespace_is_not_carried_elsewhere() {
    closed("<body xmlns='jabber:client'>hi</body>", "<body>hi</body>");
    closed("<body xmlns='jabber:server'>hi</body>", "<body>hi</body>");
    closed("<c:body a='1'>hi</c:body> ", "<body a='1'>hi</body> ");
    closed(
        "<a/><c:x><f xmlns='urn:f'><c:y/></f></c:x><b/>",
        "<a/><x><f xmlns='urn:f'><y xmlns='jabber:client'/></f></x><b/>",
    );
}

#[test]
fn a_default_namespace_of_the_stanza_goes_to_its_children() {
    let stanza = accepted("<c:message xmlns='urn:d'><x/><p:y><z/></p:y><w xmlns=''/></c:message>");
    assert_eq!(
        text(stanza.payload()),
        "<x xmlns='urn:d'/><p:y xmlns:p='urn:p' xmlns='urn:d'><z/></p:y><w xmlns=''/>"
    );
    assert!(stanza.has("urn:d", "x") && stanza.has("urn:p", "y") && stanza.has("", "w"));
}

#[test]
fn the_envelope_is_read_and_written() {
    let stanza = accepted(
        "<message from='A@b/c' to='d@e' id='&lt;1&gt;' type='chat' xml:lang='cs' extra='x' \
         p:y='z'><body>hi</body></message>",
    );
    assert_eq!(stanza.kind, Kind::Message(MessageType::Chat));
    assert_eq!(stanza.id.as_deref(), Some("<1>"));
    assert_eq!(stanza.text_of("body").as_deref(), Some("hi"));
    let written = stanza.to_bytes(Some(ns::SERVER));
    assert_eq!(
        text(&written),
        "<message xmlns='jabber:server' type='chat' from='a@b/c' to='d@e' id='&lt;1&gt;' \
         xml:lang='cs' extra='x' xmlns:f10='urn:p' f10:y='z'><body>hi</body></message>"
    );
    let again = Stanza::parse(&written, &Header::of(ns::SERVER));
    assert_eq!(again.map(|s| s.to_bytes(Some(ns::SERVER))), Ok(written));
}

#[test]
fn a_missing_language_is_the_streams() {
    assert_eq!(accepted("<message/>").lang.as_deref(), Some("en"));
    assert_eq!(
        accepted("<message xml:lang='de'/>").lang.as_deref(),
        Some("de")
    );
}

#[test]
fn types_are_understood() {
    use Kind::{Iq, Message, Presence};
    for (element, expect) in [
        ("<message/>", Message(MessageType::Normal)),
        ("<message type='unheard-of'/>", Message(MessageType::Normal)),
        (
            "<message type='groupchat'/>",
            Message(MessageType::Groupchat),
        ),
        ("<presence/>", Presence(PresenceType::Available)),
        ("<presence type='probe'/>", Presence(PresenceType::Probe)),
        ("<iq type='get' id='1'><x/></iq>", Iq(IqType::Get)),
        ("<iq type='result' id='1'/>", Iq(IqType::Result)),
    ] {
        let kind = accepted(element).kind;
        assert_eq!(kind, expect, "{element}");
        assert_eq!(Kind::from_names(kind.name(), kind.type_name()), Some(kind));
    }
}

#[track_caller]
fn refused(element: &str, condition: StanzaCondition, reply: Option<&str>) {
    match parse(element) {
        Err(Unacceptable::Stanza(refused)) => {
            assert_eq!(refused.error.condition, condition, "{element}");
            let written = refused.reply().map(|mut stanza| {
                stanza.remove(|_| true);
                text(&stanza.to_bytes(None))
            });
            assert_eq!(written.as_deref(), reply, "{element}");
        }
        other => panic!("{element}: {other:?}"),
    }
}

#[test]
fn a_wrong_stanza_is_refused_alone() {
    use StanzaCondition::{BadRequest, JidMalformed};
    refused(
        "<iq id='1' type='foo' to='a'><x/></iq>",
        BadRequest,
        Some("<iq type='error' from='a' id='1'/>"),
    );
    refused(
        "<iq id='1' to='a'><x/></iq>",
        BadRequest,
        Some("<iq type='error' from='a' id='1'/>"),
    );
    refused(
        "<iq type='get'><x/></iq>",
        BadRequest,
        Some("<iq type='error'/>"),
    );
    refused(
        "<iq type='get' id='1'/>",
        BadRequest,
        Some("<iq type='error' id='1'/>"),
    );
    refused(
        "<iq type='set' id='1'><a/><b/></iq>",
        BadRequest,
        Some("<iq type='error' id='1'/>"),
    );
    refused("<iq type='result' id='1'><a/><b/></iq>", BadRequest, None);
    refused(
        "<presence type='x' from='a@b/c'/>",
        BadRequest,
        Some("<presence type='error' to='a@b/c'/>"),
    );
    refused(
        "<message to='a b@c'/>",
        JidMalformed,
        Some("<message type='error'/>"),
    );
    refused(
        "<message to='' type='chat'/>",
        JidMalformed,
        Some("<message type='error'/>"),
    );
    refused("<message to='@' type='error'/>", JidMalformed, None);
}

#[track_caller]
fn fatal(element: &str, condition: StreamCondition) {
    match parse(element) {
        Err(Unacceptable::Stream(error)) => assert_eq!(error.condition, condition, "{element}"),
        other => panic!("{element}: {other:?}"),
    }
}

#[test]
fn what_is_no_stanza_ends_the_stream() {
    fatal("<foo/>", StreamCondition::UnsupportedStanzaType);
    fatal(
        "<message xmlns='jabber:server'/>",
        StreamCondition::UnsupportedStanzaType,
    );
    fatal("<stream:message/>", StreamCondition::UnsupportedStanzaType);
    fatal("<message from='@'/>", StreamCondition::InvalidFrom);
    fatal("<message>", StreamCondition::NotWellFormed);
    fatal("<message><x></message>", StreamCondition::NotWellFormed);
    fatal("<message/><message/>", StreamCondition::NotWellFormed);
    fatal("<message><u:x/></message>", StreamCondition::NotWellFormed);
    fatal(
        "<message><!-- --></message>",
        StreamCondition::RestrictedXml,
    );
}

#[test]
fn whatever_comes_is_read_once() {
    let read = |text: &str| TopLevel::parse(&Bytes::copy_from_slice(text.as_bytes()), &header());
    match read("<r xmlns='urn:xmpp:sm:3'/>") {
        Ok(TopLevel::Other(element)) => assert!(element.is(ns::SM, "r")),
        other => panic!("{other:?}"),
    }
    assert!(matches!(read("<c:presence/>"), Ok(TopLevel::Stanza(_))));
    assert!(matches!(read("<iq/>"), Err(Unacceptable::Stanza(_))));
    assert!(matches!(read("<r>"), Err(Unacceptable::Stream(_))));
}

#[test]
fn children_are_added_and_removed_by_range() {
    let mut stanza = accepted("<message> <a/><b xmlns='urn:b'/>text<c/></message>");
    stanza.push(&Element::new("urn:d", "d").with_text("<"));
    stanza.push(&Element::new(ns::SERVER, "e"));
    assert_eq!(stanza.remove(|child| matches!(&*child.name, "a" | "c")), 2);
    assert_eq!(
        text(stanza.payload()),
        " <b xmlns='urn:b'/>text<d xmlns='urn:d'>&lt;</d><e/>"
    );
    assert_eq!(
        stanza.child("urn:d", "d").map(|e| e.text()).as_deref(),
        Some("<")
    );
    assert!(stanza.child(ns::CLIENT, "e").is_some());
    assert_eq!(stanza.remove(|_| false), 0);
    assert_eq!(stanza.remove(|_| true), 3);
    assert_eq!(text(stanza.payload()), " text");
    assert_eq!(
        text(&Stanza::new(Kind::Iq(IqType::Get)).to_bytes(None)),
        "<iq type='get'/>"
    );
}

#[test]
fn answers_go_back() {
    let iq =
        accepted("<iq type='get' id='7' from='a@b/c' to='d'><ping xmlns='urn:xmpp:ping'/></iq>");
    assert_eq!(
        text(&iq.result(None).to_bytes(None)),
        "<iq type='result' from='d' to='a@b/c' id='7'/>"
    );
    let error = StanzaError::new(ErrorType::Cancel, StanzaCondition::ItemNotFound).with_text("no");
    let reply = iq.error_reply(&error);
    assert_eq!(reply.as_ref().and_then(Stanza::error), Some(error.clone()));
    assert_eq!(reply.and_then(|reply| reply.error_reply(&error)), None);
    assert_eq!(iq.result(None).error_reply(&error), None);
}
