//! slixmpp's own integration tests against our server; `ITESTS.md`, beside this, says what comes of
//! each and why, and has to be right.

use std::collections::BTreeMap;
use std::process::{Command, Output};

use integration::Home;
use integration::certificates::{Authority, San, Shape};
use integration::comity::Comity;
use integration::network::{Network, play};
use integration::peers::{Options, Prosody};
use serde_json::Value;

/// The host that test_component.py knows by name; the others are told.
const HOST: &str = "prosody";
/// Whose rooms they use: a Prosody at another domain.
const ELSEWHERE: &str = "capulet.example";
const ACCOUNTS: [(&str, &str); 2] = [
    ("slix-ci-1", "slix-ci-1-pass"),
    ("slix-ci-2", "slix-ci-2-pass"),
];
/// Fewer have never passed.
const ENOUGH: usize = 36;

#[test]
fn slixmpps_own_tests() {
    play("itests", async |network| {
        let authority =
            Authority::new("The world's authority", &network.folder().join("ca")).unwrap();
        let _prosody = prosody(network, &authority).await;
        let home = comity(network, &authority).await;
        let output = tokio::task::block_in_place(|| run(&home, &authority));
        let found = outcomes(&output);
        let said = said();
        let other = found
            .iter()
            .filter(|(test, (outcome, _))| said.get(*test) != Some(outcome));
        let other: Vec<_> = other
            .map(|(test, (outcome, why))| format!("{test} {outcome}: {why}"))
            .collect();
        assert!(
            other.is_empty(),
            "other than ITESTS.md says:\n{}",
            other.join("\n")
        );
        assert_eq!(found.len(), said.len(), "ITESTS.md knows of other tests");
        let passed = said.values().filter(|outcome| *outcome == "passed").count();
        assert!(passed >= ENOUGH, "only {passed} pass");
    });
}

async fn prosody(network: &Network, authority: &Authority) -> Prosody {
    let place = network.place();
    let rooms = format!("muc.{ELSEWHERE}");
    for name in [ELSEWHERE, &rooms] {
        network.host(name, place).await;
    }
    let shape = Shape {
        names: vec![San::Dns(ELSEWHERE), San::Dns(&rooms)],
        ..Shape::default()
    };
    let options = Options {
        domain: ELSEWHERE.to_owned(),
        place,
        certificate: authority.issue(ELSEWHERE, &shape).unwrap(),
        authority: authority.file(),
        dialback: false,
        quiet: false,
        archive: false,
    };
    let more = format!("Component \"{rooms}\" \"muc\"\n");
    Prosody::start_with(options, &network.folder().join("elsewhere"), &more).unwrap()
}

async fn comity(network: &Network, authority: &Authority) -> Home {
    let place = network.place();
    network.host(HOST, place).await;
    let secret = network.folder().join("secret");
    std::fs::write(&secret, "secret\n").unwrap();
    let home = Comity {
        domain: HOST.to_owned(),
        place,
        certificate: authority.issue(HOST, &Shape::dns(HOST)).unwrap(),
        authority: authority.file(),
        folder: HOST.to_owned(),
        server: String::new(),
        c2s: String::new(),
        c2s_tls: format!("\"{}:5223\"", place.v4),
        s2s: String::new(),
        extra: format!(
            "[external]\naddresses = [\"muc.{ELSEWHERE}\"]\n\
             outages = [\"https://{HOST}:5443/status.json\"]\n\
             [components]\nlisten = [\"{}:5347\"]\n\
             [components.secret_files]\n\"slixmpp.{HOST}\" = {secret:?}\n",
            place.v4
        ),
    };
    let home = home.start(network).unwrap();
    for (local, password) in ACCOUNTS {
        home.add_user(local, password).unwrap();
    }
    home
}

fn run(home: &Home, authority: &Authority) -> Output {
    let mut command = Command::new(integration::python());
    command
        .arg(integration::peer("itests.py"))
        .arg(integration::cache().join("itests"))
        .env("SSL_CERT_FILE", authority.file())
        .env("CI_MUC_SERVER", format!("muc.{ELSEWHERE}"))
        // Without this, test_component.py is skipped.
        .env("CI", "woodpecker");
    for (n, (local, password)) in (1..).zip(ACCOUNTS) {
        command
            .env(
                format!("CI_ACCOUNT{n}"),
                format!("{local}@{}", home.domain()),
            )
            .env(format!("CI_ACCOUNT{n}_PASSWORD"), password);
    }
    command.output().unwrap()
}

/// What came of each test, and the words about it.
fn outcomes(output: &Output) -> BTreeMap<String, (String, String)> {
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let found = lines.map(|line: Value| {
        let word = |key: &str| line[key].as_str().unwrap().to_owned();
        (word("test"), (word("outcome"), word("why")))
    });
    let found: BTreeMap<_, _> = found.collect();
    let more = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{found:#?}{more}");
    found
}

/// What the table says will come: `| test_muc.test_kick | passed | … |`.
fn said() -> BTreeMap<String, String> {
    let rows = include_str!("ITESTS.md").lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| test_")?.split(" | ");
        Some((format!("test_{}", cells.next()?), cells.next()?.to_owned()))
    });
    rows.collect()
}
