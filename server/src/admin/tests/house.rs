//! Sessions, rooms and numbers, over the socket.

use comity_storage::rooms::{Append, At, Begin, Entry, Leaf, PendingChange};
use comity_xmpp::jid::Jid;

use super::*;
use crate::admin::house::House;
use crate::admin::protocol::{DomainStats, Session, Stats};

/// Three sessions of two accounts.
pub(super) struct Three;

impl House for Three {
    fn sessions(&self, of: &str, after: &str, most: usize) -> Vec<Session> {
        let all = ["a@a.example/1", "a@a.example/2", "b@a.example/1"];
        let found = all
            .into_iter()
            .filter(|jid| jid.contains(of) && *jid > after);
        found.take(most).map(session).collect()
    }

    fn kill(&self, jid: &Jid, why: &str) -> usize {
        assert!(!why.is_empty());
        self.sessions(jid.as_str(), "", 9).len()
    }

    fn stats(&self) -> Stats {
        Stats {
            sessions: 3,
            domains: vec![DomainStats {
                domain: "a.example".to_owned(),
                accounts: 0,
                sessions: 3,
            }],
            ..Stats::default()
        }
    }
}

fn session(jid: &str) -> Session {
    Session {
        jid: jid.to_owned(),
        since: 0,
        shown: None,
        priority: 0,
        device: None,
        resumable: false,
        queued: 0,
    }
}

fn room() -> Append {
    let alice = [1; 16];
    Append {
        room: "~r@a.example".to_owned(),
        at: At::Nowhere(Box::new(Begin {
            group_id: vec![9],
            epoch: 0,
            state: vec![1],
            tree: vec![2],
            group_info: vec![3],
            direct: None,
        })),
        entry: Entry {
            seq: 1,
            kind: 3,
            epoch: 0,
            time: 1_001,
            sender: "alice@a.example".to_owned(),
            device: Some(alice),
            payload: Some(vec![0; 10]),
            digest: [7; 32],
            head: [8; 32],
            signature: None,
        },
        now: 1_001,
        pending: PendingChange::Keep,
        updated: None,
        gone: Vec::new(),
        come: vec![Leaf {
            leaf: 0,
            account: "alice@a.example".to_owned(),
            device: alice,
        }],
        changes: Vec::new(),
        domains: Vec::new(),
        welcome: None,
        answer: None,
        outbox: Vec::new(),
        barred: None,
        nominated: None,
    }
}

async fn sessions(client: &mut Client, of: Option<&str>) -> Vec<String> {
    let request = Request::SessionList {
        of: of.map(str::to_owned),
        after: String::new(),
    };
    match client.ask(&request).await.unwrap() {
        Answer::Sessions { sessions, .. } => sessions.into_iter().map(|one| one.jid).collect(),
        other => panic!("{other:?}"),
    }
}

fn kill(jid: &str) -> Request {
    Request::SessionKill {
        jid: jid.to_owned(),
        reason: String::new(),
    }
}

#[tokio::test]
async fn sessions_are_listed_and_ended() {
    let play = play("sessions").await;
    let mut client = play.client().await;
    assert_eq!(sessions(&mut client, None).await.len(), 3);
    assert_eq!(sessions(&mut client, Some("a.example")).await.len(), 3);
    let of = sessions(&mut client, Some("A@a.example")).await;
    assert_eq!(of, ["a@a.example/1", "a@a.example/2"]);
    let what = done(&mut client, kill("a@a.example")).await;
    assert_eq!(what, "ended 2 sessions of a@a.example");
    let what = done(&mut client, kill("a@a.example/2")).await;
    assert_eq!(what, "ended a session of a@a.example/2");
    let why = refused(&mut client, kill("c@a.example")).await;
    assert!(why.contains("has no session here"), "{why}");
    let why = refused(&mut client, kill("c@elsewhere.example")).await;
    assert!(why.contains("not served here"), "{why}");
    play.end().await;
}

#[tokio::test]
async fn an_account_is_shown_with_what_is_kept_for_it() {
    let play = play("show").await;
    let mut client = play.client().await;
    let show = |jid: &str| Request::UserShow {
        jid: jid.to_owned(),
    };
    done(&mut client, add("a@a.example", "one")).await;
    match client.ask(&show("a@a.example")).await.unwrap() {
        Answer::UserShown { user } => {
            assert!(user.user.enabled && user.contacts == 0);
            assert_eq!((user.sessions.len(), user.last_seen), (2, None));
        }
        other => panic!("{other:?}"),
    }
    let why = refused(&mut client, show("c@a.example")).await;
    assert_eq!(why, "there is no account c@a.example");
    let Answer::Stats { stats } = client.ask(&Request::Stats).await.unwrap() else {
        panic!("no stats")
    };
    assert_eq!((stats.accounts, stats.sessions), (1, 3));
    assert!(stats.database_octets > 0);
    play.end().await;
}

#[tokio::test]
async fn a_room_is_shown_closed_and_opened() {
    let play = play("rooms").await;
    let mut client = play.client().await;
    let name = || "~r@a.example".to_owned();
    let why = refused(&mut client, Request::RoomShow { room: name() }).await;
    assert!(
        why.contains("no room ~r@a.example is ordered here"),
        "{why}"
    );
    play.storage.write(room()).await.unwrap();
    let list = || Request::RoomList {
        after: String::new(),
    };
    match client.ask(&list()).await.unwrap() {
        Answer::Rooms { rooms, more } => {
            assert_eq!((rooms.len(), more), (1, false));
            assert_eq!((rooms[0].seq, rooms[0].devices), (1, 1));
            assert_eq!(rooms[0].closed, None);
        }
        other => panic!("{other:?}"),
    }
    let close = |reason: &str| Request::RoomClose {
        room: name(),
        reason: reason.to_owned(),
    };
    let open = || Request::RoomOpen { room: name() };
    assert!(refused(&mut client, open()).await.contains("is not closed"));
    let what = done(&mut client, close("spam")).await;
    assert!(what.contains("is closed"), "{what}");
    match client
        .ask(&Request::RoomShow { room: name() })
        .await
        .unwrap()
    {
        Answer::Room { room } => {
            assert_eq!(room.room.closed.as_deref(), Some("spam"));
            assert_eq!(room.members[0].account, "alice@a.example");
            assert_eq!((room.held, room.held_octets), (1, 10));
        }
        other => panic!("{other:?}"),
    }
    let kept = play.storage.closed_rooms().await.unwrap();
    assert_eq!(kept[0].reason, "spam");
    done(&mut client, open()).await;
    assert!(play.storage.closed_rooms().await.unwrap().is_empty());
    play.end().await;
}
