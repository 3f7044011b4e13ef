//! What the Open Inference Protocol says of models, the same over HTTP and gRPC.

use std::fmt;
use std::time::{Duration, Instant};

use crate::app::App;
use crate::error::Error;
use crate::lifecycle::{Command, LifecycleHandle};
use crate::models::ModelVersion;
use crate::models::status::VersionState;
use crate::scoring::live_set::LiveSet;
use crate::scoring::tensor::Datatype;
use crate::scoring::{VersionSelector, outputs};
use evergreen_forest::Precision;

/// The optional parts of the protocol that are there.
pub(super) const EXTENSIONS: [&str; 4] = [
    "binary_tensor_data",
    "model_configuration",
    "model_repository",
    "statistics",
];

/// The server's name in the protocol.
pub(super) fn server_name() -> &'static str {
    env!("CARGO_PKG_NAME")
}

/// A version as the protocol writes it: a whole number, a label, or nothing for the live one.
pub(super) fn version(text: &str) -> Result<VersionSelector, Error> {
    if text.is_empty() {
        return Ok(VersionSelector::Live);
    }
    if text.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Ok(VersionSelector::Label(text.to_owned()));
    }
    let invalid = |_| Error::invalid(format!("version {text:?}: versions are whole numbers, or labels"));
    text.parse().map(VersionSelector::Number).map_err(invalid)
}

/// The way to loading and unloading; `None` where the settings do not let clients of this protocol do that.
pub(super) fn loading(app: &App) -> Option<LifecycleHandle> {
    app.config.models.repository_api.then(|| app.lifecycle.clone())
}

/// Loads a model as its policy says, or unloads it.
pub(super) async fn change(
    loading: Option<&LifecycleHandle>,
    model: String,
    load: bool,
) -> Result<(), Error> {
    let Some(handle) = loading else {
        return Err(Error::invalid(
            "loading and unloading models over this protocol is not enabled; models.repository_api = true does"
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

/// The parameter of a request that says how many microseconds the client waits; 0 is for ever.
pub(super) const TIMEOUT: &str = "timeout";

/// The deadline of a request that arrived then.
pub(super) fn timeout(arrived: Instant, micros: u64) -> Option<Instant> {
    if micros == 0 {
        return None;
    }
    arrived.checked_add(Duration::from_micros(micros))
}

pub(super) fn no_timeout(found: impl fmt::Display) -> Error {
    Error::invalid(format!(
        "parameter `{TIMEOUT}`: expected a whole number of microseconds, found {found}"
    ))
}

/// A tensor that a model takes or gives; −1 stands for the number of rows.
#[derive(Debug)]
pub(super) struct Described {
    pub(super) name: String,
    pub(super) datatype: Datatype,
    pub(super) shape: Vec<i64>,
}

/// What a model takes and gives.
#[derive(Debug)]
pub(super) struct ModelMetadata {
    pub(super) platform: String,
    pub(super) inputs: Vec<Described>,
    pub(super) outputs: Vec<Described>,
}

/// The name under which a matrix of all features is described; any name is accepted.
const MATRIX: &str = "features";

pub(super) fn metadata(model: &ModelVersion) -> ModelMetadata {
    let size = |width: usize| i64::try_from(width).unwrap_or(i64::MAX);
    let datatype = match model.forest.precision() {
        Precision::F32 => Datatype::Fp32,
        Precision::F64 => Datatype::Fp64,
    };
    let shape = vec![-1, size(model.forest.features().len())];
    let outputs = outputs(model).into_iter().map(|output| Described {
        name: output.name.to_owned(),
        datatype: output.datatype,
        shape: vec![-1, size(output.width)],
    });
    ModelMetadata {
        platform: format!("{:?}", model.forest.summary().format).to_lowercase(),
        inputs: vec![Described {
            name: MATRIX.to_owned(),
            datatype,
            shape,
        }],
        outputs: outputs.collect(),
    }
}

/// A version in the repository's index.
#[derive(Debug)]
pub(super) struct IndexLine {
    pub(super) name: String,
    pub(super) version: String,
    /// `READY` or `UNAVAILABLE`
    pub(super) state: &'static str,
    pub(super) reason: String,
}

pub(super) fn index(live: &LiveSet) -> Vec<IndexLine> {
    let mut lines = Vec::new();
    for (name, entry) in live.models() {
        lines.extend(entry.versions.iter().map(|status| {
            let ready = matches!(status.state, VersionState::Live | VersionState::Loaded);
            IndexLine {
                name: name.to_owned(),
                version: status.version.to_string(),
                state: if ready { "READY" } else { "UNAVAILABLE" },
                reason: status.reason.clone().unwrap_or_default(),
            }
        }));
    }
    lines
}
