//! Revocation lists of other domains: asked for over federation, once for all who want them, every
//! hour and when a domain says that there is a new one.

use std::sync::Arc;
use std::time::Duration;

use comity_mls_credential::crl::{Crl, MAX_CRL_BYTES};
use comity_mls_credential::leaf::IssuerId;
use comity_mls_service::authority::{Authority, News};
use comity_mls_wire::authority::{Answer, Request};
use comity_mls_wire::limits::CRL_PART_BYTES;
use comity_mls_wire::refusal::Refusal;
use comity_xmpp::jid::Jid;

use super::anchors::Fetches;
use crate::home::Home;
use crate::requests;

/// How long what a domain has shown, or that it could not be reached, counts as news.
const NEWS_S: u64 = 60;
/// A domain that says that there is a newer list is asked no more often than this.
const PAUSE: Duration = Duration::from_secs(2);
/// The list may be signed anew between two of its parts.
const ATTEMPTS: usize = 3;

/// The newest list of that issuing CA of `domain` that is to be had, at least the list of number
/// `wanted` if the domain has said that there is one, and what was news in it. What is known is
/// given where nothing newer comes: an old list warns and does not block.
///
/// Waits for the other domain: only for `Deliveries::afterwards` and ticks.
pub(crate) async fn fetch(
    home: &Home,
    authority: &Authority,
    domain: &str,
    issuer: &IssuerId,
    wanted: Option<u64>,
) -> Result<(Arc<Crl>, Option<News>), Refusal> {
    let slot = home.services.crl_fetches.of(&slot_name(domain, issuer))?;
    let mut last = slot.lock().await;
    let now = home.now_s();
    let known = authority.crl(issuer);
    let behind =
        wanted.is_some_and(|wanted| known.as_ref().is_none_or(|known| known.number() < wanted));
    let asked = last.at.is_some_and(|at| now.abs_diff(at) < NEWS_S);
    let aged = known.as_ref().is_none_or(|known| known.aged(now));
    let mut news = None;
    if behind || (aged && !asked) {
        if asked {
            tokio::time::sleep(PAUSE).await;
        }
        let result = ask(home, authority, domain, issuer).await;
        last.at = Some(home.now_s());
        match result {
            Ok(found) => {
                last.refusal = None;
                news = found;
            }
            Err(refusal) => last.refusal = Some(refusal),
        }
    }
    match (authority.crl(issuer), &last.refusal) {
        (Some(crl), _) => {
            if crl.ended(now) {
                tracing::warn!(
                    domain,
                    ?issuer,
                    since = crl.next_update(),
                    "no newer revocation list of this domain can be had: what it revoked since is \
                     not known here"
                );
            }
            Ok((crl, news))
        }
        (None, Some(refusal)) => Err(refusal.clone()),
        (None, None) => Err(Refusal::Internal),
    }
}

fn slot_name(domain: &str, issuer: &IssuerId) -> String {
    format!("{domain} {issuer:?}")
}

async fn ask(
    home: &Home,
    authority: &Authority,
    domain: &str,
    issuer: &IssuerId,
) -> Result<Option<News>, Refusal> {
    let pinned = super::anchors::fetch(home, authority, domain).await?;
    if pinned.issuer(issuer).is_none() {
        return Err(Refusal::BadRequest {
            why: format!("{domain} has no issuing CA {issuer:?}"),
        });
    }
    let der = whole(home, authority, domain, issuer).await?;
    match authority.crl_shown(domain, &der, home.now_s()).await {
        Ok(news) => Ok(news),
        Err(error) => {
            // What this says may be an attack, and is for the operator's eyes.
            tracing::warn!(domain, %error, "a revocation list is not believed");
            Err(Refusal::BadCredential {
                why: format!("the revocation list of {domain}: {error}"),
            })
        }
    }
}

async fn whole(
    home: &Home,
    authority: &Authority,
    domain: &str,
    issuer: &IssuerId,
) -> Result<Vec<u8>, Refusal> {
    for _ in 0..ATTEMPTS {
        let mut der = Vec::new();
        let mut of = None;
        loop {
            let answer = part(home, authority, domain, issuer, der.len()).await?;
            let (number, size, part) = answer;
            if *of.get_or_insert((number, size)) != (number, size) {
                break;
            }
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            der.extend_from_slice(&part);
            if size > MAX_CRL_BYTES || part.is_empty() || der.len() > size {
                return Err(unreachable(domain, &"it sends no revocation list"));
            }
            if der.len() == size {
                return Ok(der);
            }
        }
    }
    Err(unreachable(
        domain,
        &"its revocation list changes all the time",
    ))
}

async fn part(
    home: &Home,
    authority: &Authority,
    domain: &str,
    issuer: &IssuerId,
    from: usize,
) -> Result<(u64, u32, bytes::Bytes), Refusal> {
    let address = |domain: &str| Jid::parse(domain).map_err(|error| unreachable(domain, &error));
    let request = Request::Crl {
        domain: domain.to_owned(),
        issuer: issuer.0,
        offset: u32::try_from(from).unwrap_or(u32::MAX),
    };
    let (ours, theirs) = (address(authority.domain())?, address(domain)?);
    let answer = requests::ask(home, ours, theirs, request.iq_type(), &request.to_element())
        .await
        .map_err(|error| unreachable(domain, &error))?;
    match answer.first_child().map(|e| Answer::from_element(&e)) {
        Some(Ok(Answer::Crl {
            number,
            size,
            offset,
            part,
        })) if usize::try_from(offset) == Ok(from) => Ok((number, size, part)),
        _ => Err(unreachable(domain, &"it answered with something else")),
    }
}

fn unreachable(domain: &str, why: &dyn std::fmt::Display) -> Refusal {
    tracing::info!(domain, %why, "a revocation list could not be fetched");
    Refusal::UnreachableDomain {
        domain: domain.to_owned(),
    }
}

/// A part of a list, as it is answered.
pub(crate) fn answer(crl: &Crl, offset: u32) -> Result<Answer, Refusal> {
    let der = crl.der();
    let from = usize::try_from(offset).unwrap_or(usize::MAX);
    if from >= der.len() {
        return Err(Refusal::BadRequest {
            why: format!("the revocation list has {} octets: begin again", der.len()),
        });
    }
    let until = der.len().min(from.saturating_add(CRL_PART_BYTES));
    Ok(Answer::Crl {
        number: crl.number(),
        size: u32::try_from(der.len()).unwrap_or(u32::MAX),
        offset,
        part: bytes::Bytes::copy_from_slice(&der[from..until]),
    })
}

/// Whom to ask, and when: see [`Fetches`].
pub(crate) type CrlFetches = Fetches;
