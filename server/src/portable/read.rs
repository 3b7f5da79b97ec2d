//! Reads accounts as XEP-0227 has them, of this server or of others.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::BytesMut;
use comity_storage::pubsub::{Item, Node, NodeSubscription};
use comity_storage::{
    Account, Archive, ArchivePolicy, ArchivePreferences, Contact, ImportAccount, KeptScramKeys,
    OfflineMessage, PortableAccount, PortableNode, PrivateXml, ScramHash, Side, Subscription,
    SubscriptionRequest,
};
use comity_xmpp::element::Element;
use comity_xmpp::form::Form;
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::{ns, xml};

use super::{OWN, PIE, PIE_MAM, PIE_SCRAM, PRIVACY, PRIVATE, VCARD};
use crate::module::pubsub::config::Config;
use crate::time;

/// Items that an imported node may keep, whatever its configuration asks for.
const MOST_ITEMS: usize = 100_000;

/// One account of a file.
pub struct Read {
    pub import: ImportAccount,
    /// In the clear, where the file has it.
    pub password: Option<String>,
    /// What was not taken over, and why.
    pub notes: Vec<String>,
}

/// All accounts of a document; `now` is when what has no time has come.
///
/// # Errors
/// When the document is none of XEP-0227, or an account of it has no address.
pub fn accounts(document: &Element, now: u64) -> Result<Vec<Read>, String> {
    let hosts: Vec<&Element> = match document {
        root if root.is(PIE, "server-data") => root.children_named(PIE, "host").collect(),
        host if host.is(PIE, "host") => vec![host],
        other => {
            return Err(format!(
                "its first element is <{}/> of {:?}, and not <server-data/> of {PIE}",
                other.name, other.ns
            ));
        }
    };
    let mut found = Vec::new();
    for host in hosts {
        let domain = host.attr("jid").ok_or("a <host/> has no jid")?;
        for user in host.children_named(PIE, "user") {
            let name = user.attr("name").ok_or("a <user/> has no name")?;
            let jid = BareJid::parse(&format!("{name}@{domain}"))
                .map_err(|error| format!("{name}@{domain}: {error}"))?;
            if jid.local().is_none_or(|local| local.starts_with('~')) {
                return Err(format!("{jid}: this can be no account's address"));
            }
            found.push(Reader::new(&jid, now).read(user));
        }
    }
    Ok(found)
}

struct Reader {
    jid: BareJid,
    now: u64,
    read: Read,
}

impl Reader {
    fn new(jid: &BareJid, now: u64) -> Self {
        let account = PortableAccount {
            account: Account {
                account: jid.to_string(),
                enabled: true,
                created: now,
            },
            keys: Vec::new(),
            contacts: Vec::new(),
            requests: Vec::new(),
            private: Vec::new(),
            nodes: Vec::new(),
            blocked: Vec::new(),
            preferences: None,
        };
        Self {
            jid: jid.clone(),
            now,
            read: Read {
                import: ImportAccount {
                    account,
                    domain: jid.domain().to_owned(),
                    max_items: Vec::new(),
                    offline: Vec::new(),
                    archive: Vec::new(),
                },
                password: None,
                notes: Vec::new(),
            },
        }
    }

    fn read(mut self, user: &Element) -> Read {
        self.read.password = user.attr("password").map(str::to_owned);
        // Configurations before the items they are for, wherever they stand.
        for element in user.elements() {
            if element.is(ns::PUBSUB_OWNER, "pubsub") {
                self.configurations(element);
            }
        }
        for element in user.elements() {
            self.element(element);
        }
        self.read
    }

    fn element(&mut self, element: &Element) {
        match (element.ns.as_str(), element.name.as_str()) {
            (PIE_SCRAM, "scram-credentials") => self.keys(element),
            (OWN, "disabled") => self.account().account.enabled = false,
            (ns::ROSTER, "query") => self.roster(element),
            (ns::CLIENT, "presence") => self.request(element),
            (PRIVATE, "query") => element.elements().for_each(|one| self.private(one)),
            (VCARD, "vCard") => self.private(element),
            (PRIVACY, "query") => self.privacy(element),
            (ns::PUBSUB_OWNER, "pubsub") => {}
            (ns::PUBSUB, "pubsub") => self.items(element),
            (PIE, "offline-messages") => self.offline(element),
            (PIE_MAM, "archive") => self.archive(element),
            (ns::MAM, "prefs") => self.preferences(element),
            (ns, name) => self.note(format!("<{name}/> of {ns:?} is not known here")),
        }
    }

