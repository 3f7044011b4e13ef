//! Splits a body with binary tensor data: JSON, followed by little-endian tensors.

use axum::http::HeaderMap;

use super::HEADER_LENGTH;
use crate::api::tensor_bytes::TensorReader;
use crate::error::Error;

/// Returns the JSON of a body and a reader for the tensors after it.
///
/// # Errors
/// The length in the header is invalid or exceeds the body.
pub(super) fn split<'a>(headers: &HeaderMap, body: &'a [u8]) -> Result<(&'a [u8], TensorReader<'a>), Error> {
    let Some(length) = headers.get(HEADER_LENGTH) else {
        return Ok((body, TensorReader::new(&[])));
    };
    let length = length.to_str().ok().and_then(|text| text.parse().ok());
    let parts = length.and_then(|length| body.split_at_checked(length));
    let (head, tensors) = parts.ok_or_else(|| {
        Error::invalid(format!(
            "Inference-Header-Content-Length: expected a number of bytes up to {}, the size of the body",
            body.len()
        ))
        .about("Inference-Header-Content-Length")
    })?;
    Ok((head, TensorReader::new(tensors)))
}
