//! Pumps a stream's machine over whatever carries bytes: the only loop in which a machine meets
//! the clock and the wire.
//!
//! [`Pump::step`] is cancel-safe, because all that it knows lies in the pump; so a stream's task
//! selects between it, its queue and the word to stop. The machine is asked first whether it
//! wants to read at all; what it has to send is gathered, and written in one piece when there is
//! nothing left to read.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime};

use bytes::{Buf as _, BytesMut};
use comity_xmpp::frame::{Framing, Limits, TcpFraming};
use comity_xmpp::machine::{Machine, Now};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::Sleep;

/// Bytes taken from the wire in one call. On the stack, so that an idle stream holds no buffer.
const READ_BYTES: usize = 8 * 1024;
/// With this much unwritten the pump asks for nothing more to write, and stops reading: a peer
/// that does not read our answers gets no more of them.
const UNWRITTEN_BYTES: usize = 64 * 1024;
/// A buffer that has grown beyond this is given back once it is empty.
const KEPT_BYTES: usize = 512;
/// How long a peer may leave what we write unread before it counts as gone.
const STALL: Duration = Duration::from_secs(60);

/// What a peer still sends after our end is read and thrown away, so many pieces of it.
const LINGER_READS: usize = 256;

/// What a step of the pump came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<E> {
    Event(E),
    /// All that was there to be written is on the wire, and there is room for more.
    Written,
}

/// Why no step will ever come again.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    #[error("the peer closed the connection")]
    Eof,
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    #[error("the peer has left unread what we wrote, for {} s", .0.as_secs())]
    Stalled(Duration),
    #[error("a frame of our own cannot be written: {0}")]
    Unwritable(comity_xmpp::error::StreamError),
}

