//! Converts tensors to rows of a model: exactly, or with an error that names the input.

use super::tensor::{Datatype, Elements, Tensor};
use crate::error::Error;
use crate::models::ModelVersion;
use crate::models::input::ModelInput;
use crate::suggest::unknown;
use crate::values::cell::EXACT;
use evergreen_forest::{Feature, Precision};

/// Rows of model inputs, row-major.
#[derive(Debug)]
pub(super) struct Matrix {
    pub(super) values: Vec<f64>,
    pub(super) rows: usize,
}

/// Builds the rows from one tensor `[rows, features]`, or one `[rows]` or `[rows, 1]` per feature.
pub(super) fn matrix(model: &ModelVersion, inputs: &[Tensor]) -> Result<Matrix, Error> {
    let features = model.forest.features();
    match inputs {
        [] => Err(invalid(
            "inputs",
            "inputs: expected a matrix, one tensor per feature, or ids, found none".to_owned(),
        )),
        [one] if is_matrix(one, features) => whole(model, one),
        many => by_feature(model, many),
    }
}

/// An error about the input `name`.
fn invalid(name: &str, message: String) -> Error {
    Error::invalid(message).about(name)
}

/// Whether a single input is the matrix of all features, not a feature by name.
fn is_matrix(input: &Tensor, features: &[Feature]) -> bool {
    features.iter().all(|feature| feature.name != input.name)
}

fn whole(model: &ModelVersion, input: &Tensor) -> Result<Matrix, Error> {
    let width = model.forest.features().len();
    let rows = match *input.shape.as_slice() {
        [rows, columns] if columns == width => rows,
        [columns] if columns == width => 1,
        _ => {
            let (name, shape) = (&input.name, &input.shape);
            return Err(invalid(
                name,
                format!("input `{name}`: expected the shape [rows, {width}], found {shape:?}"),
            ));
        }
    };
    let values = numbers(model, input)?;
    for (position, feature) in model.inputs.iter().enumerate() {
        let column = values.iter().skip(position).step_by(width);
        known_codes(feature, &input.name, column)?;
    }
    Ok(Matrix { values, rows })
}

/// Checks that a column of numbers holds codes of known categories, if the feature has categories. A number that is no
/// code would silently score as an unknown category, although the client may have meant a name such as 42.
fn known_codes<'a>(
    feature: &ModelInput,
    input: &str,
    column: impl Iterator<Item = &'a f64>,
) -> Result<(), Error> {
    let Some(largest) = feature.largest_code() else {
        return Ok(());
    };
    let is_code = |value: f64| value.is_nan() || (value.fract() == 0.0 && (0.0..=largest).contains(&value));
    let Some(wrong) = column.copied().find(|&value| !is_code(value)) else {
        return Ok(());
    };
    let name = &feature.contract.name;
    Err(invalid(
        name,
        format!(
            "input `{input}`, feature `{name}`: expected the code of a category, a whole number from 0 to {largest}, \
             or NaN for none, found {wrong}; to send names, give `{name}` a BYTES tensor of its own"
        ),
    ))
}

fn by_feature(model: &ModelVersion, inputs: &[Tensor]) -> Result<Matrix, Error> {
    let features = model.forest.features();
    let known = |name: &str| features.iter().any(|feature| feature.name == name);
    if let Some(input) = inputs.iter().find(|input| !known(&input.name)) {
        let hint = crate::suggest::hint(&input.name, features.iter().map(|feature| feature.name.as_str()));
        return Err(invalid(
            &input.name,
            format!("input `{}` is not a feature of the model{hint}", input.name),
        ));
    }
    let find = |feature: &Feature| {
        inputs
            .iter()
            .filter(|input| input.name == feature.name)
            .collect::<Vec<_>>()
    };
    let mut columns = Vec::with_capacity(features.len());
    for (position, feature) in features.iter().enumerate() {
        let [input] = find(feature)[..] else {
            let problem = if find(feature).is_empty() {
                "is missing"
            } else {
                "is a duplicate"
            };
            return Err(invalid(
                &feature.name,
                format!("input `{}` {problem}", feature.name),
            ));
        };
        if !matches!(*input.shape.as_slice(), [_] | [_, 1]) {
            let (name, shape) = (&input.name, &input.shape);
            return Err(invalid(
                name,
                format!("input `{name}`: expected the shape [rows], found {shape:?}"),
            ));
        }
        columns.push(column(model, position, input)?);
    }
    let rows = columns.first().map_or(0, Vec::len);
    if let Some(position) = columns.iter().position(|column| column.len() != rows) {
        let (first, other) = (&features[0].name, &features[position].name);
        return Err(invalid(
            other,
            format!("inputs `{first}` and `{other}`: expected the same number of rows"),
        ));
    }
    let values = (0..rows)
        .flat_map(|row| columns.iter().map(move |column| column[row]))
        .collect();
    Ok(Matrix { values, rows })
}

/// Converts the column of a feature: numbers, codes of categories, or names of categories.
fn column(model: &ModelVersion, position: usize, input: &Tensor) -> Result<Vec<f64>, Error> {
    let name = &input.name;
    let feature = model.inputs.get(position);
    let Elements::Text(texts) = &input.elements else {
        let values = numbers(model, input)?;
        if let Some(feature) = feature {
            known_codes(feature, name, values.iter())?;
        }
        return Ok(values);
    };
    let Some(feature) = feature else {
        return Err(invalid(
            name,
            format!("input `{name}`: expected numbers; texts need a model with a contract (bundle.toml)"),
        ));
    };
    texts.iter().map(|text| category(feature, text)).collect()
}

/// The code of a category by its name; an empty text is a missing value.
fn category(feature: &ModelInput, text: &str) -> Result<f64, Error> {
    if text.is_empty() {
        return Ok(f64::NAN);
    }
    let name = &feature.contract.name;
    feature.code(text).ok_or_else(|| {
        let known = feature.categories();
        let message = match known.is_empty() {
            true => format!("input `{name}`: expected numbers, found the text {text:?}"),
            false => format!(
                "input `{name}`: {}",
                unknown("category", text, known.iter().map(String::as_str))
            ),
        };
        invalid(name, message)
    })
}

/// Converts numbers exactly.
fn numbers(model: &ModelVersion, input: &Tensor) -> Result<Vec<f64>, Error> {
    let name = &input.name;
    let single = model.forest.precision() == Precision::F32;
    match &input.elements {
        Elements::Text(_) => Err(invalid(
            name,
            format!(
                "input `{name}`: expected numbers, found {}",
                Datatype::Bytes.name()
            ),
        )),
        Elements::Whole(values) => {
            if let Some(value) = values.iter().find(|value| !(-EXACT..=EXACT).contains(*value)) {
                let message = format!("input `{name}`: expected a whole number within ±2^53, found {value}");
                return Err(invalid(name, message));
            }
            #[expect(clippy::cast_precision_loss, reason = "checked just above to be exact")]
            Ok(values.iter().map(|&value| value as f64).collect())
        }
        Elements::Float(values) => {
            #[expect(clippy::cast_possible_truncation, reason = "that is the question")]
            let overflows = |value: &&f64| value.is_finite() && !(**value as f32).is_finite();
            match values.iter().find(overflows).filter(|_| single) {
                Some(value) => Err(invalid(
                    name,
                    format!("input `{name}`: {value} exceeds the range of this model's 32-bit floats"),
                )),
                None => Ok(values.clone()),
            }
        }
    }
}
