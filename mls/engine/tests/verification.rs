//! People compare codes: the same on both sides, kept through renewals, lost when keys change.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod world;

use comity_mls_engine::{
    Device, DeviceState, Error, Event, Notice, Space, Store as _, Trust, Warning,
};
use comity_mls_wire::authority;
use comity_xmpp::jid::BareJid;
use uuid::Uuid;
use world::{World, jid};

const DAY: u64 = 24 * 60 * 60 * 1_000;

fn device(world: &World, client: usize) -> Device {
    Device {
        account: world.clients[client].account.to_string(),
        device: world.device_id(client).into_bytes(),
    }
}

/// Alice and Bob in a room of hers.
fn two() -> (World, usize, usize, BareJid) {
    let mut world = World::new(&["a.example", "b.example"]);
    let alice = world.enrolled("alice@a.example");
    let bob = world.enrolled("bob@b.example");
    let room = room_with(&mut world, alice, &["bob@b.example"]);
    (world, alice, bob, room)
}

fn room_with(world: &mut World, client: usize, others: &[&str]) -> BareJid {
    let now = world.now;
    let room = world.input(client, |e| e.create_room(None, now)).unwrap();
    let accounts: Vec<_> = others.iter().map(|other| jid(other)).collect();
    world.input(client, |e| e.invite(&room, &accounts, now));
    world.run();
    room
}

fn code(world: &mut World, client: usize, room: &BareJid, with: Option<&Device>) -> String {
    let code = world.engine(client).verification_code(room, with).unwrap();
    assert_eq!(code.digits.len(), comity_mls_engine::CODE_DIGITS);
    code.to_string()
}

fn trust(world: &mut World, client: usize, room: &BareJid, of: &Device) -> Trust {
    let members = world.engine(client).member_trust(room).unwrap();
    let found = members.into_iter().find(|m| Device::from(&m.member) == *of);
    found.unwrap().trust
}

fn count(world: &World, client: usize, wanted: impl Fn(&Event) -> bool) -> usize {
    let events = &world.clients[client].events;
    events.iter().filter(|event| wanted(event)).count()
}

/// Alice compares with Bob's device.
fn compared() -> (World, usize, usize, BareJid, Device) {
    let (mut world, alice, bob, room) = two();
    let (hers, his) = (device(&world, alice), device(&world, bob));
    let on_her_side = code(&mut world, alice, &room, Some(&his));
    let on_his_side = code(&mut world, bob, &room, Some(&hers));
    assert_eq!(on_her_side, on_his_side);
    let now = world.now;
    world.input(alice, |e| {
        e.mark_verified(&room, Some(&his), &on_his_side, now)
    });
    (world, alice, bob, room, his)
}

#[test]
fn a_pair_and_a_room_have_one_code_on_all_sides() {
    let (mut world, alice, bob, room) = two();
    let carol = world.enrolled("carol@b.example");
    let now = world.now;
    world.input(alice, |e| e.invite(&room, &[jid("carol@b.example")], now));
    world.run();
    let [a, b, c] = [alice, bob, carol].map(|client| device(&world, client));
    let of_the_room = [alice, bob, carol].map(|client| code(&mut world, client, &room, None));
    assert_eq!(of_the_room[0], of_the_room[1]);
    assert_eq!(of_the_room[0], of_the_room[2]);
    let mut all = vec![
        code(&mut world, alice, &room, Some(&b)),
        code(&mut world, alice, &room, Some(&c)),
        code(&mut world, bob, &room, Some(&c)),
        of_the_room[0].clone(),
    ];
    assert_eq!(all[0], code(&mut world, bob, &room, Some(&a)));
    assert_eq!(all[2], code(&mut world, carol, &room, Some(&b)));
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 4, "different pairs have different codes");
    // Another epoch, another code.
    let now = world.now;
    world.input(bob, |e| e.update(&room, now));
    world.run();
    assert_ne!(code(&mut world, alice, &room, None), of_the_room[0]);
    // Nobody compares with oneself or with who is not there.
    for with in [&a, &device(&world, alice)] {
        let refused = world.engine(alice).verification_code(&room, Some(with));
        assert!(matches!(refused, Err(Error::NoMember(_))), "{refused:?}");
    }
}

