//! The anchors of one's own domain and of others: asked for when a certificate names an issuer that
//! is not known, judged by `comity_mls_credential`, pinned in the store (RFC 9750 §4).

use std::sync::Arc;

use comity_mls_wire::authority;
use comity_mls_wire::refusal::Refusal;

use crate::engine::{Engine, Timer, seconds};
use crate::error::Error;
use crate::event::Warning;
use crate::outgoing::{Destination, Request};
use crate::requests::Purpose;
use crate::room::Stage;
use crate::store::Space;

/// A domain whose anchors did not help is asked again after this.
const ASK_AGAIN_MS: u64 = 30_000;
/// One's own anchors are renewed this long before they expire.
const RENEW_BEFORE_S: u64 = 2 * 24 * 60 * 60;
/// Welcomes that wait for anchors; the server keeps the others.
pub(crate) const MAX_WELCOMES: usize = 32;

impl Engine {
    pub(crate) fn ask_anchors(&mut self, domain: &str, now: u64) {
        let timer = Timer::Anchors(domain.to_owned());
        if self.has_timer(&timer) {
            // Asked a moment ago, and the answer did not help.
            return;
        }
        self.ask(
            Purpose::Anchors(domain.to_owned()),
            Destination::Own,
            Request::Authority(authority::Request::Anchors {
                domain: domain.to_owned(),
            }),
            now,
        );
    }

    /// Something waits for an issuer of that domain.
    pub(crate) fn await_issuer(&mut self, domain: &str, now: u64) {
        self.ask_anchors(domain, now);
    }

    pub(crate) fn own_anchors_stale(&self, now: u64) -> bool {
        let domain = self.account.domain();
        self.anchors.stale(domain, seconds(now), RENEW_BEFORE_S)
    }

    pub(crate) fn on_anchors(
        &mut self,
        domain: &str,
        statement: &[u8],
        now: u64,
    ) -> Result<(), Error> {
        let accepted = match self.anchors.judge(domain, statement, seconds(now)) {
            Ok(accepted) => accepted,
            Err(error) => {
                self.warn(
                    None,
                    Warning::Anchors {
                        domain: domain.to_owned(),
                        why: error.to_string(),
                    },
                );
                self.set_timer(Timer::Anchors(domain.to_owned()), now + ASK_AGAIN_MS);
                return Ok(());
            }
        };
        if accepted.changed {
            let record = accepted.pinned.record().map_err(|_| Error::Corrupt {
                space: Space::Anchors.name(),
            })?;
            self.rows.put(Space::Anchors, domain.as_bytes(), record);
        } else {
            // Nothing new: what waits for an issuer goes on waiting for a while.
            self.set_timer(Timer::Anchors(domain.to_owned()), now + ASK_AGAIN_MS);
        }
        self.anchors.hold(Arc::clone(&accepted.pinned));
        self.take_head_of_anchors(&accepted.pinned, now)?;
        self.go_on_with(domain, now)
    }

    pub(crate) fn on_anchors_refused(&mut self, domain: &str, refusal: &Refusal, now: u64) {
        self.warn(
            None,
            Warning::Anchors {
                domain: domain.to_owned(),
                why: refusal.to_string(),
            },
        );
        self.set_timer(Timer::Anchors(domain.to_owned()), now + ASK_AGAIN_MS);
    }

    /// What waited for this domain's anchors is tried again.
    fn go_on_with(&mut self, domain: &str, now: u64) -> Result<(), Error> {
        for welcome in std::mem::take(&mut self.welcomes) {
            self.on_welcome(welcome, now)?;
        }
        let freed: Vec<_> = self
            .blocked
            .iter()
            .filter(|(_, awaited)| *awaited == domain)
            .map(|(room, _)| room.clone())
            .collect();
        for room in freed {
            self.blocked.remove(&room);
            self.drain_early(&room, now)?;
        }
        for (room, record) in self.all_rooms()? {
            if record.stage == Stage::Preparing || record.stage.follows() {
                self.touched.insert(room);
            }
        }
        if domain == self.account.domain() {
            self.restock(now)?;
        }
        Ok(())
    }
}
