//! The command line of `comity-chat`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use comity_net::dns::order::Start;
use comity_xmpp::jid::BareJid;

use super::notify::{By, Notify};
use crate::connection::Endpoint;
use crate::proxy::Proxy;

/// Chat that is encrypted by default, across domains and devices.
#[derive(Parser, Debug)]
#[command(name = "comity-chat", version, about)]
pub struct Cli {
    #[command(flatten)]
    pub who: Who,
    /// Without a command: line by line even on a terminal, rather than on the whole screen
    #[arg(long)]
    pub lines: bool,
    /// On the whole screen: tell nobody what was read, nor that you type
    #[arg(long, env = "COMITY_NO_RECEIPTS")]
    pub no_receipts: bool,
    #[command(flatten)]
    pub notices: Notices,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Without a command: how somebody who looks elsewhere is told of messages.
#[derive(Args, Debug)]
pub struct Notices {
    /// Of what
    #[arg(long, value_enum, default_value = "mentions", env = "COMITY_NOTIFY")]
    pub notify: Notify,
    /// How
    #[arg(long, value_enum, default_value = "auto", env = "COMITY_NOTIFY_BY")]
    pub notify_by: By,
    /// With what was said: locked screens and desktops show it, and keep it
    #[arg(long, env = "COMITY_NOTIFY_TEXT")]
    pub notify_text: bool,
}

/// Whose chat it is, and where the server is found.
#[derive(Args, Debug)]
pub struct Who {
    /// The account, such as alice@a.example
    #[arg(long, short, env = "COMITY_ACCOUNT")]
    pub account: BareJid,
    /// Where keys and messages are kept, sealed [default: ~/.local/share/comity-chat/ACCOUNT]
    #[arg(long, env = "COMITY_DATA")]
    pub data: Option<PathBuf>,
    /// A file with the account's password on its first line [default: asked for]
    #[arg(long, env = "COMITY_PASSWORD_FILE")]
    pub password_file: Option<PathBuf>,
    /// A file with the passphrase that seals the data [default: the account's password]
    #[arg(long, env = "COMITY_PASSPHRASE_FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// The server as HOST:PORT, instead of asking the DNS
    #[arg(long, env = "COMITY_SERVER")]
    pub server: Option<String>,
    /// With --server: TLS from the first byte (XEP-0368) rather than STARTTLS
    #[arg(long, requires = "server")]
    pub direct_tls: bool,
    /// Believe certificates of this CA (PEM) too; may be given several times
    #[arg(long = "ca", env = "COMITY_CA", value_delimiter = ':')]
    pub extra_roots: Vec<PathBuf>,
    /// Connect through this SOCKS5 proxy, socks5://[USER:PASSWORD@]HOST:PORT, and ask no DNS; without
    /// --server it is asked for the account's domain, port 5222
    #[arg(long, env = "COMITY_PROXY")]
    pub proxy: Option<Proxy>,
    /// Keep the device's signature keys in a PKCS#11 token, by this library of its maker; from the
    /// first start on
    #[arg(long, requires = "token_label", env = "COMITY_TOKEN_MODULE")]
    pub token_module: Option<PathBuf>,
    /// The token's label
    #[arg(long, requires = "token_module", env = "COMITY_TOKEN_LABEL")]
    pub token_label: Option<String>,
    /// A file with the token's PIN on its first line; none where it has a keypad
    #[arg(long, requires = "token_module", env = "COMITY_TOKEN_PIN_FILE")]
    pub token_pin_file: Option<PathBuf>,
    /// Delete what was said from this device after so many days [default: keep it]
    #[arg(long, env = "COMITY_KEEP_DAYS", value_parser = clap::value_parser!(u32).range(1..))]
    pub keep_days: Option<u32>,
    /// What this device is called in the account's list of devices
    #[arg(long, default_value = "comity-chat")]
    pub device_name: String,
}

impl Who {
    /// The server named, if one is: `host:port`, `[2001:db8::1]:port`.
    pub fn endpoint(&self) -> Result<Option<Endpoint>, String> {
        let Some(server) = &self.server else {
            return Ok(None);
        };
        let wrong = || format!("--server wants HOST:PORT, not {server:?}");
        let (host, port) = server.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let start = if self.direct_tls {
            Start::Direct
        } else {
            Start::StartTls
        };
        Ok(Some(Endpoint { host, port, start }))
    }
}

/// What is compared in a room.
#[derive(Args, Debug)]
pub struct Verification {
    /// Whom to compare with [default: the whole room at once]
    pub account: Option<BareJid>,
    /// Only the device whose id begins so
    #[arg(long)]
    pub device: Option<String>,
    /// The code the other side shows, or the text of its QR code: marks who has it as verified
    #[arg(long)]
    pub code: Option<String>,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
}

#[derive(Subcommand, Debug)]
pub enum DeviceCommand {
    /// The code to compare with another of one's devices
    Code { device: String },
    /// The other device shows this code: it is mine, let it into my rooms
    Confirm {
        /// Its name, or the beginning of its id
        device: String,
        /// The code it shows [default: print the code to compare]
        code: Option<String>,
    },
    /// End a device that is lost or not mine
    Revoke { device: String },
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Make this device known and publish its keys; other commands do it when needed
    Enrol,
    /// The rooms this device is in
    Rooms,
    /// Make a room and invite people
    Create {
        /// What the members call it
        name: String,
        accounts: Vec<BareJid>,
    },
    /// Open the direct conversation with somebody
    Open { account: BareJid },
    /// Invite people with all their devices
    Invite {
        room: String,
        #[arg(required = true)]
        accounts: Vec<BareJid>,
        /// One JSON object a line, of the devices they come with too
        #[arg(long)]
        json: bool,
    },
    /// Put somebody out, with all devices
    Remove { room: String, account: BareJid },
    /// Who is owner and admin of a room; or makes somebody that
    Role {
        room: String,
        #[arg(requires = "role")]
        account: Option<BareJid>,
        #[arg(value_enum)]
        role: Option<super::roles::Wanted>,
    },
    /// Renew one's own keys in a room
    Update { room: String },
    /// Put a new secret into a room's keys, which all its devices have first said to hold
    Strengthen {
        room: String,
        /// The secret comes from the keys of this room, which all devices must share: who reads the
        /// one and not the other reads no further
        #[arg(long)]
        from: Option<String>,
    },
    /// Leave a room
    Leave { room: String },
    /// Who is in a room, by device, and who is verified
    Members {
        room: String,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Compare codes: prints those of a room or of somebody's devices, or takes the other side's
    Verify {
        room: String,
        #[command(flatten)]
        asked: Verification,
    },
    /// The devices of one's own account
    Devices {
        #[command(subcommand)]
        command: Option<DeviceCommand>,
        /// One JSON object a line
        #[arg(long, global = true)]
        json: bool,
    },
    /// Send a message; without TEXT each line of the input is one
    Send {
        /// A room (address or name), or an account one has a direct conversation with
        room: String,
        text: Option<String>,
    },
    /// Send a file, sealed for the room
    SendFile {
        /// A room (address or name), or an account one has a direct conversation with
        room: String,
        path: PathBuf,
    },
    /// Fetch a file that was sent, and open it into a folder
    Save {
        room: String,
        /// The id of the message, as `read --json` tells, or the beginning of it
        id: String,
        /// Nothing that lies there is overwritten
        #[arg(long, default_value = ".")]
        folder: PathBuf,
    },
    /// Answer a message
    Reply {
        room: String,
        /// Its id, as `read --json` tells, or the beginning of it
        id: String,
        text: String,
    },
    /// Say something else in place of an own message
    Correct {
        room: String,
        /// Its id, or the beginning of it
        id: String,
        text: String,
    },
    /// Take an own message back; whoever has read it has read it
    Retract {
        room: String,
        /// Its id, or the beginning of it
        id: String,
    },
    /// Show a message to the operator of the room's server, with proof of who said it
    Report {
        room: String,
        /// Its id, or the beginning of it
        id: String,
        /// What is wrong with it
        #[arg(default_value = "")]
        why: String,
    },
    /// React to a message; without emoji, not any more
    React {
        room: String,
        /// Its id, or the beginning of it
        id: String,
        emoji: Vec<String>,
    },
    /// Send an ordinary message, not encrypted end to end, to any XMPP address
    Plain {
        to: BareJid,
        #[arg(required_unless_present = "file")]
        text: Option<String>,
        /// Upload this file as it is, which the server can read, and send its link
        #[arg(long, conflicts_with = "text")]
        file: Option<PathBuf>,
    },
    /// Look for what was said, in everything that is kept
    Search {
        /// All of these words, in any order
        #[arg(required = true)]
        words: Vec<String>,
        /// In this room alone
        #[arg(long)]
        room: Option<String>,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// What was said, and who came and went
    Read {
        room: Option<String>,
        /// Go on with what comes
        #[arg(long, short)]
        follow: bool,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(server: &str) -> Result<Option<Endpoint>, String> {
        let cli = ["comity-chat", "-a", "alice@a.example", "--server", server];
        Cli::parse_from(cli).who.endpoint()
    }

    #[test]
    fn servers_are_read_as_people_write_them() {
        let endpoint = who("[::1]:5222").unwrap().unwrap();
        assert_eq!((endpoint.host.as_str(), endpoint.port), ("::1", 5222));
        assert_eq!(
            who("a.example:5222").unwrap().unwrap().start,
            Start::StartTls
        );
        assert!(who("a.example").is_err());
        assert!(who("a.example:none").is_err());
    }
}
