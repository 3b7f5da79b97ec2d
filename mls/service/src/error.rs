//! Why a request is not carried out: a refusal for the client, or something this server has to
//! fetch before it can decide.

use comity_mls_credential::leaf::IssuerId;
use comity_mls_wire::refusal::Refusal;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Because(#[from] Refusal),
    /// A certificate names an issuing CA that is not known here: with the domain's anchors the
    /// same request may succeed.
    #[error("no CA {issuer:?} of {domain} is known here")]
    Issuer { domain: String, issuer: IssuerId },
}

impl Refused {
    /// What the client is told when nothing more is to be had.
    #[must_use]
    pub fn refusal(self) -> Refusal {
        match self {
            Self::Because(refusal) => refusal,
            Self::Issuer { domain, issuer } => Refusal::BadCredential {
                why: format!("no CA {issuer:?} of {domain} is known here"),
            },
        }
    }
}

/// The service failed: nothing has changed, and the same request may come again.
pub(crate) fn internal(error: impl std::fmt::Display, doing: &'static str) -> Refusal {
    tracing::error!(%error, "{doing} failed");
    Refusal::Internal
}
