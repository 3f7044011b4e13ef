//! Applies the contract to the value of one input: missing, stale and out-of-range policies, and defaults.

use super::contract::{OutOfRange, Stale};
use super::input::ModelInput;
use crate::error::Error;
use crate::values::issues::FeatureIssues;
use crate::values::slot_value::SlotValue;

/// The number the model sees for the input at `position`, by the contract's rules; `stale` says that it is older than its `max_age`.
///
/// # Errors
/// [`Error::rejected`] where the contract says so: the feature is required, or its policy is `reject`.
pub fn apply_contract(
    input: &ModelInput,
    position: usize,
    found: SlotValue,
    stale: bool,
    issues: &mut FeatureIssues,
) -> Result<f64, Error> {
    match found {
        SlotValue::Value(value) => {
            if stale {
                issues.stale.push(position);
                match input.contract.stale {
                    Stale::Use => {}
                    Stale::Missing => return substitute(input, position, issues),
                    Stale::Reject => return Err(rejected(input, "is older than its max_age")),
                }
            }
            in_range(input, position, value, issues)
        }
        SlotValue::Null => {
            let before = issues.defaulted.len();
            let value = substitute(input, position, issues)?;
            if issues.defaulted.len() == before {
                issues.null.push(position);
            }
            Ok(value)
        }
        SlotValue::Absent | SlotValue::Invalid => {
            issues.missing.push(position);
            substitute(input, position, issues)
        }
        SlotValue::UnknownCategory => {
            issues.out_of_range.push(position);
            match input.contract.out_of_range {
                OutOfRange::Reject => Err(rejected(input, "is a category the model was not trained on")),
                OutOfRange::Keep | OutOfRange::Clamp | OutOfRange::Missing => {
                    substitute(input, position, issues)
                }
            }
        }
    }
}

fn in_range(
    input: &ModelInput,
    position: usize,
    value: f64,
    issues: &mut FeatureIssues,
) -> Result<f64, Error> {
    input.fits(value).map_err(|message| rejected(input, &message))?;
    let Some([low, high]) = input.bounds() else {
        return Ok(value);
    };
    if (low..=high).contains(&value) {
        return Ok(value);
    }
    issues.out_of_range.push(position);
    match input.contract.out_of_range {
        OutOfRange::Keep => Ok(value),
        OutOfRange::Clamp => Ok(value.clamp(low, high)),
        OutOfRange::Missing => substitute(input, position, issues),
        OutOfRange::Reject => Err(rejected(
            input,
            &format!("is {value}, outside of its range {low} to {high}"),
        )),
    }
}

/// The default, or a missing value, for a feature that has none.
fn substitute(input: &ModelInput, position: usize, issues: &mut FeatureIssues) -> Result<f64, Error> {
    if input.contract.required {
        return Err(rejected(input, "is required and has no value"));
    }
    match input.default {
        Some(default) => {
            issues.defaulted.push(position);
            Ok(default)
        }
        None => Ok(f64::NAN),
    }
}

fn rejected(input: &ModelInput, why: &str) -> Error {
    Error::rejected(format!("feature `{}` {why}", input.contract.name))
}
