use bytes::BytesMut;

use super::*;
use crate::element::Attribute;
use crate::error::StreamCondition;
use crate::ns;

fn header() -> Header {
    let mut header = Header::of(ns::CLIENT);
    header.prefixes = vec![("p".to_owned(), "urn:p".to_owned())];
    header
}

/// What the parser makes of an input, as the writer spells it.
#[track_caller]
fn check(input: &str, expect: &str) {
    match parse(input.as_bytes(), &header()) {
        Ok(element) => {
            let mut out = BytesMut::new();
            write(&element, ns::CLIENT, &mut out);
            let written = String::from_utf8(out.to_vec()).unwrap();
            assert_eq!(written, expect);
            let again = parse(written.as_bytes(), &Header::of(ns::CLIENT));
            assert_eq!(
                again.as_ref(),
                Ok(&element),
                "{written} is not the same tree"
            );
        }
        Err(error) => panic!("{input}: {error}"),
    }
}

#[track_caller]
fn refuse(input: impl AsRef<[u8]>, expect: StreamCondition) {
    let input = input.as_ref();
    match parse(input, &header()) {
        Ok(element) => panic!("{} accepted as {element}", String::from_utf8_lossy(input)),
        Err(error) => {
            assert_eq!(
                error.condition,
                expect,
                "{}: {error}",
                String::from_utf8_lossy(input)
            );
        }
    }
}

#[track_caller]
fn ill(inputs: &[&str]) {
    for input in inputs {
        refuse(input, StreamCondition::NotWellFormed);
    }
}

#[test]
fn namespaces_are_resolved() {
    check("<a/>", "<a/>");
    check("<a xmlns='urn:a'><b/></a>", "<a xmlns='urn:a'><b/></a>");
    check(
        "<a xmlns='urn:a'><b xmlns=''/></a>",
        "<a xmlns='urn:a'><b xmlns=''/></a>",
    );
    check(
        "<p:a><p:b/><c/></p:a>",
        "<a xmlns='urn:p'><b/><c xmlns='jabber:client'/></a>",
    );
    check(
        "<q:a xmlns:q='urn:q'><q:b xmlns:q='urn:r'/><q:c/></q:a>",
        "<a xmlns='urn:q'><b xmlns='urn:r'/><c/></a>",
    );
    check(
        "<a p:b='1' b='2' xml:lang='en'/>",
        "<a xmlns:ns0='urn:p' ns0:b='1' b='2' xml:lang='en'/>",
    );
    check(
        "<a xmlns:xml='http://www.w3.org/XML/1998/namespace'/>",
        "<a/>",
    );
}

#[test]
fn text_is_normalized_as_xml_says() {
    check(
        "<a>&lt;&amp;&gt;&apos;&quot;&#65;&#x42;</a>",
        "<a>&lt;&amp;&gt;&apos;&quot;AB</a>",
    );
    check("<a>x\r\ny\rz</a>", "<a>x\ny\nz</a>");
    check("<a>x&#13;y</a>", "<a>x&#xD;y</a>");
    check(
        "<a><![CDATA[<b>&amp;]]]]>&gt;</a>",
        "<a>&lt;b&gt;&amp;amp;]]&gt;</a>",
    );
    check("<a><![CDATA[]]></a>", "<a/>");
    check("<a b=' x\r\ny\tz&#10;&#9;'/>", "<a b=' x y z&#xA;&#x9;'/>");
    check("<a b='\"&apos;'/>", "<a b='&quot;&apos;'/>");
    check("<a b=\"'\"\n c = 'd' ></a >", "<a b='&apos;' c='d'/>");
    check("<a>\u{e9}\u{1f600}</a>", "<a>\u{e9}\u{1f600}</a>");
}

#[test]
fn text_on_either_side_of_an_entity_is_one() {
    let element = parse(b"<a>x&amp;<![CDATA[y]]>z<b/>w</a>", &header()).unwrap();
    assert_eq!(element.children.len(), 3);
    assert_eq!(element.text(), "x&yzw");
}

#[test]
fn what_is_not_well_formed_is_refused() {
    ill(&[
        "",
        " ",
        "a",
        " <a/>",
        "<a/> ",
        "<a/>x",
        "<a/><b/>",
        "<a>",
        "</a>",
        "<a></b>",
        "<a><b></a></b>",
        "<a",
        "<a b='",
        "<>",
        "< a/>",
        "<a/ >",
        "<1a/>",
        "<a:/>",
        "<:a/>",
        "<a:b:c/>",
        "<a></a b='c'>",
        "<a\u{0}/>",
        "<a b/>",
        "<a b=c/>",
        "<a b='c'd='e'/>",
        "<a b='<'/>",
        "<a b='&'/>",
        "<a b='1' b='2'/>",
        "<a =''/>",
        "<a '=''/>",
        "<a b=''='c'/>",
        "<a>]]></a>",
        "<a>&</a>",
        "<a>&amp</a>",
        "<a>& amp;</a>",
        "<a>&;</a>",
        "<a>&#0;</a>",
        "<a>&#1;</a>",
        "<a>&#xD800;</a>",
        "<a>&#xFFFE;</a>",
        "<a>&#x110000;</a>",
        "<a>&#;</a>",
        "<a>&#x;</a>",
        "<a>&#X41;</a>",
        "<a>&#+65;</a>",
        "<a>&#6 5;</a>",
        "<a>\u{1}</a>",
        "<a>\u{b}</a>",
        "<a>\u{ffff}</a>",
        "<a b='\u{fffe}'/>",
        "<a><![CDATA[</a>",
        "<a><![cdata[]]></a>",
        "\u{feff}<a/>",
        "<a>&#99999999999;</a>",
    ]);
    refuse(b"<a>\xff</a>", StreamCondition::NotWellFormed);
    refuse(b"<a>\xc0\x80</a>", StreamCondition::NotWellFormed);
    refuse(b"<a>\xed\xa0\x80</a>", StreamCondition::NotWellFormed);
}

