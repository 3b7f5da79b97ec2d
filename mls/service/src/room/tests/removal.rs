//! A device is revoked: what the hub does of itself, and what it takes from whom meanwhile.

use comity_mls_wire::authenticated::{AuthenticatedData, Ground, Revocation};
use comity_mls_wire::policy::Policy;
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{Entry, EntryKind, Payload, Request};
use mls_rs::MlsMessage;

use super::members::{invite, propose};
use super::world::{Device, NOW, World, room};
use crate::framing::{Content, Framing, Sender};

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
        let (commit, welcome) = (bundle.commit.clone(), bundle.welcome.clone().unwrap());
        world.commit(&mut alice, bundle).await;
        bob.follow(&commit);
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

    fn revoke_bob(&self) {
        let serial = self.bob.serial();
        self.world.cas.revoked.lock().unwrap().push(serial);
    }

    /// The entries that the hub makes of itself.
    async fn sweep(&self) -> Vec<Entry> {
        let replies = self.world.a.hub.sweep(&room(), *NOW).await;
        replies
            .into_iter()
            .map(|reply| {
                assert_eq!(reply.wake, ["b.example"]);
                reply.entry.unwrap()
            })
            .collect()
    }
}

fn payload(entry: &Entry) -> &[u8] {
    match &entry.payload {
        Payload::Held(payload) => payload,
        Payload::Purged(_) => panic!("purged"),
    }
}

#[tokio::test]
async fn the_hub_proposes_the_removal_of_who_is_revoked() {
    let mut stage = Stage::new().await;
    assert_eq!(stage.sweep().await, []);
    stage.revoke_bob();
    let entries = stage.sweep().await;
    let [entry] = entries.as_slice() else {
        panic!("{entries:?}")
    };
    assert_eq!(entry.kind, EntryKind::Proposal);
    assert_eq!((entry.sender.as_str(), entry.device), ("a.example", None));
    let Ok(Framing::Public {
        sender,
        authenticated_data,
        content,
        ..
    }) = Framing::read(payload(entry))
    else {
        panic!("no PublicMessage")
    };
    assert_eq!((sender, content), (Sender::External(0), Content::Proposal));
    let said = AuthenticatedData::from_bytes(authenticated_data).unwrap();
    let ground = Ground::Revocation(Revocation {
        serial: stage.bob.serial(),
        crl_number: 7,
    });
    assert_eq!(said, AuthenticatedData::grounded(ground));
    // Once is enough, also after a restart.
    assert_eq!(stage.sweep().await, []);
    let restarted = stage.world.a.restarted(&stage.world.cas);
    assert!(restarted.sweep(&room(), *NOW).await.is_empty());
    // The copies of other domains take it.
    for outcome in stage.world.carry().await {
        assert!(
            matches!(outcome, crate::room::Outcome::Stored { .. }),
            "{outcome:?}"
        );
    }
    // The next commit carries it, and with it Bob is out.
    let refusal = stage.alice.bundle(&[], &[]);
    stage.alice.group().clear_pending_commit();
    let refusal = stage
        .world
        .refuse(&stage.alice, Request::Commit(refusal))
        .await;
    assert_eq!(
        refusal,
        Refusal::MissingProposals {
            seqs: vec![entry.seq]
        }
    );
    stage.alice.follow(payload(entry));
    let bundle = stage.alice.bundle(&[], &[]);
    stage.world.commit(&mut stage.alice, bundle).await;
    let members = stage.world.info(&stage.alice).await.members;
    assert_eq!(members.len(), 2);
    assert!(!members.contains(&stage.bob.member));
}

#[tokio::test]
async fn nothing_is_taken_from_who_is_revoked() {
    let mut stage = Stage::new().await;
    let leave = stage.bob.group().propose_self_remove(Vec::new()).unwrap();
    stage.bob.group().clear_proposal_cache();
    let requests = [
        stage.bob.message("still here"),
        Request::Commit(stage.bob.bundle(&[], &[])),
        propose(&leave),
        Request::Info,
        Request::GroupInfo,
    ];
    stage.revoke_bob();
    for request in requests {
        let refusal = stage.world.refuse(&stage.bob, request).await;
        assert_eq!(refusal, Refusal::UnknownDevice);
    }
}

#[tokio::test]
async fn who_is_revoked_is_not_let_in() {
    let mut stage = Stage::new().await;
    let leaf = stage.alice.leaf_of(&stage.bob);
    let bundle = stage.alice.bundle(&[], &[leaf]);
    stage.carol.follow(&bundle.commit);
    stage.world.commit(&mut stage.alice, bundle).await;
    let bundle = stage.carol.bundle(&[&stage.bob], &[]);
    stage.revoke_bob();
    let request = Request::Commit(bundle);
    let refusal = stage.world.refuse(&stage.carol, request).await;
    assert!(
        matches!(refusal, Refusal::BadCredential { .. }),
        "{refusal:?}"
    );
}

