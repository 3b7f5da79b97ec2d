//! HTTPS, as far as files need it: one request on a connection of its own, over the proxy if there is
//! one, with the same authorities as the session. What others name is reached on the Internet alone.

use std::path::Path;
use std::time::Duration;

use comity_net::connect::{self, Dial};
use comity_net::dns::Dns;
use comity_net::dns::order::Start;
use comity_net::http::{Body, PieceSender};
use comity_net::tls::connect::Connector;
use comity_net::tls::roots::Roots;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::slot::Slot;
use crate::connection::Options;

/// For an address, for the handshake, for the next octets.
const PATIENCE: Duration = Duration::from_secs(30);
/// Octets in a second that a file has to move at least.
const SLOWEST: u64 = 2 * 1024;
/// Octets read at a time.
const PIECE: usize = 64 * 1024;
/// Characters of a server's words that are shown.
const MAX_WORDS: usize = 300;

/// Why a file did not go or come over HTTPS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebError {
    #[error("{0:?} is no https URL")]
    Url(String),
    #[error("{host} cannot be reached: {why}")]
    Unreachable { host: String, why: String },
    #[error("{host}: TLS cannot be used: {why}")]
    Tls { host: String, why: String },
    #[error("{host} says {status}: {words}")]
    Said {
        host: String,
        status: u16,
        words: String,
    },
    #[error("the file is no longer there: servers keep files for some weeks")]
    Gone,
    #[error("{host} sends more than the file has")]
    TooMuch { host: String },
    #[error("the connection to {host} broke: {why}")]
    Broken { host: String, why: String },
    #[error("{host} is too slow")]
    Slow { host: String },
    #[error("the file cannot be read or written here: {0}")]
    Disk(#[from] std::io::Error),
}

/// How files travel.
pub struct Web {
    connector: Connector,
    options: Options,
}

/// Where a URL leads.
struct Place {
    uri: Uri,
    host: String,
    port: u16,
}

impl Place {
    fn of(url: &str) -> Result<Self, WebError> {
        let wrong = || WebError::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let host = uri.host().map(str::to_owned);
        match (uri.scheme_str(), host) {
            (Some("https"), Some(host)) if !host.is_empty() => Ok(Self {
                port: uri.port_u16().unwrap_or(443),
                uri,
                host,
            }),
            _ => Err(wrong()),
        }
    }

    fn broken(&self, why: &dyn std::fmt::Display) -> WebError {
        WebError::Broken {
            host: self.host.clone(),
            why: why.to_string(),
        }
    }
}

impl Web {
    /// # Errors
    /// Authorities that cannot be read.
    pub fn new(options: &Options) -> Result<Self, WebError> {
        let tls = |why: &dyn std::fmt::Display| WebError::Tls {
            host: "TLS".to_owned(),
            why: why.to_string(),
        };
        let roots = Roots::load(true, &options.extra_roots).map_err(|why| tls(&why))?;
        Ok(Self {
            connector: Connector::for_client(roots).map_err(|why| tls(&why))?,
            options: options.clone(),
        })
    }

