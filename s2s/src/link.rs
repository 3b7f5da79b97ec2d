//! What the streams of other domains ask of our server.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use comity_xmpp::error::StanzaError;
use comity_xmpp::stanza::Stanza;

pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One row of the outbox: a stanza as it is to be written, and its place in the order.
#[derive(Clone, Debug)]
pub struct Queued {
    pub id: i64,
    pub stanza: Bytes,
}

/// The server behind the federation streams.
pub trait Server: Send + Sync + 'static {
    /// Is this domain ours?
    fn serves(&self, domain: &str) -> bool;
    /// May there be streams with this domain?
    fn federates(&self, peer: &str) -> bool;
    /// Takes one stanza whose `from` the stream has proved and whose `to` is ours. Returns once
    /// its effects are committed; a stream's stanzas are handed in one after the other.
    fn stanza<'a>(&'a self, peer: &'a str, stanza: Stanza) -> Later<'a, ()>;
    /// The next rows for a domain with ids above `after`, oldest first, at most `limit`.
    fn queued<'a>(&'a self, peer: &'a str, after: i64, limit: usize) -> Later<'a, Vec<Queued>>;
    /// The peer has these rows and all before them: forget them.
    fn delivered<'a>(&'a self, peer: &'a str, through: i64) -> Later<'a, ()>;
    /// The peer cannot be reached: volatile stanzas come back one by one as `stanza`; rows of the
    /// outbox stay until they expire, which the server judges.
    fn undeliverable<'a>(
        &'a self,
        peer: &'a str,
        stanza: Stanza,
        why: StanzaError,
    ) -> Later<'a, ()>;
}
