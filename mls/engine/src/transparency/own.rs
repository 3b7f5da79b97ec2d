//! What is logged in this account's name: every batch must bear the signature of the device it was
//! issued to, every end that of one of the account's devices, and nothing that was seen may vanish.

use bytes::Bytes;
use comity_mls_credential::keys::PublicKey;
use comity_mls_credential::transparency::map::Value;
use comity_mls_credential::transparency::{
    AccountEvidence, Entry, Frontier, Kind, account_hash, tree,
};
use comity_mls_wire::authority;
use uuid::Uuid;

use super::{OWN, Own, read_entries, row};
use crate::engine::Engine;
use crate::error::Error;
use crate::event::Warning;
use crate::outgoing::{Destination, Request};
use crate::requests::Purpose;
use crate::store::Space;

/// Entries of this account that are read before they are all there: decades of them.
const MAX_ENTRIES: usize = 100_000;

impl Engine {
    /// Asks for the account's devices, and then for what was logged of them.
    pub(crate) fn watch_own_log(&mut self, now: u64) {
        self.ask_devices(now);
    }

    /// What was logged of the account, beyond what was seen.
    pub(crate) fn ask_entries(&mut self, now: u64) -> Result<(), Error> {
        let seen = self.own_log()?.count;
        let held = u64::try_from(self.logs.entries.len()).unwrap_or(u64::MAX);
        self.ask(
            Purpose::LogEntries,
            Destination::Own,
            Request::Authority(authority::Request::LogEntries {
                from: seen.saturating_add(held),
            }),
            now,
        );
        Ok(())
    }

    fn own_log(&self) -> Result<Own, Error> {
        let own = self.rows.read(Space::Transparency, &row(OWN, b""))?;
        Ok(own.unwrap_or_default())
    }

    pub(crate) fn on_entries(
        &mut self,
        head: &[u8],
        evidence: &[u8],
        entries: Vec<Bytes>,
        now: u64,
    ) -> Result<(), Error> {
        let domain = self.account.domain().to_owned();
        let Some(head) = self.take_head(&domain, head, now)? else {
            self.logs.entries.clear();
            return Ok(());
        };
        let verified = AccountEvidence::read(evidence)
            .and_then(|shown| Ok((shown.verify(self.account.as_str(), &head)?, shown.salt)));
        let (value, salt) = match verified {
            Ok(verified) => verified,
            Err(error) => return self.own_log_broken(&error.to_string()),
        };
        let own = self.own_log()?;
        let none = entries.is_empty();
        self.logs.entries.extend(entries);
        let held = own.count + u64::try_from(self.logs.entries.len()).unwrap_or(u64::MAX);
        if held < value.count && !none && self.logs.entries.len() < MAX_ENTRIES {
            return self.ask_entries(now);
        }
        let entries = std::mem::take(&mut self.logs.entries);
        match continued(&own, &entries, salt, &value) {
            Ok((next, read)) => {
                self.rows
                    .write(Space::Transparency, &row(OWN, b""), &next)?;
                for entry in read {
                    self.judge_entry(&entry, &salt)?;
                }
                Ok(())
            }
            Err(why) => self.own_log_broken(why),
        }
    }

    fn own_log_broken(&mut self, why: &str) -> Result<(), Error> {
        self.logs.entries.clear();
        self.warn(
            None,
            Warning::OwnLog {
                why: why.to_owned(),
            },
        );
        Ok(())
    }

    fn judge_entry(&mut self, entry: &Entry, salt: &[u8; 32]) -> Result<(), Error> {
        let device = entry.device();
        if entry.account != account_hash(salt, self.account.as_str()) {
            return self.own_log_broken("it holds an entry of another account");
        }
        let Some(by) = entry.by() else {
            let warning = match entry.kind {
                Kind::Revocation => Warning::EndedByOperator { device },
                Kind::Issuance => Warning::RogueCertificate { device },
            };
            self.warn(None, warning);
            return Ok(());
        };
        let Some(key) = self.key_of(by)? else {
            // It is in no list of this account's devices.
            self.warn(None, Warning::GhostDevice { device: by });
            return Ok(());
        };
        let asked_for = entry.kind == Kind::Revocation || by == device;
        let content = entry.signed_content(self.account.as_str());
        let signed = content.is_some_and(|content| key.verifies(&content, &entry.signature));
        if !(asked_for && signed) {
            self.warn(None, Warning::RogueCertificate { device });
        }
        Ok(())
    }

    fn key_of(&self, device: Uuid) -> Result<Option<PublicKey>, Error> {
        let key = self.device_key_of(device)?;
        Ok(key.and_then(|spki| PublicKey::from_spki(&spki).ok()))
    }
}

/// What is known of the account's entries after these, if they are all that `value` speaks of.
fn continued(
    own: &Own,
    entries: &[Bytes],
    salt: [u8; 32],
    value: &Value,
) -> Result<(Own, Vec<Entry>), &'static str> {
    if own.salt.is_some_and(|known| known != salt) {
        return Err(
            "your account was given another place in it, and what it showed before is gone",
        );
    }
    let frontier = Frontier::restore(own.count, own.frontier.clone());
    let mut frontier = frontier.ok_or("what this device kept of it is damaged")?;
    for entry in entries {
        frontier.push(tree::leaf(entry));
    }
    if frontier.size() != value.count || frontier.root() != value.root {
        return Err("what it shows now does not continue what it showed before");
    }
    let read = read_entries(entries).ok_or("an entry of it cannot be read")?;
    let next = Own {
        // Before the first entry there is no place to keep.
        salt: (value.count > 0).then_some(salt),
        count: frontier.size(),
        frontier: frontier.hashes().to_vec(),
    };
    Ok((next, read))
}
