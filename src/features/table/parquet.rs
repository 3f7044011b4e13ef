//! Apache Parquet with flat columns, read in batches through its column readers.

mod values;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::{ConvertedType, LogicalType, TimeUnit};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType};
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::schema::types::{ColumnDescPtr, SchemaDescriptor};

pub use values::decimals;
use values::{big_endian, half};

use super::column::Patch;
use super::limits::check_columns;
use super::{
    BATCH_ROWS, BatchReader, BrokenRecords, Column, FileColumns, TableBatch, TableError, TextColumn,
    open_file,
};
use crate::values::uuid;

pub(super) struct ParquetFile {
    path: Arc<PathBuf>,
    reader: SerializedFileReader<std::fs::File>,
    chosen: Vec<Leaf>,
    /// The next row group to open.
    group: usize,
    /// Readers of the open row group, one per chosen column, and the rows left in it.
    open: Vec<ColumnReader>,
    left: usize,
    row: u64,
    rows: u64,
    bytes: u64,
    broken: BrokenRecords,
}

/// A column of the file and what its numbers mean.
struct Leaf {
    position: usize,
    descriptor: ColumnDescPtr,
    meaning: Meaning,
}

/// What the stored numbers of a column mean.
#[derive(Clone, Copy)]
enum Meaning {
    Plain,
    Unsigned,
    /// The number divided by 10 to this power.
    Decimal(i32),
    /// Microseconds since the Unix epoch are the number × the first ÷ the second.
    Time(i64, i64),
    Text,
    /// Floats of two bytes.
    Half,
    Uuid,
}

pub(super) fn columns(path: &Path) -> Result<FileColumns, TableError> {
    let reader = open(path)?;
    let schema = reader.metadata().file_metadata().schema_descr();
    check_columns(schema.num_columns()).map_err(|error| TableError::file(path, error))?;
    let (flat, nested): (Vec<_>, Vec<_>) = schema.columns().iter().partition(|column| is_flat(column));
    let mut columns = FileColumns::of(flat.iter().map(|column| column.name().to_owned()).collect());
    for column in nested {
        let Some(name) = column.path().parts().first() else {
            continue;
        };
        if columns.unreadable.iter().all(|(known, _)| known != name) {
            columns
                .unreadable
                .push((name.clone(), "is nested; write it as a flat column"));
        }
    }
    Ok(columns)
}

fn is_flat(column: &ColumnDescPtr) -> bool {
    column.path().parts().len() == 1 && column.max_rep_level() == 0
}

fn open(path: &Path) -> Result<SerializedFileReader<std::fs::File>, TableError> {
    SerializedFileReader::new(open_file(path)?)
        .map_err(|error| TableError::file(path, format!("not a complete Parquet file: {error}")))
}

impl ParquetFile {
    pub(super) fn open(path: &Path, chosen: &[String], broken: BrokenRecords) -> Result<Self, TableError> {
        let reader = open(path)?;
        let schema = reader.metadata().file_metadata().schema_descr();
        let chosen = chosen
            .iter()
            .map(|name| leaf(path, schema, name))
            .collect::<Result<_, _>>()?;
        let rows = reader
            .metadata()
            .file_metadata()
            .num_rows()
            .try_into()
            .unwrap_or(0);
        let bytes = path.metadata().map_or(0, |metadata| metadata.len());
        let path = Arc::new(path.to_owned());
        Ok(Self {
            path,
            reader,
            chosen,
            group: 0,
            open: Vec::new(),
            left: 0,
            row: 0,
            rows,
            bytes,
            broken,
        })
    }

    /// Opens row groups until one has rows; `false` at the end of the file.
    fn open_group(&mut self) -> Result<bool, TableError> {
        let fail = |error| TableError::row(&self.path, self.row + 1, error);
        while self.left == 0 {
            if self.group >= self.reader.num_row_groups() {
                return Ok(false);
            }
            let group = self.reader.get_row_group(self.group).map_err(fail)?;
            self.open = self
                .chosen
                .iter()
                .map(|leaf| group.get_column_reader(leaf.position))
                .collect::<Result<_, _>>()
                .map_err(fail)?;
            self.left = group.metadata().num_rows().try_into().unwrap_or(0);
            self.group += 1;
        }
        Ok(true)
    }
}

impl BatchReader for ParquetFile {
    fn skip(&mut self, rows: u64) -> Result<u64, TableError> {
        let mut skipped = 0;
        // Whole row groups need not be read.
        while self.left == 0 && self.group < self.reader.num_row_groups() {
            let group = self.reader.metadata().row_group(self.group).num_rows();
            let group = u64::try_from(group).unwrap_or(0);
            if skipped + group > rows {
                break;
            }
            self.group += 1;
            self.row += group;
            skipped += group;
        }
        while skipped < rows {
            let Some(batch) = self.next()? else { break };
            skipped += batch.rows as u64;
        }
        Ok(skipped)
    }

