//! Derived features: computed from other features at request time. Their definitions are few and exact to the bit, because
//! training must apply the same ones (`derive` of the Python package).

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::values::feature_type::FeatureType;

/// `derive` of a `[[feature]]`. Operands are names of features or of `[[operand]]`s.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Derivation {
    /// Whole days from a timestamp until now: `floor((now - then) / 86400)`, in seconds and `f64`.
    DaysSince(String),
    /// The first divided by the second, in `f64`; null if the second is zero.
    Ratio([String; 2]),
    /// The first minus the second, in `f64`.
    Difference([String; 2]),
    /// The entry of a table for a category.
    Map(MapTable),
}

/// The table of [`Derivation::Map`].
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapTable {
    /// The category.
    pub of: String,
    /// The result for each category: numbers, or names of categories. A category that is not listed counts as unknown.
    pub to: BTreeMap<String, MapTarget>,
}

/// The result for a category.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum MapTarget {
    /// A number.
    Number(f64),
    /// The name of a category.
    Text(String),
}

/// Seconds per day.
const DAY: f64 = 86_400.0;

impl Derivation {
    /// The names of its operands.
    pub fn operands(&self) -> Vec<&str> {
        match self {
            Self::DaysSince(of) | Self::Map(MapTable { of, .. }) => vec![of],
            Self::Ratio(pair) | Self::Difference(pair) => pair.iter().map(String::as_str).collect(),
        }
    }

    /// The value for complete operands at the time `now`, in seconds since the Unix epoch; `None` is null. Not for a
    /// [`Derivation::Map`], whose table is applied where categories have codes.
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
            let found = kind_of(name)
                .ok_or_else(|| format!("derive: `{name}` is neither an [[operand]] nor a stored feature"))?;
            if !wanted.contains(&found) {
                let wanted: Vec<&str> = wanted.iter().map(|kind| kind.label()).collect();
                return Err(format!(
                    "derive: expected `{name}` of type {}",
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
            Err(format!("derive: the result is not {}", kind.noun()))
        }
    }
}
