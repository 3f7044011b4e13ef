//! Parquet output. A row group ends at [`GROUP_NUMBERS`] numbers or [`GROUP_ROWS`] rows, which bounds memory.

use std::fs::File;
use std::io::BufWriter;
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, FloatType, Int32Type, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::Type;

use super::{Numbers, OutputHeader, Writer, id_text};
use crate::features::table::Column;
use crate::values::cell::Cell;

/// Maximum numbers in a row group.
const GROUP_NUMBERS: usize = 4 << 20;

/// Maximum rows in a row group.
const GROUP_ROWS: usize = 64 * 1024;

pub(super) struct Parquet {
    /// The file, until the first batch determines the type of the ids.
    file: Option<BufWriter<File>>,
    writer: Option<SerializedFileWriter<BufWriter<File>>>,
    ids: IdColumn,
    /// Definition levels: 1 for an id, 0 for null.
    id_levels: Vec<i16>,
    values: Vec<f64>,
    present: Vec<bool>,
}

/// The ids of the current row group.
enum IdColumn {
    None,
    Text(Vec<ByteArray>),
    Int(Vec<i64>),
    Double(Vec<f64>),
}

impl IdColumn {
    /// Selects the type of the ids: numbers stay numbers, others become text.
    fn of(column: Option<&Column>, rows: usize) -> Self {
        let Some(column) = column else {
            return Self::Text(Vec::new());
        };
        let cells = || {
            (0..rows)
                .map(|row| column.cell(row))
                .filter(|cell| *cell != Cell::Null)
        };
        if cells().next().is_some() && cells().all(|cell| matches!(cell, Cell::Int(_))) {
            Self::Int(Vec::new())
        } else if cells().next().is_some() && cells().all(|cell| matches!(cell, Cell::Float(_))) {
            Self::Double(Vec::new())
        } else {
            Self::Text(Vec::new())
        }
    }
}

impl Parquet {
    pub(super) fn new(file: BufWriter<File>) -> Self {
        Self {
            file: Some(file),
            writer: None,
            ids: IdColumn::None,
            id_levels: Vec::new(),
            values: Vec::new(),
            present: Vec::new(),
        }
    }

    fn open(&mut self, header: &OutputHeader, ids: Option<&Column>, rows: usize) -> Result<(), String> {
        let Some(file) = self.file.take() else {
            return Ok(());
        };
        self.ids = if header.id.is_some() {
            IdColumn::of(ids, rows)
        } else {
            IdColumn::None
        };
        let schema = schema(header, &self.ids).map_err(|error| error.to_string())?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .build();
        let writer = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties));
        self.writer = Some(writer.map_err(|error| error.to_string())?);
        Ok(())
    }

    fn push_ids(&mut self, ids: Option<&Column>, rows: usize) -> Result<(), String> {
        let Some(column) = ids else { return Ok(()) };
        for row in 0..rows {
            let cell = column.cell(row);
            match (&mut self.ids, cell) {
                (IdColumn::None, _) | (_, Cell::Null) => {}
                (IdColumn::Int(ids), Cell::Int(id)) => ids.push(id),
                (IdColumn::Double(ids), Cell::Float(id)) => ids.push(id),
                (IdColumn::Int(_) | IdColumn::Double(_), _) => {
                    return Err(
                        "the ids change from numbers to another type; write .csv or .jsonl instead"
                            .to_owned(),
                    );
                }
                (IdColumn::Text(ids), cell) => {
                    ids.push(ByteArray::from(id_text(cell).unwrap_or_default().as_str()))
                }
            }
            self.id_levels.push(i16::from(cell != Cell::Null));
        }
        Ok(())
    }

    fn write_group(&mut self, header: &OutputHeader) -> parquet::errors::Result<()> {
        let Some(writer) = &mut self.writer else {
            return Ok(());
        };
        if self.present.is_empty() {
            return Ok(());
        }
        let mut group = writer.next_row_group()?;
        let id_levels = self.id_levels.as_slice();
        match &mut self.ids {
            IdColumn::None => {}
            IdColumn::Text(ids) => write_column::<ByteArrayType>(group.next_column()?, ids, Some(id_levels))?,
            IdColumn::Int(ids) => write_column::<Int64Type>(group.next_column()?, ids, Some(id_levels))?,
            IdColumn::Double(ids) => write_column::<DoubleType>(group.next_column()?, ids, Some(id_levels))?,
        }
        let levels: Vec<i16> = self.present.iter().map(|&present| i16::from(present)).collect();
        let width = header.columns.len();
        for column in 0..width {
            let values = self.values.iter().skip(column).step_by(width).zip(&self.present);
            let values = values.filter(|&(_, &present)| present).map(|(&value, _)| value);
            let next = group.next_column()?;
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the numbers were widened from this type"
            )]
            match header.numbers {
                Numbers::Whole => {
                    write_column::<Int32Type>(
                        next,
                        &values.map(|v| v as i32).collect::<Vec<_>>(),
                        Some(&levels),
                    )?;
                }
                Numbers::Single => {
                    write_column::<FloatType>(
                        next,
                        &values.map(|v| v as f32).collect::<Vec<_>>(),
                        Some(&levels),
                    )?;
                }
                Numbers::Double => {
                    write_column::<DoubleType>(next, &values.collect::<Vec<_>>(), Some(&levels))?
                }
            }
        }
        group.close()?;
        match &mut self.ids {
            IdColumn::None => {}
            IdColumn::Text(ids) => ids.clear(),
            IdColumn::Int(ids) => ids.clear(),
            IdColumn::Double(ids) => ids.clear(),
        }
        self.id_levels.clear();
        self.values.clear();
        self.present.clear();
        Ok(())
    }
}

