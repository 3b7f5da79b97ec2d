//! The homeserver: joins the streams of clients and peer domains to one way for every stanza.
//!
//! socket → stream → [`dispatch`] → [`route`] → a module of [`module`] → [`deliver`]. Only
//! `dispatch` takes stanzas in, only `deliver` lets them out; a module decides, commits, and returns
//! [`deliver::Deliveries`]. [`home`] is what they all share, [`sessions`] who is bound here, [`web`] what
//! browsers see.

pub mod admin;
pub mod afterwards;
pub mod backup;
pub mod blocklists;
pub mod check;
pub mod cli;
pub mod counters;
pub mod deliver;
pub mod dispatch;
pub mod expiries;
pub mod fast;
pub(crate) mod fault;
pub mod guard;
pub mod home;
pub mod implemented;
pub mod live;
pub mod lock;
pub mod managed;
mod messages;
mod mishap;
pub mod module;
pub mod notify;
pub mod offers;
mod open_files;
pub mod outreach;
pub mod pace;
pub mod passwords;
#[cfg(test)]
mod play;
pub mod portable;
mod process;
pub mod receipt;
pub mod requests;
pub mod route;
mod run;
pub mod services;
pub mod sessions;
mod streams;
mod time;
pub mod uploads;
pub mod web;
pub mod work;

pub use run::reload::{Log, Read, Reloaded, Source};
pub use run::{RunError, run};
