//! Features in PostgreSQL: a table or a query with one row per entity.

mod connection_string;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod key;
pub(crate) mod session;
pub(crate) mod value;

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio_postgres::types::Type;
use tokio_postgres::{Column, Row};

use super::layout::{Layout, Vector};
use super::source::{FeatureSource, Lane, SourceError};
use super::sql::quoted;
use crate::config::source::PostgresSection;
use crate::features::store_client::{StoreClient, StoreIdentity};
use crate::models::contract::FeatureContract;
use crate::values::cell::Cell;
use crate::values::entity_id::EntityId;
use crate::values::feature_type::FeatureType;
use crate::values::time::now;
use key::{parameter, spelling};
use session::{Session, Sessions};
use value::{RawValue, cell};

/// A PostgreSQL server with features.
#[derive(Clone, Debug)]
pub struct PostgresStore {
    sessions: Arc<Sessions>,
    section: Arc<PostgresSection>,
}

/// A store bound to a layout.
#[derive(Debug)]
struct PostgresSource {
    store: PostgresStore,
    layout: Arc<Layout>,
    id: String,
    query: String,
}

/// The positions of the columns in a result.
struct ResultColumns {
    id: usize,
    as_of: Option<usize>,
    /// By field of the layout.
    fields: Vec<usize>,
}

impl PostgresStore {
    /// Prepares a store; nothing is connected yet.
    ///
    /// # Errors
    /// The connection string or a certificate cannot be read.
    pub fn new(section: &PostgresSection) -> Result<Self, String> {
        let sessions = Sessions::new(
            &section.connect,
            &section.password,
            &section.ca,
            section.connections,
        )?;
        Ok(Self {
            sessions: Arc::new(sessions),
            section: Arc::new(section.clone()),
        })
    }
}

/// The query over a table.
fn select(section: &PostgresSection, id: &str, layout: &Layout) -> String {
    let as_of = Some(section.as_of.as_str()).filter(|column| !column.is_empty());
    let fields = layout.fields.iter().map(|field| field.column.as_str());
    let mut columns: Vec<String> = [id].into_iter().chain(as_of).chain(fields).map(quoted).collect();
    columns.sort();
    columns.dedup();
    let table: Vec<String> = section.table.split('.').map(quoted).collect();
    let (columns, table, id) = (columns.join(", "), table.join("."), quoted(id));
    format!("SELECT {columns} FROM {table} WHERE {id} = ANY($1)")
}

/// Asks a server for its version, role and clock.
const IDENTIFY: &str = "SELECT current_setting('server_version'), pg_is_in_recovery(), \
                        extract(epoch FROM clock_timestamp())::float8";

/// Asks a server for its version, role and clock.
pub(crate) async fn identify(sessions: &Sessions) -> Result<StoreIdentity, String> {
    let rows = async {
        let session = sessions.session(Lane::Online).await?;
        let statement = session.prepare(IDENTIFY).await?;
        session.query(&statement, &[]).await
    };
    let rows = rows.await.map_err(|error| error.to_string())?;
    let row = rows.first().ok_or("no row in the answer")?;
    let text = |error: tokio_postgres::Error| error.to_string();
    let (version, standby): (String, bool) = (row.try_get(0).map_err(text)?, row.try_get(1).map_err(text)?);
    let role = if standby { "standby" } else { "primary" };
    Ok(StoreIdentity {
        product: format!("PostgreSQL {version}, {role}"),
        clock: row.try_get(2).ok(),
    })
}

impl StoreClient for PostgresStore {
    fn identify(&self) -> Option<BoxFuture<'_, Result<StoreIdentity, String>>> {
        Some(identify(&self.sessions).boxed())
    }

    fn check(&self, _feature: &FeatureContract, _entity: &str) -> Result<(), String> {
        // The columns are known after the first query only.
        Ok(())
    }

    fn bind(&self, layout: Arc<Layout>) -> Result<Arc<dyn FeatureSource>, String> {
        let section = &self.section;
        let id = if section.id.is_empty() {
            layout.entity.clone()
        } else {
            section.id.clone()
        };
        let query = if section.query.is_empty() {
            select(section, &id, &layout)
        } else {
            section.query.clone()
        };
        Ok(Arc::new(PostgresSource {
            store: self.clone(),
            layout,
            id,
            query,
        }))
    }
}

