//! Federation with the network as it is: Comity with itself, with Prosody and with ejabberd, found
//! by the DNS alone. One file each. A play has a network namespace of its own.

#![expect(clippy::unwrap_used, reason = "a play that cannot go on has failed")]

mod acme;
mod bidi;
mod by_dns;
mod check;
mod discovery;
mod ejabberd;
mod foreign;
mod load;
mod names;
mod operator;
mod pins;
mod prosody;
mod refusals;
mod renewal;
mod scene;
mod speak;
mod storm;
