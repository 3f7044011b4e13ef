//! From what is known to what answers: the swap, the watch after it, and letting go of what was before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::lifecycle::Lifecycle;
use crate::lifecycle::model_state::{ModelState, Stage};
use crate::lifecycle::probation::{Probation, misbehaves, since};
use crate::os;
use crate::scoring::live_set::ModelEntry;
use crate::scoring::rollout::comparison::TrialKind;
use crate::scoring::rollout::{Rollout, Share};
use crate::scoring::{LiveSet, Servable};
use crate::telemetry::ModelMetrics;

impl Lifecycle {
    /// Brings a model to where its policy wants it: loads, chooses who answers, swaps, lets go.
    pub(super) fn settle(&mut self, name: &str) {
        self.judge_all(name);
        let watch = Duration::from_secs_f64(self.settings.watch.seconds);
        if let Some(model) = self.models.get_mut(name) {
            change_over(name, model, watch);
            for number in model.unwanted() {
                if let Some(version) = model.versions.get_mut(&number) {
                    version.set(Stage::Waiting, None);
                    tracing::info!(model = name, version = number, "version unloaded");
                }
            }
            model.versions.retain(|&number, version| {
                let stays = version.found.is_some() || version.served().is_some();
                if !stays {
                    self.metrics.models.gone(name, number);
                }
                stays
            });
        }
        self.publish();
    }

    /// Puts what is known in front of the requests.
    pub(super) fn publish(&mut self) {
        for (name, model) in &self.models {
            self.metrics.models.states(name, model.live, &model.statuses());
        }
        if let Some(scorer) = self.scorer.clone() {
            let live = self.live();
            self.retired.push(scorer.replace(live));
            self.retire();
        }
    }

    /// What answers from now on.
    pub fn live(&mut self) -> LiveSet {
        let metrics = &self.metrics.models;
        let models = self.models.iter_mut();
        let models: BTreeMap<String, ModelEntry> = models
            .map(|(name, model)| (name.clone(), entry(name, model, metrics)))
            .collect();
        LiveSet::new(models, self.feeder.snapshot().cloned())
    }

    /// Lets go of what no request uses any more, here and not where the last request ends: freeing a large model takes
    /// its time.
    pub(super) fn retire(&mut self) {
        let before = self.retired.len();
        self.retired.retain(|live| Arc::strong_count(live) > 1);
        if self.retired.len() < before {
            os::release_memory();
        }
    }

    /// Judges the versions that went live a short while ago by their answers.
    pub(super) fn watch(&mut self) {
        let mut back = Vec::new();
        for (name, model) in &mut self.models {
            let Some(watch) = &model.watch else { continue };
            let served = |number: u64| model.versions.get(&number)?.served();
            let (Some(live), Some(before)) = (model.live.and_then(served), served(watch.before)) else {
                model.watch = None;
                continue;
            };
            let now = since(&watch.start, live.tally.counts());
            if let Some(reason) = misbehaves(&now, &before.tally.counts(), &self.settings.watch) {
                back.push((name.clone(), live.model.version, watch.before, reason));
            } else if Instant::now() >= watch.until {
                back.push((name.clone(), live.model.version, watch.before, String::new()));
            }
        }
        for (name, number, before, reason) in back {
            if let Some(model) = self.models.get_mut(&name) {
                model.watch = None;
                if !reason.is_empty() {
                    tracing::error!(
                        model = name,
                        version = number,
                        to = before,
                        reason,
                        "version rolled back"
                    );
                    model.roll_back(number, before, &reason);
                    self.count_rollback(&name, "watch");
                }
            }
            self.settle(&name);
        }
    }

    pub(super) fn count_rollback(&self, name: &str, by: &str) {
        self.metrics.models.rollbacks.with_label_values(&[name, by]).inc();
    }
}

/// Makes the version that should answer the one that does, and has a fresh one watched.
fn change_over(name: &str, model: &mut ModelState, watch: Duration) {
    let chosen = model.choose();
    if chosen == model.live {
        return;
    }
    let before = model.live;
    model.live = chosen;
    let start = chosen.and_then(|number| model.versions.get(&number)?.served());
    let start = start.map(|served| served.tally.counts());
    match (before, chosen) {
        (_, None) => {
            tracing::error!(model = name, "no version is live");
            model.event("no version is live".to_owned());
        }
        (None, Some(number)) => {
            tracing::info!(model = name, version = number, "version live");
            model.event(format!("version {number} is live"));
        }
        (Some(old), Some(number)) => {
            tracing::info!(model = name, version = number, before = old, "version live");
            model.event(format!("version {number} is live, before it {old}"));
        }
    }
    // Only a version that arrived is watched, not one that was gone back to, and only while there is a way back.
    let fresh = before.zip(chosen).filter(|(old, new)| old < new);
    let way_back = fresh.filter(|(old, _)| model.versions.get(old).is_some_and(|old| old.served().is_some()));
    model.watch = way_back
        .zip(start)
        .filter(|_| !watch.is_zero())
        .map(|((before, _), start)| Probation {
            before,
            until: Instant::now() + watch,
            start,
        });
}

fn entry(name: &str, model: &mut ModelState, metrics: &ModelMetrics) -> ModelEntry {
    let rollout = Rollout {
        canary: share(name, model, TrialKind::Canary, metrics),
        shadow: share(name, model, TrialKind::Shadow, metrics),
    };
    let served = |number: u64| -> Option<Arc<Servable>> { model.versions.get(&number)?.served().cloned() };
    ModelEntry {
        served: model.live.and_then(served),
        loaded: model
            .versions
            .values()
            .rev()
            .filter_map(|version| version.served().cloned())
            .collect(),
        labels: model.labels.clone(),
        rollout,
        comparisons: model.comparisons.clone(),
        versions: model.statuses(),
        events: model.events.iter().cloned().collect(),
    }
}

/// A version being tried, if it is loaded and not the one that answers anyway.
fn share(name: &str, model: &mut ModelState, kind: TrialKind, metrics: &ModelMetrics) -> Option<Share> {
    let asked = match kind {
        TrialKind::Canary => &model.canary,
        TrialKind::Shadow => &model.shadow,
    };
    let (share, candidate) = asked.as_ref().map(|asked| (asked.share, asked.version))?;
    let base = model.live.filter(|&live| live != candidate)?;
    let served = model.versions.get(&candidate)?.served()?.clone();
    let handles = || metrics.comparison(name, kind, base, candidate);
    Some(Share {
        served,
        share,
        comparison: model.comparison(kind, base, candidate, handles),
    })
}
