//! Keeps records and scores, and deletes old ones.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use super::rows::{column, system};
use super::statements::EXPIRE;
use super::{EVALUATION, Parameters, PostgresStore, REQUEST};
use crate::features::source::Lane;
use crate::record::outcomes::interface::{Recorded, StoreError};
use crate::record::outcomes::{ActionTaken, CustomerResult, OutcomeRecord, ScoreRecord, period};

impl PostgresStore {
    /// Keeps records, in one statement.
    ///
    /// # Errors
    /// Nothing was kept.
    pub(in crate::record::outcomes) async fn record(
        self: &Arc<Self>,
        records: Vec<OutcomeRecord>,
    ) -> Result<Recorded, StoreError> {
        let insert = |store: Arc<Self>| async move { store.insert(records).await };
        self.in_turn(&self.requests, REQUEST, insert).await
    }

    async fn insert(&self, records: Vec<OutcomeRecord>) -> Result<Recorded, StoreError> {
        // A statement may change a row once: of records with one key the last one counts.
        let mut last: HashMap<(&str, &str, &str), usize> = HashMap::new();
        for (position, record) in records.iter().enumerate() {
            last.insert((&record.model, &record.customer, &record.key), position);
        }
        let mut positions: Vec<usize> = last.into_values().collect();
        // Every server locks rows in the same order, so that none waits for another in a circle.
        positions.sort_by_key(|&position| {
            records
                .get(position)
                .map(|record| (&record.model, &record.customer, &record.key))
        });
        let chosen = || positions.iter().filter_map(|&position| records.get(position));
        let models: Vec<&str> = chosen().map(|record| record.model.as_str()).collect();
        let customers: Vec<&str> = chosen().map(|record| record.customer.as_str()).collect();
        let keys: Vec<&str> = chosen().map(|record| record.key.as_str()).collect();
        let times: Vec<SystemTime> = chosen().map(|record| system(record.at)).collect();
        let actions: Vec<Option<&str>> = chosen()
            .map(|record| record.action.map(ActionTaken::label))
            .collect();
        let details: Vec<Option<&str>> = chosen().map(|record| record.detail.as_deref()).collect();
        let results: Vec<Option<&str>> = chosen()
            .map(|record| record.result.map(CustomerResult::label))
            .collect();
        let parameters: Parameters<'_> = &[&models, &customers, &keys, &times, &actions, &details, &results];
        let rows = self
            .run(Lane::Online, &self.statements.insert_outcomes, parameters)
            .await?;
        let sent: HashSet<usize> = positions.iter().copied().collect();
        let mut changed: HashMap<(String, String, String), bool> = HashMap::with_capacity(rows.len());
        for row in &rows {
            changed.insert(
                (column(row, 0)?, column(row, 1)?, column(row, 2)?),
                column(row, 3)?,
            );
        }
        let mut recorded = Recorded::default();
        for (position, record) in records.iter().enumerate() {
            let key = (record.model.clone(), record.customer.clone(), record.key.clone());
            // What a later record of the same request replaces counts as known.
            let sent = sent.contains(&position);
            match sent.then(|| changed.remove(&key)).flatten() {
                Some(true) => recorded.new.push(position),
                Some(false) => recorded.replaced.push(position),
                None => recorded.known.push(position),
            }
        }
        Ok(recorded)
    }

    /// Keeps the scores that are the first of their customer, version and period. Returns how many those are.
    ///
    /// # Errors
    /// Nothing was kept.
    pub(in crate::record::outcomes) async fn write_scores(
        self: &Arc<Self>,
        records: Vec<ScoreRecord>,
    ) -> Result<usize, StoreError> {
        let insert = |store: Arc<Self>| async move { store.insert_scores(&records).await };
        self.in_turn(&self.writes, EVALUATION, insert).await
    }

    async fn insert_scores(&self, records: &[ScoreRecord]) -> Result<usize, StoreError> {
        let number = |version: u64| i64::try_from(version).unwrap_or(i64::MAX);
        let models: Vec<&str> = records.iter().map(|record| record.model.as_str()).collect();
        let customers: Vec<&str> = records.iter().map(|record| record.customer.as_str()).collect();
        let versions: Vec<i64> = records.iter().map(|record| number(record.version)).collect();
        let periods: Vec<i64> = records
            .iter()
            .map(|record| period(record.at, self.score_days))
            .collect();
        let times: Vec<SystemTime> = records.iter().map(|record| system(record.at)).collect();
        let scores: Vec<f64> = records.iter().map(|record| record.score).collect();
        let held: Vec<bool> = records.iter().map(|record| record.hold_out).collect();
        let parameters: Parameters<'_> = &[&models, &customers, &versions, &periods, &times, &scores, &held];
        let rows = self
            .run(Lane::Bulk, &self.statements.insert_scores, parameters)
            .await?;
        Ok(rows.len())
    }

    /// Deletes what happened before `cutoff`, some rows at a time.
    ///
    /// # Errors
    /// The tables cannot be changed.
    pub(in crate::record::outcomes) async fn expire(&self, cutoff: i64) -> Result<(), StoreError> {
        let cutoff = system(cutoff);
        for statement in &self.statements.expire {
            loop {
                let rows = self
                    .run_within(EVALUATION, Lane::Bulk, statement, &[&cutoff])
                    .await?;
                let gone: i64 = rows.first().map_or(Ok(0), |row| column(row, 0))?;
                if gone < EXPIRE {
                    break;
                }
            }
        }
        Ok(())
    }
}
