//! Reads JSON bodies, for all handlers. Bare `NaN` tokens are accepted; errors name the path in the document. Bodies draw on
//! the memory budget while they arrive, and for what they are parsed to before they are parsed.

use std::convert::Infallible;
use std::io;

use axum::body::{Bytes, HttpBody as _};
use axum::extract::{FromRequest, Request};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use bytes::BytesMut;
use http_body_util::BodyExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_path_to_error::Path;

use super::text_chunks::TextChunks;
use crate::api::incoming::{BodyEnded, BodyLimit};
use crate::error::Error;
use crate::memory;
use crate::memory::{NoMemory, RequestMemory, Reservation};
use crate::suggest::with_hint;
use crate::values::json::standard;
use crate::words::plain;
use crate::words::shorten::shorten_middle;
use crate::work;

/// The field of errors that concern the body as a whole.
pub(super) const BODY: &str = "body";

/// Maximum size of a body on the operations port, in bytes.
const OPERATIONS_BODY: usize = 64 << 10;

/// Memory of a parsed JSON value, in bytes for each comma, colon and opening bracket, and for each quote: a number in a
/// list has a comma, a member of an object a comma, a colon and quotes. With the room that a growing list takes.
const ELEMENT_BYTES: usize = 64;
const QUOTE_BYTES: usize = 16;

/// Copies of a text that an error about it takes: a name may be as long as the text, and messages repeat it.
const ERROR_COPIES: usize = 5;

/// Part of a serde message that matters: the wrong name at its beginning, the expected ones at its end.
const MESSAGE_BYTES: usize = 2048;

/// A request's whole body.
pub(super) struct Body(Result<Bytes, Error>);

impl<S: Sync> FromRequest<S> for Body {
    type Rejection = Infallible;

    async fn from_request(request: Request, _: &S) -> Result<Self, Infallible> {
        Ok(Self(collect(request).await))
    }
}

/// Reads a body into one buffer. A list of chunks would take many times the memory of a body that arrives byte by byte.
async fn collect(request: Request) -> Result<Bytes, Error> {
    let limit = request.extensions().get::<BodyLimit>();
    let limit = limit.map_or(OPERATIONS_BODY, |limit| limit.0);
    let memory = memory::current();
    let mut body = request.into_body();
    // Before the first poll, which sends `100 Continue` to a client that waits for it.
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(too_large(limit));
    }
    if let Some(memory) = &memory {
        memory.check(announced)?;
    }
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(bytes) = frame.map_err(|error| failed(&error))?.into_data() else {
            continue;
        };
        if let Some(memory) = &memory {
            memory.take_body(bytes.len())?;
            memory.decoding(bytes.len());
        }
        if whole.is_empty() && body.is_end_stream() && bytes.len() <= limit {
            return Ok(bytes);
        }
        if whole.len() + bytes.len() > limit {
            return Err(too_large(limit));
        }
        whole.extend_from_slice(&bytes);
        // A body of many small chunks must not hold up the worker.
        tokio::task::consume_budget().await;
    }
    Ok(whole.freeze())
}

fn too_large(limit: usize) -> Error {
    Error::too_large(format!(
        "the body exceeds {limit} bytes (limits.body_bytes); send fewer entities per request"
    ))
    .about(BODY)
}

/// Converts the error of a body. Layers in between wrap the errors of ours.
pub(super) fn failed(error: &axum::Error) -> Error {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    loop {
        if let Some(ended) = cause.downcast_ref::<BodyEnded>() {
            let error = Error::from(ended.clone());
            return match ended {
                // It is not read.
                BodyEnded::AboveRate(_) => error.about(BODY),
                _ => error,
            };
        }
        if let Some(no_memory) = cause.downcast_ref::<NoMemory>() {
            return (*no_memory).into();
        }
        let wrapped = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let inner = wrapped.map(|inner| inner as &(dyn std::error::Error + 'static));
        match inner.or_else(|| cause.source()) {
            Some(inner) => cause = inner,
            None => {
                return Error::invalid(format!("the body did not arrive whole: {cause}")).about(BODY);
            }
        }
    }
}

impl Body {
    /// The bytes.
    ///
    /// # Errors
    /// The body is too large, too slow or incomplete, or there is no memory for it.
    pub(super) fn bytes(self) -> Result<Bytes, Error> {
        self.0
    }

    /// Parses the body as JSON.
    pub(super) async fn json<T: DeserializeOwned + Send + 'static>(self) -> Result<T, Error> {
        let bytes = self.bytes()?;
        parsed(bytes.len(), move || parse(&bytes)).await
    }

    /// Parses the body as JSON; an empty body is the default.
    pub(super) async fn json_or_default<T>(self) -> Result<T, Error>
    where
        T: DeserializeOwned + Default + Send + 'static,
    {
        let bytes = self.bytes()?;
        if bytes.is_empty() {
            return Ok(T::default());
        }
        parsed(bytes.len(), move || parse(&bytes)).await
    }
}

/// Parses a body of this many bytes, on another thread if it is long. `parse` takes the memory for what it makes.
pub(super) async fn parsed<T: Send + 'static>(
    bytes: usize,
    parse: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    parsed_in(memory::current(), bytes, parse).await
}

