//! How many devices and rooms a history has: most have few and many faults, some have hundreds.

use comity_xmpp::jid::BareJid;

use super::fleet::{Fleet, Place};

/// Of so many seeds one has hundreds of devices.
pub(super) const MANY_EVERY: u64 = 50;

pub(super) struct Shape {
    /// Of each domain.
    accounts: usize,
    /// Every so many accounts one has two devices.
    doubles: usize,
    rooms: usize,
    /// Accounts invited to each room; which, goes round.
    guests: usize,
    /// Things that happen.
    pub(super) steps: usize,
}

impl Shape {
    pub(super) fn of(seed: u64) -> Self {
        match seed {
            // 216 devices in 12 rooms; 24 of the rest in each.
            seed if seed % MANY_EVERY == 0 => Self {
                accounts: 60,
                doubles: 5,
                rooms: 12,
                guests: 24,
                steps: 24,
            },
            seed if seed % 5 == 0 => Self {
                accounts: 6,
                doubles: 3,
                rooms: 4,
                guests: 8,
                steps: 40,
            },
            _ => Self {
                accounts: 3,
                doubles: usize::MAX,
                rooms: 1,
                guests: 6,
                steps: 40,
            },
        }
    }

    /// Devices are enrolled, rooms made, guests invited; all of it without faults.
    pub(super) async fn set_up(&self, fleet: &mut Fleet, domains: &[&str]) {
        for domain in domains {
            for number in 1..=self.accounts {
                let account = format!("p{number}@{domain}");
                fleet.enrolled(&account).await;
                if number % self.doubles == 0 {
                    fleet.enrolled(&account).await;
                }
            }
        }
        let accounts = fleet.accounts();
        for number in 0..self.rooms {
            self.furnish(fleet, &accounts, number).await;
        }
    }

    /// A room of the account after that of the room before, at its own domain, and its guests.
    async fn furnish(&self, fleet: &mut Fleet, accounts: &[BareJid], number: usize) {
        let step = accounts.len() / self.rooms;
        let first = number * step;
        let named = |place: usize| accounts[(first + place) % accounts.len()].clone();
        let guests: Vec<BareJid> = (1..=self.guests).map(named).collect();
        let owner = fleet.device_of(&accounts[first]);
        let now = fleet.now;
        let room = fleet.input(owner, |e| e.create_room(None, now)).unwrap();
        fleet.places.push(Place {
            room: room.clone(),
            owner,
        });
        fleet.input(owner, |e| e.invite(&room, &guests, now));
        fleet.run_for(10_000).await;
        let members = fleet.members(&room).await.len();
        assert!(members > self.guests, "the room begins: {members}");
    }
}
