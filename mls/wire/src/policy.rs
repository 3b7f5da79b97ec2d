//! The policy component: every parameter and policy of RFC 9750 §7 in one GroupContext extension,
//! agreed by all members, enforced by hub and engine with this one copy of the rules.
//!
//! [`Policy`] is what is agreed; [`rules`] says what it allows; [`codec`] is its encoding.

pub mod codec;
pub mod rules;

use comity_xmpp::jid::BareJid;
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};

pub use codec::PolicyError;
pub use rules::{Broken, Commit, Item, Proposed, Sender};

/// The extension type of the component in the GroupContext: of RFC 9420 §17.3's private-use range.
pub const EXTENSION_TYPE: u16 = 0xF1C0;
/// The one version this library knows.
pub const VERSION: u16 = 1;

/// Cipher suites in use, the preferred one first: MLS_128_DHKEMP256_AES128GCM_SHA256_P256 and
/// MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519 (RFC 9420 §17.1).
pub const SUITES: [u16; 2] = [2, 1];

/// What every group requires of every leaf (RFC 9420 §11.1, required_capabilities).
pub mod required_capabilities {
    /// The policy component.
    pub const EXTENSIONS: [u16; 1] = [super::EXTENSION_TYPE];
    /// SelfRemove (draft-ietf-mls-extensions), by the private-use number mls-rs gives it until the
    /// registered one is in use.
    pub const PROPOSALS: [u16; 1] = [0xF003];
    /// x509 (RFC 9420 §17.5).
    pub const CREDENTIALS: [u16; 1] = [2];
}

/// In which wire format handshakes travel (RFC 9420 §6). Chosen at creation, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
#[repr(u8)]
pub enum Handshakes {
    /// PublicMessage: the hub follows the tree and enforces this policy.
    Public = 1,
    /// PrivateMessage: the hub sees epochs and content types alone.
    Private = 2,
}

/// What an account may do in the room; each role has the rights of those below it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, MlsSize, MlsEncode, MlsDecode,
)]
#[repr(u8)]
pub enum Role {
    Member = 1,
    Admin = 2,
    Owner = 3,
}

/// An account above the role of member.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct RoleEntry {
    pub account: String,
    pub role: Role,
}

/// The least role for each deed. One's own devices may always be added, removed and updated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Rights {
    /// To propose the addition of another account's device by reference.
    pub propose_add: Role,
    /// To commit the addition of another account's device.
    pub add: Role,
    /// To propose or commit the removal of another account's device; never of a higher role's.
    pub remove: Role,
    /// To change the GroupContext: this component, external senders, required capabilities.
    pub change_policy: Role,
    /// To inject a pre-shared key (RFC 9420 §8.4).
    pub psk: Role,
    /// To end the group in favour of a successor (RFC 9420 §11.2).
    pub reinit: Role,
}

/// Who may enter by an external commit (RFC 9420 §12.4.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
#[repr(u8)]
pub enum ExternalJoins {
    Nobody = 1,
    /// Devices of accounts that are in the room already: resync, or a further device.
    OwnAccount = 2,
    /// Anyone the room admits.
    Anyone = 3,
}

/// What becomes of a leaf whose credential was revoked, or has expired, after it was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
#[repr(u8)]
pub enum InvalidCredentials {
    /// It is flagged; nothing is sent while it is revoked; its removal is proposed.
    FlagAndPropose = 1,
}

