//! Whose messages an account wants kept (XEP-0441). Asked for every message, and so remembered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use comity_storage::{ArchivePolicy, ArchivePreferences, Error, SetArchivePreferences};
use comity_xmpp::element::Element;
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::ns;

use super::{Keeping, unread};
use crate::fault;
use crate::home::Home;
use crate::module::Request;
use crate::route::unavailable;

/// Addresses that one account may name.
const EXCEPTIONS: usize = 1000;
/// Accounts whose wishes are remembered before they are read again.
const REMEMBERED: usize = 10_000;

/// What accounts have said, and what holds for those that have not.
pub struct Preferences {
    pub(crate) keeping: Keeping,
    known: Mutex<HashMap<BareJid, Option<Arc<ArchivePreferences>>>>,
}

impl Preferences {
    #[must_use]
    pub fn new(keeping: Keeping) -> Self {
        Self {
            keeping,
            known: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<BareJid, Option<Arc<ArchivePreferences>>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does the account want its messages with this address kept?
pub(crate) async fn wants(home: &Home, account: &BareJid, other: &Jid) -> Result<bool, Error> {
    let said = said(home, account).await?;
    let policy = match &said {
        None => home.archive.keeping.policy,
        Some(said) => {
            let exception = exception(said, other);
            if let Some(keep) = exception {
                return Ok(keep);
            }
            said.policy
        }
    };
    Ok(match policy {
        ArchivePolicy::Always => true,
        ArchivePolicy::Never => false,
        ArchivePolicy::Roster => {
            let contact = other.to_bare();
            let storage = &home.storage;
            let found = Box::pin(storage.contact(account.as_str(), contact.as_str())).await?;
            *account == contact || found.is_some()
        }
    })
}

/// XEP-0441 §2.3.1: a bare address means all its resources; the more exact one holds.
fn exception(said: &ArchivePreferences, other: &Jid) -> Option<bool> {
    let of = |address: &str| {
        let found = said.exceptions.iter().find(|(named, _)| named == address);
        found.map(|(_, keep)| *keep)
    };
    of(other.as_str()).or_else(|| of(other.to_bare().as_str()))
}

async fn said(home: &Home, account: &BareJid) -> Result<Option<Arc<ArchivePreferences>>, Error> {
    if let Some(known) = home.archive.known().get(account) {
        return Ok(known.clone());
    }
    // Boxed: it is seldom read, and every message makes room for it.
    let read = Box::pin(home.storage.archive_preferences(account.as_str())).await?;
    let mut known = home.archive.known();
    if known.len() >= REMEMBERED {
        known.clear();
    }
    // What was changed since it was read is there already.
    let said = known
        .entry(account.clone())
        .or_insert_with(|| read.map(Arc::new));
    Ok(said.clone())
}

pub(super) async fn show(home: &Home, request: &Request) -> Result<Element, StanzaError> {
    let said = said(home, &request.to.to_bare()).await;
    let said = said.map_err(|fault| unread(&fault))?;
    Ok(match said {
        Some(said) => element(&said),
        None => element(&ArchivePreferences {
            policy: home.archive.keeping.policy,
            exceptions: Vec::new(),
        }),
    })
}

pub(super) async fn change(home: &Home, request: &Request) -> Result<Element, StanzaError> {
    let preferences = read(&request.payload)?;
    let account = request.to.to_bare();
    let change = SetArchivePreferences {
        account: account.as_str().to_owned(),
        preferences: preferences.clone(),
    };
    match home.storage.write(change).await {
        Ok(true) => {}
        Ok(false) => return Err(unavailable()),
        Err(fault) => {
            let what = "an account's wishes for its archive cannot be kept";
            fault::log(&fault, what);
            let text = "the server could not keep this: send it again";
            return Err(fault::refused(&fault, text));
        }
    }
    let answer = element(&preferences);
    let said = Some(Arc::new(preferences));
    home.archive.known().insert(account, said);
    Ok(answer)
}

fn read(prefs: &Element) -> Result<ArchivePreferences, StanzaError> {
    let policy = match prefs.attr("default") {
        Some("always") => ArchivePolicy::Always,
        Some("never") => ArchivePolicy::Never,
        Some("roster") => ArchivePolicy::Roster,
        _ => return Err(bad("'default' is always, never or roster")),
    };
    let mut exceptions = Vec::new();
    for (name, keep) in [("always", true), ("never", false)] {
        let listed = prefs.child(ns::MAM, name);
        for jid in listed
            .iter()
            .flat_map(|list| list.children_named(ns::MAM, "jid"))
        {
            let address = Jid::parse(jid.text().trim())
                .map_err(|fault| bad(format!("<{name}/> names no address: {fault}")))?;
            if exceptions.len() == EXCEPTIONS {
                return Err(
                    StanzaError::new(ErrorType::Modify, StanzaCondition::NotAcceptable)
                        .with_text(format!("no more than {EXCEPTIONS} addresses can be named")),
                );
            }
            let address = address.as_str().to_owned();
            if exceptions
                .iter()
                .any(|(named, other)| *named == address && *other != keep)
            {
                return Err(bad(format!("{address} cannot be kept always and never")));
            }
            exceptions.push((address, keep));
        }
    }
    exceptions.sort_unstable();
    exceptions.dedup();
    Ok(ArchivePreferences { policy, exceptions })
}

fn bad(text: impl Into<String>) -> StanzaError {
    StanzaError::new(ErrorType::Modify, StanzaCondition::BadRequest).with_text(text)
}

fn element(preferences: &ArchivePreferences) -> Element {
    let policy = match preferences.policy {
        ArchivePolicy::Always => "always",
        ArchivePolicy::Never => "never",
        ArchivePolicy::Roster => "roster",
    };
    let list = |name: &str, which: bool| {
        let listed = preferences.exceptions.iter();
        Element::new(ns::MAM, name).with_children(
            listed
                .filter(|(_, keep)| *keep == which)
                .map(|(address, _)| Element::new(ns::MAM, "jid").with_text(address)),
        )
    };
    Element::new(ns::MAM, "prefs")
        .with_attr("default", policy)
        .with_child(list("always", true))
        .with_child(list("never", false))
}
