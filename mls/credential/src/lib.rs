//! The rules of credentials, one copy for hub, directory and engine: which chain speaks for which
//! account, when, and who may follow whom (RFC 9750 §4). Start at [`leaf`] and [`provider`].
//!
//! Absent on purpose: XML, storage, clocks, sockets.

pub mod anchors;
pub mod leaf;
pub mod provider;
pub mod signed;
