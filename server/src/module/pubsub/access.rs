//! Who may do what with a node (XEP-0060 §4.1, §4.5), as pure tables.

use super::config::{AccessModel, Config, PublishModel};

/// XEP-0060 §4.1; the owner is the account itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Affiliation {
    Owner,
    Publisher,
    Member,
    None,
    Outcast,
}

impl Affiliation {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Publisher => "publisher",
            Self::Member => "member",
            Self::None => "none",
            Self::Outcast => "outcast",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [
            Self::Owner,
            Self::Publisher,
            Self::Member,
            Self::None,
            Self::Outcast,
        ]
        .into_iter()
        .find(|affiliation| affiliation.as_str() == name)
    }
}

/// How somebody stands to the account whose node it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    Owner,
    /// Sees the owner's presence; in these groups of the owner's roster.
    Contact {
        groups: Vec<String>,
    },
    Stranger,
}

/// Somebody before a node.
#[derive(Clone, Debug)]
pub(crate) struct Viewer {
    pub(crate) relation: Relation,
    pub(crate) affiliation: Affiliation,
    /// Has a subscription that is not pending.
    pub(crate) subscribed: bool,
}

/// Why somebody may not read (XEP-0060 §6.1.3, §6.5.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    Outcast,
    PresenceRequired,
    NotInRosterGroup,
    Closed,
    /// The owner has to agree first.
    NotAuthorized,
}

/// May this viewer read the node's items and be told of new ones?
pub(crate) fn read(config: &Config, viewer: &Viewer) -> Result<(), Denied> {
    match viewer.affiliation {
        Affiliation::Outcast => return Err(Denied::Outcast),
        Affiliation::Owner | Affiliation::Publisher | Affiliation::Member => return Ok(()),
        Affiliation::None => {}
    }
    let groups = match &viewer.relation {
        Relation::Owner => return Ok(()),
        Relation::Contact { groups } => Some(groups),
        Relation::Stranger => None,
    };
    match config.access_model {
        AccessModel::Open => Ok(()),
        AccessModel::Presence => groups.map(|_| ()).ok_or(Denied::PresenceRequired),
        AccessModel::Roster => {
            let allowed = |group: &String| config.roster_groups_allowed.contains(group);
            match groups {
                Some(groups) if groups.iter().any(allowed) => Ok(()),
                _ => Err(Denied::NotInRosterGroup),
            }
        }
        AccessModel::Authorize if viewer.subscribed => Ok(()),
        AccessModel::Authorize => Err(Denied::NotAuthorized),
        AccessModel::Whitelist => Err(Denied::Closed),
    }
}

/// May this viewer publish, and retract what it has published?
pub(crate) fn publish(config: &Config, viewer: &Viewer) -> bool {
    match viewer.affiliation {
        Affiliation::Owner | Affiliation::Publisher => true,
        Affiliation::Outcast => false,
        Affiliation::Member | Affiliation::None => {
            viewer.relation == Relation::Owner
                || match config.publish_model {
                    PublishModel::Publishers => false,
                    PublishModel::Subscribers => viewer.subscribed,
                    PublishModel::Open => read(config, viewer).is_ok(),
                }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn viewer(relation: Relation, affiliation: Affiliation, subscribed: bool) -> Viewer {
        Viewer {
            relation,
            affiliation,
            subscribed,
        }
    }

    fn contact(group: &str) -> Relation {
        Relation::Contact {
            groups: vec![group.to_owned()],
        }
    }

    #[track_caller]
    fn reads(
        access_model: AccessModel,
        (relation, affiliation, subscribed): (Relation, Affiliation, bool),
        expected: Result<(), Denied>,
    ) {
        let config = Config {
            access_model,
            roster_groups_allowed: vec!["Friends".to_owned()],
            ..Config::default()
        };
        let viewer = viewer(relation, affiliation, subscribed);
        assert_eq!(
            read(&config, &viewer),
            expected,
            "{access_model:?} {viewer:?}"
        );
    }

    #[test]
    fn who_may_read() {
        use AccessModel as Model;
        use Affiliation::{Member, None, Outcast};
        use Relation::{Owner, Stranger};
        let (friend, colleague) = (|| contact("Friends"), || contact("Work"));
        reads(Model::Open, (Stranger, None, false), Ok(()));
        reads(
            Model::Open,
            (Stranger, Outcast, false),
            Err(Denied::Outcast),
        );
        reads(Model::Presence, (friend(), None, false), Ok(()));
        reads(
            Model::Presence,
            (Stranger, None, true),
            Err(Denied::PresenceRequired),
        );
        reads(
            Model::Presence,
            (friend(), Outcast, true),
            Err(Denied::Outcast),
        );
        reads(Model::Roster, (friend(), None, false), Ok(()));
        reads(
            Model::Roster,
            (colleague(), None, false),
            Err(Denied::NotInRosterGroup),
        );
        reads(
            Model::Roster,
            (Stranger, None, false),
            Err(Denied::NotInRosterGroup),
        );
        reads(
            Model::Authorize,
            (friend(), None, false),
            Err(Denied::NotAuthorized),
        );
        reads(Model::Authorize, (Stranger, None, true), Ok(()));
        reads(
            Model::Whitelist,
            (friend(), None, true),
            Err(Denied::Closed),
        );
        reads(Model::Whitelist, (Stranger, Member, false), Ok(()));
        reads(Model::Whitelist, (Owner, None, false), Ok(()));
    }

    #[test]
    fn who_may_publish() {
        use Affiliation::{None, Outcast, Publisher};
        use PublishModel as Model;
        for (publish_model, relation, affiliation, subscribed, expected) in [
            (Model::Publishers, Relation::Owner, None, false, true),
            (
                Model::Publishers,
                Relation::Stranger,
                Publisher,
                false,
                true,
            ),
            (Model::Publishers, contact("x"), None, true, false),
            (Model::Subscribers, Relation::Stranger, None, true, true),
            (Model::Subscribers, contact("x"), None, false, false),
            (Model::Open, contact("x"), None, false, true),
            (Model::Open, Relation::Stranger, None, false, false),
            (Model::Open, contact("x"), Outcast, true, false),
        ] {
            let config = Config {
                publish_model,
                ..Config::default()
            };
            let viewer = viewer(relation, affiliation, subscribed);
            assert_eq!(
                publish(&config, &viewer),
                expected,
                "{publish_model:?} {viewer:?}"
            );
        }
    }
}
