//! Our anchors statement by HTTPS (RFC 8615), for whoever wants to compare what servers hand on with
//! what the domain's own web server says: no XMPP is needed, and no account.

use comity_net::http::{Method, Response, StatusCode, body, explain, header};

use super::{Later, Link, Path, Route, Visit, readable_by_all};

pub(super) const ANCHORS: Route = Route {
    method: Method::GET,
    path: Path::Exact("/.well-known/xmpp-mls-anchors"),
    handle: |visit| ready(answer(&visit)),
    // host-meta says at which port.
    link: Some(Link {
        rel: comity_xmpp::ns::MLS_AS,
        scheme: "https",
    }),
};

fn ready(response: Response) -> Later<Response> {
    Box::pin(std::future::ready(response))
}

fn answer(visit: &Visit) -> Response {
    let Some(authority) = visit.home.services.authority(&visit.domain) else {
        return explain(StatusCode::NOT_FOUND, "this domain has no authority here");
    };
    let mut response = body("application/octet-stream", authority.statement());
    // It is renewed every day, and at once when a CA is new.
    let minutes = header::HeaderValue::from_static("max-age=300");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, minutes);
    readable_by_all(response)
}
