//! `[mls]`: the Authentication Service, the KeyPackage directory and the Delivery Service.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

const DAY: u64 = 24 * 3600;

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mls {
    pub authority: Authority,
    pub key_packages: KeyPackages,
    pub rooms: Rooms,
}

/// `[mls.authority]`: devices and their certificates.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Authority {
    /// Where the root's private key is. Default here; offline where the root is made and kept on
    /// another machine, as domains with something to lose do (`comity ca`); token where it is in a
    /// PKCS#11 token of this machine.
    pub root: RootKey,
    /// Where private keys of issuing authorities are made. Default here. Those made before stay
    /// where they are, until they end.
    pub issuing: IssuingKey,
    /// The PKCS#11 token for what is to be in one.
    pub token: Token,
    /// Of keys made from now on: of the root, of issuing authorities. Default P-256.
    pub algorithm: Algorithm,
    /// Of a device's certificates. Default 120 days; devices renew after a third of it.
    #[serde(with = "crate::duration")]
    pub certificate_lifetime: Duration,
    /// Of the issuing authority. Default 2 years.
    #[serde(with = "crate::duration")]
    pub issuing_lifetime: Duration,
    /// Of the root. Default 20 years: a new root has to be explained to people.
    #[serde(with = "crate::duration")]
    pub root_lifetime: Duration,
    /// Of what we publish about our authorities. Default 7 days, which is also the most.
    #[serde(with = "crate::duration")]
    pub anchors_lifetime: Duration,
    /// Devices of an account, revoked ones not counted. Default 32.
    pub devices: u32,
    /// Certificates issued to an account in a day. Default 2,000: a full directory on ten devices,
    /// replaced.
    pub certificates_per_day: u32,
}

/// Where the root's private key is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RootKey {
    #[default]
    Here,
    /// Kept elsewhere; what it signs is imported.
    Offline,
    /// In the token of [`Authority::token`].
    Token,
}

/// Where private keys of issuing authorities are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum IssuingKey {
    #[default]
    Here,
    /// In the token of [`Authority::token`].
    Token,
}

/// `[mls.authority.token]`: a PKCS#11 token.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Token {
    /// The library of the token's maker. Default none: there is no token.
    pub module: PathBuf,
    /// The token's label.
    pub label: String,
    /// The slot's number as a text, where several tokens have one label. Default none.
    pub slot: String,
    /// A file with the user's PIN in its first line. Default none, for tokens with a keypad.
    pub pin_file: PathBuf,
    /// Keys are labelled with this, the domain, and what they are: "comity a.example issuing-1".
    /// Default "comity".
    pub key_prefix: String,
    /// Sessions with it at a time. Default 4.
    pub sessions: u32,
}

/// Of signature keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// ECDSA over P-256.
    #[default]
    P256,
    Ed25519,
}

/// `[mls.key_packages]`: the directory others invite from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyPackages {
    /// KeyPackages of a device, beside one last resort for each cipher suite. Default 100.
    pub per_device: u32,
    /// A device that has fewer left is told. Default 20.
    pub low_stock: u32,
    /// The longest lifetime. Default 84 days.
    #[serde(with = "crate::duration")]
    pub lifetime: Duration,
    /// Claims by one account in an hour. Default 600.
    pub claims_per_requester: u32,
    /// Claims of one account's packages in an hour, by everybody. Default 1,000.
    pub claims_per_target: u32,
    /// Claims by one other domain in an hour. Default 10,000.
    pub claims_per_domain: u32,
    /// May those claim who are not in the target's roster? Default true; false where invitations
    /// by strangers are a nuisance.
    pub strangers: bool,
}

/// `[mls.rooms]`: the rooms this domain orders, and the copies it keeps of others.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rooms {
    /// How long entries are kept for devices that have not fetched them. Default 90 days.
    #[serde(with = "crate::duration")]
    pub log_retention: Duration,
    /// Rooms an account may create in a day. Default 100.
    pub created_per_day: u32,
    /// Devices in a room. Default 1,000.
    pub devices: u32,
    /// Commits, proposals and messages of one account in a minute, each room. Default 600.
    pub entries_per_minute: u32,
    /// Messages that one account may report to the operator in a day. Default 20.
    pub reports_per_day: u32,
    /// Reports of one room that are kept, until the operator discards them. Default 1,000.
    pub reports_of_room: u32,
    /// Rooms whose state is held in memory. Default 256; the others are read when needed.
    pub in_memory: u32,
}

impl Default for Authority {
    fn default() -> Self {
        Self {
            root: RootKey::default(),
            issuing: IssuingKey::default(),
            token: Token::default(),
            algorithm: Algorithm::default(),
            certificate_lifetime: Duration::from_secs(120 * DAY),
            issuing_lifetime: Duration::from_secs(730 * DAY),
            root_lifetime: Duration::from_secs(7300 * DAY),
            anchors_lifetime: Duration::from_secs(7 * DAY),
            devices: 32,
            certificates_per_day: 2_000,
        }
    }
}

impl Default for Token {
    fn default() -> Self {
        Self {
            module: PathBuf::new(),
            label: String::new(),
            slot: String::new(),
            pin_file: PathBuf::new(),
            key_prefix: "comity".to_owned(),
            sessions: 4,
        }
    }
}

impl Default for KeyPackages {
    fn default() -> Self {
        Self {
            per_device: 100,
            low_stock: 20,
            lifetime: Duration::from_secs(84 * DAY),
            claims_per_requester: 600,
            claims_per_target: 1_000,
            claims_per_domain: 10_000,
            strangers: true,
        }
    }
}

impl Default for Rooms {
    fn default() -> Self {
        Self {
            log_retention: Duration::from_secs(90 * DAY),
            created_per_day: 100,
            devices: 1_000,
            entries_per_minute: 600,
            reports_per_day: 20,
            reports_of_room: 1_000,
            in_memory: 256,
        }
    }
}
