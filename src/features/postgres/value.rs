//! Converts PostgreSQL's binary values to cells. The client's own conversions would round or refuse values that must stay
//! exact.
//!
//! The formats are those of the server's `*_send` functions: big-endian numbers, timestamps in microseconds since 2000,
//! `numeric` in base 10,000.

use std::error::Error;

use tokio_postgres::types::{FromSql, Type};

use crate::values::cell::Cell;

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
        Type::TIMESTAMP | Type::TIMESTAMPTZ => fixed(raw)
            .and_then(|bytes| i64::from_be_bytes(bytes).checked_add(EPOCH))
            .map(Cell::Time),
        Type::DATE => fixed(raw)
            .and_then(|bytes| {
                i64::from(i32::from_be_bytes(bytes))
                    .checked_mul(DAY)?
                    .checked_add(EPOCH)
            })
            .map(Cell::Time),
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME => {
            std::str::from_utf8(raw).ok().map(Cell::Text)
        }
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
    // A whole number and a power of ten, which a parser rounds once.
    for group in 0..groups {
        write!(digits, "{:04}", word(4 + group)?).ok()?;
    }
    if groups == 0 {
        digits.push('0');
    }
    let exponent = 4 * (weight + 1 - i32::try_from(groups).ok()?);
    if groups > 0 && exponent != 0 {
        write!(digits, "e{exponent}").ok()?;
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
            (&[0, 0, 0, 0][..], 0.0),
            (&[1, 0, 0, 0, 42], 42.0),
            (&[2, 0, 0x4000, 2, 29, 8500], -29.85),
            (&[1, 0xFFFF, 0, 4, 1], 0.0001),
            (&[1, 2, 0, 0, 5], 500_000_000.0),
        ] {
            assert_eq!(read(words).parse(), Ok(expected));
        }
        assert_eq!(read(&[0, 0, 0xC000, 0]), "NaN");
    }
}
