//! How a model file is read, and why one is refused.

/// How a model is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadOptions {
    /// Insist on one format; `None` detects it from the bytes.
    pub format: Option<crate::Format>,
    /// Which boosting rounds take part.
    pub iterations: Iterations,
    /// Insist on one kernel; `None` takes the fastest that can evaluate the model on this machine.
    pub kernel: Option<crate::KernelName>,
}

/// Which boosting rounds take part in a prediction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Iterations {
    /// Every round in the file, as the library's plain `predict` does.
    #[default]
    All,
    /// Rounds up to and including the file's `best_iteration`, as the sklearn wrappers do after early stopping.
    Best,
}

/// Why a model file was refused.
#[derive(Debug, thiserror::Error)]
#[error("{at}: {reason}")]
pub struct FormatError {
    /// Where in the file: a byte offset, a line, or a path such as `learner.gradient_booster.model.trees[3]`.
    pub at: String,
    /// What is wrong there, and what to do about it if something can be done.
    pub reason: String,
}
