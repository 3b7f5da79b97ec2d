//! Proxies in front of a server, which say whose each of their connections is, with the octets of the
//! PROXY protocol; and somebody who would like to be such a proxy.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use integration::Home;
use integration::home::Options;
use integration::raw::{Login, Lost, Outcome, Raw};
use integration::stage::{PASSWORD, Stage};
use integration::teller::Teller;

const DOMAIN: &str = "a.example";
const LIMIT: Duration = Duration::from_secs(20);

fn stage(play: &str, proxies: &str) -> Stage {
    let mut options = Options::new(DOMAIN, integration::address());
    options.extra = "[accounts]\nscram_iterations = 4096\n".to_owned();
    options.environment = ["COMITY_C2S__PROXIES", "COMITY_WEB__PROXIES"]
        .map(|name| (name.to_owned(), proxies.to_owned()))
        .to_vec();
    let stage = Stage::set_options(play, [options]);
    stage.homes[0].add_user("ann", PASSWORD).unwrap();
    stage
}

fn version_1(source: &str) -> Vec<u8> {
    format!("PROXY TCP4 {source} 198.51.100.1 4711 5222\r\n").into_bytes()
}

fn version_2(source: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    header.extend(source);
    header.extend([198, 51, 100, 1]);
    header.extend(4712u16.to_be_bytes());
    header.extend(5222u16.to_be_bytes());
    header
}

/// Logs in behind these octets.
fn come(home: &Home, ahead: &[u8]) -> Outcome<Teller> {
    let mut socket = TcpStream::connect(home.c2s())?;
    socket.write_all(ahead)?;
    let authority = home.ca();
    let login = Login {
        domain: DOMAIN,
        name: "ann",
        password: PASSWORD,
        authority: &authority,
    };
    Teller::begin(Raw::login_over(socket, login)?, "ann", true)
}

fn wait_for_log(home: &Home, words: &str) {
    let started = Instant::now();
    while !fs::read_to_string(home.log()).unwrap().contains(words) {
        assert!(started.elapsed() < LIMIT, "no {words:?} in the log");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn whose_a_connection_is_the_proxy_says() {
    let stage = stage("proxied", "127.0.0.0/8");
    let home = &stage.homes[0];
    come(home, &version_1("192.0.2.7")).unwrap();
    wait_for_log(home, "peer=192.0.2.7:4711");
    come(home, &version_2([192, 0, 2, 8])).unwrap();
    wait_for_log(home, "peer=192.0.2.8:4712");
    assert!(matches!(come(home, b""), Err(Lost)));
    wait_for_log(home, "it begins with no header of the PROXY protocol");

    // What this machine alone may see, and others behind a proxy on it may not.
    let get = |ahead: &[u8]| integration::page::get_behind(home, "/metrics", ahead).unwrap();
    let page = get(&version_1("127.0.0.1"));
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    let page = get(&version_1("192.0.2.7"));
    assert!(page.starts_with("HTTP/1.1 403"), "{page}");
    assert!(
        page.contains("192.0.2.7 is not in web.metrics_from"),
        "{page}"
    );
}

#[test]
fn nobody_else_is_believed() {
    let stage = stage("no-proxy", "203.0.113.1");
    let home = &stage.homes[0];
    assert!(matches!(come(home, &version_1("192.0.2.7")), Err(Lost)));
    assert!(matches!(come(home, &version_2([192, 0, 2, 7])), Err(Lost)));
    come(home, b"").unwrap();
    wait_for_log(home, "authenticated account=ann@a.example");
    let log = fs::read_to_string(home.log()).unwrap();
    assert!(!log.contains("192.0.2.7"), "{log}");
}
