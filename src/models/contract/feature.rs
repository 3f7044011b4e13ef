//! The contract of one input of a model.

use std::collections::HashSet;

use jiff::SignedDuration;
use serde::Deserialize;

use super::log::in_log;
use super::{Derivation, Wording};
use crate::config::LogPolicy;
use crate::values::feature_type::FeatureType;
use crate::values::feature_type::Parse;

/// An input of the model, in the order of the model.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureContract {
    /// Name in the model.
    pub name: String,
    /// Source of the value: `group:column`, or a column; the name if missing.
    source: Option<String>,
    /// Type of the values.
    #[serde(rename = "type")]
    pub kind: FeatureType,
    /// Categories, in the order of the model's codes.
    #[serde(default)]
    pub categories: Vec<String>,
    default: Option<toml::Value>,
    /// Reject the entity if there is no value.
    #[serde(default)]
    pub required: bool,
    /// Lowest and highest expected value, both included.
    pub range: Option<[f64; 2]>,
    /// Policy for a value outside the range, or an unknown category.
    #[serde(default)]
    pub out_of_range: OutOfRange,
    max_age: Option<String>,
    /// Policy for a value older than `max_age`.
    #[serde(default)]
    pub stale: Stale,
    label: Option<String>,
    /// How a text is read as a number.
    #[serde(default)]
    pub parse: Parse,
    /// Derivation from other features; the feature is not stored then.
    pub derive: Option<Derivation>,
    /// The words for the feature in reasons.
    #[serde(default)]
    pub reason: Wording,
    /// In which direction somebody can change the value, such as with an offer; missing: in none. What-if proposes such changes
    /// only.
    pub actionable: Option<Actionable>,
    /// The least change of the value that is possible, such as 1 for a number of things.
    pub step: Option<f64>,
    /// What the prediction log has of the value: `true` the value, `"hash"` its hash, `false` nothing. Scores without the value
    /// of every feature cannot be replayed.
    #[serde(default, deserialize_with = "in_log")]
    pub log: LogPolicy,
    /// The parsed `max_age`.
    #[serde(skip)]
    pub max_age_duration: Option<SignedDuration>,
}

/// In which direction somebody can change a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Actionable {
    /// It can rise.
    Up,
    /// It can fall.
    Down,
    /// Both; for a category, any other category.
    Any,
}

impl Actionable {
    /// All directions.
    pub const ALL: [Self; 3] = [Self::Up, Self::Down, Self::Any];

    /// The name in contracts and answers.
    pub fn label(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Any => "any",
        }
    }

    /// Whether the value can become `to`.
    pub fn allows(self, from: f64, to: f64) -> bool {
        match self {
            Self::Up => to > from,
            Self::Down => to < from,
            Self::Any => true,
        }
    }
}

/// Policy for a value outside its range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutOfRange {
    /// Score with the value and report it. (An unknown category has no code and counts as missing.)
    #[default]
    Keep,
    /// Score with the nearest bound.
    Clamp,
    /// Score as if the value were missing.
    Missing,
    /// Reject the entity.
    Reject,
}

/// Policy for a value that is too old.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stale {
    /// Score with the value and report it.
    #[default]
    Use,
    /// Score as if the value were missing.
    Missing,
    /// Reject the entity.
    Reject,
}

impl FeatureContract {
    /// The contract of a feature of a bare model: its name and type only.
    pub fn bare(name: &str, kind: FeatureType) -> Self {
        Self {
            name: name.to_owned(),
            source: None,
            kind,
            categories: Vec::new(),
            default: None,
            required: false,
            range: None,
            out_of_range: OutOfRange::default(),
            max_age: None,
            stale: Stale::default(),
            label: None,
            parse: Parse::default(),
            derive: None,
            reason: Wording::default(),
            actionable: None,
            step: None,
            log: LogPolicy::default(),
            max_age_duration: None,
        }
    }

    /// The source of the feature.
    pub fn source(&self) -> &str {
        self.source.as_deref().unwrap_or(&self.name)
    }

    /// The column of the source: the source without its group.
    pub fn column(&self) -> &str {
        self.split().1
    }

    /// The group of the source, if it names one: `customer_stats` in `customer_stats:calls`.
    pub fn group(&self) -> Option<&str> {
        self.split().0
    }

