//! The contract of a bundle, `bundle.toml`: the inputs of the model, its output, and the checksums of all files.

mod calibration;
mod derive;
mod feature;
mod log;
mod outcome;
mod wording;

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::path::Path;

pub use crate::values::feature_type::{FeatureType, Parse};
pub use calibration::{Calibration, CalibrationScale};
pub use derive::{Derivation, MapTable, MapTarget};
pub use feature::{Actionable, FeatureContract, OutOfRange, Stale};
pub use outcome::{Absent, OutcomeSection};
use serde::Deserialize;
use toml::Spanned;
pub use wording::{ByDirection, Template, Wording, safe};

use crate::config::LogPolicy;
use crate::toml_text::{self, TomlError};
use crate::values::band::Band;
use evergreen_forest::{Format, Iterations, LoadOptions};

/// File name of the contract in a bundle.
pub const FILE_NAME: &str = "bundle.toml";

/// The version of the layout of `bundle.toml` that this program reads.
const LAYOUT: u32 = 1;

/// The largest tolerance of a golden row, in units in the last place. Different `exp` functions of one library differ by
/// that much.
const MOST_ULP: u64 = 16;

/// A parsed and validated `bundle.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contract {
    /// Layout of this file: 1.
    format: u32,
    /// The model file and its origin.
    pub model: ModelSection,
    /// The score.
    pub output: OutputSection,
    /// What the score predicts and by when; without it scores are not compared with outcomes.
    pub outcome: Option<OutcomeSection>,
    /// The inputs, in the model's order.
    #[serde(rename = "feature", default)]
    features: Vec<Spanned<FeatureContract>>,
    /// Stored values that only derived features use.
    #[serde(rename = "operand", default)]
    operands: Vec<Spanned<FeatureContract>>,
    /// Golden rows: inputs with the training library's outputs.
    pub golden: GoldenSection,
    /// The latency budget.
    pub budget: Option<BudgetSection>,
    /// SHA-256 (lower-case hex) of every other file of the bundle.
    pub files: BTreeMap<String, String>,
}

/// The model file and its origin.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSection {
    /// The model's name.
    pub name: Option<String>,
    /// The model file, in the folder of the bundle.
    pub file: String,
    /// The format of the model file; detected from its bytes if missing.
    pub format: Option<Format>,
    /// Name of the id, such as `customer_id`; `id` if missing.
    #[serde(default = "default_entity")]
    pub entity: String,
    /// What the prediction log has of the id: `true` the id, `"hash"` its hash, `false` nothing.
    #[serde(default, deserialize_with = "log::in_log")]
    pub log_entity: LogPolicy,
    /// Time at which training ended.
    pub trained_at: Option<toml::value::Datetime>,
    /// Boosting rounds to use.
    #[serde(default)]
    pub iterations: Iterations,
    /// Free pairs of texts that the API returns, such as run, data and commit.
    #[serde(default)]
    pub lineage: BTreeMap<String, String>,
}

fn default_entity() -> String {
    "id".to_owned()
}

/// The score and its bands.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputSection {
    /// What the score is made from.
    pub kind: ScoreKind,
    /// Calibration: maps the model's margin or probability to the score.
    pub calibration: Option<Calibration>,
    /// Names for ranges of the score, in ascending order.
    #[serde(default)]
    pub bands: Vec<Band>,
    /// The least share of what the model relies on that must be known for a score, 0 to 1; 0.5 if missing. Below it an
    /// entity gets an error instead of a score. The weight of a feature is its share in the mean absolute contribution over
    /// the golden rows. A null counts as known if the training data had nulls in that feature.
    pub min_known: Option<f64>,
    /// What the score says, in sentences such as "This raises the risk of leaving": `the risk of leaving`. Default: `the
    /// score`.
    pub outcome: Option<Template>,
}

/// The output of the model that the score is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScoreKind {
    /// The probability.
    Probability,
    /// The raw sum of the leaves.
    Margin,
    /// The library's prediction.
    Value,
    /// The predicted class.
    Class,
}

