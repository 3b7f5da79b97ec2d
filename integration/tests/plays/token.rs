//! Keys of a domain's CA in PKCS#11 tokens, set up by the commands that the README shows; SoftHSM
//! stands for the token.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use integration::home::{Home, Options};
use integration::page;
use integration::person::Person;
use integration::stage::PASSWORD;

const README: &str = include_str!("../../../README.md");
const DOMAIN: &str = "a.example";
const LIMIT: Duration = Duration::from_secs(60);

/// A directory with tokens of its own, which may be taken away.
struct Tokens {
    folder: PathBuf,
}

impl Tokens {
    fn new(play: &str) -> Self {
        let name = format!("comity-{play}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&folder);
        let tokens = Self { folder };
        std::fs::create_dir_all(tokens.store()).unwrap();
        let configuration = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            tokens.store().display()
        );
        std::fs::write(tokens.folder.join("softhsm2.conf"), configuration).unwrap();
        tokens
    }

    fn store(&self) -> PathBuf {
        self.folder.join("tokens")
    }

    fn environment(&self) -> (String, String) {
        let file = self.folder.join("softhsm2.conf");
        ("SOFTHSM2_CONF".to_owned(), file.display().to_string())
    }

    fn unplug(&self) {
        std::fs::rename(self.store(), self.folder.join("unplugged")).unwrap();
        std::fs::create_dir(self.store()).unwrap();
    }

    fn plug(&self) {
        std::fs::remove_dir(self.store()).unwrap();
        std::fs::rename(self.folder.join("unplugged"), self.store()).unwrap();
    }

    /// A command in the folder; what it said on both streams where it failed.
    fn run(&self, command: &str) -> Result<String, String> {
        let binary = integration::binary("comity");
        let path = format!(
            "{}:{}",
            binary.parent().unwrap().display(),
            std::env::var("PATH").unwrap()
        );
        let output = Command::new("sh")
            .args(["-euc", command])
            .current_dir(&self.folder)
            .env("PATH", path)
            .envs([self.environment()])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        match output.status.success() {
            true => Ok(said),
            false => Err(format!(
                "{command}: {said}{}",
                String::from_utf8_lossy(&output.stderr)
            )),
        }
    }

    fn home(&self, extra: &str) -> Home {
        let mut options = Options::new(DOMAIN, integration::address());
        options.extra = format!("{extra}\n[mls.rooms]\n");
        options.environment = vec![self.environment()];
        Home::new(options, &self.folder).unwrap()
    }

    async fn person(&self, home: &Home, local: &str) -> Person {
        let jid = format!("{local}@{DOMAIN}");
        let folder = self.folder.join(local);
        Person::login_as(home, &jid, PASSWORD, "device", &folder)
            .await
            .unwrap()
    }
}

/// A block of the README in that language, which holds these words.
fn block(language: &str, words: &str) -> String {
    let fence = format!("```{language}\n");
    let mut blocks = README.split(&fence).skip(1);
    let found = blocks.find_map(|rest| rest.split("```").next().filter(|b| b.contains(words)));
    found
        .unwrap_or_else(|| panic!("no {language} in the README says {words}"))
        .to_owned()
}

/// What the README has one do, but for starting the server.
fn commands() -> Vec<String> {
    let block = block("sh", "softhsm2-util");
    let lines = block.lines().map(str::trim);
    lines
        .filter(|line| !line.starts_with('#') && !line.starts_with("comity serve"))
        .map(str::to_owned)
        .collect()
}

fn metric(home: &Home, name: &str) -> f64 {
    let page = page::get(home, "/metrics").unwrap();
    let line = page.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.rsplit(' ').next());
    value
        .unwrap_or_else(|| panic!("no {name} in {page}"))
        .parse()
        .unwrap()
}

