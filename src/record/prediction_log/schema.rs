//! The columns of the prediction log. `docs/prediction-log.md` describes them for readers.

use std::sync::Arc;

use evergreen_forest::Precision;
use parquet::basic::{LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::errors::Result;
use parquet::schema::types::Type;

use super::hash::Hasher;
use crate::config::LogPolicy;
use crate::models::ModelVersion;

/// The name of the column of an input.
pub(super) fn input_column(name: &str) -> String {
    format!("f:{name}")
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogColumn {
    RequestId,
    TraceId,
    Entity,
    Model,
    Version,
    Sha256,
    At,
    Status,
    Score,
    Value,
    Margin,
    Band,
    Arm,
    Origin,
    AsOf,
    FeatureTimes,
    Sampled,
    Overridden,
    Issues,
    Reasons,
    LogWriter,
    Sequence,
    /// The input at this position, as the model saw it.
    Input(usize),
    /// The hash of the input at this position.
    HashedInput(usize),
}

/// The columns that every file has, and their names.
const COMMON: [(LogColumn, &str); 22] = [
    (LogColumn::RequestId, "request_id"),
    (LogColumn::TraceId, "trace_id"),
    (LogColumn::Entity, "entity"),
    (LogColumn::Model, "model"),
    (LogColumn::Version, "version"),
    (LogColumn::Sha256, "sha256"),
    (LogColumn::At, "at"),
    (LogColumn::Status, "status"),
    (LogColumn::Score, "score"),
    (LogColumn::Value, "value"),
    (LogColumn::Margin, "margin"),
    (LogColumn::Band, "band"),
    (LogColumn::Arm, "arm"),
    (LogColumn::Origin, "origin"),
    (LogColumn::AsOf, "as_of"),
    (LogColumn::FeatureTimes, "feature_times"),
    (LogColumn::Sampled, "sampled"),
    (LogColumn::Overridden, "overridden"),
    (LogColumn::Issues, "issues"),
    (LogColumn::Reasons, "reasons"),
    (LogColumn::LogWriter, "writer"),
    (LogColumn::Sequence, "sequence"),
];

/// The policies of the values of one model in the log.
#[derive(Debug)]
pub(super) struct Policies {
    pub(super) entity: LogPolicy,
    /// By input.
    pub(super) inputs: Vec<LogPolicy>,
    /// Whether something is left out because there is no key to hash it with.
    pub(super) lacks_key: bool,
}

impl Policies {
    /// The policies of the contract; for ids, the stricter of the contract's and `entity`.
    pub(super) fn of(model: &ModelVersion, entity: LogPolicy, hasher: &Hasher) -> Self {
        let mut lacks_key = false;
        let mut possible = |policy| match policy {
            LogPolicy::Hash if !hasher.has_key() => {
                lacks_key = true;
                LogPolicy::Omit
            }
            policy => policy,
        };
        let contract = model.contract.as_ref();
        let of_contract = contract.map_or(LogPolicy::Plain, |contract| contract.model.log_entity);
        let inputs = model.inputs.iter();
        Self {
            entity: possible(entity.max(of_contract)),
            inputs: inputs.map(|input| possible(input.contract.log)).collect(),
            lacks_key,
        }
    }
}

/// The columns of a model's files, in their order.
pub(super) fn fields(policies: &Policies) -> Vec<LogColumn> {
    let common = COMMON.iter().map(|&(field, _)| field);
    let inputs = policies.inputs.iter().enumerate();
    let inputs = inputs.filter_map(|(position, policy)| match policy {
        LogPolicy::Plain => Some(LogColumn::Input(position)),
        LogPolicy::Hash => Some(LogColumn::HashedInput(position)),
        LogPolicy::Omit => None,
    });
    common.chain(inputs).collect()
}

/// The Parquet schema of a model's files.
///
/// # Errors
/// A name cannot be that of a column.
pub(super) fn schema(model: &ModelVersion, fields: &[LogColumn]) -> Result<Type> {
    let columns = fields.iter().map(|&field| {
        let (physical, logical, repetition) = column_type(field, model.forest.precision());
        let name = name(field, model);
        let column = Type::primitive_type_builder(&name, physical)
            .with_logical_type(logical)
            .with_repetition(repetition);
        column.build().map(Arc::new)
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    Type::group_type_builder("predictions")
        .with_fields(columns)
        .build()
}

/// The name of a column.
pub(super) fn name(field: LogColumn, model: &ModelVersion) -> String {
    match field {
        LogColumn::Input(position) | LogColumn::HashedInput(position) => {
            let input = model.inputs.get(position);
            input_column(input.map_or("", |input| &input.contract.name))
        }
        _ => {
            let known = COMMON.iter().find(|(known, _)| *known == field);
            known.map_or("", |(_, name)| *name).to_owned()
        }
    }
}

fn column_type(field: LogColumn, precision: Precision) -> (Physical, Option<LogicalType>, Repetition) {
    let text = |repetition| (Physical::BYTE_ARRAY, Some(LogicalType::String), repetition);
    let time = |repetition| {
        let micros = LogicalType::timestamp(true, TimeUnit::MICROS);
        (Physical::INT64, Some(micros), repetition)
    };
    match field {
        LogColumn::RequestId
        | LogColumn::Model
        | LogColumn::Sha256
        | LogColumn::Status
        | LogColumn::Arm
        | LogColumn::Origin
        | LogColumn::LogWriter => text(Repetition::REQUIRED),
        LogColumn::TraceId
        | LogColumn::Entity
        | LogColumn::Band
        | LogColumn::FeatureTimes
        | LogColumn::Overridden
        | LogColumn::Issues
        | LogColumn::Reasons
        | LogColumn::HashedInput(_) => text(Repetition::OPTIONAL),
        LogColumn::At => time(Repetition::REQUIRED),
        LogColumn::AsOf => time(Repetition::OPTIONAL),
        LogColumn::Version | LogColumn::Sequence => (Physical::INT64, None, Repetition::REQUIRED),
        LogColumn::Score | LogColumn::Value | LogColumn::Sampled => {
            (Physical::DOUBLE, None, Repetition::REQUIRED)
        }
        LogColumn::Margin => (Physical::DOUBLE, None, Repetition::OPTIONAL),
        LogColumn::Input(_) => match precision {
            Precision::F32 => (Physical::FLOAT, None, Repetition::REQUIRED),
            Precision::F64 => (Physical::DOUBLE, None, Repetition::REQUIRED),
        },
    }
}
