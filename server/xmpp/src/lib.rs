//! The words every stream speaks: addresses, XML, stanzas, stream and stanza errors, SASL and
//! stream management. Start at [`stanza`] for what travels, at [`machine`] for how a stream is
//! driven, and at [`frame`] and [`xml`] for how bytes become either.
//!
//! Absent on purpose: sockets, tasks, clocks and randomness. All four are handed in.

pub mod ack;
pub mod certificate;
pub mod element;
pub mod error;
pub mod form;
pub mod frame;
pub mod jid;
pub mod machine;
pub mod ns;
mod precis;
pub mod rsm;
pub mod sasl;
pub mod speaker;
pub mod stanza;
pub mod stream;
pub mod transcript;
pub mod xml;
