//! Rosters: contacts, subscriptions and requests that await an answer (RFC 6121 §2, §3).
//!
//! What a state means and which one follows is decided by the caller; here a change names the state
//! it was decided upon, and is refused if that is no longer so.

mod change;
mod read;

pub(crate) use change::insert_contact;
pub use change::{
    ChangeSubscription, ContactSet, RemoveContact, RemovedContact, SetContact, SubscriptionChanged,
    UpdateRequest,
};

/// A roster at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    /// Grows with each change; 0 before the first.
    pub version: u64,
    pub contacts: Vec<Contact>,
}

/// One item of a roster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contact {
    /// The contact's bare JID.
    pub contact: String,
    pub name: Option<String>,
    /// Sorted, each once.
    pub groups: Vec<String>,
    pub subscription: Subscription,
    /// `ask='subscribe'`: our request awaits the contact's answer ("Pending Out").
    pub ask: bool,
    /// The contact's next request is granted beforehand (RFC 6121 §3.4).
    pub approved: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Subscription {
    #[default]
    None,
    /// The account sees the contact's presence.
    To,
    /// The contact sees the account's presence.
    From,
    Both,
}

/// Everything RFC 6121 appendix A.1 tells apart, and whether there is an item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SubscriptionState {
    /// There is a roster item. Without one, the fields below are all at rest, save `pending_in`: a
    /// request alone makes no item.
    pub in_roster: bool,
    pub subscription: Subscription,
    pub ask: bool,
    pub approved: bool,
    /// The contact's request awaits the account's answer ("Pending In").
    pub pending_in: bool,
}

/// A contact's request, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionRequest {
    pub contact: String,
    /// The presence stanza of type `subscribe`.
    pub stanza: Vec<u8>,
    pub received: u64,
}

impl Subscription {
    /// The account sees the contact's presence.
    #[must_use]
    pub fn to(self) -> bool {
        matches!(self, Self::To | Self::Both)
    }

    /// The contact sees the account's presence.
    #[must_use]
    pub fn from(self) -> bool {
        matches!(self, Self::From | Self::Both)
    }

    #[must_use]
    pub fn of(to: bool, from: bool) -> Self {
        match (to, from) {
            (false, false) => Self::None,
            (true, false) => Self::To,
            (false, true) => Self::From,
            (true, true) => Self::Both,
        }
    }

    /// The value of the attribute `subscription`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::To => "to",
            Self::From => "from",
            Self::Both => "both",
        }
    }

    fn column(self) -> i64 {
        i64::from(self.to()) | i64::from(self.from()) << 1
    }

    fn from_column(bits: i64) -> Self {
        Self::of(bits & 1 != 0, bits & 2 != 0)
    }
}