/// Like [`parsed`], for the account of another task.
pub(super) async fn parsed_in<T: Send + 'static>(
    memory: Option<RequestMemory>,
    bytes: usize,
    parse: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let work = move || match memory {
        Some(memory) => memory.scope(parse),
        None => parse(),
    };
    work::on_bytes(bytes, work).await?
}

/// Takes the memory for what a JSON text is parsed to.
///
/// # Errors
/// Too little is free.
fn take_parsed(text: &[u8]) -> Result<(), Error> {
    let taken = memory::with_current(|memory| memory.take_decoded(parsed_bytes(text)));
    Ok(taken.unwrap_or(Ok(()))?)
}

/// An upper bound of the bytes that a JSON text is parsed to.
pub(super) fn parsed_bytes(text: &[u8]) -> usize {
    let elements = count(text, |byte| matches!(byte, b',' | b':' | b'{' | b'['));
    elements * ELEMENT_BYTES + count(text, |byte| byte == b'"') * QUOTE_BYTES
}

/// Counts bytes, many at a time: each chunk has its count in a byte, so that the compiler compares as many bytes as a vector has.
fn count(text: &[u8], wanted: impl Fn(u8) -> bool) -> usize {
    let of_chunk = |chunk: &[u8]| -> u8 { chunk.iter().map(|&byte| u8::from(wanted(byte))).sum() };
    text.chunks(192).map(|chunk| usize::from(of_chunk(chunk))).sum()
}

/// Counts an answer of this many bytes instead of the request that it is for.
pub(super) fn hold_answer(bytes: usize) {
    memory::with_current(|memory| memory.hold_answer(bytes));
}

/// Parses JSON.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Error::invalid("the body is empty; expected a JSON object".to_owned()).about(BODY));
    }
    take_parsed(bytes)?;
    let text = standard(bytes);
    // Tracking the path is slower: do it only after an error.
    if let Ok(parsed) = serde_json::from_slice(&text) {
        return Ok(parsed);
    }
    if let Some(memory) = memory::current() {
        memory.take_decoded(bytes.len() * ERROR_COPIES)?;
    }
    let mut deserializer = serde_json::Deserializer::from_slice(&text);
    let parsed = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let message = shorten_middle(&error.inner().to_string(), MESSAGE_BYTES);
        let message = with_hint(&message);
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
    let mut text = TextChunks::new(bytes);
    serde_json::to_writer(&mut text, value).map_err(|error| Error::internal(error.to_string()))?;
    hold_answer(text.len());
    Ok(([(header::CONTENT_TYPE, "application/json")], text.into_body()).into_response())
}

/// A piece of a streamed answer, which counts until the client has taken it. It is not refused: what it comes from was admitted
/// with room for it.
pub(super) fn held(memory: Option<&RequestMemory>, text: Bytes) -> Bytes {
    match memory {
        Some(memory) => Bytes::from_owner(HeldText {
            _memory: memory.reserve_anyway(text.len()),
            text,
        }),
        None => text,
    }
}

/// The text of answers, which holds its share of the memory budget.
struct HeldText {
    text: Bytes,
    _memory: Reservation,
}

impl AsRef<[u8]> for HeldText {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
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
    fn bytes_are_counted_in_texts_of_any_length() {
        for length in [0, 1, 191, 192, 193, 1000] {
            let text: Vec<u8> = (0..length).map(|at| b"\"{x,"[at % 4]).collect();
            let elements = text.iter().filter(|byte| b"{,".contains(byte)).count();
            let quotes = text.iter().filter(|&&byte| byte == b'"').count();
            assert_eq!(
                parsed_bytes(&text),
                elements * ELEMENT_BYTES + quotes * QUOTE_BYTES
            );
            assert_eq!(count(&vec![b','; length], |byte| byte == b','), length);
        }
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
