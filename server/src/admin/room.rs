//! `comity room …`: the rooms that are ordered here, as far as a server can see into them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use comity_storage::rooms::{
    CLOSED_LIMIT, CloseRoom, Closed, DiscardAbuseReport, OpenRoom, RoomClosed, RoomSummary,
};
use comity_xmpp::jid::BareJid;
use uuid::Uuid;

use super::State;
use super::protocol::{Answer, LIST_LIMIT, Report, Room, RoomDetail, RoomDomain, RoomMember};
use super::user::{Result, done, text};
use crate::home::millis;

/// Devices and domains of one room in an answer.
const MEMBER_LIMIT: usize = 2_000;
/// Reports in an answer: each may bring 64 KiB of what was said.
const REPORT_LIMIT: usize = 8;
/// Characters of a reason.
const REASON_LIMIT: usize = 200;

pub(super) async fn list(state: &State, after: &str) -> Result {
    let found = state.storage.room_summaries(after, LIST_LIMIT).await;
    let found = found.map_err(text)?;
    let more = found.len() == LIST_LIMIT;
    let rooms = found.into_iter().map(|one| room(state, one)).collect();
    Ok(Answer::Rooms { rooms, more })
}

pub(super) async fn show(state: &State, address: &str) -> Result {
    let address = parse(address)?;
    let found = state
        .storage
        .room_detail(address.as_str(), MEMBER_LIMIT)
        .await
        .map_err(text)?;
    let found = found.ok_or_else(|| unknown(&address))?;
    let members = found.members.into_iter().map(|leaf| RoomMember {
        account: leaf.account,
        device: Uuid::from_bytes(leaf.device).to_string(),
    });
    let domains = found.domains.into_iter().map(|one| RoomDomain {
        domain: one.domain,
        acknowledged: one.acknowledged,
        until: one.until,
    });
    Ok(Answer::Room {
        room: Box::new(RoomDetail {
            members: members.collect(),
            member_domains: domains.collect(),
            pending: found.pending,
            held: found.held,
            held_octets: found.octets,
            room: room(state, found.summary),
        }),
    })
}

pub(super) async fn close(state: &State, address: &str, reason: &str) -> Result {
    let address = parse(address)?;
    let closed = Closed {
        room: address.to_string(),
        since: millis(state.clock.wall()),
        reason: reason.chars().take(REASON_LIMIT).collect(),
    };
    let outcome = state.storage.write(CloseRoom(closed.clone())).await;
    match outcome.map_err(text)? {
        RoomClosed::Unknown => return Err(unknown(&address)),
        RoomClosed::Full => {
            return Err(format!(
                "{CLOSED_LIMIT} rooms are closed already: `comity room open` one of them"
            ));
        }
        RoomClosed::Closed => {}
    }
    state.closed.close(address.as_str(), &closed.reason);
    done(format!(
        "{address} is closed: it takes nothing in any more, members are told why, and what it \
         holds can still be fetched; `comity room open {address}` undoes it"
    ))
}

pub(super) async fn open(state: &State, address: &str) -> Result {
    let address = parse(address)?;
    let change = OpenRoom {
        room: address.to_string(),
    };
    if !state.storage.write(change).await.map_err(text)? {
        return Err(format!("{address} is not closed"));
    }
    state.closed.open(address.as_str());
    done(format!("{address} is open again"))
}

pub(super) async fn reports(state: &State, after: u64) -> Result {
    let found = state.storage.abuse_reports(after, REPORT_LIMIT).await;
    let found = found.map_err(text)?;
    let more = found.len() == REPORT_LIMIT;
    let reports = found.into_iter().map(|(id, report)| Report {
        id,
        room: report.room,
        seq: report.seq,
        sent: report.sent,
        sender: report.sender,
        device: report.device.map(|id| Uuid::from_bytes(id).to_string()),
        message: Uuid::from_bytes(report.message).to_string(),
        content_type: report.content_type,
        content: STANDARD.encode(&report.content),
        text: String::from_utf8(report.content).ok(),
        reporter: report.reporter,
        why: report.why,
        time: report.time,
    });
    Ok(Answer::Reports {
        reports: reports.collect(),
        more,
    })
}

pub(super) async fn discard_report(state: &State, id: u64) -> Result {
    match state.storage.write(DiscardAbuseReport { id }).await {
        Ok(true) => done(format!("report {id} is discarded")),
        Ok(false) => Err(format!(
            "there is no report {id}; `comity room reports` shows those that are kept"
        )),
        Err(error) => Err(text(error)),
    }
}

fn room(state: &State, found: RoomSummary) -> Room {
    Room {
        closed: state.closed.reason(&found.room),
        room: found.room,
        epoch: found.epoch,
        seq: found.seq,
        created: found.created,
        last: found.time,
        accounts: found.accounts,
        devices: found.devices,
        domains: found.domains,
        direct: found.direct.map(|(one, other)| vec![one, other]),
    }
}

fn parse(address: &str) -> Result<BareJid> {
    BareJid::parse(address).map_err(|error| format!("{address}: {error}"))
}

fn unknown(address: &BareJid) -> String {
    format!("no room {address} is ordered here; `comity room list` shows those that are")
}
