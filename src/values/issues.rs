//! Issues with the features of one entity: missing, stale, out of range, replaced by a default.

/// The issues by kind; each list holds positions of the model's inputs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeatureIssues {
    /// No source has it: the model sees its default or a missing value.
    pub missing: Vec<usize>,
    /// The source holds null, and the model sees a missing value, as in training.
    pub null: Vec<usize>,
    /// Older than `max_age`.
    pub stale: Vec<usize>,
    /// Outside its range, or an unknown category.
    pub out_of_range: Vec<usize>,
    /// The contract's default replaces a null or absent value.
    pub defaulted: Vec<usize>,
}

/// The name of the status of a feature without issues.
pub const PRESENT: &str = "present";

/// The names of [`FeatureIssues::lists`] in answers and metrics.
pub const STATUSES: [&str; 5] = ["missing", "null", "stale", "out_of_range", "default"];

impl FeatureIssues {
    /// The lists in the order of [`STATUSES`].
    pub fn lists(&self) -> [&[usize]; 5] {
        [
            &self.missing,
            &self.null,
            &self.stale,
            &self.out_of_range,
            &self.defaulted,
        ]
    }

    /// Whether the score uses values that the contract does not promise.
    pub fn degraded(&self) -> bool {
        !(self.missing.is_empty() && self.stale.is_empty() && self.out_of_range.is_empty())
    }
}
