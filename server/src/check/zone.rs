//! A DNS of the tests' own.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use comity_conf::Conf;
use comity_net::dns::{DnsError, Later, Lookup, Srv};

use super::Ground;

#[derive(Default)]
pub(super) struct Zone {
    srv: HashMap<String, Vec<Srv>>,
    addresses: HashMap<String, Vec<IpAddr>>,
    failing: Vec<String>,
}

impl Zone {
    pub(super) fn srv(mut self, name: &str, target: &str, port: u16) -> Self {
        self.srv.entry(name.to_owned()).or_default().push(Srv {
            priority: 0,
            weight: 5,
            port,
            target: target.to_owned(),
        });
        self
    }

    pub(super) fn address(mut self, name: &str, address: &str) -> Self {
        let addresses = self.addresses.entry(name.to_owned()).or_default();
        addresses.push(address.parse().unwrap());
        self
    }

    /// A name that nobody answers for, nor for what is below it.
    pub(super) fn failing(mut self, name: &str) -> Self {
        self.failing.push(name.to_owned());
        self
    }

    fn fails(&self, name: &str) -> Result<(), DnsError> {
        if self.failing.iter().any(|failing| name.ends_with(failing)) {
            return Err(DnsError {
                name: name.to_owned(),
                why: "no answer".to_owned(),
            });
        }
        Ok(())
    }
}

impl Lookup for Zone {
    fn srv<'a>(&'a self, name: &'a str) -> Later<'a, Result<Vec<Srv>, DnsError>> {
        Box::pin(async move {
            self.fails(name)?;
            Ok(self.srv.get(name).cloned().unwrap_or_default())
        })
    }

    fn addresses<'a>(&'a self, host: &'a str) -> Later<'a, Result<Vec<IpAddr>, DnsError>> {
        Box::pin(async move {
            self.fails(host)?;
            Ok(self.addresses.get(host).cloned().unwrap_or_default())
        })
    }
}

/// A server for `a.example`, not running, at noon of the first day.
pub(super) fn ground(zone: Zone) -> Ground {
    let mut conf = Conf::default();
    conf.server.domains = vec!["a.example".to_owned()];
    conf.tls.system_roots = false;
    Ground {
        conf,
        lookup: Arc::new(zone),
        now: SystemTime::UNIX_EPOCH + Duration::from_secs(12 * 3600),
        time_server: "time.example".to_owned(),
    }
}