#[test]
fn only_the_code_of_the_other_side_marks() {
    let (mut world, alice, bob, room) = two();
    let his = device(&world, bob);
    let shown = code(&mut world, alice, &room, Some(&his));
    let of_room = code(&mut world, alice, &room, None);
    let now = world.now;
    let other = format!("{}9", &shown[..shown.len() - 1]);
    let other = if other == shown {
        shown.replace('9', "8")
    } else {
        other
    };
    for (typed, error) in [
        (other.as_str(), Error::CodeDiffers),
        // The code of the room says nothing of the pair.
        (of_room.as_str(), Error::CodeDiffers),
        ("yes", Error::NoCode),
        ("", Error::NoCode),
    ] {
        let marked = world
            .engine(alice)
            .mark_verified(&room, Some(&his), typed, now);
        assert_eq!(marked, Err(error), "{typed}");
    }
    assert_eq!(trust(&mut world, alice, &room, &his), Trust::Unverified);
    let hers = device(&world, alice);
    let scanned = world.engine(bob).verification_code(&room, Some(&hers));
    let uri = scanned.unwrap().uri;
    world.input(alice, |e| e.mark_verified(&room, Some(&his), &uri, now));
    let verified = Trust::Verified { since: now };
    assert_eq!(trust(&mut world, alice, &room, &his), verified);
    assert_eq!(trust(&mut world, alice, &room, &hers), Trust::Own);
    assert_eq!(trust(&mut world, bob, &room, &hers), Trust::Unverified);
    world.restart(alice);
    assert_eq!(trust(&mut world, alice, &room, &his), verified);
    world.input(alice, |e| e.forget_verified(&room, &his, now));
    assert_eq!(trust(&mut world, alice, &room, &his), Trust::Unverified);
}

#[test]
fn a_code_shown_may_be_confirmed_an_epoch_later() {
    let (mut world, alice, bob, room) = two();
    let his = device(&world, bob);
    let shown = code(&mut world, alice, &room, Some(&his));
    let now = world.now;
    world.input(bob, |e| e.update(&room, now));
    world.run();
    let now = world.now;
    world.input(alice, |e| e.mark_verified(&room, Some(&his), &shown, now));
    let verified = Trust::Verified { since: now };
    assert_eq!(trust(&mut world, alice, &room, &his), verified);
    // Not once somebody else may be there under its name.
    let shown = code(&mut world, alice, &room, Some(&his));
    world.input(alice, |e| e.remove(&room, &jid("bob@b.example"), None, now));
    world.run();
    let now = world.now;
    world.input(alice, |e| e.invite(&room, &[jid("bob@b.example")], now));
    world.run();
    let late = world
        .engine(alice)
        .mark_verified(&room, Some(&his), &shown, now);
    assert_eq!(late, Err(Error::CodeDiffers));
}

#[test]
fn a_mark_stays_while_the_device_renews_its_own_keys() {
    let (mut world, alice, bob, room, his) = compared();
    let mark = |world: &World| {
        let store = &world.clients[alice].store;
        store.scan(Space::Verified, b"", None, 9).unwrap()
    };
    let before = mark(&world);
    assert_eq!(before.len(), 1);
    // Past a third of the certificate's life the leaf takes another key.
    for _ in 0..50 {
        world.run_for(DAY);
    }
    assert_ne!(mark(&world), before, "the mark holds the key of today");
    let kept = matches!(
        trust(&mut world, alice, &room, &his),
        Trust::Verified { .. }
    );
    assert!(kept);
    assert_eq!(
        count(&world, alice, |e| matches!(
            e,
            Event::VerificationLost { .. }
        )),
        0
    );
    world.assert_agreement(&room, &[alice, bob]);
}

#[test]
fn a_mark_is_lost_when_the_device_is_added_anew() {
    let (mut world, alice, _, room, his) = compared();
    let now = world.now;
    world.input(alice, |e| e.remove(&room, &jid("bob@b.example"), None, now));
    world.run();
    let lost = |e: &Event| matches!(e, Event::VerificationLost { .. });
    assert_eq!(count(&world, alice, lost), 0, "being away is no change");
    let now = world.now;
    world.input(alice, |e| e.invite(&room, &[jid("bob@b.example")], now));
    world.run();
    assert_eq!(count(&world, alice, lost), 1);
    let changed = trust(&mut world, alice, &room, &his);
    assert!(matches!(changed, Trust::Changed { .. }), "{changed:?}");
    // Another comparison sets it right.
    let again = code(&mut world, alice, &room, Some(&his));
    let now = world.now;
    world.input(alice, |e| e.mark_verified(&room, Some(&his), &again, now));
    let verified = Trust::Verified { since: now };
    assert_eq!(trust(&mut world, alice, &room, &his), verified);
}