    fn next(&mut self) -> Result<Option<TableBatch>, TableError> {
        if !self.open_group()? {
            return Ok(None);
        }
        let rows = self.left.min(BATCH_ROWS);
        let mut columns = Vec::with_capacity(self.chosen.len());
        for (leaf, reader) in self.chosen.iter().zip(&mut self.open) {
            let fail = |(row, message): (usize, String)| {
                let number = self.row + row as u64 + 1;
                TableError::cell(&self.path, number, leaf.descriptor.name(), message)
            };
            let (column, patches) = read(reader, leaf, rows).map_err(fail)?;
            let unfit = patches.iter().find_map(Patch::refusal);
            if let Some(refusal) = unfit.filter(|_| self.broken == BrokenRecords::Refuse) {
                return Err(fail(refusal));
            }
            columns.push(column.patched(patches));
        }
        let first_row = self.row + 1;
        self.left -= rows;
        self.row += rows as u64;
        let position = (self.bytes * self.row).checked_div(self.rows).unwrap_or(0);
        Ok(Some(TableBatch {
            path: self.path.clone(),
            first_row,
            rows,
            columns,
            position,
            broken: Vec::new(),
        }))
    }
}

fn leaf(path: &Path, schema: &SchemaDescriptor, name: &str) -> Result<Leaf, TableError> {
    let found = schema
        .columns()
        .iter()
        .position(|column| is_flat(column) && column.name() == name);
    let position = found.ok_or_else(|| TableError::column(path, name, "no such flat column in the file"))?;
    let descriptor = schema.column(position);
    let meaning = meaning(&descriptor).map_err(|message| TableError::column(path, name, message))?;
    Ok(Leaf {
        position,
        descriptor,
        meaning,
    })
}

/// The meaning of a column by its logical type, or, in older files, its converted type.
fn meaning(column: &ColumnDescPtr) -> Result<Meaning, String> {
    const MICROS_A_DAY: i64 = 86_400_000_000;
    let unit = |unit: &TimeUnit| match unit {
        TimeUnit::MILLIS => Meaning::Time(1000, 1),
        TimeUnit::MICROS => Meaning::Time(1, 1),
        TimeUnit::NANOS => Meaning::Time(1, 1000),
    };
    Ok(match (column.logical_type_ref(), column.converted_type()) {
        (Some(LogicalType::Timestamp(time)), _) => unit(&time.unit),
        (Some(LogicalType::Date), _) | (None, ConvertedType::DATE) => Meaning::Time(MICROS_A_DAY, 1),
        (None, ConvertedType::TIMESTAMP_MILLIS) => Meaning::Time(1000, 1),
        (None, ConvertedType::TIMESTAMP_MICROS) => Meaning::Time(1, 1),
        (Some(LogicalType::Decimal(_)), _) | (None, ConvertedType::DECIMAL) => {
            Meaning::Decimal(column.type_scale())
        }
        (Some(LogicalType::Integer(int)), _) if !int.is_signed => Meaning::Unsigned,
        (
            None,
            ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 | ConvertedType::UINT_64,
        ) => Meaning::Unsigned,
        (Some(LogicalType::String | LogicalType::Enum | LogicalType::Json), _)
        | (None, ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON) => Meaning::Text,
        (Some(LogicalType::Float16), _) => Meaning::Half,
        (Some(LogicalType::Uuid), _) => Meaning::Uuid,
        (Some(LogicalType::Integer(_) | LogicalType::Unknown) | None, _) => Meaning::Plain,
        (Some(other), _) => {
            return Err(format!(
                "columns of type {other:?} are not read; write numbers or text"
            ));
        }
    })
}

/// Cells, and those among them that their column has no place for.
type Patched = (Column, Vec<Patch>);

/// Reads `rows` cells; an error names the row within the batch.
fn read(reader: &mut ColumnReader, leaf: &Leaf, rows: usize) -> Result<Patched, (usize, String)> {
    let column = &leaf.descriptor;
    let plain = |column| (column, Vec::new());
    Ok(match reader {
        ColumnReader::BoolColumnReader(reader) => plain(Column::Bool(cells(reader, column, rows)?)),
        ColumnReader::FloatColumnReader(reader) => {
            let values = cells(reader, column, rows)?;
            plain(Column::Float(
                values.into_iter().map(|value| value.map(f64::from)).collect(),
            ))
        }
        ColumnReader::DoubleColumnReader(reader) => plain(Column::Float(cells(reader, column, rows)?)),
        ColumnReader::Int32ColumnReader(reader) => {
            let values = cells(reader, column, rows)?;
            let unsigned = matches!(leaf.meaning, Meaning::Unsigned);
            let widen = |value: i32| {
                if unsigned {
                    i64::from(value.cast_unsigned())
                } else {
                    i64::from(value)
                }
            };
            whole(
                values.into_iter().map(|value| value.map(widen)).collect(),
                leaf.meaning,
            )
        }
        ColumnReader::Int64ColumnReader(reader) => whole(cells(reader, column, rows)?, leaf.meaning),
        ColumnReader::Int96ColumnReader(reader) => {
            let values = cells(reader, column, rows)?;
            plain(Column::Time(
                values
                    .into_iter()
                    .map(|value| value.map(|time| time.to_micros()))
                    .collect(),
            ))
        }
        ColumnReader::ByteArrayColumnReader(reader) => bytes(cells(reader, column, rows)?, leaf.meaning)?,
        ColumnReader::FixedLenByteArrayColumnReader(reader) => {
            let values = cells(reader, column, rows)?;
            bytes(
                values
                    .into_iter()
                    .map(|value| value.map(ByteArray::from))
                    .collect(),
                leaf.meaning,
            )?
        }
    })
}

