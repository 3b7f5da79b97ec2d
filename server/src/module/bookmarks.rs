//! XEP-0402: PEP Native Bookmarks, in the words of clients that keep them in private XML (XEP-0048,
//! XEP-0049): both see one list, and each of its changes.

use std::collections::BTreeMap;

use comity_xmpp::element::Element;
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::form::boolean;
use comity_xmpp::jid::{BareJid, Jid};

use super::pubsub::config::{AccessModel, Config, SendLast};
use super::pubsub::owner;
use super::{Entity, Module, private_xml};
use crate::deliver::Deliveries;
use crate::home::Home;

const BOOKMARKS: &str = "urn:xmpp:bookmarks:1";
const OLD: &str = "storage:bookmarks";

pub const MODULE: Module = Module {
    name: "bookmarks",
    // XEP-0402 §4.1.
    features: &[(Entity::Account, "urn:xmpp:bookmarks:1#compat")],
    ..Module::EMPTY
};

/// Is this the element of XEP-0048?
pub(super) fn is(element: &Element) -> bool {
    element.ns == OLD && element.name == "storage"
}

/// All bookmarks as XEP-0048 writes them; `None`: there are none.
pub(super) async fn old(home: &Home, account: &BareJid) -> Result<Option<Element>, StanzaError> {
    let held = held(home, account).await?;
    // Places of the web are no rooms: they stay as they came.
    let urls = private_xml::kept(home, account, OLD, "storage").await?;
    if held.items.is_empty() && urls.is_none() {
        return Ok(None);
    }
    let rooms = held.items.iter().map(|(jid, room)| {
        let mut old = Element::new(OLD, "conference").with_attr("jid", jid.as_str());
        for name in ["name", "autojoin"] {
            if let Some(value) = room.attr(name) {
                old.set_attr(name, value);
            }
        }
        for name in ["nick", "password"] {
            if let Some(value) = room.child(BOOKMARKS, name) {
                old.push(Element::new(OLD, name).with_text(value.text()));
            }
        }
        old
    });
    let urls = urls.iter().flat_map(Element::elements).cloned();
    Ok(Some(
        Element::new(OLD, "storage")
            .with_children(rooms)
            .with_children(urls),
    ))
}

/// The list is this from now on.
pub(super) async fn renew(
    home: &Home,
    account: &BareJid,
    storage: &Element,
) -> Result<Deliveries, StanzaError> {
    let mut wanted = BTreeMap::new();
    for room in storage.children_named(OLD, "conference") {
        let (jid, room) = converted(room)?;
        wanted.insert(jid, room);
    }
    if wanted.len() > home.limits.now().pubsub_items {
        let error = StanzaError::new(ErrorType::Wait, StanzaCondition::ResourceConstraint);
        let text = format!("{} bookmarks can be kept", home.limits.now().pubsub_items);
        return Err(error.with_text(text));
    }
    let held = held(home, account).await?;
    let mut deliveries = Deliveries::none();
    for (jid, mut room) in wanted.clone() {
        let before = held.items.get(&jid);
        // What only newer clients know of a room is not theirs to take away.
        if let Some(kept) = before.and_then(|room| room.child(BOOKMARKS, "extensions")) {
            room.push(kept.clone());
        }
        if before != Some(&room) {
            let told = owner::put(home, account, BOOKMARKS, (&jid, &room), &held.config).await?;
            deliveries.extend(told);
        }
    }
    for jid in held.items.keys().filter(|jid| !wanted.contains_key(*jid)) {
        deliveries.extend(owner::take(home, account, BOOKMARKS, jid, &held.config).await?);
    }
    let urls = storage.children_named(OLD, "url").cloned();
    let urls = Element::new(OLD, "storage").with_children(urls);
    private_xml::keep(home, account, &[&urls]).await?;
    Ok(deliveries)
}

/// An old bookmark in the new words, and its room.
fn converted(old: &Element) -> Result<(String, Element), StanzaError> {
    let wrong = |text: String| {
        StanzaError::new(ErrorType::Modify, StanzaCondition::BadRequest).with_text(text)
    };
    let jid = old.attr("jid").unwrap_or_default();
    let jid = Jid::parse(jid).map_err(|fault| wrong(format!("a bookmark of {jid:?}: {fault}")))?;
    let autojoin = old.attr("autojoin").and_then(boolean).unwrap_or(false);
    let mut room = Element::new(BOOKMARKS, "conference")
        .with_attr_opt("name", old.attr("name"))
        .with_attr_opt("autojoin", autojoin.then_some("true"));
    for name in ["nick", "password"] {
        if let Some(value) = old
            .child(OLD, name)
            .filter(|value| !value.text().is_empty())
        {
            room.push(Element::new(BOOKMARKS, name).with_text(value.text()));
        }
    }
    Ok((jid.to_bare().to_string(), room))
}

struct List {
    config: Config,
    items: BTreeMap<String, Element>,
}

async fn held(home: &Home, account: &BareJid) -> Result<List, StanzaError> {
    let most = home.limits.now().pubsub_items;
    let found = owner::held(home, account, BOOKMARKS, most).await;
    let Some(found) = found.map_err(|fault| private_xml::failed(&fault))? else {
        return Ok(List {
            config: config(most),
            items: BTreeMap::new(),
        });
    };
    let read = |item: &comity_storage::pubsub::Item| {
        let room = owner::payload(item).filter(|room| room.is(BOOKMARKS, "conference"))?;
        Some((item.id.clone(), room))
    };
    Ok(List {
        items: found.items.iter().filter_map(read).collect(),
        config: found.config,
    })
}

