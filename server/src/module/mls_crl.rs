//! Revocation lists (mls/PROTOCOL.md §5.6): shown to anybody, asked for at other domains, and told
//! of when something is revoked: to our sessions that are devices, and to the domains that the
//! account has to do with.

use std::time::Duration;

use comity_mls_credential::leaf::IssuerId;
use comity_mls_service::authority::{Authority, News};
use comity_mls_wire::authority::Notice;
use comity_mls_wire::refusal::Refusal;
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::ns;
use comity_xmpp::stanza::{Kind, MessageType, Stanza};

use super::{Context, Handles, Later, Module, Origin, Request, Target, Tick, What, mls_room};
use crate::deliver::Deliveries;
use crate::home::Home;
use crate::services::revocations::{answer, fetch};

/// Domains that are told of one revocation, or asked for lists in one round.
const DOMAINS: usize = 1024;

pub const MODULE: Module = Module {
    name: "mls_crl",
    handles: &[Handles {
        what: What::Message,
        ns: ns::MLS_AS,
        name: "crl-issued",
        target: Target::Domain,
    }],
    handle,
    tick: Some(Tick {
        every: Duration::from_secs(15 * 60),
        run: refresh,
    }),
    ..Module::EMPTY
};

/// The list of an issuing CA: of ours at once, of others when they have answered.
pub(super) fn show(
    context: &Context,
    authority: &Authority,
    stanza: Stanza,
    (domain, issuer, offset): (String, IssuerId, u32),
) -> Result<Deliveries, Refusal> {
    if context.home.hosts.serves(&domain) {
        let ours = context.home.services.authority(&domain);
        let crl = ours.and_then(|ours| ours.crl(&issuer));
        let crl = crl.ok_or_else(|| Refusal::BadRequest {
            why: format!("{domain} has no issuing CA {issuer:?} with a revocation list"),
        })?;
        let answer = answer(&crl, offset)?.to_element();
        return Ok(Deliveries::answer(stanza.result(Some(&answer))));
    }
    if context.session().is_none() {
        // Nobody asks other domains through us but our own accounts.
        return Err(Refusal::NotAllowed {
            rule: "a domain's revocation lists are asked for at the domain itself".to_owned(),
        });
    }
    let (home, authority) = (context.home.clone(), authority.clone());
    let mut deliveries = Deliveries::none();
    deliveries.afterwards(async move {
        let fetched = fetch(&home, &authority, &domain, &issuer, None).await;
        let shown = fetched.and_then(|(crl, news)| Ok((answer(&crl, offset)?, news)));
        match shown {
            Ok((answer, news)) => {
                let mut all = Deliveries::answer(stanza.result(Some(&answer.to_element())));
                all.extend(learned(&home, news.as_slice()));
                all
            }
            Err(refusal) => Deliveries::refuse(&stanza, &refusal.to_stanza_error()),
        }
    });
    Ok(deliveries)
}

/// Something of `account` has been revoked here: the lists say so from now on, and those are told
/// who should know. What was revoked is durable before; where the list cannot be signed now, the
/// next round does it.
pub(crate) async fn publish(home: &Home, account: &BareJid) -> Deliveries {
    let Some(authority) = home.services.authority(account.domain()) else {
        return Deliveries::none();
    };
    let news = match authority.publish_crls(home.now_s()).await {
        Ok(news) => news,
        Err(error) => {
            tracing::error!(domain = account.domain(), %error, "a revocation list cannot be signed");
            return Deliveries::none();
        }
    };
    let mut deliveries = learned(home, &news);
    if news.is_empty() {
        return deliveries;
    }
    match home.storage.domains_with(account.as_str(), DOMAINS).await {
        Ok(domains) => {
            for domain in domains.iter().filter(|domain| !home.hosts.serves(domain)) {
                for one in &news {
                    deliveries.extend(tell_domain(domain, one));
                }
            }
        }
        Err(error) => {
            tracing::error!(%error, "the domains to be told of a revocation are not known")
        }
    }
    deliveries
}

