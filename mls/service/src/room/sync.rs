//! What a syncing device gets next: its Welcomes, then of each room what it lacks, in order; never
//! more at a time than it has shown that it can take.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use comity_mls_wire::sync::Standing;
use comity_storage::rooms::DeviceRoom;

use super::rows;

/// Entries on their way to a device that it has not acknowledged.
pub const WINDOW: u64 = 64;
/// Welcomes on their way to a device that it has not acknowledged.
pub const WELCOME_WINDOW: usize = 4;

/// One device's sync, from its request to the end of its session.
#[derive(Debug, Default)]
pub struct Feed {
    rooms: BTreeMap<String, Place>,
    /// Rooms with something to be read, in the order in which they get their turn.
    turns: VecDeque<String>,
    /// There may be Welcomes that were not sent.
    welcomes_wait: bool,
    welcomes_sent: BTreeSet<[u8; 16]>,
}

/// How far a device has come in a room.
#[derive(Debug, Default)]
struct Place {
    /// What it gets: after `since`, up to and including `until`.
    spans: Vec<(u64, Option<u64>)>,
    sent: u64,
    acknowledged: u64,
    /// Entries on their way. Not the difference of the two above: spans may leave holes.
    unacknowledged: VecDeque<u64>,
}

/// What is to be read from storage now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    Welcomes {
        /// Left out, since they are on their way.
        sent: Vec<[u8; 16]>,
        limit: usize,
    },
    Entries {
        room: String,
        after: u64,
        through: u64,
        limit: usize,
    },
}

/// How a device stands to its rooms, by address: of one that it has left and come back to, the two
/// together.
///
/// # Errors
/// [`rows::Corrupt`] where the database holds an address that is none.
pub fn standings(rooms: &[DeviceRoom]) -> Result<Vec<Standing>, rows::Corrupt> {
    let mut standings: BTreeMap<&str, Standing> = BTreeMap::new();
    for room in rooms {
        let seq = room.until.map_or(room.held, |until| until.min(room.held));
        match standings.get_mut(&*room.room) {
            Some(known) => {
                known.seq = seq.max(known.seq);
                known.since = room.since.max(known.since);
                known.stored = room.cursor.min(known.stored);
            }
            None => {
                let standing = Standing {
                    room: rows::address(&room.room)?,
                    seq,
                    since: room.since,
                    stored: room.cursor,
                };
                standings.insert(&room.room, standing);
            }
        }
    }
    Ok(standings.into_values().collect())
}

impl Feed {
    /// Begins with the rooms as stored, and what the device says it holds of them.
    #[must_use]
    pub fn new(rooms: Vec<DeviceRoom>, cursors: &BTreeMap<String, u64>) -> Self {
        let mut feed = Self {
            welcomes_wait: true,
            ..Self::default()
        };
        for room in rooms {
            let named = cursors.get(&room.room).copied();
            feed.joined(room, named);
        }
        feed
    }

    /// The device gets another stretch of a room: from its cursor, or from `held` where it says so.
    pub fn joined(&mut self, room: DeviceRoom, held: Option<u64>) {
        let place = self.rooms.entry(room.room.clone()).or_default();
        let span = (room.since, room.until);
        match place.spans.iter_mut().find(|(since, _)| *since == span.0) {
            // Known, but it may have ended meanwhile.
            Some(known) => *known = span,
            None => {
                if place.spans.is_empty() {
                    place.sent = held.unwrap_or(room.cursor);
                    place.acknowledged = place.sent;
                }
                place.spans.push(span);
                place.spans.sort_unstable();
            }
        }
        self.turn(room.room);
    }

    /// A room's log has grown.
    pub fn grown(&mut self, room: &str) {
        if self.rooms.contains_key(room) {
            self.turn(room.to_owned());
        }
    }

    /// There may be a Welcome for the device.
    pub fn welcome(&mut self) {
        self.welcomes_wait = true;
    }

    /// Is the device in the room, and has been sent all there is of its log?
    #[must_use]
    pub fn is_there(&self, room: &str) -> bool {
        let waits = self.turns.iter().any(|turn| turn == room);
        let place = self.rooms.get(room);
        !waits && place.is_some_and(|place| place.spans.iter().any(|(_, until)| until.is_none()))
    }

    #[must_use]
    pub fn has(&self, room: &str) -> bool {
        self.rooms.contains_key(room)
    }

    pub fn rooms(&self) -> impl Iterator<Item = &str> {
        self.rooms.keys().map(String::as_str)
    }

