//! A terminal that a program runs in, and that we type into and look at.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::scene::LIMIT;

pub(crate) struct Terminal {
    socket: PathBuf,
}

impl Terminal {
    pub(crate) fn open(folder: &Path, command: &str) -> Self {
        let terminal = Self {
            socket: folder.join("tmux"),
        };
        let size = ["-x", "160", "-y", "50"];
        let home = format!("HOME={}", folder.display());
        terminal.tmux(
            &["new-session", "-d", "-e", &home, "-e", "LANG=C.UTF-8"],
            &size,
            command,
        );
        terminal
    }

    fn tmux(&self, first: &[&str], second: &[&str], last: &str) -> String {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(&self.socket).args(first).args(second);
        if !last.is_empty() {
            command.arg(last);
        }
        let output = command.output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub(crate) fn enter(&self, text: &str) {
        self.tmux(&["send-keys", "-l"], &["--"], text);
        self.tmux(&["send-keys"], &[], "Enter");
    }

    pub(crate) fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"], &[], "")
    }

    /// Waits until the screen shows the words.
    pub(crate) fn shows(&self, words: &str) {
        let started = Instant::now();
        while !self.screen().contains(words) {
            let screen = self.screen();
            assert!(
                started.elapsed() < LIMIT,
                "no {words:?} on the screen:\n{screen}"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"], &[], "");
    }
}
