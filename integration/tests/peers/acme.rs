//! Certificates by ACME, from Debian's pebble: every challenge it can look at.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use integration::Home;
use integration::certificates::Authority;
use integration::home::Options;
use integration::network::{Network, Place, play};
use integration::pebble::{Pebble, Running};

use crate::scene::authority;

const DOMAIN: &str = "montague.example";

/// A server that has no certificate, and is told how to get one.
fn home(network: &Network, place: Place, authority: &Authority, acme: &str) -> Home {
    let folder = network.folder().join(DOMAIN);
    let mut options = Options::new(DOMAIN, place.v4);
    options.text = Some(format!(
        "[server]\ndomains = [{DOMAIN:?}]\ndata_dir = {:?}\n\
         [c2s]\nlisten = [\"{v4}:5222\"]\nlisten_tls = []\n\
         [s2s]\nlisten = [\"{v4}:5269\"]\nlisten_tls = []\n[web]\nlisten = []\n\
         [tls]\nsystem_roots = false\nextra_roots = [{:?}]\nacme = {acme}\n",
        folder.join("data"),
        authority.file(),
        v4 = place.v4,
    ));
    let mut home = Home::new(options, &folder).unwrap();
    home.start().unwrap();
    home
}

/// Who signed what the server shows to clients.
fn issuer(home: &Home) -> String {
    let shown = std::process::Command::new("openssl")
        .args(["s_client", "-connect", &home.c2s().to_string()])
        .args([
            "-starttls",
            "xmpp",
            "-xmpphost",
            DOMAIN,
            "-servername",
            DOMAIN,
        ])
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&shown.stdout).into_owned();
    said.lines()
        .find(|line| line.starts_with("issuer="))
        .unwrap_or_default()
        .to_owned()
}

