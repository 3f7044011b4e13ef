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
    pub(super) fn classes(self, groups: usize) -> ClassRule {
        match self.task {
            Task::Multiclass => ClassRule::GreatestMargin,
            Task::Binary if groups == 1 => ClassRule::ValueAbove(0.5),
            Task::Binary | Task::Value => ClassRule::None,
        }
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
