//! The contract of a bundle, `bundle.toml`: what goes into the model, what comes out of it, and the checksums of
//! everything that belongs to it.

mod derive;
mod feature;

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::path::Path;

pub use crate::values::feature_type::{FeatureType, Parse};
pub use derive::{Derivation, MapTable, MapTarget};
pub use feature::{FeatureContract, OutOfRange, Stale};
use serde::Deserialize;
use toml::Spanned;

use crate::toml_text::{self, TomlError};
use crate::values::band::Band;
use evergreen_forest::{Format, Iterations, LoadOptions};

/// Name of the contract's file inside a bundle.
pub const FILE_NAME: &str = "bundle.toml";

/// The layout of `bundle.toml` that this program reads.
const LAYOUT: u32 = 1;

/// The largest tolerance of a golden row, in units in the last place: what different `exp`s of one library come to.
const MOST_ULP: u64 = 16;

/// A parsed and validated `bundle.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contract {
    /// Layout of this file: 1.
    format: u32,
    /// The model file and where it comes from.
    pub model: ModelSection,
    /// What is answered.
    pub output: OutputSection,
    /// The inputs, in the model's order.
    #[serde(rename = "feature", default)]
    features: Vec<Spanned<FeatureContract>>,
    /// Stored values that only derived features use.
    #[serde(rename = "operand", default)]
    operands: Vec<Spanned<FeatureContract>>,
    /// Rows with the training library's own outputs.
    pub golden: GoldenSection,
    /// How quick the model must be.
    pub budget: Option<BudgetSection>,
    /// SHA-256 (lower-case hex) of every other file of the bundle.
    pub files: BTreeMap<String, String>,
}

/// `[model]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSection {
    /// The model's name.
    pub name: Option<String>,
    /// The model file, in the bundle's folder.
    pub file: String,
    /// Insist on a format; otherwise it is detected from the bytes.
    pub format: Option<Format>,
    /// What a row is about: the name of the id.
    #[serde(default = "default_entity")]
    pub entity: String,
    /// When training ended.
    pub trained_at: Option<toml::value::Datetime>,
    /// Which boosting rounds take part.
    #[serde(default)]
    pub iterations: Iterations,
    /// Free text pairs, echoed by the API: run, data, commit.
    #[serde(default)]
    pub lineage: BTreeMap<String, String>,
}

fn default_entity() -> String {
    "id".to_owned()
}

/// `[output]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputSection {
    /// What the score is.
    pub kind: ScoreKind,
    /// Maps the model's value to the score.
    pub calibration: Option<Calibration>,
    /// Names for ranges of the score, ascending.
    #[serde(default)]
    pub bands: Vec<Band>,
}

/// What a score is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScoreKind {
    /// A probability.
    Probability,
    /// The raw sum of the leaves.
    Margin,
    /// The library's plain prediction.
    Value,
    /// The predicted class.
    Class,
}

/// A calibration of the value, fitted after training.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Calibration {
    /// Platt scaling of the margin: `1 / (1 + exp(a·margin + b))`.
    Platt {
        /// Slope; negative when a larger margin means a larger score.
        a: f64,
        /// Offset.
        b: f64,
    },
    /// Linear interpolation of the value between points; constant beyond the ends.
    Isotonic {
        /// Values, strictly ascending.
        x: Vec<f64>,
        /// Scores, ascending.
        y: Vec<f64>,
    },
}

/// `[golden]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenSection {
    /// The file, in the bundle's folder.
    pub file: String,
    /// Units in the last place by which a margin may differ.
    #[serde(default)]
    pub margin_ulp: u64,
    /// Units in the last place by which a value may differ.
    #[serde(default)]
    pub value_ulp: u64,
}

/// `[budget]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetSection {
    /// The 99th percentile of the time for one row in the forest, in microseconds.
    pub row_p99_us: f64,
}

impl Contract {
    /// Parses and validates `text`, the content of `path`.
    ///
    /// # Errors
    /// Names the file, the line and the field.
    pub fn parse(path: &Path, text: &str) -> Result<Self, TomlError> {
        let mut contract: Self = toml_text::parse(path, text)?;
        let error = |span, message: String| TomlError::at(path, text, span, message);
        if contract.format != LAYOUT {
            return Err(error(
                None,
                format!("format {}: this Evergreen reads format {LAYOUT}", contract.format),
            ));
        }
        let mut names = HashSet::new();
        for feature in contract.features.iter_mut().chain(&mut contract.operands) {
            let span = feature.span();
            let feature = feature.get_mut();
            if let Err(message) = feature.validate() {
                return Err(error(
                    Some(span),
                    format!("feature `{}`: {message}", feature.name),
                ));
            }
            if !names.insert(feature.name.clone()) {
                return Err(error(
                    Some(span),
                    format!("feature `{}` is listed twice", feature.name),
                ));
            }
        }
        contract.validate_derived(&error)?;
        if contract.features.is_empty() {
            return Err(error(
                None,
                "no [[feature]]: a contract lists every input of the model".to_owned(),
            ));
        }
        contract
            .output
            .validate()
            .map_err(|message| error(None, format!("[output] {message}")))?;
        let golden = &contract.golden;
        if golden.margin_ulp.max(golden.value_ulp) > MOST_ULP {
            let message =
                format!("[golden] a tolerance beyond {MOST_ULP} ulp is not the library's result any more");
            return Err(error(None, message));
        }
        if let Some(budget) = contract
            .budget
            .as_ref()
            .filter(|budget| budget.row_p99_us.is_nan() || budget.row_p99_us <= 0.0)
        {
            let message = format!(
                "[budget] row_p99_us = {}: expected microseconds above 0",
                budget.row_p99_us
            );
            return Err(error(None, message));
        }
        for name in [&contract.model.file, &contract.golden.file] {
            if !contract.files.contains_key(name) {
                return Err(error(None, format!("[files] lists no checksum for {name:?}")));
            }
        }
        contract
            .files
            .keys()
            .try_for_each(|name| plain_name(name))
            .map_err(|message| error(None, message))?;
        Ok(contract)
    }

