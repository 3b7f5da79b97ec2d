//! Messages that are shown to the hub's operator: what was said, and nothing else.

use comity_mls_credential::franking;
use comity_mls_wire::authenticated::AuthenticatedData;
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{Answer, MessageReport, Request};
use comity_storage::rooms::{AbuseReport, DiscardAbuseReport};
use uuid::Uuid;

use super::members::invite;
use super::world::{Device, World, key};
use crate::room::Limits;

const KEY: franking::Key = [7; 32];

struct Stage {
    world: World,
    alice: Device,
    bob: Device,
}

impl Stage {
    async fn new() -> Self {
        let world = World::new().await;
        let mut alice = world.room().await;
        let bob = world.device("bob@b.example", 2);
        let bob = invite(&world, &mut alice, bob).await;
        Self { world, alice, bob }
    }

    /// Alice says it, with that beside it; what shows it.
    async fn says(&mut self, id: u128, words: &str, data: Vec<u8>) -> MessageReport {
        let epoch = self.alice.group().current_epoch();
        let message = self
            .alice
            .group()
            .encrypt_application_message(words.as_bytes(), data);
        let request = Request::Send {
            key: key(),
            epoch,
            message: message.unwrap().to_bytes().unwrap().into(),
        };
        MessageReport {
            seq: self.world.accept(&self.alice, request).await.seq,
            ..said(id, words)
        }
    }

    async fn franked(&mut self, id: u128, words: &str) -> MessageReport {
        let tag = message(&said(id, words)).tag(&KEY).unwrap();
        let data = AuthenticatedData::franked(tag).to_bytes().unwrap();
        self.says(id, words, data).await
    }

    async fn report(&self, by: &Device, report: MessageReport) {
        let request = Request::ReportMessage(Box::new(report));
        let answer = self.world.ask(by, request).await.unwrap().answer;
        assert_eq!(answer, Answer::Reported);
    }

    async fn refuse(&self, by: &Device, report: MessageReport) -> Refusal {
        let before = self.kept().await;
        let request = Request::ReportMessage(Box::new(report));
        let refusal = self.world.refuse(by, request).await;
        assert_eq!(self.kept().await, before);
        refusal
    }

    async fn kept(&self) -> Vec<(u64, AbuseReport)> {
        self.world.a.storage.abuse_reports(0, 100).await.unwrap()
    }
}

fn said(id: u128, words: &str) -> MessageReport {
    MessageReport {
        seq: 0,
        id: Uuid::from_u128(id),
        content_type: "text".to_owned(),
        content: words.as_bytes().to_vec().into(),
        key: KEY,
        why: "threats".to_owned(),
    }
}

fn message(report: &MessageReport) -> franking::Message<'_> {
    franking::Message {
        id: report.id.as_bytes(),
        content_type: &report.content_type,
        content: &report.content,
    }
}

#[tokio::test]
async fn a_report_proves_who_said_it_and_is_kept_once() {
    let mut stage = Stage::new().await;
    let report = stage.franked(1, "I know where you live").await;
    stage.report(&stage.bob, report.clone()).await;
    // Sent again because the answer was lost.
    stage.report(&stage.bob, report.clone()).await;
    let kept = stage.kept().await;
    assert_eq!(kept.len(), 1);
    let (number, found) = &kept[0];
    assert_eq!(found.sender, "alice@a.example");
    assert_eq!(found.device, Some(stage.alice.member.device.into_bytes()));
    assert_eq!(found.reporter, "bob@b.example");
    assert_eq!(found.content, b"I know where you live");
    assert_eq!((found.seq, found.why.as_str()), (report.seq, "threats"));
    // Of who was put out the report counts all the same: it has the key.
    let gone = stage.alice.leaf_of(&stage.bob);
    let bundle = stage.alice.bundle(&[], &[gone]);
    stage.world.commit(&mut stage.alice, bundle).await;
    let storage = &stage.world.a.storage;
    let discard = DiscardAbuseReport { id: *number };
    assert!(storage.write(discard).await.unwrap());
    let discard = DiscardAbuseReport { id: *number };
    assert!(!storage.write(discard).await.unwrap());
    stage.report(&stage.bob, report).await;
    assert_eq!(stage.kept().await.len(), 1);
}

#[tokio::test]
async fn what_was_not_said_proves_nothing() {
    let mut stage = Stage::new().await;
    let report = stage.franked(1, "I know where you live").await;
    let other = stage.franked(2, "see you tomorrow").await;
    let untagged = stage.says(3, "nobody can show this", Vec::new()).await;
    let garbage = stage.says(4, "nor this", b"garbage".to_vec()).await;
    let with = |change: fn(&mut MessageReport)| {
        let mut changed = report.clone();
        change(&mut changed);
        changed
    };
    let cases = [
        (
            "other words",
            with(|r| r.content = b"I love you".as_slice().into()),
        ),
        (
            "another type",
            with(|r| r.content_type = "image".to_owned()),
        ),
        ("another id", with(|r| r.id = Uuid::from_u128(2))),
        ("another key", with(|r| r.key[0] ^= 1)),
        (
            "the place of another message",
            MessageReport {
                seq: other.seq,
                ..report.clone()
            },
        ),
        ("the place of a commit", with(|r| r.seq = 2)),
        ("the place of the creation", with(|r| r.seq = 1)),
        ("no place", with(|r| r.seq = 99)),
        ("no tag", untagged),
        ("a tag that is none", garbage),
    ];
    for (what, report) in cases {
        let refusal = stage.refuse(&stage.bob, report).await;
        assert!(
            matches!(refusal, Refusal::BadRequest { .. }),
            "{what}: {refusal:?}"
        );
    }
    let own = stage.refuse(&stage.alice, report.clone()).await;
    assert!(matches!(own, Refusal::BadRequest { .. }), "{own:?}");
    // Who was never there does not even learn that there is a room.
    let eve = stage.world.device("eve@b.example", 9);
    let guess = with(|r| r.key[0] ^= 1);
    assert_eq!(stage.refuse(&eve, guess).await, Refusal::NoRoom);
}

#[tokio::test]
async fn reports_have_their_limits() {
    let mut stage = Stage::new().await;
    let limits = Limits::default();
    let mut last = None;
    for number in 0..=limits.reports_per_day {
        let report = stage.franked(number as u128, "again").await;
        if number < limits.reports_per_day {
            stage.report(&stage.bob, report).await;
        } else {
            last = Some(report);
        }
    }
    let refusal = stage.refuse(&stage.bob, last.unwrap()).await;
    assert!(
        matches!(&refusal, Refusal::LimitReached { limit } if limit.contains("in a day")),
        "{refusal:?}"
    );
    assert_eq!(stage.kept().await.len(), limits.reports_per_day);
}
