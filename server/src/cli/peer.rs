//! `comity peer …`, answered by the running server.

use clap::Subcommand;
use comity_conf::Conf;

use crate::admin::client::{Client, Error};
use crate::admin::protocol::{Answer, Request};
use crate::time;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the roots of our certificate authorities, and those of other domains as we believe
    /// them.
    List,
    /// Believe a domain's new root, once you have compared it with its operator.
    Trust {
        domain: String,
        /// SHA-256 of the root's certificate, as `comity peer list` shows it there.
        root: String,
    },
}

/// # Errors
/// The server's refusal, or why there was no answer.
pub async fn peer(conf: &Conf, command: Command) -> Result<(), Error> {
    let mut client = Client::connect(&conf.server.data_dir).await?;
    let request = match command {
        Command::List => Request::PeerList,
        Command::Trust { domain, root } => Request::PeerTrust { domain, root },
    };
    match client.ask(&request).await? {
        Answer::Peers { peers } => {
            for peer in peers {
                let ours = if peer.own { "  (ours)" } else { "" };
                let until = time::day(peer.expires);
                println!("{}  {}  until {until}{ours}", peer.root, peer.domain);
            }
        }
        Answer::Done { what } => println!("{what}"),
        other => return Err(Error::NotUnderstood(format!("{other:?}"))),
    }
    Ok(())
}
