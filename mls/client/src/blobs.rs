//! Large objects beside the stanzas that name them (`mls/PROTOCOL.md` §7.8): what a request holds
//! goes up before it, what a message or an answer names comes down before the engine sees it.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use comity_mls_wire::blob::{self, Answer, Named, Request};
use comity_mls_wire::room::payload_hash;
use comity_xmpp::element::Element;
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::ns;
use comity_xmpp::stanza::{Kind, Stanza};

use crate::progress::{LARGE, Progress, Task};

/// Stanzas that wait for a large one before them; a server sends no more ahead of what is
/// acknowledged.
const WAITING: usize = 1024;

/// What is on its way, up and down.
#[derive(Default)]
pub(crate) struct Blobs {
    up: HashMap<String, Up>,
    down: HashMap<String, Down>,
    /// Messages in the order in which they came, the first of them still without what it names.
    messages: VecDeque<Stanza>,
    next_id: u64,
    /// What has moved since it was last looked at.
    moved: Vec<Progress>,
}

/// A request, and what has to be at the server before it.
struct Up {
    request: Stanza,
    objects: VecDeque<(Named, Bytes)>,
    /// Octets of all of them.
    total: u64,
}

/// A stanza, and what it names.
struct Down {
    stanza: Stanza,
    payload: Element,
    from: Jid,
    wanted: VecDeque<Named>,
    got: Vec<(Named, Bytes)>,
    part: Vec<u8>,
}

/// What is to be done next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Sent to the server.
    Send(Stanza),
    /// Taken as if it had come so.
    Take(Box<Stanza>),
    /// The request with this id is refused by that answer.
    Refused(String, Box<Stanza>),
}

impl Blobs {
    /// A request on its way out.
    pub(crate) fn send(&mut self, account: &BareJid, request: Stanza) -> Vec<Next> {
        let Some(mut payload) = room_payload(&request) else {
            return vec![Next::Send(request)];
        };
        let objects: VecDeque<_> = blob::put_out(&mut payload).into();
        let (false, Ok(own)) = (objects.is_empty(), Jid::parse(account.domain())) else {
            return vec![Next::Send(request)];
        };
        let up = Up {
            request: with_payload(&request, &payload),
            total: objects.iter().map(|(named, _)| named.size).sum(),
            objects,
        };
        self.ask_held(own, up)
    }

    /// A stanza that came. Messages stay in order.
    pub(crate) fn take(&mut self, account: &BareJid, stanza: Stanza) -> Vec<Next> {
        if let Some(id) = stanza.id.as_deref() {
            if let Some(up) = self.up.remove(id) {
                return self.went_up(up, &stanza);
            }
            if let Some(down) = self.down.remove(id) {
                return self.came_down(down, account, &stanza);
            }
        }
        let is_message = matches!(stanza.kind, Kind::Message(_));
        if is_message && !self.messages.is_empty() {
            if self.messages.len() < WAITING {
                self.messages.push_back(stanza);
            }
            return Vec::new();
        }
        let next = self.begin(account, stanza.clone());
        if is_message && !matches!(next.first(), Some(Next::Take(_))) {
            self.messages.push_back(stanza);
        }
        next
    }

    /// The session is over: what was on its way is asked for anew in the next.
    pub(crate) fn clear(&mut self) {
        self.up.clear();
        self.down.clear();
        self.messages.clear();
    }

    /// How far what is large has come since this was last asked.
    pub(crate) fn moved(&mut self) -> Vec<Progress> {
        std::mem::take(&mut self.moved)
    }

    fn note(&mut self, task: Task, room: Option<BareJid>, done: u64, total: u64) {
        if total >= LARGE {
            self.moved.push(Progress {
                task,
                room,
                done: done.min(total),
                total,
            });
        }
    }

    fn begin(&mut self, account: &BareJid, stanza: Stanza) -> Vec<Next> {
        let named = room_payload(&stanza).map(|payload| (blob::named(&payload), payload));
        let wanted = named.and_then(|(named, payload)| Some((named.ok()?, payload)));
        let Some((wanted, payload)) = wanted.filter(|(wanted, _)| !wanted.is_empty()) else {
            return vec![Next::Take(Box::new(stanza))];
        };
        // An answer's objects are where the answer comes from, a message's at one's own server.
        let from = match stanza.kind {
            Kind::Message(_) => account.domain(),
            _ => stanza
                .from
                .as_ref()
                .map_or(account.domain(), |from| from.domain()),
        };
        let Ok(from) = Jid::parse(from) else {
            return vec![Next::Take(Box::new(stanza))];
        };
        let down = Down {
            stanza,
            payload,
            from,
            wanted: wanted.into(),
            got: Vec::new(),
            part: Vec::new(),
        };
        self.ask_next(down)
    }

    fn id(&mut self) -> String {
        self.next_id += 1;
        format!("blob-{}", self.next_id)
    }

    fn iq(&mut self, to: Jid, request: &Request) -> (String, Stanza) {
        let id = self.id();
        let stanza = Stanza::new(Kind::Iq(request.iq_type()))
            .with_to(to)
            .with_id(id.as_str())
            .with(&request.to_element());
        (id, stanza)
    }

    fn ask_held(&mut self, own: Jid, up: Up) -> Vec<Next> {
        let Some((named, _)) = up.objects.front() else {
            return vec![Next::Send(up.request)];
        };
        let (id, stanza) = self.iq(own, &Request::Held { named: *named });
        self.up.insert(id, up);
        vec![Next::Send(stanza)]
    }

