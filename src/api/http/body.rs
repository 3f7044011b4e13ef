//! Reads JSON bodies, for all handlers. Bare `NaN` tokens are accepted; errors name the path in the document.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::body_timeout::BodyTooSlow;
use crate::error::Error;
use crate::suggest::with_hint;
use crate::values::json::standard;

/// A body as axum extracts it.
pub(super) type Body = Result<Bytes, BytesRejection>;

/// Returns the bytes of a body.
///
/// # Errors
/// The body is too large, too slow or incomplete.
pub(super) fn bytes(body: Body) -> Result<Bytes, Error> {
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Error::too_large("the body exceeds limits.body_bytes; send fewer entities per request".to_owned())
        }
        _ => match too_slow(&rejection) {
            Some(slow) => Error::too_slow(slow.to_string()),
            None => Error::invalid(rejection.body_text()),
        },
    })
}

/// Finds a body timeout among the causes of a rejection, as layers in between wrap it.
fn too_slow(rejection: &BytesRejection) -> Option<&BodyTooSlow> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(rejection);
    while let Some(error) = cause {
        if let Some(slow) = error.downcast_ref() {
            return Some(slow);
        }
        cause = error.source();
    }
    None
}

/// Parses a JSON body.
pub(super) fn json<T: DeserializeOwned>(body: Body) -> Result<T, Error> {
    parse(&bytes(body)?)
}

/// Parses JSON.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Error::invalid(
            "the body is empty; expected a JSON object".to_owned(),
        ));
    }
    let text = standard(bytes);
    // Tracking the path is slower: do it only after an error.
    if let Ok(parsed) = serde_json::from_slice(&text) {
        return Ok(parsed);
    }
    let mut deserializer = serde_json::Deserializer::from_slice(&text);
    let parsed = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let message = with_hint(&error.inner().to_string());
        Error::invalid(if path == "." {
            message
        } else {
            format!("{path}: {message}")
        })
    })?;
    deserializer
        .end()
        .map_err(|error| Error::invalid(error.to_string()))?;
    Ok(parsed)
}

/// Builds a JSON response; `bytes` is its expected size.
///
/// # Errors
/// Never for the bodies of this API, which are all valid JSON.
pub(super) fn answer(value: &impl Serialize, bytes: usize) -> Result<Response, Error> {
    let mut text = Vec::with_capacity(bytes);
    serde_json::to_writer(&mut text, value).map_err(|error| Error::internal(error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}
