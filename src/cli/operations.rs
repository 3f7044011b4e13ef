//! A running server's operations port, as the command line speaks to it.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Method, Request, StatusCode, header};
use clap::Args;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// Where the server is.
#[derive(Clone, Debug, Args)]
pub(super) struct OperationsClient {
    /// The operations port of a running server
    #[arg(long, value_name = "HOST:PORT", default_value = "localhost:8082")]
    server: String,
}

/// The variable with an API key, for servers that want one. No option: a command line is there for all to see.
const API_KEY: &str = "EVERGREEN_API_KEY";

/// Longest that an answer is waited for: loading a large model takes its time.
const PATIENCE: Duration = Duration::from_secs(600);

impl OperationsClient {
    /// What is at a path.
    pub(super) fn get(&self, path: &str) -> Result<Value, String> {
        self.ask(Method::GET, path, None)
    }

    /// Asks for something to be done.
    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value, String> {
        self.ask(Method::POST, path, Some(body))
    }

    fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, String> {
        let asked = within(PATIENCE, exchange(&self.server, method, path, body));
        let (status, answer) = asked.map_err(|error| format!("{}: {error}", self.server))?;
        if status == StatusCode::OK {
            return Ok(answer);
        }
        let detail = answer["detail"].as_str().or_else(|| answer["title"].as_str());
        let detail = detail.map_or_else(|| status.to_string(), str::to_owned);
        Err(match status {
            StatusCode::UNAUTHORIZED => format!("{}: {detail}; set {API_KEY}", self.server),
            _ => format!("{}: {detail}", self.server),
        })
    }
}

/// Whether a server says yes at a path, and its answer.
pub(super) fn ask(server: &str, path: &str, patience: Duration) -> Result<(bool, Value), String> {
    let asked = within(patience, exchange(server, Method::GET, path, None));
    asked
        .map(|(status, answer)| (status == StatusCode::OK, answer))
        .map_err(|error| format!("{server}: {error}"))
}

fn within<T>(patience: Duration, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let work = async { tokio::time::timeout(patience, work).await };
    runtime
        .block_on(work)
        .unwrap_or_else(|_| Err(format!("no answer within {} s", patience.as_secs())))
}

async fn exchange(
    server: &str,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<(StatusCode, Value), String> {
    let authority = server.strip_prefix("http://").unwrap_or(server);
    let authority = authority.trim_end_matches('/');
    let body = body.map(Value::to_string).unwrap_or_default();
    let mut request = Request::builder()
        .method(method)
        .uri(format!("http://{authority}{path}"))
        .header(header::CONTENT_TYPE, "application/json");
    if let Ok(key) = std::env::var(API_KEY) {
        request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
    }
    let request = request
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| error.to_string())?;
    let client = Client::builder(TokioExecutor::new()).build_http();
    let response = client.request(request).await.map_err(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        let cause = cause.unwrap_or_else(|| error.to_string());
        format!("{cause}; is the server running, and is this its operations port? name it with --server")
    })?;
    let status = response.status();
    let bytes = response
        .into_body()
        .collect()
        .await
        .map_err(|error| error.to_string())?
        .to_bytes();
    let answer = serde_json::from_slice(&bytes).map_err(|error| format!("{status}: {error}"))?;
    Ok((status, answer))
}

/// A part of a path, escaped.
pub(super) fn escaped(part: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let bytes = part.bytes();
    bytes
        .map(|byte| {
            if plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}
