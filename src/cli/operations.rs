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
pub(super) struct Operations {
    /// The operations port of a running server
    #[arg(long, value_name = "HOST:PORT", default_value = "localhost:8082")]
    server: String,
}

/// Longest that an answer is waited for: loading a large model takes its time.
const PATIENCE: Duration = Duration::from_secs(600);

impl Operations {
    /// What is at a path.
    pub(super) fn get(&self, path: &str) -> Result<Value, String> {
        self.ask(Method::GET, path, None)
    }

    /// Asks for something to be done.
    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value, String> {
        self.ask(Method::POST, path, Some(body))
    }

    fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let asked = async { tokio::time::timeout(PATIENCE, self.exchange(method, path, body)).await };
        runtime
            .block_on(asked)
            .unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())))
            .map_err(|error| format!("{}: {error}", self.server))
    }

    async fn exchange(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, String> {
        let authority = self.server.strip_prefix("http://").unwrap_or(&self.server);
        let authority = authority.trim_end_matches('/');
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{authority}{path}"))
            .header(header::CONTENT_TYPE, "application/json")
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
        let answer: Value = serde_json::from_slice(&bytes).map_err(|error| format!("{status}: {error}"))?;
        if status == StatusCode::OK {
            return Ok(answer);
        }
        let detail = answer["detail"].as_str().or_else(|| answer["title"].as_str());
        Err(detail.map_or_else(|| status.to_string(), str::to_owned))
    }
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
