//! Timeout for reading a request body (`server.body_seconds`). Bulk and streaming endpoints have their own limits in
//! `[streams]`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio_util::sync::CancellationToken;
use tower::util::MapRequestLayer;

use crate::app::App;

/// The body did not arrive in time.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the body did not arrive within {} s (server.body_seconds)", .0.as_secs())]
pub(super) struct BodyTooSlow(Duration);

/// Which timeout applies to a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyTimeout {
    /// `server.body_seconds`, for a body that is read whole.
    Whole,
    /// None here: the handler applies `[streams]`.
    Stream,
    /// Until the server stops: a conversation has no other end.
    Conversation,
}

/// Selects the timeout from the matched route and the path.
pub(super) type SelectTimeout = fn(Option<&str>, &str) -> BodyTimeout;

/// Returns a layer that ends request bodies at their timeout; `failure` converts the error for the protocol.
pub(super) fn layer(
    app: &App,
    select: SelectTimeout,
    failure: fn(BodyTooSlow) -> axum::Error,
) -> MapRequestLayer<impl Fn(Request) -> Request + Clone + use<>> {
    let limit = Arc::new(BodyLimit {
        time: Duration::from_secs(app.config.server.body_seconds),
        stop: app.closing.clone(),
        select,
        failure,
    });
    MapRequestLayer::new(move |request| limit.apply(request))
}

#[derive(Debug)]
struct BodyLimit {
    time: Duration,
    stop: CancellationToken,
    select: SelectTimeout,
    failure: fn(BodyTooSlow) -> axum::Error,
}

impl BodyLimit {
    fn apply(self: &Arc<Self>, request: Request) -> Request {
        if HttpBody::is_end_stream(request.body()) {
            return request;
        }
        let route = request.extensions().get::<MatchedPath>();
        match (self.select)(route.map(MatchedPath::as_str), request.uri().path()) {
            BodyTimeout::Whole => {
                let limit = self.clone();
                // The clock starts at the first wait for data; most bodies arrive with the headers.
                let end = async move {
                    tokio::time::sleep(limit.time).await;
                    Some((limit.failure)(BodyTooSlow(limit.time)))
                };
                request.map(|body| end_body_at(body, end))
            }
            BodyTimeout::Conversation => {
                let stopped = self.stop.clone().cancelled_owned();
                let end = async move {
                    stopped.await;
                    None
                };
                request.map(|body| end_body_at(body, end))
            }
            BodyTimeout::Stream => request,
        }
    }
}

/// Wraps a body so that it ends at the latest when `end` resolves.
fn end_body_at(body: Body, end: impl Future<Output = EarlyEnd> + Send + 'static) -> Body {
    Body::new(TimedBody {
        body,
        end,
        ended: false,
    })
}

/// How a body ends early: with an error, or as if complete.
type EarlyEnd = Option<axum::Error>;

pin_project! {
    /// A body that ends at the latest when `end` resolves.
    struct TimedBody<E> {
        body: Body,
        #[pin]
        end: E,
        ended: bool,
    }
}

impl<E: Future<Output = EarlyEnd>> HttpBody for TimedBody<E> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.project();
        if *this.ended {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = Pin::new(this.body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        this.end.poll(context).map(|end| {
            *this.ended = true;
            end.map(Err)
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
