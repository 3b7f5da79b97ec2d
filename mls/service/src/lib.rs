//! The Authentication Service, KeyPackage directory and Delivery Service as decisions and one
//! transaction each (RFC 9750 §4, §5). No XML, no sessions.
//!
//! The Delivery Service begins at [`room`]; [`framing`] is what may be read of any MLSMessage, and
//! [`error`] why something is not carried out.

pub mod authority;
pub mod error;
pub mod framing;
pub mod key_packages;
pub mod room;

/// The certificates that everybody is held to.
#[cfg(test)]
#[path = "../../credential/tests/cases/reader.rs"]
mod certificates;
