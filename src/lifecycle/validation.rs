//! Takes versions through the gate, and plans how loaded versions get their features.

use std::sync::Arc;
use std::time::Instant;

use super::Lifecycle;
use super::known_version::Stage;
use super::model_state::ModelState;
use super::time_limit::Report;
use crate::features::plan::Plan;
use crate::models::ModelVersion;
use crate::models::gate::GateContext;
use crate::models::report::{GateReport, GateStep};
use crate::models::repository::VersionFiles;
use crate::observe::monitor::SavedWindows;
use crate::observe::saved::counts_alike;
use crate::scoring::Servable;
use crate::values::time;

/// Memory that a load takes per byte of its files: the bytes, what they are parsed to, and the kernels' own forms.
const PARSED_BYTES: u64 = 3;

impl Lifecycle {
    /// Takes every version of a model that is due through the gate, one after the other.
    pub(super) fn validate_due(&mut self, name: &str) {
        while let Some(version) = self.models.get(name).and_then(ModelState::next) {
            self.validate(name, version);
        }
    }

    /// Takes a version through the gate and, if it passes, prepares it to answer.
    pub(super) fn validate(&mut self, name: &str, version: u64) {
        let start = Instant::now();
        let known = self
            .models
            .get(name)
            .and_then(|state| state.versions.get(&version));
        let Some(files) = known.and_then(|known| known.files.clone()) else {
            return;
        };
        let result = self
            .run_gate(name, version, &files)
            .and_then(|model| self.prepare(name, model));
        let known = self.models.get_mut(name);
        if let Some(known) = known.and_then(|state| state.versions.get_mut(&version)) {
            match result {
                Ok(servable) => {
                    let seconds = start.elapsed().as_secs_f64();
                    self.metrics.validated(name, &servable.model.report);
                    let sha256 = &servable.model.sha256;
                    tracing::info!(model = name, version, sha256, seconds, "version loaded");
                    known.accept(Arc::new(servable));
                }
                Err(report) => self.refuse(name, version, report),
            }
        }
    }

    /// Records that the gate refused a version.
    fn refuse(&mut self, name: &str, version: u64, report: GateReport) {
        self.metrics.validated(name, &report);
        let failure = report.failure().cloned();
        let failed_step = failure.as_ref().map(|step| step.step);
        let step = failed_step.map_or("", GateStep::label);
        let reason = failure.as_ref().map_or("", |step| step.detail.as_str());
        // At the start files are taken as they are; later ones may still be on their way.
        let incomplete = matches!(
            failed_step,
            Some(GateStep::Settle | GateStep::Signature | GateStep::Checksums)
        );
        let may_settle = incomplete && self.activator.is_attached();
        let Some(state) = self.models.get_mut(name) else {
            return;
        };
        let known = state.versions.get_mut(&version);
        if known.is_some_and(|known| known.refuse(report, may_settle, Instant::now())) {
            tracing::info!(model = name, version, step, reason, "version not complete yet");
        } else {
            tracing::error!(model = name, version, step, reason, "version refused");
            state.event(format!("version {version} was refused: {reason}"));
        }
    }

