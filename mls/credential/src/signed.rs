//! What a signature outside MLS covers: a label and parts, each with its length, so that no two
//! meanings share bytes.

/// `label ‖ 0x00 ‖ (length as u32 ‖ part)*`.
#[must_use]
pub fn content(label: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut out =
        Vec::with_capacity(label.len() + 1 + parts.iter().map(|p| p.len() + 4).sum::<usize>());
    out.extend_from_slice(label.as_bytes());
    out.push(0);
    for part in parts {
        out.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(part);
    }
    out
}

/// By a device key: the registration of a device. Parts: nonce, account, device key (SPKI DER).
pub const REGISTER: &str = "comity register v1";
/// By a device key: this session is that device. Parts: nonce, account, device id (16 bytes),
/// tls-exporter (32 bytes, or empty where the stream has none).
pub const PROVE: &str = "comity prove v1";
/// By a device key: the certification of a batch of keys. Parts: account, device id, the root of the
/// tree of the keys: see [`crate::transparency::entry::batch_root`].
pub const ENROL: &str = "comity enrol v1";
/// By a device key: a batch of KeyPackages. Parts: account, device id, then for each package one
/// byte (1: last resort) and the package.
pub const PUBLISH: &str = "comity publish v1";
/// By a device key: the end of another device. Parts: account, own device id, revoked device id.
pub const REVOKE: &str = "comity revoke v1";
/// By the hub's external-sender key: the head of a room's log. Parts: room, seq (u64), head.
pub const HEAD: &str = "comity head v1";
/// By a leaf of an account: another device of the account may come to the group. Parts: group_id,
/// device id (16 bytes), SHA-256 of the new leaf's signature key, not-after (u64, seconds).
pub const ENDORSE: &str = "comity endorse v1";
/// By a leaf of an account: all devices of the account leave the group. Parts: group_id, account,
/// time (u64, seconds).
pub const DEPARTURE: &str = "comity departure v1";
/// By a leaf of one who may remove it: all devices of an account are put out of the group. Parts:
/// group_id, account, time (u64, seconds).
pub const BAN: &str = "comity ban v1";
/// Under the rejoin secret of an epoch, by HMAC-SHA-256: who comes back held that epoch. Parts: the new
/// leaf's signature key, group_id, epoch (u64).
pub const REJOIN: &str = "comity rejoin v1";
/// Under a pre-shared key, by HMAC-SHA-256: who has the key has the same. Parts: room, nonce (16 bytes).
pub const PSK: &str = "comity psk v1";
/// Under a message's franking key, by HMAC-SHA-256: see [`crate::franking`]. Parts: message id (16
/// bytes), content type, content.
pub const FRANKING: &str = "comity franking v1";
/// By an issuing CA: the head of the domain's transparency log. Parts: the head as it is encoded.
pub const LOG_HEAD: &str = "comity log head v1";
