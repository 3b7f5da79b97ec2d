//! From the place to the file, over real HTTPS; and what goes wrong on the way.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use comity_net::dns::order::Start;
use comity_net::http::{Limits, serve};
use comity_net::listener::{Listener, Permits};
use comity_net::stop::{self, Stopper};
use comity_net::tls::{Acceptor, Certificates, Connector, Roots, local};
use comity_net::transport::Transport;
use comity_storage::{DeleteAccount, UploadId};
use comity_xmpp::xml;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::play::{Person, Play};
use crate::uploads::unhex;
use crate::web::{Pages, Streams};

const PATIENCE: Duration = Duration::from_secs(10);
const ALICE: &str = "alice@a.example";

/// A server with a listener for HTTPS, and Alice on it.
struct Scene {
    play: Play,
    alice: Person,
    address: SocketAddr,
    connector: Connector,
    folder: PathBuf,
    _stopper: Stopper,
}

/// What the server says over HTTP.
#[derive(Debug)]
struct Said {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Scene {
    async fn set() -> Self {
        let play = Play::of(&[ALICE, "bob@a.example"]).await;
        let alice = play.login("alice@a.example/1").await;
        let folder = std::env::temp_dir().join(format!("comity-put-{}", comity_net::random::id()));
        let names = ["a.example".to_owned()];
        let made = local::ensure(&folder, &names, SystemTime::now()).unwrap();
        let permits = Permits {
            connections: 20,
            per_address: 20,
        };
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), permits);
        let listener = listener.await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = Acceptor::web(Certificates::load(made.certificates).unwrap()).unwrap();
        let pages = Arc::new(Pages {
            home: play.home.clone(),
            streams: Streams {
                clients: None,
                origins: Arc::new([]),
                status: None,
            },
        });
        let limits = Limits {
            patience: Duration::from_secs(2),
            ..Limits::default()
        };
        let (stopper, stop) = stop::channel();
        tokio::spawn(serve(listener, acceptor, limits, pages, stop));
        let roots = Roots::load(false, &[made.authority]).unwrap();
        Self {
            play,
            alice,
            address,
            connector: Connector::for_client(roots).unwrap(),
            folder,
            _stopper: stopper,
        }
    }

    /// The answer to a request for a place.
    async fn asks(&mut self, request: &str) -> Element {
        let iq = format!(
            "<iq type='get' id='x' to='a.example'><request xmlns='{HTTP_UPLOAD}' {request}/></iq>"
        );
        self.alice.send(&iq).await;
        let answer = self.alice.next(PATIENCE).await.unwrap();
        let header = comity_xmpp::stream::Header::of(comity_xmpp::ns::CLIENT);
        let iq = xml::parse(&answer.to_bytes(None), &header).unwrap();
        let found = iq.elements().next().cloned();
        found.unwrap()
    }

    /// The path of a place.
    async fn place(&mut self, name: &str, size: usize) -> String {
        let asked = format!("filename='{name}' size='{size}' content-type='image/jpeg'");
        let slot = self.asks(&asked).await;
        let url = |way: &str| {
            let way = slot.child(HTTP_UPLOAD, way).expect("a place");
            way.attr("url").unwrap().to_owned()
        };
        assert_eq!(url("put"), url("get"));
        let path = url("get");
        path.strip_prefix("https://a.example:5443")
            .unwrap()
            .to_owned()
    }

    async fn connect(&self) -> Transport {
        let socket = tokio::net::TcpStream::connect(self.address).await.unwrap();
        let connected = self
            .connector
            .connect(socket, "a.example", Start::StartTls, PATIENCE);
        connected.await.unwrap()
    }

    async fn says(&self, head: &str, body: &[u8]) -> Said {
        let mut visitor = self.connect().await;
        let request = format!("{head}\r\nHost: a.example\r\nConnection: close\r\n\r\n");
        visitor.write_all(request.as_bytes()).await.unwrap();
        // Whoever is refused may find that nobody reads any more.
        let _ = visitor.write_all(body).await;
        let _ = visitor.flush().await;
        heard(visitor).await
    }

    async fn put(&self, path: &str, body: &[u8]) -> Said {
        let head = format!("PUT {path} HTTP/1.1\r\nContent-Length: {}", body.len());
        self.says(&head, body).await
    }

    async fn get(&self, path: &str) -> Said {
        self.says(&format!("GET {path} HTTP/1.1"), &[]).await
    }

    /// Everything below the folder of uploads.
    fn files(&self) -> Vec<String> {
        let root = self.play.home.uploads.folder().to_owned();
        let mut found = Vec::new();
        for folder in std::fs::read_dir(root).into_iter().flatten().flatten() {
            let inside = std::fs::read_dir(folder.path()).unwrap().flatten();
            found.extend(inside.map(|file| file.file_name().into_string().unwrap()));
        }
        found
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn heard(mut visitor: Transport) -> Said {
    let mut all = Vec::new();
    let reading = visitor.read_to_end(&mut all);
    // An end without close_notify is one, too.
    let _ = tokio::time::timeout(PATIENCE, reading).await.unwrap();
    let end = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(all[..end].to_vec()).unwrap();
    Said {
        status: head[9..12].parse().unwrap(),
        head: head.to_ascii_lowercase(),
        body: all[end + 4..].to_vec(),
    }
}

fn id_in(path: &str) -> UploadId {
    unhex(path.split('/').nth(2).unwrap()).unwrap()
}

#[tokio::test]
async fn a_file_is_put_once_and_read_by_whoever_knows_it() {
    let mut scene = Scene::set().await;
    let path = scene.place("tea time.jpg", 5).await;
    assert!(path.ends_with("/tea%20time.jpg"), "{path}");
    assert_eq!(scene.get(&path).await.status, 404, "nothing is there yet");
    assert_eq!(scene.put(&path, b"12345").await.status, 201);
    let kept = scene.play.home.storage.upload(&id_in(&path)).await.unwrap();
    assert!(kept.unwrap().stored.is_some());
    let said = scene.get(&path).await;
    assert_eq!((said.status, &said.body[..]), (200, &b"12345"[..]));
    for field in [
        "content-type: image/jpeg",
        "content-length: 5",
        "content-disposition: inline",
        "content-security-policy: default-src 'none'",
        "x-content-type-options: nosniff",
        "access-control-allow-origin: *",
        "accept-ranges: bytes",
    ] {
        assert!(said.head.contains(field), "{field}: {}", said.head);
    }
    let head = scene.says(&format!("HEAD {path} HTTP/1.1"), &[]).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert!(head.head.contains("content-length: 5"), "{}", head.head);
    let part = format!("GET {path} HTTP/1.1\r\nRange: bytes=1-3");
    let part = scene.says(&part, &[]).await;
    assert_eq!((part.status, &part.body[..]), (206, &b"234"[..]));
    assert!(
        part.head.contains("content-range: bytes 1-3/5"),
        "{}",
        part.head
    );
    let beyond = format!("GET {path} HTTP/1.1\r\nRange: bytes=5-");
    assert_eq!(scene.says(&beyond, &[]).await.status, 416);
    let options = scene.says(&format!("OPTIONS {path} HTTP/1.1"), &[]).await;
    assert_eq!(options.status, 204);
    assert!(
        options
            .head
            .contains("access-control-allow-methods: get, head, put")
    );
}

#[tokio::test]
async fn what_was_not_promised_is_not_taken_in() {
    let mut scene = Scene::set().await;
    let path = scene.place("a.jpg", 5).await;
    for (octets, status) in [(&b"1234"[..], 413), (b"123456", 413), (b"", 413)] {
        let said = scene.put(&path, octets).await;
        assert_eq!(said.status, status, "{said:?}");
    }
    let chunked = format!("PUT {path} HTTP/1.1\r\nTransfer-Encoding: chunked");
    let said = scene.says(&chunked, b"5\r\n12345\r\n0\r\n\r\n").await;
    assert_eq!(said.status, 411);
    // Whoever breaks off, or falls silent, may begin again.
    let mut visitor = scene.connect().await;
    let head = format!("PUT {path} HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\n12");
    visitor.write_all(head.as_bytes()).await.unwrap();
    drop(visitor);
    let silent = format!("PUT {path} HTTP/1.1\r\nContent-Length: 5");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(scene.says(&silent, b"12").await.status, 408);
    assert!(scene.files().is_empty(), "{:?}", scene.files());
    assert_eq!(scene.get(&path).await.status, 404);
    assert_eq!(scene.put(&path, b"12345").await.status, 201);
    // Once, and whoever knows where it is does not change it.
    assert_eq!(scene.put(&path, b"54321").await.status, 409);
    assert_eq!(scene.get(&path).await.body, b"12345");
    let (start, _) = path.rsplit_once('/').unwrap();
    let id = start.strip_prefix("/upload/").unwrap();
    for other in [
        format!("{start}/b.jpg"),
        format!("{start}/"),
        start.to_owned(),
        "/upload/".to_owned(),
        format!("/upload/{}/a.jpg", id.to_ascii_uppercase()),
        "/upload/00000000000000000000000000000000/a.jpg".to_owned(),
        "/upload/../../../../etc/passwd".to_owned(),
        format!("/upload/..%2f{id}/a.jpg"),
    ] {
        let expected = if other == path { 200 } else { 404 };
        assert_eq!(scene.get(&other).await.status, expected, "{other}");
        if expected == 404 {
            assert_eq!(scene.put(&other, b"12345").await.status, 404, "{other}");
        }
    }
    let post = format!("POST {path} HTTP/1.1\r\nContent-Length: 0");
    assert_eq!(scene.says(&post, &[]).await.status, 405);
}

/// Two at once: one of them is taken in, and as a whole.
#[tokio::test]
async fn one_place_is_written_to_by_one() {
    let mut scene = Scene::set().await;
    let path = scene.place("a.jpg", 6).await;
    let head = format!(
        "PUT {path} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\nContent-Length: 6\r\n\r\n111"
    );
    let mut first = scene.connect().await;
    first.write_all(head.as_bytes()).await.unwrap();
    first.flush().await.unwrap();
    while scene.files().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(scene.put(&path, b"222222").await.status, 409);
    first.write_all(b"111").await.unwrap();
    assert_eq!(heard(first).await.status, 201);
    assert_eq!(scene.get(&path).await.body, b"111111");
}

#[tokio::test]
async fn who_may_have_a_place_and_who_may_not() {
    let mut scene = Scene::set().await;
    let condition = |error: &Element| {
        let first = error.elements().next().unwrap();
        (
            error.attr("type").unwrap().to_owned(),
            first.name.to_string(),
        )
    };
    let named = |kind: &str, name: &str| (kind.to_owned(), name.to_owned());
    for (request, expected) in [
        (
            "filename='a.jpg' size='1001'",
            named("modify", "not-acceptable"),
        ),
        ("filename='a.jpg' size='0'", named("modify", "bad-request")),
        ("filename='a.jpg' size='-1'", named("modify", "bad-request")),
        (
            "filename='a.jpg' size='99999999999999999999'",
            named("modify", "bad-request"),
        ),
        ("filename='a.jpg'", named("modify", "bad-request")),
        ("size='1'", named("modify", "bad-request")),
    ] {
        let error = scene.asks(request).await;
        assert_eq!(condition(&error), expected, "{request}");
    }
    let error = scene.asks("filename='a.jpg' size='1001'").await;
    let most = error.child(HTTP_UPLOAD, "file-too-large").unwrap();
    assert_eq!(
        most.child(HTTP_UPLOAD, "max-file-size").unwrap().text(),
        "1000"
    );
    // 2,000 octets an account; the first of them go after a day.
    let first = scene.place("a.jpg", 1000).await;
    assert_eq!(scene.put(&first, &[7; 1000]).await.status, 201);
    scene.place("b.jpg", 1000).await;
    let error = scene.asks("filename='c.jpg' size='1'").await;
    assert_eq!(condition(&error), named("wait", "resource-constraint"));
    let retry = error.child(HTTP_UPLOAD, "retry").unwrap();
    assert_eq!(retry.attr("stamp"), Some("2027-01-16T08:00:00.000Z"));
    // Another domain, and somebody from elsewhere.
    let elsewhere = format!(
        "<iq type='get' id='x' to='c.example'><request xmlns='{HTTP_UPLOAD}' filename='a' size='1'/></iq>"
    );
    scene.alice.send(&elsewhere).await;
    let forbidden = "<error type='auth'><forbidden \
         xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>";
    let answer =
        format!("<iq type='error' id='x' from='c.example' to='alice@a.example/1'>{forbidden}</iq>");
    scene.alice.gets(&answer).await;
    scene
        .play
        .arrives(&format!(
            "<iq type='get' id='x' from='eve@b.example/x' to='a.example'>\
         <request xmlns='{HTTP_UPLOAD}' filename='a' size='1'/></iq>"
        ))
        .await;
    scene.play.sent_away(&[&format!(
        "<iq type='error' id='x' from='a.example' to='eve@b.example/x'>{forbidden}</iq>"
    )]);
}

#[tokio::test]
async fn what_is_over_goes_from_the_disk_too() {
    let mut scene = Scene::set().await;
    let (first, second) = (scene.place("a.jpg", 3).await, scene.place("b.jpg", 3).await);
    let unused = scene.place("c.jpg", 3).await;
    assert_eq!(scene.put(&first, b"111").await.status, 201);
    // A place is there for an hour.
    scene.play.clock.forward(Duration::from_secs(3601));
    assert_eq!(scene.put(&unused, b"333").await.status, 404);
    let late = scene.place("d.jpg", 3).await;
    assert_eq!(scene.put(&late, b"444").await.status, 201);
    assert_eq!(scene.put(&second, b"222").await.status, 404);
    // The file of a day ago is over, whether it was looked for or not.
    scene.play.clock.forward(Duration::from_secs(23 * 3600));
    assert_eq!(scene.get(&first).await.status, 404);
    assert_eq!(scene.get(&late).await.status, 200);
    let old = SystemTime::now() - Duration::from_secs(3600);
    let age = |scene: &Scene| {
        for name in scene.files().into_iter().filter(|name| name != "README") {
            let file = scene
                .play
                .home
                .uploads
                .folder()
                .join(&name[..2])
                .join(&name);
            let file = std::fs::File::options().write(true).open(file).unwrap();
            file.set_modified(old).unwrap();
        }
    };
    // What a crash has left, and what is not ours.
    let left = scene
        .play
        .home
        .uploads
        .folder()
        .join(&hex(&id_in(&late))[..2]);
    std::fs::write(left.join(format!("{}.part", hex(&id_in(&late)))), "1").unwrap();
    std::fs::write(left.join("README"), "not ours").unwrap();
    age(&scene);
    sweep(&scene.play.home).await;
    let mut stays = vec![hex(&id_in(&late)), "README".to_owned()];
    let mut files = scene.files();
    files.sort();
    stays.sort();
    assert_eq!(files, stays);
    // What an account has goes with it; and what the disk has lost is known to be.
    let lost = scene.place("e.jpg", 3).await;
    assert_eq!(scene.put(&lost, b"555").await.status, 201);
    scene.play.home.uploads.remove(&id_in(&lost)).await;
    sweep(&scene.play.home).await;
    let storage = &scene.play.home.storage;
    assert_eq!(storage.upload(&id_in(&lost)).await.unwrap(), None);
    let account = ALICE.to_owned();
    storage.write(DeleteAccount { account }).await.unwrap();
    assert_eq!(scene.get(&late).await.status, 404);
    sweep(&scene.play.home).await;
    assert_eq!(scene.files(), ["README"]);
}

#[tokio::test]
async fn clients_find_how_large_a_file_may_be() {
    let mut scene = Scene::set().await;
    let ask = "<iq type='get' id='x' to='a.example'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>";
    scene.alice.send(ask).await;
    let answer = scene.alice.next(PATIENCE).await.unwrap();
    let query = answer.first_child().unwrap();
    let mut features = query.elements().filter_map(|feature| feature.attr("var"));
    assert!(features.any(|var| var == HTTP_UPLOAD));
    let form = query.elements().filter_map(|form| Form::read(form).ok());
    let form = form
        .into_iter()
        .find(|form| form.form_type() == Some(HTTP_UPLOAD));
    let form = form.unwrap();
    let field = form
        .fields
        .iter()
        .find(|field| field.var == "max-file-size");
    assert_eq!(field.unwrap().values, ["1000"]);
}

#[test]
fn a_name_is_a_name_and_no_place() {
    let long = format!("{}.jpg", "ä".repeat(200));
    let kept = format!("{}.jpg", "ä".repeat(125));
    for (name, safe) in [
        ("tea.jpg", "tea.jpg"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Windows\\a.exe", "a.exe"),
        ("..", "file"),
        ("", "file"),
        (".htaccess", "htaccess"),
        ("a\u{0}b\n.txt", "a_b_.txt"),
        ("a\"b<c>.txt", "a_b_c_.txt"),
        (long.as_str(), kept.as_str()),
    ] {
        assert_eq!(safe_name(name), safe, "{name:?}");
    }
    for (text, expected) in [
        ("image/jpeg", true),
        ("text/plain;charset=utf-8", true),
        ("image", false),
        ("image/", false),
        ("text/html\r\nX: y", false),
        ("text/ht ml", false),
        ("", false),
    ] {
        assert_eq!(is_media_type(text), expected, "{text}");
    }
    assert_eq!(escape("tea time/ä?.jpg"), "tea%20time%2F%C3%A4%3F.jpg");
}
