//! Tables and rows of Python: any object with the Arrow PyCapsule protocol, or a mapping.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyCapsule, PyDict, PyFloat, PyInt, PyString, PyTuple};
use pyo3::{PyTypeInfo as _, intern};
use pyo3_arrow::{PyRecordBatch, PyRecordBatchReader};

use crate::column::{Column, RowCell};
use crate::run::Batch;
use crate::selection::Selection;

/// The batches of a table, which share its memory.
pub(crate) struct Table {
    pub(crate) schema: SchemaRef,
    pub(crate) batches: Vec<RecordBatch>,
}

impl Table {
    /// Takes an object with `__arrow_c_array__` or `__arrow_c_stream__`.
    ///
    /// # Errors
    /// It has neither, or is no table.
    pub(crate) fn of(data: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = data.py();
        if let Some(array) = data.getattr_opt(intern!(py, "__arrow_c_array__"))? {
            let capsules = array.call0()?.cast_into::<PyTuple>()?;
            let schema = capsules.get_item(0)?.cast_into::<PyCapsule>()?;
            let array = capsules.get_item(1)?.cast_into::<PyCapsule>()?;
            let batch = PyRecordBatch::from_arrow_pycapsule(&schema, &array)?.into_inner();
            return Ok(Self {
                schema: batch.schema(),
                batches: vec![batch],
            });
        }
        if let Some(stream) = data.getattr_opt(intern!(py, "__arrow_c_stream__"))? {
            let capsule = stream.call0()?.cast_into::<PyCapsule>()?;
            let reader = PyRecordBatchReader::from_arrow_pycapsule(&capsule)?.into_reader()?;
            let schema = reader.schema();
            // The library that fills the stream may do so in threads that need the interpreter.
            let batches = py.detach(|| reader.collect::<Result<_, _>>());
            let batches = batches.map_err(|error| PyValueError::new_err(error.to_string()))?;
            return Ok(Self { schema, batches });
        }
        Err(PyTypeError::new_err(format!(
            "expected a table of pyarrow, polars, pandas (2.2 or newer) or another library with the Arrow PyCapsule \
             protocol, a NumPy array, or a dict for one row; found {}",
            data.get_type().name()?
        )))
    }

    /// The columns that a model reads.
    ///
    /// # Errors
    /// Columns of a type are not read; the message names the column.
    pub(crate) fn batches(&self, selection: &Selection) -> Result<Vec<Batch<'_>>, String> {
        let batch = |batch| self.batch(batch, selection);
        self.batches.iter().map(batch).collect()
    }

    fn batch<'a>(&'a self, batch: &'a RecordBatch, selection: &Selection) -> Result<Batch<'a>, String> {
        let column = |&at: &usize| {
            let column = Column::of_array(batch.column(at));
            column.map_err(|message| format!("column `{}`: {message}", self.schema.field(at).name()))
        };
        Ok(Batch {
            rows: batch.num_rows(),
            columns: selection.columns.iter().map(column).collect::<Result<_, _>>()?,
        })
    }
}

/// Takes the values of one row, whose keys are `names`.
///
/// # Errors
/// A value is of a type that no feature has.
pub(crate) fn row(
    row: &Bound<'_, PyDict>,
    names: &[String],
    selection: &Selection,
) -> PyResult<Vec<RowCell>> {
    let cells = selection.columns.iter().map(|&at| {
        let name = &names[at];
        match row.get_item(name)? {
            None => Ok(RowCell::Null),
            Some(value) => cell(&value, name),
        }
    });
    cells.collect()
}

fn cell(value: &Bound<'_, PyAny>, name: &str) -> PyResult<RowCell> {
    let py = value.py();
    if value.is_none() {
        return Ok(RowCell::Null);
    }
    if PyFloat::is_type_of(value) {
        return Ok(RowCell::Float(value.extract()?));
    }
    if PyBool::is_type_of(value) {
        return Ok(RowCell::Bool(value.extract()?));
    }
    if PyString::is_type_of(value) {
        return Ok(RowCell::Text(value.extract()?));
    }
    if PyInt::is_type_of(value) || value.hasattr(intern!(py, "__index__"))? {
        let number = value.extract::<i64>();
        return number.map(RowCell::Int).map_err(|_| {
            PyValueError::new_err(format!(
                "row 0, column `{name}`: {value} is beyond ±2^53, where whole numbers are no longer exact"
            ))
        });
    }
    let kind = value.get_type().name()?.to_string();
    // What pandas and NumPy have for a missing value; a datetime64 has no isoformat, but its text is that.
    if matches!(kind.as_str(), "NAType" | "NaTType") {
        return Ok(RowCell::Null);
    }
    if kind == "datetime64" {
        let text = value.str()?.to_string();
        return Ok(if text == "NaT" {
            RowCell::Null
        } else {
            RowCell::Text(text)
        });
    }
    // Dates and times of any library; without a time zone they are UTC.
    if let Some(text) = value.getattr_opt(intern!(py, "isoformat"))? {
        return Ok(RowCell::Text(text.call0()?.extract()?));
    }
    if value.hasattr(intern!(py, "__float__"))? {
        return Ok(RowCell::Float(value.extract()?));
    }
    Err(PyValueError::new_err(format!(
        "row 0, column `{name}`: expected None, a boolean, a number, a text or a time, found {kind}"
    )))
}
