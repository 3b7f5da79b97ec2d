//! Taking up a configuration that has changed, at SIGHUP or `comity reload`: what can change while
//! the server runs does, and what cannot is named.
//!
//! A configuration that is wrong changes nothing. Certificates are read again in any case.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use comity_conf::{Accounts, Conf, Loaded, Server};
use comity_net::stop::Stop;
use comity_net::tls::Certificates;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use super::{domains, home as from_conf};
use crate::home::Home;
use crate::notify::Manager;
use crate::offers::Offers;
use crate::run::peers::Streams;

/// Keys that take effect at once; a section ends with a dot.
const LIVE: &[&str] = &[
    "server.log",
    "accounts.offline_messages",
    "accounts.roster_items",
    "accounts.blocked",
    "accounts.sessions",
    "accounts.pubsub_nodes",
    "accounts.pubsub_items",
    "accounts.pubsub_bytes",
    "accounts.private_bytes",
    "s2s.federation",
    "s2s.allow",
    "s2s.deny",
    "web.metrics_from",
    "contacts.",
    "external.",
];

pub type Read = dyn Fn() -> Result<Loaded, comity_conf::Error> + Send + Sync;
pub type Log = dyn Fn(&Server) -> Result<(), String> + Send + Sync;

/// Where a configuration comes from, and who follows it beside the server.
pub struct Source {
    /// Reads it again.
    pub read: Box<Read>,
    /// Changes what is logged.
    pub log: Box<Log>,
}

/// What has come of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Keys that have changed and took effect.
    pub now: Vec<String>,
    /// Keys that have changed and take effect at the next start.
    pub at_start: Vec<String>,
}

/// For the operator.
impl fmt::Display for Reloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { now, at_start } = self;
        f.write_str("Read the configuration and the certificates again")?;
        if now.is_empty() && at_start.is_empty() {
            return f.write_str("; nothing has changed in the configuration.");
        }
        f.write_str(".")?;
        if !now.is_empty() {
            write!(f, "\ntook effect: {}", now.join(" "))?;
        }
        if !at_start.is_empty() {
            write!(f, "\nat the next start: {}", at_start.join(" "))?;
        }
        Ok(())
    }
}

pub(crate) struct Reloading {
    source: Source,
    home: Home,
    certificates: Arc<Certificates>,
    streams: Arc<Streams>,
    manager: Manager,
    /// What is in force.
    running: Mutex<Loaded>,
}

impl Reloading {
    pub(super) fn new(
        source: Source,
        running: Loaded,
        home: &Home,
        certificates: &Arc<Certificates>,
        streams: &Arc<Streams>,
        manager: &Manager,
    ) -> Arc<Self> {
        Arc::new(Self {
            source,
            home: home.clone(),
            certificates: Arc::clone(certificates),
            streams: Arc::clone(streams),
            manager: manager.clone(),
            running: Mutex::new(running),
        })
    }

    /// Reloads at every SIGHUP.
    pub(super) async fn at_hangup(self: Arc<Self>, mut stop: Stop) {
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => hangup,
            Err(error) => return warn!(%error, "SIGHUP is not heard"),
        };
        loop {
            tokio::select! {
                told = hangup.recv() => if told.is_none() { return },
                () = stop.wait() => return,
            }
            // Both are logged where they are made.
            let _ = self.reload();
        }
    }

    /// # Errors
    /// Why the old configuration, or the old certificates, stay in use.
    pub(crate) fn reload(&self) -> Result<Reloaded, String> {
        self.manager.reloading();
        let done = self.take_up();
        self.manager.ready("serving");
        match &done {
            Ok(Reloaded { now, at_start }) => info!(
                took_effect = now.join(" "),
                needs_a_restart = at_start.join(" "),
                "the configuration and the certificates were read again"
            ),
            Err(why) => warn!(why, "the configuration stays as it was"),
        }
        done
    }

    fn take_up(&self) -> Result<Reloaded, String> {
        let loaded = (self.source.read)().map_err(|error| error.to_string())?;
        domains::domains(&loaded.conf).map_err(|error| error.to_string())?;
        let offers = Offers::of(&loaded.conf).map_err(|error| error.to_string())?;
        let mut running = (self.running.lock()).unwrap_or_else(PoisonError::into_inner);
        let (now, at_start): (Vec<_>, Vec<_>) = running
            .differing(&loaded)
            .into_iter()
            .partition(|key| is_live(key));
        // What might be refused comes first: after it nothing can.
        self.certificates
            .reload()
            .map_err(|error| format!("the old certificates stay in use: {error}"))?;
        if now.iter().any(|key| key == "server.log") {
            (self.source.log)(&loaded.conf.server)?;
        }
        let next = mixed(&running.conf, loaded.conf);
        self.home.limits.set(from_conf::limits(&next));
        self.home.metrics_from.set(next.web.metrics_from.clone());
        self.home.offers.set(offers);
        let lists = from_conf::lists_of(&next, self.home.hosts.domains());
        self.home.federation.lists.set(lists);
        let peers = self.streams.peers();
        let concerned = now.iter().any(|key| key.starts_with("s2s."));
        if let Some(peers) = peers.filter(|_| concerned) {
            peers.reconsider();
        }
        running.conf = next;
        Ok(Reloaded { now, at_start })
    }
}

