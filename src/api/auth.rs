//! API key authentication and role checks, shared by REST, gRPC and the operations port. Without `auth.file` every
//! request is allowed.

mod access;
mod addresses;
mod clients;
mod cookie;
mod forwarded;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod keys;
pub mod secret_metrics;
mod sessions;
mod sign_in;

use std::sync::Arc;
use std::time::Duration;

use axum::RequestExt as _;
use axum::Router;
use axum::extract::{MatchedPath, RawPathParams, Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::Response;

use super::context::record_client;
use super::request_metrics::{RequestCounters, RequestMetrics};
use crate::config::{AuthSection, Config};
use crate::error::Error;
use crate::file_backed::FileBacked;
use crate::heartbeat::Heartbeats;
use crate::scoring::Client;
use crate::scoring::client::metrics::ClientMetrics;
use access::Access;
pub use access::Role;
use clients::{AddressClients, KeyClients};
use keys::{ApiKey, ApiKeys};
pub use keys::{InvalidKeyName, NewKey};
use secret_metrics::{Secret, SecretMetrics};
pub(super) use sign_in::{SignIn, SignedIn};

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

/// Checks the API keys of requests, and tells which client each comes from.
#[derive(Clone, Debug)]
pub struct Guard {
    by: Identification,
    metrics: RequestMetrics,
    /// Sessions of the page, if it is on and requests need keys.
    sign_in: Option<SignIn>,
}

/// What tells the clients apart.
#[derive(Clone, Debug)]
enum Identification {
    Keys(Arc<FileBacked<ApiKeys>>),
    /// Without `auth.file`.
    Addresses(Arc<AddressClients>),
}

impl Guard {
    /// Reads the key file, if `auth.file` is set.
    ///
    /// # Errors
    /// The file cannot be read or holds an invalid key; the message names both.
    pub fn start(
        config: &Config,
        client_metrics: &ClientMetrics,
        metrics: &RequestMetrics,
        secrets: &SecretMetrics,
    ) -> Result<Self, String> {
        let (section, clients) = (&config.auth, &config.clients);
        let metrics = metrics.clone();
        if !section.is_on() {
            tracing::warn!("authentication is off: auth.file is not set, every client has every role");
            let by = Identification::Addresses(Arc::new(AddressClients::new(clients, client_metrics)));
            return Ok(Self {
                by,
                metrics,
                sign_in: None,
            });
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
        let clients = KeyClients::new(clients, client_metrics);
        let read = move || ApiKeys::read(&file).map(|keys| clients.attach(keys));
        let keys = FileBacked::new(vec![path.clone()], read, on_reload)?;
        if keys.get().len() == 0 {
            let path = path.display();
            return Err(format!(
                "{path}: no API key found; add one with `evergreen key NAME >> {path}`"
            ));
        }
        let keys = Arc::new(keys);
        let sign_in = match config.page.enabled {
            true => Some(SignIn::start(&config.page, &keys, config.tls.is_on())?),
            false => None,
        };
        Ok(Self {
            by: Identification::Keys(keys),
            metrics,
            sign_in,
        })
    }

    /// Counts the keys of the key file, after the checks of the server.
    ///
    /// # Errors
    /// The file cannot be read or holds an invalid key.
    pub fn count_keys(section: &AuthSection) -> Result<usize, String> {
        ApiKeys::read(&section.file).map(|keys| keys.len())
    }

    /// Whether requests need a key.
    pub(super) fn is_on(&self) -> bool {
        matches!(self.by, Identification::Keys(_))
    }

    /// Starts polling the key file, once per `interval`. A server that cannot read it becomes unready: a key that was revoked
    /// would stay valid.
    pub fn watch(&self, interval: Duration, heartbeats: &Heartbeats) {
        if let Identification::Keys(keys) = &self.by {
            let heartbeat = heartbeats.watch("api-keys");
            tokio::spawn(keys.clone().watch(interval, heartbeat, true));
        }
    }

    /// Sign-in of people, if there is any.
    pub(super) fn sign_in(&self) -> Option<&SignIn> {
        self.sign_in.as_ref()
    }

    /// Returns the request counters, which the guard shares with the routers behind it.
    pub(super) fn request_metrics(&self) -> &RequestMetrics {
        &self.metrics
    }

    /// Adds the check of clients to a router; `refuse` builds the response to a refused request.
    pub(super) fn protect(&self, api: ApiKind, router: Router, refuse: Refuse) -> Router {
        let keys = match self.by.clone() {
            Identification::Keys(keys) => keys,
            // Nothing on the operations port has a limit per client.
            Identification::Addresses(_) if api == ApiKind::Operations => return router,
            Identification::Addresses(clients) => {
                return router.layer(middleware::from_fn_with_state(clients, identify_address));
            }
        };
        let label = match api {
            ApiKind::Rest => "rest",
            ApiKind::Grpc => "grpc",
            ApiKind::Operations => "operations",
        };
        let guard = PortGuard {
            api,
            keys,
            sign_in: self.sign_in.clone().filter(|_| api == ApiKind::Rest),
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
    /// Sessions, which count on the REST port only.
    sign_in: Option<SignIn>,
    refuse: Refuse,
    counters: RequestCounters,
}

async fn identify_address(
    State(clients): State<Arc<AddressClients>>,
    mut request: Request,
    next: Next,
) -> Response {
    let client = clients.identify(&request);
    request.extensions_mut().insert(client);
    next.run(request).await
}

async fn check_request(State(guard): State<Arc<PortGuard>>, mut request: Request, next: Next) -> Response {
    let client = guard.authorize(&mut request).await;
    match guard.counters.count_errors(client) {
        Ok((client, cookie)) => {
            request.extensions_mut().insert(client);
            let mut response = next.run(request).await;
            if let Some(cookie) = cookie {
                response.headers_mut().append(header::SET_COOKIE, cookie);
            }
            response
        }
        Err(error) => (guard.refuse)(error),
    }
}

impl PortGuard {
    /// Returns the client of a request that it may send, and the cookie that renews its session, if that is due.
    async fn authorize(&self, request: &mut Request) -> Result<(Client, Option<HeaderValue>), Error> {
        let Access::Needs(role) = self.access(request) else {
            return Ok((Client::default(), None));
        };
        let (client, cookie) = match (&self.sign_in, presented(request.headers())) {
            (Some(sign_in), None) => sign_in.check(request.method(), request.headers(), role)?,
            (_, presented) => (self.check(presented, role)?, None),
        };
        // Over gRPC, and in the body of `/v1/score`, the model is in the message: there the handlers check it.
        if client.is_restricted() && self.api != ApiKind::Grpc {
            let parameters = request.extract_parts::<RawPathParams>().await.ok();
            let mut parameters = parameters.iter().flat_map(RawPathParams::iter);
            let model = parameters.find_map(|(name, value)| (name == "model").then_some(value));
            check_model(&client, role, model)?;
        }
        Ok((client, cookie))
    }

    fn access(&self, request: &Request) -> Access {
        let matched = request.extensions().get::<MatchedPath>();
        let matched = matched.map(MatchedPath::as_str);
        match self.api {
            ApiKind::Rest => access::rest(request.method(), matched),
            ApiKind::Grpc => access::grpc(request.uri().path()),
            ApiKind::Operations => access::operations(request.method(), matched),
        }
    }

    fn check(&self, presented: Option<&[u8]>, role: Role) -> Result<Client, Error> {
        let presented = presented.ok_or_else(missing_key)?;
        let keys = self.keys.get();
        let key = keys.find(presented).ok_or_else(unknown_key)?;
        client_of(key, role)
    }
}

fn missing_key() -> Error {
    Error::unauthenticated(
        "API key missing: send it as `authorization: Bearer KEY` or `x-api-key: KEY`".to_owned(),
    )
}

fn unknown_key() -> Error {
    Error::unauthenticated("API key unknown: it may have been replaced or removed".to_owned())
}

/// The client of a key, if it has the role.
fn client_of(key: &ApiKey, role: Role) -> Result<Client, Error> {
    record_client(&key.name);
    if key.may(role) {
        return Ok(key.client.clone());
    }
    Err(Error::forbidden(format!(
        "the API key `{}` lacks the role `{role}`, which this operation needs",
        key.name
    )))
}

/// Checks the model in a path. A key for some models may not change what concerns all.
fn check_model(client: &Client, role: Role, model: Option<&str>) -> Result<(), Error> {
    match model {
        Some(model) => client.check_model(model),
        None if role == Role::Administer => Err(Error::forbidden(
            "this operation concerns all models; use an API key without `models` in its entry".to_owned(),
        )),
        None => Ok(()),
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
