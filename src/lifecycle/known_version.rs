//! One version of a model: its files at the last poll, and its stage.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::SETTLE;
use crate::models::report::GateReport;
use crate::models::repository::VersionFiles;
use crate::models::status::{VersionState, VersionStatus};
use crate::scoring::Servable;

/// A version that is in the repository, or serves although its files are gone.
#[derive(Debug)]
pub(super) struct KnownVersion {
    /// Its files at the last poll; `None` if they are gone.
    pub(super) files: Option<VersionFiles>,
    pub(super) stage: Stage,
    /// Why it is in this stage, if there is something to say.
    pub(super) reason: Option<String>,
    pub(super) report: Arc<GateReport>,
    since: SystemTime,
    files_changed: Instant,
    /// It serves, but its files have changed since it was loaded.
    outdated: bool,
    /// An operator loaded it by command.
    pub(super) by_command: bool,
    /// The live version that it was compared with, and may replace.
    pub(super) accepted_over: Option<u64>,
    /// It could not be compared now, and must not go live until it can.
    pub(super) postponed: bool,
}

/// The stage of a version in its life.
#[derive(Debug)]
pub(super) enum Stage {
    /// Not validated since its files last changed.
    Available,
    /// Its files do not agree yet; they may still be on their way.
    Settling,
    /// The gate refused it.
    Refused,
    /// It can answer.
    Loaded(Arc<Servable>),
    /// An operator unloaded it.
    Unloaded,
    /// It was rolled back.
    RolledBack,
}

impl KnownVersion {
    /// Creates a version that was first seen `now`.
    pub(super) fn new(files: VersionFiles, now: Instant) -> Self {
        Self {
            files: Some(files),
            stage: Stage::Available,
            reason: None,
            report: Arc::default(),
            since: SystemTime::now(),
            files_changed: now,
            outdated: false,
            by_command: false,
            accepted_over: None,
            postponed: false,
        }
    }

    /// Moves the version to a stage.
    pub(super) fn set(&mut self, stage: Stage, reason: Option<String>) {
        self.stage = stage;
        self.reason = reason;
        self.since = SystemTime::now();
    }

    /// The loaded version, if it is loaded.
    pub(super) fn servable(&self) -> Option<&Arc<Servable>> {
        match &self.stage {
            Stage::Loaded(servable) => Some(servable),
            _ => None,
        }
    }

    /// Whether it is loaded.
    pub(super) fn is_loaded(&self) -> bool {
        self.servable().is_some()
    }

    /// Whether it is loaded and its files are there.
    pub(super) fn is_backed(&self) -> bool {
        self.is_loaded() && self.files.is_some()
    }

    /// Whether it should go through the gate.
    pub(super) fn is_due(&self) -> bool {
        match self.stage {
            Stage::Available => true,
            Stage::Loaded(_) => self.outdated && self.files.is_some(),
            _ => false,
        }
    }

    /// Records the files found by a poll.
    pub(super) fn found(&mut self, files: &VersionFiles, now: Instant) {
        if self.files.as_ref() == Some(files) {
            return;
        }
        self.files = Some(files.clone());
        self.files_changed = now;
        self.by_command = false;
        self.accepted_over = None;
        if self.is_loaded() {
            self.outdated = true;
        } else {
            self.set(Stage::Available, None);
        }
    }

    /// Moves the version out of service.
    pub(super) fn withdraw(&mut self, rolled_back: bool, reason: &str) {
        let stage = if rolled_back {
            Stage::RolledBack
        } else {
            Stage::Unloaded
        };
        self.set(stage, Some(reason.to_owned()));
    }

    /// Refuses the version if its files still do not agree a while after they changed. Returns true if it did so.
    pub(super) fn refuse_unsettled(&mut self, now: Instant) -> bool {
        let overdue = matches!(self.stage, Stage::Settling) && now - self.files_changed >= SETTLE;
        if overdue {
            let reason = self.reason.take();
            self.set(Stage::Refused, reason);
        }
        overdue
    }

    /// Records that the gate accepted the version.
    pub(super) fn accept(&mut self, servable: Arc<Servable>) {
        self.report = Arc::new(servable.model.report.clone());
        self.outdated = false;
        self.set(Stage::Loaded(servable), None);
    }

    /// Records that the gate refused the version. With `may_settle`, files that changed a short while ago may still be on
    /// their way: then the version settles, and true is returned.
    pub(super) fn refuse(&mut self, report: GateReport, may_settle: bool, now: Instant) -> bool {
        let reason = report.failure().map(|step| step.detail.clone());
        self.report = Arc::new(report);
        self.outdated = false;
        if self.is_loaded() {
            let reason = reason.unwrap_or_default();
            self.reason = Some(format!(
                "its files changed and were refused; the version loaded before stays in use: {reason}"
            ));
            return false;
        }
        let settling = may_settle && now - self.files_changed < SETTLE;
        let stage = if settling { Stage::Settling } else { Stage::Refused };
        self.set(stage, reason);
        settling
    }

    /// The status for clients; `live` says whether this version is the live one.
    pub(super) fn status(&self, version: u64, live: bool) -> VersionStatus {
        let state = match self.stage {
            Stage::Available => VersionState::Available,
            Stage::Settling => VersionState::Settling,
            Stage::Refused => VersionState::Refused,
            Stage::Loaded(_) if live => VersionState::Live,
            Stage::Loaded(_) => VersionState::Loaded,
            Stage::Unloaded => VersionState::Unloaded,
            Stage::RolledBack => VersionState::RolledBack,
        };
        let files_gone = || {
            let gone = self.files.is_none();
            gone.then(|| "its files are gone; it stays in memory".to_owned())
        };
        VersionStatus {
            version,
            state,
            reason: self.reason.clone().or_else(files_gone),
            since: self.since,
            report: self.report.clone(),
        }
    }
}
