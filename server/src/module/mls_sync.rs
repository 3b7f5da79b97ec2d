//! A device and its own server (`mls/PROTOCOL.md`, `urn:xmpp:mls:0:room`): it says what it holds of
//! its rooms, and gets the rest in order, then what comes.

mod feed;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use comity_mls_service::room::sync::{self, Feed};
use comity_mls_wire::limits;
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::Member;
use comity_mls_wire::sync::{Answer, Request as Asked};
use comity_storage::rooms::{AcknowledgeWelcome, AdvanceCursor, DeviceRoom};
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::ns;
use comity_xmpp::stanza::{IqType, Kind};
use uuid::Uuid;

use super::{Context, Handles, Later, Module, Request, Target, What};
use crate::deliver::Deliveries;
use crate::home::Home;

pub const MODULE: Module = Module {
    name: "mls_sync",
    handles: &[asked("sync"), asked("stored"), asked("welcomed")],
    handle,
    ..Module::EMPTY
};

const fn asked(name: &'static str) -> Handles {
    Handles {
        what: What::Iq(IqType::Set),
        ns: ns::MLS_ROOM,
        name,
        target: Target::Domain,
    }
}

fn handle(context: Context, request: Request) -> Later<Deliveries> {
    Box::pin(async move {
        let stanza = request.stanza.clone();
        match answer(&context, &request).await {
            Ok((answer, start)) => {
                let answer = stanza.result(Some(&answer.to_element()));
                let mut deliveries = Deliveries::answer(answer);
                if let Some(start) = start {
                    // Its answer first, then what it asked for.
                    deliveries.afterwards(async move {
                        start.spawn();
                        Deliveries::none()
                    });
                }
                deliveries
            }
            Err(refusal) => Deliveries::refuse(&stanza, &refusal.to_stanza_error()),
        }
    })
}

type Answered = (Answer, Option<feed::Start>);

async fn answer(context: &Context, request: &Request) -> Result<Answered, Refusal> {
    let Kind::Iq(kind) = request.stanza.kind else {
        return Err(Refusal::Internal);
    };
    let asked = Asked::from_iq(kind, &request.payload)?;
    let session = match context.session() {
        Some(session) if session.domain() == request.to.domain() => session.clone(),
        _ => {
            return Err(Refusal::NotAllowed {
                rule: "a device syncs with its own domain".to_owned(),
            });
        }
    };
    let member = Member {
        account: session.to_bare(),
        device: context.device.ok_or(Refusal::NoDevice)?,
    };
    match asked {
        Asked::Sync { cursors } => begin(&context.home, member, session, cursors).await,
        Asked::Acknowledge { room, seq } => {
            stored(context, &member, &room, seq).await?;
            Ok((Answer::Acknowledged, None))
        }
        Asked::AcknowledgeWelcome { id } => {
            welcomed(&context.home, &member, id).await?;
            Ok((Answer::Acknowledged, None))
        }
    }
}

async fn begin(
    home: &Home,
    member: Member,
    session: Jid,
    cursors: Vec<(BareJid, u64)>,
) -> Result<Answered, Refusal> {
    let cursors: BTreeMap<String, u64> = cursors
        .into_iter()
        .map(|(room, seq)| (room.as_str().to_owned(), seq))
        .collect();
    // From here on nothing that happens is missed: what is read next is older.
    let signals = home.services.rooms.feeds.begin(&member, session);
    let rooms = rooms_of(home, &member, None).await?;
    let mut standings = sync::standings(&rooms).map_err(|error| failed(&error))?;
    // What the client may be told; it is fed all of its rooms.
    standings.truncate(limits::ROOMS);
    let answer = Answer::Syncing { rooms: standings };
    let start = feed::Start {
        home: home.clone(),
        feed: Feed::new(rooms, &cursors),
        member,
        signals,
    };
    Ok((answer, Some(start)))
}

async fn rooms_of(
    home: &Home,
    member: &Member,
    room: Option<&str>,
) -> Result<Vec<DeviceRoom>, Refusal> {
    home.storage
        .device_rooms(member.account.as_str(), member.device.into_bytes(), room)
        .await
        .map_err(|error| failed(&error))
}

async fn stored(
    context: &Context,
    member: &Member,
    room: &BareJid,
    seq: u64,
) -> Result<(), Refusal> {
    let home = &context.home;
    let change = AdvanceCursor {
        account: member.account.as_str().to_owned(),
        device: member.device.into_bytes(),
        room: room.as_str().to_owned(),
        seq,
        now: context.now_ms(),
    };
    // What it has said before, or of a room it is not in, changes nothing.
    home.storage
        .write(change)
        .await
        .map_err(|error| failed(&error))?;
    home.services.rooms.feeds.tell(member, |news| {
        let known = news.acknowledged.entry(room.as_str().to_owned());
        let known = known.or_default();
        *known = seq.max(*known);
    });
    Ok(())
}

async fn welcomed(home: &Home, member: &Member, id: Uuid) -> Result<(), Refusal> {
    let change = AcknowledgeWelcome {
        id: id.into_bytes(),
        account: member.account.as_str().to_owned(),
        device: member.device.into_bytes(),
    };
    home.storage
        .write(change)
        .await
        .map_err(|error| failed(&error))?;
    home.services.rooms.feeds.tell(member, |news| {
        news.acknowledged_welcomes.push(id.into_bytes());
        // There may have been no place for the next one.
        news.welcome = true;
    });
    Ok(())
}

fn failed(error: &dyn std::error::Error) -> Refusal {
    tracing::error!(%error, "a device cannot sync");
    Refusal::Internal
}
