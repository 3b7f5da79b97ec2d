//! The TXT record of dns-01 (RFC 8555 §8.4), published by an update of the DNS (RFC 2136) under
//! TSIG (RFC 8945).

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use hickory_proto::op::{Message, ResponseCode, update_message};
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;
use hickory_proto::rr::{Name, RData, Record, RecordSet, TSigner};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::AcmeError;

/// For connecting and for the answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// Seconds a record may be remembered by others.
const TTL: u32 = 60;
/// Seconds our clock may differ from the server's (RFC 8945 §10).
const FUDGE: u16 = 300;

/// Where updates go, and with which key.
#[derive(Clone, Debug)]
pub struct Update {
    pub server: SocketAddr,
    /// The zone; the domain's name where there is none.
    pub zone: Option<String>,
    /// The name of the key.
    pub key: String,
    pub algorithm: Algorithm,
    pub secret: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    HmacSha256,
    HmacSha384,
    HmacSha512,
}

/// What was published.
pub(super) struct Published {
    update: Update,
    zone: Name,
    record: Record,
}

pub(super) async fn publish(
    update: &Update,
    domain: &str,
    record: &str,
    value: &str,
) -> Result<Published, AcmeError> {
    let fault = |why: &dyn std::fmt::Display| AcmeError::Update {
        server: update.server,
        why: why.to_string(),
    };
    let zone = absolute(update.zone.as_deref().unwrap_or(domain)).map_err(|e| fault(&e))?;
    let name = absolute(record).map_err(|e| fault(&e))?;
    let record = Record::from_rdata(name, TTL, RData::TXT(TXT::new(vec![value.to_owned()])));
    let published = Published {
        update: update.clone(),
        zone,
        record,
    };
    published.send(true).await.map_err(|e| fault(&e))?;
    Ok(published)
}

fn absolute(name: &str) -> Result<Name, hickory_proto::ProtoError> {
    let mut name = Name::from_ascii(name)?;
    name.set_fqdn(true);
    Ok(name)
}

impl Published {
    pub(super) async fn withdraw(self) {
        if let Err(error) = self.send(false).await {
            tracing::warn!(%error, record = %self.record.name, "a record of ACME stays in the DNS");
        }
    }

    async fn send(&self, present: bool) -> Result<(), io::Error> {
        let set = RecordSet::from(self.record.clone());
        let zone = self.zone.clone();
        let mut message = match present {
            // Others of the name stay: another order may be under way.
            true => update_message::append(set, zone, false, false),
            false => update_message::delete_by_rdata(set, zone, false),
        };
        let signer = self.signer().map_err(io::Error::other)?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_err(io::Error::other)?.as_secs();
        message.finalize(&signer, now).map_err(io::Error::other)?;
        let bytes = message.to_vec().map_err(io::Error::other)?;
        let answer = tokio::time::timeout(PATIENCE, exchange(self.update.server, &bytes)).await;
        let answer = answer.map_err(|_| io::Error::other("it does not answer"))??;
        let answer = Message::from_vec(&answer).map_err(io::Error::other)?;
        match answer.metadata.response_code {
            ResponseCode::NoError => Ok(()),
            refused => Err(io::Error::other(format!("{refused} ({})", hint(refused)))),
        }
    }

    fn signer(&self) -> Result<TSigner, String> {
        let algorithm = match self.update.algorithm {
            Algorithm::HmacSha256 => TsigAlgorithm::HmacSha256,
            Algorithm::HmacSha384 => TsigAlgorithm::HmacSha384,
            Algorithm::HmacSha512 => TsigAlgorithm::HmacSha512,
        };
        let key = absolute(&self.update.key).map_err(|error| error.to_string())?;
        TSigner::new(self.update.secret.clone(), algorithm, key, FUDGE)
            .map_err(|error| error.to_string())
    }
}

fn hint(code: ResponseCode) -> &'static str {
    match code {
        ResponseCode::NotAuth => "is the key's name, algorithm and secret right, and the clock?",
        ResponseCode::NotZone => "is the record in the zone that update.zone names?",
        ResponseCode::Refused => "may this key change this record?",
        _ => "see the name server's log",
    }
}

/// RFC 1035 §4.2.2.
async fn exchange(server: SocketAddr, message: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(message).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}
