//! Servers and peers that lie: nothing panics, what does not fit changes nothing, and the person is
//! told.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod world;

use comity_mls_engine::{Engine, Event, Notice, RoomState, Row, Warning, What};
use comity_mls_wire::room::{Entry, EntryKind, Hash, Payload, Tree, Welcome};
use comity_mls_wire::sync;
use comity_xmpp::jid::BareJid;
use uuid::Uuid;
use world::{FaultyStore, World, jid};

/// Alice and Bob in a room; Bob hears nothing more, and what he would hear is in the log: a
/// message, a commit, a proposal.
struct Scene {
    world: World,
    bob: usize,
    room: BareJid,
    /// What follows Bob's place.
    next: Vec<Entry>,
    head: Hash,
}

fn scene(kinds: &[EntryKind]) -> Scene {
    let mut world = World::new(&["a.example", "b.example"]);
    let alice = world.enrolled("alice@a.example");
    let bob = world.enrolled("bob@b.example");
    let now = world.now;
    let room = world.input(alice, |e| e.create_room(None, now)).unwrap();
    world.input(alice, |e| e.invite(&room, &[jid("bob@b.example")], now));
    world.run();
    world.cut(bob);
    let held = world.rooms[&room].log.len();
    let head = world.rooms[&room].log[held - 1].head;
    for kind in kinds {
        let now = world.now;
        match kind {
            EntryKind::Application => {
                world.input(alice, |e| e.send(&room, "text", b"hello", now));
            }
            EntryKind::Commit => {
                world.input(alice, |e| e.update(&room, now));
            }
            EntryKind::Proposal => {
                world.input(alice, |e| e.leave(&room, now));
            }
            EntryKind::Notice => {}
        }
        world.run();
    }
    let next = world.rooms[&room].log[held..].to_vec();
    assert_eq!(next.len(), kinds.len());
    Scene {
        world,
        bob,
        room,
        next,
        head,
    }
}

fn entry(entry: Entry) -> Notice {
    Notice::Sync(sync::Notice::Entry(entry))
}

fn warnings(engine: &mut Engine) -> Vec<Warning> {
    events(engine)
        .into_iter()
        .filter_map(|event| match event {
            Event::Warning { warning, .. } => Some(warning),
            _ => None,
        })
        .collect()
}

fn events(engine: &mut Engine) -> Vec<Event> {
    std::iter::from_fn(|| engine.poll_event()).collect()
}

/// The entry changes nothing and brings exactly this warning; the true one is taken afterwards.
fn check_refused(scene: &Scene, lie: impl Fn(&mut Entry), expected: &Warning) {
    let (mut engine, store) = scene.world.twin(scene.bob);
    let before = store.rows();
    let mut lying = scene.next[0].clone();
    lie(&mut lying);
    engine.notice(entry(lying), scene.world.now).unwrap();
    assert_eq!(warnings(&mut engine), std::slice::from_ref(expected));
    assert_eq!(store.rows(), before);
    engine
        .notice(entry(scene.next[0].clone()), scene.world.now)
        .unwrap();
    assert_eq!(warnings(&mut engine), []);
    assert_ne!(store.rows(), before);
}

#[test]
fn an_entry_that_does_not_chain_changes_nothing() {
    let scene = scene(&[EntryKind::Application]);
    let seq = scene.next[0].seq;
    let broken = Warning::ChainBroken { seq };
    check_refused(&scene, |e| e.head[0] ^= 1, &broken);
    check_refused(&scene, |e| e.time += 1, &broken);
    check_refused(&scene, |e| e.sender = jid("eve@a.example"), &broken);
    check_refused(&scene, |e| e.kind = EntryKind::Notice, &broken);
    let other = Payload::Held(b"other".to_vec().into());
    check_refused(&scene, |e| e.payload = other.clone(), &broken);
    check_refused(&scene, |e| e.payload = Payload::Purged([7; 32]), &broken);
}

