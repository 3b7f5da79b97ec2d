//! The program itself: starts, is administered, ends when told, and finds everything again.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);

struct Home {
    directory: PathBuf,
}

impl Home {
    fn new(name: &str) -> Self {
        let directory =
            std::env::temp_dir().join(format!("comity-serve-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        let ports: Vec<u16> = (0..5)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect::<Vec<_>>()
            .iter()
            .map(|listener| listener.local_addr().unwrap().port())
            .collect();
        let conf = format!(
            "[server]\ndomains = [\"a.localhost\"]\ndata_dir = \"data\"\n\
             [c2s]\nlisten = [\"127.0.0.1:{}\"]\nlisten_tls = [\"127.0.0.1:{}\"]\n\
             [s2s]\nlisten = [\"127.0.0.1:{}\"]\nlisten_tls = [\"127.0.0.1:{}\"]\n\
             [web]\nlisten = [\"127.0.0.1:{}\"]\n\
             [accounts]\nscram_iterations = 4096\n[tls]\nsystem_roots = false\n",
            ports[0], ports[1], ports[2], ports[3], ports[4]
        );
        std::fs::write(directory.join("homeserver.toml"), conf).unwrap();
        Self { directory }
    }

    fn comity(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_comity"));
        command.args(arguments).current_dir(&self.directory);
        command
    }

    /// A server that answers.
    fn serve(&self) -> Server {
        let child = self
            .comity(&["serve", "--config", "homeserver.toml"])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Server(child);
        let start = Instant::now();
        while !self.user(&["list"]).status.success() {
            assert!(start.elapsed() < PATIENCE, "the server does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    fn user(&self, arguments: &[&str]) -> Output {
        let mut line = vec!["user", "--config", "homeserver.toml"];
        line.extend(arguments);
        self.comity(&line).stdin(Stdio::null()).output().unwrap()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Ends with the test, whatever becomes of that.
struct Server(Child);

impl Server {
    fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Whether it ended well, by itself.
    fn ended(&mut self) -> bool {
        let start = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.success();
            }
            assert!(start.elapsed() < PATIENCE, "the server does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

#[test]
fn accounts_outlive_the_server_that_made_them() {
    let home = Home::new("accounts");
    let mut server = home.serve();
    let made = home.user(&["add", "alice@a.localhost", "--generate"]);
    let words = said(&made);
    assert!(
        words.starts_with("created alice@a.localhost\npassword: "),
        "{words}"
    );
    // Reads its certificates again, and goes on.
    server.signal("HUP");
    assert_eq!(said(&home.user(&["list"])), "alice@a.localhost\n");
    server.signal("TERM");
    assert!(server.ended());
    let gone = home.user(&["list"]);
    assert!(!gone.status.success());
    assert!(
        said(&gone).contains("no server is running"),
        "{}",
        said(&gone)
    );

    let mut server = home.serve();
    assert_eq!(said(&home.user(&["list"])), "alice@a.localhost\n");
    server.signal("INT");
    assert!(server.ended());

    let mut server = home.serve();
    server.signal("KILL");
    assert!(!server.ended());
    let _server = home.serve();
    assert_eq!(said(&home.user(&["list"])), "alice@a.localhost\n");
}

#[test]
fn passwords_come_from_files_and_pipes() {
    let home = Home::new("passwords");
    let _server = home.serve();
    std::fs::write(home.directory.join("secret"), "from a file\n").unwrap();
    let made = home.user(&["add", "alice@a.localhost", "--password-file", "secret"]);
    assert_eq!(said(&made), "created alice@a.localhost\n");
    let mut asking = home
        .comity(&[
            "user",
            "passwd",
            "alice@a.localhost",
            "-c",
            "homeserver.toml",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    asking
        .stdin
        .take()
        .unwrap()
        .write_all(b"from a pipe\n")
        .unwrap();
    let changed = asking.wait_with_output().unwrap();
    assert_eq!(
        said(&changed),
        "changed the password of alice@a.localhost\n"
    );
    let nothing = home.user(&["passwd", "alice@a.localhost"]);
    assert!(!nothing.status.success());
    assert!(
        said(&nothing).contains("no password in the first line"),
        "{}",
        said(&nothing)
    );
    let nobody = home.user(&["passwd", "bob@a.localhost", "--generate"]);
    // A password that is nobody's is not shown.
    assert_eq!(
        said(&nobody),
        "comity: there is no account bob@a.localhost\n"
    );
}

#[test]
fn what_is_wrong_with_a_configuration_is_said_at_once() {
    let home = Home::new("wrong");
    std::fs::write(
        home.directory.join("homeserver.toml"),
        "[c2s]\nlisten_tsl = []\n",
    )
    .unwrap();
    let refused = home
        .comity(&["serve", "-c", "homeserver.toml"])
        .output()
        .unwrap();
    assert!(!refused.status.success());
    assert_eq!(
        said(&refused),
        "comity: homeserver.toml:2:1: unknown key `listen_tsl`: did you mean `listen_tls`?\n"
    );
}

#[test]
fn a_directory_has_one_server() {
    let home = Home::new("one");
    let _server = home.serve();
    let second = home
        .comity(&["serve", "-c", "homeserver.toml"])
        .output()
        .unwrap();
    assert!(!second.status.success());
    assert!(
        said(&second).contains("another server (process "),
        "{}",
        said(&second)
    );
}

#[test]
fn init_writes_what_serve_reads() {
    let home = Home::new("init");
    let written = home
        .comity(&["init", "b.localhost", "-o", "b.toml"])
        .output()
        .unwrap();
    assert!(written.status.success(), "{}", said(&written));
    assert!(said(&written).contains("_xmpp-server._tcp.b.localhost."));
    let again = home
        .comity(&["init", "b.localhost", "-o", "b.toml"])
        .output()
        .unwrap();
    assert!(said(&again).contains("exists already"), "{}", said(&again));
    let text = std::fs::read_to_string(home.directory.join("b.toml")).unwrap();
    assert!(text.contains("domains = [\"b.localhost\"]"));
}

#[test]
fn a_port_in_use_is_named() {
    let home = Home::new("port");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let conf =
        format!("[c2s]\nlisten = [\"{address}\"]\nlisten_tls = []\n[tls]\nsystem_roots = false\n");
    std::fs::write(home.directory.join("homeserver.toml"), conf).unwrap();
    let refused = home
        .comity(&["serve", "-c", "homeserver.toml"])
        .output()
        .unwrap();
    assert!(!refused.status.success());
    let words = said(&refused);
    assert!(words.contains(&address), "{words}");
    assert!(words.contains("c2s.listen: cannot listen on"), "{words}");
    assert!(words.contains("ss -ltnp"), "{words}");
}
