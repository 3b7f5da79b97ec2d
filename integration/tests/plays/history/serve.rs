//! Carrying: requests to servers, answers and entries to devices, stanzas between domains; late, lost
//! and cut off where the history is faulty.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use comity_mls_engine::{Answer, Answered, Destination, Notice, Outgoing, Request};
use comity_mls_service::error::Refused;
use comity_mls_service::room::{Outcome, rows};
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{self, Fanout, Member, Stamped};
use comity_mls_wire::{authority, keys, sync};
use comity_storage::Delivered;
use comity_storage::rooms::{AcknowledgeWelcome, AdvanceCursor, DeviceView};
use comity_xmpp::jid::BareJid;

use super::fleet::{Fleet, Input, jid};

/// Entries and Welcomes read at a time.
const PAGE: usize = 64;
const PAGE_BYTES: usize = 1 << 20;
/// Turns after which something goes in a circle.
const TURNS: usize = 50_000;

/// Drives a request so far and no further: its server is killed in the middle of it.
async fn cut<F: Future>(future: F, mut polls: u64) -> Option<F::Output> {
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

impl Fleet {
    /// Carries everything until nothing moves.
    pub(super) async fn run(&mut self) {
        for _ in 0..TURNS {
            let moved = self.turn().await;
            if std::mem::take(&mut self.moved) {
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
        for server in self.servers.values() {
            let waiting = server.storage.rooms_pending("", 1_000).await.unwrap();
            for room in waiting {
                // A fault of the storage that the play makes: the next look finds it again.
                let Ok(done) = server.hub.nominate(&jid(&room), self.now).await else {
                    continue;
                };
                self.moved |= done.asked.is_some();
                again = done.again.into_iter().chain(again).min();
            }
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
                Some(self.authority(client, &to, request).map(Answer::Authority))
            }
            Request::Keys(request) => Some(self.keys(client, &to, request).map(Answer::Keys)),
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

    fn authority(
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
                server
                    .domain
                    .authority(&state.account, proof, request, now_s)
            }
        }
    }

    fn keys(
        &mut self,
        client: usize,
        to: &Destination,
        request: keys::Request,
    ) -> Result<keys::Answer, Refusal> {
        let Destination::Account(account) = to else {
            panic!("a directory request to {to:?}")
        };
        if let keys::Request::Claim(claim) = request {
            let server = self.servers.get_mut(account.domain()).unwrap();
            return server.domain.claim(account, &claim.devices);
        }
        let own = self.clients[client].account.clone();
        let server = self.servers.get_mut(own.domain()).unwrap();
        server.domain.publish(&own, request)
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
        let killed = self.fails(3);
        let polls = self.random(12);
        let (now, name) = (self.now, room.domain().to_owned());
        let hub = &self.servers[&name].hub;
        let asked = hub.request(room, &from, Stamped { device, request }, now);
        let decided = match killed {
            true => cut(asked, polls).await,
            false => Some(asked.await),
        };
        self.moved = true;
        if killed {
            self.kill(&name).await;
            return None;
        }
        match decided? {
            Ok(reply) => {
                if reply.sweep {
                    self.servers[&name].hub.sweep(room, now).await;
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
                let rooms = rooms.iter().map(|room| (jid(&room.room), room.held));
                let state = &mut self.clients[client];
                state.sent = Some(cursors.into_iter().collect());
                state.handed.clear();
                self.moved = true;
                Ok(sync::Answer::Syncing {
                    rooms: rooms.collect(),
                })
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
                self.moved = true;
                Ok(sync::Answer::Acknowledged)
            }
        }
    }

    /// Hands every syncing device what its server holds for it.
    async fn push(&mut self) {
        for client in 0..self.clients.len() {
            if self.clients[client].sent.is_none() {
                continue;
            }
            if let Some(member) = self.member(client) {
                self.push_welcomes(client, &member).await;
                self.push_entries(client, &member).await;
            }
        }
    }

    async fn push_welcomes(&mut self, client: usize, member: &Member) {
        let storage = self.servers[member.account.domain()].storage.clone();
        let (name, id) = (member.account.as_str(), member.device.into_bytes());
        let handed = self.clients[client].handed.clone();
        let found = storage.welcomes_for(name, id, &handed, PAGE).await.unwrap();
        for row in found {
            self.clients[client].handed.push(row.id);
            let welcome = sync::Notice::Welcome(rows::welcome(row).unwrap());
            self.hand(client, welcome);
        }
    }

    async fn push_entries(&mut self, client: usize, member: &Member) {
        let domain = member.account.domain().to_owned();
        let storage = self.servers[&domain].storage.clone();
        let (name, id) = (member.account.as_str(), member.device.into_bytes());
        let view = DeviceView {
            account: name,
            domain: &domain,
            device: id,
        };
        let stretches = storage.device_rooms(name, id, None).await.unwrap();
        for stretch in stretches {
            let room = jid(&stretch.room);
            let sent = self.clients[client].sent.as_ref();
            let sent = sent.and_then(|sent| sent.get(&room).copied());
            let after = sent.unwrap_or(stretch.cursor).max(stretch.since);
            let through = stretch.until.unwrap_or(u64::MAX);
            if after >= through {
                continue;
            }
            let found = storage
                .device_entries(view, &stretch.room, after, through, PAGE, PAGE_BYTES)
                .await
                .unwrap();
            let Some(last) = found.last().map(|row| row.seq) else {
                continue;
            };
            self.moved = true;
            if let Some(sent) = &mut self.clients[client].sent {
                sent.insert(room.clone(), last);
            }
            for row in found {
                let entry = rows::entry(&room, row).unwrap();
                if !self.fails(4) {
                    self.hand(client, sync::Notice::Entry(entry));
                }
            }
        }
    }

    fn hand(&mut self, client: usize, notice: sync::Notice) {
        let notice = Box::new(Notice::Sync(notice));
        self.clients[client].inbox.push_back(Input::Notice(notice));
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
        self.moved = true;
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
            self.moved = true;
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
