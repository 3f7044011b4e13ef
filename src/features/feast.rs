//! Features in a Feast online store. Redis, PostgreSQL and SQLite are read directly; any other store is read through
//! Feast's HTTP feature server.

mod bytes;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
mod registry;
mod server;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::layout::{Layout, Vector, VectorBuilder};
use super::source::{FeatureSource, Lane, SourceError};
use crate::config::source::{FeastPostgres, FeastSection, RedisConnection};
use crate::features::store_client::StoreClient;
use crate::models::contract::FeatureContract;
use crate::values::entity_id::EntityId;
use crate::values::time::now;
use bytes::{KeyType, KeyWriter, Value};
use registry::{FeastRegistry, RegistryFile};

/// A Feast online store.
#[derive(Clone, Debug)]
pub struct FeastStore {
    section: Arc<FeastSection>,
    registry: Arc<RegistryFile>,
    online: Arc<OnlineStore>,
}

/// The online store behind Feast.
#[derive(Debug)]
enum OnlineStore {
    #[cfg(feature = "redis")]
    Redis(redis::FeastRedis),
    #[cfg(feature = "postgres")]
    Postgres(postgres::FeastPostgresStore),
    #[cfg(feature = "sqlite")]
    Sqlite(sqlite::FeastSqlite),
    Server(server::FeatureServer),
}

/// A store bound to a layout.
#[derive(Debug)]
struct FeastSource {
    store: FeastStore,
    layout: Arc<Layout>,
    /// Rebuilt when the registry file changes.
    wanted: ArcSwap<FeastQuery>,
}

/// The query for a layout, in Feast's terms.
#[derive(Debug)]
struct FeastQuery {
    project: String,
    keys: KeyWriter,
    entity: String,
    views: Vec<QueryView>,
}

/// A feature view of the query.
#[derive(Debug)]
struct QueryView {
    name: String,
    /// Its features and their fields in the layout.
    features: Vec<(String, usize)>,
    /// The groups of the layout that its `as_of` times belong to.
    groups: Vec<usize>,
    max_age: Option<f64>,
}

impl FeastStore {
    /// Prepares a store: reads the registry, but does not connect yet.
    ///
    /// # Errors
    /// The registry file cannot be read, or the store's address or certificate.
    pub fn new(section: &FeastSection) -> Result<Self, String> {
        Ok(Self {
            section: Arc::new(section.clone()),
            registry: Arc::new(RegistryFile::open(&section.registry)?),
            online: Arc::new(OnlineStore::new(section)?),
        })
    }
}

impl StoreClient for FeastStore {
    fn check(&self, feature: &FeatureContract, entity: &str) -> Result<(), String> {
        let registry = self.registry.current();
        let view = registry.find(feature.group(), feature.column(), &self.section.service)?;
        KeyType::of(registry.key_type(view, entity)?).map(|_| ())
    }

    fn check_all(&self, layout: &Layout) -> Result<(), String> {
        FeastQuery::new(&self.registry.current(), &self.section, layout).map(|_| ())
    }

    /// Binds the store to a layout, and follows changes of the registry file from then on.
    fn bind(&self, layout: Arc<Layout>) -> Result<Arc<dyn FeatureSource>, String> {
        let registry = self.registry.current();
        let wanted = FeastQuery::new(&registry, &self.section, &layout)?;
        let bound = Arc::new(FeastSource {
            store: self.clone(),
            layout,
            wanted: ArcSwap::from_pointee(wanted),
        });
        tokio::spawn(follow(Arc::downgrade(&bound), registry));
        Ok(bound)
    }

    fn group(&self, feature: &FeatureContract) -> Option<String> {
        let registry = self.registry.current();
        let view = registry.find(feature.group(), feature.column(), &self.section.service);
        view.ok().map(|view| view.name.clone())
    }
}

impl OnlineStore {
    fn new(section: &FeastSection) -> Result<Self, String> {
        if let Some(section) = &section.redis {
            return Self::redis(section);
        }
        if let Some(section) = &section.postgres {
            return Self::postgres(section);
        }
        if let Some(path) = &section.sqlite {
            return Self::sqlite(path);
        }
        server::FeatureServer::new(section.server.as_deref().unwrap_or_default()).map(Self::Server)
    }

