//! `comity peer …`

use comity_mls_credential::anchors::Pinned;
use comity_xmpp::jid::BareJid;

use super::State;
use super::protocol::{Answer, Peer};
use super::user::{Result, done, text};

/// Domains in one answer: those whose statements end last.
const LIST_LIMIT: usize = 1000;

pub(super) async fn list(state: &State) -> Result {
    let mut peers = Vec::new();
    for domain in state.domains.iter() {
        let published = state.storage.published_anchors(domain).await;
        if let Some(published) = published.map_err(text)? {
            let own = Pinned::own(&published.signed, &[]).map_err(text)?;
            peers.push(Peer {
                domain: domain.clone(),
                root: hex(own.root()),
                expires: own.expires(),
                own: true,
            });
        }
    }
    let pinned = state.storage.pinned_domains(LIST_LIMIT).await;
    peers.extend(pinned.map_err(text)?.into_iter().map(|pinned| Peer {
        domain: pinned.domain,
        root: hex(&pinned.root),
        expires: pinned.expires,
        own: false,
    }));
    Ok(Answer::Peers { peers })
}

pub(super) async fn trust(state: &State, domain: &str, root: &str) -> Result {
    let domain = BareJid::parse(domain)
        .ok()
        .filter(|jid| jid.local().is_none())
        .ok_or_else(|| format!("{domain} is no domain"))?;
    let bytes = unhex(root).ok_or_else(|| {
        format!(
            "{root} is no fingerprint: 64 hexadecimal digits, as `comity peer list` shows there"
        )
    })?;
    (state.trust)(domain.to_string(), bytes).await?;
    done(format!("{domain} is believed with the root {root}"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut bytes = [0; 32];
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    Some(bytes)
}
