//! Opens the store of a section. Clients for Redis and PostgreSQL are features of the build.

use crate::config::source::{PostgresSection, RedisSection, SourceSection};
use crate::features::feast::FeastStore;
use crate::features::store_client::StoreClient;

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
