//! Random stanzas that are namespace-well-formed, and streams that mean them harm.

use comity_xmpp::ns;
use comity_xmpp::stream::Header;

/// SplitMix64: small, and the same everywhere.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("the bound fits")
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

pub(crate) struct Source {
    pub(crate) header: Header,
    pub(crate) text: String,
}

const PREFIXES: [&str; 9] = ["p", "q", "c", "s", "x", "ns0", "f0", "stream", "xmlnsx"];
const NAMESPACES: [&str; 6] = [
    "urn:p",
    "urn:q",
    "urn:<&'>",
    ns::CLIENT,
    ns::SERVER,
    ns::STREAM,
];
const NAMES: [&str; 6] = ["body", "x", "y", "error", "message", "\u{e9}l\u{e9}ment"];
const DEPTH: usize = 4;

/// What each prefix means; the last one counts. The empty prefix is the default namespace.
type Scope = Vec<(String, String)>;

fn meaning<'s>(scope: &'s Scope, prefix: &str) -> Option<&'s str> {
    scope
        .iter()
        .rev()
        .find(|(known, _)| known == prefix)
        .map(|(_, ns)| ns.as_str())
}

/// A header on which every prefix that stanzas use means something else.
pub(crate) fn hostile(content_ns: &str) -> Header {
    let mut header = Header::of(content_ns);
    header.prefixes = PREFIXES
        .iter()
        .map(|prefix| ((*prefix).to_owned(), format!("urn:hostile:{prefix}")))
        .collect();
    header
}

/// The text of a stream that holds one stanza.
pub(crate) fn in_stream(stanza: &str, header: &Header) -> String {
    let declared: String = header
        .prefixes
        .iter()
        .map(|(prefix, ns)| format!(" xmlns:{prefix}=\"{}\"", escaped(ns)))
        .collect();
    let root = format!("root xmlns='{}'{declared}", header.content_ns);
    format!("<{root}>{stanza}</root>")
}

pub(crate) fn stanza(rng: &mut Rng) -> Source {
    let content_ns = rng.pick(&[ns::CLIENT, ns::SERVER]);
    let mut header = Header::of(content_ns);
    if rng.one_in(2) {
        header.lang = Some("cs".to_owned());
    }
    let mut scope: Scope = vec![(String::new(), content_ns.to_owned())];
    for prefix in PREFIXES {
        if rng.one_in(2) {
            let ns = rng.pick(&NAMESPACES).to_owned();
            header.prefixes.push((prefix.to_owned(), ns.clone()));
            scope.push((prefix.to_owned(), ns));
        }
    }
    let text = envelope(rng, content_ns, &mut scope);
    Source { header, text }
}

fn envelope(rng: &mut Rng, content_ns: &str, scope: &mut Scope) -> String {
    let name = rng.pick(&["message", "presence", "iq"]);
    let type_ = match name {
        "message" => rng.pick(&["", "chat", "normal", "odd", "groupchat"]),
        "presence" => rng.pick(&["", "unavailable", "probe"]),
        _ => rng.pick(&["get", "set", "result", "error"]),
    };
    let mut declared = declarations(rng, scope);
    // The stanza itself must be in the content namespace, by one name or another.
    let candidates = prefixes_for(scope, |ns| ns == content_ns);
    let prefix = if candidates.is_empty() {
        declared.push_str(&format!(" xmlns:z='{content_ns}'"));
        scope.push(("z".to_owned(), content_ns.to_owned()));
        "z"
    } else {
        rng.pick(&candidates)
    };
    let mut attributes = attributes(rng, scope);
    attributes.push_str(" id='&#x31;'");
    if !type_.is_empty() {
        attributes.push_str(&format!(" type='{type_}'"));
    }
    if rng.one_in(2) {
        attributes.push_str(" to='a@b/c' from='d.example'");
    }
    let children = match (name, type_) {
        ("iq", "get" | "set") => 1,
        ("iq", "result") => rng.below(2),
        _ => rng.below(5),
    };
    let mut content = String::new();
    for _ in 0..children {
        content.push_str(&space(rng));
        content.push_str(&element(rng, scope, 1));
    }
    content.push_str(&space(rng));
    tag(
        rng,
        &qualified(prefix, name),
        &(declared + &attributes),
        &content,
    )
}