    /// Derived features rest on stored ones alone, and operands are stored.
    fn validate_derived(
        &self,
        error: &dyn Fn(Option<Range<usize>>, String) -> TomlError,
    ) -> Result<(), TomlError> {
        let stored = |name: &str| {
            let found = self.stored().find(|feature| feature.name == name);
            found.map(|feature| feature.kind)
        };
        for feature in &self.features {
            let span = Some(feature.span());
            let feature = feature.get_ref();
            if let Some(derive) = &feature.derive {
                derive
                    .validate(feature.kind, stored)
                    .map_err(|message| error(span, format!("feature `{}`: {message}", feature.name)))?;
            }
        }
        match self.operands.iter().find(|operand| !operand.get_ref().is_plain()) {
            Some(operand) => Err(error(
                Some(operand.span()),
                format!(
                    "operand `{}`: it has a source, a type and a max_age; the rest is for features",
                    operand.get_ref().name
                ),
            )),
            None => Ok(()),
        }
    }

    /// How the model file is to be read.
    pub fn load_options(&self) -> LoadOptions {
        LoadOptions {
            format: self.model.format,
            iterations: self.model.iterations,
            kernel: None,
        }
    }

    /// Stored values that only derived features use.
    pub fn operands(&self) -> impl ExactSizeIterator<Item = &FeatureContract> {
        self.operands.iter().map(Spanned::get_ref)
    }

    /// Everything a store must have: features that are not derived, and operands.
    pub fn stored(&self) -> impl Iterator<Item = &FeatureContract> {
        self.features()
            .filter(|feature| feature.derive.is_none())
            .chain(self.operands())
    }

    /// The inputs, in the model's order.
    pub fn features(&self) -> impl ExactSizeIterator<Item = &FeatureContract> {
        self.features.iter().map(Spanned::get_ref)
    }
}

/// A bundle's files lie beside its contract: no folder, no way out of it.
fn plain_name(name: &str) -> Result<(), String> {
    let plain = !name.is_empty() && !name.contains(['/', '\\', '\0']) && name != "." && name != "..";
    if plain {
        Ok(())
    } else {
        Err(format!(
            "[files] {name:?} must be a plain file name inside the bundle"
        ))
    }
}

impl OutputSection {
    fn validate(&self) -> Result<(), String> {
        if let Some(pair) = self
            .bands
            .windows(2)
            .find(|pair| pair[0].from.total_cmp(&pair[1].from).is_ge())
        {
            return Err(format!(
                "bands: `{}` must start above `{}`",
                pair[1].name, pair[0].name
            ));
        }
        if let Some(Calibration::Isotonic { x, y }) = &self.calibration {
            if x.is_empty() || x.len() != y.len() {
                return Err("calibration: x and y need the same number of points, at least one".to_owned());
            }
            if !x.is_sorted_by(|a, b| a < b) || !y.is_sorted() {
                return Err("calibration: x must ascend strictly and y must not descend".to_owned());
            }
        }
        if self.calibration.is_some() && self.kind != ScoreKind::Probability {
            return Err("calibration: only for kind = \"probability\"".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    const GOOD: &str = r#"
format = 1
[model]
file = "m.json"
[output]
kind = "probability"
bands = [{ name = "low", from = 0.0 }, { name = "high", from = 0.7 }]
[[feature]]
name = "calls"
source = "stats:calls_30d"
type = "int"
range = [0, 500]
max_age = "36h"
[golden]
file = "g.jsonl"
[files]
"m.json" = "00"
"g.jsonl" = "11"
"#;

    fn parse(text: &str) -> Result<Contract, String> {
        Contract::parse(Path::new("b.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_contract_is_read_whole() {
        let contract = parse(GOOD).unwrap();
        let feature = contract.features().next().unwrap();
        assert_eq!((feature.column(), feature.label()), ("calls_30d", "calls"));
        assert_eq!(feature.max_age_duration, Some(SignedDuration::from_hours(36)));
    }

    #[test]
    fn what_is_wrong_is_named_with_line_and_field() {
        for (from, to, expected) in [
            (
                "range = [0, 500]",
                "range = [9, 5]",
                "b.toml:8: feature `calls`: range [9, 5]",
            ),
            (
                "type = \"int\"",
                "type = \"integr\"",
                "b.toml:11: unknown variant `integr`",
            ),
            ("max_age", "max_agee", "did you mean `max_age`?"),
            ("\"36h\"", "\"soon\"", "feature `calls`: max_age \"soon\""),
            ("from = 0.7", "from = 0.0", "bands: `high` must start above `low`"),
            (
                "format = 1",
                "format = 2",
                "format 2: this Evergreen reads format 1",
            ),
            ("\"g.jsonl\" = \"11\"", "", "no checksum for \"g.jsonl\""),
            (
                "\"g.jsonl\" = \"11\"",
                "\"g.jsonl\" = \"1\"\n\"../x\" = \"2\"",
                "plain file name",
            ),
        ] {
            let error = parse(&GOOD.replace(from, to)).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
