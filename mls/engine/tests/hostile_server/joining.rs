//! KeyPackages that a directory hands out, Welcomes, and GroupInfo.

use comity_mls_engine::{Answer, Notice, Request};
use comity_mls_wire::keys::{self, ClaimResult};
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{self, Payload, Welcome};
use comity_mls_wire::sync;
use comity_xmpp::jid::BareJid;

use super::log::rows;
use crate::lies::{ALICE, Ends, Row, Stage};
use crate::world::jid;

const DAVE: &str = "dave@a.example";
/// A Welcome is no use; the hub has Bob in the room all the same, and he takes his place himself.
const CAME_BY_ITSELF: [&str; 4] = ["BadWelcome", "RoomResyncing", "RoomResynced", "Rejoined"];

/// Bob invites Dave, whose directory has its way with what it hands out.
fn claim(stage: &mut Stage, lie: impl Fn(&mut Vec<keys::Claimed>) + 'static) {
    stage.world.enrolled(DAVE);
    stage.world.lie = Some(Box::new(move |_, _, answer| match answer {
        Ok(Answer::Keys(keys::Answer::Claimed(mut claimed))) => {
            lie(&mut claimed);
            Ok(Answer::Keys(keys::Answer::Claimed(claimed)))
        }
        other => other,
    }));
    let (bob, now) = (stage.bob, stage.world.now);
    let mine = stage
        .world
        .input(bob, |e| e.create_room(None, now))
        .unwrap();
    stage
        .world
        .input(bob, |e| e.invite(&mine, &[jid(DAVE)], now));
    stage.world.run_for(20_000);
    let members = stage.world.engine(bob).members(&mine).unwrap();
    assert!(
        members
            .iter()
            .all(|member| member.account == jid("bob@b.example"))
    );
}

fn package(claimed: &mut [keys::Claimed], lie: impl Fn(&mut Vec<u8>)) {
    for one in claimed {
        if let ClaimResult::Package { package, .. } = &mut one.result {
            let mut bytes = package.to_vec();
            lie(&mut bytes);
            *package = bytes.into();
        }
    }
}

/// Alice invites Bob to a third room, and his Welcome is not what she made. Gives the room.
fn welcomed(stage: &mut Stage, lie: impl Fn(&mut Welcome)) -> BareJid {
    stage.hold();
    let (alice, now) = (stage.alice, stage.world.now);
    let third = stage
        .world
        .input(alice, |e| e.create_room(None, now))
        .unwrap();
    stage
        .world
        .input(alice, |e| e.invite(&third, &[jid("bob@b.example")], now));
    stage.world.run();
    let hub = stage.world.rooms.get_mut(&third).unwrap();
    let truth = hub.welcomes.clone();
    for (_, welcome) in &mut hub.welcomes {
        lie(welcome);
    }
    stage.release();
    stage.world.rooms.get_mut(&third).unwrap().welcomes = truth;
    third
}

fn is_in(stage: &Stage, room: &BareJid) -> bool {
    let rooms = stage.world.clients[stage.bob].engine.rooms().unwrap();
    rooms.iter().any(|info| info.room == *room)
}

/// A commit is gone, so that Bob comes back, and what he is served is not what the log leads to.
fn comes_back(stage: &mut Stage, lie: impl Fn(&mut room::Answer) + 'static) {
    stage.hold();
    let alice = stage.alice;
    stage.update(alice);
    let mut left = 2;
    stage.world.lie = Some(Box::new(move |_, request, mut answer| {
        if let (Request::Room(room::Request::GroupInfo), Ok(Answer::Room(answer))) =
            (request, &mut answer)
            && left > 0
        {
            left -= 1;
            lie(answer);
        }
        answer
    }));
    stage.lie(|log| {
        let last = log.last_mut().unwrap();
        last.payload = Payload::Purged(last.payload.hash());
    });
    stage.world.run_for(120_000);
}

