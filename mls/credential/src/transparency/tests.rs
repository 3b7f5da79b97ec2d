//! The log against the vectors of RFC 6962's authors, against its definition, and against forgers.

mod map;
mod shown;
mod tree;