    fn run_gate(&self, name: &str, version: u64, files: &VersionFiles) -> Result<ModelVersion, GateReport> {
        let state = self.models.get(name);
        let live = state
            .and_then(|state| state.versions.get(&state.live?)?.servable())
            .cloned();
        let (repository, snapshot) = (self.repository.clone(), self.snapshot.clone());
        let (kernel, file_bytes) = (self.settings.kernel, Some(self.settings.file_bytes));
        let trusted = self.trusted.clone();
        let (model, files) = (name.to_owned(), files.clone());
        let sizes = files
            .iter()
            .flat_map(|listing| listing.files())
            .map(|file| file.size);
        let bytes = sizes.sum::<u64>().saturating_mul(PARSED_BYTES);
        let validate = move |_: &mut Report<'_>| {
            let mut check_features = |model: &ModelVersion| snapshot.check(model);
            let mut context = GateContext {
                live: live.as_ref().map(|servable| &*servable.model),
                check_features: Some(&mut check_features),
                trusted: Some(&trusted),
                kernel,
                file_bytes,
            };
            repository.validate(&model, version, &files, &mut context)
        };
        let what = format!("loading {name} {version}");
        let done = self.limited(&what, bytes, &mut |_, _| {}, validate);
        done.unwrap_or_else(|reason| {
            let mut report = GateReport::default();
            report.fail(GateStep::Parse, reason);
            Err(report)
        })
    }

    /// Plans how a version gets its features. While requests are served, the snapshot is read again if the version needs
    /// more columns than it holds.
    fn prepare(&mut self, name: &str, model: ModelVersion) -> Result<Servable, GateReport> {
        let policy = self.settings.policy.get(name);
        let bands = policy.map(|policy| policy.bands.clone()).unwrap_or_default();
        let metrics = &self.servable_metrics;
        let servable =
            Servable::new(Arc::new(model), None, &bands, &metrics.features).counting_scores(&metrics.scores);
        let loaded = self.loaded_windows(name, &servable.model);
        let servable = match &mut self.saved_drift {
            Some(saved) => {
                let windows = loaded.or_else(|| saved.take(&servable.model));
                servable.watching_drift(time::now(), windows)
            }
            None => servable,
        };
        if !self.activator.is_attached() {
            return Ok(servable);
        }
        let loaded = self.loaded();
        let mut models = versions_of(&loaded);
        models.push(servable.model.clone());
        self.ensure_snapshot(models.clone(), &mut |_, _| {})
            .map_err(|reason| without_features(&servable, reason))?;
        let mut plans = self.plans(&models);
        let (own, before) = plans.pop().unwrap_or((Ok(None), None));
        // A store is bound to the fields that all of its models need, so the other plans may change as well.
        self.apply_plans(plans);
        own.map(|plan| servable.with_plans(plan, before))
            .map_err(|reason| without_features(&servable, reason))
    }

    /// The windows of drift of a version that is loaded already and loaded again, such as when its files were written again.
    fn loaded_windows(&self, name: &str, model: &ModelVersion) -> Option<SavedWindows> {
        let loaded = self.models.get(name)?.versions.get(&model.version)?.servable()?;
        let drift = loaded.drift.as_ref()?;
        counts_alike(&loaded.model, model).then(|| drift.saved())
    }

    /// All loaded versions, by model and number.
    pub(super) fn loaded(&self) -> Vec<Arc<Servable>> {
        let versions = self.models.values().flat_map(|state| state.versions.values());
        versions
            .filter_map(|version| version.servable().cloned())
            .collect()
    }

    /// Reads the snapshot for all versions that passed the gate, at the start.
    pub(super) fn load_snapshot(&mut self, progress: &mut dyn FnMut(u64, u64)) -> Result<(), String> {
        let loaded = self.loaded();
        // A snapshot that fits no model at all is a mistake in the settings, not in a model.
        if loaded.is_empty() {
            let failures: Vec<String> = self.feature_failures().collect();
            if !failures.is_empty() {
                return Err(failures.join("; "));
            }
        }
        self.ensure_snapshot(versions_of(&loaded), progress)?;
        self.replan();
        Ok(())
    }

    /// Reads the snapshot unless the one in memory has all that `models` need.
    fn ensure_snapshot(
        &mut self,
        models: Vec<Arc<ModelVersion>>,
        report: &mut Report<'_>,
    ) -> Result<bool, String> {
        self.load_with_snapshot("reading the snapshot", report, move |loader, report| {
            loader.ensure(&borrowed(&models), report)
        })?
    }

    /// By model, why the newest version was refused for its features alone.
    fn feature_failures(&self) -> impl Iterator<Item = String> {
        self.models.iter().filter_map(|(name, state)| {
            let (_, newest) = state.versions.iter().next_back()?;
            let failure = newest.report.failure();
            let failure = failure.filter(|step| step.step == GateStep::Features)?;
            Some(format!("model `{name}`: {}", failure.detail))
        })
    }

    /// Plans again how every loaded version gets its features. A version without its features is refused.
    pub(super) fn replan(&mut self) {
        let plans = self.plans(&versions_of(&self.loaded()));
        self.apply_plans(plans);
    }

    /// Plans how models get their features, and how they would get them from the previous snapshot.
    fn plans(&self, models: &[Arc<ModelVersion>]) -> Vec<Plans> {
        let models = borrowed(models);
        // The present ones last: a store stays bound as they need it.
        let before = self.snapshot.plan_before(&models);
        self.snapshot.plan(&models).into_iter().zip(before).collect()
    }

    /// Applies plans to all loaded versions, in the order of [`Lifecycle::loaded`].
    fn apply_plans(&mut self, plans: Vec<Plans>) {
        let versions = self.models.iter_mut().flat_map(|(name, state)| {
            let versions = state.versions.iter_mut();
            versions.map(move |(number, version)| (name, *number, version))
        });
        let loaded = versions.filter_map(|(name, number, version)| {
            let servable = version.servable()?.clone();
            Some((name, number, version, servable))
        });
        for ((name, number, version, servable), (plan, before)) in loaded.zip(plans) {
            match plan {
                Ok(plan) => version.stage = Stage::Loaded(Arc::new(servable.with_plans(plan, before))),
                Err(reason) => {
                    tracing::error!(model = name, version = number, reason, "version refused");
                    version.report = Arc::new(without_features(&servable, reason.clone()));
                    version.set(Stage::Refused, Some(reason));
                }
            }
        }
    }
}

/// The plan of a version, or why it has none, and the one for the previous snapshot.
type Plans = (Result<Option<Plan>, String>, Option<Plan>);

/// The model versions behind `loaded`.
pub(super) fn versions_of(loaded: &[Arc<Servable>]) -> Vec<Arc<ModelVersion>> {
    loaded.iter().map(|servable| servable.model.clone()).collect()
}

/// The same versions, borrowed.
pub(super) fn borrowed(models: &[Arc<ModelVersion>]) -> Vec<&ModelVersion> {
    models.iter().map(|model| &**model).collect()
}

/// The report of a version whose features turned out to be missing after the gate.
fn without_features(servable: &Servable, reason: String) -> GateReport {
    let mut report = servable.model.report.clone();
    report.fail(GateStep::Features, reason);
    report
}