    #[cfg(feature = "redis")]
    fn redis(section: &RedisConnection) -> Result<Self, String> {
        redis::FeastRedis::new(section).map(Self::Redis)
    }

    #[cfg(not(feature = "redis"))]
    fn redis(_: &RedisConnection) -> Result<Self, String> {
        Err(super::not_built("redis", "Redis"))
    }

    #[cfg(feature = "postgres")]
    fn postgres(section: &FeastPostgres) -> Result<Self, String> {
        postgres::FeastPostgresStore::new(section).map(Self::Postgres)
    }

    #[cfg(not(feature = "postgres"))]
    fn postgres(_: &FeastPostgres) -> Result<Self, String> {
        Err(super::not_built("postgres", "PostgreSQL"))
    }

    #[cfg(feature = "sqlite")]
    fn sqlite(path: &Path) -> Result<Self, String> {
        Ok(Self::Sqlite(sqlite::FeastSqlite::new(path)))
    }

    #[cfg(not(feature = "sqlite"))]
    fn sqlite(path: &Path) -> Result<Self, String> {
        let path = path.display();
        Err(format!(
            "feast.sqlite {path}: {}",
            super::not_built("sqlite", "SQLite")
        ))
    }
}

impl FeatureSource for FeastSource {
    fn fetch<'a>(
        &'a self,
        ids: &'a [EntityId],
        lane: Lane,
    ) -> BoxFuture<'a, Result<Vec<Vector>, SourceError>> {
        async move {
            let wanted = self.wanted.load_full();
            let fetch_request = FeastFetch {
                wanted: &wanted,
                layout: &self.layout,
                ids,
                lane,
            };
            match &*self.store.online {
                #[cfg(feature = "redis")]
                OnlineStore::Redis(store) => store.fetch(fetch_request).await,
                #[cfg(feature = "postgres")]
                OnlineStore::Postgres(store) => store.fetch(fetch_request).await,
                #[cfg(feature = "sqlite")]
                OnlineStore::Sqlite(store) => store.fetch(fetch_request).await,
                OnlineStore::Server(store) => store.fetch(fetch_request).await,
            }
        }
        .boxed()
    }

    fn max_age(&self, group: usize) -> Option<f64> {
        let wanted = self.wanted.load();
        let views = wanted.views.iter().filter(|view| view.groups.contains(&group));
        views.filter_map(|view| view.max_age).min_by(f64::total_cmp)
    }
}

/// One fetch from one of the stores.
#[derive(Clone, Copy)]
struct FeastFetch<'a> {
    wanted: &'a FeastQuery,
    layout: &'a Layout,
    ids: &'a [EntityId],
    lane: Lane,
}

impl FeastQuery {
    fn new(registry: &FeastRegistry, section: &FeastSection, layout: &Layout) -> Result<Self, String> {
        let mut views: Vec<QueryView> = Vec::new();
        let mut kind = None;
        for (position, field) in layout.fields.iter().enumerate() {
            let spec = registry.find(field.group.as_deref(), &field.column, &section.service)?;
            let found = KeyType::of(registry.key_type(spec, &layout.entity)?)?;
            if *kind.get_or_insert(found) != found {
                return Err(format!(
                    "feature view `{}`: its `{}` has another type than in the other views",
                    spec.name, layout.entity
                ));
            }
            let known = views.iter().position(|view| view.name == spec.name);
            let view = known.unwrap_or_else(|| {
                views.push(QueryView {
                    name: spec.name.clone(),
                    features: Vec::new(),
                    groups: Vec::new(),
                    max_age: spec.max_age(),
                });
                views.len() - 1
            });
            views[view].features.push((field.column.clone(), position));
            let group = layout.group_of(position);
            if !views[view].groups.contains(&group) {
                views[view].groups.push(group);
            }
        }
        let kind = kind.unwrap_or(KeyType::Text);
        Ok(Self {
            project: section.project.clone(),
            keys: KeyWriter::new(&layout.entity, kind, section.key_version),
            entity: layout.entity.clone(),
            views,
        })
    }

