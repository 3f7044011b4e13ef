//! Cache warming: fetches the ids that were cached at the end of the last run, before the server is ready. A full cache holds
//! the entities used most, because moka keeps those.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::remote::RemoteSource;
use super::source::BULK_FROM;
use super::sources::Sources;
use crate::files;
use crate::values::entity_id::EntityId;
use crate::values::time;

/// Maximum ids per source.
const MOST: usize = 100_000;

/// The file: a list of ids by source. Integer ids are numbers, others are texts.
type CachedIds = BTreeMap<String, Vec<serde_json::Value>>;

/// Writes the ids in the caches to `path`, atomically.
///
/// # Errors
/// The file cannot be written.
pub fn save(sources: &Sources, path: &Path) -> Result<usize, String> {
    let mut ids = CachedIds::new();
    for remote in sources.remotes() {
        let list = ids.entry(remote.name.clone()).or_default();
        list.extend(remote.cached_ids(MOST).into_iter().map(|id| match id {
            EntityId::Int(id) => id.into(),
            EntityId::Text(id) => id.into(),
        }));
    }
    let fail = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = serde_json::to_vec(&ids).map_err(|error| fail(&error))?;
    let beside = path.with_extension("partial");
    std::fs::write(&beside, text).map_err(|error| fail(&error))?;
    std::fs::rename(&beside, path).map_err(|error| fail(&error))?;
    Ok(ids.values().map(Vec::len).sum())
}

/// Fetches the ids of the file at `path` into the caches, for at most `within`. Returns the number of fetched entities.
///
/// # Errors
/// The file exists but cannot be read.
pub async fn load(sources: &Sources, path: &Path, within: Duration) -> Result<usize, String> {
    let fail = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = match files::read(path, files::LISTS) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(fail(&error)),
    };
    let ids: CachedIds = serde_json::from_slice(&text).map_err(|error| fail(&error))?;
    let until = Instant::now() + within;
    let mut fetched = 0;
    for remote in sources.remotes() {
        for some in ids
            .get(&remote.name)
            .map_or(&[][..], Vec::as_slice)
            .chunks(BULK_FROM)
        {
            if Instant::now() >= until {
                return Ok(fetched);
            }
            fetched += fetch(&remote, some, until).await;
        }
    }
    Ok(fetched)
}

async fn fetch(remote: &Arc<RemoteSource>, ids: &[serde_json::Value], until: Instant) -> usize {
    let ids = ids.iter().filter_map(|id| match id {
        serde_json::Value::String(id) => Some(EntityId::Text(id.clone())),
        id => id.as_i64().map(EntityId::Int),
    });
    let ids: Vec<EntityId> = ids.collect();
    let held = remote.get(&ids, time::now(), Some(until)).await;
    held.iter()
        .filter(|held| matches!(held, super::remote::Lookup::Vector(..)))
        .count()
}
