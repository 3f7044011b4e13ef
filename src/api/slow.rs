//! The time that a client may take for the body of a request. What is read as it comes, bulk and streams, has `[streams]`
//! for that.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tower::util::MapRequestLayer;

use crate::app::App;

/// The body did not come in time.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the body did not arrive within {} s (server.body_seconds)", .0.as_secs())]
pub(super) struct TooSlow(Duration);

/// How long a body may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// As the settings say for one that is read whole.
    Whole,
    /// As long as its handler likes.
    Stream,
    /// As long as the server runs: what asks on and on has no other end.
    Conversation,
}

/// Tells bodies apart by their route and path.
pub(super) type Tell = fn(Option<&str>, &str) -> Patience;

/// Gives the bodies of requests their time.
pub(super) fn layer(
    app: &App,
    tell: Tell,
    failure: fn(TooSlow) -> axum::Error,
) -> MapRequestLayer<impl Fn(Request) -> Request + Clone + use<>> {
    let limit = Arc::new(Limit {
        time: Duration::from_secs(app.config.server.body_seconds),
        stop: app.closing.clone(),
        tell,
        failure,
    });
    MapRequestLayer::new(move |request| limit.apply(request))
}

#[derive(Debug)]
struct Limit {
    time: Duration,
    stop: CancellationToken,
    tell: Tell,
    failure: fn(TooSlow) -> axum::Error,
}

impl Limit {
    fn apply(self: &Arc<Self>, request: Request) -> Request {
        if HttpBody::is_end_stream(request.body()) {
            return request;
        }
        let route = request.extensions().get::<MatchedPath>();
        match (self.tell)(route.map(MatchedPath::as_str), request.uri().path()) {
            Patience::Whole => request.map(|body| {
                Body::new(Timed {
                    body,
                    sleep: tokio::time::sleep(self.time),
                    limit: self.clone(),
                })
            }),
            Patience::Conversation => request.map(|body| {
                let stop = self.stop.clone().cancelled_owned();
                Body::new(Ending { body, stop })
            }),
            Patience::Stream => request,
        }
    }
}

type Polled = Poll<Option<Result<Frame<Bytes>, axum::Error>>>;

fn poll(body: &mut Body, context: &mut Context<'_>) -> Polled {
    Pin::new(&mut body.frame()).poll(context)
}

pin_project! {
    /// A body that fails when its time is up.
    struct Timed {
        body: Body,
        limit: Arc<Limit>,
        #[pin]
        sleep: Sleep,
    }
}

impl HttpBody for Timed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        let this = self.project();
        if let Poll::Ready(frame) = poll(this.body, context) {
            return Poll::Ready(frame);
        }
        let failure = || (this.limit.failure)(TooSlow(this.limit.time));
        this.sleep.poll(context).map(|()| Some(Err(failure())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

pin_project! {
    /// A body that ends when the server stops.
    struct Ending {
        body: Body,
        #[pin]
        stop: WaitForCancellationFutureOwned,
    }
}

impl HttpBody for Ending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        let this = self.project();
        if let Poll::Ready(frame) = poll(this.body, context) {
            return Poll::Ready(frame);
        }
        this.stop.poll(context).map(|()| None)
    }
}
