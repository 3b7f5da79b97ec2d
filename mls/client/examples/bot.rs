//! A bot: it joins every encrypted room it is invited to and answers what is said there.
//!
//! `cargo run -p comity-client --example bot -- ACCOUNT PASSWORD-FILE FOLDER [ADDRESS:PORT CA.pem…]`

use std::collections::HashMap;
use std::error::Error;
use std::path::PathBuf;

use comity_client::agent::{Chat, Opening, Update};
use comity_client::connection::{Endpoint, Options};
use comity_client::content;
use comity_client::stream::Login;
use comity_mls_engine::{Event, Item, What};
use comity_xmpp::jid::BareJid;

/// Who the bot is and where it keeps its keys and messages, from the command line.
fn opening() -> Result<Opening, Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let mut word = |what: &'static str| words.next().ok_or(what);
    let account = BareJid::parse(&word("an account")?)?;
    let password = std::fs::read_to_string(word("a file with its password")?)?;
    let password = password.trim_end().to_owned();
    let folder = PathBuf::from(word("a folder")?);
    // Without a server the DNS is asked, without CAs the machine's own are believed.
    let server = word("a server").ok();
    let server = server.map(|server| server.parse::<std::net::SocketAddr>());
    Ok(Opening {
        passphrase: password.clone(),
        connection: Options {
            login: Login {
                account,
                password,
                resource: None,
            },
            endpoint: server.transpose()?.map(Endpoint::from),
            extra_roots: words.map(PathBuf::from).collect(),
            proxy: None,
        },
        folder,
        device_name: "bot".to_owned(),
        token: None,
    })
}

/// One line of a room: a message of somebody else is answered.
async fn take(chat: &Chat, room: BareJid, item: Item) -> Result<(), Box<dyn Error>> {
    if let What::Message(message) = &item.what
        && message.sender.account != chat.account().as_str()
        && let Some(text) = content::text_of(&room, message)
    {
        chat.say(&room, &format!("you said: {text}")).await?;
    }
    // What was dealt with is not given again after a restart.
    Ok(chat
        .with(move |engine, now| engine.mark_read(&room, item.seq, now))
        .await??)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (chat, mut updates) = Chat::open(opening()?).await?;
    let mut done = HashMap::new();
    for (room, item) in chat.unread().await? {
        done.insert(room.clone(), item.seq);
        take(&chat, room, item).await?;
    }
    while let Some(update) = updates.recv().await {
        match update {
            Update::Engine(Event::Item { room, item })
                if done.get(&room).is_none_or(|seq| *seq < item.seq) =>
            {
                take(&chat, room, item).await?;
            }
            // Lying servers, unknown devices: somebody should read it.
            Update::Engine(Event::Item { .. }) => {}
            Update::Engine(event) => println!("{event:?}"),
            Update::Offline { why, last: true } => return Err(why.into()),
            _ => {}
        }
    }
    Ok(())
}
