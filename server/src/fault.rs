//! What is said when the storage has failed: to the log, and to whom it concerns.

use comity_storage::{Error, Trouble};
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};

/// A full disk is said once, by the storage; a line for each stanza that it refuses would help nobody.
pub(crate) fn log(fault: &Error, what: &str) {
    match fault.trouble() {
        Trouble::Full => tracing::debug!(%fault, "{what}"),
        _ => tracing::error!(%fault, "{what}"),
    }
}

/// The request was not carried out, and may come again. RFC 6120 §8.3.3.18 where the disk is full,
/// else §8.3.3.6.
pub(crate) fn refused(fault: &Error, text: &str) -> StanzaError {
    match fault.trouble() {
        Trouble::Full => StanzaError::new(ErrorType::Wait, StanzaCondition::ResourceConstraint)
            .with_text("the server has no room left to keep this: try again later"),
        _ => {
            StanzaError::new(ErrorType::Wait, StanzaCondition::InternalServerError).with_text(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_refused_learns_whether_it_is_for_want_of_room() {
        let full = refused(&Error::NoRoom, "again");
        assert_eq!(full.condition, StanzaCondition::ResourceConstraint);
        let other = refused(&Error::Panicked, "again");
        assert_eq!(other.condition, StanzaCondition::InternalServerError);
        assert_eq!(other.text.as_deref(), Some("again"));
        assert!(
            [full, other]
                .iter()
                .all(|error| error.kind == ErrorType::Wait)
        );
    }
}
