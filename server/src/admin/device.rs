//! `comity device …`

use comity_storage::{RevokeDevice, RevokedDevice};
use comity_xmpp::jid::BareJid;
use uuid::Uuid;

use super::State;
use super::protocol::{Answer, Device};
use super::user::{Result, done, parse, text};
use crate::home::millis;

/// In place of an id: every device of the account.
const ALL: &str = "all";

pub(super) async fn list(state: &State, jid: &str) -> Result {
    let account = parse(state, jid)?;
    let found = state
        .storage
        .devices(account.as_str())
        .await
        .map_err(text)?;
    let devices = found
        .into_iter()
        .map(|device| Device {
            id: Uuid::from_bytes(device.id).to_string(),
            name: device.name,
            registered: device.registered,
            revoked: device.revoked,
        })
        .collect();
    Ok(Answer::Devices { devices })
}

pub(super) async fn revoke(state: &State, jid: &str, id: &str) -> Result {
    let account = parse(state, jid)?;
    if id == ALL {
        return revoke_all(state, &account).await;
    }
    let id = Uuid::try_parse(id).map_err(|error| format!("{id} is no device id: {error}"))?;
    let change = RevokeDevice {
        account: account.to_string(),
        id: id.into_bytes(),
        now: millis(state.clock.wall()) / 1000,
    };
    match state.storage.write(change).await.map_err(text)? {
        RevokedDevice::Revoked => {
            (state.revoked)(account.clone(), id).await;
            done(format!(
                "revoked device {id} of {account}: its certificates are in the revocation list, it \
                 gets no others, and nobody can invite it"
            ))
        }
        RevokedDevice::Already(_) => done(format!("device {id} of {account} was revoked before")),
        RevokedDevice::Unknown => Err(format!(
            "{account} has no device {id}; `comity device list {account}` shows its devices"
        )),
    }
}

async fn revoke_all(state: &State, account: &BareJid) -> Result {
    let devices = state.storage.devices(account.as_str()).await;
    let mut count = 0;
    for device in devices.map_err(text)? {
        let change = RevokeDevice {
            account: account.to_string(),
            id: device.id,
            now: millis(state.clock.wall()) / 1000,
        };
        if state.storage.write(change).await.map_err(text)? == RevokedDevice::Revoked {
            (state.revoked)(account.clone(), Uuid::from_bytes(device.id)).await;
            count += 1;
        }
    }
    done(format!(
        "revoked {count} devices of {account}: their certificates are in the revocation list; the \
         account can register others, unless `comity user disable {account}` is said too"
    ))
}
