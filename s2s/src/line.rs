//! A stream that a peer has opened and that carries both directions (XEP-0288): lent by the task
//! that holds it to the one that has something for the peer. Orders go one way, news the other;
//! neither side waits for the other.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::outgoing::Parcel;

/// What is asked of the task that holds the stream. At most [`crate::peer::WINDOW`] stanzas are on
/// their way at a time, so there are not many more of these.
#[derive(Debug)]
pub(crate) enum Order {
    /// There will be stanzas; the name of our queue.
    Begin(Option<String>),
    Send(Parcel, Bytes),
    /// It cannot be used any longer.
    Close,
}

/// What the task that has something for the peer learns.
#[derive(Debug, PartialEq)]
pub(crate) enum News {
    /// Stanzas may be sent; up to where the peer holds our queue, where it keeps count.
    Ready(Option<i64>),
    Delivered(Vec<Parcel>),
    Congested(bool),
    /// It is over, with what was not delivered, oldest first. `None`: in good order.
    Ended(Option<String>, Vec<Parcel>),
}

#[derive(Default)]
pub(crate) struct Line {
    said: Mutex<Said>,
    ordered: Notify,
    told: Notify,
}

#[derive(Default)]
struct Said {
    orders: VecDeque<Order>,
    ready: Option<Option<i64>>,
    delivered: Vec<Parcel>,
    congested: bool,
    /// As it was told last.
    known_congested: bool,
    over: bool,
    ended: Option<(Option<String>, Vec<Parcel>)>,
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn order(&self, order: Order) {
        self.lock().orders.push_back(order);
        self.ordered.notify_one();
    }

    /// What comes next. Cancel-safe.
    pub(crate) async fn news(&self) -> News {
        loop {
            if let Some(news) = self.lock().next() {
                return news;
            }
            self.told.notified().await;
        }
    }

    /// Nothing more is wanted of it for now: what it has said is of no interest any longer.
    pub(crate) fn release(&self) {
        let mut said = self.lock();
        said.ready = None;
        said.delivered.clear();
        said.known_congested = false;
    }

    /// What is asked for. Cancel-safe.
    pub(crate) async fn orders(&self) -> VecDeque<Order> {
        loop {
            let orders = std::mem::take(&mut self.lock().orders);
            if !orders.is_empty() {
                return orders;
            }
            self.ordered.notified().await;
        }
    }

    pub(crate) fn ready(&self, held: Option<i64>) {
        self.lock().ready = Some(held);
        self.told.notify_one();
    }

    pub(crate) fn delivered(&self, parcels: Vec<Parcel>) {
        self.lock().delivered.extend(parcels);
        self.told.notify_one();
    }

    pub(crate) fn congested(&self, congested: bool) {
        let mut said = self.lock();
        if said.congested != congested {
            said.congested = congested;
            self.told.notify_one();
        }
    }

    /// The stream is over, and what it had not delivered comes back, with what it was still asked
    /// for.
    pub(crate) fn end(&self, why: Option<String>, mut unacked: Vec<Parcel>) {
        let mut said = self.lock();
        if std::mem::replace(&mut said.over, true) {
            return;
        }
        unacked.extend(said.orders.drain(..).filter_map(Order::parcel));
        said.ended = Some((why, unacked));
        self.told.notify_one();
    }
}

impl Said {
    fn next(&mut self) -> Option<News> {
        if !self.delivered.is_empty() {
            return Some(News::Delivered(std::mem::take(&mut self.delivered)));
        }
        if self.over {
            // Asked for after the end.
            let late = self.orders.drain(..).filter_map(Order::parcel);
            let (why, mut unacked) = self.ended.take().unwrap_or_default();
            unacked.extend(late);
            return Some(News::Ended(why, unacked));
        }
        if let Some(held) = self.ready.take() {
            return Some(News::Ready(held));
        }
        (self.congested != self.known_congested).then(|| {
            self.known_congested = self.congested;
            News::Congested(self.congested)
        })
    }
}

impl Order {
    fn parcel(self) -> Option<Parcel> {
        match self {
            Self::Send(parcel, _) => Some(parcel),
            Self::Begin(_) | Self::Close => None,
        }
    }
}

/// By our domain and the peer's: the latest stream that can be lent. As many as peers have streams.
#[derive(Default)]
pub(crate) struct Lines(Mutex<HashMap<(String, String), Arc<Line>>>);

impl Lines {
    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), Arc<Line>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn offer(&self, ours: &str, peer: &str) -> Offered<'_> {
        let names = (ours.to_owned(), peer.to_owned());
        let line = Arc::new(Line::default());
        self.lock().insert(names.clone(), Arc::clone(&line));
        Offered {
            lines: self,
            names,
            line,
        }
    }

    pub(crate) fn find(&self, ours: &str, peer: &str) -> Option<Arc<Line>> {
        self.lock()
            .get(&(ours.to_owned(), peer.to_owned()))
            .cloned()
    }
}

/// A stream that is offered until this is dropped, at the latest when it ends.
pub(crate) struct Offered<'a> {
    lines: &'a Lines,
    names: (String, String),
    pub(crate) line: Arc<Line>,
}

impl Offered<'_> {
    /// No longer offered to those who do not have it yet.
    pub(crate) fn withdraw(&self) {
        let mut lines = self.lines.lock();
        if lines
            .get(&self.names)
            .is_some_and(|line| Arc::ptr_eq(line, &self.line))
        {
            lines.remove(&self.names);
        }
    }
}

impl Drop for Offered<'_> {
    fn drop(&mut self) {
        self.withdraw();
        self.line
            .end(Some("the stream is gone".to_owned()), Vec::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_not_delivered_comes_back_in_order_however_late_it_was_asked_for() {
        let lines = Lines::default();
        let offered = lines.offer("a.example", "b.example");
        let line = lines.find("a.example", "b.example").unwrap();
        line.order(Order::Begin(None));
        line.order(Order::Send(Parcel::Row(1), Bytes::new()));
        assert_eq!(offered.line.orders().await.len(), 2);
        offered.line.ready(Some(0));
        assert_eq!(line.news().await, News::Ready(Some(0)));
        offered.line.congested(true);
        offered.line.congested(true);
        assert_eq!(line.news().await, News::Congested(true));
        line.order(Order::Send(Parcel::Row(2), Bytes::new()));
        offered.line.end(None, vec![Parcel::Row(1)]);
        line.order(Order::Send(Parcel::Row(3), Bytes::new()));
        drop(offered);
        assert!(lines.find("a.example", "b.example").is_none());
        let all = [1, 2, 3].map(Parcel::Row).to_vec();
        assert_eq!(line.news().await, News::Ended(None, all));
    }

    #[tokio::test]
    async fn the_latest_stream_is_offered_and_an_older_one_does_not_take_it_along() {
        let lines = Lines::default();
        let old = lines.offer("a.example", "b.example");
        let new = lines.offer("a.example", "b.example");
        drop(old);
        let found = lines.find("a.example", "b.example").unwrap();
        assert!(Arc::ptr_eq(&found, &new.line));
        assert!(lines.find("c.example", "b.example").is_none());
        drop(new);
        assert_eq!(
            found.news().await,
            News::Ended(Some("the stream is gone".to_owned()), Vec::new())
        );
    }
}
