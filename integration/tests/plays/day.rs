//! A day that takes six weeks: three people of two domains with five devices, that come late, are away
//! for weeks, lose their state and recover, and are revoked. At the end every message that a device was
//! entitled to was shown on it once, in order, and none other.

mod device;

use std::fs;
use std::path::Path;
use std::time::Duration;

use comity_xmpp::jid::BareJid;
use device::Device;
use integration::clock::{self, Clock};
use integration::stage::{PASSWORD, Stage};

const DAY: Duration = Duration::from_secs(24 * 3600);
const DOMAINS: [&str; 2] = ["montague.example", "capulet.example"];
/// Nothing more comes after so long.
const QUIET: Duration = Duration::from_secs(2);

/// The room, who is in it, and what was said there.
struct Play<'a> {
    clock: &'a Clock,
    stage: Stage,
    room: BareJid,
    devices: Vec<Device>,
    said: Vec<(String, String)>,
}

#[test]
fn a_day_of_three_people_and_five_devices() {
    clock::play("day::a_day_of_three_people_and_five_devices", story);
}

async fn story(clock: &Clock) {
    let mut play = Play::begins(clock).await;
    play.devices_join_late().await;
    play.one_is_away_for_weeks().await;
    play.one_is_put_back_to_an_older_state().await;
    play.one_is_lost_and_replaced().await;
    play.one_is_revoked().await;
    play.ends().await;
}

impl<'a> Play<'a> {
    /// Romeo's and Juliet's laptops, and Mercutio's only device.
    async fn begins(clock: &'a Clock) -> Self {
        let mut stage = Stage::set("day", &DOMAINS);
        for home in &mut stage.homes {
            home.set_s2s("retry_first = \"100ms\"\nretry_most = \"2s\"\n")
                .unwrap();
            home.stop().unwrap();
            home.start().unwrap();
        }
        for (home, name) in [(0, "romeo"), (0, "mercutio"), (1, "juliet")] {
            stage.homes[home].add_user(name, PASSWORD).unwrap();
        }
        let device = |name, account| Device::new(name, account, stage.folder());
        let mut devices = vec![
            device("romeo's laptop", "romeo@montague.example"),
            device("juliet's laptop", "juliet@capulet.example"),
            device("mercutio", "mercutio@montague.example"),
            device("juliet's phone", "juliet@capulet.example"),
            device("romeo's phone", "romeo@montague.example"),
        ];
        for first in &mut devices[..3] {
            first.start(&stage.homes[home_of(first)]).await;
        }
        let create = devices[0].verb(|engine, now| engine.create_room(Some("Verona"), now));
        let room = create.await;
        let mut play = Self {
            clock,
            stage,
            room,
            devices,
            said: Vec::new(),
        };
        play.devices[0].entitled.push((0, None));
        play.say(0, "is anybody there?").await;
        play.invites(0, 1).await;
        play.say(0, "good morrow").await;
        play.invites(1, 2).await;
        play.round("the first morning").await;
        play
    }

    async fn devices_join_late(&mut self) {
        self.days_pass(3).await;
        for (first, late) in [(1, 3), (0, 4)] {
            let home = home_of(&self.devices[late]);
            self.devices[late].start(&self.stage.homes[home]).await;
            self.confirms(first, late).await;
            self.round(&format!("with {}", self.devices[late].name))
                .await;
            self.days_pass(2).await;
        }
        self.round("all five").await;
    }

    async fn one_is_away_for_weeks(&mut self) {
        self.leaves_for_now(2).await;
        for week in 1..=3 {
            self.days_pass(7).await;
            self.round(&format!("week {week} without him")).await;
            let renewing = if week % 2 == 0 { 1 } else { 0 };
            self.renews(renewing).await;
        }
        self.comes_back(2).await;
        self.round("he is back").await;
    }

