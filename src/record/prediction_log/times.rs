//! The times of a row's features, if they come from several sources or records, as a JSON text.

use serde_json::{Value, json};

use crate::models::ModelVersion;
use crate::scoring::prediction::Prediction;
use crate::values::time::rfc3339;

/// The features by the time when their values were true, the oldest first, such as
/// `[{"as_of":"2026-11-29T08:00:00Z","features":["plan"]}]`; `None` if `as_of` is the time of all. A time that cannot be read
/// is null.
pub(super) fn feature_times(model: &ModelVersion, prediction: &Prediction) -> Option<String> {
    if prediction.slot_times.is_empty() {
        return None;
    }
    let inputs = model.inputs.iter().enumerate();
    let mut times: Vec<(f64, &str)> = inputs
        .filter_map(|(position, input)| {
            Some((time(model, prediction, position)?, input.contract.name.as_str()))
        })
        .collect();
    // Stable, so that features of one time stay in the model's order.
    times.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let groups = times.chunk_by(|(a, _), (b, _)| a == b).filter_map(|group| {
        let names: Vec<&str> = group.iter().map(|&(_, name)| name).collect();
        Some(json!({"as_of": rfc3339(group.first()?.0), "features": names}))
    });
    Some(Value::Array(groups.collect()).to_string())
}

/// The time of an input: of a derived one, of its oldest operand; `None` if the request gave it, or nothing tells.
fn time(model: &ModelVersion, prediction: &Prediction, input: usize) -> Option<f64> {
    let of_slot = |slot: usize| {
        let time = prediction.slot_times.get(slot).copied();
        time.filter(|time| !time.is_nan() && !prediction.overridden.contains(&slot))
    };
    match model.derived.get(input) {
        Some(Some(derived)) if !prediction.overridden.contains(&input) => {
            let slots = derived.slots().iter();
            slots.filter_map(|&slot| of_slot(slot)).min_by(f64::total_cmp)
        }
        _ => of_slot(input),
    }
}
