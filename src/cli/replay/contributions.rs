//! Why a score changes: the contributions of the features in both versions.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::comparison::Mover;
use crate::cli::offline::OfflineModel;
use crate::models::ModelVersion;
use crate::record::prediction_log::meta::FileMeta;
use crate::scoring::replay::contributions;

/// The change of one feature's contribution to the margin.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ContributionChange {
    pub(super) feature: String,
    /// In the version that wrote the log; 0 if it has no such input.
    pub(super) before: f64,
    /// In the model; 0 if it has no such input.
    pub(super) after: f64,
}

impl ContributionChange {
    pub(super) fn change(&self) -> f64 {
        self.after - self.before
    }
}

/// Finds the versions that wrote a log.
pub(super) struct BaseModels {
    named: Option<Arc<ModelVersion>>,
    models: PathBuf,
}

impl BaseModels {
    /// Loads the named version, if one is named; others are looked up in the repository `models`.
    ///
    /// # Errors
    /// The named version is not valid.
    pub(super) fn new(named: Option<&str>, models: &Path) -> Result<Self, String> {
        let load = |path: &str| OfflineModel::load(path, models).map(|model| model.version);
        Ok(Self {
            named: named.map(load).transpose()?,
            models: models.to_owned(),
        })
    }

    /// The version that wrote a file, if it is there and the file has all of its inputs.
    pub(super) fn find(&self, meta: &FileMeta) -> Option<Arc<ModelVersion>> {
        let known = || {
            let path = self.models.join(&meta.model).join(meta.version.to_string());
            let model = path
                .is_dir()
                .then(|| OfflineModel::load(&path.to_string_lossy(), &self.models));
            Some(model?.ok()?.version)
        };
        let model = self.named.clone().or_else(known)?;
        let mut inputs = model.inputs.iter().map(|input| &input.contract.name);
        let complete = inputs.all(|name| {
            let logged = meta.input(name);
            logged.is_some_and(|logged| logged.log == crate::config::LogPolicy::Plain)
        });
        (model.sha256 == meta.sha256 && complete && meta.inputs.len() == model.inputs.len()).then_some(model)
    }
}

/// The features whose contributions change most, the largest change first.
///
/// # Errors
/// A model has no contributions.
pub(super) fn changes(
    mover: &Mover,
    base: &ModelVersion,
    model: &ModelVersion,
) -> Result<Vec<ContributionChange>, String> {
    let of = |model: &ModelVersion, row: &[f64]| contributions(model, row).map_err(|error| error.to_string());
    let (before, after) = (of(base, &mover.logged.values)?, of(model, &mover.inputs)?);
    let mut all: Vec<ContributionChange> = model
        .inputs
        .iter()
        .zip(after)
        .map(|(input, after)| ContributionChange {
            feature: input.contract.name.clone(),
            before: 0.0,
            after,
        })
        .collect();
    for (input, before) in base.inputs.iter().zip(before) {
        let name = &input.contract.name;
        match all.iter_mut().find(|known| known.feature == *name) {
            Some(known) => known.before = before,
            None => all.push(ContributionChange {
                feature: name.clone(),
                before,
                after: 0.0,
            }),
        }
    }
    all.retain(|change| change.change() != 0.0);
    all.sort_by(|a, b| b.change().abs().total_cmp(&a.change().abs()));
    Ok(all)
}
