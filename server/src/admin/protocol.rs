//! What goes over the admin socket: one JSON object a line, `{"command": …}` answered by
//! `{"answer": …}`, in turns.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Octets of a line, its end included.
pub const LINE_LIMIT: u64 = 1 << 20;
/// Accounts in one answer, so that the longest addresses fit a line; the next request goes on after the last of them.
pub const LIST_LIMIT: usize = 250;

#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    UserAdd {
        jid: String,
        password: String,
    },
    UserPassword {
        jid: String,
        password: String,
    },
    UserEnable {
        jid: String,
        enabled: bool,
    },
    UserDelete {
        jid: String,
    },
    /// Accounts of a domain (the first one served if none is named) after an address.
    UserList {
        domain: Option<String>,
        after: String,
    },
    /// Devices of an account, revoked ones too.
    DeviceList {
        jid: String,
    },
    DeviceRevoke {
        jid: String,
        /// A UUID.
        id: String,
    },
    /// The certificate authorities' directories have changed.
    CaReload,
    /// What a domain's certificate authority has refused.
    CaRefused {
        domain: String,
    },
    /// Roots: ours, and those of other domains as they are believed.
    PeerList,
    /// The operators have compared a domain's new root.
    PeerTrust {
        domain: String,
        /// SHA-256 of its certificate, in hexadecimal.
        root: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// What was done, for a person.
    Done {
        what: String,
    },
    Users {
        users: Vec<User>,
        more: bool,
    },
    Devices {
        devices: Vec<Device>,
    },
    Peers {
        peers: Vec<Peer>,
    },
    /// Nothing was done, because of `why`.
    Refused {
        why: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct User {
    pub jid: String,
    pub enabled: bool,
    /// Milliseconds since 1970.
    pub created: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Device {
    /// A UUID.
    pub id: String,
    pub name: String,
    /// Seconds since 1970.
    pub registered: u64,
    pub revoked: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Peer {
    pub domain: String,
    /// SHA-256 of the root's certificate, in hexadecimal.
    pub root: String,
    /// When its statement ends, in seconds since 1970.
    pub expires: u64,
    /// A domain of ours.
    pub own: bool,
}

/// Reads a line.
pub(super) fn read<T: DeserializeOwned>(line: &[u8]) -> Result<T, String> {
    if !line.ends_with(b"\n") {
        return Err(format!(
            "the line is longer than {LINE_LIMIT} octets or has no end"
        ));
    }
    serde_json::from_slice(line).map_err(|error| format!("not understood: {error}"))
}

/// A line with its end.
pub(super) fn write<T: Serialize>(value: &T) -> Vec<u8> {
    // Plain structs of strings and numbers always have a JSON form.
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}
