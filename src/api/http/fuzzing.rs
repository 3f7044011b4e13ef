//! The decoders of REST bodies, for the fuzz targets.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue};
use futures_util::stream;
use http_body_util::BodyExt as _;

use super::body;
use super::lines::reader::{BodyLines, LineText};
use super::open_inference;
use super::outcomes::OutcomesBody;
use super::score::wire::{EntityBody, ScoreBody};
use super::unpack::Decoder;
use crate::api::tensor_bytes;
use crate::error::Error;
use crate::record::outcomes::{OutcomeRecord, TimeLimits};
use crate::scoring::tensor::{Datatype, Elements};
use crate::scoring::{Client, Entity, InferRequest, ModelRef, ScoreRequest, VersionSelector};

/// The bytes that the memory budget counts for what a JSON text is parsed to, beside those of the text.
pub fn parsed_bytes(text: &[u8]) -> usize {
    body::parsed_bytes(text)
}

/// Reads a scoring request.
///
/// # Errors
/// It is not valid.
pub fn score(text: &[u8]) -> Result<ScoreRequest, Error> {
    body::parse::<ScoreBody>(text)?.into_domain(Client::default(), None)
}

/// Reads a line of a bulk request.
///
/// # Errors
/// It is not valid.
pub fn entity(text: &[u8]) -> Result<Entity, Error> {
    body::parse::<EntityBody>(text).map(Into::into)
}

/// Reads outcomes.
///
/// # Errors
/// They are not valid.
pub fn outcomes(text: &[u8]) -> Result<Vec<OutcomeRecord>, Error> {
    // Noon of 21 November 2026, and ten years back.
    let limits = TimeLimits::new(1_795_262_400_000_000, 3650);
    body::parse::<OutcomesBody>(text)?.into_records(limits)
}

/// Reads an Open Inference request whose JSON has `head` bytes, or is the whole body.
///
/// # Errors
/// It is not valid.
pub fn infer(head: Option<usize>, bytes: &[u8]) -> Result<InferRequest, Error> {
    let mut headers = HeaderMap::new();
    if let Some(head) = head {
        headers.insert(open_inference::HEADER_LENGTH, HeaderValue::from(head));
    }
    let model = ModelRef {
        name: "churn".to_owned(),
        version: VersionSelector::Live,
    };
    open_inference::decode(&headers, bytes, Client::default(), model, None).map(|(request, ..)| request)
}

/// Reads the elements of a binary tensor.
///
/// # Errors
/// It is not valid.
pub fn tensor(datatype: Datatype, bytes: &[u8]) -> Result<Elements, Error> {
    tensor_bytes::read("x", datatype, bytes)
}

/// Writes elements as a binary tensor.
pub fn write_tensor(datatype: Datatype, elements: &Elements) -> Vec<u8> {
    let mut bytes = Vec::new();
    tensor_bytes::write(datatype, elements, &mut bytes);
    bytes
}

/// A line's number, and its text unless it is too long.
pub type NumberedLine = (u64, Option<Bytes>);

fn body_of(chunks: Vec<Vec<u8>>) -> Body {
    Body::from_stream(stream::iter(chunks.into_iter().map(Ok::<_, Infallible>)))
}

/// Reads a body line by line, in batches of up to `most`. Returns number and text of every line; no text if it has more
/// than `longest` bytes.
///
/// # Errors
/// The body ended early.
pub async fn lines(chunks: Vec<Vec<u8>>, longest: usize, most: usize) -> Result<Vec<NumberedLine>, Error> {
    let mut reader = BodyLines::new(body_of(chunks), longest, None);
    let mut lines = Vec::new();
    loop {
        let batch = reader.batch(most.max(1)).await?;
        if batch.is_empty() {
            return Ok(lines);
        }
        lines.extend(batch.into_iter().map(|line| match line.text {
            LineText::Whole(text) => (line.number, Some(text)),
            LineText::TooLong => (line.number, None),
        }));
    }
}

/// Unpacks a body with a `content-encoding`; `None` if the encoding is unknown. Returns the number of bytes.
pub async fn unpack(encoding: &[u8], chunks: Vec<Vec<u8>>) -> Option<Result<usize, axum::Error>> {
    let mut body = Decoder::named(encoding)?.body(body_of(chunks), None);
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes += frame.data_ref().map_or(0, Bytes::len),
            Err(error) => return Some(Err(error)),
        }
    }
    Some(Ok(bytes))
}
