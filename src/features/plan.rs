//! The plan of a model: where each value of its row comes from. Computed once, when a model, a snapshot or a store changes.

use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;

use super::layout::Vector;
use super::remote::{Lookup, RemoteSource};
use super::snapshot::Snapshot;
use crate::config::source::OnFailure;
use crate::models::ModelVersion;
use crate::spans::RequestSpan;
use crate::values::entity_id::EntityId;
use crate::values::feature_type::FeatureType;
use crate::values::slot_value::SlotValue;

/// A source of a model.
#[derive(Clone, Debug)]
pub enum Source {
    /// A table in memory.
    Table(Arc<Snapshot>),
    /// A store, and what happens while it is unavailable.
    Remote(Arc<RemoteSource>, OnFailure),
}

/// The sources of a model, and the binding of each slot.
#[derive(Debug)]
pub struct Plan {
    sources: Vec<Source>,
    /// By slot of the model; `None` for derived inputs.
    bindings: Vec<Option<SlotBinding>>,
}

/// The source and column of a slot.
#[derive(Debug)]
struct SlotBinding {
    source: usize,
    /// The column of a table, or the field of a layout.
    column: usize,
    /// For a category: the model's code for each code of the source; NaN for one unknown to the model.
    codes: Option<Vec<f64>>,
    /// The age in seconds from which a value is stale, by the contract.
    max_age: Option<f64>,
}

/// The position of a source in a plan, and of a column in the source.
#[derive(Clone, Copy, Debug)]
pub(super) struct ColumnRef {
    pub(super) source: usize,
    pub(super) column: usize,
}

/// What the remote sources returned for the entities of one request.
#[derive(Debug, Default)]
pub struct FetchedFeatures {
    /// By source of the plan; empty for tables.
    sources: Vec<SourceLookup>,
    /// By entity of the request, its position among the ids that were looked up; `None` for an entity without an id.
    positions: Vec<Option<usize>>,
}

/// What one remote source returned.
#[derive(Debug, Default)]
struct SourceLookup {
    /// By id.
    lookups: Vec<Lookup>,
    /// By group, the age in seconds from which its values are stale by the store's own rules.
    max_ages: Vec<Option<f64>>,
}

/// What the remote sources returned for one entity.
#[derive(Clone, Copy, Debug)]
pub struct EntityFetch<'a> {
    sources: &'a [SourceLookup],
    position: Option<usize>,
}

impl FetchedFeatures {
    /// What was fetched for the entity at this position of the request.
    pub fn entity(&self, position: usize) -> EntityFetch<'_> {
        EntityFetch {
            sources: &self.sources,
            position: self.positions.get(position).copied().flatten(),
        }
    }
}

impl<'a> EntityFetch<'a> {
    /// What the source at this position of the plan returned, and the ages from which its groups are stale.
    fn source(self, source: usize) -> (Option<&'a Lookup>, &'a [Option<f64>]) {
        let Some(fetched) = self.sources.get(source) else {
            return (None, &[]);
        };
        let lookup = self.position.and_then(|position| fetched.lookups.get(position));
        (lookup, &fetched.max_ages)
    }
}

/// What all sources hold for one entity.
#[derive(Debug)]
pub struct EntityRecord<'a> {
    plan: &'a Plan,
    parts: SmallVec<[RecordPart<'a>; 2]>,
}

#[derive(Clone, Copy, Debug)]
enum RecordPart<'a> {
    /// A row of a table, and its `as_of` time.
    Row(usize, Option<f64>),
    /// A vector of a store, and the ages from which its groups are stale.
    Vector(&'a Vector, &'a [Option<f64>]),
    Nothing,
}

/// The result of looking up an entity in all sources.
#[derive(Debug)]
pub enum EntityLookup<'a> {
    /// A source has the entity, or may have it.
    Record {
        /// The values.
        record: EntityRecord<'a>,
        /// The origin of the values.
        from: Origin,
        /// Names of the unavailable sources.
        unavailable: Vec<String>,
    },
    /// No source knows the entity.
    Unknown,
    /// A source with `on_failure = "reject"` is unavailable; its name.
    Unavailable(String),
}

/// The origin of the values of an entity; with several, the slowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A table in memory.
    Snapshot,
    /// The cache in front of a store.
    Cache,
    /// A store.
    Store,
}

