//! `comity user …`, answered by the running server.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use comity_conf::Conf;

use super::password::{self, Source};
use crate::admin::client::{Client, Error};
use crate::admin::protocol::{Answer, Request};
use crate::passwords;

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
    List { domain: Option<String> },
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
        Command::List { domain } => return Ok(list(&mut client, domain).await?),
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

async fn list(client: &mut Client, domain: Option<String>) -> Result<(), Error> {
    let mut after = String::new();
    loop {
        let request = Request::UserList {
            domain: domain.clone(),
            after,
        };
        let Answer::Users { users, more } = client.ask(&request).await? else {
            return Ok(());
        };
        for user in &users {
            let state = if user.enabled { "" } else { "  (disabled)" };
            println!("{}{state}", user.jid);
        }
        match users.into_iter().next_back() {
            Some(last) if more => after = last.jid,
            _ => return Ok(()),
        }
    }
}
