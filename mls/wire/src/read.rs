//! Reading and writing the parts every payload is made of. Strict in what a payload needs, silent
//! about elements and attributes it does not know, so that the extension can grow.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use comity_xmpp::element::Element;
use comity_xmpp::jid::BareJid;
use comity_xmpp::stanza::IqType;
use uuid::Uuid;

/// A payload that is not what the protocol says. The sender's fault, always.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("in <{element}/>: expected {expected}, found {found}")]
pub struct Malformed {
    pub element: String,
    pub expected: String,
    pub found: String,
}

impl Malformed {
    #[must_use]
    pub fn new(element: &Element, expected: impl Into<String>, found: impl AsRef<str>) -> Self {
        Self {
            element: shortened(&element.name),
            expected: expected.into(),
            found: shortened(found.as_ref()),
        }
    }
}

/// Foreign words are quoted in errors, so they are kept short.
const QUOTED_CHARACTERS: usize = 64;

fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(QUOTED_CHARACTERS).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// An IQ request arrives by the type its document gives it (RFC 6120 §8.2.3).
pub(crate) fn expect_iq(
    element: &Element,
    expected: IqType,
    found: IqType,
) -> Result<(), Malformed> {
    if expected == found {
        return Ok(());
    }
    let name = |iq| match iq {
        IqType::Get => "an IQ of type get",
        IqType::Set => "an IQ of type set",
        IqType::Result => "an IQ of type result",
        IqType::Error => "an IQ of type error",
    };
    Err(Malformed::new(element, name(expected), name(found)))
}

/// The element of an unknown name: `expected` lists the known ones.
pub(crate) fn unknown(element: &Element, ns: &str, expected: &str) -> Malformed {
    if element.ns == ns {
        Malformed::new(
            element,
            format!("one of {expected}"),
            format!("<{}/>", element.name),
        )
    } else {
        Malformed::new(element, format!("the namespace {ns}"), &element.ns)
    }
}

/// The local name, where the namespace is the right one.
pub(crate) fn name_in<'a>(element: &'a Element, ns: &str) -> Option<&'a str> {
    (element.ns == ns).then_some(element.name.as_str())
}

/// Refuses an element of another name.
pub(crate) fn expect(element: &Element, ns: &str, name: &str) -> Result<(), Malformed> {
    if element.is(ns, name) {
        Ok(())
    } else {
        Err(Malformed::new(
            element,
            format!("<{name} xmlns='{ns}'/>"),
            format!("<{} xmlns='{}'/>", element.name, element.ns),
        ))
    }
}

/// A value that an attribute carries.
pub(crate) trait Value: Sized {
    const EXPECTED: &'static str;
    fn read(text: &str) -> Option<Self>;
    fn write(&self) -> String;
}

pub(crate) fn attr<V: Value>(element: &Element, name: &str) -> Result<V, Malformed> {
    attr_opt(element, name)?.ok_or_else(|| {
        Malformed::new(
            element,
            format!("an attribute {name} with {}", V::EXPECTED),
            "none",
        )
    })
}

pub(crate) fn attr_opt<V: Value>(element: &Element, name: &str) -> Result<Option<V>, Malformed> {
    let Some(text) = element.attr(name) else {
        return Ok(None);
    };
    match V::read(text) {
        Some(value) => Ok(Some(value)),
        None => Err(Malformed::new(
            element,
            format!("{} in attribute {name}", V::EXPECTED),
            text,
        )),
    }
}

/// Text of at most `max` octets in an attribute.
pub(crate) fn attr_text(element: &Element, name: &str, max: usize) -> Result<String, Malformed> {
    let expected = || format!("an attribute {name} of at most {max} octets");
    match element.attr(name) {
        None => Err(Malformed::new(element, expected(), "none")),
        Some(text) if text.len() > max => Err(Malformed::new(
            element,
            expected(),
            format!("{} octets", text.len()),
        )),
        Some(text) => Ok(text.to_owned()),
    }
}

