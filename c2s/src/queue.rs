//! The queue into one session. What is put in has a place, in the order in which the client will be
//! given it; a place can be taken before it is known whether something comes of it, so that it can
//! be kept together with the place of what its client counts (XEP-0198).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use comity_xmpp::error::StreamError;
use comity_xmpp::stanza::Stanza;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::idle::Idle;

/// How long what has a place may take to come, when the session is to be set down for good.
const PATIENCE: Duration = Duration::from_secs(5);

/// The way into one session. Bounded: a reader too slow to keep up is dropped.
#[derive(Clone)]
pub struct Outbound {
    sender: mpsc::Sender<ToSession>,
    shared: Arc<Shared>,
}

struct Shared {
    /// No two are alike.
    id: u64,
    order: Mutex<Order>,
    /// Told when the queue was full: the session has to end.
    overflow: Arc<Notify>,
    /// Told when the server wants the session to end, for one that nobody reads now.
    unwanted: Arc<Notify>,
}

struct Order {
    /// The next place.
    next: i64,
    /// While nobody looks at the client (XEP-0352): what need not wake it. It has no place yet.
    idle: Option<Idle>,
}

/// The session's end of it.
pub struct Inbox {
    receiver: mpsc::Receiver<ToSession>,
    /// To put in what the stream itself has to say; does not keep the queue open.
    own: mpsc::WeakSender<ToSession>,
    shared: Arc<Shared>,
    /// The oldest, which has a place and is still to come.
    coming: Option<oneshot::Receiver<Arc<Stanza>>>,
    /// The place of what is taken out next.
    next: i64,
}

#[derive(Debug)]
pub(crate) enum ToSession {
    Stanza(Arc<Stanza>),
    /// Its place is taken.
    Coming(oneshot::Receiver<Arc<Stanza>>),
    /// Nothing has come, but it was counted.
    Void,
    /// Boxed: an empty queue has room for some of the largest.
    Close(Box<StreamError>),
}

/// A place in a session's queue. Dropped, it stays empty.
pub struct Place {
    place: i64,
    fill: oneshot::Sender<Arc<Stanza>>,
}

/// The session's queue is full or its stream is gone; the stanza comes back for another way.
#[derive(Debug)]
pub struct Undeliverable(pub Arc<Stanza>);

impl Place {
    /// Counted from the first in the queue on.
    #[must_use]
    pub fn place(&self) -> i64 {
        self.place
    }

    pub fn fill(self, stanza: Arc<Stanza>) -> Result<(), Undeliverable> {
        self.fill.send(stanza).map_err(Undeliverable)
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Place").field(&self.place).finish()
    }
}

impl Outbound {
    /// A queue of at most `bound` stanzas, and the end that the session's stream reads.
    #[must_use]
    pub fn new(bound: usize) -> (Self, Inbox) {
        let (sender, receiver) = mpsc::channel(bound.max(1));
        static IDS: AtomicU64 = AtomicU64::new(0);
        let shared = Arc::new(Shared {
            id: IDS.fetch_add(1, Ordering::Relaxed),
            order: Mutex::new(Order {
                next: 0,
                idle: None,
            }),
            overflow: Arc::default(),
            unwanted: Arc::default(),
        });
        let inbox = Inbox {
            receiver,
            own: sender.downgrade(),
            shared: Arc::clone(&shared),
            coming: None,
            next: 0,
        };
        (Self { sender, shared }, inbox)
    }

    pub fn send(&self, stanza: Arc<Stanza>) -> Result<(), Undeliverable> {
        if self.sender.is_closed() {
            return Err(Undeliverable(stanza));
        }
        let mut order = self.shared.order();
        let stanza = match order
            .idle
            .as_mut()
            .map(|idle| idle.hold(Arc::clone(&stanza)))
        {
            Some(Ok(())) => return Ok(()),
            Some(Err(_)) | None => stanza,
        };
        self.shared.say_held(&mut order, &self.sender);
        match self.shared.put(&mut order, &self.sender, &stanza) {
            true => Ok(()),
            false => Err(Undeliverable(stanza)),
        }
    }

    /// As [`Self::send`], but waits while the queue is full: for what need not come at once.
    pub async fn send_when_free(&self, stanza: Arc<Stanza>) -> Result<(), Undeliverable> {
        match self.reserve_when_free().await {
            Some(place) => place.fill(stanza),
            None => Err(Undeliverable(stanza)),
        }
    }

    /// Takes the next place; `None`: the queue is full, or the stream gone.
    #[must_use]
    pub fn reserve(&self) -> Option<Place> {
        let mut order = self.shared.order();
        self.shared.say_held(&mut order, &self.sender);
        match self.sender.try_reserve() {
            Ok(permit) => Some(order.take_place(permit)),
            Err(refused) => {
                self.shared.refused(&refused);
                None
            }
        }
    }

    /// As [`Self::reserve`], but waits while the queue is full. Whoever waits must have filled the
    /// places it has taken before.
    pub async fn reserve_when_free(&self) -> Option<Place> {
        let permit = self.sender.reserve().await.ok()?;
        let mut order = self.shared.order();
        self.shared.say_held(&mut order, &self.sender);
        Some(order.take_place(permit))
    }

