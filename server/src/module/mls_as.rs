//! The Authentication Service for its clients (mls/PROTOCOL.md): devices, certificates, anchors.
//!
//! Requests go to one's own domain. Anchors are shown to anybody; another domain's are fetched from
//! there, checked and pinned, and handed to the client as they came, who checks them too.

use std::time::Duration;

use comity_mls_credential::leaf::{CredentialError, IssuerId};
use comity_mls_service::authority::{Authority, Proof, Registration};
use comity_mls_wire::authority::{Answer, Notice, Request as Asked};
use comity_mls_wire::refusal::Refusal;
use comity_net::random;
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::ns;
use comity_xmpp::stanza::{IqType, Kind, MessageType, Stanza};
use uuid::Uuid;

use super::{Context, Entity, Handles, Later, Module, Request, Target, Tick, What, mls_crl};
use crate::deliver::Deliveries;
use crate::home::Home;
use crate::services::anchors::fetch;

/// Domains asked for newer anchors in one round.
const REFRESHED: usize = 64;

pub const MODULE: Module = Module {
    name: "mls_as",
    handles: &[asked(IqType::Get), asked(IqType::Set)],
    features: &[(Entity::Domain, ns::MLS), (Entity::Domain, ns::MLS_AS)],
    handle,
    tick: Some(Tick {
        every: Duration::from_secs(15 * 60),
        run: maintain,
    }),
    ..Module::EMPTY
};

const fn asked(kind: IqType) -> Handles {
    Handles {
        what: What::Iq(kind),
        ns: ns::MLS_AS,
        name: "*",
        target: Target::Domain,
    }
}

/// Makes sure that the issuer a certificate lacks is known, by asking its domain. For modules that
/// met [`CredentialError::UnknownIssuer`]; waits for the other domain, so only for
/// [`Deliveries::afterwards`] and ticks.
pub(crate) async fn learn(
    home: &Home,
    ours: &str,
    missing: &CredentialError,
) -> Result<(), Refusal> {
    let refused = || Refusal::BadCredential {
        why: missing.to_string(),
    };
    let CredentialError::UnknownIssuer { domain, issuer } = missing else {
        return Err(refused());
    };
    if home.hosts.serves(domain) {
        // Ours are all known.
        return Err(refused());
    }
    let authority = home.services.authority(ours).ok_or(Refusal::Internal)?;
    let pinned = fetch(home, authority, domain).await?;
    match pinned.issuer(issuer) {
        Some(_) => Ok(()),
        None => Err(refused()),
    }
}

fn handle(context: Context, request: Request) -> Later<Deliveries> {
    Box::pin(async move {
        let stanza = request.stanza.clone();
        match decide(context, request).await {
            Ok(deliveries) => deliveries,
            Err(refusal) => Deliveries::refuse(&stanza, &refusal.to_stanza_error()),
        }
    })
}

async fn decide(context: Context, request: Request) -> Result<Deliveries, Refusal> {
    let home = context.home.clone();
    let authority = home
        .services
        .authority(request.to.domain())
        .ok_or(Refusal::Internal)?;
    let asked = match request.stanza.kind {
        Kind::Iq(kind) => Asked::from_iq(kind, &request.payload),
        _ => return Err(Refusal::Internal),
    };
    let asked = asked.map_err(|error| {
        let refusal = Refusal::BadRequest {
            why: error.to_string(),
        };
        if let Some(session) = context.session() {
            authority.unreadable(&session.to_bare(), &refusal);
        }
        refusal
    })?;
    if let Asked::Anchors { domain } = asked {
        return anchors(&context, authority, request.stanza, domain);
    }
    if let Asked::Crl {
        domain,
        issuer,
        offset,
    } = asked
    {
        let wanted = (domain, IssuerId(issuer), offset);
        return mls_crl::show(&context, authority, request.stanza, wanted);
    }
    // Everything else is between an account and its own domain.
    let session = match context.session() {
        Some(session) if session.domain() == authority.domain() => session.clone(),
        _ => {
            return Err(Refusal::NotAllowed {
                rule: "devices and certificates are asked for at one's own domain".to_owned(),
            });
        }
    };
    let desk = Desk {
        context,
        authority: authority.clone(),
        session,
        stanza: request.stanza,
    };
    desk.serve(asked).await
}

