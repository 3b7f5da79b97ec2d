//! Anchors, certificates, their log and their revocation, ghosts, and removals.

use comity_mls_credential::keys::Algorithm;
use comity_mls_credential::signed;
use comity_mls_engine::{Answer, Notice, Request};
use comity_mls_wire::authenticated::{AuthenticatedData, Ground, Idle, Revocation};
use comity_mls_wire::authority;
use uuid::Uuid;

use super::log::rows;
use crate::lies::{BOB, Ends, Row, Stage};
use crate::world::domain::Domain;
use crate::world::jid;

const DAVE: &str = "dave@c.example";

/// Bob invites Dave, whose domain he does not know, and his server has its way with its anchors; then
/// they are as they are, and the invitation goes on by itself.
fn anchors(stage: &mut Stage, lie: impl Fn(Vec<u8>) -> Vec<u8> + 'static) {
    stage.world.enrolled(DAVE);
    let bob = stage.bob;
    stage.world.lie = Some(Box::new(move |client, request, answer| {
        match (request, answer) {
            (
                Request::Authority(authority::Request::Anchors { domain }),
                Ok(Answer::Authority(authority::Answer::Anchors { statement })),
            ) if client == bob && domain == "c.example" => {
                let statement = lie(statement.to_vec()).into();
                Ok(Answer::Authority(authority::Answer::Anchors { statement }))
            }
            (_, answer) => answer,
        }
    }));
    let now = stage.world.now;
    let mine = stage
        .world
        .input(bob, |e| e.create_room(None, now))
        .unwrap();
    stage
        .world
        .input(bob, |e| e.invite(&mine, &[jid(DAVE)], now));
    stage.world.run_for(20_000);
    assert_eq!(stage.world.engine(bob).members(&mine).unwrap().len(), 1);
    stage.world.lie = None;
    stage.world.run_for(120_000);
    assert_eq!(stage.world.engine(bob).members(&mine).unwrap().len(), 2);
}

/// The anchors of a domain that is pinned, as they are shown a day later.
fn later(stage: &mut Stage, lie: impl FnOnce(&mut Domain) -> Vec<u8>) {
    stage.days_pass(1);
    let domain = stage.world.domains.get_mut("b.example").unwrap();
    let statement = lie(domain);
    stage.world.lie = Some(Box::new(move |_, request, answer| match request {
        Request::Authority(authority::Request::Anchors { domain }) if domain == "b.example" => {
            let statement = statement.clone().into();
            Ok(Answer::Authority(authority::Answer::Anchors { statement }))
        }
        _ => answer,
    }));
    stage.days_pass(6);
    stage.world.lie = None;
    stage.days_pass(1);
}

/// Bob's KeyPackages are used up, so that he asks for more certificates.
fn runs_out(stage: &mut Stage) {
    let device = stage.device(stage.bob).device;
    let domain = stage.world.domains.get_mut("b.example").unwrap();
    let packages = &mut domain.devices.get_mut(&device).unwrap().packages;
    packages.retain(|package| package.last_resort);
    stage.hold();
    stage.release();
}

fn removes(stage: &mut Stage, data: &AuthenticatedData) {
    let (room, carol) = (stage.room.clone(), stage.device(stage.carol));
    stage
        .world
        .hub_removes(&room, &carol, data.to_bytes().unwrap());
    stage.world.run_for(90_000);
    // Another member commits it; who follows is not split off.
    stage.world.catch_up(&mut stage.mallory, &room);
    let request = stage.mallory.commit(&[], Vec::new());
    stage.hand_in(request);
    let alice = stage.alice;
    stage.say(alice, "who is left?");
}

