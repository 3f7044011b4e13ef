//! Feast's PostgreSQL online store: a table per feature view, with a row per entity and feature.

use futures_util::future::join_all;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::{FeastFetch, QueryView, VectorBuilders};
use crate::config::source::FeastPostgres;
use crate::features::layout::Vector;
use crate::features::postgres::session::{Session, Sessions};
use crate::features::postgres::value::{RawValue, cell};
use crate::features::source::SourceError;
use crate::features::sql::quoted;
use crate::values::feature_type::FeatureType;

#[derive(Debug)]
pub(super) struct FeastPostgresStore {
    sessions: Sessions,
    schema: String,
}

impl FeastPostgresStore {
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

    pub(super) async fn fetch(&self, fetch_request: FeastFetch<'_>) -> Result<Vec<Vector>, SourceError> {
        let session = self.sessions.session(fetch_request.lane).await?;
        let keys = fetch_request.wanted.keys(fetch_request.ids);
        let known: Vec<&[u8]> = keys.iter().flatten().map(Vec::as_slice).collect();
        // All views at once: the queries are pipelined.
        let reads = fetch_request
            .wanted
            .views
            .iter()
            .map(|view| self.rows(&session, fetch_request, view, &known));
        let answers = join_all(reads).await;
        let mut builders = VectorBuilders::new(fetch_request, &keys);
        for (view, rows) in fetch_request.wanted.views.iter().zip(answers) {
            for row in rows? {
                let raw = |column: usize| row.try_get::<_, RawValue<'_>>(column).ok().and_then(|raw| raw.0);
                let name: &str = row.try_get(1).unwrap_or_default();
                builders.put(
                    view,
                    raw(0).unwrap_or_default(),
                    name,
                    raw(2).unwrap_or_default(),
                    instant(raw(3)),
                );
            }
        }
        Ok(builders.finish())
    }

    async fn rows(
        &self,
        session: &Session,
        fetch_request: FeastFetch<'_>,
        view: &QueryView,
        keys: &[&[u8]],
    ) -> Result<Vec<Row>, SourceError> {
        let table = quoted(&format!("{}_{}", fetch_request.wanted.project, view.name));
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
        match session.query(&statement, &[&keys, &features]).await {
            Err(SourceError::Outdated(_)) => {
                let statement = session.prepare(&query).await?;
                session.query(&statement, &[&keys, &features]).await
            }
            result => result,
        }
    }
}

/// Seconds since the Unix epoch; a column without a zone holds UTC.
fn instant(raw: Option<&[u8]>) -> Option<f64> {
    let mut digits = String::new();
    let cell = cell(&Type::TIMESTAMPTZ, raw, &mut digits).ok()?;
    cell.number(FeatureType::Timestamp).ok()?
}
