//! Where a version stands on its way to answering, for people and programs that ask.

use std::sync::Arc;
use std::time::SystemTime;

use super::report::GateReport;

/// Where a version stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionState {
    /// It is there, and the policy does not ask for it.
    Available,
    /// Its files do not agree yet, and may still be on their way.
    Settling,
    /// The gate refused it. It is not tried again until its files change.
    Refused,
    /// It can answer requests that name it.
    Loaded,
    /// It answers requests that name no version.
    Live,
    /// An operator took it away.
    Unloaded,
    /// It was live and was taken back.
    RolledBack,
}

impl VersionState {
    /// All of them, for metrics.
    pub const ALL: [Self; 7] = [
        Self::Available,
        Self::Settling,
        Self::Refused,
        Self::Loaded,
        Self::Live,
        Self::Unloaded,
        Self::RolledBack,
    ];

    /// As it stands in answers and in metrics.
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

/// One version and where it stands.
#[derive(Clone, Debug)]
pub struct VersionStatus {
    /// Its number.
    pub version: u64,
    /// Where it stands.
    pub state: VersionState,
    /// Why, where there is something to say.
    pub reason: Option<String>,
    /// Since when.
    pub since: SystemTime,
    /// How it came through the gate, if it has been there.
    pub report: Arc<GateReport>,
}

/// Something that happened to a model.
#[derive(Clone, Debug)]
pub struct Event {
    /// When.
    pub at: SystemTime,
    /// What, in one sentence.
    pub what: String,
}