impl ScoreKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Probability, Self::Margin, Self::Value, Self::Class];

    /// The name in contracts and answers.
    pub fn label(self) -> &'static str {
        match self {
            Self::Probability => "probability",
            Self::Margin => "margin",
            Self::Value => "value",
            Self::Class => "class",
        }
    }
}

/// The golden rows and their tolerance.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenSection {
    /// The file with the rows, in the folder of the bundle.
    pub file: String,
    /// Tolerance of a margin, in units in the last place.
    #[serde(default)]
    pub margin_ulp: u64,
    /// Tolerance of a value, in units in the last place.
    #[serde(default)]
    pub value_ulp: u64,
}

/// The latency budget.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetSection {
    /// Maximum 99th percentile of the time to evaluate one row, in microseconds.
    pub row_p99_us: f64,
}

impl Contract {
    /// Parses and validates `text`, the content of `path`.
    ///
    /// # Errors
    /// The contract is not valid; the message names the file, the line and the field.
    pub fn parse(path: &Path, text: &str) -> Result<Self, TomlError> {
        let mut contract: Self = toml_text::parse(path, text)?;
        let error = |span, message: String| TomlError::at(path, text, span, message);
        if contract.format != LAYOUT {
            return Err(error(
                None,
                format!("format: expected {LAYOUT}, found {}", contract.format),
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
                return Err(error(Some(span), format!("duplicate feature `{}`", feature.name)));
            }
        }
        contract.validate_derived(&error)?;
        if contract.features.is_empty() {
            return Err(error(
                None,
                "expected a [[feature]] for every input of the model, found none".to_owned(),
            ));
        }
        contract
            .output
            .validate()
            .map_err(|message| error(None, format!("[output] {message}")))?;
        contract
            .validate_outcome()
            .map_err(|message| error(None, format!("[outcome] {message}")))?;
        let golden = &contract.golden;
        if golden.margin_ulp.max(golden.value_ulp) > MOST_ULP {
            let message = format!("[golden] tolerance: expected at most {MOST_ULP} ulp");
            return Err(error(None, message));
        }
        if let Some(budget) = contract
            .budget
            .as_ref()
            .filter(|budget| budget.row_p99_us.is_nan() || budget.row_p99_us <= 0.0)
        {
            let message = format!(
                "[budget] row_p99_us: expected microseconds above 0, found {}",
                budget.row_p99_us
            );
            return Err(error(None, message));
        }
        for name in [&contract.model.file, &contract.golden.file] {
            if !contract.files.contains_key(name) {
                return Err(error(None, format!("[files]: no checksum of {name:?}")));
            }
        }
        contract
            .files
            .keys()
            .try_for_each(|name| plain_name(name))
            .map_err(|message| error(None, message))?;
        Ok(contract)
    }

    /// Checks that derived features use stored values only, and that operands are stored.
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
                    "operand `{}`: expected only name, source, type and max_age; other keys are for features",
                    operand.get_ref().name
                ),
            )),
            None => Ok(()),
        }
    }

    fn validate_outcome(&self) -> Result<(), String> {
        let Some(outcome) = &self.outcome else {
            return Ok(());
        };
        if self.output.kind != ScoreKind::Probability {
            return Err("only valid with kind = \"probability\" in [output]".to_owned());
        }
        outcome.validate()
    }

    /// Options to load the model file.
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

    /// Every stored value: features that are not derived, and operands.
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

/// Checks that a file is in the folder of the bundle.
fn plain_name(name: &str) -> Result<(), String> {
    let plain = !name.is_empty() && !name.contains(['/', '\\', '\0']) && name != "." && name != "..";
    if plain {
        Ok(())
    } else {
        Err(format!(
            "[files]: expected a file name without a folder, found {name:?}"
        ))
    }
}

impl OutputSection {
    /// Whether the score is made from the margin as well as from the output of its kind.
    pub fn needs_margin(&self) -> bool {
        let scale = self.calibration.as_ref().map(Calibration::scale);
        scale == Some(CalibrationScale::Margin)
    }

