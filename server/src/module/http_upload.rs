//! XEP-0363: HTTP File Upload: places for files of our own accounts. The files come and go over
//! [`crate::web`], at the domain's own name, so that it needs no other.

use std::time::Duration;

use comity_storage::{PromiseUpload, Promised, Upload};
use comity_xmpp::element::Element;
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::form::{Field, Form, FormKind};
use comity_xmpp::ns;
use comity_xmpp::stanza::IqType;

use super::{Context, Entity, Handles, Later, Module, Request, Target, Tick, What};
use crate::deliver::Deliveries;
use crate::home::Home;
use crate::time::stamp;
use crate::uploads::{hex, sweep};

const HTTP_UPLOAD: &str = "urn:xmpp:http:upload:0";
/// So long a place is there for a file to begin, in milliseconds.
pub(crate) const OPEN_MS: u64 = 3600 * 1000;
/// And so long for it to end.
pub(crate) const UNUSED_MS: u64 = 12 * 3600 * 1000;
/// Places that one account has open.
const OPEN: u64 = 100;
/// Octets of a file's name; file systems take no more either.
const NAME_BYTES: usize = 255;
const MEDIA_TYPE_BYTES: usize = 127;
/// Where the files are, below the domain's URL.
pub(crate) const BELOW: &str = "/upload/";

pub const MODULE: Module = Module {
    name: "http_upload",
    handles: &[Handles {
        what: What::Iq(IqType::Get),
        ns: HTTP_UPLOAD,
        name: "request",
        target: Target::Domain,
    }],
    features: &[(Entity::Domain, HTTP_UPLOAD)],
    offered,
    info,
    handle,
    tick: Some(Tick {
        every: Duration::from_secs(3600),
        run: |home| {
            Box::pin(async move {
                sweep(&home).await;
                Deliveries::none()
            })
        },
    }),
};

/// Clients shall not find what is not there.
fn offered(home: &Home) -> bool {
    let served = home
        .hosts
        .domains()
        .first()
        .map(|domain| home.web.of(domain));
    home.uploads.rules.file_bytes > 0 && served.flatten().is_some()
}

/// XEP-0363 §4: by which clients know it from other services.
pub(crate) fn identity(home: &Home) -> Option<Element> {
    offered(home).then(|| {
        Element::new(ns::DISCO_INFO, "identity")
            .with_attr("category", "store")
            .with_attr("type", "file")
    })
}

/// XEP-0363 §4.1: how large a file may be.
fn info(home: &Home, entity: Entity) -> Vec<Element> {
    if entity != Entity::Domain || !offered(home) {
        return Vec::new();
    }
    let mut form = Form::new(FormKind::Result, HTTP_UPLOAD);
    form.fields.push(Field {
        var: "max-file-size".to_owned(),
        values: vec![home.uploads.rules.file_bytes.to_string()],
        ..Field::default()
    });
    vec![form.to_element()]
}

fn handle(context: Context, request: Request) -> Later<Deliveries> {
    Box::pin(async move {
        match slot(&context, &request).await {
            Ok(slot) => Deliveries::answer(request.stanza.result(Some(&slot))),
            Err(error) => Deliveries::refuse(&request.stanza, &error),
        }
    })
}

async fn slot(context: &Context, request: &Request) -> Result<Element, StanzaError> {
    let home = &context.home;
    let account = request.from.to_bare();
    if !offered(home) {
        return Err(crate::route::unavailable());
    }
    if context.session().is_none() || account.domain() != request.to.domain() {
        return Err(
            StanzaError::new(ErrorType::Auth, StanzaCondition::Forbidden)
                .with_text("this server keeps files of its own accounts alone"),
        );
    }
    let asked = Asked::read(&request.payload)?;
    let rules = &home.uploads.rules;
    if asked.size > rules.file_bytes {
        return Err(too_large(rules.file_bytes));
    }
    let now = context.now_ms();
    let id = uuid::Uuid::new_v4().into_bytes();
    let promise = PromiseUpload {
        upload: Upload {
            id,
            owner: account.as_str().to_owned(),
            name: asked.name.clone(),
            media_type: asked.media_type,
            size: asked.size,
            promised: now,
            stored: None,
        },
        open_since: now.saturating_sub(OPEN_MS),
        open: OPEN,
        account_bytes: rules.account_bytes,
        total_bytes: rules.total_bytes,
    };
    let retention = u64::try_from(rules.retention.as_millis()).unwrap_or(u64::MAX);
    match home.storage.write(promise).await {
        Ok(Promised::Promised) => {}
        Ok(Promised::TooMany(oldest)) => {
            let text = format!("{OPEN} places are open already: use them");
            return Err(later(Some(oldest + OPEN_MS), &text));
        }
        Ok(Promised::AccountFull(oldest)) => {
            let text = format!(
                "your files here take all of the {} octets they may; the oldest go first",
                rules.account_bytes
            );
            return Err(later(oldest.map(|at| at.saturating_add(retention)), &text));
        }
        Ok(Promised::Full) => return Err(later(None, "this server has no room for more files")),
        Ok(Promised::NoAccount) => {
            return Err(StanzaError::new(
                ErrorType::Auth,
                StanzaCondition::Forbidden,
            ));
        }
        Err(error) => return Err(failed(&error)),
    }
    let place = home.web.of(request.to.domain()).unwrap_or_default();
    let url = format!("{place}{BELOW}{}/{}", hex(&id), escape(&asked.name));
    let way = |name: &str| Element::new(HTTP_UPLOAD, name).with_attr("url", url.as_str());
    Ok(Element::new(HTTP_UPLOAD, "slot")
        .with_child(way("put"))
        .with_child(way("get")))
}

