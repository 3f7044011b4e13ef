//! The compiled part of the Python package `evergreen-serving`: scores tables in the process, with the contract and the
//! engine of the server. Python code wraps it: see `python/serving/src/evergreen_serving/scorer.py`.
//!
//! ```text
//! engine     the Python class: loads a bundle and scores
//! input      tables, matrices and rows of Python -> columns
//! column     the cells of one column
//! model      a loaded version, and the limits within which a number needs no second look
//! selection  which column belongs to which feature, by name
//! block      a block of rows -> numbers that the model takes, by the contract's rules
//! run        blocks and threads
//! kind       the kinds of output
//! output     blocks -> outputs -> a table
//! part       the outputs of consecutive rows
//! scores     the Python class of a result, an Arrow table
//! ```

mod block;
mod column;
mod engine;
mod input;
mod kind;
mod model;
mod output;
mod part;
mod run;
mod scores;
mod selection;

use pyo3::prelude::*;

/// The engine of `evergreen_serving`; use `evergreen_serving.Scorer`.
#[pymodule(gil_used = false)]
fn _engine(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<engine::Engine>()?;
    module.add_class::<scores::Scores>()
}
