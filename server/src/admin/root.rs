//! `comity peer roots` and `comity peer trust`: other domains' authorities as they are believed.

use comity_mls_credential::anchors::Pinned;
use comity_xmpp::jid::BareJid;

use super::State;
use super::protocol::{Answer, Root};
use super::user::{Result, done, text};

/// Domains in one answer: those whose statements end last.
const LIST_LIMIT: usize = 1000;

pub(super) async fn list(state: &State) -> Result {
    let mut roots = Vec::new();
    for domain in state.domains.iter() {
        let published = state.storage.published_anchors(domain).await;
        if let Some(published) = published.map_err(text)? {
            let own = Pinned::own(&published.signed, &[]).map_err(text)?;
            roots.push(Root {
                domain: domain.clone(),
                root: hex(own.root()),
                expires: own.expires(),
                own: true,
            });
        }
    }
    let pinned = state.storage.pinned_domains(LIST_LIMIT).await;
    roots.extend(pinned.map_err(text)?.into_iter().map(|pinned| Root {
        domain: pinned.domain,
        root: hex(&pinned.root),
        expires: pinned.expires,
        own: false,
    }));
    Ok(Answer::Roots { roots })
}

/// How a domain's root is believed, if it is.
pub(super) async fn of(state: &State, domain: &str) -> std::result::Result<Option<Root>, String> {
    let pinned = state.storage.pinned_anchors(domain).await.map_err(text)?;
    Ok(pinned.map(|pinned| Root {
        domain: pinned.domain,
        root: hex(&pinned.root),
        expires: pinned.expires,
        own: false,
    }))
}

pub(super) async fn trust(state: &State, domain: &str, root: &str) -> Result {
    let domain = remote(domain)?;
    let bytes = unhex(root).ok_or_else(|| {
        format!(
            "{root} is no fingerprint: 64 hexadecimal digits, as `comity peer roots` shows there"
        )
    })?;
    (state.trust)(domain.clone(), bytes).await?;
    done(format!("{domain} is believed with the root {root}"))
}

/// A domain as streams name it.
pub(super) fn remote(text: &str) -> std::result::Result<String, String> {
    let jid = BareJid::parse(text).ok();
    let domain = jid.filter(|jid| jid.local().is_none());
    let domain = domain.ok_or_else(|| format!("{text} is no domain"))?;
    Ok(domain.to_string())
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
