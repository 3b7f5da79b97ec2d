//! The web listener over real TLS: what it answers, what it refuses, and how it ends.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use comity_net::dns::order::Start;
use comity_net::http::{Later, Limits, Request, Response, Site, StatusCode, body, header, status};
use comity_net::listener::{Listener, Permits};
use comity_net::stop::{self, Stopper};
use comity_net::tls::{Acceptor, Certificates, Connector, Roots, local};
use comity_net::transport::Transport;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(10);
const NAME: &str = "a.example";

/// Says what it was asked, or goes on as an echo.
struct Echo;

impl Site for Echo {
    fn answer(&self, mut request: Request) -> Later<'_, Response> {
        Box::pin(async move {
            if let Some(upgrade) = request.upgrade.take() {
                tokio::spawn(async move {
                    let (mut read, mut write) = tokio::io::split(upgrade.wait().await.unwrap());
                    tokio::io::copy(&mut read, &mut write).await.unwrap();
                });
                let mut response = status(StatusCode::SWITCHING_PROTOCOLS);
                let echo = header::HeaderValue::from_static("echo");
                response.headers_mut().insert(header::UPGRADE, echo);
                return response;
            }
            let Request {
                method, host, path, ..
            } = &request;
            let said = String::from_utf8(request.body.to_vec()).unwrap();
            body("text/plain", format!("{method} {host} {path} {said}"))
        })
    }
}

struct Web {
    address: SocketAddr,
    connector: Connector,
    stopper: Stopper,
    directory: PathBuf,
}

impl Web {
    async fn start(limits: Limits) -> Self {
        let directory =
            std::env::temp_dir().join(format!("comity-http-{}", comity_net::random::id()));
        let made = local::ensure(&directory, &[NAME.to_owned()], SystemTime::now()).unwrap();
        let certificates = Certificates::load(made.certificates).unwrap();
        let permits = Permits {
            connections: 2,
            per_address: 2,
        };
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), permits);
        let listener = listener.await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stopper, stop) = stop::channel();
        let acceptor = Acceptor::web(certificates).unwrap();
        let serving = comity_net::http::serve(listener, acceptor, limits, Arc::new(Echo), stop);
        tokio::spawn(serving);
        let roots = Roots::load(false, &[made.authority]).unwrap();
        Self {
            address,
            connector: Connector::for_client(roots).unwrap(),
            stopper,
            directory,
        }
    }

    async fn connect(&self, start: Start) -> Option<Transport> {
        let socket = TcpStream::connect(self.address).await.unwrap();
        let connected = self.connector.connect(socket, NAME, start, PATIENCE);
        connected.await.ok()
    }

    async fn visit(&self) -> Visitor {
        Visitor(self.connect(Start::StartTls).await.unwrap())
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

struct Visitor(Transport);

impl Visitor {
    async fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads until this has come.
    async fn until(&mut self, end: &str) -> String {
        let mut text = Vec::new();
        let reading = async {
            while !text.ends_with(end.as_bytes()) {
                match self.0.read_u8().await {
                    Ok(byte) => text.push(byte),
                    Err(_) => break,
                }
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, reading).await.is_ok();
        let text = String::from_utf8(text).unwrap();
        assert!(in_time, "{end:?} does not come: {text:?}");
        text
    }

    /// Reads until the connection is closed.
    async fn rest(&mut self) -> String {
        self.until("there is no such end").await
    }
}

#[tokio::test]
async fn requests_are_answered_one_after_the_other() {
    let web = Web::start(Limits::default()).await;
    let mut visitor = web.visit().await;
    visitor
        .say("GET /x HTTP/1.1\r\nHost: A.example:5443\r\n\r\n")
        .await;
    let answer = visitor.until("GET a.example /x ").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(
        answer.contains("x-content-type-options: nosniff\r\n"),
        "{answer}"
    );
    visitor
        .say("POST /y HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nhi")
        .await;
    visitor.until("POST a.example /y hi").await;
}

#[tokio::test]
async fn what_is_too_much_or_not_http_is_refused() {
    let limits = Limits {
        head_bytes: 8 * 1024,
        body_bytes: 10,
        ..Limits::default()
    };
    let web = Web::start(limits).await;
    let long = "x".repeat(9 * 1024);
    let fields = "X: y\r\n".repeat(101);
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), "400"),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(),
            "400",
        ),
        (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), "431"),
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"),
            "431",
        ),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"), "431"),
        ("<stream:stream>\r\n\r\n".to_owned(), "400"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n01234567890".to_owned(),
            "413",
        ),
    ] {
        let mut visitor = web.visit().await;
        visitor.say(&request).await;
        let line = visitor.until("\r\n").await;
        let shown = &request[..request.len().min(60)];
        assert!(
            line.starts_with(&format!("HTTP/1.1 {status} ")),
            "{shown}: {line}"
        );
    }
}

#[tokio::test]
async fn who_is_slow_loses_the_connection() {
    let limits = Limits {
        patience: Duration::from_millis(200),
        ..Limits::default()
    };
    let web = Web::start(limits).await;
    let mut silent = web.visit().await;
    silent.rest().await;
    let mut half = web.visit().await;
    half.say("GET / HTTP/1.1\r\nHo").await;
    half.rest().await;
    let mut idle = web.visit().await;
    idle.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    idle.until("GET a / ").await;
    idle.rest().await;
    let mut body = web.visit().await;
    body.say("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n0")
        .await;
    assert!(body.rest().await.starts_with("HTTP/1.1 408 "));
}

#[tokio::test]
async fn no_connection_lasts_for_ever() {
    let limits = Limits {
        connection: Duration::from_millis(300),
        ..Limits::default()
    };
    let web = Web::start(limits).await;
    let mut visitor = web.visit().await;
    let asking = async {
        loop {
            let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
            if visitor.0.write_all(request).await.is_err() || visitor.0.flush().await.is_err() {
                return;
            }
            if !visitor.until("GET a / ").await.ends_with("GET a / ") {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap();
}

#[tokio::test]
async fn another_protocol_takes_over_and_keeps_its_place() {
    let limits = Limits {
        connection: Duration::from_millis(300),
        ..Limits::default()
    };
    let web = Web::start(limits).await;
    let mut visitor = web.visit().await;
    // What comes right behind the request must not be lost.
    visitor
        .say("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nfirst")
        .await;
    let answer = visitor.until("\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    visitor.until("first").await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    visitor.say("second").await;
    visitor.until("second").await;
    // Two places in all: the echo still has one.
    let _other = web.visit().await;
    let third = tokio::time::timeout(Duration::from_millis(200), web.connect(Start::StartTls));
    assert!(third.await.is_err());
}

#[tokio::test]
async fn alpn_names_http_and_nothing_else() {
    let web = Web::start(Limits::default()).await;
    // Direct TLS says `xmpp-client`.
    assert!(web.connect(Start::Direct).await.is_none());
}

#[tokio::test]
async fn at_the_end_open_connections_are_closed() {
    let mut web = Web::start(Limits::default()).await;
    let mut visitor = web.visit().await;
    visitor.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    visitor.until("GET a / ").await;
    let (stopper, _) = stop::channel();
    let stopper = std::mem::replace(&mut web.stopper, stopper);
    assert!(stopper.stop(PATIENCE).await);
    visitor.rest().await;
}
