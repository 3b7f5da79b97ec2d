//! The Delivery Service (RFC 9750 §5.2): rooms ordered here, and copies of rooms ordered elsewhere.
//!
//! A request to a room goes through [`hub`]: it loads the room, lets one of [`create`], [`commit`],
//! [`propose`] and [`send`] decide on memory, carries out the one change that came of it, and only
//! then lets memory advance. [`external`] is the commit of one who comes by itself. [`order`] says whose turn it is, [`public_tree`] follows the group,
//! [`replay`] takes it up again from a snapshot, [`context`] and [`policy`] judge by what the room has agreed on, [`log`] makes the entry and
//! [`fanout`] what each domain gets of it.
//!
//! On a member domain, [`copy`] takes what the hub sends; [`sync`] says what a device gets next.

pub mod abuse;
mod additions;
pub mod commit;
pub mod context;
pub mod copy;
pub mod create;
pub mod external;
pub mod fanout;
pub mod hub;
pub mod limits;
pub mod log;
pub mod newcomers;
pub mod nominate;
pub mod order;
pub mod policy;
pub mod propose;
pub mod public_tree;
pub mod rates;
pub mod removal;
pub mod replay;
pub mod report;
pub mod rows;
pub mod send;
pub mod state;
pub mod sync;

#[cfg(test)]
mod tests;

use comity_mls_wire::authenticated::{AuthenticatedData, AuthenticatedDataError};

/// What is said beside a handshake. The hub alone gives grounds, and only who comes back to the room
/// proves that it was there.
fn authenticated(
    data: &[u8],
    comes_back: bool,
) -> Result<AuthenticatedData, AuthenticatedDataError> {
    let read = AuthenticatedData::from_bytes(data)?;
    if read.ephemeral || read.ground.is_some() || (read.rejoin.is_some() && !comes_back) {
        return Err(AuthenticatedDataError::Malformed(
            "it holds the ground of a removal, the proof of a rejoin or the mark of a message \
             outside the log, out of place"
                .to_owned(),
        ));
    }
    Ok(read)
}

pub use copy::{Copies, Outcome};
pub use hub::{Hub, HubKey, Pool, Reply, Surroundings};
pub use limits::Limits;
