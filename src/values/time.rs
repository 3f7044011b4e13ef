//! Times: seconds since the Unix epoch, and RFC 3339 texts.

use jiff::Timestamp;

/// 30 December 9999, in seconds since the Unix epoch: dates up to here can be written in every time zone.
const LATEST_DATE: i64 = 253_402_128_000;

/// The present time in seconds since the Unix epoch.
pub fn now() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0.0, |time| time.as_secs_f64())
}

/// The present time as a timestamp; the nearest one that there is if the clock is out of their range.
pub fn timestamp() -> Timestamp {
    let now = std::time::SystemTime::now();
    let end = match now.duration_since(std::time::UNIX_EPOCH) {
        Ok(_) => Timestamp::MAX,
        Err(_) => Timestamp::MIN,
    };
    Timestamp::try_from(now).unwrap_or(end)
}

/// Checks that dates can be written. While they cannot, hyper's `date` header panics for each answer over HTTP/1, whatever
/// its settings, and the connection ends.
///
/// # Errors
/// The clock is before 1970 or after 9999.
pub fn check_clock() -> Result<(), String> {
    let seconds = timestamp().as_second();
    if (0..LATEST_DATE).contains(&seconds) {
        Ok(())
    } else {
        Err("the system clock is before 1970 or after 9999; set it, for example by NTP".to_owned())
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_range_has_no_text() {
        assert_eq!(rfc3339(0.0).as_deref(), Some("1970-01-01T00:00:00Z"));
        assert!(rfc3339(253_402_300_799.0 + 86_400.0 * 2.0).is_none());
        assert!(rfc3339(-1e18).is_none() && rfc3339(1e300).is_none());
        assert_eq!(rfc3339(-86_400.0).as_deref(), Some("1969-12-31T00:00:00Z"));
        assert!(check_clock().is_ok());
        assert!((timestamp().as_second() as f64 - now()).abs() < 60.0);
    }
}
