use std::path::Path;

use super::*;
use crate::rooms::{Append, At, Begin, Entry, PendingChange, PurgeRooms};

const HASH: Digest = [7; 32];

async fn storage() -> Storage {
    Storage::open(Path::new(":memory:")).await.unwrap()
}

fn chunk(owner: &str, offset: usize, octets: &[u8]) -> PutChunk {
    PutChunk {
        hash: HASH,
        owner: owner.to_owned(),
        size: CHUNK as u64 + 3,
        offset: offset as u64,
        octets: octets.to_vec(),
        now: 1_000,
        most: 2 * CHUNK as u64,
    }
}

fn seal(owner: &str, right: bool) -> SealBlob {
    SealBlob {
        hash: HASH,
        owner: owner.to_owned(),
        right,
        now: 1_000,
    }
}

fn part(octets: usize) -> Put {
    Put::Held(Held {
        octets: octets as u64,
        whole: false,
    })
}

#[tokio::test]
async fn pieces_come_in_order_and_are_nobodys_before_they_are_whole() {
    let storage = storage().await;
    let first = vec![1; CHUNK];
    let put = |chunk: PutChunk| storage.write(chunk);
    assert_eq!(put(chunk("a", CHUNK, b"end")).await.unwrap(), part(0));
    assert_eq!(put(chunk("a", 0, &first)).await.unwrap(), part(CHUNK));
    // The same again, and one of another owner, change nothing for the first.
    assert_eq!(put(chunk("a", 0, b"other")).await.unwrap(), part(CHUNK));
    assert_eq!(put(chunk("b", 0, &[2; CHUNK])).await.unwrap(), part(CHUNK));
    assert_eq!(
        put(chunk("a", CHUNK, b"end")).await.unwrap(),
        part(CHUNK + 3)
    );
    assert_eq!(storage.blob(&HASH).await.unwrap(), None);
    assert_eq!(storage.blob_chunk(&HASH, 0).await.unwrap(), None);
    let whole = [&first[..], b"end"].concat();
    assert_eq!(storage.blob_of(&HASH, "a").await.unwrap(), whole);

    storage.write(seal("a", true)).await.unwrap();
    assert_eq!(storage.blob(&HASH).await.unwrap(), Some(whole.clone()));
    let last = storage.blob_chunk(&HASH, CHUNK as u64).await.unwrap();
    assert_eq!(last.as_deref(), Some(&b"end"[..]));
    // Whoever else was sending it is done, and another's spoiled copy changes nothing.
    let held = storage.blob_held(&HASH, "b").await.unwrap().unwrap();
    assert!(held.whole);
    storage.write(seal("b", false)).await.unwrap();
    assert_eq!(storage.blob(&HASH).await.unwrap(), Some(whole));
}

#[tokio::test]
async fn what_is_wrong_goes_and_what_is_too_much_does_not_begin() {
    let storage = storage().await;
    storage.write(chunk("a", 0, &[1; CHUNK])).await.unwrap();
    let mut other = chunk("a", 0, &[1; CHUNK]);
    other.hash = [8; 32];
    assert_eq!(storage.write(other.clone()).await.unwrap(), Put::Full);
    storage.write(seal("a", false)).await.unwrap();
    assert_eq!(storage.blob_held(&HASH, "a").await.unwrap(), None);
    assert_eq!(storage.write(other).await.unwrap(), part(CHUNK));
}

fn create(octets: usize) -> Append {
    Append {
        room: "~r@a.example".to_owned(),
        at: At::Nowhere(Box::new(Begin {
            group_id: vec![1],
            epoch: 0,
            state: vec![1],
            tree: vec![1],
            group_info: vec![1],
            direct: None,
        })),
        entry: Entry {
            seq: 1,
            kind: 4,
            epoch: 0,
            time: 1,
            sender: "alice@a.example".to_owned(),
            device: None,
            payload: Some(vec![5; octets]),
            digest: HASH,
            head: [1; 32],
            signature: None,
        },
        now: 1_000,
        pending: PendingChange::Keep,
        updated: None,
        gone: Vec::new(),
        come: Vec::new(),
        changes: Vec::new(),
        domains: Vec::new(),
        welcome: None,
        answer: None,
        outbox: Vec::new(),
        barred: None,
        nominated: None,
    }
}

#[tokio::test]
async fn a_large_payload_is_a_blob_until_it_is_purged() {
    let storage = storage().await;
    storage.write(create(INLINE + 1)).await.unwrap();
    let entry = storage.room_entry("~r@a.example", 1).await.unwrap();
    assert_eq!(entry.unwrap().payload, Some(vec![5; INLINE + 1]));
    assert!(storage.blob(&HASH).await.unwrap().is_some());
    // Old, and named by an entry that is still held for somebody.
    let purge = |held_before, before| PurgeRooms {
        held_before,
        before,
        from: i64::MAX,
    };
    storage.write(purge(2_000, 0)).await.unwrap();
    assert!(storage.blob(&HASH).await.unwrap().is_some());
    let all = PurgeRooms {
        from: 0,
        ..purge(2_000, 2_000)
    };
    storage.write(all).await.unwrap();
    let entry = storage.room_entry("~r@a.example", 1).await.unwrap();
    assert_eq!(entry.unwrap().payload, None);
    assert_eq!(storage.blob(&HASH).await.unwrap(), None);
}

#[tokio::test]
async fn a_small_payload_stays_in_its_row() {
    let storage = storage().await;
    storage.write(create(INLINE)).await.unwrap();
    assert_eq!(storage.blob(&HASH).await.unwrap(), None);
    let entry = storage.room_entry("~r@a.example", 1).await.unwrap();
    assert_eq!(entry.unwrap().payload, Some(vec![5; INLINE]));
}
