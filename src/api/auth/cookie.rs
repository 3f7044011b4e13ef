//! The cookie of a session, and the check that a request comes from the page itself.

use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};

/// Names of the cookie: the first with TLS, which browsers accept for this host only, over TLS only.
const SECURE: &str = "__Host-evergreen";
const PLAIN: &str = "evergreen";

/// Says where a request of a browser comes from.
const FETCH_SITE: &str = "sec-fetch-site";

/// Returns the token in the request's cookies, and whether it came in the cookie for TLS.
pub(super) fn token(headers: &HeaderMap, only_secure: bool) -> Option<(&[u8], bool)> {
    let pairs = headers
        .get_all(header::COOKIE)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    let named: Vec<(&[u8], &[u8])> = pairs
        .filter_map(|pair| {
            let pair = pair.trim_ascii();
            let equals = pair.iter().position(|byte| *byte == b'=')?;
            Some((pair.get(..equals)?, pair.get(equals + 1..)?))
        })
        .collect();
    let find = |wanted: &str| {
        let found = named.iter().find(|(name, _)| *name == wanted.as_bytes());
        found.map(|(_, value)| *value)
    };
    let secure = find(SECURE).map(|token| (token, true));
    // A sibling host can set the plain name, so it counts only where there is no TLS.
    secure.or_else(|| find(PLAIN).filter(|_| !only_secure).map(|token| (token, false)))
}

/// The header that sets the cookie for `seconds`; 0 removes it. Scripts cannot read it, and no other site can send it.
pub(super) fn set(token: &str, seconds: i64, secure: bool) -> Option<HeaderValue> {
    let (name, secure) = match secure {
        true => (SECURE, "; Secure"),
        false => (PLAIN, ""),
    };
    let text = format!("{name}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    HeaderValue::from_str(&text).ok()
}

/// Whether the browser reached the page over TLS, perhaps by way of a proxy.
pub(super) fn is_over_tls(headers: &HeaderMap) -> bool {
    headers
        .get(header::ORIGIN)
        .is_some_and(|origin| origin.as_bytes().starts_with(b"https://"))
}

/// Whether a request says where it comes from; programs other than browsers do not.
pub(super) fn tells_origin(headers: &HeaderMap) -> bool {
    headers.contains_key(FETCH_SITE) || headers.contains_key(header::ORIGIN)
}

/// Whether a request comes from the page itself. Browsers send cookies with requests of other pages, too, so one that
/// changes something has to show where it comes from.
pub(super) fn is_same_origin(method: &Method, headers: &HeaderMap) -> bool {
    if method.is_safe() {
        return true;
    }
    if let Some(site) = headers.get(FETCH_SITE) {
        return site == "same-origin";
    }
    let origin = headers
        .get(header::ORIGIN)
        .and_then(|origin| origin.to_str().ok());
    let origin = origin.and_then(|origin| origin.parse::<Uri>().ok());
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    match (origin.as_ref().and_then(Uri::authority), host) {
        (Some(origin), Some(host)) => origin.as_str().eq_ignore_ascii_case(host),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn the_token_is_found_among_other_cookies() {
        let found =
            |value: &'static str| token(&headers(&[("cookie", value)]), false).map(|(t, s)| (t.to_vec(), s));
        assert_eq!(found("a=1; evergreen=xyz; b=2"), Some((b"xyz".to_vec(), false)));
        assert_eq!(
            found("evergreen=xyz;__Host-evergreen=abc"),
            Some((b"abc".to_vec(), true))
        );
        assert_eq!(found("evergreens=xyz; evergreen"), None);
        assert_eq!(found("=; ;;"), None);
        let two = headers(&[("cookie", "a=1"), ("cookie", "evergreen=xyz")]);
        assert_eq!(token(&two, false), Some((&b"xyz"[..], false)));
        assert_eq!(token(&two, true), None, "a server with TLS");
    }

    #[test]
    fn a_cookie_over_tls_is_for_this_host_alone() {
        let text = |secure| set("t", 60, secure).unwrap().to_str().unwrap().to_owned();
        assert_eq!(
            text(true),
            "__Host-evergreen=t; Path=/; Max-Age=60; HttpOnly; SameSite=Strict; Secure"
        );
        assert_eq!(
            text(false),
            "evergreen=t; Path=/; Max-Age=60; HttpOnly; SameSite=Strict"
        );
    }

    #[test]
    fn a_change_must_come_from_the_page_itself() {
        for (pairs, expected) in [
            (&[("sec-fetch-site", "same-origin")][..], true),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "none")], false),
            (&[("origin", "https://a.example"), ("host", "a.example")], true),
            (
                &[("origin", "http://a.example:8080"), ("host", "A.example:8080")],
                true,
            ),
            (&[("origin", "https://b.example"), ("host", "a.example")], false),
            (&[("origin", "null"), ("host", "a.example")], false),
            (&[("host", "a.example")], false),
            (
                &[
                    ("sec-fetch-site", "cross-site"),
                    ("origin", "https://a.example"),
                    ("host", "a.example"),
                ],
                false,
            ),
        ] {
            let headers = headers(pairs);
            assert_eq!(is_same_origin(&Method::POST, &headers), expected, "{pairs:?}");
            assert!(is_same_origin(&Method::GET, &headers));
        }
    }
}