#[test]
fn entries_of_other_rooms_and_numbers_are_waited_for_or_ignored() {
    let scene = scene(&[EntryKind::Application, EntryKind::Application]);
    let (mut engine, store) = scene.world.twin(scene.bob);
    let before = store.rows();
    let now = scene.world.now;
    let mut foreign = scene.next[0].clone();
    foreign.room = jid("~aaaaaaaaaaaaaaaaaaaaaaaaaa@a.example");
    engine.notice(entry(foreign), now).unwrap();
    let mut far = scene.next[0].clone();
    far.seq = u64::MAX;
    engine.notice(entry(far), now).unwrap();
    // The second before the first: it waits for its turn.
    engine.notice(entry(scene.next[1].clone()), now).unwrap();
    assert_eq!(store.rows(), before);
    engine.notice(entry(scene.next[0].clone()), now).unwrap();
    engine.notice(entry(scene.next[0].clone()), now).unwrap();
    let words = engine.history(&scene.room, 0, 99).unwrap();
    let heard = words.iter().filter(|i| matches!(i.what, What::Message(_)));
    assert_eq!(heard.count(), 2);
    assert_eq!(warnings(&mut engine), []);
}

#[test]
fn heads_of_commits_are_signed_by_the_hub() {
    let scene = scene(&[EntryKind::Commit]);
    let seq = scene.next[0].seq;
    let check = |signature: Option<Vec<u8>>, expected: &[Warning]| {
        let (mut engine, _) = scene.world.twin(scene.bob);
        let mut commit = scene.next[0].clone();
        commit.signature = signature.map(Into::into);
        engine.notice(entry(commit), scene.world.now).unwrap();
        assert_eq!(warnings(&mut engine), expected);
        // Whether a commit is applied hangs on the group alone.
        assert_eq!(engine.rooms().unwrap()[0].epoch, 2);
    };
    let right = scene.next[0].signature.clone().unwrap().to_vec();
    check(Some(right.clone()), &[]);
    check(None, &[Warning::HeadUnsigned { seq }]);
    let mut forged = right;
    *forged.last_mut().unwrap() ^= 1;
    check(Some(forged), &[Warning::HeadForged { seq }]);
    check(Some(b"".to_vec()), &[Warning::HeadForged { seq }]);
}

/// Between commits not every head is signed; where one is, the signature has to be right.
#[test]
fn heads_between_commits_are_looked_at_where_they_are_signed() {
    let scene = scene(&[EntryKind::Application]);
    let hub = &scene.world.rooms[&scene.room];
    let seq = scene.next[0].seq;
    let right = hub.sign_head(&scene.next[0]).to_vec();
    let mut forged = right.clone();
    *forged.last_mut().unwrap() ^= 1;
    let wrong = vec![Warning::HeadForged { seq }];
    let cases = [(None, vec![]), (Some(right), vec![]), (Some(forged), wrong)];
    for (signature, expected) in cases {
        let (mut engine, _) = scene.world.twin(scene.bob);
        let mut message = scene.next[0].clone();
        message.signature = signature.map(Into::into);
        engine.notice(entry(message), scene.world.now).unwrap();
        assert_eq!(warnings(&mut engine), expected);
    }
}

/// A hub that lies consistently: the entry chains, its payload is what the test makes of it.
fn rechained(scene: &Scene, change: impl FnOnce(&mut Entry)) -> Entry {
    let mut lying = scene.next[0].clone();
    change(&mut lying);
    lying.head = lying.computed_head(&scene.head);
    lying
}

fn flipped(payload: &Payload, world: &mut World) -> Payload {
    let Payload::Held(bytes) = payload else {
        unreachable!()
    };
    let mut bytes = bytes.to_vec();
    match world.random(8) {
        0 => {
            let keep = usize::try_from(world.random(bytes.len() as u64)).unwrap();
            bytes.truncate(keep);
        }
        1 => bytes.push(0),
        _ => {
            let place = usize::try_from(world.random(bytes.len() as u64)).unwrap();
            bytes[place] ^= 1 << world.random(8);
        }
    }
    Payload::Held(bytes.into())
}

