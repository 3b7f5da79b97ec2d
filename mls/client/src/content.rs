//! What an application message carries: an XEP-0420 envelope around ordinary message elements, so
//! that bodies, corrections, reactions and receipts are those of XMPP.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use comity_xmpp::element::Element;
use comity_xmpp::jid::BareJid;
use comity_xmpp::stream::Header;
use comity_xmpp::{ns, xml};

use crate::act::Act;

/// The media type a message's content is declared with (RFC 9750 §6.9).
pub const CONTENT_TYPE: &str = "application/xmpp-sce+xml";

/// The most octets of padding an envelope gets beside what MLS adds (XEP-0420 §4: up to 200).
const MAX_PADDING: usize = 200;

/// The opened envelope of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// What the sender says it wrote it to, and as whom: compared with what MLS proves.
    pub to: BareJid,
    pub from: BareJid,
    /// Seconds since 1970, by the sender's clock.
    pub time: u64,
    /// Ordinary children of a message (`<body/>`, `<replace/>`, …).
    pub elements: Vec<Element>,
}

/// Why an envelope cannot be shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContentError {
    #[error("the content is no XEP-0420 envelope: {0}")]
    Malformed(String),
    #[error("the envelope says {field} {found}, but the message proves {expected}")]
    Affix {
        field: &'static str,
        expected: String,
        found: String,
    },
}

/// The text of a message of a room, if it has one that can be read and says something new.
#[must_use]
pub fn text_of(room: &BareJid, message: &comity_mls_engine::Message) -> Option<String> {
    match Act::of(&open_message(room, message).ok()?.elements) {
        Act::Text { body, .. } => Some(body),
        _ => None,
    }
}

/// The envelope of a message of a room, or why it cannot be shown.
pub fn open_message(
    room: &BareJid,
    message: &comity_mls_engine::Message,
) -> Result<Content, String> {
    if message.content_type != CONTENT_TYPE {
        return Err(format!(
            "content of the unknown kind {}",
            message.content_type
        ));
    }
    let sender = BareJid::parse(&message.sender.account).map_err(|e| e.to_string())?;
    Content::open(&message.content, &sender, room).map_err(|e| e.to_string())
}

impl Content {
    /// An ordinary text message.
    #[must_use]
    pub fn text(from: BareJid, to: BareJid, now: SystemTime, body: &str) -> Self {
        let body = Element::new(ns::CLIENT, "body").with_text(body);
        Self::of(from, to, now, vec![body])
    }

    /// A message with these elements, such as [`Act::elements`] gives.
    #[must_use]
    pub fn of(from: BareJid, to: BareJid, now: SystemTime, elements: Vec<Element>) -> Self {
        let time = now
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO)
            .as_secs();
        Self {
            to,
            from,
            time,
            elements,
        }
    }

    /// The text of the body, if there is one.
    #[must_use]
    pub fn body(&self) -> Option<String> {
        self.elements
            .iter()
            .find(|e| e.is(ns::CLIENT, "body"))
            .map(Element::text)
    }

    /// The envelope as bytes; `padding` is random and its length hides that of the text.
    #[must_use]
    pub fn seal(&self, padding: &[u8]) -> Vec<u8> {
        let affix = |name: &str| Element::new(ns::SCE, name);
        let padding: String = padding
            .iter()
            .take(MAX_PADDING)
            .map(|octet| char::from(b'a' + octet % 26))
            .collect();
        let envelope = affix("envelope")
            .with_child(affix("content").with_children(self.elements.iter().cloned()))
            .with_child(affix("rpad").with_text(padding))
            .with_child(affix("from").with_attr("jid", self.from.as_str()))
            .with_child(affix("to").with_attr("jid", self.to.as_str()))
            .with_child(affix("time").with_attr("stamp", stamp(self.time)));
        let mut out = bytes::BytesMut::new();
        xml::write(&envelope, ns::CLIENT, &mut out);
        out.to_vec()
    }

    /// Opens an envelope and holds its affixes against what MLS has proved: who sent it, in which
    /// room (XEP-0420 §5).
    pub fn open(bytes: &[u8], sender: &BareJid, room: &BareJid) -> Result<Self, ContentError> {
        let malformed = |why: &str| ContentError::Malformed(why.to_owned());
        let envelope = parse(bytes).map_err(|error| ContentError::Malformed(error.text))?;
        if !envelope.is(ns::SCE, "envelope") {
            return Err(malformed("its root is another element"));
        }
        let content = envelope
            .child(ns::SCE, "content")
            .ok_or_else(|| malformed("no <content/>"))?;
        let affix = |name: &'static str, expected: &BareJid| {
            let found = envelope
                .child(ns::SCE, name)
                .and_then(|e| e.attr("jid"))
                .ok_or_else(|| malformed("an address is missing"))?;
            match BareJid::parse(found) {
                Ok(jid) if jid == *expected => Ok(jid),
                _ => Err(ContentError::Affix {
                    field: name,
                    expected: expected.to_string(),
                    found: found.to_owned(),
                }),
            }
        };
        let time = envelope
            .child(ns::SCE, "time")
            .and_then(|e| e.attr("stamp"))
            .and_then(unstamp)
            .ok_or_else(|| malformed("no readable <time/>"))?;
        Ok(Self {
            from: affix("from", sender)?,
            to: affix("to", room)?,
            time,
            elements: content.elements().cloned().collect(),
        })
    }
}

