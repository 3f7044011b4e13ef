//! Reads scores for the evaluation, and what is recorded of customers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio_postgres::Row;

use super::rows::{action, column, micros, record, result, score, system};
use super::statements::{MOST_EVENTS, PAGE};
use super::{EVALUATION, Parameters, PostgresStore, REQUEST};
use crate::features::source::Lane;
use crate::record::outcomes::contact::{self, LastContact};
use crate::record::outcomes::interface::{CustomerEvent, ScoreVisitor, StoreError};
use crate::record::outcomes::{OutcomeRecord, ScoreRecord};
use crate::values::entity_id::IdRef;
use crate::values::id_hash::IdHasher;

impl PostgresStore {
    /// Shows a visitor the scores of a model, customer by customer, page by page.
    ///
    /// # Errors
    /// The tables cannot be read.
    pub(in crate::record::outcomes) async fn visit<V: ScoreVisitor>(
        &self,
        model: &str,
        mut visitor: V,
    ) -> Result<V, StoreError> {
        let (mut customer, mut version, mut number) = (String::new(), i64::MIN, i64::MIN);
        loop {
            let parameters: Parameters<'_> = &[&model, &customer, &version, &number];
            let rows = self
                .run_within(EVALUATION, Lane::Bulk, &self.statements.page, parameters)
                .await?;
            let mut scores = Vec::with_capacity(rows.len());
            for row in &rows {
                scores.push(score(model, row)?);
            }
            if let Some(row) = rows.last() {
                (customer, version, number) = (column(row, 0)?, column(row, 1)?, column(row, 2)?);
            }
            let events = self.events_of(model, &scores).await?;
            for score in &scores {
                let of_customer = events.get(&score.customer).map_or(&[][..], Vec::as_slice);
                visitor.visit(score, of_customer);
            }
            if rows.len() < usize::try_from(PAGE).unwrap_or(usize::MAX) {
                return Ok(visitor);
            }
        }
    }

    async fn events_of(
        &self,
        model: &str,
        scores: &[ScoreRecord],
    ) -> Result<HashMap<String, Vec<CustomerEvent>>, StoreError> {
        let mut customers: Vec<&str> = scores.iter().map(|score| score.customer.as_str()).collect();
        customers.dedup();
        let mut events: HashMap<String, Vec<CustomerEvent>> = HashMap::new();
        if customers.is_empty() {
            return Ok(events);
        }
        let parameters: Parameters<'_> = &[&model, &customers];
        let rows = self
            .run_within(EVALUATION, Lane::Bulk, &self.statements.events, parameters)
            .await?;
        if rows.len() >= usize::try_from(MOST_EVENTS).unwrap_or(usize::MAX) {
            return Err(StoreError::Full(format!(
                "more than {MOST_EVENTS} outcomes of {} customers",
                customers.len()
            )));
        }
        for row in &rows {
            let event = CustomerEvent {
                at: micros(column(row, 1)?),
                action: column::<Option<&str>>(row, 2)?.and_then(action),
                result: column::<Option<&str>>(row, 3)?.and_then(result),
            };
            events.entry(column(row, 0)?).or_default().push(event);
        }
        Ok(events)
    }

    /// What is recorded of a customer for some models, the newest first.
    ///
    /// # Errors
    /// The tables cannot be read.
    pub(in crate::record::outcomes) async fn of_customer(
        &self,
        models: &[String],
        customer: &str,
    ) -> Result<Vec<OutcomeRecord>, StoreError> {
        let parameters: Parameters<'_> = &[&models, &customer];
        let rows = self
            .run_within(REQUEST, Lane::Online, &self.statements.of_customer, parameters)
            .await?;
        let mut records = rows.iter().map(record).collect::<Result<Vec<_>, _>>()?;
        contact::newest(&mut records);
        Ok(records)
    }

    /// The kept scores of a customer, the newest first.
    ///
    /// # Errors
    /// The tables cannot be read.
    pub(in crate::record::outcomes) async fn scores_of(
        &self,
        model: &str,
        customer: &str,
    ) -> Result<Vec<ScoreRecord>, StoreError> {
        let parameters: Parameters<'_> = &[&model, &customer];
        let rows = self
            .run_within(REQUEST, Lane::Online, &self.statements.scores_of, parameters)
            .await?;
        rows.iter().map(|row| score(model, row)).collect()
    }

    /// The last contacts with customers of a model; those of whom nothing is known are left out.
    ///
    /// # Errors
    /// The tables cannot be read.
    pub(in crate::record::outcomes) async fn contacts(
        self: &Arc<Self>,
        model: &str,
        customers: Vec<String>,
    ) -> Result<HashMap<String, LastContact>, StoreError> {
        let model = model.to_owned();
        let select = |store: Arc<Self>| async move {
            let parameters: Parameters<'_> = &[&model, &customers];
            store
                .run(Lane::Online, &store.statements.contacts, parameters)
                .await
        };
        let rows = self.in_turn(&self.requests, REQUEST, select).await?;
        let mut contacts: HashMap<String, LastContact> = HashMap::new();
        for row in &rows {
            let record = record(row)?;
            contacts.entry(record.customer.clone()).or_default().add(record);
        }
        contacts.retain(|_, contact| contact.is_some());
        Ok(contacts)
    }

    /// The hashes of customers who were contacted at `since` or later or have left.
    ///
    /// # Errors
    /// The tables cannot be read, or have too many such customers.
    pub(in crate::record::outcomes) async fn handled(
        &self,
        model: &str,
        since: i64,
    ) -> Result<HashSet<u64>, StoreError> {
        let parameters: Parameters<'_> = &[&model, &system(since)];
        let rows = self
            .run_within(EVALUATION, Lane::Bulk, &self.statements.handled, parameters)
            .await?;
        if rows.len() >= usize::try_from(MOST_EVENTS).unwrap_or(usize::MAX) {
            return Err(StoreError::Full(format!(
                "more than {MOST_EVENTS} customers were contacted or have left"
            )));
        }
        let hash = |row: &Row| Ok(IdHasher::new(model).hash(IdRef::Text(column(row, 0)?)));
        rows.iter().map(hash).collect()
    }
}
