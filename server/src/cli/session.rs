//! `comity session …`, answered by the running server.

use clap::Subcommand;
use comity_conf::Conf;

use super::json::{self, Json};
use super::table::{Table, age};
use crate::admin::client::{Client, Error};
use crate::admin::protocol::{Answer, Request, Session};
use crate::home::{Clock, SystemClock, millis};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the clients that are logged in: of an account, of a domain, or all.
    List {
        /// As in alice@a.example, or a.example.
        of: Option<String>,
        #[command(flatten)]
        json: Json,
    },
    /// End a session, or all sessions of an account. Its client may log in again.
    Kill {
        /// As in alice@a.example/phone, or alice@a.example.
        jid: String,
        /// What the client is told.
        #[arg(long, default_value = "")]
        reason: String,
    },
}

/// # Errors
/// The server's refusal, or why there was no answer.
pub async fn session(conf: &Conf, command: Command) -> Result<(), Error> {
    let mut client = Client::connect(&conf.server.data_dir).await?;
    match command {
        Command::List { of, json } => {
            let all = list(&mut client, of).await?;
            match json.json {
                true => json::print(&all),
                false if all.is_empty() => println!("nobody is logged in"),
                false => print!("{}", table(&all, millis(SystemClock.wall()))),
            }
        }
        Command::Kill { jid, reason } => {
            match client.ask(&Request::SessionKill { jid, reason }).await? {
                Answer::Done { what } => println!("{what}"),
                other => return Err(Error::NotUnderstood(format!("{other:?}"))),
            }
        }
    }
    Ok(())
}

async fn list(client: &mut Client, of: Option<String>) -> Result<Vec<Session>, Error> {
    let mut all: Vec<Session> = Vec::new();
    loop {
        let after = all.last().map_or_else(String::new, |last| last.jid.clone());
        let of = of.clone();
        match client.ask(&Request::SessionList { of, after }).await? {
            Answer::Sessions { sessions, more } => {
                all.extend(sessions);
                if !more {
                    return Ok(all);
                }
            }
            other => return Err(Error::NotUnderstood(format!("{other:?}"))),
        }
    }
}

pub(super) fn table(sessions: &[Session], now: u64) -> String {
    let mut table = Table::new(&["SESSION", "FOR", "SHOWS", "PRIORITY", "QUEUED", "DEVICE"]);
    for session in sessions {
        let dash = || "-".to_owned();
        table.row([
            session.jid.clone(),
            age(session.since, now),
            session.shown.clone().unwrap_or_else(dash),
            session.priority.to_string(),
            session.queued.to_string(),
            session.device.clone().unwrap_or_else(dash),
        ]);
    }
    table.to_string()
}
