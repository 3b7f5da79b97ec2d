//! Subscriptions as one state table (RFC 6121 §3 and appendix A): what a subscription stanza does
//! to the state that its sender's, or its receiver's, server holds.

/// The state of one roster item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct State {
    /// The user sees the contact's presence.
    pub to: bool,
    /// The contact sees the user's presence.
    pub from: bool,
    /// "Pending Out": the user has asked and the contact has not answered.
    pub pending_out: bool,
    /// "Pending In": the contact has asked and the user has not answered.
    pub pending_in: bool,
    /// The user has agreed before being asked (RFC 6121 §3.4).
    pub approved: bool,
}

/// The four stanzas of subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Subscribe,
    Subscribed,
    Unsubscribe,
    Unsubscribed,
}

/// What follows from the user's own stanza.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub state: State,
    /// Does it go to the contact?
    pub route: bool,
}

/// What follows from the contact's stanza.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Received {
    pub state: State,
    /// Is it delivered to the user's clients?
    pub deliver: bool,
    /// The server answers `subscribed` by itself: the contact has the subscription already, or the
    /// user agreed beforehand.
    pub agree: bool,
}

/// RFC 6121 appendix A.2: the user sends a subscription stanza.
#[must_use]
pub(super) fn sent(verb: Verb, mut state: State) -> Sent {
    let route = match verb {
        Verb::Subscribe => {
            state.pending_out |= !state.to;
            true
        }
        Verb::Unsubscribe => {
            state.to = false;
            state.pending_out = false;
            true
        }
        Verb::Subscribed if state.pending_in => {
            state.pending_in = false;
            state.from = true;
            true
        }
        Verb::Subscribed => {
            // RFC 6121 §3.4.2: noted for when the contact asks.
            state.approved |= !state.from;
            false
        }
        Verb::Unsubscribed => {
            let known = state.from || state.pending_in;
            state.from = false;
            state.pending_in = false;
            state.approved = false;
            known
        }
    };
    Sent { state, route }
}

/// RFC 6121 appendix A.3: the contact's subscription stanza arrives.
#[must_use]
pub(super) fn received(verb: Verb, mut state: State) -> Received {
    let mut agree = false;
    let deliver = match verb {
        // RFC 6121 §3.1.3: the contact has forgotten; remind its server.
        Verb::Subscribe if state.from => {
            agree = true;
            false
        }
        Verb::Subscribe if state.pending_in => false,
        Verb::Subscribe if state.approved => {
            agree = true;
            state.from = true;
            false
        }
        Verb::Subscribe => {
            state.pending_in = true;
            true
        }
        Verb::Unsubscribe => {
            let known = state.from || state.pending_in;
            state.from = false;
            state.pending_in = false;
            known
        }
        Verb::Subscribed => {
            let asked = state.pending_out;
            state.to |= asked;
            state.pending_out = false;
            asked
        }
        Verb::Unsubscribed => {
            let known = state.to || state.pending_out;
            state.to = false;
            state.pending_out = false;
            known
        }
    };
    Received {
        state,
        deliver,
        agree,
    }
}

#[cfg(test)]
mod tests;
