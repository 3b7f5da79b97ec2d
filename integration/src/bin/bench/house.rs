//! A server of any make with its people, where a work needs more of it than [`crate::contender`]
//! gives: two of one make, or one with rooms.

use std::error::Error;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use integration::certificates::{Authority, Files, Shape};
use integration::network::Place;
use integration::peers::{self, Ejabberd, Peer, Prosody};
use integration::{Home, home};
use rustls::ClientConfig;

use crate::client::Door;
use crate::contender::{Kind, PASSWORD, believing, user};
use crate::process;

/// What is asked of a house.
pub(crate) struct Plan<'a> {
    pub(crate) kind: Kind,
    pub(crate) domain: &'a str,
    pub(crate) place: Place,
    pub(crate) authority: &'a Authority,
    /// Where all houses keep theirs.
    pub(crate) folder: &'a Path,
    pub(crate) accounts: usize,
    /// Rooms as XEP-0045 has them, at this host.
    pub(crate) muc: Option<&'a str>,
}

enum Running {
    Prosody(Prosody),
    Ejabberd(Ejabberd),
    Comity(Box<Home>),
}

/// A server that runs until this is dropped.
pub(crate) struct House {
    domain: String,
    place: Place,
    tls: Arc<ClientConfig>,
    running: Running,
}

impl House {
    pub(crate) fn start(plan: &Plan<'_>) -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            domain: plan.domain.to_owned(),
            place: plan.place,
            tls: believing(&plan.authority.file())?,
            running: process::on_server_core(|| plan.start())?,
        })
    }

    pub(crate) fn door(&self) -> Door {
        Door {
            address: (self.place.v4, 5222).into(),
            domain: self.domain.clone(),
            tls: Arc::clone(&self.tls),
        }
    }

    pub(crate) fn cpu(&self) -> io::Result<Duration> {
        let process = match &self.running {
            Running::Prosody(prosody) => prosody.process(),
            Running::Ejabberd(ejabberd) => ejabberd.process(),
            Running::Comity(home) => home.process(),
        };
        process::cpu(process.ok_or_else(|| io::Error::other("the server does not run"))?)
    }
}

impl Plan<'_> {
    fn start(&self) -> io::Result<Running> {
        let shape = Shape::dns(self.domain);
        let certificate = self.authority.issue(self.domain, &shape)?;
        let folder = self.folder.join(self.domain);
        std::fs::create_dir_all(&folder)?;
        Ok(match self.kind {
            Kind::Relay => return Err(io::Error::other("the relay has no people")),
            Kind::Prosody => Running::Prosody(self.prosody(certificate, &folder)?),
            Kind::Ejabberd => Running::Ejabberd(self.ejabberd(certificate, &folder)?),
            Kind::Comity => Running::Comity(Box::new(self.comity(&certificate, &folder)?)),
        })
    }

    fn options(&self, certificate: Files) -> peers::Options {
        peers::Options {
            domain: self.domain.to_owned(),
            place: self.place,
            certificate,
            authority: self.authority.file(),
            dialback: false,
            quiet: true,
            archive: false,
        }
    }

    fn prosody(&self, certificate: Files, folder: &Path) -> io::Result<Prosody> {
        // `prosodyctl register` takes long for many; this is what it writes.
        let host = self.domain.replace('.', "%2e");
        let accounts = folder.join("data").join(host).join("accounts");
        std::fs::create_dir_all(&accounts)?;
        for n in 0..self.accounts {
            let text = format!("return {{\n\t[\"password\"] = {PASSWORD:?};\n}};\n");
            std::fs::write(accounts.join(format!("{}.dat", user(n))), text)?;
        }
        // Who is there is told to nobody: it costs as many presences as there are occupants, for
        // each of them.
        let more = self.muc.map_or(String::new(), |host| {
            format!(
                "Component {host:?} \"muc\"\nmuc_room_default_presence_broadcast = {{ visitor = \
                 false; participant = false; moderator = false }}\n\
                 muc_room_default_public = false\nmuc_room_locking = false\n"
            )
        });
        Prosody::start_with(self.options(certificate), folder, &more)
    }

    fn ejabberd(&self, certificate: Files, folder: &Path) -> io::Result<Ejabberd> {
        let more = self.muc.map_or(String::new(), |host| {
            format!(
                "  mod_muc:\n    host: {host:?}\n    max_users: 10000\n    \
                 min_message_interval: 0\n    history_size: 0\n    default_room_options:\n      \
                 presence_broadcast: []\n      max_users: 10000\n"
            )
        });
        let ejabberd = Ejabberd::start_with(self.options(certificate), folder, &more)?;
        for n in 0..self.accounts {
            ejabberd.add_user(&user(n), PASSWORD)?;
        }
        Ok(ejabberd)
    }

    fn comity(&self, certificate: &Files, folder: &Path) -> io::Result<Home> {
        let (domain, address) = (self.domain, self.place.v4);
        let mut options = home::Options::new(domain, address);
        options.text = Some(format!(
            "[server]\ndomains = [{domain:?}]\ndata_dir = {data:?}\nlog = \"warn\"\n\
             [c2s]\nlisten = [\"{address}:5222\"]\nlisten_tls = []\n\
             connections_per_address = 10000\nconnections_per_minute = 1000000\n\
             stanzas_per_second = 0\n\
             [archive]\ndefault = \"never\"\n\
             [s2s]\nlisten = [\"{address}:5269\"]\nlisten_tls = []\n\
             [web]\nlisten = [\"{address}:5443\"]\n\
             [tls]\nsystem_roots = false\nextra_roots = [{authority:?}]\n\
             [tls.certificates]\n{domain:?} = {{ chain = {chain:?}, key = {key:?} }}\n",
            data = folder.join("data"),
            authority = self.authority.file(),
            chain = certificate.chain,
            key = certificate.key,
        ));
        let mut home = Home::new(options, folder)?;
        home.start()?;
        for n in 0..self.accounts {
            home.add_user(&user(n), PASSWORD)?;
        }
        Ok(home)
    }
}
