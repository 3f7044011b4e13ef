//! All feature sources: which one holds which feature, and the plans of the live models.

mod field;
pub mod probe;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use super::layout::{Field, Layout};
use super::plan::{ColumnRef, Plan, Source};
use super::remote::{CacheLimits, RemoteSource, Timeouts};
use super::snapshot::{ColumnSpec, Snapshot, SnapshotSpec};
use super::store_client::StoreClient;
use super::table::Table;
use crate::config::Config;
use crate::config::source::SourceSection;
use crate::error::Error;
use crate::features::metrics::FeatureMetrics;
use crate::models::ModelVersion;
use crate::models::contract::FeatureContract;
use crate::suggest::{hint, unknown};
use crate::values::entity_id::EntityId;
use field::{is_field, is_single, want};

/// The remote sources of the settings. The snapshot changes, so it is passed where it is needed.
#[derive(Debug)]
pub struct Sources {
    remote: BTreeMap<String, ConfiguredSource>,
    default: Option<String>,
    metrics: FeatureMetrics,
    /// The sources of the last binding: one whose layout is still needed keeps its cache.
    bound: Mutex<Vec<Arc<RemoteSource>>>,
}

#[derive(Debug)]
struct ConfiguredSource {
    section: SourceSection,
    store: Box<dyn StoreClient>,
}

/// The fields needed of each source, by source and name of the id.
type WantedFields<'a> = BTreeMap<(&'a str, String), Vec<Field>>;

/// The home of a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FeatureHome<'a> {
    Snapshot,
    Remote(&'a str),
}

impl Sources {
    /// Prepares the sources of the settings. Files that the settings name are read, but nothing is connected yet.
    ///
    /// # Errors
    /// A source is not valid; the message names it.
    pub fn new(config: &Config, metrics: FeatureMetrics) -> Result<Self, String> {
        let mut remote = BTreeMap::new();
        for (name, section) in &config.source {
            let store = store::open(section).map_err(|message| format!("[source.{name}] {message}"))?;
            let section = section.clone();
            remote.insert(name.clone(), ConfiguredSource { section, store });
        }
        let named = Some(config.features.default.clone()).filter(|name| !name.is_empty());
        if let Some(name) = named.as_ref().filter(|name| !remote.contains_key(*name)) {
            let hint = hint(name, remote.keys().map(String::as_str));
            return Err(format!("features.default: no [source.{name}]{hint}"));
        }
        let only = || match (config.snapshot(), remote.len()) {
            (None, 1) => remote.keys().next().cloned(),
            _ => None,
        };
        let default = named.or_else(only);
        Ok(Self {
            remote,
            default,
            metrics,
            bound: Mutex::default(),
        })
    }

    /// Plans how each of `models` gets its rows from the stores and the `snapshot`; an error says why a model cannot.
    ///
    /// A store is bound to the fields that all of these models need; it keeps its cache if they have not changed.
    pub fn plan(
        &self,
        models: &[&ModelVersion],
        snapshot: Option<&Arc<Snapshot>>,
    ) -> Vec<Result<Option<Plan>, String>> {
        let (fed, wanted) = self.wanted(models);
        let remotes = self.bind(wanted);
        let plan = |(model, fed): (&&ModelVersion, Result<(), String>)| {
            fed?;
            let remotes = remotes.as_ref().map_err(Clone::clone)?;
            self.plan_one(model, snapshot, remotes)
        };
        models.iter().zip(fed).map(plan).collect()
    }

    /// Checks that the stores have what a model needs.
    ///
    /// # Errors
    /// Something is missing; the message says what.
    pub fn check(&self, model: &ModelVersion) -> Result<(), String> {
        let mut wanted = WantedFields::new();
        self.want(model, &mut wanted)
    }

    /// What `table` lacks for the part of `model` that comes from the snapshot; `None` if nothing.
    pub fn missing_columns(&self, model: &ModelVersion, table: &Table) -> Option<String> {
        let contract = model.contract.as_ref()?;
        let mut columns = self.columns(model).map(|(_, slot)| slot.column()).peekable();
        columns.peek()?;
        let needed = columns.chain([contract.model.entity.as_str()]);
        let known = || table.columns().iter().map(String::as_str);
        let missing: Vec<String> = needed
            .filter(|name| !known().any(|column| column == *name))
            .map(|name| format!("`{name}`{}", hint(name, known())))
            .collect();
        let path = table.path().display();
        (!missing.is_empty()).then(|| format!("{path}: missing columns: {}", missing.join(", ")))
    }

