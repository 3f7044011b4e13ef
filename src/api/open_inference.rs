//! The parts of the Open Inference Protocol (V2) that HTTP and gRPC share: versions, metadata, timeouts, repository.

use std::fmt;
use std::time::{Duration, Instant};

use crate::app::App;
use crate::error::Error;
use crate::lifecycle::{Command, LifecycleHandle};
use crate::models::ModelVersion;
use crate::models::status::VersionState;
use crate::scoring::live_set::LiveSet;
use crate::scoring::tensor::Datatype;
use crate::scoring::{Client, Servable, VersionSelector, outputs};
use evergreen_forest::Precision;

/// The protocol extensions that the server supports.
pub(super) const EXTENSIONS: [&str; 4] = [
    "binary_tensor_data",
    "model_configuration",
    "model_repository",
    "statistics",
];

/// Returns the server's name in the protocol.
pub(super) fn server_name() -> &'static str {
    env!("CARGO_PKG_NAME")
}

/// Parses a version: a whole number, a label, or empty for the live version.
///
/// # Errors
/// The text is none of these.
pub(super) fn version(text: &str) -> Result<VersionSelector, Error> {
    if text.is_empty() {
        return Ok(VersionSelector::Live);
    }
    if text.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Ok(VersionSelector::Label(text.to_owned()));
    }
    let invalid = |_| {
        Error::invalid(format!(
            "version: expected a whole number or a label, such as 3 or stable, found {text:?}"
        ))
        .about("version")
    };
    text.parse().map(VersionSelector::Number).map_err(invalid)
}

/// Returns the handle for loading and unloading; `None` without `models.repository_api`.
pub(super) fn repository_api(app: &App) -> Option<LifecycleHandle> {
    app.config.models.repository_api.then(|| app.lifecycle.clone())
}

/// Loads a model as its policy says, or unloads it.
///
/// # Errors
/// `models.repository_api` is off, or the command failed.
pub(super) async fn load_or_unload(
    repository_api: Option<&LifecycleHandle>,
    model: String,
    load: bool,
) -> Result<(), Error> {
    let Some(handle) = repository_api else {
        return Err(Error::invalid(
            "loading and unloading over this protocol is disabled; set models.repository_api = true"
                .to_owned(),
        ));
    };
    let version = None;
    let command = if load {
        Command::Load { model, version }
    } else {
        Command::Unload { model, version }
    };
    handle.execute(command).await.map(drop)
}

/// Request parameter with the client's timeout in microseconds; 0 is none.
pub(super) const TIMEOUT: &str = "timeout";

/// Returns the deadline of a request that arrived at `arrived`.
pub(super) fn timeout_deadline(arrived: Instant, micros: u64) -> Option<Instant> {
    if micros == 0 {
        return None;
    }
    arrived.checked_add(Duration::from_micros(micros))
}

pub(super) fn invalid_timeout(found: impl fmt::Display) -> Error {
    Error::invalid(format!(
        "parameter `{TIMEOUT}`: expected a whole number of microseconds, such as 500000, found {found}"
    ))
    .about(TIMEOUT)
}

/// Metadata of an input or output tensor; a size of −1 is the number of rows.
#[derive(Debug)]
pub(super) struct TensorMetadata {
    pub(super) name: String,
    pub(super) datatype: Datatype,
    pub(super) shape: Vec<i64>,
}

/// Metadata of a model's inputs and outputs.
#[derive(Debug)]
pub(super) struct ModelMetadata {
    pub(super) platform: String,
    pub(super) inputs: Vec<TensorMetadata>,
    pub(super) outputs: Vec<TensorMetadata>,
}

/// Name of the input with the matrix of all features; requests may use any name.
const MATRIX: &str = "features";

pub(super) fn metadata(model: &ModelVersion) -> ModelMetadata {
    let size = |width: usize| i64::try_from(width).unwrap_or(i64::MAX);
    let datatype = match model.forest.precision() {
        Precision::F32 => Datatype::Fp32,
        Precision::F64 => Datatype::Fp64,
    };
    let shape = vec![-1, size(model.forest.features().len())];
    let outputs = outputs(model).into_iter().map(|output| TensorMetadata {
        name: output.name.to_owned(),
        datatype: output.datatype,
        shape: vec![-1, size(output.width)],
    });
    ModelMetadata {
        platform: model.forest.summary().format.label().to_owned(),
        inputs: vec![TensorMetadata {
            name: MATRIX.to_owned(),
            datatype,
            shape,
        }],
        outputs: outputs.collect(),
    }
}

/// Statistics of a version since it went live. Durations are a number and their total nanoseconds.
#[derive(Debug)]
pub(super) struct Statistics {
    /// Rows that were scored.
    pub(super) inference_count: u64,
    /// Runs of the model: one per request, whatever its number of rows.
    pub(super) execution_count: u64,
    pub(super) success: (u64, u64),
    pub(super) fail: (u64, u64),
}

pub(super) fn statistics(servable: &Servable) -> Statistics {
    let stats = &servable.tensor_stats;
    let success = stats.success();
    Statistics {
        inference_count: stats.rows(),
        execution_count: success.0,
        success,
        fail: stats.failure(),
    }
}

/// The states of a version in the repository index.
pub(super) const READY: &str = "READY";
pub(super) const UNAVAILABLE: &str = "UNAVAILABLE";

/// A version in the repository index.
#[derive(Debug)]
pub(super) struct IndexEntry {
    pub(super) name: String,
    pub(super) version: String,
    /// `READY` or `UNAVAILABLE`
    pub(super) state: &'static str,
    pub(super) reason: String,
}

/// Lists the versions of the models that a client may use; only those that can answer if `ready_only`.
pub(super) fn index(live: &LiveSet, client: &Client, ready_only: bool) -> Vec<IndexEntry> {
    let mut entries = Vec::new();
    for (name, entry) in live.models().filter(|(name, _)| client.may_use(name)) {
        entries.extend(entry.versions.iter().map(|status| {
            let ready = matches!(status.state, VersionState::Live | VersionState::Loaded);
            IndexEntry {
                name: name.to_owned(),
                version: status.version.to_string(),
                state: if ready { READY } else { UNAVAILABLE },
                reason: status.reason.clone().unwrap_or_default(),
            }
        }));
    }
    entries.retain(|entry| !ready_only || entry.state == READY);
    entries
}
