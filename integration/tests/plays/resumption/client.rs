//! A client that does what XEP-0198 asks of one, and comes back whenever its connection is lost.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use comity_xmpp::frame::{Limits, TcpFraming};
use comity_xmpp::machine::Frame;
use openssl::ssl::{SslConnector, SslMethod, SslStream};

/// How long everything may take.
const LIMIT: Duration = Duration::from_secs(180);
/// How long one read waits for something.
const TICK: Duration = Duration::from_millis(5);
/// How long an answer may take before the connection is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// Stanzas sent and not acknowledged.
const WINDOW: usize = 40;
const SM: &str = "urn:xmpp:sm:3";

/// What all of them do together; people talk with their neighbours.
pub(super) struct Talk {
    /// Nobody begins another message.
    pub(super) done: AtomicBool,
    /// How many messages each has said in all, once that is known.
    pub(super) said: Vec<AtomicUsize>,
    /// How often somebody has come, or come back.
    pub(super) come: AtomicUsize,
}

impl Talk {
    pub(super) fn of(people: usize) -> Self {
        Self {
            done: AtomicBool::new(false),
            said: (0..people).map(|_| AtomicUsize::new(usize::MAX)).collect(),
            come: AtomicUsize::new(0),
        }
    }
}

/// What has become of a client.
pub(super) struct Report {
    /// The numbers it has heard, in order.
    pub(super) heard: Vec<usize>,
    pub(super) resumed: usize,
    pub(super) refused: usize,
}

pub(super) struct Client {
    address: SocketAddr,
    domain: String,
    name: String,
    password: String,
    authority: PathBuf,
    /// What the server calls the session.
    id: Option<String>,
    /// Stanzas of the server that have come.
    handled: u32,
    /// Stanzas of ours that the server has acknowledged, and those it has not.
    acknowledged: u32,
    unacked: VecDeque<String>,
    next: usize,
    report: Report,
}

/// A connection, and what has come over it.
struct Wire {
    stream: SslStream<TcpStream>,
    framing: TcpFraming,
    frames: VecDeque<Frame>,
}

/// The connection is lost.
struct Lost;

type Outcome<T = ()> = Result<T, Lost>;

impl From<std::io::Error> for Lost {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

impl Client {
    pub(super) fn new(
        address: SocketAddr,
        domain: &str,
        name: &str,
        password: &str,
        authority: &Path,
    ) -> Self {
        Self {
            address,
            domain: domain.to_owned(),
            name: name.to_owned(),
            password: password.to_owned(),
            authority: authority.to_owned(),
            id: None,
            handled: 0,
            acknowledged: 0,
            unacked: VecDeque::new(),
            next: 0,
            report: Report {
                heard: Vec::new(),
                resumed: 0,
                refused: 0,
            },
        }
    }

    /// Says messages until it is done, and hears what the other says; then leaves.
    pub(super) fn talk(mut self, n: usize, to: &str, pace: Duration, talk: &Talk) -> Report {
        let until = Instant::now() + LIMIT;
        while Instant::now() < until {
            let Ok(mut wire) = self.come() else {
                std::thread::sleep(TICK);
                continue;
            };
            talk.come.fetch_add(1, Ordering::Relaxed);
            if self.go_on(&mut wire, n, to, pace, talk).is_ok() {
                return self.report;
            }
        }
        self.report
    }

    fn go_on(
        &mut self,
        wire: &mut Wire,
        n: usize,
        to: &str,
        pace: Duration,
        talk: &Talk,
    ) -> Outcome {
        let (mut said, mut asked) = (Instant::now(), Instant::now());
        let mut heard = Instant::now();
        loop {
            let done = talk.done.load(Ordering::Relaxed);
            if done {
                talk.said[n].store(self.next, Ordering::Relaxed);
                let theirs = talk.said[n ^ 1].load(Ordering::Relaxed);
                if self.unacked.is_empty() && self.report.heard.len() >= theirs {
                    return self.leave(wire);
                }
            }
            if !done && self.unacked.len() < WINDOW && said.elapsed() >= pace {
                said = Instant::now();
                self.say(wire, to)?;
            }
            if !self.unacked.is_empty() && asked.elapsed() >= 4 * pace {
                asked = Instant::now();
                wire.say(&format!("<r xmlns='{SM}'/>"))?;
            }
            if self.read(wire)? {
                heard = Instant::now();
            } else if heard.elapsed() > PATIENCE {
                return Err(Lost);
            }
        }
    }

    fn say(&mut self, wire: &mut Wire, to: &str) -> Outcome {
        let (next, name) = (self.next, &self.name);
        self.next += 1;
        let text = format!(
            "<message type='chat' to='{to}' id='{name}-{next}'><body>{next}</body></message>"
        );
        self.unacked.push_back(text.clone());
        wire.say(&text)
    }

    fn leave(&mut self, wire: &mut Wire) -> Outcome {
        // Were something to come twice, it would come now.
        let ends = Instant::now() + Duration::from_secs(1);
        while Instant::now() < ends {
            self.read(wire)?;
        }
        wire.say("</stream:stream>")
    }