/// Certificates of ours or of another domain turn out to be revoked: what follows from it here.
pub(crate) fn learned(home: &Home, news: &[News]) -> Deliveries {
    let mut deliveries = Deliveries::none();
    for one in news {
        tracing::info!(
            domain = one.domain,
            crl = one.crl_number,
            certificates = one.entries.len(),
            "certificates are revoked"
        );
        let (rooms, at) = (home.clone(), one.domain.clone());
        deliveries.afterwards(async move { mls_room::sweep::revoked(&rooms, &at).await });
        let payload = notice(one).to_element();
        for domain in home.hosts.domains() {
            let Ok(from) = Jid::parse(domain) else {
                continue;
            };
            let message = Stanza::new(Kind::Message(MessageType::Headline))
                .with_from(from)
                .with(&payload);
            let message = std::sync::Arc::new(message);
            for session in home.sessions.devices_at(domain) {
                deliveries.push_local(session, std::sync::Arc::clone(&message));
            }
        }
    }
    deliveries
}

fn notice(news: &News) -> Notice {
    Notice::CrlIssued {
        domain: news.domain.clone(),
        issuer: news.issuer.0,
        number: news.crl_number,
    }
}

fn tell_domain(domain: &str, news: &News) -> Deliveries {
    let (Ok(from), Ok(to)) = (Jid::parse(&news.domain), Jid::parse(domain)) else {
        return Deliveries::none();
    };
    let message = Stanza::new(Kind::Message(MessageType::Headline))
        .with_from(from)
        .with_to(to)
        .with(&notice(news).to_element());
    Deliveries::none().with(message)
}

/// Another domain says that it has a new list. The list is believed, not the message.
fn handle(context: Context, request: Request) -> Later<Deliveries> {
    Box::pin(async move {
        let mut deliveries = Deliveries::none();
        let Origin::Peer(peer) = &context.origin else {
            return deliveries;
        };
        let home = context.home.clone();
        let told = Notice::from_element(&request.payload);
        let Ok(Notice::CrlIssued {
            domain,
            issuer,
            number,
        }) = told
        else {
            return deliveries;
        };
        let issuer = IssuerId(issuer);
        let authority = home.services.authority(request.to.domain()).cloned();
        let Some(authority) = authority.filter(|authority| {
            // Only of itself, and only if it is one that we have to do with.
            domain == *peer && authority.anchors().pinned(&domain).is_some()
        }) else {
            return deliveries;
        };
        if authority
            .crl(&issuer)
            .is_some_and(|crl| crl.number() >= number)
        {
            return deliveries;
        }
        deliveries.afterwards(async move {
            match fetch(&home, &authority, &domain, &issuer, Some(number)).await {
                Ok((_, news)) => learned(&home, news.as_slice()),
                // What came of it is in the log; the next round asks again.
                Err(_) => Deliveries::none(),
            }
        });
        deliveries
    })
}

/// Asks the domains of our rooms' members for their lists, afterwards, so that nobody waits for one
/// that is away. Those that are an hour old are due.
fn refresh(home: Home) -> Later<Deliveries> {
    Box::pin(async move {
        let mut deliveries = Deliveries::none();
        // Any of ours may ask: what it learns, all know.
        let Some(authority) = home.services.authorities().next().cloned() else {
            return deliveries;
        };
        let domains = match home.storage.member_domains(DOMAINS).await {
            Ok(domains) => domains,
            Err(error) => {
                tracing::error!(%error, "the domains of members could not be found");
                return deliveries;
            }
        };
        for domain in domains {
            if home.hosts.serves(&domain) {
                continue;
            }
            let (home, authority) = (home.clone(), authority.clone());
            deliveries.afterwards(async move { renew(&home, &authority, &domain).await });
        }
        deliveries
    })
}

async fn renew(home: &Home, authority: &Authority, domain: &str) -> Deliveries {
    let mut deliveries = Deliveries::none();
    let Ok(Some(pinned)) = authority.believed(domain).await else {
        return deliveries;
    };
    for issuer in pinned.listed().unwrap_or_default() {
        // What came of it is in the log, and the next round tries again.
        if let Ok((_, news)) = fetch(home, authority, domain, &issuer, None).await {
            deliveries.extend(learned(home, news.as_slice()));
        }
    }
    deliveries
}