    /// Juliet's phone is restored from a backup: what was said since it was made it can read no more,
    /// and says so.
    async fn one_is_put_back_to_an_older_state(&mut self) {
        self.leaves_for_now(3).await;
        let backup = self.stage.folder().join("backup");
        copy(self.devices[3].folder(), &backup);
        self.comes_back(3).await;
        self.renews(3).await;
        self.round("after the backup").await;
        self.leaves_for_now(3).await;
        let before = self.said.len();
        self.round("while the phone is in the lake").await;
        copy(&backup, self.devices[3].folder());
        let unreadable = self.devices[3].seen(|seen| seen.unreadable.len());
        self.comes_back(3).await;
        self.devices[3]
            .until("return", |seen| seen.missed.len() == 1)
            .await;
        // It saw the first round when it was said; both cannot be read any more.
        let lost = self.said.len() - before;
        let missed = self.devices[3].seen(|seen| seen.missed[0]);
        let shown = self.devices[3].seen(|seen| seen.unreadable.len());
        assert_eq!(missed, (lost + 5) as u64);
        assert_eq!(shown - unreadable, lost + 5);
        let window = self.devices[3].entitled.last_mut().unwrap();
        window.1 = Some(before);
        self.devices[3].entitled.push((self.said.len(), None));
        self.round("out of the lake").await;
    }

    /// Romeo's phone is gone for good: he ends it, and the next one comes as a new device.
    async fn one_is_lost_and_replaced(&mut self) {
        let lost = self.devices[4].id().await.unwrap();
        self.leaves_for_now(4).await;
        self.devices[4].entitled.last_mut().unwrap().1 = Some(self.said.len());
        self.devices[0]
            .verb(move |engine, now| engine.revoke_device(lost, now))
            .await;
        for witness in [0, 1, 2, 3] {
            self.devices[witness].sees_removed(lost).await;
        }
        self.round("fewer").await;
        self.days_pass(2).await;
        let next = Device::new(
            "romeo's next phone",
            "romeo@montague.example",
            self.stage.folder(),
        );
        self.devices.push(next);
        let new = self.devices.len() - 1;
        self.devices[new].start(&self.stage.homes[0]).await;
        self.confirms(0, new).await;
        self.round("with another phone").await;
    }

    /// The operator ends Mercutio's device: its sessions have no rights any more, and it hears nothing,
    /// not even that it is out.
    async fn one_is_revoked(&mut self) {
        let gone = self.devices[2].id().await.unwrap();
        let account = self.devices[2].account().to_string();
        self.stage.homes[0]
            .comity(&["device", "revoke", &account, &gone.to_string()], "")
            .unwrap();
        self.devices[2].entitled.last_mut().unwrap().1 = Some(self.said.len());
        for witness in [0, 1, 3, 5] {
            self.devices[witness].sees_removed(gone).await;
        }
        self.round("the last evening").await;
    }

    async fn ends(&mut self) {
        tokio::time::sleep(QUIET).await;
        let mut heard = 0;
        for device in &self.devices {
            let lines = device.seen(|seen| seen.lines.clone());
            let in_order = lines.windows(2).all(|pair| pair[0].0 < pair[1].0);
            assert!(in_order, "{}: {lines:#?}", device.name);
            let shown: Vec<_> = lines.into_iter().map(|(_, by, text)| (by, text)).collect();
            let entitled = self.entitled(device);
            assert_eq!(shown, entitled, "{}", device.name);
            let warned = device.seen(|seen| seen.warned.clone());
            let lies = [
                "Fork",
                "Lost",
                "Replayed",
                "ChainBroken",
                "Withheld",
                "Stopped",
            ];
            let bad = warned
                .iter()
                .find(|w| lies.iter().any(|lie| w.starts_with(lie)));
            assert_eq!(bad, None, "{}", device.name);
            heard += shown.len();
        }
        println!(
            "{} messages, shown {heard} times on {} devices",
            self.said.len(),
            self.devices.len()
        );
        let mut authenticators = Vec::new();
        for device in self.devices.iter().filter(|device| device.is_running()) {
            if self.is_in(device) {
                let room = self.room.clone();
                let of = device.verb(move |engine, _| engine.epoch_authenticator(&room));
                authenticators.push(of.await);
            }
        }
        assert_eq!(authenticators.len(), 4);
        assert!(authenticators.windows(2).all(|pair| pair[0] == pair[1]));
    }

    fn entitled(&self, device: &Device) -> Vec<(String, String)> {
        let windows = device.entitled.iter().flat_map(|(from, to)| {
            let to = to.unwrap_or(self.said.len());
            self.said[*from..to].iter().cloned()
        });
        windows.collect()
    }

    fn is_in(&self, device: &Device) -> bool {
        device.entitled.last().is_some_and(|(_, to)| to.is_none())
    }

