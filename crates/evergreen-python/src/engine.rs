//! The Python class that loads a bundle and scores.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::RecordBatch;
use evergreen::values::time::now;
use numpy::{Element, PyReadonlyArray2, PyUntypedArrayMethods as _};
use pyo3::exceptions::{PyFileNotFoundError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::column::Column;
use crate::input::{Table, row};
use crate::kind::Kind;
use crate::model::{LoadError, Model};
use crate::output::Outputs;
use crate::run::{Batch, Rules, score};
use crate::scores::Scores;
use crate::selection::{AS_OF, Selection};

/// A loaded model; see `evergreen_serving.Scorer`, which wraps it.
#[pyclass(frozen, module = "evergreen_serving._engine")]
pub(crate) struct Engine {
    model: Model,
    /// That of the last table: most tables of a program have the same columns.
    last: Mutex<Option<Arc<Selection>>>,
}

#[pymethods]
impl Engine {
    /// Validates and loads a bundle, a model file, or the newest valid version in a model's folder. With trusted keys it needs
    /// a signature of one of them.
    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf, trusted_keys: Vec<String>) -> PyResult<Self> {
        let model = py.detach(|| Model::load(&path, &trusted_keys));
        match model {
            Ok(model) => Ok(Self {
                model,
                last: Mutex::default(),
            }),
            Err(LoadError::NotFound(message)) => Err(PyFileNotFoundError::new_err(message)),
            Err(LoadError::Refused(message)) => Err(PyValueError::new_err(message)),
        }
    }

    /// What the model is, for `Scorer`.
    fn describe<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (version, summary) = (&self.model.version, self.model.version.forest.summary());
        let output = version.contract.as_ref().map(|contract| &contract.output);
        let about = PyDict::new(py);
        about.set_item("path", &self.model.path)?;
        about.set_item("name", &version.name)?;
        about.set_item("version", version.version)?;
        about.set_item("sha256", &version.sha256)?;
        about.set_item("bundle_sha256", &version.bundle_sha256)?;
        about.set_item("library", summary.format.label())?;
        about.set_item("library_version", &summary.library_version)?;
        about.set_item("objective", &summary.objective)?;
        about.set_item("trees", summary.trees)?;
        about.set_item("output", output.map(|output| output.kind.label()))?;
        about.set_item(
            "calibrated",
            output.is_some_and(|output| output.calibration.is_some()),
        )?;
        about.set_item("entity", version.contract.as_ref().map(|_| version.entity()))?;
        let bands = output.map_or(&[][..], |output| &output.bands);
        let bands: Vec<(&str, f64)> = bands.iter().map(|band| (&*band.name, band.from)).collect();
        about.set_item("bands", bands)?;
        about.set_item("kinds", self.kinds())?;
        let slots = (0..self.model.slots()).filter_map(|slot| self.model.slot(slot));
        let columns = slots.flat_map(|slot| [slot.column().to_owned(), slot.name.clone()]);
        about.set_item("columns", columns.chain([AS_OF.to_owned()]).collect::<Vec<_>>())?;
        let features = (0..self.model.inputs().len()).map(|position| self.feature(py, position));
        about.set_item("features", features.collect::<PyResult<Vec<_>>>()?)?;
        Ok(about)
    }

    /// A result without rows, for its types.
    fn empty(&self, kinds: Vec<String>) -> PyResult<Scores> {
        let table = self.outputs(kinds)?.table(Vec::new());
        table.map(Scores::from).map_err(PyValueError::new_err)
    }

    /// Scores a table with the Arrow PyCapsule protocol.
    fn score_table(
        &self,
        py: Python<'_>,
        data: &Bound<'_, PyAny>,
        kinds: Vec<String>,
        threads: Option<usize>,
        skip: bool,
    ) -> PyResult<Scores> {
        let outputs = self.outputs(kinds)?;
        let table = Table::of(data)?;
        let result = py.detach(|| {
            let names = table.schema.fields().iter().map(|field| field.name().as_str());
            let selection = self.selection(names)?;
            let batches = table.batches(&selection)?;
            self.run(&selection, &outputs, &batches, threads, skip)
        });
        // The memory of the table may belong to objects of Python.
        drop(table);
        result.map(Scores::from).map_err(PyValueError::new_err)
    }

    /// Scores an array of 64-bit floats without gaps, one column per feature.
    fn score_matrix64(
        &self,
        py: Python<'_>,
        data: PyReadonlyArray2<'_, f64>,
        kinds: Vec<String>,
        threads: Option<usize>,
        skip: bool,
    ) -> PyResult<Scores> {
        self.score_matrix(py, matrix(&data, Column::Matrix64)?, kinds, threads, skip)
    }

    /// As `score_matrix64`, of 32-bit floats.
    fn score_matrix32(
        &self,
        py: Python<'_>,
        data: PyReadonlyArray2<'_, f32>,
        kinds: Vec<String>,
        threads: Option<usize>,
        skip: bool,
    ) -> PyResult<Scores> {
        self.score_matrix(py, matrix(&data, Column::Matrix32)?, kinds, threads, skip)
    }

    /// Scores one row, given as a dict.
    fn score_row(
        &self,
        py: Python<'_>,
        data: &Bound<'_, PyDict>,
        kinds: Vec<String>,
        skip: bool,
    ) -> PyResult<Scores> {
        let outputs = self.outputs(kinds)?;
        let names: Vec<String> = data.keys().iter().filter_map(|key| key.extract().ok()).collect();
        let selection = self.selection(names.iter().map(String::as_str));
        let selection = selection.map_err(PyValueError::new_err)?;
        let cells = row(data, &names, &selection)?;
        let columns = cells.iter().map(Column::Row).collect();
        let batch = Batch { rows: 1, columns };
        let result = py.detach(|| self.run(&selection, &outputs, &[batch], Some(1), skip));
        result.map(Scores::from).map_err(PyValueError::new_err)
    }
}

