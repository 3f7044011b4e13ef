//! Feast's PostgreSQL online store: a table per feature view, with a row per entity and feature.

use std::collections::HashMap;

use futures_util::future::join_all;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::{Ask, View, finish};
use crate::config::source::FeastPostgres;
use crate::features::layout::{Draft, Vector};
use crate::features::postgres::quoted;
use crate::features::postgres::session::{Session, Sessions};
use crate::features::postgres::value::{Raw, cell};
use crate::features::source::{SourceError, now};
use crate::models::contract::FeatureType;

#[derive(Debug)]
pub(super) struct Store {
    sessions: Sessions,
    schema: String,
}

impl Store {
    pub(super) fn new(section: &FeastPostgres) -> Result<Self, String> {
        Ok(Self {
            sessions: Sessions::new(
                &section.connect,
                &section.password,
                &section.ca,
                section.connections,
            )?,
            schema: section.schema.clone(),
        })
    }

    pub(super) async fn fetch(&self, ask: Ask<'_>) -> Result<Vec<Vector>, SourceError> {
        let session = self.sessions.session(ask.lane).await?;
        let keys = ask.wanted.keys(ask.ids);
        let known: Vec<&[u8]> = keys.iter().flatten().map(Vec::as_slice).collect();
        // All views at the same time: the queries travel together.
        let asked = ask
            .wanted
            .views
            .iter()
            .map(|view| self.rows(&session, ask, view, &known));
        let answers = join_all(asked).await;
        let positions: HashMap<&[u8], usize> = keys
            .iter()
            .enumerate()
            .filter_map(|(at, key)| Some((key.as_deref()?, at)))
            .collect();
        let now = now();
        let mut drafts: Vec<Option<Draft<'_>>> = keys.iter().map(|_| None).collect();
        for (view, rows) in ask.wanted.views.iter().zip(answers) {
            for row in rows? {
                let raw = |column: usize| row.try_get::<_, Raw<'_>>(column).ok().and_then(|raw| raw.0);
                let Some(&position) = raw(0).and_then(|key| positions.get(key)) else {
                    continue;
                };
                let draft = drafts[position].get_or_insert_with(|| ask.layout.draft(now));
                put(view, draft, &row, raw(2).unwrap_or_default());
            }
        }
        Ok(finish(drafts))
    }

    async fn rows(
        &self,
        session: &Session,
        ask: Ask<'_>,
        view: &View,
        keys: &[&[u8]],
    ) -> Result<Vec<Row>, SourceError> {
        let table = quoted(&format!("{}_{}", ask.wanted.project, view.name));
        let schema = if self.schema.is_empty() {
            String::new()
        } else {
            format!("{}.", quoted(&self.schema))
        };
        let query = format!(
            "SELECT entity_key, feature_name, value, event_ts FROM {schema}{table} \
             WHERE entity_key = ANY($1) AND feature_name = ANY($2)"
        );
        let features: Vec<&str> = view
            .features
            .iter()
            .map(|(feature, _)| feature.as_str())
            .collect();
        let statement = session.prepare(&query).await?;
        session.query(&statement, &[&keys, &features]).await
    }
}

/// Puts a row's feature and instant where they belong.
fn put(view: &View, draft: &mut Draft<'_>, row: &Row, value: &[u8]) {
    let name: &str = row.try_get(1).unwrap_or_default();
    if let Some((_, field)) = view.features.iter().find(|(feature, _)| feature == name) {
        View::set(draft, *field, value);
    }
    let Ok(Raw(instant)) = row.try_get(3) else { return };
    let mut digits = String::new();
    // A column without a zone holds UTC.
    let seconds =
        cell(&Type::TIMESTAMPTZ, instant, &mut digits).and_then(|cell| cell.number(FeatureType::Timestamp));
    if let Ok(Some(seconds)) = seconds {
        view.as_of(draft, seconds);
    }
}
