//! The identity provider of mls-rs: the rules of [`crate::leaf`] where MLS asks for them.
