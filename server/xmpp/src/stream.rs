//! Stream headers and features (RFC 6120 §4).

use crate::jid::Jid;

/// The attributes of a stream header, and what its namespace declarations mean for every stanza
/// on the stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    pub from: Option<Jid>,
    pub to: Option<Jid>,
    pub id: Option<String>,
    pub version: Option<(u16, u16)>,
    pub lang: Option<String>,
    /// The content namespace: the default `xmlns` of the stream (`jabber:client`, `jabber:server`).
    pub content_ns: String,
    /// Prefixes declared on the stream tag, beside `stream`: (prefix, namespace).
    pub prefixes: Vec<(String, String)>,
}
