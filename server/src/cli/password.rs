//! Where a password comes from.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Octets of a password line.
const LINE_LIMIT: u64 = 4096;

pub(super) enum Source {
    File(PathBuf),
    /// At the terminal, twice; from another standard input, one line.
    Asked,
    /// The same, once: it is no new one.
    AskedOnce,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("{} cannot be read: {source}", file.display())]
    File { file: PathBuf, source: io::Error },
    #[error("standard input cannot be read: {0}")]
    Input(#[from] io::Error),
    #[error("there is no password in the first line")]
    Empty,
    #[error("the two passwords differ: nothing was changed")]
    Differ,
    #[error("interrupted: nothing was changed")]
    Interrupted,
}

pub(super) async fn read(jid: &str, source: Source) -> Result<String, Unreadable> {
    let jid = jid.to_owned();
    let read = tokio::task::spawn_blocking(move || match source {
        Source::File(file) => File::open(&file)
            .and_then(|file| line(BufReader::new(file)))
            .map_err(|source| Unreadable::File { file, source }),
        Source::Asked if io::stdin().is_terminal() => ask(&jid, &["password", "password again"]),
        Source::AskedOnce if io::stdin().is_terminal() => ask(&jid, &["password"]),
        Source::Asked | Source::AskedOnce => Ok(line(io::stdin().lock())?),
    });
    let password = tokio::select! {
        password = read => password.map_err(io::Error::other)??,
        // The thread that reads cannot be called off; the terminal is put right for it.
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            stty("echo");
            return Err(Unreadable::Interrupted);
        }
    };
    match password.is_empty() {
        true => Err(Unreadable::Empty),
        false => Ok(password),
    }
}

fn ask(jid: &str, prompts: &[&str]) -> Result<String, Unreadable> {
    let _silent = Silence::start();
    let mut answers = Vec::new();
    for prompt in prompts {
        eprint!("{prompt} for {jid}: ");
        io::stderr().flush()?;
        answers.push(line(io::stdin().lock())?);
        eprintln!();
    }
    let same = answers.windows(2).all(|two| two[0] == two[1]);
    match same {
        true => Ok(answers.pop().unwrap_or_default()),
        false => Err(Unreadable::Differ),
    }
}

/// The next line, without its end. Takes no more than that, so that another can follow.
fn line(from: impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    from.take(LINE_LIMIT).read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// The terminal does not show what is typed, until this is dropped.
struct Silence;

impl Silence {
    fn start() -> Self {
        stty("-echo");
        Self
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        stty("echo");
    }
}

/// Every Unix has stty; without it the password is shown, which is better than no account.
fn stty(mode: &str) {
    if !io::stdin().is_terminal() {
        return;
    }
    let _ = Command::new("stty")
        .arg(mode)
        .stdin(Stdio::inherit())
        .status();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_where_it_ends() {
        let check = |text: &str, expected: &str| {
            assert_eq!(line(text.as_bytes()).unwrap(), expected, "{text:?}");
        };
        check("secret\nmore\n", "secret");
        check("secret\r\n", "secret");
        check(" with spaces ", " with spaces ");
        check("", "");
    }

    #[test]
    fn a_line_has_a_bound() {
        let endless = BufReader::new(io::repeat(b'a'));
        assert_eq!(line(endless).unwrap().len(), 4096);
    }

    #[tokio::test]
    async fn an_empty_file_is_no_password() {
        let file = std::env::temp_dir().join(format!("comity-password-{}", std::process::id()));
        std::fs::write(&file, "\nsecret").unwrap();
        let read = read("a@b", Source::File(file.clone())).await;
        assert!(matches!(read, Err(Unreadable::Empty)));
        std::fs::remove_file(&file).unwrap();
    }
}
