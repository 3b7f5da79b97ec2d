//! Devices of an account that is in the room already.

use comity_mls_wire::authenticated::{AuthenticatedData, Endorsement, Ground, Revocation};
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::Request;

use super::members::{invite, propose};
use super::world::{Device, NOW, World};

const HOUR_S: u64 = 3600;

struct Stage {
    world: World,
    alice: Device,
    bob: Device,
    /// Bob's, not in the room.
    tablet: Device,
}

impl Stage {
    async fn new() -> Self {
        let world = World::new().await;
        let mut alice = world.room().await;
        let bob = world.device("bob@b.example", 2);
        let bob = invite(&world, &mut alice, bob).await;
        let tablet = world.device("bob@b.example", 3);
        Self {
            world,
            alice,
            bob,
            tablet,
        }
    }

    /// Alice adds Bob's tablet and says this; the refusal.
    async fn refuse(&mut self, data: Vec<u8>) -> Refusal {
        let bundle = self.alice.bundle_saying(&[&self.tablet], &[], data);
        let refusal = self
            .world
            .refuse(&self.alice, Request::Commit(bundle))
            .await;
        self.alice.group().clear_pending_commit();
        refusal
    }

    async fn unendorsed(&mut self, endorsement: Endorsement) {
        let refusal = self.refuse(said(endorsement)).await;
        assert!(matches!(refusal, Refusal::NotAllowed { .. }), "{refusal:?}");
    }
}

fn said(endorsement: Endorsement) -> Vec<u8> {
    AuthenticatedData::endorsing(vec![endorsement])
        .to_bytes()
        .unwrap()
}

fn later(seconds: u64) -> u64 {
    *NOW / 1000 + seconds
}

#[tokio::test]
async fn further_devices_of_an_account_are_added_by_its_own() {
    let world = World::new().await;
    let mut alice = world.room().await;
    let bob = world.device("bob@b.example", 2);
    let mut bob = invite(&world, &mut alice, bob).await;
    let tablet = world.device("bob@b.example", 3);
    let bundle = alice.bundle(&[&tablet], &[]);
    let refusal = world.refuse(&alice, Request::Commit(bundle)).await;
    assert!(matches!(refusal, Refusal::NotAllowed { .. }), "{refusal:?}");
    let bundle = bob.bundle(&[&tablet], &[]);
    world.commit(&mut bob, bundle).await;
    assert_eq!(world.info(&bob).await.members.len(), 3);
}

#[tokio::test]
async fn others_add_what_a_leaf_of_the_account_endorses() {
    let mut stage = Stage::new().await;
    let endorsement = stage.bob.endorse(&stage.tablet, later(HOUR_S));
    let data = said(endorsement);
    let bundle = stage.alice.bundle_saying(&[&stage.tablet], &[], data);
    stage.world.commit(&mut stage.alice, bundle).await;
    assert_eq!(stage.world.info(&stage.alice).await.members.len(), 3);
}

/// The AS alone makes a device, its certificate and its KeyPackage; it has no leaf that signs.
#[tokio::test]
async fn a_ghost_enters_no_room_where_its_account_is() {
    let mut stage = Stage::new().await;
    let refusal = stage.refuse(Vec::new()).await;
    assert!(matches!(refusal, Refusal::NotAllowed { .. }), "{refusal:?}");
    // Endorsed by itself, or by another device that the AS has made and nobody let in.
    let mut ghost = stage.world.device("bob@b.example", 4);
    ghost.group = stage.bob.group.take();
    let by_another = ghost.endorse(&stage.tablet, later(HOUR_S));
    stage.unendorsed(by_another.clone()).await;
    let as_if_by_bob = Endorsement::new(
        by_another.device(),
        by_another.key_hash,
        by_another.not_after,
        stage.bob.member.device,
        by_another.signature,
    );
    stage.unendorsed(as_if_by_bob).await;
    stage.bob.group = ghost.group.take();
    // Of another key of the same device.
    let same = stage.world.device("bob@b.example", 3);
    let other_key = stage.bob.endorse(&same, later(HOUR_S));
    stage.unendorsed(other_key).await;
    // Long ago, or for longer than a day.
    let old = stage.bob.endorse(&stage.tablet, later(0) - HOUR_S);
    stage.unendorsed(old).await;
    let long = stage.bob.endorse(&stage.tablet, later(48 * HOUR_S));
    stage.unendorsed(long).await;
    // Nor does it take the place of the account's last leaf in one stroke.
    let bob = stage.alice.leaf_of(&stage.bob);
    let bundle = stage.alice.bundle(&[&stage.tablet], &[bob]);
    let refusal = stage
        .world
        .refuse(&stage.alice, Request::Commit(bundle))
        .await;
    assert!(matches!(refusal, Refusal::NotAllowed { .. }), "{refusal:?}");
}

#[tokio::test]
async fn authenticated_data_is_read_strictly() {
    let mut stage = Stage::new().await;
    let good = stage.bob.endorse(&stage.tablet, later(HOUR_S));
    let stranger = stage.world.device("carol@b.example", 9);
    let idle = stage.bob.endorse(&stranger, later(HOUR_S));
    let ground = Ground::Revocation(Revocation {
        serial: vec![1],
        crl_number: 1,
    });
    let cases = [
        vec![0, 1, 2, 0],
        vec![0, 2],
        [said(good.clone()), vec![0]].concat(),
        AuthenticatedData::endorsing(vec![good, idle])
            .to_bytes()
            .unwrap(),
        AuthenticatedData::grounded(ground).to_bytes().unwrap(),
    ];
    for data in cases {
        let refusal = stage.refuse(data).await;
        assert!(
            matches!(refusal, Refusal::InvalidCommit { .. }),
            "{refusal:?}"
        );
    }
}

#[tokio::test]
async fn a_proposal_needs_the_same() {
    let mut stage = Stage::new().await;
    let package = stage.tablet.package();
    let refuse = async |stage: &mut Stage, data: Vec<u8>| {
        let proposal = stage.alice.group().propose_add(package.clone(), data);
        let request = propose(&proposal.unwrap());
        stage.alice.group().clear_proposal_cache();
        stage.world.refuse(&stage.alice, request).await
    };
    let refusal = refuse(&mut stage, Vec::new()).await;
    assert!(matches!(refusal, Refusal::NotAllowed { .. }), "{refusal:?}");
    let refusal = refuse(&mut stage, vec![7]).await;
    assert!(
        matches!(refusal, Refusal::InvalidMessage { .. }),
        "{refusal:?}"
    );
    let endorsement = stage.bob.endorse(&stage.tablet, later(HOUR_S));
    let proposal = stage
        .alice
        .group()
        .propose_add(package.clone(), said(endorsement))
        .unwrap();
    stage.world.accept(&stage.alice, propose(&proposal)).await;
    // Whoever commits it need not say it again.
    stage.bob.follow(&proposal.to_bytes().unwrap());
    let mut bundle = stage.bob.bundle(&[], &[]);
    bundle.joiners = stage.bob.joiners_of(&stage.tablet, &package);
    stage.world.commit(&mut stage.bob, bundle).await;
    assert_eq!(stage.world.info(&stage.bob).await.members.len(), 3);
}
