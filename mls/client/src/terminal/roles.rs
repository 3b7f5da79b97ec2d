//! Who may do what in a room, and who may change that.

use clap::ValueEnum;
use comity_mls_engine::{Engine, Event, Refused, What};
use comity_mls_wire::policy::{Policy, Role};
use comity_xmpp::jid::BareJid;

use super::{Desk, Failed, Outcome};

/// What an account may be in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Wanted {
    /// Speaks and invites
    Member,
    /// Puts others out as well
    Admin,
    /// Says who is what
    Owner,
}

impl From<Wanted> for Role {
    fn from(wanted: Wanted) -> Self {
        match wanted {
            Wanted::Member => Self::Member,
            Wanted::Admin => Self::Admin,
            Wanted::Owner => Self::Owner,
        }
    }
}

/// A role as people call it.
#[must_use]
pub fn word(role: Role) -> &'static str {
    match role {
        Role::Member => "member",
        Role::Admin => "admin",
        Role::Owner => "owner",
    }
}

impl Desk {
    /// What was agreed on in a room; the usual where this device does not know it.
    pub(crate) async fn policy(&self, room: &BareJid) -> Outcome<Policy> {
        let at = room.clone();
        let policy = self.ask(move |engine, _| engine.policy(&at)).await?;
        Ok(policy.unwrap_or_default())
    }

    /// Who stands above the members of a room.
    pub(crate) async fn roles(&self, room: &BareJid) -> Outcome {
        let policy = self.policy(room).await?;
        for entry in &policy.roles {
            self.print(&format!("{}  {}", word(entry.role), entry.account));
        }
        let rights = &policy.rights;
        self.print(&format!(
            "others are members; it takes {} to put somebody out, {} to change roles",
            word(rights.remove),
            word(rights.change_policy)
        ));
        Ok(())
    }

    /// Asks for it; what comes of it is told.
    pub(crate) async fn wish_role(&self, room: &BareJid, who: &BareJid, role: Role) -> Outcome {
        let (room, who) = (room.clone(), who.clone());
        self.ask(move |engine: &mut Engine, now| engine.set_role(&room, &who, role, now))
            .await
    }

    /// The same, and waits for it.
    pub(crate) async fn set_role(&mut self, room: BareJid, who: BareJid, role: Role) -> Outcome {
        self.enrolled().await?;
        if self.policy(&room).await?.role(&who) == role {
            return Ok(());
        }
        self.wish_role(&room, &who, role).await?;
        self.until(move |event| match event {
            Event::Item { room: at, item } if *at == room => match &item.what {
                What::Role(change) if change.account == who.as_str() && change.is == role => {
                    Some(Ok(()))
                }
                _ => None,
            },
            Event::Refused {
                room: Some(at),
                what: Refused::Role,
                why,
            } if *at == room => Some(Err(Failed::new(why))),
            _ => None,
        })
        .await
    }
}
