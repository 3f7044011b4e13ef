//! Checks whether the tables in PostgreSQL can be used: role of the server, permissions, columns.

use std::time::SystemTime;

use super::{Parameters, PostgresStore};
use crate::features::postgres::identify;
use crate::features::source::{Lane, SourceError};
use crate::features::sources::probe::measure;
use crate::record::outcomes::probe::ProbedOutcomes;

/// The schema of the tables: whether the session can only read, its name, and whether it may be used and extended.
const SCHEMA: &str = "SELECT current_setting('transaction_read_only') = 'on', name, has_schema_privilege(schema, 'USAGE'), \
                      has_schema_privilege(schema, 'CREATE') FROM (SELECT name, to_regnamespace(quote_ident(name))::oid AS \
                      schema FROM (SELECT coalesce(nullif($1::text, ''), current_schema()::text) AS name) AS named) AS found";

/// Whether a table is there, and what the user may not do with it.
const TABLE: &str = "SELECT to_regclass($1::text) IS NOT NULL, array_to_string(ARRAY(SELECT privilege FROM \
                     unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege WHERE NOT \
                     has_table_privilege(to_regclass($1::text)::oid, privilege)), ', ')";

impl PostgresStore {
    /// Checks that requests could be kept. `schema` is that of the settings. Changes nothing.
    ///
    /// # Errors
    /// They could not; the message says why and what to do.
    pub(in crate::record::outcomes) async fn probe(&self, schema: &str) -> Result<ProbedOutcomes, String> {
        let ask = || identify(&self.sessions);
        let answer = measure(ask(), || Some(ask())).await.map_err(|error| {
            format!(
                "PostgreSQL: {error}; check that it runs, its address and its password ([outcomes.postgres])"
            )
        })?;
        let text = |error: SourceError| error.to_string();
        let rows = self.ask(Lane::Online, SCHEMA, &[&schema]).await.map_err(text)?;
        let row = rows.first().ok_or("no row in the answer")?;
        let read_only: bool = row.try_get(0).unwrap_or_default();
        if read_only {
            let product = &answer.identity.product;
            return Err(format!("{product}: it is read-only; name the primary in connect"));
        }
        let name: Option<String> = row.try_get(1).unwrap_or_default();
        let Some(name) = name else {
            return Err("the user's search path has no schema; set outcomes.postgres.schema".to_owned());
        };
        // Null: there is no such schema.
        let [usage, create]: [Option<bool>; 2] = [2, 3].map(|at| row.try_get(at).unwrap_or_default());
        match usage {
            None => {
                return Err(format!(
                    "there is no schema `{name}`; create it, or change outcomes.postgres.schema"
                ));
            }
            Some(false) => return Err(format!("the user may not use the schema `{name}`; GRANT USAGE")),
            Some(true) => {}
        }
        let mut missing = 0;
        for table in &self.statements.tables {
            let rows = self.ask(Lane::Online, TABLE, &[table]).await.map_err(text)?;
            let row = rows.first().ok_or("no row in the answer")?;
            let lacks: String = row.try_get(1).unwrap_or_default();
            if !lacks.is_empty() {
                return Err(format!(
                    "the user lacks permissions on the table {table}; GRANT {lacks}"
                ));
            }
            missing += usize::from(!row.try_get::<_, bool>(0).unwrap_or_default());
        }
        if missing > 0 && create != Some(true) {
            return Err(format!(
                "tables are missing and the user may not create them; GRANT CREATE on the schema `{name}`"
            ));
        }
        if missing == 0 {
            self.explain().await.map_err(|error| {
                let [outcomes, scores] = &self.statements.tables;
                format!(
                    "{outcomes} or {scores} is not a table of outcomes ({error}); rename it, or set \
                     outcomes.postgres.schema to a schema of their own"
                )
            })?;
        }
        let tables = match missing {
            0 => "tables in the schema",
            _ => "a server will create the tables in the schema",
        };
        Ok(ProbedOutcomes {
            store: format!("{}; {tables} `{name}`", answer.identity.product),
            latency: answer.median,
            warning: None,
        })
    }

    /// Plans the statements of requests without running them: the server compares them with the columns and keys.
    async fn explain(&self) -> Result<(), SourceError> {
        let (texts, optional) = (Vec::<&str>::new(), Vec::<Option<&str>>::new());
        let (numbers, times) = (Vec::<i64>::new(), Vec::<SystemTime>::new());
        let (values, flags) = (Vec::<f64>::new(), Vec::<bool>::new());
        let outcomes: Parameters<'_> = &[&texts, &texts, &texts, &times, &optional, &optional, &optional];
        let scores: Parameters<'_> = &[&texts, &texts, &numbers, &numbers, &times, &values, &flags];
        for (statement, parameters) in [
            (&self.statements.insert_outcomes, outcomes),
            (&self.statements.insert_scores, scores),
            (&self.statements.events, &[&"", &texts]),
            (&self.statements.page, &[&"", &"", &0_i64, &0_i64]),
        ] {
            let explain = format!("EXPLAIN {statement}");
            self.ask(Lane::Online, &explain, parameters).await?;
        }
        Ok(())
    }
}
