//! A client's stream as it goes over the socket: for plays that look at every element themselves.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use comity_xmpp::frame::{Limits, TcpFraming};
use comity_xmpp::machine::Frame;
use openssl::ssl::{SslConnector, SslMethod, SslStream};

/// How long one read waits for something.
pub const TICK: Duration = Duration::from_millis(5);
/// How long an answer may take before the connection is given up.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The connection is lost.
#[derive(Debug)]
pub struct Lost;

pub type Outcome<T = ()> = Result<T, Lost>;

impl From<std::io::Error> for Lost {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

/// Who logs in, and whom they believe.
#[derive(Clone, Copy, Debug)]
pub struct Login<'a> {
    pub domain: &'a str,
    pub name: &'a str,
    pub password: &'a str,
    pub authority: &'a Path,
}

/// A connection, and what has come over it.
pub struct Raw {
    stream: SslStream<TcpStream>,
    framing: TcpFraming,
    frames: VecDeque<Frame>,
}

impl Raw {
    /// Logs in with PLAIN inside TLS; binds nothing.
    pub fn login(address: SocketAddr, login: Login<'_>) -> Outcome<Self> {
        let socket = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        Self::login_over(socket, login)
    }

    /// The same over a connection on which something was said already.
    pub fn login_over(mut socket: TcpStream, login: Login<'_>) -> Outcome<Self> {
        let header = header(login.domain);
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.write_all(header.as_bytes())?;
        until(&mut socket, "</stream:features>")?;
        socket.write_all(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")?;
        until(&mut socket, "/>")?;
        let mut connector = SslConnector::builder(SslMethod::tls()).map_err(|_| Lost)?;
        connector.set_ca_file(login.authority).map_err(|_| Lost)?;
        let connector = connector.build();
        let stream = connector.connect(login.domain, socket).map_err(|_| Lost)?;
        stream.get_ref().set_read_timeout(Some(TICK))?;
        let mut raw = Self {
            stream,
            framing: framing(),
            frames: VecDeque::new(),
        };
        raw.say(&header)?;
        raw.features()?;
        let plain = format!("\0{}\0{}", login.name, login.password);
        let plain = base64::engine::general_purpose::STANDARD.encode(plain);
        raw.say(&format!(
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{plain}</auth>"
        ))?;
        let answer = raw.element()?;
        if !answer.starts_with("<success") {
            return Err(Lost);
        }
        raw.framing = framing();
        raw.say(&header)?;
        raw.features()?;
        Ok(raw)
    }

    pub fn say(&mut self, text: &str) -> Outcome {
        Ok(self.stream.write_all(text.as_bytes())?)
    }

    /// Takes in what has come; whether there was something.
    pub fn fill(&mut self) -> Outcome<bool> {
        let mut bytes = [0; 16 * 1024];
        let count = match self.stream.read(&mut bytes) {
            Ok(0) => return Err(Lost),
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Ok(false);
            }
            Err(_) => return Err(Lost),
        };
        self.framing.buffer().extend_from_slice(&bytes[..count]);
        while let Some(frame) = self.framing.next_frame() {
            self.frames.push_back(frame);
        }
        Ok(true)
    }

    /// What has come and was not looked at; `None` is the end of the stream.
    pub fn came(&mut self) -> Option<Option<String>> {
        match self.frames.pop_front()? {
            Frame::Element(bytes) => Some(Some(String::from_utf8_lossy(&bytes).into_owned())),
            _ => Some(None),
        }
    }

    fn frame(&mut self) -> Outcome<Frame> {
        let until = Instant::now() + PATIENCE;
        while self.frames.is_empty() {
            if Instant::now() > until {
                return Err(Lost);
            }
            self.fill()?;
        }
        self.frames.pop_front().ok_or(Lost)
    }

    /// Waits for an element.
    pub fn element(&mut self) -> Outcome<String> {
        match self.frame()? {
            Frame::Element(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            _ => Err(Lost),
        }
    }

    /// The header of the stream, and what it offers.
    fn features(&mut self) -> Outcome {
        match self.frame()? {
            Frame::Open(_) => self.element().map(drop),
            _ => Err(Lost),
        }
    }
}

fn header(domain: &str) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream to='{domain}' version='1.0' xmlns='jabber:client' \
         xmlns:stream='http://etherx.jabber.org/streams'>"
    )
}

fn framing() -> TcpFraming {
    TcpFraming::new(Limits {
        element_bytes: 1 << 20,
        depth: 64,
        attributes: 64,
        name_bytes: 1024,
    })
}

/// Reads, before TLS, up to this.
fn until(socket: &mut TcpStream, end: &str) -> Outcome {
    let mut read = String::new();
    let mut bytes = [0; 1024];
    while !read.contains(end) {
        let count = socket.read(&mut bytes)?;
        if count == 0 {
            return Err(Lost);
        }
        read.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    Ok(())
}

/// What stands between two texts.
#[must_use]
pub fn inside<'t>(text: &'t str, before: &str, behind: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(behind).map(|(inside, _)| inside)
}
