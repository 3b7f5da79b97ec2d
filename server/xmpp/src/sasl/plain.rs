//! PLAIN (RFC 4616) and EXTERNAL (RFC 4422 appendix A).

use std::fmt;

use super::failure::{Condition, Failure};

/// `[authzid] NUL authcid NUL passwd`.
#[derive(Clone, PartialEq, Eq)]
pub struct Plain {
    /// Whom to act as, if not `authcid`; the caller refuses whom that is not.
    pub authzid: Option<String>,
    pub authcid: String,
    pub password: String,
}

impl Plain {
    /// Reads a client's message.
    pub fn parse(message: &[u8]) -> Result<Self, Failure> {
        let text = utf8(message)?;
        let mut parts = text.split('\0');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(authzid), Some(authcid), Some(password), None)
                if !authcid.is_empty() && !password.is_empty() =>
            {
                Ok(Self {
                    authzid: (!authzid.is_empty()).then(|| authzid.to_owned()),
                    authcid: authcid.to_owned(),
                    password: password.to_owned(),
                })
            }
            _ => Err(Failure::new(Condition::MalformedRequest)
                .with_text("PLAIN is [authzid] NUL authcid NUL password")),
        }
    }

    /// Writes a client's message; None if a part holds what separates them.
    #[must_use]
    pub fn message(&self) -> Option<Vec<u8>> {
        let authzid = self.authzid.as_deref().unwrap_or_default();
        let parts = [authzid, &self.authcid, &self.password];
        (!parts.iter().any(|part| part.contains('\0'))).then(|| parts.join("\0").into_bytes())
    }
}

impl fmt::Debug for Plain {
    /// Passwords stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plain")
            .field("authzid", &self.authzid)
            .field("authcid", &self.authcid)
            .finish_non_exhaustive()
    }
}

/// The identity that a client of EXTERNAL asks for; None when it leaves that to the certificate.
pub fn external_authzid(message: &[u8]) -> Result<Option<String>, Failure> {
    let text = utf8(message)?;
    if text.contains('\0') {
        return Err(Failure::new(Condition::MalformedRequest)
            .with_text("an authorization identity has no NUL"));
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

fn utf8(message: &[u8]) -> Result<&str, Failure> {
    std::str::from_utf8(message)
        .map_err(|_| Failure::new(Condition::MalformedRequest).with_text("not UTF-8"))
}
