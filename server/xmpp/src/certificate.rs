//! The names in a certificate's subjectAltName (RFC 6120 §13.7.1).

/// What a certificate says its subject is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub dns: Vec<String>,
    /// id-on-dnsSRV (RFC 4985), such as `_xmpp-server.example.net`.
    pub srv: Vec<String>,
    /// id-on-xmppAddr.
    pub xmpp: Vec<String>,
    pub uri: Vec<String>,
}

/// Why the names could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the certificate cannot be read: {0}")]
pub struct Unreadable(pub String);

/// Reads the names from a certificate in DER.
pub fn names(der: &[u8]) -> Result<Names, Unreadable> {
    let _ = der;
    todo!()
}
