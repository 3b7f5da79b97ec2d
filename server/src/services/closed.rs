//! Rooms of ours that the operator has closed, as they are judged at every request.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::Request;
use comity_storage::rooms::Closed;

/// By address, with the reason that members read. Changes while the server runs. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct ClosedRooms(Arc<RwLock<HashMap<String, String>>>);

impl ClosedRooms {
    #[must_use]
    pub fn of(rooms: Vec<Closed>) -> Self {
        let rooms = rooms.into_iter().map(|one| (one.room, one.reason));
        Self(Arc::new(RwLock::new(rooms.collect())))
    }

    pub fn close(&self, room: &str, reason: &str) {
        let mut rooms = self.0.write().unwrap_or_else(PoisonError::into_inner);
        rooms.insert(room.to_owned(), reason.to_owned());
    }

    pub fn open(&self, room: &str) {
        let mut rooms = self.0.write().unwrap_or_else(PoisonError::into_inner);
        rooms.remove(room);
    }

    /// Why a room is closed, if it is.
    #[must_use]
    pub fn reason(&self, room: &str) -> Option<String> {
        let rooms = self.0.read().unwrap_or_else(PoisonError::into_inner);
        rooms.get(room).cloned()
    }

    /// What would lengthen the room's log is refused; what reads it is not.
    ///
    /// # Errors
    /// The refusal, with the operator's reason.
    pub fn check(&self, room: &str, request: &Request) -> Result<(), Refusal> {
        if !lengthens(request) {
            return Ok(());
        }
        match self.reason(room) {
            None => Ok(()),
            Some(reason) => Err(Refusal::NotAllowed {
                rule: match reason.is_empty() {
                    true => "the operator of its domain has closed the room".to_owned(),
                    false => format!("the operator of its domain has closed the room: {reason}"),
                },
            }),
        }
    }
}

fn lengthens(request: &Request) -> bool {
    match request {
        Request::Commit(_)
        | Request::Propose { .. }
        | Request::Send { .. }
        | Request::Ephemeral { .. }
        | Request::Report { .. } => true,
        // What was said before it was closed may be shown.
        Request::ReportMessage(_) => false,
        // A room that is closed is there: nobody makes it anew.
        Request::Create(_)
        | Request::Hub
        | Request::Info
        | Request::Head
        | Request::GroupInfo
        | Request::Status { .. }
        | Request::Fetch { .. }
        | Request::Acknowledge { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_room_is_read_and_not_written() {
        let rooms = ClosedRooms::default();
        let room = "~r@a.example";
        let report = Request::Report {
            seq: 1,
            hash: [0; 32],
            why: String::new(),
        };
        assert!(rooms.check(room, &report).is_ok());
        rooms.close(room, "");
        assert!(rooms.check(room, &Request::Info).is_ok());
        assert!(rooms.check(room, &report).is_err());
        assert!(rooms.check("~s@a.example", &report).is_ok());
        rooms.close(room, "spam");
        let refused = rooms.check(room, &report).unwrap_err();
        assert!(refused.to_string().ends_with("closed the room: spam"));
        rooms.open(room);
        assert!(rooms.check(room, &report).is_ok());
    }
}
