//! The transparency log of a domain, for those who check it (`mls/PROTOCOL.md` §5.6): heads and
//! consistency for everybody, an account's entries for its sessions, and the inclusion of a
//! certificate for whoever names its key to the account.

use bytes::Bytes;
use comity_mls_service::authority::Authority;
use comity_mls_wire::authority::{Answer, Request as Asked};
use comity_mls_wire::refusal::Refusal;
use comity_xmpp::jid::Jid;
use comity_xmpp::ns;
use comity_xmpp::stanza::{IqType, Kind, Stanza};

use super::{Context, Handles, Later, Module, Request, Target, What};
use crate::deliver::Deliveries;

pub const MODULE: Module = Module {
    name: "mls_log",
    handles: &[
        asked("log-head", Target::Domain),
        asked("log-consistency", Target::Domain),
        asked("log-entries", Target::Domain),
        asked("log-inclusion", Target::OwnAccount),
        asked("log-inclusion", Target::OtherAccount),
    ],
    handle,
    ..Module::EMPTY
};

const fn asked(name: &'static str, target: Target) -> Handles {
    Handles {
        what: What::Iq(IqType::Get),
        ns: ns::MLS_AS,
        name,
        target,
    }
}

fn handle(context: Context, request: Request) -> Later<Deliveries> {
    Box::pin(async move {
        match decide(&context, &request).await {
            Ok(deliveries) => deliveries,
            Err(refusal) => Deliveries::refuse(&request.stanza, &refusal.to_stanza_error()),
        }
    })
}

async fn decide(context: &Context, request: &Request) -> Result<Deliveries, Refusal> {
    let asked =
        Asked::from_iq(IqType::Get, &request.payload).map_err(|error| Refusal::BadRequest {
            why: error.to_string(),
        })?;
    let ours = context.home.services.authority(request.to.domain());
    let ours = ours.ok_or(Refusal::Internal)?;
    let answer = match asked {
        Asked::LogHead { ref domain } | Asked::LogConsistency { ref domain, .. } => {
            return of_domain(context, ours, &request.stanza, &domain.clone(), asked).await;
        }
        Asked::LogEntries { from } => {
            let session = context.session();
            let session = session.filter(|session| session.domain() == ours.domain());
            let session = session.ok_or_else(|| Refusal::NotAllowed {
                rule: "an account asks for its own entries at its own domain".to_owned(),
            })?;
            let log = ours.account_log(&session.to_bare(), from).await?;
            Answer::LogEntries {
                head: log.head,
                evidence: log.evidence,
                entries: log.entries,
            }
        }
        Asked::LogInclusion { keys } => {
            let included = ours.included(&request.to.to_bare(), &keys).await?;
            Answer::LogInclusion {
                head: included.head,
                keys: keys.into_iter().zip(included.keys).collect(),
            }
        }
        _ => return Err(Refusal::Internal),
    };
    let answer = request.stanza.result(Some(&answer.to_element()));
    Ok(Deliveries::answer(answer))
}

/// What the log of a domain shows to everybody: of ours at once, of others when they have answered.
async fn of_domain(
    context: &Context,
    ours: &Authority,
    stanza: &Stanza,
    domain: &str,
    asked: Asked,
) -> Result<Deliveries, Refusal> {
    if let Some(authority) = context.home.services.authority(domain) {
        let answer = shown(authority, &asked).await?;
        return Ok(Deliveries::answer(
            stanza.result(Some(&answer.to_element())),
        ));
    }
    if context.session().is_none() {
        // Nobody asks other domains through us but our own accounts.
        return Err(Refusal::NotAllowed {
            rule: "a domain's log is asked for at the domain itself".to_owned(),
        });
    }
    let unreachable = Refusal::UnreachableDomain {
        domain: domain.to_owned(),
    };
    let there = Jid::parse(domain).map_err(|_| unreachable.clone())?;
    let here = Jid::parse(ours.domain()).map_err(|_| Refusal::Internal)?;
    let (context, stanza) = (context.clone(), stanza.clone());
    let mut deliveries = Deliveries::none();
    deliveries.afterwards(async move {
        let answer = context
            .ask(here, there, IqType::Get, &asked.to_element())
            .await;
        match answer {
            Ok(answer) => handed_on(&stanza, &answer, &unreachable),
            Err(error) => match Refusal::from_stanza_error(&error) {
                Some(refusal) => Deliveries::refuse(&stanza, &refusal.to_stanza_error()),
                None => Deliveries::refuse(&stanza, &unreachable.to_stanza_error()),
            },
        }
    });
    Ok(deliveries)
}

async fn shown(authority: &Authority, asked: &Asked) -> Result<Answer, Refusal> {
    match asked {
        Asked::LogConsistency { first, second, .. } => {
            let proof = authority.log_consistency(*first, *second).await?;
            Ok(Answer::LogConsistency {
                proof: Bytes::from(proof.concat()),
            })
        }
        _ => Ok(Answer::LogHead {
            head: authority.log_head().await?,
        }),
    }
}

/// The other domain's answer as it came: the client checks it.
fn handed_on(stanza: &Stanza, answer: &Stanza, unreachable: &Refusal) -> Deliveries {
    let payload = answer
        .first_child()
        .filter(|_| answer.kind == Kind::Iq(IqType::Result));
    match payload.map(|payload| Answer::from_element(&payload)) {
        Some(Ok(answer @ (Answer::LogHead { .. } | Answer::LogConsistency { .. }))) => {
            Deliveries::answer(stanza.result(Some(&answer.to_element())))
        }
        _ => Deliveries::refuse(stanza, &unreachable.to_stanza_error()),
    }
}
