//! What a member shows of a message (RFC 9750 §8.2.3): found to be what stands in the log under its
//! sender's name, by the tag that the sender put beside it, or not. Nothing else is shown by it.

use comity_mls_credential::franking;
use comity_mls_wire::authenticated::AuthenticatedData;
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{EntryKind, MessageReport};
use comity_storage::rooms::{AbuseReport, Entry};
use comity_xmpp::jid::BareJid;

use crate::error::internal;
use crate::framing::{Content, Framing};

/// The report as it is kept, if what it shows was said there.
pub fn judge(
    room: &BareJid,
    row: Option<Entry>,
    reporter: &BareJid,
    report: MessageReport,
    now: u64,
) -> Result<AbuseReport, Refusal> {
    let refused = |why: &str| Refusal::BadRequest {
        why: why.to_owned(),
    };
    let row = row.filter(|row| row.kind == EntryKind::Application.octet());
    let row = row.ok_or_else(|| refused("there is no such message in the log of this room"))?;
    let payload = row
        .payload
        .as_deref()
        .ok_or_else(|| refused("what was said there is no longer held, so nothing can be shown"))?;
    let tag = tag(payload)
        .ok_or_else(|| refused("its sender put no tag beside it, so nothing can be shown"))?;
    let message = franking::Message {
        id: report.id.as_bytes(),
        content_type: &report.content_type,
        content: &report.content,
    };
    let fits = message.fits(&report.key, &tag);
    if !fits.map_err(|error| internal(error, "comparing a tag"))? {
        return Err(refused("this is not what was said there"));
    }
    if row.sender == reporter.as_str() {
        return Err(refused("that is a message of your own"));
    }
    Ok(AbuseReport {
        room: room.as_str().to_owned(),
        seq: row.seq,
        sender: row.sender,
        device: row.device,
        sent: row.time,
        message: report.id.into_bytes(),
        content_type: report.content_type,
        content: report.content.to_vec(),
        reporter: reporter.as_str().to_owned(),
        why: report.why,
        time: now,
    })
}

/// The tag beside a message, which the hub has kept with it.
fn tag(payload: &[u8]) -> Option<franking::Tag> {
    match Framing::read(payload).ok()? {
        Framing::Private {
            content: Content::Application,
            authenticated_data,
            ..
        } => {
            AuthenticatedData::from_bytes(authenticated_data)
                .ok()?
                .franking
        }
        _ => None,
    }
}
