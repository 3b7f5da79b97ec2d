use comity_xmpp::jid::BareJid;

use super::super::*;
use super::*;

fn jid(text: &str) -> BareJid {
    BareJid::parse(text).unwrap()
}

/// One name for each part: `olga` owns, `adam` and `ada` administer, `mia` and `max` are members.
struct People {
    olga: BareJid,
    adam: BareJid,
    ada: BareJid,
    mia: BareJid,
    max: BareJid,
}

fn people() -> People {
    People {
        olga: jid("olga@a.example"),
        adam: jid("adam@a.example"),
        ada: jid("ada@b.example"),
        mia: jid("mia@b.example"),
        max: jid("max@b.example"),
    }
}

fn policy(people: &People) -> Policy {
    let mut policy = Policy::of_creator(&people.olga);
    policy.set_role(&people.adam, Role::Admin);
    policy.set_role(&people.ada, Role::Admin);
    policy
}

fn commit<'a>(committer: Sender<'a>, proposals: &'a [Item<'a>]) -> Commit<'a> {
    Commit {
        committer,
        account_is_in: true,
        proposals,
        has_path: true,
        leaves_after: 10,
    }
}

#[test]
fn proposals_by_reference() {
    let p = people();
    let policy = policy(&p);
    let add = |account| Proposed::Add { account };
    let remove = |account| Proposed::Remove { account };
    let context = Proposed::Context {
        next: Some(&policy),
    };
    let cases: &[(Sender<'_>, Proposed<'_>, bool)] = &[
        (Sender::Member(&p.mia), add(&p.max), true),
        (Sender::Member(&p.mia), add(&p.mia), true),
        (Sender::Member(&p.mia), remove(&p.mia), true),
        (Sender::Member(&p.mia), remove(&p.max), false),
        (Sender::Member(&p.adam), remove(&p.max), true),
        (Sender::Member(&p.adam), remove(&p.ada), true),
        (Sender::Member(&p.adam), remove(&p.olga), false),
        (Sender::Member(&p.olga), remove(&p.adam), true),
        (Sender::Member(&p.mia), Proposed::SelfRemove, true),
        (Sender::Member(&p.olga), Proposed::Update, false),
        (Sender::Member(&p.olga), context, false),
        (
            Sender::Member(&p.olga),
            Proposed::Psk { external: true },
            false,
        ),
        (
            Sender::Member(&p.olga),
            Proposed::ReInit { suite: 2 },
            false,
        ),
        (Sender::Member(&p.olga), Proposed::ExternalInit, false),
        (Sender::Member(&p.olga), Proposed::Other(0xF0F0), false),
        (Sender::Hub, remove(&p.olga), true),
        (Sender::Hub, add(&p.max), false),
        (Sender::Hub, context, false),
        (Sender::Hub, Proposed::SelfRemove, false),
        (Sender::Joiner(&p.max), add(&p.max), false),
        (Sender::Joiner(&p.max), Proposed::SelfRemove, false),
    ];
    for (number, (by, proposal, allowed)) in cases.iter().enumerate() {
        let verdict = policy.check_proposal(*by, proposal);
        assert_eq!(verdict.is_ok(), *allowed, "case {number}: {verdict:?}");
    }
}

