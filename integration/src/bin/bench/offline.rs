//! Messages for people who are away.

use std::error::Error;

use crate::Extent;
use crate::client::{Client, message};
use crate::contender::{ACCOUNTS, Contender, DOMAIN};

pub(crate) const NAME: &str = "offline messages stored";
/// Of the accounts, the last so many are away.
const AWAY: usize = 40;
/// For each of them; ejabberd keeps a hundred by default.
const EACH: usize = 80;
const SENDERS: usize = 8;

/// Stored for each second of the server's CPU.
pub(crate) async fn run(contender: &Contender, extent: Extent) -> Result<f64, Box<dyn Error>> {
    let accounts = ACCOUNTS / extent.divisor;
    let away = (AWAY / extent.divisor).max(1);
    let mut senders = Vec::new();
    for n in 0..SENDERS.min(accounts - away) {
        senders.push(Client::login(contender, n, "bench").await?);
    }
    let cpu = contender.cpu()?;
    let all = senders.len();
    let mut sending = tokio::task::JoinSet::new();
    for (n, mut sender) in senders.into_iter().enumerate() {
        sending.spawn(async move {
            for to in (n..away).step_by(all) {
                let text = message(accounts - 1 - to, DOMAIN).replace("/bench", "");
                sender.write(&text.repeat(EACH)).await?;
            }
            // Stanzas to one server are done in order (RFC 6120 §10.1).
            let ping = format!(
                "<iq type='get' id='done' to='{DOMAIN}'><ping xmlns='urn:xmpp:ping'/></iq>"
            );
            sender.write(&ping).await?;
            sender.until("<iq").await.map(drop)
        });
    }
    while let Some(sent) = sending.join_next().await {
        sent??;
    }
    let cpu = contender.cpu()? - cpu;
    Ok((away * EACH) as f64 / cpu.as_secs_f64().max(0.01))
}
