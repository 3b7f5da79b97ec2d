//! `comity-chat`: one command and its outcome, or a conversation line by line.

pub mod args;
mod carry_out;
pub mod clean;
mod desk;
mod files;
mod find;
pub mod identities;
pub mod identity_words;
pub mod line;
mod messages;
pub mod notify;
mod opening;
pub mod qr;
mod read;
pub mod roles;
mod rooms;
pub mod say;
pub mod screen;
mod send;

use std::io::{IsTerminal, Write};
use std::sync::Mutex;

use args::{Cli, Command};
use notify::Notifier;
use opening::opening;

use crate::agent::{Chat, ChatError, Update};

pub(crate) use desk::Desk;

/// Why a command failed, in words for the person.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failed(String);

impl Failed {
    pub(crate) fn new(why: impl std::fmt::Display) -> Self {
        Self(why.to_string())
    }
}

impl From<ChatError> for Failed {
    fn from(error: ChatError) -> Self {
        Self(error.to_string())
    }
}

type Outcome<T = ()> = Result<T, Failed>;

/// Carries out what the command line asks for.
pub async fn run(cli: Cli) -> Outcome {
    let opening = opening(&cli.who)?;
    let connection = opening.connection.clone();
    let (chat, updates) = Chat::open(opening).await?;
    let mut desk = Desk {
        chat,
        updates,
        connection,
        quiet: quiet(cli.command.as_ref()),
        json: json(cli.command.as_ref()),
        receipts: !cli.no_receipts,
        notifier: Notifier::new(
            cli.notices.notify,
            cli.notices.notify_by,
            cli.notices.notify_text,
        ),
        held: Mutex::new(None),
    };
    let outcome = match cli.command {
        None if !cli.lines && whole_screen() => screen::run(&mut desk).await,
        None => line::converse(&mut desk).await,
        Some(command) => desk.carry_out(command).await,
    };
    desk.chat.close().await;
    outcome
}

/// Somebody sits there and sees it all.
fn whole_screen() -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal() && !dumb
}

/// Output for scripts is not mixed with remarks.
fn quiet(command: Option<&Command>) -> bool {
    matches!(command, Some(Command::Read { .. }))
}

/// What happens meanwhile is told in objects as well.
fn json(command: Option<&Command>) -> bool {
    matches!(
        command,
        Some(
            Command::Invite { json: true, .. }
                | Command::Members { json: true, .. }
                | Command::Devices { json: true, .. }
                | Command::Verify {
                    asked: args::Verification { json: true, .. },
                    ..
                }
        )
    )
}

/// What an update says, if anything.
pub(crate) fn shown(update: &Update) -> Option<String> {
    match update {
        Update::Online(jid) => Some(format!("online as {jid}")),
        Update::Offline { why, .. } => Some(format!("offline: {why}")),
        Update::Engine(event) => say::event(event),
        Update::Progress(_) => None,
        Update::Plain { from, body } => Some(format!("{from} (not encrypted): {body}")),
    }
}

/// Beside the output.
fn remark_on(remark: &str) {
    eprintln!("{}", clean::clean(remark));
}

/// One line, at once: somebody may be reading from a pipe.
pub(crate) fn print_line(line: &str) {
    let mut out = std::io::stdout().lock();
    // A pipe nobody reads any more is no reason to stop delivering.
    let _ = writeln!(out, "{}", clean::clean(line)).and_then(|()| out.flush());
}