/// The one child of that name in the parent's namespace.
pub(crate) fn child<'a>(element: &'a Element, name: &str) -> Result<&'a Element, Malformed> {
    child_opt(element, name)?
        .ok_or_else(|| Malformed::new(element, format!("a child <{name}/>"), "none"))
}

pub(crate) fn child_opt<'a>(
    element: &'a Element,
    name: &str,
) -> Result<Option<&'a Element>, Malformed> {
    let mut found = element.elements().filter(|c| c.is(&element.ns, name));
    let first = found.next();
    if found.next().is_some() {
        return Err(Malformed::new(
            element,
            format!("one child <{name}/>"),
            "several",
        ));
    }
    Ok(first)
}

/// All children of that name, at most `max`, each read by `read`.
pub(crate) fn children<T>(
    element: &Element,
    name: &str,
    max: usize,
    read: impl Fn(&Element) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let mut all = Vec::new();
    for found in element.elements().filter(|c| c.is(&element.ns, name)) {
        if all.len() == max {
            return Err(Malformed::new(
                element,
                format!("at most {max} children <{name}/>"),
                "more",
            ));
        }
        all.push(read(found)?);
    }
    Ok(all)
}

/// The same, refusing none at all.
pub(crate) fn some_children<T>(
    element: &Element,
    name: &str,
    max: usize,
    read: impl Fn(&Element) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let all = children(element, name, max, read)?;
    if all.is_empty() {
        return Err(Malformed::new(
            element,
            format!("at least one child <{name}/>"),
            "none",
        ));
    }
    Ok(all)
}

/// The octets a child carries as base64 (RFC 4648 §4: padded, no white space).
pub(crate) fn child_bytes(element: &Element, name: &str, max: usize) -> Result<Bytes, Malformed> {
    bytes(child(element, name)?, max)
}

pub(crate) fn child_bytes_opt(
    element: &Element,
    name: &str,
    max: usize,
) -> Result<Option<Bytes>, Malformed> {
    child_opt(element, name)?
        .map(|found| bytes(found, max))
        .transpose()
}

/// The octets an element itself carries as base64; nothing in the protocol is empty.
pub(crate) fn bytes(element: &Element, max: usize) -> Result<Bytes, Malformed> {
    let text = element.text();
    // Four characters carry three octets: refused before anything is decoded.
    if text.len() > max.div_ceil(3) * 4 {
        return Err(Malformed::new(
            element,
            format!("at most {max} octets"),
            format!("{} characters of base64", text.len()),
        ));
    }
    let decoded = STANDARD.decode(text.as_bytes()).map_err(|fault| {
        Malformed::new(
            element,
            "base64, padded and without white space",
            fault.to_string(),
        )
    })?;
    if decoded.is_empty() || decoded.len() > max {
        return Err(Malformed::new(
            element,
            format!("1 to {max} octets"),
            format!("{} octets", decoded.len()),
        ));
    }
    Ok(Bytes::from(decoded))
}

/// `<name>base64</name>`.
pub(crate) fn blob(ns: &str, name: &str, octets: &[u8]) -> Element {
    Element::new(ns, name).with_text(STANDARD.encode(octets))
}

pub(crate) trait Attributes {
    fn put<V: Value>(self, name: &str, value: &V) -> Self;
    fn put_opt<V: Value>(self, name: &str, value: Option<&V>) -> Self;
}

impl Attributes for Element {
    fn put<V: Value>(self, name: &str, value: &V) -> Self {
        self.with_attr(name, value.write())
    }

    fn put_opt<V: Value>(self, name: &str, value: Option<&V>) -> Self {
        self.with_attr_opt(name, value.map(Value::write))
    }
}

macro_rules! numbers {
    ($($kind:ty: $expected:literal),+) => {$(
        impl Value for $kind {
            const EXPECTED: &'static str = $expected;
            fn read(text: &str) -> Option<Self> {
                // `parse` takes a leading `+`; the protocol has one way to write a number.
                let plain = text.bytes().all(|b| b.is_ascii_digit())
                    && (text.len() == 1 || !text.starts_with('0'));
                plain.then(|| text.parse().ok()).flatten()
            }
            fn write(&self) -> String {
                self.to_string()
            }
        }
    )+};
}

