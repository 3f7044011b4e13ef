//! Timeouts that hyper lacks: for request headers once their first byte has arrived (`server.header_seconds`), and for
//! clients that do not read their responses (`server.idle_seconds`). hyper has one timeout for idle connections and
//! headers, and none for writes.

use std::future::Future;
use std::io::{ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that a client has sent on a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct BytesReceived(Arc<AtomicUsize>);

impl BytesReceived {
    pub(super) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

pin_project! {
    /// A connection that counts received bytes, and fails when its client reads nothing for too long.
    pub(super) struct CountedIo<I> {
        #[pin]
        io: I,
        received: BytesReceived,
        write_timeout: Duration,
        stalled: Option<Pin<Box<tokio::time::Sleep>>>,
    }
}

impl<I> CountedIo<I> {
    /// Counts bytes in `received`; a write without progress for `write_timeout` is an error.
    pub(super) fn new(io: I, received: BytesReceived, write_timeout: Duration) -> Self {
        Self {
            io,
            received,
            write_timeout,
            stalled: None,
        }
    }
}

/// Returns the result of a write, or an error after `timeout` without progress.
fn with_timeout<T>(
    written: Poll<Result<T>>,
    stalled: &mut Option<Pin<Box<tokio::time::Sleep>>>,
    timeout: Duration,
    context: &mut Context<'_>,
) -> Poll<Result<T>> {
    if written.is_ready() {
        *stalled = None;
        return written;
    }
    let sleep = stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
    sleep.as_mut().poll(context).map(|()| {
        let why = format!(
            "the client read nothing for {} s (server.idle_seconds)",
            timeout.as_secs()
        );
        Err(std::io::Error::new(ErrorKind::TimedOut, why))
    })
}

impl<I: AsyncRead> AsyncRead for CountedIo<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let this = self.project();
        let before = buffer.filled().len();
        let read = this.io.poll_read(context, buffer);
        let bytes = buffer.filled().len() - before;
        this.received.0.fetch_add(bytes, Ordering::Relaxed);
        read
    }
}

impl<I: AsyncWrite> AsyncWrite for CountedIo<I> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let this = self.project();
        let written = this.io.poll_write(context, bytes);
        with_timeout(written, this.stalled, *this.write_timeout, context)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let this = self.project();
        let flushed = this.io.poll_flush(context);
        with_timeout(flushed, this.stalled, *this.write_timeout, context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.project().io.poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let this = self.project();
        let written = this.io.poll_write_vectored(context, slices);
        with_timeout(written, this.stalled, *this.write_timeout, context)
    }
}

/// hyper's timer for request headers on one connection. hyper sets it to the idle timeout; the first byte shortens it
/// to the header timeout.
#[derive(Clone, Debug)]
pub(super) struct HeaderTimer {
    pub(super) received: BytesReceived,
    pub(super) header_timeout: Duration,
}

impl Timer for HeaderTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(HeaderSleep {
            timer: self.clone(),
            bytes_at_start: self.received.bytes(),
            started: false,
            sleep: tokio::time::sleep_until(deadline.into()),
        })
    }
}

pin_project! {
    struct HeaderSleep {
        timer: HeaderTimer,
        bytes_at_start: usize,
        started: bool,
        #[pin]
        sleep: tokio::time::Sleep,
    }
}

impl Sleep for HeaderSleep {}

impl Future for HeaderSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        if !*this.started && this.timer.received.bytes() != *this.bytes_at_start {
            *this.started = true;
            let end = tokio::time::Instant::now() + this.timer.header_timeout;
            this.sleep.as_mut().reset(end);
        }
        this.sleep.poll(context)
    }
}