    /// The score for a value of the model, and its margin where [`Self::needs_margin`].
    pub fn score(&self, margin: Option<f64>, value: f64) -> f64 {
        match (&self.calibration, margin) {
            (None, _) => value,
            (Some(calibration), Some(margin)) if calibration.scale() == CalibrationScale::Margin => {
                calibration.apply(margin)
            }
            (Some(calibration), _) => calibration.apply(value),
        }
    }

    fn validate(&self) -> Result<(), String> {
        if let Some(pair) = self
            .bands
            .windows(2)
            .find(|pair| pair[0].from.total_cmp(&pair[1].from).is_ge())
        {
            return Err(format!(
                "bands: expected `{}` to start above `{}`",
                pair[1].name, pair[0].name
            ));
        }
        if let Some(share) = self.min_known.filter(|share| !(0.0..=1.0).contains(share)) {
            return Err(format!("min_known: expected 0 to 1, such as 0.5, found {share}"));
        }
        if let Some(calibration) = &self.calibration {
            calibration.validate()?;
        }
        if self.calibration.is_some() && self.kind != ScoreKind::Probability {
            return Err("calibration: only valid with kind = \"probability\"".to_owned());
        }
        if self.outcome.as_ref().is_some_and(|outcome| !outcome.is_plain()) {
            return Err(
                "outcome: expected a text without placeholders, such as \"the risk of leaving\"".to_owned(),
            );
        }
        if self.kind == ScoreKind::Probability
            && let Some(band) = self.bands.iter().find(|band| band.from > 1.0)
        {
            return Err(format!(
                "bands: `{}` starts at {}, which no probability reaches; expected at most 1, such as 0.7",
                band.name, band.from
            ));
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
    fn an_error_names_line_and_field() {
        for (from, to, expected) in [
            (
                "range = [0, 500]",
                "range = [9, 5]",
                "b.toml:8: feature `calls`: range: expected [low, high], found [9, 5]",
            ),
            (
                "type = \"int\"",
                "type = \"integr\"",
                "b.toml:11: unknown value `integr`",
            ),
            ("max_age", "max_agee", "did you mean `max_age`?"),
            (
                "\"36h\"",
                "\"soon\"",
                "feature `calls`: max_age: expected a duration such as",
            ),
            (
                "from = 0.7",
                "from = 0.0",
                "bands: expected `high` to start above `low`",
            ),
            (
                "from = 0.7",
                "from = 70",
                "bands: `high` starts at 70, which no probability reaches",
            ),
            (
                "kind = \"probability\"",
                "kind = \"probability\"\ncalibration = { kind = \"platt\", on = \"logit\", a = 1.0, b = 0.0 }",
                "unknown value `logit`",
            ),
            (
                "kind = \"probability\"",
                "kind = \"probability\"\ncalibration = { kind = \"platt\", a = nan, b = 0.0 }",
                "expected finite numbers a and b",
            ),
            ("format = 1", "format = 2", "format: expected 1, found 2"),
            (
                "kind = \"probability\"",
                "kind = \"probability\"\nmin_known = 50",
                "[output] min_known: expected 0 to 1, such as 0.5, found 50",
            ),
            ("\"g.jsonl\" = \"11\"", "", "[files]: no checksum of \"g.jsonl\""),
            (
                "[golden]",
                "[outcome]\nhorizon_days = 0\n[golden]",
                "[outcome] horizon_days: expected 1 to 3650, such as 30, found 0",
            ),
            (
                "[golden]",
                "[outcome]\nhorizon_days = 30\ncontact_capacity = 10\n[golden]",
                "[outcome] contact_capacity: expected a share above 0 up to 1, such as 0.1, found 10",
            ),
            (
                "[golden]",
                "[outcome]\nhorizon_days = 30\nabsent = \"stay\"\n[golden]",
                "did you mean `stayed`?",
            ),
            (
                "\"g.jsonl\" = \"11\"",
                "\"g.jsonl\" = \"1\"\n\"../x\" = \"2\"",
                "expected a file name without a folder",
            ),
        ] {
            let error = parse(&GOOD.replace(from, to)).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
