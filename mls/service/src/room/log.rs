//! The next entry of a room's log, and what it changes in what the hub knows.

use bytes::Bytes;
use comity_mls_credential::signed;
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{Accepted, Change, Entry, EntryKind, Hash, Payload, head};
use comity_xmpp::jid::BareJid;
use uuid::Uuid;

use super::hub::HubKey;
use super::state::State;

/// Heads between commits that are signed as well.
const SIGN_EVERY: u64 = 64;
/// So long after the last head that was signed the next one is.
const SIGN_AFTER_MS: u64 = 10_000;

/// What is to be put into the log.
pub struct Draft<'a> {
    pub kind: EntryKind,
    /// The epoch the payload was made in.
    pub epoch: u64,
    /// An account, or the room's domain for the hub.
    pub sender: &'a BareJid,
    pub device: Option<Uuid>,
    pub payload: &'a Bytes,
    /// Milliseconds since 1970.
    pub now: u64,
    pub changes: Vec<Change>,
}

/// Where the log ends: `seq` and head of the last entry, its time, and that of the last one whose
/// head is signed.
#[derive(Clone, Copy, Debug)]
pub struct End {
    pub seq: u64,
    pub head: Hash,
    pub time: u64,
    pub signed: u64,
}

impl End {
    pub const START: Self = Self {
        seq: 0,
        head: comity_mls_wire::room::GENESIS,
        time: 0,
        signed: 0,
    };

    #[must_use]
    pub fn of(state: &State) -> Self {
        Self {
            seq: state.seq,
            head: state.head,
            time: state.time,
            signed: state.signed,
        }
    }

    /// The entry that comes next.
    pub fn append(&self, room: &BareJid, hub: &HubKey, draft: Draft<'_>) -> Result<Entry, Refusal> {
        let seq = self.seq + 1;
        // A clock that was set back does not turn the log round.
        let time = draft.now.max(self.time);
        let payload = Payload::Held(draft.payload.clone());
        let head = head(
            &self.head,
            room,
            seq,
            draft.kind,
            time,
            draft.sender,
            &payload.hash(),
        );
        let signs = match draft.kind {
            EntryKind::Commit | EntryKind::Notice => true,
            EntryKind::Proposal | EntryKind::Application => {
                seq.is_multiple_of(SIGN_EVERY) || time >= self.signed.saturating_add(SIGN_AFTER_MS)
            }
        };
        let signature = signs.then(|| sign(hub, room, seq, &head)).transpose()?;
        Ok(Entry {
            room: room.clone(),
            seq,
            kind: draft.kind,
            epoch: draft.epoch,
            time,
            sender: draft.sender.clone(),
            device: draft.device,
            payload,
            head,
            signature,
            changes: draft.changes,
        })
    }
}

fn sign(hub: &HubKey, room: &BareJid, seq: u64, head: &Hash) -> Result<Bytes, Refusal> {
    let parts: [&[u8]; 3] = [room.as_str().as_bytes(), &seq.to_be_bytes(), head];
    let content = signed::content(signed::HEAD, &parts);
    match hub.key.sign(&content) {
        Ok(signature) => Ok(signature.into()),
        Err(error) => {
            tracing::error!(%room, %error, "the hub's key does not sign");
            Err(Refusal::Internal)
        }
    }
}

/// What the sender of an entry is told.
#[must_use]
pub fn accepted(entry: &Entry, epoch: u64) -> Accepted {
    Accepted {
        seq: entry.seq,
        epoch,
        time: entry.time,
        head: entry.head,
    }
}

/// The room with the entry in its log, all else unchanged.
#[must_use]
pub fn advanced(state: &State, entry: &Entry) -> State {
    State {
        seq: entry.seq,
        head: entry.head,
        time: entry.time,
        signed: match entry.signature {
            Some(_) => entry.time,
            None => state.signed,
        },
        ..state.clone()
    }
}

#[cfg(test)]
mod tests {
    use comity_mls_credential::keys::{Algorithm, PrivateKey};

    use super::*;

    /// Which of the entries at these times bear a signature.
    fn signed(kind: EntryKind, from: u64, times: &[u64]) -> Vec<bool> {
        let key = PrivateKey::generate(Algorithm::P256).unwrap();
        let public = key.public().unwrap();
        let hub = HubKey {
            certificate: Bytes::new(),
            public_key: Bytes::copy_from_slice(public.as_mls()),
            key,
            suites: vec![2],
        };
        let room = BareJid::parse("~aaaaaaaaaaaaaaaaaaaaaaaaaa@a.example").unwrap();
        let sender = BareJid::parse("alice@a.example").unwrap();
        let mut end = End {
            seq: from,
            signed: 1_000,
            time: 1_000,
            ..End::START
        };
        let mut signed = Vec::new();
        for now in times {
            let draft = Draft {
                kind,
                epoch: 1,
                sender: &sender,
                device: None,
                payload: &Bytes::from_static(b"p"),
                now: *now,
                changes: Vec::new(),
            };
            let entry = end.append(&room, &hub, draft).unwrap();
            if entry.signature.is_some() {
                end.signed = entry.time;
            }
            (end.seq, end.head, end.time) = (entry.seq, entry.head, entry.time);
            signed.push(entry.signature.is_some());
        }
        signed
    }

    #[test]
    fn heads_are_signed_every_so_often() {
        use EntryKind::{Application, Commit, Notice, Proposal};
        for kind in [Application, Proposal] {
            let times = [1_000, 10_999, 11_000, 20_999, 21_000];
            assert_eq!(
                signed(kind, 2, &times),
                [false, false, true, false, true],
                "{kind:?}"
            );
            assert_eq!(signed(kind, 62, &[1_000; 3]), [false, true, false]);
            // A clock that was set back.
            assert_eq!(signed(kind, 2, &[0, 0]), [false, false]);
        }
        for kind in [Commit, Notice] {
            assert_eq!(signed(kind, 2, &[1_000, 1_001]), [true, true], "{kind:?}");
        }
    }
}
