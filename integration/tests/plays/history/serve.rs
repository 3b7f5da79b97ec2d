//! Carrying: requests to servers, answers and entries to devices, stanzas between domains; late, lost
//! and cut off where the history is faulty.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use comity_mls_engine::{Answer, Answered, Destination, Event, Outgoing, Request};
use comity_mls_service::error::Refused;
use comity_mls_service::room::Outcome;
use comity_mls_service::room::sync::standings;
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{self, Fanout, Stamped};
use comity_mls_wire::{authority, sync};
use comity_storage::rooms::{AcknowledgeWelcome, AdvanceCursor};
use comity_storage::{Delivered, RegisterDevice};
use comity_xmpp::jid::BareJid;
use uuid::Uuid;

use super::fleet::{Fleet, Input, jid};
use super::push::PAGE;

/// Turns after which something goes in a circle.
const TURNS: usize = 500_000;

/// Drives a request so far and no further: its server is killed in the middle of it.
pub(super) async fn cut<F: Future>(future: F, mut polls: u64) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if polls == 0 => Poll::Ready(None),
        Poll::Pending => {
            polls -= 1;
            Poll::Pending
        }
    })
    .await
}

/// What tells rooms apart in a tale.
fn short(room: &BareJid) -> &str {
    &room.as_str()[..6]
}

