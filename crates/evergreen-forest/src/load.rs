//! Options for loading a model, and the error of a rejected file.

/// Options for loading a model.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadOptions {
    /// The format to require. `None` detects it from the bytes.
    pub format: Option<crate::Format>,
    /// The boosting rounds to use.
    pub iterations: Iterations,
    /// The kernel to force. `None` chooses the fastest one that can evaluate the model on this CPU.
    pub kernel: Option<crate::KernelName>,
}

/// The boosting rounds that a prediction uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Deserialize),
    serde(rename_all = "lowercase")
)]
pub enum Iterations {
    /// Every round in the file, as the library's `predict` does by default.
    #[default]
    All,
    /// The rounds up to and including the file's `best_iteration`, as the sklearn wrappers do after early
    /// stopping. Every round if the file records none.
    Best,
}

/// The error of a rejected model file.
#[derive(Debug, thiserror::Error)]
#[error("{at}: {reason}")]
pub struct FormatError {
    /// Where in the file: a byte offset, a line, or a path such as `learner.gradient_booster.model.trees[3]`.
    pub at: String,
    /// What is wrong there and, where possible, what to do about it.
    pub reason: String,
}