impl Engine {
    fn outputs(&self, kinds: Vec<String>) -> PyResult<Outputs<'_>> {
        let kinds = kinds
            .iter()
            .map(|label| Kind::of(label))
            .collect::<Result<Vec<_>, _>>();
        kinds
            .and_then(|kinds| Outputs::new(&self.model, kinds))
            .map_err(PyValueError::new_err)
    }

    /// Which of the columns with these names are read.
    fn selection<'a>(&self, names: impl Iterator<Item = &'a str> + Clone) -> Result<Arc<Selection>, String> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = last.as_ref().filter(|known| known.is_of(names.clone())) {
            return Ok(known.clone());
        }
        let selection = Arc::new(Selection::by_name(&self.model, names)?);
        *last = Some(selection.clone());
        Ok(selection)
    }

    fn score_matrix(
        &self,
        py: Python<'_>,
        batch: Batch<'_>,
        kinds: Vec<String>,
        threads: Option<usize>,
        skip: bool,
    ) -> PyResult<Scores> {
        let outputs = self.outputs(kinds)?;
        let result = Selection::by_position(&self.model, batch.columns.len())
            .and_then(|selection| py.detach(|| self.run(&selection, &outputs, &[batch], threads, skip)));
        result.map(Scores::from).map_err(PyValueError::new_err)
    }

    fn run(
        &self,
        selection: &Selection,
        outputs: &Outputs<'_>,
        batches: &[Batch<'_>],
        threads: Option<usize>,
        skip: bool,
    ) -> Result<RecordBatch, String> {
        let rules = Rules {
            threads,
            skip,
            now: now(),
        };
        score(&self.model, selection, outputs, batches, rules)
    }

    /// The kinds of output that the model has.
    fn kinds(&self) -> Vec<&'static str> {
        let has = |kind: &Kind| Outputs::new(&self.model, vec![*kind]).is_ok();
        Kind::ALL.into_iter().filter(has).map(Kind::label).collect()
    }

    fn feature<'py>(&self, py: Python<'py>, position: usize) -> PyResult<Bound<'py, PyDict>> {
        let input = &self.model.inputs()[position];
        let contract = &input.contract;
        let feature = PyDict::new(py);
        feature.set_item("name", &contract.name)?;
        feature.set_item("column", contract.column())?;
        feature.set_item("type", contract.kind.label())?;
        feature.set_item("required", contract.required)?;
        let default = input.default.map(|default| input.present(default).to_string());
        feature.set_item("default", default)?;
        feature.set_item("range", contract.range.map(|[low, high]| (low, high)))?;
        feature.set_item("categories", input.categories())?;
        feature.set_item("derived", self.model.derived(position).is_some())?;
        Ok(feature)
    }
}

/// The columns of an array, whose numbers are a slice in one of the two orders.
fn matrix<'a, T: Element>(
    data: &'a PyReadonlyArray2<'_, T>,
    column: fn(&'a [T], usize) -> Column<'a>,
) -> PyResult<Batch<'a>> {
    let numbers = data.as_slice()?;
    let [rows, width] = *data.shape() else {
        return Err(PyValueError::new_err("expected two dimensions"));
    };
    // The distances from a row, and from a column, to the next.
    let (to_row, to_column) = match data.is_c_contiguous() {
        true => (width, 1),
        false => (1, rows),
    };
    let column = |at: usize| column(numbers.get(at * to_column..).unwrap_or_default(), to_row);
    Ok(Batch {
        rows,
        columns: (0..width).map(column).collect(),
    })
}
