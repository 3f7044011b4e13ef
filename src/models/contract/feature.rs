//! The contract of one input of a model.

use std::collections::HashSet;

use jiff::SignedDuration;
use serde::Deserialize;

use super::{Derivation, Wording};
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
    /// The parsed `max_age`.
    #[serde(skip)]
    pub max_age_duration: Option<SignedDuration>,
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
}
