//! The Delivery Service with real groups: devices of two domains, each with its own CA, and the
//! domains' servers side by side.

mod abuse;
mod bad_input;
mod certificates;
mod create;
mod domains;
mod ephemeral;
mod external;
mod members;
mod newcomers;
mod nomination;
mod order;
mod psk;
mod removal;
mod report;
mod snapshot;
mod world;