    /// What to read next; `None`: nothing, until something happens.
    pub fn want(&mut self) -> Option<Want> {
        if self.welcomes_wait && self.welcomes_sent.len() < WELCOME_WINDOW {
            return Some(Want::Welcomes {
                sent: self.welcomes_sent.iter().copied().collect(),
                limit: WELCOME_WINDOW - self.welcomes_sent.len(),
            });
        }
        let open: u64 = self
            .rooms
            .values()
            .map(|place| place.unacknowledged.len() as u64)
            .sum();
        let room = WINDOW.saturating_sub(open);
        if room == 0 {
            return None;
        }
        while let Some(name) = self.turns.front() {
            if let Some((after, through)) = self.rooms.get(name).and_then(Place::next) {
                return Some(Want::Entries {
                    room: name.clone(),
                    after,
                    through,
                    limit: usize::try_from(room).unwrap_or(usize::MAX),
                });
            }
            self.turns.pop_front();
        }
        None
    }

    /// These Welcomes were sent; none means that there are no more for now.
    pub fn sent_welcomes(&mut self, ids: &[[u8; 16]]) {
        self.welcomes_wait = !ids.is_empty();
        self.welcomes_sent.extend(ids);
    }

    /// These entries of the room whose turn it was were sent; none means that its log ends there.
    pub fn sent_entries(&mut self, room: &str, seqs: &[u64]) {
        let front = self.turns.front().is_some_and(|turn| turn == room);
        if front {
            self.turns.pop_front();
        }
        let Some(place) = self.rooms.get_mut(room) else {
            return;
        };
        let Some(last) = seqs.last() else {
            return;
        };
        place.sent = *last;
        place.unacknowledged.extend(seqs);
        // There may be more; the other rooms come first.
        self.turn(room.to_owned());
    }

    /// Nothing follows what was sent of the room, until it grows.
    pub fn at_end(&mut self, room: &str) {
        self.turns.retain(|turn| turn != room);
    }

    /// The device holds everything up to `seq`.
    pub fn acknowledged(&mut self, room: &str, seq: u64) {
        let Some(place) = self.rooms.get_mut(room) else {
            return;
        };
        place.acknowledged = place.acknowledged.max(seq.min(place.sent));
        while place
            .unacknowledged
            .front()
            .is_some_and(|first| *first <= place.acknowledged)
        {
            place.unacknowledged.pop_front();
        }
        let held = place.acknowledged;
        place
            .spans
            .retain(|(_, until)| until.is_none_or(|until| until > held));
        if place.spans.is_empty() {
            self.rooms.remove(room);
            self.turns.retain(|turn| turn != room);
        }
    }

    /// The device needs a Welcome no longer.
    pub fn acknowledged_welcome(&mut self, id: &[u8; 16]) {
        self.welcomes_sent.remove(id);
    }

    fn turn(&mut self, room: String) {
        if !self.turns.contains(&room) {
            self.turns.push_back(room);
        }
    }
}

