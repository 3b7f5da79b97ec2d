//! The wire's words as rows of storage, and back.

use bytes::Bytes;
use comity_mls_wire::room::{
    Change, Entry, EntryKind, Joiner, Payload, Tree, Welcome, payload_hash,
};
use comity_storage::rooms as rows;
use comity_xmpp::jid::BareJid;
use uuid::Uuid;

/// A row that we did not write so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the database holds {0}")]
pub struct Corrupt(pub &'static str);

#[must_use]
pub fn entry_row(entry: &Entry) -> rows::Entry {
    let (payload, digest) = match &entry.payload {
        Payload::Held(payload) => (Some(payload.to_vec()), payload_hash(payload)),
        Payload::Purged(hash) => (None, *hash),
    };
    rows::Entry {
        seq: entry.seq,
        kind: entry.kind.octet(),
        epoch: entry.epoch,
        time: entry.time,
        sender: entry.sender.as_str().to_owned(),
        device: entry.device.map(Uuid::into_bytes),
        payload,
        digest,
        head: entry.head,
        signature: entry.signature.as_ref().map(|bytes| bytes.to_vec()),
    }
}

pub fn entry(room: &BareJid, row: rows::Entry) -> Result<Entry, Corrupt> {
    Ok(Entry {
        room: room.clone(),
        seq: row.seq,
        kind: EntryKind::from_octet(row.kind).ok_or(Corrupt("an entry of unknown kind"))?,
        epoch: row.epoch,
        time: row.time,
        sender: address(&row.sender)?,
        device: row.device.map(Uuid::from_bytes),
        payload: match row.payload {
            Some(payload) => Payload::Held(payload.into()),
            None => Payload::Purged(row.digest),
        },
        head: row.head,
        signature: row.signature.map(Bytes::from),
        changes: Vec::new(),
    })
}

#[must_use]
pub fn change_rows(changes: &[Change], local: &dyn Fn(&str) -> bool) -> Vec<rows::Change> {
    changes
        .iter()
        .map(|change| {
            let account = &change.member.account;
            rows::Change {
                account: account.as_str().to_owned(),
                domain: account.domain().to_owned(),
                device: change.member.device.into_bytes(),
                joined: change.joined,
                local: local(account.domain()),
            }
        })
        .collect()
}

#[must_use]
pub fn welcome_row(welcome: &Welcome) -> rows::Welcome {
    rows::Welcome {
        id: welcome.id.into_bytes(),
        room: welcome.room.as_str().to_owned(),
        seq: welcome.seq,
        head: welcome.head,
        epoch: welcome.epoch,
        sender: welcome.sender.as_str().to_owned(),
        joiners: welcome
            .joiners
            .iter()
            .map(|joiner| rows::Joiner {
                account: joiner.account.as_str().to_owned(),
                domain: joiner.account.domain().to_owned(),
                device: joiner.device.into_bytes(),
                key_package: joiner.key_package.to_vec(),
            })
            .collect(),
        welcome: welcome.welcome.to_vec(),
        welcome_hash: payload_hash(&welcome.welcome),
        tree: welcome.tree.octets.to_vec(),
        tree_hash: payload_hash(&welcome.tree.octets),
        tree_inflated: welcome.tree.inflated,
    }
}

pub fn welcome(row: rows::Welcome) -> Result<Welcome, Corrupt> {
    Ok(Welcome {
        id: Uuid::from_bytes(row.id),
        room: address(&row.room)?,
        seq: row.seq,
        head: row.head,
        epoch: row.epoch,
        sender: address(&row.sender)?,
        joiners: row
            .joiners
            .into_iter()
            .map(|joiner| {
                Ok(Joiner {
                    account: address(&joiner.account)?,
                    device: Uuid::from_bytes(joiner.device),
                    key_package: joiner.key_package.into(),
                })
            })
            .collect::<Result<_, _>>()?,
        welcome: row.welcome.into(),
        tree: Tree {
            octets: row.tree.into(),
            inflated: row.tree_inflated,
        },
    })
}

pub fn address(text: &str) -> Result<BareJid, Corrupt> {
    BareJid::parse(text).map_err(|_| Corrupt("an address that is none"))
}