/// Reads values that are stored as bytes by their meaning.
fn bytes(values: Vec<Option<ByteArray>>, meaning: Meaning) -> Result<Patched, (usize, String)> {
    let mut patches = Vec::new();
    let values = values.into_iter();
    let column = match meaning {
        Meaning::Text | Meaning::Plain => {
            let mut texts = TextColumn::default();
            for (row, value) in values.enumerate() {
                let text = value.as_ref().map(|bytes| std::str::from_utf8(bytes.data()));
                texts.push(text.and_then(Result::ok));
                if let (Some(bytes), Some(Err(_))) = (&value, text) {
                    let shown = String::from_utf8_lossy(bytes.data());
                    patches.push(Patch::unfit(row, &shown, "bytes that are not UTF-8 text"));
                }
            }
            Column::Text(texts)
        }
        Meaning::Decimal(scale) => {
            let number = |(row, value): (usize, Option<ByteArray>)| {
                let number = value.map(|bytes| big_endian(bytes.data()));
                if let Some(Err(what)) = number {
                    patches.push(Patch::unfit(row, "", what));
                }
                number.and_then(Result::ok)
            };
            decimals(values.enumerate().map(number).collect(), scale)
        }
        Meaning::Half => {
            let number = |bytes: ByteArray| Some(half(bytes.data().try_into().ok()?));
            Column::Float(values.map(|value| value.and_then(number)).collect())
        }
        Meaning::Uuid => {
            let mut texts = TextColumn::default();
            for value in values {
                let uuid = value.and_then(|bytes| Some(uuid::text(bytes.data().try_into().ok()?)));
                texts.push(uuid.as_deref());
            }
            Column::Text(texts)
        }
        Meaning::Unsigned | Meaning::Time(..) => {
            let message = "columns of bytes with this meaning are not read; write numbers or text";
            return Err((0, message.to_owned()));
        }
    };
    Ok((column, patches))
}

/// Reads values that are stored as whole numbers by their meaning.
fn whole(values: Vec<Option<i64>>, meaning: Meaning) -> Patched {
    let mut patches = Vec::new();
    let column = match meaning {
        Meaning::Plain | Meaning::Text | Meaning::Half | Meaning::Uuid => Column::Int(values),
        Meaning::Unsigned => {
            let number = |(row, value): (usize, Option<i64>)| {
                let beyond = value.filter(|value| *value < 0);
                patches.extend(beyond.map(|value| Patch::digits(row, value.cast_unsigned().to_string())));
                value.filter(|value| *value >= 0)
            };
            Column::Int(values.into_iter().enumerate().map(number).collect())
        }
        Meaning::Time(times, over) => {
            let micros = |(row, value): (usize, Option<i64>)| {
                let micros = value?.checked_mul(times).map(|value| value.div_euclid(over));
                if let (Some(value), None) = (value, micros) {
                    patches.push(Patch::unfit(row, &value.to_string(), "a timestamp out of range"));
                }
                micros
            };
            Column::Time(values.into_iter().enumerate().map(micros).collect())
        }
        Meaning::Decimal(scale) => decimals(
            values.into_iter().map(|value| value.map(i128::from)).collect(),
            scale,
        ),
    };
    (column, patches)
}

/// Decodes `rows` cells of a flat column.
fn cells<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    column: &ColumnDescPtr,
    rows: usize,
) -> Result<Vec<Option<T::T>>, (usize, String)> {
    let mut levels: Vec<i16> = Vec::with_capacity(rows);
    let mut values: Vec<T::T> = Vec::with_capacity(rows);
    let mut read = 0;
    while read < rows {
        let (records, ..) = reader
            .read_records(rows - read, Some(&mut levels), None, &mut values)
            .map_err(|error| (read, error.to_string()))?;
        if records == 0 {
            return Err((read, "the column ends before the row group does".to_owned()));
        }
        read += records;
    }
    if column.max_def_level() == 0 {
        return Ok(values.into_iter().map(Some).collect());
    }
    let mut values = values.into_iter();
    Ok(levels
        .iter()
        .map(|&level| if level > 0 { values.next() } else { None })
        .collect())
}
