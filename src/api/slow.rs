//! The time that a client may take for the body of a request. What is read as it comes, bulk and streams, has `[streams]`
//! for that.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

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

/// Gives the bodies of a router their time.
pub(super) fn limited(router: Router, app: &App, tell: Tell, failure: fn(TooSlow) -> axum::Error) -> Router {
    let limit = Limit {
        time: Duration::from_secs(app.config.server.body_seconds),
        stop: app.closing.clone(),
        tell,
        failure,
    };
    router.layer(middleware::from_fn_with_state(Arc::new(limit), pass))
}

#[derive(Debug)]
struct Limit {
    time: Duration,
    stop: CancellationToken,
    tell: Tell,
    failure: fn(TooSlow) -> axum::Error,
}

async fn pass(State(limit): State<Arc<Limit>>, request: Request, next: Next) -> Response {
    if HttpBody::is_end_stream(request.body()) {
        return next.run(request).await;
    }
    let route = request.extensions().get::<MatchedPath>();
    let request = match (limit.tell)(route.map(MatchedPath::as_str), request.uri().path()) {
        Patience::Whole => request.map(|body| {
            Body::new(Timed {
                body,
                sleep: tokio::time::sleep(limit.time),
                limit,
            })
        }),
        Patience::Conversation => request.map(|body| {
            let stop = limit.stop.clone().cancelled_owned();
            Body::new(Ending { body, stop })
        }),
        Patience::Stream => request,
    };
    next.run(request).await
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
