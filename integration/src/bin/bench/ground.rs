//! One of our servers with rooms (RFC 9420), and the devices that are in them. Limits are out of the
//! way: nobody measures those.

use std::error::Error;
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use comity_xmpp::jid::BareJid;
use integration::crowd::{Crowd, CrowdDevice};
use integration::person::Person;
use integration::{Home, home};

use crate::client::Door;
use crate::contender::{DOMAIN, PASSWORD, believing};
use crate::process;

const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 9, 9, 10);
/// One account may have so many devices by default.
const DEVICES: usize = 20;
/// Accounts that are invited by one commit; an engine adds 250 devices at most.
const INVITED: usize = 12;
/// A step of making ready may take so long.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running server, and its folder, which goes with it.
pub(crate) struct Ground {
    pub(crate) home: Home,
    folder: PathBuf,
}

impl Ground {
    pub(crate) fn lay(work: &str) -> Result<Self, Box<dyn Error>> {
        let folder =
            std::env::temp_dir().join(format!("comity-bench-{work}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let mut options = home::Options::new(DOMAIN, ADDRESS);
        options.text = Some(format!(
            "[server]\ndomains = [{DOMAIN:?}]\ndata_dir = {data:?}\nlog = \"warn\"\n\
             [c2s]\nlisten = [\"{ADDRESS}:5222\"]\nlisten_tls = []\n\
             connections = 50000\nconnections_per_address = 50000\n\
             connections_per_minute = 1000000\nstanzas_per_second = 0\n\
             [archive]\ndefault = \"never\"\n\
             [s2s]\nlisten = [\"{ADDRESS}:5269\"]\nlisten_tls = []\n\
             [web]\nlisten = [\"{ADDRESS}:5443\"]\n\
             [mls.key_packages]\nclaims_per_requester = 1000000000\n\
             claims_per_target = 1000000000\nclaims_per_domain = 1000000000\n\
             [mls.rooms]\ncreated_per_day = 1000000000\nentries_per_minute = 1000000000\n\
             in_memory = 1000\n",
            data = folder.join("data"),
        ));
        let mut home = Home::new(options, &folder)?;
        process::on_server_core(|| home.start())?;
        Ok(Self { home, folder })
    }

    pub(crate) fn cpu(&self) -> io::Result<Duration> {
        let process = self.home.process();
        process::cpu(process.ok_or_else(|| io::Error::other("the server does not run"))?)
    }

    pub(crate) fn door(&self) -> Result<Door, Box<dyn Error>> {
        Ok(Door {
            address: self.home.c2s(),
            domain: DOMAIN.to_owned(),
            tls: believing(&self.home.ca())?,
        })
    }

    /// Registers so many devices, of accounts that have twenty each, with one KeyPackage each. The
    /// server is stopped meanwhile.
    pub(crate) async fn crowd(
        &mut self,
        name: &str,
        count: usize,
    ) -> Result<Vec<CrowdDevice>, Box<dyn Error>> {
        self.stocked(name, count, 0).await
    }

    /// The same, with so many further KeyPackages that are only good for being handed out.
    pub(crate) async fn stocked(
        &mut self,
        name: &str,
        count: usize,
        packages: usize,
    ) -> Result<Vec<CrowdDevice>, Box<dyn Error>> {
        let accounts = self.accounts(name, count.div_ceil(DEVICES))?;
        let crowd = self.close().await?;
        let mut devices = Vec::with_capacity(count);
        for account in &accounts {
            let rest = count - devices.len();
            devices.extend(crowd.devices(account, rest.min(DEVICES)).await);
        }
        if packages > 0 {
            for device in &devices {
                crowd.stock(device, packages).await;
            }
        }
        self.open(crowd).await?;
        Ok(devices)
    }

    /// Accounts of one device each, which can be invited into so many rooms.
    pub(crate) async fn members(
        &mut self,
        name: &str,
        count: usize,
        rooms: usize,
    ) -> Result<Vec<BareJid>, Box<dyn Error>> {
        let accounts = self.accounts(name, count)?;
        let crowd = self.close().await?;
        for account in &accounts {
            crowd.device(account, "device", rooms).await;
        }
        self.open(crowd).await?;
        Ok(accounts)
    }

    fn accounts(&self, name: &str, count: usize) -> Result<Vec<BareJid>, Box<dyn Error>> {
        (0..count)
            .map(|n| self.account(&format!("{name}{n}")))
            .collect()
    }

    pub(crate) fn account(&self, name: &str) -> Result<BareJid, Box<dyn Error>> {
        let account = format!("{name}@{DOMAIN}");
        self.home.add_account(&account, PASSWORD)?;
        Ok(BareJid::parse(&account)?)
    }

    async fn close(&mut self) -> Result<Crowd, Box<dyn Error>> {
        self.home.stop()?;
        Ok(Crowd::of(&self.home).await)
    }

    async fn open(&mut self, crowd: Crowd) -> Result<(), Box<dyn Error>> {
        crowd.disperse().await;
        process::on_server_core(|| self.home.start())?;
        Ok(())
    }

    /// Somebody with a whole client.
    pub(crate) async fn person(&self, name: &str) -> Result<Person, Box<dyn Error>> {
        self.account(name)?;
        let folder = self.folder.join(name);
        let mut person = Person::login(&self.home, name, PASSWORD, "bench", &folder).await?;
        person.enrolled().await?;
        Ok(person)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = self.home.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Brings accounts into a room, with all their devices: so many come.
pub(crate) async fn invite(
    by: &Person,
    room: &BareJid,
    accounts: &[BareJid],
    devices: usize,
) -> Result<(), Box<dyn Error>> {
    let all = by.members(room).await?.len() + devices;
    for accounts in accounts.chunks(INVITED) {
        let before = by.members(room).await?.len();
        let (at, accounts) = (room.clone(), accounts.to_vec());
        by.verb(move |engine, now| engine.invite(&at, &accounts, now))
            .await?;
        grows(by, room, before + 1).await?;
    }
    grows(by, room, all).await
}

/// Waits until so many are in the room.
async fn grows(person: &Person, room: &BareJid, count: usize) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    loop {
        let members = person.members(room).await?.len();
        if members >= count {
            return Ok(());
        }
        if started.elapsed() > PATIENCE {
            return Err(format!("{members} of {count} are in the room").into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Those whose devices these are.
pub(crate) fn accounts(devices: &[CrowdDevice]) -> Vec<BareJid> {
    let mut accounts: Vec<BareJid> = devices.iter().map(|d| d.account.clone()).collect();
    accounts.dedup();
    accounts
}
