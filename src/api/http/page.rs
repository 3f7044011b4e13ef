//! The web page for sales and marketing: its files are in the binary, compressed when they were built (`web/build`). It needs
//! nothing from other hosts, and its headers allow nothing from there.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Extension, response::Redirect};
use sha2::{Digest as _, Sha256};

use super::docs::AsItIs;

/// What the page may load, and from where: its own scripts, styles and data. The framework writes no HTML from text, so
/// no policy for Trusted Types is needed, and none is allowed.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";

/// Features of the browser that the page does not use.
const PERMISSIONS: &str = "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), \
     magnetometer=(), microphone=(), midi=(), payment=(), usb=()";

const FOR_EVER: &str = "public, max-age=31536000, immutable";
const ASK_AGAIN: &str = "no-cache";

/// Digits of the hash in the names of files, as `web/build.mjs` writes them.
const HASH_DIGITS: usize = 16;

/// A file of the page in its three encodings.
macro_rules! built {
    ($name:literal, $type:literal) => {
        Built {
            name: $name,
            content_type: $type,
            plain: include_bytes!(concat!("../../../web/dist/", $name)),
            gzip: include_bytes!(concat!("../../../web/dist/", $name, ".gz")),
            brotli: include_bytes!(concat!("../../../web/dist/", $name, ".br")),
        }
    };
}

const INDEX: Built = built!("index.html", "text/html; charset=utf-8");
const ASSETS: [Built; 2] = [
    built!("page.js", "text/javascript; charset=utf-8"),
    built!("page.css", "text/css; charset=utf-8"),
];

/// The licences of what the page contains, to which the script refers.
const LICENSES: &str = include_str!("../../../web/dist/LICENSES.txt");

/// A file as it was built.
struct Built {
    name: &'static str,
    content_type: &'static str,
    plain: &'static [u8],
    gzip: &'static [u8],
    brotli: &'static [u8],
}

/// The addresses of the page's views; all have the same file.
const VIEWS: [&str; 3] = ["/", "/model", "/customers/{id}"];

/// The routes of the page, or without it one from `/` to the description of the API.
pub(super) fn router(enabled: bool) -> Router {
    if !enabled {
        return Router::new().route("/", get(|| async { Redirect::temporary("/docs/") }));
    }
    let index = Arc::new(Served::new(&INDEX));
    let assets: Arc<[Served]> = ASSETS.iter().map(Served::new).collect();
    let view = move |State(index): State<Arc<Served>>, headers: HeaderMap| async move {
        index.answer(&headers, ASK_AGAIN)
    };
    let views = VIEWS
        .iter()
        .fold(Router::new(), |router, path| router.route(path, get(view)));
    let asset = move |State(assets): State<Arc<[Served]>>, Path(name): Path<String>, headers: HeaderMap| async move {
        match assets.iter().find(|asset| asset.name == name) {
            Some(asset) => asset.answer(&headers, FOR_EVER),
            None => StatusCode::NOT_FOUND.into_response(),
        }
    };
    let assets = Router::new()
        .route("/assets/{file}", get(asset))
        .with_state(assets);
    let licenses = get(|| async { ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], LICENSES) });
    views
        .with_state(index)
        .merge(assets)
        .route("/assets/LICENSES.txt", licenses)
}

/// A file as it is served.
struct Served {
    /// The name with the hash of the content.
    name: String,
    hash: String,
    built: &'static Built,
}

impl Served {
    fn new(built: &'static Built) -> Self {
        let digest = Sha256::digest(built.plain);
        let mut hash: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        hash.truncate(HASH_DIGITS);
        Self {
            name: built.name.replacen('.', &format!("-{hash}."), 1),
            hash,
            built,
        }
    }

    /// Answers with the file in the best encoding that the client takes, or says that it has it already.
    fn answer(&self, headers: &HeaderMap, caching: &'static str) -> Response {
        let (coding, bytes) = match (takes(headers, "br"), takes(headers, "gzip")) {
            (true, _) => (Some("br"), self.built.brotli),
            (false, true) => (Some("gzip"), self.built.gzip),
            (false, false) => (None, self.built.plain),
        };
        let tag = format!(
            "\"{}{}\"",
            self.hash,
            coding.map_or(String::new(), |coding| format!("-{coding}"))
        );
        let known = headers.get_all(header::IF_NONE_MATCH).iter().any(|value| {
            let value = value.to_str().unwrap_or_default();
            value
                .split(',')
                .map(str::trim)
                .any(|one| one == "*" || one.trim_start_matches("W/") == tag)
        });
        let mut response = match known {
            true => StatusCode::NOT_MODIFIED.into_response(),
            false => ([(header::CONTENT_TYPE, self.built.content_type)], bytes).into_response(),
        };
        let answer = response.headers_mut();
        if let (Some(coding), false) = (coding, known) {
            answer.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
        }
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            answer.insert(header::ETAG, tag);
        }
        answer.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
        answer.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        for (name, value) in POLICIES {
            answer.insert(name, HeaderValue::from_static(value));
        }
        (Extension(AsItIs), response).into_response()
    }
}

/// Headers that keep the page to itself.
const POLICIES: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_POLICY),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (HeaderName::from_static("permissions-policy"), PERMISSIONS),
];

/// Whether a client takes a content coding.
fn takes(headers: &HeaderMap, wanted: &str) -> bool {
    let accepted = headers.get_all(header::ACCEPT_ENCODING).iter();
    let mut accepted = accepted.filter_map(|value| value.to_str().ok());
    accepted.any(|value| super::docs::takes(value, wanted))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn the_index_names_the_other_files() {
        let index = std::str::from_utf8(INDEX.plain).unwrap();
        for asset in &ASSETS {
            let name = Served::new(asset).name;
            assert!(
                index.contains(&format!("\"/assets/{name}\"")),
                "{name}: run web/build"
            );
        }
    }

    #[test]
    fn every_file_is_what_it_is_compressed_to() {
        for built in ASSETS.iter().chain([&INDEX]) {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(built.gzip)
                .read_to_end(&mut plain)
                .unwrap();
            assert_eq!(plain, built.plain, "{}: run web/build", built.name);
            assert!(built.brotli.len() <= built.gzip.len());
        }
    }

    #[test]
    fn the_page_takes_at_most_60_kilobytes() {
        let size: usize = ASSETS
            .iter()
            .chain([&INDEX])
            .map(|built| built.brotli.len())
            .sum();
        assert!(size <= 60_000, "{size} bytes");
    }

    #[test]
    fn a_client_gets_the_best_encoding_that_it_takes() {
        let served = Served::new(&INDEX);
        let mut tags = Vec::new();
        for (accepted, coding) in [
            ("gzip, br", Some("br")),
            ("gzip, br;q=0", Some("gzip")),
            ("identity", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, accepted.parse().unwrap());
            let answer = served.answer(&headers, ASK_AGAIN);
            assert_eq!(answer.status(), StatusCode::OK);
            let found = answer.headers().get(header::CONTENT_ENCODING);
            assert_eq!(found.map(|found| found.to_str().unwrap()), coding, "{accepted}");
            let tag = answer.headers()[header::ETAG].clone();
            headers.insert(header::IF_NONE_MATCH, tag.clone());
            assert_eq!(
                served.answer(&headers, ASK_AGAIN).status(),
                StatusCode::NOT_MODIFIED
            );
            tags.push(tag);
        }
        tags.dedup();
        assert_eq!(tags.len(), 3);
    }
}
