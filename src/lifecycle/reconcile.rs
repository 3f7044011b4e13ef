//! Reconciles each model with its policy: validates what is due, changes the live version, unloads what nothing needs,
//! and ends probations.

use std::time::{Duration, Instant};

use super::Lifecycle;
use super::known_version::{KnownVersion, Stage};
use super::model_state::ModelState;
use super::probation::{Probation, misbehaves, since};

impl Lifecycle {
    /// Reconciles a model with its policy, and activates the result.
    pub(super) fn reconcile(&mut self, name: &str) {
        self.validate_due(name);
        let probation = Duration::from_secs_f64(self.settings.watch.seconds);
        if let Some(state) = self.models.get_mut(name) {
            change_live(name, state, probation);
            for number in state.unwanted() {
                if let Some(version) = state.versions.get_mut(&number) {
                    version.set(Stage::Available, None);
                    tracing::info!(model = name, version = number, "version unloaded");
                }
            }
            state.versions.retain(|&number, version| {
                let stays = version.files.is_some() || version.is_loaded();
                if !stays {
                    self.metrics.gone(name, number);
                }
                stays
            });
        }
        self.activate();
    }

    /// Activates the present state of all models.
    pub(super) fn activate(&mut self) {
        for (name, state) in &self.models {
            self.metrics.states(name, state.live, &state.statuses());
        }
        let snapshot = self.snapshot.snapshot();
        self.activator.activate(&mut self.models, snapshot);
    }

    /// Rolls back versions that misbehave in their probation, and ends probations whose time is up.
    pub(super) fn check_probations(&mut self) {
        let mut ended = Vec::new();
        for (name, state) in &mut self.models {
            let Some(probation) = &state.probation else {
                continue;
            };
            let servable = |number: u64| state.versions.get(&number)?.servable();
            let (Some(live), Some(previous)) = (state.live.and_then(servable), servable(probation.previous))
            else {
                state.probation = None;
                continue;
            };
            let now = since(&probation.start, live.stats.counts());
            let reason = misbehaves(&now, &previous.stats.counts(), &self.settings.watch);
            if reason.is_some() || Instant::now() >= probation.until {
                ended.push((name.clone(), live.model.version, probation.previous, reason));
            }
        }
        for (name, version, to, reason) in ended {
            if let Some(state) = self.models.get_mut(&name) {
                state.probation = None;
                if let Some(reason) = reason {
                    tracing::error!(model = name, version, to, reason, "version rolled back");
                    state.roll_back(version, to, &reason);
                    self.metrics.rolled_back(&name, "watch");
                }
            }
            self.reconcile(&name);
        }
    }
}

/// Makes the chosen version the live one, and starts the probation of a new version.
fn change_live(name: &str, state: &mut ModelState, probation: Duration) {
    let chosen = state.choose();
    if chosen == state.live {
        return;
    }
    let previous = state.live;
    state.live = chosen;
    match (previous, chosen) {
        (_, None) => {
            tracing::error!(model = name, "no version is live");
            state.event("no version is live".to_owned());
        }
        (None, Some(version)) => {
            tracing::info!(model = name, version, "version live");
            state.event(format!("version {version} is live"));
        }
        (Some(previous), Some(version)) => {
            tracing::info!(model = name, version, previous, "version live");
            state.event(format!("version {version} is live, replacing {previous}"));
        }
    }
    state.probation = start_probation(state, previous, chosen, probation);
}

/// Starts the probation of a version that is newer than the previous one, as long as the previous one is still loaded. A
/// version that was rolled back to has none.
fn start_probation(
    state: &ModelState,
    previous: Option<u64>,
    chosen: Option<u64>,
    duration: Duration,
) -> Option<Probation> {
    let (previous, chosen) = previous.zip(chosen).filter(|(old, new)| old < new)?;
    state.loaded(previous)?;
    let start = state.loaded(chosen).and_then(KnownVersion::servable)?;
    (!duration.is_zero()).then(|| Probation {
        previous,
        until: Instant::now() + duration,
        start: start.stats.counts(),
    })
}
