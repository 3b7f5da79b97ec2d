//! The command line.

pub mod backup;
pub mod ca;
pub mod check;
pub mod config;
pub mod device;
pub mod generate;
pub mod init;
pub mod json;
pub mod log;
mod password;
pub mod peer;
pub mod portable;
pub mod reload;
pub mod room;
pub mod serve;
pub mod session;
pub mod stats;
pub(crate) mod table;
pub mod top;
pub mod user;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use comity_conf::{Conf, Loaded};

/// A federated homeserver: XMPP streams, MLS end to end.
#[derive(Debug, Parser)]
#[command(name = "comity", version)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server. Without a configuration it serves localhost, on loopback alone.
    Serve(File),
    /// Look for what is wrong as others see it, and say what to do.
    Check {
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        check: check::Check,
    },
    /// Write a first configuration for a domain and say what else there is to do.
    Init(init::Init),
    /// What the configuration says, and whether it can be; no server is needed.
    Config {
        #[command(flatten)]
        file: File,
        #[command(subcommand)]
        command: config::Command,
    },
    /// Have the running server take up its configuration again, and say what came of it.
    Reload(File),
    /// Write everything the server remembers into one file, sealed under a passphrase. The server may
    /// run.
    Backup {
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        sealed: backup::SealedFile,
    },
    /// Fill an empty data directory from a backup.
    Restore {
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        sealed: backup::SealedFile,
    },
    /// Accounts of the running server.
    User {
        #[command(flatten)]
        file: File,
        #[command(subcommand)]
        command: user::Command,
    },
    /// Clients that are logged in to the running server.
    Session {
        #[command(flatten)]
        file: File,
        #[command(subcommand)]
        command: session::Command,
    },
    /// Rooms that the running server orders.
    Room {
        #[command(flatten)]
        file: File,
        #[command(subcommand)]
        command: room::Command,
    },
    /// How the running server fares, in numbers.
    Stats {
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        json: json::Json,
    },
    /// How the running server fares, again and again.
    Top {
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        top: top::Top,
    },
    /// Devices of accounts of the running server.
    Device {
        #[command(flatten)]
        file: File,
        #[command(subcommand)]
        command: device::Command,
    },
    /// The certificate authority: made, moved offline, renewed; and its transparency log.
    Ca {
        #[command(flatten)]
        file: File,
        #[command(subcommand)]
        command: ca::Command,
    },
    /// Other domains, as the running server believes them.
    Peer {
        #[command(flatten)]
        file: File,
        #[command(subcommand)]
        command: peer::Command,
    },
    /// Write an account with all that is kept for it into a file that other servers read (XEP-0227).
    Export {
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        export: portable::Export,
    },
    /// Make accounts of such a file, while the server does not run.
    Import {
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        import: portable::Import,
    },
    /// Print what completes commands in a shell.
    Completions(generate::Completions),
    /// Print the manual page, or write one for each command.
    Man(generate::Man),
}

/// Which configuration.
#[derive(Debug, Args)]
pub struct File {
    /// The configuration; without one, the defaults for localhost.
    #[arg(long, short, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl File {
    /// # Errors
    /// What is wrong with the file.
    pub fn conf(&self) -> Result<Conf, comity_conf::Error> {
        self.loaded().map(|loaded| loaded.conf)
    }

    /// With where each value comes from.
    ///
    /// # Errors
    /// What is wrong with the file, or with a variable of the environment.
    pub fn loaded(&self) -> Result<Loaded, comity_conf::Error> {
        // A name or value that is no text is no setting of ours.
        let variables = std::env::vars_os()
            .filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?)));
        Loaded::read(self.config.as_deref(), variables)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_configuration_may_be_named_anywhere() {
        for line in [
            "comity user --config a.toml list",
            "comity user list --config a.toml",
            "comity user add alice@a.example -c a.toml --generate",
        ] {
            let parsed = Arguments::try_parse_from(line.split(' ')).unwrap();
            let Command::User { file, .. } = parsed.command else {
                panic!("{line}")
            };
            assert_eq!(file.config, Some("a.toml".into()), "{line}");
        }
    }
}
