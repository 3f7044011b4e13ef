//! The time that a client may take for the body of a request. Bulk has its own: see `[streams]`.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Sleep;

/// The route whose bodies may take as long as they like.
const BULK: &str = "/v1/models/{model}/scores";

/// The body did not come in time.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the body did not arrive within {} s (server.body_seconds)", .0.as_secs())]
pub(super) struct TooSlow(Duration);

/// Gives the body of every request so much time.
pub(super) async fn limit(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    let bulk = request
        .extensions()
        .get::<MatchedPath>()
        .is_some_and(|path| path.as_str() == BULK);
    if bulk || HttpBody::is_end_stream(request.body()) {
        return next.run(request).await;
    }
    let timed = |body: Body| {
        Body::new(Timed {
            body,
            limit,
            sleep: tokio::time::sleep(limit),
        })
    };
    next.run(request.map(timed)).await
}

pin_project! {
    struct Timed {
        body: Body,
        limit: Duration,
        #[pin]
        sleep: Sleep,
    }
}

impl HttpBody for Timed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.project();
        let mut frame = this.body.frame();
        if let Poll::Ready(frame) = Pin::new(&mut frame).poll(context) {
            return Poll::Ready(frame);
        }
        this.sleep
            .poll(context)
            .map(|()| Some(Err(axum::Error::new(TooSlow(*this.limit)))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
