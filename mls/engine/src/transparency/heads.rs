//! Heads of a domain's log, whichever way they come: with evidence, in anchors, in what others
//! write. Two of one size must be one; of two sizes the domain must show that the one log begins
//! with the other.

use comity_mls_credential::anchors::{Pinned, Signed};
use comity_mls_credential::transparency::proof::verify_consistency;
use comity_mls_credential::transparency::{Head, LogError, SignedHead};
use comity_mls_wire::authority;
use comity_mls_wire::refusal::Refusal;
use comity_xmpp::jid::BareJid;

use super::{HEAD, Kept, MAX_PROVING, Proving, SAID, row};
use crate::commit::members;
use crate::engine::Engine;
use crate::error::Error;
use crate::event::Warning;
use crate::mls::Group;
use crate::outgoing::{Destination, Request};
use crate::requests::Purpose;
use crate::store::Space;

/// A message carries a head at most this often, in each room.
const SAY_EVERY_MS: u64 = 60 * 60 * 1_000;

impl Engine {
    /// Takes a head that came as `domain`'s. It is given back where it may be used: signed by the
    /// domain, and not known to contradict another.
    pub(crate) fn take_head(
        &mut self,
        domain: &str,
        signed: &[u8],
        now: u64,
    ) -> Result<Option<Head>, Error> {
        let head = match SignedHead::verify(signed, domain, self.anchors.as_ref()) {
            Ok(head) => head,
            Err(LogError::UnknownSigner(_)) => {
                self.ask_anchors(domain, now);
                return Ok(None);
            }
            Err(error) => {
                self.warn_of_log(domain, &error.to_string());
                return Ok(None);
            }
        };
        let key = row(HEAD, domain.as_bytes());
        let Some(kept) = self.rows.read::<Kept>(Space::Transparency, &key)? else {
            self.keep_head(domain, signed)?;
            return Ok(Some(head));
        };
        let (_, known) = SignedHead::read(&kept.signed).map_err(|_| Error::Corrupt {
            space: Space::Transparency.name(),
        })?;
        if head.contradicts(&known) {
            self.warn(
                None,
                Warning::TwoLogs {
                    domain: domain.to_owned(),
                    size: head.size,
                },
            );
            return Ok(None);
        }
        if head.size != known.size {
            self.compare_heads(domain, signed, &head, &known, now)?;
        }
        Ok(Some(head))
    }

    fn compare_heads(
        &mut self,
        domain: &str,
        signed: &[u8],
        head: &Head,
        known: &Head,
        now: u64,
    ) -> Result<(), Error> {
        let newer = head.size > known.size;
        let (first, second) = if newer { (known, head) } else { (head, known) };
        if first.size == 0 {
            // Every log begins with the empty one.
            return if newer {
                self.keep_head(domain, signed)
            } else {
                Ok(())
            };
        }
        let key = (domain.to_owned(), first.size, second.size);
        if self.logs.proving.len() >= MAX_PROVING || self.logs.proving.contains_key(&key) {
            return Ok(());
        }
        let proving = Proving {
            first: first.root,
            second: second.root,
            newer: if newer { signed.to_vec() } else { Vec::new() },
        };
        self.logs.proving.insert(key, proving);
        self.ask(
            Purpose::LogConsistency(domain.to_owned(), first.size, second.size),
            Destination::Own,
            Request::Authority(authority::Request::LogConsistency {
                domain: domain.to_owned(),
                first: first.size,
                second: second.size,
            }),
            now,
        );
        Ok(())
    }

    pub(crate) fn on_consistency(
        &mut self,
        domain: &str,
        first: u64,
        second: u64,
        proof: &[u8],
    ) -> Result<(), Error> {
        let key = (domain.to_owned(), first, second);
        let Some(proving) = self.logs.proving.remove(&key) else {
            return Ok(());
        };
        let (hashes, rest) = proof.as_chunks::<32>();
        let holds = rest.is_empty()
            && verify_consistency(first, second, hashes, &proving.first, &proving.second);
        if !holds {
            self.warn_of_log(domain, NOT_CONTINUED);
            return Ok(());
        }
        if proving.newer.is_empty() {
            return Ok(());
        }
        // Another may have been shown to be newer meanwhile.
        let kept = self
            .rows
            .read::<Kept>(Space::Transparency, &row(HEAD, domain.as_bytes()))?;
        let size = kept.and_then(|kept| Some(SignedHead::read(&kept.signed).ok()?.1.size));
        match size {
            Some(size) if size >= second => Ok(()),
            _ => self.keep_head(domain, &proving.newer),
        }
    }

