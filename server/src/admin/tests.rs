use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use comity_net::stop::{self, Stopper};

use super::client::{Client, Error};
use super::protocol::User;
use super::*;
use comity_storage::{RevokeDevice, RevokedDevice};

mod house;

/// A server's admin socket, without the server.
struct Play {
    data_dir: PathBuf,
    storage: Storage,
    kicked: Arc<Mutex<Vec<String>>>,
    peers: Arc<Links>,
    stopper: Stopper,
}

/// The streams to others, without streams.
#[derive(Default)]
struct Links {
    up: Mutex<Vec<peer::Stream>>,
    blocked: Mutex<Vec<String>>,
    told: Mutex<Vec<String>>,
}

impl peer::Streams for Links {
    fn outgoing(&self) -> Vec<peer::Stream> {
        self.up.lock().unwrap().clone()
    }

    fn incoming(&self) -> std::collections::HashMap<String, comity_s2s::link::Incoming> {
        let incoming = comity_s2s::link::Incoming {
            streams: 2,
            both_ways: 1,
        };
        [("c.example".to_owned(), incoming)].into()
    }

    fn federates(&self, domain: &str) -> bool {
        domain != "denied.example" && !self.blocked.lock().unwrap().contains(&domain.to_owned())
    }

    fn flush(&self, domain: &str) {
        self.told.lock().unwrap().push(format!("flush {domain}"));
    }

    fn block(&self, domain: &str, blocked: bool) {
        let mut all = self.blocked.lock().unwrap();
        all.retain(|one| one != domain);
        all.extend(blocked.then(|| domain.to_owned()));
    }

    fn probe(&self, _: String) -> peer::Probing {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn discard(&self, domain: String) -> peer::Discarding {
        self.told.lock().unwrap().push(format!("discard {domain}"));
        Box::pin(async { Ok(3) })
    }
}

struct Noon;

impl Clock for Noon {
    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(12 * 3600)
    }
}

