//! `urn:xmpp:mls:0:keys`: the KeyPackage directory (RFC 9750 §5.1). IQs to the account's bare JID.

mod xml;

use bytes::Bytes;
use comity_xmpp::jid::BareJid;
use uuid::Uuid;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// IQ set, to one's own account: a batch, visible as a whole. `signature` by the device key
    /// over `signed::PUBLISH`. With `replace`, ordinary packages published before are dropped.
    Publish {
        device: Uuid,
        replace: bool,
        packages: Vec<Published>,
        signature: Bytes,
    },
    /// IQ get, to one's own account.
    Count,
    /// IQ set, to one's own account: these packages of the device, by their KeyPackageRefs, last
    /// resorts too; none named means all of them. From a session that has proved the device.
    Delete {
        device: Uuid,
        references: Vec<Bytes>,
    },
    /// IQ set: one package of each device of the account.
    Claim(Claim),
}

/// An MLSMessage holding a KeyPackage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    pub last_resort: bool,
    pub package: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub room: BareJid,
    /// Acceptable cipher suites, best first.
    pub suites: Vec<u16>,
    /// Extension types the group requires.
    pub extensions: Vec<u16>,
    /// Only these devices; empty means all.
    pub devices: Vec<Uuid>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Published(Vec<Count>),
    Counts(Vec<Count>),
    /// What is left.
    Deleted(Vec<Count>),
    Claimed(Vec<Claimed>),
}

/// What the directory still holds of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    pub device: Uuid,
    pub suite: u16,
    pub ordinary: u32,
    pub last_resort: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    pub device: Uuid,
    pub result: ClaimResult,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimResult {
    Package { package: Bytes, last_resort: bool },
    Exhausted,
    Incompatible,
}

/// A message from one's own domain to the owning device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Fewer ordinary packages than the low-water mark are left.
    LowStock(Count),
    /// The last resort package of this suite was handed out.
    LastResortUsed { device: Uuid, suite: u16 },
}

#[cfg(test)]
mod tests;
