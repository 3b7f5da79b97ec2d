//! The table of pages, and how a request finds its own. A page is a file of `web/`; where it lies
//! and how it is asked for is data, which host-meta (XEP-0156) reads too.
//!
//! A page belongs to a domain: the one the request's Host names, or the first where it names none
//! of ours, since a visitor may come by an address or through a proxy.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use comity_c2s::Clients;
use comity_net::http::{Method, Request, Response, Site, StatusCode, explain, header, status};
use comity_net::stop::Stop;
use comity_xmpp::jid::BareJid;

use crate::home::Home;

pub use status::Status;

mod anchors;
mod health;
mod host_meta;
mod html;
mod landing;
mod metrics;
mod status;
mod upload;
mod websocket;

/// Every page of this server. A line here is all it takes to add one.
pub const ROUTES: &[Route] = &[
    host_meta::XRD,
    host_meta::JSON,
    anchors::ANCHORS,
    metrics::METRICS,
    health::HEALTH,
    health::READY,
    landing::LANDING,
    status::STATUS,
    html::STYLE,
    upload::GET,
    upload::PUT,
    upload::OPTIONS,
    websocket::ROUTE,
];

pub type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// One page: how it is asked for, and who answers.
pub struct Route {
    /// HEAD is answered where GET is.
    pub method: Method,
    pub path: Path,
    pub handle: fn(Visit) -> Later<Response>,
    /// How host-meta names it, if it does.
    pub link: Option<Link>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// This one alone.
    Exact(&'static str),
    /// Everything below it; it ends with a slash, and what follows is [`Visit::rest`].
    Below(&'static str),
}

/// A link relation of XEP-0156, with the scheme of its URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub rel: &'static str,
    pub scheme: &'static str,
}

/// One request in a page's hands.
pub struct Visit {
    pub home: Home,
    pub streams: Streams,
    /// Which of our domains it is about.
    pub domain: String,
    /// What follows a [`Path::Below`].
    pub rest: String,
    pub request: Request,
}

/// The pages of one homeserver.
pub(crate) struct Pages {
    pub(crate) home: Home,
    pub(crate) streams: Streams,
}

/// What a page needs that goes on as a client's stream.
#[derive(Clone)]
pub struct Streams {
    /// None: there are none here.
    pub clients: Option<(Clients, Stop)>,
    /// Pages of these origins may open streams, beside those of our own domains; `*`: all.
    pub origins: Arc<[String]>,
    /// None: there is no page of the server's own state.
    pub status: Option<Status>,
}

impl Streams {
    /// The server has been told to end.
    fn stopping(&self) -> bool {
        let clients = self.clients.as_ref();
        clients.is_some_and(|(_, stop)| stop.requested())
    }
}

impl Site for Pages {
    fn answer(&self, request: Request) -> comity_net::http::Later<'_, Response> {
        Box::pin(answer(self, request))
    }

    fn takes_pieces(&self, method: &Method, path: &str) -> bool {
        upload::takes_pieces(method, path)
    }
}

async fn answer(pages: &Pages, request: Request) -> Response {
    let home = &pages.home;
    let mut allowed = Vec::new();
    for route in ROUTES {
        let Some(rest) = route.path.rest(&request.path) else {
            continue;
        };
        if route.takes(&request.method) {
            let visit = Visit {
                domain: domain(home, &request.host),
                home: home.clone(),
                streams: pages.streams.clone(),
                rest: rest.to_owned(),
                request,
            };
            return (route.handle)(visit).await;
        }
        allowed.push(route.method.as_str());
    }
    if allowed.is_empty() {
        return explain(StatusCode::NOT_FOUND, "there is no such page here");
    }
    if allowed.contains(&"GET") {
        allowed.push("HEAD");
    }
    allowed.push("OPTIONS");
    refuse_method(&request.method, &allowed.join(", "))
}

/// RFC 9110 §9.3.7, §15.5.6: the methods there are.
fn refuse_method(method: &Method, allowed: &str) -> Response {
    let mut response = match *method {
        Method::OPTIONS => status(StatusCode::NO_CONTENT),
        _ => explain(
            StatusCode::METHOD_NOT_ALLOWED,
            format!("ask with one of: {allowed}"),
        ),
    };
    if let Ok(allowed) = header::HeaderValue::from_str(allowed) {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}

fn domain(home: &Home, host: &str) -> String {
    let named = BareJid::parse(host).ok();
    let named = named.filter(|jid| jid.local().is_none() && home.hosts.serves(jid.domain()));
    match named {
        Some(jid) => jid.domain().to_owned(),
        None => home.hosts.domains().first().cloned().unwrap_or_default(),
    }
}

/// Lets pages of other sites read this answer: for what is public and the same for everybody.
#[must_use]
pub fn readable_by_all(mut response: Response) -> Response {
    let all = header::HeaderValue::from_static("*");
    (response.headers_mut()).insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, all);
    response
}

impl Route {
    /// A page that is read at one path: for `..Route::get(path)`.
    const fn get(path: &'static str, handle: fn(Visit) -> Later<Response>) -> Self {
        Self {
            method: Method::GET,
            path: Path::Exact(path),
            handle,
            link: None,
        }
    }

    fn takes(&self, method: &Method) -> bool {
        self.method == *method || (self.method == Method::GET && *method == Method::HEAD)
    }
}

impl Path {
    fn rest(self, path: &str) -> Option<&str> {
        match self {
            Self::Exact(exact) => (path == exact).then_some(""),
            Self::Below(prefix) => path.strip_prefix(prefix),
        }
    }

    /// As it is written in a URL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exact(path) | Self::Below(path) => path,
        }
    }
}

/// Where browsers find this server, by domain: URLs without a slash at their end.
#[derive(Clone, Debug, Default)]
pub struct Places(HashMap<String, String>);

impl Places {
    /// `url` is as the operator wrote it, with `{domain}`; where that is nothing, the domain at
    /// `port`, and where that is nothing too, nowhere.
    #[must_use]
    pub fn new(url: &str, port: Option<u16>, domains: &[String]) -> Self {
        let url = match (url, port) {
            ("", None) => return Self::default(),
            ("", Some(443)) => "https://{domain}".to_owned(),
            ("", Some(port)) => format!("https://{{domain}}:{port}"),
            (url, _) => url.to_owned(),
        };
        let place = |domain: &String| {
            let name = comity_net::tls::ascii(domain).unwrap_or_else(|_| domain.clone());
            (domain.clone(), url.replace("{domain}", &name))
        };
        Self(domains.iter().map(place).collect())
    }

    #[must_use]
    pub fn of(&self, domain: &str) -> Option<&str> {
        self.0.get(domain).map(String::as_str)
    }
}

#[cfg(test)]
mod tests;