async fn play(name: &str) -> Play {
    let data_dir = std::env::temp_dir().join(format!("comity-admin-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&data_dir);
    std::fs::create_dir_all(&data_dir).unwrap();
    let storage = Storage::open(Path::new(":memory:")).await.unwrap();
    let kicked = Arc::new(Mutex::new(Vec::new()));
    let (seen, left) = (Arc::clone(&kicked), Arc::clone(&kicked));
    let (ended, trusted) = (Arc::clone(&kicked), Arc::clone(&kicked));
    let peers = Arc::new(Links::default());
    let state = State {
        storage: storage.clone(),
        domains: vec!["a.example".to_owned(), "b.example".to_owned()].into(),
        passwords: Passwords::new(4096),
        clock: Arc::new(Noon),
        peers: Arc::clone(&peers) as Arc<dyn peer::Streams>,
        house: Arc::new(house::Three),
        closed: crate::services::closed::ClosedRooms::default(),
        kick: Arc::new(move |account, why| {
            seen.lock().unwrap().push(format!("{account}: {why}"));
            2
        }),
        leave: Arc::new(move |account| {
            left.lock().unwrap().push(format!("{account} leaves"));
            Box::pin(async { Ok(()) })
        }),
        ca_refused: Arc::new(|_| None),
        reload: Arc::new(|| Ok("nothing has changed".to_owned())),
        ca_reload: Arc::new(|| Box::pin(std::future::ready(Ok(())))),
        withdrawn: Arc::new(|_| Box::pin(std::future::ready(()))),
        revoke: {
            let storage = storage.clone();
            Arc::new(move |account, id| {
                let change = RevokeDevice {
                    account: account.to_string(),
                    id: id.into_bytes(),
                    now: 12 * 3600,
                };
                let done = storage.submit(change);
                Box::pin(async move {
                    match done.await.unwrap() {
                        RevokedDevice::Revoked => Ok(true),
                        RevokedDevice::Already(_) => Ok(false),
                        RevokedDevice::Unknown => Err(Refusal::UnknownDevice),
                    }
                })
            })
        },
        revoked: Arc::new(move |account, device| {
            ended.lock().unwrap().push(format!("{account}: {device}"));
            Box::pin(async {})
        }),
        trust: Arc::new(move |domain, root| {
            trusted
                .lock()
                .unwrap()
                .push(format!("{domain}: {}", root[0]));
            Box::pin(async { Ok(()) })
        }),
    };
    let (stopper, stop) = stop::channel();
    tokio::spawn(serve(bind(&data_dir).await.unwrap(), state, stop));
    Play {
        data_dir,
        storage,
        kicked,
        peers,
        stopper,
    }
}

impl Play {
    async fn client(&self) -> Client {
        Client::connect(&self.data_dir).await.unwrap()
    }

    async fn end(self) {
        assert!(self.stopper.stop(Duration::from_secs(5)).await);
        std::fs::remove_dir_all(&self.data_dir).unwrap();
    }
}

fn add(jid: &str, password: &str) -> Request {
    Request::UserAdd {
        jid: jid.to_owned(),
        password: password.to_owned(),
    }
}

fn list(domain: Option<&str>) -> Request {
    Request::UserList {
        domain: domain.map(str::to_owned),
        after: String::new(),
    }
}

async fn done(client: &mut Client, request: Request) -> String {
    match client.ask(&request).await.unwrap() {
        Answer::Done { what } => what,
        other => panic!("{other:?}"),
    }
}

async fn refused(client: &mut Client, request: Request) -> String {
    match client.ask(&request).await {
        Err(Error::Refused(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_account_comes_changes_and_goes() {
    let play = play("account").await;
    let mut client = play.client().await;
    let jid = || "alice@a.example".to_owned();
    assert_eq!(
        done(&mut client, add("Alice@A.example", "one")).await,
        "created alice@a.example"
    );
    let before = play.storage.scram_keys(&jid()).await.unwrap();
    assert_eq!(before.len(), 2);
    let passwd = Request::UserPassword {
        jid: jid(),
        password: "two".to_owned(),
    };
    done(&mut client, passwd).await;
    assert!(play.storage.scram_keys(&jid()).await.unwrap() != before);
    let alice = |enabled| User {
        jid: jid(),
        enabled,
        created: 12 * 3600 * 1000,
    };
    let users = |users| Answer::Users { users, more: false };
    let listed = client.ask(&list(None)).await.unwrap();
    assert_eq!(listed, users(vec![alice(true)]));
    let disable = Request::UserEnable {
        jid: jid(),
        enabled: false,
    };
    assert!(
        done(&mut client, disable)
            .await
            .ends_with("its 2 sessions were ended")
    );
    let listed = client.ask(&list(Some("a.example"))).await.unwrap();
    assert_eq!(listed, users(vec![alice(false)]));
    done(&mut client, Request::UserDelete { jid: jid() }).await;
    assert_eq!(client.ask(&list(None)).await.unwrap(), users(vec![]));
    let kicked = play.kicked.lock().unwrap().join("; ");
    assert_eq!(
        kicked,
        "alice@a.example: the account has been disabled; \
         alice@a.example: the account has been deleted; alice@a.example leaves"
    );
    play.end().await;
}

#[tokio::test]
async fn refusals_say_why_and_change_nothing() {
    let play = play("refusals").await;
    let mut client = play.client().await;
    done(&mut client, add("alice@a.example", "one")).await;
    let check = async |client: &mut Client, request, expected: &str| {
        let why = refused(client, request).await;
        assert!(why.contains(expected), "{why:?} does not say {expected:?}");
    };
    check(
        &mut client,
        add("alice@a.example", "two"),
        "alice@a.example exists",
    )
    .await;
    check(&mut client, add("~room@a.example", "x"), "kept for rooms").await;
    // A wide tilde becomes one when it is prepared.
    check(
        &mut client,
        add("\u{ff5e}room@a.example", "x"),
        "kept for rooms",
    )
    .await;
    check(
        &mut client,
        add("alice@c.example", "x"),
        "c.example is not served here",
    )
    .await;
    check(&mut client, add("a.example", "x"), "is a domain").await;
    check(&mut client, add("al ice@a.example", "x"), "localpart").await;
    check(&mut client, add("bob@a.example", ""), "password is empty").await;
    check(
        &mut client,
        Request::UserDelete {
            jid: "bob@a.example".into(),
        },
        "no account",
    )
    .await;
    check(
        &mut client,
        list(Some("c.example")),
        "only a.example, b.example",
    )
    .await;
    let listed = client.ask(&list(None)).await.unwrap();
    assert!(matches!(listed, Answer::Users { users, .. } if users.len() == 1));
    play.end().await;
}

#[tokio::test]
async fn what_is_no_request_is_answered_too() {
    let play = play("garbage").await;
    let check = async |line: &[u8], expected: &str| {
        let stream = UnixStream::connect(socket(&play.data_dir)).await.unwrap();
        let mut stream = BufReader::new(stream);
        stream.write_all(line).await.unwrap();
        stream.get_mut().shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_line(&mut answer).await.unwrap();
        assert!(
            answer.contains(expected),
            "{answer:?} does not say {expected:?}"
        );
    };
    check(b"{}\n", "not understood: missing field `command`").await;
    check(
        b"{\"command\":\"shutdown\"}\n",
        "unknown variant `shutdown`",
    )
    .await;
    check(b"\xff\n", "not understood").await;
    check(b"{\"command\":", "has no end").await;
    let long = vec![b' '; usize::try_from(LINE_LIMIT).unwrap()];
    check(&long, "longer than 1048576 octets").await;
    play.end().await;
}

#[tokio::test]
async fn a_directory_has_one_server_and_the_socket_is_private() {
    let play = play("one").await;
    let mode = std::fs::metadata(socket(&play.data_dir))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let second = bind(&play.data_dir).await.unwrap_err();
    assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
    let data_dir = play.data_dir.clone();
    assert!(play.stopper.stop(Duration::from_secs(5)).await);
    // The socket of a server that is gone is in nobody's way.
    let refused = Client::connect(&data_dir).await.err().unwrap().to_string();
    assert!(refused.contains("no server is running"), "{refused}");
    bind(&data_dir).await.unwrap();
    std::fs::remove_dir_all(&data_dir).unwrap();
}

#[tokio::test]
async fn long_lists_come_in_parts() {
    let play = play("list").await;
    for number in 0..=protocol::LIST_LIMIT {
        let change = comity_storage::CreateAccount {
            account: format!("user{number:05}@b.example"),
            domain: "b.example".to_owned(),
            created: 0,
            keys: Vec::new(),
        };
        drop(play.storage.submit(change));
    }
    let mut client = play.client().await;
    // Written after all of those.
    done(&mut client, add("last@b.example", "x")).await;
    let mut after = String::new();
    let mut counts = Vec::new();
    loop {
        let domain = Some("b.example".to_owned());
        let request = Request::UserList { domain, after };
        let Answer::Users { users, more } = client.ask(&request).await.unwrap() else {
            panic!()
        };
        counts.push(users.len());
        if !more {
            break;
        }
        after = users.last().unwrap().jid.clone();
    }
    assert_eq!(counts, [250, 2]);
    play.end().await;
}

#[tokio::test]
async fn a_device_is_listed_and_revoked_once() {
    let play = play("device").await;
    let mut client = play.client().await;
    done(&mut client, add("alice@a.example", "one")).await;
    let id = Uuid::from_u128(7);
    let change = comity_storage::RegisterDevice {
        id: id.into_bytes(),
        account: "alice@a.example".to_owned(),
        name: "phone".to_owned(),
        device_key: vec![1],
        now: 5,
        limit: 1,
    };
    play.storage.write(change).await.unwrap();
    let revoke = |jid: &str, id: Uuid| Request::DeviceRevoke {
        jid: jid.to_owned(),
        id: id.to_string(),
    };
    let nonsense = Request::DeviceRevoke {
        jid: "alice@a.example".to_owned(),
        id: "phone".to_owned(),
    };
    let nonsense = refused(&mut client, nonsense).await;
    assert!(nonsense.contains("no device id"), "{nonsense}");
    let alice = "alice@a.example";
    let unknown = refused(&mut client, revoke(alice, Uuid::from_u128(8))).await;
    assert!(unknown.contains("comity device list"), "{unknown}");
    refused(&mut client, revoke("bob@a.example", id)).await;
    let first = done(&mut client, revoke(alice, id)).await;
    assert!(first.starts_with("revoked device"), "{first}");
    let again = done(&mut client, revoke(alice, id)).await;
    assert!(again.ends_with("revoked before"), "{again}");
    let list = Request::DeviceList {
        jid: alice.to_owned(),
    };
    let listed = client.ask(&list).await.unwrap();
    let device = protocol::Device {
        id: id.to_string(),
        name: "phone".to_owned(),
        registered: 5,
        revoked: Some(12 * 3600),
    };
    assert_eq!(
        listed,
        Answer::Devices {
            devices: vec![device]
        }
    );
    let told = play.kicked.lock().unwrap().join("; ");
    assert_eq!(told, format!("{alice}: {id}"));
    play.end().await;
}

#[tokio::test]
async fn another_domains_root_is_shown_and_believed_when_compared() {
    let play = play("peer").await;
    let mut client = play.client().await;
    let pinned = comity_storage::PinnedAnchors {
        domain: "c.example".to_owned(),
        root: [0xab; 32],
        sequence: 3,
        expires: 9,
        record: Vec::new(),
    };
    let change = comity_storage::PinAnchors { pinned, over: None };
    assert!(play.storage.write(change).await.unwrap());
    let shown = client.ask(&Request::PeerRoots).await.unwrap();
    let root = protocol::Root {
        domain: "c.example".to_owned(),
        root: "ab".repeat(32),
        expires: 9,
        own: false,
    };
    assert_eq!(shown, Answer::Roots { roots: vec![root] });
    let trust = |domain: &str, root: &str| Request::PeerTrust {
        domain: domain.to_owned(),
        root: root.to_owned(),
    };
    refused(&mut client, trust("c.example", "ab")).await;
    refused(&mut client, trust("c.example", &"xy".repeat(32))).await;
    refused(&mut client, trust("alice@c.example", &"cd".repeat(32))).await;
    done(&mut client, trust("C.example", &"cd".repeat(32))).await;
    let told = play.kicked.lock().unwrap().join("; ");
    assert_eq!(told, format!("c.example: {}", 0xcd));
    play.end().await;
}

#[tokio::test]
async fn other_domains_are_listed_with_what_waits_for_them() {
    let play = play("peers").await;
    let mut client = play.client().await;
    for (destination, created) in [("d.example", 5), ("d.example", 6), ("e.example", 7)] {
        let outgoing = comity_storage::Outgoing {
            destination: destination.to_owned(),
            stanza: b"<message/>".to_vec(),
            created,
            expires: 100,
        };
        let written = play.storage.write(comity_storage::Enqueue(outgoing)).await;
        written.unwrap();
    }
    play.peers.up.lock().unwrap().push(peer::Stream {
        ours: "a.example".to_owned(),
        domain: "d.example".to_owned(),
        state: "waiting".to_owned(),
        way: None,
        last_error: Some("nobody answers".to_owned()),
    });
    let list = Request::PeerList {
        after: String::new(),
    };
    let Answer::Peers { peers, more } = client.ask(&list).await.unwrap() else {
        panic!("no list")
    };
    assert!(!more);
    let short: Vec<_> = peers
        .iter()
        .map(|p| {
            (
                p.domain.as_str(),
                p.outgoing.len(),
                p.incoming,
                p.queued,
                p.oldest,
            )
        })
        .collect();
    assert_eq!(
        short,
        [
            ("c.example", 0, 2, 0, None),
            ("d.example", 1, 0, 2, Some(5)),
            ("e.example", 0, 0, 1, Some(7)),
        ]
    );
    let show = |domain: &str| Request::PeerShow {
        domain: domain.to_owned(),
    };
    let shown = client.ask(&show("D.example")).await.unwrap();
    assert_eq!(
        shown,
        Answer::Peer {
            peer: peers[1].clone(),
            root: None
        }
    );
    let Answer::Peer { peer, .. } = client.ask(&show("denied.example")).await.unwrap() else {
        panic!("not shown")
    };
    assert!(!peer.allowed);
    refused(&mut client, show("b.example")).await;
    play.end().await;
}

#[tokio::test]
async fn a_domain_is_flushed_discarded_and_blocked() {
    let play = play("peer-verbs").await;
    let mut client = play.client().await;
    let domain = || "c.example".to_owned();
    let flush = |domain| Request::PeerFlush { domain };
    assert_eq!(
        done(&mut client, flush(domain())).await,
        "nothing waits for c.example"
    );
    refused(&mut client, flush("denied.example".to_owned())).await;
    let discard = Request::PeerDiscard { domain: domain() };
    let said = done(&mut client, discard).await;
    assert_eq!(
        said,
        "discarded 3 stanzas for c.example; the senders have been told"
    );
    let told = play.peers.told.lock().unwrap().join("; ");
    assert_eq!(told, "flush c.example; discard c.example");
    let block = Request::PeerBlock {
        domain: domain(),
        reason: "x".repeat(600),
    };
    done(&mut client, block).await;
    let blocked = play.storage.blocked_peers().await.unwrap();
    assert_eq!(blocked[0].reason.len(), 500);
    assert_eq!(blocked[0].since, 12 * 3600 * 1000);
    let why = refused(&mut client, flush(domain())).await;
    assert!(why.contains("unblock"), "{why}");
    let unblock = || Request::PeerUnblock { domain: domain() };
    done(&mut client, unblock()).await;
    refused(&mut client, unblock()).await;
    assert!(play.storage.blocked_peers().await.unwrap().is_empty());
    play.end().await;
}
