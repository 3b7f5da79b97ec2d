//! The verification string of XEP-0115 §5 and its hash.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use comity_xmpp::element::Element;
use comity_xmpp::form::Form;
use comity_xmpp::ns;
use ring::digest;

/// Does this disco#info answer hash to `ver`? Not, where the algorithm is unknown or the answer
/// ill-formed (XEP-0115 §5.4, step 3).
pub(super) fn matches(info: &Element, algorithm: &str, ver: &str) -> bool {
    let algorithm = match algorithm {
        "sha-1" => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        "sha-256" => &digest::SHA256,
        "sha-384" => &digest::SHA384,
        "sha-512" => &digest::SHA512,
        _ => return false,
    };
    let Some(text) = verification(info) else {
        return false;
    };
    STANDARD.encode(digest::digest(algorithm, text.as_bytes())) == ver
}

/// XEP-0115 §5.1; `None` where §5.4 calls the answer ill-formed.
fn verification(info: &Element) -> Option<String> {
    let mut identities: Vec<String> = info
        .children_named(ns::DISCO_INFO, "identity")
        .map(|identity| {
            let part = |name| identity.attr(name).unwrap_or_default();
            format!(
                "{}/{}/{}/{}",
                part("category"),
                part("type"),
                identity.lang().unwrap_or_default(),
                part("name")
            )
        })
        .collect();
    let mut features: Vec<&str> = info
        .children_named(ns::DISCO_INFO, "feature")
        .filter_map(|feature| feature.attr("var"))
        .collect();
    let mut forms: Vec<String> = info
        .children_named(ns::DATA, "x")
        .filter_map(|form| Form::read(form).ok())
        .filter_map(|form| of_form(&form))
        .collect();
    identities.sort_unstable();
    features.sort_unstable();
    forms.sort_unstable();
    let twice = |sorted: &[String]| sorted.windows(2).any(|pair| pair[0] == pair[1]);
    if twice(&identities) || features.windows(2).any(|pair| pair[0] == pair[1]) || twice(&forms) {
        return None;
    }
    let mut text = String::new();
    for part in identities.iter().map(String::as_str).chain(features) {
        // What separates the parts cannot be within one (XEP-0115 §5.4: it could be moved).
        if part.contains('<') {
            return None;
        }
        text.push_str(part);
        text.push('<');
    }
    forms.iter().for_each(|form| text.push_str(form));
    Some(text)
}

/// §5.1, steps 6 and 7; a form without a hidden type is left out.
fn of_form(form: &Form) -> Option<String> {
    let mut text = format!("{}<", form.form_type()?);
    let mut fields: Vec<_> = form
        .fields
        .iter()
        .filter(|field| field.var != "FORM_TYPE")
        .collect();
    fields.sort_unstable_by(|one, other| one.var.cmp(&other.var));
    for field in fields {
        text.push_str(&field.var);
        text.push('<');
        let mut values = field.values.clone();
        values.sort_unstable();
        for value in values {
            text.push_str(&value);
            text.push('<');
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use comity_xmpp::stream::Header;
    use comity_xmpp::xml;

    use super::*;

    fn info(content: &str) -> Element {
        let text =
            format!("<query xmlns='http://jabber.org/protocol/disco#info'>{content}</query>");
        xml::parse(text.as_bytes(), &Header::of(ns::CLIENT)).unwrap()
    }

    /// XEP-0115 §5.2.
    const SIMPLE: &str = "<identity category='client' name='Exodus 0.9.1' type='pc'/>\
        <feature var='http://jabber.org/protocol/caps'/>\
        <feature var='http://jabber.org/protocol/disco#info'/>\
        <feature var='http://jabber.org/protocol/disco#items'/>\
        <feature var='http://jabber.org/protocol/muc'/>";

    #[test]
    fn the_documents_examples() {
        assert!(matches(
            &info(SIMPLE),
            "sha-1",
            "QgayPKawpkPSDYmwT/WM94uAlu0="
        ));
        // §5.3.
        let complex = "<identity xml:lang='en' category='client' name='Psi 0.11' type='pc'/>\
            <identity xml:lang='el' category='client' name='\u{3a8} 0.11' type='pc'/>\
            <feature var='http://jabber.org/protocol/caps'/>\
            <feature var='http://jabber.org/protocol/disco#info'/>\
            <feature var='http://jabber.org/protocol/disco#items'/>\
            <feature var='http://jabber.org/protocol/muc'/>\
            <x xmlns='jabber:x:data' type='result'>\
            <field var='FORM_TYPE' type='hidden'><value>urn:xmpp:dataforms:softwareinfo</value>\
            </field><field var='ip_version' type='text-multi'><value>ipv4</value>\
            <value>ipv6</value></field><field var='os'><value>Mac</value></field>\
            <field var='os_version'><value>10.5.1</value></field>\
            <field var='software'><value>Psi</value></field>\
            <field var='software_version'><value>0.11</value></field></x>";
        assert!(matches(
            &info(complex),
            "sha-1",
            "q07IKJEyjvHSyhy//CH0CxmKi8w="
        ));
    }

    #[test]
    fn what_is_ill_formed_or_other_does_not_match() {
        let ver = "QgayPKawpkPSDYmwT/WM94uAlu0=";
        assert!(!matches(&info(SIMPLE), "sha-1", "x"));
        assert!(!matches(&info(SIMPLE), "md5", ver));
        let twice = format!("{SIMPLE}<feature var='http://jabber.org/protocol/caps'/>");
        assert!(!matches(&info(&twice), "sha-1", ver));
        let moved = SIMPLE.replace(
            "<feature var='http://jabber.org/protocol/disco#items'/>\
        <feature var='http://jabber.org/protocol/muc'/>",
            "<feature var='http://jabber.org/protocol/disco#items&lt;\
             http://jabber.org/protocol/muc'/>",
        );
        assert!(!matches(&info(&moved), "sha-1", ver));
    }
}