impl Place {
    /// The next stretch: after, through.
    fn next(&self) -> Option<(u64, u64)> {
        self.spans.iter().find_map(|(since, until)| {
            let through = until.unwrap_or(u64::MAX);
            (self.sent < through).then(|| (self.sent.max(*since), through))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(name: &str, since: u64, until: Option<u64>, cursor: u64) -> DeviceRoom {
        DeviceRoom {
            room: name.to_owned(),
            since,
            until,
            cursor,
            held: 0,
        }
    }

    fn entries(want: Option<Want>) -> (String, u64, u64, usize) {
        match want {
            Some(Want::Entries {
                room,
                after,
                through,
                limit,
            }) => (room, after, through, limit),
            other => panic!("{other:?}"),
        }
    }

    /// A feed whose Welcomes are done with.
    fn feed(rooms: Vec<DeviceRoom>, cursors: &[(&str, u64)]) -> Feed {
        let cursors = cursors
            .iter()
            .map(|(room, seq)| ((*room).to_owned(), *seq))
            .collect();
        let mut feed = Feed::new(rooms, &cursors);
        assert!(matches!(feed.want(), Some(Want::Welcomes { .. })));
        feed.sent_welcomes(&[]);
        feed
    }

    #[test]
    fn welcomes_come_first_and_a_few_at_a_time() {
        let mut feed = Feed::new(vec![room("r", 1, None, 1)], &BTreeMap::new());
        let expected = Want::Welcomes {
            sent: Vec::new(),
            limit: WELCOME_WINDOW,
        };
        assert_eq!(feed.want(), Some(expected));
        feed.sent_welcomes(&[[1; 16], [2; 16], [3; 16], [4; 16]]);
        // The window is full; entries go on.
        assert_eq!(entries(feed.want()).0, "r");
        feed.acknowledged_welcome(&[2; 16]);
        let expected = Want::Welcomes {
            sent: vec![[1; 16], [3; 16], [4; 16]],
            limit: 1,
        };
        assert_eq!(feed.want(), Some(expected));
        feed.sent_welcomes(&[]);
        assert_eq!(entries(feed.want()).0, "r");
    }

    #[test]
    fn begins_where_the_device_says_or_was() {
        let mut one = feed(vec![room("r", 3, None, 7)], &[]);
        assert_eq!(entries(one.want()), ("r".into(), 7, u64::MAX, 64));
        let mut one = feed(vec![room("r", 3, None, 7)], &[("r", 5)]);
        assert_eq!(entries(one.want()).1, 5);
        // Never what was before its joining.
        let mut one = feed(vec![room("r", 3, None, 7)], &[("r", 0)]);
        assert_eq!(entries(one.want()).1, 3);
    }

    #[test]
    fn stops_at_the_window_until_acknowledged() {
        let mut feed = feed(vec![room("r", 0, None, 0)], &[]);
        entries(feed.want());
        let first: Vec<u64> = (1..=60).collect();
        feed.sent_entries("r", &first);
        assert_eq!(entries(feed.want()), ("r".into(), 60, u64::MAX, 4));
        feed.sent_entries("r", &[61, 62, 63, 64]);
        assert_eq!(feed.want(), None);
        feed.acknowledged("r", 10);
        assert_eq!(entries(feed.want()), ("r".into(), 64, u64::MAX, 10));
        // What was never sent cannot be acknowledged.
        feed.acknowledged("r", 1000);
        assert_eq!(entries(feed.want()), ("r".into(), 64, u64::MAX, 64));
    }

    #[test]
    fn rests_at_the_end_of_a_log_until_it_grows() {
        let mut feed = feed(vec![room("r", 0, None, 4)], &[]);
        entries(feed.want());
        feed.sent_entries("r", &[]);
        assert_eq!(feed.want(), None);
        feed.grown("another");
        assert_eq!(feed.want(), None);
        feed.grown("r");
        assert_eq!(entries(feed.want()).1, 4);
    }

    #[test]
    fn rooms_take_turns() {
        let mut feed = feed(vec![room("a", 0, None, 0), room("b", 0, None, 0)], &[]);
        assert_eq!(entries(feed.want()).0, "a");
        feed.sent_entries("a", &[1, 2]);
        assert_eq!(entries(feed.want()).0, "b");
        feed.sent_entries("b", &[1]);
        assert_eq!(entries(feed.want()).0, "a");
    }

    #[test]
    fn a_device_learns_how_it_stands() {
        const ROOM: &str = "~aaaaaaaaaaaaaaaaaaaaaaaaaa@b.example";
        const OTHER: &str = "~bbbbbbbbbbbbbbbbbbbbbbbbbb@b.example";
        let held = |mut room: DeviceRoom, held| {
            room.held = held;
            room
        };
        let rooms = [
            held(room(ROOM, 2, Some(4), 3), 12),
            held(room(ROOM, 9, None, 9), 12),
            held(room(OTHER, 1, Some(8), 5), 6),
        ];
        let found = standings(&rooms).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|s| (s.room.as_str(), s.seq, s.since, s.stored))
            .collect();
        assert_eq!(found, [(ROOM, 12, 9, 3), (OTHER, 6, 1, 5)]);
        standings(&[room("", 0, None, 0)]).unwrap_err();
    }

    #[test]
    fn ends_with_the_removal_and_goes_on_after_a_return() {
        let rooms = vec![room("r", 2, Some(4), 2), room("r", 9, None, 9)];
        let mut feed = feed(rooms, &[]);
        assert_eq!(entries(feed.want()), ("r".into(), 2, 4, 64));
        feed.sent_entries("r", &[3, 4]);
        assert_eq!(entries(feed.want()), ("r".into(), 9, u64::MAX, 62));
        feed.sent_entries("r", &[10]);
        feed.acknowledged("r", 4);
        assert!(feed.has("r"));
        feed.joined(room("r", 9, Some(10), 9), None);
        feed.acknowledged("r", 10);
        assert!(!feed.has("r"));
        assert_eq!(feed.want(), None);
    }
}
