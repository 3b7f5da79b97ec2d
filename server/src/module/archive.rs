//! XEP-0313: Message Archive Management. What an account has said and heard, for all its clients;
//! whose messages are kept it says itself (XEP-0441).
//!
//! The rows are written with the acceptance of each message (`message::accept`). Here is which
//! messages they are ([`rules`]), how they are asked for ([`query`]), and how they are forgotten.

mod preferences;
mod query;
pub(crate) mod rules;
#[cfg(test)]
mod tests;

use std::time::Duration;

use comity_storage::{ArchivePolicy, PurgeArchive, TrimArchive};
use comity_xmpp::element::Element;
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::jid::BareJid;
use comity_xmpp::ns;
use comity_xmpp::stanza::{IqType, Kind};
use tracing::{error, info};

use super::{Context, Entity, Handles, Later, Module, Request, Target, Tick, What};
use crate::deliver::Deliveries;
use crate::fault;
use crate::home::Home;
use crate::time;

pub use preferences::Preferences;
pub(crate) use preferences::wants;

/// XEP-0313 §7.
const EXTENDED: &str = "urn:xmpp:mam:2#extended";

pub const MODULE: Module = Module {
    name: "archive",
    handles: &[
        asked(IqType::Get, "query", Target::OwnAccount),
        asked(IqType::Set, "query", Target::OwnAccount),
        asked(IqType::Get, "metadata", Target::OwnAccount),
        asked(IqType::Get, "prefs", Target::OwnAccount),
        asked(IqType::Set, "prefs", Target::OwnAccount),
        asked(IqType::Get, "*", Target::OtherAccount),
        asked(IqType::Set, "*", Target::OtherAccount),
    ],
    features: &[
        (Entity::Account, ns::MAM),
        // Where profanity and others look for it, as other servers show it there as well.
        (Entity::Domain, ns::MAM),
        (Entity::Account, EXTENDED),
        (Entity::Account, ns::SID),
    ],
    handle,
    tick: Some(Tick {
        every: Duration::from_secs(3600),
        run: forget,
    }),
    ..Module::EMPTY
};

const fn asked(kind: IqType, name: &'static str, target: Target) -> Handles {
    Handles {
        what: What::Iq(kind),
        ns: ns::MAM,
        name,
        target,
    }
}

/// What the operator decides about archives.
#[derive(Clone, Copy, Debug)]
pub struct Keeping {
    /// Messages are kept for so long; nothing: for ever.
    pub retention: Duration,
    /// Messages of one account.
    pub messages: usize,
    /// For accounts that have not said otherwise.
    pub policy: ArchivePolicy,
}

impl Default for Keeping {
    fn default() -> Self {
        Self {
            retention: Duration::from_secs(365 * 24 * 3600),
            messages: 100_000,
            policy: ArchivePolicy::Always,
        }
    }
}

fn handle(context: Context, request: Request) -> Later<Deliveries> {
    Box::pin(async move {
        if request.target == Target::OtherAccount {
            // XEP-0313 §8.1; whether there is such an account or not.
            let error = StanzaError::new(ErrorType::Auth, StanzaCondition::Forbidden)
                .with_text("an archive is its account's alone");
            return Deliveries::refuse(&request.stanza, &error);
        }
        let set = request.stanza.kind == Kind::Iq(IqType::Set);
        let answer = match (request.payload.name.as_str(), set) {
            ("query", false) => Ok(Some(query::form())),
            ("query", true) => query::page(&context, &request).await,
            ("metadata", _) => {
                let account = request.to.to_bare();
                metadata(&context.home, &account).await.map(Some)
            }
            (_, false) => preferences::show(&context.home, &request).await.map(Some),
            (_, true) => preferences::change(&context.home, &request).await.map(Some),
        };
        match answer {
            Ok(Some(answer)) => Deliveries::answer(request.stanza.result(Some(&answer))),
            Ok(None) => Deliveries::none(),
            Err(error) => Deliveries::refuse(&request.stanza, &error),
        }
    })
}

/// XEP-0313 §5: where the archive begins and ends.
pub(crate) async fn metadata(home: &Home, account: &BareJid) -> Result<Element, StanzaError> {
    let archived = home.storage.archived(account.as_str()).await;
    let archived = archived.map_err(|fault| unread(&fault))?;
    let end = |name: &str, (uid, received): &(String, u64)| {
        Element::new(ns::MAM, name)
            .with_attr("id", uid.as_str())
            .with_attr("timestamp", time::stamp(*received))
    };
    let ends = archived.map(|ends| [end("start", &ends.first), end("end", &ends.last)]);
    Ok(Element::new(ns::MAM, "metadata").with_children(ends.into_iter().flatten()))
}

fn unread(fault: &comity_storage::Error) -> StanzaError {
    fault::log(fault, "an archive cannot be read");
    fault::refused(fault, "the archive cannot be read now: ask again")
}

/// Messages forgotten in one transaction.
const CHUNK: usize = 512;

fn forget(home: Home) -> Later<Deliveries> {
    Box::pin(async move {
        match forget_all(&home).await {
            Ok(0) => {}
            Ok(gone) => info!(gone, "messages have left the archive"),
            Err(fault) => error!(%fault, "archives grow: again at the next round"),
        }
        Deliveries::none()
    })
}

async fn forget_all(home: &Home) -> Result<u64, comity_storage::Error> {
    let Keeping {
        retention,
        messages,
        ..
    } = home.archive.keeping;
    let mut all = 0;
    let limit = CHUNK;
    if !retention.is_zero() {
        let retention = u64::try_from(retention.as_millis()).unwrap_or(u64::MAX);
        let before = home.now_ms().saturating_sub(retention);
        loop {
            let gone = home.storage.write(PurgeArchive { before, limit }).await?;
            all += gone;
            if gone == 0 {
                break;
            }
        }
    }
    for account in home.storage.archives_beyond(messages).await? {
        loop {
            let account = account.clone();
            let keep = messages;
            let trim = TrimArchive {
                account,
                keep,
                limit,
            };
            let gone = home.storage.write(trim).await?;
            all += gone;
            if gone == 0 {
                break;
            }
        }
    }
    Ok(all)
}
