//! The Python class of a result: an Arrow table in one piece.

use arrow_array::cast::AsArray;
use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::types::{ArrowPrimitiveType, Float32Type, Float64Type, Int32Type, Int64Type};
use arrow_array::{Array as _, ArrayRef, RecordBatch, RecordBatchIterator, StructArray};
use arrow_schema::DataType;
use numpy::{Element, PyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyDict, PyList, PyTuple};

/// Scores of a table, as an Arrow table: `pyarrow.table(scores)`, `polars.DataFrame(scores)`.
#[pyclass(frozen, module = "evergreen_serving._engine")]
pub(crate) struct Scores {
    batch: RecordBatch,
}

impl From<RecordBatch> for Scores {
    fn from(batch: RecordBatch) -> Self {
        Self { batch }
    }
}

#[pymethods]
impl Scores {
    /// The number of rows.
    fn __len__(&self) -> usize {
        self.batch.num_rows()
    }

    /// The names of the columns.
    #[getter]
    fn column_names(&self) -> Vec<String> {
        let schema = self.batch.schema();
        schema.fields().iter().map(|field| field.name().clone()).collect()
    }

    /// The schema, by the Arrow PyCapsule protocol.
    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        let schema = FFI_ArrowSchema::try_from(self.batch.schema().as_ref());
        PyCapsule::new_with_value(py, schema.map_err(invalid)?, c"arrow_schema")
    }

    /// The rows in one piece, by the Arrow PyCapsule protocol. Types stay as they are.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        // The protocol lets a producer ignore the wish for other types.
        let _ = requested_schema;
        let rows = StructArray::from(self.batch.clone()).into_data();
        let array = PyCapsule::new_with_value(py, FFI_ArrowArray::new(&rows), c"arrow_array")?;
        PyTuple::new(py, [self.__arrow_c_schema__(py)?, array])
    }

    /// The rows as a stream, by the Arrow PyCapsule protocol. Types stay as they are.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let _ = requested_schema;
        let batches = RecordBatchIterator::new([Ok(self.batch.clone())], self.batch.schema());
        let stream = FFI_ArrowArrayStream::new(Box::new(batches));
        PyCapsule::new_with_value(py, stream, c"arrow_array_stream")
    }

    /// The columns as NumPy arrays by name; NaN where a row has no number, and lists for texts.
    fn numpy<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let columns = PyDict::new(py);
        for (field, array) in self.batch.schema().fields().iter().zip(self.batch.columns()) {
            columns.set_item(field.name(), numbers(py, array)?)?;
        }
        Ok(columns)
    }

    /// The values of one row by name.
    fn row<'py>(&self, py: Python<'py>, position: usize) -> PyResult<Bound<'py, PyDict>> {
        if position >= self.batch.num_rows() {
            let rows = self.batch.num_rows();
            return Err(PyValueError::new_err(format!(
                "expected a row below {rows}, found {position}"
            )));
        }
        let values = PyDict::new(py);
        for (field, array) in self.batch.schema().fields().iter().zip(self.batch.columns()) {
            values.set_item(field.name(), value(py, array, position)?)?;
        }
        Ok(values)
    }
}

fn numbers<'py>(py: Python<'py>, array: &ArrayRef) -> PyResult<Bound<'py, PyAny>> {
    fn plain<'py, T: ArrowPrimitiveType>(py: Python<'py>, array: &ArrayRef) -> Bound<'py, PyAny>
    where
        T::Native: Element,
    {
        PyArray1::from_slice(py, array.as_primitive::<T>().values()).into_any()
    }
    fn with_gaps<'py, T: ArrowPrimitiveType, N: Element>(
        py: Python<'py>,
        array: &ArrayRef,
        number: impl Fn(Option<T::Native>) -> N,
    ) -> Bound<'py, PyAny> {
        PyArray1::from_iter(py, array.as_primitive::<T>().iter().map(number)).into_any()
    }
    #[expect(clippy::cast_precision_loss, reason = "classes and leaves are below 2^53")]
    let whole = |number: Option<i64>| number.map_or(f64::NAN, |number| number as f64);
    Ok(match (array.data_type(), array.null_count() > 0) {
        (DataType::Float32, false) => plain::<Float32Type>(py, array),
        (DataType::Float64, false) => plain::<Float64Type>(py, array),
        (DataType::Int64, false) => plain::<Int64Type>(py, array),
        (DataType::Int32, _) => plain::<Int32Type>(py, array),
        (DataType::Float32, true) => with_gaps::<Float32Type, f32>(py, array, |n| n.unwrap_or(f32::NAN)),
        (DataType::Float64, true) => with_gaps::<Float64Type, f64>(py, array, |n| n.unwrap_or(f64::NAN)),
        (DataType::Int64, true) => with_gaps::<Int64Type, f64>(py, array, whole),
        _ => PyList::new(py, array.as_string::<i32>().iter())?.into_any(),
    })
}

fn value<'py>(py: Python<'py>, array: &ArrayRef, row: usize) -> PyResult<Bound<'py, PyAny>> {
    if array.is_null(row) {
        return Ok(py.None().into_bound(py));
    }
    Ok(match array.data_type() {
        DataType::Float32 => f64::from(array.as_primitive::<Float32Type>().value(row))
            .into_pyobject(py)?
            .into_any(),
        DataType::Float64 => array
            .as_primitive::<Float64Type>()
            .value(row)
            .into_pyobject(py)?
            .into_any(),
        DataType::Int64 => array
            .as_primitive::<Int64Type>()
            .value(row)
            .into_pyobject(py)?
            .into_any(),
        DataType::Int32 => array
            .as_primitive::<Int32Type>()
            .value(row)
            .into_pyobject(py)?
            .into_any(),
        _ => array.as_string::<i32>().value(row).into_pyobject(py)?.into_any(),
    })
}

fn invalid(error: arrow_schema::ArrowError) -> PyErr {
    PyValueError::new_err(error.to_string())
}