impl FeatureSource for PostgresSource {
    fn fetch<'a>(
        &'a self,
        ids: &'a [EntityId],
        lane: Lane,
    ) -> BoxFuture<'a, Result<Vec<Vector>, SourceError>> {
        async move {
            let session = self.store.sessions.session(lane).await?;
            match self.ask(&session, ids).await {
                // Each connection learns of a changed table by itself.
                Err(SourceError::Outdated(_)) => self.ask(&session, ids).await,
                result => result,
            }
        }
        .boxed()
    }
}

impl PostgresSource {
    async fn ask(&self, session: &Session, ids: &[EntityId]) -> Result<Vec<Vector>, SourceError> {
        let statement = session.prepare(&self.query).await?;
        let columns = self.columns(statement.columns()).map_err(SourceError::Failed)?;
        let parameter = parameter(&statement, ids).map_err(SourceError::Failed)?;
        let rows = session.query(&statement, &[&*parameter]).await?;
        Ok(self.read(ids, &rows, &columns))
    }

    fn columns(&self, columns: &[Column]) -> Result<ResultColumns, String> {
        let find = |name: &str| {
            let position = columns.iter().position(|column| column.name() == name);
            position.ok_or_else(|| format!("the query has no column `{name}`"))
        };
        let as_of = Some(self.store.section.as_of.as_str()).filter(|column| !column.is_empty());
        let fields = self.layout.fields.iter().map(|field| find(&field.column));
        Ok(ResultColumns {
            id: find(&self.id)?,
            as_of: as_of.map(find).transpose()?,
            fields: fields.collect::<Result<_, _>>()?,
        })
    }

    /// Reads the vectors of `ids` from rows in any order. A row that belongs to none of them is not dropped in silence: the ids
    /// without a row may be meant, so they are invalid, not unknown.
    fn read(&self, ids: &[EntityId], rows: &[Row], columns: &ResultColumns) -> Vec<Vector> {
        let now = now();
        let kind = rows.first().map(|row| row.columns()[columns.id].type_().clone());
        let kind = kind.unwrap_or(Type::TEXT);
        let ids: Vec<EntityId> = ids.iter().map(|id| spelling(&id.to_string(), &kind)).collect();
        // Two spellings of one id share a row.
        let mut positions: HashMap<&EntityId, usize> = HashMap::with_capacity(ids.len());
        for (at, id) in ids.iter().enumerate() {
            positions.entry(id).or_insert(at);
        }
        let mut vectors = vec![Layout::unknown(now); ids.len()];
        let mut unmatched = false;
        for row in rows {
            let Some(position) = id(row, columns.id).and_then(|id| positions.get(&id).copied()) else {
                unmatched = true;
                continue;
            };
            vectors[position] = if vectors[position].is_known() {
                self.layout.invalid(now, "the query returns two rows for one id")
            } else {
                self.vector(row, columns, now)
            };
        }
        if unmatched {
            let reason = format!(
                "the query returns ids that were not asked for: its column `{}` of type {kind} spells them another way",
                self.id
            );
            for vector in vectors.iter_mut().filter(|vector| !vector.is_known()) {
                *vector = self.layout.invalid(now, &reason);
            }
        }
        ids.iter().map(|id| vectors[positions[id]].clone()).collect()
    }

    fn vector(&self, row: &Row, columns: &ResultColumns, now: f64) -> Vector {
        let mut builder = self.layout.builder(now);
        let mut digits = String::new();
        for (field, &column) in columns.fields.iter().enumerate() {
            match read(row, column, &mut digits) {
                Ok(cell) => builder.set(field, cell),
                Err(reason) => builder.mark_invalid(field, &reason),
            }
        }
        if let Some(column) = columns.as_of {
            let cell = read(row, column, &mut digits);
            builder.as_of_all(cell.and_then(|cell| cell.number(FeatureType::Timestamp)));
        }
        builder.finish()
    }
}

fn read<'a>(row: &'a Row, column: usize, digits: &'a mut String) -> Result<Cell<'a>, String> {
    let raw: RawValue<'a> = row.try_get(column).map_err(|error| error.to_string())?;
    cell(row.columns()[column].type_(), raw.0, digits)
}

/// The id of a row, in the one spelling of its type.
fn id(row: &Row, column: usize) -> Option<EntityId> {
    let kind = row.columns()[column].type_();
    match read(row, column, &mut String::new()).ok()? {
        Cell::Int(id) => Some(EntityId::Int(id)),
        Cell::Text(id) | Cell::Untyped(id) => Some(spelling(id, kind)),
        _ => None,
    }
}
