//! A client that does what XEP-0198 asks of one, and comes back whenever its connection is lost.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use integration::raw::{Login, Lost, Outcome, PATIENCE, Raw, TICK, inside};

/// How long everything may take.
const LIMIT: Duration = Duration::from_secs(180);
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
        wire: &mut Raw,
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

    fn say(&mut self, wire: &mut Raw, to: &str) -> Outcome {
        let (next, name) = (self.next, &self.name);
        self.next += 1;
        let text = format!(
            "<message type='chat' to='{to}' id='{name}-{next}'><body>{next}</body></message>"
        );
        self.unacked.push_back(text.clone());
        wire.say(&text)
    }

    fn leave(&mut self, wire: &mut Raw) -> Outcome {
        // Were something to come twice, it would come now.
        let ends = Instant::now() + Duration::from_secs(1);
        while Instant::now() < ends {
            self.read(wire)?;
        }
        wire.say("</stream:stream>")
    }

    /// Reads what there is; whether there was something.
    fn read(&mut self, wire: &mut Raw) -> Outcome<bool> {
        let something = wire.fill()?;
        while let Some(element) = wire.came() {
            let element = element.ok_or(Lost)?;
            self.element(wire, &element)?;
        }
        Ok(something)
    }

    fn element(&mut self, wire: &mut Raw, element: &str) -> Outcome {
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
    fn come(&mut self) -> Outcome<Raw> {
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

    fn authenticate(&self) -> Outcome<Raw> {
        let login = Login {
            domain: &self.domain,
            name: &self.name,
            password: &self.password,
            authority: &self.authority,
        };
        Raw::login(self.address, login)
    }
}

fn number(element: &str) -> u32 {
    inside(element, " h='", "'")
        .and_then(|h| h.parse().ok())
        .unwrap()
}