    /// Whoever is there says something, and whoever is there hears it.
    async fn round(&mut self, about: &str) {
        for speaker in 0..self.devices.len() {
            let there = self.devices[speaker].is_running() && self.is_in(&self.devices[speaker]);
            if there {
                let words = format!("{about}, says {}", self.devices[speaker].name);
                self.say(speaker, &words).await;
            }
        }
    }

    async fn say(&mut self, speaker: usize, words: &str) {
        self.devices[speaker].say(&self.room, words).await;
        let account = self.devices[speaker].account().to_string();
        self.said.push((account, words.to_owned()));
        for device in &self.devices {
            if device.is_running() && self.is_in(device) {
                let here =
                    |seen: &device::Seen| seen.lines.iter().any(|(_, _, text)| text == words);
                device.until(words, here).await;
            }
        }
    }

    async fn invites(&mut self, host: usize, guest: usize) {
        let (room, account) = (self.room.clone(), self.devices[guest].account().clone());
        self.devices[host]
            .verb(move |engine, now| engine.invite(&room, &[account], now))
            .await;
        self.devices[guest].joins(1).await;
        let id = self.devices[guest].id().await.unwrap();
        self.devices[host].sees_added(id).await;
        self.devices[guest].entitled.push((self.said.len(), None));
    }

    /// A further device of somebody comes by its code.
    async fn confirms(&mut self, first: usize, late: usize) {
        let own = self.devices[first].id().await.unwrap();
        let new = self.devices[late].id().await.unwrap();
        let knows = self.devices[first].verb(|engine, now| engine.refresh_devices(now));
        knows.await;
        for (asking, about) in [(first, new), (late, own)] {
            self.knows(asking, about).await;
        }
        let code = self.devices[late]
            .verb(move |engine, _| engine.device_code(own))
            .await
            .to_string();
        self.devices[first]
            .verb(move |engine, now| engine.confirm_device(new, &code, now))
            .await;
        self.devices[late].joins(1).await;
        self.devices[first].sees_added(new).await;
        self.devices[late].entitled.push((self.said.len(), None));
    }

    async fn knows(&self, device: usize, other: uuid::Uuid) {
        for _ in 0..200 {
            let known = self.devices[device].verb(|engine, _| engine.own_devices());
            if known.await.iter().any(|known| known.id == other) {
                return;
            }
            self.devices[device]
                .verb(|engine, now| engine.refresh_devices(now))
                .await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{} does not learn of {other}", self.devices[device].name);
    }

    /// Its keys are other ones, and everybody knows.
    async fn renews(&self, device: usize) {
        let epoch = self.epoch(device).await;
        let room = self.room.clone();
        self.devices[device]
            .verb(move |engine, now| engine.update(&room, now))
            .await;
        for _ in 0..400 {
            if self.epoch(device).await > epoch {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{} gets no other keys", self.devices[device].name);
    }

    async fn epoch(&self, device: usize) -> u64 {
        let rooms = self.devices[device].verb(|engine, _| engine.rooms()).await;
        let found = rooms.into_iter().find(|info| info.room == self.room);
        found.unwrap().epoch
    }

    async fn leaves_for_now(&mut self, device: usize) {
        tokio::time::sleep(QUIET).await;
        let room = self.room.clone();
        self.devices[device].stop(&room).await;
    }

    /// It catches up with what was said meanwhile.
    async fn comes_back(&mut self, device: usize) {
        let home = home_of(&self.devices[device]);
        self.devices[device].start(&self.stage.homes[home]).await;
        if self.is_in(&self.devices[device]) && self.devices[device].name != "juliet's phone" {
            let last = self.said.last().unwrap().1.clone();
            let here = |seen: &device::Seen| seen.lines.iter().any(|(_, _, text)| *text == last);
            self.devices[device].until("the last word", here).await;
        }
    }

    /// Days pass; servers do at their start what they do every hour.
    async fn days_pass(&mut self, days: u32) {
        self.clock.forward(DAY * days);
        for home in &mut self.stage.homes {
            home.stop().unwrap();
            home.start().unwrap();
        }
        for device in self.devices.iter().filter(|device| device.is_running()) {
            device.id().await;
        }
    }
}

fn home_of(device: &Device) -> usize {
    let here = device.account().domain();
    let place = DOMAINS.iter().position(|domain| *domain == here);
    place.unwrap()
}

/// Everything in a folder of files, to another.
fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