impl Plan {
    pub(super) fn new(model: &ModelVersion, sources: Vec<Source>, columns: &[Option<ColumnRef>]) -> Self {
        let binding = |(slot, column_ref): (usize, &Option<ColumnRef>)| {
            let ColumnRef { source, column } = (*column_ref)?;
            let categories = match &sources[source] {
                Source::Table(table) => table.dictionary(column),
                Source::Remote(remote, _) => &remote.layout.fields[column].categories,
            };
            let code = |text: &String| model.slot_code(slot, text).unwrap_or(f64::NAN);
            let contract = model.slot(slot)?;
            let category = contract.kind == FeatureType::Category;
            let codes = category.then(|| categories.iter().map(code).collect());
            Some(SlotBinding {
                source,
                column,
                codes,
                max_age: contract.max_age_duration.map(|limit| limit.as_secs_f64()),
            })
        };
        let bindings = columns.iter().enumerate().map(binding).collect();
        Self { sources, bindings }
    }

    /// Whether any value comes from a remote store.
    pub fn is_remote(&self) -> bool {
        self.sources
            .iter()
            .any(|source| matches!(source, Source::Remote(..)))
    }

    /// The table that every stored value comes from; `None` if a store has some of them, as its customers cannot be listed.
    pub fn table(&self) -> Option<&Arc<Snapshot>> {
        match self.sources.as_slice() {
            [Source::Table(table)] => Some(table),
            _ => None,
        }
    }

    /// What a row of [`Self::table`] holds; nothing if there is no such table.
    pub fn record(&self, row: usize) -> EntityRecord<'_> {
        let part = match self.table() {
            Some(table) => RecordPart::Row(row, table.as_of(row)),
            None => RecordPart::Nothing,
        };
        EntityRecord {
            plan: self,
            parts: self.sources.iter().map(|_| part).collect(),
        }
    }

    /// Looks up the entities of a request in all remote sources at once; `None` for an entity without an id. `now` is in
    /// seconds since the Unix epoch. Returns by `deadline`. Each source is a part of `span`.
    pub async fn fetch(
        &self,
        entities: impl Iterator<Item = Option<&EntityId>>,
        now: f64,
        deadline: Option<Instant>,
        span: &RequestSpan,
    ) -> FetchedFeatures {
        let mut ids = Vec::new();
        let mut position = |id: Option<&EntityId>| {
            ids.push(id?.canonical());
            Some(ids.len() - 1)
        };
        let positions = entities.map(&mut position).collect();
        let ids = &ids;
        let lookups = self.sources.iter().map(|source| async move {
            match source {
                Source::Table(_) => SourceLookup::default(),
                Source::Remote(remote, _) => {
                    let part = span.part("features");
                    part.set("evergreen.source", &remote.name);
                    part.set("evergreen.entities", ids.len());
                    SourceLookup {
                        lookups: remote.get(ids, now, deadline).await,
                        max_ages: remote.max_ages(),
                    }
                }
            }
        });
        FetchedFeatures {
            sources: futures_util::future::join_all(lookups).await,
            positions,
        }
    }

    /// Combines what all sources hold for the entity `id`; `fetch` is what the remote ones returned for it.
    pub fn find<'a>(&'a self, id: &EntityId, fetch: EntityFetch<'a>) -> EntityLookup<'a> {
        let mut parts = SmallVec::with_capacity(self.sources.len());
        let mut unavailable = Vec::new();
        let mut from = None;
        for (number, source) in self.sources.iter().enumerate() {
            let (lookup, max_ages) = fetch.source(number);
            let part = match (source, lookup) {
                (Source::Table(table), _) => table
                    .find(id.as_ref())
                    .map(|row| (RecordPart::Row(row, table.as_of(row)), Origin::Snapshot)),
                (Source::Remote(..), Some(Lookup::Vector(vector, cached))) => {
                    let origin = if *cached { Origin::Cache } else { Origin::Store };
                    Some((RecordPart::Vector(vector, max_ages), origin))
                }
                (Source::Remote(..), Some(Lookup::Unknown)) => None,
                (Source::Remote(remote, OnFailure::Degrade), _) => {
                    unavailable.push(remote.name.clone());
                    Some((RecordPart::Nothing, Origin::Store))
                }
                (Source::Remote(remote, OnFailure::Reject), _) => {
                    return EntityLookup::Unavailable(remote.name.clone());
                }
            };
            from = from.max(part.map(|(_, origin)| origin));
            parts.push(part.map_or(RecordPart::Nothing, |(part, _)| part));
        }
        let Some(from) = from else {
            return EntityLookup::Unknown;
        };
        EntityLookup::Record {
            record: EntityRecord { plan: self, parts },
            from,
            unavailable,
        }
    }
}

