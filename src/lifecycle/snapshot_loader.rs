//! Loads the snapshot: checks what models need of it, reads it again if they need more columns, and decides whether a new
//! one may replace the present one.

use std::path::Path;
use std::sync::Arc;

use crate::config::{Config, SnapshotWatchSection};
use crate::features::plan::Plan;
use crate::features::snapshot::{Snapshot, SnapshotSpec};
use crate::features::sources::Sources;
use crate::features::table::{HUDI_LOG, Table, is_part_of_table, managed, nested, unfinished};
use crate::lifecycle::snapshot_profile::{SnapshotProfile, SnapshotRejection};
use crate::models::ModelVersion;
use crate::storage::{Listing, Storage};

/// The snapshot and where it comes from.
#[derive(Clone, Debug)]
pub(super) struct SnapshotLoader {
    sources: Arc<Sources>,
    storage: Option<Arc<Storage>>,
    as_of: String,
    limits: SnapshotWatchSection,
    snapshot: Option<Arc<Snapshot>>,
    /// The one before, for the changes of scores; `None` unless it is kept.
    previous: Option<Arc<Snapshot>>,
    spec: Option<SnapshotSpec>,
    profile: Option<Arc<SnapshotProfile>>,
    /// The files of the snapshot in memory, or of the last one refused.
    judged: Option<Listing>,
    /// The files at the last poll.
    seen: Option<Listing>,
}

/// The result of a poll for a new snapshot.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SnapshotPoll {
    /// Nothing new.
    Same,
    /// A snapshot is being written; the text says how that is known.
    Waiting(String),
    /// A new snapshot can be read.
    New(Listing),
}

impl SnapshotLoader {
    pub(super) fn new(config: &Config, sources: &Arc<Sources>) -> Result<Self, String> {
        let path = config.snapshot();
        let storage = path
            .map(|path| Storage::open(&path, &config.storage).map(Arc::new))
            .transpose()?;
        Ok(Self {
            sources: sources.clone(),
            storage,
            as_of: config.features.as_of.clone(),
            limits: config.features.watch.clone(),
            snapshot: None,
            previous: None,
            spec: None,
            profile: None,
            judged: None,
            seen: None,
        })
    }

