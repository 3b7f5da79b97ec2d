//! XEP-0049: Private XML Storage. Bookmarks are where newer clients keep them, too (see
//! [`super::bookmarks`]).

use comity_storage::{KeepPrivateXml, PrivateXml, PrivateXmlKept};
use comity_xmpp::element::Element;
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::jid::BareJid;
use comity_xmpp::ns;
use comity_xmpp::stanza::{IqType, Kind};
use comity_xmpp::stream::Header;
use comity_xmpp::xml;

use super::{Context, Entity, Handles, Later, Module, Request, Target, What, bookmarks};
use crate::deliver::Deliveries;
use crate::fault;
use crate::home::Home;

const PRIVATE: &str = "jabber:iq:private";
/// Elements of one request.
const ELEMENTS: usize = 32;

pub const MODULE: Module = Module {
    name: "private_xml",
    handles: &[own(IqType::Get), own(IqType::Set)],
    features: &[(Entity::Domain, PRIVATE), (Entity::Account, PRIVATE)],
    handle,
    ..Module::EMPTY
};

const fn own(kind: IqType) -> Handles {
    Handles {
        what: What::Iq(kind),
        ns: PRIVATE,
        name: "query",
        target: Target::OwnAccount,
    }
}

fn handle(context: Context, request: Request) -> Later<Deliveries> {
    Box::pin(async move {
        let account = request.to.to_bare();
        let done = match request.stanza.kind {
            Kind::Iq(IqType::Get) => get(&context.home, &account, &request).await,
            _ => set(&context.home, &account, &request).await,
        };
        done.unwrap_or_else(|error| Deliveries::refuse(&request.stanza, &error))
    })
}

type Done = Result<Deliveries, StanzaError>;

async fn get(home: &Home, account: &BareJid, request: &Request) -> Done {
    let mut wanted = request.payload.elements();
    let (Some(wanted), None) = (wanted.next(), wanted.next()) else {
        return Err(bad_request("ask for one element at a time"));
    };
    let found = if bookmarks::is(wanted) {
        bookmarks::old(home, account).await?
    } else {
        kept(home, account, &wanted.ns, &wanted.name).await?
    };
    // XEP-0049 §3: what was never kept is empty.
    let found = found.unwrap_or_else(|| Element::new(wanted.ns.as_str(), wanted.name.as_str()));
    let query = Element::new(PRIVATE, "query").with_child(found);
    Ok(Deliveries::answer(request.stanza.result(Some(&query))))
}

async fn set(home: &Home, account: &BareJid, request: &Request) -> Done {
    let elements: Vec<&Element> = request.payload.elements().take(ELEMENTS + 1).collect();
    if elements.is_empty() || elements.len() > ELEMENTS {
        return Err(bad_request("keep from 1 to 32 elements at a time"));
    }
    let reserved = |element: &&Element| {
        element.ns.is_empty() || [PRIVATE, ns::CLIENT, ns::SERVER].contains(&element.ns.as_str())
    };
    if elements.iter().any(reserved) {
        // XEP-0049 §4.
        return Err(
            StanzaError::new(ErrorType::Modify, StanzaCondition::NotAcceptable)
                .with_text("an element needs a namespace of its own"),
        );
    }
    let (marks, others): (Vec<&Element>, Vec<&Element>) = elements
        .into_iter()
        .partition(|element| bookmarks::is(element));
    let mut deliveries = Deliveries::answer(request.stanza.result(None));
    for storage in &marks {
        deliveries.extend(bookmarks::renew(home, account, storage).await?);
    }
    keep(home, account, &others).await?;
    Ok(deliveries)
}

/// One element that the account keeps.
pub(crate) async fn kept(
    home: &Home,
    account: &BareJid,
    ns: &str,
    name: &str,
) -> Result<Option<Element>, StanzaError> {
    let found = home.storage.private_xml(account.as_str(), ns, name).await;
    let found = found.map_err(|fault| failed(&fault))?;
    Ok(found.and_then(|found| read(&found)))
}

/// It was written by us, so it reads.
pub(crate) fn read(kept: &PrivateXml) -> Option<Element> {
    xml::parse(&kept.payload, &Header::of(ns::CLIENT)).ok()
}

