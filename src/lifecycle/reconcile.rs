//! Reconciles each model with its policy: validates what is due, compares a newer version with the live one, changes the
//! live version, and unloads what nothing needs.

use std::time::{Duration, Instant};

use super::Lifecycle;
use super::known_version::{KnownVersion, Stage};
use super::model_state::{ModelState, PreviousVersion};

impl Lifecycle {
    /// Reconciles a model with its policy, and activates the result.
    pub(super) fn reconcile(&mut self, name: &str) {
        self.validate_due(name);
        self.accept_newer(name);
        let keep = Duration::from_secs_f64(self.settings.watch.seconds);
        if let Some(state) = self.models.get_mut(name) {
            change_live(name, state, keep);
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
        let waiting = self.waiting();
        let snapshot = self.snapshot.snapshot();
        self.activator.activate(&mut self.models, snapshot, waiting);
    }

    /// Why something that the settings name is not there.
    pub(super) fn waiting(&self) -> Vec<String> {
        let misplaced = self.models.is_empty().then(|| self.repository.misplaced());
        // Without a loaded version nothing asks for the snapshot.
        let needed = self
            .models
            .values()
            .any(|state| state.versions.values().any(KnownVersion::is_loaded));
        let missing = needed.then(|| self.snapshot.missing());
        misplaced.into_iter().chain(missing).flatten().collect()
    }

    /// Ends the time for which previous versions stay in memory.
    pub(super) fn release_previous(&mut self) {
        let now = Instant::now();
        let over = |state: &ModelState| state.previous.as_ref().is_some_and(|kept| now >= kept.until);
        let models = self.models.iter().filter(|(_, state)| over(state));
        let names: Vec<String> = models.map(|(name, _)| name.clone()).collect();
        for name in names {
            if let Some(state) = self.models.get_mut(&name) {
                state.previous = None;
            }
            self.reconcile(&name);
        }
    }
}

/// Makes the chosen version the live one, and keeps the previous one in memory for a while.
fn change_live(name: &str, state: &mut ModelState, keep: Duration) {
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
    state.previous = keep_previous(previous, chosen, keep);
}

/// The previous version that stays in memory after a newer one goes live, so that a rollback needs no load. After a
/// rollback none stays.
fn keep_previous(previous: Option<u64>, chosen: Option<u64>, duration: Duration) -> Option<PreviousVersion> {
    let (version, _) = previous.zip(chosen).filter(|(old, new)| old < new)?;
    (!duration.is_zero()).then(|| PreviousVersion {
        version,
        until: Instant::now() + duration,
    })
}
