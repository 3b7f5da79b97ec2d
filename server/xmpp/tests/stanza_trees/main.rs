//! Whatever way an accepted stanza takes, an independent parser finds the same tree at its end.
//!
//! Random stanzas use every liberty of Namespaces in XML: prefixes from the stream's tag, from
//! their own, shadowed ones, stated and undeclared defaults, both content namespaces by any name.
//! They travel from stream to stream, into a carbon, an archive and a WebSocket, through
//! surroundings that give each prefix another meaning.

mod generate;
mod tree;

use bytes::{Bytes, BytesMut};
use comity_xmpp::element::Element;
use comity_xmpp::ns;
use comity_xmpp::stanza::Stanza;
use comity_xmpp::stream::Header;
use comity_xmpp::xml;

use generate::{Rng, Source};
use tree::Tree;

const FORWARD: &str = "urn:xmpp:forward:0";

#[test]
fn every_way_keeps_the_tree() {
    let cases = if std::env::var("COMITY_LONG").is_ok_and(|long| !long.is_empty()) {
        50_000
    } else {
        2_000
    };
    for seed in 0..cases {
        let source = generate::stanza(&mut Rng::new(seed));
        let bytes = Bytes::from(source.text.clone());
        let stanza = match Stanza::parse(&bytes, &source.header) {
            Ok(stanza) => stanza,
            Err(error) => panic!("seed {seed}: {error}\n{}", source.text),
        };
        let case = Case {
            seed,
            expect: expected(&source),
            source,
            stanza,
        };
        case.index();
        case.same_kind_of_stream();
        case.other_kind_of_stream();
        case.alone();
        case.forwarded();
        case.children_removed_and_added();
    }
}

struct Case {
    seed: u64,
    source: Source,
    stanza: Stanza,
    expect: Tree,
}

impl Case {
    #[track_caller]
    fn check(&self, way: &str, found: &Tree) {
        assert_eq!(
            found,
            &self.expect,
            "seed {}, {way}\nsource: {}\npayload: {}",
            self.seed,
            self.source.text,
            String::from_utf8_lossy(self.stanza.payload())
        );
    }

    fn content_ns(&self) -> &str {
        &self.source.header.content_ns
    }

    /// The children are where the index says, and each of them parses alone.
    fn index(&self) {
        let expected: Vec<_> = self.expect.elements().collect();
        let children = self.stanza.children();
        assert_eq!(children.len(), expected.len(), "seed {}", self.seed);
        for (child, expected) in children.iter().zip(expected) {
            let at_home = if *expected.ns == *self.content_ns() {
                ns::CLIENT
            } else {
                &expected.ns
            };
            assert_eq!(
                (&*child.ns, &*child.name),
                (at_home, expected.name.as_str())
            );
            let bytes = &self.stanza.payload()[child.range.clone()];
            let parsed = xml::parse(bytes, &Header::of(self.content_ns()));
            let parsed = parsed.unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
            assert_eq!(&Tree::of(&parsed), expected, "seed {}", self.seed);
        }
    }

    fn same_kind_of_stream(&self) {
        let found = in_stream(&self.stanza.to_bytes(None), self.content_ns());
        self.check("on a stream of the same kind", &found);
    }

    fn other_kind_of_stream(&self) {
        let hop = Bytes::from(self.stanza.to_bytes(None).to_vec());
        let there = Stanza::parse(&hop, &generate::hostile(other(self.content_ns())))
            .unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        assert_eq!(
            there.payload(),
            self.stanza.payload(),
            "seed {}: not closed",
            self.seed
        );
        assert_eq!(
            there.children(),
            self.stanza.children(),
            "seed {}",
            self.seed
        );
        let found = in_stream(&there.to_bytes(None), self.content_ns());
        self.check("over a stream of the other kind", &found);
    }