#[test]
fn a_message_the_hub_spoiled_is_named_and_the_log_goes_on() {
    let mut scene = scene(&[EntryKind::Application, EntryKind::Application]);
    for _ in 0..150 {
        let payload = flipped(&scene.next[0].payload, &mut scene.world);
        let (mut engine, _) = scene.world.twin(scene.bob);
        let lying = rechained(&scene, |e| e.payload = payload);
        engine
            .notice(entry(lying.clone()), scene.world.now)
            .unwrap();
        let last = engine.history(&scene.room, 0, 99).unwrap().pop().unwrap();
        assert!(matches!(last.what, What::Unreadable(_)), "{last:?}");
        // The next true message, on the hub's new chain: the one before it is missed.
        let mut after = scene.next[1].clone();
        after.head = after.computed_head(&lying.head);
        engine.notice(entry(after), scene.world.now).unwrap();
        let last = engine.history(&scene.room, 0, 99).unwrap().pop().unwrap();
        assert!(matches!(last.what, What::Message(_)), "{last:?}");
        let warned = warnings(&mut engine);
        assert!(
            warned.iter().any(|w| matches!(w, Warning::Fork { .. })),
            "what Alice saw is not what Bob saw: {warned:?}"
        );
    }
}

#[test]
fn a_spoiled_commit_changes_no_group_and_the_person_is_told() {
    let mut scene = scene(&[EntryKind::Commit]);
    for _ in 0..150 {
        let payload = flipped(&scene.next[0].payload, &mut scene.world);
        let (mut engine, store) = scene.world.twin(scene.bob);
        let group = group_rows(&store);
        let lying = rechained(&scene, |e| e.payload = payload);
        engine.notice(entry(lying), scene.world.now).unwrap();
        let told = events(&mut engine);
        // Tags are secret: who does not hold the epoch cannot see that one is wrong, and the room
        // goes on. Whatever anyone can see to be wrong stops the room.
        let stopped = match engine.rooms().unwrap()[0].state {
            RoomState::Resyncing => false,
            state => {
                assert_eq!(state, RoomState::Stopped);
                true
            }
        };
        let place = scene.next[0].seq;
        assert!(told.iter().any(|event| match event {
            Event::RoomStopped { seq, .. } => stopped && *seq == place,
            Event::RoomResyncing { seq, .. } => !stopped && *seq == place,
            _ => false,
        }));
        assert_eq!(group_rows(&store), group);
        let said = engine.send(&scene.room, "text", b"x", scene.world.now);
        assert_eq!(said.is_err(), stopped);
    }
}

fn group_rows(store: &FaultyStore) -> Vec<(&'static str, Row)> {
    let is_group = |name: &str| name == "group" || name == "tree";
    let mut rows = store.rows();
    rows.retain(|(name, _)| is_group(name));
    rows
}

#[test]
fn kinds_that_belie_their_payload_do_no_harm() {
    let scene = scene(&[EntryKind::Commit]);
    for kind in [
        EntryKind::Proposal,
        EntryKind::Application,
        EntryKind::Notice,
    ] {
        let (mut engine, store) = scene.world.twin(scene.bob);
        let group = group_rows(&store);
        let lying = rechained(&scene, |e| e.kind = kind);
        engine.notice(entry(lying), scene.world.now).unwrap();
        assert_eq!(engine.rooms().unwrap()[0].epoch, 1);
        assert_eq!(group_rows(&store), group);
    }
}

