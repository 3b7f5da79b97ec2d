//! Certificates by ACME (RFC 8555): one order from its challenge to its certificate. When to ask
//! again, and where certificates lie, is `server`'s business.

mod account;
mod client;
mod csr;
mod dns_01;
mod hook;
mod http_01;
mod renewal;
mod tls_alpn_01;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    AuthorizationHandle, AuthorizationStatus, ChallengeType, Identifier, NewOrder, Order,
    OrderStatus, RetryPolicy,
};

use tokio::task::JoinHandle;

use crate::dns::Lookup;
use crate::reflect::Unreflected;
use crate::tls::{self, Roots, TlsError};

pub use dns_01::{Algorithm, Update};
pub use renewal::due;

/// How long an authority may take to look at the challenge, and then to sign.
const PATIENCE: Duration = Duration::from_secs(120);

/// With whom, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The URL of the authority's directory.
    pub directory: String,
    /// `mailto:` URLs.
    pub contact: Vec<String>,
    pub challenge: Challenge,
    /// Where the account's key is kept.
    pub account: PathBuf,
}

/// How a domain is proved to be ours.
#[derive(Clone, Debug)]
pub enum Challenge {
    Http01,
    TlsAlpn01,
    Update(Update),
    /// A program that publishes TXT records.
    Hook(PathBuf),
}

/// A key and the certificate that was signed for it.
pub struct Obtained {
    /// The certificate and those that lead to its authority, then the private key: one file, so
    /// that nobody ever sees one without the other.
    pub pem: String,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    #[error("the account in {}: {why}", path.display())]
    Account { path: PathBuf, why: String },
    #[error("the authority says: {0}")]
    Authority(String),
    #[error("the authority could not be convinced: {0}")]
    Invalid(String),
    #[error("the authority offers no {0} for this domain")]
    NotOffered(&'static str),
    #[error("port {port} cannot be opened for the challenge: {why}")]
    Port { port: u16, why: Unreflected },
    #[error("the name server {server} did not take the record: {why}")]
    Update { server: SocketAddr, why: String },
    #[error("the hook {}: {why}", program.display())]
    Hook { program: PathBuf, why: String },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("a key or request could not be made: {0}")]
    Make(#[from] openssl::error::ErrorStack),
}

impl From<instant_acme::Error> for AcmeError {
    fn from(error: instant_acme::Error) -> Self {
        Self::Authority(error.to_string())
    }
}

/// Proves to the authority that `domain` is ours, and gets a certificate for it.
///
/// # Errors
/// Why there is none.
pub async fn obtain(
    settings: &Settings,
    domain: &str,
    lookup: Arc<dyn Lookup>,
    roots: Roots,
) -> Result<Obtained, AcmeError> {
    let name = tls::ascii(domain)?;
    let client = client::Client::new(lookup, roots)?;
    let account = account::open(settings, client).await?;
    let identifiers = [Identifier::Dns(name.clone())];
    let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
    prove(settings, &name, &mut order).await?;
    let (key, csr) = csr::make(&name)?;
    order.finalize_csr(&csr).await?;
    let chain = order.poll_certificate(&patience()).await?;
    Ok(Obtained {
        pem: format!("{}\n{key}", chain.trim_end()),
    })
}

fn patience() -> RetryPolicy {
    RetryPolicy::new()
        .initial_delay(Duration::from_millis(500))
        .timeout(PATIENCE)
}

async fn prove(settings: &Settings, name: &str, order: &mut Order) -> Result<(), AcmeError> {
    let mut kept = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let authorization = authorization?;
        match authorization.status {
            AuthorizationStatus::Valid => {}
            AuthorizationStatus::Pending => {
                kept.push(challenge(settings, name, authorization).await?);
            }
            other => {
                return Err(AcmeError::Invalid(format!(
                    "its authorization is {other:?}"
                )));
            }
        }
    }
    let status = order.poll_ready(&patience()).await;
    for kept in kept {
        kept.withdraw().await;
    }
    match status {
        Ok(OrderStatus::Ready | OrderStatus::Valid) => Ok(()),
        Ok(_) => Err(AcmeError::Invalid(reason(order).await)),
        Err(error) => Err(error.into()),
    }
}

/// What the authority found wrong with the challenges.
async fn reason(order: &mut Order) -> String {
    let mut reasons = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        // What was read before the challenge was tried tells nothing.
        let _ = authorization.refresh().await;
        let errors = authorization
            .challenges
            .iter()
            .filter_map(|c| c.error.as_ref());
        reasons.extend(errors.map(ToString::to_string));
    }
    match reasons.is_empty() {
        true => "it gives no reason".to_owned(),
        false => reasons.join("; "),
    }
}

/// What has to be there while the authority looks.
enum Kept {
    Port(Answering),
    Record(Box<dns_01::Published>),
    Hook(hook::Published),
}

impl Kept {
    async fn withdraw(self) {
        match self {
            Self::Port(answering) => answering.stop().await,
            Self::Record(published) => published.withdraw().await,
            Self::Hook(published) => published.withdraw().await,
        }
    }
}

/// A port that answers, while this is there.
struct Answering(JoinHandle<()>);

impl Answering {
    fn of(task: JoinHandle<()>) -> Self {
        Self(task)
    }

    async fn stop(mut self) {
        self.0.abort();
        // It ends as aborted; the port is free then.
        let _ = (&mut self.0).await;
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn challenge(
    settings: &Settings,
    name: &str,
    mut authorization: AuthorizationHandle<'_>,
) -> Result<Kept, AcmeError> {
    let (kind, shown) = match settings.challenge {
        Challenge::Http01 => (ChallengeType::Http01, "http-01"),
        Challenge::TlsAlpn01 => (ChallengeType::TlsAlpn01, "tls-alpn-01"),
        Challenge::Update(_) | Challenge::Hook(_) => (ChallengeType::Dns01, "dns-01"),
    };
    let found = authorization.challenge(kind);
    let mut challenge = found.ok_or(AcmeError::NotOffered(shown))?;
    let proof = challenge.key_authorization();
    let record = format!("_acme-challenge.{name}");
    let kept = match &settings.challenge {
        Challenge::Http01 => Kept::Port(http_01::answer(&challenge.token, proof.as_str()).await?),
        Challenge::TlsAlpn01 => {
            Kept::Port(tls_alpn_01::answer(name, proof.digest().as_ref()).await?)
        }
        Challenge::Update(update) => {
            let published = dns_01::publish(update, name, &record, &proof.dns_value()).await?;
            Kept::Record(Box::new(published))
        }
        Challenge::Hook(program) => {
            Kept::Hook(hook::publish(program, &record, &proof.dns_value()).await?)
        }
    };
    if let Err(error) = challenge.set_ready().await {
        kept.withdraw().await;
        return Err(error.into());
    }
    Ok(kept)
}
