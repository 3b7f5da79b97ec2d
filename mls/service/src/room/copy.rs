//! A member domain's side: takes what the hub of a room sends, once, in order, without gaps.

use std::sync::Arc;

use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{Entry, Fanout, Welcome};
use comity_storage::Storage;
use comity_storage::rooms::{CopyState, Receive, ReceiveWelcome, Received};
use comity_xmpp::jid::BareJid;
use uuid::Uuid;

use super::hub::Surroundings;
use super::rows;
use crate::error::internal;

/// How often an entry is judged anew because another came in between.
const ATTEMPTS: usize = 5;

/// The copies of rooms that are ordered elsewhere.
pub struct Copies {
    storage: Storage,
    surroundings: Arc<dyn Surroundings>,
}

/// What became of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the copy, which now reaches up to it.
    Stored { welcome: Option<Uuid> },
    /// It was there already; the copy reaches up to `held`.
    Known { held: u64, welcome: Option<Uuid> },
    /// What follows `after` is missing: to be fetched from the hub.
    Gap { after: u64 },
    /// The hub has no business sending this.
    Refused { why: String },
}

impl Copies {
    pub fn new(storage: Storage, surroundings: Arc<dyn Surroundings>) -> Self {
        Self {
            storage,
            surroundings,
        }
    }

    /// Takes an entry that `room` has sent to `domain`, one of ours; that the stanza is the room's
    /// own, its stream has proved. `now` in milliseconds since 1970.
    ///
    /// # Errors
    /// [`Refusal::Internal`] when nothing could be stored; the hub will send it again.
    pub async fn receive(
        &self,
        room: &BareJid,
        domain: &str,
        fanout: &Fanout,
        now: u64,
    ) -> Result<Outcome, Refusal> {
        if self.surroundings.serves(room.domain()) {
            let why = "the room is ordered here".to_owned();
            return Ok(Outcome::Refused { why });
        }
        let ours = |found: &str| found == domain;
        if let Err(why) = check(room, fanout, &ours) {
            return Ok(Outcome::Refused { why });
        }
        let welcome = fanout.welcome.as_ref().map(|welcome| welcome.id);
        for _ in 0..ATTEMPTS {
            let copy = self.storage.room_copy(room.as_str(), domain).await;
            let copy = copy.map_err(|error| internal(error, "reading a copy"))?;
            let after = match judge(copy, &fanout.entry) {
                Verdict::Begin => None,
                Verdict::Continue(copy) => Some((copy.seq, copy.head)),
                Verdict::Known { held } => {
                    self.welcome_again(fanout.welcome.as_ref(), now).await?;
                    return Ok(Outcome::Known { held, welcome });
                }
                Verdict::Gap { after } => return Ok(Outcome::Gap { after }),
                Verdict::Forked => {
                    return Ok(Outcome::Refused {
                        why: "its head does not follow from the entry before it".to_owned(),
                    });
                }
            };
            let receive = Receive {
                room: room.as_str().to_owned(),
                domain: domain.to_owned(),
                after,
                entry: rows::entry_row(&fanout.entry),
                changes: rows::change_rows(&fanout.entry.changes, &ours),
                welcome: fanout.welcome.as_ref().map(rows::welcome_row),
                now,
            };
            match self.storage.write(receive).await {
                Ok(Received::Stored) => return Ok(Outcome::Stored { welcome }),
                Ok(Received::Moved) => {}
                Err(error) => return Err(internal(error, "storing an entry")),
            }
        }
        Err(internal(
            "the copy is never where it was read",
            "storing an entry",
        ))
    }

    async fn welcome_again(&self, welcome: Option<&Welcome>, now: u64) -> Result<(), Refusal> {
        let Some(welcome) = welcome else {
            return Ok(());
        };
        let welcome = rows::welcome_row(welcome);
        self.storage
            .write(ReceiveWelcome { welcome, now })
            .await
            .map_err(|error| internal(error, "storing a Welcome"))
    }

    /// Rooms with devices of `domain`, one of ours, that are ordered elsewhere, by address, those
    /// after `after`: each with the last seq held.
    pub async fn rooms(
        &self,
        domain: &str,
        after: Option<&BareJid>,
        limit: usize,
    ) -> Result<Vec<(BareJid, u64)>, Refusal> {
        let after = after.map_or("", |room| room.as_str());
        let found = self.storage.room_copies(domain, after, limit).await;
        found
            .map_err(|error| internal(error, "listing copies"))?
            .into_iter()
            .map(|(room, seq)| {
                let room = rows::address(&room).map_err(|error| internal(error, "a room"))?;
                Ok((room, seq))
            })
            .collect()
    }
}