/// Keeps elements in place of those of the same names.
pub(crate) async fn keep(
    home: &Home,
    account: &BareJid,
    elements: &[&Element],
) -> Result<(), StanzaError> {
    if elements.is_empty() {
        return Ok(());
    }
    let updated = home.now_ms();
    let row = |element: &&Element| PrivateXml {
        ns: element.ns.clone(),
        name: element.name.clone(),
        payload: element.to_string().into_bytes(),
        updated,
    };
    let change = KeepPrivateXml {
        account: account.to_string(),
        elements: elements.iter().map(row).collect(),
        bytes: home.limits.now().private_bytes,
    };
    match home.storage.write(change).await {
        Ok(PrivateXmlKept::Kept) => Ok(()),
        Ok(PrivateXmlKept::NoAccount) => Err(crate::route::unavailable()),
        Ok(PrivateXmlKept::OverQuota) => Err(StanzaError::new(
            ErrorType::Wait,
            StanzaCondition::ResourceConstraint,
        )
        .with_text(format!(
            "an account keeps {} octets here: keep something shorter",
            home.limits.now().private_bytes
        ))),
        Err(fault) => Err(failed(&fault)),
    }
}

pub(crate) fn failed(fault: &comity_storage::Error) -> StanzaError {
    fault::log(fault, "the storage failed: a request is refused");
    fault::refused(fault, "the server could not keep or read this: try again")
}

fn bad_request(text: &str) -> StanzaError {
    StanzaError::new(ErrorType::Modify, StanzaCondition::BadRequest).with_text(text)
}

#[cfg(test)]
mod tests {
    use crate::home::Limits;
    use crate::play::{Person, Play};

    const ALICE: &str = "alice@a.example";

    async fn ask(person: &mut Person, kind: &str, content: &str, answer: &str) {
        let jid = person.jid.clone();
        person
            .send(&format!(
                "<iq type='{kind}' id='p'><query xmlns='jabber:iq:private'>{content}</query></iq>"
            ))
            .await;
        person
            .gets(&answer.replace("TO", &format!("id='p' to='{jid}'")))
            .await;
    }

    #[tokio::test]
    async fn elements_are_kept_by_their_names() {
        let play = Play::of(&[ALICE]).await;
        let mut one = play.login("alice@a.example/1").await;
        let mut two = play.login("alice@a.example/2").await;
        one.forget().await;
        ask(
            &mut one,
            "get",
            "<a xmlns='urn:x'/>",
            "<iq type='result' TO><query xmlns='jabber:iq:private'><a xmlns='urn:x'/></query></iq>",
        )
        .await;
        let kept = "<a xmlns='urn:x'><b c='d'>text</b></a>";
        let both = format!("{kept}<e xmlns='urn:x'/>");
        ask(&mut one, "set", &both, "<iq type='result' TO/>").await;
        ask(
            &mut two,
            "get",
            "<a xmlns='urn:x'/>",
            &format!("<iq type='result' TO><query xmlns='jabber:iq:private'>{kept}</query></iq>"),
        )
        .await;
        one.gets_nothing().await;
    }

    #[tokio::test]
    async fn what_cannot_be_kept_is_refused() {
        let limits = Limits {
            private_bytes: 64,
            ..Limits::default()
        };
        let play = Play::with(&[ALICE], limits).await;
        let mut alice = play.login("alice@a.example/1").await;
        let long = format!("<a xmlns='urn:x'>{}</a>", "x".repeat(64));
        for (kind, content, class, condition) in [
            ("get", "", "modify", "bad-request"),
            (
                "get",
                "<a xmlns='urn:x'/><b xmlns='urn:x'/>",
                "modify",
                "bad-request",
            ),
            ("set", "", "modify", "bad-request"),
            ("set", "<query/>", "modify", "not-acceptable"),
            (
                "set",
                "<x xmlns='jabber:client'/>",
                "modify",
                "not-acceptable",
            ),
            ("set", &long, "wait", "resource-constraint"),
        ] {
            let answer = format!(
                "<iq type='error' TO><error type='{class}'>\
                 <{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
            );
            ask(&mut alice, kind, content, &answer).await;
        }
    }
}