#[test]
fn a_message_under_another_name_is_exposed() {
    let scene = scene(&[EntryKind::Application]);
    let (mut engine, _) = scene.world.twin(scene.bob);
    let lying = rechained(&scene, |e| e.sender = jid("bob@b.example"));
    engine
        .notice(entry(lying.clone()), scene.world.now)
        .unwrap();
    assert_eq!(
        warnings(&mut engine),
        [Warning::WrongSender {
            account: "alice@a.example".into(),
            claimed: "bob@b.example".into(),
            seq: lying.seq,
        }]
    );
    // In the history it stands under the name of who wrote it.
    let last = engine.history(&scene.room, 0, 99).unwrap().pop().unwrap();
    assert!(matches!(last.what, What::Message(m) if m.sender.account == "alice@a.example"));
}

#[test]
fn a_message_is_not_shown_twice_nor_its_loss_hidden() {
    let scene = scene(&[
        EntryKind::Application,
        EntryKind::Application,
        EntryKind::Application,
    ]);
    let (mut engine, _) = scene.world.twin(scene.bob);
    let now = scene.world.now;
    engine.notice(entry(scene.next[0].clone()), now).unwrap();
    // The hub orders the first again in place of the second, then lets the third follow.
    let mut again = scene.next[1].clone();
    again.payload = scene.next[0].payload.clone();
    again.head = again.computed_head(&scene.next[0].head);
    engine.notice(entry(again.clone()), now).unwrap();
    let mut third = scene.next[2].clone();
    third.head = third.computed_head(&again.head);
    engine.notice(entry(third), now).unwrap();
    let shown = engine.history(&scene.room, 0, 99).unwrap();
    let shown = shown.iter().filter(|i| matches!(i.what, What::Message(_)));
    assert_eq!(shown.count(), 2);
    let warned = warnings(&mut engine);
    assert!(
        warned
            .iter()
            .any(|w| matches!(w, Warning::Lost { missing: 1, .. }))
    );
    assert!(warned.iter().any(|w| matches!(w, Warning::Fork { .. })));
}

/// Bob's Welcome, as it waits for him.
fn invited() -> (World, usize, Welcome, Vec<u8>) {
    let mut world = World::new(&["a.example", "b.example"]);
    let alice = world.enrolled("alice@a.example");
    let bob = world.enrolled("bob@b.example");
    let carol = world.enrolled("carol@b.example");
    let now = world.now;
    // Bob knows the domains already.
    let first = world.input(alice, |e| e.create_room(None, now)).unwrap();
    world.input(alice, |e| e.invite(&first, &[jid("bob@b.example")], now));
    world.run();
    world.cut(bob);
    world.cut(carol);
    let now = world.now;
    let room = world.input(alice, |e| e.create_room(None, now)).unwrap();
    let guests = [jid("bob@b.example"), jid("carol@b.example")];
    world.input(alice, |e| e.invite(&room, &guests, now));
    world.run();
    let of = |account: &str| {
        let welcomes = &world.rooms[&room].welcomes;
        let found = welcomes.iter().find(|(m, _)| m.account == jid(account));
        found.unwrap().1.clone()
    };
    let welcome = of("bob@b.example");
    let tree = welcome.tree.open().unwrap().to_vec();
    (world, bob, welcome, tree)
}

fn welcome(welcome: Welcome) -> Notice {
    Notice::Sync(sync::Notice::Welcome(welcome))
}

