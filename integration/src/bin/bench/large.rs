//! A room of ten thousand devices over two domains: what coming to it, committing in it and speaking
//! in it cost. Whoever has made the room commits; beside it stand members at the second, third, fifth,
//! ninth … place, who have renewed their keys once all places up to the next of them were taken. So
//! all that the path of a commit of the first is encrypted to is known nodes, as in a tree of which
//! everybody has renewed their keys.

mod alone;
mod crowds;

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use comity_xmpp::jid::BareJid;
use integration::Home;
use integration::crowd::CrowdDevice;
use integration::person::Person;
use integration::stage::{PASSWORD, Stage};
use tokio::runtime::Runtime;

use crate::Extent;
use crate::client::{Client, Door};
use crate::contender::{Kind, believing};
use crate::device::{Listener, Tally, prove};
use crate::ground::invite;
use crate::process;
use crate::table::{Figure, Table};
use crowds::Crowds;

pub(crate) const NAME: &str = "large room";
const DOMAINS: [&str; 2] = ["montague.example", "capulet.example"];
const MEMBERS: usize = 10_000;
/// Places are filled up to these before a commit is measured; the last is the whole room.
const SIZES: [usize; 2] = [128, 1024];
const MESSAGES: u32 = 20;
/// What is aimed at.
const REACHED: Duration = Duration::from_millis(250);
const SENT: Duration = Duration::from_millis(2);
const KEPT: u64 = 32 << 10;
/// Of what mls-rs takes to join alone; of the tree's octets.
const JOINED: f64 = 1.3;
const CARRIED: f64 = 0.7;
/// Anything that is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Of the other domain's crowd, one who logs in.
const LISTENER: &str = "listener";

/// How many devices there are in the end.
fn members(extent: Extent) -> usize {
    match extent.divisor {
        1 => MEMBERS,
        // A check that it works: three who have renewed their keys, and some others.
        _ => 7,
    }
}

pub(crate) fn run(extent: Extent, table: &mut Table, runtime: &Runtime) -> Outcome {
    let members = members(extent);
    let started = Instant::now();
    let extra = format!(
        "[mls.key_packages]\nclaims_per_requester = 1000000\nclaims_per_domain = 1000000\n\
         [mls.rooms]\ndevices = {}\nentries_per_minute = 1000000\n",
        members + 10
    );
    let mut stage =
        process::on_server_core(|| Ok(Stage::set_with("bench-large", &DOMAINS, &extra)))?;
    let listener = format!("{LISTENER}@{}", DOMAINS[1]);
    stage.homes[1].add_account(&listener, crate::contender::PASSWORD)?;
    let crowds = crowds::make(&mut stage, members)?;
    let made = started.elapsed();
    eprintln!("{NAME}: devices made in {:.1} s", made.as_secs_f64());
    let join = runtime.block_on(play(&stage, &crowds, members, table))?;
    let bare = alone::join(&crowds)?;
    let name = format!("join of a room of {members}, from login to joined");
    table.set(&name, Kind::Comity, Figure::Time(join));
    table.set(
        "mls-rs joining such a room, nothing fetched or kept",
        Kind::Comity,
        Figure::Time(bare),
    );
    table.judge(
        &name,
        Figure::Time(bare.mul_f64(JOINED)),
        "1.3 × mls-rs alone, ",
    );
    Ok(())
}

/// Gives how long the last to come took to join.
async fn play(
    stage: &Stage,
    crowds: &Crowds,
    members: usize,
    table: &mut Table,
) -> Outcome<Duration> {
    let mut romeo = stage.person(0, "romeo").await?;
    let room = romeo.create_room("Verona").await?;
    let started = Instant::now();
    for (n, gap) in crowds.gaps.iter().enumerate() {
        let mut citizen = stage.person(n % 2, &format!("renewer{n}")).await?;
        invite(&romeo, &room, &[citizen.account().clone()], 1).await?;
        citizen.joined(&room).await?;
        invite(&romeo, &room, &gap.accounts, gap.devices.len()).await?;
        citizen.reaches(&room, romeo.epoch(&room).await?).await?;
        citizen.update(&room).await?;
        romeo.reaches(&room, citizen.epoch(&room).await?).await?;
        citizen.quit().await;
        if SIZES.contains(&gap.until) {
            commit(stage, &mut romeo, &room, gap.until, None, table).await?;
        }
        romeo.overheard(&room);
    }
    let taken = started.elapsed();
    eprintln!(
        "{NAME}: {members} devices invited in {:.1} s",
        taken.as_secs_f64()
    );
    let mut listeners = crowds.gaps.iter().flat_map(|gap| &gap.devices);
    let listener = listeners.find(|device| device.account.local() == Some(LISTENER));
    let listener = listener.ok_or("nobody listens at the other domain")?;
    commit(stage, &mut romeo, &room, members, Some(listener), table).await?;

    let mut nurse = stage.person(1, "nurse").await?;
    let account = nurse.account().clone();
    nurse.quit().await;
    invite(&romeo, &room, &[account], 1).await?;
    carried(stage, table)?;
    let joining = Instant::now();
    nurse = again(stage, 1, "nurse").await?;
    nurse.joined(&room).await?;
    let joined = joining.elapsed();
    nurse.reaches(&room, romeo.epoch(&room).await?).await?;
    speak(stage, romeo, nurse, &room, table).await?;
    Ok(joined)
}

