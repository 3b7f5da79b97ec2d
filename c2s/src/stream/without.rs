//! A session whose stream is gone: it waits for its client, is left to the next server, or ends.

use std::sync::Arc;

use comity_net::drive::Pump;
use comity_net::stop::Stop;
use comity_xmpp::frame::Framing;
use comity_xmpp::jid::Jid;
use comity_xmpp::stanza::Stanza;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{LAST_WORDS, Parted, SHORT_WORDS};
use crate::link::{Count, Inbox, Suspended};
use crate::resume::{Kept, Seat, Waiting};
use crate::serve::Shared;
use crate::session::Session;

/// The session goes on without this stream.
pub(super) async fn set_aside<S, F>(
    mut pump: Pump<S, Session, F>,
    inbox: Inbox,
    seat: Seat,
    parted: Parted,
    shared: &Arc<Shared>,
) -> Option<Waiting>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Framing,
{
    let session = if matches!(parted, Parted::Stopped) {
        pump.shutdown(LAST_WORDS).await
    } else {
        // Whoever is still there learns why; on a dead connection it is not worth a wait.
        let _ = tokio::time::timeout(SHORT_WORDS, pump.flush()).await;
        pump.into_parts().1
    };
    inbox.set_idle(false);
    let kept = match session.keep() {
        Ok(kept) => kept,
        // It has a seat and so a name; were that not so, it would be over.
        Err(session) => {
            let (jid, key) = (session.jid().clone(), session.key().cloned());
            let unacked = session.into_unacked().into_iter().chain(inbox.close());
            give_back(&jid, key, unacked, shared).await;
            return None;
        }
    };
    let waiting = Waiting { kept, inbox, seat };
    match parted {
        Parted::Taken(taker) => taker.send(waiting).err(),
        Parted::Over | Parted::Lost => Some(waiting),
        Parted::Stopped => {
            suspend(waiting, shared).await;
            None
        }
    }
}

/// A session without a stream: until its client asks for it, or too much time has gone by, or too
/// much waits for it, or the server wants it no longer.
pub(crate) async fn wait(mut waiting: Waiting, shared: &Arc<Shared>, stop: &mut Stop) {
    let until = tokio::time::Instant::now() + shared.options.resumption;
    let (overflow, unwanted) = (waiting.inbox.overflow(), waiting.inbox.unwanted());
    loop {
        let taker = tokio::select! {
            taker = waiting.seat.recv() => taker,
            () = tokio::time::sleep_until(until) => None,
            () = overflow.notified() => None,
            () = unwanted.notified() => None,
            () = stop.wait() => {
                suspend(waiting, shared).await;
                return;
            }
        };
        let Some(taker) = taker else { break };
        match taker.send(waiting) {
            Ok(()) => return,
            // Who asked has gone in this very moment.
            Err(back) => waiting = back,
        }
    }
    end(waiting, shared).await;
}

/// The server stops, and the session's client may come back to the next: all that it has not got
/// is kept.
async fn suspend(waiting: Waiting, shared: &Arc<Shared>) {
    let Waiting { kept, inbox, .. } = waiting;
    let Kept {
        key,
        jid,
        inbound,
        outbound,
        unwritten,
        restored,
        ..
    } = kept;
    shared.server.suspending(&jid, &key);
    let waits = inbox.finish().await;
    if restored.is_some() {
        // Its client has not been here since the server began: what there was is there still, and
        // messages that have come since were kept as they came.
        return;
    }
    let suspended = Suspended {
        count: Count {
            key,
            h: inbound.count(),
        },
        acknowledged: outbound.count(),
        said: outbound.into_unacked().into(),
        unsaid: unwritten.into_iter().chain(waits).collect(),
    };
    shared.server.suspend(&jid, suspended).await;
    tracing::debug!(session = %jid, "a session is left to the next server");
}

/// The session is over; its client has not come back.
pub(super) async fn end(waiting: Waiting, shared: &Arc<Shared>) {
    let Waiting { kept, inbox, .. } = waiting;
    shared.resumables.close(&kept.key, kept.inbound.count());
    let restored = kept.restored.unwrap_or_default().into_iter();
    let unacked = restored.map(|(_, stanza)| stanza);
    let unacked = unacked.chain(kept.outbound.into_unacked());
    let unacked = unacked.chain(kept.unwritten).chain(inbox.close());
    give_back(&kept.jid, Some(kept.key), unacked, shared).await;
}

pub(super) async fn give_back(
    jid: &Jid,
    key: Option<Arc<str>>,
    unacked: impl Iterator<Item = Arc<Stanza>>,
    shared: &Arc<Shared>,
) {
    let unacked = unacked.map(Arc::unwrap_or_clone).collect();
    shared.server.unbind(jid, key, unacked).await;
    tracing::debug!(session = %jid, "a session is over");
}
