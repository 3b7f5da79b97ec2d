//! What a hub is given and does not take: each by its name, and nothing has changed.

use bytes::Bytes;
use comity_mls_wire::limits;
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{Bundle, IdempotencyKey, Request, payload_hash};
use comity_xmpp::element::Element;
use mls_rs::MlsMessage;

use super::members::{invite, propose};
use super::world::{Device, World, key};

/// Alice, who owns the room, Bob and Carol; Dave, who was put out; Eve, who never was in.
struct Stage {
    world: World,
    alice: Device,
    bob: Device,
    carol: Device,
    dave: Device,
    eve: Device,
    /// The bundle by which Bob has updated himself.
    replayed: Bundle,
}

impl Stage {
    async fn new() -> Self {
        let world = World::new().await;
        let mut alice = world.room().await;
        let mut members = Vec::new();
        for (account, device) in [
            ("bob@b.example", 2),
            ("carol@b.example", 3),
            ("dave@b.example", 4),
        ] {
            let device = world.device(account, device);
            let bundle = alice.bundle(&[&device], &[]);
            members
                .iter_mut()
                .for_each(|m: &mut Device| m.follow(&bundle.commit));
            let welcome = bundle.welcome.clone().unwrap();
            world.commit(&mut alice, bundle).await;
            let tree = alice.group().export_tree().to_bytes().unwrap();
            let mut device = device;
            device.join(&welcome, &tree);
            members.push(device);
        }
        let [mut bob, mut carol, mut dave] = <[Device; 3]>::try_from(members).ok().unwrap();
        let replayed = bob.bundle(&[], &[]);
        world.commit(&mut bob, replayed.clone()).await;
        for member in [&mut alice, &mut carol, &mut dave] {
            member.follow(&replayed.commit);
        }
        let leaf = alice.leaf_of(&dave);
        let bundle = alice.bundle(&[], &[leaf]);
        bob.follow(&bundle.commit);
        carol.follow(&bundle.commit);
        world.commit(&mut alice, bundle).await;
        let eve = world.device("eve@b.example", 9);
        Self {
            world,
            alice,
            bob,
            carol,
            dave,
            eve,
            replayed,
        }
    }

    async fn check(&self, what: &str, by: &Device, request: Request, expected: &str) {
        let refusal = self.world.refuse(by, request).await;
        assert_eq!(refusal.to_element().name, expected, "{what}: {refusal:?}");
    }
}

fn commit(bundle: Bundle) -> Request {
    Request::Commit(bundle)
}

/// As the bundle, but for this, and under a key of its own.
fn with(bundle: &Bundle, change: impl FnOnce(&mut Bundle)) -> Request {
    let mut bundle = bundle.clone();
    bundle.key = key();
    change(&mut bundle);
    commit(bundle)
}

/// A PrivateMessage of type commit of that group and epoch; its octets are nobody's.
fn private_commit(group_id: &[u8], epoch: u64) -> Bytes {
    let mut out = vec![0, 1, 0, 2, u8::try_from(group_id.len()).unwrap()];
    out.extend_from_slice(group_id);
    out.extend_from_slice(&epoch.to_be_bytes());
    out.extend_from_slice(&[3, 0, 1, 7, 0x40, 64]);
    out.extend_from_slice(&[9; 64]);
    out.into()
}

type Case<'a> = (&'static str, &'a Device, Request, &'static str);

/// What does not fit the time, the sender or the place.
fn misplaced<'a>(stage: &'a Stage, good: &Bundle) -> Vec<Case<'a>> {
    let carol = &stage.carol;
    let epoch = good.epoch;
    vec![
        (
            "an epoch that has passed",
            carol,
            with(good, |b| b.epoch -= 1),
            "stale-epoch",
        ),
        (
            "an epoch to come",
            carol,
            with(good, |b| b.epoch += 1),
            "bad-request",
        ),
        (
            "a bundle again under another key",
            &stage.bob,
            with(&stage.replayed, |_| {}),
            "stale-epoch",
        ),
        (
            "the same key for other octets",
            &stage.bob,
            commit(Bundle {
                key: stage.replayed.key,
                ..good.clone()
            }),
            "key-reused",
        ),
        (
            "a commit of who was put out",
            &stage.dave,
            with(good, |_| {}),
            "no-room",
        ),
        (
            "a proposal as a message",
            carol,
            Request::Send {
                key: key(),
                epoch,
                message: good.commit.clone(),
            },
            "invalid-message",
        ),
        (
            "a commit as a proposal",
            carol,
            Request::Propose {
                key: key(),
                proposal: good.commit.clone(),
            },
            "invalid-message",
        ),
    ]
}

/// What does not fit together, or is no commit of this group. `adding` is Alice's.
fn misshapen<'a>(
    stage: &'a Stage,
    good: &Bundle,
    adding: &Bundle,
    other_group: &Bytes,
    private: &Bytes,
) -> Vec<Case<'a>> {
    let (alice, carol) = (&stage.alice, &stage.carol);
    vec![
        (
            "a commit of another group",
            carol,
            with(good, |b| b.commit = other_group.clone()),
            "invalid-commit",
        ),
        (
            "a commit in another's name",
            alice,
            with(good, |_| {}),
            "invalid-commit",
        ),
        (
            "a GroupInfo of another commit",
            carol,
            with(good, |b| b.group_info = adding.group_info.clone()),
            "group-info-mismatch",
        ),
        (
            "a Welcome for nobody",
            carol,
            with(good, |b| b.welcome = adding.welcome.clone()),
            "invalid-commit",
        ),
        (
            "no Welcome for who is added",
            alice,
            with(adding, |b| b.welcome = None),
            "invalid-commit",
        ),
        (
            "joiners who are not added",
            carol,
            with(good, |b| b.joiners = adding.joiners.clone()),
            "invalid-commit",
        ),
        (
            "a private handshake",
            carol,
            with(good, |b| b.commit = private.clone()),
            "not-allowed",
        ),
        (
            "octets that are no message",
            carol,
            with(good, |b| b.commit = Bytes::from_static(b"?")),
            "invalid-commit",
        ),
        (
            "a commit that is too large",
            carol,
            with(good, |b| {
                b.commit = vec![0; crate::room::Limits::default().commit_bytes + 1].into()
            }),
            "limit-reached",
        ),
    ]
}