    fn account(&mut self) -> &mut PortableAccount {
        &mut self.read.import.account
    }

    fn note(&mut self, what: String) {
        self.read.notes.push(what);
    }

    fn keys(&mut self, element: &Element) {
        let mechanism = element.attr("mechanism").unwrap_or_default();
        let hash = match mechanism {
            "SCRAM-SHA-1" => ScramHash::Sha1,
            "SCRAM-SHA-256" => ScramHash::Sha256,
            other => return self.note(format!("password keys for {other:?} are of no use here")),
        };
        match keys(element, hash) {
            Some(keys) if self.account().keys.iter().all(|kept| kept.hash != hash) => {
                self.account().keys.push(keys);
            }
            Some(_) => self.note(format!("there are two password keys for {mechanism}")),
            None => self.note(format!("the password keys for {mechanism} are broken")),
        }
    }

    /// RFC 6121 §2.1.2.
    fn roster(&mut self, query: &Element) {
        for item in query.children_named(ns::ROSTER, "item") {
            let jid = item.attr("jid").unwrap_or_default();
            let contact = match BareJid::parse(jid) {
                Ok(contact) if contact != self.jid => contact,
                _ => {
                    self.note(format!("{jid:?} can be no contact"));
                    continue;
                }
            };
            let mut groups: Vec<String> = item
                .children_named(ns::ROSTER, "group")
                .map(Element::text)
                .filter(|group| !group.is_empty())
                .collect();
            groups.sort_unstable();
            groups.dedup();
            let subscription = match item.attr("subscription") {
                Some("both") => Subscription::Both,
                Some("to") => Subscription::To,
                Some("from") => Subscription::From,
                _ => Subscription::None,
            };
            let contact = Contact {
                contact: contact.to_string(),
                name: item
                    .attr("name")
                    .filter(|name| !name.is_empty())
                    .map(str::to_owned),
                groups,
                subscription,
                ask: item.attr("ask") == Some("subscribe"),
                approved: matches!(item.attr("approved"), Some("true" | "1")),
            };
            let contacts = &mut self.account().contacts;
            contacts.retain(|known| known.contact != contact.contact);
            contacts.push(contact);
        }
    }

    fn request(&mut self, presence: &Element) {
        let from = presence.attr("from").unwrap_or_default();
        let contact = BareJid::parse(from).or_else(|_| Jid::parse(from).map(|jid| jid.to_bare()));
        let (Ok(contact), Some("subscribe")) = (contact, presence.attr("type")) else {
            return self.note("a <presence/> is no request to subscribe".to_owned());
        };
        // It has to be told from whom and to whom when it is shown.
        let mut stanza = presence.clone();
        stanza.set_attr("from", contact.as_str());
        stanza.set_attr("to", self.jid.as_str());
        let request = SubscriptionRequest {
            contact: contact.to_string(),
            stanza: content(&stanza),
            received: self.now,
        };
        self.account().requests.push(request);
    }

    fn private(&mut self, element: &Element) {
        let kept = PrivateXml {
            ns: element.ns.clone(),
            name: element.name.clone(),
            payload: element.to_string().into_bytes(),
            updated: self.now,
        };
        self.account().private.push(kept);
    }

    /// XEP-0016: what a default list denies altogether is blocked (XEP-0191 §5).
    fn privacy(&mut self, query: &Element) {
        let default = query.child(PRIVACY, "default");
        let default = default.and_then(|default| default.attr("name"));
        for list in query.children_named(PRIVACY, "list") {
            if list.attr("name") != default {
                let name = list.attr("name").unwrap_or_default();
                self.note(format!("the privacy list {name:?} is not the default one"));
                continue;
            }
            for item in list.children_named(PRIVACY, "item") {
                let whole = item.elements().next().is_none();
                let jid = item.attr("value").and_then(|jid| Jid::parse(jid).ok());
                match (item.attr("type"), item.attr("action"), jid) {
                    (Some("jid"), Some("deny"), Some(jid)) if whole => {
                        let jid = jid.to_string();
                        let blocked = &mut self.account().blocked;
                        if !blocked.contains(&jid) {
                            blocked.push(jid);
                        }
                    }
                    (None, Some("allow"), _) if whole => {}
                    _ => self.note("a rule of the privacy list is more than a block".to_owned()),
                }
            }
        }
    }

