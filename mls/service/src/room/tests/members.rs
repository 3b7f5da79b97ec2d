//! Who comes and goes, and what a commit must bring along.

use bytes::Bytes;
use comity_mls_wire::policy::{Policy, Role};
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{Bundle, Request};
use mls_rs::MlsMessage;

use super::world::{Device, World, key, room};

pub(super) fn propose(message: &MlsMessage) -> Request {
    Request::Propose {
        key: key(),
        proposal: message.to_bytes().unwrap().into(),
    }
}

/// Lets `bob` in and returns him joined.
pub(super) async fn invite(world: &World, alice: &mut Device, mut bob: Device) -> Device {
    let bundle = alice.bundle(&[&bob], &[]);
    let welcome = bundle.welcome.clone().unwrap();
    world.commit(alice, bundle).await;
    let tree = alice.group().export_tree().to_bytes().unwrap();
    bob.join(&welcome, &tree);
    bob
}

#[tokio::test]
async fn a_member_is_added_and_removed() {
    let world = World::new().await;
    let mut alice = world.room().await;
    let bob = world.device("bob@b.example", 2);
    let mut bob = invite(&world, &mut alice, bob).await;
    let info = world.info(&bob).await;
    assert_eq!(info.members.len(), 2);
    let leaf = alice.leaf_of(&bob);
    let bundle = alice.bundle(&[], &[leaf]);
    bob.follow(&bundle.commit);
    world.commit(&mut alice, bundle).await;
    assert_eq!(world.info(&alice).await.members.len(), 1);
    assert_eq!(world.refuse(&bob, Request::Info).await, Refusal::NoRoom);
}

#[tokio::test]
async fn a_bundle_that_does_not_fit_its_commit_is_refused() {
    let world = World::new().await;
    let mut alice = world.room().await;
    let (bob, carol) = (
        world.device("bob@b.example", 2),
        world.device("carol@b.example", 3),
    );
    let good = alice.bundle(&[&bob], &[]);
    alice.group().clear_pending_commit();
    let other = alice.bundle(&[&carol], &[]);
    let refuse = async |change: &dyn Fn(&mut Bundle)| {
        let mut bundle = good.clone();
        change(&mut bundle);
        bundle.key = key();
        world.refuse(&alice, Request::Commit(bundle)).await
    };
    let flipped = |bytes: &Bytes, from_end: usize| {
        let mut bytes = bytes.to_vec();
        let place = bytes.len() - from_end;
        bytes[place] ^= 1;
        Bytes::from(bytes)
    };
    let invalid = |refusal: Refusal| {
        assert!(
            matches!(refusal, Refusal::InvalidCommit { .. }),
            "{refusal:?}"
        );
    };
    invalid(refuse(&|b| b.welcome = None).await);
    invalid(refuse(&|b| b.joiners.clear()).await);
    invalid(refuse(&|b| b.welcome = other.welcome.clone()).await);
    invalid(refuse(&|b| b.joiners = other.joiners.clone()).await);
    let mismatch = |refusal: Refusal| {
        assert!(
            matches!(refusal, Refusal::GroupInfoMismatch { .. }),
            "{refusal:?}"
        );
    };
    mismatch(refuse(&|b| b.group_info = other.group_info.clone()).await);
    mismatch(refuse(&|b| b.group_info = flipped(&good.group_info, 1)).await);
    mismatch(refuse(&|b| b.group_info = good.commit.clone()).await);
    // A signature that does not verify; the room is as it was, and takes the right one.
    let wrong = flipped(&good.commit, 200);
    let refusal = refuse(&|b| b.commit = wrong.clone()).await;
    assert!(
        matches!(refusal, Refusal::InvalidCommit { .. }),
        "{refusal:?}"
    );
    world.accept(&alice, Request::Commit(good)).await;
}

