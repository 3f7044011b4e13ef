//! Metrics of drift, measured when they are read.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::config::DriftSection;
use crate::metrics::{GaugeVec, IntGaugeVec, Registry, Result};
use crate::observe::monitor::WindowReport;
use crate::observe::report::{Drift, Thresholds};
use crate::observe::window::WindowKind;
use crate::scoring::{LiveSet, Servable};

/// Handles of the metrics.
#[derive(Debug)]
pub(super) struct DriftMetrics {
    psi: GaugeVec,
    chance: GaugeVec,
    drifted: IntGaugeVec,
    drifted_features: IntGaugeVec,
    rows: IntGaugeVec,
    /// The label values of the last measurement.
    known: Mutex<Measured>,
}

/// The label values of a measurement.
#[derive(Debug, Default)]
struct Measured {
    /// Model, version, feature and window.
    features: BTreeSet<[String; 4]>,
    /// Model, version and window.
    windows: BTreeSet<[String; 3]>,
}

/// The label value of the score among features.
const SCORE: &str = "(score)";

impl DriftMetrics {
    /// Declares the metrics.
    ///
    /// # Errors
    /// They are declared already.
    pub(super) fn new(registry: &Registry) -> Result<Self> {
        let labels = ["model", "version", "feature", "window"];
        Ok(Self {
            psi: registry.float_gauges(
                "evergreen_feature_psi",
                "Population stability index of a feature, or the (score), against training, by window (hour, day).",
                &labels,
            )?,
            chance: registry.float_gauges(
                "evergreen_feature_psi_chance",
                "99.9th percentile of evergreen_feature_psi without drift.",
                &labels,
            )?,
            drifted: registry.gauges(
                "evergreen_feature_drifted",
                "1 if a feature, or the (score), has moved since training, by window (hour, day).",
                &labels,
            )?,
            // The alert must also see the features beyond drift.metric_features.
            drifted_features: registry.gauges(
                "evergreen_drifted_features",
                "Features that have moved since training, of all features of a version, by window (hour, day).",
                &["model", "version", "window"],
            )?,
            rows: registry.gauges(
                "evergreen_drift_rows",
                "Entities in the window that is compared with training, by window (hour, day).",
                &["model", "version", "window"],
            )?,
            known: Mutex::default(),
        })
    }

    /// Compares the windows of the versions that answer with training at `now`, in seconds since the Unix epoch.
    pub(super) fn measure(&self, live: &LiveSet, settings: &DriftSection, now: f64) {
        // One measurement at a time: two would remove each other's series.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut present = Measured::default();
        for servable in live.models().flat_map(|(_, entry)| entry.answering()) {
            for kind in WindowKind::ALL {
                self.measure_window(servable, kind, settings, now, &mut present);
            }
        }
        for labels in known.features.difference(&present.features) {
            // The series may never have had a value.
            let _ = self.psi.remove_label_values(labels);
            let _ = self.chance.remove_label_values(labels);
            let _ = self.drifted.remove_label_values(labels);
        }
        for labels in known.windows.difference(&present.windows) {
            let _ = self.drifted_features.remove_label_values(labels);
            let _ = self.rows.remove_label_values(labels);
        }
        *known = present;
    }

    fn measure_window(
        &self,
        servable: &Servable,
        kind: WindowKind,
        settings: &DriftSection,
        now: f64,
        present: &mut Measured,
    ) {
        let (model, Some(drift)) = (&servable.model, &servable.drift) else {
            return;
        };
        let WindowReport { report, .. } = drift.latest(model, kind, Thresholds::from(settings), now);
        let (name, version) = (model.name.clone(), model.version.to_string());
        let window = kind.label().to_owned();
        let of_window = [&name, &version, &window];
        let moved = report.features.iter().filter(|feature| feature.drifted()).count();
        self.drifted_features
            .with_label_values(&of_window)
            .set(i64::try_from(moved).unwrap_or(i64::MAX));
        self.rows
            .with_label_values(&of_window)
            .set(i64::try_from(report.rows).unwrap_or(i64::MAX));
        present.windows.insert(of_window.map(String::clone));
        let mut set = |feature: &str, values: &Drift, drifted: bool| {
            let labels = [&name, &version, feature, &window];
            match values.distance.filter(|_| values.judged) {
                Some(distance) => {
                    self.psi.with_label_values(&labels).set(distance.psi);
                    self.chance.with_label_values(&labels).set(distance.chance);
                }
                // A value of an earlier window would be mistaken for a present one. There may be none.
                None => {
                    let _ = self.psi.remove_label_values(&labels);
                    let _ = self.chance.remove_label_values(&labels);
                }
            }
            self.drifted.with_label_values(&labels).set(drifted.into());
            present.features.insert(labels.map(str::to_owned));
        };
        let mut features: Vec<_> = report.features.iter().collect();
        features.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        for feature in features.into_iter().take(settings.metric_features) {
            if let Some(input) = model.inputs.get(feature.input) {
                set(&input.contract.name, &feature.values, feature.drifted());
            }
        }
        if let Some(score) = &report.score {
            set(SCORE, score, score.drifted);
        }
    }
}
