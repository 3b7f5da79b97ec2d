use comity_storage::{
    AcceptMessage, AcceptMessages, AcceptedMessage, Archive, ArchiveFilter, ArchivePolicy,
    ArchivePreferences, DeleteAccount, Outgoing, Paging, PurgeArchive, Receipt, ReceiveMessages,
    SetArchivePreferences, Side, Storage, StoreOffline, TrimArchive, UnknownUid,
};

use super::{create, with};

const ALICE: &str = "alice@a.example";
const BOB: &str = "bob@a.example";

const CAROL: &str = "carol@b.example";

fn side(address: &str, keeps: bool) -> Side {
    Side {
        address: address.to_owned(),
        resource: String::new(),
        keeps,
    }
}

fn message_of(sender: Side, recipient: Side, number: u64) -> Archive {
    Archive {
        uid: format!("uid-{number}"),
        sender,
        recipient,
        stanza: number.to_string().into_bytes(),
        received: number,
    }
}

fn message(account: &str, number: u64) -> Archive {
    message_of(side(CAROL, false), side(account, true), number)
}

/// Between Alice and Bob, who both keep it.
fn both(number: u64) -> Archive {
    message_of(side(ALICE, true), side(BOB, true), number)
}

fn archived(archive: Archive) -> AcceptMessage {
    AcceptMessage {
        archive: Some(archive),
        ..AcceptMessage::default()
    }
}

async fn uids(storage: &Storage, account: &str) -> Vec<u64> {
    let filter = ArchiveFilter::default();
    let page = storage.archive_page(account, &filter, &Paging::First, 1000);
    let page = page.await.unwrap().unwrap();
    assert!(page.complete);
    page.rows.iter().map(|row| row.received).collect()
}

#[tokio::test]
async fn what_is_not_accepted_is_not_archived() {
    let storage = with(&[ALICE, BOB]).await;
    let offline = |account: &str, limit| {
        Some(StoreOffline {
            account: account.to_owned(),
            stanza: b"x".to_vec(),
            received: 1,
            limit,
        })
    };
    // At once, so that they share a transaction.
    let answers: Vec<_> = [
        (both(1), offline(BOB, 1)),
        (both(2), offline(BOB, 1)),
        (both(3), offline("nobody@a.example", 9)),
        (both(4), None),
    ]
    .into_iter()
    .map(|(archive, offline)| {
        storage.submit(AcceptMessage {
            archive: Some(archive),
            offline,
            ..AcceptMessage::default()
        })
    })
    .collect();
    let mut outcomes = Vec::new();
    for answer in answers {
        outcomes.push(answer.await.unwrap());
    }
    use AcceptedMessage::{Accepted, NoAccount, OfflineFull};
    assert_eq!(outcomes, [Accepted, OfflineFull, NoAccount, Accepted]);
    for account in [ALICE, BOB] {
        assert_eq!(uids(&storage, account).await, [1, 4]);
    }
    assert_eq!(storage.offline_count(BOB).await.unwrap(), 1);
    // An account that is gone keeps nothing, and is no obstacle.
    for gone in [
        message_of(side("nobody@a.example", true), side(ALICE, true), 5),
        message("nobody@a.example", 7),
    ] {
        assert_eq!(storage.write(archived(gone)).await.unwrap(), Accepted);
    }
    create(&storage, "nobody@a.example").await;
    assert!(uids(&storage, "nobody@a.example").await.is_empty());
    assert_eq!(uids(&storage, ALICE).await, [1, 4, 5]);
    let leaving = AcceptMessage {
        archive: Some(message(ALICE, 6)),
        outgoing: Some(Outgoing {
            destination: "b.example".to_owned(),
            stanza: b"x".to_vec(),
            created: 1,
            expires: 2,
        }),
        ..AcceptMessage::default()
    };
    assert_eq!(storage.write(leaving).await.unwrap(), Accepted);
    assert_eq!(storage.outbox_length("b.example").await.unwrap(), 1);
    storage
        .write(DeleteAccount {
            account: ALICE.to_owned(),
        })
        .await
        .unwrap();
    create(&storage, ALICE).await;
    assert!(uids(&storage, ALICE).await.is_empty());
}

#[tokio::test]
async fn a_peers_messages_come_with_their_place_or_not_at_all() {
    let storage = with(&[ALICE]).await;
    let receive = |number: i64, messages: &[u64]| {
        storage.write(ReceiveMessages {
            receipt: Receipt {
                ours: "a.example".to_owned(),
                peer: "b.example".to_owned(),
                queue: "q".to_owned(),
                number,
                heard: 1,
            },
            messages: messages
                .iter()
                .map(|number| archived(message(ALICE, *number)))
                .collect(),
        })
    };
    assert_eq!(receive(2, &[1, 2]).await.unwrap().unwrap().len(), 2);
    assert_eq!(receive(2, &[1, 2]).await.unwrap(), None);
    assert_eq!(uids(&storage, ALICE).await, [1, 2]);
    let held = storage.held("a.example", "b.example", "q").await.unwrap();
    assert_eq!(held, 2);
}

