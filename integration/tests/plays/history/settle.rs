//! After the faults: everybody gets the time that it needs, and people do what their devices tell them.

use std::collections::BTreeSet;

use comity_mls_engine::{Event, Refused, RoomState};
use comity_mls_wire::room::Member;

use super::HOUR_MS;
use super::fleet::{Fleet, Place};

/// Who has tried to come back for a whole day tries again the next.
const HOURS: u64 = 50;
const ALL: usize = 100_000;

impl Fleet {
    /// Until all is well, or ought to be.
    pub(super) async fn settle(&mut self) {
        for _ in 0..HOURS {
            self.run_for(HOUR_MS).await;
            self.compare_copies().await;
            self.run_for(60_000).await;
            if self.is_settled().await {
                return;
            }
            for place in self.places.clone() {
                self.invite_the_lost(&place);
            }
        }
    }

    /// Every hour each domain compares its copies with their hubs.
    async fn compare_copies(&mut self) {
        let names: Vec<String> = self.servers.keys().cloned().collect();
        for domain in names {
            let copies = &self.servers[&domain].copies;
            for (room, held) in copies.rooms(&domain, None, ALL).await.unwrap() {
                self.fetch(&domain, &room, held).await;
            }
        }
    }

    /// Those are inside whom the hub has as members, and nobody has anything to say or do there.
    async fn is_settled(&mut self) -> bool {
        for place in self.places.clone() {
            let members = self.members(&place.room).await;
            if self.inside(&place) != members || !self.is_quiet(&place) {
                return false;
            }
        }
        true
    }

    fn inside(&self, Place { room, .. }: &Place) -> BTreeSet<Member> {
        let active = |client: &usize| self.state(*client, room) == Some(RoomState::Active);
        let inside = (0..self.clients.len()).filter(active);
        inside.filter_map(|client| self.member(client)).collect()
    }

    fn is_quiet(&self, Place { room, .. }: &Place) -> bool {
        (0..self.clients.len()).all(|client| {
            let resyncing = self.state(client, room) == Some(RoomState::Resyncing);
            !resyncing && !self.clients[client].has_something_waiting()
        })
    }

    /// A device that lost the key of its leaf says that it has to be put out and invited again. The
    /// owner does so.
    fn invite_the_lost(&mut self, place: &Place) {
        for client in 0..self.clients.len() {
            if self.state(client, &place.room) != Some(RoomState::Resyncing) {
                continue;
            }
            let told = self.clients[client].events.iter().any(|event| {
                matches!(event, Event::Refused { room: Some(room), what: Refused::Resync, why }
                    if *room == place.room && why.contains("invite it again"))
            });
            if told {
                let (now, room) = (self.now, place.room.clone());
                let account = self.clients[client].account.clone();
                self.put_out(place, client);
                self.lost += 1;
                self.input(place.owner, |e| e.invite(&room, &[account], now));
            }
        }
    }
}
