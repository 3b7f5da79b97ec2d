//! What a domain's server gives its syncing devices: Welcomes, then of each room what they lack. Only
//! those are looked at for whom there may be something new.

use comity_mls_engine::Notice;
use comity_mls_service::room::rows;
use comity_mls_wire::room::{Entry, Member};
use comity_mls_wire::sync;
use comity_storage::rooms::{DeviceRoom, DeviceView};
use comity_xmpp::jid::BareJid;

use super::fleet::{Fleet, Input, jid};

/// Entries and Welcomes read at a time.
pub(super) const PAGE: usize = 64;
const PAGE_BYTES: usize = 1 << 20;

impl Fleet {
    /// A domain's copy of a room has grown, by this entry if it is known.
    pub(super) fn grew(&mut self, domain: &str, room: &BareJid, entry: Option<&Entry>) {
        let changes = entry.map_or(&[][..], |entry| &entry.changes);
        for change in changes.iter().filter(|change| change.joined) {
            let member = &change.member;
            if member.account.domain() == domain
                && let Some(client) = self.client_of(member)
            {
                self.hungry.insert(client);
            }
        }
        self.grown.insert((domain.to_owned(), room.clone()));
    }

    pub(super) fn has_news(&self) -> bool {
        !self.grown.is_empty() || !self.hungry.is_empty()
    }

    /// Hands syncing devices what their servers hold for them.
    pub(super) async fn push(&mut self) {
        for client in std::mem::take(&mut self.hungry) {
            if let Some(member) = self.member(client)
                && self.clients[client].sent.is_some()
            {
                self.push_welcomes(client, &member).await;
                self.push_entries(client, &member, None).await;
            }
        }
        for (domain, room) in std::mem::take(&mut self.grown) {
            let audience = self.audience.get(&(domain, room.clone()));
            for client in audience.cloned().unwrap_or_default() {
                if let Some(member) = self.member(client)
                    && self.clients[client].sent.is_some()
                {
                    self.push_entries(client, &member, Some(&room)).await;
                }
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

    async fn push_entries(&mut self, client: usize, member: &Member, only: Option<&BareJid>) {
        let domain = member.account.domain();
        let storage = self.servers[domain].storage.clone();
        let (name, id) = (member.account.as_str(), member.device.into_bytes());
        let only = only.map(BareJid::as_str);
        for stretch in storage.device_rooms(name, id, only).await.unwrap() {
            let key = (domain.to_owned(), jid(&stretch.room));
            self.audience.entry(key).or_default().insert(client);
            self.push_stretch(client, member, &stretch).await;
        }
    }

    async fn push_stretch(&mut self, client: usize, member: &Member, stretch: &DeviceRoom) {
        let room = jid(&stretch.room);
        let sent = self.clients[client].sent.as_ref();
        let sent = sent.and_then(|sent| sent.get(&room).copied());
        let after = sent.unwrap_or(stretch.cursor).max(stretch.since);
        let through = stretch.until.unwrap_or(u64::MAX);
        if after >= through || after >= stretch.held {
            return;
        }
        let view = DeviceView {
            account: member.account.as_str(),
            domain: member.account.domain(),
            device: member.device.into_bytes(),
        };
        let storage = self.servers[view.domain].storage.clone();
        let found = storage
            .device_entries(view, &stretch.room, after, through, PAGE, PAGE_BYTES)
            .await
            .unwrap();
        let Some(last) = found.last().map(|row| row.seq) else {
            return;
        };
        // There may be more.
        self.hungry.insert(client);
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

    fn hand(&mut self, client: usize, notice: sync::Notice) {
        let notice = Box::new(Notice::Sync(notice));
        self.clients[client].inbox.push_back(Input::Notice(notice));
    }
}
