//! Commits of those who come by themselves.

use comity_mls_wire::authenticated::{AuthenticatedData, Endorsement, Rejoin};
use comity_mls_wire::policy::{ExternalJoins, Policy};
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{Bundle, Request};

use super::members::{invite, propose};
use super::world::{Device, NOW, Outside, World, key};
use crate::room::Outcome;

const HOUR_S: u64 = 3600;

struct Stage {
    world: World,
    alice: Device,
    bob: Device,
}

impl Stage {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Policy)) -> Self {
        let world = World::new().await;
        let mut alice = world.device("alice@a.example", 1);
        let mut policy = Policy::of_creator(&alice.member.account);
        change(&mut policy);
        let create = alice.create(&world.a, &policy);
        world.ask(&alice, Request::Create(create)).await.unwrap();
        let bob = world.device("bob@b.example", 2);
        let bob = invite(&world, &mut alice, bob).await;
        Self { world, alice, bob }
    }

    /// What Bob's leaf says for another, and nothing else.
    fn vouched(&mut self, new: &Device) -> Vec<u8> {
        said(vec![self.bob.endorse(new, *NOW / 1000 + HOUR_S)], None)
    }

    /// Bob's device as it is after it has lost all but its name.
    fn anew(&self) -> Device {
        self.world.device("bob@b.example", 2)
    }

    async fn refuse(&self, device: &Device, bundle: Bundle) -> Refusal {
        self.world.refuse(device, Request::Commit(bundle)).await
    }
}

fn said(endorsements: Vec<Endorsement>, rejoin: Option<Rejoin>) -> Vec<u8> {
    let data = AuthenticatedData {
        endorsements,
        rejoin,
        ..AuthenticatedData::default()
    };
    data.to_bytes().unwrap()
}

fn forbidden(refusal: &Refusal) {
    assert!(matches!(refusal, Refusal::NotAllowed { .. }), "{refusal:?}");
}

#[tokio::test]
async fn a_further_device_comes_by_itself_with_its_accounts_word() {
    let mut stage = Stage::new().await;
    let mut tablet = stage.world.device("bob@b.example", 3);
    let outside = tablet.outside(&stage.world).await;
    let data = stage.vouched(&tablet);
    let bundle = tablet.external(&outside, None, data);
    let accepted = stage
        .world
        .accept(&tablet, Request::Commit(bundle.clone()))
        .await;
    assert_eq!((accepted.seq, accepted.epoch), (3, 2));
    for member in [&mut stage.alice, &mut stage.bob] {
        member.follow(&bundle.commit);
    }
    assert_eq!(stage.world.info(&stage.alice).await.members.len(), 3);
    // All of them are in one epoch: what the tablet says is read.
    let said = stage.alice.message("welcome");
    let Request::Send { message, .. } = &said else {
        unreachable!()
    };
    tablet.follow(message);
    stage.world.accept(&stage.alice, said).await;
    // Its domain takes the entry as that of a device that joins, without a Welcome.
    let outbox = stage.world.outbox(0).await;
    let fanout = &outbox.iter().find(|(_, f)| f.entry.seq == 3).unwrap().1;
    assert!(fanout.welcome.is_none());
    assert!(fanout.entry.changes[0].joined);
    let outcomes = stage.world.carry().await;
    assert_eq!(outcomes.last(), Some(&Outcome::Stored { welcome: None }));
    let rooms = stage
        .world
        .b
        .storage
        .device_rooms("bob@b.example", tablet.member.device.into_bytes(), None)
        .await
        .unwrap();
    assert_eq!((rooms[0].since, rooms[0].until), (3, None));
    // The next commit is a member's like any other, and the next external one begins from it.
    let bundle = tablet.bundle(&[], &[]);
    stage.world.commit(&mut tablet, bundle).await;
}

