//! The time that a client may take for the body of a request. What is read as it comes, bulk and streams, has `[streams]`
//! for that.

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

/// The body did not come in time.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the body did not arrive within {} s (server.body_seconds)", .0.as_secs())]
pub(super) struct BodyTooSlow(Duration);

/// How long a body may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyTimeout {
    /// As the settings say for one that is read whole.
    Whole,
    /// As long as its handler likes.
    Stream,
    /// As long as the server runs: what asks on and on has no other end.
    Conversation,
}

/// Tells bodies apart by their route and path.
pub(super) type Tell = fn(Option<&str>, &str) -> BodyTimeout;

/// Gives the bodies of requests their time.
pub(super) fn layer(
    app: &App,
    tell: Tell,
    failure: fn(BodyTooSlow) -> axum::Error,
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
    failure: fn(BodyTooSlow) -> axum::Error,
}

impl Limit {
    fn apply(self: &Arc<Self>, request: Request) -> Request {
        if HttpBody::is_end_stream(request.body()) {
            return request;
        }
        let route = request.extensions().get::<MatchedPath>();
        match (self.tell)(route.map(MatchedPath::as_str), request.uri().path()) {
            BodyTimeout::Whole => {
                let limit = self.clone();
                // The time begins when the body is first waited for; most need not be.
                let end = async move {
                    tokio::time::sleep(limit.time).await;
                    Some((limit.failure)(BodyTooSlow(limit.time)))
                };
                request.map(|body| until(body, end))
            }
            BodyTimeout::Conversation => {
                let stopped = self.stop.clone().cancelled_owned();
                let end = async move {
                    stopped.await;
                    None
                };
                request.map(|body| until(body, end))
            }
            BodyTimeout::Stream => request,
        }
    }
}

/// The body, up to that end.
fn until(body: Body, end: impl Future<Output = End> + Send + 'static) -> Body {
    Body::new(Until {
        body,
        end,
        ended: false,
    })
}

/// What ends a body early: an error, or nothing more.
type End = Option<axum::Error>;

pin_project! {
    /// A body that ends at the latest when `end` does.
    struct Until<E> {
        body: Body,
        #[pin]
        end: E,
        ended: bool,
    }
}

impl<E: Future<Output = End>> HttpBody for Until<E> {
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
