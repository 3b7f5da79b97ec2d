//! What is said in one room to 500 devices at once, and told to each of them: in ours an encrypted
//! message that is durable before anybody gets it (RFC 9420), in the others' a plain one that is not
//! kept (XEP-0045).

use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use comity_xmpp::jid::BareJid;
use integration::certificates::Authority;
use integration::network::Place;
use integration::person::Person;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::Extent;
use crate::client::{Client, Counter, WORDS};
use crate::contender::{DOMAIN, Kind, user};
use crate::device::{Listener, Tally, prove};
use crate::ground::{Ground, accounts, invite};
use crate::house::{House, Plan};

pub(crate) const NAME: &str = "delivery to 500 devices of one room";
const DEVICES: usize = 500;
/// Of them, so many speak, each when its last message is told to all, or is in the log.
const SPEAKERS: usize = 8;
const HOST: &str = "rooms.bench.example";
const PLACE: Place = Place {
    v4: Ipv4Addr::new(127, 9, 9, 11),
    v6: Ipv6Addr::LOCALHOST,
};

/// Deliveries for each second of the server's CPU.
pub(crate) async fn run(kind: Kind, extent: Extent) -> Result<f64, Box<dyn Error>> {
    match kind {
        Kind::Comity => room(extent).await,
        _ => muc(kind, extent).await,
    }
}

async fn measure(
    extent: Extent,
    tally: &Tally,
    used: &dyn Fn() -> io::Result<Duration>,
) -> Result<f64, Box<dyn Error>> {
    let mut rates = Vec::new();
    // It has begun.
    while tally.delivered.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(extent.window / 2).await;
    }
    for _ in 0..extent.rounds {
        tokio::time::sleep(extent.window / 2).await;
        let (cpu, before) = (used()?, tally.delivered.load(Ordering::Relaxed));
        tokio::time::sleep(extent.window).await;
        let (cpu, after) = (used()? - cpu, tally.delivered.load(Ordering::Relaxed));
        rates.push((after - before) as f64 / cpu.as_secs_f64().max(0.01));
    }
    rates.sort_by(f64::total_cmp);
    match rates.get(rates.len() / 2) {
        Some(rate) if *rate > 0.0 => Ok(*rate),
        _ => Err("nothing was delivered".into()),
    }
}

async fn room(extent: Extent) -> Result<f64, Box<dyn Error>> {
    let mut ground = Ground::lay("fanout")?;
    let devices = ground.crowd("guest", extent.of(DEVICES)).await?;
    let mut speakers = Vec::with_capacity(SPEAKERS);
    for n in 0..extent.of(SPEAKERS) {
        speakers.push(ground.person(&format!("speaker{n}")).await?);
    }
    let room = speakers[0].create_room("Verona").await?;
    let others: Vec<BareJid> = speakers[1..].iter().map(|s| s.account().clone()).collect();
    invite(&speakers[0], &room, &others, others.len()).await?;
    invite(&speakers[0], &room, &accounts(&devices), devices.len()).await?;
    for speaker in &mut speakers[1..] {
        speaker.joined(&room).await?;
    }
    let epoch = speakers[0].epoch(&room).await?;
    for speaker in &speakers {
        speaker.reaches(&room, epoch).await?;
    }
    let seq = speakers[0].send(&room, "Are you all there?").await?;
    let door = ground.door()?;
    let tally = Arc::new(Tally::default());
    let mut tasks = JoinSet::new();
    for device in &devices {
        let client = prove(&door, device).await?;
        let listener = Listener::sync(client, &door, &room, seq).await?;
        tasks.spawn(listener.listen(Arc::clone(&tally)));
    }
    for speaker in speakers {
        tasks.spawn(speak(speaker, room.clone()));
    }
    let rate = measure(extent, &tally, &|| ground.cpu()).await;
    let ended = tasks.try_join_next();
    tasks.shutdown().await;
    match ended {
        Some(ended) => Err(format!("a device ended before the bench: {ended:?}").into()),
        None => rate,
    }
}

async fn speak(mut speaker: Person, room: BareJid) -> io::Result<()> {
    loop {
        let sent = speaker.send(&room, WORDS).await;
        sent.map_err(io::Error::other)?;
        // What others say is not looked at.
        speaker.overheard(&room);
    }
}

async fn muc(kind: Kind, extent: Extent) -> Result<f64, Box<dyn Error>> {
    let (occupants, speakers) = (extent.of(DEVICES), extent.of(SPEAKERS));
    let folder = std::env::temp_dir().join(format!("comity-bench-muc-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    let authority = Authority::new("The bench's authority", &folder.join("authority"))?;
    let house = House::start(&Plan {
        kind,
        domain: DOMAIN,
        place: PLACE,
        authority: &authority,
        folder: &folder,
        accounts: occupants,
        muc: Some(HOST),
    })?;
    let tally = Arc::new(Tally::default());
    let mut tasks = JoinSet::new();
    let mut clients = Vec::with_capacity(occupants);
    for n in 0..occupants {
        let mut client = Client::enter(&house.door(), &user(n), "bench").await?;
        client
            .write(&format!(
                "<presence to='verona@{HOST}/occupant{n}'>\
                 <x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/></x></presence>"
            ))
            .await?;
        // It comes last (XEP-0045 §7.2.1).
        client.until("<subject").await?;
        client.until("</message>").await?;
        clients.push(client);
    }
    for (n, client) in clients.into_iter().enumerate() {
        let speaks = (n < speakers).then_some(speakers);
        tasks.spawn(occupy(client, speaks, Arc::clone(&tally)));
    }
    let rate = measure(extent, &tally, &|| house.cpu()).await;
    let ended = tasks.try_join_next();
    tasks.shutdown().await;
    drop(house);
    let _ = std::fs::remove_dir_all(&folder);
    match ended {
        Some(ended) => Err(format!("an occupant ended before the bench: {ended:?}").into()),
        None => rate,
    }
}

/// Counts what is said. One of so many who speak does it again when all of them have been heard.
async fn occupy(client: Client, speaks: Option<usize>, tally: Arc<Tally>) -> io::Result<()> {
    let words =
        format!("<message to='verona@{HOST}' type='groupchat'><body>{WORDS}</body></message>");
    let mut stream = client.into_stream();
    let mut counter = Counter::of_messages();
    let mut octets = vec![0; 16 << 10];
    let mut heard = speaks.unwrap_or_default();
    loop {
        if let Some(speakers) = speaks
            && heard >= speakers
        {
            heard -= speakers;
            stream.write_all(words.as_bytes()).await?;
            stream.flush().await?;
        }
        let read = stream.read(&mut octets).await?;
        if read == 0 {
            return Ok(());
        }
        let count = counter.count(&octets[..read]);
        heard += count;
        tally.delivered.fetch_add(count as u64, Ordering::Relaxed);
    }
}
