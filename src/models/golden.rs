//! Golden rows: inputs with the training library's outputs.

use rustc_hash::FxHashMap;
use serde::Deserialize;

use super::contract::{GoldenSection, OutputSection};
use super::input::{EncodedCell, ModelInput};
use super::version::output_of;
use crate::values::cell::Cell;
use crate::values::json::{Scalar, Scalars, standard};
use evergreen_forest::{Forest, OutputKind, Precision, Scratch};

/// The largest difference of a calibrated score. The calibration is computed in `f64` here and in `f32` by scikit-learn for
/// models with `f32` probabilities.
const SCORE_TOLERANCE: f64 = 1e-6;

/// The distance from which two numbers are told as different, not as close, in units in the last place.
const FAR: u64 = 1000;

/// One line of `golden.jsonl`. Bundles of earlier releases have neither `class` nor `score`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GoldenRow {
    features: Scalars,
    margin: Vec<f64>,
    value: Vec<f64>,
    /// The position of the predicted class.
    class: Option<f64>,
    /// The calibrated score.
    score: Option<f64>,
}

/// The largest differences between the forest and the library over all golden rows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Agreement {
    /// Rows compared.
    pub rows: usize,
    /// Largest difference of a margin, in units in the last place.
    pub margin_ulp: u64,
    /// Largest difference of a value, in units in the last place.
    pub value_ulp: u64,
    /// Rows whose class was compared.
    pub classes: usize,
    /// Rows whose calibrated score was compared.
    pub scores: usize,
    /// Largest difference of a calibrated score.
    pub score: f64,
}

impl Agreement {
    /// What was compared and how close it is, as a sentence; `calibrated` says that the contract has a calibration.
    pub fn summary(&self, calibrated: bool) -> String {
        let distance = |ulp: u64| match ulp {
            0 => "bit-equal".to_owned(),
            _ => format!("within {ulp} ulp"),
        };
        let (margins, values) = (distance(self.margin_ulp), distance(self.value_ulp));
        let classes = if self.classes > 0 { ", classes equal" } else { "" };
        let scores = match (self.scores, calibrated) {
            (0, false) => String::new(),
            (0, true) => ", calibrated scores not compared: the golden rows have no `score`".to_owned(),
            _ if self.score == 0.0 => ", scores bit-equal".to_owned(),
            _ => format!(", scores within {:.0e}", self.score),
        };
        format!(
            "{} rows: margins {margins}, values {values}{classes}{scores}",
            self.rows
        )
    }
}

/// Compares golden rows with a forest.
struct GoldenReplay<'a> {
    forest: &'a Forest,
    inputs: &'a [ModelInput],
    positions: InputPositions<'a>,
    output: &'a OutputSection,
    allowed: &'a GoldenSection,
    scratch: Scratch,
    agreement: Agreement,
}

/// Replays golden rows. Returns the agreement and the inputs of the rows, row-major.
///
/// # Errors
/// A line is not a golden row, or a result differs by more than the contract allows; the message names the line.
pub fn replay(
    text: &[u8],
    forest: &Forest,
    inputs: &[ModelInput],
    output: &OutputSection,
    allowed: &GoldenSection,
) -> Result<(Agreement, Vec<f64>), String> {
    let text = std::str::from_utf8(text).map_err(|_| "expected UTF-8 text".to_owned())?;
    let mut rows = Vec::new();
    let mut replay = GoldenReplay {
        forest,
        inputs,
        positions: inputs
            .iter()
            .enumerate()
            .map(|(position, input)| (input.contract.name.as_str(), position))
            .collect(),
        output,
        allowed,
        scratch: Scratch::default(),
        agreement: Agreement::default(),
    };
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    for (number, line) in lines {
        let input = replay
            .row(line)
            .map_err(|message| format!("line {}: {message}", number + 1))?;
        rows.extend_from_slice(&input);
    }
    if replay.agreement.rows == 0 {
        Err("line 1: expected a golden row, found none".to_owned())
    } else {
        Ok((replay.agreement, rows))
    }
}

