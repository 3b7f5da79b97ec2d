//! Commits that members say they cannot apply.

use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{Answer, EntryKind, Notice, Request, payload_hash};

use super::members::invite;
use super::world::{Device, NOW, World, room};

struct Stage {
    world: World,
    alice: Device,
    bob: Device,
    carol: Device,
}

impl Stage {
    async fn new() -> Self {
        let world = World::new().await;
        let mut alice = world.room().await;
        let bob = world.device("bob@b.example", 2);
        let mut bob = invite(&world, &mut alice, bob).await;
        let carol = world.device("carol@b.example", 3);
        let bundle = alice.bundle(&[&carol], &[]);
        bob.follow(&bundle.commit);
        let welcome = bundle.welcome.clone().unwrap();
        world.commit(&mut alice, bundle).await;
        let tree = alice.group().export_tree().to_bytes().unwrap();
        let mut carol = carol;
        carol.join(&welcome, &tree);
        Self {
            world,
            alice,
            bob,
            carol,
        }
    }

    /// Bob commits; the report of it.
    async fn bob_commits(&mut self) -> Request {
        let bundle = self.bob.bundle(&[], &[]);
        let hash = payload_hash(&bundle.commit);
        self.alice.follow(&bundle.commit);
        self.carol.follow(&bundle.commit);
        let accepted = self.world.commit(&mut self.bob, bundle).await;
        Request::Report {
            seq: accepted.seq,
            hash,
            why: "garbage".to_owned(),
        }
    }

    async fn report(&self, by: &Device, report: &Request) -> bool {
        let reply = self.world.ask(by, report.clone()).await.unwrap();
        assert_eq!(reply.answer, Answer::Reported);
        reply.entry.is_some()
    }

    async fn bob_may_commit(&mut self) -> bool {
        let bundle = self.bob.bundle(&[], &[]);
        let asked = self.world.ask(&self.bob, Request::Commit(bundle)).await;
        self.bob.group().clear_pending_commit();
        match asked {
            Ok(_) => true,
            Err(Refusal::NotAllowed { .. }) => false,
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn whose_commit_several_accounts_cannot_apply_commits_no_more() {
    let mut stage = Stage::new().await;
    let report = stage.bob_commits().await;
    assert!(!stage.report(&stage.alice, &report).await);
    assert!(stage.report(&stage.carol, &report).await);
    // It stands in the log, once, and the epoch stands.
    assert!(!stage.report(&stage.alice, &report).await);
    let room = room();
    let entries = stage
        .world
        .a
        .storage
        .room_entries(room.as_str(), 0, u64::MAX, 99, usize::MAX);
    let last = entries.await.unwrap().pop().unwrap();
    assert_eq!(last.kind, EntryKind::Notice.octet());
    let notice = Notice::from_bytes(&last.payload.unwrap());
    let Some(Notice::Barred(barred)) = notice else {
        panic!("{notice:?}")
    };
    assert_eq!(barred.member().as_ref(), Some(&stage.bob.member));
    assert_eq!(stage.world.info(&stage.bob).await.epoch, 3);
    assert!(!stage.bob_may_commit().await);
    // Nobody is given what he made; another's commit replaces it.
    let refusal = stage.world.refuse(&stage.carol, Request::GroupInfo).await;
    assert!(
        matches!(refusal, Refusal::RateLimited { .. }),
        "{refusal:?}"
    );
    let bundle = stage.alice.bundle(&[], &[]);
    stage.bob.follow(&bundle.commit);
    stage.carol.follow(&bundle.commit);
    stage.world.commit(&mut stage.alice, bundle).await;
    stage.carol.outside(&stage.world).await;
    // A hub that starts anew knows it still; he may speak all the same.
    stage.world.a.hub = stage.world.a.restarted(&stage.world.cas);
    assert!(!stage.bob_may_commit().await);
    let said = stage.bob.message("it was not me");
    stage.world.accept(&stage.bob, said).await;
    // Removed and added again he begins anew.
    let leaf = stage.alice.leaf_of(&stage.bob);
    let bundle = stage.alice.bundle(&[], &[leaf]);
    stage.world.commit(&mut stage.alice, bundle).await;
    let bob = stage.world.device("bob@b.example", 2);
    stage.bob = invite(&stage.world, &mut stage.alice, bob).await;
    assert!(stage.bob_may_commit().await);
}

#[tokio::test]
async fn false_reports_of_one_liar_change_nothing() {
    let mut stage = Stage::new().await;
    let report = stage.bob_commits().await;
    let before = stage.world.facts().await;
    for _ in 0..3 {
        assert!(!stage.report(&stage.carol, &report).await);
    }
    // Bob's own word of himself counts for nothing.
    assert!(!stage.report(&stage.bob, &report).await);
    assert_eq!(stage.world.facts().await, before);
    stage.carol.outside(&stage.world).await;
    // What is no commit of this log, or is another; and who is a stranger.
    let Request::Report { seq, hash, why } = report else {
        unreachable!()
    };
    for (seq, hash) in [(seq, [0; 32]), (1, hash), (seq + 1, hash)] {
        let why = why.clone();
        let refusal = stage
            .world
            .refuse(&stage.alice, Request::Report { seq, hash, why });
        assert!(matches!(refusal.await, Refusal::BadRequest { .. }));
    }
    let eve = stage.world.device("eve@b.example", 9);
    let report = Request::Report { seq, hash, why };
    assert_eq!(stage.world.refuse(&eve, report).await, Refusal::NoRoom);
    assert!(stage.bob_may_commit().await);
}

/// It may be the fault of whoever made the GroupInfo that it came by.
#[tokio::test]
async fn who_came_by_itself_is_not_barred_for_it() {
    let mut stage = Stage::new().await;
    let mut again = stage.world.device("bob@b.example", 2);
    let outside = again.outside(&stage.world).await;
    let old = stage.alice.leaf_of(&stage.bob);
    let endorsement = stage.bob.endorse(&again, *NOW / 1000 + 3600);
    let data = comity_mls_wire::authenticated::AuthenticatedData::endorsing(vec![endorsement]);
    let bundle = again.external(&outside, Some(old), data.to_bytes().unwrap());
    let hash = payload_hash(&bundle.commit);
    let accepted = stage.world.commit_external(&again, bundle).await;
    let report = Request::Report {
        seq: accepted.seq,
        hash,
        why: "wrong tag".to_owned(),
    };
    assert!(!stage.report(&stage.alice, &report).await);
    assert!(!stage.report(&stage.carol, &report).await);
    stage.carol.outside(&stage.world).await;
    stage.bob = again;
    assert!(stage.bob_may_commit().await);
}
