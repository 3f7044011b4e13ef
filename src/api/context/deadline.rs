//! When the client stops waiting: `grpc-timeout` over gRPC, a header of milliseconds over REST.

use std::time::{Duration, Instant};

use axum::http::{Extensions, HeaderMap, HeaderValue};

use crate::error::Error;

/// gRPC's own: up to eight digits and a unit.
const GRPC: &str = "grpc-timeout";

/// For people; and what Envoy, and with it Istio, tells the servers behind it without being asked.
const MILLISECONDS: [&str; 2] = ["x-request-timeout-ms", "x-envoy-expected-rq-timeout-ms"];

/// A request's deadline, or why it cannot be read. Left among its extensions only where the client sent one.
#[derive(Clone, Debug)]
pub(super) struct Deadline(Result<Option<Instant>, Error>);

/// The deadline of a request that arrived at `start`; where there are several, the earliest counts.
pub(super) fn read(headers: &HeaderMap, start: Instant) -> Option<Deadline> {
    let grpc = headers.get(GRPC).map(|value| (GRPC, grpc_timeout(value), value));
    let rest = MILLISECONDS
        .iter()
        .filter_map(|&name| headers.get(name).map(|value| (name, milliseconds(value), value)));
    let mut earliest: Option<Duration> = None;
    for (name, timeout, value) in grpc.into_iter().chain(rest) {
        let Some(timeout) = timeout else {
            return Some(Deadline(Err(refuse(name, value))));
        };
        earliest = Some(earliest.map_or(timeout, |before| before.min(timeout)));
    }
    // A deadline beyond what the clock can hold is none.
    earliest.map(|timeout| Deadline(Ok(start.checked_add(timeout))))
}

/// The deadline that the layer left for a handler.
///
/// # Errors
/// The client sent one that cannot be read.
pub(in crate::api) fn of(extensions: &Extensions) -> Result<Option<Instant>, Error> {
    extensions
        .get::<Deadline>()
        .map_or(Ok(None), |Deadline(deadline)| deadline.clone())
}

/// Works until the deadline. Work on another thread is not stopped by it, but its client is told in time, and in this
/// protocol's words: the transport's own timer would call it cancelled.
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
            "the request's time was up before it was scored".to_owned(),
        ))
    })
}

/// The earlier of two deadlines.
pub(in crate::api) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn refuse(name: &str, value: &HeaderValue) -> Error {
    let expected = if name == GRPC {
        "up to eight digits and one of H, M, S, m, u, n"
    } else {
        "a whole number of milliseconds, at least 1"
    };
    Error::invalid(format!("`{name}`: expected {expected}, found {value:?}"))
}

fn milliseconds(value: &HeaderValue) -> Option<Duration> {
    let millis = digits(value.as_bytes())?;
    (millis > 0).then(|| Duration::from_millis(millis))
}

/// `TimeoutValue TimeoutUnit` of gRPC over HTTP/2.
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

/// Digits and nothing else: `parse` alone would take a sign.
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
        let Some(Deadline(deadline)) = read(&headers, start) else {
            return Ok(None);
        };
        deadline.map(|deadline| deadline.map(|deadline| deadline - start))
    }

    #[test]
    fn every_unit_is_understood_and_the_earliest_counts() {
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
    fn what_cannot_be_read_is_named() {
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