#[test]
fn another_device_of_somebody_compared_is_pointed_out() {
    let (mut world, alice, bob, room, his) = compared();
    let phone = world.enrolled("bob@b.example");
    let now = world.now;
    // He lets it in himself: nobody else may.
    world.input(bob, |e| e.invite(&room, &[jid("bob@b.example")], now));
    world.run();
    let phone = device(&world, phone);
    let told = |e: &Event| matches!(e, Event::UnverifiedDevice { device, .. } if *device == phone);
    assert_eq!(count(&world, alice, told), 1);
    assert_eq!(count(&world, bob, told), 0);
    assert_eq!(trust(&mut world, alice, &room, &phone), Trust::Unverified);
    // A room's code marks all others in it.
    let now = world.now;
    let of_room = code(&mut world, bob, &room, None);
    world.input(alice, |e| e.mark_verified(&room, None, &of_room, now));
    let verified = Trust::Verified { since: now };
    assert_eq!(trust(&mut world, alice, &room, &phone), verified);
    // Elsewhere the mark is worth what the certificate is.
    let other = room_with(&mut world, alice, &["bob@b.example"]);
    let elsewhere = trust(&mut world, alice, &other, &his);
    assert_eq!(elsewhere, Trust::Elsewhere { room });
}

fn state(world: &mut World, client: usize, of: usize) -> DeviceState {
    let id = world.device_id(of);
    let devices = world.engine(client).own_devices().unwrap();
    let found = devices.into_iter().find(|device| device.id == id);
    found.unwrap().state
}

fn warned_of(world: &World, client: usize, id: Uuid) -> usize {
    let unknown =
        |e: &Event| matches!(e, Event::OwnDevice { id: told, revoked: false, .. } if *told == id);
    count(world, client, unknown)
}

/// Tells a client of a device, as its domain does.
fn announce(world: &mut World, to: usize, of: usize) {
    let account = world.clients[of].account.clone();
    let id = world.device_id(of);
    let named = world.domains[account.domain()].named(&account);
    let device = named.into_iter().find(|device| device.id == id).unwrap();
    let notice = Notice::Authority(authority::Notice::DeviceAdded(device));
    world.deliver(to, notice);
    world.run();
}

#[test]
fn a_new_device_is_unknown_until_its_code_is_confirmed() {
    let (mut world, alice, bob, room) = two();
    let phone = world.enrolled("alice@a.example");
    let id = world.device_id(phone);
    announce(&mut world, alice, phone);
    assert_eq!(warned_of(&world, alice, id), 1);
    assert_eq!(state(&mut world, alice, phone), DeviceState::Unknown);
    // The new one found the other there and takes no offence.
    assert_eq!(state(&mut world, phone, alice), DeviceState::Earlier);
    let first = world.device_id(alice);
    assert_eq!(warned_of(&world, phone, first), 0);
    // Each session reminds, also after a restart.
    world.restart(alice);
    world.run();
    assert_eq!(warned_of(&world, alice, id), 2);

    let shown = world.engine(phone).device_code(first).unwrap();
    assert_eq!(
        world.engine(alice).device_code(id).unwrap().digits,
        shown.digits
    );
    let now = world.now;
    let wrong = "1".repeat(30);
    assert_eq!(
        world.engine(alice).confirm_device(id, &wrong, now),
        Err(Error::CodeDiffers)
    );
    assert_eq!(state(&mut world, alice, phone), DeviceState::Unknown);
    world.input(alice, |e| e.confirm_device(id, &shown.uri, now));
    world.run();
    assert_eq!(state(&mut world, alice, phone), DeviceState::Confirmed);
    // It is let into the rooms.
    world.assert_agreement(&room, &[alice, bob, phone]);
    let phone_device = device(&world, phone);
    assert_eq!(
        trust(&mut world, alice, &room, &phone_device),
        Trust::Confirmed
    );
    world.restart(alice);
    world.run();
    assert_eq!(warned_of(&world, alice, id), 2, "no reminder any more");
    assert_eq!(state(&mut world, alice, phone), DeviceState::Confirmed);
    world.assert_unwarned();
}

#[test]
fn confirming_one_device_lets_no_other_in() {
    let (mut world, alice, bob, room) = two();
    let phone = world.enrolled("alice@a.example");
    let ghost = world.enrolled("alice@a.example");
    for device in [phone, ghost] {
        announce(&mut world, alice, device);
    }
    let id = world.device_id(phone);
    let code = world.engine(alice).device_code(id).unwrap();
    let now = world.now;
    world.input(alice, |e| e.confirm_device(id, &code.digits, now));
    world.run();
    world.assert_agreement(&room, &[alice, bob, phone]);
    assert!(world.engine(ghost).rooms().unwrap().is_empty());
    assert_eq!(state(&mut world, alice, ghost), DeviceState::Unknown);
}

