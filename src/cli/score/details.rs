//! The columns beside the prediction: the band, the version, what is missing, and the reasons.

use std::sync::Arc;

use clap::ValueEnum;

use crate::cli::offline::OfflineModel;
use crate::cli::sink::{ColumnType, Values};
use crate::models::ModelVersion;
use crate::scoring::outcome::{EntityResult, Reason};
use crate::values::issues::FeatureIssues;

/// A column beside the prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum DetailColumn {
    /// The band of the score by the contract
    Band,
    /// The version of the model
    Version,
    /// SHA-256 of the model file
    Sha256,
    /// `ok`, `degraded`, or `error` for a row without a score, as in answers of a server
    Status,
    /// How many features have no value
    Missing,
    /// How many features are out of range or an unknown category
    OutOfRange,
    /// When the job began for the first time
    ScoredAt,
}

impl DetailColumn {
    /// Those of an output unless others are chosen. The moment is not: without it, the same rows give the same bytes.
    pub(super) const DEFAULT: [Self; 6] = [
        Self::Band,
        Self::Version,
        Self::Sha256,
        Self::Status,
        Self::Missing,
        Self::OutOfRange,
    ];

    /// The name and type of the column.
    pub(super) fn header(self) -> (String, ColumnType) {
        let (name, kind) = match self {
            Self::Band => ("band", ColumnType::Text),
            Self::Version => ("version", ColumnType::Long),
            Self::Sha256 => ("sha256", ColumnType::Text),
            Self::Status => ("status", ColumnType::Text),
            Self::Missing => ("missing", ColumnType::Whole),
            Self::OutOfRange => ("out_of_range", ColumnType::Whole),
            Self::ScoredAt => ("scored_at", ColumnType::Time),
        };
        (name.to_owned(), kind)
    }
}

/// What is known of a row with a score.
#[derive(Debug)]
pub(super) struct Detail {
    /// The score that a server gives, or the prediction of a model without a contract.
    #[cfg_attr(
        not(any(feature = "redis", feature = "postgres")),
        allow(dead_code, reason = "only stores use it")
    )]
    pub(super) score: f64,
    /// The name of its band.
    pub(super) band: Option<Arc<str>>,
    /// Whether it is degraded.
    pub(super) status: EntityResult,
    /// How many features have no value.
    pub(super) missing: i32,
    /// How many features are out of range.
    pub(super) out_of_range: i32,
    /// The reasons, the strongest first.
    pub(super) reasons: Vec<ReasonRow>,
}

/// A reason for a score.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct ReasonRow {
    /// The feature.
    pub(super) feature: Arc<str>,
    /// Its value as text; `None` for missing.
    pub(super) value: Option<Arc<str>>,
    /// What it adds to the margin.
    pub(super) contribution: f64,
    /// `raises` or `lowers`.
    pub(super) direction: Arc<str>,
    /// The reason in words.
    pub(super) text: Arc<str>,
}

impl ReasonRow {
    /// A reason as the server words it; `None` if the model has no such input.
    pub(super) fn of(reason: &Reason, model: &ModelVersion, score: f64) -> Option<Self> {
        let view = reason.view(model, score)?;
        let value = match view.input.present(view.value) {
            serde_json::Value::Null => None,
            serde_json::Value::String(text) => Some(text),
            other => Some(other.to_string()),
        };
        Some(Self {
            feature: view.input.contract.name.as_str().into(),
            value: value.map(Into::into),
            contribution: reason.contribution,
            direction: view.direction.label().into(),
            text: view.texts.text.into(),
        })
    }
}

/// The names and types of the columns of `count` reasons.
pub(super) fn reason_header(count: usize) -> Vec<(String, ColumnType)> {
    let columns = |number| {
        [
            ("feature", ColumnType::Text),
            ("value", ColumnType::Text),
            ("contribution", ColumnType::Double),
            ("direction", ColumnType::Text),
            ("text", ColumnType::Text),
        ]
        .map(|(name, kind)| (format!("reason_{number}_{name}"), kind))
    };
    (1..=count).flat_map(columns).collect()
}

/// How many features have no value: neither source nor file has it, or a default stands for it.
pub(super) fn missing(issues: &FeatureIssues) -> i32 {
    let mut all: Vec<usize> = [&issues.missing, &issues.null, &issues.defaulted]
        .into_iter()
        .flatten()
        .copied()
        .collect();
    all.sort_unstable();
    all.dedup();
    i32::try_from(all.len()).unwrap_or(i32::MAX)
}

/// The columns of `details`, one entry per row; `None` is a row without a score.
pub(super) fn columns(
    model: &OfflineModel,
    chosen: &[DetailColumn],
    explain: usize,
    details: &[Option<Detail>],
) -> Vec<Values> {
    let OfflineModel {
        version: model, now, ..
    } = model;
    #[expect(clippy::cast_possible_truncation, reason = "microseconds since the epoch")]
    let at = (now * 1e6) as i64;
    let version = i64::try_from(model.version).ok();
    let sha256: Arc<str> = model.sha256.as_str().into();
    let labels = EntityResult::ALL.map(|status| -> Arc<str> { status.label().into() });
    let label = |status: EntityResult| labels.iter().find(|label| ***label == *status.label()).cloned();
    let texts =
        |text: &dyn Fn(&Option<Detail>) -> Option<Arc<str>>| Values::Text(details.iter().map(text).collect());
    let whole = |number: &dyn Fn(&Detail) -> i32| {
        Values::Whole(details.iter().map(|detail| detail.as_ref().map(number)).collect())
    };
    let column = |column: &DetailColumn| match column {
        DetailColumn::Band => texts(&|detail| detail.as_ref()?.band.clone()),
        DetailColumn::Version => Values::Long(vec![version; details.len()]),
        DetailColumn::Sha256 => Values::Text(vec![Some(sha256.clone()); details.len()]),
        DetailColumn::Status => texts(&|detail| {
            label(
                detail
                    .as_ref()
                    .map_or(EntityResult::Error, |detail| detail.status),
            )
        }),
        DetailColumn::Missing => whole(&|detail| detail.missing),
        DetailColumn::OutOfRange => whole(&|detail| detail.out_of_range),
        DetailColumn::ScoredAt => Values::Time(vec![Some(at); details.len()]),
    };
    let mut columns: Vec<Values> = chosen.iter().map(column).collect();
    for position in 0..explain {
        let reason = |detail: &Option<Detail>| detail.as_ref()?.reasons.get(position).cloned();
        columns.push(texts(&|detail| Some(reason(detail)?.feature)));
        columns.push(texts(&|detail| reason(detail)?.value));
        let contributions = details.iter().map(|detail| Some(reason(detail)?.contribution));
        columns.push(Values::Double(contributions.collect()));
        columns.push(texts(&|detail| Some(reason(detail)?.direction)));
        columns.push(texts(&|detail| Some(reason(detail)?.text)));
    }
    columns
}