    /// As [`Self::reserve`], while no more than half of the queue is in use: for what can wait.
    #[must_use]
    pub fn reserve_at_leisure(&self) -> Option<Place> {
        let mut order = self.shared.order();
        if self.sender.capacity() <= self.sender.max_capacity() / 2 {
            return None;
        }
        self.shared.say_held(&mut order, &self.sender);
        let permit = self.sender.try_reserve().ok()?;
        Some(order.take_place(permit))
    }

    /// Which queue it is.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.shared.id
    }

    /// How many stanzas wait in it.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.sender
            .max_capacity()
            .saturating_sub(self.sender.capacity())
    }

    /// The session's stream is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Ends the session's stream with an error.
    pub fn close(&self, error: StreamError) {
        self.shared.unwanted.notify_one();
        if self
            .sender
            .try_send(ToSession::Close(error.into()))
            .is_err()
        {
            // The queue is full, so its reader is dead; or the stream is gone already.
            self.shared.overflow.notify_one();
        }
    }
}

impl Order {
    fn take_place(&mut self, permit: mpsc::Permit<'_, ToSession>) -> Place {
        let (fill, coming) = oneshot::channel();
        permit.send(ToSession::Coming(coming));
        let place = self.next;
        self.next += 1;
        Place { place, fill }
    }
}

impl Shared {
    fn order(&self) -> MutexGuard<'_, Order> {
        // Nothing panics while it holds the lock; if something did, the order is still whole.
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False: there is no room.
    fn put(
        &self,
        order: &mut Order,
        sender: &mpsc::Sender<ToSession>,
        stanza: &Arc<Stanza>,
    ) -> bool {
        match sender.try_reserve() {
            Ok(permit) => {
                permit.send(ToSession::Stanza(Arc::clone(stanza)));
                order.next += 1;
                true
            }
            Err(refused) => {
                self.refused(&refused);
                false
            }
        }
    }

    fn refused(&self, refused: &mpsc::error::TrySendError<()>) {
        if matches!(refused, mpsc::error::TrySendError::Full(())) {
            self.overflow.notify_one();
        }
    }

    /// What was held back goes first. What finds no room ends the session, as ever.
    fn say_held(&self, order: &mut Order, sender: &mpsc::Sender<ToSession>) {
        let held = order.idle.as_mut().map(Idle::take).unwrap_or_default();
        for stanza in held {
            self.put(order, sender, &stanza);
        }
    }
}

