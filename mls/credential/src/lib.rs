//! The rules of credentials, one copy for hub, directory and engine: which chain speaks for which
//! account, when, and who may follow whom (RFC 9750 §4). Start at [`leaf`] and [`provider`].
//!
//! What each part is for: [`keys`] are signature keys in their three spellings; [`certificate`] is
//! the one strict reader; [`leaf`] and [`provider`] believe or refuse; [`csr`] and [`issue`] make
//! certificates; [`crl`] takes them back; [`endorsement`] says who may come where its account is
//! already; [`franking`] lets a message be shown; [`anchors`] carries a domain's CAs to other domains; [`transparency`] shows what was
//! issued; [`signed`] says what a signature outside MLS covers.
//!
//! Absent on purpose: XML, storage, clocks, sockets.

pub mod anchors;
pub mod certificate;
pub mod crl;
pub mod csr;
mod der;
pub mod endorsement;
pub mod franking;
pub mod issue;
pub mod keys;
pub mod leaf;
pub mod provider;
pub mod signed;
pub mod transparency;
