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
    // Of a table or a request it has 64 bits still.
    if (low..=high).contains(&input.rounded(value)) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::sample;

    /// An input of the sample whose contract the test changes.
    fn input(change: impl FnOnce(&mut ModelInput)) -> ModelInput {
        let mut version = sample::version(1);
        let position = version.input("support_calls_30d").unwrap();
        let mut input = version.inputs.swap_remove(position);
        input.default = None;
        input.contract.range = Some([0.0, 10.0]);
        change(&mut input);
        input
    }

    fn apply(input: &ModelInput, value: SlotValue, stale: bool) -> (Result<f64, String>, FeatureIssues) {
        let mut issues = FeatureIssues::default();
        let result = apply_contract(input, 7, value, stale, &mut issues);
        (result.map_err(|error| error.to_string()), issues)
    }

    #[test]
    fn a_value_in_range_passes_unchanged() {
        let input = input(|_| {});
        for value in [0.0, 4.0, 10.0] {
            let (number, issues) = apply(&input, SlotValue::Value(value), false);
            assert_eq!((number, issues), (Ok(value), FeatureIssues::default()));
        }
    }

    #[test]
    fn a_bound_is_in_range_also_where_the_models_precision_rounds_it() {
        let input = input(|input| {
            input.contract.range = Some([0.3, 0.7]);
            input.contract.out_of_range = OutOfRange::Reject;
        });
        // Rounded to 32 bits, 0.3 grows and 0.7 shrinks.
        for value in [0.3, 0.7, f64::from(0.3_f32), f64::from(0.7_f32)] {
            let (number, issues) = apply(&input, SlotValue::Value(value), false);
            assert_eq!((number, issues), (Ok(value), FeatureIssues::default()));
        }
        assert!(apply(&input, SlotValue::Value(0.700_001), false).0.is_err());
    }

    #[test]
    fn each_policy_for_a_value_out_of_range_holds() {
        for (policy, expected) in [
            (OutOfRange::Keep, Ok(11.0)),
            (OutOfRange::Clamp, Ok(10.0)),
            (OutOfRange::Missing, Ok(5.0)),
            (OutOfRange::Reject, Err("is 11, outside of its range 0 to 10")),
        ] {
            let input = input(|input| {
                input.contract.out_of_range = policy;
                input.default = Some(5.0);
            });
            let (number, issues) = apply(&input, SlotValue::Value(11.0), false);
            match (number, expected) {
                (Ok(number), Ok(expected)) => assert_eq!(number, expected, "{policy:?}"),
                (Err(message), Err(expected)) => assert!(message.contains(expected), "{message}"),
                (number, _) => panic!("{policy:?}: {number:?}"),
            }
            assert_eq!(issues.out_of_range, [7], "{policy:?}");
            assert_eq!(issues.defaulted.is_empty(), policy != OutOfRange::Missing);
        }
    }

    #[test]
    fn each_policy_for_a_stale_value_holds() {
        for (policy, expected) in [(Stale::Use, Some(4.0)), (Stale::Missing, None)] {
            let input = input(|input| input.contract.stale = policy);
            let (number, issues) = apply(&input, SlotValue::Value(4.0), true);
            assert_eq!(Some(number.unwrap()).filter(|number| !number.is_nan()), expected);
            assert_eq!(issues.stale, [7]);
        }
        let input = input(|input| input.contract.stale = Stale::Reject);
        let (number, _) = apply(&input, SlotValue::Value(4.0), true);
        assert!(
            number
                .unwrap_err()
                .contains("`support_calls_30d` is older than its max_age")
        );
    }

    #[test]
    fn what_has_no_value_gets_the_default_or_is_missing() {
        let plain = input(|_| {});
        let defaulted = input(|input| input.default = Some(5.0));
        for (value, null, missing, out_of_range) in [
            (SlotValue::Null, true, false, false),
            (SlotValue::Absent, false, true, false),
            (SlotValue::Invalid, false, true, false),
            (SlotValue::UnknownCategory, false, false, true),
        ] {
            let (number, issues) = apply(&plain, value, false);
            assert!(number.unwrap().is_nan(), "{value:?}");
            assert_eq!(issues.null.is_empty(), !null, "{value:?}");
            assert_eq!(issues.missing.is_empty(), !missing, "{value:?}");
            assert_eq!(issues.out_of_range.is_empty(), !out_of_range, "{value:?}");
            assert_eq!(issues.degraded(), missing || out_of_range, "{value:?}");
            let (number, issues) = apply(&defaulted, value, false);
            assert_eq!((number, issues.defaulted), (Ok(5.0), vec![7]), "{value:?}");
            // A default for a null is what the contract promises.
            assert!(issues.null.is_empty(), "{value:?}");
        }
    }

    #[test]
    fn a_required_feature_without_a_value_is_rejected() {
        let input = input(|input| input.contract.required = true);
        for value in [SlotValue::Null, SlotValue::Absent, SlotValue::Invalid] {
            let (number, _) = apply(&input, value, false);
            assert!(number.unwrap_err().contains("is required"), "{value:?}");
        }
    }
}