fn element(rng: &mut Rng, outer: &Scope, depth: usize) -> String {
    let mut scope = outer.clone();
    let declared = declarations(rng, &mut scope);
    let prefixes = prefixes_for(&scope, |_| true);
    let prefix = rng.pick(&prefixes);
    let attributes = attributes(rng, &scope);
    let mut content = String::new();
    for _ in 0..rng.below(4) {
        if depth < DEPTH && rng.one_in(2) {
            content.push_str(&element(rng, &scope, depth + 1));
        } else {
            content.push_str(&characters(rng));
        }
    }
    let name = qualified(prefix, rng.pick(&NAMES));
    tag(rng, &name, &(declared + &attributes), &content)
}

fn tag(rng: &mut Rng, name: &str, attributes: &str, content: &str) -> String {
    let space = rng.pick(&["", " ", "\r\n"]);
    if content.is_empty() && rng.one_in(2) {
        format!("<{name}{attributes}{space}/>")
    } else {
        format!("<{name}{attributes}{space}>{content}</{name}{space}>")
    }
}

fn declarations(rng: &mut Rng, scope: &mut Scope) -> String {
    let mut out = String::new();
    let mut bind = |prefix: &str, ns: &str, out: &mut String| {
        let name = if prefix.is_empty() {
            "xmlns".to_owned()
        } else {
            format!("xmlns:{prefix}")
        };
        out.push_str(&format!(" {name}=\"{}\"", escaped(ns)));
        scope.push((prefix.to_owned(), ns.to_owned()));
    };
    if rng.one_in(3) {
        let default = if rng.one_in(4) {
            ""
        } else {
            rng.pick(&NAMESPACES)
        };
        bind("", default, &mut out);
    }
    for prefix in PREFIXES {
        if rng.one_in(8) {
            bind(prefix, rng.pick(&NAMESPACES), &mut out);
        }
    }
    out
}

/// The prefixes in force whose namespace is wanted, the default among them.
fn prefixes_for(scope: &Scope, wanted: impl Fn(&str) -> bool) -> Vec<&'static str> {
    std::iter::once("")
        .chain(PREFIXES)
        .filter(|prefix| meaning(scope, prefix).is_some_and(&wanted))
        .collect()
}

fn attributes(rng: &mut Rng, scope: &Scope) -> String {
    let mut out = String::new();
    let mut names: Vec<(String, &str)> = Vec::new();
    for _ in 0..rng.below(4) {
        let prefixes = prefixes_for(scope, |_| true);
        let prefix = rng.pick(&prefixes);
        let name = rng.pick(&["a", "b", "\u{3b1}"]);
        // An attribute without a prefix has no namespace, whatever the default is.
        let ns = if prefix.is_empty() {
            ""
        } else {
            meaning(scope, prefix).unwrap_or_default()
        };
        if names.contains(&(ns.to_owned(), name)) {
            continue;
        }
        names.push((ns.to_owned(), name));
        let value = rng.pick(&[
            "",
            "1",
            "&lt;&amp;&quot;",
            "\"'&apos;",
            "\r\n&#xD;&#10;\t>",
            "\u{1f600}",
        ]);
        let quoted = if value.contains('"') {
            format!("'{}'", value.replace('\'', "&apos;"))
        } else {
            format!("\"{value}\"")
        };
        out.push_str(&format!(" {} = {quoted}", qualified(prefix, name)));
    }
    if rng.one_in(5) {
        out.push_str(" xml:lang='de'");
    }
    if rng.one_in(9) {
        out.push_str(" xml:space='preserve'");
    }
    out
}

fn characters(rng: &mut Rng) -> String {
    let choices = [
        "text",
        "&lt;b&gt;",
        "<![CDATA[<b>]]>",
        "<![CDATA[]]]]>",
        // Not at the end: roxmltree forgets to make a line feed of a last `\r` before CDATA.
        "\r\n\r.",
        "&#13;",
        "]] >",
        "'\"",
        "\u{1f600}\u{301}",
        "&amp;amp;",
    ];
    rng.pick(&choices).to_owned()
}

/// RFC 6120 has no text among a stanza's children, but whoever sends it must not be cut short.
fn space(rng: &mut Rng) -> String {
    rng.pick(&["", "", "", " ", "\r\n", "text &amp; <![CDATA[<]]>"])
        .to_owned()
}

fn qualified(prefix: &str, name: &str) -> String {
    if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}:{name}")
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
}
