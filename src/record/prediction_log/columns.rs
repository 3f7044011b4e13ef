//! Writes a group of rows as a Parquet file with one row group.

use std::sync::Arc;

use bytes::Bytes;
use evergreen_forest::Precision;
use parquet::basic::{Compression, Encoding};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int64Type};
use parquet::errors::Result;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::ColumnPath;

use super::group::{LogGroup, LoggedRow};
use super::hash::Hasher;
use super::issues::{issues, overridden, reasons};
use super::meta::FileMeta;
use super::schema::{LogColumn, Policies, fields, name, schema};
use super::times::feature_times;
use crate::config::LogPolicy;
use crate::scoring::outcome::EntityResult;

/// What the rows of a writer have in common.
#[derive(Debug)]
pub(super) struct RowContext<'a> {
    pub(super) writer: &'a str,
    pub(super) hasher: &'a Hasher,
}

/// Encodes a group as a complete file.
///
/// # Errors
/// Parquet cannot hold it.
pub(super) fn encode(group: &LogGroup, policies: &Policies, common: &RowContext<'_>) -> Result<Vec<u8>> {
    let fields = fields(policies);
    let schema = schema(&group.model, &fields)?;
    let properties = properties(group, policies, common, &fields);
    let mut file = SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties))?;
    {
        let mut columns = ColumnsWriter {
            group,
            policies,
            common,
            margins: group.margins(),
            row_group: file.next_row_group()?,
        };
        for field in fields {
            columns.write(field)?;
        }
        columns.row_group.close()?;
    }
    file.into_inner()
}

/// Dictionaries only where values repeat; whole numbers that grow as differences.
fn properties(
    group: &LogGroup,
    policies: &Policies,
    common: &RowContext<'_>,
    fields: &[LogColumn],
) -> WriterProperties {
    let meta = FileMeta::of(&group.model, policies, common.writer).to_json();
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("evergreen ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::SNAPPY)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_key_value_metadata(Some(vec![KeyValue::new(FileMeta::KEY.to_owned(), meta)]));
    for &field in fields {
        let column = ColumnPath::from(name(field, &group.model));
        properties = match field {
            LogColumn::RequestId
            | LogColumn::TraceId
            | LogColumn::Score
            | LogColumn::Value
            | LogColumn::Margin
            | LogColumn::Reasons => properties.set_column_dictionary_enabled(column, false),
            LogColumn::At | LogColumn::Sequence => properties
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED),
            _ => properties,
        };
    }
    properties.build()
}

struct ColumnsWriter<'a, 'w> {
    group: &'a LogGroup,
    policies: &'a Policies,
    common: &'a RowContext<'a>,
    /// By row; empty if the model has none.
    margins: Vec<f64>,
    row_group: SerializedRowGroupWriter<'w, Vec<u8>>,
}

