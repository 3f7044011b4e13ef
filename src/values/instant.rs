//! Instants: seconds since the Unix epoch, from numbers and texts. What cannot be an instant is refused: a time in
//! milliseconds would be a feature a thousand times too large.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};

use super::feature_type::FeatureType;
use crate::words::shorten::shorten;

/// The year 2200, in seconds since the Unix epoch.
const LATEST: f64 = 7_258_118_400.0;

/// The year 1700, in seconds since the Unix epoch.
const EARLIEST: f64 = -8_520_336_000.0;

/// Converts a number of seconds since the Unix epoch.
///
/// # Errors
/// It is past the year 2200 or before 1700, as milliseconds are, or its digits are those of a date (20250601).
pub(super) fn of_number(seconds: f64) -> Result<f64, String> {
    if !(EARLIEST..=LATEST).contains(&seconds) {
        return Err(format!(
            "expected seconds since 1970, found {seconds}, which is outside of the years 1700 to 2200{}",
            unit(seconds)
        ));
    }
    if is_calendar_date(seconds) {
        return Err(format!(
            "expected seconds since 1970, found {seconds}, which looks like a date; write it as \"2025-06-01\""
        ));
    }
    Ok(seconds)
}

/// Names the unit that would make an instant of this century of a number.
fn unit(number: f64) -> &'static str {
    let fits = |per_second: f64| (0.0..=4_102_444_800.0).contains(&(number / per_second));
    match () {
        () if fits(1e3) => "; is it in milliseconds?",
        () if fits(1e6) => "; is it in microseconds?",
        () if fits(1e9) => "; is it in nanoseconds?",
        () => "",
    }
}

/// Whether the digits of a whole number are those of a date of the years 1900 to 2199, such as 20250601.
fn is_calendar_date(number: f64) -> bool {
    if number.fract() != 0.0 || !(19_000_101.0..=21_991_231.0).contains(&number) {
        return false;
    }
    #[expect(clippy::cast_possible_truncation, reason = "eight digits")]
    let digits = number as i64;
    let part = |value: i64| i8::try_from(value).unwrap_or(0);
    let year = i16::try_from(digits / 10_000).unwrap_or(0);
    Date::new(year, part(digits / 100 % 100), part(digits % 100)).is_ok()
}

/// Converts microseconds since the Unix epoch. They come from a type with a unit, so any year is meant: 9999-12-31 is a
/// usual end of a contract.
pub(super) fn of_micros(micros: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "exact up to the year 2255")]
    let micros = micros as f64;
    micros / 1e6
}

/// Converts a text: RFC 3339, or a date with or without a time. Without an offset it is UTC, as pandas and Spark write it.
///
/// # Errors
/// It is no date.
pub(super) fn of_text(text: &str) -> Result<f64, String> {
    const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
    // A timestamp ends a day before the year 9999 does.
    let civil = || {
        let time = text.parse::<DateTime>().ok()?;
        i64::try_from(time.duration_since(EPOCH).as_micros()).ok()
    };
    let zoned = text.parse::<Timestamp>().ok().map(Timestamp::as_microsecond);
    let micros = zoned.or_else(civil).ok_or_else(|| {
        format!(
            "expected {}, found {:?}",
            FeatureType::Timestamp.noun(),
            shorten(text)
        )
    })?;
    Ok(of_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_seconds_and_other_units_are_named() {
        assert_eq!(of_number(1_748_736_000.5), Ok(1_748_736_000.5));
        assert_eq!(of_number(-86_400.0), Ok(-86_400.0));
        for (number, part) in [
            (1_748_736_000_000.0, "is it in milliseconds?"),
            (1_748_736_000_000_000.0, "is it in microseconds?"),
            (1.748_736e18, "is it in nanoseconds?"),
            (20_250_601.0, "looks like a date"),
            (f64::INFINITY, "outside of the years"),
            (-1e12, "outside of the years"),
        ] {
            let error = of_number(number).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        assert_eq!(
            of_number(20_251_399.0),
            Ok(20_251_399.0),
            "no such month: an instant of 1970"
        );
    }

    #[test]
    fn texts_with_and_without_an_offset_are_instants() {
        for (text, expected) in [
            ("2025-06-01T00:00:00Z", 1_748_736_000.0),
            ("2025-06-01T02:00:00+02:00", 1_748_736_000.0),
            ("2025-06-01", 1_748_736_000.0),
            ("2025-06-01 00:00:00", 1_748_736_000.0),
            ("2025-06-01T00:00:00.250", 1_748_736_000.25),
            ("9999-12-31", 253_402_214_400.0),
        ] {
            assert_eq!(of_text(text), Ok(expected), "{text}");
        }
        for text in ["soon", "2025-13-01", "01/06/2025"] {
            assert!(of_text(text).is_err(), "{text}");
        }
    }
}