#[test]
fn a_welcome_that_does_not_fit_is_not_joined() {
    let (mut world, bob, good, _) = invited();
    let check = |world: &World, lie: &dyn Fn(&mut Welcome)| {
        let (mut engine, store) = world.twin(bob);
        let before = store.rows();
        let mut lying = good.clone();
        lie(&mut lying);
        engine.notice(welcome(lying), world.now).unwrap();
        let warned = warnings(&mut engine);
        assert!(
            matches!(warned[..], [Warning::BadWelcome { .. }]),
            "{warned:?}"
        );
        assert_eq!(store.rows(), before);
        // It was no harm to the true one.
        engine.notice(welcome(good.clone()), world.now).unwrap();
        assert_eq!(engine.rooms().unwrap().len(), 2);
    };
    check(&world, &|w| w.welcome = b"nothing".to_vec().into());
    check(&world, &|w| w.tree = Tree::plain(&b"nothing"[..]));
    check(&world, &|w| w.tree = Tree::pack(vec![0; 1_000_000]));
    for lie in [1, 1_000_000, u64::MAX] {
        check(&world, &|w| w.tree.inflated = Some(lie));
    }
    check(&world, &|w| w.epoch += 1);
    // A room elsewhere, whose domain is not the group's hub.
    check(&world, &|w| {
        w.room = jid("~aaaaaaaaaaaaaaaaaaaaaaaaaa@b.example");
    });
    for _ in 0..100 {
        let spoiled = flipped(&Payload::Held(good.welcome.clone()), &mut world);
        let Payload::Held(spoiled) = spoiled else {
            unreachable!()
        };
        // What is spoiled may be the part that is for Carol.
        let (mut engine, _) = world.twin(bob);
        let mut lying = good.clone();
        lying.welcome = spoiled;
        engine.notice(welcome(lying), world.now).unwrap();
        let spoiled = flipped(&Payload::Held(good.tree.open().unwrap()), &mut world);
        let Payload::Held(spoiled) = spoiled else {
            unreachable!()
        };
        check(&world, &|w| w.tree = Tree::plain(spoiled.clone()));
        let spoiled = flipped(&Payload::Held(good.tree.octets.clone()), &mut world);
        let Payload::Held(spoiled) = spoiled else {
            unreachable!()
        };
        let flipped = Tree {
            octets: spoiled,
            inflated: good.tree.inflated,
        };
        // The last octet of DEFLATE may have bits that mean nothing.
        if flipped.open() != good.tree.open() {
            check(&world, &|w| w.tree = flipped.clone());
        }
    }
}

#[test]
fn answers_nobody_asked_for_are_dropped() {
    use comity_mls_engine::{Answer, RequestId};
    use comity_mls_wire::{authority, refusal::Refusal};
    let scene = scene(&[]);
    let (mut engine, store) = scene.world.twin(scene.bob);
    let before = store.rows();
    let granted = Ok(Answer::Authority(authority::Answer::Registered {
        device: Uuid::from_u128(99),
    }));
    engine.answer(RequestId(1), granted, 0).unwrap();
    engine
        .answer(RequestId(u64::MAX), Err(Refusal::Internal), 0)
        .unwrap();
    // Nor does an answer fit another question.
    engine.session_started(None, 0).unwrap();
    let asked = engine.poll_request().unwrap();
    let wrong = Ok(Answer::Sync(sync::Answer::Acknowledged));
    engine.answer(asked.id, wrong, 0).unwrap();
    assert!(matches!(
        warnings(&mut engine)[..],
        [Warning::Unexpected { .. }]
    ));
    assert_eq!(store.rows(), before);
}

/// A clock that was set, or a server that takes its time, makes no second answer to one challenge:
/// the server would refuse it, and with it the session.
#[test]
fn a_challenge_is_answered_once_and_another_asked_for() {
    use comity_mls_engine::{Answer, Request};
    use comity_mls_wire::authority;
    let scene = scene(&[]);
    let (mut engine, _) = scene.world.twin(scene.bob);
    engine.session_started(None, 0).unwrap();
    for n in 0..3 {
        let asked = engine.poll_request().unwrap();
        let challenge = Request::Authority(authority::Request::Challenge);
        assert_eq!(asked.request, challenge);
        let now = n * 60_000;
        let nonce = Ok(Answer::Authority(authority::Answer::Challenge {
            nonce: vec![7; 32].into(),
        }));
        engine.answer(asked.id, nonce, now).unwrap();
        let proof = engine.poll_request().unwrap().request;
        assert!(matches!(
            proof,
            Request::Authority(authority::Request::Prove { .. })
        ));
        assert!(engine.poll_request().is_none());
        engine.timeout(now + 60_000).unwrap();
    }
}

