//! Other domains' anchors: asked for over federation, once for all who want them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use comity_mls_credential::anchors::Pinned;
use comity_mls_service::authority::Authority;
use comity_mls_wire::authority::{Answer, Request};
use comity_mls_wire::refusal::Refusal;
use comity_xmpp::jid::Jid;

use crate::home::Home;
use crate::requests;

/// How long what a domain has shown, or that it could not be reached, counts as news.
const NEWS_S: u64 = 30;
/// Domains whose last fetch is remembered; one more forgets those that nobody waits for.
const REMEMBERED: usize = 1024;

/// Who is being asked, and what came of it last.
#[derive(Default)]
pub struct Fetches {
    domains: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Last>>>>,
}

#[derive(Default)]
pub(super) struct Last {
    /// Seconds since 1970.
    pub(super) at: Option<u64>,
    pub(super) refusal: Option<Refusal>,
}

impl Fetches {
    pub(super) fn of(&self, domain: &str) -> Result<Arc<tokio::sync::Mutex<Last>>, Refusal> {
        let mut domains = self.domains.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = domains.get(domain) {
            return Ok(Arc::clone(known));
        }
        if domains.len() >= REMEMBERED {
            domains.retain(|_, last| Arc::strong_count(last) > 1);
        }
        if domains.len() >= REMEMBERED {
            return Err(Refusal::RateLimited { retry_after_s: 60 });
        }
        let new = Arc::default();
        domains.insert(domain.to_owned(), Arc::clone(&new));
        Ok(new)
    }
}

/// What `domain` shows now, asked for in the name of one of ours, checked, pinned and stored. Where
/// it cannot be reached, what is believed of it still, if that has not expired.
///
/// Waits for the other domain: only for `Deliveries::afterwards` and ticks.
pub(crate) async fn fetch(
    home: &Home,
    authority: &Authority,
    domain: &str,
) -> Result<Arc<Pinned>, Refusal> {
    let slot = home.services.fetches.of(domain)?;
    let mut last = slot.lock().await;
    let now = home.now_s();
    let news = last.at.is_some_and(|at| now.abs_diff(at) < NEWS_S);
    if !news {
        let result = ask(home, authority, domain, None).await;
        *last = Last {
            at: Some(home.now_s()),
            refusal: result.err(),
        };
    }
    let believed = authority.believed(domain).await.map_err(|error| {
        tracing::error!(%error, domain, "the anchors of a domain could not be read");
        Refusal::Internal
    })?;
    match (&last.refusal, believed) {
        (None, Some(pinned)) => Ok(pinned),
        // Unreachable is no lie: what it said last is good until it expires.
        (Some(Refusal::UnreachableDomain { .. }), Some(pinned)) if pinned.expires() > now => {
            Ok(pinned)
        }
        (Some(refusal), _) => Err(refusal.clone()),
        (None, None) => Err(Refusal::Internal),
    }
}

/// Asks a domain and takes its statement although its root is new: `root`, which the operators have
/// compared.
pub(crate) async fn accept_root(
    home: &Home,
    authority: &Authority,
    domain: &str,
    root: [u8; 32],
) -> Result<(), Refusal> {
    let slot = home.services.fetches.of(domain)?;
    let mut last = slot.lock().await;
    ask(home, authority, domain, Some(root)).await?;
    *last = Last {
        at: Some(home.now_s()),
        refusal: None,
    };
    Ok(())
}

async fn ask(
    home: &Home,
    authority: &Authority,
    domain: &str,
    compared: Option<[u8; 32]>,
) -> Result<(), Refusal> {
    let unreachable = |why: &dyn std::fmt::Display| {
        tracing::info!(domain, %why, "the anchors of a domain could not be fetched");
        Refusal::UnreachableDomain {
            domain: domain.to_owned(),
        }
    };
    let address = |domain: &str| Jid::parse(domain).map_err(|error| unreachable(&error));
    let request = Request::Anchors {
        domain: domain.to_owned(),
    };
    let (from, to) = (address(authority.domain())?, address(domain)?);
    let answer = requests::ask(home, from, to, request.iq_type(), &request.to_element())
        .await
        .map_err(|error| unreachable(&error))?;
    let read = answer.first_child().map(|e| Answer::from_element(&e));
    let Some(Ok(Answer::Anchors { statement })) = read else {
        return Err(unreachable(&"it answered with something else"));
    };
    let now = home.now_s();
    match authority.shown(domain, &statement, compared, now).await {
        Ok(_) => Ok(()),
        Err(error) => {
            // What this says may be an attack, and is for the operator's eyes.
            tracing::warn!(domain, %error, "the anchors of a domain are not believed");
            Err(Refusal::BadCredential {
                why: format!("the anchors of {domain}: {error}"),
            })
        }
    }
}
