//! An XMPP client with the MLS engine, as a library; the binary `comity-chat` is its terminal.
//!
//! # Embedding it
//!
//! There are two floors to stand on.
//!
//! **[`agent::Chat`]** is an engine with a store, a session with the server, and a thread and a task
//! that drive them. It needs tokio. `examples/bot.rs` is a whole program on it: some fifty lines.
//!
//! 1. [`agent::Opening::new`] asks for the account and its password, a folder for the device's store
//!    and a name for the device. Where the DNS does not lead to the server, name an endpoint; where
//!    its certificate is of a CA of your own, name that; where nobody shall learn where you are, a
//!    [`proxy::Proxy`]; and a passphrase of its own for the store, if it is not to be the password.
//! 2. [`agent::Chat::open`] gives the chat and a receiver of [`agent::Update`]s. It enrols the device
//!    if it is new, logs in, and logs in again, with back-off, for as long as it lives.
//! 3. Ask the engine with [`agent::Chat::with`]: `chat.with(|engine, now| engine.invite(..))`. Every
//!    verb returns at once; what became of it is an event. [`agent::Chat::say`] sends a text.
//! 4. Take what comes from an [`inbox::Inbox`]: messages are opened there, what came while the program
//!    was not running comes first, and nothing comes twice or is lost. A program that shows several
//!    rooms by the page instead takes the [`agent::Update`]s as they are:
//!    [`comity_mls_engine::Event::Item`] is a line of a room, and is in the store as well; after a
//!    start [`agent::Chat::unread`] has what is new, and
//!    [`comity_mls_engine::Engine::mark_read`] is told how far it was shown.
//!
//! **[`comity_mls_engine::Engine`]** alone does no IO and knows no runtime: you carry its requests
//! over a stream of your own ([`speech`] writes them as IQs and reads the answers), tell it the time,
//! and implement [`comity_mls_engine::Store`] over your database and, if keys shall lie in a token,
//! [`comity_mls_engine::SignatureKeys`]. Its documentation has the loop.
//!
//! # What a program owes its person
//!
//! | event | show |
//! |---|---|
//! | `Warning`, `RoomStopped` | always, at once: a server or a peer does what it must not |
//! | `RoomResyncing`, `RoomResynced` | always: what is said in between cannot be read here, and what the person says waits |
//! | `Restored` | always: the data of this device is an older copy, as after a backup was put back |
//! | `OwnDevice` (not revoked) | always: a device of this account that the person has not confirmed. Offer to compare codes (`device_code`, `confirm_device`) and to revoke it (`revoke_device`) |
//! | `Inviting` | before somebody reads along: with how many devices, and which are new |
//! | `VerificationLost`, `UnverifiedDevice` | where the room is shown: the mark is gone until codes are compared (`verification_code`, `mark_verified`, `member_trust`) |
//! | `CatchingUp`, [`agent::Update::Progress`] | that it takes a while, and how far it is |
//! | `Item` | `What::Message` as what was said, everything else as a line between: who came, who went, by whom |
//! | `Ephemeral` | who is typing ([`typing::ChatState::read`]), for half a minute at most |
//! | `NotInvited`, `Refused` | what was asked for and will not happen, with the reason |
//!
//! Words of others go through [`terminal::clean::clean`] before they reach a terminal.
//!
//! # What stays as it is
//!
//! Events, warnings, refusals and errors are `#[non_exhaustive]`: a later version may tell more, so
//! match with a last arm that shows what it can (all of them have words or a `Debug`). The surface
//! has no lifetimes and, but for the closure of `Chat::with`, no generics: it can be bound to other
//! languages, an `Update` at a time.
//!
//! # The parts
//!
//! [`stream`] is the client's side of an XMPP stream as a machine, [`connection`] puts it on a
//! socket, [`proxy`] leads it there by a detour, [`store`] keeps what the engine must not forget,
//! [`content`] is what a message carries, [`act`] what it does, [`files`] sends and fetches files.

pub mod act;
pub mod agent;
mod blobs;
pub mod connection;
pub mod content;
pub mod files;
pub mod inbox;
pub mod progress;
pub mod proxy;
pub mod search;
pub mod speech;
pub mod store;
pub mod stream;
pub mod terminal;
pub mod timeline;
pub mod token;
pub mod typing;
