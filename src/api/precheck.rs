//! A layer that looks at the head of a request before anything else does, and may answer it.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::response::Response;
use futures_util::future::Either;
use tower::{Layer, Service};

/// Looks at a request; returns the answer to one that is refused.
pub(super) type Check = fn(&mut Request) -> Option<Response>;

/// Applies a check to the requests of the service inside.
#[derive(Clone, Copy, Debug)]
pub(super) struct CheckLayer(pub(super) Check);

impl<S> Layer<S> for CheckLayer {
    type Service = Checked<S>;

    fn layer(&self, inner: S) -> Checked<S> {
        Checked { inner, check: self.0 }
    }
}

/// The service of [`CheckLayer`].
#[derive(Clone, Debug)]
pub(super) struct Checked<S> {
    inner: S,
    check: Check,
}

impl<S> Service<Request> for Checked<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<S::Future, Ready<Result<Response, Infallible>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        match (self.check)(&mut request) {
            Some(refused) => Either::Right(ready(Ok(refused))),
            None => Either::Left(self.inner.call(request)),
        }
    }
}
