//! Messages of one session that followed one another: decided upon in order, kept in one, and only
//! then let out.

use std::time::Instant;

use comity_c2s::link::Count;
use comity_storage::AcceptMessages;
use comity_xmpp::jid::Jid;
use comity_xmpp::stanza::Stanza;
use tracing::Instrument;

use crate::deliver::{self, Deliveries};
use crate::dispatch;
use crate::home::Home;
use crate::managed;
use crate::module::Origin;
use crate::module::message::{Acceptance, Decision};

/// Takes them in; the last of their counts that was kept.
pub(crate) async fn take(
    home: &Home,
    session: &Jid,
    messages: Vec<(Stanza, Option<Count>)>,
) -> Option<u32> {
    let mut intake = Intake {
        home,
        session,
        origin: Origin::Session(session.clone()),
        pending: Vec::with_capacity(messages.len()),
        count: None,
        kept: None,
    };
    for (message, count) in messages {
        intake.take(message, count).await;
    }
    intake.keep_pending().await;
    intake.kept
}

struct Intake<'a> {
    home: &'a Home,
    session: &'a Jid,
    origin: Origin,
    /// What an account's message is decided upon does not change with the messages before it, so
    /// that these may be kept together.
    pending: Vec<Acceptance>,
    /// Of the last that is pending.
    count: Option<Count>,
    kept: Option<u32>,
}

impl Intake<'_> {
    async fn take(&mut self, message: Stanza, count: Option<Count>) {
        let account = self.session.to_bare();
        let wait = self.home.pace.take(&account, Instant::now());
        if !wait.is_zero() {
            self.keep_pending().await;
            tokio::time::sleep(wait).await;
        }
        let span = dispatch::span(&message);
        let deciding = dispatch::decide_at(self.home, self.origin.clone(), None, message);
        match deciding.instrument(span).await {
            Decision::Accept(acceptance) => {
                self.pending.push(*acceptance);
                self.count = count;
            }
            Decision::Settled(deliveries) => {
                self.keep_pending().await;
                self.leave(deliveries).await;
            }
        }
    }

    /// Keeps what is pending, with the count of the last of it, and lets it leave.
    async fn keep_pending(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        let (mut changes, then): (Vec<_>, Vec<_>) = pending
            .into_iter()
            .map(|acceptance| (acceptance.change, acceptance.then))
            .unzip();
        let Some(last) = changes.last_mut() else {
            return;
        };
        let count = self.count.take();
        let h = count.as_ref().map(|count| count.h);
        last.handled = count.map(|count| managed::handled(self.home, self.session, count));
        let outcomes = self.home.storage.write(AcceptMessages(changes)).await;
        for (at, then) in then.into_iter().enumerate() {
            let outcome = outcomes.as_ref().map(|outcomes| &outcomes[at]);
            self.leave(then.settle(self.home, outcome)).await;
        }
        if outcomes.is_ok() {
            self.kept = h.or(self.kept);
        }
    }

    async fn leave(&mut self, deliveries: Deliveries) {
        deliver::deliver_for(self.home, &self.origin, deliveries).await;
    }
}
