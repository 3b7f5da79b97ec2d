//! A query of an archive: its form, the page it asks for, and its results (XEP-0313 §4).

use std::sync::Arc;
use std::time::Duration;

use comity_c2s::link::Outbound;
use comity_storage::{ArchiveFilter, ArchivePage, ArchiveRow, Paging};
use comity_xmpp::element::Element;
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::form::{Field, Form, FormKind};
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::ns;
use comity_xmpp::rsm::{self, Page, RsmError};
use comity_xmpp::stanza::{Kind, MessageType, Stanza};
use comity_xmpp::stream::Header;
use comity_xmpp::xml;
use tracing::error;

use super::unread;
use crate::module::{Context, Request, message};
use crate::time;

/// Messages of a page where the client names no number, and where it names a larger one.
const PAGE: usize = 50;
const LARGEST_PAGE: usize = 250;
/// Messages that can be asked for by their names at once.
const IDS: usize = 250;
/// Bytes of a name; ours are shorter.
const ID_BYTES: usize = 256;
/// How long a client may take to make room in its queue.
const PATIENCE: Duration = Duration::from_secs(30);

/// XEP-0122 §3: any value may be named, not only those on offer.
const VALIDATE: &str = "http://jabber.org/protocol/xdata-validate";

/// XEP-0313 §4.1.7: what can be asked for.
pub(super) fn form() -> Element {
    let field = |var: &str, kind| Field {
        var: var.to_owned(),
        kind: Some(kind),
        ..Field::default()
    };
    let mut form = Form::new(FormKind::Form, ns::MAM);
    form.fields.extend([
        field("with", "jid-single"),
        field("start", "text-single"),
        field("end", "text-single"),
        field("before-id", "text-single"),
        field("after-id", "text-single"),
    ]);
    let open = Element::new(VALIDATE, "validate")
        .with_attr("datatype", "xs:string")
        .with_child(Element::new(VALIDATE, "open"));
    let ids = Element::new(ns::DATA, "field")
        .with_attr("var", "ids")
        .with_attr("type", "list-multi")
        .with_child(open);
    Element::new(ns::MAM, "query").with_child(form.to_element().with_child(ids))
}

/// What a client wants.
#[derive(Debug, PartialEq, Eq)]
struct Query {
    id: Option<String>,
    filter: ArchiveFilter,
    paging: Paging,
    limit: usize,
    flip: bool,
}

/// Gives the client the page it asks for, and the answer behind it; `None`: the session is gone.
pub(super) async fn page(
    context: &Context,
    request: &Request,
) -> Result<Option<Element>, StanzaError> {
    let query = Query::read(&request.payload)?;
    let Some(session) = context.session() else {
        return Ok(None);
    };
    let account = request.to.to_bare();
    let storage = &context.home.storage;
    let page = storage
        .archive_page(account.as_str(), &query.filter, &query.paging, query.limit)
        .await
        .map_err(|fault| unread(&fault))?
        .map_err(|unknown| {
            StanzaError::new(ErrorType::Cancel, StanzaCondition::ItemNotFound)
                .with_text(format!("the archive holds no message {}", unknown.0))
        })?;
    let outbound = context
        .home
        .sessions
        .with(session, |session| session.outbound.clone());
    let Some(outbound) = outbound else {
        return Ok(None);
    };
    let answer = request.stanza.result(Some(&fin(&page, query.backwards())));
    let mut rows = page.rows;
    if query.flip {
        rows.reverse();
    }
    let results = rows
        .iter()
        .filter_map(|row| result(&account, session, query.id.as_deref(), row));
    for stanza in results.chain([answer]) {
        // At the client's own pace: nobody is thrown out for asking.
        if !hand(&outbound, stanza).await {
            context.home.sessions.drop_slow(session);
            break;
        }
    }
    Ok(None)
}

async fn hand(outbound: &Outbound, stanza: Stanza) -> bool {
    let sent = outbound.send_when_free(Arc::new(stanza));
    matches!(tokio::time::timeout(PATIENCE, sent).await, Ok(Ok(())))
}

fn result(
    account: &BareJid,
    session: &Jid,
    query: Option<&str>,
    row: &ArchiveRow,
) -> Option<Stanza> {
    let Some(message) = message(account, row) else {
        error!(uid = row.uid, "a message in the archive cannot be read");
        return None;
    };
    let delay = Element::new(ns::DELAY, "delay").with_attr("stamp", time::stamp(row.received));
    let forwarded = Element::new(ns::FORWARD, "forwarded")
        .with_child(delay)
        .with_child(message);
    let result = Element::new(ns::MAM, "result")
        .with_attr_opt("queryid", query)
        .with_attr("id", row.uid.as_str())
        .with_child(forwarded);
    let message = Stanza::new(Kind::Message(MessageType::Normal));
    Some(
        message
            .with_from(account.clone())
            .with_to(session.clone())
            .with(&result),
    )
}

/// With its name in this archive (XEP-0359).
fn message(account: &BareJid, row: &ArchiveRow) -> Option<Element> {
    let stanza = message::read(&row.stanza)?;
    let named = message::id::named(&stanza, account, &row.uid);
    xml::parse(&named.to_bytes(None), &Header::of(ns::CLIENT)).ok()
}