    fn configurations(&mut self, pubsub: &Element) {
        for element in pubsub.children_named(ns::PUBSUB_OWNER, "configure") {
            let Some(name) = element.attr("node") else {
                continue;
            };
            let form = element
                .child(ns::DATA, "x")
                .and_then(|form| Form::read(form).ok());
            let config = form.map_or(Ok(Config::default()), |form| {
                Config::default().with(&form, MOST_ITEMS, false)
            });
            let config = config.unwrap_or_else(|_| {
                self.note(format!(
                    "the configuration of {name:?} is not understood: it is closed"
                ));
                Config::from_stored("")
            });
            self.add_node(name, &config);
        }
        for element in pubsub.elements() {
            let Some(node) = element
                .attr("node")
                .and_then(|name| position(&self.read.import.account.nodes, name))
            else {
                continue;
            };
            let node = &mut self.account().nodes[node];
            match element.name.as_str() {
                "affiliations" => node.affiliations = affiliations(element),
                "subscriptions" => node.subscriptions = subscriptions(element),
                _ => {}
            }
        }
    }

    fn add_node(&mut self, name: &str, config: &Config) -> usize {
        let nodes = &mut self.read.import.account.nodes;
        if let Some(known) = position(nodes, name) {
            return known;
        }
        nodes.push(PortableNode {
            node: Node {
                node: name.to_owned(),
                config: config.stored(),
            },
            items: Vec::new(),
            affiliations: Vec::new(),
            subscriptions: Vec::new(),
        });
        self.read.import.max_items.push(config.max_items);
        self.read.import.account.nodes.len() - 1
    }

    fn items(&mut self, pubsub: &Element) {
        for items in pubsub.children_named(ns::PUBSUB, "items") {
            let Some(name) = items.attr("node") else {
                continue;
            };
            // One without configuration must not be open by accident.
            let node = self.add_node(name, &Config::from_stored(""));
            let most = self.read.import.max_items[node].max(1);
            let (now, owner) = (self.now, self.jid.to_string());
            let mut read: Vec<Item> = items
                .children_named(ns::PUBSUB, "item")
                .filter_map(|item| {
                    let publisher = item.attr("publisher").unwrap_or(&owner);
                    Some(Item {
                        place: 0,
                        id: item.attr("id")?.to_owned(),
                        publisher: BareJid::parse(publisher)
                            .map_or(owner.clone(), |p| p.to_string()),
                        payload: item
                            .elements()
                            .next()
                            .map_or_else(Vec::new, |payload| payload.to_string().into_bytes()),
                        published: now,
                    })
                })
                .collect();
            if read.len() > most {
                let gone = read.len() - most;
                read.drain(..gone);
                self.note(format!("{gone} items of {name:?} are more than it keeps"));
            }
            self.account().nodes[node].items = read;
        }
    }

    fn offline(&mut self, element: &Element) {
        for message in element.children_named(ns::CLIENT, "message") {
            let said = message
                .child(ns::DELAY, "delay")
                .and_then(|delay| delay.attr("stamp"))
                .and_then(time::parse);
            let kept = OfflineMessage {
                id: 0,
                stanza: content(message),
                received: said.unwrap_or(self.now),
            };
            self.read.import.offline.push(kept);
        }
    }

    fn archive(&mut self, element: &Element) {
        let mut lost = 0;
        for result in element.children_named(ns::MAM, "result") {
            match self.archived(result) {
                Some(row) => self.read.import.archive.push(row),
                None => lost += 1,
            }
        }
        if lost > 0 {
            self.note(format!("{lost} messages of the archive are incomplete"));
        }
    }

