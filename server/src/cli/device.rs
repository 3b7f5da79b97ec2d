//! `comity device …`, answered by the running server.

use clap::Subcommand;
use comity_conf::Conf;

use super::json::{self, Json};
use crate::admin::client::{Client, Error};
use crate::admin::protocol::{Answer, Request};
use crate::time;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the devices of an account, revoked ones too.
    List {
        jid: String,
        #[command(flatten)]
        json: Json,
    },
    /// End a device for good: lost, stolen, or not its owner's. A new one can be registered.
    Revoke {
        jid: String,
        /// The device's id, or "all".
        id: String,
    },
}

/// # Errors
/// The server's refusal, or why there was no answer.
pub async fn device(conf: &Conf, command: Command) -> Result<(), Error> {
    let mut client = Client::connect(&conf.server.data_dir).await?;
    let mut as_json = false;
    let request = match command {
        Command::List { jid, json } => {
            as_json = json.json;
            Request::DeviceList { jid }
        }
        Command::Revoke { jid, id } => Request::DeviceRevoke { jid, id },
    };
    match client.ask(&request).await? {
        Answer::Devices { devices } if as_json => json::print(&devices),
        Answer::Devices { devices } => {
            for device in devices {
                let since = time::day(device.registered);
                let ended = device
                    .revoked
                    .map_or_else(String::new, |at| format!("  (revoked {})", time::day(at)));
                println!("{}  since {since}  {}{ended}", device.id, device.name);
            }
        }
        Answer::Done { what } => println!("{what}"),
        other => return Err(Error::NotUnderstood(format!("{other:?}"))),
    }
    Ok(())
}
