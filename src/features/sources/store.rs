//! The kinds of feature stores behind one trait. Clients for Redis and PostgreSQL are features of the build.

use std::fmt::Debug;
use std::sync::Arc;

use crate::config::source::{PostgresSection, RedisSection, SourceSection};
use crate::features::feast::FeastStore;
use crate::features::layout::Layout;
use crate::features::source::FeatureSource;
use crate::models::contract::FeatureContract;

/// A store as the settings describe it, before the models say what they need of it.
pub(in crate::features) trait StoreClient: Debug + Send + Sync {
    /// Checks that the store can have a feature of the `entity`.
    ///
    /// # Errors
    /// It cannot; the message says why.
    fn check(&self, feature: &FeatureContract, entity: &str) -> Result<(), String>;

    /// Checks that the store can have all fields of a layout together.
    ///
    /// # Errors
    /// It cannot; the message says why.
    fn check_all(&self, _layout: &Layout) -> Result<(), String> {
        Ok(())
    }

    /// Binds the store to a layout.
    ///
    /// # Errors
    /// The store lacks a field of the layout.
    fn bind(&self, layout: Arc<Layout>) -> Result<Arc<dyn FeatureSource>, String>;

    /// The group of a feature: what the contract says, or what the store knows.
    fn group(&self, feature: &FeatureContract) -> Option<String> {
        feature.group().map(str::to_owned)
    }
}

/// Prepares the store of a section. Files that the settings name are read, but nothing is connected yet.
///
/// # Errors
/// A setting or a file is not valid, or the build lacks the client.
pub(super) fn open(section: &SourceSection) -> Result<Box<dyn StoreClient>, String> {
    if let Some(section) = &section.redis {
        return redis(section);
    }
    if let Some(section) = &section.postgres {
        return postgres(section);
    }
    match &section.feast {
        Some(feast) => Ok(Box::new(FeastStore::new(feast)?)),
        None => Err("set exactly one of the tables redis, feast and postgres".to_owned()),
    }
}

#[cfg(feature = "redis")]
fn redis(section: &RedisSection) -> Result<Box<dyn StoreClient>, String> {
    Ok(Box::new(crate::features::redis::RedisStore::new(section)?))
}

#[cfg(not(feature = "redis"))]
fn redis(_: &RedisSection) -> Result<Box<dyn StoreClient>, String> {
    Err(crate::features::not_built("redis", "Redis"))
}

#[cfg(feature = "postgres")]
fn postgres(section: &PostgresSection) -> Result<Box<dyn StoreClient>, String> {
    Ok(Box::new(crate::features::postgres::PostgresStore::new(section)?))
}

#[cfg(not(feature = "postgres"))]
fn postgres(_: &PostgresSection) -> Result<Box<dyn StoreClient>, String> {
    Err(crate::features::not_built("postgres", "PostgreSQL"))
}
