//! Servers and clients are killed at random moments of a conversation. What was accepted is there
//! afterwards, once and in order, for both; and the room goes on.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use integration::Home;
use integration::stage::{PASSWORD, Stage};

const KILLS: usize = 50;
const TICK: Duration = Duration::from_millis(25);
const LIMIT: Duration = Duration::from_secs(120);
const ROOM: &str = "Tomb";

/// One person's `comity-chat`, started again whenever it was killed.
struct Talker {
    local: &'static str,
    options: Vec<String>,
    process: Child,
    input: ChildStdin,
    /// All lines it ever showed.
    shown: Arc<Mutex<Vec<String>>>,
    next: usize,
}

impl Talker {
    fn start(stage: &Stage, home: &Home, local: &'static str) -> Self {
        let options = options(stage, home, local);
        let shown = Arc::default();
        let (process, input) = open(&options, &shown);
        Self {
            local,
            options,
            process,
            input,
            shown,
            next: 1,
        }
    }

    fn restart(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        (self.process, self.input) = open(&self.options, &self.shown);
        self.enter(&format!("/room {ROOM}"));
    }

    fn enter(&mut self, line: &str) {
        // A process that was just killed takes nothing more in: then it was never accepted.
        let _ = writeln!(self.input, "{line}").and_then(|()| self.input.flush());
    }

    fn say_next(&mut self) {
        let line = format!("{} {}", self.local, self.next);
        self.next += 1;
        self.enter(&line);
    }

    fn has_shown(&self, words: &str) -> bool {
        self.shown
            .lock()
            .unwrap()
            .iter()
            .any(|line| line.contains(words))
    }

    fn wait_for(&self, words: &str) {
        let started = Instant::now();
        while !self.has_shown(words) {
            if started.elapsed() > LIMIT {
                let shown = self.shown.lock().unwrap().clone();
                let last: Vec<_> = shown.iter().rev().take(15).collect();
                panic!(
                    "{} never showed {words:?}; last, newest first: {last:#?}",
                    self.local
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Numbers of its own messages that it showed as having their place in the log.
    fn accepted(&self) -> BTreeSet<usize> {
        let marker = format!(": {} ", self.local);
        let shown = self.shown.lock().unwrap();
        shown
            .iter()
            .filter_map(|line| line.split_once(&marker)?.1.parse().ok())
            .collect()
    }

    /// Ends it, and reads from its store what it has: (seq, who said it, text).
    fn history(mut self) -> Vec<(u64, String, String)> {
        self.enter("/quit");
        self.process.wait().unwrap();
        let output = Command::new(integration::binary("comity-chat"))
            .args(&self.options)
            .args(["read", "--json", ROOM])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .filter(|item| item["type"] == "message")
            .map(|item| {
                let text = |key: &str| item[key].as_str().unwrap_or_default().to_owned();
                (item["seq"].as_u64().unwrap(), text("from"), text("text"))
            })
            .collect()
    }
}

fn options(stage: &Stage, home: &Home, local: &str) -> Vec<String> {
    let password: PathBuf = stage.folder().join("password");
    std::fs::write(&password, PASSWORD).unwrap();
    let mut options = vec![
        "--account".to_owned(),
        format!("{local}@{}", home.domain()),
        "--server".to_owned(),
        home.c2s().to_string(),
        "--password-file".to_owned(),
        password.display().to_string(),
        "--data".to_owned(),
        stage.device_folder(home, local).display().to_string(),
    ];
    for root in home.roots() {
        options.extend(["--ca".to_owned(), root.display().to_string()]);
    }
    options
}

fn open(options: &[String], shown: &Arc<Mutex<Vec<String>>>) -> (Child, ChildStdin) {
    let mut process = Command::new(integration::binary("comity-chat"))
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let input = process.stdin.take().unwrap();
    let output = BufReader::new(process.stdout.take().unwrap());
    let shown = Arc::clone(shown);
    std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            shown.lock().unwrap().push(line);
        }
    });
    (process, input)
}

/// Enough randomness to hit different moments, and the same ones again with the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

#[test]
fn fifty_kills_lose_nothing_and_double_nothing() {
    let seed = std::env::var("COMITY_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or(0x5eed_c017);
    println!("COMITY_SEED={seed}");
    let mut dice = Dice(seed);
    // They talk faster than people do.
    let swift = "[mls.rooms]\nentries_per_minute = 100000\n";
    let domains = ["montague.example", "capulet.example"];
    let mut stage = Stage::set_with("crash", &domains, swift);
    stage.homes[0].add_user("romeo", PASSWORD).unwrap();
    stage.homes[1].add_user("juliet", PASSWORD).unwrap();
    let mut talkers = [
        Talker::start(&stage, &stage.homes[0], "romeo"),
        Talker::start(&stage, &stage.homes[1], "juliet"),
    ];
    talkers[1].wait_for("this device is known");
    talkers[0].wait_for("this device is known");
    talkers[0].enter(&format!("/create {ROOM}"));
    talkers[0].wait_for("made the room");
    talkers[0].enter("/invite juliet@capulet.example");
    talkers[1].wait_for("let you into");

    for kill in 0..KILLS {
        for _ in 0..4 + dice.below(20) {
            for talker in &mut talkers {
                talker.say_next();
            }
            if dice.below(12) == 0 {
                talkers[dice.below(2)].enter("/update");
            }
            std::thread::sleep(TICK);
        }
        match dice.below(4) {
            n @ (0 | 1) => {
                stage.homes[n].kill().unwrap();
                stage.homes[n]
                    .start()
                    .unwrap_or_else(|error| panic!("kill {kill}: {error}"));
            }
            n => talkers[n - 2].restart(),
        }
    }

    for talker in &mut talkers {
        talker.enter("/update");
        let end = format!("{} end", talker.local);
        talker.enter(&end);
    }
    for talker in &talkers {
        for end in ["romeo end", "juliet end"] {
            talker.wait_for(end);
        }
    }
    compare(talkers);
}

fn compare(talkers: [Talker; 2]) {
    let accepted = talkers
        .each_ref()
        .map(|talker| (talker.local, talker.accepted()));
    let [his, hers] = talkers.map(Talker::history);
    // She holds the log from her Welcome on; nothing was said before.
    assert_eq!(his, hers, "both have the same messages in the same order");
    for (local, accepted) in accepted {
        let prefix = format!("{local} ");
        let there: Vec<usize> = his
            .iter()
            .filter_map(|(_, _, text)| text.strip_prefix(&prefix)?.parse().ok())
            .collect();
        assert!(
            there.is_sorted_by(|a, b| a < b),
            "{local}'s messages: {there:?}"
        );
        let lost: Vec<_> = accepted
            .difference(&there.iter().copied().collect())
            .copied()
            .collect();
        assert!(lost.is_empty(), "accepted of {local} and lost: {lost:?}");
        println!(
            "{local}: {} messages, {} of them shown as accepted",
            there.len(),
            accepted.len()
        );
        assert!(
            accepted.len() > KILLS,
            "only {} messages were accepted",
            accepted.len()
        );
    }
}
