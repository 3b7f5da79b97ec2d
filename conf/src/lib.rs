//! The operator's words: one TOML file, a struct for each section, every key with its default.
//!
//! Start at [`Conf`]. `homeserver.toml` beside this crate is the reference: every key, its default
//! and why; a test holds it to the code. Unknown keys are refused by file, line and nearest valid
//! key. Nothing here opens a socket or knows what a domain name is: `server` reads a [`Conf`] and
//! fills every component's own options from it.

mod accounts;
mod acme;
mod archive;
mod c2s;
mod check;
mod components;
mod contacts;
mod duration;
mod environment;
mod error;
mod external;
mod mls;
mod peer;
mod s2s;
mod server;
mod settings;
mod storage;
mod tls;
mod uploads;
mod web;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use accounts::Accounts;
pub use acme::{
    Acme, Algorithm as AcmeAlgorithm, Challenge as AcmeChallenge, Update as AcmeUpdate,
};
pub use archive::{Archive, ArchivePolicy};
pub use c2s::{C2s, Scram};
pub use components::Components;
pub use contacts::Contacts;
pub use error::{Error, Place};
pub use external::{External, ExternalService, Transport};
pub use mls::{Algorithm, Authority, IssuingKey, KeyPackages, Mls, Rooms, RootKey, Token};
pub use peer::{Peer, Pin, Policy};
pub use s2s::{Dialback, Federation, Own, Rules, S2s, Target, TargetTls};
pub use server::{LogFormat, Server};
pub use settings::{Loaded, Origin, Setting};
pub use storage::Storage;
pub use tls::{Certificate, Tls};
pub use toml::Value;
pub use uploads::Uploads;
pub use web::Web;

/// The reference file.
pub const REFERENCE: &str = include_str!("../homeserver.toml");
const STARTER: &str = include_str!("starter.toml");

/// Everything an operator can say. A component receives its own section, never the whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Conf {
    pub server: Server,
    pub accounts: Accounts,
    pub archive: Archive,
    pub c2s: C2s,
    pub s2s: S2s,
    pub web: Web,
    pub components: Components,
    pub contacts: Contacts,
    pub external: External,
    pub uploads: Uploads,
    pub tls: Tls,
    pub storage: Storage,
    pub mls: Mls,
}

impl Conf {
    /// Reads a file. Relative paths in it start at the directory it lies in.
    ///
    /// # Errors
    /// What is wrong with the file, with line and column where there is one.
    pub fn load(path: &Path) -> Result<Self, Error> {
        Loaded::read(Some(path), []).map(|loaded| loaded.conf)
    }

    /// Reads the text of a file, whose name is for errors only; paths stay as they are.
    ///
    /// # Errors
    /// As [`Conf::load`].
    pub fn parse(text: &str, file: &Path) -> Result<Self, Error> {
        Self::read(text, file, &[])
    }

    /// Relative paths start where the file lies.
    fn settle(&mut self, file: &Path) {
        let base = file.parent().unwrap_or(Path::new(""));
        self.paths()
            .into_iter()
            .for_each(|path| *path = base.join(&*path));
    }

    /// What serves without any configuration: `localhost`, on loopback alone.
    #[must_use]
    pub fn loopback() -> Self {
        let mut conf = Self::default();
        conf.c2s.listen.iter_mut().for_each(to_loopback);
        conf.c2s.listen_tls.iter_mut().for_each(to_loopback);
        conf.s2s.listen.iter_mut().for_each(to_loopback);
        conf.s2s.listen_tls.iter_mut().for_each(to_loopback);
        conf.web.listen.iter_mut().for_each(to_loopback);
        conf.components.listen.iter_mut().for_each(to_loopback);
        conf
    }

    /// Where the database is.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.server.data_dir.join(&self.storage.database)
    }

    /// Where uploaded files are.
    #[must_use]
    pub fn uploads_folder(&self) -> PathBuf {
        self.server.data_dir.join(&self.uploads.folder)
    }

    /// The text of a first configuration file: what matters at first, and no more. `admin` is an
    /// account that people may write to about the server.
    #[must_use]
    pub fn starter(domain: &str, data_dir: &Path, admin: Option<&str>) -> String {
        let data_dir = toml::Value::from(data_dir.to_string_lossy().into_owned());
        let domains = toml::Value::from(vec![domain]);
        let contacts = match admin {
            Some(admin) => {
                let uris = toml::Value::from(vec![format!("xmpp:{admin}")]);
                format!("admin = {uris}")
            }
            None => "#admin = []".to_owned(),
        };
        STARTER
            .replace("{domain}", domain)
            .replace("{domains}", &domains.to_string())
            .replace("{data_dir}", &data_dir.to_string())
            .replace("{contacts}", &contacts)
    }

    /// The same with every key there is: the reference with all commented out but the domain and
    /// where its data lies.
    #[must_use]
    pub fn starter_with_all(domain: &str, data_dir: &Path) -> String {
        let data_dir = toml::Value::from(data_dir.to_string_lossy().into_owned());
        let domains = toml::Value::from(vec![domain]);
        REFERENCE
            .lines()
            .map(|line| match line.split_once(" = ") {
                Some(("domains", _)) => format!("domains = {domains}\n"),
                Some(("data_dir", _)) => format!("data_dir = {data_dir}\n"),
                Some((key, _)) if !key.starts_with('#') => format!("#{line}\n"),
                _ => format!("{line}\n"),
            })
            .collect()
    }

    /// The files it names: certificates, secrets, libraries of tokens. May hold empty ones.
    pub fn files(&mut self) -> impl Iterator<Item = &PathBuf> {
        // The first is the data directory.
        self.paths().into_iter().skip(1).map(|path| &*path)
    }

    /// Every path in it, the data directory's first.
    fn paths(&mut self) -> Vec<&mut PathBuf> {
        let mut paths = vec![&mut self.server.data_dir];
        paths.extend(&mut self.tls.extra_roots);
        paths.extend(self.tls.acme.paths());
        paths.extend(self.external.paths());
        let token = &mut self.mls.authority.token;
        let token = [&mut token.module, &mut token.pin_file];
        // An empty path is none, and not the directory.
        paths.extend(token.into_iter().filter(|path| path.as_os_str() != ""));
        paths.extend(self.components.secret_files.values_mut());
        for certificate in self.tls.certificates.values_mut() {
            paths.extend([&mut certificate.chain, &mut certificate.key]);
        }
        paths
    }
}

fn to_loopback(address: &mut std::net::SocketAddr) {
    address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
}

#[cfg(test)]
mod tests;
