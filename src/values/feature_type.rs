//! The type of a feature's values, and how text is read as a number.

use serde::{Deserialize, Serialize};

/// The type of a feature's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FeatureType {
    /// A number.
    Float,
    /// A whole number.
    Int,
    /// True or false: 1 or 0 to the model.
    Bool,
    /// A named category: its code to the model.
    Category,
    /// An instant: seconds since the Unix epoch to the model.
    Timestamp,
}

impl FeatureType {
    /// Every type.
    pub const ALL: [Self; 5] = [
        Self::Float,
        Self::Int,
        Self::Bool,
        Self::Category,
        Self::Timestamp,
    ];

    /// The name in contracts and answers.
    pub fn label(self) -> &'static str {
        match self {
            Self::Float => "float",
            Self::Int => "int",
            Self::Bool => "bool",
            Self::Category => "category",
            Self::Timestamp => "timestamp",
        }
    }

    /// What a value of the type is, for error messages.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Float => "a number",
            Self::Int => "a whole number",
            Self::Bool => "true or false",
            Self::Category => "a category",
            Self::Timestamp => "a timestamp such as 2025-06-01T12:00:00Z",
        }
    }
}

/// How a text is read where a number is expected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Parse {
    /// A text instead of a number is refused, unless the store has no types at all.
    #[default]
    Strict,
    /// A text may hold a number, with surrounding spaces and commas between groups of three digits, or a usual word for
    /// "no value" (`""`, `null`, `NaN`, `N/A`, …). A boolean counts as 1 or 0.
    Tolerant,
}