/// Is it from this room, and for our domain alone?
fn check(room: &BareJid, fanout: &Fanout, ours: &dyn Fn(&str) -> bool) -> Result<(), String> {
    let entry = &fanout.entry;
    if entry.room != *room {
        return Err(format!("it belongs to {}", entry.room));
    }
    if entry.seq == 0 {
        return Err("a log begins at 1".to_owned());
    }
    let strange = entry
        .changes
        .iter()
        .map(|change| &change.member.account)
        .find(|account| !ours(account.domain()));
    if let Some(account) = strange {
        return Err(format!("{account} is no account of this domain"));
    }
    let Some(welcome) = &fanout.welcome else {
        return Ok(());
    };
    if welcome.room != *room || welcome.seq != entry.seq || welcome.head != entry.head {
        return Err("its Welcome belongs to another entry".to_owned());
    }
    let joined = |account: &BareJid, device: Uuid| {
        entry.changes.iter().any(|change| {
            change.joined && change.member.account == *account && change.member.device == device
        })
    };
    match welcome
        .joiners
        .iter()
        .find(|joiner| !joined(&joiner.account, joiner.device))
    {
        None => Ok(()),
        Some(joiner) => Err(format!(
            "its Welcome serves {}, who does not join with it",
            joiner.account
        )),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The copy begins with this entry, by which a device of ours joins.
    Begin,
    Continue(CopyState),
    Known {
        held: u64,
    },
    Gap {
        after: u64,
    },
    Forked,
}

fn judge(copy: Option<CopyState>, entry: &Entry) -> Verdict {
    let joins = entry.changes.iter().any(|change| change.joined);
    match copy {
        None if joins => Verdict::Begin,
        None => Verdict::Gap { after: 0 },
        Some(copy) if entry.seq <= copy.seq => Verdict::Known { held: copy.seq },
        Some(copy) if copy.left && joins => Verdict::Begin,
        Some(copy) if entry.seq > copy.seq + 1 => Verdict::Gap { after: copy.seq },
        Some(copy) if entry.follows(&copy.head) => Verdict::Continue(copy),
        Some(_) => Verdict::Forked,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use comity_mls_wire::room::{Change, EntryKind, GENESIS, Member, Payload, head, payload_hash};

    use super::*;

    fn entry(seq: u64, previous: [u8; 32], joins: bool) -> Entry {
        let room = BareJid::parse("~aaaaaaaaaaaaaaaaaaaaaaaaaa@a.example").unwrap();
        let sender = BareJid::parse("alice@a.example").unwrap();
        let hash = payload_hash(b"x");
        let kind = EntryKind::Application;
        let bob = Member {
            account: BareJid::parse("bob@b.example").unwrap(),
            device: Uuid::from_u128(2),
        };
        Entry {
            head: head(&previous, &room, seq, kind, 5, &sender, &hash),
            room,
            seq,
            kind,
            epoch: 0,
            time: 5,
            sender,
            device: None,
            payload: Payload::Held(Bytes::from_static(b"x")),
            signature: None,
            changes: joins
                .then_some(Change {
                    member: bob,
                    joined: true,
                })
                .into_iter()
                .collect(),
        }
    }

    #[test]
    fn judges_by_what_is_held() {
        let held = |seq, left| {
            Some(CopyState {
                seq,
                head: [3; 32],
                left,
            })
        };
        let check = |copy: Option<CopyState>, entry: Entry, expected: Verdict| {
            assert_eq!(judge(copy, &entry), expected, "{copy:?} {}", entry.seq);
        };
        let next = |seq| entry(seq, [3; 32], false);
        check(None, entry(7, GENESIS, true), Verdict::Begin);
        check(None, next(7), Verdict::Gap { after: 0 });
        check(held(6, false), next(6), Verdict::Known { held: 6 });
        check(held(6, false), next(1), Verdict::Known { held: 6 });
        let copy = held(6, false).unwrap();
        check(held(6, false), next(7), Verdict::Continue(copy));
        check(held(6, false), next(8), Verdict::Gap { after: 6 });
        check(held(6, false), entry(7, [4; 32], false), Verdict::Forked);
        check(held(6, true), entry(9, [4; 32], true), Verdict::Begin);
        check(
            held(6, true),
            entry(6, [3; 32], true),
            Verdict::Known { held: 6 },
        );
        check(held(6, true), next(9), Verdict::Gap { after: 6 });
    }

    #[test]
    fn believes_a_room_about_itself_and_our_own_accounts() {
        let serves = |domain: &str| domain == "b.example";
        let good = Fanout {
            entry: entry(2, GENESIS, true),
            welcome: None,
        };
        let room = good.entry.room.clone();
        check(&room, &good, &serves).unwrap();
        let other = BareJid::parse("~bbbbbbbbbbbbbbbbbbbbbbbbbb@a.example").unwrap();
        check(&other, &good, &serves).unwrap_err();
        check(&room, &good, &|domain| domain == "c.example").unwrap_err();
        let welcome = Welcome {
            id: Uuid::nil(),
            room: room.clone(),
            seq: 2,
            head: good.entry.head,
            epoch: 1,
            sender: BareJid::parse("alice@a.example").unwrap(),
            joiners: vec![comity_mls_wire::room::Joiner {
                account: BareJid::parse("bob@b.example").unwrap(),
                device: Uuid::from_u128(2),
                key_package: Bytes::new(),
            }],
            welcome: Bytes::new(),
            tree: comity_mls_wire::room::Tree::plain(Bytes::new()),
        };
        let with = |welcome: Welcome| Fanout {
            entry: good.entry.clone(),
            welcome: Some(welcome),
        };
        check(&room, &with(welcome.clone()), &serves).unwrap();
        let mut wrong = welcome.clone();
        wrong.seq = 3;
        check(&room, &with(wrong), &serves).unwrap_err();
        let mut wrong = welcome;
        wrong.joiners[0].device = Uuid::from_u128(3);
        check(&room, &with(wrong), &serves).unwrap_err();
    }
}