fn served(answer: &mut room::Answer, lie: impl Fn(&mut Vec<u8>, &mut Vec<u8>, &mut u64)) {
    if let room::Answer::GroupInfo {
        group_info,
        tree,
        epoch,
        ..
    } = answer
    {
        let (mut info, mut nodes) = (group_info.to_vec(), tree.open().unwrap().to_vec());
        lie(&mut info, &mut nodes, epoch);
        (*group_info, *tree) = (info.into(), room::Tree::pack(nodes));
    }
}

fn flip(bytes: &mut [u8]) {
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
}

pub(crate) const TABLE: &[Row] = rows![
    "hands out what is no KeyPackage", ["NotInvited"], GoesOn, |stage| {
        claim(stage, |claimed| package(claimed, |bytes| *bytes = b"a key package".to_vec()));
    };
    "hands out a spoiled KeyPackage", ["NotInvited"], GoesOn, |stage| {
        claim(stage, |claimed| package(claimed, |bytes| flip(bytes)));
    };
    "hands out a KeyPackage of another account", ["NotInvited"], GoesOn, |stage| {
        let eve = stage.world.enrolled("eve@a.example");
        let eve = stage.world.device_id(eve);
        let theirs = stage.world.domains["a.example"].devices[&eve].packages[0].package.to_vec();
        claim(stage, move |claimed| {
            package(claimed, |bytes| bytes.clone_from(&theirs));
        });
    };
    "hands out a KeyPackage of another device", ["NotInvited"], GoesOn, |stage| {
        let other = stage.world.enrolled(DAVE);
        let other = stage.world.device_id(other);
        let theirs = stage.world.domains["a.example"].devices[&other].packages[0].package.to_vec();
        claim(stage, move |claimed| {
            claimed.retain(|one| one.device != other);
            package(claimed, |bytes| bytes.clone_from(&theirs));
        });
    };
    "hands out a Welcome for a KeyPackage", ["NotInvited"], GoesOn, |stage| {
        let room = &stage.world.rooms[&stage.other];
        let commit = room.log.last().unwrap().clone();
        let Payload::Held(other) = commit.payload else { panic!("purged") };
        claim(stage, move |claimed| package(claimed, |bytes| *bytes = other.to_vec()));
    };
    "hands out a KeyPackage that has expired", ["NotInvited"], GoesOn, |stage| {
        let dave = stage.world.enrolled("dave@b.example");
        let id = stage.world.device_id(dave);
        let old = stage.world.domains["b.example"].devices[&id].packages.clone();
        stage.days_pass(85);
        stage.world.disconnect(dave);
        let domain = stage.world.domains.get_mut("b.example").unwrap();
        domain.devices.get_mut(&id).unwrap().packages = old;
        let (bob, now) = (stage.bob, stage.world.now);
        let mine = stage.world.input(bob, |e| e.create_room(None, now)).unwrap();
        stage.world.input(bob, |e| e.invite(&mine, &[jid("dave@b.example")], now));
        stage.world.run_for(20_000);
        assert_eq!(stage.world.engine(bob).members(&mine).unwrap().len(), 1);
    };
    "says that Dave has none", ["NotInvited"], GoesOn, |stage| {
        claim(stage, |claimed| {
            for one in claimed {
                one.result = ClaimResult::Exhausted;
            }
        });
    };
    "names nobody for Dave", ["NotInvited"], GoesOn, |stage| {
        claim(stage, Vec::clear);
    };
    "invents a Welcome", CAME_BY_ITSELF, GoesOn, |stage| {
        let third = welcomed(stage, |w| w.welcome = b"welcome".to_vec().into());
        assert!(!is_in(stage, &third));
    };
    "brings a Welcome with another tree", CAME_BY_ITSELF, GoesOn, |stage| {
        let third = welcomed(stage, |w| {
            let mut tree = w.tree.open().unwrap().to_vec();
            flip(&mut tree);
            w.tree = room::Tree::pack(tree);
        });
        assert!(!is_in(stage, &third));
    };
    "brings a Welcome without a tree", CAME_BY_ITSELF, GoesOn, |stage| {
        let third = welcomed(stage, |w| w.tree = room::Tree::plain(bytes::Bytes::new()));
        assert!(!is_in(stage, &third));
    };
    "brings a Welcome whose tree is more than it says", CAME_BY_ITSELF, GoesOn, |stage| {
        let third = welcomed(stage, |w| {
            w.tree = room::Tree::pack(vec![0; 8 << 20]);
            w.tree.inflated = Some(64);
        });
        assert!(!is_in(stage, &third));
    };
    "brings a Welcome to another epoch", CAME_BY_ITSELF, GoesOn, |stage| {
        let third = welcomed(stage, |w| w.epoch += 1);
        assert!(!is_in(stage, &third));
    };
    "brings a Welcome of another domain's room", CAME_BY_ITSELF, GoesOn, |stage| {
        let elsewhere = jid("~aaaaaaaaaaaaaaaaaaaaaaaaaa@b.example");
        let there = elsewhere.clone();
        welcomed(stage, move |w| w.room = elsewhere.clone());
        assert!(!is_in(stage, &there));
    };
    "brings an old Welcome again", [], GoesOn, |stage| {
        let (_, old) = stage.world.rooms[&stage.room].welcomes.first().cloned()
            .unwrap_or_else(|| {
                let third = welcomed(stage, |_| {});
                assert!(is_in(stage, &third));
                let hub = &stage.world.rooms[&third];
                (stage.device(stage.bob), Welcome {
                    id: uuid::Uuid::from_u128(99),
                    room: third,
                    seq: 2,
                    head: hub.log[1].head,
                    epoch: 1,
                    sender: jid(ALICE),
                    joiners: Vec::new(),
                    welcome: b"used".to_vec().into(),
                    tree: room::Tree::plain(&b"used"[..]),
                })
            });
        stage.world.deliver(stage.bob, Notice::Sync(sync::Notice::Welcome(old)));
        stage.world.run();
    };
    "says that a Welcome is of another place in the log", ["ChainBroken", "Withheld"], GoesOn, |stage| {
        let third = welcomed(stage, |w| w.head[0] ^= 1);
        let alice = stage.alice;
        stage.say_in(alice, &third, "welcome");
    };
    "serves a GroupInfo that is none", ["Refused", "RoomResyncing", "RoomResynced", "Rejoined"], GoesOn, |stage| {
        comes_back(stage, |answer| served(answer, |info, _, _| *info = b"come in".to_vec()));
    };
    "serves a spoiled GroupInfo", ["Refused", "RoomResyncing", "RoomResynced", "Rejoined"], GoesOn, |stage| {
        comes_back(stage, |answer| served(answer, |info, _, _| flip(info)));
    };
    "serves a spoiled tree", ["Refused", "RoomResyncing", "RoomResynced", "Rejoined"], GoesOn, |stage| {
        comes_back(stage, |answer| served(answer, |_, tree, _| flip(tree)));
    };
    "serves a GroupInfo of another epoch", ["RoomResyncing", "RoomResynced", "Rejoined"], GoesOn, |stage| {
        comes_back(stage, |answer| served(answer, |_, _, epoch| *epoch += 1));
    };
    "serves no GroupInfo", ["RoomResyncing", "RoomResynced", "Rejoined"], GoesOn, |stage| {
        let mut left = 2;
        stage.world.lie = None;
        comes_back(stage, |_| {});
        stage.world.lie = Some(Box::new(move |_, request, answer| match request {
            Request::Room(room::Request::GroupInfo) if left > 0 => {
                left -= 1;
                Err(Refusal::Internal)
            }
            _ => answer,
        }));
        stage.world.run_for(60_000);
    };
];