#[tokio::test]
async fn a_device_takes_its_own_place_again() {
    let mut stage = Stage::new().await;
    let mut again = stage.anew();
    let outside = again.outside(&stage.world).await;
    let old = stage.alice.leaf_of(&stage.bob);
    let endorsement = stage.bob.endorse(&again, *NOW / 1000 + HOUR_S);
    let rejoin = Rejoin {
        epoch: 1,
        mac: [7; 32],
    };
    let data = said(vec![endorsement], Some(rejoin));
    let bundle = again.external(&outside, Some(old), data);
    let commit = bundle.commit.clone();
    stage.world.commit_external(&again, bundle).await;
    stage.alice.follow(&commit);
    assert_eq!(stage.world.info(&again).await.members.len(), 2);
    // It reads on where it was: it neither went nor came.
    let outbox = stage.world.outbox(0).await;
    let fanout = &outbox.iter().find(|(_, f)| f.entry.seq == 3).unwrap().1;
    assert!(fanout.entry.changes.is_empty(), "{fanout:?}");
    stage.world.carry().await;
    let device = again.member.device.into_bytes();
    let rooms = stage
        .world
        .b
        .storage
        .device_rooms("bob@b.example", device, None)
        .await
        .unwrap();
    assert_eq!((rooms[0].since, rooms[0].until), (2, None));
    let bundle = again.bundle(&[], &[]);
    stage.world.commit(&mut again, bundle).await;
}

#[tokio::test]
async fn nobody_comes_without_right() {
    let mut stage = Stage::new().await;
    let mut tablet = stage.world.device("bob@b.example", 3);
    let outside = tablet.outside(&stage.world).await;
    // Nobody vouches, or a device that is not there.
    let bundle = tablet.external(&outside, None, Vec::new());
    forbidden(&stage.refuse(&tablet, bundle).await);
    let mut ghost = stage.world.device("bob@b.example", 4);
    ghost.group = stage.bob.group.take();
    let by_ghost = said(vec![ghost.endorse(&tablet, *NOW / 1000 + HOUR_S)], None);
    stage.bob.group = ghost.group.take();
    let bundle = tablet.external(&outside, None, by_ghost);
    forbidden(&stage.refuse(&tablet, bundle).await);
    // It was never there, and says that it was.
    let endorsement = stage.bob.endorse(&tablet, *NOW / 1000 + HOUR_S);
    let rejoin = Rejoin {
        epoch: 1,
        mac: [7; 32],
    };
    let bundle = tablet.external(&outside, None, said(vec![endorsement], Some(rejoin)));
    let refusal = stage.refuse(&tablet, bundle).await;
    assert!(
        matches!(refusal, Refusal::InvalidCommit { .. }),
        "{refusal:?}"
    );
    // In another device's name.
    let data = stage.vouched(&tablet);
    let bundle = tablet.external(&outside, None, data);
    let refusal = stage.refuse(&ghost, bundle).await;
    assert!(
        matches!(refusal, Refusal::InvalidCommit { .. }),
        "{refusal:?}"
    );
    // To strangers there is no room, whatever they hold of it.
    let mut eve = stage.world.device("eve@b.example", 9);
    let question = stage.world.refuse(&eve, Request::GroupInfo).await;
    assert_eq!(question, Refusal::NoRoom);
    let bundle = eve.external(&outside, None, Vec::new());
    assert_eq!(stage.refuse(&eve, bundle).await, Refusal::NoRoom);
}

#[tokio::test]
async fn the_policy_says_who_comes_by_itself() {
    let mut stage = Stage::with(|policy| policy.external_joins = ExternalJoins::Nobody).await;
    let tablet = stage.world.device("bob@b.example", 3);
    let refusal = stage.world.refuse(&tablet, Request::GroupInfo).await;
    assert_eq!(refusal, Refusal::NoRoom);
    let mut again = stage.anew();
    let outside = again.outside(&stage.world).await;
    let old = stage.alice.leaf_of(&stage.bob);
    let data = stage.vouched(&again);
    let bundle = again.external(&outside, Some(old), data);
    forbidden(&stage.refuse(&again, bundle).await);

    let open = Stage::with(|policy| policy.external_joins = ExternalJoins::Anyone).await;
    let mut eve = open.world.device("eve@b.example", 9);
    let outside = eve.outside(&open.world).await;
    let bundle = eve.external(&outside, None, Vec::new());
    open.world.commit_external(&eve, bundle).await;
    assert_eq!(open.world.info(&eve).await.members.len(), 3);
}