    /// As a WebSocket and an archive hold it.
    fn alone(&self) {
        let written = self.stanza.to_bytes(Some(self.content_ns()));
        self.check("alone", &Tree::parse(&text(&written)));
        let element = xml::parse(&written, &Header::default())
            .unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        self.check("as an element", &Tree::of(&element));
        let mut out = BytesMut::new();
        xml::write(&element, "", &mut out);
        self.check("as an element, written", &Tree::parse(&text(&out)));
    }

    /// As a carbon holds it, on a stream of the other kind.
    fn forwarded(&self) {
        let inner = text(&self.stanza.to_bytes(Some(self.content_ns())));
        let outer = format!("<message><forwarded xmlns='{FORWARD}'>{inner}</forwarded></message>");
        let header = generate::hostile(other(self.content_ns()));
        let carbon = Stanza::parse(&Bytes::from(outer), &header)
            .unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        let found = in_stream(&carbon.to_bytes(None), &header.content_ns);
        let forwarded = found
            .elements()
            .next()
            .and_then(|forwarded| forwarded.elements().next());
        self.check("forwarded", forwarded.expect("the carbon holds the stanza"));
        let element = carbon
            .child(FORWARD, "forwarded")
            .expect("the carbon holds it");
        let element = element
            .elements()
            .next()
            .expect("the carbon holds the stanza");
        self.check("forwarded, as an element", &Tree::of(element));
    }

    fn children_removed_and_added(&self) {
        let count = self.stanza.children().len();
        let mut rng = Rng::new(self.seed ^ 0x5eed);
        let gone: Vec<bool> = (0..count).map(|_| rng.one_in(3)).collect();
        let mut expect = self.expect.clone();
        expect.remove_elements(&gone);
        let added = Element::new("urn:p", "added").with_child(Element::new(ns::CLIENT, "body"));
        expect.push(Tree::of(&added));
        let mut stanza = self.stanza.clone();
        let mut answers = gone.iter();
        let removed = stanza.remove(|_| answers.next().copied().unwrap_or_default());
        assert_eq!(removed, gone.iter().filter(|gone| **gone).count());
        stanza.push(&added);
        let found = in_stream(&stanza.to_bytes(None), self.content_ns());
        assert_eq!(
            found, expect,
            "seed {}\nsource: {}",
            self.seed, self.source.text
        );
        let last = stanza.children().last().expect("one was added");
        assert_eq!(stanza.element(last), added, "seed {}", self.seed);
    }
}

/// What the independent parser finds in the source, with what the reader does by the RFCs.
fn expected(source: &Source) -> Tree {
    let header = &source.header;
    let document = generate::in_stream(&source.text, header);
    let mut tree = Tree::parse(&document)
        .elements()
        .next()
        .cloned()
        .expect("the stream holds the stanza");
    // RFC 6120 §4.7.4.
    if let Some(lang) = &header.lang {
        tree.attributes
            .entry((ns::XML.to_owned(), "lang".to_owned()))
            .or_insert_with(|| lang.clone());
    }
    // RFC 6121 §5.2.2.
    let type_ = (String::new(), "type".to_owned());
    if tree.name == "message"
        && tree
            .attributes
            .get(&type_)
            .is_some_and(|t| matches!(t.as_str(), "normal" | "odd"))
    {
        tree.attributes.remove(&type_);
    }
    // Both content namespaces are one where the stanza's own children stand.
    for child in tree.elements_mut() {
        if child.ns == ns::CLIENT || child.ns == ns::SERVER {
            let from = child.ns.clone();
            child.rename(&from, &header.content_ns);
        }
    }
    tree
}

/// The tree of a stanza that stands on a stream whose prefixes mean something else.
fn in_stream(stanza: &[u8], content_ns: &str) -> Tree {
    let document = generate::in_stream(&text(stanza), &generate::hostile(content_ns));
    Tree::parse(&document)
        .elements()
        .next()
        .cloned()
        .expect("the stream holds the stanza")
}

fn other(content_ns: &str) -> &'static str {
    if content_ns == ns::CLIENT {
        ns::SERVER
    } else {
        ns::CLIENT
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("what is written is UTF-8")
}
