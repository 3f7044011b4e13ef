//! Request deadlines: `grpc-timeout` over gRPC, a header in milliseconds over REST.

use std::time::{Duration, Instant};

use axum::http::{Extensions, HeaderMap, HeaderValue};

use crate::error::Error;

/// gRPC's header: up to eight digits and a unit.
const GRPC_HEADER: &str = "grpc-timeout";

/// Headers in milliseconds: Evergreen's own, and the one that Envoy and Istio add.
const MILLISECOND_HEADERS: [&str; 2] = ["x-request-timeout-ms", "x-envoy-expected-rq-timeout-ms"];

/// A request's deadline, or why the header is invalid. It is in the request's extensions if the client sent one.
#[derive(Clone, Debug)]
pub(super) struct RequestDeadline(Result<Option<Instant>, Error>);

/// Reads the deadline of a request that arrived at `start`. With several headers the earliest deadline counts.
pub(super) fn read(headers: &HeaderMap, start: Instant) -> Option<RequestDeadline> {
    let grpc = headers
        .get(GRPC_HEADER)
        .map(|value| (GRPC_HEADER, grpc_timeout(value), value));
    let rest = MILLISECOND_HEADERS
        .iter()
        .filter_map(|&name| headers.get(name).map(|value| (name, milliseconds(value), value)));
    let mut earliest: Option<Duration> = None;
    for (name, timeout, value) in grpc.into_iter().chain(rest) {
        let Some(timeout) = timeout else {
            return Some(RequestDeadline(Err(invalid_header(name, value))));
        };
        earliest = Some(earliest.map_or(timeout, |earliest| earliest.min(timeout)));
    }
    // A deadline beyond the clock's range counts as none.
    earliest.map(|timeout| RequestDeadline(Ok(start.checked_add(timeout))))
}

/// Returns the request's deadline.
///
/// # Errors
/// The client sent an invalid deadline header.
pub(in crate::api) fn of(extensions: &Extensions) -> Result<Option<Instant>, Error> {
    extensions
        .get::<RequestDeadline>()
        .map_or(Ok(None), |RequestDeadline(deadline)| deadline.clone())
}

/// Runs `work` until the deadline. Work on another thread continues after it, but the client gets a deadline error in
/// time; the transport's own timer would report a cancellation.
///
/// # Errors
/// The error of `work`, or `DeadlineExceeded`.
pub(in crate::api) async fn within<T>(
    deadline: Option<Instant>,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let Some(deadline) = deadline else {
        return work.await;
    };
    let result = tokio::time::timeout_at(deadline.into(), work).await;
    result.unwrap_or_else(|_| {
        Err(Error::deadline_exceeded(
            "deadline exceeded before the request was scored".to_owned(),
        ))
    })
}

/// Returns the earlier of two deadlines.
pub(in crate::api) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn invalid_header(name: &str, value: &HeaderValue) -> Error {
    let expected = if name == GRPC_HEADER {
        "up to eight digits and one of H, M, S, m, u, n, such as 500m"
    } else {
        "a whole number of milliseconds, at least 1, such as 500"
    };
    Error::invalid(format!("`{name}`: expected {expected}, found {value:?}")).about(name)
}

fn milliseconds(value: &HeaderValue) -> Option<Duration> {
    let millis = digits(value.as_bytes())?;
    (millis > 0).then(|| Duration::from_millis(millis))
}

/// Parses `TimeoutValue TimeoutUnit` of the gRPC over HTTP/2 specification.
fn grpc_timeout(value: &HeaderValue) -> Option<Duration> {
    let (&unit, value) = value.as_bytes().split_last()?;
    let value = digits(value).filter(|_| value.len() <= 8)?;
    Some(match unit {
        b'H' => Duration::from_secs(value * 3600),
        b'M' => Duration::from_secs(value * 60),
        b'S' => Duration::from_secs(value),
        b'm' => Duration::from_millis(value),
        b'u' => Duration::from_micros(value),
        b'n' => Duration::from_nanos(value),
        _ => return None,
    })
}

/// Parses digits only; `parse` alone would accept a sign.
fn digits(text: &[u8]) -> Option<u64> {
    let digits = text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deadline(headers: &[(&'static str, &str)]) -> Result<Option<Duration>, Error> {
        let headers: HeaderMap = headers
            .iter()
            .map(|&(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        let start = Instant::now();
        let Some(RequestDeadline(deadline)) = read(&headers, start) else {
            return Ok(None);
        };
        deadline.map(|deadline| deadline.map(|deadline| deadline - start))
    }

    #[test]
    fn reads_every_unit_and_the_earliest_deadline_counts() {
        for (text, expected) in [
            ("1H", Duration::from_secs(3600)),
            ("99999999M", Duration::from_secs(99_999_999 * 60)),
            ("2S", Duration::from_secs(2)),
            ("30m", Duration::from_millis(30)),
            ("4u", Duration::from_micros(4)),
            ("0n", Duration::ZERO),
        ] {
            assert_eq!(deadline(&[("grpc-timeout", text)]), Ok(Some(expected)), "{text}");
        }
        assert_eq!(deadline(&[]), Ok(None));
        let both = [
            ("x-request-timeout-ms", "70"),
            ("x-envoy-expected-rq-timeout-ms", "50"),
        ];
        assert_eq!(deadline(&both), Ok(Some(Duration::from_millis(50))));
    }

    #[test]
    fn names_an_invalid_header() {
        for (name, text) in [
            ("grpc-timeout", "123456789S"),
            ("grpc-timeout", "5"),
            ("grpc-timeout", "S"),
            ("grpc-timeout", "+5S"),
            ("grpc-timeout", "5s"),
            ("x-request-timeout-ms", "0"),
            ("x-request-timeout-ms", "1.5"),
            ("x-request-timeout-ms", ""),
            ("x-envoy-expected-rq-timeout-ms", "-1"),
        ] {
            let error = deadline(&[(name, text)]).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
