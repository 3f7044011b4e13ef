//! The outputs of a model, and the error of a prediction.

use std::fmt;

/// An output of a prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutputKind {
    /// The raw sum of the leaves: `groups` numbers per row.
    Margin,
    /// The library's default prediction: the margin after the objective's transform.
    Value,
    /// The predicted class: one number per row. Classification only.
    Class,
    /// The leaf reached in each tree, numbered as by the library's `pred_leaf`: one number per tree. CatBoost's trees that
    /// are not symmetric are numbered as by the library after it has loaded the file.
    Leaf,
    /// Additive contributions (SHAP values): per group one number per feature, then the bias. They add up to
    /// the margin, also for models where the library's own do not.
    Contributions,
    /// How pairs of features act together (SHAP interaction values, as by XGBoost's `pred_interactions`): per group a
    /// symmetric matrix of one row per feature and one for the bias. A row adds up to the feature's contribution; the
    /// bias is in the last place.
    Interactions,
}

impl fmt::Display for OutputKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Margin => "margin",
            Self::Value => "value",
            Self::Class => "class",
            Self::Leaf => "leaf",
            Self::Contributions => "contributions",
            Self::Interactions => "interactions",
        })
    }
}

/// The error of a prediction.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PredictError {
    /// The model has no such output.
    #[error("this model has no {0} output: {1}")]
    Unsupported(OutputKind, &'static str),
    /// A buffer has the wrong length.
    #[error("{what} holds {got} numbers, expected {expected}")]
    Length {
        /// The name of the buffer: `rows` or `out`.
        what: &'static str,
        /// Its length, in numbers.
        got: usize,
        /// The expected length, in numbers.
        expected: usize,
    },
    /// The leaves are linear functions, so outputs change with every number.
    #[error("the leaves of this model are linear functions: its outputs change with every number")]
    Linear,
    /// There is no such output group.
    #[error("there is no output group {0}")]
    Group(usize),
}
