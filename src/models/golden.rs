//! Golden rows: inputs with the training library's outputs.

use serde::Deserialize;

use super::input::{EncodedCell, ModelInput};
use crate::values::cell::Cell;
use crate::values::json::{Scalar, Scalars, standard};
use evergreen_forest::{Forest, OutputKind, Precision, Scratch};

/// One line of `golden.jsonl`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GoldenRow {
    features: Scalars,
    margin: Vec<f64>,
    value: Vec<f64>,
}

/// The largest differences between the forest and the library over all golden rows, in units in the last place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agreement {
    /// Rows compared.
    pub rows: usize,
    /// Largest difference of a margin.
    pub margin_ulp: u64,
    /// Largest difference of a value.
    pub value_ulp: u64,
}

/// Replays golden rows. Returns the agreement and the inputs of the rows, row-major.
///
/// # Errors
/// A line is not a golden row, or a result differs by more than the contract allows; the message names the line.
pub fn replay(
    text: &[u8],
    forest: &Forest,
    inputs: &[ModelInput],
    allowed: (u64, u64),
) -> Result<(Agreement, Vec<f64>), String> {
    let text = std::str::from_utf8(text).map_err(|_| "not UTF-8 text".to_owned())?;
    let mut agreement = Agreement::default();
    let mut rows = Vec::new();
    let mut scratch = Scratch::default();
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    for (number, line) in lines {
        let at = |message: String| format!("line {}: {message}", number + 1);
        let row: GoldenRow =
            serde_json::from_slice(&standard(line.as_bytes())).map_err(|error| at(error.to_string()))?;
        let input = vector(&row.features, inputs).map_err(at)?;
        let mut compare = |kind: OutputKind, expected: &[f64], allowed: u64| {
            let width = forest.width(kind).map_err(|error| at(error.to_string()))?;
            if expected.len() != width {
                return Err(at(format!(
                    "{kind}: expected {width} numbers, found {}",
                    expected.len()
                )));
            }
            let mut found = vec![0.0; width];
            forest
                .predict(kind, &input, &mut found, &mut scratch)
                .map_err(|error| at(error.to_string()))?;
            let mut farthest = 0;
            for (&found, &expected) in found.iter().zip(expected) {
                let distance = ulps(found, expected, forest.precision());
                if distance > allowed {
                    return Err(at(format!(
                        "{kind} {found} is {distance} units in the last place from the library's {expected} \
                         ({allowed} allowed)"
                    )));
                }
                farthest = farthest.max(distance);
            }
            Ok(farthest)
        };
        let margin = compare(OutputKind::Margin, &row.margin, allowed.0)?;
        let value = compare(OutputKind::Value, &row.value, allowed.1)?;
        agreement.rows += 1;
        rows.extend_from_slice(&input);
        agreement.margin_ulp = agreement.margin_ulp.max(margin);
        agreement.value_ulp = agreement.value_ulp.max(value);
    }
    if agreement.rows == 0 {
        Err("line 1: expected a golden row, found none".to_owned())
    } else {
        Ok((agreement, rows))
    }
}

fn vector(features: &Scalars, inputs: &[ModelInput]) -> Result<Vec<f64>, String> {
    if let Some((name, _)) = features
        .0
        .iter()
        .find(|(name, _)| inputs.iter().all(|input| input.contract.name != *name))
    {
        return Err(format!("`{name}` is not a feature of the contract"));
    }
    inputs
        .iter()
        .map(|input| {
            let name = &input.contract.name;
            let cell = features.0.iter().find(|(known, _)| known == name);
            let cell = cell.ok_or_else(|| format!("no value of `{name}`; write null for a missing one"))?;
            match input
                .encode(scalar_cell(&cell.1))
                .map_err(|message| format!("`{name}`: {message}"))?
            {
                EncodedCell::Value(value) => Ok(value),
                EncodedCell::Null => Ok(f64::NAN),
                EncodedCell::UnknownCategory => Err(format!("`{name}`: unknown category")),
            }
        })
        .collect()
}

/// Converts a JSON value to a cell. A list or an object becomes a text that no type accepts.
fn scalar_cell(scalar: &Scalar) -> Cell<'_> {
    match scalar {
        Scalar::Null => Cell::Null,
        Scalar::Bool(value) => Cell::Bool(*value),
        Scalar::Int(value) => Cell::Int(*value),
        Scalar::Float(value) => Cell::Float(*value),
        Scalar::Text(text) => Cell::Text(text),
        Scalar::Other(what) => Cell::Text(what),
    }
}

/// The difference of two results in units in the last place of the model's precision; equal bits give 0, and so do two
/// NaNs and the two zeros.
pub fn ulps(a: f64, b: f64, precision: Precision) -> u64 {
    fn order32(value: f32) -> i64 {
        let bits = i64::from(value.to_bits() & 0x7fff_ffff);
        if value.is_sign_negative() { -bits } else { bits }
    }
    fn order64(value: f64) -> i128 {
        let bits = i128::from(value.to_bits() & !(1 << 63));
        if value.is_sign_negative() { -bits } else { bits }
    }
    match (a.is_nan(), b.is_nan(), precision) {
        (true, true, _) => 0,
        (true, false, _) | (false, true, _) => u64::MAX,
        #[expect(
            clippy::cast_possible_truncation,
            reason = "results of such a model are f32, widened"
        )]
        (_, _, Precision::F32) => order32(a as f32).abs_diff(order32(b as f32)),
        (_, _, Precision::F64) => u64::try_from(order64(a).abs_diff(order64(b))).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ulps_count_the_floats_between() {
        let one = f64::from(1.0f32.next_up());
        assert_eq!(ulps(1.0, one, Precision::F32), 1);
        assert_eq!(ulps(1.0, 1.0f64.next_up(), Precision::F64), 1);
        assert_eq!(ulps(-0.0, 0.0, Precision::F32), 0);
        assert_eq!(ulps(f64::NAN, f64::NAN, Precision::F64), 0);
        assert_eq!(ulps(f64::NAN, 0.0, Precision::F64), u64::MAX);
        assert_eq!(ulps(-1e-45, 1e-45, Precision::F32), 2);
    }
}