#[tokio::test]
async fn pages_and_what_is_unknown() {
    let storage = with(&[ALICE, BOB]).await;
    for number in 0..10 {
        let archive = message(ALICE, number);
        storage.write(archived(archive)).await.unwrap();
    }
    storage.write(archived(message(BOB, 100))).await.unwrap();
    let page = async |paging, limit| {
        let filter = ArchiveFilter::default();
        let page = storage.archive_page(ALICE, &filter, &paging, limit).await;
        page.unwrap()
    };
    let found = page(Paging::After("uid-3".to_owned()), 2).await.unwrap();
    let received: Vec<_> = found.rows.iter().map(|row| row.received).collect();
    assert_eq!(received, [4, 5]);
    assert_eq!((found.count, found.index), (Some(10), Some(4)));
    // Another account's is unknown here.
    let unknown = page(Paging::Before("uid-100".to_owned()), 2).await;
    assert_eq!(unknown, Err(UnknownUid("uid-100".to_owned())));
    let ends = storage.archived(ALICE).await.unwrap().unwrap();
    assert_eq!(ends.first, ("uid-0".to_owned(), 0));
    assert_eq!(ends.last, ("uid-9".to_owned(), 9));
    assert_eq!(storage.archived("nobody@a.example").await.unwrap(), None);
}

/// More messages than are looked through by whoever reads: most are found another way.
#[tokio::test]
async fn of_many_messages_none_is_missed_wherever_it_lies() {
    const ALL: u64 = 5000;
    let storage = with(&[ALICE, BOB]).await;
    for first in (0..ALL).step_by(500) {
        let messages = (first..first + 500).map(|number| archived(both(number)));
        let outcomes = storage.write(AcceptMessages(messages.collect())).await;
        assert_eq!(outcomes.unwrap().len(), 500);
    }
    for account in [ALICE, BOB] {
        let mut paging = Paging::First;
        let mut found = Vec::new();
        loop {
            let filter = ArchiveFilter {
                start: Some(10),
                ..ArchiveFilter::default()
            };
            let page = storage.archive_page(account, &filter, &paging, 700).await;
            let page = page.unwrap().unwrap();
            assert_eq!(page.count, Some(ALL - 10));
            assert_eq!(page.index, Some(found.len() as u64));
            found.extend(page.rows.iter().map(|row| row.received));
            if page.complete {
                break;
            }
            paging = Paging::After(page.rows.last().unwrap().uid.clone());
        }
        assert!(found.into_iter().eq(10..ALL));
        let filter = ArchiveFilter {
            with: Some((if account == ALICE { BOB } else { ALICE }.to_owned(), None)),
            ..ArchiveFilter::default()
        };
        let last = storage.archive_page(account, &filter, &Paging::Last, ALL as usize);
        let last = last.await.unwrap().unwrap();
        let received = last.rows.iter().map(|row| row.received);
        assert!(last.complete && received.eq(0..ALL));
    }
    let ends = storage.archived(BOB).await.unwrap().unwrap();
    assert_eq!((ends.first.1, ends.last.1), (0, ALL - 1));
    assert_eq!(storage.archives_beyond(4999).await.unwrap(), [ALICE, BOB]);
    let purge = PurgeArchive {
        before: 4990,
        limit: ALL as usize,
    };
    assert_eq!(storage.write(purge).await.unwrap(), 4990);
    assert_eq!(uids(&storage, ALICE).await.len(), 10);
    let gone = DeleteAccount {
        account: ALICE.to_owned(),
    };
    storage.write(gone).await.unwrap();
    create(&storage, ALICE).await;
    assert!(uids(&storage, ALICE).await.is_empty());
    assert_eq!(uids(&storage, BOB).await.len(), 10);
}

#[tokio::test]
async fn the_old_and_the_too_many_go() {
    let storage = with(&[ALICE, BOB]).await;
    for number in 0..10 {
        storage.write(archived(both(number))).await.unwrap();
    }
    let purge = |before, limit| storage.write(PurgeArchive { before, limit });
    assert_eq!(purge(3, 2).await.unwrap(), 2);
    assert_eq!(purge(3, 4).await.unwrap(), 1);
    assert_eq!(purge(3, 4).await.unwrap(), 0);
    assert_eq!(uids(&storage, ALICE).await, [3, 4, 5, 6, 7, 8, 9]);
    assert!(storage.archives_beyond(7).await.unwrap().is_empty());
    assert_eq!(storage.archives_beyond(6).await.unwrap(), [ALICE, BOB]);
    let trim = |limit| {
        storage.write(TrimArchive {
            account: ALICE.to_owned(),
            keep: 2,
            limit,
        })
    };
    assert_eq!(trim(4).await.unwrap(), 4);
    assert_eq!(trim(4).await.unwrap(), 1);
    assert_eq!(trim(4).await.unwrap(), 0);
    assert_eq!(uids(&storage, ALICE).await, [8, 9]);
    assert_eq!(uids(&storage, BOB).await.len(), 7);
}

#[tokio::test]
async fn preferences_are_replaced_whole() {
    let storage = with(&[ALICE]).await;
    assert_eq!(storage.archive_preferences(ALICE).await.unwrap(), None);
    let set = |account: &str, policy, exceptions: &[(&str, bool)]| SetArchivePreferences {
        account: account.to_owned(),
        preferences: ArchivePreferences {
            policy,
            exceptions: exceptions
                .iter()
                .map(|(address, keep)| ((*address).to_owned(), *keep))
                .collect(),
        },
    };
    for change in [
        set(
            ALICE,
            ArchivePolicy::Roster,
            &[("a@b", true), ("c@b/d", false)],
        ),
        set(ALICE, ArchivePolicy::Never, &[("a@b", false)]),
        set(ALICE, ArchivePolicy::Always, &[]),
    ] {
        let expected = change.preferences.clone();
        assert!(storage.write(change).await.unwrap());
        let read = storage.archive_preferences(ALICE).await.unwrap();
        assert_eq!(read, Some(expected));
    }
    let nobody = set("nobody@a.example", ArchivePolicy::Never, &[]);
    assert!(!storage.write(nobody).await.unwrap());
}
