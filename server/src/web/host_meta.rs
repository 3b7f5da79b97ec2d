//! Where a client finds the ways to its server that are not TCP (RFC 6415, XEP-0156).

use comity_net::http::{Response, body};
use comity_xmpp::element::Element;

use super::{Later, ROUTES, Route, Visit, readable_by_all};

const NS: &str = "http://docs.oasis-open.org/ns/xri/xrd-1.0";

/// As XML.
pub(super) const XRD: Route = Route::get("/.well-known/host-meta", |visit| ready(xrd(&visit)));

/// As JSON (RFC 6415 §3).
pub(super) const JSON: Route =
    Route::get("/.well-known/host-meta.json", |visit| ready(json(&visit)));

fn ready(response: Response) -> Later<Response> {
    // XEP-0156 §2: clients inside web pages of any origin read it.
    Box::pin(std::future::ready(readable_by_all(response)))
}

/// The relation and the URL of each page that has one.
fn links(visit: &Visit) -> Vec<(&'static str, String)> {
    let Some(place) = visit.home.web.of(&visit.domain) else {
        return Vec::new();
    };
    let place = place.trim_start_matches("https");
    let named = ROUTES.iter().filter_map(|route| Some((route, route.link?)));
    named
        .map(|(route, link)| {
            let url = format!("{}{place}{}", link.scheme, route.path.as_str());
            (link.rel, url)
        })
        .collect()
}

fn xrd(visit: &Visit) -> Response {
    let links = links(visit).into_iter().map(|(rel, href)| {
        Element::new(NS, "Link")
            .with_attr("rel", rel)
            .with_attr("href", href)
    });
    let xrd = Element::new(NS, "XRD").with_children(links);
    let text = format!("<?xml version='1.0' encoding='UTF-8'?>\n{xrd}\n");
    body("application/xrd+xml", text)
}

fn json(visit: &Visit) -> Response {
    let links: Vec<_> = links(visit)
        .into_iter()
        .map(|(rel, href)| serde_json::json!({ "rel": rel, "href": href }))
        .collect();
    let json = serde_json::json!({ "links": links });
    body("application/json", json.to_string())
}
