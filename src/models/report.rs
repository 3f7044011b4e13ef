//! The report of the gate: which steps a version went through, and how each ended.

use std::time::{Duration, Instant};

use serde::Serialize;

/// A step of the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GateStep {
    /// The files exist and do not change, and the contract can be read.
    Settle,
    /// A trusted key has signed the contract (with `models.trusted_keys`).
    Signature,
    /// The checksum of every file matches the contract.
    Checksums,
    /// The model file can be read exactly.
    Parse,
    /// The contract agrees with the model.
    Contract,
    /// The golden rows reproduce the training library's outputs.
    Golden,
    /// The training-time distributions can be read and agree with the contract.
    Reference,
    /// The feature sources have what the contract asks for (in the server, not in `evergreen check`).
    Features,
    /// Scoring a row takes no longer than the bundle allows.
    Budget,
    /// The forest has been run once, so that its memory is warm.
    WarmUp,
}

impl GateStep {
    /// Every step, in order.
    pub const ALL: [Self; 10] = [
        Self::Settle,
        Self::Signature,
        Self::Checksums,
        Self::Parse,
        Self::Contract,
        Self::Golden,
        Self::Reference,
        Self::Features,
        Self::Budget,
        Self::WarmUp,
    ];

    /// The name in answers, metrics and the log.
    pub fn label(self) -> &'static str {
        match self {
            Self::Settle => "settle",
            Self::Signature => "signature",
            Self::Checksums => "checksums",
            Self::Parse => "parse",
            Self::Contract => "contract",
            Self::Golden => "golden",
            Self::Reference => "reference",
            Self::Features => "features",
            Self::Budget => "budget",
            Self::WarmUp => "warm_up",
        }
    }
}

/// The outcome of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// The check succeeded.
    Passed,
    /// There was nothing to check.
    Skipped,
    /// The check failed: the version may not go live.
    Failed,
}

impl StepOutcome {
    /// Every outcome.
    pub const ALL: [Self; 3] = [Self::Passed, Self::Skipped, Self::Failed];

    /// The name in answers and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
        }
    }
}

/// One step with its result.
#[derive(Clone, Debug, Serialize)]
pub struct StepResult {
    /// The step.
    pub step: GateStep,
    /// Its outcome.
    pub outcome: StepOutcome,
    /// What was found, as a sentence.
    pub detail: String,
    /// Its duration in milliseconds.
    pub milliseconds: f64,
}

/// The steps that a version went through; a failed step is the last one.
#[derive(Clone, Debug, Default, Serialize)]
pub struct GateReport {
    /// The steps, in order.
    pub steps: Vec<StepResult>,
}

impl GateReport {
    /// The failed step, if any.
    pub fn failure(&self) -> Option<&StepResult> {
        self.steps.iter().find(|step| step.outcome == StepOutcome::Failed)
    }

    /// Adds a failure found outside the gate.
    pub(crate) fn fail(&mut self, step: GateStep, detail: String) {
        let outcome = StepOutcome::Failed;
        self.steps.push(StepResult {
            step,
            outcome,
            detail,
            milliseconds: 0.0,
        });
    }

    /// Runs a step and records its outcome. Returns its value if it passed.
    pub(super) fn take<T>(
        &mut self,
        step: GateStep,
        work: impl FnOnce() -> Result<(T, StepOutcome, String), String>,
    ) -> Option<T> {
        let start = Instant::now();
        let result = work();
        let milliseconds = milliseconds(start.elapsed());
        let (value, outcome, detail) = match result {
            Ok((value, outcome, detail)) => (Some(value), outcome, detail),
            Err(reason) => (None, StepOutcome::Failed, reason),
        };
        self.steps.push(StepResult {
            step,
            outcome,
            detail,
            milliseconds,
        });
        value
    }
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