    pub(super) fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        self.snapshot.as_ref()
    }

    /// Bytes that reading the snapshot takes, about: those of its files, or of the present one if that is larger.
    pub(super) fn bytes(&self) -> u64 {
        let files = self.seen.as_ref().or(self.judged.as_ref());
        let files = files.map_or(0, |listing| listing.files().iter().map(|file| file.size).sum());
        let present = self
            .snapshot
            .as_ref()
            .map_or((0, 0), |snapshot| snapshot.size_bytes());
        files.max((present.0 + present.1) as u64)
    }

    /// The location of the snapshot, if one is configured.
    pub(super) fn location(&self) -> Option<&Path> {
        self.storage.as_ref().map(|storage| storage.location())
    }

    /// Why a folder is not complete yet.
    fn unfinished(&self, entry: &Listing) -> Option<String> {
        let Listing::Folder(files) = entry else {
            return None;
        };
        let reason = unfinished(files.iter().map(|file| file.name.as_str()));
        let reason = reason.filter(|_| self.limits.success_file)?;
        Some(format!(
            "{reason}; set features.watch.success_file = false if it writes none"
        ))
    }

    /// Why a configured snapshot is not in memory; `None` if it is, or none is configured.
    pub(super) fn missing(&self) -> Option<String> {
        let path = self.location()?.display();
        if self.snapshot.is_some() {
            return None;
        }
        let why = match self.storage.as_ref()?.stat("") {
            Ok(None) => "it does not exist".to_owned(),
            Ok(Some(found)) => self
                .unfinished(&found)
                .unwrap_or_else(|| "it is not loaded yet".to_owned()),
            Err(error) => error,
        };
        Some(format!("waiting for the snapshot {path}: {why}"))
    }

    /// Remembers that the snapshot of these files is of no use, so that it is retried when they change.
    pub(super) fn give_up(&mut self, entry: Listing) {
        self.judged = Some(entry);
    }

    /// Polls for a new snapshot. Files that are the same at two polls count as complete.
    pub(super) fn poll(&mut self) -> Result<SnapshotPoll, String> {
        let Some(storage) = &self.storage else {
            return Ok(SnapshotPoll::Same);
        };
        let found = storage.stat("")?;
        let Some(found) = found else {
            self.seen = None;
            return Ok(if self.snapshot.is_some() {
                SnapshotPoll::Same
            } else {
                SnapshotPoll::Waiting("no file yet".to_owned())
            });
        };
        if self.judged.as_ref() == Some(&found) {
            self.seen = Some(found);
            return Ok(SnapshotPoll::Same);
        }
        if let Some(reason) = self.unfinished(&found) {
            self.seen = Some(found);
            return Ok(SnapshotPoll::Waiting(reason));
        }
        let settled = self.seen.as_ref() == Some(&found);
        self.seen = Some(found.clone());
        Ok(if settled {
            SnapshotPoll::New(found)
        } else {
            SnapshotPoll::Waiting("its files changed since the last poll".to_owned())
        })
    }

    /// Checks that the sources have what a model needs, without reading them.
    pub(super) fn check(&self, model: &ModelVersion) -> Result<String, String> {
        self.sources.check(model)?;
        let Some(wanted) = self.sources.snapshot_spec([model], None) else {
            return Ok("the feature stores have every feature; the snapshot is not needed".to_owned());
        };
        if self.spec.as_ref().is_some_and(|held| covers(held, &wanted)) {
            return Ok("the snapshot in memory has every column".to_owned());
        }
        let Some(storage) = &self.storage else {
            return Ok("no snapshot configured".to_owned());
        };
        let Some(entry) = storage.stat("")?.filter(|entry| self.unfinished(entry).is_none()) else {
            return Ok("the snapshot does not exist yet".to_owned());
        };
        let fetched = storage.fetch("", &entry)?;
        let table = Table::open(fetched.path()).map_err(|error| error.to_string())?;
        match self.sources.missing_columns(model, &table) {
            Some(reason) => Err(reason),
            None => Ok(format!("{} has every column", storage.location().display())),
        }
    }

    /// Reads the snapshot unless the one in memory has all that `models` need. Returns whether it was read.
    pub(super) fn ensure(
        &mut self,
        models: &[&ModelVersion],
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<bool, String> {
        let Some(wanted) = self.sources.snapshot_spec(models.iter().copied(), None) else {
            return Ok(false);
        };
        if self.spec.as_ref().is_some_and(|held| covers(held, &wanted)) {
            return Ok(false);
        }
        let Some(storage) = &self.storage else {
            return Ok(false);
        };
        let entry = storage.stat("")?;
        // Otherwise three of them would be in memory.
        self.previous = None;
        let first = self.snapshot.is_none();
        match entry.filter(|entry| self.unfinished(entry).is_none()) {
            Some(entry) => self
                .read(entry, models, progress)
                .map(|()| true)
                .map_err(|refusal| refusal.reason),
            // A snapshot that is still being written comes with a later poll.
            None if first && storage.stat("")?.is_some() => Ok(false),
            None => Err(format!(
                "{}: no customer file found; check features.snapshot or --customers",
                storage.location().display()
            )),
        }
    }

    /// Reads a snapshot, and takes it if it may replace the present one. A refused one is retried when its files change.
    pub(super) fn read(
        &mut self,
        entry: Listing,
        models: &[&ModelVersion],
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), SnapshotRejection> {
        let read = self.load(&entry, models, progress);
        // The same files are read again when a model needs more of their columns: that is no change.
        let again = self.judged.replace(entry.clone()).as_ref() == Some(&entry);
        let Some((snapshot, spec)) = read? else {
            return Ok(());
        };
        let profile = SnapshotProfile::of(&snapshot, models);
        if let Some(last) = &self.profile {
            profile.follows(last, &self.limits)?;
        }
        let previous = self.snapshot.replace(Arc::new(snapshot));
        self.previous = previous.filter(|_| self.limits.previous && !again);
        self.spec = Some(spec);
        self.profile = Some(Arc::new(profile));
        Ok(())
    }

    fn load(
        &self,
        entry: &Listing,
        models: &[&ModelVersion],
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Option<(Snapshot, SnapshotSpec)>, SnapshotRejection> {
        let Some(storage) = &self.storage else {
            return Ok(None);
        };
        let unreadable =
            |error: &dyn std::fmt::Display| SnapshotRejection::new("unreadable", error.to_string());
        if let Listing::Folder(_) = entry {
            // In object storage only the files of the folder itself are copied.
            let inside = storage.folders("").map_err(|error| unreadable(&error))?;
            let log = storage.stat(HUDI_LOG).map_err(|error| unreadable(&error))?;
            let names = inside.iter().map(String::as_str);
            let nested_folder = || inside.iter().find(|name| is_part_of_table(name));
            if let Some(reason) = managed(names.chain(log.map(|_| HUDI_LOG)))
                .or_else(|| nested_folder().map(|name| nested(name)))
            {
                return Err(SnapshotRejection::new("unreadable", reason));
            }
        }
        let fetched = storage.fetch("", entry).map_err(|error| unreadable(&error))?;
        let table = Table::open(fetched.path()).map_err(|error| unreadable(&error))?;
        if let Some(reason) = models
            .iter()
            .find_map(|model| self.sources.missing_columns(model, &table))
        {
            return Err(SnapshotRejection::new("unreadable", reason));
        }
        let has = |name: &&str| table.columns().iter().any(|known| known == name);
        let as_of = Some(self.as_of.as_str()).filter(has);
        let Some(spec) = self.sources.snapshot_spec(models.iter().copied(), as_of) else {
            return Ok(None);
        };
        let total = table.bytes() * 2;
        let snapshot = Snapshot::load(fetched.path(), &spec, &mut |done| progress(done, total));
        let snapshot = snapshot.map_err(|error| unreadable(&error))?;
        let now = storage.stat("").map_err(|error| unreadable(&error))?;
        if now.as_ref() != Some(entry) {
            return Err(SnapshotRejection::new(
                "unreadable",
                "the files changed while they were read",
            ));
        }
        Ok(Some((snapshot.at(storage.location()), spec)))
    }

    /// Plans how each model gets its features, or says why it cannot. The stores are bound to what all models need.
    pub(super) fn plan(&self, models: &[&ModelVersion]) -> Vec<Result<Option<Plan>, String>> {
        self.sources.plan(models, self.snapshot.as_ref())
    }

    /// Plans how each model would get its features from the previous snapshot; `None` where a store has any of them.
    pub(super) fn plan_before(&self, models: &[&ModelVersion]) -> Vec<Option<Plan>> {
        let Some(previous) = &self.previous else {
            return models.iter().map(|_| None).collect();
        };
        let plans = self.sources.plan(models, Some(previous)).into_iter();
        plans
            .map(|plan| plan.ok().flatten().filter(|plan| !plan.is_remote()))
            .collect()
    }

    /// Lets go of the previous snapshot. Returns whether there was one.
    pub(super) fn forget_previous(&mut self) -> bool {
        self.previous.take().is_some()
    }
}

/// Whether a snapshot read by `held` has every column of `wanted`, with at least the same precision.
fn covers(held: &SnapshotSpec, wanted: &SnapshotSpec) -> bool {
    held.entity == wanted.entity
        && wanted.columns.iter().all(|column| {
            held.columns.iter().any(|known| {
                known.column == column.column && known.kind == column.kind && (column.single || !known.single)
            })
        })
}
