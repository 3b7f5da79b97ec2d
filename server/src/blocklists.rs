//! Block lists in memory, where every stanza asks: accounts × `accounts.blocked` addresses at most.
//! Storage has the truth; changes of a list are made one after the other, so that both agree.

use std::collections::{HashMap, HashSet};
use std::sync::{PoisonError, RwLock};

use comity_xmpp::jid::{BareJid, Jid};
use tokio::sync::{Mutex, MutexGuard};

/// Whom our accounts do not want to hear of (XEP-0191).
#[derive(Default)]
pub struct Blocklists {
    lists: RwLock<HashMap<String, HashSet<String>>>,
    changing: Mutex<()>,
}

impl Blocklists {
    /// Of pairs of an account and an address that it blocks.
    pub fn of(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut lists: HashMap<String, HashSet<String>> = HashMap::new();
        for (account, jid) in pairs {
            lists.entry(account).or_default().insert(jid);
        }
        Self {
            lists: RwLock::new(lists),
            changing: Mutex::default(),
        }
    }

    /// Does the account block this address? Never its own, nor its server.
    #[must_use]
    pub fn blocks(&self, account: &BareJid, other: &Jid) -> bool {
        let lists = self.lists.read().unwrap_or_else(PoisonError::into_inner);
        let Some(list) = lists.get(account.as_str()) else {
            return false;
        };
        let own = other.to_bare() == *account || other.as_str() == account.domain();
        !own && list.iter().any(|item| covers(item, other))
    }

    /// Whoever holds this may change lists: first in storage, then here.
    pub(crate) async fn change(&self) -> Change<'_> {
        Change {
            lists: &self.lists,
            _alone: self.changing.lock().await,
        }
    }

    /// The account is no more.
    pub fn forget(&self, account: &BareJid) {
        let mut lists = self.lists.write().unwrap_or_else(PoisonError::into_inner);
        lists.remove(account.as_str());
    }
}

/// The right to change lists.
pub(crate) struct Change<'a> {
    lists: &'a RwLock<HashMap<String, HashSet<String>>>,
    _alone: MutexGuard<'a, ()>,
}

impl Change<'_> {
    pub(crate) fn block(&self, account: &BareJid, jids: &[String]) {
        if jids.is_empty() {
            return;
        }
        let mut lists = self.lists.write().unwrap_or_else(PoisonError::into_inner);
        let list = lists.entry(account.to_string()).or_default();
        list.extend(jids.iter().cloned());
    }

    pub(crate) fn unblock(&self, account: &BareJid, jids: &[String]) {
        let mut lists = self.lists.write().unwrap_or_else(PoisonError::into_inner);
        let Some(list) = lists.get_mut(account.as_str()) else {
            return;
        };
        list.retain(|item| !jids.contains(item));
        if list.is_empty() {
            lists.remove(account.as_str());
        }
    }
}

/// XEP-0191 §2.2: the resource itself, the account, a resource of the domain, all of the domain.
pub(crate) fn covers(item: &str, jid: &Jid) -> bool {
    let rest = |start: &str| item.strip_prefix(start);
    match (rest(jid.to_bare().as_str()), rest(jid.domain())) {
        (Some(""), _) | (_, Some("")) => true,
        (Some(rest), _) | (None, Some(rest)) => {
            let resource = rest.strip_prefix('/');
            resource.is_some() && resource == jid.resource()
        }
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_covers_what_is_of_it() {
        let check = |item: &str, jid: &str, expected: bool| {
            assert_eq!(
                covers(item, &Jid::parse(jid).unwrap()),
                expected,
                "{item} {jid}"
            );
        };
        check("eve@b.example", "eve@b.example", true);
        check("eve@b.example", "eve@b.example/phone", true);
        check("eve@b.example", "steve@b.example", false);
        check("eve@b.example", "eve@b.example.org", false);
        check("eve@b.example/phone", "eve@b.example/phone", true);
        check("eve@b.example/phone", "eve@b.example/desk", false);
        check("eve@b.example/phone", "eve@b.example", false);
        check("b.example", "eve@b.example/phone", true);
        check("b.example", "b.example", true);
        check("b.example", "eve@sub.b.example", false);
        check("b.example/bot", "b.example/bot", true);
        check("b.example/bot", "eve@b.example/bot", true);
        check("b.example/bot", "eve@b.example", false);
    }

    #[tokio::test]
    async fn nobody_blocks_himself_or_his_server() {
        let account = BareJid::parse("alice@a.example").unwrap();
        let pairs = ["alice@a.example", "a.example", "eve@b.example"];
        let pairs = pairs.map(|jid| (account.to_string(), jid.to_owned()));
        let lists = Blocklists::of(pairs.clone());
        let blocks = |jid: &str| lists.blocks(&account, &Jid::parse(jid).unwrap());
        assert!(!blocks("alice@a.example/phone"));
        assert!(!blocks("a.example"));
        assert!(blocks("mallory@a.example"));
        assert!(blocks("eve@b.example/x"));
        lists
            .change()
            .await
            .unblock(&account, &[pairs[2].1.clone()]);
        assert!(!blocks("eve@b.example/x"));
        lists.forget(&account);
        assert!(!blocks("mallory@a.example"));
    }
}
