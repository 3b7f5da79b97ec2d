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
    UserShow {
        jid: String,
    },
    /// Sessions of an account, of a domain, or of all; in their order after an address.
    SessionList {
        of: Option<String>,
        after: String,
    },
    /// End a session, or all of a bare address.
    SessionKill {
        jid: String,
        /// For the client; may be empty.
        reason: String,
    },
    /// Rooms that are ordered here, in their order after an address.
    RoomList {
        after: String,
    },
    RoomShow {
        room: String,
    },
    /// Let a room take nothing in any more.
    RoomClose {
        room: String,
        /// For its members; may be empty.
        reason: String,
    },
    RoomOpen {
        room: String,
    },
    /// Messages that members have reported, by their numbers after one.
    RoomReports {
        after: u64,
    },
    RoomReportDiscard {
        id: u64,
    },
    /// How the server fares.
    Stats,
    /// Devices of an account, revoked ones too.
    DeviceList {
        jid: String,
    },
    DeviceRevoke {
        jid: String,
        /// A UUID.
        id: String,
    },
    /// The configuration has changed.
    Reload,
    /// The certificate authorities' directories have changed.
    CaReload,
    /// What a domain's certificate authority has refused.
    CaRefused {
        domain: String,
    },
    /// Other domains with streams, stanzas that wait, or a block; in their order after a domain.
    PeerList {
        after: String,
    },
    PeerShow {
        domain: String,
    },
    /// Try to deliver now what waits.
    PeerFlush {
        domain: String,
    },
    /// Give up what waits, and tell its senders.
    PeerDiscard {
        domain: String,
    },
    PeerBlock {
        domain: String,
        /// For the operator's memory; may be empty.
        reason: String,
    },
    PeerUnblock {
        domain: String,
    },
    /// Try every server of a domain, from each of ours.
    PeerProbe {
        domain: String,
    },
    /// Roots: ours, and those of other domains as they are believed.
    PeerRoots,
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
    UserShown {
        user: Box<UserDetail>,
    },
    Devices {
        devices: Vec<Device>,
    },
    Sessions {
        sessions: Vec<Session>,
        more: bool,
    },
    Rooms {
        rooms: Vec<Room>,
        more: bool,
    },
    Room {
        room: Box<RoomDetail>,
    },
    Reports {
        reports: Vec<Report>,
        more: bool,
    },
    Stats {
        stats: Box<Stats>,
    },
    Peers {
        peers: Vec<Peer>,
        more: bool,
    },
    Peer {
        peer: Peer,
        /// Its authority's root, as it is believed.
        root: Option<Root>,
    },
    Probes {
        probes: Vec<Probe>,
    },
    Roots {
        roots: Vec<Root>,
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

/// An account with what is kept for it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct UserDetail {
    #[serde(flatten)]
    pub user: User,
    pub sessions: Vec<Session>,
    /// When its last session went, in milliseconds since 1970.
    pub last_seen: Option<u64>,
    pub contacts: u64,
    pub blocked: u64,
    pub offline_messages: u64,
    pub archived_messages: u64,
    pub devices: u64,
    pub devices_revoked: u64,
    pub key_packages: u64,
    pub rooms: u64,
    pub pubsub_nodes: u64,
    pub pubsub_octets: u64,
}

/// A client that is logged in.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Session {
    /// With its resource.
    pub jid: String,
    /// Milliseconds since 1970; after a restart, of the restart.
    pub since: u64,
    /// What its presence shows: `available`, `away`, `chat`, `dnd`, `xa`; None before presence.
    pub shown: Option<String>,
    pub priority: i8,
    /// The device that it has proved to be, a UUID.
    pub device: Option<String>,
    /// It waits for its client when the connection is lost (XEP-0198).
    pub resumable: bool,
    /// Stanzas that wait for the client to read.
    pub queued: usize,
}

