//! Scores in PostgreSQL: a row per model and entity.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio_postgres::types::ToSql;

use super::{Backend, Common, StoreError, StoreOptions, StoredScore};
use crate::config::source::PostgresSection;
use crate::features::postgres::session::{Sessions, describe};
use crate::features::source::Lane;
use crate::features::sql::quoted;
use crate::values::time::now;

/// Rows of which one statement deletes the expired ones.
const EXPIRE: u32 = 20_000;

/// A connection for writing.
pub(super) struct PostgresWriter {
    sessions: Sessions,
    /// The name of the table, quoted.
    table: String,
}

impl PostgresWriter {
    /// Prepares a connection.
    ///
    /// # Errors
    /// The connection string or a certificate cannot be read, or the name of the table is empty.
    pub(super) fn new(section: &PostgresSection, options: &StoreOptions) -> Result<Self, String> {
        let parts: Vec<&str> = options.table.split('.').collect();
        if parts.len() > 2 || parts.iter().any(|part| part.is_empty()) {
            let table = &options.table;
            return Err(format!(
                "--table: expected table or schema.table, found \"{table}\""
            ));
        }
        let sessions = Sessions::new(
            &section.connect,
            &section.password,
            &section.ca,
            section.connections,
        )?;
        Ok(Self {
            sessions,
            table: parts
                .iter()
                .map(|part| quoted(part))
                .collect::<Vec<_>>()
                .join("."),
        })
    }

    /// Makes the table, if it does not exist. A role that may not make tables can use one that does.
    async fn make_table(&self) -> Result<(), StoreError> {
        let find = "SELECT to_regclass($1)::text IS NOT NULL";
        let rows = self.query(find, &[&self.table]).await?;
        let exists = rows.first().is_some_and(|row| row.try_get(0).unwrap_or(false));
        if exists {
            return Ok(());
        }
        let create = format!(
            "CREATE TABLE IF NOT EXISTS {} (\
             model text NOT NULL, id text NOT NULL, score double precision NOT NULL, band text, status text NOT NULL, \
             missing integer NOT NULL, out_of_range integer NOT NULL, version bigint NOT NULL, sha256 text NOT NULL, \
             reasons jsonb, scored_at timestamptz NOT NULL, expires_at timestamptz, PRIMARY KEY (model, id))",
            self.table
        );
        self.query(&create, &[]).await.map(drop)
    }

    /// Writes scores with one statement, which is a transaction.
    async fn upsert_scores(&self, common: &Common, scores: &[StoredScore<'_>]) -> Result<(), StoreError> {
        let text = |text: fn(&StoredScore<'_>) -> Option<String>| -> Vec<Option<String>> {
            scores.iter().map(text).collect()
        };
        let ids = text(|score| Some(score.id.clone()));
        let values: Vec<f64> = scores.iter().map(|score| score.detail.score).collect();
        let bands = text(|score| score.detail.band.as_deref().map(str::to_owned));
        let statuses = text(|score| Some(score.detail.status.label().to_owned()));
        let missing: Vec<i32> = scores.iter().map(|score| score.detail.missing).collect();
        let out_of_range: Vec<i32> = scores.iter().map(|score| score.detail.out_of_range).collect();
        let reasons = text(|score| score.reasons.clone());
        let at = now();
        let expires = common.expire.map(|expire| at + expire.as_secs_f64());
        let parameters: [&(dyn ToSql + Sync); 12] = [
            &common.model,
            &ids,
            &values,
            &bands,
            &statuses,
            &missing,
            &out_of_range,
            &reasons,
            &common.version,
            &common.sha256,
            &at,
            &expires,
        ];
        self.query(&self.upsert(), &parameters).await.map(drop)
    }

    fn upsert(&self) -> String {
        let columns =
            "score, band, status, missing, out_of_range, version, sha256, reasons, scored_at, expires_at";
        let updates: Vec<String> = columns
            .split(", ")
            .map(|column| format!("{column} = excluded.{column}"))
            .collect();
        format!(
            "INSERT INTO {} (model, id, {columns}) \
             SELECT $1::text, r.id, r.score, r.band, r.status, r.missing, r.out_of_range, $9::bigint, $10::text, \
             r.reasons::jsonb, to_timestamp($11::float8), to_timestamp($12::float8) \
             FROM unnest($2::text[], $3::float8[], $4::text[], $5::text[], $6::int4[], $7::int4[], $8::text[]) \
             AS r (id, score, band, status, missing, out_of_range, reasons) \
             ON CONFLICT (model, id) DO UPDATE SET {}",
            self.table,
            updates.join(", ")
        )
    }

    /// Removes the scores that have expired among those of the next ids from `from` on. Goes by the primary key, which every
    /// table has: an index of the expiry would have to change with each score that is written again.
    async fn delete_expired(&self, common: &Common, from: &str) -> Result<Option<String>, StoreError> {
        let table = &self.table;
        let next = format!(
            "SELECT id FROM {table} WHERE model = $1 AND id >= $2 ORDER BY id OFFSET {EXPIRE} LIMIT 1"
        );
        let expired = format!("DELETE FROM {table} WHERE model = $1 AND expires_at < now() AND id >= $2");
        let rows = self.query(&next, &[&common.model, &from]).await?;
        let Some(row) = rows.first() else {
            let last = self.query(&expired, &[&common.model, &from]).await;
            return last.map(|_| None);
        };
        let next: String = row.try_get(0).map_err(|error| store_error(&error))?;
        let some = format!("{expired} AND id < $3");
        self.query(&some, &[&common.model, &from, &next]).await?;
        Ok(Some(next))
    }

    async fn query(
        &self,
        query: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<tokio_postgres::Row>, StoreError> {
        let session = self.sessions.session(Lane::Bulk).await;
        let session = session.map_err(|error| error.to_string())?;
        let rows = session.run(query, parameters).await;
        rows.map_err(|error| store_error(&error))
    }
}

/// An error with what the server says, and whether it stays.
fn store_error(error: &tokio_postgres::Error) -> StoreError {
    let said = error.as_db_error().map(|error| format!(": {}", error.message()));
    StoreError {
        message: format!("{}{}", describe(error), said.unwrap_or_default()),
        lasts: error.code().is_some_and(|code| lasts(code.code())),
    }
}

/// Whether a statement fails as often as it is repeated: the data (class 22), the table or its rights (42), the schema (3F) or a
/// limit of the server (54) is the reason. A table that another job makes at the same time (42P07, 42710) is there the next time.
fn lasts(code: &str) -> bool {
    let class = ["22", "42", "3F", "54"]
        .iter()
        .any(|class| code.starts_with(class));
    class && !["42P07", "42710"].contains(&code)
}

impl Backend for PostgresWriter {
    fn prepare(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.make_table().boxed()
    }

    fn write<'a>(
        &'a self,
        common: &'a Common,
        scores: &'a [StoredScore<'a>],
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.upsert_scores(common, scores).boxed()
    }

    fn remove_expired<'a>(
        &'a self,
        common: &'a Common,
        from: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, StoreError>> {
        self.delete_expired(common, from).boxed()
    }
}
