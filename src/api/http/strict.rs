//! Rules of HTTP that the libraries below do not check.

use axum::extract::Request;
use axum::http::{HeaderValue, Version, header};
use axum::response::{IntoResponse as _, Response};

use crate::error::Error;

/// Refuses a request of HTTP/1.1 without exactly one `Host` (RFC 9112, section 3.2). Leaves out an `Accept-Encoding` that
/// excludes plain answers: the client gets one nevertheless, as RFC 9110 allows, rather than none.
pub(super) fn check(request: &mut Request) -> Option<Response> {
    if request.version() == Version::HTTP_11 {
        let hosts = request.headers().get_all(header::HOST).iter().count();
        if hosts != 1 {
            let message = format!("host: expected one header, found {hosts}");
            return Some(Error::invalid(message).about("host").into_response());
        }
    }
    let transfer: Vec<&HeaderValue> = request
        .headers()
        .get_all(header::TRANSFER_ENCODING)
        .iter()
        .collect();
    let chunked = |coding: &&HeaderValue| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    if transfer.len() > 1 || !transfer.iter().all(chunked) {
        let error = Error::invalid("transfer-encoding: expected chunked alone, or no such header");
        return Some(error.about("transfer-encoding").into_response());
    }
    if request
        .headers()
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .any(excludes_plain)
    {
        request.headers_mut().remove(header::ACCEPT_ENCODING);
    }
    None
}

/// Whether a header has `identity;q=0` or `*;q=0`.
fn excludes_plain(value: &HeaderValue) -> bool {
    let text = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
    text.split(',').any(|part| {
        let mut fields = part.split(';').map(str::trim);
        let name = fields.next().unwrap_or_default();
        let weight = fields.find_map(|field| field.strip_prefix("q="));
        let zero = weight.and_then(|weight| weight.trim().parse::<f32>().ok()) == Some(0.0);
        zero && (name == "identity" || name == "*")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_excludes_plain_answers_is_seen() {
        for (text, expected) in [
            ("gzip, *;q=0", true),
            ("identity; q=0.0", true),
            ("gzip;q=0, identity", false),
            ("*", false),
            ("gzip", false),
        ] {
            assert_eq!(
                excludes_plain(&HeaderValue::from_static(text)),
                expected,
                "{text}"
            );
        }
    }
}