async fn is_certified(home: &Home) {
    for _ in 0..60 {
        if issuer(home).contains("Pebble") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let log = std::fs::read_to_string(home.log()).unwrap();
    panic!("it shows {}; its log: {log}", issuer(home));
}

fn table(pebble: &Pebble, rest: &str) -> String {
    format!("{{ directory = {:?}, {rest} }}", pebble.directory())
}

fn by_port(name: &str, challenge: &'static str) {
    play(name, async move |network| {
        let authority = authority(network);
        let place = network.place();
        network.host(DOMAIN, place).await;
        let pebble = Pebble::start(network, &authority, network.dns.address()).await;
        let acme = table(&pebble, &format!("challenge = {challenge:?}"));
        let mut home = home(network, place, &authority, &acme);
        is_certified(&home).await;
        // What was got is kept, and used at the next start.
        home.stop().unwrap();
        drop(pebble);
        home.start().unwrap();
        assert!(issuer(&home).contains("Pebble"), "{}", issuer(&home));
        let key = home.data().join(format!("tls/acme/{DOMAIN}.pem"));
        let mode = std::fs::metadata(key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    });
}

#[test]
fn a_certificate_by_http_01() {
    by_port("acme-http", "http-01");
}

#[test]
fn a_certificate_by_tls_alpn_01() {
    by_port("acme-tls", "tls-alpn-01");
}

/// With a name server that takes updates under a key, as an operator would have it.
#[test]
fn a_certificate_by_dns_01_and_an_update_of_the_dns() {
    play("acme-update", async |network| {
        let authority = authority(network);
        let (place, names) = (network.place(), network.place());
        let folder = network.folder().join("knot");
        std::fs::create_dir_all(&folder).unwrap();
        let secret = "c2VjcmV0IG9mIHNvbWUgbGVuZ3RoIGZvciBhIHBsYXk=";
        let at = folder.display();
        let v4 = names.v4;
        let conf = format!(
            "server:\n  listen: {v4}@53\n  rundir: {at}\n\
             database:\n  storage: {at}\n\
             key:\n- id: comity\n  algorithm: hmac-sha256\n  secret: {secret}\n\
             acl:\n- id: update\n  key: comity\n  action: update\n\
             zone:\n- domain: {DOMAIN}\n  file: {at}/zone\n  acl: update\n",
        );
        std::fs::write(folder.join("knot.conf"), conf).unwrap();
        let zone = "@ 60 SOA ns hostmaster 1 60 60 600 60\n@ 60 NS ns\nns 60 A 192.0.2.1\n";
        std::fs::write(folder.join("zone"), zone).unwrap();
        let path = folder.join("knot.conf");
        let arguments = ["-c", path.to_str().unwrap()];
        let _knot = Running::start("knotd", &arguments, &[], &folder.join("log")).unwrap();
        let server = std::net::SocketAddr::from((v4, 53));
        let pebble = Pebble::start(network, &authority, server).await;
        let secret_file = folder.join("secret");
        std::fs::write(&secret_file, format!("{secret}\n")).unwrap();
        let update = format!(
            "challenge = \"dns-01\", update = {{ server = \"{server}\", key = \"comity\", \
             secret_file = {secret_file:?} }}"
        );
        let home = home(network, place, &authority, &table(&pebble, &update));
        is_certified(&home).await;
    });
}

#[test]
fn a_certificate_by_dns_01_and_a_hook() {
    play("acme-hook", async |network| {
        let authority = authority(network);
        let (place, names) = (network.place(), network.place());
        let dns = std::net::SocketAddr::from((names.v4, 53));
        let arguments = [
            "-dns01",
            &dns.to_string(),
            "-http01",
            "",
            "-https01",
            "",
            "-tlsalpn01",
            "",
        ];
        let log = network.folder().join("challtestsrv.log");
        let _names = Running::start("pebble-challtestsrv", &arguments, &[], &log).unwrap();
        let pebble = Pebble::start(network, &authority, dns).await;
        let hook = network.folder().join("hook");
        let text = "#!/bin/sh\ncase $1 in\n\
             set) body=\"{\\\"host\\\":\\\"$2.\\\",\\\"value\\\":\\\"$3\\\"}\" verb=set-txt ;;\n\
             *) body=\"{\\\"host\\\":\\\"$2.\\\"}\" verb=clear-txt ;;\nesac\n\
             echo \"$1 $2\" >>\"$0.log\"\n\
             exec curl -sf -d \"$body\" http://127.0.0.1:8055/$verb\n";
        std::fs::write(&hook, text).unwrap();
        std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
        let acme = table(&pebble, &format!("challenge = \"dns-01\", hook = {hook:?}"));
        let home = home(network, place, &authority, &acme);
        is_certified(&home).await;
        let log = std::fs::read_to_string(hook.with_extension("log")).unwrap();
        let record = format!("_acme-challenge.{DOMAIN}");
        assert_eq!(log, format!("set {record}\nunset {record}\n"));
    });
}

/// The address is somebody else's: the order fails, and the operator is told why.
#[test]
fn an_order_that_fails_is_told_of() {
    play("acme-fails", async |network| {
        let authority = authority(network);
        let (place, elsewhere) = (network.place(), network.place());
        network.dns.host(DOMAIN, elsewhere.v4.into()).await;
        // Another machine, which serves something else there.
        let _web = std::net::TcpListener::bind((elsewhere.v4, 80)).unwrap();
        let pebble = Pebble::start(network, &authority, network.dns.address()).await;
        let home = home(network, place, &authority, &table(&pebble, "contact = []"));
        let note = home.data().join(format!("tls/acme/{DOMAIN}.error"));
        for _ in 0..120 {
            if note.exists() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        assert!(!issuer(&home).contains("Pebble"));
        let output = home
            .output(&["check", "--time-server", "time.example"])
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("the last order of a certificate failed: "),
            "{said}"
        );
        assert!(
            said.contains("http-01, which is configured, cannot work"),
            "{said}"
        );
    });
}
