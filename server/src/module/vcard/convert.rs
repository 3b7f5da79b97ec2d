//! Between the vCard of XEP-0054 and that of RFC 6351 (XEP-0292): what both can say.

use comity_xmpp::element::Element;

const TEMP: &str = super::TEMP;
const VCARD4: &str = "urn:ietf:params:xml:ns:vcard-4.0";

/// Properties with one value: as XEP-0054 names them, as RFC 6351 does, and the type of the value.
const PLAIN: [(&str, &str, &str); 9] = [
    ("FN", "fn", "text"),
    ("NICKNAME", "nickname", "text"),
    ("URL", "url", "uri"),
    ("BDAY", "bday", "date"),
    ("TITLE", "title", "text"),
    ("ROLE", "role", "text"),
    ("DESC", "note", "text"),
    ("TZ", "tz", "text"),
    ("UID", "uid", "text"),
];
/// Parts of properties with several.
const NAME: [(&str, &str); 5] = [
    ("FAMILY", "surname"),
    ("GIVEN", "given"),
    ("MIDDLE", "additional"),
    ("PREFIX", "prefix"),
    ("SUFFIX", "suffix"),
];
const ADDRESS: [(&str, &str); 7] = [
    ("POBOX", "pobox"),
    ("EXTADD", "ext"),
    ("STREET", "street"),
    ("LOCALITY", "locality"),
    ("REGION", "region"),
    ("PCODE", "code"),
    ("CTRY", "country"),
];
/// What a telephone, an address is: the same words in both, but for their case.
const TYPES: [&str; 8] = [
    "home", "work", "voice", "fax", "cell", "pager", "video", "text",
];

pub(super) fn to_vcard4(temp: &Element) -> Element {
    let mut vcard = Element::new(VCARD4, "vcard");
    for child in temp.elements().filter(|child| child.ns == TEMP) {
        let plain = PLAIN.iter().find(|(old, _, _)| *old == child.name);
        if let Some((_, new, value)) = plain {
            if !child.text().is_empty() {
                vcard.push(Element::new(VCARD4, *new).with_child(text4(value, child.text())));
            }
            continue;
        }
        vcard
            .children
            .extend(structured4(child).map(comity_xmpp::element::Node::Element));
    }
    vcard
}

fn structured4(child: &Element) -> Option<Element> {
    let part = |name: &str| {
        child
            .child(TEMP, name)
            .map(Element::text)
            .filter(|t| !t.is_empty())
    };
    Some(match child.name.as_str() {
        "N" => parts4("n", child, &NAME, false),
        "ADR" => parts4("adr", child, &ADDRESS, true),
        "ORG" => {
            let names = child
                .elements()
                .filter(|e| matches!(&*e.name, "ORGNAME" | "ORGUNIT"));
            Element::new(VCARD4, "org").with_children(names.map(|e| text4("text", e.text())))
        }
        "EMAIL" => typed4("email", child).with_child(text4("text", part("USERID")?)),
        "TEL" => typed4("tel", child).with_child(text4("text", part("NUMBER")?)),
        "JABBERID" => {
            let uri = format!("xmpp:{}", child.text());
            Element::new(VCARD4, "impp").with_child(text4("uri", uri))
        }
        _ => return None,
    })
}

fn parts4(name: &str, child: &Element, parts: &[(&str, &str)], typed: bool) -> Element {
    let property = if typed {
        typed4(name, child)
    } else {
        Element::new(VCARD4, name)
    };
    let text = |old: &str| {
        child
            .child(TEMP, old)
            .map(Element::text)
            .unwrap_or_default()
    };
    property.with_children(parts.iter().map(|(old, new)| text4(new, text(old))))
}

fn typed4(name: &str, child: &Element) -> Element {
    let property = Element::new(VCARD4, name);
    let types: Vec<&str> = TYPES
        .into_iter()
        .filter(|name| child.child(TEMP, &name.to_uppercase()).is_some())
        .collect();
    if types.is_empty() {
        return property;
    }
    let texts = types.into_iter().map(|name| text4("text", name.to_owned()));
    let parameter = Element::new(VCARD4, "type").with_children(texts);
    property.with_child(Element::new(VCARD4, "parameters").with_child(parameter))
}

fn text4(name: &str, text: String) -> Element {
    let element = Element::new(VCARD4, name);
    if text.is_empty() {
        element
    } else {
        element.with_text(text)
    }
}

pub(super) fn to_temp(vcard: &Element) -> Element {
    let mut temp = Element::new(TEMP, "vCard");
    for child in vcard.elements().filter(|child| child.ns == VCARD4) {
        let plain = PLAIN.iter().find(|(_, new, _)| *new == child.name);
        if let Some((old, _, _)) = plain {
            if let Some(value) = value(child) {
                temp.push(Element::new(TEMP, *old).with_text(value));
            }
            continue;
        }
        temp.children
            .extend(structured(child).map(comity_xmpp::element::Node::Element));
    }
    temp
}

