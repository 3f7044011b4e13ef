//! Why a job ends early, which decides its exit code.

use crate::cli::sink::WriteError;

/// Why a job ended early.
#[derive(Debug)]
pub(super) enum JobError {
    /// The command line, the model or the input is not valid: to try again does not help.
    Input(String),
    /// The output, a store, a checkpoint or object storage cannot be reached or written: to try again may help.
    Output(String),
}

impl From<String> for JobError {
    fn from(message: String) -> Self {
        Self::Input(message)
    }
}

impl From<WriteError> for JobError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Rows(message) => Self::Input(message),
            WriteError::File(message) => Self::Output(message),
        }
    }
}
