//! A connection that speaks HTTP/1.1: its bytes, in the clear or through TLS, under limits that the HTTP library does not have.
//!
//! # Why
//! The library's time-out for a request's head covers the first request of a connection only, a head may take 128 KiB there, and an
//! answer that nobody reads waits for ever. All three are free room for strangers.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_rustls::server::TlsStream;

use super::visitors::Visit;

/// A request's head must be there within this.
pub(super) const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// A longer head is refused.
pub(super) const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Something of an answer that waits must be read within this.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// Idle connections close after this.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(75);
/// What a client hears whose head took too long.
const TOO_LATE: &[u8] = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
/// No byte of this may stand in a head: the library refuses it with 400, and lets the client read that.
const NEVER_IN_A_HEAD: u8 = 0;

/// The bytes of a connection.
pub(super) enum Stream {
    /// As they are.
    Plain(TcpStream),
    /// Encrypted.
    Tls(Box<TlsStream<TcpStream>>),
}

/// The same, with what is known of the requests in it.
pub(super) struct Line {
    stream: Stream,
    visit: Arc<Visit>,
    /// How many requests had begun when the head that is being read began.
    heads: u32,
    /// Bytes of that head, and perhaps of what follows it.
    head_bytes: usize,
    excess: Excess,
    read_until: Deadline,
    write_until: Deadline,
}

/// What became of a head that seems too long.
enum Excess {
    Unseen,
    Seen,
    Refused,
}

/// A time-out that is set and lifted many times; `at` says until when, and `None` for ever.
#[derive(Default)]
struct Deadline {
    at: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Line {
    pub(super) fn new(stream: Stream, visit: Arc<Visit>) -> Self {
        let (read_until, write_until) = (Deadline::default(), Deadline::default());
        Self { stream, visit, heads: 0, head_bytes: 0, excess: Excess::Unseen, read_until, write_until }
    }

    /// Whose connection it is.
    pub(super) fn visit(&self) -> &Arc<Visit> {
        &self.visit
    }

    /// Whether a head is awaited or being read, rather than a body. The counts begin anew when a new request has begun.
    fn in_head(&mut self) -> bool {
        let began = self.visit.began();
        if began != self.heads {
            (self.heads, self.head_bytes, self.excess) = (began, 0, Excess::Unseen);
            self.read_until.at = None;
        }
        self.visit.requests() == 0
    }

    /// Reads some of a head, or waits for one.
    fn poll_head(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.head_bytes >= HEAD_BYTES_MAX {
            match self.excess {
                // What came may be a whole head and a body behind it: the library looks once nothing more comes.
                Excess::Unseen => {
                    self.excess = Excess::Seen;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Excess::Seen => {
                    self.excess = Excess::Refused;
                    out.put_slice(&[NEVER_IN_A_HEAD]);
                    return Poll::Ready(Ok(()));
                }
                // It is thrown away, as is the rest of a body whose request was answered before it had come.
                Excess::Refused => {}
            }
        }
        let before = out.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, out)?;
        let bytes = out.filled().len() - before;
        let first = self.visit.began() == 0;
        // The first head's time began with the connection.
        if self.read_until.at.is_none() || (self.head_bytes == 0 && bytes > 0 && !first) {
            self.read_until.at = Some(Instant::now() + if first || bytes > 0 { HEAD_WITHIN } else { IDLE_MAX });
        }
        self.head_bytes += bytes;
        if read.is_pending() && self.read_until.poll(cx).is_ready() {
            // No answer is under way, so this is not in the midst of one. Who does not listen need not hear it.
            let _heard = Pin::new(&mut self.stream).poll_write(cx, TOO_LATE)?;
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read.map(Ok)
    }

    /// What a write came to, unless it waits for too long.
    fn written<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write_until.at = None;
            return written;
        }
        self.write_until.at.get_or_insert_with(|| Instant::now() + WRITE_WITHIN);
        self.write_until.poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Deadline {
    /// Ready once it has passed. The timer is moved as seldom as can be: most requests come and go before it would ring.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() > at {
            timer.as_mut().reset(at);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= at {
                return Poll::Ready(());
            }
            timer.as_mut().reset(at);
        }
        Poll::Pending
    }
}

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.in_head() { self.poll_head(cx, out) } else { Pin::new(&mut self.stream).poll_read(cx, out) }
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.written(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, out),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, out),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