impl Writer for Parquet {
    fn write(
        &mut self,
        header: &OutputHeader,
        ids: Option<&Column>,
        values: &[f64],
        skip: &[bool],
    ) -> Result<(), String> {
        self.open(header, ids, skip.len())?;
        self.push_ids(ids, skip.len())?;
        self.values.extend_from_slice(values);
        self.present.extend(skip.iter().map(|skip| !skip));
        if self.present.len() >= GROUP_ROWS || self.values.len() >= GROUP_NUMBERS {
            self.write_group(header).map_err(|error| error.to_string())
        } else {
            Ok(())
        }
    }

    fn finish(mut self: Box<Self>, header: &OutputHeader) -> Result<(), String> {
        self.open(header, None, 0)?;
        self.write_group(header).map_err(|error| error.to_string())?;
        let writer = self.writer.take();
        writer.map_or(Ok(()), |writer| {
            writer.close().map(drop).map_err(|error| error.to_string())
        })
    }
}

fn schema(header: &OutputHeader, ids: &IdColumn) -> parquet::errors::Result<Type> {
    let mut fields = Vec::with_capacity(header.columns.len() + 1);
    if let Some(name) = &header.id {
        let id = match ids {
            IdColumn::Int(_) => Type::primitive_type_builder(name, Physical::INT64),
            IdColumn::Double(_) => Type::primitive_type_builder(name, Physical::DOUBLE),
            IdColumn::Text(_) | IdColumn::None => Type::primitive_type_builder(name, Physical::BYTE_ARRAY)
                .with_logical_type(Some(LogicalType::String)),
        };
        fields.push(Arc::new(id.with_repetition(Repetition::OPTIONAL).build()?));
    }
    let physical = match header.numbers {
        Numbers::Whole => Physical::INT32,
        Numbers::Single => Physical::FLOAT,
        Numbers::Double => Physical::DOUBLE,
    };
    for name in &header.columns {
        let column = Type::primitive_type_builder(name, physical).with_repetition(Repetition::OPTIONAL);
        fields.push(Arc::new(column.build()?));
    }
    Type::group_type_builder("scores").with_fields(fields).build()
}

fn write_column<T: parquet::data_type::DataType>(
    column: Option<SerializedColumnWriter<'_>>,
    values: &[T::T],
    levels: Option<&[i16]>,
) -> parquet::errors::Result<()> {
    let Some(mut column) = column else { return Ok(()) };
    column.typed::<T>().write_batch(values, levels, None)?;
    column.close()
}
