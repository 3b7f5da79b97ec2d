//! Typed refusals: what happened, and with it what the client should do. Each is the
//! application-specific condition of a stanza error (RFC 6120 §8.3.4).

mod xml;

use comity_xmpp::jid::BareJid;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Catch up through `seq`, the commit that ended the epoch, and try again in `epoch`.
    #[error("the room is in epoch {epoch}: process the commit at seq {seq}, then try again")]
    StaleEpoch { epoch: u64, seq: u64 },
    /// The commit leaves out proposals that are pending: these seqs.
    #[error("pending proposals are missing from the commit: {seqs:?}")]
    MissingProposals { seqs: Vec<u64> },
    #[error("the commit cannot be applied: {why}")]
    InvalidCommit { why: String },
    #[error("the message cannot be accepted: {why}")]
    InvalidMessage { why: String },
    #[error("the room's policy does not allow this: {rule}")]
    NotAllowed { rule: String },
    #[error("the GroupInfo does not fit the commit: {why}")]
    GroupInfoMismatch { why: String },
    #[error("a certificate is not believed: {why}")]
    BadCredential { why: String },
    #[error("the signature of the device key does not verify")]
    BadSignature,
    #[error("this session has not proved which device it is")]
    NoDevice,
    #[error("the device is not known, or revoked")]
    UnknownDevice,
    /// Unknown room, or not a member: one answer for both.
    #[error("there is no such room for you")]
    NoRoom,
    #[error("the room exists already: wait for its Welcome")]
    RoomExists,
    #[error("{account} has no usable KeyPackages, or does not let you claim them")]
    NoKeyPackages { account: BareJid },
    #[error("the domain {domain} cannot be reached")]
    UnreachableDomain { domain: String },
    #[error("the same key was used for another request")]
    KeyReused,
    #[error("a limit is reached: {limit}")]
    LimitReached { limit: String },
    #[error("too many requests: again after {retry_after_s} s")]
    RateLimited { retry_after_s: u32 },
    #[error("the request cannot be read: {why}")]
    BadRequest { why: String },
    /// Nobody's fault but the server's; the same request may be sent again.
    #[error("the server failed: try again")]
    Internal,
}

#[cfg(test)]
mod tests;