/// What is in force afterwards: the next time, too, is told what still waits for a restart.
fn mixed(running: &Conf, loaded: Conf) -> Conf {
    let mut next = running.clone();
    next.server.log = loaded.server.log;
    // How accounts and their keys are made is settled at the start; what they may keep is not.
    next.accounts = Accounts {
        scram_iterations: next.accounts.scram_iterations,
        registration: next.accounts.registration,
        registrations_per_hour: next.accounts.registrations_per_hour,
        registrations_per_address: next.accounts.registrations_per_address,
        ..loaded.accounts
    };
    next.s2s.federation = loaded.s2s.federation;
    next.s2s.allow = loaded.s2s.allow;
    next.s2s.deny = loaded.s2s.deny;
    next.web.metrics_from = loaded.web.metrics_from;
    next.contacts = loaded.contacts;
    next.external = loaded.external;
    next
}

fn is_live(key: &str) -> bool {
    let named = |live: &str| match live.strip_suffix('.') {
        Some(section) => key
            .strip_prefix(section)
            .is_some_and(|rest| rest.starts_with('.')),
        None => live == key,
    };
    LIVE.iter().any(|live| named(live))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(variables: &[(&str, &str)]) -> Loaded {
        let variables = variables.iter();
        let variables = variables.map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        Loaded::read(None, variables).unwrap()
    }

    /// A key that nobody has thought of here waits for a restart, and is said to.
    #[test]
    fn what_accounts_may_keep_is_all_that_changes_of_them() {
        let wanted = loaded(&[
            ("COMITY_ACCOUNTS__SCRAM_ITERATIONS", "5000"),
            ("COMITY_ACCOUNTS__REGISTRATION", "true"),
            ("COMITY_ACCOUNTS__REGISTRATIONS_PER_HOUR", "1"),
            ("COMITY_ACCOUNTS__REGISTRATIONS_PER_ADDRESS", "1"),
        ]);
        let running = loaded(&[]);
        assert_eq!(mixed(&running.conf, wanted.conf.clone()), running.conf);
        let all = wanted.settings();
        let keys = all.iter().map(|setting| setting.key.as_str());
        let of_accounts = keys.filter(|key| key.starts_with("accounts."));
        assert_eq!(of_accounts.filter(|key| !is_live(key)).count(), 4);
    }

    /// Whatever is said to take effect is in what is in force, and nothing else.
    #[test]
    fn what_takes_effect_is_what_is_taken_over() {
        let running = loaded(&[]);
        let wanted = loaded(&[
            ("COMITY_SERVER__LOG", "debug"),
            ("COMITY_SERVER__DRAIN", "3s"),
            ("COMITY_ACCOUNTS__SESSIONS", "7"),
            ("COMITY_ACCOUNTS__SCRAM_ITERATIONS", "5000"),
            ("COMITY_S2S__FEDERATION", "listed"),
            ("COMITY_S2S__ALLOW", "b.example"),
            ("COMITY_S2S__DENY", "c.example"),
            ("COMITY_S2S__BIDI", "false"),
            ("COMITY_WEB__METRICS_FROM", "192.0.2.1"),
            ("COMITY_WEB__URL", "https://a.example"),
            ("COMITY_CONTACTS__ABUSE", "mailto:abuse@a.example"),
            ("COMITY_EXTERNAL__OUTAGES", "https://status.example/"),
            ("COMITY_ARCHIVE__MESSAGES", "5"),
        ]);
        let changed = running.differing(&wanted);
        assert_eq!(changed.len(), 13);
        let mut next = running.clone();
        next.conf = mixed(&running.conf, wanted.conf.clone());
        let (mut live, waiting): (Vec<String>, Vec<String>) =
            changed.into_iter().partition(|key| is_live(key));
        assert_eq!(next.differing(&wanted), waiting);
        let mut taken = running.differing(&next);
        taken.sort();
        live.sort();
        assert_eq!(taken, live);
        assert_eq!(waiting.len(), 5, "{waiting:?}");
    }
}