#[tokio::test]
async fn an_external_commit_carries_departures_and_the_hub_begins_its_removals_anew() {
    let mut stage = Stage::new().await;
    let carol = stage.world.device("carol@b.example", 5);
    let bundle = stage.alice.bundle(&[&carol], &[]);
    stage.bob.follow(&bundle.commit);
    stage.world.commit(&mut stage.alice, bundle).await;
    let leaving = stage.bob.group().propose_self_remove(Vec::new()).unwrap();
    stage.world.accept(&stage.bob, propose(&leaving)).await;
    stage.alice.follow(&leaving.to_bytes().unwrap());
    let serial = carol.serial();
    stage.world.cas.revoked.lock().unwrap().push(serial);
    let room = super::world::room();
    let swept = stage.world.a.hub.sweep(&room, *NOW).await;
    assert_eq!(swept.len(), 1);
    // Alice's second device comes while Bob leaves and Carol is to go.
    let mut laptop = stage.world.device("alice@a.example", 6);
    let outside = laptop.outside(&stage.world).await;
    assert_eq!(outside.proposals.len(), 1);
    let endorsement = stage.alice.endorse(&laptop, *NOW / 1000 + HOUR_S);
    let data = said(vec![endorsement], None);
    let without = Outside {
        proposals: Vec::new(),
        ..outside.clone()
    };
    let bundle = laptop.external(&without, None, data.clone());
    let refusal = stage.refuse(&laptop, bundle).await;
    assert_eq!(refusal, Refusal::MissingProposals { seqs: vec![4] });
    // Who leaves does not come back in the same stroke.
    let mut again = stage.anew();
    let data_of_bob = said(vec![stage.bob.endorse(&again, *NOW / 1000 + HOUR_S)], None);
    let old = stage.alice.leaf_of(&stage.bob);
    let bundle = again.external(&without, Some(old), data_of_bob);
    forbidden(&stage.refuse(&again, bundle).await);
    let bundle = laptop.external(&outside, None, data);
    let reply = stage.world.ask(&laptop, Request::Commit(bundle)).await;
    assert!(reply.unwrap().sweep);
    assert_eq!(stage.world.info(&laptop).await.members.len(), 3);
    let swept = stage.world.a.hub.sweep(&room, *NOW).await;
    assert_eq!(swept.len(), 1);
}

#[tokio::test]
async fn an_external_commit_is_of_the_current_epoch_and_brings_a_group_info() {
    let mut stage = Stage::new().await;
    let mut tablet = stage.world.device("bob@b.example", 3);
    let early = tablet.outside(&stage.world).await;
    let data = stage.vouched(&tablet);
    let late = tablet.external(&early, None, data.clone());
    let good = tablet.external(&early, None, data.clone());
    let mut other = good.clone();
    other.key = key();
    other.group_info = late.group_info.clone();
    let refusal = stage.refuse(&tablet, other).await;
    assert!(
        matches!(refusal, Refusal::GroupInfoMismatch { .. }),
        "{refusal:?}"
    );
    let mut welcome = good.clone();
    welcome.key = key();
    welcome.welcome = Some(good.group_info.clone());
    let refusal = stage.refuse(&tablet, welcome).await;
    assert!(
        matches!(refusal, Refusal::InvalidCommit { .. }),
        "{refusal:?}"
    );
    stage.world.accept(&tablet, Request::Commit(good)).await;
    let refusal = stage.refuse(&tablet, late).await;
    assert_eq!(refusal, Refusal::StaleEpoch { epoch: 2, seq: 3 });
}
