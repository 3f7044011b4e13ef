//! Binary tensor data: a body of JSON followed by little-endian tensors.

use axum::http::HeaderMap;

use super::HEADER_LENGTH;
use crate::api::tensor_bytes::TensorReader;
use crate::error::Error;

/// The JSON of a body, and the tensors after it.
pub(super) fn split<'a>(headers: &HeaderMap, body: &'a [u8]) -> Result<(&'a [u8], TensorReader<'a>), Error> {
    let Some(length) = headers.get(HEADER_LENGTH) else {
        return Ok((body, TensorReader::new(&[])));
    };
    let length = length.to_str().ok().and_then(|text| text.parse().ok());
    let parts = length.and_then(|length| body.split_at_checked(length));
    let (head, tensors) = parts.ok_or_else(|| {
        Error::invalid(format!(
            "Inference-Header-Content-Length: expected at most {} (the body)",
            body.len()
        ))
    })?;
    Ok((head, TensorReader::new(tensors)))
}