/// Version 1. Times are in seconds.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Policy {
    pub handshakes: Handshakes,
    /// Cipher suites the group, and any successor of it, may use.
    pub suites: Vec<u16>,
    /// Sorted by account, each once; who is not named is a member.
    pub roles: Vec<RoleEntry>,
    /// The only accounts admitted, sorted; empty where anyone may be. A direct room names its two.
    pub accounts: Vec<String>,
    pub rights: Rights,
    /// Proposal types allowed beside Add, Remove, SelfRemove, GroupContextExtensions, PSK, ReInit
    /// and ExternalInit.
    pub other_proposals: Vec<u16>,
    pub external_joins: ExternalJoins,
    /// Whether the hub, as external sender, may propose removals. It may propose nothing else.
    pub hub_removes: bool,
    /// Whether each commit carries an UpdatePath, even where RFC 9420 §12.4 does without.
    pub full_commits: bool,
    /// How long a device that the hub has nominated to commit what is pending has for it, before the
    /// next one is.
    pub nomination_s: u32,
    pub max_leaves: u32,
    /// A leaf is updated, by a commit of its own, at least this often.
    pub leaf_update_s: u32,
    /// A leaf that was not updated for so long is removed; 0: never.
    pub idle_removal_s: u32,
    pub key_package_lifetime_s: u32,
    /// Past epochs of which the one exported secret of a rejoin is kept. Resumption PSKs are not.
    pub rejoin_epochs: u16,
    /// Past epochs whose messages can still be read. None are needed: the log is ordered.
    pub past_epochs: u16,
    /// How far a sender's ratchet is moved forward for one message.
    pub forward_steps: u32,
    /// Unused message keys kept for messages out of order.
    pub unused_keys: u32,
    /// Entries of future epochs held back while earlier ones are fetched.
    pub buffered_entries: u32,
    /// Application messages are padded to multiples of so many octets.
    pub padding: u16,
    /// Messages outside the log (such as typing) one device sends in an epoch.
    pub ephemeral_per_epoch: u32,
    /// Extension types that may not appear in this group's context or leaves.
    pub forbidden_extensions: Vec<u16>,
    pub invalid_credentials: InvalidCredentials,
}

const DAY_S: u32 = 24 * 60 * 60;

impl Default for Policy {
    fn default() -> Self {
        Self {
            handshakes: Handshakes::Public,
            suites: SUITES.to_vec(),
            roles: Vec::new(),
            accounts: Vec::new(),
            rights: Rights::default(),
            other_proposals: Vec::new(),
            external_joins: ExternalJoins::OwnAccount,
            hub_removes: true,
            full_commits: false,
            nomination_s: 30,
            max_leaves: 10_000,
            leaf_update_s: 7 * DAY_S,
            idle_removal_s: 90 * DAY_S,
            key_package_lifetime_s: 84 * DAY_S,
            rejoin_epochs: 32,
            past_epochs: 0,
            // mls-rs moves a ratchet this far and not further, so it is not ours to choose.
            forward_steps: 1024,
            unused_keys: 1024,
            buffered_entries: 1024,
            padding: 128,
            ephemeral_per_epoch: 500,
            forbidden_extensions: Vec::new(),
            invalid_credentials: InvalidCredentials::FlagAndPropose,
        }
    }
}

impl Default for Rights {
    fn default() -> Self {
        Self {
            propose_add: Role::Member,
            add: Role::Member,
            remove: Role::Admin,
            change_policy: Role::Owner,
            psk: Role::Member,
            reinit: Role::Owner,
        }
    }
}

impl Policy {
    /// The defaults, with `creator` as owner.
    #[must_use]
    pub fn of_creator(creator: &BareJid) -> Self {
        let mut policy = Self::default();
        policy.set_role(creator, Role::Owner);
        policy
    }

    /// The direct room of two accounts: both own it, and nobody else is admitted.
    #[must_use]
    pub fn of_direct(one: &BareJid, other: &BareJid) -> Self {
        let mut policy = Self::of_creator(one);
        policy.set_role(other, Role::Owner);
        policy.accounts = vec![one.as_str().to_owned(), other.as_str().to_owned()];
        policy.accounts.sort();
        policy.accounts.dedup();
        policy
    }

    #[must_use]
    pub fn role(&self, account: &BareJid) -> Role {
        self.place(account)
            .map_or(Role::Member, |place| self.roles[place].role)
    }

    pub fn set_role(&mut self, account: &BareJid, role: Role) {
        match (self.place(account), role) {
            (Ok(place), Role::Member) => drop(self.roles.remove(place)),
            (Ok(place), role) => self.roles[place].role = role,
            (Err(_), Role::Member) => {}
            (Err(place), role) => self.roles.insert(
                place,
                RoleEntry {
                    account: account.as_str().to_owned(),
                    role,
                },
            ),
        }
    }

    fn place(&self, account: &BareJid) -> Result<usize, usize> {
        self.roles
            .binary_search_by(|entry| entry.account.as_str().cmp(account.as_str()))
    }

    /// Whether an account may be in the room at all.
    #[must_use]
    pub fn admits(&self, account: &BareJid) -> bool {
        self.accounts.is_empty()
            || self
                .accounts
                .binary_search_by(|known| known.as_str().cmp(account.as_str()))
                .is_ok()
    }
}