impl GoldenReplay<'_> {
    /// Compares one line. Returns its input.
    fn row(&mut self, line: &str) -> Result<Vec<f64>, String> {
        let row: GoldenRow =
            serde_json::from_slice(&standard(line.as_bytes())).map_err(|error| error.to_string())?;
        let input = vector(&row.features, self.inputs, &self.positions)?;
        let margin = self.compare(OutputKind::Margin, &input, &row.margin, self.allowed.margin_ulp)?;
        let value = self.compare(OutputKind::Value, &input, &row.value, self.allowed.value_ulp)?;
        if let Some(class) = row.class {
            self.compare(OutputKind::Class, &input, &[class], 0)?;
            self.agreement.classes += 1;
        }
        if let Some(score) = row.score {
            self.compare_score(&input, score)?;
        }
        let agreement = &mut self.agreement;
        agreement.rows += 1;
        agreement.margin_ulp = agreement.margin_ulp.max(margin);
        agreement.value_ulp = agreement.value_ulp.max(value);
        Ok(input)
    }

    fn predict(&mut self, kind: OutputKind, input: &[f64]) -> Result<Vec<f64>, String> {
        let width = self.forest.width(kind).map_err(|error| error.to_string())?;
        let mut found = vec![0.0; width];
        self.forest
            .predict(kind, input, &mut found, &mut self.scratch)
            .map_err(|error| error.to_string())?;
        Ok(found)
    }

    /// Compares one output. Returns the largest difference in units in the last place.
    fn compare(
        &mut self,
        kind: OutputKind,
        input: &[f64],
        expected: &[f64],
        allowed: u64,
    ) -> Result<u64, String> {
        let found = self.predict(kind, input)?;
        if expected.len() != found.len() {
            let (width, given) = (found.len(), expected.len());
            return Err(format!("{kind}: expected {width} numbers, found {given}"));
        }
        let mut farthest = 0;
        for (&found, &expected) in found.iter().zip(expected) {
            let distance = ulps(found, expected, self.forest.precision());
            if distance > allowed {
                return Err(mismatch(kind, expected, found, distance, allowed));
            }
            farthest = farthest.max(distance);
        }
        Ok(farthest)
    }

    /// Compares the calibrated score.
    fn compare_score(&mut self, input: &[f64], expected: f64) -> Result<(), String> {
        let margin = self.predict(OutputKind::Margin, input)?.first().copied();
        let value = self.predict(output_of(self.output.kind), input)?;
        let [value] = value.as_slice() else {
            return Err(format!(
                "score: expected one number per row, the model gives {}",
                value.len()
            ));
        };
        let found = self.output.score(margin, *value);
        let difference = (found - expected).abs();
        if difference.is_nan() || difference > SCORE_TOLERANCE {
            return Err(format!(
                "score: expected {expected} from the calibration, found {found}; check `on`, the scale of \
                 [output] calibration: \"margin\" or \"probability\""
            ));
        }
        self.agreement.scores += 1;
        self.agreement.score = self.agreement.score.max(difference);
        Ok(())
    }
}

/// Tells a difference: the two numbers, and how close they are if they are close.
fn mismatch(kind: OutputKind, expected: f64, found: f64, distance: u64, allowed: u64) -> String {
    let how = match distance {
        ..=FAR if kind != OutputKind::Class => {
            format!(": {distance} units in the last place apart, {allowed} allowed")
        }
        _ => String::new(),
    };
    format!("{kind}: expected {expected} as the library predicts, found {found}{how}")
}

/// The positions of the inputs by name, so that a wide row is read in linear time.
type InputPositions<'a> = FxHashMap<&'a str, usize>;

fn vector(
    features: &Scalars,
    inputs: &[ModelInput],
    positions: &InputPositions<'_>,
) -> Result<Vec<f64>, String> {
    let mut cells: Vec<Option<&Scalar>> = vec![None; inputs.len()];
    for (name, scalar) in &features.0 {
        let cell = positions
            .get(&**name)
            .and_then(|&position| cells.get_mut(position));
        let Some(cell) = cell else {
            return Err(format!("`{name}` is not a feature of the contract"));
        };
        if cell.replace(scalar).is_some() {
            return Err(format!("`{name}`: expected one value, found two"));
        }
    }
    inputs
        .iter()
        .zip(cells)
        .map(|(input, cell)| {
            let name = &input.contract.name;
            let cell = cell.ok_or_else(|| format!("no value of `{name}`; write null for a missing one"))?;
            match input
                .encode(scalar_cell(cell))
                .map_err(|message| format!("`{name}`: {message}"))?
            {
                EncodedCell::Value(value) => Ok(value),
                EncodedCell::Null => Ok(f64::NAN),
                EncodedCell::UnknownCategory => Err(format!(
                    "`{name}`: expected one of the categories of the contract, found another one"
                )),
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
        Scalar::Digits(digits) => Cell::Untyped(digits),
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
    fn a_difference_is_told_in_both_numbers() {
        let far = mismatch(OutputKind::Margin, -2.3, 3.2, 9_226_754_061_256_270_046, 0);
        assert_eq!(far, "margin: expected -2.3 as the library predicts, found 3.2");
        let close = mismatch(OutputKind::Value, 0.5, 0.25, 3, 1);
        assert_eq!(
            close,
            "value: expected 0.5 as the library predicts, found 0.25: 3 units in the last place apart, 1 allowed"
        );
        let class = mismatch(OutputKind::Class, 1.0, 0.0, 1, 0);
        assert_eq!(class, "class: expected 1 as the library predicts, found 0");
    }

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
