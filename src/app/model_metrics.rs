//! Metrics of the program and of loaded versions, measured when they are read.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::metrics::{GaugeVec, Registry, Result};
use crate::scoring::LiveSet;
use crate::scoring::score_metrics::ScoreMetrics;
use crate::values::cell::Cell;
use crate::values::feature_type::FeatureType;

/// Handles of the metrics.
#[derive(Debug)]
pub(super) struct ModelMetrics {
    trained: GaugeVec,
    scores: ScoreMetrics,
    /// Model and number of the versions of the last measurement.
    known: Mutex<BTreeSet<(String, u64)>>,
}

impl ModelMetrics {
    /// Declares the metrics; `scores` are those of the lifecycle.
    ///
    /// # Errors
    /// They are declared already.
    pub(super) fn new(registry: &Registry, scores: ScoreMetrics) -> Result<Self> {
        let build = registry.gauges(
            "evergreen_build_info",
            "1, with the version of the program.",
            &["version"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let help =
            "When training of a loaded version ended (trained_at in its contract), in seconds since 1970.";
        let labels = ["model", "version"];
        Ok(Self {
            trained: registry.float_gauges("evergreen_model_trained_timestamp_seconds", help, &labels)?,
            scores,
            known: Mutex::default(),
        })
    }

    /// Sets the metrics to the loaded versions, and removes those of others.
    pub(super) fn measure(&self, live: &LiveSet) {
        let loaded = live.models().flat_map(|(_, entry)| &entry.loaded);
        let loaded = loaded.map(|servable| &servable.model);
        let mut present = BTreeSet::new();
        for model in loaded {
            present.insert((model.name.as_str(), model.version));
            let contract = model.contract.as_ref();
            let Some(trained_at) = contract.and_then(|contract| contract.model.trained_at) else {
                continue;
            };
            let text = trained_at.to_string();
            if let Ok(Some(seconds)) = Cell::Text(&text).number(FeatureType::Timestamp) {
                self.trained
                    .with_label_values(&[&model.name, &model.version.to_string()])
                    .set(seconds);
            }
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(model, version)| {
            let stays = present.contains(&(model.as_str(), *version));
            if !stays {
                // A version without a training date has no such series.
                let _ = self.trained.remove_label_values(&[model, &version.to_string()]);
            }
            stays
        });
        known.extend(
            present
                .iter()
                .map(|&(model, version)| (model.to_owned(), version)),
        );
        self.scores.retain(&present);
    }
}