#[test]
fn a_key_put_under_a_device_does_not_pass() {
    let (mut world, alice, _, _) = two();
    let phone = world.enrolled("alice@a.example");
    announce(&mut world, alice, phone);
    let id = world.device_id(phone);
    // The domain tells Alice another key than the phone's own: their codes differ.
    let account = jid("alice@a.example");
    let mut lie = world.domains["a.example"].named(&account);
    lie.retain(|device| device.id == id);
    let other = world.domains["a.example"].hub_key.public().unwrap();
    lie[0].device_key = other.to_spki().into();
    let first = world.device_id(alice);
    let true_code = world.engine(phone).device_code(first).unwrap();
    world.deliver(
        alice,
        Notice::Authority(authority::Notice::DeviceAdded(lie.remove(0))),
    );
    world.run();
    let now = world.now;
    let confirmed = world
        .engine(alice)
        .confirm_device(id, &true_code.digits, now);
    assert_eq!(confirmed, Err(Error::CodeDiffers));
    let warned = |e: &Event| {
        let wanted =
            |w: &Warning| matches!(w, Warning::DeviceKeyChanged { device, .. } if *device == id);
        matches!(e, Event::Warning { warning, .. } if wanted(warning))
    };
    assert_eq!(count(&world, alice, warned), 1);
    // A device that ended is over, whatever code it has.
    world.deliver(
        alice,
        Notice::Authority(authority::Notice::DeviceRevoked { id }),
    );
    world.run();
    assert_eq!(state(&mut world, alice, phone), DeviceState::Revoked);
    let code = world.engine(alice).device_code(id).unwrap();
    let confirmed = world.engine(alice).confirm_device(id, &code.digits, now);
    assert_eq!(confirmed, Err(Error::UnknownDevice(id)));
    let nobody = Uuid::from_u128(99);
    for none in [nobody, first] {
        let code = world.engine(alice).device_code(none);
        assert_eq!(code, Err(Error::UnknownDevice(none)));
    }
}

/// The devices an invitation of Bob showed, with whether each was new, and whether it was the first.
fn invitations(world: &World, client: usize) -> Vec<(bool, Vec<bool>)> {
    let shown = |e: &Event| match e {
        Event::Inviting {
            account,
            first,
            devices,
            ..
        } if *account == jid("bob@b.example") => {
            Some((*first, devices.iter().map(|device| device.new).collect()))
        }
        _ => None,
    };
    world.clients[client]
        .events
        .iter()
        .filter_map(shown)
        .collect()
}

#[test]
fn an_invitation_shows_the_devices_and_what_is_new_of_them() {
    let (mut world, alice, _, _) = two();
    assert_eq!(invitations(&world, alice), [(true, vec![false])]);
    room_with(&mut world, alice, &["bob@b.example"]);
    assert_eq!(invitations(&world, alice)[1], (false, vec![false]));
    world.enrolled("bob@b.example");
    world.restart(alice);
    room_with(&mut world, alice, &["bob@b.example"]);
    let (first, mut new) = invitations(&world, alice)[2].clone();
    new.sort_unstable();
    assert_eq!((first, new), (false, vec![false, true]));
}

#[test]
fn a_device_in_one_room_of_several_is_odd_and_told_once() {
    let (mut world, alice, bob, _) = two();
    room_with(&mut world, alice, &["bob@b.example"]);
    let ghost = world.enrolled("bob@b.example");
    room_with(&mut world, alice, &["bob@b.example"]);
    let id = world.device_id(ghost);
    let odd = |e: &Event| {
        let wanted = |w: &Warning| matches!(w, Warning::OddDevice { device, inside: 1, all: 3, .. } if *device == id);
        matches!(e, Event::Warning { room: Some(_), warning } if wanted(warning))
    };
    world.run_for(DAY / 2);
    assert_eq!(
        count(&world, alice, odd),
        0,
        "it may yet come to the others"
    );
    world.run_for(DAY);
    assert_eq!(count(&world, alice, odd), 1);
    world.run_for(2 * DAY);
    world.restart(alice);
    world.run_for(2 * DAY);
    assert_eq!(count(&world, alice, odd), 1, "told once");
    // Bob's own devices are another matter, and his first device is in all rooms.
    let of = |client: usize| {
        let warned = |e: &Event| {
            matches!(
                e,
                Event::Warning {
                    warning: Warning::OddDevice { .. },
                    ..
                }
            )
        };
        count(&world, client, warned)
    };
    assert_eq!((of(alice), of(bob)), (1, 0));
}

#[test]
fn a_device_its_domain_does_not_name_is_told() {
    let (mut world, alice, bob, _) = two();
    let id = world.device_id(bob);
    let phone = world.enrolled("bob@b.example");
    world
        .domains
        .get_mut("b.example")
        .unwrap()
        .devices
        .remove(&id);
    room_with(&mut world, alice, &["bob@b.example"]);
    let unnamed = |e: &Event| matches!(e, Event::Warning { warning: Warning::UnnamedDevice { device, .. }, .. } if *device == id);
    assert_eq!(count(&world, alice, unnamed), 1);
    room_with(&mut world, alice, &["bob@b.example"]);
    assert_eq!(count(&world, alice, unnamed), 1);
    assert_eq!(world.engine(phone).rooms().unwrap().len(), 2);
}
