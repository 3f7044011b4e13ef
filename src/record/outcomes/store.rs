//! Where outcomes and scores are kept: a folder of this server, or PostgreSQL for several servers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::files::FileStore;
use super::interface::{AFTER_OUTAGE, Recorded, ScoreVisitor, StoreError};
use super::metrics::OutcomeMetrics;
#[cfg(feature = "postgres")]
use super::postgres::PostgresStore;
use super::{LastContact, OutcomeRecord, ScoreRecord};
use crate::config::OutcomesSection;
use crate::error::Error;
use crate::work::off_thread;

/// The store of outcomes and scores. Clones share it.
#[derive(Clone, Debug)]
pub struct OutcomeStore(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Files {
        store: Arc<FileStore>,
        /// Writers wait here, not on threads.
        turn: Arc<tokio::sync::Mutex<()>>,
    },
    #[cfg(feature = "postgres")]
    Postgres(Arc<PostgresStore>),
}

/// Longest wait for earlier requests, which a disk that hangs holds up.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

impl OutcomeStore {
    /// Opens the store that the settings name; `None` if they name none.
    ///
    /// # Errors
    /// The folder cannot be used, a setting is not valid, or the build lacks PostgreSQL.
    pub fn open(section: &OutcomesSection, metrics: &OutcomeMetrics) -> Result<Option<Self>, String> {
        if let Some(postgres) = &section.postgres {
            return open_postgres(postgres, section.score_days).map(Some);
        }
        if section.folder.as_os_str().is_empty() {
            return Ok(None);
        }
        let store = FileStore::open(section, metrics)?;
        Ok(Some(Self(Kind::Files {
            store: Arc::new(store),
            turn: Arc::default(),
        })))
    }

    /// Keeps records. When this returns, they outlive a crash.
    ///
    /// # Errors
    /// Nothing was kept.
    pub async fn record(&self, records: Vec<OutcomeRecord>) -> Result<Recorded, Error> {
        match &self.0 {
            Kind::Files { store, turn } => {
                let turn = tokio::time::timeout(LONGEST_WAIT, turn.clone().lock_owned()).await;
                let turn = turn.map_err(|_| {
                    let seconds = LONGEST_WAIT.as_secs();
                    StoreError::Unavailable(format!(
                        "the disk has not taken earlier outcomes within {seconds} s"
                    ))
                })?;
                let store = store.clone();
                // The turn ends with the work, also if the client has gone.
                let work = move || {
                    let recorded = store.record(&records);
                    drop(turn);
                    recorded
                };
                Ok(off_thread(work).await??)
            }
            #[cfg(feature = "postgres")]
            Kind::Postgres(store) => Ok(store.record(records).await?),
        }
    }

