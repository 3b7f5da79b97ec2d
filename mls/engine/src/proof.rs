//! That who comes back held an earlier epoch. Of each epoch one secret is kept, exported from its key
//! schedule (RFC 9420 §8.5) and good for nothing else; who comes back proves with it, outside the key
//! schedule, that it was there. A PSK proof would lock out the members that lack it.

use comity_mls_credential::signed;
use comity_mls_wire::authenticated::Rejoin;
use comity_mls_wire::policy::Policy;
use comity_xmpp::jid::BareJid;
use mls_rs::group::{CommitMessageDescription, Member};
use openssl::hash::MessageDigest;
use openssl::memcmp;
use openssl::pkey::PKey;
use openssl::sign::Signer;

use crate::engine::Engine;
use crate::error::Error;
use crate::mls::Group;
use crate::newcomers::said;
use crate::rows;
use crate::store::Space;

/// The label under which the secret is exported.
const EXPORTED: &[u8] = b"comity rejoin";
const SECRET_BYTES: usize = 32;
/// Secrets of one room that are looked at when old ones go.
const MAX_SECRETS: usize = 1_024;

impl Engine {
    /// Keeps the secret of an epoch, and of so many before it as the policy says.
    pub(crate) fn remember_rejoin(&mut self, room: &BareJid, group: &Group) -> Result<(), Error> {
        let kept = Policy::of(&group.context().extensions).map_or(0, |policy| policy.rejoin_epochs);
        let epoch = group.current_epoch();
        let secret = group.export_secret(EXPORTED, &[], SECRET_BYTES)?;
        let key = |epoch| rows::numbered(room.as_str(), epoch);
        self.rows
            .put(Space::Rejoin, &key(epoch), secret.as_bytes().to_vec());
        let first = (epoch + 1).saturating_sub(u64::from(kept));
        let prefix = rows::of_room(room.as_str());
        for (key, _) in self.rows.scan(Space::Rejoin, &prefix, None, MAX_SECRETS)? {
            if rows::number(&key) < first {
                self.rows.delete(Space::Rejoin, &key);
            }
        }
        Ok(())
    }

    pub(crate) fn forget_rejoin(&mut self, room: &BareJid) -> Result<(), Error> {
        let prefix = rows::of_room(room.as_str());
        for (key, _) in self.rows.scan(Space::Rejoin, &prefix, None, MAX_SECRETS)? {
            self.rows.delete(Space::Rejoin, &key);
        }
        Ok(())
    }

    /// The proof that this device held the newest epoch it knows a secret of, not beyond `epoch`.
    pub(crate) fn prove_rejoin(
        &self,
        room: &BareJid,
        epoch: u64,
        group_id: &[u8],
        key: &[u8],
    ) -> Result<Option<Rejoin>, Error> {
        let secret = self
            .rows
            .get(Space::Rejoin, &rows::numbered(room.as_str(), epoch))?;
        let Some(secret) = secret else {
            return Ok(None);
        };
        let mac = mac(&secret, key, group_id, epoch)?;
        Ok(Some(Rejoin { epoch, mac }))
    }

    /// Has the committer of an external commit proved that it held an epoch that we held too?
    pub(crate) fn is_proven(
        &self,
        room: &BareJid,
        description: &CommitMessageDescription,
        comer: Option<&Member>,
    ) -> Result<bool, Error> {
        let data = said(&description.authenticated_data);
        let (true, Some(rejoin), Some(comer)) = (description.is_external, data.rejoin, comer)
        else {
            return Ok(false);
        };
        let Some(record) = self.record(room)? else {
            return Ok(false);
        };
        let key = rows::numbered(room.as_str(), rejoin.epoch);
        let Some(secret) = self.rows.get(Space::Rejoin, &key)? else {
            return Ok(false);
        };
        let key = comer.signing_identity.signature_key.as_ref();
        let expected = mac(&secret, key, &record.group_id, rejoin.epoch)?;
        Ok(memcmp::eq(&expected, &rejoin.mac))
    }
}

fn mac(secret: &[u8], key: &[u8], group_id: &[u8], epoch: u64) -> Result<[u8; 32], Error> {
    let content = signed::content(signed::REJOIN, &[key, group_id, &epoch.to_be_bytes()]);
    let secret = PKey::hmac(secret)?;
    let mut signer = Signer::new(MessageDigest::sha256(), &secret)?;
    let mut mac = [0; 32];
    signer.update(&content)?;
    signer.sign(&mut mac)?;
    Ok(mac)
}
