//! What can be asked of a model.

use std::fmt;

/// What a prediction consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutputKind {
    /// The raw sum of the leaves, one number per group.
    Margin,
    /// The library's plain prediction: the margin after the objective's transform.
    Value,
    /// The predicted class, one number (classification only).
    Class,
    /// The leaf reached in each tree, numbered as the library's `pred_leaf` does.
    Leaf,
    /// Per group: one additive contribution per feature, then the bias. They sum to the margin.
    Contributions,
}

impl fmt::Display for OutputKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Margin => "margin",
            Self::Value => "value",
            Self::Class => "class",
            Self::Leaf => "leaf",
            Self::Contributions => "contributions",
        })
    }
}

/// Why a prediction could not be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PredictError {
    /// The model has no such output.
    #[error("this model has no {0} output: {1}")]
    Unsupported(OutputKind, &'static str),
    /// A buffer's length does not fit.
    #[error("{what} holds {got} numbers, expected {expected}")]
    Length {
        /// Which buffer.
        what: &'static str,
        /// Its length.
        got: usize,
        /// The length it should have.
        expected: usize,
    },
}
