//! What a member commits and proposes.

use comity_mls_wire::policy::Policy;
use comity_mls_wire::room::Request;
use mls_rs::ExtensionList;

use super::messages::rows;
use crate::lies::{ALICE, Ends, Row, Stage};
use crate::world::raw::key;

fn ready(stage: &mut Stage) {
    let room = stage.room.clone();
    stage.world.catch_up(&mut stage.mallory, &room);
}

fn leaf_of(stage: &mut Stage, account: &str) -> u32 {
    stage.mallory.leaf_of(account)
}

pub(crate) const TABLE: &[Row] = rows![
    "commits garbage for Bob", ["RoomResyncing", "RoomResynced", "Rejoined"], GoesOn, |stage| {
        ready(stage);
        stage.mallory.spoil(&["bob@b.example"]);
        let request = stage.mallory.commit(&[], Vec::new());
        stage.hand_in(request);
        stage.world.run_for(60_000);
    };
    "brings a ghost of Alice's", ["RoomStopped"], Stopped, |stage| {
        let ghost = stage.world.raw(ALICE, 0x99);
        ready(stage);
        let request = stage.mallory.commit(&[&ghost], Vec::new());
        stage.hand_in(request);
    };
    "brings a ghost and vouches for it with octets", ["RoomStopped"], Stopped, |stage| {
        let ghost = stage.world.raw(ALICE, 0x99);
        ready(stage);
        let request = stage.mallory.commit(&[&ghost], b"she is Alice's".to_vec());
        stage.hand_in(request);
    };
    "vouches herself for a ghost of Alice's", ["RoomStopped"], Stopped, |stage| {
        let ghost = stage.world.raw(ALICE, 0x99);
        ready(stage);
        let endorsement = stage.mallory.endorse(&ghost);
        let data = comity_mls_wire::authenticated::AuthenticatedData::endorsing(vec![endorsement]);
        let request = stage.mallory.commit(&[&ghost], data.to_bytes().unwrap());
        stage.hand_in(request);
    };
    "proposes a ghost of Alice's", ["Unendorsed"], Apart, |stage| {
        let ghost = stage.world.raw(ALICE, 0x99);
        ready(stage);
        let request = stage.mallory.propose_add(&ghost, Vec::new());
        stage.hand_in(request);
        stage.world.run_for(120_000);
    };
    "puts the owner out", ["RoomStopped"], Stopped, |stage| {
        ready(stage);
        let alice = leaf_of(stage, ALICE);
        let request = stage.mallory.commits(|builder| builder.remove_member(alice).unwrap());
        stage.hand_in(request);
    };
    "makes herself the owner", ["RoomStopped"], Stopped, |stage| {
        ready(stage);
        let mut context: ExtensionList = stage.mallory.group().context().extensions.clone();
        let mut policy = Policy::of(&context).unwrap();
        policy.full_commits = !policy.full_commits;
        context.set_from(policy).unwrap();
        let request = stage.mallory.commits(|builder| {
            builder.set_group_context_ext(context).unwrap()
        });
        stage.hand_in(request);
    };
    "takes the policy away", ["RoomStopped"], Stopped, |stage| {
        ready(stage);
        let request = stage.mallory.commits(|builder| {
            builder.set_group_context_ext(ExtensionList::new()).unwrap()
        });
        stage.hand_in(request);
    };
    "moves the room to another group", ["RoomStopped"], Stopped, |stage| {
        ready(stage);
        let request = stage.mallory.commits(|builder| {
            builder
                .reinit(
                    None,
                    mls_rs::ProtocolVersion::MLS_10,
                    mls_rs_core::crypto::CipherSuite::P256_AES128,
                    ExtensionList::new(),
                )
                .unwrap()
        });
        stage.hand_in(request);
    };
    "proposes to renew her leaf by a proposal", ["Refused"], Apart, |stage| {
        ready(stage);
        let proposal = stage.mallory.group().propose_update(Vec::new()).unwrap();
        let proposal = proposal.to_bytes().unwrap().into();
        stage.hand_in(Request::Propose { key: key(), proposal });
        stage.world.run_for(60_000);
    };
];
