use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use comity_net::stop::{self, Stopper};

use super::client::{Client, Error};
use super::protocol::User;
use super::*;

/// A server's admin socket, without the server.
struct Play {
    data_dir: PathBuf,
    storage: Storage,
    kicked: Arc<Mutex<Vec<String>>>,
    stopper: Stopper,
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
    let state = State {
        storage: storage.clone(),
        domains: vec!["a.example".to_owned(), "b.example".to_owned()].into(),
        passwords: Passwords::new(4096),
        clock: Arc::new(Noon),
        kick: Arc::new(move |account, why| {
            seen.lock().unwrap().push(format!("{account}: {why}"));
            2
        }),
        leave: Arc::new(move |account| {
            left.lock().unwrap().push(format!("{account} leaves"));
            Box::pin(async { Ok(()) })
        }),
        ca_refused: Arc::new(|_| None),
        ca_reload: Arc::new(|| Box::pin(std::future::ready(Ok(())))),
        withdrawn: Arc::new(|_| Box::pin(std::future::ready(()))),
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
    let shown = client.ask(&Request::PeerList).await.unwrap();
    let peer = protocol::Peer {
        domain: "c.example".to_owned(),
        root: "ab".repeat(32),
        expires: 9,
        own: false,
    };
    assert_eq!(shown, Answer::Peers { peers: vec![peer] });
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