impl EntityRecord<'_> {
    /// The value of a slot, and whether it is stale at the time `now`, by the contract's limit or the store's own rules.
    pub fn get(&self, slot: usize, now: f64) -> (SlotValue, bool) {
        let Some(Some(binding)) = self.plan.bindings.get(slot) else {
            return (SlotValue::Absent, false);
        };
        let old = |as_of: f64, limit: Option<f64>| limit.is_some_and(|limit| now - as_of > limit);
        let (found, stale) = match (&self.plan.sources[binding.source], self.parts[binding.source]) {
            (Source::Table(table), RecordPart::Row(row, as_of)) => {
                let value = table.value(row, binding.column);
                let found = if value.is_nan() {
                    SlotValue::Null
                } else {
                    SlotValue::Value(value)
                };
                (found, as_of.is_some_and(|as_of| old(as_of, binding.max_age)))
            }
            (Source::Remote(remote, _), RecordPart::Vector(vector, max_ages)) => {
                let group = remote.layout.group_of(binding.column);
                let own = max_ages.get(group).copied().flatten();
                let stale = (binding.max_age.is_some() || own.is_some()) && {
                    let as_of = since(vector, group);
                    old(as_of, binding.max_age) || old(as_of, own)
                };
                (vector.get(&remote.layout, binding.column), stale)
            }
            _ => (SlotValue::Absent, false),
        };
        (binding.translate(found), stale)
    }

    /// The `as_of` time of a slot, in seconds since the Unix epoch.
    pub fn slot_as_of(&self, slot: usize) -> Option<f64> {
        let binding = self.plan.bindings.get(slot)?.as_ref()?;
        match (&self.plan.sources[binding.source], self.parts[binding.source]) {
            (Source::Table(_), RecordPart::Row(_, as_of)) => as_of,
            (Source::Remote(remote, _), RecordPart::Vector(vector, _)) => {
                Some(since(vector, remote.layout.group_of(binding.column)))
            }
            _ => None,
        }
    }

    /// By slot, the time of [`Self::slot_as_of`], NaN without one. Empty, which costs nothing, if the time of every stored value
    /// is that of [`Self::as_of`].
    pub fn slot_times(&self) -> Vec<f64> {
        if self.plan.table().is_some() {
            return Vec::new();
        }
        let as_of = self.as_of();
        let mut stored = (0..self.plan.bindings.len()).filter(|&slot| self.plan.bindings[slot].is_some());
        if stored.all(|slot| self.slot_as_of(slot) == as_of) {
            return Vec::new();
        }
        let slots = 0..self.plan.bindings.len();
        slots
            .map(|slot| self.slot_as_of(slot).unwrap_or(f64::NAN))
            .collect()
    }

    /// The oldest `as_of` time of all sources.
    pub fn as_of(&self) -> Option<f64> {
        let parts = self.parts.iter().zip(&self.plan.sources);
        let instants = parts.filter_map(|(part, source)| match (*part, source) {
            (RecordPart::Row(_, as_of), _) => as_of,
            (RecordPart::Vector(vector, _), Source::Remote(remote, _)) => {
                let groups = 0..remote.layout.groups.len();
                groups
                    .filter_map(|group| vector.as_of(group))
                    .min_by(f64::total_cmp)
            }
            _ => None,
        });
        instants.min_by(f64::total_cmp)
    }
}

/// The `as_of` time of a group. Without one it is the fetch time: the values are at least that old.
fn since(vector: &Vector, group: usize) -> f64 {
    vector.as_of(group).unwrap_or_else(|| vector.fetched())
}

