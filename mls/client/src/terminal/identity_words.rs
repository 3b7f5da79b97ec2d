//! What happens to identities, in words for people and in objects for scripts.

use comity_mls_engine::{
    Device, DeviceState, Event, InvitedDevice, OwnDevice, Trust, VerificationCode,
};
use comity_xmpp::jid::BareJid;
use serde_json::{Value, json};

use super::{qr, say};
use crate::content;

/// A code for people, with its QR code.
#[must_use]
pub fn code_lines(code: &VerificationCode, with: &str) -> Vec<String> {
    let mut lines = vec![format!("code with {with}:"), format!("    {code}")];
    lines.extend(qr::lines(&code.uri).unwrap_or_default());
    let epoch = match code.room {
        Some(_) => format!(" (both of you in epoch {})", code.epoch),
        None => String::new(),
    };
    lines.push(format!(
        "Compare it by another way, in person or by voice{epoch}. If the other side shows the same, \
         give it back with the command that asked for it."
    ));
    lines
}

/// One of one's own devices in a line.
#[must_use]
pub fn device_line(device: &OwnDevice) -> String {
    let registered = content::stamp(device.registered);
    let words = match device.state {
        DeviceState::This => "this device",
        DeviceState::Confirmed => "confirmed",
        DeviceState::Earlier => "there before this device, not compared",
        DeviceState::Unknown => "NOT CONFIRMED: compare its code, or revoke it",
        DeviceState::Revoked => "revoked",
        _ => "?",
    };
    format!(
        "{}  {}  since {registered}  {words}",
        device.id, device.name
    )
}

pub(super) fn state_word(state: DeviceState) -> &'static str {
    match state {
        DeviceState::This => "this",
        DeviceState::Confirmed => "confirmed",
        DeviceState::Earlier => "earlier",
        DeviceState::Unknown => "unknown",
        DeviceState::Revoked => "revoked",
        _ => "other",
    }
}

/// One character before a member's name.
#[must_use]
pub fn trust_mark(trust: &Trust) -> char {
    match trust {
        Trust::Own => '·',
        Trust::Confirmed | Trust::Verified { .. } => '✔',
        Trust::Elsewhere { .. } => '~',
        Trust::Changed { .. } => '✘',
        _ => ' ',
    }
}

/// The same in words.
#[must_use]
pub fn trust_words(trust: &Trust) -> String {
    match trust {
        Trust::Own => "this device".to_owned(),
        Trust::Confirmed => "your device, confirmed".to_owned(),
        Trust::Verified { since } => format!("verified {}", content::stamp(since / 1000)),
        Trust::Elsewhere { room } => format!("verified in {room}, not here"),
        Trust::Changed { lost, .. } => {
            format!("KEYS CHANGED {}, verify again", content::stamp(lost / 1000))
        }
        _ => "not verified".to_owned(),
    }
}

pub(super) fn trust_word(trust: &Trust) -> &'static str {
    match trust {
        Trust::Own => "own",
        Trust::Confirmed => "confirmed",
        Trust::Verified { .. } => "verified",
        Trust::Elsewhere { .. } => "elsewhere",
        Trust::Changed { .. } => "changed",
        _ => "unverified",
    }
}

/// One line for an event about identities.
pub(crate) fn event(event: &Event) -> Option<String> {
    Some(match event {
        Event::Reported { room, id } => {
            format!(
                "{room}: the operator of its server was shown the message {}",
                id.0
            )
        }
        Event::OwnDevices => return None,
        Event::Restored => {
            let told =
                "the data of this device is an older copy: what it had in stock is made anew";
            told.to_owned()
        }
        Event::OwnDevice {
            id, revoked: true, ..
        } => {
            format!("your device {id} was ended")
        }
        Event::OwnDevice { id, name, .. } => format!(
            "WARNING: your account has a device that you have not confirmed: {} ({id}). If it is \
             yours, compare codes with it (devices confirm); if not, revoke it",
            name.as_deref().unwrap_or("without a name")
        ),

        Event::DeviceConfirmed { id } => {
            format!("your device {id} is confirmed and comes to your rooms")
        }
        Event::Inviting {
            room,
            account,
            first,
            devices,
        } => format!("{room}: {}", inviting(account, *first, devices)),
        Event::Verified { room, device } => format!("{room}: {} is verified", say::name(device)),
        Event::VerificationLost { room, device } => format!(
            "WARNING, {room}: {} was verified and has other keys now: it was set up anew, or it is \
             somebody else. Compare codes again",
            say::name(device)
        ),
        Event::UnverifiedDevice { room, device } => format!(
            "WARNING, {room}: {} came, a device of somebody you verified that you have not \
             compared",
            say::name(device)
        ),
        // Of a newer engine: better said badly than not at all.
        other => format!("{other:?}"),
    })
}

/// With what devices somebody comes.
fn inviting(account: &BareJid, first: bool, devices: &[InvitedDevice]) -> String {
    let names: Vec<String> = devices
        .iter()
        .map(|device| {
            let new = if device.new { ", NEW" } else { "" };
            format!("{}{new}", &device.id.to_string()[..8])
        })
        .collect();
    let known = if first {
        " (you see them for the first time)"
    } else {
        ""
    };
    let devices = if names.len() == 1 {
        "device"
    } else {
        "devices"
    };
    format!(
        "{account} comes with {} {devices}{known}: {}",
        names.len(),
        names.join("; ")
    )
}

/// Events about identities, as objects for scripts.
pub(crate) fn event_json(event: &Event) -> Option<Value> {
    let device =
        |device: &Device| json!({"account": device.account, "device": device.id().to_string()});
    Some(match event {
        Event::Inviting {
            room,
            account,
            first,
            devices,
        } => json!({
            "type": "inviting",
            "room": room.as_str(),
            "account": account.as_str(),
            "first": first,
            "devices": devices.iter().map(|device| json!({
                "device": device.id.to_string(),
                "new": device.new,
            })).collect::<Vec<_>>(),
        }),
        Event::NotInvited {
            room,
            account,
            device,
            why,
        } => json!({
            "type": "not-invited",
            "room": room.as_str(),
            "account": account.as_str(),
            "device": device.map(|device| device.to_string()),
            "why": why,
        }),
        Event::Verified { room, device: who } => {
            json!({"type": "verified", "room": room.as_str(), "who": device(who)})
        }
        Event::VerificationLost { room, device: who } => {
            json!({"type": "verification-lost", "room": room.as_str(), "who": device(who)})
        }
        Event::UnverifiedDevice { room, device: who } => {
            json!({"type": "unverified-device", "room": room.as_str(), "who": device(who)})
        }
        Event::OwnDevice { id, name, revoked } => json!({
            "type": "own-device",
            "device": id.to_string(),
            "name": name,
            "revoked": revoked,
        }),
        Event::DeviceConfirmed { id } => {
            json!({"type": "device-confirmed", "device": id.to_string()})
        }
        Event::Warning { room, warning } => json!({
            "type": "warning",
            "room": room.as_ref().map(BareJid::as_str),
            "text": warning.to_string(),
        }),
        _ => return None,
    })
}
