//! A client that costs next to nothing: it logs in by the book, and from then on looks at octets
//! only to count messages.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use comity_xmpp::sasl::Hash;
use comity_xmpp::sasl::client::{Requested, Scram};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::contender::{Contender, DOMAIN, Kind, PASSWORD, user};

const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
/// No answer that is waited for is longer.
const ANSWER: usize = 512 << 10;

fn open(domain: &str) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
         xmlns:stream='http://etherx.jabber.org/streams' version='1.0' to='{domain}'>"
    )
}

/// Where people log in.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    pub(crate) domain: String,
    pub(crate) tls: Arc<ClientConfig>,
}

/// A logged-in session, or one end of a pair of the relay's.
pub(crate) struct Client {
    pub(crate) stream: TlsStream<TcpStream>,
    /// What has been read and not yet looked at.
    rest: Vec<u8>,
}

impl Client {
    /// One of the relay's connections; two with the same number are a pair.
    pub(crate) async fn paired(contender: &Contender, pair: usize) -> Result<Self, Box<dyn Error>> {
        let tcp = TcpStream::connect(contender.address).await?;
        let mut this = Self::secured(&contender.door(), tcp).await?;
        this.write(&format!("{pair}\n")).await?;
        Ok(this)
    }

    /// A session of an account, which is available.
    pub(crate) async fn login(
        contender: &Contender,
        account: usize,
        resource: &str,
    ) -> Result<Self, Box<dyn Error>> {
        Self::enter(&contender.door(), &user(account), resource).await
    }

    /// The same, wherever the door is.
    pub(crate) async fn enter(
        door: &Door,
        user: &str,
        resource: &str,
    ) -> Result<Self, Box<dyn Error>> {
        let open = open(&door.domain);
        let mut tcp = TcpStream::connect(door.address).await?;
        tcp.set_nodelay(true)?;
        let mut read = Vec::new();
        tcp.write_all(open.as_bytes()).await?;
        until(&mut tcp, &mut read, "</stream:features>").await?;
        tcp.write_all(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
            .await?;
        until(&mut tcp, &mut read, "<proceed").await?;
        let mut this = Self::secured(door, tcp).await?;
        this.authenticate(&open, user).await?;
        this.write(&open).await?;
        this.until("</stream:features>").await?;
        this.write(&format!(
            "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
             <resource>{resource}</resource></bind></iq>"
        ))
        .await?;
        this.until("</iq>").await?;
        this.write("<presence/>").await?;
        this.until("<presence").await?;
        Ok(this)
    }

    async fn secured(door: &Door, tcp: TcpStream) -> Result<Self, Box<dyn Error>> {
        tcp.set_nodelay(true)?;
        let connector = TlsConnector::from(Arc::clone(&door.tls));
        let name = ServerName::try_from(door.domain.clone())?;
        Ok(Self {
            stream: connector.connect(name, tcp).await?,
            rest: Vec::new(),
        })
    }

    async fn authenticate(&mut self, open: &str, user: &str) -> Result<(), Box<dyn Error>> {
        self.write(open).await?;
        let features = self.until("</stream:features>").await?;
        let (hash, name) = match features.contains(">SCRAM-SHA-256<") {
            true => (Hash::Sha256, "SCRAM-SHA-256"),
            false => (Hash::Sha1, "SCRAM-SHA-1"),
        };
        let (scram, first) = Scram::new(hash, user, PASSWORD, user, &Requested::Unsupported)?;
        let first = STANDARD.encode(first);
        self.write(&format!(
            "<auth xmlns='{SASL}' mechanism='{name}'>{first}</auth>"
        ))
        .await?;
        let challenge = self.until("</challenge>").await?;
        let (expect, proof) = scram.respond(&content(&challenge)?)?;
        let proof = STANDARD.encode(proof);
        self.write(&format!("<response xmlns='{SASL}'>{proof}</response>"))
            .await?;
        let success = self.until("</success>").await?;
        Ok(expect.verify(&content(&success)?)?)
    }

    pub(crate) async fn write(&mut self, text: &str) -> io::Result<()> {
        self.stream.write_all(text.as_bytes()).await?;
        self.stream.flush().await
    }

    /// Reads to the end of an element, whose name nothing before it has.
    pub(crate) async fn until(&mut self, end: &str) -> io::Result<String> {
        until(&mut self.stream, &mut self.rest, end).await
    }

    /// For the many: what comes now is only counted.
    pub(crate) fn into_stream(self) -> TlsStream<TcpStream> {
        self.stream
    }
}

async fn until(
    stream: &mut (impl AsyncReadExt + Unpin),
    rest: &mut Vec<u8>,
    end: &str,
) -> io::Result<String> {
    loop {
        let text = String::from_utf8_lossy(rest).into_owned();
        if let Some(at) = text.find(end) {
            let length = at + end.len();
            rest.drain(..length);
            return Ok(text[..length].to_owned());
        }
        if text.contains("<failure") || text.contains("stream:error") || rest.len() > ANSWER {
            return Err(io::Error::other(format!("no {end}, but {text}")));
        }
        if stream.read_buf(rest).await? == 0 {
            return Err(io::Error::other(format!("the stream ended with {text}")));
        }
    }
}

/// What SASL's element holds.
fn content(element: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let inner = element.rsplit_once("</").map_or("", |(inner, _)| inner);
    let inner = inner.rsplit_once('>').map_or("", |(_, inner)| inner);
    Ok(STANDARD.decode(inner.trim())?)
}

/// Counts what is to be seen in a stream, across reads.
pub(crate) struct Counter {
    mark: &'static [u8],
    matched: usize,
}

impl Counter {
    /// Of messages that have ended.
    pub(crate) fn of_messages() -> Self {
        Self::of(b"</message>")
    }

    /// `mark` begins with `<`, which is nowhere else in it.
    pub(crate) fn of(mark: &'static [u8]) -> Self {
        Self { mark, matched: 0 }
    }

    pub(crate) fn count(&mut self, octets: &[u8]) -> usize {
        let mut count = 0;
        for octet in octets {
            if *octet == self.mark[self.matched] {
                self.matched += 1;
                if self.matched == self.mark.len() {
                    self.matched = 0;
                    count += 1;
                }
            } else {
                self.matched = usize::from(*octet == b'<');
            }
        }
        count
    }
}

/// Two that talk to each other; the accounts are theirs alone.
pub(crate) async fn pair(
    contender: &Contender,
    n: usize,
) -> Result<[(Client, String); 2], Box<dyn Error>> {
    let mut ends = Vec::with_capacity(2);
    for (mine, other) in [(2 * n, 2 * n + 1), (2 * n + 1, 2 * n)] {
        let client = match contender.kind {
            Kind::Relay => Client::paired(contender, n).await?,
            _ => Client::login(contender, mine, "bench").await?,
        };
        ends.push((client, message(other, DOMAIN)));
    }
    ends.try_into().map_err(|_| "a pair has two ends".into())
}

/// What everybody says: some 100 characters.
pub(crate) const WORDS: &str = "Two households, both alike in dignity, in fair Verona, where we lay \
     our scene, from ancient grudge";

/// A message to an account's session.
pub(crate) fn message(to: usize, domain: &str) -> String {
    let to = user(to);
    format!("<message to='{to}@{domain}/bench' type='chat' id='m1'><body>{WORDS}</body></message>")
}
