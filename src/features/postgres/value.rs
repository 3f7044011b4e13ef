//! Converts PostgreSQL's binary values to cells. The client's own conversions would round or refuse values that must stay
//! exact.
//!
//! The formats are those of the server's `*_send` functions: big-endian numbers, timestamps in microseconds since 2000,
//! `numeric` in base 10,000.

use std::error::Error;

use tokio_postgres::types::{FromSql, Type};

use crate::values::cell::Cell;
use crate::values::uuid;

/// The bytes of a value; `None` is NULL.
pub(crate) struct RawValue<'a>(pub(crate) Option<&'a [u8]>);

impl<'a> FromSql<'a> for RawValue<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(Some(raw)))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// Microseconds from 1970 to 2000, the epoch of PostgreSQL.
const EPOCH: i64 = 946_684_800_000_000;

/// Microseconds per day.
const DAY: i64 = 86_400_000_000;

/// The infinities of times, which no model was trained on.
const INFINITE: &str = "expected an instant, found infinity";

/// Converts a value of type `kind`. A `numeric` is written to `digits`.
///
/// # Errors
/// No feature has that type, or the bytes are not valid.
pub(crate) fn cell<'a>(
    kind: &Type,
    raw: Option<&'a [u8]>,
    digits: &'a mut String,
) -> Result<Cell<'a>, String> {
    let Some(raw) = raw else {
        return Ok(Cell::Null);
    };
    let unreadable = || format!("not a valid value of type {kind}");
    let cell = match *kind {
        Type::BOOL => raw.first().map(|&byte| Cell::Bool(byte != 0)),
        Type::INT2 => fixed(raw).map(|bytes| Cell::Int(i16::from_be_bytes(bytes).into())),
        Type::INT4 => fixed(raw).map(|bytes| Cell::Int(i32::from_be_bytes(bytes).into())),
        Type::INT8 => fixed(raw).map(|bytes| Cell::Int(i64::from_be_bytes(bytes))),
        Type::FLOAT4 => fixed(raw).map(|bytes| Cell::Float(f32::from_be_bytes(bytes).into())),
        Type::FLOAT8 => fixed(raw).map(|bytes| Cell::Float(f64::from_be_bytes(bytes))),
        Type::TIMESTAMP | Type::TIMESTAMPTZ => match fixed(raw).map(i64::from_be_bytes) {
            Some(i64::MIN | i64::MAX) => return Err(INFINITE.to_owned()),
            micros => micros
                .and_then(|micros| micros.checked_add(EPOCH))
                .map(Cell::Time),
        },
        Type::DATE => match fixed(raw).map(i32::from_be_bytes) {
            Some(i32::MIN | i32::MAX) => return Err(INFINITE.to_owned()),
            days => days
                .and_then(|days| i64::from(days).checked_mul(DAY)?.checked_add(EPOCH))
                .map(Cell::Time),
        },
        Type::TEXT | Type::VARCHAR | Type::NAME => std::str::from_utf8(raw).ok().map(Cell::Text),
        // Padded with blanks to the length of the column, which mean nothing.
        Type::BPCHAR => std::str::from_utf8(raw)
            .ok()
            .map(|text| Cell::Text(text.trim_end_matches(' '))),
        Type::UUID => fixed(raw).map(|bytes| {
            digits.clear();
            digits.push_str(&uuid::text(bytes));
            Cell::Text(digits)
        }),
        Type::NUMERIC => {
            numeric(raw, digits).ok_or_else(unreadable)?;
            Some(Cell::Untyped(digits))
        }
        _ => {
            return Err(format!(
                "expected a column of numbers, texts, booleans or times, found {kind}; cast it in a query or view"
            ));
        }
    };
    cell.ok_or_else(unreadable)
}

fn fixed<const N: usize>(raw: &[u8]) -> Option<[u8; N]> {
    raw.try_into().ok()
}

/// Writes a `numeric` as decimal digits: a header of four 16-bit words (groups, weight of the first, sign, scale), then
/// groups of four digits.
fn numeric(raw: &[u8], digits: &mut String) -> Option<()> {
    use std::fmt::Write as _;
    let word = |at: usize| Some(u16::from_be_bytes(fixed(raw.get(2 * at..2 * at + 2)?)?));
    let (groups, sign) = (usize::from(word(0)?), word(2)?);
    let weight = i32::from(word(1)?.cast_signed());
    digits.clear();
    match sign {
        0x0000 => {}
        0x4000 => digits.push('-'),
        0xC000 => digits.push_str("NaN"),
        0xD000 => digits.push_str("inf"),
        0xF000 => digits.push_str("-inf"),
        _ => return None,
    }
    if sign >= 0xC000 {
        return Some(());
    }
    let scale = usize::from(word(3)?);
    let group = |at: i32| match usize::try_from(at) {
        Ok(at) if at < groups => word(4 + at),
        _ => Some(0),
    };
    // As the server writes it: a category of 42 is "42", not "0042".
    let start = digits.len();
    for at in 0..=weight {
        write!(digits, "{:04}", group(at)?).ok()?;
    }
    let zeros = digits[start..].len() - digits[start..].trim_start_matches('0').len();
    digits.replace_range(start..start + zeros, "");
    if digits.len() == start {
        digits.push('0');
    }
    if scale > 0 {
        digits.push('.');
        let end = digits.len() + scale;
        let mut at = weight + 1;
        while digits.len() < end {
            // Groups between the point and the first one are zero.
            write!(digits, "{:04}", if at < 0 { 0 } else { group(at)? }).ok()?;
            at += 1;
        }
        digits.truncate(end);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[u16]) -> String {
        let raw: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        let mut digits = String::new();
        numeric(&raw, &mut digits).unwrap();
        digits
    }

    #[test]
    fn numerics_are_read_to_the_digit() {
        for (words, expected) in [
            (&[0, 0, 0, 0][..], "0"),
            (&[0, 0, 0, 2], "0.00"),
            (&[1, 0, 0, 0, 42], "42"),
            (&[2, 1, 0, 0, 12, 0], "120000"),
            (&[1, 1, 0, 0, 12], "120000"),
            (&[2, 0, 0x4000, 2, 29, 8500], "-29.85"),
            (&[1, 0xFFFF, 0, 4, 1], "0.0001"),
            (&[1, 0xFFFE, 0, 8, 1], "0.00000001"),
            (&[1, 2, 0, 0, 5], "500000000"),
            (&[2, 0, 0, 15, 60, 2500], "60.250000000000000"),
        ] {
            assert_eq!(read(words), expected);
        }
        assert_eq!(read(&[0, 0, 0xC000, 0]), "NaN");
        assert_eq!(read(&[0, 0, 0xF000, 0]), "-inf");
    }

    #[test]
    fn infinite_times_of_both_signs_are_refused_alike() {
        for raw in [i64::MAX.to_be_bytes(), i64::MIN.to_be_bytes()] {
            let found = cell(&Type::TIMESTAMPTZ, Some(&raw), &mut String::new()).map(|_| ());
            assert_eq!(found, Err(INFINITE.to_owned()));
        }
        for raw in [i32::MAX.to_be_bytes(), i32::MIN.to_be_bytes()] {
            let found = cell(&Type::DATE, Some(&raw), &mut String::new()).map(|_| ());
            assert_eq!(found, Err(INFINITE.to_owned()));
        }
    }

    #[test]
    fn padding_is_no_part_of_a_text() {
        let mut digits = String::new();
        assert_eq!(
            cell(&Type::BPCHAR, Some(b"basic     "), &mut digits),
            Ok(Cell::Text("basic"))
        );
    }
}