fn parse(bytes: &[u8]) -> Result<Element, comity_xmpp::error::StreamError> {
    let header = Header {
        content_ns: ns::CLIENT.to_owned(),
        ..Header::default()
    };
    xml::parse(bytes, &header)
}

/// XEP-0082: `1969-07-21T02:56:15Z`.
#[must_use]
pub fn stamp(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        rest / 3600,
        rest % 3600 / 60,
        rest % 60
    )
}

/// Days since 1970-01-01 as a date of the proleptic Gregorian calendar: eras of 400 years, years
/// that begin in March so that the leap day is their last.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

/// The reverse of [`stamp`]; fractions of seconds are dropped, only UTC is understood.
fn unstamp(text: &str) -> Option<u64> {
    let text = text.strip_suffix('Z')?;
    let (date, time) = text.split_once('T')?;
    let mut date = date.splitn(3, '-').map(str::parse::<u64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let time = time.split('.').next()?;
    let mut time = time.splitn(3, ':').map(str::parse::<u64>);
    let (hour, minute, second) = (time.next()?.ok()?, time.next()?.ok()?, time.next()?.ok()?);
    let sane = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !sane {
        return None;
    }
    let (year, month) = if month <= 2 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * month + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    Some(days.checked_sub(719_468)? * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jid(text: &str) -> BareJid {
        BareJid::parse(text).unwrap()
    }

    #[test]
    fn stamps_are_those_of_xep_0082() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (4_102_444_800, "2100-01-01T00:00:00Z"),
        ] {
            assert_eq!(stamp(seconds), text);
            assert_eq!(unstamp(text), Some(seconds));
        }
        assert_eq!(unstamp("2000-02-29T00:00:00.123Z"), Some(951_782_400));
        for bad in [
            "",
            "Z",
            "2000-13-01T00:00:00Z",
            "1969-01-01T00:00:00Z",
            "2000-02-29",
        ] {
            assert_eq!(unstamp(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_envelope_opens_for_whom_it_names() {
        let (alice, room) = (jid("alice@a.example"), jid("~abc@a.example"));
        let now = UNIX_EPOCH + Duration::from_secs(951_782_400);
        let content = Content::text(alice.clone(), room.clone(), now, "a < b & c");
        let bytes = content.seal(b"some random octets");
        assert_eq!(Content::open(&bytes, &alice, &room), Ok(content.clone()));
        assert_eq!(content.body().as_deref(), Some("a < b & c"));
        let mallory = jid("mallory@a.example");
        assert!(matches!(
            Content::open(&bytes, &mallory, &room),
            Err(ContentError::Affix { field: "from", .. })
        ));
        assert!(matches!(
            Content::open(b"<message xmlns='jabber:client'/>", &alice, &room),
            Err(ContentError::Malformed(_))
        ));
    }
}
