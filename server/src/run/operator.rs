//! What the operator's commands act upon.

use std::collections::HashMap;
use std::sync::Arc;

use comity_mls_wire::refusal::Refusal;
use comity_s2s::link::Incoming;

use super::peers::Streams;
use super::probe;
use super::reload::Reloading;
use crate::admin::State;
use crate::admin::peer::{Discarding, Probing, Stream, Streams as Peers};
use crate::deliver;
use crate::home::{Home, Remote};
use crate::module::{mls_as, mls_crl, outbox, roster};
use crate::services::anchors;

pub(super) fn state(
    domains: &[String],
    home: &Home,
    streams: &Arc<Streams>,
    reloading: &Arc<Reloading>,
) -> State {
    let reloading = Arc::clone(reloading);
    let (authorities, counted) = (home.clone(), home.clone());
    let (sessions, rosters, devices, peers, lists) = (
        home.clone(),
        home.clone(),
        home.clone(),
        home.clone(),
        home.clone(),
    );
    let ending = home.clone();
    State {
        storage: home.storage.clone(),
        domains: domains.into(),
        house: Arc::new(home.clone()),
        closed: home.services.rooms.closed.clone(),
        peers: Arc::new(Known {
            home: home.clone(),
            streams: Arc::clone(streams),
        }),
        passwords: home.passwords.clone(),
        clock: Arc::clone(&home.clock),
        kick: Arc::new(move |account, why| sessions.sessions.kick(account, why)),
        leave: Arc::new(move |account| {
            let home = rosters.clone();
            Box::pin(async move { roster::leave(&home, &account).await })
        }),
        revoke: Arc::new(move |account, device| {
            let home = ending.clone();
            Box::pin(async move {
                let authority = home.services.authority(account.domain());
                let authority = authority.ok_or(Refusal::UnknownDevice)?;
                authority
                    .revoke_by_operator(&account, device, home.now_s())
                    .await
            })
        }),
        revoked: Arc::new(move |account, device| {
            let home = devices.clone();
            Box::pin(async move {
                let told = mls_as::revoked_by_operator(&home, &account, device).await;
                deliver::deliver(&home, told).await;
            })
        }),
        withdrawn: Arc::new(move |account| {
            let home = lists.clone();
            Box::pin(async move {
                home.blocklists.forget(&account);
                let told = mls_crl::publish(&home, &account).await;
                deliver::deliver(&home, told).await;
            })
        }),
        ca_refused: Arc::new(move |domain| {
            let authority = counted.services.authority(domain)?;
            Some(authority.refused())
        }),
        reload: Arc::new(move || Ok(reloading.reload()?.to_string())),
        ca_reload: Arc::new(move || {
            let home = authorities.clone();
            Box::pin(async move { ca_reload(&home).await })
        }),
        trust: Arc::new(move |domain, root| {
            let home = peers.clone();
            Box::pin(async move { trust(&home, &domain, root).await })
        }),
    }
}

async fn ca_reload(home: &Home) -> Result<(), String> {
    for authority in home.services.authorities() {
        let news = authority.maintain(home.now_s()).await;
        let news = news.map_err(|error| format!("{}: {error}", authority.domain()))?;
        deliver::deliver(home, mls_crl::learned(home, &news)).await;
    }
    Ok(())
}

async fn trust(home: &Home, domain: &str, root: [u8; 32]) -> Result<(), String> {
    if home.hosts.serves(domain) {
        return Err(format!("{domain} is served here, and believed anyway"));
    }
    let ours = home.services.authorities().next();
    let authority = ours.ok_or("no domain is served here")?;
    anchors::accept_root(home, authority, domain, root)
        .await
        .map_err(|refusal| refusal.to_string())
}

/// Other domains, as our streams and our policy know them.
struct Known {
    home: Home,
    streams: Arc<Streams>,
}

impl Peers for Known {
    fn outgoing(&self) -> Vec<Stream> {
        let stream = |status: comity_s2s::link::Status| Stream {
            ours: status.ours,
            domain: status.domain,
            state: status.state.name().to_owned(),
            way: status.way.map(|way| way.name().to_owned()),
            last_error: status.last_failure.map(|why| why.text),
        };
        self.streams.outgoing().into_iter().map(stream).collect()
    }

    fn incoming(&self) -> HashMap<String, Incoming> {
        self.streams.incoming()
    }

    fn federates(&self, domain: &str) -> bool {
        let mut ours = self.home.hosts.domains().iter();
        ours.any(|ours| self.home.federation.with(ours, domain))
    }

    fn flush(&self, domain: &str) {
        if let Some(peers) = self.streams.peers() {
            peers.flush(domain);
        }
    }

    fn block(&self, domain: &str, blocked: bool) {
        self.home.federation.blocked.set(domain, blocked);
        if let Some(peers) = self.streams.peers() {
            peers.reconsider();
            peers.flush(domain);
        }
    }

    fn probe(&self, domain: String) -> Probing {
        let (streams, ours) = (
            Arc::clone(&self.streams),
            self.home.hosts.domains().to_vec(),
        );
        let now = self.home.clock.wall();
        Box::pin(async move { probe::probe(&streams, &ours, &domain, now).await })
    }

    fn discard(&self, domain: String) -> Discarding {
        let home = self.home.clone();
        Box::pin(async move { outbox::discard(&home, &domain).await })
    }
}
