//! Feature issues, values of the request and reasons of a row, as JSON texts.

use serde_json::{Map, Value, json};

use super::schema::Policies;
use crate::config::LogPolicy;
use crate::models::ModelVersion;
use crate::models::contract::FeatureType;
use crate::scoring::outcome::Reason;
use crate::scoring::prediction::Prediction;
use crate::values::issues::STATUSES;

/// Categories that the model was not trained on are listed apart from numbers out of range.
const UNKNOWN_CATEGORY: &str = "unknown_category";
const OUT_OF_RANGE: &str = "out_of_range";

/// The features by issue, such as `{"missing":["plan"]}`, and sources that were unavailable; `None` if there is nothing.
pub(super) fn issues(model: &ModelVersion, prediction: &Prediction) -> Option<String> {
    let lists = prediction.issues.lists();
    if prediction.unavailable.is_empty() && lists.iter().all(|list| list.is_empty()) {
        return None;
    }
    let mut found = Map::new();
    let mut add = |key: &str, name: &str| {
        let list = found.entry(key).or_insert_with(|| json!([]));
        if let Value::Array(list) = list {
            list.push(name.into());
        }
    };
    for (status, positions) in STATUSES.iter().zip(lists) {
        for input in positions
            .iter()
            .filter_map(|&position| model.inputs.get(position))
        {
            let category = *status == OUT_OF_RANGE && input.contract.kind == FeatureType::Category;
            let key = if category { UNKNOWN_CATEGORY } else { status };
            add(key, &input.contract.name);
        }
    }
    for source in &prediction.unavailable {
        add("unavailable", source);
    }
    Some(Value::Object(found).to_string())
}

/// The names of the features whose values the request gave, as a JSON list; `None` if there is none.
pub(super) fn overridden(model: &ModelVersion, prediction: &Prediction) -> Option<String> {
    let slots = prediction.overridden.iter();
    let names: Vec<&str> = slots
        .filter_map(|&slot| Some(model.slot(slot)?.name.as_str()))
        .collect();
    (!names.is_empty()).then(|| json!(names).to_string())
}

/// The reasons as a JSON list; without those of features whose values are not logged, as a contribution may tell the value.
pub(super) fn reasons(model: &ModelVersion, policies: &Policies, reasons: &[Reason]) -> String {
    let logged = |reason: &&Reason| {
        let mut parts = reason.parts.iter();
        parts.all(|part| policies.inputs.get(part.input) == Some(&LogPolicy::Plain))
    };
    let list = reasons.iter().filter(logged).map(|reason| {
        let parts = reason.parts.iter().filter_map(|part| {
            let name = &model.inputs.get(part.input)?.contract.name;
            Some(json!({"feature": name, "contribution": part.contribution}))
        });
        json!({
            "contribution": reason.contribution,
            "effect": reason.effect,
            "features": parts.collect::<Vec<_>>(),
        })
    });
    Value::Array(list.collect()).to_string()
}
