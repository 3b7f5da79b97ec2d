//! Taking a message over. What is decided on it, and what is kept of it, are put together here;
//! nothing of it leaves before that is on disk.

use comity_storage::{AcceptMessage, AcceptedMessage, Archive, Error};
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::stanza::Stanza;

use super::id;
use crate::deliver::{self, Deliveries};
use crate::home::Home;
use crate::module::archive::{self, rules};
use crate::route::unavailable;

/// What was decided on a stanza.
pub(crate) enum Decision {
    /// Whatever had to be kept is.
    Settled(Deliveries),
    /// A message that is accepted when this has been kept.
    Accept(Box<Acceptance>),
}

/// What is kept of a message, and what follows.
pub(crate) struct Acceptance {
    pub(crate) change: AcceptMessage,
    pub(crate) then: Then,
}

/// What follows, once it is known whether the message could be kept.
pub(crate) struct Then {
    /// Who is told if it could not.
    pub(super) envelope: Stanza,
    pub(super) accepted: Deliveries,
    /// The account for which it has been kept.
    pub(super) waits_for: Option<BareJid>,
    /// For the sender's other clients, in any case.
    pub(super) copies: Deliveries,
}

impl From<Deliveries> for Decision {
    fn from(deliveries: Deliveries) -> Self {
        Self::Settled(deliveries)
    }
}

impl Decision {
    /// Keeps what is to be kept.
    pub(crate) async fn carry_out(self, home: &Home) -> Deliveries {
        self.keep(home).await.0
    }

    /// The same; and whether there was something, and it is kept.
    pub(crate) async fn keep(self, home: &Home) -> (Deliveries, bool) {
        match self {
            Self::Settled(deliveries) => (deliveries, false),
            Self::Accept(acceptance) => {
                let outcome = home.storage.write(acceptance.change).await;
                let deliveries = acceptance.then.settle(home, outcome.as_ref());
                (deliveries, outcome.is_ok())
            }
        }
    }
}

impl Then {
    pub(crate) fn settle(
        self,
        home: &Home,
        outcome: Result<&AcceptedMessage, &Error>,
    ) -> Deliveries {
        let mut deliveries = match outcome {
            Ok(AcceptedMessage::Accepted) => {
                let mut accepted = self.accepted;
                let waits_for = self.waits_for.as_ref();
                if let Some(session) = waits_for.and_then(|account| home.sessions.kept(account)) {
                    // It has come online since that was decided.
                    accepted.afterwards(super::drain(home.clone(), session));
                }
                accepted
            }
            // XEP-0160 §3 for a full store; the same for an account that does not exist.
            Ok(AcceptedMessage::NoAccount | AcceptedMessage::OfflineFull) => {
                Deliveries::refuse(&self.envelope, &unavailable())
            }
            Ok(AcceptedMessage::OutboxFull) => {
                let domain = self.envelope.to.as_ref().map_or("", Jid::domain);
                Deliveries::refuse(&self.envelope, &deliver::too_much(domain))
            }
            Err(fault) => deliver::failed(&self.envelope, fault),
        };
        deliveries.extend(self.copies);
        deliveries
    }
}

/// The two sides of a message that are accounts of ours, and whether each keeps it.
pub(super) struct Sides<'a> {
    /// Whose session has sent it.
    pub(super) sender: Option<BareJid>,
    pub(super) recipient: Option<&'a BareJid>,
}

/// A message as each side has it: with the name it bears in its archive.
pub(super) struct Versions {
    pub(super) of_sender: Stanza,
    pub(super) of_recipient: Stanza,
    pub(super) archive: Vec<Archive>,
}

impl Sides<'_> {
    /// Names the message for those who keep it.
    pub(super) async fn versions(&self, home: &Home, stanza: Stanza) -> Result<Versions, Error> {
        let mut versions = Versions {
            of_sender: stanza.clone(),
            of_recipient: stanza,
            archive: Vec::new(),
        };
        if !rules::belongs(&versions.of_sender) {
            return Ok(versions);
        }
        // XEP-0313 §5.1.1: what somebody sends to themselves is kept once.
        if let Some(sender) = &self.sender
            && self.recipient != Some(sender)
        {
            let other = versions.of_sender.to.clone();
            let other = other.unwrap_or_else(|| sender.clone().into());
            let row = keep(home, sender, &other, &mut versions.of_sender).await?;
            versions.archive.extend(row);
        }
        if let Some(recipient) = self.recipient
            && let Some(other) = versions.of_recipient.from.clone()
        {
            let row = keep(home, recipient, &other, &mut versions.of_recipient).await?;
            versions.archive.extend(row);
        }
        Ok(versions)
    }
}

async fn keep(
    home: &Home,
    account: &BareJid,
    other: &Jid,
    stanza: &mut Stanza,
) -> Result<Option<Archive>, Error> {
    if !archive::wants(home, account, other).await? {
        return Ok(None);
    }
    let uid = comity_net::random::id();
    id::give(stanza, account, &uid);
    Ok(Some(Archive {
        account: account.as_str().to_owned(),
        uid,
        peer: other.to_bare().as_str().to_owned(),
        resource: other.resource().unwrap_or_default().to_owned(),
        stanza: stanza.to_bytes(None).to_vec(),
        received: home.now_ms(),
    }))
}

/// A message without what it says: to answer it.
pub(super) fn envelope(stanza: &Stanza) -> Stanza {
    let mut envelope = Stanza::new(stanza.kind);
    envelope.from.clone_from(&stanza.from);
    envelope.to.clone_from(&stanza.to);
    envelope.id.clone_from(&stanza.id);
    envelope
}
