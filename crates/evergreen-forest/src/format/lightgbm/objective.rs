//! The library's objectives and their links.

use super::super::super::transform::Link;
use super::super::super::{ClassRule, Task};
use super::lines::number;

/// What an objective means to a prediction.
pub(super) struct Objective {
    pub(super) task: Task,
    pub(super) link: Link,
}

impl Objective {
    pub(super) fn classes(&self) -> ClassRule {
        match (self.task, self.link) {
            (Task::Multiclass, _) => ClassRule::GreatestValue,
            (Task::Binary, _) => ClassRule::ValueAbove(0.5),
            (Task::Value, _) => ClassRule::None,
        }
    }
}

/// Reads an objective with its parameters: `binary sigmoid:1`, `regression sqrt`.
pub(super) fn find(text: &str) -> Result<Objective, String> {
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
    let logistic = Link::Sigmoid64 { steepness };
    let (task, link) = match name {
        "regression" | "regression_l1" | "huber" | "fair" | "quantile" | "mape" => match sqrt {
            true => (Task::Value, Link::SignedSquare64),
            false => (Task::Value, Link::Identity),
        },
        "lambdarank" | "rank_xendcg" | "custom" | "none" => (Task::Value, Link::Identity),
        "poisson" | "gamma" | "tweedie" => (Task::Value, Link::Exp64),
        "binary" => (Task::Binary, logistic),
        "cross_entropy" => (Task::Binary, Link::Sigmoid64 { steepness: 1.0 }),
        "cross_entropy_lambda" => (Task::Value, Link::Log1pExp64),
        "multiclass" => (Task::Multiclass, Link::Softmax64),
        "multiclassova" => (Task::Multiclass, logistic),
        other => {
            let other: String = other.chars().take(32).collect();
            return Err(format!("unknown objective `{other}`"));
        }
    };
    Ok(Objective { task, link })
}
