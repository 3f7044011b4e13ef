//! One row of model inputs: what was found for each feature, settled by the contract, with an account of it.

use crate::error::Error;
use crate::models::contract::{OutOfRange, Stale};
use crate::models::input::Input;

/// What a source has for one input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Found {
    /// A number, or a category's code.
    Value(f64),
    /// An explicit null.
    Null,
    /// Nothing: the source has no such feature for the entity.
    Absent,
    /// A category the model was not trained on.
    UnknownCategory,
    /// A value that the feature's type does not take: it counts as absent.
    Invalid,
}

/// What happened to a feature on its way into the row; positions are those of the model's inputs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// No source had it: the model sees its default or a missing value.
    pub missing: Vec<usize>,
    /// The source says null, and the model was trained with missing values there.
    pub null: Vec<usize>,
    /// Older than `max_age`.
    pub stale: Vec<usize>,
    /// Outside its range, or an unknown category.
    pub out_of_range: Vec<usize>,
    /// The contract's default stands in for a null or absent value.
    pub defaulted: Vec<usize>,
}

/// What can become of a feature besides being present, as it stands in metrics and views: the names of [`Notes::lists`].
pub const STATUSES: [&str; 5] = ["missing", "null", "stale", "out_of_range", "default"];

impl Notes {
    /// Who is concerned, by [`STATUSES`].
    pub fn lists(&self) -> [&[usize]; 5] {
        [
            &self.missing,
            &self.null,
            &self.stale,
            &self.out_of_range,
            &self.defaulted,
        ]
    }

    /// Whether the score rests on something the contract did not promise.
    pub fn degraded(&self) -> bool {
        !(self.missing.is_empty() && self.stale.is_empty() && self.out_of_range.is_empty())
    }
}

/// The number the model sees for the input at `position`, by the contract's rules; `stale` says that it is older than its `max_age`.
///
/// # Errors
/// [`Error::Rejected`] where the contract says so: the feature is required, or its policy is `reject`.
pub fn settle(
    input: &Input,
    position: usize,
    found: Found,
    stale: bool,
    notes: &mut Notes,
) -> Result<f64, Error> {
    match found {
        Found::Value(value) => {
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
        Found::Null => {
            let before = notes.defaulted.len();
            let value = substitute(input, position, notes)?;
            if notes.defaulted.len() == before {
                notes.null.push(position);
            }
            Ok(value)
        }
        Found::Absent | Found::Invalid => {
            notes.missing.push(position);
            substitute(input, position, notes)
        }
        Found::UnknownCategory => {
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

fn in_range(input: &Input, position: usize, value: f64, notes: &mut Notes) -> Result<f64, Error> {
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
fn substitute(input: &Input, position: usize, notes: &mut Notes) -> Result<f64, Error> {
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

fn rejected(input: &Input, why: &str) -> Error {
    Error::Rejected(format!("feature `{}` {why}", input.contract.name))
}
