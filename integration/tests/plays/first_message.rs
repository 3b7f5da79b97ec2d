//! From the Debian package to a real client's first message: installed by dpkg on this machine's own
//! Debian (a copy of it that is thrown away), run as its unit says, and spoken to by go-sendxmpp.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// For all commands together, building the package not counted.
const LIMIT: Duration = Duration::from_secs(60);
const DOMAIN: &str = "first.localhost";

/// This machine, as the package finds it: what is written goes to a folder in memory.
struct Machine {
    root: PathBuf,
    server: Option<Child>,
}

impl Machine {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("comity-machine-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        run(Command::new("mount")
            .args(["-t", "tmpfs", "none"])
            .arg(&folder));
        let [upper, work, root] = ["upper", "work", "root"].map(|name| folder.join(name));
        for folder in [&upper, &work, &root] {
            fs::create_dir(folder).unwrap();
        }
        let options = format!(
            "lowerdir=/,upperdir={},workdir={}",
            upper.display(),
            work.display()
        );
        run(Command::new("mount")
            .args(["-t", "overlay", "overlay", "-o", &options])
            .arg(&root));
        let machine = Self { root, server: None };
        for (kind, at) in [("proc", "proc"), ("tmpfs", "run"), ("tmpfs", "tmp")] {
            let at = machine.root.join(at);
            run(Command::new("mount").args(["-t", kind, "none"]).arg(at));
        }
        let null = machine.root.join("dev/null");
        if !null.exists() {
            fs::File::create(&null).unwrap();
            run(Command::new("mount")
                .args(["--bind", "/dev/null"])
                .arg(&null));
        }
        machine
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("chroot");
        command
            .arg(&self.root)
            .arg(program)
            .args(arguments)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) -> String {
        run(&mut self.command(program, arguments))
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).unwrap()
    }

    /// What systemd would do of a unit that plays need.
    fn start(&mut self, unit: &str) {
        // What is said last holds.
        let unit = self.read(unit) + &self.read(&format!("{unit}.d/user.conf"));
        let value = |key: &str| {
            let found = unit
                .lines()
                .rev()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            found
                .unwrap_or_else(|| panic!("the unit has no {key}"))
                .to_owned()
        };
        assert_eq!(value("StateDirectory"), "comity");
        let words = value("ExecStart");
        let words: Vec<&str> = words.split(' ').collect();
        let (user, group) = (value("User"), value("Group"));
        let mut arguments = vec!["--reuid", &user, "--regid", &group, "--init-groups"];
        // AmbientCapabilities: nothing here is below port 1024, so that nothing is needed.
        arguments.extend(["--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]);
        arguments.extend(words);
        let log = fs::File::create(self.root.join("tmp/log")).unwrap();
        let child = self
            .command("setpriv", &arguments)
            .env("NO_COLOR", "1")
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        self.server = Some(child.unwrap());
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
        if std::thread::panicking() {
            eprintln!(
                "{}",
                fs::read_to_string(self.root.join("tmp/log")).unwrap_or_default()
            );
        }
        // All that was mounted goes with the play's namespace; earlier is tidier.
        let folder = self.root.parent().unwrap();
        let _ = Command::new("umount")
            .args(["-R", "-l"])
            .arg(folder)
            .status();
        let _ = fs::remove_dir_all(folder);
    }
}

fn run(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let [stdout, stderr] = [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(status.success(), "{command:?}: {status}\n{stdout}{stderr}");
    stdout
}

/// The package of what is built already.
fn package(output: &Path) {
    let built = integration::binary("comity");
    let folder = built.parent().unwrap();
    let profile = match folder.file_name().unwrap().to_str().unwrap() {
        "debug" => "dev",
        profile => profile,
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("package");
    run(Command::new(script)
        .arg(output)
        .env("PROFILE", profile)
        .env("CARGO_TARGET_DIR", folder.parent().unwrap()));
}

/// Two people on one machine: romeo says something, and juliet hears it.
fn first_message(machine: &Machine, romeo: &str, password: &str) {
    let ca = machine.root.join("var/lib/comity/tls/ca.pem");
    let client = |user: &str, password: &str, more: &[&str]| {
        let mut command = Command::new("go-sendxmpp");
        command
            .args(["-u", user, "-p", password, "-j", "127.0.0.1:5222"])
            .args(more)
            .env("SSL_CERT_FILE", &ca)
            .env("HOME", machine.root.join("tmp"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    };
    let juliet = format!("juliet@{DOMAIN}");
    let mut listening = client(&juliet, "sesame", &["-l", romeo]).spawn().unwrap();
    let mut heard = std::io::BufReader::new(listening.stdout.take().unwrap());
    let mut sending = client(romeo, password, &[&juliet]).spawn().unwrap();
    let mut words = sending.stdin.take().unwrap();
    words.write_all(b"But soft, what light\n").unwrap();
    drop(words);
    let sent = sending.wait_with_output().unwrap();
    assert!(
        sent.status.success(),
        "{}",
        String::from_utf8_lossy(&sent.stderr)
    );
    // Whether she was there already or comes later: it is kept for her.
    let mut line = String::new();
    while !line.contains("But soft, what light") {
        line.clear();
        let read = std::io::BufRead::read_line(&mut heard, &mut line).unwrap();
        assert!(read > 0, "she heard nothing");
    }
    let _ = listening.kill();
    let _ = listening.wait();
}

#[test]
fn from_the_package_to_the_first_message_in_a_minute() {
    integration::network::alone().unwrap();
    let mut machine = Machine::new();
    package(&machine.root.join("tmp/comity.deb"));
    let started = Instant::now();
    let said = machine.run("dpkg", &["--install", "/tmp/comity.deb"]);
    assert!(said.contains("comity init DOMAIN"), "{said}");
    let configuration = "/etc/comity/homeserver.toml";
    let said = machine.run("comity", &["init", DOMAIN, "--output", configuration]);
    let password = said
        .lines()
        .skip_while(|line| !line.contains("shown this once"))
        .find_map(|line| line.strip_prefix("     "))
        .unwrap_or_else(|| panic!("no password in {said}"));
    machine.start("lib/systemd/system/comity.service");
    while TcpStream::connect("127.0.0.1:5222").is_err() {
        assert!(started.elapsed() < LIMIT, "it does not come up");
        std::thread::sleep(Duration::from_millis(50));
    }
    fs::write(machine.root.join("tmp/password"), "sesame\n").unwrap();
    let juliet = format!("juliet@{DOMAIN}");
    let add = [
        "user",
        "add",
        &juliet,
        "--password-file",
        "/tmp/password",
        "--config",
        configuration,
    ];
    machine.run("comity", &add);
    first_message(&machine, &format!("admin@{DOMAIN}"), password);
    let took = started.elapsed();
    println!("from the package to the first message: {took:?}");
    assert!(took < LIMIT, "it took {took:?}");
    rights(&machine);
    documents(&machine);
    machine.run("dpkg", &["--purge", "comity"]);
    assert!(machine.root.join("var/lib/comity/comity.db").exists());
    assert!(!machine.root.join("etc/comity/homeserver.toml").exists());
}

/// Nobody else looks into what the server keeps.
fn rights(machine: &Machine) {
    let of = |path: &str| machine.run("stat", &["--format", "%U:%G %a", path]);
    assert_eq!(of("/var/lib/comity"), "comity:comity 700\n");
    assert_eq!(of("/var/lib/comity/comity.db"), "comity:comity 600\n");
    assert_eq!(of("/etc/comity/homeserver.toml"), "root:comity 640\n");
    let owners = machine.run("find", &["/var/lib/comity", "!", "-user", "comity"]);
    assert_eq!(owners, "", "the server's own files");
}

fn documents(machine: &Machine) {
    for path in [
        "usr/share/man/man1/comity.1.gz",
        "usr/share/man/man1/comity-user-add.1.gz",
        "usr/share/bash-completion/completions/comity",
        "usr/share/zsh/vendor-completions/_comity",
        "usr/share/doc/comity/homeserver.toml",
        "usr/share/doc/comity/manual/metrics.md",
        "usr/share/doc/comity/copyright",
        "usr/share/comity/grafana.json",
    ] {
        assert!(machine.root.join(path).is_file(), "{path} is missing");
    }
}
