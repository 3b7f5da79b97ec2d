//! One device's feed: a task that reads what the device lacks and puts it into its session, until
//! the session is over.

use std::sync::Arc;
use std::time::Duration;

use comity_mls_service::room::rows;
use comity_mls_service::room::sync::{Feed, Want};
use comity_mls_wire::room::{Entry, Ephemeral, Member, Welcome};
use comity_mls_wire::sync::Notice;
use comity_storage::Error;
use comity_storage::rooms::DeviceView;
use comity_xmpp::jid::BareJid;
use comity_xmpp::stanza::{Kind, MessageType, Stanza};

use crate::home::Home;
use crate::module::mls_blob;
use crate::services::feeds::{Following, Signals};

/// How long a feed rests at most before it looks whether its session is still there.
const LOOK: Duration = Duration::from_secs(60);
/// How long it waits when storage has failed.
const PAUSE: Duration = Duration::from_secs(5);
/// Octets of payloads read at a time.
const READ_BYTES: usize = 256 * 1024;

pub(super) struct Start {
    pub(super) home: Home,
    pub(super) feed: Feed,
    pub(super) member: Member,
    pub(super) signals: Arc<Signals>,
}

/// Why a feed stops feeding.
enum Fault {
    /// The session is gone.
    Over,
    Storage(String),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Storage(error.to_string())
    }
}

impl From<rows::Corrupt> for Fault {
    fn from(error: rows::Corrupt) -> Self {
        Self::Storage(error.to_string())
    }
}

impl Start {
    pub(super) fn spawn(self) {
        tokio::spawn(self.run());
    }

    async fn run(mut self) {
        let home = self.home.clone();
        let feeds = &home.services.rooms.feeds;
        for room in self.feed.rooms() {
            feeds.watch(&self.member, room);
        }
        loop {
            match self.round().await {
                Ok(()) => {}
                Err(Fault::Over) => break,
                Err(Fault::Storage(error)) => {
                    tracing::error!(error, member = ?self.member, "a device cannot be fed now");
                    tokio::time::sleep(PAUSE).await;
                }
            }
            let rest = self.signals.bell.notified();
            // A session that ended is told by the bell; this only makes sure of it.
            let _ = tokio::time::timeout(LOOK, rest).await;
        }
        feeds.end(&self.member, &self.signals);
    }

    /// Takes in what has happened and sends what is wanted, until nothing is.
    async fn round(&mut self) -> Result<(), Fault> {
        let mut ephemeral = Vec::new();
        loop {
            ephemeral.extend(self.look().await?);
            let Some(want) = self.feed.want() else {
                return self.pass(ephemeral).await;
            };
            match want {
                Want::Welcomes { sent, limit } => self.welcomes(&sent, limit).await?,
                Want::Entries {
                    room,
                    after,
                    through,
                    limit,
                } => self.entries(&room, after, through, limit).await?,
            }
        }
    }

    /// What it gets outside the log comes last, and only if it can take it now.
    async fn pass(&self, ephemeral: Vec<Arc<Ephemeral>>) -> Result<(), Fault> {
        for one in ephemeral {
            if self.feed.is_there(one.room.as_str()) {
                let room = one.room.clone();
                let notice = Notice::Ephemeral(Arc::unwrap_or_clone(one));
                self.push(MessageType::Headline, &room, &notice).await?;
            }
        }
        Ok(())
    }

    /// Takes in what has happened; gives what there is outside the log.
    async fn look(&mut self) -> Result<Vec<Arc<Ephemeral>>, Fault> {
        let news = self.signals.take();
        let alive = self.home.sessions.device(&self.signals.session) == Some(self.member.device);
        if news.over || !alive {
            return Err(Fault::Over);
        }
        for room in &news.moved {
            self.moved(room).await?;
        }
        for (room, seq) in &news.acknowledged {
            self.feed.acknowledged(room, *seq);
        }
        for id in &news.acknowledged_welcomes {
            self.feed.acknowledged_welcome(id);
        }
        if news.welcome {
            self.feed.welcome();
        }
        for room in &news.grown {
            self.feed.grown(room);
        }
        Ok(news.ephemeral)
    }

