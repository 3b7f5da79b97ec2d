//! A hub that shows one device another log than the others: what it leaves out, repeats, moves or
//! makes up there is numbered, chained and signed as if it were true.

use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{Accepted, Answer, Entry, EntryKind, GENESIS, Member};

use super::hub::Room;

impl Room {
    /// From here on this device is shown a log of its own, which `lie` has its way with.
    pub fn lie_to(&mut self, member: &Member, lie: impl FnOnce(&mut Vec<Entry>)) {
        let mut log = self.log_of(member).to_vec();
        lie(&mut log);
        self.shown.insert(member.clone(), Vec::new());
        for entry in log {
            self.show_to(member, entry);
        }
    }

    /// The same, and nobody has seen to it that it fits.
    pub fn garble_for(&mut self, member: &Member, lie: impl FnOnce(&mut Vec<Entry>)) {
        let mut log = self.log_of(member).to_vec();
        lie(&mut log);
        self.shown.insert(member.clone(), log);
    }

    /// The device is shown what everybody is shown.
    pub fn is_honest_to(&mut self, member: &Member) {
        self.shown.remove(member);
    }

    pub(super) fn log_of(&self, member: &Member) -> &[Entry] {
        self.shown.get(member).unwrap_or(&self.log)
    }

    /// A true entry, for those who are shown something else.
    pub(super) fn show(&mut self, entry: &Entry) {
        let lied_to: Vec<Member> = self.shown.keys().cloned().collect();
        for member in lied_to {
            self.show_to(&member, entry.clone());
        }
    }

    fn show_to(&mut self, member: &Member, mut entry: Entry) {
        let log = &self.shown[member];
        entry.seq = log.len() as u64 + 1;
        entry.head = entry.computed_head(&log.last().map_or(GENESIS, |last| last.head));
        if entry.kind == EntryKind::Commit {
            entry.signature = Some(self.sign_head(&entry));
        }
        self.shown.entry(member.clone()).or_default().push(entry);
    }

    /// An answer that fits what the device is shown.
    pub(super) fn as_shown(
        &self,
        member: &Member,
        answer: Result<Answer, Refusal>,
    ) -> Result<Answer, Refusal> {
        let Some(shown) = self.shown.get(member) else {
            return answer;
        };
        let Ok(Answer::Accepted(accepted)) = &answer else {
            return answer;
        };
        let Some(truth) = self.log.iter().find(|e| e.seq == accepted.seq) else {
            return answer;
        };
        let same = |entry: &&Entry| entry.payload == truth.payload && entry.kind == truth.kind;
        let Some(entry) = shown.iter().rev().find(same) else {
            return answer;
        };
        Ok(Answer::Accepted(Accepted {
            seq: entry.seq,
            head: entry.head,
            ..accepted.clone()
        }))
    }
}
