//! Feast's SQLite online store, for local use and tests: a table per feature view, as in PostgreSQL.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Row};

use super::{FeastFetch, VectorBuilders};
use crate::features::layout::Vector;
use crate::features::source::SourceError;
use crate::features::sql::quoted;
use crate::values::cell::Cell;
use crate::values::feature_type::FeatureType;

#[derive(Debug)]
pub(super) struct FeastSqlite {
    path: PathBuf,
    connection: Arc<Mutex<Option<Connection>>>,
}

/// A row: entity key, feature, value, seconds since the Unix epoch.
type SqliteRow = (Vec<u8>, String, Vec<u8>, Option<f64>);

impl FeastSqlite {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            connection: Arc::default(),
        }
    }

    pub(super) async fn fetch(&self, fetch_request: FeastFetch<'_>) -> Result<Vec<Vector>, SourceError> {
        let keys = fetch_request.wanted.keys(fetch_request.ids);
        let known: Vec<Vec<u8>> = keys.iter().flatten().cloned().collect();
        let table = |name: &str| quoted(&format!("{}_{name}", fetch_request.wanted.project));
        let tables: Vec<String> = fetch_request
            .wanted
            .views
            .iter()
            .map(|view| table(&view.name))
            .collect();
        let (path, connection) = (self.path.clone(), self.connection.clone());
        // SQLite blocks on files, so it runs on a blocking thread.
        let read = move || {
            read(
                &path,
                &mut connection.lock().unwrap_or_else(PoisonError::into_inner),
                &tables,
                &known,
            )
        };
        let read = tokio::task::spawn_blocking(read).await;
        let answers = read.map_err(|error| SourceError::Failed(error.to_string()))?;
        let answers =
            answers.map_err(|error| SourceError::Failed(format!("{}: {error}", self.path.display())))?;
        let mut builders = VectorBuilders::new(fetch_request, &keys);
        for (view, rows) in fetch_request.wanted.views.iter().zip(answers) {
            for (key, feature, value, seconds) in rows {
                builders.put(view, &key, &feature, &value, seconds);
            }
        }
        Ok(builders.finish())
    }
}

fn read(
    path: &Path,
    connection: &mut Option<Connection>,
    tables: &[String],
    keys: &[Vec<u8>],
) -> rusqlite::Result<Vec<Vec<SqliteRow>>> {
    let open = match connection.take() {
        Some(open) => open,
        // SQLite would wait for ever for a FIFO.
        None if path.metadata().is_ok_and(|found| !found.is_file()) => {
            return Err(rusqlite::Error::InvalidPath(path.to_owned()));
        }
        None => Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?,
    };
    let of_table = |table: &String| -> rusqlite::Result<Vec<SqliteRow>> {
        let query =
            format!("SELECT entity_key, feature_name, value, event_ts FROM {table} WHERE entity_key = ?1");
        let mut statement = open.prepare_cached(&query)?;
        let mut found = Vec::new();
        for key in keys {
            for row in statement.query_map([key], row)? {
                found.push(row?);
            }
        }
        Ok(found)
    };
    let found = tables.iter().map(of_table).collect();
    // A failed connection is dropped: the file may have been replaced.
    if let Ok(found) = found {
        *connection = Some(open);
        return Ok(found);
    }
    found
}

fn row(row: &Row<'_>) -> rusqlite::Result<SqliteRow> {
    let seconds = match row.get_ref(3)? {
        #[expect(clippy::cast_precision_loss, reason = "an instant")]
        ValueRef::Integer(seconds) => Some(seconds as f64),
        ValueRef::Real(seconds) => Some(seconds),
        // The format of older releases: "2024-01-01 00:00:00", in UTC.
        ValueRef::Text(text) => std::str::from_utf8(text).ok().and_then(|text| {
            let zoned = if text.ends_with('Z') || text.contains('+') {
                text.to_owned()
            } else {
                format!("{text}Z")
            };
            Cell::Text(&zoned).number(FeatureType::Timestamp).ok()?
        }),
        _ => None,
    };
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, seconds))
}