/// What a client wants to send.
struct Asked {
    name: String,
    size: u64,
    media_type: String,
}

impl Asked {
    fn read(payload: &Element) -> Result<Self, StanzaError> {
        let bad = |why: &str| {
            StanzaError::new(ErrorType::Modify, StanzaCondition::BadRequest).with_text(why)
        };
        let name = payload
            .attr("filename")
            .ok_or_else(|| bad("name the file: filename"))?;
        let size = payload.attr("size").and_then(|size| size.parse().ok());
        let size = size.filter(|size| *size > 0);
        let size = size.ok_or_else(|| bad("say how many octets the file has: size"))?;
        let media_type = payload.attr("content-type").unwrap_or("");
        Ok(Self {
            name: safe_name(name),
            size,
            media_type: match is_media_type(media_type) {
                true => media_type.to_ascii_lowercase(),
                false => "application/octet-stream".to_owned(),
            },
        })
    }
}

/// A name that means a file and no place, on any system; its extension stays.
fn safe_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let odd = |c: char| c.is_control() || "<>:\"|?*".contains(c);
    let name: String = last.chars().map(|c| if odd(c) { '_' } else { c }).collect();
    let name = name.trim_matches(|c: char| c == '.' || c.is_whitespace());
    let (stem, extension) = match name.rsplit_once('.') {
        Some((stem, extension)) if extension.len() <= 16 => (stem, format!(".{extension}")),
        _ => (name, String::new()),
    };
    let mut stem = stem.to_owned();
    while stem.len() + extension.len() > NAME_BYTES {
        stem.pop();
    }
    match stem.is_empty() {
        true => format!("file{extension}"),
        false => stem + &extension,
    }
}

/// RFC 9110 §8.3.1, without parameters but for one such as `;charset=utf-8`.
fn is_media_type(text: &str) -> bool {
    let sort = text.split(';').next().unwrap_or_default();
    let token = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&c))
    };
    let visible = text.bytes().all(|c| c == b' ' || c.is_ascii_graphic());
    let two = sort.trim().split_once('/');
    text.len() <= MEDIA_TYPE_BYTES && visible && two.is_some_and(|(a, b)| token(a) && token(b))
}

/// RFC 3986 §2.3: what is not unreserved.
pub(crate) fn escape(name: &str) -> String {
    let octet = |c: u8| match c {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(c).to_string()
        }
        c => format!("%{c:02X}"),
    };
    name.bytes().map(octet).collect()
}

/// XEP-0363 §4.2.
fn too_large(most: u64) -> StanzaError {
    let size = Element::new(HTTP_UPLOAD, "max-file-size").with_text(most.to_string());
    StanzaError::new(ErrorType::Modify, StanzaCondition::NotAcceptable)
        .with_text(format!("a file may have {most} octets"))
        .with_application(Element::new(HTTP_UPLOAD, "file-too-large").with_child(size))
}

fn failed(error: &comity_storage::Error) -> StanzaError {
    crate::fault::log(error, "no place for an upload can be noted");
    crate::fault::refused(error, "ask again later")
}

/// XEP-0363 §4.2: with when it is worth asking again, where that is known.
fn later(when_ms: Option<u64>, text: &str) -> StanzaError {
    let error =
        StanzaError::new(ErrorType::Wait, StanzaCondition::ResourceConstraint).with_text(text);
    match when_ms {
        Some(when) => error
            .with_application(Element::new(HTTP_UPLOAD, "retry").with_attr("stamp", stamp(when))),
        None => error,
    }
}

#[cfg(test)]
mod tests;
