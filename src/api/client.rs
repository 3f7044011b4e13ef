//! The client of a request, as the guard has put it into the request's extensions.

use std::convert::Infallible;
use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::Extensions;
use axum::http::request::Parts;

use crate::scoring::Client;
use crate::scoring::client::RequestIds;
use crate::spans::RequestSpan;

/// The address at the other end of a request's connection: a client's or a proxy's.
#[derive(Clone, Copy, Debug)]
pub struct PeerAddress(pub IpAddr);

/// Returns the client of a request.
pub(super) fn of(extensions: &Extensions) -> Client {
    let client = extensions.get::<Client>().cloned().unwrap_or_default();
    let client = client.with_request(extensions.get::<RequestIds>().cloned());
    match extensions.get::<RequestSpan>() {
        Some(span) => client.with_span(span.clone()),
        None => client,
    }
}

/// The client of a request, for handlers of REST and of the operations port.
pub(super) struct RequestClient(pub(super) Client);

impl<S: Sync> FromRequestParts<S> for RequestClient {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(of(&parts.extensions)))
    }
}
