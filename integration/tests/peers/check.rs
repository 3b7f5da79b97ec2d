//! `comity check` tells an operator what is wrong with a peer, and with a server of their own.

use std::net::UdpSocket;
use std::time::{Duration, SystemTime};

use integration::Home;
use integration::certificates::{Authority, Files, Shape};
use integration::network::{Network, Place, play};
use integration::peers::{Ejabberd, Options};
use serde_json::Value;

use crate::scene::{Found, authority, comity, publish, with};

const OURS: &str = "montague.example";
const THEIRS: &str = "capulet.example";

/// Exit status and findings.
fn check(home: &Home, arguments: &[&str]) -> (i32, Vec<Value>) {
    let all = [
        &["check", "--json", "--time-server", "time.example"],
        arguments,
    ]
    .concat();
    let output = home.output(&all).unwrap();
    let found = serde_json::from_slice(&output.stdout);
    let found = found.unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (output.status.code().unwrap(), found)
}

fn faults(found: &[Value]) -> String {
    let faults = found.iter().filter(|finding| finding["level"] != "ok");
    faults
        .map(|fault| format!("{}: {}\n", fault["what"], fault["todo"]))
        .collect()
}

async fn ours(network: &Network, authority: &Authority) -> Home {
    let place = network.place();
    publish(network, OURS, place, Found::Direct).await;
    comity(OURS, place, authority).start(network).unwrap()
}

#[test]
fn a_good_peer_is_well_by_both_of_its_ports() {
    play("check-good", async |network| {
        let authority = authority(network);
        let home = ours(network, &authority).await;
        let place = network.place();
        publish(network, THEIRS, place, Found::Direct).await;
        let _theirs = comity(THEIRS, place, &authority).start(network).unwrap();
        let (status, found) = check(&home, &[THEIRS]);
        assert_eq!(status, 0, "{found:#?}");
        let streams = found.iter().filter(|finding| {
            let what = finding["what"].as_str().unwrap();
            what.contains("is authenticated by our certificate (EXTERNAL);")
                && what.contains("lasts until")
        });
        assert_eq!(streams.count(), 2, "{found:#?}");
    });
}

/// What a certificate is like, and what is said of it.
fn bad(authority: &Authority, stranger: &Authority) -> Vec<(Files, &'static str)> {
    let expired = Shape {
        expired: true,
        ..Shape::dns(THEIRS)
    };
    let self_signed = Shape {
        self_signed: true,
        ..Shape::dns(THEIRS)
    };
    let issue = |name: &str, shape: &Shape<'_>| authority.issue(name, shape).unwrap();
    vec![
        (issue("expired", &expired), "the certificate expired "),
        (
            issue("self-signed", &self_signed),
            "the certificate is signed by its own key and by no authority",
        ),
        (
            issue("other", &Shape::dns("verona.example")),
            "the certificate is for verona.example, not for capulet.example",
        ),
        (
            stranger.issue("stranger", &Shape::dns(THEIRS)).unwrap(),
            "leads to no authority we believe: its issuer is unknown here",
        ),
    ]
}

#[test]
fn a_peers_bad_certificate_is_named_with_its_reason() {
    play("check-bad", async |network| {
        let authority = authority(network);
        let stranger = Authority::new("A stranger", &network.folder().join("stranger")).unwrap();
        let home = ours(network, &authority).await;
        let place = network.place();
        publish(network, THEIRS, place, Found::StartTls).await;
        for (files, why) in bad(&authority, &stranger) {
            let mut theirs = with(THEIRS, place, &authority, files)
                .start(network)
                .unwrap();
            let (status, found) = check(&home, &[THEIRS]);
            let faults = faults(&found);
            assert_eq!(status, 1, "{found:#?}");
            assert!(faults.contains(why), "{why}: {faults}");
            assert!(faults.contains("capulet.example's operator"), "{faults}");
            theirs.stop().unwrap();
        }
    });
}

