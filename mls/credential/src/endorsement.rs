//! May this leaf come to this group? The one decision of hub and engines about devices of an account
//! that is in the room already: another leaf of the account vouches for them, or lets them in itself.
//! So whoever issues credentials cannot slip a device into a room unseen by the account.

use comity_xmpp::jid::BareJid;
use openssl::sha::sha256;
use uuid::Uuid;

use crate::keys::PublicKey;
use crate::leaf::CLOCK_TOLERANCE_S;
use crate::signed;

/// An endorsement holds at most so long; judged by the hub when it accepts.
pub const LIFETIME_S: u64 = 24 * 60 * 60;

/// What an endorsing leaf signs.
#[must_use]
pub fn content(group_id: &[u8], device: Uuid, key_hash: &[u8; 32], not_after: u64) -> Vec<u8> {
    signed::content(
        signed::ENDORSE,
        &[
            group_id,
            device.as_bytes(),
            key_hash,
            &not_after.to_be_bytes(),
        ],
    )
}

/// The hash by which an endorsement names the key of the new leaf, as MLS writes it.
#[must_use]
pub fn key_hash(signature_key: &[u8]) -> [u8; 32] {
    sha256(signature_key)
}

/// An endorsement as it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offered<'a> {
    /// The device that comes.
    pub device: Uuid,
    pub key_hash: &'a [u8; 32],
    /// Seconds since 1970.
    pub not_after: u64,
    /// The device whose leaf has signed.
    pub endorser: Uuid,
    pub signature: &'a [u8],
}

/// A leaf of the epoch in which the newcomer is proposed or committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    pub account: BareJid,
    pub device: Uuid,
    pub key: PublicKey,
}

/// A leaf that is to come.
#[derive(Clone, Copy, Debug)]
pub struct Newcomer<'a> {
    pub account: &'a BareJid,
    pub device: Uuid,
    /// As MLS writes it.
    pub signature_key: &'a [u8],
    /// The account of the leaf that proposes it or commits it by value; none where it comes by
    /// itself, in an external commit.
    pub sender: Option<&'a BareJid>,
}

/// By what right a leaf comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Its account has no leaf in the room: the policy alone decides.
    First,
    /// A leaf of its account lets it in.
    Own,
    /// The leaf of this device vouches for it.
    Endorsed(Uuid),
}

/// Why a leaf may not come.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unendorsed {
    #[error("{account} is in the room: its further devices need its own endorsement")]
    Missing { account: BareJid },
    #[error("the endorsement is of another key than the new leaf's")]
    OtherKey,
    #[error("the endorsing device {0} is no other leaf of the account in the room")]
    NoEndorser(Uuid),
    #[error("the signature of the endorsing device {0} does not verify")]
    Signature(Uuid),
    #[error("the endorsement ends at {not_after}, and it is {at}: it holds for at most 24 hours")]
    Time { not_after: u64, at: u64 },
}

/// Decides. `present` are the leaves before anything that comes with the newcomer takes effect: who
/// is removed in the same commit is there still, so that nobody empties an account's place and
/// fills it in one stroke. `at` (seconds since 1970) is given where something is accepted, and
/// withheld where something is followed.
pub fn admit<'a>(
    group_id: &[u8],
    newcomer: &Newcomer<'_>,
    present: &[Present],
    offered: impl IntoIterator<Item = Offered<'a>>,
    at: Option<u64>,
) -> Result<Admission, Unendorsed> {
    let is_in = present.iter().any(|leaf| leaf.account == *newcomer.account);
    if !is_in {
        return Ok(Admission::First);
    }
    if newcomer.sender == Some(newcomer.account) {
        return Ok(Admission::Own);
    }
    let mut why = Unendorsed::Missing {
        account: newcomer.account.clone(),
    };
    // One that does not hold does not spoil another that does.
    for offered in offered
        .into_iter()
        .filter(|offered| offered.device == newcomer.device)
    {
        match check(group_id, newcomer, present, &offered, at) {
            Ok(()) => return Ok(Admission::Endorsed(offered.endorser)),
            Err(fault) => why = fault,
        }
    }
    Err(why)
}

fn check(
    group_id: &[u8],
    newcomer: &Newcomer<'_>,
    present: &[Present],
    offered: &Offered<'_>,
    at: Option<u64>,
) -> Result<(), Unendorsed> {
    if *offered.key_hash != key_hash(newcomer.signature_key) {
        return Err(Unendorsed::OtherKey);
    }
    let endorser = present
        .iter()
        .find(|leaf| leaf.account == *newcomer.account && leaf.device == offered.endorser)
        .ok_or(Unendorsed::NoEndorser(offered.endorser))?;
    let content = content(
        group_id,
        offered.device,
        offered.key_hash,
        offered.not_after,
    );
    if !endorser.key.verifies(&content, offered.signature) {
        return Err(Unendorsed::Signature(offered.endorser));
    }
    let not_after = offered.not_after;
    match at {
        Some(at) if not_after < at.saturating_sub(CLOCK_TOLERANCE_S) => {
            Err(Unendorsed::Time { not_after, at })
        }
        Some(at) if not_after > at.saturating_add(LIFETIME_S + CLOCK_TOLERANCE_S) => {
            Err(Unendorsed::Time { not_after, at })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "endorsement/tests.rs"]
mod tests;
