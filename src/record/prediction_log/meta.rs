//! What a file of the prediction log says of itself, in the footer under the key `evergreen`: the version, and the meaning of
//! its columns. Categories are logged as the codes that the model saw, so their names are here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::schema::Policies;
use crate::config::LogPolicy;
use crate::models::ModelVersion;
use crate::values::feature_type::FeatureType;

/// The layout of the columns and of this description.
const FORMAT: u32 = 1;

/// The most categories whose names are written.
const MOST_CATEGORIES: usize = 65_536;

/// The description of a file.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct FileMeta {
    /// The layout of the columns: 1.
    pub format: u32,
    /// The name of the model.
    pub model: String,
    /// The version.
    pub version: u64,
    /// SHA-256 of the model file, lower-case hex.
    pub sha256: String,
    /// What the score is made from, and how it is calibrated.
    pub output: String,
    /// The writer of all rows.
    pub writer: String,
    /// What the log has of the ids.
    pub entity: LogPolicy,
    /// The inputs, in the model's order.
    pub inputs: Vec<InputMeta>,
}

/// An input of the model in a file.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct InputMeta {
    /// The name of the feature.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: FeatureType,
    /// What the log has of it.
    pub log: LogPolicy,
    /// The codes of its categories by name; empty for numbers and for categories without names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub categories: BTreeMap<String, f64>,
}

/// The kind and the calibration of a version's score as a text: equal texts mean equal scores of equal values.
pub fn output(model: &ModelVersion) -> String {
    let output = model.contract.as_ref().map(|contract| &contract.output);
    output.map_or_else(String::new, |output| {
        let kind = output.kind.label();
        match &output.calibration {
            None => kind.to_owned(),
            Some(calibration) => format!("{kind}, {calibration:?}"),
        }
    })
}

impl FileMeta {
    /// The key in the footer of a file.
    pub const KEY: &str = "evergreen";

    pub(super) fn of(model: &ModelVersion, policies: &Policies, writer: &str) -> Self {
        let inputs = model.inputs.iter().zip(&policies.inputs);
        let inputs = inputs.map(|(input, &log)| {
            let names = match log {
                LogPolicy::Plain => input.categories(),
                // The codes are not there either.
                LogPolicy::Hash | LogPolicy::Omit => Vec::new(),
            };
            let names = names.into_iter().take(MOST_CATEGORIES);
            InputMeta {
                name: input.contract.name.clone(),
                kind: input.contract.kind,
                log,
                categories: names
                    .filter_map(|name| input.code(&name).map(|code| (name, code)))
                    .collect(),
            }
        });
        Self {
            format: FORMAT,
            model: model.name.clone(),
            version: model.version,
            sha256: model.sha256.clone(),
            output: output(model),
            writer: writer.to_owned(),
            entity: policies.entity,
            inputs: inputs.collect(),
        }
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads the description of a file.
    ///
    /// # Errors
    /// It is not one, or of a later layout.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let meta: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        match meta.format {
            FORMAT => Ok(meta),
            other => Err(format!(
                "expected layout {FORMAT}, found {other}; use a newer Evergreen"
            )),
        }
    }

    /// The input with this name.
    pub fn input(&self, name: &str) -> Option<&InputMeta> {
        self.inputs.iter().find(|input| input.name == name)
    }
}
