//! Activation: swaps the live models in front of requests, and releases those that no request uses any more.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::model_state::ModelState;
use crate::features::snapshot::Snapshot;
use crate::os;
use crate::scoring::live_set::ModelEntry;
use crate::scoring::rollout::comparison::TrialKind;
use crate::scoring::rollout::trial_metrics::TrialMetrics;
use crate::scoring::rollout::{Rollout, Share};
use crate::scoring::{LiveSet, Scorer};

/// Puts live models in front of requests.
#[derive(Debug)]
pub(super) struct Activator {
    /// `None` until the first models are loaded.
    scorer: Option<Arc<Scorer>>,
    /// Previous sets that requests may still use.
    retired: Vec<Arc<LiveSet>>,
    trials: TrialMetrics,
}

impl Activator {
    pub(super) fn new(trials: TrialMetrics) -> Self {
        Self {
            scorer: None,
            retired: Vec::new(),
            trials,
        }
    }

    /// Serves requests of `scorer` from now on.
    pub(super) fn attach(&mut self, scorer: Arc<Scorer>) {
        self.scorer = Some(scorer);
    }

    /// Whether requests are served.
    pub(super) fn is_attached(&self) -> bool {
        self.scorer.is_some()
    }

    /// Whether a previous set is still in use.
    pub(super) fn has_retired(&self) -> bool {
        !self.retired.is_empty()
    }

    /// Builds the set of live models.
    pub(super) fn live_set(
        &self,
        models: &mut BTreeMap<String, ModelState>,
        snapshot: Option<&Arc<Snapshot>>,
        waiting: Vec<String>,
    ) -> LiveSet {
        let entries = models
            .iter_mut()
            .map(|(name, state)| (name.clone(), self.entry(name, state)));
        LiveSet::new(entries.collect(), snapshot.cloned(), waiting)
    }

    /// Swaps the set of live models, if requests are served.
    pub(super) fn activate(
        &mut self,
        models: &mut BTreeMap<String, ModelState>,
        snapshot: Option<&Arc<Snapshot>>,
        waiting: Vec<String>,
    ) {
        if let Some(scorer) = self.scorer.clone() {
            let live = self.live_set(models, snapshot, waiting);
            self.retired.push(scorer.replace(live));
            self.release();
        }
    }

    /// Frees the previous sets that no request uses any more. It happens here and not where the last request ends,
    /// because freeing a large model takes long.
    pub(super) fn release(&mut self) {
        let before = self.retired.len();
        self.retired.retain(|live| Arc::strong_count(live) > 1);
        if self.retired.len() < before {
            os::release_memory();
        }
    }

    fn entry(&self, name: &str, state: &mut ModelState) -> ModelEntry {
        let rollout = Rollout {
            canary: self.share(name, state, TrialKind::Canary),
            shadow: self.share(name, state, TrialKind::Shadow),
        };
        let live = state.live.and_then(|number| state.versions.get(&number));
        let newest_first = state.versions.values().rev();
        ModelEntry {
            live: live.and_then(|version| version.servable().cloned()),
            loaded: newest_first
                .filter_map(|version| version.servable().cloned())
                .collect(),
            labels: state.labels.clone(),
            rollout,
            comparisons: state.comparisons.clone(),
            versions: state.statuses(),
            events: state.events.iter().cloned().collect(),
        }
    }

    /// The version on trial, if it is loaded and not the live one.
    fn share(&self, name: &str, state: &mut ModelState, kind: TrialKind) -> Option<Share> {
        let trial = match kind {
            TrialKind::Canary => &state.canary,
            TrialKind::Shadow => &state.shadow,
        };
        let (share, candidate) = trial.as_ref().map(|trial| (trial.share, trial.version))?;
        let base = state.live.filter(|&live| live != candidate)?;
        let servable = state.versions.get(&candidate)?.servable()?.clone();
        let counters = || self.trials.counters(name, kind, base, candidate);
        Some(Share {
            servable,
            share,
            comparison: state.comparison(kind, base, candidate, counters),
        })
    }
}
