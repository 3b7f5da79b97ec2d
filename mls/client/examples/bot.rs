//! A bot: it joins every encrypted room it is invited to and answers what is said there.
//!
//! `cargo run -p comity-client --example bot -- ACCOUNT PASSWORD-FILE FOLDER [ADDRESS:PORT CA.pem…]`

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;

use comity_client::agent::{Chat, Opening, Update};
use comity_client::inbox::{Inbox, News};
use comity_mls_engine::Event;
use comity_xmpp::jid::BareJid;

/// Who the bot is and where it keeps its keys and messages, from the command line.
fn opening() -> Result<Opening, Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let mut word = |what: &'static str| words.next().ok_or(what);
    let account = BareJid::parse(&word("an account")?)?;
    let password = std::fs::read_to_string(word("a file with its password")?)?;
    let folder = PathBuf::from(word("a folder")?);
    let mut opening = Opening::new(account, password.trim_end(), folder, "bot");
    // Without a server the DNS is asked, without CAs the machine's own are believed.
    if let Ok(server) = word("a server") {
        opening.connection.endpoint = Some(server.parse::<SocketAddr>()?.into());
    }
    opening.connection.extra_roots = words.map(PathBuf::from).collect();
    Ok(opening)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (chat, updates) = Chat::open(opening()?).await?;
    let mut inbox = Inbox::new(&chat, updates);
    // What was given is dealt with when the next is asked for: a restart does not give it again.
    while let Some(news) = inbox.next().await? {
        match news {
            News::Said(said) if !said.mine => {
                if let Some(text) = said.text() {
                    chat.say(&said.room, &format!("you said: {text}")).await?;
                }
            }
            News::Said(_) | News::Update(Update::Engine(Event::Item { .. })) => {}
            // Lying servers, unknown devices: somebody should read it.
            News::Update(Update::Engine(event)) => println!("{event:?}"),
            News::Update(Update::Offline { why, last: true }) => return Err(why.into()),
            _ => {}
        }
    }
    Ok(())
}
