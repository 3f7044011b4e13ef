//! Outcomes and scores in PostgreSQL, for several servers. Each request is one statement, so that it is kept as a whole or
//! not at all.

mod probe;
mod read;
mod rows;
mod statements;
mod write;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::interface::StoreError;
use crate::config::outcomes::OutcomesPostgres;
use crate::features::postgres::session::Sessions;
use crate::features::source::{Lane, SourceError};
use statements::Statements;

/// Longest time of a statement of a request, and of one of the evaluation.
const REQUEST: Duration = Duration::from_secs(5);
const EVALUATION: Duration = Duration::from_secs(30);

/// Statements of requests, and of scores, that are sent before the database has answered earlier ones.
const UNANSWERED: usize = 16;
const UNANSWERED_SCORES: usize = 1;

/// Whether a table is there.
const EXISTS: &str = "SELECT to_regclass($1::text) IS NOT NULL";

/// The store.
pub(super) struct PostgresStore {
    sessions: Sessions,
    score_days: u32,
    statements: Statements,
    created: tokio::sync::Mutex<bool>,
    requests: Arc<Semaphore>,
    writes: Arc<Semaphore>,
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PostgresStore")
    }
}

type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

fn failed(error: &SourceError) -> StoreError {
    StoreError::Unavailable(format!("PostgreSQL: {error}"))
}

impl PostgresStore {
    /// Prepares the store; nothing is connected yet.
    ///
    /// # Errors
    /// The connection string or a certificate cannot be read.
    pub(super) fn new(section: &OutcomesPostgres, score_days: u32) -> Result<Self, String> {
        let sessions = Sessions::new(&section.connect, &section.password, &section.ca, 2)
            .map_err(|error| format!("[outcomes.postgres] {error}"))?;
        Ok(Self {
            sessions,
            score_days,
            statements: Statements::new(section),
            created: tokio::sync::Mutex::new(false),
            requests: Arc::new(Semaphore::new(UNANSWERED)),
            writes: Arc::new(Semaphore::new(UNANSWERED_SCORES)),
        })
    }

    /// Does work that sends a statement, in its turn, and waits for it at most `limit`. A statement that was sent cannot be
    /// taken back, and takes memory until the database has read it: so its work goes on and keeps its turn when nobody waits
    /// for it any more. Otherwise requests that are repeated would fill the memory while the database hangs.
    async fn in_turn<T, F>(
        self: &Arc<Self>,
        turns: &Arc<Semaphore>,
        limit: Duration,
        work: impl FnOnce(Arc<Self>) -> F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let late = || failed(&SourceError::TimedOut(limit));
        let turn_and_work = async {
            let turn = turns.clone().acquire_owned().await.map_err(|_| late())?;
            let work = work(self.clone());
            let done = tokio::spawn(async move {
                let done = work.await;
                drop(turn);
                done
            });
            done.await
                .unwrap_or_else(|error| Err(StoreError::Unavailable(format!("work stopped: {error}"))))
        };
        tokio::time::timeout(limit, turn_and_work)
            .await
            .unwrap_or_else(|_| Err(late()))
    }

    /// Runs a statement within `limit`.
    async fn run_within(
        &self,
        limit: Duration,
        lane: Lane,
        query: &str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, StoreError> {
        let result = tokio::time::timeout(limit, self.run(lane, query, parameters)).await;
        result.unwrap_or_else(|_| Err(failed(&SourceError::TimedOut(limit))))
    }

    /// Runs a statement, after the tables were created if need be.
    async fn run(&self, lane: Lane, query: &str, parameters: Parameters<'_>) -> Result<Vec<Row>, StoreError> {
        let rows = async {
            self.create_tables(lane).await?;
            match self.ask(lane, query, parameters).await {
                // A lost connection is made again; each statement may run twice without harm.
                Err(SourceError::Dropped(_) | SourceError::Outdated(_)) => {
                    self.ask(lane, query, parameters).await
                }
                result => result,
            }
        };
        rows.await.map_err(|error| failed(&error))
    }

    async fn ask(
        &self,
        lane: Lane,
        query: &str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, SourceError> {
        let session = self.sessions.session(lane).await?;
        let statement = session.prepare(query).await?;
        session.query(&statement, parameters).await
    }

    async fn create_tables(&self, lane: Lane) -> Result<(), SourceError> {
        let mut created = self.created.lock().await;
        if *created {
            return Ok(());
        }
        let statements = &self.statements;
        for (table, statement) in statements.tables.iter().zip(&statements.create) {
            // `IF NOT EXISTS` asks for the permission to create also where there is nothing to create.
            let rows = self.ask(lane, EXISTS, &[table]).await?;
            if rows.first().is_some_and(|row| row.try_get(0).unwrap_or_default()) {
                continue;
            }
            // Two servers that create a table at once: one of them fails, and finds it at its second attempt.
            if self.ask(lane, statement, &[]).await.is_err() {
                self.ask(lane, statement, &[]).await?;
            }
        }
        *created = true;
        Ok(())
    }
}