#[test]
fn a_peers_certificate_that_ends_soon_is_advice() {
    play("check-soon", async |network| {
        let authority = authority(network);
        let home = ours(network, &authority).await;
        let place = network.place();
        publish(network, THEIRS, place, Found::StartTls).await;
        let shape = Shape {
            ends_soon: true,
            ..Shape::dns(THEIRS)
        };
        let files = authority.issue("soon", &shape).unwrap();
        let _theirs = with(THEIRS, place, &authority, files)
            .start(network)
            .unwrap();
        let (status, found) = check(&home, &[THEIRS]);
        let faults = faults(&found);
        assert!(faults.contains("which is soon"), "{faults}");
        let levels: Vec<&str> = (found.iter())
            .filter(|finding| finding["about"] == THEIRS)
            .filter_map(|finding| finding["level"].as_str())
            .collect();
        assert!(!levels.contains(&"fault"), "{found:#?}");
        assert_ne!(status, 0);
    });
}

/// The thief of a record has a good certificate, though not the domain's.
#[test]
fn a_stolen_record_is_named_for_what_it_leads_to() {
    play("check-stolen", async |network| {
        let authority = authority(network);
        let home = ours(network, &authority).await;
        let lair = network.place();
        let service = format!("_xmpp-server._tcp.{THEIRS}");
        network.dns.srv(&service, (0, 0), "mab.example", 5269).await;
        network.host("mab.example", lair).await;
        let files = authority.issue("mab", &Shape::dns("mab.example")).unwrap();
        let _thief = with(THEIRS, lair, &authority, files)
            .start(network)
            .unwrap();
        let (status, found) = check(&home, &[THEIRS]);
        let faults = faults(&found);
        assert_eq!(status, 1, "{found:#?}");
        let why = "the certificate is for mab.example, not for capulet.example";
        assert!(faults.contains(why), "{faults}");
        assert!(faults.contains("mab.example:5269"), "{faults}");
    });
}

/// ejabberd wants a certificate that is for clients too, as those of public authorities are not.
#[test]
fn a_peer_that_wants_dialback_is_told_of_and_then_reached_by_it() {
    play("check-dialback", async |network| {
        let authority = authority(network);
        let (here, there) = (network.place(), network.place());
        publish(network, OURS, here, Found::StartTls).await;
        publish(network, THEIRS, there, Found::StartTls).await;
        let shape = Shape::dns(THEIRS);
        let options = Options {
            domain: THEIRS.to_owned(),
            place: there,
            certificate: authority.issue(THEIRS, &shape).unwrap(),
            authority: authority.file(),
            dialback: true,
            quiet: false,
            archive: false,
        };
        let _theirs = Ejabberd::start(options, &network.folder().join(THEIRS)).unwrap();
        let public = Shape {
            server_auth_only: true,
            ..Shape::dns(OURS)
        };
        let certificate = authority.issue(OURS, &public).unwrap();
        let mut conf = with(OURS, here, &authority, certificate);
        let mut home = conf.clone().start(network).unwrap();
        let (status, found) = check(&home, &[THEIRS]);
        let said = faults(&found);
        assert_eq!(status, 1, "{found:#?}");
        assert!(said.contains("takes dialback as well: in [s2s]"), "{said}");

        home.stop().unwrap();
        conf.s2s = "dialback = \"fallback\"".to_owned();
        let home = conf.start(network).unwrap();
        let (_, found) = check(&home, &[THEIRS]);
        let by = (found.iter())
            .filter_map(|finding| finding["what"].as_str())
            .any(|what| what.contains("is authenticated by dialback"));
        assert!(by, "{found:#?}");
    });
}