    /// The columns that `models` need of a snapshot; `None` if none of them uses it. A model with another entity than the first
    /// one is skipped; planning refuses it.
    pub fn snapshot_spec<'a>(
        &self,
        models: impl IntoIterator<Item = &'a ModelVersion>,
        as_of: Option<&str>,
    ) -> Option<SnapshotSpec> {
        let mut spec: Option<SnapshotSpec> = None;
        for model in models {
            for (slot, contract) in self.columns(model) {
                let spec = spec.get_or_insert_with(|| SnapshotSpec {
                    entity: model.entity().to_owned(),
                    as_of: as_of.map(str::to_owned),
                    columns: Vec::new(),
                });
                let single = is_single(model, slot);
                let same = |c: &&mut ColumnSpec| c.column == contract.column() && c.kind == contract.kind;
                match spec.columns.iter_mut().find(same) {
                    Some(column) => column.single &= single,
                    None => spec.columns.push(ColumnSpec {
                        column: contract.column().to_owned(),
                        kind: contract.kind,
                        single,
                    }),
                }
            }
        }
        spec
    }

    /// The bound remote sources.
    pub fn remotes(&self) -> Vec<Arc<RemoteSource>> {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Removes an entity, or all of them, from the cache of a source.
    ///
    /// # Errors
    /// No source has that name; the message lists the known ones.
    pub fn forget(&self, source: &str, id: Option<&EntityId>) -> Result<(), Error> {
        if !self.remote.contains_key(source) {
            let known = self.remote.keys().map(String::as_str);
            return Err(Error::entity_not_found(unknown("feature source", source, known)));
        }
        let id = id.map(EntityId::canonical);
        for remote in self.remotes().iter().filter(|remote| remote.name == source) {
            remote.forget(id.as_ref());
        }
        Ok(())
    }

    /// Updates the gauges of the caches.
    pub fn measure(&self) {
        self.remotes().iter().for_each(|remote| remote.measure());
    }

    /// The slots of a model that come from the snapshot.
    fn columns<'a>(&'a self, model: &'a ModelVersion) -> impl Iterator<Item = (usize, &'a FeatureContract)> {
        stored(model).filter(|(_, slot)| self.home(slot) == FeatureHome::Snapshot)
    }

    fn home(&self, feature: &FeatureContract) -> FeatureHome<'_> {
        let lists = |configured: &ConfiguredSource, group: &str| {
            configured.section.groups.iter().any(|listed| listed == group)
        };
        let named = feature.group().and_then(|group| {
            let listed = self
                .remote
                .iter()
                .find(|(_, configured)| lists(configured, group));
            listed.or_else(|| self.remote.get_key_value(group))
        });
        match named.map(|(name, _)| name).or(self.default.as_ref()) {
            Some(name) => FeatureHome::Remote(name),
            None => FeatureHome::Snapshot,
        }
    }

    /// The group of a feature in a source: what the contract says, or what the source knows.
    fn group(&self, source: &str, feature: &FeatureContract) -> Option<String> {
        self.remote[source].store.group(feature)
    }

    /// The fields that `models` need of each store. A model that does not fit with those before it is left out and does not
    /// affect them.
    fn wanted(&self, models: &[&ModelVersion]) -> (Vec<Result<(), String>>, WantedFields<'_>) {
        let mut wanted = WantedFields::new();
        let fed = models.iter().map(|model| {
            let mut with = wanted.clone();
            self.want(model, &mut with)?;
            wanted = with;
            Ok(())
        });
        (fed.collect(), wanted)
    }

    /// Adds the fields that a model needs of each store, if the store has them.
    fn want<'a>(&'a self, model: &ModelVersion, wanted: &mut WantedFields<'a>) -> Result<(), String> {
        let mut touched = BTreeSet::new();
        for (slot, feature) in stored(model) {
            if let FeatureHome::Remote(name) = self.home(feature) {
                let checked = self.remote[name].store.check(feature, model.entity());
                checked
                    .map_err(|message| format!("[source.{name}] feature `{}`: {message}", feature.name))?;
                let of = (name, model.entity().to_owned());
                want(
                    wanted.entry(of.clone()).or_default(),
                    model,
                    slot,
                    feature,
                    self.group(name, feature),
                );
                touched.insert(of);
            }
        }
        for of in touched {
            let layout = Layout::new(&of.1, wanted[&of].clone());
            let checked = self.remote[of.0].store.check_all(&layout);
            checked.map_err(|message| format!("[source.{}] {message}", of.0))?;
        }
        Ok(())
    }

    /// Binds the stores to the needed fields. A store that is bound to them already keeps its cache.
    fn bind(&self, wanted: WantedFields<'_>) -> Result<Vec<Arc<RemoteSource>>, String> {
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        let remotes = wanted
            .into_iter()
            .map(|((name, entity), fields)| {
                let layout = Layout::new(&entity, fields);
                let kept = bound.iter().find(|remote| {
                    remote.name == name && remote.layout.covers(&layout) && remote.layout.is_within(&layout)
                });
                match kept {
                    Some(remote) => Ok(remote.clone()),
                    None => self.remote(name, layout),
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        bound.clone_from(&remotes);
        Ok(remotes)
    }

    fn remote(&self, name: &str, layout: Layout) -> Result<Arc<RemoteSource>, String> {
        let ConfiguredSource { section, store } = &self.remote[name];
        let layout = Arc::new(layout);
        let source = store
            .bind(layout.clone())
            .map_err(|message| format!("[source.{name}] {message}"))?;
        let cache = &section.cache;
        let cache = (cache.bytes > 0).then_some(CacheLimits {
            bytes: cache.bytes,
            soft: cache.soft.0,
            hard: cache.hard.0,
            unknown: cache.unknown.0,
        });
        let timeouts = Timeouts {
            timeout: section.timeout.0,
            bulk_timeout: section.bulk_timeout.0,
            cooldown: section.rest.0,
        };
        let metrics = self.metrics.source(name);
        Ok(Arc::new(RemoteSource::new(
            name, layout, source, cache, timeouts, metrics,
        )))
    }

    fn plan_one(
        &self,
        model: &ModelVersion,
        snapshot: Option<&Arc<Snapshot>>,
        remotes: &[Arc<RemoteSource>],
    ) -> Result<Option<Plan>, String> {
        let mut sources: Vec<Source> = Vec::new();
        let mut homes: Vec<FeatureHome<'_>> = Vec::new();
        let mut columns: Vec<Option<ColumnRef>> = model.slots().map(|_| None).collect();
        for (slot, feature) in stored(model) {
            let home = self.home(feature);
            let source = match homes.iter().position(|known| *known == home) {
                Some(source) => source,
                None => {
                    let Some(source) = self.source(home, model, snapshot, remotes)? else {
                        // No snapshot is configured: the model answers tensors, and entities with all their features.
                        return Ok(None);
                    };
                    homes.push(home);
                    sources.push(source);
                    sources.len() - 1
                }
            };
            let column = match &sources[source] {
                Source::Table(table) => table.column(feature.column(), feature.kind),
                Source::Remote(remote, _) => {
                    let group = self.group(&remote.name, feature);
                    let same = |field: &Field| is_field(field, feature, group.as_deref());
                    remote.layout.fields.iter().position(same)
                }
            };
            let column = column
                .ok_or_else(|| format!("the snapshot in memory has no column `{}`", feature.column()))?;
            columns[slot] = Some(ColumnRef { source, column });
        }
        Ok((!sources.is_empty()).then(|| Plan::new(model, sources, &columns)))
    }

    fn source(
        &self,
        home: FeatureHome<'_>,
        model: &ModelVersion,
        snapshot: Option<&Arc<Snapshot>>,
        remotes: &[Arc<RemoteSource>],
    ) -> Result<Option<Source>, String> {
        match home {
            FeatureHome::Snapshot => match snapshot {
                Some(snapshot) if snapshot.entity() != model.entity() => {
                    let (held, wanted) = (snapshot.entity(), model.entity());
                    Err(format!(
                        "the snapshot has ids of `{held}`, as another model needs, not of `{wanted}`"
                    ))
                }
                snapshot => Ok(snapshot.cloned().map(Source::Table)),
            },
            FeatureHome::Remote(name) => {
                let same = |remote: &&Arc<RemoteSource>| {
                    remote.name == name && remote.layout.entity == model.entity()
                };
                let remote = remotes.iter().find(same);
                let remote = remote.ok_or_else(|| format!("[source.{name}] was not bound"))?;
                let on_failure = self.remote[name].section.on_failure;
                Ok(Some(Source::Remote(remote.clone(), on_failure)))
            }
        }
    }
}

/// The slots of a model that are stored somewhere.
fn stored(model: &ModelVersion) -> impl Iterator<Item = (usize, &FeatureContract)> {
    model
        .slots()
        .enumerate()
        .filter(|&(slot, _)| model.is_stored(slot))
}