fn fin(page: &ArchivePage, backwards: bool) -> Element {
    let ends = page.rows.first().zip(page.rows.last());
    let ends = ends.map(|(first, last)| (first.uid.as_str(), last.uid.as_str()));
    // XEP-0059 §2.6 leaves it to us, and slixmpp takes a page that is the last by its index for the
    // end, from whichever side it has come.
    let index = page.index.filter(|_| !backwards);
    Element::new(ns::MAM, "fin")
        .with_attr_opt("complete", page.complete.then_some("true"))
        .with_child(rsm::answer(ends, index, page.count))
}

impl Query {
    /// Does the client go from the newest to the oldest?
    fn backwards(&self) -> bool {
        matches!(self.paging, Paging::Last | Paging::Before(_))
    }

    fn read(query: &Element) -> Result<Self, StanzaError> {
        if query.attr("node").is_some_and(|node| !node.is_empty()) {
            // XEP-0442 is for nodes.
            return Err(
                StanzaError::new(ErrorType::Cancel, StanzaCondition::ItemNotFound)
                    .with_text("only conversations are archived here, no nodes"),
            );
        }
        let id = query.attr("queryid").map(str::to_owned);
        if id.as_ref().is_some_and(|id| id.len() > ID_BYTES) {
            return Err(bad(format!("'queryid' has at most {ID_BYTES} octets")));
        }
        let filter = match query.child(ns::DATA, "x") {
            None => ArchiveFilter::default(),
            Some(form) => filter(form)?,
        };
        let rsm::Request { max, page } = rsm::Request::of(query).map_err(|why| match why {
            // XEP-0059 §2.4.
            RsmError::Index => {
                StanzaError::new(ErrorType::Cancel, StanzaCondition::FeatureNotImplemented)
                    .with_text(why.to_string())
            }
            why => bad(why.to_string()),
        })?;
        Ok(Self {
            id,
            filter,
            paging: match page {
                Page::First => Paging::First,
                Page::Last => Paging::Last,
                Page::After(uid) => Paging::After(named(uid)?),
                Page::Before(uid) => Paging::Before(named(uid)?),
            },
            limit: max.unwrap_or(PAGE).min(LARGEST_PAGE),
            flip: query.child(ns::MAM, "flip-page").is_some(),
        })
    }
}

fn filter(form: &Element) -> Result<ArchiveFilter, StanzaError> {
    let form = Form::read(form).map_err(|why| bad(why.to_string()))?;
    if form.kind != FormKind::Submit || form.form_type() != Some(ns::MAM) {
        return Err(bad(format!(
            "a form of the type {} is to be submitted",
            ns::MAM
        )));
    }
    let mut filter = ArchiveFilter::default();
    for field in &form.fields {
        let value = || match field.values.as_slice() {
            [value] => Ok(value.clone()),
            _ => Err(bad(format!("'{}' has one value", field.var))),
        };
        match field.var.as_str() {
            "FORM_TYPE" => {}
            "with" => filter.with = Some(with(&value()?)?),
            "start" => filter.start = Some(moment(&field.var, &value()?)?),
            "end" => filter.end = Some(moment(&field.var, &value()?)?),
            "after-id" => filter.after_uid = Some(named(value()?)?),
            "before-id" => filter.before_uid = Some(named(value()?)?),
            "ids" if field.values.len() <= IDS => {
                let named: Result<_, _> = field.values.iter().cloned().map(named).collect();
                filter.uids = Some(named?);
            }
            "ids" => return Err(bad(format!("'ids' has at most {IDS} values"))),
            other => {
                return Err(StanzaError::new(
                    ErrorType::Cancel,
                    StanzaCondition::FeatureNotImplemented,
                )
                .with_text(format!("messages cannot be found by '{other}'")));
            }
        }
    }
    Ok(filter)
}

/// XEP-0313 §4.1.1: a bare address means all its resources.
fn with(text: &str) -> Result<(String, Option<String>), StanzaError> {
    let jid =
        Jid::parse(text.trim()).map_err(|fault| bad(format!("'with' is no address: {fault}")))?;
    let resource = jid.resource().map(str::to_owned);
    Ok((jid.to_bare().as_str().to_owned(), resource))
}

fn moment(var: &str, text: &str) -> Result<u64, StanzaError> {
    time::parse(text.trim()).ok_or_else(|| {
        bad(format!(
            "'{var}' is no point in time: write it like 2002-09-10T23:08:25Z (XEP-0082)"
        ))
    })
}

fn named(uid: String) -> Result<String, StanzaError> {
    if uid.len() > ID_BYTES {
        return Err(
            StanzaError::new(ErrorType::Cancel, StanzaCondition::ItemNotFound)
                .with_text("no message of the archive has so long an id"),
        );
    }
    Ok(uid)
}

fn bad(text: impl Into<String>) -> StanzaError {
    StanzaError::new(ErrorType::Modify, StanzaCondition::BadRequest).with_text(text)
}
