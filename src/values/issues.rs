//! What happened to the features of one entity on their way into the model.

/// What happened to a feature on its way into the row; positions are those of the model's inputs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeatureIssues {
    /// No source had it: the model sees its default or a missing value.
    pub missing: Vec<usize>,
    /// The source says null, and the model was trained with missing values there.
    pub null: Vec<usize>,
    /// Older than `max_age`.
    pub stale: Vec<usize>,
    /// Outside its range, or an unknown category.
    pub out_of_range: Vec<usize>,
    /// The contract's default stands in for a null or absent value.
    pub defaulted: Vec<usize>,
}

/// What can become of a feature besides being present, as it stands in metrics and views: the names of [`FeatureIssues::lists`].
pub const STATUSES: [&str; 5] = ["missing", "null", "stale", "out_of_range", "default"];

impl FeatureIssues {
    /// Who is concerned, by [`STATUSES`].
    pub fn lists(&self) -> [&[usize]; 5] {
        [
            &self.missing,
            &self.null,
            &self.stale,
            &self.out_of_range,
            &self.defaulted,
        ]
    }

    /// Whether the score rests on something the contract did not promise.
    pub fn degraded(&self) -> bool {
        !(self.missing.is_empty() && self.stale.is_empty() && self.out_of_range.is_empty())
    }
}