    fn went_up(&mut self, mut up: Up, answer: &Stanza) -> Vec<Next> {
        let own = answer.from.clone();
        let (Some(Ok(Answer::Held { named, next })), Some(own)) = (read(answer), own) else {
            return refuse(&up.request, answer);
        };
        match up.objects.front() {
            Some((wanted, _)) if *wanted == named => {}
            _ => return refuse(&up.request, answer),
        }
        let waits: u64 = up.objects.iter().map(|(named, _)| named.size).sum();
        let room = up.request.to.as_ref().map(Jid::to_bare);
        let done = (up.total - waits.min(up.total)) + next.min(named.size);
        self.note(Task::Sending, room, done, up.total);
        if next >= named.size {
            up.objects.pop_front();
            return self.ask_held(own, up);
        }
        let chunk = named.chunk(next).and_then(|length| {
            let (_, object) = up.objects.front()?;
            let start = usize::try_from(next).ok()?;
            object
                .get(start..start + length)
                .map(|_| object.slice(start..start + length))
        });
        let Some(octets) = chunk else {
            return refuse(&up.request, answer);
        };
        let put = Request::Put {
            named,
            offset: next,
            octets,
        };
        let (id, stanza) = self.iq(own, &put);
        self.up.insert(id, up);
        vec![Next::Send(stanza)]
    }

    fn ask_next(&mut self, down: Down) -> Vec<Next> {
        let Some(named) = down.wanted.front().copied() else {
            let mut payload = down.payload;
            blob::put_in(&mut payload, &mut |wanted| {
                let found = down.got.iter().find(|(named, _)| named == wanted);
                found.map(|(_, object)| object.clone())
            });
            return vec![Next::Take(Box::new(with_payload(&down.stanza, &payload)))];
        };
        let offset = down.part.len() as u64;
        let (id, stanza) = self.iq(down.from.clone(), &Request::Get { named, offset });
        self.down.insert(id, down);
        vec![Next::Send(stanza)]
    }

    fn came_down(&mut self, mut down: Down, account: &BareJid, answer: &Stanza) -> Vec<Next> {
        let is_message = matches!(down.stanza.kind, Kind::Message(_));
        let mut next = match chunk(&mut down, answer) {
            Ok(()) => {
                let size = |named: &Named| named.size;
                let got: u64 = down.got.iter().map(|(named, _)| named.size).sum();
                let total = got + down.wanted.iter().map(size).sum::<u64>();
                let room = down.stanza.from.as_ref().map(Jid::to_bare);
                self.note(Task::Receiving, room, got + down.part.len() as u64, total);
                self.ask_next(down)
            }
            // A message without its object is not taken: what follows shows the gap, and the log is
            // asked again.
            Err(why) if is_message => {
                tracing::warn!(why, "what a message names is not to be had");
                self.messages.pop_front();
                return self.go_on(account);
            }
            Err(_) => {
                let id = down.stanza.id.clone().unwrap_or_default();
                return vec![Next::Refused(id.to_string(), Box::new(answer.clone()))];
            }
        };
        if is_message && matches!(next.first(), Some(Next::Take(_))) {
            self.messages.pop_front();
            next.extend(self.go_on(account));
        }
        next
    }

    /// The messages that waited, up to the next that names something.
    fn go_on(&mut self, account: &BareJid) -> Vec<Next> {
        let mut all = Vec::new();
        while let Some(stanza) = self.messages.front().cloned() {
            let next = self.begin(account, stanza);
            let taken = matches!(next.first(), Some(Next::Take(_)));
            all.extend(next);
            if !taken {
                break;
            }
            self.messages.pop_front();
        }
        all
    }
}

/// Adds a chunk; a whole object is looked at by its hash.
fn chunk(down: &mut Down, answer: &Stanza) -> Result<(), &'static str> {
    let Some(Ok(Answer::Chunk {
        named,
        offset,
        octets,
    })) = read(answer)
    else {
        return Err("it was refused");
    };
    if down.wanted.front() != Some(&named) || offset != down.part.len() as u64 {
        return Err("another chunk came than was asked for");
    }
    down.part.extend_from_slice(&octets);
    if (down.part.len() as u64) < named.size {
        return Ok(());
    }
    let object = std::mem::take(&mut down.part);
    if payload_hash(&object) != named.hash {
        return Err("it has another hash");
    }
    down.wanted.pop_front();
    down.got.push((named, object.into()));
    Ok(())
}

fn read(answer: &Stanza) -> Option<Result<Answer, comity_mls_wire::Malformed>> {
    answer
        .first_child()
        .map(|element| Answer::from_element(&element))
}

fn refuse(request: &Stanza, answer: &Stanza) -> Vec<Next> {
    let id = request.id.clone().unwrap_or_default();
    vec![Next::Refused(id.to_string(), Box::new(answer.clone()))]
}

/// The payload of a stanza that may hold objects.
fn room_payload(stanza: &Stanza) -> Option<Element> {
    let child = stanza
        .children()
        .iter()
        .find(|child| &*child.ns == ns::MLS_ROOM)?;
    Some(stanza.element(child))
}

fn with_payload(stanza: &Stanza, payload: &Element) -> Stanza {
    let mut changed = Stanza::new(stanza.kind).with(payload);
    changed.from.clone_from(&stanza.from);
    changed.to.clone_from(&stanza.to);
    changed.id.clone_from(&stanza.id);
    changed
}

#[cfg(test)]
mod tests;
