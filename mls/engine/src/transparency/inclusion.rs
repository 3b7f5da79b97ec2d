//! That the certificates of those one talks to are in the logs of their domains: asked of the
//! account when a leaf comes to a room, told to the person when there is no evidence in time.

use std::collections::BTreeMap;

use bytes::Bytes;
use comity_mls_credential::leaf::Leaf;
use comity_mls_credential::provider::certificate;
use comity_mls_credential::transparency::{Head, Inclusion};
use comity_mls_wire::{authority, limits};
use comity_xmpp::jid::BareJid;
use mls_rs::group::proposal::Proposal;
use mls_rs::group::{CommitMessageDescription, NewEpoch};
use mls_rs_core::identity::SigningIdentity;

use super::{CHECK, Check, DONE, row};
use crate::engine::{Engine, seconds};
use crate::error::Error;
use crate::event::Warning;
use crate::mls::Group;
use crate::outgoing::{Destination, Request};
use crate::requests::Purpose;
use crate::stock::DAY_S;
use crate::store::Space;

/// How long a domain has to show its evidence: it, or the way there, may be down for a day.
const GRACE_MS: u64 = DAY_S * 1_000;
/// Checks read at once; the others wait for the next round.
const MAX_READ: usize = 4_096;
/// Accounts asked at a time.
const ACCOUNTS: usize = 16;

impl Engine {
    /// All leaves of a group that this device has come to.
    pub(crate) fn check_all_logged(&mut self, group: &Group, now: u64) -> Result<(), Error> {
        for member in group.roster().members_iter() {
            self.note_credential(&member.signing_identity, now)?;
        }
        self.ask_inclusion(now)
    }

    /// The leaves that a commit has brought. Of a device that comes the evidence is asked for at
    /// once; of a leaf that was renewed with the next round, together with others of its account, or
    /// each member of a large room would ask for each commit.
    pub(crate) fn check_new_logged(
        &mut self,
        group: &Group,
        new: &NewEpoch,
        description: &CommitMessageDescription,
        now: u64,
    ) -> Result<(), Error> {
        let mut came = description.is_external;
        for info in new.applied_proposals() {
            if let Proposal::Add(add) = &info.proposal {
                self.note_credential(add.signing_identity(), now)?;
                came = true;
            }
        }
        if let Some(member) = group.member_at_index(description.committer) {
            self.note_credential(&member.signing_identity, now)?;
        }
        if came {
            self.ask_inclusion(now)
        } else {
            Ok(())
        }
    }

    fn note_credential(&mut self, identity: &SigningIdentity, now: u64) -> Result<(), Error> {
        let Ok(der) = certificate(&identity.credential) else {
            return Ok(());
        };
        let Ok(leaf) = Leaf::read(der) else {
            return Ok(());
        };
        let key = openssl::sha::sha256(&leaf.public_key);
        let (check, done) = (row(CHECK, &key), row(DONE, &key));
        if self.rows.get(Space::Transparency, &check)?.is_some()
            || self.rows.get(Space::Transparency, &done)?.is_some()
        {
            return Ok(());
        }
        let noted = Check {
            certificate: der.to_vec(),
            since: now,
            warned: false,
        };
        self.rows.write(Space::Transparency, &check, &noted)
    }

    /// Asks for the evidence that is missing, and tells the person of what stays without.
    pub(crate) fn ask_inclusion(&mut self, now: u64) -> Result<(), Error> {
        let mut wanted: BTreeMap<BareJid, Vec<[u8; 32]>> = BTreeMap::new();
        for (key, leaf, check) in self.checks()? {
            if seconds(now) > leaf.not_after {
                // Nobody can use it any more.
                self.rows.delete(Space::Transparency, &row(CHECK, &key));
                continue;
            }
            if now > check.since.saturating_add(GRACE_MS) {
                self.not_logged(&key, &leaf, check, "its domain has not shown that it is")?;
            }
            let keys = wanted.entry(leaf.account).or_default();
            if keys.len() < limits::LOG_KEYS {
                keys.push(key);
            }
        }
        for (account, keys) in wanted.into_iter().take(ACCOUNTS) {
            self.ask(
                Purpose::LogInclusion(account.clone()),
                Destination::Account(account),
                Request::Authority(authority::Request::LogInclusion { keys }),
                now,
            );
        }
        Ok(())
    }

    fn checks(&self) -> Result<Vec<([u8; 32], Leaf, Check)>, Error> {
        let prefix = row(CHECK, b"");
        let rows = self
            .rows
            .list::<Check>(Space::Transparency, &prefix, MAX_READ)?;
        Ok(rows
            .into_iter()
            .filter_map(|(key, check)| {
                let key = *key.last_chunk::<32>()?;
                Some((key, Leaf::read(&check.certificate).ok()?, check))
            })
            .collect())
    }

    pub(crate) fn on_inclusion(
        &mut self,
        account: &BareJid,
        head: &[u8],
        keys: Vec<([u8; 32], Option<Bytes>)>,
        now: u64,
    ) -> Result<(), Error> {
        let Some(head) = self.take_head(account.domain(), head, now)? else {
            return Ok(());
        };
        for (key, evidence) in keys {
            self.take_evidence(account, &head, &key, evidence)?;
        }
        // There may be more than one answer holds.
        let more = self
            .checks()?
            .into_iter()
            .any(|(_, leaf, check)| leaf.account == *account && !check.warned);
        if more {
            self.ask_inclusion(now)
        } else {
            Ok(())
        }
    }

    fn take_evidence(
        &mut self,
        account: &BareJid,
        head: &Head,
        key: &[u8; 32],
        evidence: Option<Bytes>,
    ) -> Result<(), Error> {
        let check: Option<Check> = self.rows.read(Space::Transparency, &row(CHECK, key))?;
        let Some(check) = check else { return Ok(()) };
        let leaf = Leaf::read(&check.certificate);
        let Some(leaf) = leaf.ok().filter(|leaf| leaf.account == *account) else {
            return Ok(());
        };
        let Some(evidence) = evidence else {
            return self.not_logged(key, &leaf, check, "its domain says that it is not");
        };
        let verified = Inclusion::read(&evidence).and_then(|shown| shown.verify(&leaf, head));
        if let Err(error) = verified {
            return self.not_logged(key, &leaf, check, &error.to_string());
        }
        self.rows.delete(Space::Transparency, &row(CHECK, key));
        self.rows
            .write(Space::Transparency, &row(DONE, key), &leaf.not_after)
    }

    /// Tells the person once; evidence that comes later is taken all the same.
    fn not_logged(
        &mut self,
        key: &[u8; 32],
        leaf: &Leaf,
        check: Check,
        why: &str,
    ) -> Result<(), Error> {
        if check.warned {
            return Ok(());
        }
        self.warn(
            None,
            Warning::NotLogged {
                account: leaf.account.as_str().to_owned(),
                device: leaf.device.unwrap_or_default(),
                why: why.to_owned(),
            },
        );
        let warned = Check {
            warned: true,
            ..check
        };
        self.rows
            .write(Space::Transparency, &row(CHECK, key), &warned)
    }

    /// What was checked and can be used no more need not be remembered.
    pub(crate) fn forget_logged(&mut self, now: u64) -> Result<(), Error> {
        let prefix = row(DONE, b"");
        let done = self
            .rows
            .list::<u64>(Space::Transparency, &prefix, MAX_READ)?;
        for (key, not_after) in done {
            if not_after.saturating_add(DAY_S) < seconds(now) {
                self.rows.delete(Space::Transparency, &key);
            }
        }
        Ok(())
    }
}
