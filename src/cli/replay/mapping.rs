//! Maps the logged inputs of one version to the inputs of a model.

use crate::config::LogPolicy;
use crate::models::ModelVersion;
use crate::models::apply::apply_contract;
use crate::models::input::ModelInput;
use crate::record::prediction_log::meta::{FileMeta, InputMeta};
use crate::record::prediction_log::read::input_column;
use crate::suggest::hint;
use crate::values::feature_type::FeatureType;
use crate::values::issues::FeatureIssues;
use crate::values::slot_value::SlotValue;

/// How the rows of a file become rows of a model.
pub(in crate::cli) struct InputMapping<'a> {
    model: &'a ModelVersion,
    /// The columns to read: all values that the log has.
    columns: Vec<String>,
    /// By input of the model.
    inputs: Vec<InputSource>,
}

/// Where the value of an input comes from.
struct InputSource {
    /// Its position among the columns.
    column: usize,
    reading: Reading,
}

/// What the numbers of a column are to the model.
enum Reading {
    /// What it saw itself.
    Bits,
    /// Numbers, to which its contract applies.
    Number,
    /// Codes of the version that wrote the log, and its own for the same names; `None` for a name that it does not know.
    Codes(Vec<(f64, Option<f64>)>),
}

impl<'a> InputMapping<'a> {
    /// Maps the columns of a file; `same` says that the model itself wrote it.
    ///
    /// # Errors
    /// The log lacks an input of the model, or cannot tell its values.
    pub(in crate::cli) fn new(meta: &FileMeta, model: &'a ModelVersion, same: bool) -> Result<Self, String> {
        let plain = || meta.inputs.iter().filter(|input| input.log == LogPolicy::Plain);
        let source = |input: &ModelInput| {
            let name = &input.contract.name;
            let logged = meta.input(name).ok_or_else(|| {
                let known = meta.inputs.iter().map(|input| input.name.as_str());
                format!(
                    "the model needs `{name}`, which is not in the log: version {} of {} has no such input{}",
                    meta.version,
                    meta.model,
                    hint(name, known)
                )
            })?;
            match logged.log {
                LogPolicy::Plain => {}
                LogPolicy::Hash => {
                    return Err(not_there(
                        name,
                        "is hashed in the log (log = \"hash\" in its contract)",
                    ));
                }
                LogPolicy::Omit => {
                    return Err(not_there(
                        name,
                        "is left out of the log (log = false in its contract)",
                    ));
                }
            }
            let column = plain().position(|known| known.name == *name).unwrap_or_default();
            let reading = match same {
                true => Reading::Bits,
                false => reading(logged, input)?,
            };
            Ok(InputSource { column, reading })
        };
        Ok(Self {
            model,
            columns: plain().map(|input| input_column(&input.name)).collect(),
            inputs: model.inputs.iter().map(source).collect::<Result<_, String>>()?,
        })
    }

    /// The columns to read.
    pub(in crate::cli) fn columns(&self) -> impl Iterator<Item = String> {
        self.columns.iter().cloned()
    }

    /// Adds the model's row for the values of the columns. A row that its contract refuses is all NaN.
    ///
    /// # Errors
    /// The contract refuses the row.
    pub(in crate::cli) fn add_row(&self, values: &[f64], rows: &mut Vec<f64>) -> Result<(), String> {
        let start = rows.len();
        let mut issues = FeatureIssues::default();
        let mut add = || {
            for (position, (source, input)) in self.inputs.iter().zip(&self.model.inputs).enumerate() {
                let value = values.get(source.column).copied().unwrap_or(f64::NAN);
                let slot = match &source.reading {
                    Reading::Bits => {
                        rows.push(value);
                        continue;
                    }
                    _ if value.is_nan() => SlotValue::Null,
                    Reading::Number => SlotValue::Value(value),
                    Reading::Codes(codes) => code(codes, value),
                };
                rows.push(apply_contract(input, position, slot, false, &mut issues)?);
            }
            self.model.known.check(&issues, &self.model.inputs)
        };
        add().map_err(|error| {
            rows.truncate(start);
            rows.resize(start + self.inputs.len(), f64::NAN);
            error.to_string()
        })
    }
}

fn not_there(name: &str, why: &str) -> String {
    format!(
        "`{name}` {why}, so its scores cannot be replayed; a log can be replayed if it has every input of the model"
    )
}

/// The model's code for a logged one.
fn code(codes: &[(f64, Option<f64>)], logged: f64) -> SlotValue {
    let found = codes.iter().find(|(known, _)| *known == logged);
    match found.and_then(|(_, own)| *own) {
        Some(own) => SlotValue::Value(own),
        None => SlotValue::UnknownCategory,
    }
}

fn reading(logged: &InputMeta, input: &ModelInput) -> Result<Reading, String> {
    let name = &input.contract.name;
    let (is, was) = (input.contract.kind, logged.kind);
    if (is == FeatureType::Category) != (was == FeatureType::Category) {
        return Err(format!(
            "`{name}` is {} in the log and {} to the model; the log cannot tell its values",
            was.noun(),
            is.noun()
        ));
    }
    if is != FeatureType::Category {
        return Ok(Reading::Number);
    }
    if logged.categories.is_empty() {
        return Err(format!(
            "`{name}`: the log has codes of its categories without their names"
        ));
    }
    let mut codes: Vec<(f64, Option<f64>)> = Vec::with_capacity(logged.categories.len());
    for (category, &code) in &logged.categories {
        match codes.iter_mut().find(|(known, _)| *known == code) {
            // Several names had one code: which one it was is not known.
            Some((_, own)) => *own = None,
            None => codes.push((code, input.code(category))),
        }
    }
    Ok(Reading::Codes(codes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_translated_by_name() {
        let codes = [(0.0, Some(2.0)), (1.0, None)];
        assert_eq!(code(&codes, 0.0), SlotValue::Value(2.0));
        assert_eq!(code(&codes, 1.0), SlotValue::UnknownCategory);
        assert_eq!(code(&codes, 7.0), SlotValue::UnknownCategory);
    }
}
