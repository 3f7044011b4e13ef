//! The library's losses, and the prediction that its estimators return by default.

use crate::transform::LinkFunction;
use crate::{ClassRule, Task};

/// How predictions follow from a loss.
#[derive(Clone, Copy)]
pub(super) struct Loss {
    pub(super) task: Task,
    pub(super) link: LinkFunction,
}

impl Loss {
    /// Returns how classes are chosen. `border` is the margin from which the library predicts the second of two classes.
    pub(super) fn classes(self, groups: usize, border: f64) -> ClassRule {
        match self.task {
            Task::Multiclass => ClassRule::GreatestMargin,
            Task::Binary if groups == 1 => ClassRule::MarginAbove(border),
            Task::Binary | Task::Value => ClassRule::None,
        }
    }
}

/// Returns the margin that belongs to a probability threshold (`set_probability_threshold`), by the library's formula.
/// The library compares margins, not probabilities: a tiny positive margin has the probability 0.5 and is the second
/// class.
pub(super) fn border(threshold: f64) -> Result<f64, String> {
    if (0.0..=1.0).contains(&threshold) {
        Ok(-(1.0 / threshold - 1.0).ln())
    } else {
        Err(format!("expected a probability from 0 to 1, found {threshold}"))
    }
}

/// Losses whose predictions are the raw sum.
const RAW: &[&str] = &[
    "",
    "RMSE",
    "MAE",
    "Quantile",
    "MultiQuantile",
    "MAPE",
    "LogCosh",
    "LogLinQuantile",
    "Huber",
    "Expectile",
    "Lq",
    "MultiRMSE",
    "MultiRMSEWithMissingValues",
    "GroupQuantile",
    "QueryRMSE",
    "QuerySoftMax",
    "QueryCrossEntropy",
    "PairLogit",
    "PairLogitPairwise",
    "YetiRank",
    "YetiRankPairwise",
    "StochasticRank",
    "StochasticFilter",
    "LambdaMart",
    "Cox",
];

/// Looks up a loss. A model that records none (a sum of models) has raw predictions.
pub(super) fn find(name: &str) -> Result<Loss, String> {
    let logistic = LinkFunction::Sigmoid64 { steepness: 1.0 };
    let (task, link) = match name {
        "Logloss" | "CrossEntropy" | "MultiLogloss" | "MultiCrossEntropy" => (Task::Binary, logistic),
        "MultiClass" => (Task::Multiclass, LinkFunction::Softmax64),
        "MultiClassOneVsAll" => (Task::Multiclass, logistic),
        "Poisson" | "Tweedie" => (Task::Value, LinkFunction::Exp64),
        raw if RAW.contains(&raw) => (Task::Value, LinkFunction::Identity),
        other => {
            let other: String = other.chars().take(32).collect();
            return Err(format!(
                "unsupported loss `{other}`: its predictions cannot be reproduced exactly"
            ));
        }
    };
    Ok(Loss { task, link })
}
