use comity_storage::{
    AFTER_THE_END, AcceptMessage, Archive, Content, ForgetAcknowledged, ForgetSession, Form,
    Handled, KeepHandled, ManageSession, MoveOffline, Queued, RestoreSessions, RestoredSession,
    ResumeSession, SessionState, Side, Storage, StoreOffline, SuspendSession,
};

use super::with;

const ALICE: &str = "alice@a.example";

async fn managed(storage: &Storage, first: i64) {
    let change = ManageSession {
        key: "key".to_owned(),
        account: ALICE.to_owned(),
        resource: "phone".to_owned(),
        resumable: true,
        first,
        state: SessionState::default(),
    };
    assert!(storage.write(change).await.unwrap());
}

fn side(address: &str, keeps: bool) -> Side {
    Side {
        address: address.to_owned(),
        resource: String::new(),
        keeps,
    }
}

fn queued(epoch: i64, place: i64) -> Queued {
    Queued {
        key: "key".to_owned(),
        epoch,
        place,
        form: Form::Plain,
        content: Content::Stanza(place.to_string().into_bytes()),
    }
}

async fn give(storage: &Storage, epoch: i64, places: &[i64]) {
    let change = AcceptMessage {
        queued: places.iter().map(|place| queued(epoch, *place)).collect(),
        ..AcceptMessage::default()
    };
    storage.write(change).await.unwrap();
}