impl SlotBinding {
    /// Translates the code of the source to the code of the model.
    fn translate(&self, found: SlotValue) -> SlotValue {
        let (Some(codes), SlotValue::Value(value)) = (&self.codes, found) else {
            return found;
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a position in a list"
        )]
        let code = codes.get(value as usize).copied().unwrap_or(f64::NAN);
        if code.is_nan() {
            SlotValue::UnknownCategory
        } else {
            SlotValue::Value(code)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::features::metrics::FeatureMetrics;
    use crate::features::sources::Sources;
    use crate::metrics::Registry;
    use crate::models::contract::FeatureContract;
    use crate::models::sample;
    use crate::values::slot_value::SlotValue;

    /// The sample model and its plan over a table with these rows (CSV without the header's missing columns).
    fn plan(rows: &str) -> (ModelVersion, Arc<Plan>) {
        let version = sample::version(1);
        let names: Vec<&str> = version.slots().map(FeatureContract::column).collect();
        let blank = ",".repeat(names.len());
        let mut text = format!("{},as_of,{}\n", version.entity(), names.join(","));
        for row in rows.lines() {
            text.push_str(&format!("{row}{blank}\n"));
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("customers.csv");
        std::fs::write(&path, text).unwrap();
        let metrics = FeatureMetrics::new(&Registry::default()).unwrap();
        let sources = Sources::new(&Config::default(), metrics).unwrap();
        let spec = sources.snapshot_spec([&version], Some("as_of")).unwrap();
        let snapshot = Arc::new(Snapshot::load(&path, &spec, &mut |_| {}).unwrap());
        let plan = sources.plan(&[&version], Some(&snapshot)).pop().unwrap().unwrap();
        (version, Arc::new(plan.unwrap()))
    }

    #[test]
    fn a_table_answers_for_its_ids_and_no_others() {
        let (version, plan) = plan("C-1,2026-11-21T03:00:00Z\nC-2,");
        assert!(!plan.is_remote());
        let fetched = FetchedFeatures::default();
        let find = |id: &str| plan.find(&EntityId::Text(id.to_owned()), fetched.entity(0));
        let EntityLookup::Record {
            record,
            from,
            unavailable,
        } = find("C-1")
        else {
            panic!("C-1 is in the table");
        };
        assert_eq!((from, unavailable.len()), (Origin::Snapshot, 0));
        assert_eq!(record.as_of(), Some(1_795_230_000.0));
        let slots = 0..version.slots().count();
        let stored = slots.filter(|&slot| version.is_stored(slot));
        for slot in stored {
            assert_eq!(
                record.get(slot, 1_795_230_000.0).0,
                SlotValue::Null,
                "slot {slot}"
            );
        }
        assert!(matches!(find("C-3"), EntityLookup::Unknown));
    }

    #[test]
    fn values_are_stale_after_their_max_age_only() {
        let (_, mut plan) = plan("C-1,2026-11-21T03:00:00Z");
        let (as_of, limit) = (1_795_230_000.0, 60.0);
        let bindings = &mut Arc::get_mut(&mut plan).unwrap().bindings;
        let slot = bindings.iter().position(Option::is_some).unwrap();
        bindings[slot].as_mut().unwrap().max_age = Some(limit);
        let id = EntityId::Text("C-1".to_owned());
        let fetched = FetchedFeatures::default();
        let EntityLookup::Record { record, .. } = plan.find(&id, fetched.entity(0)) else {
            panic!("C-1 is in the table");
        };
        assert!(!record.get(slot, as_of + limit).1);
        assert!(record.get(slot, as_of + limit + 1.0).1);
        assert!(
            !record.get(slot + 1, as_of + 1e9).1,
            "without a limit nothing is stale"
        );
    }

    #[test]
    fn what_was_fetched_belongs_to_its_entity_whatever_has_no_id() {
        let lookups = vec![Lookup::Unknown, Lookup::Failed];
        let fetched = FetchedFeatures {
            sources: vec![SourceLookup {
                lookups,
                max_ages: Vec::new(),
            }],
            positions: vec![None, Some(0), None, Some(1)],
        };
        let of = |position: usize| fetched.entity(position).source(0).0;
        assert!(of(0).is_none() && of(2).is_none() && of(9).is_none());
        assert!(matches!(of(1), Some(Lookup::Unknown)) && matches!(of(3), Some(Lookup::Failed)));
    }
}