pub struct Pump<S, M, F = TcpFraming> {
    stream: S,
    machine: M,
    framing: F,
    out: BytesMut,
    /// Something was written since the last flush.
    unflushed: bool,
    /// Something was gathered since everything was last written.
    writing: bool,
    congested: bool,
    /// Since when a write has been waiting for the peer.
    waiting_since: Option<Instant>,
    stall: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S, M> Pump<S, M>
where
    S: AsyncRead + AsyncWrite + Unpin,
    M: Machine,
{
    /// Over TCP, bare or inside TLS.
    pub fn new(stream: S, machine: M, limits: Limits) -> Self {
        Self::framed(stream, machine, TcpFraming::new(limits))
    }
}

impl<S, M, F> Pump<S, M, F>
where
    S: AsyncRead + AsyncWrite + Unpin,
    M: Machine,
    F: Framing,
{
    pub fn framed(stream: S, machine: M, framing: F) -> Self {
        Self {
            stream,
            machine,
            framing,
            out: BytesMut::new(),
            unflushed: false,
            writing: false,
            congested: false,
            waiting_since: None,
            stall: STALL,
            timer: None,
        }
    }

    /// The next event. Cancel-safe.
    pub async fn step(&mut self) -> Result<Step<M::Event>, Ended> {
        std::future::poll_fn(|cx| self.poll_step(cx)).await
    }

    pub fn command(&mut self, command: M::Command) {
        self.machine.command(command, now());
    }

    #[must_use]
    pub fn machine(&self) -> &M {
        &self.machine
    }

    pub fn machine_mut(&mut self) -> &mut M {
        &mut self.machine
    }

    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// False while so much is unwritten that nothing should be added.
    #[must_use]
    pub fn writable(&self) -> bool {
        !self.congested
    }

    /// A new stream begins on the same transport (RFC 6120 §4.3.3): the next frame is a header.
    pub fn restart(&mut self) {
        self.framing.restart(false);
    }

    pub fn set_limits(&mut self, limits: Limits) {
        self.framing.set_limits(limits);
    }

    /// Another machine goes on where this one ends, on the same stream; None where it cannot.
    pub fn try_with_machine<N: Machine>(
        self,
        make: impl FnOnce(M) -> Option<N>,
    ) -> Option<Pump<S, N, F>> {
        Some(Pump {
            stream: self.stream,
            machine: make(self.machine)?,
            framing: self.framing,
            out: self.out,
            unflushed: self.unflushed,
            writing: self.writing,
            congested: self.congested,
            waiting_since: self.waiting_since,
            stall: self.stall,
            timer: self.timer,
        })
    }

    /// Everything the machine has said is on the wire.
    #[must_use]
    pub fn drained(&self) -> bool {
        self.out.is_empty() && !self.unflushed
    }

    /// Writes all there is to write.
    pub async fn flush(&mut self) -> Result<(), Ended> {
        std::future::poll_fn(|cx| {
            loop {
                self.gather()?;
                if self.out.is_empty() && !self.unflushed {
                    return Poll::Ready(Ok(()));
                }
                ready!(self.poll_write(cx))?;
            }
        })
        .await
    }

    /// Gives up the stream and the machine, for TLS to be put between them. What was read is
    /// discarded with the framing: RFC 6120 §5.4.3.3, bytes sent in clear after `<starttls/>`
    /// are never processed. Call `flush` first.
    pub fn into_parts(self) -> (S, M) {
        (self.stream, self.machine)
    }

    /// Writes what there is, closes our direction and waits for the peer to close its own, for at
    /// most `patience`; gives the machine back. Without that wait the system would answer what
    /// the peer still sends with a reset, and our last words might be lost with it.
    pub async fn shutdown(mut self, patience: Duration) -> M {
        let stream = &mut self.stream;
        let machine = &mut self.machine;
        let framing = &mut self.framing;
        let closing = async {
            loop {
                while let Some(frame) = machine.poll_transmit() {
                    framing.put(&frame, &mut self.out).ok()?;
                }
                if self.out.is_empty() {
                    break;
                }
                stream.write_all_buf(&mut self.out).await.ok()?;
            }
            stream.shutdown().await.ok()?;
            let mut rest = [0; 512];
            for _ in 0..LINGER_READS {
                if stream.read(&mut rest).await.ok()? == 0 {
                    break;
                }
            }
            Some(())
        };
        // Whoever does not read his farewell is left without one.
        let _ = tokio::time::timeout(patience, Box::pin(closing)).await;
        self.machine
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Result<Step<M::Event>, Ended>> {
        // One moment for all that one call takes in: the clocks cost as much as a small frame.
        let mut moment = None;
        loop {
            if let Some(event) = self.machine.poll_event() {
                return Poll::Ready(Ok(Step::Event(event)));
            }
            self.gather()?;
            if self.reading()
                && let Some(frame) = self.framing.next_frame()
            {
                let moment = *moment.get_or_insert_with(now);
                self.machine.receive(frame, moment);
                continue;
            }
            if let Poll::Ready(written) = self.poll_write(cx) {
                written?;
                self.congested = false;
                if std::mem::take(&mut self.writing) {
                    return Poll::Ready(Ok(Step::Written));
                }
            }
            if self.reading() && self.poll_read(cx)?.is_ready() {
                continue;
            }
            match self.poll_timer(cx)? {
                Poll::Ready(()) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn reading(&self) -> bool {
        (!self.congested || self.machine.hears_while_congested()) && self.machine.ready()
    }

    /// Takes from the machine what it has to send, up to a bound.
    fn gather(&mut self) -> Result<(), Ended> {
        let before = self.out.len();
        self.framing.put_control(&mut self.out);
        self.writing |= self.out.len() > before;
        while self.out.len() < UNWRITTEN_BYTES {
            let Some(frame) = self.machine.poll_transmit() else {
                return Ok(());
            };
            (self.framing.put(&frame, &mut self.out)).map_err(Ended::Unwritable)?;
            self.writing = true;
        }
        self.congested = true;
        Ok(())
    }

    /// Ready once everything gathered is on the wire.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        while !self.out.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.out) {
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err(Ended::Broken(io::ErrorKind::WriteZero.into())));
                }
                Poll::Ready(Ok(written)) => {
                    self.out.advance(written);
                    self.unflushed = true;
                    self.waiting_since = None;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Ended::Broken(error))),
                Poll::Pending => {
                    self.waiting_since.get_or_insert_with(|| now().instant);
                    return Poll::Pending;
                }
            }
        }
        if self.out.capacity() > KEPT_BYTES {
            self.out = BytesMut::new();
        }
        if self.unflushed {
            match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Ended::Broken(error))),
                Poll::Pending => {
                    self.waiting_since.get_or_insert_with(|| now().instant);
                    return Poll::Pending;
                }
            }
        }
        self.waiting_since = None;
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Ended> {
        let mut bytes = [MaybeUninit::uninit(); READ_BYTES];
        let mut read = ReadBuf::uninit(&mut bytes);
        match Pin::new(&mut self.stream).poll_read(cx, &mut read) {
            Poll::Pending => {
                let buffer = self.framing.buffer();
                if buffer.is_empty() && buffer.capacity() > KEPT_BYTES {
                    *buffer = BytesMut::new();
                }
                Ok(Poll::Pending)
            }
            Poll::Ready(Ok(())) if read.filled().is_empty() => Err(Ended::Eof),
            Poll::Ready(Ok(())) => {
                self.framing.buffer().extend_from_slice(read.filled());
                Ok(Poll::Ready(()))
            }
            Poll::Ready(Err(error)) => Err(Ended::Broken(error)),
        }
    }

    /// Ready when the machine's deadline has passed and it has been told so.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Ended> {
        let stall = self.waiting_since.map(|since| since + self.stall);
        let wanted = self.machine.poll_timeout();
        let Some(deadline) = stall.into_iter().chain(wanted).min() else {
            return Ok(Poll::Pending);
        };
        let deadline = tokio::time::Instant::from_std(deadline);
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        if timer.as_mut().poll(cx).is_pending() {
            return Ok(Poll::Pending);
        }
        let now = now();
        if stall.is_some_and(|stall| stall <= now.instant) {
            return Err(Ended::Stalled(self.stall));
        }
        self.machine.timeout(now);
        Ok(Poll::Ready(()))
    }
}

/// This moment.
#[must_use]
pub fn now() -> Now {
    Now {
        instant: tokio::time::Instant::now().into_std(),
        wall: SystemTime::now(),
    }
}

#[cfg(test)]
mod tests;
