//! How long a client may take for the headers of a request, and for taking its answer. hyper has one time for waiting for
//! a request and for reading it; here the first byte makes the difference: a connection may be idle for long, but must
//! not dawdle. For an answer that is not taken hyper has no time at all.

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
    /// A connection whose bytes are counted, and that breaks off when its client takes none for too long.
    pub(super) struct CountedIo<I> {
        #[pin]
        io: I,
        received: BytesReceived,
        patience: Duration,
        stalled: Option<Pin<Box<tokio::time::Sleep>>>,
    }
}

impl<I> CountedIo<I> {
    /// Counts what is `received`; bytes that cannot be written for `patience` end the connection.
    pub(super) fn new(io: I, received: BytesReceived, patience: Duration) -> Self {
        Self {
            io,
            received,
            patience,
            stalled: None,
        }
    }
}

/// What came of writing: after `patience` without progress, an error.
fn in_time<T>(
    written: Poll<Result<T>>,
    stalled: &mut Option<Pin<Box<tokio::time::Sleep>>>,
    patience: Duration,
    context: &mut Context<'_>,
) -> Poll<Result<T>> {
    if written.is_ready() {
        *stalled = None;
        return written;
    }
    let sleep = stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
    sleep.as_mut().poll(context).map(|()| {
        let why = format!(
            "the client took nothing for {} s (server.idle_seconds)",
            patience.as_secs()
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
        in_time(written, this.stalled, *this.patience, context)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let this = self.project();
        let flushed = this.io.poll_flush(context);
        in_time(flushed, this.stalled, *this.patience, context)
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
        in_time(written, this.stalled, *this.patience, context)
    }
}

/// hyper's clock for the headers of requests on one connection: set for the idle time, it goes off earlier once the
/// first byte has come.
#[derive(Clone, Debug)]
pub(super) struct HeaderTimer {
    pub(super) received: BytesReceived,
    pub(super) header: Duration,
}

impl Timer for HeaderTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(HeaderSleep {
            timer: self.clone(),
            before: self.received.bytes(),
            begun: false,
            sleep: tokio::time::sleep_until(deadline.into()),
        })
    }
}

pin_project! {
    struct HeaderSleep {
        timer: HeaderTimer,
        before: usize,
        begun: bool,
        #[pin]
        sleep: tokio::time::Sleep,
    }
}

impl Sleep for HeaderSleep {}

impl Future for HeaderSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        if !*this.begun && this.timer.received.bytes() != *this.before {
            *this.begun = true;
            let end = tokio::time::Instant::now() + this.timer.header;
            this.sleep.as_mut().reset(end);
        }
        this.sleep.poll(context)
    }
}