    async fn moved(&mut self, room: &str) -> Result<(), Fault> {
        let (account, device) = (
            self.member.account.as_str(),
            self.member.device.into_bytes(),
        );
        let found = self
            .home
            .storage
            .device_rooms(account, device, Some(room))
            .await?;
        for stretch in found {
            self.feed.joined(stretch, None);
        }
        if self.feed.has(room) {
            let feeds = &self.home.services.rooms.feeds;
            feeds.watch(&self.member, room);
        }
        Ok(())
    }

    async fn welcomes(&mut self, sent: &[[u8; 16]], limit: usize) -> Result<(), Fault> {
        let (account, device) = (
            self.member.account.as_str(),
            self.member.device.into_bytes(),
        );
        let found = self
            .home
            .storage
            .welcomes_for(account, device, sent, limit)
            .await?;
        let ids: Vec<[u8; 16]> = found.iter().map(|welcome| welcome.id).collect();
        for row in found {
            let welcome: Welcome = rows::welcome(row)?;
            let room = welcome.room.clone();
            let notice = Notice::Welcome(welcome);
            self.push(MessageType::Normal, &room, &notice).await?;
        }
        self.feed.sent_welcomes(&ids);
        Ok(())
    }

    async fn entries(
        &mut self,
        room: &str,
        after: u64,
        through: u64,
        limit: usize,
    ) -> Result<(), Fault> {
        let feeds = &self.home.services.rooms.feeds;
        if let Some(following) = feeds.following(room, after, through, limit) {
            // Who goes gets nothing of what follows.
            return match self.signals.moved(room) {
                true => Ok(()),
                false => self.ready(room, following),
            };
        }
        let device = DeviceView {
            account: self.member.account.as_str(),
            domain: self.member.account.domain(),
            device: self.member.device.into_bytes(),
        };
        let storage = &self.home.storage;
        let found = storage
            .device_entries(device, room, after, through, limit, READ_BYTES)
            .await?;
        let address = rows::address(room)?;
        let mut seqs = Vec::with_capacity(found.len());
        for row in found {
            seqs.push(row.seq);
            let entry: Entry = rows::entry(&address, row)?;
            let notice = Notice::Entry(entry);
            self.push(MessageType::Normal, &address, &notice).await?;
        }
        self.feed.sent_entries(room, &seqs);
        Ok(())
    }

    /// Entries that were made ready for everybody when they came.
    fn ready(&mut self, room: &str, following: Following) -> Result<(), Fault> {
        let mut seqs = Vec::with_capacity(following.entries.len());
        for (seq, stanza) in following.entries {
            let session = &self.signals.session;
            let stanza = Stanza::clone(&stanza).with_to(session.clone());
            self.send(stanza)?;
            seqs.push(seq);
        }
        self.feed.sent_entries(room, &seqs);
        if following.complete {
            self.feed.at_end(room);
        }
        Ok(())
    }

    /// Into the session's queue, which the window keeps from running over.
    async fn push(&self, kind: MessageType, room: &BareJid, notice: &Notice) -> Result<(), Fault> {
        let session = &self.signals.session;
        let mut payload = notice.to_element();
        let put = mls_blob::put_out(&self.home, &mut payload).await;
        put.map_err(|refusal| Fault::Storage(refusal.to_string()))?;
        let stanza = Stanza::new(Kind::Message(kind))
            .with_from(room.clone())
            .with_to(session.clone())
            .with(&payload);
        self.send(stanza)
    }

    fn send(&self, stanza: Stanza) -> Result<(), Fault> {
        self.home
            .sessions
            .send(&self.signals.session, Arc::new(stanza))
            .map_err(|_| Fault::Over)
    }
}
