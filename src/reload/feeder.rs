//! The feature sources, as models come and go: can a model be fed, and must the customers be read anew for it?

use std::path::PathBuf;
use std::sync::Arc;

use crate::config::Config;
use crate::features::plan::Plan;
use crate::features::snapshot::{Snapshot, SnapshotSpec};
use crate::features::sources::Sources;
use crate::features::table::Table;
use crate::models::ModelVersion;

/// The feature sources.
#[derive(Debug)]
pub(super) struct Feeder {
    sources: Arc<Sources>,
    path: Option<PathBuf>,
    as_of: String,
    snapshot: Option<Arc<Snapshot>>,
    spec: Option<SnapshotSpec>,
}

impl Feeder {
    pub(super) fn new(config: &Config, sources: &Arc<Sources>) -> Self {
        Self {
            sources: sources.clone(),
            path: config.snapshot(),
            as_of: config.features.as_of.clone(),
            snapshot: None,
            spec: None,
        }
    }

    pub(super) fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        self.snapshot.as_ref()
    }

    /// Whether the sources have what a model asks for, as far as can be said without reading them.
    pub(super) fn check(&self, model: &ModelVersion) -> Result<String, String> {
        let Some(path) = &self.path else {
            return Ok("the stores are asked when the model is planned".to_owned());
        };
        let table = Table::open(path).map_err(|error| error.to_string())?;
        match self.sources.unfed(model, &table) {
            Some(reason) => Err(reason),
            None => Ok(format!(
                "{} has every column that is taken from it",
                path.display()
            )),
        }
    }

    /// Reads the customers unless what is in memory will do for all of `models`; whether it was read.
    pub(super) fn ensure(
        &mut self,
        models: &[&ModelVersion],
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<bool, String> {
        let Some(path) = &self.path else {
            return Ok(false);
        };
        let table = Table::open(path).map_err(|error| error.to_string())?;
        let has = |name: &&str| table.columns().iter().any(|known| known == name);
        let as_of = Some(self.as_of.as_str()).filter(has);
        let Some(wanted) = self.sources.snapshot_spec(models.iter().copied(), as_of) else {
            return Ok(false);
        };
        if self.spec.as_ref().is_some_and(|held| covers(held, &wanted)) {
            return Ok(false);
        }
        let total = table.bytes() * 2;
        let snapshot = Snapshot::load(path, &wanted, &mut |done| progress(done, total));
        self.snapshot = Some(Arc::new(snapshot.map_err(|error| error.to_string())?));
        self.spec = Some(wanted);
        Ok(true)
    }

    /// Each model's way to its features, or why there is none. The stores are bound to what all of them want.
    pub(super) fn plan(&self, models: &[&ModelVersion]) -> Vec<Result<Option<Plan>, String>> {
        self.sources.plan(models, self.snapshot.as_ref())
    }
}

/// Whether what was read by `held` has everything that `wanted` asks for, as exactly.
fn covers(held: &SnapshotSpec, wanted: &SnapshotSpec) -> bool {
    held.entity == wanted.entity
        && wanted.columns.iter().all(|column| {
            held.columns.iter().any(|known| {
                known.column == column.column && known.kind == column.kind && (column.single || !known.single)
            })
        })
}
