//! CSV and JSON lines output. Numbers are written so that they parse to the same bits, as 32-bit and as 64-bit floats.

use std::fs::File;
use std::io::{BufWriter, Write as _};

use serde::Serializer as _;
use serde_json::Value;

use super::{Numbers, OutputHeader, Writer, id_text};
use crate::features::table::Column;
use crate::values::cell::Cell;

pub(super) struct Csv {
    writer: csv::Writer<BufWriter<File>>,
}

impl Csv {
    pub(super) fn new(file: BufWriter<File>, delimiter: u8, header: &OutputHeader) -> Result<Self, String> {
        let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_writer(file);
        writer
            .write_record(header.id.iter().chain(&header.columns))
            .map_err(|error| error.to_string())?;
        Ok(Self { writer })
    }
}

impl Writer for Csv {
    fn write(
        &mut self,
        header: &OutputHeader,
        ids: Option<&Column>,
        values: &[f64],
        skip: &[bool],
    ) -> Result<(), String> {
        let mut record: Vec<String> = Vec::new();
        for (row, values) in values.chunks_exact(header.columns.len()).enumerate() {
            record.clear();
            record.extend(ids.map(|ids| id_text(ids.cell(row)).unwrap_or_default()));
            let absent = skip.get(row) == Some(&true);
            record.extend(
                values
                    .iter()
                    .map(|&value| if absent { String::new() } else { value.to_string() }),
            );
            self.writer
                .write_record(&record)
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, _: &OutputHeader) -> Result<(), String> {
        self.writer.flush().map_err(|error| error.to_string())
    }
}

pub(super) struct JsonLines {
    file: BufWriter<File>,
}

impl JsonLines {
    pub(super) fn new(file: BufWriter<File>) -> Self {
        Self { file }
    }
}

impl Writer for JsonLines {
    fn write(
        &mut self,
        header: &OutputHeader,
        ids: Option<&Column>,
        values: &[f64],
        skip: &[bool],
    ) -> Result<(), String> {
        for (row, values) in values.chunks_exact(header.columns.len()).enumerate() {
            let id = header
                .id
                .as_deref()
                .zip(ids)
                .map(|(name, ids)| (name, id(ids.cell(row))));
            let values = header.columns.iter().zip(values).map(|(name, &value)| {
                let value = match (skip.get(row), header.numbers) {
                    (Some(true), _) => Value::Null,
                    #[expect(clippy::cast_possible_truncation, reason = "leaves and classes are small")]
                    (_, Numbers::Whole) => (value as i64).into(),
                    (_, Numbers::Single | Numbers::Double) => value.into(),
                };
                (name.as_str(), value)
            });
            // Key by key, as a serde_json map would sort the keys.
            let mut line = serde_json::Serializer::new(&mut self.file);
            line.collect_map(id.into_iter().chain(values))
                .map_err(|error| error.to_string())?;
            self.file.write_all(b"\n").map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, _: &OutputHeader) -> Result<(), String> {
        self.file.flush().map_err(|error| error.to_string())
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
