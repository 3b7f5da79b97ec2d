//! A place for a file at one's own server (XEP-0363).

use comity_xmpp::element::Element;
use comity_xmpp::error::{StanzaCondition, StanzaError};
use comity_xmpp::jid::Jid;
use comity_xmpp::ns;
use comity_xmpp::stanza::{IqType, Stanza};

use super::FileError;
use crate::agent::Chat;

const HTTP_UPLOAD: &str = "urn:xmpp:http:upload:0";
/// Services of a server that are asked whether they take files.
const MAX_SERVICES: usize = 20;
/// What a server may have said with the file (XEP-0363 §3).
const FIELDS: [&str; 3] = ["authorization", "cookie", "expires"];

/// Where a file goes, and where it is found then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    pub put: String,
    pub get: String,
    /// Fields of the request that puts it there.
    pub fields: Vec<(String, String)>,
}

/// Asks for one.
pub async fn ask(chat: &Chat, name: &str, size: u64, kind: &str) -> Result<Slot, FileError> {
    let service = find(chat).await?;
    if let Some(most) = service.most.filter(|most| size > *most) {
        return Err(FileError::ServerTooLarge { size, most });
    }
    let request = Element::new(HTTP_UPLOAD, "request")
        .with_attr("filename", name)
        .with_attr("size", size.to_string())
        .with_attr("content-type", kind);
    let answer = chat.ask(service.at, IqType::Get, &request).await?;
    if let Some(error) = answer.error() {
        return Err(refused(&error, size));
    }
    let slot = answer.child(HTTP_UPLOAD, "slot");
    slot.as_ref()
        .and_then(read)
        .ok_or_else(|| FileError::Refused("its answer cannot be read".to_owned()))
}

struct Service {
    at: Jid,
    most: Option<u64>,
}

/// The domain itself, or a service beside it (XEP-0363 §4.1).
async fn find(chat: &Chat) -> Result<Service, FileError> {
    let domain = Jid::parse(chat.account().domain()).map_err(|_| FileError::NoUpload)?;
    if let Some(service) = takes_files(chat, domain.clone()).await? {
        return Ok(service);
    }
    let items = Element::new(ns::DISCO_ITEMS, "query");
    let items = chat.ask(domain, IqType::Get, &items).await?;
    let items = items.child(ns::DISCO_ITEMS, "query");
    let services: Vec<Jid> = items
        .iter()
        .flat_map(|query| query.children_named(ns::DISCO_ITEMS, "item"))
        .filter_map(|item| Jid::parse(item.attr("jid")?).ok())
        .take(MAX_SERVICES)
        .collect();
    for at in services {
        if let Some(service) = takes_files(chat, at).await? {
            return Ok(service);
        }
    }
    Err(FileError::NoUpload)
}

async fn takes_files(chat: &Chat, at: Jid) -> Result<Option<Service>, FileError> {
    let info = Element::new(ns::DISCO_INFO, "query");
    let info = chat.ask(at.clone(), IqType::Get, &info).await?;
    Ok(info
        .child(ns::DISCO_INFO, "query")
        .as_ref()
        .and_then(most_of)
        .map(|most| Service { at, most }))
}

/// `None`: it takes none. How large a file may be, if it says so.
fn most_of(query: &Element) -> Option<Option<u64>> {
    let mut features = query.children_named(ns::DISCO_INFO, "feature");
    features.find(|feature| feature.attr("var") == Some(HTTP_UPLOAD))?;
    let forms = query.elements().filter(|form| form.is(ns::DATA, "x"));
    let of_upload = |form: &&Element| value(form, "FORM_TYPE").as_deref() == Some(HTTP_UPLOAD);
    let form = forms.into_iter().find(of_upload);
    Some(form.and_then(|form| value(form, "max-file-size")?.trim().parse().ok()))
}

fn value(form: &Element, var: &str) -> Option<String> {
    let mut fields = form.children_named(ns::DATA, "field");
    let field = fields.find(|field| field.attr("var") == Some(var))?;
    field.child(ns::DATA, "value").map(Element::text)
}

fn read(slot: &Element) -> Option<Slot> {
    let put = slot.child(HTTP_UPLOAD, "put")?;
    let get = slot.child(HTTP_UPLOAD, "get")?;
    let fields = put
        .children_named(HTTP_UPLOAD, "header")
        .filter_map(|header| {
            let name = header.attr("name")?.to_ascii_lowercase();
            let value = header.text().replace(['\r', '\n'], "");
            FIELDS
                .contains(&name.as_str())
                .then(|| (name, value.trim().to_owned()))
        });
    Some(Slot {
        put: put.attr("url")?.to_owned(),
        get: get.attr("url")?.to_owned(),
        fields: fields.collect(),
    })
}

fn refused(error: &StanzaError, size: u64) -> FileError {
    let words = error
        .text
        .clone()
        .unwrap_or_else(|| error.condition.as_str().to_owned());
    let application = error.application.as_deref();
    let most = application
        .filter(|e| e.is(HTTP_UPLOAD, "file-too-large"))
        .and_then(|e| e.child(HTTP_UPLOAD, "max-file-size"))
        .and_then(|most| most.text().trim().parse().ok());
    match (error.condition, most) {
        (_, Some(most)) => FileError::ServerTooLarge { size, most },
        (StanzaCondition::ResourceConstraint, None) => FileError::Full(words),
        (StanzaCondition::ServiceUnavailable | StanzaCondition::FeatureNotImplemented, None) => {
            FileError::NoUpload
        }
        _ => FileError::Refused(words),
    }
}

/// Whether an IQ answers one that went to `to`, for [`Chat::ask`].
pub(crate) fn answers(stanza: &Stanza, to: &Jid) -> bool {
    stanza.from.as_ref().is_none_or(|from| from == to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use comity_xmpp::stream::Header;
    use comity_xmpp::xml;

    fn element(text: &str) -> Element {
        xml::parse(text.as_bytes(), &Header::of(ns::CLIENT)).unwrap()
    }

    #[test]
    fn a_place_is_read_with_the_fields_it_may_have() {
        let slot = element(
            "<slot xmlns='urn:xmpp:http:upload:0'>\
             <put url='https://up.example/1'><header name='Authorization'>Basic a\r\nX: y</header>\
             <header name='Host'>evil.example</header></put><get url='https://down.example/1'/></slot>",
        );
        let slot = read(&slot).unwrap();
        assert_eq!(slot.put, "https://up.example/1");
        assert_eq!(slot.get, "https://down.example/1");
        let field = ("authorization".to_owned(), "Basic aX: y".to_owned());
        assert_eq!(slot.fields, [field]);
        let without = element("<slot xmlns='urn:xmpp:http:upload:0'><put url='x'/></slot>");
        assert_eq!(read(&without), None);
    }

    #[test]
    fn a_service_says_whether_and_how_much() {
        let query = |more: &str| {
            element(&format!(
                "<query xmlns='http://jabber.org/protocol/disco#info'>\
                 <feature var='urn:xmpp:http:upload:0'/>{more}</query>"
            ))
        };
        let form = "<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'>\
             <value>urn:xmpp:http:upload:0</value></field>\
             <field var='max-file-size'><value>5242880</value></field></x>";
        assert_eq!(most_of(&query(form)), Some(Some(5_242_880)));
        assert_eq!(most_of(&query("")), Some(None));
        let other = element("<query xmlns='http://jabber.org/protocol/disco#info'/>");
        assert_eq!(most_of(&other), None);
    }
}
