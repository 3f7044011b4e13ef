//! CSV and JSON lines output. Numbers are written so that they parse to the same bits, as 32-bit and as 64-bit floats.

use std::io::Write as _;

use serde::Serializer as _;
use serde_json::Value;

use super::{IdType, OutputBatch, OutputHeader, Target, Values, WriteError, Writer, id_text, time_text};
use crate::values::cell::Cell;

pub(super) struct Csv {
    writer: csv::Writer<Target>,
    name: String,
}

impl Csv {
    pub(super) fn new(target: Target, delimiter: u8, header: &OutputHeader) -> Result<Self, String> {
        let name = target.fail(&"");
        let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_writer(target);
        writer
            .write_record(header.names())
            .map_err(|error| format!("{name}{error}"))?;
        Ok(Self { writer, name })
    }

    fn write_row(&mut self, batch: &OutputBatch, row: usize) -> csv::Result<()> {
        if let Some(ids) = &batch.ids {
            self.writer
                .write_field(id_text(ids.cell(row)).unwrap_or_default())?;
        }
        for column in &batch.columns {
            match column {
                Values::Text(values) => {
                    let text = values.get(row).and_then(Option::as_deref);
                    self.writer.write_field(text.unwrap_or_default())?;
                }
                numbers => self.writer.write_field(number_text(numbers, row))?,
            }
        }
        self.writer.write_record(None::<&[u8]>)
    }
}

/// A number or moment of a column as text; empty for null.
fn number_text(values: &Values, row: usize) -> String {
    fn text<T: Copy + ToString>(values: &[Option<T>], row: usize) -> String {
        let value = values.get(row).copied().flatten();
        value.map(|value| value.to_string()).unwrap_or_default()
    }
    match values {
        Values::Whole(values) => text(values, row),
        Values::Long(values) => text(values, row),
        // Widened, so that it parses to the same bits as a 64-bit float.
        Values::Single(values) => {
            let value = values.get(row).copied().flatten();
            value
                .map(|value| f64::from(value).to_string())
                .unwrap_or_default()
        }
        Values::Double(values) => text(values, row),
        Values::Time(values) => time(values, row).unwrap_or_default(),
        Values::Text(_) => String::new(),
    }
}

/// A moment of a column as text.
fn time(values: &[Option<i64>], row: usize) -> Option<String> {
    values.get(row).copied().flatten().and_then(time_text)
}

impl Writer for Csv {
    fn write(&mut self, batch: OutputBatch) -> Result<(), WriteError> {
        (0..batch.rows)
            .try_for_each(|row| self.write_row(&batch, row))
            .map_err(|error| WriteError::File(format!("{}{error}", self.name)))
    }

    fn finish(self: Box<Self>) -> Result<(Target, Option<IdType>), String> {
        let target = self.writer.into_inner();
        let target = target.map_err(|error| format!("{}{}", self.name, error.error()))?;
        Ok((target, None))
    }
}

pub(super) struct JsonLines {
    target: Target,
    header: OutputHeader,
}

impl JsonLines {
    pub(super) fn new(target: Target, header: OutputHeader) -> Self {
        Self { target, header }
    }

    fn write_row(&mut self, batch: &OutputBatch, row: usize) -> std::io::Result<()> {
        let ids = batch.ids.as_ref();
        let id = self
            .header
            .id
            .as_deref()
            .zip(ids)
            .map(|(name, ids)| (name, id(ids.cell(row))));
        let columns = self.header.columns.iter().zip(&batch.columns);
        let values = columns.map(|((name, _), values)| (name.as_str(), value(values, row)));
        // Key by key, as a serde_json map would sort the keys.
        serde_json::Serializer::new(&mut self.target).collect_map(id.into_iter().chain(values))?;
        self.target.write_all(b"\n")
    }
}

impl Writer for JsonLines {
    fn write(&mut self, batch: OutputBatch) -> Result<(), WriteError> {
        (0..batch.rows)
            .try_for_each(|row| self.write_row(&batch, row))
            .map_err(|error| WriteError::File(self.target.fail(&error)))
    }

    fn finish(self: Box<Self>) -> Result<(Target, Option<IdType>), String> {
        Ok((self.target, None))
    }
}

fn value(values: &Values, row: usize) -> Value {
    fn of<T: Copy + Into<Value>>(values: &[Option<T>], row: usize) -> Value {
        let value = values.get(row).copied().flatten();
        value.map_or(Value::Null, Into::into)
    }
    match values {
        Values::Whole(values) => of(values, row),
        Values::Long(values) => of(values, row),
        Values::Single(values) => {
            let value = values.get(row).copied().flatten();
            value.map_or(Value::Null, |value| f64::from(value).into())
        }
        Values::Double(values) => of(values, row),
        Values::Time(values) => time(values, row).map_or(Value::Null, Value::from),
        Values::Text(values) => {
            let text = values.get(row).and_then(Option::as_deref);
            text.map_or(Value::Null, Value::from)
        }
    }
}

fn id(cell: Cell<'_>) -> Value {
    match cell {
        Cell::Int(id) => id.into(),
        Cell::Float(id) => id.into(),
        Cell::Bool(id) => id.into(),
        cell => id_text(cell).map_or(Value::Null, Value::from),
    }
}
