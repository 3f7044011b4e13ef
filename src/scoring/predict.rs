//! Outputs of a forest, with this thread's working memory.

use std::cell::RefCell;

use evergreen_forest::{Forest, OutputKind, PredictError, Scratch};

use crate::error::Error;

thread_local! {
    /// Working memory of the forest, one per thread, so that a request allocates none.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Computes one output of a forest for a batch of rows, with this thread's working memory. Returns
/// `rows × width` numbers, row-major.
///
/// # Errors
/// The forest lacks the output.
pub(super) fn predict(forest: &Forest, kind: OutputKind, rows: &[f64]) -> Result<Vec<f64>, Error> {
    let no_such_output = |error: PredictError| Error::invalid(error.to_string());
    let count = rows.len().checked_div(forest.features().len()).unwrap_or(0);
    let mut out = vec![0.0; count * forest.width(kind).map_err(no_such_output)?];
    SCRATCH
        .with_borrow_mut(|scratch| forest.predict(kind, rows, &mut out, scratch))
        .map_err(no_such_output)?;
    Ok(out)
}
