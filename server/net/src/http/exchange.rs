//! One request and its answer.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::{HeaderMap, Method, StatusCode, header};

use super::pieces::Moved;
use super::{Limits, Pieces, Request, Response, Site, Upgrade, explain};

/// Who asks, and what it may take.
pub(super) struct Visitor {
    pub(super) peer: SocketAddr,
    pub(super) limits: Limits,
    pub(super) moved: Moved,
}

/// Reads the request to its end, within the limits, and has it answered.
pub(super) async fn answer(
    site: &dyn Site,
    request: hyper::Request<Incoming>,
    visitor: Visitor,
) -> Response {
    let (peer, moved) = (visitor.peer, visitor.moved.clone());
    let path = request.uri().path().to_owned();
    let method = request.method().clone();
    let mut response = match read(site, request, visitor).await {
        Ok(request) => site.answer(request).await,
        Err(refusal) => refusal,
    };
    tracing::debug!(%peer, %method, path, status = response.status().as_u16(), "a web request");
    let headers = response.headers_mut();
    // Whatever a page says it is, no browser shall find that it is something else.
    let nosniff = header::HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response.map(|body| body.counted(&moved))
}

async fn read(
    site: &dyn Site,
    mut request: hyper::Request<Incoming>,
    visitor: Visitor,
) -> Result<Request, Response> {
    let upgrade = (request.headers().contains_key(header::UPGRADE)
        && request.method() == Method::GET)
        .then(|| Upgrade::new(hyper::upgrade::on(&mut request)));
    let (head, body) = request.into_parts();
    if !head.uri.path().starts_with('/') {
        let text = "ask for a path, such as /.well-known/host-meta";
        return Err(explain(StatusCode::BAD_REQUEST, text));
    }
    let host = host(&head.uri, &head.headers).ok_or_else(|| {
        let text = "say with one Host field which domain you want (RFC 9112, section 3.2)";
        explain(StatusCode::BAD_REQUEST, text)
    })?;
    let Visitor {
        peer,
        limits,
        moved,
    } = visitor;
    let (body, pieces) = match site.takes_pieces(&head.method, head.uri.path()) {
        true => {
            let pieces = Pieces::new(body, limits.patience, moved);
            (Bytes::new(), Some(pieces))
        }
        false => (collect(body, limits).await?, None),
    };
    Ok(Request {
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        method: head.method,
        host,
        headers: head.headers,
        body,
        pieces,
        peer,
        upgrade,
    })
}

/// RFC 9112 §3.2: exactly one Host field, of which an absolute request target has the better word.
fn host(uri: &hyper::Uri, headers: &HeaderMap) -> Option<String> {
    let mut fields = headers.get_all(header::HOST).iter();
    let (field, second) = (fields.next()?, fields.next());
    if second.is_some() {
        return None;
    }
    let authority: hyper::http::uri::Authority = match uri.authority() {
        Some(authority) => authority.clone(),
        None => field.to_str().ok()?.parse().ok()?,
    };
    Some(authority.host().to_ascii_lowercase())
}

async fn collect(body: Incoming, limits: Limits) -> Result<Bytes, Response> {
    let body = Limited::new(body, limits.body_bytes).collect();
    let mut refusal = match tokio::time::timeout(limits.patience, body).await {
        Ok(Ok(body)) => return Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let text = format!("send at most {} octets", limits.body_bytes);
            explain(StatusCode::PAYLOAD_TOO_LARGE, text)
        }
        Ok(Err(_)) => explain(StatusCode::BAD_REQUEST, "the body broke off: send it again"),
        Err(_) => explain(StatusCode::REQUEST_TIMEOUT, "the body came too slowly"),
    };
    // What is left of the body is not worth reading.
    let close = header::HeaderValue::from_static("close");
    refusal.headers_mut().insert(header::CONNECTION, close);
    Err(refusal)
}
