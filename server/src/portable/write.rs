//! Writes an account as XEP-0227 has it.

use std::io::{self, Write};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::BytesMut;
use comity_storage::{
    ArchiveFilter, ArchivePolicy, ArchivePreferences, KeptScramKeys, Paging, PortableAccount,
    PortableNode, ScramHash, Storage,
};
use comity_xmpp::element::Element;
use comity_xmpp::form::FormKind;
use comity_xmpp::jid::BareJid;
use comity_xmpp::stream::Header;
use comity_xmpp::{ns, xml};

use super::{BLOCKED, OWN, PIE, PIE_MAM, PIE_SCRAM, PRIVACY, PRIVATE, VCARD};
use crate::module::pubsub::config::Config;
use crate::module::{message, roster};
use crate::time;

/// Messages read at a time.
const PAGE: usize = 500;

#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("there is no account {0}; `comity user list` shows those there are")]
    NoAccount(BareJid),
    #[error("the database cannot be read: {0}")]
    Storage(#[from] comity_storage::Error),
    #[error("the file cannot be written: {0}")]
    Write(#[from] io::Error),
}

/// What came along.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Written {
    pub contacts: usize,
    pub nodes: usize,
    pub offline: usize,
    pub archived: usize,
}

/// Writes one account, as it is while it is read.
///
/// # Errors
/// When there is none, or it cannot be read or written.
pub async fn export(
    storage: &Storage,
    account: &BareJid,
    archive: bool,
    out: &mut impl Write,
) -> Result<Written, ExportError> {
    let found = storage.portable_account(account.as_str()).await?;
    let found = found.ok_or_else(|| ExportError::NoAccount(account.clone()))?;
    let escaped = |text: &str| {
        let mut out = BytesMut::new();
        xml::escape(text, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    };
    writeln!(
        out,
        "<?xml version='1.0' encoding='UTF-8'?>\n<server-data xmlns='{PIE}'>\n<host jid='{}'>\n\
         <user name='{}'>",
        escaped(account.domain()),
        escaped(account.local().unwrap_or_default())
    )?;
    let mut written = Written {
        contacts: found.contacts.len(),
        nodes: found.nodes.len(),
        ..Written::default()
    };
    for element in elements(&found) {
        put(&element, PIE, out)?;
    }
    written.offline = offline(storage, account, out).await?;
    if archive {
        written.archived = archived(storage, account, out).await?;
    }
    writeln!(out, "</user>\n</host>\n</server-data>")?;
    Ok(written)
}

fn put(element: &Element, surrounding: &str, out: &mut impl Write) -> io::Result<()> {
    let mut bytes = BytesMut::new();
    xml::write(element, surrounding, &mut bytes);
    out.write_all(&bytes)?;
    out.write_all(b"\n")
}

/// Everything but messages.
fn elements(found: &PortableAccount) -> Vec<Element> {
    let mut all: Vec<Element> = found.keys.iter().map(keys).collect();
    if !found.account.enabled {
        all.push(Element::new(OWN, "disabled"));
    }
    let contacts = found.contacts.iter().map(roster::item);
    all.push(Element::new(ns::ROSTER, "query").with_children(contacts));
    let parse = |bytes: &[u8]| xml::parse(bytes, &Header::of(ns::CLIENT)).ok();
    all.extend((found.requests.iter()).filter_map(|request| parse(&request.stanza)));
    let (vcard, private): (Vec<_>, Vec<_>) =
        (found.private.iter()).partition(|one| one.ns == VCARD && one.name == "vCard");
    all.extend(vcard.iter().filter_map(|one| parse(&one.payload)));
    let private: Vec<_> = private
        .iter()
        .filter_map(|one| parse(&one.payload))
        .collect();
    if !private.is_empty() {
        all.push(Element::new(PRIVATE, "query").with_children(private));
    }
    all.extend(privacy(&found.blocked));
    if !found.nodes.is_empty() {
        let about = found.nodes.iter().flat_map(configuration);
        all.push(Element::new(ns::PUBSUB_OWNER, "pubsub").with_children(about));
        let published = found.nodes.iter().map(items);
        all.push(Element::new(ns::PUBSUB, "pubsub").with_children(published));
    }
    all.extend(found.preferences.as_ref().map(preferences));
    all
}

/// XEP-0227 §4.3.
fn keys(kept: &KeptScramKeys) -> Element {
    let mechanism = match kept.hash {
        ScramHash::Sha1 => "SCRAM-SHA-1",
        ScramHash::Sha256 => "SCRAM-SHA-256",
    };
    let child = |name: &str, text: String| Element::new(PIE_SCRAM, name).with_text(text);
    let encoded = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
    Element::new(PIE_SCRAM, "scram-credentials")
        .with_attr("mechanism", mechanism)
        .with_child(child("iter-count", kept.iterations.to_string()))
        .with_child(child("salt", encoded(&kept.salt)))
        .with_child(child("server-key", encoded(&kept.server_key)))
        .with_child(child("stored-key", encoded(&kept.stored_key)))
}

/// XEP-0227 §4.8: whom one blocks (XEP-0191) is a privacy list that denies and then allows.
fn privacy(blocked: &[String]) -> Option<Element> {
    if blocked.is_empty() {
        return None;
    }
    let item = |order: usize, action: &str| {
        Element::new(PRIVACY, "item")
            .with_attr("action", action)
            .with_attr("order", order.to_string())
    };
    let denied = blocked.iter().enumerate().map(|(order, jid)| {
        item(order + 1, "deny")
            .with_attr("type", "jid")
            .with_attr("value", jid.as_str())
    });
    let list = Element::new(PRIVACY, "list")
        .with_attr("name", BLOCKED)
        .with_children(denied)
        .with_child(item(blocked.len() + 1, "allow"));
    Some(
        Element::new(PRIVACY, "query")
            .with_child(Element::new(PRIVACY, "default").with_attr("name", BLOCKED))
            .with_child(list),
    )
}

/// XEP-0227 §4.10.1; affiliations and subscriptions are written as other servers do.
fn configuration(node: &PortableNode) -> Vec<Element> {
    let owner = |name: &str| {
        Element::new(ns::PUBSUB_OWNER, name).with_attr("node", node.node.node.as_str())
    };
    let form = Config::from_stored(&node.node.config).form(FormKind::Submit);
    let mut all = vec![owner("configure").with_child(form.to_element())];
    if !node.affiliations.is_empty() {
        let each = node.affiliations.iter().map(|(jid, affiliation)| {
            Element::new(ns::PUBSUB_OWNER, "affiliation")
                .with_attr("jid", jid.as_str())
                .with_attr("affiliation", affiliation.as_str())
        });
        all.push(owner("affiliations").with_children(each));
    }
    if !node.subscriptions.is_empty() {
        let each = node.subscriptions.iter().map(|one| {
            let state = if one.pending { "pending" } else { "subscribed" };
            Element::new(ns::PUBSUB_OWNER, "subscription")
                .with_attr("jid", one.jid.as_str())
                .with_attr("subscription", state)
        });
        all.push(owner("subscriptions").with_children(each));
    }
    all
}

/// XEP-0227 §4.10.2.
fn items(node: &PortableNode) -> Element {
    let each = node.items.iter().map(|item| {
        let mut element = Element::new(ns::PUBSUB, "item")
            .with_attr("id", item.id.as_str())
            .with_attr("publisher", item.publisher.as_str());
        if let Ok(payload) = xml::parse(&item.payload, &Header::of(ns::CLIENT)) {
            element.push(payload);
        }
        element
    });
    Element::new(ns::PUBSUB, "items")
        .with_attr("node", node.node.node.as_str())
        .with_children(each)
}

/// As XEP-0441 §2 has it.
fn preferences(said: &ArchivePreferences) -> Element {
    let default = match said.policy {
        ArchivePolicy::Always => "always",
        ArchivePolicy::Never => "never",
        ArchivePolicy::Roster => "roster",
    };
    let list = |name: &str, keep: bool| {
        let those = said
            .exceptions
            .iter()
            .filter(move |(_, kept)| *kept == keep);
        let each = those.map(|(jid, _)| Element::new(ns::MAM, "jid").with_text(jid.as_str()));
        Element::new(ns::MAM, name).with_children(each)
    };
    Element::new(ns::MAM, "prefs")
        .with_attr("default", default)
        .with_child(list("always", true))
        .with_child(list("never", false))
}

/// XEP-0227 §4.5.
async fn offline(
    storage: &Storage,
    account: &BareJid,
    out: &mut impl Write,
) -> Result<usize, ExportError> {
    let (mut count, mut after) = (0, 0);
    loop {
        let page = storage.offline(account.as_str(), after, PAGE).await?;
        if page.is_empty() {
            break;
        }
        for kept in &page {
            after = kept.id;
            let Some(stanza) = message::offline::delayed(kept, account.domain()) else {
                continue;
            };
            if count == 0 {
                writeln!(out, "<offline-messages>")?;
            }
            count += 1;
            let bytes = stanza.to_bytes(Some(ns::CLIENT));
            out.write_all(&bytes)?;
            out.write_all(b"\n")?;
        }
    }
    if count > 0 {
        writeln!(out, "</offline-messages>")?;
    }
    Ok(count)
}

/// XEP-0227 §4.11.
async fn archived(
    storage: &Storage,
    account: &BareJid,
    out: &mut impl Write,
) -> Result<usize, ExportError> {
    let (mut count, mut paging) = (0, Paging::First);
    let filter = ArchiveFilter::default();
    loop {
        let page = storage
            .archive_page(account.as_str(), &filter, &paging, PAGE)
            .await?;
        // The last message may have been purged since: what follows it cannot be found any more.
        let Ok(page) = page else { break };
        for row in &page.rows {
            let Ok(stanza) = xml::parse(&row.stanza, &Header::of(ns::CLIENT)) else {
                continue;
            };
            if count == 0 {
                writeln!(out, "<archive xmlns='{PIE_MAM}'>")?;
            }
            count += 1;
            let delay =
                Element::new(ns::DELAY, "delay").with_attr("stamp", time::stamp(row.received));
            let forwarded = Element::new(ns::FORWARD, "forwarded")
                .with_child(delay)
                .with_child(stanza);
            let result = Element::new(ns::MAM, "result")
                .with_attr("id", row.uid.as_str())
                .with_child(forwarded);
            put(&result, PIE_MAM, out)?;
        }
        match page.rows.last() {
            Some(last) if !page.complete => paging = Paging::After(last.uid.clone()),
            _ => break,
        }
    }
    if count > 0 {
        writeln!(out, "</archive>")?;
    }
    Ok(count)
}