#[tokio::test]
async fn bad_input_is_refused_by_its_name_and_changes_nothing() {
    let mut stage = Stage::new().await;
    let good = stage.carol.bundle(&[], &[]);
    stage.carol.group().clear_pending_commit();
    let adding = stage.alice.bundle(&[&stage.eve], &[]);
    stage.alice.group().clear_pending_commit();
    let other_group = {
        let mut loner = stage.world.device("carol@b.example", 3);
        let policy = comity_mls_wire::policy::Policy::of_creator(&loner.member.account);
        loner.create(&stage.world.b, &policy);
        loner.bundle(&[], &[]).commit
    };
    let group_id = stage.carol.group().group_id().to_vec();
    let private = private_commit(&group_id, good.epoch);
    let cases = misplaced(&stage, &good).into_iter().chain(misshapen(
        &stage,
        &good,
        &adding,
        &other_group,
        &private,
    ));
    for (what, by, request, expected) in cases {
        stage.check(what, by, request, expected).await;
    }
    external_commits(&mut stage).await;
    pending_proposals(&mut stage).await;
}

/// Of strangers, and where nobody vouches.
async fn external_commits(stage: &mut Stage) {
    let mut tablet = stage.world.device("carol@b.example", 33);
    let outside = tablet.outside(&stage.world).await;
    let bundle = stage.eve.external(&outside, None, Vec::new());
    stage
        .check("a stranger", &stage.eve, commit(bundle), "no-room")
        .await;
    let bundle = tablet.external(&outside, None, Vec::new());
    let what = "a further device without a word";
    stage
        .check(what, &tablet, commit(bundle), "not-allowed")
        .await;
    let mut late = stage.world.device("dave@b.example", 4);
    let bundle = late.external(&outside, None, Vec::new());
    let what = "one who was put out comes by itself";
    stage.check(what, &late, commit(bundle), "no-room").await;
}

/// Left out of a commit, and a commit of who leaves. Then one who is barred.
async fn pending_proposals(stage: &mut Stage) {
    let without = stage.carol.bundle(&[], &[]);
    stage.carol.group().clear_pending_commit();
    let of_bob = stage.bob.bundle(&[], &[]);
    stage.bob.group().clear_pending_commit();
    let leaving: MlsMessage = stage.bob.group().propose_self_remove(Vec::new()).unwrap();
    let asked = propose(&leaving);
    stage.world.accept(&stage.bob, asked).await;
    let what = "a commit without the pending proposal";
    stage
        .check(what, &stage.carol, commit(without), "missing-proposals")
        .await;
    let what = "a commit of who leaves";
    stage
        .check(what, &stage.bob, commit(of_bob), "not-allowed")
        .await;
    let octets = leaving.to_bytes().unwrap();
    stage.alice.follow(&octets);
    stage.carol.follow(&octets);
    let bundle = stage.alice.bundle(&[], &[]);
    stage.carol.follow(&bundle.commit);
    stage.world.commit(&mut stage.alice, bundle).await;

    let eve = stage.world.device("eve@b.example", 9);
    stage.eve = invite_all(stage, eve).await;
    let bundle = stage.carol.bundle(&[], &[]);
    let (hash, report) = (payload_hash(&bundle.commit), |seq, hash| Request::Report {
        seq,
        hash,
        why: "garbage".to_owned(),
    });
    let seq = stage.world.commit(&mut stage.carol, bundle).await.seq;
    for by in [&stage.alice, &stage.eve] {
        stage.world.ask(by, report(seq, hash)).await.unwrap();
    }
    let bundle = stage.carol.bundle(&[], &[]);
    let what = "a commit of who is barred";
    stage
        .check(what, &stage.carol, commit(bundle), "not-allowed")
        .await;
}

async fn invite_all(stage: &mut Stage, device: Device) -> Device {
    let carol_epoch = stage.carol.group().current_epoch();
    let before = stage.alice.group().current_epoch();
    assert_eq!(carol_epoch, before);
    let added = invite(&stage.world, &mut stage.alice, device).await;
    let room = super::world::room();
    let entries = stage
        .world
        .a
        .storage
        .room_entries(room.as_str(), 0, u64::MAX, 100, usize::MAX);
    let last = entries.await.unwrap().pop().unwrap();
    stage.carol.follow(&last.payload.unwrap());
    added
}

/// A tree beyond the limit does not come as far as the hub: the reader names what it takes.
#[test]
fn an_oversized_tree_is_refused_where_it_is_read() {
    let large = Bytes::from(vec![7; limits::OBJECT_BYTES + 4]);
    let create = Request::Create(comity_mls_wire::room::Create {
        key: IdempotencyKey(uuid::Uuid::from_u128(1)),
        group_info: Bytes::from_static(b"x"),
        tree: large,
        direct_with: None,
    });
    let element: Element = create.to_element();
    let refusal = Refusal::from(Request::from_element(&element).unwrap_err());
    assert_eq!(refusal.to_element().name, "bad-request");
    assert!(refusal.to_string().contains("at most"), "{refusal}");
}
