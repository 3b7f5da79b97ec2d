//! Bodies that are larger than anybody wants in memory: they come and go piece by piece.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::sync::mpsc;

/// Pieces of an answer that wait for the visitor.
const QUEUE: usize = 2;

/// Octets that pieces have moved over one connection: what moves on may take its time.
#[derive(Clone, Debug, Default)]
pub(super) struct Moved(Arc<AtomicU64>);

impl Moved {
    fn add(&self, octets: usize) {
        let octets = u64::try_from(octets).unwrap_or(u64::MAX);
        self.0.fetch_add(octets, Ordering::Relaxed);
    }

    /// Since it was last asked.
    pub(super) fn take(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

/// The body of a request, as it comes.
pub struct Pieces {
    body: Incoming,
    patience: Duration,
    moved: Moved,
}

impl Pieces {
    pub(super) fn new(body: Incoming, patience: Duration, moved: Moved) -> Self {
        Self {
            body,
            patience,
            moved,
        }
    }

    /// How many octets it has, as its head says (RFC 9112 §6.2).
    #[must_use]
    pub fn octets(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// The next, never empty; none behind the last.
    ///
    /// # Errors
    /// Where the connection broke, or nothing came for too long.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let frame = tokio::time::timeout(self.patience, self.body.frame()).await;
            let frame = frame.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
            let Some(frame) = frame.transpose().map_err(io::Error::other)? else {
                return Ok(None);
            };
            // Trailers mean nothing here.
            if let Ok(data) = frame.into_data()
                && !data.is_empty()
            {
                self.moved.add(data.len());
                return Ok(Some(data));
            }
        }
    }
}

/// The body of an answer.
pub struct Body(Inner);

enum Inner {
    Whole(Bytes),
    Pieces {
        left: u64,
        next: mpsc::Receiver<io::Result<Bytes>>,
        moved: Moved,
    },
}

/// Where the pieces of an answer go in: as many octets as were promised, and no more.
pub type PieceSender = mpsc::Sender<io::Result<Bytes>>;

impl Body {
    /// One of so many octets, which go into the sender; where fewer do, the connection breaks, and
    /// the visitor knows.
    #[must_use]
    pub fn pieces(octets: u64) -> (PieceSender, Self) {
        let (sender, next) = mpsc::channel(QUEUE);
        let moved = Moved::default();
        let left = octets;
        (sender, Self(Inner::Pieces { left, next, moved }))
    }

    /// All of it, unless it comes in pieces.
    #[must_use]
    pub fn whole(&self) -> Option<&Bytes> {
        match &self.0 {
            Inner::Whole(whole) => Some(whole),
            Inner::Pieces { .. } => None,
        }
    }

    pub(super) fn counted(mut self, by: &Moved) -> Self {
        if let Inner::Pieces { moved, .. } = &mut self.0 {
            *moved = by.clone();
        }
        self
    }
}

impl From<Bytes> for Body {
    fn from(whole: Bytes) -> Self {
        Self(Inner::Whole(whole))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.0 {
            Inner::Whole(whole) if whole.is_empty() => Poll::Ready(None),
            Inner::Whole(whole) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(whole))))),
            Inner::Pieces { left: 0, .. } => Poll::Ready(None),
            Inner::Pieces { left, next, moved } => {
                next.poll_recv(context).map(|piece| match piece {
                    Some(Ok(piece)) => {
                        let octets = u64::try_from(piece.len()).unwrap_or(u64::MAX);
                        let rest = left.checked_sub(octets).ok_or_else(too_many);
                        Some(rest.map(|rest| {
                            *left = rest;
                            moved.add(piece.len());
                            Frame::data(piece)
                        }))
                    }
                    Some(Err(error)) => Some(Err(error)),
                    None => Some(Err(io::ErrorKind::UnexpectedEof.into())),
                })
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Whole(whole) => whole.is_empty(),
            Inner::Pieces { left, .. } => *left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Whole(whole) => SizeHint::with_exact(whole.len() as u64),
            Inner::Pieces { left, .. } => SizeHint::with_exact(*left),
        }
    }
}

fn too_many() -> io::Error {
    io::Error::other("more octets than were promised")
}
