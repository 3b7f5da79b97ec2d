//! Taking a message over. What is decided on it, and what is kept of it, are put together here;
//! nothing of it leaves before that is on disk.

use comity_storage::{AcceptMessage, AcceptMessages, AcceptedMessage, Archive, Error, Side};
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::stanza::Stanza;

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
                // As many, so that it is written together with those of others.
                let change = AcceptMessages(vec![acceptance.change]);
                let outcomes = home.storage.write(change).await;
                let outcome = outcomes.as_ref().map(|outcomes| &outcomes[0]);
                let deliveries = acceptance.then.settle(home, outcome);
                (deliveries, outcomes.is_ok())
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

impl Sides<'_> {
    /// What their archives keep of the message; nothing, where neither does.
    pub(super) async fn archive(
        &self,
        home: &Home,
        stanza: &Stanza,
    ) -> Result<Option<Archive>, Error> {
        if !rules::belongs(stanza) {
            return Ok(None);
        }
        let from = stanza.from.clone();
        let Some(from) = from.or_else(|| self.sender.clone().map(Jid::from)) else {
            return Ok(None);
        };
        // RFC 6120 §10.3: without an address it is for its sender's account.
        let to = stanza.to.clone();
        let to = to.unwrap_or_else(|| from.to_bare().into());
        let (mut sender, mut recipient) = (side(&from), side(&to));
        // XEP-0313 §5.1.1: what somebody sends to themselves is kept once.
        if let Some(account) = &self.sender
            && self.recipient != Some(account)
        {
            sender.keeps = archive::wants(home, account, &to).await?;
        }
        if let Some(account) = self.recipient {
            recipient.keeps = archive::wants(home, account, &from).await?;
        }
        if !sender.keeps && !recipient.keeps {
            return Ok(None);
        }
        let received = home.now_ms();
        Ok(Some(Archive {
            uid: comity_net::random::id_at(received),
            sender,
            recipient,
            stanza: stanza.to_bytes(None).into(),
            received,
        }))
    }
}

fn side(address: &Jid) -> Side {
    Side {
        address: address.to_bare().as_str().to_owned(),
        resource: address.resource().unwrap_or_default().to_owned(),
        keeps: false,
    }
}

/// By which name an account's archive knows a message.
pub(super) fn name_in<'a>(archive: Option<&'a Archive>, account: &BareJid) -> Option<&'a str> {
    let archive = archive?;
    let mut sides = [&archive.sender, &archive.recipient].into_iter();
    let keeps = sides.any(|side| side.keeps && side.address == account.as_str());
    keeps.then_some(&*archive.uid)
}

/// A message without what it says: to answer it.
pub(super) fn envelope(stanza: &Stanza) -> Stanza {
    let mut envelope = Stanza::new(stanza.kind);
    envelope.from.clone_from(&stanza.from);
    envelope.to.clone_from(&stanza.to);
    envelope.id.clone_from(&stanza.id);
    envelope
}
