//! What a client embeds: identity, rooms and messages of one device, end to end encrypted by MLS
//! (RFC 9420), over the extension that `mls/PROTOCOL.md` describes. No sockets, no XML, no clock.
//!
//! # How it is driven
//!
//! An [`Engine`] is a state machine. Its caller carries its words and tells it the time, in
//! milliseconds since 1970:
//!
//! - *Verbs* say what a person wants: [`Engine::enrol`], [`Engine::create_room`],
//!   [`Engine::open_direct`], [`Engine::invite`], [`Engine::send`], [`Engine::send_ephemeral`],
//!   [`Engine::remove`],
//!   [`Engine::update`], [`Engine::heal`], [`Engine::leave`].
//! - *Inputs* say what happened: [`Engine::session_started`], [`Engine::session_ended`],
//!   [`Engine::answer`], [`Engine::notice`], [`Engine::timeout`].
//! - *Outputs* are polled after each of these until they are empty: [`Engine::poll_request`] gives
//!   requests to send ([`Outgoing::to`] says where), [`Engine::poll_event`] what to show,
//!   [`Engine::poll_timeout`] when to call [`Engine::timeout`].
//!
//! `examples/two_lines.rs` shows the loop.
//!
//! # What it promises
//!
//! - **Each input is one transaction** of the [`Store`]. What a poll gives is durable already. A
//!   program may be killed at any moment: the next [`Engine::open`] knows everything, sends the very
//!   same octets again under the same idempotency keys, and goes on. No key is used twice, no
//!   message is lost or doubled.
//! - **The log decides.** A commit of one's own is applied when its entry arrives in the room's log,
//!   in order, and at no other moment. If another's commit came first, the change is made anew for
//!   the new epoch; a message is encrypted anew under its old id.
//! - **Who cannot follow comes back.** Where the group is lost here, by a commit that cannot be applied,
//!   an entry that is gone or a store that is damaged, the log is followed as anyone can, and the
//!   device takes its own place again by an external commit, with back-off and a daily cap.
//! - **Nothing received is believed** before it is checked: hash chain and signed heads of the log,
//!   certificates under the pinned anchors of their domain, KeyPackages against the account and
//!   device asked for, the room's policy by the same code the hub uses, counters and log positions
//!   inside each message. What does not fit leaves the state as it was and becomes a [`Warning`].
//! - **What a domain certifies is done in the open.** Evidence is asked for that each certificate
//!   accepted is in its domain's transparency log; everything logged in this account's name must
//!   have been asked for by its devices; heads of a log that come by different ways are compared.
//! - **A commit's validity hangs on no clock.** Expiry is judged where something is made; what the
//!   hub accepted is followed.
//! - **Signature keys stay where [`SignatureKeys`] keeps them**; stored groups hold handles.
//!
//! # Whom one talks to
//!
//! Certificates say which domain vouches for a device. People check it themselves with codes:
//! [`Engine::verification_code`] of a device or a whole room, [`Engine::mark_verified`] once the other
//! side shows the same, [`Engine::member_trust`] for the marks. One's own devices are
//! [`Engine::own_devices`]; a new one is unknown until [`Engine::confirm_device`], which also lets it
//! into the rooms.
//!
//! # What a client does besides
//!
//! It shows [`Event`]s. Lines of a room ([`Item`]) are in the store as well: after a restart, read
//! [`Engine::history`] from where [`Engine::mark_read`] last was. It seals what its store keeps,
//! for rows hold secrets. It checks that notices come from its own server or from the room they
//! name, before it hands them over.
//!
//! Not here yet: room reset and successors of a group, private handshakes.

mod abuse;
mod acknowledge;
mod anchoring;
mod answers;
mod certify;
mod code;
mod commit;
mod content;
mod create;
mod crypto;
mod engine;
mod ephemeral;
mod epoch;
mod error;
mod event;
mod evidence;
mod flow;
mod follow;
mod history;
mod identity;
mod in_flight;
mod join;
mod joining;
mod keys;
mod memory;
mod messages;
mod mls;
mod newcomers;
mod noted;
mod notices;
mod outgoing;
mod own_devices;
mod people;
mod pieces;
mod plan;
mod progress;
mod proof;
mod psk;
mod public;
mod publish;
mod random;
mod receive;
mod rejoin;
mod requests;
mod restored;
mod resync;
mod retention;
mod revocations;
mod revoked;
mod role;
mod room;
mod rows;
mod rules;
mod send;
mod session;
mod stock;
mod store;
mod transparency;
mod upkeep;
mod verification;

pub use abuse::MAX_REPORTS;
pub use code::{CODE_DIGITS, VerificationCode};
pub use content::{
    ACKNOWLEDGEMENT, MAX_CONTENT, MAX_CONTENT_TYPE, MessageId, PSK, PSK_HELD, ROOM_STATE,
};
pub use create::MAX_ROOM_NAME;
pub use crypto::SUITES;
pub use engine::{Engine, Options};
pub use ephemeral::MAX_EPHEMERAL;
pub use error::Error;
pub use event::{
    Barred, Because, Change, Device, Event, HubRemoval, InvitedDevice, Item, Message, Name,
    Refused, Rejoined, RoleChange, Unreadable, Warning, What,
};
pub use history::{MAX_HISTORY, RoomInfo, RoomState};
pub use identity::MAX_DEVICE_NAME;
pub use keys::{FileKeys, KeyFault, KeyHandle, MemoryKeys, SignatureKeys};
pub use memory::MAX_ROOMS;
pub use outgoing::{Answer, Answered, Destination, Notice, Outgoing, Request, RequestId};
pub use own_devices::{DeviceState, OwnDevice};
pub use plan::MAX_INVITED;
pub use psk::{MAX_PSK_HOLDERS, PSK_WITHIN_MS};
pub use send::MAX_OUTBOX;
pub use verification::{MemberTrust, Trust};

pub use store::{MemoryStore, Row, Space, Store, StoreError, Transaction};