async fn restored(storage: &Storage) -> RestoredSession {
    let mut all = storage.write(RestoreSessions).await.unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

fn shown(session: &RestoredSession) -> Vec<(Option<u32>, String)> {
    let stanzas = session.stanzas.iter();
    stanzas
        .map(|stanza| {
            let text = String::from_utf8(stanza.stanza.clone()).unwrap();
            (stanza.said, text)
        })
        .collect()
}

fn expected(stanzas: &[(Option<u32>, &str)]) -> Vec<(Option<u32>, String)> {
    let stanzas = stanzas.iter();
    stanzas
        .map(|(said, text)| (*said, (*text).to_owned()))
        .collect()
}

/// Killed twice, the second time before its client was back; then once more after it was.
#[tokio::test]
async fn places_and_counts_outlive_the_server() {
    let storage = with(&[ALICE]).await;
    managed(&storage, 2).await;
    give(&storage, 0, &[2, 5, 9]).await;
    let session = restored(&storage).await;
    assert_eq!(session.epoch, 1);
    let said = [(Some(1), "2"), (Some(4), "5"), (Some(8), "9")];
    assert_eq!(shown(&session), expected(&said));
    give(&storage, 1, &[0, 3]).await;
    let session = restored(&storage).await;
    assert_eq!(session.epoch, 2);
    let more = [(None, "0"), (None, "3")];
    let all: Vec<_> = said.iter().chain(&more).copied().collect();
    assert_eq!(shown(&session), expected(&all));
    give(&storage, 2, &[1]).await;
    // The client has all up to the fourth, and the presence behind it.
    let resume = ResumeSession {
        key: "key".to_owned(),
        h: 5,
    };
    assert_eq!(storage.write(resume).await.unwrap(), Some(3));
    give(&storage, 2, &[2]).await;
    // The first of what it was given again.
    let forget = ForgetAcknowledged(vec![("key".to_owned(), 2, -3)]);
    storage.write(forget).await.unwrap();
    let session = restored(&storage).await;
    let left = [
        (Some(7), "0"),
        (Some(8), "3"),
        (Some(10), "1"),
        (Some(11), "2"),
    ];
    assert_eq!(shown(&session), expected(&left));
}

#[tokio::test]
async fn counts_wrap() {
    let storage = with(&[ALICE]).await;
    managed(&storage, 0).await;
    let resume = |h| ResumeSession {
        key: "key".to_owned(),
        h,
    };
    restored(&storage).await;
    assert_eq!(storage.write(resume(u32::MAX - 1)).await.unwrap(), Some(0));
    give(&storage, 1, &[0, 1, 2]).await;
    let session = restored(&storage).await;
    let said = [(Some(u32::MAX), "0"), (Some(0), "1"), (Some(1), "2")];
    assert_eq!(shown(&session), expected(&said));
    assert_eq!(storage.write(resume(0)).await.unwrap(), Some(1));
}

#[tokio::test]
async fn a_session_that_is_over_keeps_nothing() {
    let storage = with(&[ALICE]).await;
    managed(&storage, 0).await;
    let handled = |h| Handled {
        key: "key".to_owned(),
        h,
        state: Some(SessionState {
            presence: Some(b"<presence/>".to_vec()),
            priority: -3,
            interested: true,
            carbons: true,
            device: false,
        }),
    };
    storage.write(KeepHandled(handled(7))).await.unwrap();
    let session = restored(&storage).await;
    assert_eq!(session.handled, 7);
    assert_eq!(Some(&session.state), handled(7).state.as_ref());
    assert_eq!((&*session.account, &*session.resource), (ALICE, "phone"));
    let key = "key".to_owned();
    storage.write(ForgetSession { key }).await.unwrap();
    give(&storage, 1, &[1]).await;
    storage.write(KeepHandled(handled(8))).await.unwrap();
    assert!(storage.write(RestoreSessions).await.unwrap().is_empty());
    let resume = ResumeSession {
        key: "key".to_owned(),
        h: 0,
    };
    assert_eq!(storage.write(resume).await.unwrap(), None);
}

/// A message of the archive is named, not kept twice; what waited is moved.
#[tokio::test]
async fn where_messages_lie() {
    let storage = with(&[ALICE]).await;
    managed(&storage, 0).await;
    let change = AcceptMessage {
        archive: Some(Archive {
            uid: "uid".to_owned(),
            sender: side(ALICE, true),
            recipient: side("bob@b.example", false),
            stanza: b"archived".to_vec(),
            received: 1,
        }),
        queued: ["uid", "forgotten"]
            .iter()
            .zip(0..)
            .map(|(uid, place)| Queued {
                content: Content::Archived((*uid).to_owned()),
                form: Form::Sent,
                ..queued(0, place)
            })
            .collect(),
        handled: Some(Handled {
            key: "key".to_owned(),
            h: 3,
            state: None,
        }),
        ..AcceptMessage::default()
    };
    storage.write(change).await.unwrap();
    let offline = StoreOffline {
        account: ALICE.to_owned(),
        stanza: b"waited".to_vec(),
        received: 1,
        limit: 10,
    };
    storage.write(offline).await.unwrap();
    let waits = storage.offline(ALICE, 0, 10).await.unwrap();
    let moved = MoveOffline {
        account: ALICE.to_owned(),
        messages: vec![(waits[0].id, queued(0, 2))],
    };
    storage.write(moved).await.unwrap();
    assert_eq!(storage.offline_count(ALICE).await.unwrap(), 0);
    let session = restored(&storage).await;
    assert_eq!(session.handled, 3);
    let said = [(Some(1), "archived"), (Some(3), "2")];
    assert_eq!(shown(&session), expected(&said));
    assert_eq!(session.stanzas[0].form, Form::Sent);
    assert_eq!(session.stanzas[0].uid.as_deref(), Some("uid"));
}

#[tokio::test]
async fn an_orderly_end_keeps_everything() {
    let storage = with(&[ALICE]).await;
    managed(&storage, 0).await;
    give(&storage, 0, &[0, 1, AFTER_THE_END + 1, AFTER_THE_END]).await;
    let suspend = SuspendSession {
        handled: Handled {
            key: "key".to_owned(),
            h: 9,
            state: None,
        },
        acknowledged: 4,
        said: vec![b"a".to_vec(), b"b".to_vec()],
        unsaid: vec![b"c".to_vec()],
    };
    storage.write(suspend).await.unwrap();
    let session = restored(&storage).await;
    assert_eq!(session.handled, 9);
    let (one, two) = (AFTER_THE_END.to_string(), (AFTER_THE_END + 1).to_string());
    let all = [
        (Some(5), "a"),
        (Some(6), "b"),
        (None, "c"),
        (None, &one),
        (None, &two),
    ];
    assert_eq!(shown(&session), expected(&all));
    let resume = ResumeSession {
        key: "key".to_owned(),
        h: 5,
    };
    assert_eq!(storage.write(resume).await.unwrap(), Some(4));
}
