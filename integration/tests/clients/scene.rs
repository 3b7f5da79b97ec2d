//! What these plays begin with.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use integration::Home;
use integration::stage::{PASSWORD, Stage};

/// How long anything may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Romeo's domain, Juliet's domain, and Juliet, who answers.
pub(crate) struct Scene {
    juliet: Child,
    pub(crate) stage: Stage,
}

impl Scene {
    pub(crate) fn set(name: &str) -> Self {
        let stage = Stage::set(name, &["montague.example", "capulet.example"]);
        stage.homes[0].add_user("romeo", PASSWORD).unwrap();
        stage.homes[1].add_user("juliet", PASSWORD).unwrap();
        let mut juliet = echo(&stage.homes[1], "juliet", &[])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(juliet.stdout.as_mut().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        Self { juliet, stage }
    }

    pub(crate) fn here(&self) -> &Home {
        &self.stage.homes[0]
    }

    pub(crate) fn server(&self) -> String {
        self.here().c2s().to_string()
    }

    pub(crate) fn host(&self) -> String {
        self.here().c2s().ip().to_string()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.juliet.kill();
        let _ = self.juliet.wait();
    }
}

/// Somebody with slixmpp who answers every message, or says one and waits for the answer.
pub(crate) fn echo(home: &Home, local: &str, say: &[&str]) -> Command {
    let mut command = Command::new(integration::python());
    command
        .arg(integration::peer("echo.py"))
        .arg(format!("{local}@{}", home.domain()))
        .args([
            PASSWORD,
            &home.c2s().ip().to_string(),
            &home.c2s().port().to_string(),
        ])
        .arg(home.ca())
        .args(say);
    command
}

/// The lines that a program prints.
pub(crate) struct Lines {
    coming: Receiver<String>,
    pub(crate) seen: Vec<String>,
}

impl Lines {
    /// Of a child whose standard output is piped.
    pub(crate) fn of(child: &mut Child) -> Self {
        let stdout = child.stdout.take().unwrap();
        let (tell, coming) = channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            for line in lines {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        let seen = Vec::new();
        Self { coming, seen }
    }

    /// Waits for a line that contains the words, and says whether it came.
    pub(crate) fn have(&mut self, words: &str, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.coming.recv_timeout(left) else {
                return false;
            };
            let found = line.contains(words);
            self.seen.push(line);
            if found {
                return true;
            }
        }
    }

    /// The same, where it has to come.
    pub(crate) fn until(&mut self, words: &str) {
        let came = self.have(words, LIMIT);
        assert!(came, "no line has {words:?}:\n{}", self.seen.join("\n"));
    }
}

/// The lines of a server's log that contain some words.
pub(crate) fn logged(home: &Home, words: &str) -> Vec<String> {
    let log = std::fs::read_to_string(home.log()).unwrap();
    let lines = log.lines().filter(|line| line.contains(words));
    lines.map(str::to_owned).collect()
}