#[test]
fn what_a_committer_brings_by_value() {
    let p = people();
    let policy = policy(&p);
    let mut private = policy.clone();
    private.handshakes = Handshakes::Private;
    let context = |next| Proposed::Context { next };
    let cases: &[(&BareJid, Proposed<'_>, bool)] = &[
        (&p.mia, Proposed::Add { account: &p.max }, true),
        (&p.mia, Proposed::Remove { account: &p.mia }, true),
        (&p.mia, Proposed::Remove { account: &p.max }, false),
        (&p.adam, Proposed::Remove { account: &p.max }, true),
        (&p.adam, Proposed::Remove { account: &p.olga }, false),
        (&p.mia, Proposed::SelfRemove, false),
        (&p.olga, Proposed::Update, false),
        (&p.olga, context(Some(&policy)), true),
        (&p.olga, context(Some(&private)), false),
        (&p.olga, context(None), false),
        (&p.adam, context(Some(&policy)), false),
        (&p.mia, Proposed::Psk { external: true }, true),
        (&p.olga, Proposed::Psk { external: false }, false),
        (&p.olga, Proposed::ReInit { suite: 1 }, true),
        (&p.olga, Proposed::ReInit { suite: 7 }, false),
        (&p.adam, Proposed::ReInit { suite: 1 }, false),
        (&p.olga, Proposed::ExternalInit, false),
        (&p.olga, Proposed::Other(0xF0F0), false),
    ];
    for (number, (committer, proposal, allowed)) in cases.iter().enumerate() {
        let by = Sender::Member(committer);
        let items = [Item {
            by,
            by_reference: false,
            proposal: *proposal,
        }];
        let verdict = policy.check_commit(&commit(by, &items));
        assert_eq!(verdict.is_ok(), *allowed, "case {number}: {verdict:?}");
    }
}

#[test]
fn an_add_may_wait_for_a_higher_role() {
    let p = people();
    let mut policy = policy(&p);
    policy.rights.add = Role::Admin;
    let newcomer = jid("noa@c.example");
    let waiting = Item {
        by: Sender::Member(&p.mia),
        by_reference: true,
        proposal: Proposed::Add { account: &newcomer },
    };
    let own = Item {
        proposal: Proposed::Add { account: &p.mia },
        ..waiting
    };
    let leaving = Item {
        proposal: Proposed::SelfRemove,
        ..waiting
    };
    for (committer, item, included) in [
        (Sender::Member(&p.max), &waiting, false),
        (Sender::Member(&p.adam), &waiting, true),
        (Sender::Member(&p.max), &own, true),
        (Sender::Member(&p.max), &leaving, true),
        (Sender::Joiner(&p.max), &leaving, true),
        (Sender::Joiner(&p.max), &waiting, false),
        (Sender::Hub, &leaving, false),
    ] {
        assert_eq!(
            policy.must_include(committer, item),
            included,
            "{committer:?} {item:?}"
        );
        if let Sender::Member(_) = committer {
            let items = [*item];
            let verdict = policy.check_commit(&commit(committer, &items));
            assert_eq!(verdict.is_ok(), included, "{committer:?} {verdict:?}");
        }
    }
}

#[test]
fn external_commits() {
    let p = people();
    let mut policy = policy(&p);
    let by = Sender::Joiner(&p.mia);
    let item = |proposal, by_reference| Item {
        by: if by_reference {
            Sender::Member(&p.max)
        } else {
            by
        },
        by_reference,
        proposal,
    };
    let init = item(Proposed::ExternalInit, false);
    let old_leaf = item(Proposed::Remove { account: &p.mia }, false);
    let other_leaf = item(Proposed::Remove { account: &p.max }, false);
    let leaver = item(Proposed::SelfRemove, true);
    let psk = item(Proposed::Psk { external: true }, false);
    let add = item(Proposed::Add { account: &p.max }, true);
    let cases: &[(&[Item<'_>], bool)] = &[
        (&[init], true),
        (&[init, old_leaf], true),
        (&[init, old_leaf, leaver], true),
        (&[init, old_leaf, old_leaf], false),
        (&[init, other_leaf], false),
        (&[init, psk], false),
        (&[init, add], false),
    ];
    for (number, (items, allowed)) in cases.iter().enumerate() {
        let verdict = policy.check_commit(&commit(by, items));
        assert_eq!(verdict.is_ok(), *allowed, "case {number}: {verdict:?}");
    }

    let items = [init];
    let stranger = Commit {
        account_is_in: false,
        ..commit(by, &items)
    };
    for (joins, stranger_may, member_may) in [
        (ExternalJoins::Nobody, false, false),
        (ExternalJoins::OwnAccount, false, true),
        (ExternalJoins::Anyone, true, true),
    ] {
        policy.external_joins = joins;
        assert_eq!(policy.check_commit(&stranger).is_ok(), stranger_may);
        assert_eq!(policy.check_commit(&commit(by, &items)).is_ok(), member_may);
    }
}

#[test]
fn a_psk_is_brought_by_who_may_and_never_with_who_lacks_it() {
    let p = people();
    let mut policy = policy(&p);
    let item = |by, by_reference, proposal| Item {
        by,
        by_reference,
        proposal,
    };
    let by = Sender::Member(&p.mia);
    let psk = item(by, false, Proposed::Psk { external: true });
    let old = item(by, false, Proposed::Psk { external: false });
    let added = item(by, false, Proposed::Add { account: &p.max });
    let proposed = item(
        Sender::Member(&p.adam),
        true,
        Proposed::Add { account: &p.max },
    );
    let leaver = item(Sender::Member(&p.ada), true, Proposed::SelfRemove);
    let many = vec![psk; limits::PSKS + 1];
    let cases: &[(&[Item<'_>], Result<(), Broken>)] = &[
        (&[psk], Ok(())),
        (&[psk, leaver], Ok(())),
        (&many[1..], Ok(())),
        (&[psk, added], Err(Broken::PskWithAdd)),
        (&[proposed, psk], Err(Broken::PskWithAdd)),
        (&[old], Err(Broken::ResumptionPsk)),
        (
            &many,
            Err(Broken::Psks {
                found: limits::PSKS + 1,
                max: limits::PSKS,
            }),
        ),
    ];
    for (number, (items, expected)) in cases.iter().enumerate() {
        let verdict = policy.check_commit(&commit(by, items));
        assert_eq!(verdict, *expected, "case {number}");
    }
    policy.rights.psk = Role::Admin;
    assert!(policy.check_commit(&commit(by, &[psk])).is_err());
    assert!(policy.check_psk(&p.mia).is_err());
    assert_eq!(policy.check_psk(&p.adam), Ok(()));
}

#[test]
fn a_direct_room_admits_its_two() {
    let p = people();
    let policy = Policy::of_direct(&p.olga, &p.mia);
    assert_eq!(policy.role(&p.mia), Role::Owner);
    let by = Sender::Member(&p.olga);
    for (account, allowed) in [(&p.mia, true), (&p.olga, true), (&p.max, false)] {
        let verdict = policy.check_proposal(by, &Proposed::Add { account });
        assert_eq!(verdict.is_ok(), allowed, "{account}");
    }
    let mut wider = policy.clone();
    wider.accounts.clear();
    assert_eq!(
        policy.check_successor(&wider),
        Err(Broken::Fixed("the list of admitted accounts"))
    );
}

#[test]
fn sizes_and_paths() {
    let p = people();
    let mut policy = policy(&p);
    policy.max_leaves = 10;
    let by = Sender::Member(&p.mia);
    assert_eq!(policy.check_commit(&commit(by, &[])), Ok(()));
    let eleven = Commit {
        leaves_after: 11,
        ..commit(by, &[])
    };
    assert_eq!(
        policy.check_commit(&eleven),
        Err(Broken::Leaves { found: 11, max: 10 })
    );
    let add = Item {
        by,
        by_reference: false,
        proposal: Proposed::Add { account: &p.max },
    };
    let many = vec![add; limits::JOINERS + 1];
    assert!(matches!(
        policy.check_commit(&commit(by, &many)),
        Err(Broken::Adds { .. })
    ));
    policy.full_commits = true;
    let partial = Commit {
        has_path: false,
        ..commit(by, &[])
    };
    assert_eq!(policy.check_commit(&partial), Err(Broken::PathRequired));
    assert_eq!(
        policy.check_commit(&commit(Sender::Hub, &[])),
        Err(Broken::HubCommits)
    );
}

#[test]
fn a_leaf_ages() {
    let policy = Policy::default();
    let (week, ninety) = (7 * 86_400, 90 * 86_400);
    for (age, freshness) in [
        (0, Freshness::Fresh),
        (week - 1, Freshness::Fresh),
        (week, Freshness::Due),
        (ninety - 1, Freshness::Due),
        (ninety, Freshness::Idle),
    ] {
        assert_eq!(policy.freshness(1_000, 1_000 + age), freshness, "{age}");
    }
    assert_eq!(
        policy.freshness(1_000, 0),
        Freshness::Fresh,
        "a clock that ran ahead"
    );
}
