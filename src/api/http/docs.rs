//! Serves `/openapi.json` and the API page `/docs/`: Swagger UI, whose files are embedded in the binary.

use std::io::Read as _;

use axum::body::Bytes;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Extension, Router};
use flate2::Compression;
use flate2::read::{GzDecoder, GzEncoder};

/// The page itself.
const PAGE: &str = r#"<!DOCTYPE html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <title>Evergreen API</title>
    <link rel="stylesheet" href="swagger-ui.css">
    <link rel="icon" href="data:,">
  </head>
  <body>
    <div id="api"></div>
    <script src="swagger-ui-bundle.js"></script>
    <script src="start.js"></script>
  </body>
</html>
"#;

/// Shows the description of the API in the page.
const START: &str = r##"SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  tryItOutEnabled: true,
  validatorUrl: "none",
});
"##;

/// A file of Swagger UI, compressed with gzip by the build script.
macro_rules! embedded {
    ($name:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".gz"))
    };
}

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

pub(super) fn router(description: utoipa::openapi::OpenApi) -> Router {
    let file = |content_type, gzip: &'static [u8]| {
        get(move |headers: HeaderMap| async move { compressed(&headers, content_type, gzip) })
    };
    let text =
        |content_type, text: &'static str| get(move || async move { ([(CONTENT_TYPE, content_type)], text) });
    let document = Document::new(&description);
    Router::new()
        .route(
            "/openapi.json",
            get(move |headers: HeaderMap| async move { document.answer(&headers) }),
        )
        .route("/docs", get(|| async { Redirect::temporary("/docs/") }))
        .route("/docs/", text("text/html; charset=utf-8", PAGE))
        .route("/docs/start.js", text(JAVASCRIPT, START))
        .route(
            "/docs/swagger-ui.css",
            file("text/css; charset=utf-8", embedded!("swagger-ui.css")),
        )
        .route(
            "/docs/swagger-ui-bundle.js",
            file(JAVASCRIPT, embedded!("swagger-ui-bundle.js")),
        )
}

/// Marks a response that is not compressed for each request.
#[derive(Clone, Copy, Debug)]
pub(super) struct AsItIs;

/// The description of the API, written and compressed once: anyone may ask for it.
#[derive(Clone)]
struct Document {
    plain: Bytes,
    gzip: Bytes,
}

impl Document {
    fn new(description: &utoipa::openapi::OpenApi) -> Self {
        // Cannot fail: the description has texts as keys only, and a vector takes any bytes.
        let plain = serde_json::to_vec(description).unwrap_or_default();
        let mut gzip = Vec::new();
        let _ = GzEncoder::new(plain.as_slice(), Compression::default()).read_to_end(&mut gzip);
        Self {
            plain: plain.into(),
            gzip: gzip.into(),
        }
    }

    /// Compressed with gzip for those who take it, otherwise as it is.
    fn answer(&self, headers: &HeaderMap) -> Response {
        let accepted = headers.get_all(ACCEPT_ENCODING).iter();
        let mut accepted = accepted.filter_map(|value| value.to_str().ok());
        let headers = [(CONTENT_TYPE, "application/json"), (VARY, "accept-encoding")];
        if accepted.any(|value| takes(value, "gzip")) {
            return (headers, [(CONTENT_ENCODING, "gzip")], self.gzip.clone()).into_response();
        }
        (headers, Extension(AsItIs), self.plain.clone()).into_response()
    }
}

/// Answers with a compressed file, as it is to clients that take gzip.
fn compressed(headers: &HeaderMap, content_type: &'static str, gzip: &'static [u8]) -> Response {
    let accepted = headers.get_all(ACCEPT_ENCODING).iter();
    let accepted = accepted.filter_map(|value| value.to_str().ok());
    let headers = [(CONTENT_TYPE, content_type), (VARY, "accept-encoding")];
    if accepted.into_iter().any(|value| takes(value, "gzip")) {
        return (headers, [(CONTENT_ENCODING, "gzip")], gzip).into_response();
    }
    let mut plain = Vec::new();
    match GzDecoder::new(gzip).read_to_end(&mut plain) {
        Ok(_) => (headers, plain).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Whether the value of an Accept-Encoding header allows a content coding.
pub(super) fn takes(accepted: &str, wanted: &str) -> bool {
    accepted.split(',').any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let refused = weight
            .trim()
            .strip_prefix("q=")
            .is_some_and(|weight| weight.parse() == Ok(0.0));
        name.trim().eq_ignore_ascii_case(wanted) && !refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_only_to_clients_that_take_it() {
        for (accepted, expected) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("gzip;q=0, br", false),
            ("identity", false),
            ("", false),
        ] {
            assert_eq!(takes(accepted, "gzip"), expected, "{accepted}");
        }
    }

    #[test]
    fn every_embedded_file_can_be_decompressed() {
        for gzip in [
            &embedded!("swagger-ui.css")[..],
            embedded!("swagger-ui-bundle.js"),
        ] {
            let mut plain = Vec::new();
            GzDecoder::new(gzip).read_to_end(&mut plain).unwrap();
            assert!(plain.len() > 500);
        }
    }
}
