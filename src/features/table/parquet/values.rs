//! Values that Parquet stores as numbers or bytes of another meaning: decimals, half floats, UUIDs.

use crate::features::table::{Column, TextColumn};
use crate::values::cell::EXACT;

/// The largest power of ten that is exact in `f64`: a decimal up to here divides with one rounding, the right one.
const EXACT_TEN: i32 = 22;

/// Half precision (IEEE 754 binary16, little-endian), which every `f64` holds exactly.
pub(super) fn half(bytes: [u8; 2]) -> f64 {
    let bits = u16::from_le_bytes(bytes);
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    let magnitude = match exponent {
        0 => fraction * 2f64.powi(-24),
        0x1f if fraction == 0.0 => f64::INFINITY,
        0x1f => f64::NAN,
        _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
    };
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}

/// Decimals `number ÷ 10^scale` as cells: whole numbers as such, others as floats where one division is exact, and the rest
/// as digits, which are rounded once as those of a CSV file are.
pub fn decimals(values: Vec<Option<i128>>, scale: i32) -> Column {
    let all = |fits: &dyn Fn(i128) -> bool| values.iter().flatten().all(|&value| fits(value));
    if scale == 0 && all(&|value| i64::try_from(value).is_ok()) {
        let whole = values.iter().map(|value| i64::try_from((*value)?).ok());
        return Column::Int(whole.collect());
    }
    let exact = i128::from(EXACT);
    if (1..=EXACT_TEN).contains(&scale) && all(&|value| (-exact..=exact).contains(&value)) {
        let power = 10f64.powi(scale);
        #[expect(clippy::cast_precision_loss, reason = "checked to be exact")]
        return Column::Float(
            values
                .iter()
                .map(|value| Some((*value)? as f64 / power))
                .collect(),
        );
    }
    let mut texts = TextColumn::default();
    for value in values {
        texts.push(value.map(|value| digits(value, scale)).as_deref());
    }
    Column::Untyped(texts)
}

/// Writes a decimal, such as `-0.05` for -5 and scale 2.
fn digits(value: i128, scale: i32) -> String {
    let sign = if value < 0 { "-" } else { "" };
    let mut digits = value.unsigned_abs().to_string();
    let Ok(scale) = usize::try_from(scale) else {
        return format!("{sign}{digits}{}", "0".repeat(scale.unsigned_abs() as usize));
    };
    if scale == 0 {
        return format!("{sign}{digits}");
    }
    if digits.len() <= scale {
        digits.insert_str(0, &"0".repeat(scale + 1 - digits.len()));
    }
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    format!("{sign}{whole}.{fraction}")
}

/// A whole number in big-endian two's complement, as decimals are stored.
pub(super) fn big_endian(bytes: &[u8]) -> Result<i128, &'static str> {
    let sign = if bytes.first().is_some_and(|&byte| byte >= 0x80) {
        -1i128
    } else {
        0
    };
    let number = bytes.iter().try_fold(sign, |number, &byte| {
        Some(number.checked_mul(256)? | i128::from(byte))
    });
    number.ok_or("a decimal beyond 128 bits")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::cell::Cell;

    #[test]
    fn decimals_are_rounded_once_whatever_their_scale() {
        for (value, scale, expected) in [
            (2985, 2, Cell::Float(29.85)),
            (60_250_000_000_000_000, 15, Cell::Untyped("60.250000000000000")),
            (-5, 2, Cell::Float(-0.05)),
            (
                -60_250_000_000_000_000_000,
                18,
                Cell::Untyped("-60.250000000000000000"),
            ),
            (123_456_789_012_345_678, 0, Cell::Int(123_456_789_012_345_678)),
            (
                170_141_183_460_469_231_731_687,
                0,
                Cell::Untyped("170141183460469231731687"),
            ),
            (7, -2, Cell::Untyped("700")),
            (5, 30, Cell::Untyped("0.000000000000000000000000000005")),
        ] {
            assert_eq!(
                decimals(vec![Some(value)], scale).cell(0),
                expected,
                "{value}e-{scale}"
            );
        }
        assert_eq!(decimals(vec![None, Some(1)], 0).cell(0), Cell::Null);
    }

    #[test]
    fn bytes_are_numbers_of_both_signs() {
        assert_eq!(big_endian(&[0xff, 0xfe]), Ok(-2));
        assert_eq!(big_endian(&[0x01, 0x00]), Ok(256));
        assert_eq!(big_endian(&[0xff; 16]), Ok(-1));
        assert!(big_endian(&[0x7f; 17]).is_err());
    }

    #[test]
    fn half_floats_are_read() {
        for (bits, expected) in [
            (0x3c00u16, 1.0),
            (0xc500, -5.0),
            (0x0001, 5.960_464_477_539_063e-8),
            (0x7c00, f64::INFINITY),
        ] {
            assert_eq!(half(bits.to_le_bytes()), expected);
        }
        assert!(half(0x7e00u16.to_le_bytes()).is_nan());
    }
}
