//! Plays with whole servers, one file each. They run in a network namespace of their own, which
//! `integration/run plays` makes.

#![expect(clippy::unwrap_used, reason = "a play that cannot go on has failed")]

mod abuse;
mod backup;
mod bench;
mod bot;
mod ca_backup;
mod commit_race;
mod crash;
mod day;
mod disk_full;
mod documents;
mod ephemeral;
mod federation_chaos;
mod federation_wire;
mod files;
mod first_message;
mod history;
mod hosting;
mod identities;
mod impostor;
mod key_packages;
mod large_room;
mod licences;
mod lifecycle;
mod log_size;
mod logs;
mod malicious_server;
mod manual;
mod mishaps;
mod nomination;
mod offline_root;
mod outage;
mod proxied;
mod quickstart;
mod resumption;
mod resync;
mod revocation;
mod root_rotation;
mod screen;
mod token;
mod token_keys;
mod two_domains;
mod two_histories;
mod week;
