//! How requests get to the authority: our lookups, our TLS, one connection for each. An order is a
//! dozen of them, and rare.

use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::{ClientConfig, version};
use rustls_pki_types::ServerName;
use tokio_rustls::TlsConnector;

use crate::connect::{self, Dial};
use crate::dns::Lookup;
use crate::tls::{Roots, TlsError, provider};

/// For each address, and for each answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// The operator has named the authority; it may be a neighbour.
const DIAL: Dial = Dial {
    patience: PATIENCE,
    private: true,
};
/// Octets of an answer: a chain of certificates is the largest.
const ANSWER_LIMIT: usize = 1 << 20;

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Client {
    lookup: Arc<dyn Lookup>,
    tls: TlsConnector,
}

type Fault = Box<dyn StdError + Send + Sync>;

impl Client {
    pub(super) fn new(lookup: Arc<dyn Lookup>, roots: Roots) -> Result<Self, TlsError> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])?
            .with_root_certificates(roots.0)
            .with_no_client_auth();
        Ok(Self {
            lookup,
            tls: Arc::new(config).into(),
        })
    }

    async fn exchange(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Result<Response<Full<Bytes>>, Fault> {
        let (host, port) = place(request.uri())?;
        let tcp = connect::tcp(&*self.lookup, &host, port, DIAL).await?;
        let bare = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let tls = self.tls.connect(ServerName::try_from(bare)?, tcp).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(tls)).await?;
        let connection = tokio::spawn(connection);
        let (mut parts, body) = request.into_parts();
        let authority = parts
            .uri
            .authority()
            .map(ToString::to_string)
            .unwrap_or_default();
        // RFC 9112 §3.2.1: to an origin server, the path alone.
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        parts.uri = path.parse()?;
        parts
            .headers
            .insert(hyper::header::HOST, authority.parse()?);
        let agent =
            hyper::header::HeaderValue::from_static(concat!("comity/", env!("CARGO_PKG_VERSION")));
        // RFC 8555 §6.1.
        parts.headers.insert(hyper::header::USER_AGENT, agent);
        let response = sender
            .send_request(Request::from_parts(parts, body))
            .await?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_LIMIT).collect().await?.to_bytes();
        connection.abort();
        Ok(Response::from_parts(parts, Full::new(body)))
    }
}

fn place(uri: &Uri) -> Result<(String, u16), Fault> {
    match (uri.scheme_str(), uri.host()) {
        (Some("https"), Some(host)) => Ok((host.to_owned(), uri.port_u16().unwrap_or(443))),
        // RFC 8555 §6.1.
        _ => Err(format!("{uri} is no https URL").into()),
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let this = self.clone();
        Box::pin(async move {
            match tokio::time::timeout(PATIENCE, this.exchange(request)).await {
                Ok(Ok(response)) => Ok(BytesResponse::from(response)),
                Ok(Err(fault)) => Err(Error::Other(fault)),
                Err(_) => Err(Error::Str("the authority does not answer")),
            }
        })
    }
}
