//! Times: seconds since the Unix epoch, and RFC 3339 texts.

use jiff::Timestamp;

/// The present time in seconds since the Unix epoch.
pub fn now() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0.0, |time| time.as_secs_f64())
}

/// Formats seconds since the Unix epoch as RFC 3339 in UTC; `None` if out of range.
pub fn rfc3339(seconds: f64) -> Option<String> {
    instant(seconds).map(|time| time.to_string())
}

/// Converts seconds since the Unix epoch to a timestamp; `None` if out of range.
pub fn instant(seconds: f64) -> Option<Timestamp> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a cast saturates, and jiff refuses what is out of range"
    )]
    let micros = (seconds * 1e6).round() as i64;
    Timestamp::from_microsecond(micros).ok()
}