numbers!(
    u16: "a decimal number below 65536",
    u32: "a decimal number below 2^32",
    u64: "a decimal number below 2^64"
);

impl Value for bool {
    const EXPECTED: &'static str = "true or false";
    fn read(text: &str) -> Option<Self> {
        // XML Schema part 2 §3.2.2 knows both spellings.
        match text {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        }
    }
    fn write(&self) -> String {
        self.to_string()
    }
}

impl Value for Uuid {
    const EXPECTED: &'static str = "a UUID, hyphenated";
    fn read(text: &str) -> Option<Self> {
        (text.len() == 36)
            .then(|| Self::try_parse(text).ok())
            .flatten()
    }
    fn write(&self) -> String {
        self.hyphenated().to_string()
    }
}

impl Value for BareJid {
    const EXPECTED: &'static str = "an address without a resource";
    fn read(text: &str) -> Option<Self> {
        Self::parse(text).ok()
    }
    fn write(&self) -> String {
        self.as_str().to_owned()
    }
}

/// SHA-256 as 64 lower-case hexadecimal digits.
impl Value for [u8; 32] {
    const EXPECTED: &'static str = "64 lower-case hexadecimal digits";
    fn read(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut out = [0; 32];
        for (octet, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
            *octet = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Some(out)
    }
    fn write(&self) -> String {
        use std::fmt::Write as _;
        self.iter().fold(String::with_capacity(64), |mut out, b| {
            let _ = write!(out, "{b:02x}");
            out
        })
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused<V: Value>(texts: &[&str]) {
        for text in texts {
            assert!(V::read(text).is_none(), "{text:?} was accepted");
        }
    }

    #[test]
    fn one_way_to_write_a_number() {
        assert_eq!(u64::read("18446744073709551615"), Some(u64::MAX));
        assert_eq!(u16::read("0"), Some(0));
        refused::<u64>(&[
            "",
            "+1",
            "-1",
            "01",
            "1 ",
            "0x1",
            "18446744073709551616",
            "１",
        ]);
        refused::<u16>(&["65536"]);
    }

    #[test]
    fn uuids_and_hashes_are_strict() {
        let id = "6c4a2c1e-8a0b-4c55-9d1f-1b6a3f0f7c11";
        assert_eq!(Uuid::read(id).map(|u| u.write()).as_deref(), Some(id));
        refused::<Uuid>(&[
            "",
            "6c4a2c1e8a0b4c559d1f1b6a3f0f7c11",
            "urn:uuid:6c4a2c1e-8a0b-4c55-9d1f-1b6a3f0f7c11",
        ]);
        let hash = "ab".repeat(32);
        assert_eq!(<[u8; 32]>::read(&hash), Some([0xab; 32]));
        refused::<[u8; 32]>(&[&"AB".repeat(32), &"ab".repeat(31), &"zz".repeat(32)]);
    }

    #[test]
    fn base64_is_strict_and_bounded() {
        let octets = |text: &str| bytes(&Element::new("x", "y").with_text(text), 3);
        assert_eq!(octets("AQID").as_deref(), Ok(&[1, 2, 3][..]));
        for text in [
            "", "AQ", "AQ=", "A Q==", "AQ==\n", "AR==", "AQIDBA==", "AQIDBAUG", "!!!!",
        ] {
            assert!(octets(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn counts_are_bounded_and_doubles_refused() {
        let two = Element::new("x", "list")
            .with_child(Element::new("x", "i"))
            .with_child(Element::new("x", "i"))
            .with_child(Element::new("other", "i"));
        assert_eq!(children(&two, "i", 2, |_| Ok(())).map(|v| v.len()), Ok(2));
        let fault = children(&two, "i", 1, |_| Ok(())).unwrap_err();
        assert_eq!(
            fault.to_string(),
            "in <list/>: expected at most 1 children <i/>, found more"
        );
        assert!(child(&two, "i").is_err());
        assert!(some_children(&two, "none", 1, |_| Ok(())).is_err());
    }
}
