//! `comity user …`, answered by the running server.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use comity_conf::Conf;

use super::json::{self, Json};
use super::password::{self, Source};
use super::session;
use super::table::{age, octets};
use crate::admin::client::{Client, Error};
use crate::admin::protocol::{Answer, Request, User, UserDetail};
use crate::home::{Clock, SystemClock, millis};
use crate::passwords;
use crate::time;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make an account.
    Add {
        /// As in alice@a.example.
        jid: String,
        #[command(flatten)]
        password: PasswordFrom,
    },
    /// Give an account another password. Its sessions go on.
    Passwd {
        jid: String,
        #[command(flatten)]
        password: PasswordFrom,
    },
    /// Let an account log in again.
    Enable { jid: String },
    /// Let an account log in no longer, and end its sessions. Its data stays.
    Disable { jid: String },
    /// Delete an account with its data, and end its sessions.
    Delete { jid: String },
    /// List the accounts of a domain; of the first one served if none is named.
    List {
        domain: Option<String>,
        #[command(flatten)]
        json: Json,
    },
    /// Show an account: who is logged in, and how much is kept for it.
    Show {
        jid: String,
        #[command(flatten)]
        json: Json,
    },
}

/// Asked for at the terminal, or read from a line of standard input, unless:
#[derive(Debug, Args)]
pub struct PasswordFrom {
    /// Read the password from the first line of a file.
    #[arg(long, value_name = "FILE", conflicts_with = "generate")]
    pub password_file: Option<PathBuf>,
    /// Make a random password and print it.
    #[arg(long)]
    pub generate: bool,
}

/// # Errors
/// Why the password cannot be read, or the server's refusal.
pub async fn user(conf: &Conf, command: Command) -> Result<(), Box<dyn std::error::Error>> {
    let mut client = Client::connect(&conf.server.data_dir).await?;
    let mut generated = None;
    let request = match command {
        Command::List { domain, json } => return Ok(list(&mut client, domain, json).await?),
        Command::Show { jid, json } => return Ok(show(&mut client, jid, json).await?),
        Command::Add { jid, password } => {
            let password = read(&jid, password, &mut generated).await?;
            Request::UserAdd { jid, password }
        }
        Command::Passwd { jid, password } => {
            let password = read(&jid, password, &mut generated).await?;
            Request::UserPassword { jid, password }
        }
        Command::Enable { jid } => Request::UserEnable { jid, enabled: true },
        Command::Disable { jid } => Request::UserEnable {
            jid,
            enabled: false,
        },
        Command::Delete { jid } => Request::UserDelete { jid },
    };
    if let Answer::Done { what } = client.ask(&request).await? {
        println!("{what}");
        // Only now is it the account's password.
        if let Some(password) = generated {
            println!("password: {password}");
        }
    }
    Ok(())
}

/// A generated one is kept, to be shown.
async fn read(
    jid: &str,
    from: PasswordFrom,
    generated: &mut Option<String>,
) -> Result<String, password::Unreadable> {
    if from.generate {
        return Ok(generated.insert(passwords::generate()).clone());
    }
    let source = from.password_file.map_or(Source::Asked, Source::File);
    password::read(jid, source).await
}

async fn list(client: &mut Client, domain: Option<String>, json: Json) -> Result<(), Error> {
    let mut all: Vec<User> = Vec::new();
    loop {
        let request = Request::UserList {
            domain: domain.clone(),
            after: all.last().map_or_else(String::new, |last| last.jid.clone()),
        };
        let (users, more) = match client.ask(&request).await? {
            Answer::Users { users, more } => (users, more),
            other => return Err(Error::NotUnderstood(format!("{other:?}"))),
        };
        all.extend(users);
        if !more {
            break;
        }
    }
    if json.json {
        json::print(&all);
        return Ok(());
    }
    for user in &all {
        let state = if user.enabled { "" } else { "  (disabled)" };
        println!("{}{state}", user.jid);
    }
    Ok(())
}

async fn show(client: &mut Client, jid: String, json: Json) -> Result<(), Error> {
    match client.ask(&Request::UserShow { jid }).await? {
        Answer::UserShown { user } if json.json => json::print(&user),
        Answer::UserShown { user } => print!("{}", describe(&user, millis(SystemClock.wall()))),
        other => return Err(Error::NotUnderstood(format!("{other:?}"))),
    }
    Ok(())
}

fn describe(detail: &UserDetail, now: u64) -> String {
    let user = &detail.user;
    let state = if user.enabled { "" } else { ", may not log in" };
    let seen = match (detail.sessions.len(), detail.last_seen) {
        (1.., _) => "now".to_owned(),
        (0, Some(gone)) => format!("{} ago", age(gone, now)),
        (0, None) => "never".to_owned(),
    };
    let mut text = format!(
        "{}\n  since {}{state}; last seen: {seen}\n\
         \x20 contacts: {}, blocked: {}\n\
         \x20 waiting for it: {} messages; in its archive: {}\n\
         \x20 devices: {} ({} revoked), KeyPackages: {}, rooms: {}\n\
         \x20 its nodes (avatar, bookmarks, …): {}, {}\n",
        user.jid,
        time::day(user.created / 1000),
        detail.contacts,
        detail.blocked,
        detail.offline_messages,
        detail.archived_messages,
        detail.devices,
        detail.devices_revoked,
        detail.key_packages,
        detail.rooms,
        detail.pubsub_nodes,
        octets(detail.pubsub_octets),
    );
    if !detail.sessions.is_empty() {
        text.push('\n');
        text.push_str(&session::table(&detail.sessions, now));
    }
    text
}
