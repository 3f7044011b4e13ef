//! One input of a model, as its bundle promises it.

use std::collections::HashSet;

use jiff::SignedDuration;
use serde::Deserialize;

use super::Derivation;
use crate::values::feature_type::FeatureType;
use crate::values::feature_type::Parse;

/// One `[[feature]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureContract {
    /// The name in the model.
    pub name: String,
    /// Where the store keeps it, `group:column` or a column; defaults to the name.
    source: Option<String>,
    /// The type of its values.
    #[serde(rename = "type")]
    pub kind: FeatureType,
    /// The categories, in the model's code order.
    #[serde(default)]
    pub categories: Vec<String>,
    default: Option<toml::Value>,
    /// Without a value there is no score.
    #[serde(default)]
    pub required: bool,
    /// Lowest and highest value expected, both included.
    pub range: Option<[f64; 2]>,
    /// What happens to a value outside of the range, or to an unknown category.
    #[serde(default)]
    pub out_of_range: OutOfRange,
    max_age: Option<String>,
    /// What happens to a value older than `max_age`.
    #[serde(default)]
    pub stale: Stale,
    label: Option<String>,
    /// How text of a store without types is read as a number.
    #[serde(default)]
    pub parse: Parse,
    /// The feature is worked out from others instead of being stored.
    pub derive: Option<Derivation>,
    /// `max_age`, parsed.
    #[serde(skip)]
    pub max_age_duration: Option<SignedDuration>,
}

/// Policy for a value outside of its range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutOfRange {
    /// Score with it, and say so. (An unknown category has no code to keep: it counts as missing.)
    #[default]
    Keep,
    /// Score with the nearest bound.
    Clamp,
    /// Score as if there were no value.
    Missing,
    /// Do not score.
    Reject,
}

/// Policy for a value that is too old.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stale {
    /// Score with it, and say so.
    #[default]
    Use,
    /// Score as if there were no value.
    Missing,
    /// Do not score.
    Reject,
}

impl FeatureContract {
    /// What is known of a feature without a contract: its name and the type of its values.
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
            max_age_duration: None,
        }
    }

    /// Where the store keeps the feature.
    pub fn source(&self) -> &str {
        self.source.as_deref().unwrap_or(&self.name)
    }

    /// The column of a store that holds the feature: the source without its group.
    pub fn column(&self) -> &str {
        self.split().1
    }

    /// The group of a store that the feature is in, if the source names one: `customer_stats:calls`.
    pub fn group(&self) -> Option<&str> {
        self.split().0
    }

    /// A `:` inside a path such as `$['a:b']` is not a group's.
    fn split(&self) -> (Option<&str>, &str) {
        let source = self.source();
        match source.split_once(':') {
            Some((group, column)) if !group.contains('$') => (Some(group), column),
            _ => (None, source),
        }
    }

    /// What a person reads.
    pub fn label(&self) -> &str {
        self.label.as_deref().unwrap_or(&self.name)
    }

    /// The default as the contract writes it.
    pub fn default(&self) -> Option<&toml::Value> {
        self.default.as_ref()
    }

    /// `max_age` as the contract writes it.
    pub fn max_age(&self) -> Option<&str> {
        self.max_age.as_deref()
    }

    /// Whether it says only where a value is kept, of what type it is and how old it may be.
    pub(super) fn is_plain(&self) -> bool {
        self.derive.is_none()
            && self.default.is_none()
            && self.range.is_none()
            && !self.required
            && self.label.is_none()
    }

    pub(super) fn validate(&mut self) -> Result<(), String> {
        if let Some([low, high]) = self.range {
            if low.is_nan() || high.is_nan() || low > high {
                return Err(format!(
                    "range [{low}, {high}]: the first bound must not exceed the second"
                ));
            }
            if self.kind == FeatureType::Category {
                return Err("range: a category has none; list its `categories` instead".to_owned());
            }
        }
        if self.required && self.default.is_some() {
            return Err("required and default: a required feature takes no default; keep one".to_owned());
        }
        if self.kind != FeatureType::Category && !self.categories.is_empty() {
            return Err(format!(
                "categories: only a feature of type \"category\" has them, not {:?}",
                self.kind
            ));
        }
        if self.derive.is_some() && (self.source.is_some() || self.max_age.is_some()) {
            return Err(
                "derive: a derived feature has no source and no max_age; its operands have".to_owned(),
            );
        }
        let mut seen = HashSet::new();
        if let Some(twice) = self.categories.iter().find(|name| !seen.insert(name.as_str())) {
            return Err(format!("categories: {twice:?} is listed twice"));
        }
        if let Some(age) = &self.max_age {
            let parsed: SignedDuration = age
                .parse()
                .map_err(|error| format!("max_age {age:?}: {error}; write it as \"36h\" or \"15m\""))?;
            if !parsed.is_positive() {
                return Err(format!("max_age {age:?}: must be longer than nothing"));
            }
            self.max_age_duration = Some(parsed);
        }
        Ok(())
    }
}