pub(crate) const TABLE: &[Row] = rows![
    "passes its own anchors off as another domain's", ["Anchors"], GoesOn, |stage| {
        let own = stage.world.domains["b.example"].statement.to_vec();
        anchors(stage, move |_| own.clone());
    };
    "spoils another domain's anchors", ["Anchors"], GoesOn, |stage| {
        anchors(stage, |mut bytes| { let at = bytes.len() / 2; bytes[at] ^= 1; bytes });
    };
    "gives octets for anchors", ["Anchors"], GoesOn, |stage| {
        anchors(stage, |_| b"trust me".to_vec());
    };
    "makes anchors for another domain, with a root of its own", ["Anchors"], GoesOn, |stage| {
        let forged = Domain::new("c.example", Algorithm::P256, stage.world.now / 1_000);
        let forged = forged.statement.to_vec();
        anchors(stage, move |_| forged.clone());
    };
    "goes back to anchors of before", ["Anchors", "OldRevocations"], GoesOn, |stage| {
        later(stage, |domain| domain.statement.to_vec());
    };
    "has another root, and the one before knows nothing of it", ["Anchors", "OldRevocations"], GoesOn, |stage| {
        let now_s = stage.world.now / 1_000 + 86_400;
        later(stage, move |_| Domain::new("b.example", Algorithm::P256, now_s).statement.to_vec());
    };
    "certifies a key of Bob's device that it did not ask for", ["RogueCertificate"], GoesOn, |stage| {
        let (device, now_s) = (stage.device(stage.bob).device, stage.world.now / 1_000);
        let log = &mut stage.world.domains.get_mut("b.example").unwrap().log;
        log.issued(&jid(BOB), device, &[[9; 32]], b"forged", now_s);
        stage.hold();
        stage.release();
    };
    "certifies a ghost device of Bob's", ["GhostDevice"], GoesOn, |stage| {
        let now_s = stage.world.now / 1_000;
        let log = &mut stage.world.domains.get_mut("b.example").unwrap().log;
        log.issued(&jid(BOB), Uuid::from_u128(0xdead), &[[9; 32]], b"its own", now_s);
        stage.hold();
        stage.release();
    };
    "shows a device of Bob's that he did not set up", ["OwnDevice"], GoesOn, |stage| {
        stage.world.raw(BOB, 0x99);
        stage.hold();
        stage.release();
    };
    "forgets what it logged", ["Log"], GoesOn, |stage| {
        let log = &mut stage.world.domains.get_mut("b.example").unwrap().log;
        let count = log.len();
        log.truncate(count - 2);
        stage.hold();
        stage.release();
    };
    "puts a ghost of Alice's into the room", ["RoomStopped"], Stopped, |stage| {
        let ghost = stage.world.raw("alice@a.example", 0x99);
        let room = stage.room.clone();
        stage.world.catch_up(&mut stage.mallory, &room);
        let request = stage.mallory.commit(&[&ghost], Vec::new());
        stage.hand_in(request);
    };
    "certifies another account for Bob's key", ["Refused"], GoesOn, |stage| {
        let eve = stage.world.raw("eve@b.example", 0x77);
        drop(eve);
        stage.world.lie = Some(Box::new(|_, request, answer| match (request, answer) {
            (
                Request::Authority(authority::Request::Enrol { .. }),
                Ok(Answer::Authority(authority::Answer::Certificates(mut all))),
            ) => {
                all.reverse();
                Ok(Answer::Authority(authority::Answer::Certificates(all)))
            }
            (_, answer) => answer,
        }));
        runs_out(stage);
    };
    "gives fewer certificates than were asked for", ["Refused"], GoesOn, |stage| {
        stage.world.lie = Some(Box::new(|_, request, answer| match (request, answer) {
            (
                Request::Authority(authority::Request::Enrol { .. }),
                Ok(Answer::Authority(authority::Answer::Certificates(mut all))),
            ) => {
                all.pop();
                Ok(Answer::Authority(authority::Answer::Certificates(all)))
            }
            (_, answer) => answer,
        }));
        runs_out(stage);
    };
    "spoils a revocation list", ["Revocations"], GoesOn, |stage| {
        stage.world.lie = Some(Box::new(|_, _, answer| match answer {
            Ok(Answer::Authority(authority::Answer::Crl { number, size, offset, part })) => {
                let mut bytes = part.to_vec();
                bytes[20] ^= 1;
                let part = bytes.into();
                Ok(Answer::Authority(authority::Answer::Crl { number, size, offset, part }))
            }
            other => other,
        }));
        let now_s = stage.world.now / 1_000 + 4_000;
        let crl = stage.world.domains.get_mut("b.example").unwrap().crl(now_s);
        let notice = authority::Notice::CrlIssued {
            domain: "b.example".to_owned(),
            issuer: crl.issuer().0,
            number: crl.number(),
        };
        stage.world.deliver(stage.bob, Notice::Authority(notice));
        stage.world.run();
    };
    "removes Carol and does not say why", ["RemovalUnproven", "RemovedByHub"], Apart, |stage| {
        removes(stage, &AuthenticatedData::default());
    };
    "removes Carol for a revocation that no list knows", ["RemovalUnproven", "RemovedByHub"], Apart, |stage| {
        let ground = Ground::Revocation(Revocation { serial: vec![1, 2, 3], crl_number: 1 });
        removes(stage, &AuthenticatedData::grounded(ground));
    };
    "removes Carol for being idle, and she is not", ["RemovalUnproven", "RemovedByHub"], Apart, |stage| {
        removes(stage, &AuthenticatedData::grounded(Ground::Idle(Idle { updated_epoch: 0, limit_s: 1 })));
    };
    "removes Carol as if she had asked", ["RemovalUnproven", "RemovedByHub"], Apart, |stage| {
        let request = stage.mallory.ask(signed::DEPARTURE, &jid("carol@b.example"));
        removes(stage, &AuthenticatedData::grounded(Ground::Departure(request)));
    };
];
