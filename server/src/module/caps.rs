//! XEP-0115: Entity Capabilities, as far as this server needs them: which nodes a resource wants to
//! be notified of (`+notify`, XEP-0163 §4.3.2). What a hash stands for is asked once, checked, and
//! then known for everybody who shows it.

mod hash;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use comity_xmpp::element::Element;
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::ns;
use comity_xmpp::stanza::{IqType, Stanza};
use tracing::debug;

use crate::home::Home;
use crate::requests;

/// Hashes whose meaning is remembered: there are far fewer versions of clients in use.
const KNOWN: usize = 4096;
/// Resources abroad that are remembered for one account, and for all.
const ABROAD_OF_ONE: usize = 1024;
const ABROAD: usize = 262_144;
/// Nodes that one resource can be interested in.
const INTERESTS: usize = 256;
/// Bytes of a hash, its algorithm, or the node of a client.
const NAME_BYTES: usize = 1023;

/// The nodes that a resource wants to hear of.
pub(crate) type Interests = Arc<HashSet<String>>;

/// What a presence stanza says of its sender's software.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shown {
    pub(crate) hash: String,
    pub(crate) node: String,
    pub(crate) ver: String,
}

/// What is known of clients' capabilities.
#[derive(Default)]
pub(crate) struct Caps(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    known: HashMap<(String, String), Interests>,
    /// In the order in which they became known: the oldest goes first.
    order: VecDeque<(String, String)>,
    /// By account of ours: contacts' resources at other domains, while they are there.
    abroad: HashMap<BareJid, HashMap<Jid, (Shown, Interests)>>,
    resources: usize,
}

impl Caps {
    /// A resource elsewhere has come, or shows something else: true if that is news, whose meaning
    /// is to be [`Self::learned`].
    pub(crate) fn came(&self, account: &BareJid, resource: &Jid, shown: &Shown) -> bool {
        let mut inner = self.lock();
        let full = inner.resources >= ABROAD;
        let there = inner.abroad.entry(account.clone()).or_default();
        if let Some((known, _)) = there.get_mut(resource) {
            let news = known != shown;
            *known = shown.clone();
            return news;
        }
        if full || there.len() >= ABROAD_OF_ONE {
            return false;
        }
        there.insert(resource.clone(), (shown.clone(), Interests::default()));
        inner.resources += 1;
        true
    }

    /// The resources of a contact elsewhere that are there, and what they show.
    pub(crate) fn of_contact(&self, account: &BareJid, contact: &BareJid) -> Vec<(Jid, Shown)> {
        let inner = self.lock();
        let there = inner.abroad.get(account).into_iter().flatten();
        let theirs = there.filter(|(resource, _)| resource.to_bare() == *contact);
        let mut found: Vec<_> = theirs
            .map(|(resource, (shown, _))| (resource.clone(), shown.clone()))
            .collect();
        found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        found
    }

    /// What a resource that has come is interested in; gives what it was interested in before.
    /// `None`: it is gone by now, or shows something else.
    pub(crate) fn learned(
        &self,
        account: &BareJid,
        resource: &Jid,
        shown: &Shown,
        interests: Interests,
    ) -> Option<Interests> {
        let mut inner = self.lock();
        let there = inner.abroad.get_mut(account)?.get_mut(resource)?;
        (there.0 == *shown).then(|| std::mem::replace(&mut there.1, interests))
    }

    pub(crate) fn went(&self, account: &BareJid, resource: &Jid) {
        let mut inner = self.lock();
        let Some(there) = inner.abroad.get_mut(account) else {
            return;
        };
        let gone = there.remove(resource).is_some();
        let empty = there.is_empty();
        inner.resources -= usize::from(gone);
        if empty {
            inner.abroad.remove(account);
        }
    }

    /// The resources of other domains' contacts that want to hear of this node of the account.
    pub(crate) fn interested(&self, account: &BareJid, node: &str) -> Vec<Jid> {
        let inner = self.lock();
        let Some(there) = inner.abroad.get(account) else {
            return Vec::new();
        };
        let mut found: Vec<Jid> = there
            .iter()
            .filter(|(_, (_, interests))| interests.contains(node))
            .map(|(resource, _)| resource.clone())
            .collect();
        found.sort_unstable();
        found
    }

