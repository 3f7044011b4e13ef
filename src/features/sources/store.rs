//! The kinds of remote stores.

use std::sync::Arc;

use crate::config::source::SourceSection;
use crate::features::feast::FeastStore;
use crate::features::layout::Layout;
use crate::features::postgres::PostgresStore;
use crate::features::redis::RedisStore;
use crate::features::source::FeatureSource;
use crate::models::contract::FeatureContract;

/// A store as the settings describe it, before it is known what is wanted from it.
#[derive(Debug)]
pub(super) enum StoreClient {
    Redis(RedisStore),
    Postgres(PostgresStore),
    Feast(FeastStore),
}

impl StoreClient {
    /// Prepares a store: nothing is connected yet, but files that are named are read.
    ///
    /// # Errors
    /// Says what is wrong with the settings or the files.
    pub(super) fn new(section: &SourceSection) -> Result<Self, String> {
        if let Some(redis) = &section.redis {
            return RedisStore::new(redis).map(Self::Redis);
        }
        if let Some(postgres) = &section.postgres {
            return PostgresStore::new(postgres).map(Self::Postgres);
        }
        match &section.feast {
            Some(feast) => FeastStore::new(feast).map(Self::Feast),
            None => Err("needs one of the tables redis, feast, postgres".to_owned()),
        }
    }

    /// Whether the store can have a feature at all.
    pub(super) fn check(&self, feature: &FeatureContract, entity: &str) -> Result<(), String> {
        match self {
            Self::Redis(store) => store.check(feature),
            Self::Postgres(_) => Ok(()),
            Self::Feast(store) => store.check(feature, entity),
        }
    }

    /// Whether the store can have all of it together.
    pub(super) fn check_all(&self, layout: &Layout) -> Result<(), String> {
        match self {
            Self::Redis(_) | Self::Postgres(_) => Ok(()),
            Self::Feast(store) => store.check_all(layout),
        }
    }

    pub(super) fn bind(&self, layout: Arc<Layout>) -> Result<Arc<dyn FeatureSource>, String> {
        match self {
            Self::Redis(store) => store.bind(layout),
            Self::Postgres(store) => Ok(store.bind(layout)),
            Self::Feast(store) => store.bind(layout),
        }
    }

    /// The group that it keeps a feature in: what the contract says, or what the store knows.
    pub(super) fn group(&self, feature: &FeatureContract) -> Option<String> {
        match self {
            Self::Feast(store) => store.view(feature),
            Self::Redis(_) | Self::Postgres(_) => feature.group().map(str::to_owned),
        }
    }
}
