//! Commits that a hub accepts, each durable before it is answered: two hundred rooms of ten, each
//! with somebody who renews their keys. Beside it what mls-rs alone takes to follow commits of such
//! a group from outside (`process_incoming_message`), with credentials that nobody has to verify.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use comity_xmpp::jid::BareJid;
use integration::person::Person;
use mls_rs::client_builder::MlsConfig;
use mls_rs::external_client::ExternalClient;
use mls_rs::group::ExportedTree;
use mls_rs::identity::SigningIdentity;
use mls_rs::identity::basic::{BasicCredential, BasicIdentityProvider};
use mls_rs::mls_rules::{CommitOptions, DefaultMlsRules};
use mls_rs::{CipherSuite, CipherSuiteProvider, Client, CryptoProvider, ExtensionList, MlsMessage};
use mls_rs_crypto_openssl::OpensslCryptoProvider;
use tokio::task::JoinSet;

use crate::Extent;
use crate::ground::{Ground, invite};
use crate::process;

pub(crate) const NAME: &str = "commits accepted, 200 rooms of 10 members";
pub(crate) const BARE: &str = "mls-rs following such commits, nothing kept";
/// Of what mls-rs does alone.
pub(crate) const WANTED: f64 = 0.6;
const ROOMS: usize = 200;
const MEMBERS: usize = 10;
/// Each in some of the rooms, with a commit in one of them on its way.
const COMMITTERS: usize = 20;
const BARE_COMMITS: usize = 500;
const SUITE: CipherSuite = CipherSuite::P256_AES128;

/// Accepted for each second of the server's CPU.
pub(crate) async fn hub(extent: Extent) -> Result<f64, Box<dyn Error>> {
    let mut ground = Ground::lay("commits")?;
    let rooms = extent.of(ROOMS);
    let others = ground.members("member", MEMBERS - 1, rooms).await?;
    let committers = extent.of(COMMITTERS);
    let tally = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for n in 0..committers {
        let mut person = ground.person(&format!("committer{n}")).await?;
        let mut own = Vec::new();
        for room in (n..rooms).step_by(committers) {
            let room = person.create_room(&format!("Room {room}")).await?;
            invite(&person, &room, &others, others.len()).await?;
            own.push(room);
        }
        tasks.spawn(renew(person, own, Arc::clone(&tally)));
    }
    let rate = measure(extent, &ground, &tally).await;
    let ended = tasks.try_join_next();
    tasks.shutdown().await;
    match ended {
        Some(ended) => Err(format!("a committer ended before the bench: {ended:?}").into()),
        None => rate,
    }
}

async fn measure(
    extent: Extent,
    ground: &Ground,
    tally: &AtomicU64,
) -> Result<f64, Box<dyn Error>> {
    while tally.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(extent.window).await;
    }
    let (cpu, before) = (ground.cpu()?, tally.load(Ordering::Relaxed));
    let mut accepted = 0;
    while accepted == 0 {
        tokio::time::sleep(extent.window * 2).await;
        accepted = tally.load(Ordering::Relaxed) - before;
    }
    let cpu = ground.cpu()? - cpu;
    Ok(accepted as f64 / cpu.as_secs_f64().max(0.01))
}

async fn renew(mut person: Person, rooms: Vec<BareJid>, tally: Arc<AtomicU64>) -> io::Result<()> {
    loop {
        for room in &rooms {
            person.update(room).await.map_err(io::Error::other)?;
            tally.fetch_add(1, Ordering::Relaxed);
            person.overheard(room);
        }
    }
}

/// Followed for each second of our own CPU.
pub(crate) fn bare(extent: Extent) -> Result<f64, Box<dyn Error>> {
    let commits = extent.of(BARE_COMMITS);
    let crypto = OpensslCryptoProvider::with_enabled_cipher_suites(vec![SUITE]);
    let (info, tree, messages) = group(&crypto, commits)?;
    let observer = ExternalClient::builder()
        .crypto_provider(crypto)
        .identity_provider(BasicIdentityProvider::new())
        .build();
    let tree = ExportedTree::from_bytes(&tree)?;
    let mut group = observer.observe_group(info, Some(tree), None)?;
    let own = std::process::id();
    let cpu = process::cpu(own)?;
    for message in messages {
        group.process_incoming_message(MlsMessage::from_bytes(&message)?)?;
    }
    let cpu = (process::cpu(own)? - cpu).max(Duration::from_millis(10));
    Ok(commits as f64 / cpu.as_secs_f64())
}

type Begun = (MlsMessage, Vec<u8>, Vec<Vec<u8>>);

/// A group of ten, and the commits by which one of them renews its keys.
fn group(crypto: &OpensslCryptoProvider, commits: usize) -> Result<Begun, Box<dyn Error>> {
    let mut group = member(crypto, 0)?.create_group(
        ExtensionList::default(),
        ExtensionList::default(),
        None,
    )?;
    let mut adding = group.commit_builder();
    for n in 1..MEMBERS {
        let package = member(crypto, n)?.generate_key_package_message(
            ExtensionList::default(),
            ExtensionList::default(),
            None,
        )?;
        adding = adding.add_member(package)?;
    }
    adding.build()?;
    group.apply_pending_commit()?;
    let info = group.group_info_message(false)?;
    let tree = group.export_tree().to_bytes()?;
    let mut messages = Vec::with_capacity(commits);
    for _ in 0..commits {
        let made = group.commit(Vec::new())?;
        group.apply_pending_commit()?;
        messages.push(made.commit_message.to_bytes()?);
    }
    Ok((info, tree, messages))
}

fn member(
    crypto: &OpensslCryptoProvider,
    n: usize,
) -> Result<Client<impl MlsConfig + use<>>, Box<dyn Error>> {
    let suite = crypto
        .cipher_suite_provider(SUITE)
        .ok_or("the suite is not there")?;
    let (secret, public) = suite.signature_key_generate()?;
    let credential = BasicCredential::new(format!("member {n}").into_bytes()).into_credential();
    let options = CommitOptions::new()
        .with_ratchet_tree_extension(false)
        .with_path_required(true);
    Ok(Client::builder()
        .crypto_provider(crypto.clone())
        .identity_provider(BasicIdentityProvider::new())
        .mls_rules(DefaultMlsRules::new().with_commit_options(options))
        .signing_identity(SigningIdentity::new(credential, public), secret, SUITE)
        .build())
}
