//! The errors of XEP-0060, each with its own condition beside the stanza's.

use comity_xmpp::element::Element;
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::ns;

use crate::fault;

use super::access::{Denied, Relation};

pub(super) fn with(kind: ErrorType, condition: StanzaCondition, detail: &str) -> StanzaError {
    StanzaError::new(kind, condition).with_application(Element::new(ns::PUBSUB_ERRORS, detail))
}

pub(super) fn bad_request(detail: &str) -> StanzaError {
    with(ErrorType::Modify, StanzaCondition::BadRequest, detail)
}

pub(super) fn unsupported(feature: &str) -> StanzaError {
    StanzaError::new(ErrorType::Cancel, StanzaCondition::FeatureNotImplemented).with_application(
        Element::new(ns::PUBSUB_ERRORS, "unsupported").with_attr("feature", feature),
    )
}

pub(super) fn forbidden(text: &str) -> StanzaError {
    StanzaError::new(ErrorType::Auth, StanzaCondition::Forbidden).with_text(text)
}

pub(super) fn no_node() -> StanzaError {
    StanzaError::new(ErrorType::Cancel, StanzaCondition::ItemNotFound)
        .with_text("there is no such node: publish to it, or create it")
}

pub(super) fn no_item() -> StanzaError {
    StanzaError::new(ErrorType::Cancel, StanzaCondition::ItemNotFound)
        .with_text("the node holds no such item")
}

/// What a stranger is told of everything that is not open: the same whether there is such an
/// account, such a node, or neither.
pub(super) fn presence_required() -> StanzaError {
    with(
        ErrorType::Auth,
        StanzaCondition::NotAuthorized,
        "presence-subscription-required",
    )
}

pub(super) fn denied(why: Denied, relation: &Relation) -> StanzaError {
    if *relation == Relation::Stranger && why != Denied::Outcast {
        return presence_required();
    }
    match why {
        Denied::Outcast => forbidden("the owner has shut you out of this node"),
        Denied::PresenceRequired => presence_required(),
        Denied::NotInRosterGroup => with(
            ErrorType::Auth,
            StanzaCondition::NotAuthorized,
            "not-in-roster-group",
        ),
        Denied::Closed => with(
            ErrorType::Cancel,
            StanzaCondition::NotAllowed,
            "closed-node",
        ),
        Denied::NotAuthorized => with(
            ErrorType::Auth,
            StanzaCondition::NotAuthorized,
            "not-subscribed",
        ),
    }
}

pub(super) fn constraint(text: String) -> StanzaError {
    StanzaError::new(ErrorType::Wait, StanzaCondition::ResourceConstraint).with_text(text)
}

pub(super) fn storage(fault: &comity_storage::Error) -> StanzaError {
    fault::log(
        fault,
        "the storage failed: a request of publish-subscribe is refused",
    );
    fault::refused(fault, "the server could not do this: ask again")
}
