//! Revocation lists of the domains one has to do with: asked for every hour and when one's server
//! speaks of a new one, judged by `comity_mls_credential`. A list that is old warns and does not
//! block (RFC 9750 §8.4.3).

use std::sync::Arc;

use comity_mls_credential::crl::{Crl, MAX_CRL_BYTES};
use comity_mls_credential::leaf::IssuerId;
use comity_mls_wire::authority;

use crate::engine::{Engine, Timer, seconds};
use crate::error::Error;
use crate::event::Warning;
use crate::outgoing::{Destination, Request};
use crate::requests::Purpose;
use crate::room::Stage;
use crate::session::Session;
use crate::store::Space;

/// Lists are looked after this often.
const LOOK_EVERY_MS: u64 = 60 * 60 * 1_000;
/// Lists read from the store at start.
const MAX_LISTS: usize = 4_096;
/// Lists that may be under way at a time, each with what has come of it.
const UNDER_WAY: usize = 64;

/// What has come of a list so far.
pub(crate) struct Parts {
    number: u64,
    size: u32,
    octets: Vec<u8>,
}

impl Engine {
    pub(crate) fn restore_crls(&self) -> Result<(), Error> {
        for (_, list) in self
            .rows
            .scan(Space::RevocationList, b"", None, MAX_LISTS)?
        {
            let crl = Crl::read(&list).map_err(|_| Error::Corrupt {
                space: Space::RevocationList.name(),
            })?;
            self.anchors.hold_crl(Arc::new(crl));
        }
        Ok(())
    }

    /// Asks for the lists that are an hour old, and warns of those that have ended.
    pub(crate) fn renew_crls(&mut self, now: u64) -> Result<(), Error> {
        self.set_timer(Timer::RevocationLists, now + LOOK_EVERY_MS);
        if !matches!(self.session, Session::Up { .. }) {
            return Ok(());
        }
        for (domain, _) in self.rows.scan(Space::Anchors, b"", None, MAX_LISTS)? {
            let Some(pinned) = std::str::from_utf8(&domain)
                .ok()
                .and_then(|domain| self.anchors.pinned(domain))
            else {
                continue;
            };
            for issuer in pinned.listed().unwrap_or_default() {
                let known = self.anchors.crl(&issuer);
                if let Some(known) = &known
                    && known.ended(seconds(now))
                {
                    let warning = Warning::OldRevocations {
                        domain: pinned.domain().to_owned(),
                        since: known.next_update(),
                    };
                    self.warn(None, warning);
                }
                if known.is_none_or(|known| known.aged(seconds(now))) {
                    self.ask_crl(pinned.domain(), issuer, 0, now);
                }
            }
        }
        Ok(())
    }

    /// One's server says that there is a list.
    pub(crate) fn on_crl_issued(&mut self, domain: &str, issuer: IssuerId, number: u64, now: u64) {
        let concerned = self.anchors.pinned(domain).is_some();
        let known = self.anchors.crl(&issuer);
        if concerned && known.is_none_or(|known| known.number() < number) {
            self.ask_crl(domain, issuer, 0, now);
        }
    }

    pub(crate) fn ask_crl(&mut self, domain: &str, issuer: IssuerId, offset: u32, now: u64) {
        self.ask(
            Purpose::Crl(domain.to_owned(), issuer),
            Destination::Own,
            Request::Authority(authority::Request::Crl {
                domain: domain.to_owned(),
                issuer: issuer.0,
                offset,
            }),
            now,
        );
    }

    /// A part has come. Parts of different lists do not fit together: it begins anew.
    pub(crate) fn on_crl_part(
        &mut self,
        domain: &str,
        issuer: IssuerId,
        part: authority::Answer,
        now: u64,
    ) -> Result<(), Error> {
        let authority::Answer::Crl {
            number,
            size,
            offset,
            part,
        } = part
        else {
            return Ok(());
        };
        let whole = usize::try_from(size).unwrap_or(usize::MAX);
        let mut parts = match self.crl_parts.remove(&issuer) {
            Some(parts) if parts.number == number && parts.size == size => parts,
            _ if offset != 0 => {
                self.ask_crl(domain, issuer, 0, now);
                return Ok(());
            }
            _ => Parts {
                number,
                size,
                octets: Vec::new(),
            },
        };
        let fits = usize::try_from(offset) == Ok(parts.octets.len());
        parts.octets.extend_from_slice(&part);
        if !fits || part.is_empty() || whole > MAX_CRL_BYTES || parts.octets.len() > whole {
            self.warn_crl(domain, &"its parts do not fit together");
            return Ok(());
        }
        if parts.octets.len() == whole {
            return self.on_crl(domain, &parts.octets, now);
        }
        let next = u32::try_from(parts.octets.len()).unwrap_or(u32::MAX);
        if self.crl_parts.len() < UNDER_WAY {
            self.crl_parts.insert(issuer, parts);
            self.ask_crl(domain, issuer, next, now);
        }
        Ok(())
    }

    fn on_crl(&mut self, domain: &str, der: &[u8], now: u64) -> Result<(), Error> {
        let accepted = match self.anchors.judge_crl(domain, der, seconds(now)) {
            Ok(accepted) => accepted,
            Err(error) => {
                self.warn_crl(domain, &error);
                return Ok(());
            }
        };
        if accepted.changed {
            let issuer = accepted.crl.issuer().0;
            self.rows.put(Space::RevocationList, &issuer, der.to_vec());
            self.anchors.hold_crl(accepted.crl);
            self.crl_generation += 1;
        }
        for (room, _) in self.all_rooms()? {
            self.look_again(&room, false)?;
        }
        if accepted.news.is_empty() {
            return Ok(());
        }
        // A member may be revoked.
        for (room, record) in self.all_rooms()? {
            if record.stage == Stage::Active {
                self.touched.insert(room);
            }
        }
        Ok(())
    }

    fn warn_crl(&mut self, domain: &str, why: &dyn std::fmt::Display) {
        let warning = Warning::Revocations {
            domain: domain.to_owned(),
            why: why.to_string(),
        };
        self.warn(None, warning);
    }
}
