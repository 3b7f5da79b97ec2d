//! The only crate of the server that opens sockets: it listens, speaks TLS, asks the DNS, and
//! pumps a stream's machine over what it opened. Start at [`drive`], the loop every stream runs
//! in; [`listener`] is where the streams of others come in, [`http`] where browsers do, [`dns`] and
//! [`connect`] where ours go out, [`tls`] what protects all of them, [`stop`] how all of it ends.
//!
//! Absent on purpose: what any stream says. The machines know that, and none of them is named
//! here. A client embeds the same connector, lookups and loop as the server does.

pub mod acme;
pub mod address;
pub mod connect;
pub mod dns;
pub mod drive;
pub mod http;
pub mod listener;
pub mod proxy;
pub mod random;
pub mod reflect;
pub mod stop;
pub mod time_of_day;
pub mod tls;
pub mod transport;
