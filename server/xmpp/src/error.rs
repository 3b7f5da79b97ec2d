//! Stream errors (RFC 6120 §4.9) and stanza errors (§8.3), with the advice they carry.

use std::fmt;

use crate::element::Element;
use crate::ns;

/// Declares a condition enum whose variants know their element name.
macro_rules! conditions {
    ($(#[$doc:meta])* $name:ident { $($variant:ident => $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($variant),+ }
        impl $name {
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

pub(crate) use conditions;

conditions! {
    /// RFC 6120 §4.9.3.
    StreamCondition {
        BadFormat => "bad-format",
        BadNamespacePrefix => "bad-namespace-prefix",
        Conflict => "conflict",
        ConnectionTimeout => "connection-timeout",
        HostGone => "host-gone",
        HostUnknown => "host-unknown",
        ImproperAddressing => "improper-addressing",
        InternalServerError => "internal-server-error",
        InvalidFrom => "invalid-from",
        InvalidNamespace => "invalid-namespace",
        InvalidXml => "invalid-xml",
        NotAuthorized => "not-authorized",
        NotWellFormed => "not-well-formed",
        PolicyViolation => "policy-violation",
        RemoteConnectionFailed => "remote-connection-failed",
        Reset => "reset",
        ResourceConstraint => "resource-constraint",
        RestrictedXml => "restricted-xml",
        SeeOtherHost => "see-other-host",
        SystemShutdown => "system-shutdown",
        UndefinedCondition => "undefined-condition",
        UnsupportedEncoding => "unsupported-encoding",
        UnsupportedFeature => "unsupported-feature",
        UnsupportedStanzaType => "unsupported-stanza-type",
        UnsupportedVersion => "unsupported-version",
    }
}

conditions! {
    /// RFC 6120 §8.3.3.
    StanzaCondition {
        BadRequest => "bad-request",
        Conflict => "conflict",
        FeatureNotImplemented => "feature-not-implemented",
        Forbidden => "forbidden",
        Gone => "gone",
        InternalServerError => "internal-server-error",
        ItemNotFound => "item-not-found",
        JidMalformed => "jid-malformed",
        NotAcceptable => "not-acceptable",
        NotAllowed => "not-allowed",
        NotAuthorized => "not-authorized",
        PolicyViolation => "policy-violation",
        RecipientUnavailable => "recipient-unavailable",
        Redirect => "redirect",
        RegistrationRequired => "registration-required",
        RemoteServerNotFound => "remote-server-not-found",
        RemoteServerTimeout => "remote-server-timeout",
        ResourceConstraint => "resource-constraint",
        ServiceUnavailable => "service-unavailable",
        SubscriptionRequired => "subscription-required",
        UndefinedCondition => "undefined-condition",
        UnexpectedRequest => "unexpected-request",
    }
}

conditions! {
    /// RFC 6120 §8.3.2: what the sender may do about it.
    ErrorType {
        Auth => "auth",
        Cancel => "cancel",
        Continue => "continue",
        Modify => "modify",
        Wait => "wait",
    }
}

/// Why a stream ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {text}", condition.as_str())]
pub struct StreamError {
    pub condition: StreamCondition,
    /// For a human: what was expected, what came.
    pub text: String,
    /// An application-specific condition (RFC 6120 §4.9.4).
    pub application: Option<Box<Element>>,
}

impl StreamError {
    #[must_use]
    pub fn new(condition: StreamCondition, text: impl Into<String>) -> Self {
        Self {
            condition,
            text: text.into(),
            application: None,
        }
    }

    #[must_use]
    pub fn with_application(mut self, element: Element) -> Self {
        self.application = Some(Box::new(element));
        self
    }

    /// RFC 6120 §4.9.3.13: against XML 1.0 or Namespaces in XML.
    pub(crate) fn not_well_formed(what: impl fmt::Display) -> Self {
        Self::new(
            StreamCondition::NotWellFormed,
            format!("not well-formed: {what}"),
        )
    }

    /// RFC 6120 §4.9.3.18: well-formed, and forbidden all the same.
    pub(crate) fn restricted_xml(what: &str) -> Self {
        Self::new(
            StreamCondition::RestrictedXml,
            format!("XMPP forbids {what} (RFC 6120, section 11.1)"),
        )
    }

    /// RFC 6120 §4.9.3.14: beyond a limit.
    pub(crate) fn too_much(what: impl fmt::Display) -> Self {
        Self::new(
            StreamCondition::PolicyViolation,
            format!("beyond the limits here: {what}"),
        )
    }

    /// `<stream:error>` and its content.
    #[must_use]
    pub fn to_element(&self) -> Element {
        let mut error = Element::new(ns::STREAM, "error")
            .with_child(Element::new(ns::STREAMS, self.condition.as_str()));
        if !self.text.is_empty() {
            error = error.with_child(human_text(ns::STREAMS, &self.text));
        }
        match &self.application {
            Some(application) => error.with_child((**application).clone()),
            None => error,
        }
    }

    /// Reads `<stream:error>`; None for any other element. A condition that nobody has defined is
    /// undefined-condition.
    #[must_use]
    pub fn from_element(element: &Element) -> Option<Self> {
        if !element.is(ns::STREAM, "error") {
            return None;
        }
        let (condition, text, application) = read(element, ns::STREAMS);
        Some(Self {
            condition: condition
                .and_then(|e| StreamCondition::from_name(&e.name))
                .unwrap_or(StreamCondition::UndefinedCondition),
            text: text.unwrap_or_default(),
            application,
        })
    }
}

/// Why one stanza was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", condition.as_str(), text.as_deref().unwrap_or("no further detail"))]
pub struct StanzaError {
    pub kind: ErrorType,
    pub condition: StanzaCondition,
    pub text: Option<String>,
    /// An application-specific condition (RFC 6120 §8.3.4).
    pub application: Option<Box<Element>>,
}

impl StanzaError {
    #[must_use]
    pub fn new(kind: ErrorType, condition: StanzaCondition) -> Self {
        Self {
            kind,
            condition,
            text: None,
            application: None,
        }
    }

    #[must_use]
    pub fn with_text(mut self, text: impl Into<String>) -> Self {
        self.text = Some(text.into());
        self
    }

    #[must_use]
    pub fn with_application(mut self, element: Element) -> Self {
        self.application = Some(Box::new(element));
        self
    }

    /// The `<error/>` child.
    #[must_use]
    pub fn to_element(&self) -> Element {
        let mut error = Element::new(ns::CLIENT, "error")
            .with_attr("type", self.kind.as_str())
            .with_child(Element::new(ns::STANZAS, self.condition.as_str()));
        if let Some(text) = &self.text {
            error = error.with_child(human_text(ns::STANZAS, text));
        }
        match &self.application {
            Some(application) => error.with_child((**application).clone()),
            None => error,
        }
    }

    /// Reads the `<error/>` child of an error stanza; lenient, since a peer's error must not
    /// cause another.
    #[must_use]
    pub fn from_element(element: &Element) -> Self {
        let (condition, text, application) = read(element, ns::STANZAS);
        Self {
            kind: element
                .attr("type")
                .and_then(ErrorType::from_name)
                .unwrap_or(ErrorType::Cancel),
            condition: condition
                .and_then(|e| StanzaCondition::from_name(&e.name))
                .unwrap_or(StanzaCondition::UndefinedCondition),
            text,
            application,
        }
    }
}

fn human_text(namespace: &str, text: &str) -> Element {
    // RFC 6120 §4.9.2, §8.3.2: the text says its language.
    let mut element = Element::new(namespace, "text").with_text(text);
    element.set_lang("en");
    element
}

/// What an error of either kind holds: its condition, its text, an application's condition.
fn read<'e>(
    error: &'e Element,
    namespace: &str,
) -> (Option<&'e Element>, Option<String>, Option<Box<Element>>) {
    let condition = error
        .elements()
        .find(|e| e.ns == namespace && e.name != "text");
    let text = error.child(namespace, "text").map(Element::text);
    let application = error
        .elements()
        .find(|e| e.ns != namespace)
        .map(|e| Box::new(e.clone()));
    (condition, text, application)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml;

    #[test]
    fn a_stream_error_is_read_as_it_was_written() {
        for error in [
            StreamError::new(StreamCondition::HostUnknown, "no a.example here"),
            StreamError::new(StreamCondition::SystemShutdown, ""),
            StreamError::new(StreamCondition::UndefinedCondition, "h is 9")
                .with_application(Element::new(ns::SM, "handled-count-too-high")),
        ] {
            assert_eq!(StreamError::from_element(&error.to_element()), Some(error));
        }
        assert_eq!(StreamError::from_element(&Element::new("x", "error")), None);
    }

    #[test]
    fn a_stanza_error_is_read_as_it_was_written() {
        for error in [
            StanzaError::new(ErrorType::Cancel, StanzaCondition::ItemNotFound),
            StanzaError::new(ErrorType::Wait, StanzaCondition::ResourceConstraint)
                .with_text("try <again> later")
                .with_application(Element::new("urn:x", "y")),
        ] {
            assert_eq!(StanzaError::from_element(&error.to_element()), error);
        }
    }

    #[test]
    fn a_foreign_error_is_understood_as_far_as_it_goes() {
        let error = StanzaError::from_element(&Element::new(ns::CLIENT, "error"));
        assert_eq!(error.condition, StanzaCondition::UndefinedCondition);
        assert_eq!(error.kind, ErrorType::Cancel);
        let unknown = Element::new(ns::STREAM, "error")
            .with_child(Element::new(ns::STREAMS, "no-such-condition"));
        assert_eq!(
            StreamError::from_element(&unknown).map(|e| e.condition),
            Some(StreamCondition::UndefinedCondition)
        );
    }

    #[test]
    fn as_the_documents_write_them() {
        let mut out = bytes::BytesMut::new();
        xml::write(
            &StanzaError::new(ErrorType::Auth, StanzaCondition::NotAuthorized).to_element(),
            ns::CLIENT,
            &mut out,
        );
        assert_eq!(
            &out[..],
            b"<error type='auth'><not-authorized xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
        );
    }
}