impl Fleet {
    /// Carries everything until nothing moves.
    pub(super) async fn run(&mut self) {
        for _ in 0..TURNS {
            let moved = self.turn().await;
            if self.has_news() {
                self.push().await;
            } else if !moved && !self.federate().await {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// Runs, and moves the clock to every deadline within the next `ms`.
    pub(super) async fn run_for(&mut self, ms: u64) {
        let end = self.now + ms;
        for _ in 0..TURNS {
            self.run().await;
            let asks = self.nominate().await;
            let due = self.clients.iter().filter_map(|c| c.engine.poll_timeout());
            let due = due.chain(asks);
            match due.min() {
                Some(at) if at <= end => self.now = at.max(self.now),
                _ => {
                    self.now = end.max(self.now);
                    return;
                }
            }
            let now = self.now;
            for client in 0..self.clients.len() {
                let due = self.clients[client].engine.poll_timeout();
                if due.is_some_and(|at| at <= now) {
                    self.input(client, |e| e.timeout(now));
                }
            }
        }
        panic!("it never comes to rest");
    }

    /// What the servers do about rooms where proposals wait; when they have to look again.
    async fn nominate(&mut self) -> Option<u64> {
        let mut again: Option<u64> = None;
        let mut asked = Vec::new();
        for (domain, server) in &self.servers {
            let waiting = server.storage.rooms_pending("", 1_000).await.unwrap();
            for room in waiting {
                // A fault of the storage that the play makes: the next look finds it again.
                let Ok(done) = server.hub.nominate(&jid(&room), self.now).await else {
                    continue;
                };
                if done.asked.is_some() {
                    asked.push((domain.clone(), jid(&room)));
                }
                again = done.again.into_iter().chain(again).min();
            }
        }
        for (domain, room) in asked {
            self.grew(&domain, &room, None);
        }
        again
    }

    /// One thing each client does, from a random one on.
    async fn turn(&mut self) -> bool {
        let mut moved = false;
        let (first, count) = (self.pick(), self.clients.len());
        for place in 0..count {
            let client = (first + place) % count;
            while let Some(event) = self.clients[client].engine.poll_event() {
                self.tell_event(client, &event);
                self.clients[client].events.push(event);
            }
            if let Some(outgoing) = self.clients[client].engine.poll_request() {
                moved = true;
                if self.clients[client].online {
                    self.serve(client, outgoing).await;
                }
            } else if let Some(input) = self.clients[client].inbox.pop_front() {
                moved = true;
                let now = self.now;
                self.input(client, |engine| match input {
                    Input::Answer(id, answer) => engine.answer(id, answer, now),
                    Input::Notice(notice) => engine.notice(*notice, now),
                });
            }
        }
        moved
    }

    async fn serve(&mut self, client: usize, outgoing: Outgoing) {
        let Outgoing { id, to, request } = outgoing;
        self.now += 1;
        let answer: Option<Answered> = match request {
            Request::Authority(request) => {
                let answer = self.authority(client, &to, request).await;
                Some(answer.map(Answer::Authority))
            }
            Request::Keys(request) => {
                let Destination::Account(account) = to else {
                    panic!("a directory request to {to:?}")
                };
                let answer = self.keys(client, &account, request).await;
                answer.map(|answer| answer.map(Answer::Keys))
            }
            Request::Room(request) => {
                let Destination::Room(room) = to else {
                    panic!("a room request to {to:?}")
                };
                let answer = self.room(client, &room, request).await;
                answer.map(|answer| answer.map(Answer::Room))
            }
            Request::Sync(request) => Some(self.sync(client, request).await.map(Answer::Sync)),
        };
        // The request took effect or did not; the session is lost before its answer.
        if self.fails(6) {
            self.disconnect(client);
            self.connect(client);
        } else if let Some(answer) = answer {
            let inbox = &mut self.clients[client].inbox;
            inbox.push_back(Input::Answer(id, answer));
        }
    }

    async fn authority(
        &mut self,
        client: usize,
        to: &Destination,
        request: authority::Request,
    ) -> Result<authority::Answer, Refusal> {
        use authority::{Answer, Request};
        let now_s = self.now / 1_000;
        match request {
            Request::LogInclusion { keys } => {
                let Destination::Account(account) = to else {
                    panic!("evidence asked of {to:?}")
                };
                let domain = &self.servers[account.domain()].domain;
                Ok(domain.log.inclusion(account, keys, domain.head()))
            }
            Request::Anchors { domain } => {
                let found = &mut self.servers.get_mut(&domain).unwrap().domain;
                found.renew(now_s);
                Ok(Answer::Anchors {
                    statement: found.statement.clone(),
                })
            }
            Request::LogConsistency {
                domain,
                first,
                second,
            } => self.servers[&domain].domain.consistency(first, second),
            Request::Crl { domain, offset, .. } => {
                let crl = self.servers.get_mut(&domain).unwrap().domain.crl(now_s);
                Ok(Answer::Crl {
                    number: crl.number(),
                    size: u32::try_from(crl.der().len()).unwrap(),
                    offset,
                    part: crl.der()[usize::try_from(offset).unwrap()..]
                        .to_vec()
                        .into(),
                })
            }
            request => {
                let state = &mut self.clients[client];
                let server = self.servers.get_mut(state.account.domain()).unwrap();
                let proof = &mut state.proof;
                let answer = server
                    .domain
                    .authority(&state.account, proof, request, now_s);
                if let Ok(Answer::Registered { device }) = &answer {
                    self.record(client, *device).await;
                }
                answer
            }
        }
    }

    /// The directory knows the devices that the domain has registered.
    async fn record(&mut self, client: usize, device: Uuid) {
        let account = &self.clients[client].account;
        let server = &self.servers[account.domain()];
        let registered = &server.domain.devices[&device];
        let change = RegisterDevice {
            id: device.into_bytes(),
            account: account.as_str().to_owned(),
            name: registered.name.clone(),
            device_key: registered.key.to_spki(),
            now: self.now / 1_000,
            limit: 8,
        };
        server.storage.write(change).await.unwrap();
    }

    /// What its person is told that says how it went on.
    fn tell_event(&self, client: usize, event: &Event) {
        let line = match event {
            Event::RoomLeft { room, .. } => format!("is out of {}", short(room)),
            Event::RoomJoined { room, .. } => format!("comes to {}", short(room)),
            Event::RoomStopped { room, seq, why } => {
                format!("stops at {seq} of {}: {why}", short(room))
            }
            Event::RoomResyncing { room, seq, why } => {
                format!("cannot read {seq} of {}: {why}", short(room))
            }
            Event::RoomResynced { room, .. } => format!("is back in {}", short(room)),
            Event::Restored | Event::Refused { .. } | Event::Warning { .. } => {
                format!("{event:?}")
            }
            _ => return,
        };
        self.tell(client, &line);
    }

    /// `None`: the server was killed before it could answer.
    async fn room(
        &mut self,
        client: usize,
        room: &BareJid,
        request: room::Request,
    ) -> Option<Result<room::Answer, Refusal>> {
        let state = &self.clients[client];
        let (from, device) = (state.account.clone(), state.proof.device);
        let killed = self.dies(3);
        let polls = self.random(12);
        let (now, name) = (self.now, room.domain().to_owned());
        let hub = &self.servers[&name].hub;
        let asked = hub.request(room, &from, Stamped { device, request }, now);
        let decided = match killed {
            true => cut(asked, polls).await,
            false => Some(asked.await),
        };
        let entry = decided.as_ref().and_then(|decided| decided.as_ref().ok());
        let entry = entry.and_then(|reply| reply.entry.clone());
        if let Some(entry) = &entry {
            let (kind, seq) = (entry.kind, entry.seq);
            self.tell(client, &format!("{kind:?} at {seq} of {}", short(room)));
        }
        self.grew(&name, room, entry.as_ref());
        if killed {
            self.kill(&name).await;
            return None;
        }
        match decided? {
            Ok(reply) => {
                if reply.sweep {
                    self.servers[&name].hub.sweep(room, now).await;
                    self.grew(&name, room, None);
                }
                Some(Ok(reply.answer))
            }
            Err(refused) => Some(Err(refused.refusal())),
        }
    }

    async fn sync(
        &mut self,
        client: usize,
        request: sync::Request,
    ) -> Result<sync::Answer, Refusal> {
        let Some(device) = self.clients[client].proof.device else {
            return Err(Refusal::NoDevice);
        };
        let account = self.clients[client].account.clone();
        let storage = self.servers[account.domain()].storage.clone();
        let (name, id) = (account.as_str().to_owned(), device.into_bytes());
        match request {
            sync::Request::Sync { cursors } => {
                let rooms = storage.device_rooms(&name, id, None).await.unwrap();
                let rooms = standings(&rooms).unwrap();
                let state = &mut self.clients[client];
                state.sent = Some(cursors.into_iter().collect());
                state.handed.clear();
                self.hungry.insert(client);
                Ok(sync::Answer::Syncing { rooms })
            }
            sync::Request::Acknowledge { room, seq } => {
                let change = AdvanceCursor {
                    account: name,
                    device: id,
                    room: room.as_str().to_owned(),
                    seq,
                    now: self.now,
                };
                storage.write(change).await.unwrap();
                Ok(sync::Answer::Acknowledged)
            }
            sync::Request::AcknowledgeWelcome { id: welcome } => {
                let change = AcknowledgeWelcome {
                    account: name,
                    device: id,
                    id: welcome.into_bytes(),
                };
                storage.write(change).await.unwrap();
                self.hungry.insert(client);
                Ok(sync::Answer::Acknowledged)
            }
        }
    }

    /// Carries what waits for other domains; true if anything was carried.
    async fn federate(&mut self) -> bool {
        let names: Vec<String> = self.servers.keys().cloned().collect();
        let mut carried = false;
        for hub in &names {
            for domain in names.iter().filter(|domain| *domain != hub) {
                if !self.fails(30) {
                    carried |= self.carry(hub, domain).await;
                }
            }
        }
        carried
    }

    async fn carry(&mut self, hub: &str, domain: &str) -> bool {
        let storage = self.servers[hub].storage.clone();
        let found = storage.outbox(domain, 0, PAGE).await.unwrap();
        let Some(through) = found.last().map(|row| row.id) else {
            return false;
        };
        for row in found {
            let fanout = self.stanzas.read(&row.stanza);
            // A stream that broke may have lost it, though it was thought to be delivered.
            if !self.fails(5) {
                self.take(domain, &fanout).await;
            }
        }
        let delivered = Delivered {
            destination: domain.to_owned(),
            through,
        };
        storage.write(delivered).await.unwrap();
        true
    }

    async fn take(&mut self, domain: &str, fanout: &Fanout) {
        let room = fanout.entry.room.clone();
        match self.receive(domain, fanout).await {
            Outcome::Gap { after } => {
                self.fetch(domain, &room, after).await;
                self.receive(domain, fanout).await;
            }
            Outcome::Refused { why } => panic!("{domain} refuses {}: {why}", fanout.entry.seq),
            Outcome::Stored { .. } | Outcome::Known { .. } => {}
        }
    }

    async fn receive(&mut self, domain: &str, fanout: &Fanout) -> Outcome {
        let now = self.now;
        let copies = &self.servers[domain].copies;
        let room = &fanout.entry.room;
        let outcome = copies.receive(room, domain, fanout, now).await.unwrap();
        self.grew(domain, room, Some(&fanout.entry));
        if let Some(id) = fanout.welcome.as_ref().map(|welcome| welcome.id)
            && !matches!(outcome, Outcome::Gap { .. } | Outcome::Refused { .. })
        {
            let seq = fanout.entry.seq;
            let welcomes = vec![id];
            let asked = room::Request::Acknowledge {
                seq,
                welcomes,
                active: Vec::new(),
            };
            self.ask_hub(domain, room, asked).await.unwrap();
        }
        outcome
    }

    /// Asks the hub for what is missing, as often as it has more.
    pub(super) async fn fetch(&mut self, domain: &str, room: &BareJid, mut after: u64) {
        loop {
            let asked = room::Request::Fetch { after, limit: 100 };
            let answer = self.ask_hub(domain, room, asked).await;
            let Ok(room::Answer::Entries(entries)) = answer else {
                return;
            };
            let Some(last) = entries.last().map(|entry| entry.seq) else {
                return;
            };
            for entry in entries {
                let fanout = Fanout {
                    entry,
                    welcome: None,
                };
                self.receive(domain, &fanout).await;
            }
            after = last;
        }
    }

    async fn ask_hub(
        &mut self,
        domain: &str,
        room: &BareJid,
        request: room::Request,
    ) -> Result<room::Answer, Refusal> {
        let stamped = Stamped {
            device: None,
            request,
        };
        let hub = &self.servers[room.domain()].hub;
        let asked = hub.request(room, &jid(domain), stamped, self.now).await;
        asked.map(|reply| reply.answer).map_err(Refused::refusal)
    }
}