#[test]
fn what_breaks_namespaces_is_refused() {
    ill(&[
        "<q:a/>",
        "<a q:b=''/>",
        "<a xmlns:q=''/>",
        "<a xmlns:q='urn:q'><b/></a><q:c/>",
        "<xmlns:a/>",
        "<a xmlns:xmlns='urn:x'/>",
        "<a xmlns:xml='urn:x'/>",
        "<a xmlns:q='http://www.w3.org/2000/xmlns/'/>",
        "<a xmlns='http://www.w3.org/2000/xmlns/'/>",
        "<a xmlns='http://www.w3.org/XML/1998/namespace'/>",
        "<a xmlns:q='http://www.w3.org/XML/1998/namespace'/>",
        "<a xmlns:q='urn:q' xmlns:q='urn:q'/>",
        "<a xmlns='urn:q' xmlns='urn:q'/>",
        "<a xmlns:q='urn:p' q:b='1' p:b='2'/>",
        "<q:a xmlns:q='urn:q'></p:a>",
    ]);
    // The prefix of an inner element ends with it.
    ill(&[
        "<a><b xmlns:q='urn:q'/><q:c/></a>",
        "<a><b xmlns:q='urn:q'></b><q:c/></a>",
    ]);
}

#[test]
fn what_xmpp_forbids_is_refused() {
    for input in [
        "<a><!-- --></a>",
        "<a><?b?></a>",
        "<a><?xml version='1.0'?></a>",
        "<?xml version='1.0'?><a/>",
        "<!DOCTYPE a><a/>",
        "<a>&nbsp;</a>",
        "<a b='&nbsp;'/>",
    ] {
        refuse(input, StreamCondition::RestrictedXml);
    }
}

#[test]
fn what_recursion_and_lookups_cost_is_bounded() {
    let nested = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
    assert!(parse(nested(MAX_DEPTH).as_bytes(), &header()).is_ok());
    refuse(nested(MAX_DEPTH + 1), StreamCondition::PolicyViolation);
    let declaring = |count: usize| {
        let all: String = (0..count)
            .map(|i| format!(" xmlns:n{i}='urn:{i}'"))
            .collect();
        format!("<a{all}/>")
    };
    assert!(parse(declaring(MAX_BINDINGS - 3).as_bytes(), &header()).is_ok());
    refuse(declaring(MAX_BINDINGS), StreamCondition::PolicyViolation);
}

#[test]
fn many_attributes_are_compared_as_few_are() {
    for count in [2, 11, 12, 13, 40] {
        let mut all: String = (0..count).map(|i| format!(" b{i}=''")).collect();
        assert!(parse(format!("<a{all}/>").as_bytes(), &header()).is_ok());
        all.push_str(" b1=''");
        ill(&[&format!("<a{all}/>")]);
    }
}

#[test]
fn the_streams_own_elements_keep_their_prefix() {
    let element = Element::new(ns::STREAM, "features")
        .with_child(Element::new(ns::TLS, "starttls"))
        .with_child(Element::new(ns::STREAM, "x").with_child(Element::new(ns::CLIENT, "y")));
    let mut out = BytesMut::new();
    write(&element, ns::CLIENT, &mut out);
    let written = String::from_utf8(out.to_vec()).unwrap();
    assert_eq!(
        written,
        "<stream:features xmlns:stream='http://etherx.jabber.org/streams'>\
         <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><stream:x><y/></stream:x></stream:features>"
    );
    assert_eq!(
        parse(written.as_bytes(), &Header::of(ns::CLIENT)),
        Ok(element)
    );
}

#[test]
fn whatever_is_written_can_be_read() {
    let mut nasty = Element::new("urn:<'&\"", "a").with_attr("b", "\0\t\n\r<>&'\"\u{ffff}");
    nasty.attributes.push(Attribute {
        ns: Some("urn:'".to_owned()),
        name: "c".to_owned(),
        value: "]]>".to_owned(),
    });
    let nasty = nasty.with_text("\u{b}]]>\r\n\t");
    let read = parse(nasty.to_string().as_bytes(), &Header::default()).unwrap();
    assert_eq!(read.attr("b"), Some("\u{fffd}\t\n\r<>&'\"\u{fffd}"));
    assert_eq!(read.text(), "\u{fffd}]]>\r\n\t");
    assert_eq!(read.ns, nasty.ns);
}
