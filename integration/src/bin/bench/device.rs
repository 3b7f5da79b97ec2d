//! A device in a room that costs next to nothing: it proves itself and syncs by the book, and then
//! counts the entries that come and says what it has, as an engine does.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use comity_mls_credential::signed;
use comity_xmpp::jid::BareJid;
use integration::crowd::CrowdDevice;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{Client, Counter, Door};

const AS: &str = "urn:xmpp:mls:0:as";
const ROOM: &str = "urn:xmpp:mls:0:room";

/// A session that has proved its device (`mls/PROTOCOL.md`, `comity prove v1`).
pub(crate) async fn prove(door: &Door, device: &CrowdDevice) -> Result<Client, Box<dyn Error>> {
    let user = device.account.local().unwrap_or_default();
    let mut client = Client::enter(door, user, &device.id.to_string()).await?;
    let to = &door.domain;
    client
        .write(&format!(
            "<iq type='get' id='challenge' to='{to}'><challenge xmlns='{AS}'/></iq>"
        ))
        .await?;
    let answer = client.until("</nonce>").await?;
    let nonce = answer.trim_end_matches("</nonce>").rsplit('>').next();
    let nonce = STANDARD.decode(nonce.unwrap_or_default())?;
    let parts: [&[u8]; 4] = [
        &nonce,
        device.account.as_str().as_bytes(),
        device.id.as_bytes(),
        &[],
    ];
    let signature = device.key.sign(&signed::content(signed::PROVE, &parts))?;
    let signature = STANDARD.encode(signature);
    let id = device.id;
    client
        .write(&format!(
            "<iq type='set' id='prove' to='{to}'><prove xmlns='{AS}' device='{id}' \
             bound='false'><signature>{signature}</signature></prove></iq>"
        ))
        .await?;
    client.until("<proved").await?;
    Ok(client)
}

/// After so many entries an engine says what it holds, and when fewer have waited so long.
const EVERY: u64 = 16;
const AFTER: Duration = Duration::from_secs(2);

/// What all devices tell.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) delivered: AtomicU64,
}

/// A device that holds a room up to `seq` and wants what follows.
pub(crate) struct Listener {
    client: Client,
    to: String,
    room: BareJid,
    seq: u64,
}

impl Listener {
    pub(crate) async fn sync(
        mut client: Client,
        door: &Door,
        room: &BareJid,
        seq: u64,
    ) -> Result<Self, Box<dyn Error>> {
        let to = door.domain.clone();
        client
            .write(&format!(
                "<iq type='set' id='sync' to='{to}'><sync xmlns='{ROOM}'>\
                 <room jid='{room}' seq='{seq}'/></sync></iq>"
            ))
            .await?;
        client.until("<syncing").await?;
        // Its Welcome comes before anything else; it need not be kept, since nothing is read.
        for mark in ["<welcome", "</welcome>", "</message>"] {
            client.until(mark).await?;
        }
        Ok(Self {
            client,
            to,
            room: room.clone(),
            seq,
        })
    }

    /// Counts entries, and acknowledges them as an engine does: sixteen at a time, or what has come
    /// when nothing more does.
    pub(crate) async fn listen(self, tally: Arc<Tally>) -> std::io::Result<()> {
        let Self {
            client,
            to,
            room,
            mut seq,
        } = self;
        let mut stream = client.into_stream();
        let mut entries = Counter::of_messages();
        let mut said = seq;
        let mut octets = vec![0; 16 << 10];
        loop {
            let mut late = false;
            match tokio::time::timeout(AFTER, stream.read(&mut octets)).await {
                Ok(read) => {
                    let read = read?;
                    if read == 0 {
                        return Ok(());
                    }
                    let count = entries.count(&octets[..read]) as u64;
                    seq += count;
                    tally.delivered.fetch_add(count, Ordering::Relaxed);
                }
                Err(_) => late = said < seq,
            }
            if late || said + EVERY <= seq {
                said = seq;
                let stored = format!(
                    "<iq type='set' id='stored' to='{to}'>\
                     <stored xmlns='{ROOM}' room='{room}' seq='{seq}'/></iq>"
                );
                stream.write_all(stored.as_bytes()).await?;
                stream.flush().await?;
            }
        }
    }
}
