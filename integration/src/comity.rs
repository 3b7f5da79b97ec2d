//! Our own server on a play's [`Network`]: like the peers it has the certificate it is given, and
//! finds the others by the DNS.

use std::io;
use std::path::{Path, PathBuf};

use crate::certificates::Files;
use crate::home::{Home, Options};
use crate::network::{Network, Place};

#[derive(Clone, Debug)]
pub struct Comity {
    pub domain: String,
    pub place: Place,
    pub certificate: Files,
    /// Whom it believes.
    pub authority: PathBuf,
    /// Its folder in the network's.
    pub folder: String,
    /// Further lines of `[server]`.
    pub server: String,
    /// Further addresses of `c2s.listen`, quoted.
    pub c2s: String,
    /// Addresses of `c2s.listen_tls`, quoted.
    pub c2s_tls: String,
    /// Further lines of `[s2s]`.
    pub s2s: String,
    /// Further sections.
    pub extra: String,
}

impl Comity {
    /// # Errors
    /// Why it does not start.
    pub fn start(self, network: &Network) -> io::Result<Home> {
        self.start_in(network, None)
    }

    /// The same in another namespace than the play's.
    ///
    /// # Errors
    /// Why it does not start.
    pub fn start_within(self, network: &Network, namespace: &str) -> io::Result<Home> {
        self.start_in(network, Some(namespace.to_owned()))
    }

    fn start_in(self, network: &Network, namespace: Option<String>) -> io::Result<Home> {
        let folder = network.folder().join(&self.folder);
        let mut options = Options::new(&self.domain, self.place.v4);
        options.namespace = namespace;
        options.text = Some(self.text(&folder));
        let mut home = Home::new(options, &folder)?;
        home.start()?;
        Ok(home)
    }

    fn text(&self, folder: &Path) -> String {
        let Place { v4, v6 } = self.place;
        let Self { domain, .. } = self;
        format!(
            "[server]\ndomains = [{domain:?}]\ndata_dir = {data:?}\n\
             log = \"info,comity_s2s=debug,comity_net=debug\"\n{server}\n\n\
             [c2s]\nlisten = [\"{v4}:5222\", {c2s}]\nlisten_tls = [{c2s_tls}]\n\n\
             [s2s]\nlisten = [\"{v4}:5269\", \"[{v6}]:5269\"]\n\
             listen_tls = [\"{v4}:5270\", \"[{v6}]:5270\"]\n\
             {retry}{s2s}\n\n\
             [web]\nlisten = [\"{v4}:5443\"]\n\n\
             [tls]\nsystem_roots = false\nextra_roots = [{authority:?}]\n\n\
             [tls.certificates]\n{domain:?} = {{ chain = {chain:?}, key = {key:?} }}\n\n{extra}\n",
            data = folder.join("data"),
            server = self.server,
            c2s = self.c2s,
            c2s_tls = self.c2s_tls,
            // Quick to come back, where the play does not say otherwise.
            retry = match self.s2s.contains("retry_first") {
                true => "",
                false => "retry_first = \"200ms\"\nretry_most = \"2s\"\n",
            },
            s2s = self.s2s,
            authority = self.authority,
            chain = self.certificate.chain,
            key = self.certificate.key,
            extra = self.extra,
        )
    }
}