    fn archived(&self, result: &Element) -> Option<Archive> {
        let forwarded = result.child(ns::FORWARD, "forwarded")?;
        let stamp = forwarded.child(ns::DELAY, "delay")?.attr("stamp")?;
        let message = forwarded.child(ns::CLIENT, "message")?;
        let side = |name: &str| message.attr(name).and_then(|jid| Jid::parse(jid).ok());
        // What has no sender is the account's own (RFC 6120 §8.1.2.1).
        let (from, to) = (side("from"), side("to"));
        let own = from.as_ref().is_none_or(|from| from.to_bare() == self.jid);
        let account = || self.jid.clone().into();
        let side = |jid: Option<Jid>, keeps| {
            let jid = jid.unwrap_or_else(account);
            Side {
                address: jid.to_bare().to_string(),
                resource: jid.resource().unwrap_or_default().to_owned(),
                keeps,
            }
        };
        let (sender, recipient) = match own {
            true => (side(Some(account()), true), side(to, false)),
            false => (side(from, false), side(Some(account()), true)),
        };
        Some(Archive {
            uid: result.attr("id")?.to_owned(),
            sender,
            recipient,
            stanza: content(message),
            received: time::parse(stamp)?,
        })
    }

    fn preferences(&mut self, prefs: &Element) {
        let policy = match prefs.attr("default") {
            Some("always") => ArchivePolicy::Always,
            Some("roster") => ArchivePolicy::Roster,
            _ => ArchivePolicy::Never,
        };
        let mut exceptions = Vec::new();
        for (name, keep) in [("always", true), ("never", false)] {
            let list = prefs.child(ns::MAM, name).into_iter();
            let jids = list.flat_map(|list| list.children_named(ns::MAM, "jid"));
            let jids = jids.filter_map(|jid| Jid::parse(&jid.text()).ok());
            exceptions.extend(jids.map(|jid| (jid.to_string(), keep)));
        }
        exceptions.sort_unstable();
        self.account().preferences = Some(ArchivePreferences { policy, exceptions });
    }
}

fn position(nodes: &[PortableNode], name: &str) -> Option<usize> {
    nodes.iter().position(|node| node.node.node == name)
}

/// XEP-0227 §4.3: all four, and of the length that the hash has.
fn keys(element: &Element, hash: ScramHash) -> Option<KeptScramKeys> {
    let text = |name: &str| Some(element.child(PIE_SCRAM, name)?.text().trim().to_owned());
    let bytes = |name: &str| BASE64_STANDARD.decode(text(name)?).ok();
    let iterations = text("iter-count")?
        .parse()
        .ok()
        .filter(|count| *count > 0)?;
    let (stored_key, server_key) = (bytes("stored-key")?, bytes("server-key")?);
    let length = match hash {
        ScramHash::Sha1 => 20,
        ScramHash::Sha256 => 32,
    };
    let whole = stored_key.len() == length && server_key.len() == length;
    whole.then_some(KeptScramKeys {
        hash,
        salt: bytes("salt")?,
        iterations,
        stored_key,
        server_key,
    })
}

fn affiliations(element: &Element) -> Vec<(String, String)> {
    let each = element.children_named(ns::PUBSUB_OWNER, "affiliation");
    let known = ["owner", "publisher", "publish-only", "member", "outcast"];
    let mut found: Vec<_> = each
        .filter_map(|one| {
            let jid = BareJid::parse(one.attr("jid")?).ok()?;
            let affiliation = one.attr("affiliation")?;
            known
                .contains(&affiliation)
                .then(|| (jid.to_string(), affiliation.to_owned()))
        })
        .collect();
    found.sort_unstable();
    found
}

fn subscriptions(element: &Element) -> Vec<NodeSubscription> {
    let each = element.children_named(ns::PUBSUB_OWNER, "subscription");
    let mut found: Vec<_> = each
        .filter_map(|one| {
            Some(NodeSubscription {
                jid: Jid::parse(one.attr("jid")?).ok()?.to_string(),
                pending: one.attr("subscription") == Some("pending"),
            })
        })
        .collect();
    found.sort_unstable_by(|a, b| a.jid.cmp(&b.jid));
    found
}

/// As stanzas are kept: their content namespace is not declared.
fn content(stanza: &Element) -> Vec<u8> {
    let mut out = BytesMut::new();
    xml::write(stanza, ns::CLIENT, &mut out);
    out.to_vec()
}
