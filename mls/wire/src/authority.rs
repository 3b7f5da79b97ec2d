//! `urn:xmpp:mls:0:as`: devices, certificates, anchors, and the log of what was issued. IQs to one's
//! own domain; `Anchors`, `LogHead` and `LogConsistency` also from domain to domain, `LogInclusion`
//! to an account's bare JID.

mod xml;

use bytes::Bytes;
use uuid::Uuid;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// IQ get: a nonce to sign, good for this session only.
    Challenge,
    /// IQ set: a new device. `signature` by the device key over `signed::REGISTER`.
    Register {
        name: String,
        device_key: Bytes,
        signature: Bytes,
    },
    /// IQ set: this session is that device. `signature` over `signed::PROVE`; `bound` says that the
    /// tls-exporter of the stream is part of it.
    Prove {
        device: Uuid,
        bound: bool,
        signature: Bytes,
    },
    /// IQ set: certificates for a batch of PKCS#10 requests, one key each. `signature` over
    /// `signed::ENROL`.
    Enrol {
        device: Uuid,
        requests: Vec<Bytes>,
        signature: Bytes,
    },
    /// IQ get: the account's devices.
    Devices,
    /// IQ set: ends a device of the same account. `signature` by `device` over `signed::REVOKE`.
    Revoke {
        device: Uuid,
        revoked: Uuid,
        signature: Bytes,
    },
    /// IQ get: the current anchors statement of a domain (one's own server fetches it from there).
    Anchors { domain: String },
    /// IQ get: the newest revocation list of an issuing CA of that domain, from that octet on (one's
    /// own server fetches it from there).
    Crl {
        domain: String,
        /// SHA-256 of the CA's SubjectPublicKeyInfo.
        issuer: [u8; 32],
        offset: u32,
    },
    /// IQ get: the newest head of a domain's transparency log (fetched likewise).
    LogHead { domain: String },
    /// IQ get: that a domain's log of `second` entries begins with that of `first` (likewise).
    LogConsistency {
        domain: String,
        first: u64,
        second: u64,
    },
    /// IQ get, to an account: that the certificates of these keys of its, each named by the SHA-256
    /// of the SubjectPublicKeyInfo, are in the log.
    LogInclusion { keys: Vec<[u8; 32]> },
    /// IQ get: what the log holds of one's own account, from the `from`-th entry on.
    LogEntries { from: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Challenge {
        nonce: Bytes,
    },
    Registered {
        device: Uuid,
    },
    Proved,
    /// Leaf certificates (DER) in the order of the requests.
    Certificates(Vec<Bytes>),
    Devices(Vec<Device>),
    Revoked,
    /// The signed statement, as `credential::anchors` encodes it.
    Anchors {
        statement: Bytes,
    },
    /// A part of the list with that number, which has `size` octets in all. Parts of one number
    /// fit together.
    Crl {
        number: u64,
        size: u32,
        offset: u32,
        part: Bytes,
    },
    /// The signed head, as `credential::transparency` encodes it.
    LogHead {
        head: Bytes,
    },
    /// Hashes of 32 octets, one after the other.
    LogConsistency {
        proof: Bytes,
    },
    LogInclusion {
        head: Bytes,
        /// In the order of the request; no evidence: there is no such key of the account in the log.
        keys: Vec<([u8; 32], Option<Bytes>)>,
    },
    LogEntries {
        head: Bytes,
        /// How many entries there are of the account.
        evidence: Bytes,
        entries: Vec<Bytes>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    pub id: Uuid,
    pub name: String,
    /// SubjectPublicKeyInfo: the account's other devices compare it, and check by it what this one
    /// asked for.
    pub device_key: Bytes,
    /// Seconds since 1970.
    pub registered: u64,
    pub revoked: Option<u64>,
}

/// A message from one's own domain to its sessions; `CrlIssued` also from domain to domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The account has a new device.
    DeviceAdded(Device),
    DeviceRevoked {
        id: Uuid,
    },
    /// There is a revocation list of that issuing CA that revokes something new.
    CrlIssued {
        domain: String,
        issuer: [u8; 32],
        number: u64,
    },
}

#[cfg(test)]
mod tests;