impl ColumnsWriter<'_, '_> {
    fn write(&mut self, field: LogColumn) -> Result<()> {
        let group = self.group;
        let (model, policies, common) = (&*group.model, self.policies, self.common);
        match field {
            LogColumn::RequestId => self.texts(|row| {
                let ids = row.of.request.as_ref();
                let id = ids.map(|ids| ids.request_id.to_string());
                id.unwrap_or_default().into_bytes().into()
            }),
            LogColumn::TraceId => self.optional_texts(|row| {
                let trace = row.of.request.as_ref()?.trace_id?;
                Some(format!("{trace:032x}"))
            }),
            LogColumn::Entity => self.optional_texts(|row| {
                let id = row.prediction.id.as_ref()?.to_string();
                match policies.entity {
                    LogPolicy::Plain => Some(id),
                    LogPolicy::Hash => common.hasher.hash(model.entity(), id.as_bytes()),
                    LogPolicy::Omit => None,
                }
            }),
            LogColumn::Model => self.constant(&model.name),
            LogColumn::Sha256 => self.constant(&model.sha256),
            LogColumn::LogWriter => self.constant(common.writer),
            LogColumn::Status => self.texts(|row| {
                let status = match row.prediction.issues.degraded() {
                    true => EntityResult::Degraded,
                    false => EntityResult::Ok,
                };
                status.label().into()
            }),
            LogColumn::Band => {
                self.optional_texts(|row| row.prediction.band.as_ref().map(ToString::to_string))
            }
            LogColumn::Arm => self.texts(|row| row.of.arm.label().into()),
            LogColumn::Origin => self.texts(|row| row.prediction.from.label().into()),
            LogColumn::FeatureTimes => self.optional_texts(|row| feature_times(model, row.prediction)),
            LogColumn::Overridden => self.optional_texts(|row| overridden(model, row.prediction)),
            LogColumn::Issues => self.optional_texts(|row| issues(model, row.prediction)),
            LogColumn::Reasons => self.optional_texts(|row| {
                let wanted = row.prediction.reasons.as_ref()?;
                Some(reasons(model, policies, wanted))
            }),
            LogColumn::HashedInput(position) => self.optional_texts(|row| {
                let value = seen(model.forest.precision(), row.values.get(position).copied()?);
                let name = &model.inputs.get(position)?.contract.name;
                if value.is_nan() {
                    return None;
                }
                common.hasher.hash(name, &value.to_bits().to_le_bytes())
            }),
            LogColumn::Version => {
                let version = i64::try_from(model.version).unwrap_or(i64::MAX);
                self.required::<Int64Type>(|_| version)
            }
            LogColumn::Sequence => self.required::<Int64Type>(|row| row.sequence.cast_signed()),
            LogColumn::At => self.required::<Int64Type>(|row| micros(row.of.at)),
            LogColumn::AsOf => self.optional::<Int64Type>(|row| row.prediction.as_of.map(micros)),
            LogColumn::Score => self.required::<DoubleType>(|row| row.prediction.score),
            LogColumn::Value => self.required::<DoubleType>(|row| row.prediction.value),
            LogColumn::Margin => self.margins(),
            LogColumn::Sampled => self.required::<DoubleType>(|row| row.of.share),
            LogColumn::Input(position) => self.input(position),
        }
    }

    fn input(&mut self, position: usize) -> Result<()> {
        let value = move |row: LoggedRow<'_>| row.values.get(position).copied().unwrap_or(f64::NAN);
        match self.group.model.forest.precision() {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the forest reads no more than this"
            )]
            Precision::F32 => self.required::<FloatType>(|row| value(row) as f32),
            Precision::F64 => self.required::<DoubleType>(value),
        }
    }

    fn margins(&mut self) -> Result<()> {
        let margins = std::mem::take(&mut self.margins);
        let levels = vec![i16::from(!margins.is_empty()); self.group.rows];
        self.column::<DoubleType>(&margins, Some(&levels))
    }

    fn constant(&mut self, text: &str) -> Result<()> {
        let text = ByteArray::from(Bytes::from(text.to_owned()));
        self.required::<ByteArrayType>(|_| text.clone())
    }

    fn texts(&mut self, of: impl Fn(LoggedRow<'_>) -> ByteArray) -> Result<()> {
        self.required::<ByteArrayType>(of)
    }

    fn optional_texts(&mut self, of: impl Fn(LoggedRow<'_>) -> Option<String>) -> Result<()> {
        self.optional::<ByteArrayType>(|row| of(row).map(|text| ByteArray::from(text.into_bytes())))
    }

    fn required<T: DataType>(&mut self, of: impl Fn(LoggedRow<'_>) -> T::T) -> Result<()> {
        let values: Vec<T::T> = self.group.iter().map(of).collect();
        self.column::<T>(&values, None)
    }

    fn optional<T: DataType>(&mut self, of: impl Fn(LoggedRow<'_>) -> Option<T::T>) -> Result<()> {
        let mut levels = Vec::with_capacity(self.group.rows);
        let mut values = Vec::new();
        for row in self.group.iter() {
            let value = of(row);
            levels.push(i16::from(value.is_some()));
            values.extend(value);
        }
        self.column::<T>(&values, Some(&levels))
    }

    fn column<T: DataType>(&mut self, values: &[T::T], levels: Option<&[i16]>) -> Result<()> {
        let Some(mut column) = self.row_group.next_column()? else {
            return Ok(());
        };
        column.typed::<T>().write_batch(values, levels, None)?;
        column.close()
    }
}

/// A number as the forest sees it.
fn seen(precision: Precision, value: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the forest reads no more than this"
    )]
    match precision {
        Precision::F32 => f64::from(value as f32),
        Precision::F64 => value,
    }
}

/// Seconds since the Unix epoch as microseconds.
fn micros(seconds: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "a cast saturates")]
    let micros = (seconds * 1e6).round() as i64;
    micros
}
