//! One row of model inputs: what was found for each feature, settled by the contract, with an account of it.

use crate::error::Error;
use crate::models::contract::{OutOfRange, Stale};
use crate::models::input::ModelInput;
use crate::values::issues::FeatureIssues;
use crate::values::slot_value::SlotValue;

/// The number the model sees for the input at `position`, by the contract's rules; `stale` says that it is older than its `max_age`.
///
/// # Errors
/// [`Error::rejected`] where the contract says so: the feature is required, or its policy is `reject`.
pub fn settle(
    input: &ModelInput,
    position: usize,
    found: SlotValue,
    stale: bool,
    notes: &mut FeatureIssues,
) -> Result<f64, Error> {
    match found {
        SlotValue::Value(value) => {
            if stale {
                notes.stale.push(position);
                match input.contract.stale {
                    Stale::Use => {}
                    Stale::Missing => return substitute(input, position, notes),
                    Stale::Reject => return Err(rejected(input, "is older than its max_age")),
                }
            }
            in_range(input, position, value, notes)
        }
        SlotValue::Null => {
            let before = notes.defaulted.len();
            let value = substitute(input, position, notes)?;
            if notes.defaulted.len() == before {
                notes.null.push(position);
            }
            Ok(value)
        }
        SlotValue::Absent | SlotValue::Invalid => {
            notes.missing.push(position);
            substitute(input, position, notes)
        }
        SlotValue::UnknownCategory => {
            notes.out_of_range.push(position);
            match input.contract.out_of_range {
                OutOfRange::Reject => Err(rejected(input, "is a category the model was not trained on")),
                OutOfRange::Keep | OutOfRange::Clamp | OutOfRange::Missing => {
                    substitute(input, position, notes)
                }
            }
        }
    }
}

fn in_range(
    input: &ModelInput,
    position: usize,
    value: f64,
    notes: &mut FeatureIssues,
) -> Result<f64, Error> {
    input.fits(value).map_err(|message| rejected(input, &message))?;
    let Some([low, high]) = input.bounds() else {
        return Ok(value);
    };
    if (low..=high).contains(&value) {
        return Ok(value);
    }
    notes.out_of_range.push(position);
    match input.contract.out_of_range {
        OutOfRange::Keep => Ok(value),
        OutOfRange::Clamp => Ok(value.clamp(low, high)),
        OutOfRange::Missing => substitute(input, position, notes),
        OutOfRange::Reject => Err(rejected(
            input,
            &format!("is {value}, outside of its range {low} to {high}"),
        )),
    }
}

/// The default, or a missing value, for a feature that has none.
fn substitute(input: &ModelInput, position: usize, notes: &mut FeatureIssues) -> Result<f64, Error> {
    if input.contract.required {
        return Err(rejected(input, "is required and has no value"));
    }
    match input.default {
        Some(default) => {
            notes.defaulted.push(position);
            Ok(default)
        }
        None => Ok(f64::NAN),
    }
}

fn rejected(input: &ModelInput, why: &str) -> Error {
    Error::rejected(format!("feature `{}` {why}", input.contract.name))
}
