//! `<stream:features>` (RFC 6120 §4.3.2): what the receiving entity offers next.

use crate::element::Element;
use crate::ns;

/// The features that the streams of this crate's users speak; others are kept as they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// `Some(true)` when TLS is required (RFC 6120 §5.3.1).
    pub starttls: Option<bool>,
    /// SASL mechanisms, in the order of the server's preference.
    pub mechanisms: Vec<String>,
    pub bind: bool,
    /// RFC 3921 §3, kept for old clients and always optional.
    pub session: bool,
    /// XEP-0198.
    pub stream_management: bool,
    /// XEP-0220 §2.2, with its `<errors/>`.
    pub dialback: bool,
    pub roster_versioning: bool,
    pub pre_approval: bool,
    pub others: Vec<Element>,
}

impl Features {
    /// Reads `<stream:features>`; None for any other element.
    #[must_use]
    pub fn from_element(element: &Element) -> Option<Self> {
        if !element.is(ns::STREAM, "features") {
            return None;
        }
        let mut features = Self::default();
        for feature in element.elements() {
            match (feature.ns.as_str(), feature.name.as_str()) {
                (ns::TLS, "starttls") => {
                    features.starttls = Some(feature.child(ns::TLS, "required").is_some());
                }
                (ns::SASL, "mechanisms") => {
                    features.mechanisms = feature
                        .children_named(ns::SASL, "mechanism")
                        .map(|mechanism| mechanism.text().trim().to_owned())
                        .collect();
                }
                (ns::BIND, "bind") => features.bind = true,
                (ns::SESSION, "session") => features.session = true,
                (ns::SM, "sm") => features.stream_management = true,
                (ns::DIALBACK_FEATURE, "dialback") => features.dialback = true,
                (ns::ROSTER_VER, "ver") => features.roster_versioning = true,
                (ns::PRE_APPROVAL, "sub") => features.pre_approval = true,
                _ => features.others.push(feature.clone()),
            }
        }
        Some(features)
    }

    #[must_use]
    pub fn to_element(&self) -> Element {
        let mut features = Element::new(ns::STREAM, "features");
        if let Some(required) = self.starttls {
            let mut starttls = Element::new(ns::TLS, "starttls");
            if required {
                starttls.push(Element::new(ns::TLS, "required"));
            }
            features.push(starttls);
        }
        if !self.mechanisms.is_empty() {
            features.push(
                Element::new(ns::SASL, "mechanisms").with_children(
                    self.mechanisms
                        .iter()
                        .map(|name| Element::new(ns::SASL, "mechanism").with_text(name)),
                ),
            );
        }
        if self.bind {
            features.push(Element::new(ns::BIND, "bind"));
        }
        if self.session {
            let optional = Element::new(ns::SESSION, "optional");
            features.push(Element::new(ns::SESSION, "session").with_child(optional));
        }
        if self.stream_management {
            features.push(Element::new(ns::SM, "sm"));
        }
        if self.dialback {
            let errors = Element::new(ns::DIALBACK_FEATURE, "errors");
            features.push(Element::new(ns::DIALBACK_FEATURE, "dialback").with_child(errors));
        }
        if self.roster_versioning {
            features.push(Element::new(ns::ROSTER_VER, "ver"));
        }
        if self.pre_approval {
            features.push(Element::new(ns::PRE_APPROVAL, "sub"));
        }
        features.with_children(self.others.iter().cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_read_as_they_were_written() {
        let features = Features {
            starttls: Some(true),
            mechanisms: vec!["SCRAM-SHA-256".to_owned(), "PLAIN".to_owned()],
            bind: true,
            session: true,
            stream_management: true,
            dialback: true,
            roster_versioning: true,
            pre_approval: true,
            others: vec![Element::new("urn:x", "y")],
        };
        assert_eq!(
            Features::from_element(&features.to_element()),
            Some(features)
        );
        let none = Features::default();
        assert_eq!(
            none.to_element().to_string(),
            format!("<stream:features xmlns:stream='{}'/>", ns::STREAM)
        );
        assert_eq!(Features::from_element(&Element::new("x", "features")), None);
    }
}
