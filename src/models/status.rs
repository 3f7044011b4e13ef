//! The lifecycle state of a version and the events of a model, as clients see them.

use std::sync::Arc;
use std::time::SystemTime;

use super::report::GateReport;

/// The lifecycle state of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionState {
    /// It exists, and the policy does not ask for it.
    Available,
    /// Its files do not agree yet, and may still be on their way.
    Settling,
    /// The gate refused it; it is retried when its files change.
    Refused,
    /// It answers requests that name it.
    Loaded,
    /// It answers requests without a version or label.
    Live,
    /// An operator unloaded it.
    Unloaded,
    /// It was rolled back, or it did worse than the version that it was to replace.
    RolledBack,
}

impl VersionState {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Available,
        Self::Settling,
        Self::Refused,
        Self::Loaded,
        Self::Live,
        Self::Unloaded,
        Self::RolledBack,
    ];

    /// The name in answers and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Settling => "settling",
            Self::Refused => "refused",
            Self::Loaded => "loaded",
            Self::Live => "live",
            Self::Unloaded => "unloaded",
            Self::RolledBack => "rolled_back",
        }
    }
}

/// The status of a version.
#[derive(Clone, Debug)]
pub struct VersionStatus {
    /// The version.
    pub version: u64,
    /// Its lifecycle state.
    pub state: VersionState,
    /// The reason for the state, if there is one.
    pub reason: Option<String>,
    /// When it entered the state.
    pub since: SystemTime,
    /// The report of the gate; empty before the gate.
    pub report: Arc<GateReport>,
}

/// An event in the life of a model.
#[derive(Clone, Debug)]
pub struct Event {
    /// When it happened.
    pub at: SystemTime,
    /// What happened, in one sentence.
    pub what: String,
}
