//! What a domain says of the extension to service discovery (XEP-0030), and its limits and suites
//! in force as a form (XEP-0128).

use comity_xmpp::element::Element;
use comity_xmpp::ns;

/// Features of a domain that offers the extension.
pub const DOMAIN_FEATURES: [&str; 4] = [ns::MLS, ns::MLS_AS, ns::MLS_KEYS, ns::MLS_ROOM];
/// Features of an account's bare JID there, seen by whoever may query it.
pub const ACCOUNT_FEATURES: [&str; 2] = [ns::MLS, ns::MLS_KEYS];
/// Features of a room.
pub const ROOM_FEATURES: [&str; 2] = [ns::MLS, ns::MLS_ROOM];
/// Identity of a room: (category, type).
pub const ROOM_IDENTITY: (&str, &str) = ("conference", "mls");

const DATA_FORMS: &str = "jabber:x:data"; // XEP-0004

/// What the domain's configuration has in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Cipher suites, the preferred one first.
    pub suites: Vec<u16>,
    /// Where new rooms are made, if not at the domain itself.
    pub rooms_host: Option<String>,
    /// Ordinary KeyPackages kept for a device and suite.
    pub key_packages: u32,
    pub key_package_lifetime_s: u64,
    pub certificate_lifetime_s: u64,
    pub room_leaves: u32,
    pub stanza_bytes: u32,
}

/// The form that stands beside the features.
#[must_use]
pub fn form(limits: &Limits) -> Element {
    let number = |name, value: u64| field(name, None, &[value.to_string()]);
    let suites: Vec<String> = limits.suites.iter().map(u16::to_string).collect();
    Element::new(DATA_FORMS, "x")
        .with_attr("type", "result")
        .with_child(field("FORM_TYPE", Some("hidden"), &[ns::MLS.to_owned()]))
        .with_child(field("suites", Some("list-multi"), &suites))
        .with_children(
            limits
                .rooms_host
                .as_ref()
                .map(|host| field("rooms-host", None, std::slice::from_ref(host))),
        )
        .with_child(number("max-key-packages", limits.key_packages.into()))
        .with_child(number(
            "key-package-lifetime",
            limits.key_package_lifetime_s,
        ))
        .with_child(number(
            "certificate-lifetime",
            limits.certificate_lifetime_s,
        ))
        .with_child(number("max-room-leaves", limits.room_leaves.into()))
        .with_child(number("max-stanza-bytes", limits.stanza_bytes.into()))
}

fn field(name: &str, kind: Option<&str>, values: &[String]) -> Element {
    Element::new(DATA_FORMS, "field")
        .with_attr("var", name)
        .with_attr_opt("type", kind)
        .with_children(
            values
                .iter()
                .map(|value| Element::new(DATA_FORMS, "value").with_text(value)),
        )
}
