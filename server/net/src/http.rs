//! HTTPS for the server's own pages, HTTP/1.1 over the same certificates as the streams: where
//! browsers look for us, and where WebSockets begin. What is answered is a [`Site`]'s business.
//!
//! Everything a visitor may take is bounded: connections, from one address too, octets of the head
//! and of the body, the time of a request and of a connection. Whoever holds on to an idle
//! connection loses it first, since a listener without a place left serves nobody. Where a site says
//! so, bodies come and go in [`pieces`], for as long as they move on.

mod exchange;
mod pieces;
mod upgraded;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

pub use hyper::header;
pub use hyper::{HeaderMap, Method, StatusCode};
pub use pieces::{Body, PieceSender, Pieces};
pub use upgraded::{Upgrade, Upgraded};

use crate::dns::order::Start;
use crate::listener::{Accepted, Listener};
use crate::stop::Stop;
use crate::tls::Acceptor;
use pieces::Moved;
use upgraded::Connection;

/// Fields in the head of a request.
const HEADERS: usize = 100;
/// The least that hyper buffers.
const HEAD_LEAST: usize = 8 * 1024;

/// A connection that has reached its end goes on for as long as so many octets of large bodies pass in
/// each of these times: 2 KiB a second.
const MOVING: Duration = Duration::from_secs(30);
const MOVING_OCTETS: u64 = 60 * 1024;

/// What a visitor may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Octets of a request's line and header fields, 8 KiB at least.
    pub head_bytes: usize,
    /// Octets of a request's body.
    pub body_bytes: usize,
    /// For TLS; then for a request's head, counted from the end of the one before, and for its body.
    pub patience: Duration,
    /// For a connection from its first to its last octet, whatever goes over it, but for large bodies
    /// that move on; what it was upgraded to is not counted.
    pub connection: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 16 * 1024,
            body_bytes: 64 * 1024,
            patience: Duration::from_secs(20),
            connection: Duration::from_secs(10 * 60),
        }
    }
}

pub type Response = hyper::Response<Body>;
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One request, read to its end.
pub struct Request {
    pub method: Method,
    /// As it was sent, percent-encoding included; begins with `/`.
    pub path: String,
    pub query: Option<String>,
    /// The host that was asked for (RFC 9110 §7.2), in lower case and without a port.
    pub host: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The body, where the site takes it in pieces: then `body` is empty.
    pub pieces: Option<Pieces>,
    pub peer: SocketAddr,
    /// How to go on with another protocol once 101 is answered (RFC 9110 §7.8).
    pub upgrade: Option<Upgrade>,
}

impl Request {
    /// A header field that can be read as text.
    #[must_use]
    pub fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Answers requests.
pub trait Site: Send + Sync + 'static {
    fn answer(&self, request: Request) -> Later<'_, Response>;

    /// Whether the body of such a request is for [`Request::pieces`].
    fn takes_pieces(&self, _method: &Method, _path: &str) -> bool {
        false
    }
}

/// An answer without a body.
#[must_use]
pub fn status(status: StatusCode) -> Response {
    let mut response = Response::new(Bytes::new().into());
    *response.status_mut() = status;
    response
}

/// An answer with one, of this media type.
#[must_use]
pub fn body(media_type: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(body.into()));
    let media_type = header::HeaderValue::from_static(media_type);
    (response.headers_mut()).insert(header::CONTENT_TYPE, media_type);
    response
}

/// A sentence for people, which says what to do next.
#[must_use]
pub fn explain(status: StatusCode, text: impl Into<String>) -> Response {
    let mut response = body("text/plain; charset=utf-8", text.into() + "\n");
    *response.status_mut() = status;
    response
}

/// Serves a listener until told to stop; then each connection ends behind the answer it is at.
pub async fn serve(
    listener: Listener,
    acceptor: Acceptor,
    limits: Limits,
    site: Arc<dyn Site>,
    mut stop: Stop,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.wait() => return,
            accepted = listener.accept() => accepted,
        };
        let (acceptor, site, stop) = (acceptor.clone(), Arc::clone(&site), stop.clone());
        tokio::spawn(async move {
            let Some(accepted) = accepted.introduced().await else {
                return;
            };
            let peer = accepted.peer;
            if let Err(why) = visit(accepted, &acceptor, limits, site, stop).await {
                tracing::debug!(%peer, %why, "a web connection ended");
            }
        });
    }
}

/// Why a connection ended otherwise than by the book.
#[derive(Debug, thiserror::Error)]
enum Left {
    #[error(transparent)]
    Tls(#[from] crate::tls::TlsError),
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error("it has lasted {} s, the most a connection may", .0.as_secs())]
    Long(Duration),
}

async fn visit(
    accepted: Accepted,
    acceptor: &Acceptor,
    limits: Limits,
    site: Arc<dyn Site>,
    mut stop: Stop,
) -> Result<(), Left> {
    let Accepted {
        stream,
        peer,
        permit,
        ..
    } = accepted;
    let transport = tokio::select! {
        () = stop.wait() => return Ok(()),
        accepted = acceptor.accept(stream, Start::Direct, limits.patience) => accepted?,
    };
    let connection = Connection { transport, permit };
    let moved = Moved::default();
    let counting = moved.clone();
    let service = service_fn(move |request| {
        let (site, moved) = (Arc::clone(&site), counting.clone());
        let visitor = exchange::Visitor {
            peer,
            limits,
            moved,
        };
        async move { Ok::<_, hyper::Error>(exchange::answer(&*site, request, visitor).await) }
    });
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.patience)
        .max_buf_size(limits.head_bytes.max(HEAD_LEAST))
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(connection), service)
        .with_upgrades();
    let mut serving = pin!(serving);
    let end = tokio::time::sleep(limits.connection);
    let mut end = pin!(end);
    let mut stopping = false;
    loop {
        tokio::select! {
            served = &mut serving => return Ok(served?),
            () = &mut end => {
                if moved.take() < MOVING_OCTETS {
                    return Err(Left::Long(limits.connection));
                }
                end.as_mut().reset(tokio::time::Instant::now() + MOVING);
            }
            () = stop.wait(), if !stopping => {
                stopping = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}