/// A room that is ordered here. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Room {
    pub room: String,
    pub epoch: u64,
    /// Of the last entry, and when that came.
    pub seq: u64,
    pub last: u64,
    pub created: u64,
    pub accounts: u64,
    pub devices: u64,
    /// Other domains that get its entries.
    pub domains: u64,
    /// The two accounts of a direct room.
    pub direct: Option<Vec<String>>,
    /// Why the operator has closed it; empty where no reason was given.
    pub closed: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct RoomDetail {
    #[serde(flatten)]
    pub room: Room,
    pub members: Vec<RoomMember>,
    pub member_domains: Vec<RoomDomain>,
    /// Proposals that wait for a commit.
    pub pending: u64,
    /// Entries whose payload is held, and its octets.
    pub held: u64,
    pub held_octets: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct RoomMember {
    pub account: String,
    pub device: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct RoomDomain {
    pub domain: String,
    /// It holds everything up to here.
    pub acknowledged: u64,
    /// It has left with this entry.
    pub until: Option<u64>,
}

/// A message that a member has reported. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Report {
    pub id: u64,
    pub room: String,
    pub seq: u64,
    pub sent: u64,
    /// Who said it, and with which device, a UUID.
    pub sender: String,
    pub device: Option<String>,
    /// The message's id, a UUID.
    pub message: String,
    pub content_type: String,
    /// Base64.
    pub content: String,
    /// The content, if it is text.
    pub text: Option<String>,
    pub reporter: String,
    pub why: String,
    pub time: u64,
}

/// How the server fares. Times are milliseconds since 1970; what has passed is counted from its
/// start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Stats {
    pub version: String,
    pub started: u64,
    pub now: u64,
    pub domains: Vec<DomainStats>,
    pub accounts: u64,
    pub sessions: usize,
    /// Devices of the MLS extension that are not revoked.
    pub devices: u64,
    /// Rooms ordered here, and copies of rooms ordered elsewhere.
    pub rooms: u64,
    pub room_copies: u64,
    pub streams_out: usize,
    pub streams_in: usize,
    pub outbox_stanzas: u64,
    pub offline_messages: u64,
    pub stanzas_from_clients: u64,
    pub stanzas_from_domains: u64,
    pub stanzas_to_clients: u64,
    pub stanzas_to_domains: u64,
    pub logins: u64,
    pub logins_refused: u64,
    /// Files that people have uploaded, and what they take.
    pub uploads: u64,
    pub upload_octets: u64,
    pub database_octets: u64,
    pub memory_octets: u64,
    /// Milliseconds of processor time.
    pub cpu_ms: u64,
    pub open_files: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct DomainStats {
    pub domain: String,
    pub accounts: u64,
    pub sessions: usize,
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

/// Another domain. Times are milliseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Peer {
    pub domain: String,
    /// Our streams to it, one for each of our domains that has had something to say.
    pub outgoing: Vec<Outgoing>,
    /// How many streams it has to us.
    pub incoming: usize,
    /// How many of them take along what we have for it (XEP-0288).
    pub both_ways: usize,
    /// Stanzas in the outbox, and when the oldest of them came.
    pub queued: u64,
    pub oldest: Option<u64>,
    pub blocked: Option<Blocked>,
    /// May there be streams with it, as configuration and blocks have it?
    pub allowed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Outgoing {
    /// Which of our domains it is for.
    pub from: String,
    /// `idle`, `connecting`, `up`, `closing`, or `waiting` for the next attempt.
    pub state: String,
    /// While it is up: `one way`, `both ways`, or `both ways, opened by the peer` (XEP-0288).
    pub way: Option<String>,
    pub last_error: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Blocked {
    pub since: u64,
    pub reason: String,
}

/// What came of trying one server of a domain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Probe {
    /// Which of our domains it was for.
    pub from: String,
    /// Host and port, and how TLS begins there.
    pub at: String,
    pub how: String,
    /// None: a stream was authenticated.
    pub error: Option<String>,
    pub todo: Option<String>,
    /// How it let us in: `EXTERNAL` (XEP-0178) or `dialback` (XEP-0220).
    pub by: Option<String>,
    /// Does it take dialback?
    pub dialback: bool,
    /// When the certificate ends that was shown there, and whether that is soon.
    pub certificate_ends: Option<String>,
    pub ends_soon: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Root {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    /// Names of fields, those of objects inside too; not of a user's sessions, which are theirs.
    fn names(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    found.insert(name.clone());
                    names(value, found);
                }
            }
            Value::Array(all) => all.iter().for_each(|one| names(one, found)),
            _ => {}
        }
    }

    fn user() -> User {
        User {
            jid: String::new(),
            enabled: true,
            created: 0,
        }
    }

    fn room() -> Room {
        Room {
            room: String::new(),
            epoch: 0,
            seq: 0,
            last: 0,
            created: 0,
            accounts: 0,
            devices: 0,
            domains: 0,
            direct: None,
            closed: None,
        }
    }

    fn user_in_full() -> UserDetail {
        UserDetail {
            user: user(),
            sessions: Vec::new(),
            last_seen: None,
            contacts: 0,
            blocked: 0,
            offline_messages: 0,
            archived_messages: 0,
            devices: 0,
            devices_revoked: 0,
            key_packages: 0,
            rooms: 0,
            pubsub_nodes: 0,
            pubsub_octets: 0,
        }
    }

    fn room_in_full() -> RoomDetail {
        RoomDetail {
            room: room(),
            members: vec![RoomMember {
                account: String::new(),
                device: String::new(),
            }],
            member_domains: vec![RoomDomain {
                domain: String::new(),
                acknowledged: 0,
                until: None,
            }],
            pending: 0,
            held: 0,
            held_octets: 0,
        }
    }

    fn peer() -> Peer {
        Peer {
            outgoing: vec![Outgoing {
                from: String::new(),
                state: String::new(),
                way: None,
                last_error: None,
            }],
            blocked: Some(Blocked {
                since: 0,
                reason: String::new(),
            }),
            ..Peer::default()
        }
    }

    fn objects() -> Vec<(&'static str, Value)> {
        let stats = Stats {
            domains: vec![DomainStats::default()],
            ..Stats::default()
        };
        let session = Session {
            jid: String::new(),
            since: 0,
            shown: None,
            priority: 0,
            device: None,
            resumable: false,
            queued: 0,
        };
        let report = Report {
            id: 0,
            room: String::new(),
            seq: 0,
            sent: 0,
            sender: String::new(),
            device: None,
            message: String::new(),
            content_type: String::new(),
            content: String::new(),
            text: None,
            reporter: String::new(),
            why: String::new(),
            time: 0,
        };
        let device = Device {
            id: String::new(),
            name: String::new(),
            registered: 0,
            revoked: None,
        };
        let root = Root {
            domain: String::new(),
            root: String::new(),
            expires: 0,
            own: true,
        };
        let finding = crate::check::Finding {
            check: "",
            about: String::new(),
            level: crate::check::Level::Ok,
            what: String::new(),
            todo: Some(String::new()),
        };
        vec![
            ("user", serde_json::json!(user())),
            ("user, in full", serde_json::json!(user_in_full())),
            ("session", serde_json::json!(session)),
            ("device", serde_json::json!(device)),
            ("room", serde_json::json!(room())),
            ("room, in full", serde_json::json!(room_in_full())),
            ("report", serde_json::json!(report)),
            ("stats", serde_json::json!(stats)),
            ("peer", serde_json::json!(peer())),
            ("root", serde_json::json!(root)),
            ("finding", serde_json::json!(finding)),
        ]
    }

    #[test]
    fn what_programs_read_is_documented() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/json.md");
        let text = std::fs::read_to_string(path).unwrap();
        let rows = text.lines().filter_map(|line| line.strip_prefix("| "));
        let rows: Vec<Vec<&str>> = rows
            .map(|row| row.split(" | ").collect::<Vec<_>>())
            .filter(|row| row[0] != "object")
            .collect();
        let quoted = |name: &str| -> BTreeSet<String> {
            let row = rows.iter().find(|row| row[0] == name);
            let row = row.unwrap_or_else(|| panic!("{name} is not documented"));
            row[2]
                .split('`')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect()
        };
        let objects = objects();
        assert_eq!(rows.len(), objects.len());
        for (name, value) in objects {
            let mut given = BTreeSet::new();
            names(&value, &mut given);
            let mut known = quoted(name);
            if let Some(short) = name.strip_suffix(", in full") {
                known.extend(quoted(short));
            }
            assert_eq!(given, known, "{name}");
        }
    }
}