    pub(crate) fn on_consistency_refused(
        &mut self,
        domain: &str,
        first: u64,
        second: u64,
        refusal: &Refusal,
    ) {
        self.logs
            .proving
            .remove(&(domain.to_owned(), first, second));
        // The domain has signed both sizes: a log that is shorter now has lost entries.
        if matches!(refusal, Refusal::BadRequest { .. }) {
            self.warn_of_log(domain, NOT_CONTINUED);
        }
    }

    fn keep_head(&mut self, domain: &str, signed: &[u8]) -> Result<(), Error> {
        let kept = Kept {
            signed: signed.to_vec(),
        };
        let key = row(HEAD, domain.as_bytes());
        self.rows.write(Space::Transparency, &key, &kept)
    }

    /// The head that a domain's anchors name.
    pub(crate) fn take_head_of_anchors(&mut self, pinned: &Pinned, now: u64) -> Result<(), Error> {
        let domain = pinned.domain().to_owned();
        let Ok((_, statement)) = Signed::read(pinned.signed()) else {
            return Ok(());
        };
        match statement.log_head {
            Some(head) => self.take_head(&domain, &head.0, now).map(drop),
            None => {
                let key = row(HEAD, domain.as_bytes());
                if self.rows.get(Space::Transparency, &key)?.is_some() {
                    self.warn_of_log(&domain, "its anchors name no log any more");
                }
                Ok(())
            }
        }
    }

    /// A head that a member sent along, so that a domain which shows each of them another log is
    /// found out.
    pub(crate) fn take_head_of_member(&mut self, signed: &[u8], now: u64) -> Result<(), Error> {
        let Ok((_, head)) = SignedHead::read(signed) else {
            // A member's nonsense says nothing of the domain.
            return Ok(());
        };
        // Only of domains whose certificates are believed here already: a member must not make
        // this device ask strangers.
        if self.anchors.pinned(&head.domain).is_none()
            || SignedHead::verify(signed, &head.domain, self.anchors.as_ref()).is_err()
        {
            return Ok(());
        }
        self.take_head(&head.domain, signed, now).map(drop)
    }

    /// The head to send along with a message now: that of one domain of the room, each in its turn.
    pub(crate) fn head_to_say(
        &mut self,
        room: &BareJid,
        group: &Group,
        now: u64,
    ) -> Result<Option<Vec<u8>>, Error> {
        let key = row(SAID, room.as_str().as_bytes());
        let said: u64 = self.rows.read(Space::Transparency, &key)?.unwrap_or(0);
        if now < said.saturating_add(SAY_EVERY_MS) {
            return Ok(None);
        }
        if self
            .rows
            .scan(Space::Transparency, &row(HEAD, b""), None, 1)?
            .is_empty()
        {
            // Not all members are looked at for nothing.
            return Ok(None);
        }
        let mut domains: Vec<String> = members(group)
            .into_iter()
            .map(|(account, _)| account.domain().to_owned())
            .collect();
        domains.sort_unstable();
        domains.dedup();
        let turn = usize::try_from(now / SAY_EVERY_MS).unwrap_or(0);
        for at in 0..domains.len() {
            let domain = &domains[(turn + at) % domains.len()];
            let kept = row(HEAD, domain.as_bytes());
            if let Some(kept) = self.rows.read::<Kept>(Space::Transparency, &kept)? {
                self.rows.write(Space::Transparency, &key, &now)?;
                return Ok(Some(kept.signed));
            }
        }
        Ok(None)
    }

    pub(super) fn warn_of_log(&mut self, domain: &str, why: &str) {
        self.warn(
            None,
            Warning::Log {
                domain: domain.to_owned(),
                why: why.to_owned(),
            },
        );
    }
}

const NOT_CONTINUED: &str = "it does not continue what it showed before";