impl Inbox {
    /// What comes next, a stanza or the end; None once nobody can send any more. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<ToSession> {
        loop {
            if let Some(coming) = &mut self.coming {
                let come = coming.await;
                self.coming = None;
                self.next += 1;
                return Some(come.map_or(ToSession::Void, ToSession::Stanza));
            }
            match self.receiver.recv().await? {
                ToSession::Coming(coming) => self.coming = Some(coming),
                other => return Some(self.counted(other)),
            }
        }
    }

    /// The next, if it is there.
    pub(crate) fn next_now(&mut self) -> Option<ToSession> {
        loop {
            if let Some(coming) = &mut self.coming {
                let come = match coming.try_recv() {
                    Ok(stanza) => ToSession::Stanza(stanza),
                    Err(oneshot::error::TryRecvError::Closed) => ToSession::Void,
                    Err(oneshot::error::TryRecvError::Empty) => return None,
                };
                self.coming = None;
                self.next += 1;
                return Some(come);
            }
            match self.receiver.try_recv().ok()? {
                ToSession::Coming(coming) => self.coming = Some(coming),
                other => return Some(self.counted(other)),
            }
        }
    }

    fn counted(&mut self, next: ToSession) -> ToSession {
        if !matches!(next, ToSession::Close(_)) {
            self.next += 1;
        }
        next
    }

    /// What waits for the session, oldest first.
    pub fn try_next(&mut self) -> Option<Result<Arc<Stanza>, StreamError>> {
        loop {
            match self.next_now()? {
                ToSession::Stanza(stanza) => return Some(Ok(stanza)),
                ToSession::Close(error) => return Some(Err(*error)),
                ToSession::Coming(_) | ToSession::Void => {}
            }
        }
    }

    /// Which queue it is.
    pub(crate) fn id(&self) -> u64 {
        self.shared.id
    }

    /// The place of what is taken out next.
    pub(crate) fn place(&self) -> i64 {
        self.next
    }

    /// Puts in what the stream itself has to say. It is lost where there is no room: then the
    /// session ends.
    pub(crate) fn say(&self, stanza: &Arc<Stanza>) {
        if let Some(own) = self.own.upgrade() {
            self.shared.put(&mut self.shared.order(), &own, stanza);
        }
    }

    /// Nobody looks at the client, or somebody does again (XEP-0352).
    pub(crate) fn set_idle(&self, idle: bool) {
        let mut order = self.shared.order();
        if idle {
            order.idle.get_or_insert_default();
            return;
        }
        if let Some(own) = self.own.upgrade() {
            self.shared.say_held(&mut order, &own);
        }
        order.idle = None;
    }

    /// Told whenever something did not fit.
    pub(crate) fn overflow(&self) -> Arc<Notify> {
        Arc::clone(&self.shared.overflow)
    }

    /// Told once the server wants the session to end.
    pub(crate) fn unwanted(&self) -> Arc<Notify> {
        Arc::clone(&self.shared.unwanted)
    }

    /// Lets nothing more in; returns what was still waiting. What has a place and has not come
    /// goes back to whoever has the place.
    pub(crate) fn close(mut self) -> Vec<Arc<Stanza>> {
        self.receiver.close();
        let mut rest = Vec::new();
        loop {
            match self.next_now() {
                Some(ToSession::Stanza(stanza)) => rest.push(stanza),
                Some(_) => {}
                None if self.coming.take().is_some() => {}
                None => return rest,
            }
        }
    }

    /// Lets nothing more in; returns what was still waiting, and what has a place.
    pub(crate) async fn finish(mut self) -> Vec<Arc<Stanza>> {
        self.set_idle(false);
        self.receiver.close();
        let mut rest = Vec::new();
        loop {
            match tokio::time::timeout(PATIENCE, self.next()).await {
                Ok(Some(ToSession::Stanza(stanza))) => rest.push(stanza),
                Ok(Some(_)) => {}
                Ok(None) => return rest,
                // It goes back to whoever has the place.
                Err(_) => self.coming = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use comity_xmpp::stanza::{Kind, MessageType, PresenceType};

    use super::*;

    fn message() -> Arc<Stanza> {
        Arc::new(Stanza::new(Kind::Message(MessageType::Chat)))
    }

    fn presence() -> Arc<Stanza> {
        Arc::new(Stanza::new(Kind::Presence(PresenceType::Available)))
    }

    fn kind(next: Option<ToSession>) -> Option<Kind> {
        match next? {
            ToSession::Stanza(stanza) => Some(stanza.kind),
            _ => None,
        }
    }

    #[tokio::test]
    async fn a_full_queue_gives_the_stanza_back_and_tells() {
        let (outbound, inbox) = Outbound::new(2);
        outbound.send(message()).unwrap();
        outbound.send(message()).unwrap();
        assert!(outbound.send(message()).is_err());
        inbox.overflow().notified().await;
        assert_eq!(inbox.close().len(), 2);
        assert!(outbound.send(message()).is_err());
    }

    #[tokio::test]
    async fn what_has_a_place_comes_there() {
        let (outbound, mut inbox) = Outbound::new(8);
        outbound.send(presence()).unwrap();
        let first = outbound.reserve().unwrap();
        let empty = outbound.reserve().unwrap();
        outbound.send(presence()).unwrap();
        assert_eq!((first.place(), empty.place()), (1, 2));
        assert_eq!(kind(inbox.next().await), Some(presence().kind));
        assert!(inbox.next_now().is_none(), "it is still to come");
        let waiting = tokio::time::timeout(Duration::from_millis(10), inbox.next());
        assert!(waiting.await.is_err());
        first.fill(message()).unwrap();
        assert_eq!(kind(inbox.next().await), Some(message().kind));
        drop(empty);
        assert!(matches!(inbox.next().await, Some(ToSession::Void)));
        assert_eq!(inbox.place(), 3);
        assert_eq!(kind(inbox.next_now()), Some(presence().kind));
        drop(outbound);
        assert!(inbox.next().await.is_none());
    }

    #[tokio::test]
    async fn what_comes_too_late_goes_back() {
        let (outbound, inbox) = Outbound::new(8);
        let place = outbound.reserve().unwrap();
        outbound.send(message()).unwrap();
        assert_eq!(inbox.close().len(), 1);
        assert!(place.fill(message()).is_err());
        let (outbound, inbox) = Outbound::new(8);
        let place = outbound.reserve().unwrap();
        let finishing = tokio::spawn(inbox.finish());
        tokio::task::yield_now().await;
        place.fill(message()).unwrap();
        assert_eq!(finishing.await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn an_idle_client_is_woken_only_for_what_matters() {
        let (outbound, mut inbox) = Outbound::new(8);
        inbox.set_idle(true);
        outbound.send(presence()).unwrap();
        outbound.send(presence()).unwrap();
        assert!(inbox.next_now().is_none());
        let place = outbound.reserve().unwrap();
        assert_eq!(place.place(), 1, "behind the one presence that matters");
        place.fill(message()).unwrap();
        assert_eq!(kind(inbox.next_now()), Some(presence().kind));
        assert_eq!(kind(inbox.next_now()), Some(message().kind));
        outbound.send(presence()).unwrap();
        assert!(inbox.next_now().is_none());
        inbox.set_idle(false);
        assert_eq!(kind(inbox.next_now()), Some(presence().kind));
        outbound.send(presence()).unwrap();
        assert_eq!(kind(inbox.next_now()), Some(presence().kind));
    }
}