    /// Puts a file where the slot says.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub async fn put(&self, slot: &Slot, file: &Path, octets: u64) -> Result<(), WebError> {
        let place = Place::of(&slot.put)?;
        let (pieces, body) = Body::pieces(octets);
        let mut request = Request::put(path(&place)).body(body);
        if let Ok(request) = &mut request {
            for (name, value) in &slot.fields {
                let name = HeaderName::from_bytes(name.as_bytes());
                let value = HeaderValue::from_str(value);
                if let (Ok(name), Ok(value)) = (name, value) {
                    request.headers_mut().insert(name, value);
                }
            }
            let kind = HeaderValue::from_static("application/octet-stream");
            request.headers_mut().insert(CONTENT_TYPE, kind);
            request.headers_mut().insert(CONTENT_LENGTH, octets.into());
        }
        let request = request.map_err(|why| place.broken(&why))?;
        let file = tokio::fs::File::open(file).await?;
        let reading = tokio::spawn(read_out(file, octets, pieces));
        let limit = PATIENCE * 2 + Duration::from_secs(octets / SLOWEST);
        let answered = tokio::time::timeout(limit, self.exchange(&place, request)).await;
        reading.abort();
        let (response, _carrier) = answered.map_err(|_| WebError::Slow {
            host: place.host.clone(),
        })??;
        match response.status() {
            StatusCode::CREATED | StatusCode::OK | StatusCode::NO_CONTENT => Ok(()),
            _ => Err(said(&place, response).await),
        }
    }

    /// Fetches what is there into a file, `most` octets at most.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub async fn get(&self, url: &str, to: &Path, most: u64) -> Result<(), WebError> {
        let place = Place::of(url)?;
        let request = Request::get(path(&place)).body(Body::from(bytes::Bytes::new()));
        let request = request.map_err(|why| place.broken(&why))?;
        let slow = || WebError::Slow {
            host: place.host.clone(),
        };
        let exchange = self.exchange(&place, request);
        let answered = tokio::time::timeout(PATIENCE * 2, exchange).await;
        let (mut response, _carrier) = answered.map_err(|_| slow())??;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND | StatusCode::GONE => return Err(WebError::Gone),
            _ => return Err(said(&place, response).await),
        }
        let mut file = tokio::fs::OpenOptions::new().write(true).open(to).await?;
        let mut come = 0_u64;
        loop {
            let frame = tokio::time::timeout(PATIENCE, response.body_mut().frame()).await;
            let Some(frame) = frame.map_err(|_| slow())? else {
                break;
            };
            let frame = frame.map_err(|why| place.broken(&why))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            come = come.saturating_add(data.len() as u64);
            if come > most {
                return Err(WebError::TooMuch {
                    host: place.host.clone(),
                });
            }
            file.write_all(&data).await?;
        }
        Ok(file.flush().await?)
    }

    /// One request and the head of its answer; the connection lives as long as the second is held.
    async fn exchange(
        &self,
        place: &Place,
        mut request: Request<Body>,
    ) -> Result<(Response<Incoming>, Carrier), WebError> {
        let transport = self.reach(place).await?;
        let shaken = hyper::client::conn::http1::handshake(TokioIo::new(transport)).await;
        let (mut sender, connection) = shaken.map_err(|why| place.broken(&why))?;
        let carrier = Carrier(tokio::spawn(async move {
            // What went wrong is told to whoever waits for the answer.
            let _ = connection.await;
        }));
        let authority = place
            .uri
            .authority()
            .map_or("", |authority| authority.as_str());
        let authority = HeaderValue::from_str(authority).map_err(|why| place.broken(&why))?;
        request.headers_mut().insert(HOST, authority);
        // No version, no system: others learn nothing of who fetches.
        let agent = HeaderValue::from_static("comity-chat");
        request.headers_mut().insert(USER_AGENT, agent);
        let response = sender.send_request(request).await;
        Ok((response.map_err(|why| place.broken(&why))?, carrier))
    }

    /// TLS to the host that the URL names. Where one's own server was named as an endpoint, its own
    /// files are there as well.
    async fn reach(&self, place: &Place) -> Result<comity_net::transport::Transport, WebError> {
        let host = place.host.trim_start_matches('[').trim_end_matches(']');
        let own = host == self.options.login.account.domain();
        let dial = Dial {
            patience: PATIENCE,
            // Whoever sends a link is not to have us knock at doors inside our own network.
            private: own,
        };
        let endpoint = self.options.endpoint.as_ref().filter(|_| own);
        let at = endpoint.map_or(host, |endpoint| endpoint.host.as_str());
        let unreachable = |why: String| WebError::Unreachable {
            host: place.host.clone(),
            why,
        };
        let stream = match &self.options.proxy {
            Some(proxy) => proxy.connect(at, place.port, dial).await,
            None => match connect::tcp(&Dns::system(), at, place.port, dial).await {
                Err(connect::Unreachable::Private { address, kind, .. }) => Err(format!(
                    "it is at {address}, a {kind} address, where only your own server's files are \
                     fetched from"
                )),
                other => other.map_err(|why| why.to_string()),
            },
        };
        let stream = stream.map_err(unreachable)?;
        let connected = self
            .connector
            .connect(stream, host, Start::StartTls, PATIENCE);
        connected.await.map_err(|why| WebError::Tls {
            host: place.host.clone(),
            why: why.to_string(),
        })
    }
}

/// The task that carries a connection; ends with what it is for.
struct Carrier(tokio::task::JoinHandle<()>);

impl Drop for Carrier {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// RFC 9112 §3.2.1: to an origin server, the path alone.
fn path(place: &Place) -> &str {
    place.uri.path_and_query().map_or("/", |path| path.as_str())
}

async fn said(place: &Place, response: Response<Incoming>) -> WebError {
    let status = response.status();
    let mut body = http_body_util::Limited::new(response.into_body(), 4 * MAX_WORDS);
    let first = tokio::time::timeout(PATIENCE, body.frame()).await;
    let first = first.ok().flatten().and_then(Result::ok);
    let first = first.and_then(|frame| frame.into_data().ok());
    let words = String::from_utf8_lossy(&first.unwrap_or_default()).into_owned();
    let words: String = words
        .lines()
        .next()
        .unwrap_or("")
        .chars()
        .take(MAX_WORDS)
        .collect();
    WebError::Said {
        host: place.host.clone(),
        status: status.as_u16(),
        words: match words.is_empty() {
            true => status.canonical_reason().unwrap_or("no reason").to_owned(),
            false => words,
        },
    }
}

async fn read_out(mut file: tokio::fs::File, octets: u64, to: PieceSender) {
    let mut left = octets;
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let mut piece = vec![0; most];
        match file.read(&mut piece).await {
            // The body is short then, and breaks.
            Ok(0) => return,
            Ok(read) => {
                piece.truncate(read);
                left -= read as u64;
                if to.send(Ok(piece.into())).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                let _ = to.send(Err(error)).await;
                return;
            }
        }
    }
}
