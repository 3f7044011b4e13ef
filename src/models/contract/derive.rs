//! Features worked out at request time from others: few, and defined to the last bit, for training must apply the same
//! definitions (`models/evergreen_bundle.py` does).

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::values::feature_type::FeatureType;

/// `derive` of a `[[feature]]`. Operands are named features or `[[operand]]`s.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Derivation {
    /// Whole days from a timestamp until now: `floor((now - then) / 86400)`, in seconds and `f64`.
    DaysSince(String),
    /// The first over the second, in `f64`; null when the second is zero.
    Ratio([String; 2]),
    /// The first minus the second, in `f64`.
    Difference([String; 2]),
    /// A category looked up in a table.
    Map(MapTable),
}

/// The table of [`Derivation::Map`].
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapTable {
    /// The category.
    pub of: String,
    /// What each one becomes: numbers, or names of categories. One that is not listed counts as unknown.
    pub to: BTreeMap<String, MapTarget>,
}

/// What a category becomes.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum MapTarget {
    /// A number.
    Number(f64),
    /// The name of a category.
    Text(String),
}

/// Seconds of a day.
const DAY: f64 = 86_400.0;

impl Derivation {
    /// The names it is worked out from.
    pub fn operands(&self) -> Vec<&str> {
        match self {
            Self::DaysSince(of) | Self::Map(MapTable { of, .. }) => vec![of],
            Self::Ratio(pair) | Self::Difference(pair) => pair.iter().map(String::as_str).collect(),
        }
    }

    /// The value for operands that are all there, given the instant `now` in seconds since the Unix epoch. `None` is
    /// null. A [`Derivation::Map`] is not arithmetic: its table is applied where categories have codes.
    pub fn number(&self, operands: &[f64], now: f64) -> Option<f64> {
        match (self, operands) {
            (Self::DaysSince(_), &[then]) => Some(((now - then) / DAY).floor()),
            (Self::Ratio(_), &[_, 0.0]) => None,
            (Self::Ratio(_), &[over, under]) => Some(over / under),
            (Self::Difference(_), &[from, take]) => Some(from - take),
            _ => None,
        }
    }

    /// Checks the types of the operands and of the result.
    pub(super) fn validate(
        &self,
        kind: FeatureType,
        kind_of: impl Fn(&str) -> Option<FeatureType>,
    ) -> Result<(), String> {
        use FeatureType::{Bool, Category, Float, Int, Timestamp};
        let wanted: &[FeatureType] = match self {
            Self::DaysSince(_) => &[Timestamp],
            Self::Ratio(_) | Self::Difference(_) => &[Float, Int, Bool],
            Self::Map(_) => &[Category],
        };
        for name in self.operands() {
            let found = kind_of(name).ok_or_else(|| {
                format!("derive: `{name}` is neither an [[operand]] nor a feature that is stored")
            })?;
            if !wanted.contains(&found) {
                let wanted: Vec<String> = wanted
                    .iter()
                    .map(|kind| format!("{kind:?}").to_lowercase())
                    .collect();
                return Err(format!(
                    "derive: `{name}` must be of type {}",
                    wanted.join(" or ")
                ));
            }
        }
        let fits = match self {
            Self::DaysSince(_) => matches!(kind, Float | Int),
            Self::Ratio(_) => kind == Float,
            Self::Difference(_) => matches!(kind, Float | Int),
            Self::Map(table) => table.to.values().all(|value| match value {
                MapTarget::Number(_) => matches!(kind, Float | Int),
                MapTarget::Text(_) => kind == Category,
            }),
        };
        if fits {
            Ok(())
        } else {
            Err(format!("derive: it does not give {}", kind.noun()))
        }
    }
}
