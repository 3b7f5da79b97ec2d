//! The same key and bytes get the same answer: what was accepted is found again.

use comity_mls_credential::signed;
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{Accepted, Answer, IdempotencyKey, Member, Request};
use comity_storage::rooms as rows_of;
use comity_xmpp::jid::BareJid;
use openssl::sha::sha256;

use super::{Asked, Hub, Pool};
use crate::error::internal;

/// The key of a request that changes the room.
pub(super) fn key(request: &Request) -> Option<IdempotencyKey> {
    match request {
        Request::Create(create) => Some(create.key),
        Request::Commit(bundle) => Some(bundle.key),
        Request::Propose { key, .. } | Request::Send { key, .. } => Some(*key),
        Request::Hub
        | Request::Info
        | Request::Ephemeral { .. }
        | Request::Head
        | Request::Status { .. }
        | Request::GroupInfo
        | Request::Report { .. }
        | Request::ReportMessage(_)
        | Request::Fetch { .. }
        | Request::Acknowledge { .. } => None,
    }
}

/// SHA-256 over all that a change asks for, each part with its length. Questions are all one.
#[must_use]
pub fn digest(request: &Request) -> [u8; 32] {
    let content = match request {
        Request::Create(create) => {
            let other = create.direct_with.as_ref();
            let other = other.map_or(&b""[..], |jid| jid.as_str().as_bytes());
            signed::content("create", &[&create.group_info, &create.tree, other])
        }
        Request::Commit(bundle) => {
            let epoch = bundle.epoch.to_be_bytes();
            let welcome = bundle.welcome.as_deref().unwrap_or_default();
            let mut parts: Vec<&[u8]> = vec![&epoch, &bundle.commit, welcome, &bundle.group_info];
            for joiner in &bundle.joiners {
                parts.push(joiner.account.as_str().as_bytes());
                parts.push(joiner.device.as_bytes());
                parts.push(&joiner.key_package);
            }
            signed::content("commit", &parts)
        }
        Request::Propose { proposal, .. } => signed::content("propose", &[proposal]),
        Request::Send { epoch, message, .. } => {
            signed::content("send", &[&epoch.to_be_bytes(), message])
        }
        Request::Hub
        | Request::Info
        | Request::Ephemeral { .. }
        | Request::Head
        | Request::Status { .. }
        | Request::GroupInfo
        | Request::Report { .. }
        | Request::ReportMessage(_)
        | Request::Fetch { .. }
        | Request::Acknowledge { .. } => Vec::new(),
    };
    sha256(&content)
}

impl<P: Pool> Hub<P> {
    /// What was accepted under this key, if it was for the same bytes.
    pub(super) async fn answered(
        &self,
        asked: &Asked,
        sender: &Member,
        key: IdempotencyKey,
    ) -> Result<Option<Accepted>, Refusal> {
        match self.find(&asked.room, sender, key).await? {
            None => Ok(None),
            Some(answer) if answer.digest == asked.digest => Ok(Some(accepted(&answer))),
            Some(_) => Err(Refusal::KeyReused),
        }
    }

    /// Tells a device that has lost the answer what became of its request.
    pub(super) async fn status(
        &self,
        room: &BareJid,
        sender: &Member,
        key: IdempotencyKey,
    ) -> Result<Answer, Refusal> {
        // A change under this key may be in hand: it is waited for.
        let slot = self.cache.lock(room).await;
        let found = self.find(room, sender, key).await?;
        drop(slot);
        if found.is_none() {
            // Who has never been in the room, and has asked nothing of it, learns nothing.
            match self.for_member(room, sender).await {
                Ok(_) => {}
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(Answer::Status(found.as_ref().map(accepted)))
    }

    async fn find(
        &self,
        room: &BareJid,
        sender: &Member,
        key: IdempotencyKey,
    ) -> Result<Option<rows_of::Answer>, Refusal> {
        self.shared
            .storage
            .room_answer(
                room.as_str(),
                sender.account.as_str(),
                sender.device.into_bytes(),
                key.0.into_bytes(),
            )
            .await
            .map_err(|error| internal(error, "reading an answer"))
    }
}

fn accepted(answer: &rows_of::Answer) -> Accepted {
    Accepted {
        seq: answer.seq,
        epoch: answer.epoch,
        time: answer.time,
        head: answer.head,
    }
}