    /// Splits the source into group and column. A `:` in a path such as `$['a:b']` does not end a group, nor does one in
    /// the name of a feature without a source.
    fn split(&self) -> (Option<&str>, &str) {
        let Some(source) = self.source.as_deref() else {
            return (None, &self.name);
        };
        match source.split_once(':') {
            Some((group, column)) if !group.contains('$') => (Some(group), column),
            _ => (None, source),
        }
    }

    /// The label for people.
    pub fn label(&self) -> &str {
        self.label.as_deref().unwrap_or(&self.name)
    }

    /// The default as in the contract.
    pub fn default(&self) -> Option<&toml::Value> {
        self.default.as_ref()
    }

    /// `max_age` as in the contract.
    pub fn max_age(&self) -> Option<&str> {
        self.max_age.as_deref()
    }

    /// Whether it has only a name, a source, a type and a `max_age`.
    pub(super) fn is_plain(&self) -> bool {
        self.derive.is_none()
            && self.default.is_none()
            && self.range.is_none()
            && !self.required
            && self.label.is_none()
            && self.reason.is_empty()
            && self.actionable.is_none()
            && self.step.is_none()
            && self.log == LogPolicy::Plain
    }

    pub(super) fn validate(&mut self) -> Result<(), String> {
        if let Some([low, high]) = self.range {
            if low.is_nan() || high.is_nan() || low > high {
                return Err(format!("range: expected [low, high], found [{low}, {high}]"));
            }
            if self.kind == FeatureType::Category {
                return Err("range: not valid for a category; list its categories".to_owned());
            }
        }
        if self.required && self.default.is_some() {
            return Err("required and default exclude each other; keep one".to_owned());
        }
        if self.kind != FeatureType::Category && !self.categories.is_empty() {
            return Err(format!(
                "categories: only valid with type = \"category\", found type = \"{}\"",
                self.kind.label()
            ));
        }
        if self.derive.is_some() && (self.source.is_some() || self.max_age.is_some()) {
            return Err("derive: source and max_age belong to the operands".to_owned());
        }
        self.reason.validate(self.kind)?;
        self.validate_action()?;
        let mut seen = HashSet::new();
        if let Some(twice) = self.categories.iter().find(|name| !seen.insert(name.as_str())) {
            return Err(format!("categories: duplicate {twice:?}"));
        }
        if let Some(age) = &self.max_age {
            let parsed: SignedDuration = age.parse().map_err(|error| {
                format!("max_age: expected a duration such as \"36h\" or \"15m\", found {age:?}: {error}")
            })?;
            if !parsed.is_positive() {
                return Err(format!(
                    "max_age: expected a duration above zero such as \"36h\", found {age:?}"
                ));
            }
            self.max_age_duration = Some(parsed);
        }
        Ok(())
    }

    fn validate_action(&self) -> Result<(), String> {
        let is_number = matches!(self.kind, FeatureType::Int | FeatureType::Float);
        let kind = self.kind.label();
        match self.actionable {
            Some(_) if self.derive.is_some() => {
                return Err("actionable: a derived feature changes with its operands only".to_owned());
            }
            Some(Actionable::Up | Actionable::Down) if self.kind == FeatureType::Category => {
                return Err(
                    "actionable: expected \"any\" for a category, which has no up and down".to_owned(),
                );
            }
            Some(_) if self.kind == FeatureType::Timestamp => {
                return Err("actionable: not valid with type = \"timestamp\"".to_owned());
            }
            _ => {}
        }
        match self.step {
            Some(_) if !is_number => Err(format!(
                "step: only valid with type = \"int\" or \"float\", found type = \"{kind}\""
            )),
            Some(_) if self.actionable.is_none() => {
                Err("step: only valid with actionable = \"up\", \"down\" or \"any\"".to_owned())
            }
            Some(step) if !(step > 0.0 && step.is_finite()) => Err(format!(
                "step: expected a number above 0, such as 1, found {step}"
            )),
            Some(step) if self.kind == FeatureType::Int && step.fract() != 0.0 => Err(format!(
                "step: expected a whole number with type = \"int\", found {step}"
            )),
            _ => Ok(()),
        }
    }
}