    /// Reads what there is; whether there was something.
    fn read(&mut self, wire: &mut Wire) -> Outcome<bool> {
        let something = wire.fill()?;
        while let Some(frame) = wire.frames.pop_front() {
            let Frame::Element(bytes) = frame else {
                return Err(Lost);
            };
            let element = String::from_utf8_lossy(&bytes).into_owned();
            self.element(wire, &element)?;
        }
        Ok(something)
    }

    fn element(&mut self, wire: &mut Wire, element: &str) -> Outcome {
        match element {
            a if a.starts_with("<a ") => self.acknowledge(number(a)),
            r if r.starts_with("<r ") => {
                let h = self.handled;
                wire.say(&format!("<a xmlns='{SM}' h='{h}'/>"))?;
            }
            error if error.starts_with("<stream:error") => return Err(Lost),
            stanza => {
                self.handled += 1;
                if let Some(body) = inside(stanza, "<body>", "</body>") {
                    self.report.heard.extend(body.parse::<usize>().ok());
                } else if stanza.starts_with("<iq ") && stanza.contains("type='get'") {
                    let id = inside(stanza, "id='", "'").unwrap_or_default();
                    let domain = &self.domain;
                    let answer = format!("<iq type='result' id='{id}' to='{domain}'/>");
                    self.unacked.push_back(answer.clone());
                    wire.say(&answer)?;
                }
            }
        }
        Ok(())
    }

    fn acknowledge(&mut self, h: u32) {
        let gone = usize::try_from(h - self.acknowledged).unwrap();
        assert!(gone <= self.unacked.len(), "{}: never that many", self.name);
        self.unacked.drain(..gone);
        self.acknowledged = h;
    }

    /// Connects, and has its session again, or one for the first time.
    fn come(&mut self) -> Outcome<Wire> {
        let mut wire = self.authenticate()?;
        if let Some(id) = &self.id {
            let h = self.handled;
            wire.say(&format!("<resume xmlns='{SM}' previd='{id}' h='{h}'/>"))?;
            let answer = wire.element()?;
            if answer.starts_with("<resumed ") {
                self.report.resumed += 1;
                self.acknowledge(number(&answer));
                for stanza in &self.unacked {
                    wire.say(stanza)?;
                }
                return Ok(wire);
            }
            self.report.refused += 1;
            self.id = None;
            (self.handled, self.acknowledged) = (0, 0);
        }
        wire.say(
            "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
             <resource>phone</resource></bind></iq>",
        )?;
        wire.element()?;
        wire.say(&format!("<enable xmlns='{SM}' resume='true'/>"))?;
        let enabled = wire.element()?;
        self.id = inside(&enabled, " id='", "'").map(str::to_owned);
        let presence = "<presence/>".to_owned();
        self.unacked.push_front(presence);
        for stanza in &self.unacked {
            wire.say(stanza)?;
        }
        Ok(wire)
    }

    fn authenticate(&self) -> Outcome<Wire> {
        let mut socket = TcpStream::connect_timeout(&self.address, Duration::from_secs(1))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.write_all(self.header().as_bytes())?;
        until(&mut socket, "</stream:features>")?;
        socket.write_all(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")?;
        until(&mut socket, "/>")?;
        let mut connector = SslConnector::builder(SslMethod::tls()).map_err(|_| Lost)?;
        connector.set_ca_file(&self.authority).map_err(|_| Lost)?;
        let connector = connector.build();
        let stream = connector.connect(&self.domain, socket).map_err(|_| Lost)?;
        stream.get_ref().set_read_timeout(Some(TICK))?;
        let mut wire = Wire {
            stream,
            framing: framing(),
            frames: VecDeque::new(),
        };
        wire.say(&self.header())?;
        wire.features()?;
        let plain = format!("\0{}\0{}", self.name, self.password);
        let plain = base64::engine::general_purpose::STANDARD.encode(plain);
        wire.say(&format!(
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{plain}</auth>"
        ))?;
        let answer = wire.element()?;
        if !answer.starts_with("<success") {
            return Err(Lost);
        }
        wire.framing = framing();
        wire.say(&self.header())?;
        wire.features()?;
        Ok(wire)
    }

    fn header(&self) -> String {
        format!(
            "<?xml version='1.0'?><stream:stream to='{}' version='1.0' xmlns='jabber:client' \
             xmlns:stream='http://etherx.jabber.org/streams'>",
            self.domain
        )
    }
}

impl Wire {
    fn say(&mut self, text: &str) -> Outcome {
        Ok(self.stream.write_all(text.as_bytes())?)
    }

    /// Takes in what has come; whether there was something.
    fn fill(&mut self) -> Outcome<bool> {
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

    fn element(&mut self) -> Outcome<String> {
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

fn number(element: &str) -> u32 {
    inside(element, " h='", "'")
        .and_then(|h| h.parse().ok())
        .unwrap()
}

fn inside<'t>(text: &'t str, before: &str, behind: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(behind).map(|(inside, _)| inside)
}
