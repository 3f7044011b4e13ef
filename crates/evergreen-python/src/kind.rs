//! The kinds of output, by the names that calls use.

use evergreen_forest::OutputKind;

/// A kind of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The score by the contract; without one, the library's prediction.
    Score,
    /// The library's prediction.
    Value,
    /// The raw sum of the leaves.
    Margin,
    /// The predicted class.
    Class,
    /// The leaf in each tree.
    Leaf,
    /// What each feature adds to the margin, and the bias.
    Contributions,
    /// The name of the score's band.
    Band,
    /// Number of features without a value.
    Missing,
    /// Number of features out of range, or with an unknown category.
    OutOfRange,
    /// Why there is no score.
    Error,
}

impl Kind {
    /// Every kind.
    pub(crate) const ALL: [Self; 10] = [
        Self::Score,
        Self::Value,
        Self::Margin,
        Self::Class,
        Self::Leaf,
        Self::Contributions,
        Self::Band,
        Self::Missing,
        Self::OutOfRange,
        Self::Error,
    ];

    /// The name in calls, and of the column.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Score => "score",
            Self::Value => "value",
            Self::Margin => "margin",
            Self::Class => "class",
            Self::Leaf => "leaf",
            Self::Contributions => "contributions",
            Self::Band => "band",
            Self::Missing => "missing",
            Self::OutOfRange => "out_of_range",
            Self::Error => "error",
        }
    }

    /// The kind of a name.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn of(label: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|kind| kind.label() == label);
        known.ok_or_else(|| {
            let labels = Self::ALL.map(Self::label).join(", ");
            format!("kind: expected one of {labels}, found {label:?}")
        })
    }

    /// Whether it depends on the score, which may be missing where other outputs are not.
    pub(crate) fn is_of_score(self) -> bool {
        matches!(self, Self::Score | Self::Band)
    }

    /// The output of the forest that it is, if it is one.
    pub(crate) fn forest_output(self) -> Option<OutputKind> {
        Some(match self {
            Self::Value => OutputKind::Value,
            Self::Margin => OutputKind::Margin,
            Self::Class => OutputKind::Class,
            Self::Leaf => OutputKind::Leaf,
            Self::Contributions => OutputKind::Contributions,
            Self::Score | Self::Band | Self::Missing | Self::OutOfRange | Self::Error => return None,
        })
    }
}