/// XEP-0402 §3.1.
fn config(most: usize) -> Config {
    Config {
        access_model: AccessModel::Whitelist,
        max_items: most,
        send_last: SendLast::Never,
        ..Config::default()
    }
}

#[cfg(test)]
mod tests {
    use crate::play::{Person, Play};

    const TO: &str = "id='b' to='alice@a.example/1'";

    async fn ask(person: &mut Person, kind: &str, content: &str, answer: &str) {
        person
            .send(&format!("<iq type='{kind}' id='b'>{content}</iq>"))
            .await;
        person.gets(answer).await;
    }

    async fn old(person: &mut Person, expected: &str) {
        ask(
            person,
            "get",
            "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'/></query>",
            &format!(
                "<iq type='result' {TO}><query xmlns='jabber:iq:private'>\
                 <storage xmlns='storage:bookmarks'>{expected}</storage></query></iq>"
            ),
        )
        .await;
    }

    async fn set_old(person: &mut Person, content: &str) {
        ask(
            person,
            "set",
            &format!(
                "<query xmlns='jabber:iq:private'>\
                 <storage xmlns='storage:bookmarks'>{content}</storage></query>"
            ),
            &format!("<iq type='result' {TO}/>"),
        )
        .await;
    }

    async fn new(person: &mut Person, expected: &str) {
        ask(
            person,
            "get",
            "<pubsub xmlns='http://jabber.org/protocol/pubsub'>\
             <items node='urn:xmpp:bookmarks:1'/></pubsub>",
            &format!(
                "<iq type='result' {TO}><pubsub xmlns='http://jabber.org/protocol/pubsub'>\
                 <items node='urn:xmpp:bookmarks:1'>{expected}</items></pubsub></iq>"
            ),
        )
        .await;
    }

    /// XEP-0402 §4: whichever client writes, both read.
    #[tokio::test]
    async fn old_and_new_clients_see_one_list() {
        let play = Play::of(&["alice@a.example"]).await;
        let mut alice = play.login("alice@a.example/1").await;
        old(&mut alice, "").await;
        let tea =
            "<conference jid='tea@b.example' name='Tea' autojoin='1'><nick>al</nick></conference>";
        let url = "<url name='x' url='https://b.example/'/>";
        set_old(
            &mut alice,
            &format!("{tea}{url}<conference jid='x@b.example'/>"),
        )
        .await;
        new(
            &mut alice,
            "<item id='tea@b.example'><conference xmlns='urn:xmpp:bookmarks:1' name='Tea' \
             autojoin='true'><nick>al</nick></conference></item>\
             <item id='x@b.example'><conference xmlns='urn:xmpp:bookmarks:1'/></item>",
        )
        .await;
        let chess = "<conference xmlns='urn:xmpp:bookmarks:1' name='Chess'>\
                     <extensions><e xmlns='urn:e'/></extensions></conference>";
        ask(
            &mut alice,
            "set",
            &format!(
                "<pubsub xmlns='http://jabber.org/protocol/pubsub'>\
                 <publish node='urn:xmpp:bookmarks:1'><item id='x@b.example'>{chess}</item></publish></pubsub>"
            ),
            &format!(
                "<iq type='result' {TO}><pubsub xmlns='http://jabber.org/protocol/pubsub'>\
                 <publish node='urn:xmpp:bookmarks:1'><item id='x@b.example'/></publish></pubsub></iq>"
            ),
        )
        .await;
        let tea = "<conference jid='tea@b.example' name='Tea' autojoin='true'><nick>al</nick></conference>";
        old(
            &mut alice,
            &format!("{tea}<conference jid='x@b.example' name='Chess'/>{url}"),
        )
        .await;
        // An old client removes a room and renames another: what it does not know of stays.
        set_old(&mut alice, "<conference jid='x@b.example' name='Go'/>").await;
        new(
            &mut alice,
            "<item id='x@b.example'><conference xmlns='urn:xmpp:bookmarks:1' name='Go'>\
             <extensions><e xmlns='urn:e'/></extensions></conference></item>",
        )
        .await;
        old(&mut alice, "<conference jid='x@b.example' name='Go'/>").await;
    }

    /// XEP-0402 §3.1: a list of rooms is nobody else's business.
    #[tokio::test]
    async fn nobody_else_reads_it() {
        let play = Play::of(&["alice@a.example", "bob@a.example"]).await;
        let mut alice = play.login("alice@a.example/1").await;
        set_old(&mut alice, "<conference jid='tea@b.example'/>").await;
        let node = play
            .home
            .storage
            .pubsub_node("alice@a.example", "urn:xmpp:bookmarks:1")
            .await
            .unwrap()
            .unwrap();
        assert!(
            node.config.contains("\"access_model\":\"whitelist\""),
            "{}",
            node.config
        );
        ask(
            &mut alice,
            "set",
            "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'>\
             <conference jid='@'/></storage></query>",
            &format!(
                "<iq type='error' {TO}><error type='modify'>\
                 <bad-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
            ),
        )
        .await;
    }
}
