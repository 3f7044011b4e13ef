//! HTTP client of a running server, for the commands that talk to one: mostly to its operations port.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Method, Request, StatusCode, header};
use clap::Args;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// Client options of commands that call a running server.
#[derive(Clone, Debug, Args)]
pub(super) struct OperationsClient {
    /// Operations port of the running server
    #[arg(long, value_name = "HOST:PORT", default_value = "localhost:8082")]
    server: String,
}

/// A port of a server, for errors.
#[derive(Clone, Copy, Debug)]
struct PortName {
    name: &'static str,
    example: &'static str,
}

const OPERATIONS: PortName = PortName {
    name: "operations port",
    example: "localhost:8082",
};

const REST: PortName = PortName {
    name: "REST port",
    example: "localhost:8080",
};

/// Client options of commands that call the REST API of a running server.
#[derive(Clone, Debug, Args)]
pub(super) struct RestClient {
    /// REST port of the running server
    #[arg(long, value_name = "HOST:PORT", default_value = "localhost:8080")]
    server: String,
}

impl RestClient {
    /// Gets the JSON at a path.
    pub(super) fn get(&self, path: &str) -> Result<Value, String> {
        call(&self.server, REST, Method::GET, path, None)
    }

    /// Posts JSON.
    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value, String> {
        call(&self.server, REST, Method::POST, path, Some(body))
    }
}

/// Environment variable with the API key. There is no option for it, as other users can see command lines.
const API_KEY_VARIABLE: &str = "EVERGREEN_API_KEY";

/// Timeout of a call; loading a large model takes time.
const TIMEOUT: Duration = Duration::from_secs(600);

impl OperationsClient {
    /// Gets the JSON at a path.
    pub(super) fn get(&self, path: &str) -> Result<Value, String> {
        call(&self.server, OPERATIONS, Method::GET, path, None)
    }

    /// Posts a command.
    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value, String> {
        call(&self.server, OPERATIONS, Method::POST, path, Some(body))
    }
}

fn call(
    server: &str,
    port: PortName,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Value, String> {
    let response = within(TIMEOUT, exchange(server, port, method, path, body));
    let (status, answer) = response.map_err(|error| format!("{server}: {error}"))?;
    if status == StatusCode::OK {
        return Ok(answer);
    }
    let detail = answer["detail"].as_str().or_else(|| answer["title"].as_str());
    let detail = detail.map_or_else(|| status.to_string(), str::to_owned);
    Err(match status {
        StatusCode::UNAUTHORIZED => {
            format!("{server}: {detail}; set the variable {API_KEY_VARIABLE}")
        }
        _ => format!("{server}: {detail}"),
    })
}

/// Calls a probe: returns whether its status is 200, and its body.
///
/// # Errors
/// There was no answer within `timeout`.
pub(super) fn probe(server: &str, path: &str, timeout: Duration) -> Result<(bool, Value), String> {
    let response = within(timeout, exchange(server, OPERATIONS, Method::GET, path, None));
    response
        .map(|(status, answer)| (status == StatusCode::OK, answer))
        .map_err(|error| format!("{server}: {error}"))
}

fn within<T>(timeout: Duration, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let work = async { tokio::time::timeout(timeout, work).await };
    runtime
        .block_on(work)
        .unwrap_or_else(|_| Err(format!("no answer within {} s", timeout.as_secs())))
}

async fn exchange(
    server: &str,
    port: PortName,
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
    if let Ok(key) = std::env::var(API_KEY_VARIABLE) {
        request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
    }
    let request = request
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| error.to_string())?;
    let client = Client::builder(TokioExecutor::new()).build_http();
    let response = client.request(request).await.map_err(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        let cause = cause.unwrap_or_else(|| error.to_string());
        let PortName { name, example } = port;
        format!("{cause}; check that the server runs and that --server is its {name}, such as {example}")
    })?;
    let status = response.status();
    let bytes = response
        .into_body()
        .collect()
        .await
        .map_err(|error| error.to_string())?
        .to_bytes();
    let answer = serde_json::from_slice(&bytes).map_err(|_| {
        let PortName { name, example } = port;
        format!("{status}: expected JSON; check that --server is the {name} of a server, such as {example}")
    })?;
    Ok((status, answer))
}

/// Percent-encodes a part of a path.
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
