//! Reads JSON bodies, for all handlers. Bare `NaN` tokens are accepted; errors name the path in the document.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_path_to_error::Path;

use crate::api::body_timeout::BodyTooSlow;
use crate::error::Error;
use crate::suggest::with_hint;
use crate::values::json::standard;
use crate::words::plain;

/// The field of errors that concern the body as a whole.
pub(super) const BODY: &str = "body";

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
                .about(BODY)
        }
        _ => match too_slow(&rejection) {
            Some(slow) => Error::too_slow(slow.to_string()),
            None => {
                Error::invalid(format!("the body did not arrive whole: {}", cause(&rejection))).about(BODY)
            }
        },
    })
}

/// The innermost cause of a rejection; the outer ones only say that something failed.
fn cause(rejection: &BytesRejection) -> String {
    let mut cause: &dyn std::error::Error = rejection;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
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

/// Parses a JSON body; an empty body is the default.
pub(super) fn json_or_default<T: DeserializeOwned + Default>(body: Body) -> Result<T, Error> {
    let bytes = bytes(body)?;
    if bytes.is_empty() {
        Ok(T::default())
    } else {
        parse(&bytes)
    }
}

/// Parses JSON.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Error::invalid("the body is empty; expected a JSON object".to_owned()).about(BODY));
    }
    let text = standard(bytes);
    // Tracking the path is slower: do it only after an error.
    if let Ok(parsed) = serde_json::from_slice(&text) {
        return Ok(parsed);
    }
    let mut deserializer = serde_json::Deserializer::from_slice(&text);
    let parsed = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let message = with_hint(&error.inner().to_string());
        match known_path(error.path()) {
            Some(path) => Error::invalid(format!("{path}: {message}")).about(path),
            None => Error::invalid(message).about(BODY),
        }
    })?;
    deserializer
        .end()
        .map_err(|error| Error::invalid(plain(&error.to_string())).about(BODY))?;
    Ok(parsed)
}

/// The path to the value with the error. It ends before a key that is not complete, whose name is unknown.
fn known_path(path: &Path) -> Option<String> {
    let text = path.to_string();
    let text = text.trim_end_matches(['?', '.']);
    (!text.is_empty()).then(|| text.to_owned())
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the errors matter")]
    struct Sample {
        model: String,
        list: Vec<Item>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the errors matter")]
    struct Item {
        count: usize,
    }

    #[test]
    fn an_error_names_the_field_and_carries_it() {
        for (text, field, message) in [
            (
                r#"{"model": "a", "list": [{"count": "x"}]}"#,
                "list[0].count",
                "list[0].count: expected a whole",
            ),
            (
                r#"{"model": "a", "list": [{"cont": 1}]}"#,
                "list[0].cont",
                "did you mean `count`?",
            ),
            (r#"{"model": 5}"#, "model", "model: expected a text, found 5"),
            (
                r#"{"model": "a", "li"#,
                "body",
                "the text ends inside a quoted text",
            ),
            ("{", "body", "the text ends inside an object"),
            (" ", "body", "the body is empty"),
            (
                r#"{"model": "a", "list": []} x"#,
                "body",
                "expected nothing after",
            ),
        ] {
            let error = parse::<Sample>(text.as_bytes()).unwrap_err();
            assert_eq!(error.field(), Some(field), "{text}: {error}");
            assert!(error.to_string().contains(message), "{text}: {error}");
            assert!(!error.to_string().contains("?:"), "{error}");
        }
    }
}
