//! API key authentication and role checks, shared by REST, gRPC and the operations port. Without `auth.file` every
//! request is allowed.

mod access;
mod keys;
pub mod secret_metrics;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::{self, Next};
use axum::response::Response;

use super::context::record_client;
use super::request_metrics::{RequestCounters, RequestMetrics};
use crate::config::AuthSection;
use crate::error::Error;
use crate::file_backed::FileBacked;
use crate::heartbeat::Heartbeats;
use access::Access;
pub use access::Role;
use keys::ApiKeys;
pub use keys::{InvalidKeyName, NewKey};
use secret_metrics::{Secret, SecretMetrics};

/// Header with the API key, as an alternative to `authorization: Bearer …`.
const API_KEY_HEADER: &str = "x-api-key";

/// The API that a request came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiKind {
    /// REST, and the Open Inference Protocol over it.
    Rest,
    /// gRPC.
    Grpc,
    /// The operations port.
    Operations,
}

/// Checks the API keys of requests.
#[derive(Clone, Debug)]
pub struct Guard {
    keys: Option<Arc<FileBacked<ApiKeys>>>,
    metrics: RequestMetrics,
}

impl Guard {
    /// Reads the key file, if `auth.file` is set.
    ///
    /// # Errors
    /// The file cannot be read or holds an invalid key; the message names both.
    pub fn start(
        section: &AuthSection,
        metrics: &RequestMetrics,
        secrets: &SecretMetrics,
    ) -> Result<Self, String> {
        let metrics = metrics.clone();
        if !section.is_on() {
            tracing::warn!("authentication is off: auth.file is not set, every client has every role");
            return Ok(Self { keys: None, metrics });
        }
        let secrets = secrets.clone();
        let on_reload = Box::new(move |read: Result<&ApiKeys, &str>| {
            secrets.count_read(Secret::Keys, read.is_ok());
            match read {
                Ok(keys) => tracing::info!(keys = keys.len(), "API keys loaded"),
                Err(error) => tracing::error!(error, "API keys rejected, keeping the previous ones"),
            }
        });
        let file = section.file.clone();
        let path = file.clone();
        let keys = FileBacked::new(vec![file.clone()], move || ApiKeys::read(&file), on_reload)?;
        if keys.get().len() == 0 {
            let path = path.display();
            return Err(format!(
                "{path}: no API key found; add one with `evergreen key NAME >> {path}`"
            ));
        }
        Ok(Self {
            keys: Some(Arc::new(keys)),
            metrics,
        })
    }

    /// Whether requests need a key.
    pub(super) fn is_on(&self) -> bool {
        self.keys.is_some()
    }

    /// Starts polling the key file, once per `interval`. A server that cannot read it becomes unready: a key that was revoked
    /// would stay valid.
    pub fn watch(&self, interval: Duration, heartbeats: &Heartbeats) {
        if let Some(keys) = &self.keys {
            let heartbeat = heartbeats.watch("api-keys");
            tokio::spawn(keys.clone().watch(interval, heartbeat, true));
        }
    }

    /// Returns the request counters, which the guard shares with the routers behind it.
    pub(super) fn request_metrics(&self) -> &RequestMetrics {
        &self.metrics
    }

    /// Adds the key check to a router; `refuse` builds the response to a refused request.
    pub(super) fn protect(&self, api: ApiKind, router: Router, refuse: Refuse) -> Router {
        let Some(keys) = self.keys.clone() else {
            return router;
        };
        let label = match api {
            ApiKind::Rest => "rest",
            ApiKind::Grpc => "grpc",
            ApiKind::Operations => "operations",
        };
        let guard = PortGuard {
            api,
            keys,
            refuse,
            counters: self.metrics.counters(label, "authorize"),
        };
        router.layer(middleware::from_fn_with_state(Arc::new(guard), check_request))
    }
}

/// Builds the response to a refused request, in the port's protocol.
pub(super) type Refuse = fn(Error) -> Response;

/// The guard of one port.
#[derive(Debug)]
struct PortGuard {
    api: ApiKind,
    keys: Arc<FileBacked<ApiKeys>>,
    refuse: Refuse,
    counters: RequestCounters,
}

async fn check_request(State(guard): State<Arc<PortGuard>>, request: Request, next: Next) -> Response {
    match guard.authorize(&request) {
        Ok(()) => next.run(request).await,
        Err(error) => (guard.refuse)(error),
    }
}

impl PortGuard {
    fn authorize(&self, request: &Request) -> Result<(), Error> {
        let matched = request.extensions().get::<MatchedPath>();
        let matched = matched.map(MatchedPath::as_str);
        let access = match self.api {
            ApiKind::Rest => access::rest(matched),
            ApiKind::Grpc => access::grpc(request.uri().path()),
            ApiKind::Operations => access::operations(request.method(), matched),
        };
        let Access::Needs(role) = access else {
            return Ok(());
        };
        self.counters.count_errors(self.check(request.headers(), role))
    }

    fn check(&self, headers: &HeaderMap, role: Role) -> Result<(), Error> {
        let presented = presented(headers).ok_or_else(|| {
            Error::unauthenticated(
                "API key missing: send it as `authorization: Bearer KEY` or `x-api-key: KEY`".to_owned(),
            )
        })?;
        let keys = self.keys.get();
        let key = keys.find(presented).ok_or_else(|| {
            Error::unauthenticated("API key unknown: it may have been replaced or removed".to_owned())
        })?;
        record_client(&key.name);
        if key.may(role) {
            return Ok(());
        }
        Err(Error::forbidden(format!(
            "the API key `{}` lacks the role `{role}`, which this operation needs",
            key.name
        )))
    }
}

/// Returns the key in a request's headers, if any.
fn presented(headers: &HeaderMap) -> Option<&[u8]> {
    if let Some(key) = headers.get(API_KEY_HEADER) {
        return Some(key.as_bytes().trim_ascii());
    }
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, key) = value.split_at_checked("bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
}
