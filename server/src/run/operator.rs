//! What the operator's commands act upon.

use std::sync::Arc;

use comity_conf::Conf;

use crate::admin::State;
use crate::deliver;
use crate::home::Home;
use crate::module::{mls_as, mls_crl, roster};
use crate::passwords::Passwords;
use crate::services::anchors;

pub(super) fn state(conf: &Conf, domains: &[String], home: &Home) -> State {
    let (authorities, counted) = (home.clone(), home.clone());
    let (sessions, rosters, devices, peers, lists) = (
        home.clone(),
        home.clone(),
        home.clone(),
        home.clone(),
        home.clone(),
    );
    State {
        storage: home.storage.clone(),
        domains: domains.into(),
        passwords: Passwords::new(conf.accounts.scram_iterations),
        clock: Arc::clone(&home.clock),
        kick: Arc::new(move |account, why| sessions.sessions.kick(account, why)),
        leave: Arc::new(move |account| {
            let home = rosters.clone();
            Box::pin(async move { roster::leave(&home, &account).await })
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
                let told = mls_crl::publish(&home, &account).await;
                deliver::deliver(&home, told).await;
            })
        }),
        ca_refused: Arc::new(move |domain| {
            let authority = counted.services.authority(domain)?;
            Some(authority.refused())
        }),
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
