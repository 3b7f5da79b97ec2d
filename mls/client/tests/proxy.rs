//! Every connection goes through the proxy, by name, or does not come to be.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::net::SocketAddr;

use comity_client::connection::{Connection, Options};
use comity_client::stream::Login;
use comity_xmpp::jid::BareJid;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What a client asked of the proxy, and what it said on the connection it got.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    host: String,
    port: u16,
    login: Option<(String, String)>,
    first: String,
}

/// A small SOCKS5 server (RFC 1928) for one connection: it answers `reply`, and if that is success
/// listens to what would go to the target.
async fn proxy(wants_login: bool, reply: u8) -> (SocketAddr, JoinHandle<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let [version, count] = octets::<2>(&mut client).await;
        assert_eq!(version, 5);
        let mut methods = vec![0; count.into()];
        client.read_exact(&mut methods).await.unwrap();
        let method = if wants_login { 2 } else { 0 };
        assert!(methods.contains(&method), "{methods:?}");
        client.write_all(&[5, method]).await.unwrap();
        let login = match wants_login {
            true => Some(login(&mut client).await),
            false => None,
        };
        let [_, command, _, kind] = octets::<4>(&mut client).await;
        // CONNECT, to a name: an address would mean that somebody was asked for it.
        assert_eq!((command, kind), (1, 3));
        let host = word(&mut client).await;
        let port = u16::from_be_bytes(octets::<2>(&mut client).await);
        let answer = [5, reply, 0, 1, 0, 0, 0, 0, 0, 0];
        client.write_all(&answer).await.unwrap();
        let mut first = String::new();
        let mut buffer = [0; 512];
        while reply == 0 && !first.contains("to=") {
            let length = client.read(&mut buffer).await.unwrap();
            assert_ne!(length, 0, "it hung up after {first:?}");
            first.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
        }
        Seen {
            host,
            port,
            login,
            first,
        }
    });
    (address, serving)
}

async fn octets<const N: usize>(client: &mut TcpStream) -> [u8; N] {
    let mut octets = [0; N];
    client.read_exact(&mut octets).await.unwrap();
    octets
}

async fn word(client: &mut TcpStream) -> String {
    let [length] = octets::<1>(client).await;
    let mut word = vec![0; length.into()];
    client.read_exact(&mut word).await.unwrap();
    String::from_utf8(word).unwrap()
}

/// RFC 1929 §2.
async fn login(client: &mut TcpStream) -> (String, String) {
    assert_eq!(octets::<1>(client).await, [1]);
    let login = (word(client).await, word(client).await);
    client.write_all(&[1, 0]).await.unwrap();
    login
}

fn options(proxy: &str) -> Options {
    Options {
        login: Login {
            account: BareJid::parse("alice@hidden.example").unwrap(),
            password: "secret".to_owned(),
            resource: None,
        },
        endpoint: None,
        extra_roots: Vec::new(),
        proxy: Some(proxy.parse().unwrap()),
    }
}

async fn fault(proxy: &str) -> String {
    Connection::open(&options(proxy))
        .await
        .err()
        .unwrap()
        .to_string()
}

#[tokio::test]
async fn the_proxy_is_told_the_name_and_nobody_else_is_asked() {
    let (address, serving) = proxy(false, 0).await;
    // The stream ends when the proxy hangs up.
    fault(&format!("socks5://{address}")).await;
    let seen = serving.await.unwrap();
    assert_eq!((seen.host.as_str(), seen.port), ("hidden.example", 5222));
    assert!(seen.first.contains("hidden.example"), "{}", seen.first);
    assert_eq!(seen.login, None);

    let (address, serving) = proxy(true, 0).await;
    fault(&format!("socks5://user:word@{address}")).await;
    let seen = serving.await.unwrap();
    assert_eq!(seen.login, Some(("user".to_owned(), "word".to_owned())));
}

#[tokio::test]
async fn there_is_no_way_around_a_proxy_that_fails() {
    // "Connection not allowed by ruleset", "host unreachable".
    for reply in [2, 4] {
        let (address, serving) = proxy(false, reply).await;
        let why = fault(&format!("socks5://{address}")).await;
        assert!(why.contains("through the proxy"), "{why}");
        assert_eq!(serving.await.unwrap().host, "hidden.example");
    }
    // Nobody listens there.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let why = fault(&format!("socks5://{address}")).await;
    assert!(why.contains("through the proxy"), "{why}");
}
