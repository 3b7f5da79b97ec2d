//! `comity device …`

use comity_storage::{RevokeDevice, RevokedDevice};
use uuid::Uuid;

use super::State;
use super::protocol::{Answer, Device};
use super::user::{Result, done, parse, text};
use crate::home::millis;

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
                "revoked device {id} of {account}: it gets no certificates, and nobody can invite \
                 it; rooms it is in show it until a member removes it"
            ))
        }
        RevokedDevice::Already(_) => done(format!("device {id} of {account} was revoked before")),
        RevokedDevice::Unknown => Err(format!(
            "{account} has no device {id}; `comity device list {account}` shows its devices"
        )),
    }
}
