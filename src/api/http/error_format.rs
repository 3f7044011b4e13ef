//! Formats errors for the API of the path: everything under `/v2` answers `{"error": …}`, as clients of the Open Inference
//! Protocol expect, and everything else a problem. One layer does this for all, so that errors of routing, keys, encodings
//! and handlers look the same.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::Json;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderValue, Request, StatusCode, Version, header};
use axum::response::{IntoResponse as _, Response};
use pin_project_lite::pin_project;
use serde::Serialize;
use tower::{BoxError, Layer, Service};
use utoipa::ToSchema;

use super::problem::{self, Problem};

/// Why a request of the Open Inference Protocol failed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InferenceError)]
pub(super) struct InferenceErrorBody {
    /// What is wrong with this request, and how to fix it.
    #[schema(example = "no model `chrun`; did you mean `churn`?")]
    error: String,
}

/// Formats the errors of the service inside.
#[derive(Clone, Copy, Debug)]
pub(super) struct ErrorFormatLayer;

impl<S> Layer<S> for ErrorFormatLayer {
    type Service = ErrorFormat<S>;

    fn layer(&self, inner: S) -> ErrorFormat<S> {
        ErrorFormat { inner }
    }
}

/// The service of [`ErrorFormatLayer`].
#[derive(Clone, Debug)]
pub(super) struct ErrorFormat<S> {
    inner: S,
}

impl<S, I, B> Service<Request<I>> for ErrorFormat<S>
where
    S: Service<Request<I>, Response = Response<B>>,
    I: HttpBody,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = FormattedResponse<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<I>) -> FormattedResponse<S::Future> {
        let format = Format {
            protocol: Protocol::of(request.uri().path()),
            encoding: request.headers().get(header::CONTENT_ENCODING).cloned(),
            http1_body: request.version() < Version::HTTP_2 && !request.body().is_end_stream(),
        };
        FormattedResponse {
            inner: self.inner.call(request),
            format,
        }
    }
}

pin_project! {
    /// The response future of [`ErrorFormat`].
    pub(super) struct FormattedResponse<F> {
        #[pin]
        inner: F,
        format: Format,
    }
}

/// What the format of an error depends on.
#[derive(Debug)]
struct Format {
    protocol: Protocol,
    /// The encoding of the request's body.
    encoding: Option<HeaderValue>,
    /// The request has a body, and its connection takes one request after the other.
    http1_body: bool,
}

impl<F, B, E> Future for FormattedResponse<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(context))?.map(Body::new);
        Poll::Ready(Ok(this.format.apply(response)))
    }
}

/// The API that a path belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    /// Evergreen's own API and the pages.
    Evergreen,
    /// The Open Inference Protocol.
    OpenInference,
}

impl Protocol {
    fn of(path: &str) -> Self {
        match path.strip_prefix("/v2") {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => Self::OpenInference,
            _ => Self::Evergreen,
        }
    }
}

impl Format {
    /// Gives an error the body of its API. Other responses pass unchanged.
    fn apply(&self, mut response: Response) -> Response {
        let status = response.status();
        if !(status.is_client_error() || status.is_server_error()) {
            return response;
        }
        // The layer that decodes bodies answers an encoding that it does not know with an empty body.
        if status == StatusCode::UNSUPPORTED_MEDIA_TYPE && response.extensions().get::<Problem>().is_none() {
            response = with_headers_of(&response, problem::unknown_encoding(self.encoding.as_ref()));
        }
        let Some(problem) = response.extensions_mut().remove::<Problem>() else {
            return response;
        };
        if self.protocol == Protocol::OpenInference {
            let error = problem.detail;
            let body = Json(InferenceErrorBody { error });
            response = with_headers_of(&response, (status, body).into_response());
        }
        if problem.body_unread && self.http1_body {
            // The connection will close; a client that is not told would send its next request into it.
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        response
    }
}

/// Adds the headers of `old` that do not describe its body, such as `retry-after` and `allow`.
fn with_headers_of(old: &Response, mut new: Response) -> Response {
    for (name, value) in old.headers() {
        if name != header::CONTENT_TYPE && name != header::CONTENT_LENGTH {
            new.headers_mut().append(name, value.clone());
        }
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_is_that_of_the_first_segment() {
        for (path, protocol) in [
            ("/v2", Protocol::OpenInference),
            ("/v2/", Protocol::OpenInference),
            ("/v2/nothing", Protocol::OpenInference),
            ("/v20", Protocol::Evergreen),
            ("/v1/v2", Protocol::Evergreen),
            ("/", Protocol::Evergreen),
        ] {
            assert_eq!(Protocol::of(path), protocol, "{path}");
        }
    }
}
