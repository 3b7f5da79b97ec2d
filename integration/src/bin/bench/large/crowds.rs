//! Those who only stand there: devices of both domains, made while their servers are stopped, by
//! both cores.

use std::error::Error;

use comity_mls_credential::provider::Provider;
use comity_xmpp::jid::BareJid;
use integration::Home;
use integration::crowd::{Crowd, CrowdDevice};
use integration::stage::Stage;
use mls_rs_core::crypto::SignatureSecretKey;
use mls_rs_core::identity::SigningIdentity;

use super::LISTENER;
use crate::process;

/// Devices of one account.
const DEVICES: usize = 20;

/// What comes between one who renews their keys and the next.
pub(crate) struct Gap {
    pub(crate) accounts: Vec<BareJid>,
    pub(crate) devices: Vec<CrowdDevice>,
    /// So many places are taken then.
    pub(crate) until: usize,
}

pub(crate) struct Crowds {
    pub(crate) gaps: Vec<Gap>,
    /// Of each domain.
    pub(crate) providers: Vec<Provider>,
    /// Two that are in no room.
    pub(crate) identities: Vec<(SigningIdentity, SignatureSecretKey)>,
}

/// An account of a gap, and how many devices it has.
struct Wanted {
    gap: usize,
    account: BareJid,
    devices: usize,
}

struct Made {
    devices: Vec<(usize, Vec<CrowdDevice>)>,
    provider: Provider,
    identity: (SigningIdentity, SignatureSecretKey),
}

pub(crate) fn make(stage: &mut Stage, members: usize) -> Result<Crowds, Box<dyn Error>> {
    let ends = ends(members);
    let mut wanted: [Vec<Wanted>; 2] = Default::default();
    let mut number = 0;
    for (gap, (place, until)) in ends.iter().enumerate() {
        let mut left = until - place - 1;
        while left > 0 {
            let home = number % 2;
            let domain = stage.homes[home].domain();
            let devices = left.min(DEVICES);
            let name = match number {
                // The first of the other domain.
                1 => LISTENER.to_owned(),
                number => format!("citizen{number}"),
            };
            wanted[home].push(Wanted {
                gap,
                account: BareJid::parse(&format!("{name}@{domain}"))?,
                devices,
            });
            left -= devices;
            number += 1;
        }
    }
    for home in &mut stage.homes {
        home.stop()?;
    }
    let made = both(&stage.homes, &wanted)?;
    for home in &mut stage.homes {
        process::on_server_core(|| home.start())?;
    }
    let mut crowds = Crowds {
        gaps: Vec::new(),
        providers: Vec::new(),
        identities: Vec::new(),
    };
    crowds.gaps.extend(ends.iter().map(|(_, until)| Gap {
        accounts: Vec::new(),
        devices: Vec::new(),
        until: *until,
    }));
    for made in made {
        for (gap, devices) in made.devices {
            let gap = &mut crowds.gaps[gap];
            gap.accounts
                .extend(devices.first().map(|d| d.account.clone()));
            gap.devices.extend(devices);
        }
        crowds.providers.push(made.provider);
        crowds.identities.push(made.identity);
    }
    Ok(crowds)
}

/// The places of those who renew their keys, and how many are taken when they do.
fn ends(members: usize) -> Vec<(usize, usize)> {
    let places = std::iter::successors(Some(1), |place| Some(2 * place));
    places
        .take_while(|place| *place < members)
        .map(|place| (place, members.min(2 * place)))
        .collect()
}

fn both(homes: &[Home], wanted: &[Vec<Wanted>; 2]) -> Result<Vec<Made>, Box<dyn Error>> {
    std::thread::scope(|scope| {
        let making: Vec<_> = homes
            .iter()
            .zip(wanted)
            .enumerate()
            .map(|(n, (home, wanted))| {
                scope.spawn(move || process::on_core_of(n, || one(home, wanted)))
            })
            .collect();
        let mut made = Vec::new();
        for making in making {
            let done = making.join().map_err(|_| "a crowd was not made")?;
            made.push(done??);
        }
        Ok(made)
    })
}

fn one(home: &Home, wanted: &[Wanted]) -> std::io::Result<Made> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let crowd = Crowd::of(home).await;
        let mut devices = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            crowd.account(&wanted.account).await;
            let made = crowd.devices(&wanted.account, wanted.devices).await;
            devices.push((wanted.gap, made));
        }
        // A leaf is in a group once, so these are nobody's of the crowd.
        let apart = BareJid::parse(&format!("apart@{}", home.domain()));
        let apart = apart.map_err(std::io::Error::other)?;
        crowd.account(&apart).await;
        let device = crowd.device(&apart, "device", 0).await;
        let identity = crowd.identity(&device).await;
        let provider = crowd.provider();
        crowd.disperse().await;
        Ok(Made {
            devices,
            provider,
            identity,
        })
    })
}