/// The anchors of a domain: ours at once, others when they have answered.
fn anchors(
    context: &Context,
    authority: &Authority,
    stanza: Stanza,
    domain: String,
) -> Result<Deliveries, Refusal> {
    let shown = |stanza: &Stanza, statement| {
        let answer = Answer::Anchors { statement };
        Deliveries::answer(stanza.result(Some(&answer.to_element())))
    };
    if let Some(ours) = context.home.services.authority(&domain) {
        return Ok(shown(&stanza, ours.statement()));
    }
    if context.session().is_none() {
        // Nobody asks other domains through us but our own accounts.
        return Err(Refusal::NotAllowed {
            rule: "a domain's anchors are asked for at the domain itself".to_owned(),
        });
    }
    let (home, authority) = (context.home.clone(), authority.clone());
    let mut deliveries = Deliveries::none();
    deliveries.afterwards(async move {
        match fetch(&home, &authority, &domain).await {
            Ok(pinned) => shown(&stanza, bytes::Bytes::copy_from_slice(pinned.signed())),
            Err(refusal) => Deliveries::refuse(&stanza, &refusal.to_stanza_error()),
        }
    });
    Ok(deliveries)
}

/// One request of a session to its own domain.
struct Desk {
    context: Context,
    authority: Authority,
    session: Jid,
    stanza: Stanza,
}

impl Desk {
    async fn serve(self, asked: Asked) -> Result<Deliveries, Refusal> {
        let now = self.context.now_s();
        let account = self.session.to_bare();
        match asked {
            Asked::Challenge => self.challenge(),
            Asked::Register {
                name,
                device_key,
                signature,
            } => {
                let registration = Registration {
                    id: random_id(),
                    name: &name,
                    device_key: &device_key,
                    nonce: &self.nonce()?,
                    signature: &signature,
                };
                let done = self.authority.register(&account, registration, now).await?;
                let mut deliveries = self.answer(&Answer::Registered {
                    device: done.device.id,
                });
                if done.new {
                    let notice = Notice::DeviceAdded(done.device);
                    deliveries.extend(tell(&self.context.home, &account, &self.session, &notice));
                }
                Ok(deliveries)
            }
            Asked::Prove {
                device,
                bound,
                signature,
            } => self.prove(device, bound, &signature).await,
            Asked::Enrol {
                device,
                requests,
                signature,
            } => {
                let certificates = self
                    .authority
                    .enrol(&account, device, &requests, &signature, now)
                    .await?;
                Ok(self.answer(&Answer::Certificates(certificates)))
            }
            Asked::Devices => {
                let devices = self.authority.devices(&account).await?;
                Ok(self.answer(&Answer::Devices(devices)))
            }
            Asked::Revoke {
                device,
                revoked,
                signature,
            } => self.revoke(device, revoked, &signature, now).await,
            // Answered before anybody came to the desk, or elsewhere.
            Asked::Anchors { .. }
            | Asked::Crl { .. }
            | Asked::LogHead { .. }
            | Asked::LogConsistency { .. }
            | Asked::LogEntries { .. } => Err(Refusal::Internal),
            Asked::LogInclusion { .. } => Err(Refusal::BadRequest {
                why: "a certificate is looked for at its account, and not at the domain".to_owned(),
            }),
        }
    }

    fn challenge(self) -> Result<Deliveries, Refusal> {
        let nonce: [u8; 32] = random::bytes();
        self.context
            .home
            .sessions
            .with(&self.session, |session| {
                session.challenge = Some(nonce.to_vec());
            })
            .ok_or(Refusal::NoDevice)?;
        Ok(self.answer(&Answer::Challenge {
            nonce: nonce.to_vec().into(),
        }))
    }

    /// The session's challenge, which is good for one answer, right or wrong.
    fn nonce(&self) -> Result<Vec<u8>, Refusal> {
        self.context
            .home
            .sessions
            .with(&self.session, |session| session.challenge.take())
            .flatten()
            .ok_or_else(|| Refusal::BadRequest {
                why: "ask for a challenge first; each is good for one answer".to_owned(),
            })
    }

    async fn prove(
        self,
        device: Uuid,
        bound: bool,
        signature: &[u8],
    ) -> Result<Deliveries, Refusal> {
        let sessions = &self.context.home.sessions;
        let nonce = self.nonce()?;
        let exporter = sessions
            .with(&self.session, |session| session.tls_exporter)
            .flatten();
        if bound && exporter.is_none() {
            return Err(Refusal::BadRequest {
                why: "this stream has no tls-exporter here: sign without it".to_owned(),
            });
        }
        let proof = Proof {
            device,
            nonce: &nonce,
            exporter: exporter.as_ref().filter(|_| bound),
            signature,
        };
        self.authority.prove(&self.session.to_bare(), proof).await?;
        sessions
            .with(&self.session, |session| session.device = Some(device))
            .ok_or(Refusal::NoDevice)?;
        Ok(self.answer(&Answer::Proved))
    }

