//! Refusals as stanza errors: the condition for whoever knows only RFC 6120, the element in
//! `urn:xmpp:mls:0` with the data for whoever knows the extension.

use comity_xmpp::element::Element;
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::ns::MLS as NS;

use super::Refusal;
use crate::limits;
use crate::read::{Attributes as _, Malformed, attr, attr_text, name_in, some_children, unknown};

impl Refusal {
    #[must_use]
    pub fn to_stanza_error(&self) -> StanzaError {
        let (kind, condition) = self.condition();
        StanzaError::new(kind, condition)
            .with_text(self.to_string())
            .with_application(self.to_element())
    }

    /// The refusal inside a stanza error; none where the error came from somebody who does not
    /// speak the extension, or in words this version does not know.
    #[must_use]
    pub fn from_stanza_error(error: &StanzaError) -> Option<Self> {
        let application = error.application.as_deref()?;
        Self::from_element(application).ok()
    }

    /// RFC 6120 §8.3.2: `modify` where another request may succeed, `wait` where the same one may,
    /// `auth` where the session has to prove more, `cancel` where nothing helps.
    fn condition(&self) -> (ErrorType, StanzaCondition) {
        use {ErrorType as T, StanzaCondition as C};
        match self {
            Self::StaleEpoch { .. } | Self::MissingProposals { .. } | Self::KeyReused => {
                (T::Modify, C::Conflict)
            }
            Self::InvalidCommit { .. }
            | Self::InvalidMessage { .. }
            | Self::GroupInfoMismatch { .. } => (T::Modify, C::NotAcceptable),
            Self::NotAllowed { .. } => (T::Auth, C::Forbidden),
            Self::BadCredential { .. } | Self::BadSignature | Self::NoDevice => {
                (T::Auth, C::NotAuthorized)
            }
            Self::UnknownDevice | Self::NoRoom => (T::Cancel, C::ItemNotFound),
            Self::RoomExists => (T::Cancel, C::Conflict),
            // RFC 6121 §8.5.1: what an unknown account answers, so that a refusal tells nothing.
            Self::NoKeyPackages { .. } => (T::Cancel, C::ServiceUnavailable),
            Self::UnreachableDomain { .. } => (T::Wait, C::RemoteServerTimeout),
            Self::LimitReached { .. } => (T::Wait, C::ResourceConstraint),
            Self::RateLimited { .. } => (T::Wait, C::PolicyViolation),
            Self::BadRequest { .. } => (T::Modify, C::BadRequest),
            Self::Internal => (T::Wait, C::InternalServerError),
        }
    }

    /// The application-specific condition alone.
    #[must_use]
    pub fn to_element(&self) -> Element {
        let new = |name| Element::new(NS, name);
        let why = |name, why: &str| new(name).with_attr("why", shortened(why));
        match self {
            Self::StaleEpoch { epoch, seq } => {
                new("stale-epoch").put("epoch", epoch).put("seq", seq)
            }
            Self::MissingProposals { seqs } => new("missing-proposals")
                .with_children(seqs.iter().map(|seq| new("proposal").put("seq", seq))),
            Self::InvalidCommit { why: text } => why("invalid-commit", text),
            Self::InvalidMessage { why: text } => why("invalid-message", text),
            Self::NotAllowed { rule } => new("not-allowed").with_attr("rule", shortened(rule)),
            Self::GroupInfoMismatch { why: text } => why("group-info-mismatch", text),
            Self::BadCredential { why: text } => why("bad-credential", text),
            Self::BadSignature => new("bad-signature"),
            Self::NoDevice => new("no-device"),
            Self::UnknownDevice => new("unknown-device"),
            Self::NoRoom => new("no-room"),
            Self::RoomExists => new("room-exists"),
            Self::NoKeyPackages { account } => new("no-key-packages").put("account", account),
            Self::UnreachableDomain { domain } => {
                new("unreachable-domain").with_attr("domain", shortened(domain))
            }
            Self::KeyReused => new("key-reused"),
            Self::LimitReached { limit } => {
                new("limit-reached").with_attr("limit", shortened(limit))
            }
            Self::RateLimited { retry_after_s } => {
                new("rate-limited").put("retry-after", retry_after_s)
            }
            Self::BadRequest { why: text } => why("bad-request", text),
            Self::Internal => new("internal"),
        }
    }

    pub fn from_element(element: &Element) -> Result<Self, Malformed> {
        // Four octets is the longest character of UTF-8.
        let text = |name| attr_text(element, name, limits::REASON_CHARACTERS * 4);
        let why = || text("why");
        Ok(match name_in(element, NS) {
            Some("stale-epoch") => Self::StaleEpoch {
                epoch: attr(element, "epoch")?,
                seq: attr(element, "seq")?,
            },
            Some("missing-proposals") => Self::MissingProposals {
                seqs: some_children(element, "proposal", limits::PROPOSALS, |p| attr(p, "seq"))?,
            },
            Some("invalid-commit") => Self::InvalidCommit { why: why()? },
            Some("invalid-message") => Self::InvalidMessage { why: why()? },
            Some("not-allowed") => Self::NotAllowed {
                rule: text("rule")?,
            },
            Some("group-info-mismatch") => Self::GroupInfoMismatch { why: why()? },
            Some("bad-credential") => Self::BadCredential { why: why()? },
            Some("bad-signature") => Self::BadSignature,
            Some("no-device") => Self::NoDevice,
            Some("unknown-device") => Self::UnknownDevice,
            Some("no-room") => Self::NoRoom,
            Some("room-exists") => Self::RoomExists,
            Some("no-key-packages") => Self::NoKeyPackages {
                account: attr(element, "account")?,
            },
            Some("unreachable-domain") => Self::UnreachableDomain {
                domain: text("domain")?,
            },
            Some("key-reused") => Self::KeyReused,
            Some("limit-reached") => Self::LimitReached {
                limit: text("limit")?,
            },
            Some("rate-limited") => Self::RateLimited {
                retry_after_s: attr(element, "retry-after")?,
            },
            Some("bad-request") => Self::BadRequest { why: why()? },
            Some("internal") => Self::Internal,
            _ => return Err(unknown(element, NS, "the refusals of the protocol")),
        })
    }
}

/// What cannot be read is answered with what was expected and what came.
impl From<Malformed> for Refusal {
    fn from(fault: Malformed) -> Self {
        Self::BadRequest {
            why: fault.to_string(),
        }
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(limits::REASON_CHARACTERS).collect()
}
