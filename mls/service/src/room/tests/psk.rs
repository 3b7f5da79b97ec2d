//! Pre-shared keys (RFC 9420 §8.4): what the hub, which knows none, takes and refuses.

use comity_mls_wire::policy::{Policy, Role};
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{Bundle, Request};
use mls_rs::psk::{ExternalPskId, PreSharedKey};

use super::members::invite;
use super::world::{Device, World};

struct Stage {
    world: World,
    alice: Device,
    bob: Device,
}

impl Stage {
    async fn new(change: impl FnOnce(&mut Policy)) -> Self {
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

    async fn refused(&self, by: &Device, bundle: Bundle, words: &str) {
        let before = self.world.facts().await;
        let refusal = self.world.refuse(by, Request::Commit(bundle)).await;
        assert!(
            matches!(&refusal, Refusal::NotAllowed { rule } if rule.contains(words)),
            "{words}: {refusal:?}"
        );
        assert_eq!(self.world.facts().await, before);
    }
}

fn ids(count: u8) -> Vec<ExternalPskId> {
    (0..count)
        .map(|n| ExternalPskId::new(vec![n; 20]))
        .collect()
}

fn hold(device: &Device, ids: &[ExternalPskId]) {
    let mut store = device.client.secret_store();
    for id in ids {
        store.insert(id.clone(), PreSharedKey::new(vec![7; 32]));
    }
}

#[tokio::test]
async fn a_members_psk_is_taken_and_all_who_hold_it_follow() {
    let mut stage = Stage::new(|_| {}).await;
    let ids = ids(2);
    hold(&stage.bob, &ids);
    hold(&stage.alice, &ids);
    let bundle = stage.bob.psk_bundle(&ids, &[], false);
    let commit = bundle.commit.clone();
    stage.world.commit(&mut stage.bob, bundle).await;
    stage.alice.follow(&commit);
    let authenticator = |device: &mut Device| {
        let secret = device.group().epoch_authenticator().unwrap();
        secret.as_bytes().to_vec()
    };
    assert_eq!(
        authenticator(&mut stage.alice),
        authenticator(&mut stage.bob)
    );
}

#[tokio::test]
async fn psks_that_would_shut_somebody_out_are_refused() {
    let mut stage = Stage::new(|policy| policy.rights.psk = Role::Admin).await;
    let ids = ids(9);
    for device in [&stage.alice, &stage.bob] {
        hold(device, &ids);
    }
    let bundle = stage.bob.psk_bundle(&ids[..1], &[], false);
    stage.refused(&stage.bob, bundle, "injecting a PSK").await;
    let carol = stage.world.device("carol@b.example", 3);
    let bundle = stage.alice.psk_bundle(&ids[..1], &[&carol], false);
    stage.alice.group().clear_pending_commit();
    stage.refused(&stage.alice, bundle, "Welcome").await;
    let bundle = stage.alice.psk_bundle(&ids, &[], false);
    stage.alice.group().clear_pending_commit();
    stage.refused(&stage.alice, bundle, "at most 8").await;
    let bundle = stage.alice.psk_bundle(&[], &[], true);
    stage.alice.group().clear_pending_commit();
    stage.refused(&stage.alice, bundle, "have ended").await;
    // Of who comes by itself nobody could tell what members hold.
    let mut again = stage.world.device("bob@b.example", 2);
    hold(&again, &ids);
    let old = stage.alice.leaf_of(&stage.bob);
    let outside = again.outside(&stage.world).await;
    let bundle = again.external_with(&outside, old, &ids[..1]);
    stage.refused(&again, bundle, "not PreSharedKey").await;
}
