//! What one payload may hold. Counts are of elements, sizes of octets before base64. A stanza is
//! bounded to 256 KiB as a whole; these bound what a reader allocates for each of its parts, and
//! give a refusal that names the limit.

/// Any single MLS object: a commit, a Welcome, a GroupInfo, a tree. Beyond
/// [`blob::INLINE_BYTES`](crate::blob::INLINE_BYTES) it travels beside its stanza.
pub const OBJECT_BYTES: usize = 16 * 1024 * 1024;
/// Objects that one stanza names: a page of a log's entries has as many.
pub const BLOBS: usize = 512;
/// A message outside the log: it is small, or it is none.
pub const EPHEMERAL_BYTES: usize = 8 * 1024;
/// A PKCS#10 request.
pub const CSR_BYTES: usize = 8 * 1024;
/// A certificate (DER).
pub const CERTIFICATE_BYTES: usize = 8 * 1024;
/// A KeyPackage as MLSMessage.
pub const KEY_PACKAGE_BYTES: usize = 16 * 1024;
/// A public key (SubjectPublicKeyInfo, DER).
pub const PUBLIC_KEY_BYTES: usize = 1024;
/// A signature.
pub const SIGNATURE_BYTES: usize = 1024;
/// Authenticated data of a handshake.
pub const AUTHENTICATED_BYTES: usize = 64 * 1024;
/// A certificate's serial number (RFC 5280 §4.1.2.2).
pub const SERIAL_BYTES: usize = 20;
/// A challenge.
pub const NONCE_BYTES: usize = 64;
/// A KeyPackageRef or another hash of a suite.
pub const REFERENCE_BYTES: usize = 64;
/// A group_id.
pub const GROUP_ID_BYTES: usize = 255;
/// A name given to a device by its owner.
pub const DEVICE_NAME_BYTES: usize = 128;
/// A part of a revocation list.
pub const CRL_PART_BYTES: usize = 128 * 1024;
/// An anchors statement with its signatures and TLS chain.
pub const ANCHORS_BYTES: usize = 64 * 1024;

/// Signed head of a transparency log.
pub const LOG_HEAD_BYTES: usize = 2 * 1024;
/// An entry of a log.
pub const LOG_ENTRY_BYTES: usize = 1024;
/// A piece of evidence of a log.
pub const LOG_EVIDENCE_BYTES: usize = 16 * 1024;

/// Keys looked up in a log at once: their evidence fits into one stanza.
pub const LOG_KEYS: usize = 32;
/// Entries of an account in one answer.
pub const LOG_ENTRIES: usize = 256;
/// Hashes of a consistency proof.
pub const LOG_HASHES: usize = 128;
/// CSRs in one enrolment, certificates in its answer.
pub const ENROL: usize = 250;
/// KeyPackages in one publication.
pub const PUBLISH: usize = 250;
/// Devices of an account, revoked ones included.
pub const DEVICES: usize = 1_000;
/// Counts: a device may hold packages of several suites.
pub const COUNTS: usize = 4_000;
/// Cipher suites named in one request.
pub const SUITES: usize = 32;
/// Extension types named in one request.
pub const EXTENSIONS: usize = 64;
/// Devices one commit may add.
pub const JOINERS: usize = 250;
/// Pre-shared keys one commit may use.
pub const PSKS: usize = 8;
/// Octets of what one application message says.
pub const CONTENT_BYTES: usize = 64 * 1024;
/// Octets of its content type.
pub const CONTENT_TYPE_BYTES: usize = 128;
/// Members listed by a room.
pub const MEMBERS: usize = 10_000;
/// Entries of one answer.
pub const ENTRIES: usize = 500;
/// Devices that come or go with one entry.
pub const CHANGES: usize = 10_000;
/// Rooms named in one sync.
pub const ROOMS: usize = 2_000;
/// Welcomes acknowledged at once.
pub const WELCOMES: usize = 1_000;
/// Devices of a domain of which a room's hub is told that they have acknowledged something last.
pub const ACTIVE: usize = 8;
/// Pending proposals named by a refusal.
pub const PROPOSALS: usize = 1_000;
/// Characters of a reason inside a refusal.
pub const REASON_CHARACTERS: usize = 512;
