//! Two domains, two people, one encrypted conversation; then it stays up for any XMPP client.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use integration::home::{Home, Options};
use integration::person::Person;
use integration::secrecy;

const PASSWORD: &str = "quickstart";
const HELLO: &str = "Hello Bob, nobody between us can read this.";
const REPLY: &str = "Hello Alice, neither your server nor mine.";
const AFTER: &str = "And these words have new keys.";

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> ExitCode {
    let once = std::env::args().any(|argument| argument == "--once");
    let folder = std::env::temp_dir().join(format!("comity-quickstart-{}", std::process::id()));
    let outcome = tokio::select! {
        outcome = play(&folder, once) => outcome,
        _ = tokio::signal::ctrl_c() => { say("ended by Ctrl-C; all it made is gone"); Ok(()) }
    };
    let failed = outcome.err().map(|error| {
        eprintln!(
            "quickstart: {error}\nthe servers' logs are in {}",
            folder.display()
        );
    });
    if failed.is_none() {
        // Nothing of it is anybody's: two test accounts and their keys.
        let _ = std::fs::remove_dir_all(&folder);
    }
    failed.map_or(ExitCode::SUCCESS, |()| ExitCode::FAILURE)
}

async fn play(folder: &Path, once: bool) -> Outcome {
    let homes = start(folder)?;
    let [a, b] = &homes;
    let (mut alice, mut bob) = enrol(a, b, folder).await?;
    let room = converse(&mut alice, &mut bob).await?;
    what_the_servers_saw(&homes, &room)?;
    if once {
        return Ok(());
    }
    invite_others(&homes);
    // Bob answers whoever writes to him without encryption; rooms go on as well.
    tokio::join!(alice.keep_company(), bob.keep_company());
    Ok(())
}

fn start(folder: &Path) -> Outcome<[Home; 2]> {
    say("starting two servers, a.localhost and b.localhost, each with a certificate authority …");
    let mut homes = [home("a.localhost", folder)?, home("b.localhost", folder)?];
    Home::start_together(&mut homes)?;
    for home in &homes {
        say(&format!(
            "  {} listens on {} for clients, {} for other domains and {} for browsers",
            home.domain(),
            home.c2s(),
            home.s2s(),
            home.web()
        ));
    }
    Ok(homes)
}

fn home(domain: &str, folder: &Path) -> Outcome<Home> {
    let address = Ipv4Addr::LOCALHOST;
    let options = Options {
        c2s_port: free_port()?,
        c2s_tls_port: None,
        s2s_port: free_port()?,
        web_port: free_port()?,
        ..Options::new(domain, address)
    };
    Ok(Home::new(options, &folder.join(domain))?)
}

/// A port that nobody has on loopback now; the standard ones may be taken by a real server.
fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

async fn enrol(a: &Home, b: &Home, folder: &Path) -> Outcome<(Person, Person)> {
    let mut people = Vec::new();
    for (home, local, device) in [(a, "alice", "Alice's laptop"), (b, "bob", "Bob's phone")] {
        home.add_user(local, PASSWORD)?;
        let mut person = Person::login(home, local, PASSWORD, device, &folder.join(local)).await?;
        let id = person.enrolled().await?;
        say(&format!(
            "{} logged in over TLS; {} certified the device {id} and holds its KeyPackages",
            person.account(),
            home.domain()
        ));
        people.push(person);
    }
    let bob = people.pop().ok_or("two people")?;
    let alice = people.pop().ok_or("two people")?;
    Ok((alice, bob))
}

async fn converse(alice: &mut Person, bob: &mut Person) -> Outcome<String> {
    let room = alice.create_room("Quickstart").await?;
    say(&format!(
        "Alice made the room {room}: a.localhost orders its log, and cannot read it"
    ));
    alice.invite(&room, bob.account()).await?;
    say("Alice claimed a KeyPackage of Bob's from b.localhost, and committed him to the room");
    bob.joined(&room).await?;
    say(
        "Bob joined by a Welcome that only his device could open, checked against a.localhost's CA",
    );
    let before = alice.epoch(&room).await?;
    exchange(alice, bob, &room, HELLO).await?;
    exchange(bob, alice, &room, REPLY).await?;
    alice.update(&room).await?;
    bob.reaches(&room, before + 1).await?;
    say(&format!(
        "Alice renewed her keys: the room went from epoch {before} to {}",
        before + 1
    ));
    let (hers, his) = (
        alice.authenticator(&room).await?,
        bob.authenticator(&room).await?,
    );
    if hers != his {
        return Err("the epoch authenticators differ: somebody shows them different rooms".into());
    }
    say(
        "both compute the same epoch authenticator: they are in the same room, with nobody between",
    );
    exchange(alice, bob, &room, AFTER).await?;
    Ok(room.to_string())
}

async fn exchange(
    from: &mut Person,
    to: &mut Person,
    room: &comity_xmpp::jid::BareJid,
    text: &str,
) -> Outcome {
    let seq = from.send(room, text).await?;
    let heard = to.hears(room, text).await?;
    say(&format!(
        "{} → {}: entry {seq} of the log, {} octets of text, decrypted at {}: “{heard}”",
        from.account(),
        to.account(),
        text.len(),
        to.account().domain()
    ));
    Ok(())
}

fn what_the_servers_saw(homes: &[Home; 2], room: &str) -> Outcome {
    for home in homes {
        let searched = secrecy::search(home, &[HELLO, REPLY, AFTER])?;
        say(&format!(
            "{} saw who wrote to {room}, when and how much; in {searched} octets of its database, \
             keys and logs no word of the conversation stands",
            home.domain()
        ));
    }
    Ok(())
}

fn invite_others(homes: &[Home; 2]) {
    let [a, b] = homes;
    say("");
    say("It stays up. Any XMPP client can join in (Ctrl-C ends it all):");
    for (home, local) in [(a, "alice"), (b, "bob")] {
        let (jid, ca) = (format!("{local}@{}", home.domain()), home.ca());
        say(&format!("  {jid}  password {PASSWORD}"));
        say(&format!(
            "    host {}  port {}  CA file {}",
            home.c2s().ip(),
            home.c2s().port(),
            ca.display()
        ));
    }
    let (server, ca): (String, PathBuf) = (a.c2s().to_string(), a.ca());
    say("Talk to Bob from Alice's account, not encrypted end to end; he answers:");
    say(&format!(
        "  echo hello | SSL_CERT_FILE={ca} go-sendxmpp -u alice@a.localhost -p {PASSWORD} -j {server} bob@b.localhost",
        ca = ca.display()
    ));
    say(&format!(
        "  python3 {}/peers/echo.py alice@a.localhost {PASSWORD} {} {} {} bob@b.localhost hello 'you said: hello'",
        env!("CARGO_MANIFEST_DIR"),
        a.c2s().ip(),
        a.c2s().port(),
        ca.display()
    ));
    say("Or encrypted, from a device of your own:");
    say(&format!(
        "  {} --account alice@a.localhost --server {server} --ca {}:{} --data /tmp/alice",
        integration::binary("comity-chat").display(),
        ca.display(),
        b.ca().display()
    ));
    say("    then:  /talk bob@b.localhost");
}

fn say(line: &str) {
    println!("{line}");
    // Shown at once also where the output is a file.
    let _ = std::io::stdout().flush();
}
