//! The shipped sample model, for unit tests.

use std::path::{Path, PathBuf};

use super::ModelVersion;
use super::gate;

/// The folder of the sample bundle.
pub(crate) fn bundle() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/churn/1")
}

/// The sample as version `version` of the model `churn`.
pub(crate) fn version(version: u64) -> ModelVersion {
    gate::validate(&bundle(), "churn", version).unwrap()
}

/// A copy of the sample bundle, in a folder that is removed when dropped.
pub(crate) fn copy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(bundle()).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    folder
}