#[tokio::test]
async fn the_hub_removes_where_the_policy_lets_it_and_somebody_is_left_to_commit() {
    let world = World::new().await;
    let mut alice = world.device("alice@a.example", 1);
    let mut policy = Policy::of_creator(&alice.member.account);
    policy.hub_removes = false;
    let create = alice.create(&world.a, &policy);
    world.ask(&alice, Request::Create(create)).await.unwrap();
    let bob = world.device("bob@b.example", 2);
    let bob = invite(&world, &mut alice, bob).await;
    world.cas.revoked.lock().unwrap().push(bob.serial());
    assert!(world.a.hub.sweep(&room(), *NOW).await.is_empty());

    let world = World::new().await;
    let alice = world.room().await;
    world.cas.revoked.lock().unwrap().push(alice.serial());
    assert!(world.a.hub.sweep(&room(), *NOW).await.is_empty());
}

/// Who is revoked itself has proposed nothing that is in the way, and who was going anyway goes.
#[tokio::test]
async fn a_removal_that_is_pending_is_not_proposed_again() {
    let mut stage = Stage::new().await;
    let leave = stage.bob.group().propose_self_remove(Vec::new()).unwrap();
    stage.world.accept(&stage.bob, propose(&leave)).await;
    stage.revoke_bob();
    assert_eq!(stage.sweep().await, []);
    let message = MlsMessage::from_bytes(&leave.to_bytes().unwrap()).unwrap();
    stage
        .alice
        .group()
        .process_incoming_message(message)
        .unwrap();
    let bundle = stage.alice.bundle(&[], &[]);
    stage.world.commit(&mut stage.alice, bundle).await;
    assert_eq!(stage.world.info(&stage.alice).await.members.len(), 2);
}

const DAY_MS: u64 = 24 * 3600 * 1000;

/// Entries that the hub makes of itself so many days later.
async fn sweep_after(stage: &Stage, days: u64) -> Vec<Entry> {
    let now = *NOW + days * DAY_MS;
    let replies = stage.world.a.hub.sweep(&room(), now).await;
    replies
        .into_iter()
        .map(|reply| reply.entry.unwrap())
        .collect()
}

fn removed(entries: &[Entry]) -> Vec<Ground> {
    let ground = |entry: &Entry| {
        let Ok(Framing::Public {
            authenticated_data, ..
        }) = Framing::read(payload(entry))
        else {
            panic!("no handshake")
        };
        let data = AuthenticatedData::from_bytes(authenticated_data).unwrap();
        data.ground.unwrap()
    };
    entries.iter().map(ground).collect()
}

#[tokio::test]
async fn who_is_idle_for_longer_than_the_policy_allows_is_proposed_for_removal() {
    let mut stage = Stage::new().await;
    assert_eq!(sweep_after(&stage, 89).await, []);
    // Nobody has done anything for longer: nobody goes.
    assert_eq!(sweep_after(&stage, 91).await, []);
    // Two of the three update their leaves on day 80.
    for device in [0, 1] {
        let by = match device {
            0 => &mut stage.alice,
            _ => &mut stage.carol,
        };
        let bundle = by.bundle(&[], &[]);
        let commit = bundle.commit.clone();
        let stamped = comity_mls_wire::room::Stamped {
            device: Some(by.member.device),
            request: Request::Commit(bundle),
        };
        let (account, now) = (by.member.account.clone(), *NOW + 80 * DAY_MS);
        let hub = &stage.world.a.hub;
        hub.request(&room(), &account, stamped, now).await.unwrap();
        by.group().apply_pending_commit().unwrap();
        match device {
            0 => stage.carol.follow(&commit),
            _ => stage.alice.follow(&commit),
        }
    }
    assert_eq!(sweep_after(&stage, 89).await, []);
    // It holds after a restart too: what was updated when is stored.
    stage.world.a.hub = stage.world.a.restarted(&stage.world.cas);
    let grounds = removed(&sweep_after(&stage, 91).await);
    let [Ground::Idle(idle)] = grounds.as_slice() else {
        panic!("{grounds:?}")
    };
    assert_eq!((idle.updated_epoch, idle.limit_s), (1, 90 * 24 * 3600));
    assert_eq!(sweep_after(&stage, 92).await, [], "once is enough");
}
