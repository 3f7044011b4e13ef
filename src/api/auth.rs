//! Who may ask what: API keys with roles, the same for REST, gRPC and the operations port. Without a file of keys
//! everyone may do everything.

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

use super::context::about_client;
use super::request_metrics::{RequestCounters, RequestMetrics};
use crate::config::AuthSection;
use crate::error::Error;
use crate::file_backed::FileBacked;
use access::Access;
pub use access::Role;
use keys::ApiKeys;
pub use keys::{InvalidKeyName, NewKey};
use secret_metrics::{Secret, SecretMetrics};

/// Where a key stands in a request, beside `authorization: Bearer …`.
const API_KEY: &str = "x-api-key";

/// What a request came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortApi {
    /// REST, and the Open Inference Protocol over it.
    Rest,
    /// gRPC.
    Grpc,
    /// The operations port.
    Operations,
}

/// Admits requests by their API keys.
#[derive(Clone, Debug)]
pub struct Guard {
    keys: Option<Arc<FileBacked<ApiKeys>>>,
    metrics: RequestMetrics,
}

impl Guard {
    /// Reads the file of keys, if there is one.
    ///
    /// # Errors
    /// Names the file, the key and what is wrong with it.
    pub fn start(
        section: &AuthSection,
        metrics: &RequestMetrics,
        secrets: &SecretMetrics,
    ) -> Result<Self, String> {
        let metrics = metrics.clone();
        if !section.is_on() {
            tracing::warn!("no auth.file: whoever reaches a port may do everything that it offers");
            return Ok(Self { keys: None, metrics });
        }
        let counted = secrets.clone();
        let heard = Box::new(move |read: Result<&ApiKeys, &str>| {
            counted.read(Secret::Keys, read.is_ok());
            match read {
                Ok(keys) => tracing::info!(keys = keys.len(), "API keys read"),
                Err(error) => tracing::error!(error, "API keys not taken over; those before are still good"),
            }
        });
        let file = section.file.clone();
        let path = file.clone();
        let keys = FileBacked::new(vec![file.clone()], move || ApiKeys::read(&file), heard)?;
        if keys.get().len() == 0 {
            let path = path.display();
            return Err(format!(
                "{path}: holds no key, so no one could ask; make one with `evergreen key`"
            ));
        }
        Ok(Self {
            keys: Some(Arc::new(keys)),
            metrics,
        })
    }

    /// Looks at the file again and again.
    pub fn keep(&self, every: Duration) {
        if let Some(keys) = &self.keys {
            tokio::spawn(keys.clone().keep(every));
        }
    }

    /// The counters of requests, which the guard shares with the routers behind it.
    pub(super) fn request_metrics(&self) -> &RequestMetrics {
        &self.metrics
    }

    /// Puts the router behind the guard; `refuse` answers requests that the guard refuses.
    pub(super) fn protect(&self, api: PortApi, router: Router, refuse: Refuse) -> Router {
        let Some(keys) = self.keys.clone() else {
            return router;
        };
        let label = match api {
            PortApi::Rest => "rest",
            PortApi::Grpc => "grpc",
            PortApi::Operations => "operations",
        };
        let guard = PortGuard {
            api,
            keys,
            refuse,
            counters: self.metrics.counters(label, "authorize"),
        };
        router.layer(middleware::from_fn_with_state(Arc::new(guard), pass))
    }
}

/// Answers a refused request to this path, in the form of the port's protocol.
pub(super) type Refuse = fn(&str, Error) -> Response;

/// The guard at one port.
#[derive(Debug)]
struct PortGuard {
    api: PortApi,
    keys: Arc<FileBacked<ApiKeys>>,
    refuse: Refuse,
    counters: RequestCounters,
}

async fn pass(State(guard): State<Arc<PortGuard>>, request: Request, next: Next) -> Response {
    match guard.admit(&request) {
        Ok(()) => next.run(request).await,
        Err(error) => (guard.refuse)(request.uri().path(), error),
    }
}

impl PortGuard {
    fn admit(&self, request: &Request) -> Result<(), Error> {
        let matched = request.extensions().get::<MatchedPath>();
        let matched = matched.map(MatchedPath::as_str);
        let access = match self.api {
            PortApi::Rest => access::rest(matched),
            PortApi::Grpc => access::grpc(request.uri().path()),
            PortApi::Operations => access::operations(request.method(), matched),
        };
        let Access::Needs(role) = access else {
            return Ok(());
        };
        self.counters.count_errors(self.check(request.headers(), role))
    }

    fn check(&self, headers: &HeaderMap, role: Role) -> Result<(), Error> {
        let presented = presented(headers).ok_or_else(|| {
            Error::unauthenticated(
                "an API key is needed: send it as `authorization: Bearer KEY` or `x-api-key: KEY`".to_owned(),
            )
        })?;
        let keys = self.keys.get();
        let key = keys.find(presented).ok_or_else(|| {
            Error::unauthenticated("the API key is not known; was it replaced or taken away?".to_owned())
        })?;
        about_client(&key.name);
        if key.may(role) {
            return Ok(());
        }
        Err(Error::forbidden(format!(
            "the API key `{}` does not have the role {role} that this needs",
            key.name
        )))
    }
}

/// The key that a request shows.
fn presented(headers: &HeaderMap) -> Option<&[u8]> {
    if let Some(key) = headers.get(API_KEY) {
        return Some(key.as_bytes().trim_ascii());
    }
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, key) = value.split_at_checked("bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
}
