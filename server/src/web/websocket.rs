//! The handshake of a WebSocket (RFC 6455 §4.2) that a client's stream goes over (RFC 7395). From
//! then on nothing is different from a stream over TCP: the same machines, limits and checks.
//!
//! Which pages may open one is the operator's to say. The stream carries no cookie and proves
//! nothing before SASL, so that a foreign page could do no more than its author could from
//! elsewhere, but it would do so from its visitors' addresses.

use comity_c2s::serve::websocket;
use comity_c2s::websocket::SUBPROTOCOL;
use comity_net::http::{Method, Request, Response, StatusCode, explain, header, status};
use comity_xmpp::jid::BareJid;
use ring::digest;

use super::{Later, Link, Path, Route, Visit};
use crate::home::Home;

pub(super) const ROUTE: Route = Route {
    link: Some(Link {
        rel: "urn:xmpp:alt-connections:websocket",
        scheme: "wss",
    }),
    method: Method::GET,
    path: Path::Exact("/xmpp-websocket"),
    handle,
};

/// RFC 6455 §1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

fn handle(visit: Visit) -> Later<Response> {
    Box::pin(std::future::ready(
        begin(visit).unwrap_or_else(|refusal| *refusal),
    ))
}

fn begin(mut visit: Visit) -> Result<Response, Box<Response>> {
    let accept = accepted(&visit.request)?;
    if let Some(origin) = visit.request.header(header::ORIGIN)
        && !welcome(&visit.home, &visit.streams.origins, origin)
    {
        tracing::info!(origin, "a page of this origin may not open streams here");
        let text = "pages of this origin may not open streams here: see web.origins";
        return Err(explain(StatusCode::FORBIDDEN, text).into());
    }
    let (Some(upgrade), Some((clients, stop))) =
        (visit.request.upgrade.take(), visit.streams.clients)
    else {
        let text = "this listener carries no streams";
        return Err(explain(StatusCode::SERVICE_UNAVAILABLE, text).into());
    };
    tokio::spawn(websocket(upgrade, visit.request.peer, clients, stop));
    let mut response = status(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    let value = header::HeaderValue::from_static;
    headers.insert(header::CONNECTION, value("upgrade"));
    headers.insert(header::UPGRADE, value("websocket"));
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value(SUBPROTOCOL));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response)
}

/// RFC 6455 §4.2.1, RFC 7395 §3.1: what the client has to say, and our answer to its key.
fn accepted(request: &Request) -> Result<header::HeaderValue, Box<Response>> {
    let lists = |name, token: &str| {
        let fields = request.headers.get_all(name).iter();
        fields
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|value| value.trim().eq_ignore_ascii_case(token))
    };
    let refuse = |status, text: &str| Err(Box::new(explain(status, text)));
    if !lists(header::UPGRADE, "websocket") || !lists(header::CONNECTION, "upgrade") {
        let text = "clients of XMPP connect to this page with a WebSocket (RFC 7395)";
        let mut refusal = explain(StatusCode::UPGRADE_REQUIRED, text);
        let websocket = header::HeaderValue::from_static("websocket");
        refusal.headers_mut().insert(header::UPGRADE, websocket);
        return Err(refusal.into());
    }
    if request.header(header::SEC_WEBSOCKET_VERSION) != Some("13") {
        let mut refusal = explain(StatusCode::UPGRADE_REQUIRED, "speak version 13");
        let version = header::HeaderValue::from_static("13");
        (refusal.headers_mut()).insert(header::SEC_WEBSOCKET_VERSION, version);
        return Err(refusal.into());
    }
    if !lists(header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) {
        let text = "offer the subprotocol xmpp (RFC 7395, section 3.1)";
        return refuse(StatusCode::BAD_REQUEST, text);
    }
    // Sixteen octets in base64.
    let key = request.header(header::SEC_WEBSOCKET_KEY);
    let Some(key) = key.filter(|key| key.len() == 24 && key.ends_with("==")) else {
        return refuse(StatusCode::BAD_REQUEST, "Sec-WebSocket-Key is missing");
    };
    answer(key)
        .ok_or_else(|| explain(StatusCode::BAD_REQUEST, "Sec-WebSocket-Key is no key").into())
}

fn answer(key: &str) -> Option<header::HeaderValue> {
    let mut hashed = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hashed.update(key.as_bytes());
    hashed.update(GUID);
    header::HeaderValue::from_str(&comity_xmpp::sasl::encode(hashed.finish().as_ref())).ok()
}

/// RFC 6455 §10.2. A page of one of our own domains, on any port, or one of those allowed.
fn welcome(home: &Home, allowed: &[String], origin: &str) -> bool {
    let named = |allowed: &String| allowed == "*" || allowed.eq_ignore_ascii_case(origin);
    if allowed.iter().any(named) {
        return true;
    }
    let Some(authority) = origin.strip_prefix("https://") else {
        return false;
    };
    let host = authority.split(':').next().unwrap_or_default();
    BareJid::parse(host).is_ok_and(|jid| jid.local().is_none() && home.hosts.serves(jid.domain()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::play::Play;

    #[test]
    fn the_answer_to_a_key_is_that_of_rfc_6455() {
        let accept = answer("dGhlIHNhbXBsZSBub25jZQ==").unwrap();
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[tokio::test]
    async fn pages_of_our_own_and_those_allowed_are_welcome() {
        let play = Play::of(&[]).await;
        let allowed = ["https://chat.example".to_owned()];
        for (origin, expected) in [
            ("https://a.example", true),
            ("https://a.example:8443", true),
            ("https://chat.example", true),
            ("https://chat.example:8443", false),
            ("http://a.example", false),
            ("https://evil.example", false),
            ("https://x@a.example", false),
            ("https://a.example.evil.example", false),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(welcome(&play.home, &allowed, origin), expected, "{origin}");
        }
        assert!(welcome(&play.home, &["*".to_owned()], "null"));
    }
}
