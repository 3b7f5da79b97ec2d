//! `comity device …`

use comity_mls_wire::refusal::Refusal;
use comity_xmpp::jid::BareJid;
use uuid::Uuid;

use super::State;
use super::protocol::{Answer, Device};
use super::user::{Result, done, parse, text};

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
    match (state.revoke)(account.clone(), id).await {
        Ok(true) => {
            (state.revoked)(account.clone(), id).await;
            done(format!(
                "revoked device {id} of {account}: its certificates are in the revocation list, it \
                 gets no others, and nobody can invite it"
            ))
        }
        Ok(false) => done(format!("device {id} of {account} was revoked before")),
        Err(Refusal::UnknownDevice) => Err(format!(
            "{account} has no device {id}; `comity device list {account}` shows its devices"
        )),
        Err(refusal) => Err(refusal.to_string()),
    }
}

async fn revoke_all(state: &State, account: &BareJid) -> Result {
    let devices = state.storage.devices(account.as_str()).await;
    let mut count = 0;
    for device in devices.map_err(text)? {
        let id = Uuid::from_bytes(device.id);
        let ended = (state.revoke)(account.clone(), id).await;
        if ended.map_err(text)? {
            (state.revoked)(account.clone(), id).await;
            count += 1;
        }
    }
    done(format!(
        "revoked {count} devices of {account}: their certificates are in the revocation list; the \
         account can register others, unless `comity user disable {account}` is said too"
    ))
}