async fn eventually(what: &str, is: impl Fn() -> bool) {
    let started = Instant::now();
    while !is() {
        assert!(started.elapsed() < LIMIT, "{what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn certificates(home: &Home) -> String {
    let audit = home.comity(&["ca", "audit"], "").unwrap();
    assert!(audit.contains("as it should be"), "{audit}");
    audit
}

fn log_says(home: &Home, words: &str) -> bool {
    std::fs::read_to_string(home.log()).unwrap().contains(words)
}

fn holds_key(directory: &Path, name: &str) -> bool {
    assert!(directory.join(format!("{name}.pem")).exists());
    directory.join(format!("{name}.key")).exists()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_in_tokens_by_the_commands_of_the_readme() {
    let tokens = Tokens::new("token");
    let mut home = tokens.home(&block("toml", "mls.authority.token"));
    let set_up = commands();
    assert_eq!(set_up.len(), 7);
    for command in &set_up {
        tokens.run(command).unwrap();
    }
    home.start().unwrap();
    let ca = home.data().join("ca").join(DOMAIN);
    assert!(!holds_key(&ca, "root") && !holds_key(&ca, "issuing-1"));
    assert!(!holds_key(&tokens.folder.join("root"), "root"));
    let shown = home.comity(&["ca", "show"], "").unwrap();
    assert!(shown.contains("(offline)"), "{shown}");
    assert!(shown.contains("(in the token)"), "{shown}");

    home.add_user("alice", PASSWORD).unwrap();
    home.add_user("bob", PASSWORD).unwrap();
    let mut alice = tokens.person(&home, "alice").await;
    alice.enrolled().await.unwrap();
    let room = alice.create_room("Vault").await.unwrap();
    let before = certificates(&home);

    // Without the token nobody is certified and nothing is half done; what runs goes on.
    tokens.unplug();
    let mut bob = tokens.person(&home, "bob").await;
    eventually("the log says what is missing", || {
        log_says(&home, "there is no token \"server\"")
    })
    .await;
    alice.send(&room, "still here").await.unwrap();
    assert_eq!(certificates(&home), before);
    let failures = "comity_ca_token_failures_total";
    assert!(metric(&home, failures) > 0.0);
    let refused = format!("comity_ca_refused_total{{domain=\"{DOMAIN}\",reason=\"server\"}}");
    assert!(metric(&home, &refused) > 0.0);
    let checked = home.output(&["check"]).unwrap();
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(said.contains("there is no token \"server\""), "{said}");

    // It is back, and the client has asked again by itself.
    tokens.plug();
    bob.enrolled().await.unwrap();
    assert_ne!(certificates(&home), before);
    alice.invite(&room, bob.account()).await.unwrap();
    bob.joined(&room).await.unwrap();

    // A server without its token starts, and shows what it has signed before.
    home.stop().unwrap();
    tokens.unplug();
    home.start().unwrap();
    bob.send(&room, "and here").await.unwrap();
    alice.hears(&room, "and here").await.unwrap();
    tokens.plug();

    // The root is followed by another in its token, while the server runs.
    let token = "--module /usr/lib/softhsm/libsofthsm2.so --token vault --pin-file vault.pin";
    for command in [
        &format!("comity ca rotate-root --domain {DOMAIN} --directory root {token}"),
        "comity ca request --config homeserver.toml --output next.csr",
        &format!(
            "comity ca sign next.csr --domain {DOMAIN} --directory root --output next.pem {token}"
        ),
        "comity ca import next.pem --config homeserver.toml",
    ] {
        tokens.run(command).unwrap();
    }
    let after = home.comity(&["ca", "show"], "").unwrap();
    assert!(after.contains("follows 1 earlier roots"), "{after}");
    alice.update(&room).await.unwrap();
    bob.update(&room).await.unwrap();
    home.stop().unwrap();
    std::fs::remove_dir_all(&tokens.folder).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_in_the_servers_own_token_and_ed25519() {
    let tokens = Tokens::new("token-ed25519");
    let extra = block("toml", "mls.authority.token").replace(
        "root = \"offline\"",
        "root = \"token\"\nalgorithm = \"ed25519\"",
    );
    let mut home = tokens.home(&extra);
    let absent = home.start().unwrap_err().to_string();
    assert!(absent.contains("there is no token \"server\""), "{absent}");

    tokens.run(&commands()[1]).unwrap();
    std::fs::write(tokens.folder.join("server.pin"), "9999\n").unwrap();
    let refused = home.start().unwrap_err().to_string();
    assert!(refused.contains("refuses the PIN"), "{refused}");
    std::fs::write(tokens.folder.join("server.pin"), "1234\n").unwrap();
    home.start().unwrap();
    let ca = home.data().join("ca").join(DOMAIN);
    assert!(!holds_key(&ca, "root") && !holds_key(&ca, "issuing-1"));

    home.add_user("alice", PASSWORD).unwrap();
    let mut alice = tokens.person(&home, "alice").await;
    alice.enrolled().await.unwrap();
    let room = alice.create_room("Vault").await.unwrap();
    home.comity(&["ca", "rotate-issuing"], "").unwrap();
    home.comity(&["ca", "rotate-root"], "").unwrap();
    let shown = home.comity(&["ca", "show"], "").unwrap();
    assert_eq!(shown.matches("(in the token)").count(), 4, "{shown}");
    let algorithm = tokens
        .run("openssl x509 -in data/ca/a.example/root-2.pem -noout -text")
        .unwrap();
    assert!(algorithm.contains("ED25519"), "{algorithm}");
    alice.update(&room).await.unwrap();
    certificates(&home);
    home.stop().unwrap();
    std::fs::remove_dir_all(&tokens.folder).unwrap();
}
