//! The library's objectives: their effect on `base_score`, values and classes.

use crate::transform::LinkFunction;
use crate::{ClassRule, Task};

/// How `base_score` becomes a margin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum BaseLink {
    Identity,
    Logit,
    Log,
    InverseSoftplusOfGaps,
}

/// How predictions follow from an objective.
#[derive(Clone, Copy, Debug)]
pub(super) struct XgBoostObjective {
    pub(super) name: &'static str,
    pub(super) task: Task,
    pub(super) base: BaseLink,
    pub(super) link: LinkFunction,
}

const LOGISTIC: LinkFunction = LinkFunction::Logistic32 { capped: true };

const fn objective(name: &'static str, task: Task, base: BaseLink, link: LinkFunction) -> XgBoostObjective {
    XgBoostObjective {
        name,
        task,
        base,
        link,
    }
}

/// Every objective of any release.
const OBJECTIVES: &[XgBoostObjective] = &[
    objective(
        "binary:hinge",
        Task::Binary,
        BaseLink::Identity,
        LinkFunction::Hinge,
    ),
    objective("binary:logistic", Task::Binary, BaseLink::Logit, LOGISTIC),
    objective(
        "binary:logitraw",
        Task::Value,
        BaseLink::Identity,
        LinkFunction::Identity,
    ),
    objective("count:poisson", Task::Value, BaseLink::Log, LinkFunction::Exp32),
    objective(
        "multi:softmax",
        Task::Multiclass,
        BaseLink::Identity,
        LinkFunction::ArgMax,
    ),
    objective(
        "multi:softprob",
        Task::Multiclass,
        BaseLink::Identity,
        LinkFunction::Softmax32,
    ),
    objective(
        "rank:map",
        Task::Value,
        BaseLink::Identity,
        LinkFunction::Identity,
    ),
    objective(
        "rank:ndcg",
        Task::Value,
        BaseLink::Identity,
        LinkFunction::Identity,
    ),
    objective(
        "rank:pairwise",
        Task::Value,
        BaseLink::Identity,
        LinkFunction::Identity,
    ),
    objective(
        "reg:absoluteerror",
        Task::Value,
        BaseLink::Identity,
        LinkFunction::Identity,
    ),
    objective(
        "reg:expectileerror",
        Task::Value,
        BaseLink::InverseSoftplusOfGaps,
        LinkFunction::CumulativeSoftplus32,
    ),
    objective("reg:gamma", Task::Value, BaseLink::Log, LinkFunction::Exp32),
    objective(
        "reg:linear",
        Task::Value,
        BaseLink::Identity,
        LinkFunction::Identity,
    ),
    objective("reg:logistic", Task::Binary, BaseLink::Logit, LOGISTIC),
    objective(
        "reg:pseudohubererror",
        Task::Value,
        BaseLink::Identity,
        LinkFunction::Identity,
    ),
    objective(
        "reg:quantileerror",
        Task::Value,
        BaseLink::Identity,
        LinkFunction::Identity,
    ),
    objective(
        "reg:squarederror",
        Task::Value,
        BaseLink::Identity,
        LinkFunction::Identity,
    ),
    objective(
        "reg:squaredlogerror",
        Task::Value,
        BaseLink::Identity,
        LinkFunction::Identity,
    ),
    objective("reg:tweedie", Task::Value, BaseLink::Log, LinkFunction::Exp32),
    objective(
        "survival:aft",
        Task::Value,
        BaseLink::Log,
        LinkFunction::ExpRounded,
    ),
    objective("survival:cox", Task::Value, BaseLink::Log, LinkFunction::Exp32),
];

/// Looks up an objective as understood by the release that saved the file.
pub(super) fn find(name: &str, version: &[u32]) -> Result<XgBoostObjective, String> {
    let mut objective = newest(name)?;
    match objective.name {
        "binary:logitraw" if version < [1, 3].as_slice() => objective.base = BaseLink::Logit,
        "survival:aft" if version.starts_with(&[2, 0]) => objective.link = LinkFunction::Exp32,
        "reg:quantileerror" if version >= [3, 4].as_slice() => objective.link = LinkFunction::Sorted,
        _ => {}
    }
    Ok(objective)
}

/// Looks up an objective in the table.
fn newest(name: &str) -> Result<XgBoostObjective, String> {
    OBJECTIVES
        .iter()
        .find(|objective| objective.name == name)
        .copied()
        .ok_or_else(|| {
            let name: String = name.chars().take(64).collect();
            format!(
                "unknown objective `{name}`; a model of a custom objective can be saved as reg:squarederror \
                 (set_params) if its raw margin is what you want"
            )
        })
}

impl XgBoostObjective {
    /// Returns how classes are chosen.
    pub(super) fn classes(&self, groups: usize) -> ClassRule {
        match (self.task, self.link) {
            (Task::Multiclass, LinkFunction::ArgMax) => ClassRule::GreatestMargin,
            (Task::Multiclass, _) => ClassRule::GreatestValue,
            (Task::Binary, _) if groups == 1 => ClassRule::ValueAbove(0.5),
            _ => ClassRule::None,
        }
    }
}
