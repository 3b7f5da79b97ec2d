//! XEP-0398: User Avatar to vCard-Based Avatars Conversion. An avatar is kept once, in the nodes of
//! XEP-0084; what older clients see of it (XEP-0153) is made of that.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use comity_xmpp::element::Element;
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::sasl::Hash;
use comity_xmpp::stanza::Stanza;
use tracing::error;

use super::pubsub::config::{AccessModel, Config};
use super::pubsub::{may_read, owner};
use super::{Entity, Module, private_xml};
use crate::deliver::Deliveries;
use crate::home::Home;

const DATA: &str = "urn:xmpp:avatar:data";
pub(crate) const METADATA: &str = "urn:xmpp:avatar:metadata";
const UPDATE: &str = "vcard-temp:x:update";
/// Octets of an image: with its third more as base64 it has to fit into an item.
const IMAGE_BYTES: usize = 140 * 1024;
/// Bytes of an image's media type.
const TYPE_BYTES: usize = 128;

pub const MODULE: Module = Module {
    name: "avatar",
    features: &[(Entity::Account, "urn:xmpp:pep-vcard-conversion:0")],
    ..Module::EMPTY
};

/// What an account shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Avatar {
    /// SHA-1 of the image, in hexadecimal.
    pub(crate) id: String,
    pub(crate) media_type: String,
}

/// An image as a vCard carries it.
pub(crate) struct Image {
    pub(crate) avatar: Avatar,
    pub(crate) base64: String,
}

/// What is known of an account's avatar.
enum Known {
    /// Its clients have never said anything about one.
    Nothing,
    /// It has none.
    None,
    Shown(Avatar, Config),
}

async fn known(home: &Home, account: &BareJid) -> Result<Known, comity_storage::Error> {
    let Some(held) = owner::held(home, account, METADATA, 1).await? else {
        return Ok(Known::Nothing);
    };
    let Some(newest) = held.items.first().and_then(owner::payload) else {
        return Ok(Known::Nothing);
    };
    let info = newest
        .children_named(METADATA, "info")
        .find(|info| info.attr("url").is_none());
    let id = info.and_then(|info| info.attr("id"));
    let id = id.filter(|id| id.len() == 40 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    Ok(match id {
        None => Known::None,
        Some(id) => {
            let media_type = info
                .and_then(|info| info.attr("type"))
                .unwrap_or("image/png");
            let avatar = Avatar {
                id: id.to_ascii_lowercase(),
                media_type: media_type.to_owned(),
            };
            Known::Shown(avatar, held.config)
        }
    })
}

/// The image that goes into the vCard of an account, for somebody who may read the nodes.
pub(crate) async fn image(
    home: &Home,
    account: &BareJid,
    viewer: &Jid,
) -> Result<Option<Image>, comity_storage::Error> {
    let Known::Shown(avatar, config) = known(home, account).await? else {
        return Ok(None);
    };
    if !may_read(home, account, viewer, METADATA, &config).await {
        return Ok(None);
    }
    let Some(held) = owner::held(home, account, DATA, 0).await? else {
        return Ok(None);
    };
    if !may_read(home, account, viewer, DATA, &held.config).await {
        return Ok(None);
    }
    let ids = [avatar.id.clone()];
    let storage = &home.storage;
    let found = storage
        .pubsub_items_named(account.as_str(), DATA, &ids)
        .await?;
    let data = found.first().and_then(owner::payload);
    Ok(data.map(|data| Image {
        avatar,
        base64: data.text(),
    }))
}

/// The account's avatar is this image of a vCard from now on, or none.
pub(crate) async fn replace(
    home: &Home,
    account: &BareJid,
    photo: Option<(&str, &str)>,
) -> Result<Deliveries, StanzaError> {
    let before = known(home, account).await;
    let before = before.map_err(|fault| private_xml::failed(&fault))?;
    let Some((media_type, base64)) = photo else {
        let Known::Shown(..) = before else {
            return Ok(Deliveries::none());
        };
        // XEP-0084 §4.2.4.
        let nothing = Element::new(METADATA, "metadata");
        return owner::put(home, account, METADATA, ("current", &nothing), &public()).await;
    };
    let wrong = |condition, text: String| {
        Err(StanzaError::new(ErrorType::Modify, condition).with_text(text))
    };
    let base64: String = base64.split_ascii_whitespace().collect();
    let image = match BASE64_STANDARD.decode(&base64) {
        Ok(image) if !image.is_empty() => image,
        _ => {
            return wrong(
                StanzaCondition::BadRequest,
                "the photo is not base64".to_owned(),
            );
        }
    };
    if image.len() > IMAGE_BYTES || media_type.len() > TYPE_BYTES {
        let text = format!("a photo has at most {IMAGE_BYTES} octets: make it smaller");
        return wrong(StanzaCondition::NotAcceptable, text);
    }
    let id: String = (Hash::Sha1.digest(&image).iter())
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if matches!(&before, Known::Shown(avatar, _) if avatar.id == id) {
        return Ok(Deliveries::none());
    }
    let data = Element::new(DATA, "data").with_text(base64);
    let mut deliveries = owner::put(home, account, DATA, (&id, &data), &public()).await?;
    let info = Element::new(METADATA, "info")
        .with_attr("bytes", image.len().to_string())
        .with_attr("id", id.as_str())
        .with_attr("type", media_type);
    let metadata = Element::new(METADATA, "metadata").with_child(info);
    deliveries.extend(owner::put(home, account, METADATA, (&id, &metadata), &public()).await?);
    Ok(deliveries)
}

/// Everybody may read a vCard (XEP-0054), so that nodes made of one are open.
pub(crate) fn public() -> Config {
    Config {
        access_model: AccessModel::Open,
        ..Config::default()
    }
}

/// A client's presence with the hash of its account's avatar (XEP-0398 §2.3), whatever hash the
/// client has put there. Where only some of those who see the presence may see the avatar, there is
/// none.
pub(crate) async fn shown(home: &Home, account: &BareJid, mut presence: Stanza) -> Stanza {
    let known = match known(home, account).await {
        Ok(known) => known,
        Err(fault) => {
            error!(%fault, "an avatar cannot be read: a presence goes as it is");
            return presence;
        }
    };
    let seen = |config: &Config| {
        matches!(
            config.access_model,
            AccessModel::Open | AccessModel::Presence
        )
    };
    let photo = match known {
        Known::Nothing => return presence,
        Known::Shown(avatar, config) if seen(&config) => avatar.id,
        Known::None | Known::Shown(..) => String::new(),
    };
    presence.remove(|child| &*child.ns == UPDATE);
    let mut element = Element::new(UPDATE, "photo");
    if !photo.is_empty() {
        element = element.with_text(photo);
    }
    presence.push(&Element::new(UPDATE, "x").with_child(element));
    presence
}
