//! The library's objectives and their transforms.

use crate::format::lightgbm::lines::number;
use crate::transform::LinkFunction;
use crate::{ClassRule, Task};

/// How predictions follow from an objective.
pub(super) struct LightGbmObjective {
    pub(super) task: Task,
    pub(super) link: LinkFunction,
}

impl LightGbmObjective {
    pub(super) fn classes(&self) -> ClassRule {
        match (self.task, self.link) {
            (Task::Multiclass, _) => ClassRule::GreatestValue,
            (Task::Binary, _) => ClassRule::ValueAbove(0.5),
            (Task::Value, _) => ClassRule::None,
        }
    }
}

/// Parses an objective with its parameters: `binary sigmoid:1`, `regression sqrt`.
pub(super) fn find(text: &str) -> Result<LightGbmObjective, String> {
    let mut words = text.split_ascii_whitespace();
    let name = words.next().unwrap_or("custom");
    let (mut steepness, mut sqrt) = (1.0, false);
    for word in words {
        match word.split_once(':') {
            Some(("sigmoid", value)) => steepness = number(value)?,
            None if word == "sqrt" => sqrt = true,
            _ => {}
        }
    }
    let logistic = LinkFunction::Sigmoid64 { steepness };
    let (task, link) = match name {
        "regression" | "regression_l1" | "huber" | "fair" | "quantile" | "mape" => match sqrt {
            true => (Task::Value, LinkFunction::SignedSquare64),
            false => (Task::Value, LinkFunction::Identity),
        },
        "lambdarank" | "rank_xendcg" | "custom" | "none" => (Task::Value, LinkFunction::Identity),
        "poisson" | "gamma" | "tweedie" => (Task::Value, LinkFunction::Exp64),
        "binary" => (Task::Binary, logistic),
        "cross_entropy" => (Task::Binary, LinkFunction::Sigmoid64 { steepness: 1.0 }),
        "cross_entropy_lambda" => (Task::Value, LinkFunction::Log1pExp64),
        "multiclass" => (Task::Multiclass, LinkFunction::Softmax64),
        "multiclassova" => (Task::Multiclass, logistic),
        other => {
            let other: String = other.chars().take(32).collect();
            return Err(format!(
                "unknown objective `{other}`; expected an objective of LightGBM such as binary or regression"
            ));
        }
    };
    Ok(LightGbmObjective { task, link })
}