    fn known(&self, shown: &Shown) -> Option<Interests> {
        let key = (shown.hash.clone(), shown.ver.clone());
        self.lock().known.get(&key).cloned()
    }

    fn learn(&self, shown: &Shown, interests: Interests) {
        let mut inner = self.lock();
        let key = (shown.hash.clone(), shown.ver.clone());
        if inner.known.insert(key.clone(), interests).is_some() {
            return;
        }
        inner.order.push_back(key);
        if inner.order.len() > KNOWN
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.known.remove(&oldest);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it holds the lock; if something did, the tables are still whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// XEP-0115 §4: what a presence stanza shows, if it shows anything of use.
pub(crate) fn shown(presence: &Stanza) -> Option<Shown> {
    let caps = presence.child(ns::CAPS, "c")?;
    let field = |name: &str| {
        let value = caps.attr(name)?;
        (!value.is_empty() && value.len() <= NAME_BYTES).then(|| value.to_owned())
    };
    // Without a hash it is the format of long ago, which proves nothing.
    Some(Shown {
        hash: field("hash")?,
        node: field("node")?,
        ver: field("ver")?,
    })
}

/// What a resource is interested in: remembered, or asked for on behalf of `account`. Waits for
/// the answer, so never in a stanza's own handling.
pub(crate) async fn interests(
    home: &Home,
    account: &BareJid,
    resource: &Jid,
    shown: &Shown,
) -> Interests {
    let caps = &home.services.caps;
    if let Some(known) = caps.known(shown) {
        return known;
    }
    let query = Element::new(ns::DISCO_INFO, "query")
        .with_attr("node", format!("{}#{}", shown.node, shown.ver));
    let asked = account.clone().into();
    let answer = requests::ask(home, asked, resource.clone(), IqType::Get, &query).await;
    let info = match answer {
        Ok(answer) => answer.child(ns::DISCO_INFO, "query"),
        Err(error) => {
            debug!(%resource, %error, "a client does not say what it can");
            None
        }
    };
    let Some(info) = info else {
        return Interests::default();
    };
    let interests = Arc::new(wanted(&info));
    // XEP-0115 §5.4: what does not hash to what was shown counts for this resource alone.
    if hash::matches(&info, &shown.hash, &shown.ver) {
        caps.learn(shown, Arc::clone(&interests));
    }
    interests
}

fn wanted(info: &Element) -> HashSet<String> {
    info.children_named(ns::DISCO_INFO, "feature")
        .filter_map(|feature| feature.attr("var")?.strip_suffix("+notify"))
        .take(INTERESTS)
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown_as(ver: &str) -> Shown {
        Shown {
            hash: "sha-1".to_owned(),
            node: "urn:x".to_owned(),
            ver: ver.to_owned(),
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let caps = Caps::default();
        for n in 0..=KNOWN {
            caps.learn(&shown_as(&n.to_string()), Interests::default());
        }
        assert!(caps.known(&shown_as("0")).is_none());
        assert!(caps.known(&shown_as("1")).is_some());
        let account = BareJid::parse("romeo@a.example").unwrap();
        let resource = |n: usize| Jid::parse(&format!("juliet@b.example/{n}")).unwrap();
        for n in 0..=ABROAD_OF_ONE {
            let news = caps.came(&account, &resource(n), &shown_as("1"));
            assert_eq!(news, n < ABROAD_OF_ONE);
        }
        assert!(!caps.came(&account, &resource(0), &shown_as("1")));
        assert!(caps.came(&account, &resource(0), &shown_as("2")));
        for n in 0..=ABROAD_OF_ONE {
            caps.went(&account, &resource(n));
        }
        assert_eq!(caps.lock().resources, 0);
        assert!(caps.lock().abroad.is_empty());
    }
}
