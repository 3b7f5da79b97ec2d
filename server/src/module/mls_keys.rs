//! The KeyPackage directory (`mls/PROTOCOL.md`, `urn:xmpp:mls:0:keys`): requests to an account's
//! bare address, from its own sessions and from others here and elsewhere.

use std::sync::Arc;
use std::time::Duration;

use comity_mls_service::key_packages::{Directory, Served};
use comity_mls_wire::disco;
use comity_mls_wire::keys::{Answer, Notice, Request as Asked};
use comity_mls_wire::refusal::Refusal;
use comity_xmpp::element::Element;
use comity_xmpp::jid::BareJid;
use comity_xmpp::ns;
use comity_xmpp::stanza::{IqType, Kind, MessageType, Stanza};
use uuid::Uuid;

use super::{Context, Entity, Handles, Later, Module, Request, Target, Tick, What};
use crate::deliver::Deliveries;
use crate::home::Home;

pub const MODULE: Module = Module {
    name: "mls_keys",
    handles: &[
        asked(IqType::Get, Target::OwnAccount),
        asked(IqType::Set, Target::OwnAccount),
        asked(IqType::Get, Target::OtherAccount),
        asked(IqType::Set, Target::OtherAccount),
    ],
    features: &[
        (Entity::Domain, disco::DOMAIN_FEATURES[2]),
        (Entity::Account, disco::ACCOUNT_FEATURES[0]),
        (Entity::Account, disco::ACCOUNT_FEATURES[1]),
    ],
    info,
    handle,
    tick: Some(Tick {
        every: PURGE_EVERY,
        run: purge,
    }),
    ..Module::EMPTY
};

const PURGE_EVERY: Duration = Duration::from_secs(15 * 60);
/// Chunks of one purge; what is left waits for the next.
const PURGE_CHUNKS: usize = 1_000;

const fn asked(iq: IqType, target: Target) -> Handles {
    Handles {
        what: What::Iq(iq),
        ns: ns::MLS_KEYS,
        name: "*",
        target,
    }
}

/// The limits of the whole extension, in one form (XEP-0128).
fn info(home: &Home, entity: Entity) -> Vec<Element> {
    match entity {
        Entity::Domain => vec![disco::form(&home.services.limits)],
        Entity::Account | Entity::Room => Vec::new(),
    }
}

fn handle(context: Context, request: Request) -> Later<Deliveries> {
    Box::pin(async move {
        match answer(&context, &request).await {
            Ok((answer, notices)) => {
                let answer = request.stanza.result(Some(&answer.to_element()));
                let mut deliveries = Deliveries::answer(answer);
                tell(
                    &context.home,
                    &request.to.to_bare(),
                    notices,
                    &mut deliveries,
                );
                deliveries
            }
            Err(refusal) => Deliveries::refuse(&request.stanza, &refusal.to_stanza_error()),
        }
    })
}

type Answered = (Answer, Vec<(Uuid, Notice)>);

async fn answer(context: &Context, request: &Request) -> Result<Answered, Refusal> {
    let Kind::Iq(iq) = request.stanza.kind else {
        return Err(Refusal::Internal);
    };
    let asked = Asked::from_iq(iq, &request.payload)?;
    let account = request.to.to_bare();
    let directory = directory(&context.home, &account)?;
    let own = request.target == Target::OwnAccount;
    match asked {
        Asked::Claim(claim) => {
            let requester = request.from.to_bare();
            let Served { claimed, notices } = directory
                .claim(&requester, &account, &claim, context.now_ms())
                .await?;
            Ok((Answer::Claimed(claimed), notices))
        }
        // The same words whether or not there is such an account.
        _ if !own => Err(Refusal::NotAllowed {
            rule: "only an account's own devices publish, count and delete its KeyPackages"
                .to_owned(),
        }),
        asked => Ok((
            own_answer(context, directory, &account, asked).await?,
            Vec::new(),
        )),
    }
}

/// What an account may ask of its own packages.
async fn own_answer(
    context: &Context,
    directory: &Directory,
    account: &BareJid,
    asked: Asked,
) -> Result<Answer, Refusal> {
    let now_ms = context.now_ms();
    match asked {
        Asked::Publish {
            device,
            replace,
            packages,
            signature,
        } => {
            let publisher = directory.publisher(account, device).await?;
            let now_s = context.now_s();
            let examined = context
                .home
                .services
                .work
                .run(move || publisher.examine(&packages, &signature, now_s))
                .await??;
            let counts = directory.publish(examined, replace, now_ms).await?;
            Ok(Answer::Published(counts))
        }
        Asked::Count => Ok(Answer::Counts(directory.count(account, now_ms).await?)),
        Asked::Delete { device, references } => {
            let left = directory
                .delete(account, context.device, device, &references, now_ms)
                .await?;
            Ok(Answer::Deleted(left))
        }
        Asked::Claim(_) => Err(Refusal::Internal),
    }
}

fn directory<'a>(home: &'a Home, account: &BareJid) -> Result<&'a Directory, Refusal> {
    let directory = home.services.directories.get(account.domain());
    directory.ok_or_else(|| Refusal::NoKeyPackages {
        account: account.clone(),
    })
}

/// Each device is told what concerns it, in all sessions that are that device. Devices that are
/// away count when they come back.
fn tell(home: &Home, account: &BareJid, notices: Vec<(Uuid, Notice)>, deliveries: &mut Deliveries) {
    let Ok(domain) = BareJid::parse(account.domain()) else {
        return;
    };
    for (device, notice) in notices {
        let payload = notice.to_element();
        for session in home.sessions.of_device(account, device) {
            // RFC 6121 §5.2.2: a headline is not kept for those who are away.
            let stanza = Stanza::new(Kind::Message(MessageType::Headline))
                .with_from(domain.clone())
                .with_to(session.clone())
                .with(&payload);
            deliveries.push_local(session, Arc::new(stanza));
        }
    }
}

fn purge(home: Home) -> Later<Deliveries> {
    Box::pin(async move {
        // All domains share one storage, so one directory purges for all.
        if let Some(directory) = home.services.directories.values().next() {
            for _ in 0..PURGE_CHUNKS {
                match directory.purge(home.now_ms()).await {
                    Ok(true) => {}
                    Ok(false) | Err(_) => break,
                }
            }
        }
        Deliveries::none()
    })
}

#[cfg(test)]
mod tests;
