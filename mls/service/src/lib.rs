//! The Authentication Service, KeyPackage directory and Delivery Service as decisions and one
//! transaction each (RFC 9750 §4, §5). No XML, no sessions.

pub mod authority;
pub mod key_packages;