fn structured(child: &Element) -> Option<Element> {
    Some(match child.name.as_str() {
        "n" => parts("N", child, &NAME, false),
        "adr" => parts("ADR", child, &ADDRESS, true),
        "org" => {
            let names = ["ORGNAME"].into_iter().chain(std::iter::repeat("ORGUNIT"));
            let texts = child.children_named(VCARD4, "text").zip(names);
            let texts = texts.map(|(text, name)| Element::new(TEMP, name).with_text(text.text()));
            Element::new(TEMP, "ORG").with_children(texts)
        }
        "email" => {
            let id = Element::new(TEMP, "USERID").with_text(value(child)?);
            typed("EMAIL", child).with_child(id)
        }
        "tel" => {
            let number = value(child)?;
            let number = number.strip_prefix("tel:").unwrap_or(&number);
            typed("TEL", child).with_child(Element::new(TEMP, "NUMBER").with_text(number))
        }
        "impp" => {
            let uri = value(child)?;
            Element::new(TEMP, "JABBERID").with_text(uri.strip_prefix("xmpp:")?)
        }
        _ => return None,
    })
}

/// The property's value, whatever its type.
fn value(property: &Element) -> Option<String> {
    let values = property
        .elements()
        .filter(|child| child.name != "parameters");
    values.map(Element::text).find(|text| !text.is_empty())
}

fn parts(name: &str, child: &Element, parts: &[(&str, &str)], is_typed: bool) -> Element {
    let property = if is_typed {
        typed(name, child)
    } else {
        Element::new(TEMP, name)
    };
    let found = parts.iter().filter_map(|(old, new)| {
        let text = child.child(VCARD4, new)?.text();
        (!text.is_empty()).then(|| Element::new(TEMP, *old).with_text(text))
    });
    property.with_children(found)
}

fn typed(name: &str, child: &Element) -> Element {
    let named: Vec<String> = child
        .child(VCARD4, "parameters")
        .and_then(|parameters| parameters.child(VCARD4, "type"))
        .map(|types| types.elements().map(Element::text).collect())
        .unwrap_or_default();
    let known = TYPES
        .into_iter()
        .filter(|name| named.iter().any(|known| known == name));
    let known = known.map(|name| Element::new(TEMP, name.to_uppercase()));
    Element::new(TEMP, name).with_children(known)
}

#[cfg(test)]
mod tests {
    use comity_xmpp::ns;
    use comity_xmpp::stream::Header;
    use comity_xmpp::xml;

    use super::*;

    fn parse(text: &str) -> Element {
        xml::parse(text.as_bytes(), &Header::of(ns::CLIENT)).unwrap()
    }

    const OLD: &str = "<vCard xmlns='vcard-temp'><FN>Alice Liddell</FN>\
         <N><FAMILY>Liddell</FAMILY><GIVEN>Alice</GIVEN></N><NICKNAME>al</NICKNAME>\
         <URL>https://a.example/</URL><BDAY>1852-05-04</BDAY>\
         <ORG><ORGNAME>Wonderland</ORGNAME><ORGUNIT>Tea</ORGUNIT></ORG>\
         <EMAIL><WORK/><USERID>alice@a.example</USERID></EMAIL>\
         <TEL><HOME/><CELL/><NUMBER>+44 1</NUMBER></TEL>\
         <ADR><HOME/><STREET>Deanery</STREET><LOCALITY>Oxford</LOCALITY></ADR>\
         <JABBERID>alice@a.example</JABBERID><DESC>curious</DESC></vCard>";

    #[test]
    fn what_both_can_say_survives() {
        let old = parse(OLD);
        let new = to_vcard4(&old);
        let tel = new.child(VCARD4, "tel").unwrap();
        assert_eq!(value(tel).as_deref(), Some("+44 1"));
        assert_eq!(to_temp(&new), old);
    }

    #[test]
    fn what_another_client_writes_is_understood_as_far_as_it_goes() {
        let new = parse(
            "<vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'><fn><text>Bob</text></fn>\
             <tel><parameters><type><text>work</text><text>x-car</text></type></parameters>\
             <uri>tel:+1</uri></tel><impp><uri>sip:bob@b.example</uri></impp>\
             <x-own><text>y</text></x-own><note/></vcard>",
        );
        let expected = parse(
            "<vCard xmlns='vcard-temp'><FN>Bob</FN>\
             <TEL><WORK/><NUMBER>+1</NUMBER></TEL></vCard>",
        );
        assert_eq!(to_temp(&new), expected);
        let nothing = to_vcard4(&parse(
            "<vCard xmlns='vcard-temp'><FN/><EMAIL/><X>y</X></vCard>",
        ));
        assert!(nothing.children.is_empty());
    }
}
