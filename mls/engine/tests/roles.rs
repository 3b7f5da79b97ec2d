//! Roles: changed by whom the policy lets, told to everybody, kept by the rules everywhere.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod world;

use comity_mls_engine::{Error, RoleChange, What};
use comity_mls_wire::policy::Role;
use comity_xmpp::jid::BareJid;
use world::{World, jid};

struct Stage {
    world: World,
    alice: usize,
    bob: usize,
    carol: usize,
    room: BareJid,
}

impl Stage {
    /// Alice, who owns the room, Bob and Carol.
    fn new() -> Self {
        let mut world = World::new(&["a.example", "b.example"]);
        let alice = world.enrolled("alice@a.example");
        let bob = world.enrolled("bob@b.example");
        let carol = world.enrolled("carol@b.example");
        let now = world.now;
        let room = world.input(alice, |e| e.create_room(None, now)).unwrap();
        let guests = [jid("bob@b.example"), jid("carol@b.example")];
        world.input(alice, |e| e.invite(&room, &guests, now));
        world.run();
        Self {
            world,
            alice,
            bob,
            carol,
            room,
        }
    }

    /// Without the world's own check that a verb succeeds.
    fn sets(&mut self, client: usize, account: &str, role: Role) -> Result<(), Error> {
        let (room, now) = (self.room.clone(), self.world.now);
        let engine = self.world.engine(client);
        let set = engine.set_role(&room, &jid(account), role, now);
        self.world.run();
        set
    }

    fn role(&mut self, client: usize, account: &str) -> Role {
        let room = self.room.clone();
        let policy = self.world.engine(client).policy(&room).unwrap();
        policy.unwrap().role(&jid(account))
    }

    /// What a client was told of roles.
    fn told(&self, client: usize) -> Vec<(String, Role, Role, String)> {
        let history = self.world.history(client, &self.room).into_iter();
        let changes = history.filter_map(|item| match item.what {
            What::Role(change) => Some(change),
            _ => None,
        });
        let told = |RoleChange {
                        account,
                        was,
                        is,
                        by,
                    }| (account, was, is, by.unwrap().account);
        changes.map(told).collect()
    }
}

#[test]
fn an_owner_changes_roles_and_everybody_is_told() {
    let mut stage = Stage::new();
    let (alice, bob, carol) = (stage.alice, stage.bob, stage.carol);
    stage.sets(alice, "bob@b.example", Role::Admin).unwrap();
    let everybody = [alice, bob, carol];
    let words = |account: &str, was, is| {
        let by = "alice@a.example".to_owned();
        (account.to_owned(), was, is, by)
    };
    let first = words("bob@b.example", Role::Member, Role::Admin);
    for client in everybody {
        assert_eq!(stage.role(client, "bob@b.example"), Role::Admin);
        assert_eq!(stage.told(client), std::slice::from_ref(&first));
    }
    // Nothing changes twice.
    stage.sets(alice, "bob@b.example", Role::Admin).unwrap();
    assert_eq!(stage.told(carol).len(), 1);
    // An admin may put out a member, and change no roles.
    let refused = stage.sets(bob, "carol@b.example", Role::Admin);
    assert!(
        matches!(refused, Err(Error::NotAllowed { .. })),
        "{refused:?}"
    );
    let (room, now) = (stage.room.clone(), stage.world.now);
    let gone = jid("carol@b.example");
    stage
        .world
        .input(bob, |e| e.remove(&room, &gone, None, now));
    stage.world.run();
    let members = stage.world.engine(alice).members(&room).unwrap();
    assert!(members.iter().all(|member| member.account != gone));
    let refused = stage.sets(alice, "carol@b.example", Role::Admin);
    assert!(matches!(refused, Err(Error::NoMember(_))), "{refused:?}");
    stage.world.assert_agreement(&room, &[alice, bob]);
}

#[test]
fn a_room_is_handed_over_and_never_without_an_owner() {
    let mut stage = Stage::new();
    let (alice, bob) = (stage.alice, stage.bob);
    let refused = stage.sets(alice, "alice@a.example", Role::Member);
    assert_eq!(refused, Err(Error::LastOwner));
    stage.sets(alice, "bob@b.example", Role::Owner).unwrap();
    stage.sets(alice, "alice@a.example", Role::Member).unwrap();
    assert_eq!(stage.role(bob, "alice@a.example"), Role::Member);
    assert_eq!(stage.role(bob, "bob@b.example"), Role::Owner);
    let refused = stage.sets(alice, "alice@a.example", Role::Owner);
    assert!(
        matches!(refused, Err(Error::NotAllowed { .. })),
        "{refused:?}"
    );
    stage.sets(bob, "alice@a.example", Role::Admin).unwrap();
    assert_eq!(stage.role(alice, "alice@a.example"), Role::Admin);
    let room = stage.room.clone();
    stage.world.assert_agreement(&room, &[alice, bob]);
}
