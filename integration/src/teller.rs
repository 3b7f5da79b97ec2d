//! A client that tells numbered messages and keeps count of what its server has taken upon itself
//! (XEP-0198) and what it has refused.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::Home;
use crate::raw::{Login, Lost, Outcome, Raw, TICK, inside};
use crate::stage::PASSWORD;

const SM: &str = "urn:xmpp:sm:3";
/// How long the server may take to answer for all that was said.
const LIMIT: Duration = Duration::from_secs(60);

pub struct Teller {
    raw: Raw,
    name: String,
    /// Messages told, the first being 1; and how many of them are acknowledged.
    pub told: u32,
    pub acknowledged: u32,
    /// The condition of the error that came back, by message.
    pub refused: BTreeMap<u32, String>,
    /// Bodies that came.
    pub heard: Vec<String>,
    /// The condition that ended the stream.
    pub ended: Option<String>,
    handled: u32,
}

impl Teller {
    /// Logs in; with `presence`, to hear what others say.
    pub fn come(home: &Home, name: &str, presence: bool) -> Outcome<Self> {
        let (domain, authority) = (home.domain(), home.ca());
        let login = Login {
            domain,
            name,
            password: PASSWORD,
            authority: &authority,
        };
        Self::begin(Raw::login(home.c2s(), login)?, name, presence)
    }

    /// The same on a stream that is authenticated.
    pub fn begin(mut raw: Raw, name: &str, presence: bool) -> Outcome<Self> {
        raw.say("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")?;
        raw.element()?;
        raw.say(&format!("<enable xmlns='{SM}'/>"))?;
        raw.element()?;
        let mut teller = Self {
            raw,
            name: name.to_owned(),
            told: 0,
            acknowledged: 0,
            refused: BTreeMap::new(),
            heard: Vec::new(),
            ended: None,
            handled: 0,
        };
        if presence {
            teller.raw.say("<presence/>")?;
        }
        Ok(teller)
    }

    /// The text of a message: its number, and so much ballast.
    pub fn tell(&mut self, to: &str, ballast: usize) -> Outcome {
        self.told += 1;
        let (n, name) = (self.told, &self.name);
        let ballast = "x".repeat(ballast);
        let text = format!(
            "<message type='chat' to='{to}' id='{n}'><body>{name} {n} {ballast}</body></message>\
             <r xmlns='{SM}'/>"
        );
        self.raw.say(&text)
    }

    /// Takes in what has come.
    pub fn listen(&mut self, duration: Duration) -> Outcome {
        let until = Instant::now() + duration;
        loop {
            let filled = self.raw.fill();
            while let Some(element) = self.raw.came() {
                match element {
                    Some(element) => self.element(&element)?,
                    None => return Err(Lost),
                }
            }
            filled?;
            if Instant::now() >= until {
                return Ok(());
            }
        }
    }

    /// Until the server has answered for everything.
    pub fn settle(&mut self) -> Outcome {
        let until = Instant::now() + LIMIT;
        while self.acknowledged < self.told {
            if Instant::now() > until {
                return Err(Lost);
            }
            self.listen(TICK)?;
        }
        // A refusal may follow the acknowledgement.
        self.listen(Duration::from_millis(300))
    }

    /// What the server has taken upon itself: acknowledged, and not refused.
    #[must_use]
    pub fn accepted(&self) -> BTreeSet<u32> {
        let all = 1..=self.acknowledged;
        all.filter(|n| !self.refused.contains_key(n)).collect()
    }

    /// The numbers of another teller's messages among what was heard, in the order in which they came.
    #[must_use]
    pub fn numbers_of(&self, name: &str) -> Vec<u32> {
        let prefix = format!("{name} ");
        let mine = self
            .heard
            .iter()
            .filter_map(|body| body.strip_prefix(&prefix));
        mine.filter_map(|rest| rest.split(' ').next()?.parse().ok())
            .collect()
    }

    fn element(&mut self, element: &str) -> Outcome {
        if element.starts_with("<a ") {
            let h = inside(element, " h='", "'").and_then(|h| h.parse::<u32>().ok());
            // The presence counts as well, where there was one: it is said first.
            self.acknowledged = h.unwrap_or_default().min(self.told);
        } else if element.starts_with("<r ") {
            let h = self.handled;
            self.raw.say(&format!("<a xmlns='{SM}' h='{h}'/>"))?;
        } else if element.starts_with("<stream:error") {
            let condition = inside(element, "><", " ").unwrap_or(element);
            self.ended = Some(condition.to_owned());
            return Err(Lost);
        } else {
            self.handled += 1;
            self.stanza(element);
        }
        Ok(())
    }

    fn stanza(&mut self, stanza: &str) {
        if stanza.starts_with("<message") && stanza.contains("type='error'") {
            let id = inside(stanza, " id='", "'").and_then(|id| id.parse().ok());
            let error = inside(stanza, "<error", "</error>").unwrap_or_default();
            let condition = inside(error, "<", " ").unwrap_or(error);
            if let Some(id) = id {
                self.refused.insert(id, condition.to_owned());
            }
        } else if let Some(body) = inside(stanza, "<body>", "</body>") {
            self.heard.push(body.to_owned());
        }
    }
}
