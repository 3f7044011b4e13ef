//! Parquet output. A row group ends at [`GROUP_VALUES`] values or [`GROUP_ROWS`] rows, which bounds memory.

use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int32Type, Int64Type};
use parquet::errors::Result as ParquetResult;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::Type;

use super::{ColumnType, IdType, OutputBatch, OutputHeader, Target, Values, WriteError, Writer, id_text};
use crate::features::table::Column;
use crate::values::cell::Cell;

/// Maximum values in a row group.
const GROUP_VALUES: usize = 4 << 20;

/// Maximum rows in a row group.
const GROUP_ROWS: usize = 64 * 1024;

pub(super) struct Parquet {
    header: OutputHeader,
    name: String,
    /// The file, until the first batch determines the type of the ids.
    target: Option<Target>,
    writer: Option<SerializedFileWriter<Target>>,
    id_type: Option<IdType>,
    ids: Ids,
    columns: Vec<Values>,
    rows: usize,
}

/// The ids of the current row group.
enum Ids {
    None,
    Text(Vec<Option<ByteArray>>),
    Int(Vec<Option<i64>>),
    Double(Vec<Option<f64>>),
}

/// Selects the type of the ids: numbers stay numbers, others become text. `None` if all are null.
fn type_of(column: &Column, rows: usize) -> Option<IdType> {
    let cells = || {
        (0..rows)
            .map(|row| column.cell(row))
            .filter(|cell| !matches!(cell, Cell::Null | Cell::Unfit { .. }))
    };
    cells().next()?;
    Some(if cells().all(|cell| matches!(cell, Cell::Int(_))) {
        IdType::Int
    } else if cells().all(|cell| matches!(cell, Cell::Float(_))) {
        IdType::Double
    } else {
        IdType::Text
    })
}

impl Parquet {
    pub(super) fn new(target: Target, header: OutputHeader, id_type: Option<IdType>) -> Self {
        Self {
            columns: no_values(&header),
            header,
            name: target.fail(&""),
            target: Some(target),
            writer: None,
            id_type,
            ids: Ids::None,
            rows: 0,
        }
    }

    fn open(&mut self, ids: Option<&Column>, rows: usize) -> ParquetResult<()> {
        let Some(target) = self.target.take() else {
            return Ok(());
        };
        // Ids that are all null are texts, and so they stay in the next parts: all parts have the same columns.
        let found = ids.and_then(|ids| type_of(ids, rows)).unwrap_or(IdType::Text);
        self.id_type = self.header.id.as_ref().map(|_| self.id_type.unwrap_or(found));
        self.ids = match self.id_type {
            None => Ids::None,
            Some(IdType::Int) => Ids::Int(Vec::new()),
            Some(IdType::Double) => Ids::Double(Vec::new()),
            Some(IdType::Text) => Ids::Text(Vec::new()),
        };
        let schema = schema(&self.header, &self.ids)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .build();
        let writer = SerializedFileWriter::new(target, Arc::new(schema), Arc::new(properties))?;
        self.writer = Some(writer);
        Ok(())
    }

    fn push_ids(&mut self, ids: Option<&Column>, rows: usize) -> Result<(), String> {
        let Some(column) = ids else { return Ok(()) };
        for row in 0..rows {
            match (&mut self.ids, column.cell(row)) {
                (Ids::None, _) => {}
                (Ids::Text(ids), cell) => ids.push(id_text(cell).map(|id| ByteArray::from(id.into_bytes()))),
                (Ids::Int(ids), Cell::Null | Cell::Unfit { .. }) => ids.push(None),
                (Ids::Double(ids), Cell::Null | Cell::Unfit { .. }) => ids.push(None),
                (Ids::Int(ids), Cell::Int(id)) => ids.push(Some(id)),
                (Ids::Double(ids), Cell::Float(id)) => ids.push(Some(id)),
                (Ids::Int(_) | Ids::Double(_), _) => {
                    return Err(
                        "the ids change from numbers to another type; write .csv or .jsonl instead"
                            .to_owned(),
                    );
                }
            }
        }
        Ok(())
    }

    fn write_group(&mut self) -> ParquetResult<()> {
        let Some(writer) = &mut self.writer else {
            return Ok(());
        };
        if self.rows == 0 {
            return Ok(());
        }
        let mut group = writer.next_row_group()?;
        match &mut self.ids {
            Ids::None => {}
            Ids::Text(ids) => write_column::<ByteArrayType>(group.next_column()?, std::mem::take(ids))?,
            Ids::Int(ids) => write_column::<Int64Type>(group.next_column()?, std::mem::take(ids))?,
            Ids::Double(ids) => write_column::<DoubleType>(group.next_column()?, std::mem::take(ids))?,
        }
        for values in std::mem::replace(&mut self.columns, no_values(&self.header)) {
            let next = group.next_column()?;
            match values {
                Values::Whole(values) => write_column::<Int32Type>(next, values)?,
                Values::Long(values) | Values::Time(values) => write_column::<Int64Type>(next, values)?,
                Values::Single(values) => write_column::<FloatType>(next, values)?,
                Values::Double(values) => write_column::<DoubleType>(next, values)?,
                Values::Text(values) => {
                    let bytes = |text: Arc<str>| ByteArray::from(text.as_bytes().to_vec());
                    let values = values.into_iter().map(|text| text.map(bytes)).collect();
                    write_column::<ByteArrayType>(next, values)?;
                }
            }
        }
        group.close()?;
        self.rows = 0;
        Ok(())
    }

