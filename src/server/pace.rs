//! How long a client may take for the headers of a request. hyper has one time for waiting for a request and for reading
//! it; here the first byte makes the difference: a connection may be idle for long, but must not dawdle.

use std::future::Future;
use std::io::{IoSlice, Result};
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
pub(super) struct Received(Arc<AtomicUsize>);

impl Received {
    pub(super) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

pin_project! {
    /// A connection whose bytes are counted.
    pub(super) struct Counted<I> {
        #[pin]
        pub(super) io: I,
        pub(super) received: Received,
    }
}

impl<I: AsyncRead> AsyncRead for Counted<I> {
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

impl<I: AsyncWrite> AsyncWrite for Counted<I> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        self.project().io.poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.project().io.poll_flush(context)
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
        self.project().io.poll_write_vectored(context, slices)
    }
}

/// hyper's clock for the headers of requests on one connection: set for the idle time, it goes off earlier once the
/// first byte has come.
#[derive(Clone, Debug)]
pub(super) struct HeaderTimer {
    pub(super) received: Received,
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
