//! Checks whether the store of outcomes can be used, for `evergreen doctor`. Nothing in it is changed.

use std::time::Duration;

use super::files;
use crate::config::OutcomesSection;

/// A store that can be used.
#[derive(Debug)]
pub struct ProbedOutcomes {
    /// What it is and has, in words.
    pub store: String,
    /// How long a write to the disk, or a round trip to the database, takes.
    pub latency: Duration,
    /// What may be in the way soon.
    pub warning: Option<String>,
}

/// Checks the store that the settings name, for at most `timeout` if it is a database; `None` if they name none.
pub async fn probe(section: &OutcomesSection, timeout: Duration) -> Option<Result<ProbedOutcomes, String>> {
    if let Some(postgres) = &section.postgres {
        let answer = tokio::time::timeout(timeout, probe_postgres(postgres, section.score_days)).await;
        return Some(answer.unwrap_or_else(|_| Err(format!("no answer within {} s", timeout.as_secs()))));
    }
    if section.folder.as_os_str().is_empty() {
        return None;
    }
    let folder = section.folder.display();
    Some(files::probe::probe(section).map_err(|error| format!("{folder}: {error}")))
}

#[cfg(feature = "postgres")]
async fn probe_postgres(
    section: &crate::config::outcomes::OutcomesPostgres,
    days: u32,
) -> Result<ProbedOutcomes, String> {
    super::postgres::PostgresStore::new(section, days)?
        .probe(&section.schema)
        .await
}

#[cfg(not(feature = "postgres"))]
async fn probe_postgres(
    _: &crate::config::outcomes::OutcomesPostgres,
    _: u32,
) -> Result<ProbedOutcomes, String> {
    Err(crate::features::not_built("postgres", "PostgreSQL"))
}