    /// An id as JSON, in the type of the keys.
    fn json(&self, id: &EntityId) -> serde_json::Value {
        match id {
            EntityId::Int(id) if self.keys.is_whole() => (*id).into(),
            id => id.to_string().into(),
        }
    }

    /// The keys of entities; `None` for an id of another type than the keys.
    fn keys(&self, ids: &[EntityId]) -> Vec<Option<Vec<u8>>> {
        ids.iter().map(|id| self.keys.write(id)).collect()
    }
}

impl QueryView {
    /// Sets a field from a serialized value.
    fn set(builder: &mut VectorBuilder<'_>, field: usize, bytes: &[u8]) {
        let value = Value::read(bytes);
        match value.as_ref().map_err(Clone::clone).and_then(Value::cell) {
            Ok(cell) => builder.set(field, cell),
            Err(reason) => builder.mark_invalid(field, &reason),
        }
    }

    /// Sets the `as_of` time of the view's groups.
    fn as_of(&self, builder: &mut VectorBuilder<'_>, seconds: f64) {
        self.groups
            .iter()
            .for_each(|&group| builder.as_of_oldest(group, seconds));
    }
}

/// Follows changes of the registry file while the source is in use. A registry that lacks something is ignored.
async fn follow(bound: Weak<FeastSource>, mut last: Arc<FeastRegistry>) {
    loop {
        let Some(seconds) = bound.upgrade().map(|bound| bound.store.section.registry_seconds) else {
            return;
        };
        tokio::time::sleep(Duration::from_secs(seconds.max(1))).await;
        let Some(bound) = bound.upgrade() else { return };
        let registry = bound.store.registry.current();
        if Arc::ptr_eq(&registry, &last) {
            continue;
        }
        match FeastQuery::new(&registry, &bound.store.section, &bound.layout) {
            Ok(wanted) => {
                bound.wanted.store(Arc::new(wanted));
                tracing::info!("Feast registry reloaded");
            }
            Err(error) => tracing::error!(error, "Feast registry reload failed, keeping the previous one"),
        }
        last = registry;
    }
}

/// Builds the vectors of one fetch from rows in any order.
struct VectorBuilders<'a> {
    fetch_request: FeastFetch<'a>,
    now: f64,
    /// With a seeded hasher, as clients choose the ids.
    positions: HashMap<Vec<u8>, usize>,
    builders: Vec<Option<VectorBuilder<'a>>>,
}

impl<'a> VectorBuilders<'a> {
    fn new(fetch_request: FeastFetch<'a>, keys: &[Option<Vec<u8>>]) -> Self {
        let positions = keys
            .iter()
            .enumerate()
            .filter_map(|(at, key)| Some((key.clone()?, at)));
        Self {
            fetch_request,
            now: now(),
            positions: positions.collect(),
            builders: keys.iter().map(|_| None).collect(),
        }
    }

    /// Sets a feature of a view and its `as_of` time.
    fn put(&mut self, view: &QueryView, key: &[u8], feature: &str, value: &[u8], seconds: Option<f64>) {
        // Skip features not requested or no longer in the view.
        let requested = view.features.iter().find(|(name, _)| name == feature);
        let (Some(&position), Some((_, field))) = (self.positions.get(key), requested) else {
            return;
        };
        let builder =
            self.builders[position].get_or_insert_with(|| self.fetch_request.layout.builder(self.now));
        QueryView::set(builder, *field, value);
        if let Some(seconds) = seconds {
            view.as_of(builder, seconds);
        }
    }

    fn finish(self) -> Vec<Vector> {
        finish(self.builders)
    }
}

/// Finishes vectors; an entity without any value is unknown.
fn finish(builders: Vec<Option<VectorBuilder<'_>>>) -> Vec<Vector> {
    let now = now();
    let finished = builders
        .into_iter()
        .map(|builder| builder.map_or_else(|| Layout::unknown(now), VectorBuilder::finish));
    finished.collect()
}
