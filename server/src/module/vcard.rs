//! XEP-0054: vcard-temp, and XEP-0292: vCard4 Over XMPP. An account has one vCard, which clients of
//! either kind write: the newer is what both are told. The photo is the account's avatar (see
//! [`super::avatar`]).

mod convert;

use comity_xmpp::element::Element;
use comity_xmpp::error::StanzaError;
use comity_xmpp::jid::BareJid;
use comity_xmpp::stanza::{IqType, Kind};

use super::pubsub::{may_read, owner};
use super::{Context, Entity, Handles, Later, Module, Request, Target, What, avatar, private_xml};
use crate::deliver::Deliveries;
use crate::home::Home;
use crate::route::unavailable;

const TEMP: &str = "vcard-temp";
/// XEP-0292 §4: the node of vCard4.
const NODE: &str = "urn:xmpp:vcard4";
const ITEM: &str = "current";

pub const MODULE: Module = Module {
    name: "vcard",
    handles: &[
        asked(IqType::Get, Target::OwnAccount),
        asked(IqType::Set, Target::OwnAccount),
        asked(IqType::Get, Target::OtherAccount),
    ],
    features: &[(Entity::Domain, TEMP), (Entity::Account, TEMP)],
    handle,
    ..Module::EMPTY
};

const fn asked(kind: IqType, target: Target) -> Handles {
    Handles {
        what: What::Iq(kind),
        ns: TEMP,
        name: "vCard",
        target,
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

/// XEP-0054 §3.1, §3.3. Who has no vCard looks like somebody who is not there.
async fn get(home: &Home, account: &BareJid, request: &Request) -> Done {
    let written = private_xml_of(home, account).await?;
    let found = owner::held(home, account, NODE, 1).await;
    let found = found.map_err(|fault| private_xml::failed(&fault))?;
    let published = match &found {
        Some(held) if may_read(home, account, &request.from, NODE, &held.config).await => {
            held.items.first()
        }
        _ => None,
    };
    let newer = published.filter(|item| {
        written
            .as_ref()
            .is_none_or(|written| written.updated < item.published)
    });
    let mut vcard = match (newer.and_then(owner::payload), written) {
        (Some(new), _) => Some(convert::to_temp(&new)),
        (None, written) => written.as_ref().and_then(private_xml::read),
    };
    let image = avatar::image(home, account, &request.from).await;
    if let Some(image) = image.map_err(|fault| private_xml::failed(&fault))? {
        let photo = Element::new(TEMP, "PHOTO")
            .with_child(Element::new(TEMP, "TYPE").with_text(image.avatar.media_type))
            .with_child(Element::new(TEMP, "BINVAL").with_text(image.base64));
        vcard
            .get_or_insert_with(|| Element::new(TEMP, "vCard"))
            .push(photo);
    }
    let vcard = match vcard {
        Some(vcard) => vcard,
        None if request.target == Target::OwnAccount => Element::new(TEMP, "vCard"),
        None => return Err(unavailable()),
    };
    Ok(Deliveries::answer(request.stanza.result(Some(&vcard))))
}

async fn private_xml_of(
    home: &Home,
    account: &BareJid,
) -> Result<Option<comity_storage::PrivateXml>, StanzaError> {
    let found = home
        .storage
        .private_xml(account.as_str(), TEMP, "vCard")
        .await;
    found.map_err(|fault| private_xml::failed(&fault))
}

/// XEP-0054 §3.2, XEP-0398 §2.2.
async fn set(home: &Home, account: &BareJid, request: &Request) -> Done {
    let mut vcard = request.payload.clone();
    let photo = vcard.child(TEMP, "PHOTO").and_then(|photo| {
        let base64 = photo.child(TEMP, "BINVAL")?.text();
        let media_type = photo.child(TEMP, "TYPE").map(Element::text);
        Some((media_type.filter(|name| !name.is_empty()), base64))
    });
    if photo.is_some() {
        vcard.children.retain(|child| {
            !matches!(child, comity_xmpp::element::Node::Element(child) if child.is(TEMP, "PHOTO"))
        });
    }
    let photo = photo.as_ref().map(|(media_type, base64)| {
        (
            media_type.as_deref().unwrap_or("image/png"),
            base64.as_str(),
        )
    });
    // The photo first: it is what may be refused.
    let mut deliveries = Deliveries::answer(request.stanza.result(None));
    deliveries.extend(avatar::replace(home, account, photo).await?);
    private_xml::keep(home, account, &[&vcard]).await?;
    let new = convert::to_vcard4(&vcard);
    deliveries.extend(owner::put(home, account, NODE, (ITEM, &new), &avatar::public()).await?);
    Ok(deliveries)
}

#[cfg(test)]
mod tests;