    async fn revoke(
        self,
        device: Uuid,
        revoked: Uuid,
        signature: &[u8],
        now: u64,
    ) -> Result<Deliveries, Refusal> {
        let account = self.session.to_bare();
        let new = self
            .authority
            .revoke(&account, device, revoked, signature, now)
            .await?;
        let mut deliveries = self.answer(&Answer::Revoked);
        let told = new.then_some(&self.session);
        deliveries.extend(ended(&self.context.home, &account, revoked, told));
        deliveries.extend(mls_crl::publish(&self.context.home, &account).await);
        Ok(deliveries)
    }

    fn answer(&self, answer: &Answer) -> Deliveries {
        Deliveries::answer(self.stanza.result(Some(&answer.to_element())))
    }
}

/// A device has been revoked: sessions that were it are no device from now on. The account's
/// sessions are told, save the one that revoked it; nobody where it was revoked before (`None`).
fn ended(home: &Home, account: &BareJid, device: Uuid, by: Option<&Jid>) -> Deliveries {
    for session in home.sessions.of_device(account, device) {
        home.sessions.with(&session, |session| {
            session.device = None;
            session.syncing = false;
        });
    }
    match by {
        Some(by) => tell(home, account, by, &Notice::DeviceRevoked { id: device }),
        None => Deliveries::none(),
    }
}

/// The operator has revoked a device.
pub(crate) async fn revoked_by_operator(
    home: &Home,
    account: &BareJid,
    device: Uuid,
) -> Deliveries {
    // No session is at the bare address: all are told.
    let mut deliveries = ended(home, account, device, Some(account.as_jid()));
    deliveries.extend(mls_crl::publish(home, account).await);
    deliveries
}

/// Tells all sessions of an account but one.
fn tell(home: &Home, account: &BareJid, but: &Jid, notice: &Notice) -> Deliveries {
    let mut deliveries = Deliveries::none();
    let Ok(domain) = Jid::parse(account.domain()) else {
        return deliveries;
    };
    let payload = notice.to_element();
    let others = home.sessions.of(account, |session| {
        (session.jid != *but).then(|| session.jid.clone())
    });
    for other in others {
        let message = Stanza::new(Kind::Message(MessageType::Headline))
            .with_from(domain.clone())
            .with_to(other.clone())
            .with(&payload);
        deliveries.push_local(other, message.into());
    }
    deliveries
}

fn random_id() -> Uuid {
    uuid::Builder::from_random_bytes(random::bytes()).into_uuid()
}

/// Signs our statements anew where they are due, and asks for those of others that end soon.
fn maintain(home: Home) -> Later<Deliveries> {
    Box::pin(async move {
        home.services.reload_tls();
        let mut deliveries = Deliveries::none();
        for authority in home.services.authorities() {
            match authority.maintain(home.now_s()).await {
                Ok(news) => deliveries.extend(mls_crl::learned(&home, &news)),
                Err(error) => tracing::error!(
                    domain = authority.domain(), %error,
                    "the certificate authority of this domain needs its operator"
                ),
            }
        }
        deliveries.extend(refresh(&home).await);
        deliveries
    })
}

/// Asks for the anchors that end soon, afterwards, so that nobody waits for a domain that is away.
async fn refresh(home: &Home) -> Deliveries {
    let mut deliveries = Deliveries::none();
    // Any of ours may ask: what it learns, all know.
    let Some(authority) = home.services.authorities().next() else {
        return deliveries;
    };
    match authority.ending(home.now_s(), REFRESHED).await {
        Ok(domains) => {
            for domain in domains {
                let (home, authority) = (home.clone(), authority.clone());
                deliveries.afterwards(async move {
                    // What came of it is in the log, and the next round tries again.
                    let _ = fetch(&home, &authority, &domain).await;
                    Deliveries::none()
                });
            }
        }
        Err(error) => tracing::error!(%error, "anchors that end soon could not be found"),
    }
    deliveries
}

#[cfg(test)]
mod tests;