    /// Keeps scores, the first of each customer, version and period. Returns how many were new. Blocks.
    ///
    /// # Errors
    /// They were not kept.
    pub(super) fn write_scores(
        &self,
        scores: Vec<ScoreRecord>,
        #[cfg_attr(
            not(feature = "postgres"),
            expect(unused_variables, reason = "for PostgreSQL")
        )]
        runtime: &tokio::runtime::Handle,
    ) -> Result<usize, StoreError> {
        match &self.0 {
            Kind::Files { store, .. } => store.write_scores(&scores),
            #[cfg(feature = "postgres")]
            Kind::Postgres(store) => runtime.block_on(store.write_scores(scores)),
        }
    }

    /// Waits until written scores are on the disk. Blocks.
    pub(super) fn sync(&self) {
        match &self.0 {
            Kind::Files { store, .. } => store.sync(),
            #[cfg(feature = "postgres")]
            Kind::Postgres(_) => {}
        }
    }

    /// What is recorded of a customer for some models, the newest first, at most [`MOST_SHOWN`](super::MOST_SHOWN).
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn of_customer(
        &self,
        models: Vec<String>,
        customer: String,
    ) -> Result<Vec<OutcomeRecord>, Error> {
        match &self.0 {
            Kind::Files { store, .. } => {
                let store = store.clone();
                off_thread(move || store.of_customer(&models, &customer))
                    .await?
                    .map_err(unreadable)
            }
            #[cfg(feature = "postgres")]
            Kind::Postgres(store) => store.of_customer(&models, &customer).await.map_err(unreadable),
        }
    }

    /// The kept scores of a customer, the newest first, at most [`MOST_SHOWN`](super::MOST_SHOWN).
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn scores_of(&self, model: &str, customer: String) -> Result<Vec<ScoreRecord>, Error> {
        match &self.0 {
            Kind::Files { store, .. } => {
                let (store, model) = (store.clone(), model.to_owned());
                off_thread(move || store.scores_of(&model, &customer))
                    .await?
                    .map_err(unreadable)
            }
            #[cfg(feature = "postgres")]
            Kind::Postgres(store) => store.scores_of(model, &customer).await.map_err(unreadable),
        }
    }

    /// The last contacts with customers of a model, in the one spelling of their ids.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn contacts(
        &self,
        model: &str,
        customers: Vec<String>,
    ) -> Result<HashMap<String, LastContact>, Error> {
        match &self.0 {
            Kind::Files { store, .. } => {
                let (store, model) = (store.clone(), model.to_owned());
                off_thread(move || store.contacts(&model, &customers))
                    .await?
                    .map_err(unreadable)
            }
            #[cfg(feature = "postgres")]
            Kind::Postgres(store) => store.contacts(model, customers).await.map_err(unreadable),
        }
    }

    /// The hashes of the customers of a model, and maybe of others, who were contacted at `since` or later, in microseconds
    /// since the Unix epoch, or have left.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn handled(
        &self,
        #[cfg_attr(
            not(feature = "postgres"),
            expect(unused_variables, reason = "for PostgreSQL")
        )]
        model: &str,
        since: i64,
    ) -> Result<HashSet<u64>, Error> {
        match &self.0 {
            Kind::Files { store, .. } => {
                let store = store.clone();
                off_thread(move || store.handled(since)).await
            }
            #[cfg(feature = "postgres")]
            Kind::Postgres(store) => store.handled(model, since).await.map_err(unreadable),
        }
    }

    /// Shows a visitor every kept score of a model.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn visit<V: ScoreVisitor>(&self, model: &str, visitor: V) -> Result<V, Error> {
        match &self.0 {
            Kind::Files { store, .. } => {
                let (store, model) = (store.clone(), model.to_owned());
                let mut visitor = visitor;
                let work = move || store.visit(&model, &mut visitor).map(|()| visitor);
                off_thread(work).await?.map_err(unreadable)
            }
            #[cfg(feature = "postgres")]
            Kind::Postgres(store) => store.visit(model, visitor).await.map_err(unreadable),
        }
    }

    /// Deletes what happened before `cutoff`, in microseconds since the Unix epoch.
    ///
    /// # Errors
    /// The store cannot be changed.
    pub async fn expire(&self, cutoff: i64) -> Result<(), Error> {
        match &self.0 {
            Kind::Files { store, turn } => {
                let turn = turn.clone().lock_owned().await;
                let store = store.clone();
                let work = move || {
                    let done = store.expire(cutoff);
                    drop(turn);
                    done
                };
                Ok(off_thread(work).await??)
            }
            #[cfg(feature = "postgres")]
            Kind::Postgres(store) => Ok(store.expire(cutoff).await?),
        }
    }
}

fn unreadable(error: StoreError) -> Error {
    Error::unavailable(format!("outcomes: {error}")).after(AFTER_OUTAGE)
}

#[cfg(feature = "postgres")]
fn open_postgres(
    section: &crate::config::outcomes::OutcomesPostgres,
    days: u32,
) -> Result<OutcomeStore, String> {
    let store = PostgresStore::new(section, days)?;
    Ok(OutcomeStore(Kind::Postgres(Arc::new(store))))
}

#[cfg(not(feature = "postgres"))]
fn open_postgres(_: &crate::config::outcomes::OutcomesPostgres, _: u32) -> Result<OutcomeStore, String> {
    Err(format!(
        "[outcomes.postgres] {}",
        crate::features::not_built("postgres", "PostgreSQL")
    ))
}