#[tokio::test]
async fn nobody_commits_for_another_device() {
    let world = World::new().await;
    let mut alice = world.room().await;
    let bob = world.device("bob@b.example", 2);
    let mut bob = invite(&world, &mut alice, bob).await;
    let bundle = bob.bundle(&[], &[]);
    let refusal = world.refuse(&alice, Request::Commit(bundle)).await;
    assert!(
        matches!(refusal, Refusal::InvalidCommit { .. }),
        "{refusal:?}"
    );
}

#[tokio::test]
async fn the_policy_is_the_hubs_law() {
    let world = World::new().await;
    let mut alice = world.room().await;
    let bob = world.device("bob@b.example", 2);
    let mut bob = invite(&world, &mut alice, bob).await;
    // A member removes nobody else.
    let leaf = bob.leaf_of(&alice);
    let bundle = bob.bundle(&[], &[leaf]);
    let refusal = world.refuse(&bob, Request::Commit(bundle)).await;
    assert!(matches!(refusal, Refusal::NotAllowed { .. }), "{refusal:?}");
    // Nor does it change the context.
    bob.group().clear_pending_commit();
    let mut policy = Policy::of_creator(&bob.member.account);
    policy.set_role(&alice.member.account, Role::Admin);
    let context = Device::context(world.a.key(), &policy);
    let bundle = bob.context_bundle(context.clone());
    let refusal = world.refuse(&bob, Request::Commit(bundle)).await;
    assert!(matches!(refusal, Refusal::NotAllowed { .. }), "{refusal:?}");
    // The owner does, as long as the hub remains its external sender.
    let elsewhere = Device::context(world.b.key(), &policy);
    let bundle = alice.context_bundle(elsewhere);
    let refusal = world.refuse(&alice, Request::Commit(bundle)).await;
    assert!(matches!(refusal, Refusal::NotAllowed { .. }), "{refusal:?}");
    alice.group().clear_pending_commit();
    let bundle = alice.context_bundle(context);
    world.commit(&mut alice, bundle).await;
}

#[tokio::test]
async fn who_leaves_is_committed_by_the_others() {
    let world = World::new().await;
    let mut alice = world.room().await;
    let bob = world.device("bob@b.example", 2);
    let mut bob = invite(&world, &mut alice, bob).await;
    let leave = bob.group().propose_self_remove(Vec::new()).unwrap();
    let proposed = world.accept(&bob, propose(&leave)).await;
    assert_eq!((proposed.seq, proposed.epoch), (3, 1));
    // Once is enough, and who leaves commits no more.
    let refusal = world.refuse(&bob, propose(&leave)).await;
    assert!(
        matches!(refusal, Refusal::LimitReached { .. }),
        "{refusal:?}"
    );
    // Nobody would be left.
    let too = alice.group().propose_self_remove(Vec::new()).unwrap();
    alice.group().clear_proposal_cache();
    let refusal = world.refuse(&alice, propose(&too)).await;
    assert!(matches!(refusal, Refusal::NotAllowed { .. }), "{refusal:?}");
    // A commit without it is refused, and names it.
    let bundle = alice.bundle(&[], &[]);
    let refusal = world.refuse(&alice, Request::Commit(bundle)).await;
    assert_eq!(refusal, Refusal::MissingProposals { seqs: vec![3] });
    alice.group().clear_pending_commit();
    alice.follow(&leave.to_bytes().unwrap());
    let bundle = alice.bundle(&[], &[]);
    // The hub forgets nothing when it starts anew.
    let hub = world.a.restarted(&world.cas);
    let stamped = comity_mls_wire::room::Stamped {
        device: Some(alice.member.device),
        request: Request::Commit(bundle),
    };
    let from = &alice.member.account;
    hub.request(&room(), from, stamped, *super::world::NOW)
        .await
        .unwrap();
    let row = world
        .a
        .storage
        .room(room().as_str())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(row.members.len(), 1);
    assert!(row.pending.is_empty());
}