    fn fail(&self, error: impl std::fmt::Display) -> String {
        format!("{}{error}", self.name)
    }
}

impl Writer for Parquet {
    fn write(&mut self, mut batch: OutputBatch) -> Result<(), WriteError> {
        self.open(batch.ids.as_ref(), batch.rows)
            .map_err(|error| WriteError::File(self.fail(error)))?;
        self.push_ids(batch.ids.as_ref(), batch.rows)
            .map_err(|error| WriteError::Rows(self.fail(error)))?;
        for (values, more) in self.columns.iter_mut().zip(&mut batch.columns) {
            values.append(more);
        }
        self.rows += batch.rows;
        if self.rows >= GROUP_ROWS || self.rows * self.columns.len() >= GROUP_VALUES {
            self.write_group()
                .map_err(|error| WriteError::File(self.fail(error)))?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(Target, Option<IdType>), String> {
        self.open(None, 0)
            .and_then(|()| self.write_group())
            .map_err(|error| self.fail(error))?;
        let ended = self.writer.take().map(SerializedFileWriter::into_inner);
        match ended {
            Some(Ok(target)) => Ok((target, self.id_type)),
            Some(Err(error)) => Err(self.fail(error)),
            None => Err(self.fail("file already finished")),
        }
    }
}

fn no_values(header: &OutputHeader) -> Vec<Values> {
    header
        .columns
        .iter()
        .map(|(_, kind)| Values::none(*kind))
        .collect()
}

fn schema(header: &OutputHeader, ids: &Ids) -> ParquetResult<Type> {
    let logical_field = |name: &str, physical, logical| {
        let field = Type::primitive_type_builder(name, physical).with_logical_type(logical);
        field.with_repetition(Repetition::OPTIONAL).build().map(Arc::new)
    };
    let field = |name: &str, physical| {
        let text = (physical == Physical::BYTE_ARRAY).then_some(LogicalType::String);
        logical_field(name, physical, text)
    };
    let utc = LogicalType::timestamp(true, TimeUnit::MICROS);
    let mut fields = Vec::with_capacity(header.columns.len() + 1);
    if let Some(name) = &header.id {
        fields.push(match ids {
            Ids::Int(_) => field(name, Physical::INT64)?,
            Ids::Double(_) => field(name, Physical::DOUBLE)?,
            Ids::Text(_) | Ids::None => field(name, Physical::BYTE_ARRAY)?,
        });
    }
    for (name, kind) in &header.columns {
        fields.push(match kind {
            ColumnType::Whole => field(name, Physical::INT32)?,
            ColumnType::Long => field(name, Physical::INT64)?,
            ColumnType::Single => field(name, Physical::FLOAT)?,
            ColumnType::Double => field(name, Physical::DOUBLE)?,
            ColumnType::Time => logical_field(name, Physical::INT64, Some(utc.clone()))?,
            ColumnType::Text => field(name, Physical::BYTE_ARRAY)?,
        });
    }
    Type::group_type_builder("scores").with_fields(fields).build()
}

fn write_column<T: DataType>(
    column: Option<SerializedColumnWriter<'_>>,
    values: Vec<Option<T::T>>,
) -> ParquetResult<()> {
    let Some(mut column) = column else { return Ok(()) };
    let levels: Vec<i16> = values.iter().map(|value| i16::from(value.is_some())).collect();
    let present: Vec<T::T> = values.into_iter().flatten().collect();
    column.typed::<T>().write_batch(&present, Some(&levels), None)?;
    column.close()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_are_all_null_are_texts_in_the_next_part_too() {
        let folder = tempfile::tempdir().unwrap();
        let header = OutputHeader {
            id: Some("id".to_owned()),
            columns: Vec::new(),
        };
        let mut ids = None;
        for (part, column) in [vec![None], vec![Some(7)]].into_iter().enumerate() {
            let target = Target::at(&folder.path().join(part.to_string())).unwrap();
            let mut writer = Parquet::new(target, header.clone(), ids);
            let batch = OutputBatch {
                rows: 1,
                ids: Some(Column::Int(column)),
                columns: Vec::new(),
            };
            writer.write(batch).unwrap();
            ids = Box::new(writer).finish().unwrap().1;
            assert_eq!(ids, Some(IdType::Text), "part {part}");
        }
    }
}