async fn again(stage: &Stage, home: usize, name: &str) -> Outcome<Person> {
    let home = &stage.homes[home];
    let folder = stage.device_folder(home, name);
    Ok(Person::login(home, name, PASSWORD, "device", &folder).await?)
}

/// One commit of the first member, and when a device of the other domain is told.
async fn commit(
    stage: &Stage,
    romeo: &mut Person,
    room: &BareJid,
    size: usize,
    listener: Option<&CrowdDevice>,
    table: &mut Table,
) -> Outcome {
    let tally = Arc::new(Tally::default());
    let mut listening = None;
    if let Some(device) = listener {
        let (door, client) = enter(&stage.homes[1], device).await?;
        let seq = romeo.send(room, "Who is there?").await?;
        let listener = Listener::sync(client, &door, room, seq).await?;
        listening = Some(tokio::spawn(listener.listen(Arc::clone(&tally))));
    }
    let own = std::process::id();
    let (cpu, servers) = (process::cpu(own)?, used(stage)?);
    let (at, started) = (room.clone(), Instant::now());
    romeo
        .verb(move |engine, now| engine.update(&at, now))
        .await?;
    let made = started.elapsed();
    if listening.is_some() {
        while tally.delivered.load(Ordering::Relaxed) == 0 {
            if started.elapsed() > PATIENCE {
                return Err("a commit reaches nobody".into());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let name = format!("one commit in a room of {size} reaches the other domain's devices");
        let reached = started.elapsed().saturating_sub(made);
        table.set(&name, Kind::Comity, Figure::Time(reached));
        table.judge(&name, Figure::Time(REACHED), "");
    }
    romeo.updated(room).await?;
    if let Some(listening) = listening {
        listening.abort();
    }
    let (cpu, servers) = (process::cpu(own)? - cpu, used(stage)? - servers);
    let name = format!("commit in a room of {size}: CPU of the committer");
    table.set(&name, Kind::Comity, Figure::Time(cpu));
    let name = format!("commit in a room of {size}: CPU of both servers");
    table.set(&name, Kind::Comity, Figure::Time(servers));
    Ok(())
}

async fn enter(home: &Home, device: &CrowdDevice) -> Outcome<(Door, Client)> {
    let door = Door {
        address: home.c2s(),
        domain: home.domain().to_owned(),
        tls: believing(&home.ca())?,
    };
    let client = prove(&door, device).await?;
    Ok((door, client))
}

fn used(stage: &Stage) -> Outcome<Duration> {
    let mut all = Duration::ZERO;
    for home in &stage.homes {
        all += process::cpu(home.process().ok_or("a server does not run")?)?;
    }
    Ok(all)
}

/// What a joiner fetches beside its Welcome, and what it stands for.
fn carried(stage: &Stage, table: &mut Table) -> Outcome {
    let ask = |home: &Home, statement: &str| -> Outcome<u64> {
        let output = std::process::Command::new("sqlite3")
            .arg(home.data().join("comity.db"))
            .arg(statement)
            .output()?;
        Ok(String::from_utf8(output.stdout)?.trim().parse()?)
    };
    let last = "FROM welcomes WHERE seq = (SELECT MAX(seq) FROM welcomes)";
    let size =
        "COALESCE((SELECT size FROM blobs WHERE hash = tree_blob AND owner = ''), length(tree))";
    let fetched = ask(&stage.homes[1], &format!("SELECT {size} {last}"))?;
    let whole = format!("SELECT COALESCE(tree_inflated, {size}) {last}");
    let tree = ask(&stage.homes[1], &whole)?;
    let name = "tree that is fetched to join that room";
    table.set(name, Kind::Comity, Figure::Memory(fetched));
    table.set(
        "the same as RFC 9420 writes it",
        Kind::Comity,
        Figure::Memory(tree),
    );
    let most = Figure::Memory((tree as f64 * CARRIED) as u64);
    table.judge(name, most, "0.7 × the tree, ");
    Ok(())
}

/// What a message costs who says it and who hears it, each alone in this process.
async fn speak(
    stage: &Stage,
    romeo: Person,
    mut nurse: Person,
    room: &BareJid,
    table: &mut Table,
) -> Outcome {
    romeo.quit().await;
    nurse.send(room, "The first of an epoch").await?;
    let own = std::process::id();
    let cpu = process::cpu(own)?;
    for _ in 0..MESSAGES {
        nurse.send(room, crate::client::WORDS).await?;
    }
    nurse.send(room, "That is all").await?;
    let cpu = (process::cpu(own)? - cpu) / (MESSAGES + 1);
    nurse.quit().await;
    let written = process::written()?;
    let mut romeo = again(stage, 0, "romeo").await?;
    romeo.hears(room, "That is all").await?;
    let written = (process::written()? - written) / u64::from(MESSAGES + 2);
    romeo.quit().await;
    let name = "message in that room: CPU of the sender";
    table.set(name, Kind::Comity, Figure::Time(cpu));
    table.judge(name, Figure::Time(SENT), "");
    let name = "message in that room: written by a receiver";
    table.set(name, Kind::Comity, Figure::Memory(written));
    table.judge(name, Figure::Memory(KEPT), "");
    Ok(())
}
