//! Keys that should be gone are gone: the store of a device is read for them, octet by octet, before
//! and after (RFC 9420 §9.2, RFC 9750 §8.2).

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod world;

use comity_xmpp::jid::BareJid;
use mls_rs::MlsMessage;
use mls_rs::group::{ExportedTree, Node};
use mls_rs_codec::MlsDecode as _;
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcPoint, PointConversionForm};
use openssl::nid::Nid;
use world::{FaultyStore, World, jid};

/// Length of a P-256 scalar.
const SCALAR: usize = 32;

fn holds(store: &FaultyStore, secret: &[u8]) -> bool {
    assert!(secret.len() >= 16);
    let rows = store.rows();
    rows.iter()
        .any(|(_, (_, value))| value.windows(secret.len()).any(|window| window == secret))
}

/// The private half of a P-256 key, if it lies in one of these rows as the scalar it is.
fn private_half(store: &FaultyStore, space: &str, public: &[u8]) -> Option<Vec<u8>> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let mut context = BigNumContext::new().unwrap();
    let rows = store.rows();
    let values = rows.iter().filter(|(name, _)| *name == space);
    for (_, (_, value)) in values {
        for window in value.windows(SCALAR) {
            let scalar = BigNum::from_slice(window).unwrap();
            let mut point = EcPoint::new(&group).unwrap();
            if point.mul_generator2(&group, &scalar, &mut context).is_err() {
                continue;
            }
            let form = PointConversionForm::UNCOMPRESSED;
            let octets = point.to_bytes(&group, form, &mut context);
            if octets.is_ok_and(|octets| octets == public) {
                return Some(window.to_vec());
            }
        }
    }
    None
}

/// The encryption key of somebody's leaf, as everybody sees it.
fn leaf_key(world: &World, room: &BareJid, place: usize) -> Vec<u8> {
    let tree = world.rooms[room].group.export_tree().unwrap();
    let tree = ExportedTree::mls_decode(&mut &*tree).unwrap();
    let leaves = tree.nodes().iter().step_by(2);
    match leaves.flatten().nth(place).unwrap() {
        Node::Leaf(leaf) => leaf.public_key.as_ref().to_vec(),
        Node::Parent(_) => panic!("no leaf"),
    }
}

fn two() -> (World, usize, usize, BareJid) {
    let mut world = World::new(&["a.example", "b.example"]);
    let alice = world.enrolled("alice@a.example");
    let bob = world.enrolled("bob@b.example");
    let now = world.now;
    let room = world.input(alice, |e| e.create_room(None, now)).unwrap();
    (world, alice, bob, room)
}

fn invite(world: &mut World, alice: usize, room: &BareJid) {
    let now = world.now;
    world.input(alice, |e| e.invite(room, &[jid("bob@b.example")], now));
    world.run();
}

#[test]
fn the_key_of_a_welcome_is_gone_with_the_transaction_that_joins() {
    let (mut world, alice, bob, room) = two();
    let id = world.device_id(bob);
    // What the directory gives next.
    let packages = &world.domains["b.example"].devices[&id].packages;
    let next = packages
        .iter()
        .find(|package| !package.last_resort)
        .unwrap();
    let package = MlsMessage::from_bytes(&next.package).unwrap();
    let package = package.into_key_package().unwrap();
    let public = package.hpke_init_key.as_ref().to_vec();
    let store = world.clients[bob].store.clone();
    let secret = private_half(&store, "key_package", &public).unwrap();
    assert!(holds(&store, &secret));
    let commits = store.commits();
    invite(&mut world, alice, &room);
    assert_eq!(world.engine(bob).rooms().unwrap().len(), 1);
    assert!(store.commits() > commits);
    assert!(!holds(&store, &secret));
}

#[test]
fn the_secrets_of_an_epoch_are_gone_when_it_ends() {
    let (mut world, alice, bob, room) = two();
    invite(&mut world, alice, &room);
    for round in 0..3 {
        let secret = world.engine(bob).epoch_authenticator(&room).unwrap();
        let stores = [alice, bob].map(|client| world.clients[client].store.clone());
        assert!(stores.iter().all(|store| holds(store, &secret)));
        let now = world.now;
        let committer = [alice, bob][round % 2];
        world.input(committer, |e| e.update(&room, now));
        world.run();
        assert!(stores.iter().all(|store| !holds(store, &secret)));
    }
}

#[test]
fn the_key_of_a_leaf_is_gone_when_it_is_updated() {
    let (mut world, alice, bob, room) = two();
    invite(&mut world, alice, &room);
    let public = leaf_key(&world, &room, 1);
    let store = world.clients[bob].store.clone();
    let secret = private_half(&store, "group", &public).unwrap();
    let now = world.now;
    world.input(alice, |e| e.update(&room, now));
    world.run();
    assert!(
        holds(&store, &secret),
        "another's update is none of one's own"
    );
    let now = world.now;
    world.input(bob, |e| e.update(&room, now));
    world.run();
    assert_ne!(leaf_key(&world, &room, 1), public);
    assert!(!holds(&store, &secret));
}

#[test]
fn who_leaves_a_room_keeps_no_secret_of_it() {
    let (mut world, alice, bob, room) = two();
    invite(&mut world, alice, &room);
    let secret = world.engine(bob).epoch_authenticator(&room).unwrap();
    let leaf = private_half(
        &world.clients[bob].store,
        "group",
        &leaf_key(&world, &room, 1),
    );
    let leaf = leaf.unwrap();
    let now = world.now;
    world.input(bob, |e| e.leave(&room, now));
    world.run_for(10_000);
    let store = &world.clients[bob].store;
    for gone in [&secret, &leaf] {
        assert!(!holds(store, gone));
    }
    let rows = store.rows();
    let left = |space: &str| rows.iter().filter(|(name, _)| *name == space).count();
    assert_eq!((left("group"), left("tree"), left("in_flight")), (0, 0, 0));
}
