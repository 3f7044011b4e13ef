//! How much of what a model relies on is known for an entity. A score from nearly nothing looks like any other, so the
//! contract states the least share that must be known (`min_known` of `[output]`).

use evergreen_forest::{Forest, OutputKind, Scratch};

use super::contract::Contract;
use super::input::ModelInput;
use super::reference::{Distribution, Reference};
use crate::error::Error;
use crate::values::issues::FeatureIssues;

/// The least share of a contract that states none.
const DEFAULT_SHARE: f64 = 0.5;

/// Golden rows that the importance is measured on.
const ROWS: usize = 32;

/// Names listed in an error.
const LISTED: usize = 5;

/// What a model relies on, by input.
#[derive(Debug, Default)]
pub struct KnownShare {
    /// The share of each input in the mean absolute contribution; in sum 1.
    importance: Vec<f64>,
    /// Whether a null says something: the training data had nulls there, or says nothing about them.
    null_is_known: Vec<bool>,
    /// The least sum of the importance of the known inputs.
    least: f64,
}

impl KnownShare {
    /// Measures the importance of each input on golden `rows` (row-major).
    pub(super) fn new(
        forest: &Forest,
        rows: &[f64],
        contract: &Contract,
        reference: Option<&Reference>,
    ) -> Self {
        let null_is_known = contract.features().map(|feature| {
            let distribution = reference.and_then(|reference| reference.features.get(&feature.name));
            distribution.is_none_or(|distribution| match distribution {
                Distribution::Numeric { missing, .. } | Distribution::Category { missing, .. } => {
                    *missing > 0
                }
            })
        });
        Self {
            importance: importance(forest, rows),
            null_is_known: null_is_known.collect(),
            least: contract.output.min_known.unwrap_or(DEFAULT_SHARE),
        }
    }

    /// Checks that enough is known for a score.
    ///
    /// # Errors
    /// [`Error::rejected`]: too little is known. The message names what is missing, the most important first.
    pub fn check(&self, issues: &FeatureIssues, inputs: &[ModelInput]) -> Result<(), Error> {
        if issues.missing.is_empty() && issues.null.is_empty() {
            return Ok(());
        }
        let nulls = issues.null.iter().filter(|&&input| !self.null_is_known(input));
        let mut unknown: Vec<usize> = issues.missing.iter().chain(nulls).copied().collect();
        let known = 1.0 - unknown.iter().map(|&input| self.importance(input)).sum::<f64>();
        // A sum of rounded shares may miss the limit by a little.
        if known >= self.least - 1e-9 {
            return Ok(());
        }
        unknown.sort_by(|&a, &b| self.importance(b).total_cmp(&self.importance(a)));
        let names: Vec<&str> = unknown
            .iter()
            .take(LISTED)
            .filter_map(|&input| Some(inputs.get(input)?.contract.name.as_str()))
            .collect();
        let more = unknown.len() - names.len();
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        Err(Error::rejected(format!(
            "too little is known for a score: {:.0}% of what the model relies on, min_known in [output] of its contract \
             asks for {:.0}%; without a value: {}{more}",
            100.0 * known.max(0.0),
            100.0 * self.least,
            names.join(", ")
        )))
    }

    /// The share of an input in the mean absolute contribution.
    pub fn importance(&self, input: usize) -> f64 {
        self.importance.get(input).copied().unwrap_or(0.0)
    }

    fn null_is_known(&self, input: usize) -> bool {
        self.null_is_known.get(input).copied().unwrap_or(true)
    }
}

/// The share of each input in the mean absolute contribution, over all outputs and at most [`ROWS`] rows spread evenly over
/// `rows`. Equal shares if the forest gives no contributions, or all are zero.
fn importance(forest: &Forest, rows: &[f64]) -> Vec<f64> {
    let features = forest.features().len();
    let all: Vec<&[f64]> = rows.chunks_exact(features.max(1)).collect();
    let chosen: Vec<f64> = (0..all.len().min(ROWS))
        .flat_map(|row| all[row * all.len() / all.len().min(ROWS)].iter().copied())
        .collect();
    let mut sums = vec![0.0; features];
    if let Ok(width) = forest.width(OutputKind::Contributions) {
        let mut contributions = vec![0.0; chosen.len() / features.max(1) * width];
        let predicted = forest.predict(
            OutputKind::Contributions,
            &chosen,
            &mut contributions,
            &mut Scratch::default(),
        );
        if predicted.is_ok() {
            // For each output: one contribution per feature, and the bias.
            for output in contributions.chunks_exact(features + 1) {
                for (sum, contribution) in sums.iter_mut().zip(output) {
                    *sum += contribution.abs();
                }
            }
        }
    }
    let total: f64 = sums.iter().sum();
    #[expect(clippy::cast_precision_loss, reason = "a number of features")]
    let equal = 1.0 / features.max(1) as f64;
    let share = |sum: f64| {
        if total > 0.0 && total.is_finite() {
            sum / total
        } else {
            equal
        }
    };
    sums.into_iter().map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::sample;

    fn sample() -> (KnownShare, Vec<ModelInput>) {
        let version = sample::version(1);
        (version.known, version.inputs)
    }

    #[test]
    fn the_shares_of_the_sample_add_up_and_differ() {
        let (known, inputs) = sample();
        assert_eq!(known.importance.len(), inputs.len());
        assert!((known.importance.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!(
            known
                .importance
                .iter()
                .any(|&share| share > 2.0 / inputs.len() as f64)
        );
    }

    #[test]
    fn nothing_known_is_refused_and_the_most_important_names_come_first() {
        let (known, inputs) = sample();
        let everything = FeatureIssues {
            missing: (0..inputs.len()).collect(),
            ..FeatureIssues::default()
        };
        let error = known.check(&everything, &inputs).unwrap_err().to_string();
        let best = (0..inputs.len())
            .max_by(|&a, &b| known.importance(a).total_cmp(&known.importance(b)))
            .unwrap();
        let first = format!(
            "0% of what the model relies on, min_known in [output] of its contract asks for 50%; without a value: {}",
            inputs[best].contract.name
        );
        assert!(error.contains(&first), "{error}");
        assert!(error.contains("more"), "{error}");
    }

    #[test]
    fn a_null_counts_as_known_only_where_training_had_nulls() {
        let (mut known, inputs) = sample();
        let nulls = FeatureIssues {
            null: (0..inputs.len()).collect(),
            ..FeatureIssues::default()
        };
        known.null_is_known.fill(true);
        assert!(known.check(&nulls, &inputs).is_ok());
        known.null_is_known.fill(false);
        assert!(known.check(&nulls, &inputs).is_err());
        known.least = 0.0;
        assert!(
            known.check(&nulls, &inputs).is_ok(),
            "min_known = 0 asks for nothing"
        );
    }
}