#[test]
fn a_peer_that_is_not_there_is_told_from_one_that_cannot_be_found() {
    play("check-away", async |network| {
        let authority = authority(network);
        let home = ours(network, &authority).await;
        let (status, found) = check(&home, &[THEIRS]);
        assert_eq!(status, 1);
        let said = faults(&found);
        assert!(
            said.contains("_xmpp-server._tcp.capulet.example. "),
            "{said}"
        );
        publish(network, THEIRS, network.place(), Found::StartTls).await;
        // What was not found is remembered for a moment.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let (status, found) = check(&home, &[THEIRS]);
        assert_eq!(status, 1);
        let said = faults(&found);
        assert!(said.contains("Connection refused"), "{said}");
        network
            .dns
            .srv("_xmpp-server._tcp.no.example", (0, 0), ".", 0)
            .await;
        let (_, found) = check(&home, &["no.example"]);
        assert!(
            faults(&found).contains("offers no XMPP service"),
            "{found:#?}"
        );
        home.comity(&["peer", "block", THEIRS], "").unwrap();
        let (_, found) = check(&home, &[THEIRS]);
        assert!(faults(&found).contains("comity peer unblock capulet.example"));
    });
}

/// A machine whose clock is `ahead` of ours.
async fn clock(network: &Network, ahead: Duration) {
    let place = network.place();
    network.host("time.example", place).await;
    let socket = UdpSocket::bind((place.v4, 123)).unwrap();
    let socket6 = UdpSocket::bind((place.v6, 123)).unwrap();
    for socket in [socket, socket6] {
        std::thread::spawn(move || {
            let mut question = [0; 48];
            while let Ok((48, from)) = socket.recv_from(&mut question) {
                let now = SystemTime::now() + ahead;
                let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap();
                let seconds = u32::try_from(since.as_secs() + 2_208_988_800).unwrap();
                let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
                let mut answer = [0; 48];
                answer[0] = 0x24;
                answer[1] = 2;
                answer[24..32].copy_from_slice(&question[40..]);
                answer[40..44].copy_from_slice(&seconds.to_be_bytes());
                let fraction = u32::try_from(fraction).unwrap();
                answer[44..].copy_from_slice(&fraction.to_be_bytes());
                socket.send_to(&answer, from).unwrap();
            }
        });
    }
}

/// All records of a domain whose host is `place`.
async fn all_records(network: &Network, place: Place) {
    for (service, port) in [
        ("xmpp-client", 5222),
        ("xmpp-server", 5269),
        ("xmpps-server", 5270),
    ] {
        let name = format!("_{service}._tcp.{OURS}");
        network.dns.srv(&name, (0, 5), OURS, port).await;
    }
    network.host(OURS, place).await;
}

#[test]
fn all_is_well_where_all_is_well_and_only_there() {
    play("check-own", async |network| {
        let authority = authority(network);
        let place = network.place();
        clock(network, Duration::ZERO).await;
        all_records(network, place).await;
        let mut conf = comity(OURS, place, &authority);
        // The ports are asked for at every address that the DNS has.
        conf.c2s = format!("\"[{}]:5222\"", place.v6);
        let mut home = conf.clone().start(network).unwrap();
        let (status, found) = check(&home, &[]);
        assert_eq!(status, 0, "{}", faults(&found));
        assert!(found.len() >= 10, "{found:#?}");

        // Others may look in; a record leads astray; the certificate is somebody else's.
        home.stop().unwrap();
        network
            .run("chmod", &["755", home.data().to_str().unwrap()])
            .unwrap();
        let away = network.place();
        network.host("away.montague.example", away).await;
        let name = format!("_xmpp-server._tcp.{OURS}");
        network
            .dns
            .srv(&name, (0, 5), "away.montague.example", 5269)
            .await;
        conf.certificate = authority
            .issue("other", &Shape::dns("verona.example"))
            .unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
        let home = conf.start(network).unwrap();
        let (status, found) = check(&home, &[]);
        let said = faults(&found);
        assert_eq!(status, 1, "{said}");
        for words in [
            "chmod 700",
            "xmpp-server at away.montague.example:5269: ",
            "is for verona.example, not for montague.example",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
    });
}

#[test]
fn a_clock_that_is_wrong_is_a_fault() {
    play("check-clock", async |network| {
        let authority = authority(network);
        let home = ours(network, &authority).await;
        clock(network, Duration::from_secs(400)).await;
        let (status, found) = check(&home, &[]);
        assert_eq!(status, 1);
        let said = faults(&found);
        assert!(said.contains("differs from time.example's by "), "{said}");
    });
}