#[tokio::test]
async fn a_proposal_is_checked_before_everybody_has_to_commit_it() {
    let world = World::new().await;
    let mut alice = world.room().await;
    let bob = world.device("bob@b.example", 2);
    let mut bob = invite(&world, &mut alice, bob).await;
    let leaf = bob.leaf_of(&alice);
    // By role.
    let remove = bob.group().propose_remove(leaf, Vec::new()).unwrap();
    let refusal = world.refuse(&bob, propose(&remove)).await;
    assert!(matches!(refusal, Refusal::NotAllowed { .. }), "{refusal:?}");
    // By type.
    let update = bob.group().propose_update(Vec::new()).unwrap();
    let refusal = world.refuse(&bob, propose(&update)).await;
    assert!(matches!(refusal, Refusal::NotAllowed { .. }), "{refusal:?}");
    // Somebody else's.
    let own = alice.group().propose_self_remove(Vec::new()).unwrap();
    let refusal = world.refuse(&bob, propose(&own)).await;
    assert!(
        matches!(refusal, Refusal::InvalidMessage { .. }),
        "{refusal:?}"
    );
    // Who is in already.
    let own = alice.package();
    let add = bob.group().propose_add(own, Vec::new()).unwrap();
    let refusal = world.refuse(&bob, propose(&add)).await;
    assert!(
        matches!(refusal, Refusal::InvalidMessage { .. }),
        "{refusal:?}"
    );
    // Somebody new is welcome.
    let carol = world.device("carol@b.example", 3);
    let package = carol.package();
    let add = bob
        .group()
        .propose_add(package.clone(), Vec::new())
        .unwrap();
    world.accept(&bob, propose(&add)).await;
    // A proposal of an old epoch is stale.
    let old = bob.group().propose_self_remove(Vec::new()).unwrap();
    alice.group().clear_proposal_cache();
    alice.follow(&add.to_bytes().unwrap());
    let mut bundle = alice.bundle(&[], &[]);
    bundle.joiners = alice.joiners_of(&carol, &package);
    world.commit(&mut alice, bundle).await;
    let refusal = world.refuse(&bob, propose(&old)).await;
    assert_eq!(refusal, Refusal::StaleEpoch { epoch: 2, seq: 4 });
}

#[tokio::test]
async fn a_package_that_no_commit_could_add_is_not_proposed() {
    let world = World::new().await;
    let mut alice = world.room().await;
    let refuse = async |package: MlsMessage, alice: &mut Device| {
        alice.group().clear_proposal_cache();
        let add = alice.group().propose_add(package, Vec::new()).unwrap();
        let refusal = world.refuse(alice, propose(&add)).await;
        assert!(
            matches!(refusal, Refusal::InvalidMessage { .. }),
            "{refusal:?}"
        );
    };
    // It does not know the policy component.
    let simple = world.device_without_policy("carol@b.example", 3);
    refuse(simple.package(), &mut alice).await;
    // The same package twice, and another one with the same signature key.
    let carol = world.device("carol@b.example", 4);
    let bob = world.device("bob@b.example", 2);
    let mut bob = invite(&world, &mut alice, bob).await;
    let add = bob.group().propose_add(carol.package(), Vec::new());
    world.accept(&bob, propose(&add.unwrap())).await;
    refuse(carol.package(), &mut alice).await;
}

#[tokio::test]
async fn a_certificate_of_another_domain_speaks_for_nobody_here() {
    let world = World::new().await;
    let mut alice = world.room().await;
    // Issued by b's CA, in the name of a user of a.
    let ghost = world.forged("dave@a.example", 7);
    let add = alice.group().propose_add(ghost.package(), Vec::new());
    let refusal = world.refuse(&alice, propose(&add.unwrap())).await;
    assert!(
        matches!(refusal, Refusal::BadCredential { .. }),
        "{refusal:?}"
    );
}