#[test]
fn anchors_of_another_domain_or_signed_by_nobody_are_not_pinned() {
    let mut world = World::new(&["a.example", "b.example"]);
    let alice = world.enrolled("alice@a.example");
    let _bob = world.enrolled("bob@b.example");
    // What is served as b's is a's; then it is spoiled.
    let right = world.domains["b.example"].statement.clone();
    let of_a = world.domains["a.example"].statement.clone();
    world.domains.get_mut("b.example").unwrap().statement = of_a;
    let now = world.now;
    let room = world.input(alice, |e| e.create_room(None, now)).unwrap();
    world.input(alice, |e| e.invite(&room, &[jid("bob@b.example")], now));
    world.run();
    let refused = |world: &World| {
        let events = &world.clients[alice].events;
        let anchors = |e: &&Event| {
            matches!(e, Event::Warning { warning: Warning::Anchors { domain, .. }, .. }
                if domain == "b.example")
        };
        events.iter().filter(anchors).count()
    };
    assert_eq!(refused(&world), 1);
    assert_eq!(world.engine(alice).members(&room).unwrap().len(), 1);
    let mut spoiled = right.to_vec();
    let middle = spoiled.len() / 2;
    spoiled[middle] ^= 1;
    world.domains.get_mut("b.example").unwrap().statement = spoiled.into();
    world.run_for(60_000);
    assert!(refused(&world) >= 2);
    assert_eq!(world.engine(alice).members(&room).unwrap().len(), 1);
    // When the domain shows its own, the invitation goes on by itself.
    world.domains.get_mut("b.example").unwrap().statement = right;
    world.run_for(120_000);
    assert_eq!(world.engine(alice).members(&room).unwrap().len(), 2);
}

#[test]
fn a_directory_cannot_pass_another_device_off() {
    let mut world = World::new(&["a.example", "b.example"]);
    let alice = world.enrolled("alice@a.example");
    let bob = world.enrolled("bob@b.example");
    let eve = world.enrolled("eve@b.example");
    // Bob's directory hands out Eve's packages as Bob's.
    let (bob, eve) = (world.device_id(bob), world.device_id(eve));
    let domain = world.domains.get_mut("b.example").unwrap();
    let packages = domain.devices[&eve].packages.clone();
    domain.devices.get_mut(&bob).unwrap().packages = packages;
    let now = world.now;
    let room = world.input(alice, |e| e.create_room(None, now)).unwrap();
    world.input(alice, |e| e.invite(&room, &[jid("bob@b.example")], now));
    world.run();
    assert_eq!(world.engine(alice).members(&room).unwrap().len(), 1);
    let told = world.clients[alice].events.iter().any(
        |e| matches!(e, Event::NotInvited { why, .. } if why.contains("another account or device")),
    );
    assert!(told);
}

#[test]
fn a_stopped_room_goes_on_once_its_entry_can_be_applied() {
    let Scene {
        mut world,
        bob,
        room,
        next,
        head,
    } = scene(&[EntryKind::Commit]);
    let mut lying = next[0].clone();
    lying.payload = Payload::Held(b"no commit at all".to_vec().into());
    lying.head = lying.computed_head(&head);
    world.deliver(bob, entry(lying));
    world.run();
    let state = world.engine(bob).rooms().unwrap()[0].state;
    assert_eq!(state, RoomState::Stopped);
    // The next session shows the entry as it is.
    world.disconnect(bob);
    world.connect(bob);
    world.run();
    let state = world.engine(bob).rooms().unwrap()[0].state;
    assert_eq!(state, RoomState::Active);
    world.assert_agreement(&room, &[0, bob]);
}
