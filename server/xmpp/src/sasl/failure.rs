//! `<failure/>` (RFC 6120 §6.5).

use crate::element::Element;
use crate::error::conditions;
use crate::ns;

conditions! {
    /// RFC 6120 §6.5.
    Condition {
        Aborted => "aborted",
        AccountDisabled => "account-disabled",
        CredentialsExpired => "credentials-expired",
        EncryptionRequired => "encryption-required",
        IncorrectEncoding => "incorrect-encoding",
        InvalidAuthzid => "invalid-authzid",
        InvalidMechanism => "invalid-mechanism",
        MalformedRequest => "malformed-request",
        MechanismTooWeak => "mechanism-too-weak",
        NotAuthorized => "not-authorized",
        TemporaryAuthFailure => "temporary-auth-failure",
    }
}

/// Why an authentication did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", condition.as_str(), text.as_deref().unwrap_or("no further detail"))]
pub struct Failure {
    pub condition: Condition,
    pub text: Option<String>,
}

impl Failure {
    #[must_use]
    pub fn new(condition: Condition) -> Self {
        Self {
            condition,
            text: None,
        }
    }

    #[must_use]
    pub fn with_text(mut self, text: impl Into<String>) -> Self {
        self.text = Some(text.into());
        self
    }

    #[must_use]
    pub fn to_element(&self) -> Element {
        let mut failure = Element::new(ns::SASL, "failure")
            .with_child(Element::new(ns::SASL, self.condition.as_str()));
        if let Some(text) = &self.text {
            let mut human = Element::new(ns::SASL, "text").with_text(text);
            human.set_lang("en");
            failure.push(human);
        }
        failure
    }

    /// Reads `<failure/>`; None for any other element. A condition that nobody has defined is
    /// not-authorized.
    #[must_use]
    pub fn from_element(element: &Element) -> Option<Self> {
        if !element.is(ns::SASL, "failure") {
            return None;
        }
        Some(Self {
            condition: element
                .elements()
                .find_map(|e| Condition::from_name(&e.name))
                .unwrap_or(Condition::NotAuthorized),
            text: element.child(ns::SASL, "text").map(Element::text),
        })
    }
}
