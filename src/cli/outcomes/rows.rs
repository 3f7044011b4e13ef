//! Rows of files with outcomes and with scores.

use std::collections::VecDeque;
use std::path::Path;

use serde_json::{Value, json};

use crate::features::table::{Table, TableBatches, TableError};
use crate::record::outcomes::{OutcomeDraft, OutcomeRecord, TimeLimits};
use crate::scoring::hold_out::HoldOut;
use crate::values::cell::Cell;
use crate::values::entity_id::EntityId;
use crate::values::time::instant;

/// Names of a column that means the same, the first one is that of the documentation.
const CUSTOMER: [&str; 4] = ["customer", "entity", "customer_id", "id"];
const TIME: [&str; 3] = ["time", "at", "scored_at"];

/// An outcome as a row gives it.
#[derive(Debug)]
pub(super) struct OutcomeRow {
    id: Option<String>,
    customer: EntityId,
    model: Option<String>,
    action: Option<String>,
    detail: Option<String>,
    result: Option<String>,
    time: RowTime,
}

/// A time as a row gives it.
#[derive(Debug)]
enum RowTime {
    Text(String),
    Untyped(String),
    Seconds(f64),
    Micros(i64),
    Missing,
}

/// The columns of outcomes, by their position among those that are read.
#[derive(Debug, Default)]
struct OutcomeColumns {
    customer: usize,
    time: usize,
    id: Option<usize>,
    model: Option<usize>,
    action: Option<usize>,
    detail: Option<usize>,
    result: Option<usize>,
}

/// The rows of a file with outcomes. The whole file is never in memory.
pub(super) struct OutcomeRows {
    table: &'static Table,
    batches: TableBatches<'static>,
    columns: OutcomeColumns,
    rows: VecDeque<OutcomeRow>,
}

/// Finds columns by name.
struct Chooser<'a> {
    table: &'a Table,
    chosen: Vec<String>,
}

impl Chooser<'_> {
    fn find(&mut self, names: &[&str]) -> Option<usize> {
        let name = names
            .iter()
            .find(|name| self.table.columns().iter().any(|column| column == *name))?;
        self.chosen.push((*name).to_owned());
        Some(self.chosen.len() - 1)
    }

    fn need(&mut self, names: &[&str], what: &str) -> Result<usize, String> {
        self.find(names).ok_or_else(|| {
            let path = self.table.path().display();
            let found = self.table.columns().join(", ");
            format!(
                "{path}: expected a column `{}` with {what}, found the columns {found}",
                names[0]
            )
        })
    }
}

/// The names of the column with the id: `entity`, the contract's, goes first.
fn customer_names(entity: Option<&str>) -> Vec<&str> {
    entity.into_iter().chain(CUSTOMER).collect()
}

fn text(error: TableError) -> String {
    error.to_string()
}

impl OutcomeRows {
    /// Opens a file. `entity` is the contract's name of the id.
    ///
    /// # Errors
    /// It cannot be read, or lacks a column.
    pub(super) fn open(path: &Path, entity: Option<&str>) -> Result<Self, String> {
        // A command reads one file and ends, so the table may stay for as long.
        let table: &'static Table = Box::leak(Box::new(Table::open(path).map_err(text)?));
        let mut chooser = Chooser {
            table,
            chosen: Vec::new(),
        };
        let customer_names: Vec<&str> = customer_names(entity)
            .into_iter()
            .filter(|name| *name != "id")
            .collect();
        let columns = OutcomeColumns {
            customer: chooser.need(&customer_names, "ids of customers")?,
            time: chooser.need(&TIME, "times such as 2026-03-01T09:30:00Z")?,
            id: chooser.find(&["id"]),
            model: chooser.find(&["model"]),
            action: chooser.find(&["action"]),
            detail: chooser.find(&["detail"]),
            result: chooser.find(&["result"]),
        };
        if columns.action.is_none() && columns.result.is_none() {
            let (path, found) = (path.display(), table.columns().join(", "));
            return Err(format!(
                "{path}: expected a column `action` (call, offer, none), `result` (stayed, left) or both, found the \
                 columns {found}"
            ));
        }
        let batches = table.batches(&chooser.chosen).map_err(text)?;
        Ok(Self {
            table,
            batches,
            columns,
            rows: VecDeque::new(),
        })
    }

    /// The next rows, at most `count`; empty at the end.
    ///
    /// # Errors
    /// A value cannot be read; the message names file, row and column.
    pub(super) fn take(&mut self, count: usize) -> Result<Vec<OutcomeRow>, String> {
        while self.rows.len() < count {
            let Some(batch) = self.batches.next_batch().map_err(text)? else {
                break;
            };
            for row in 0..batch.rows {
                let number = batch.first_row + row as u64;
                let place = || format!("{}, row {number}", batch.path.display());
                let cell = |column: usize| {
                    batch
                        .columns
                        .get(column)
                        .map_or(Cell::Null, |column| column.cell(row))
                };
                let found =
                    outcome_row(&self.columns, cell).map_err(|error| format!("{}: {error}", place()))?;
                self.rows.push_back(found);
            }
        }
        let count = count.min(self.rows.len());
        Ok(self.rows.drain(..count).collect())
    }

    /// The location of the file.
    pub(super) fn path(&self) -> &Path {
        self.table.path()
    }
}

fn outcome_row<'a>(columns: &OutcomeColumns, cell: impl Fn(usize) -> Cell<'a>) -> Result<OutcomeRow, String> {
    let optional = |column: Option<usize>, name: &str| match column.map(&cell) {
        None | Some(Cell::Null) => Ok(None),
        Some(Cell::Text(text) | Cell::Untyped(text)) => {
            Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty()))
        }
        Some(Cell::Int(number)) => Ok(Some(number.to_string())),
        Some(_) => Err(format!("column `{name}`: expected a text")),
    };
    Ok(OutcomeRow {
        id: optional(columns.id, "id")?,
        customer: customer(cell(columns.customer))?,
        model: optional(columns.model, "model")?,
        action: optional(columns.action, "action")?,
        detail: optional(columns.detail, "detail")?,
        result: optional(columns.result, "result")?,
        time: match cell(columns.time) {
            Cell::Text(text) => RowTime::Text(text.to_owned()),
            Cell::Untyped(text) => RowTime::Untyped(text.to_owned()),
            #[expect(
                clippy::cast_precision_loss,
                reason = "seconds; what is beyond 2^53 is no time"
            )]
            Cell::Int(seconds) => RowTime::Seconds(seconds as f64),
            Cell::Float(seconds) => RowTime::Seconds(seconds),
            Cell::Time(micros) => RowTime::Micros(micros),
            Cell::Null | Cell::Bool(_) | Cell::Unfit { .. } => RowTime::Missing,
        },
    })
}

fn customer(cell: Cell<'_>) -> Result<EntityId, String> {
    match cell {
        Cell::Text(id) | Cell::Untyped(id) if !id.is_empty() => Ok(EntityId::Text(id.to_owned())),
        Cell::Int(id) => Ok(EntityId::Int(id)),
        _ => Err("expected the id of a customer, a text or a whole number".to_owned()),
    }
}

impl OutcomeRow {
    /// The body for a server. `model` is for rows without one.
    pub(super) fn body(&self, model: Option<&str>) -> Value {
        let customer = match &self.customer {
            EntityId::Text(id) => json!(id),
            EntityId::Int(id) => json!(id),
        };
        let time = match &self.time {
            RowTime::Text(text) | RowTime::Untyped(text) => json!(text),
            RowTime::Seconds(seconds) => json!(seconds),
            #[expect(clippy::cast_precision_loss, reason = "exact up to the year 2255")]
            RowTime::Micros(micros) => json!(instant(*micros as f64 / 1e6).map(|time| time.to_string())),
            RowTime::Missing => Value::Null,
        };
        let mut body = json!({"customer": customer, "time": time});
        for (key, value) in [
            ("id", self.id.as_deref()),
            ("model", self.model.as_deref().or(model)),
            ("action", self.action.as_deref()),
            ("detail", self.detail.as_deref()),
            ("result", self.result.as_deref()),
        ] {
            if let Some(value) = value {
                body[key] = json!(value);
            }
        }
        body
    }

    /// The record for an evaluation without a server.
    ///
    /// # Errors
    /// A field is not valid.
    pub(super) fn record(&self, model: &str, limits: TimeLimits) -> Result<OutcomeRecord, String> {
        let draft = OutcomeDraft {
            id: self.id.as_deref(),
            customer: Some(self.customer.clone()),
            model: self.model.clone().unwrap_or_else(|| model.to_owned()),
            action: self.action.as_deref(),
            detail: self.detail.as_deref(),
            result: self.result.as_deref(),
            time: Some(match &self.time {
                RowTime::Text(text) => Cell::Text(text),
                RowTime::Untyped(text) => Cell::Untyped(text),
                RowTime::Seconds(seconds) => Cell::Float(*seconds),
                RowTime::Micros(micros) => Cell::Time(*micros),
                RowTime::Missing => Cell::Null,
            }),
        };
        draft.check(limits).map_err(|error| match error.field() {
            Some(field) => format!("column `{field}`: {error}"),
            None => error.to_string(),
        })
    }
}

/// A score as a row gives it.
#[derive(Debug)]
pub(super) struct ScoreRow {
    pub(super) customer: String,
    pub(super) model: Option<String>,
    pub(super) version: u64,
    /// Microseconds since the Unix epoch.
    pub(super) at: i64,
    pub(super) score: f64,
    pub(super) hold_out: bool,
}

/// Reads a file with scores, such as a prediction log; `each` gets the rows that count. Rows with `overridden` true or a
/// list of features, or whose `arm` is `shadow`, do not. `at` is the time of all scores if no column says it, in
/// microseconds since the Unix epoch. `draw` says who was held out if no column does.
///
/// # Errors
/// It cannot be read, lacks a column, or a value is not valid.
pub(super) fn scores(
    path: &Path,
    entity: &str,
    at: Option<i64>,
    draw: &HoldOut,
    mut each: impl FnMut(ScoreRow),
) -> Result<u64, String> {
    use crate::values::feature_type::FeatureType::{Bool, Float, Int, Timestamp};
    let table = Table::open(path).map_err(text)?;
    let mut chooser = Chooser {
        table: &table,
        chosen: Vec::new(),
    };
    let customers = chooser.need(&customer_names(Some(entity)), "ids of customers")?;
    let times = chooser.find(&["at", "time", "scored_at"]);
    if times.is_none() && at.is_none() {
        return Err(format!(
            "{}: expected a column `at` with times of scores, found none; say the time of all with --at",
            path.display()
        ));
    }
    let score = chooser.need(&["score", "probability"], "scores")?;
    let (model, version) = (chooser.find(&["model"]), chooser.find(&["version"]));
    let (hold_out, overridden) = (chooser.find(&["hold_out"]), chooser.find(&["overridden"]));
    let (arm, origin) = (chooser.find(&["arm"]), chooser.find(&["origin"]));
    let mut skipped = 0_u64;
    let mut batches = table.batches(&chooser.chosen).map_err(text)?;
    while let Some(batch) = batches.next_batch().map_err(text)? {
        for row in 0..batch.rows {
            let number = batch.first_row + row as u64;
            let cell = |column: usize| {
                batch
                    .columns
                    .get(column)
                    .map_or(Cell::Null, |column| column.cell(row))
            };
            let wrong = |column: &str, error: String| {
                format!(
                    "{}, row {number}, column `{column}`: {error}",
                    batch.path.display()
                )
            };
            let flag = |column: Option<usize>, name| match column {
                None => Ok(false),
                Some(column) => match cell(column).number(Bool) {
                    Ok(value) => Ok(value == Some(1.0)),
                    Err(error) => Err(wrong(name, error)),
                },
            };
            let says = |column: Option<usize>, text: &str| {
                column.is_some_and(|column| {
                    matches!(cell(column), Cell::Text(found) | Cell::Untyped(found) if found == text)
                })
            };
            // Without a feature source every feature is in the request, and none replaces one of a source.
            let what_if = overridden.is_some_and(|column| is_set(cell(column))) && !says(origin, "request");
            if says(arm, "shadow") || what_if {
                skipped += 1;
                continue;
            }
            let found = cell(score).number(Float).map_err(|error| wrong("score", error))?;
            // A customer without a score.
            let Some(found) = found else { continue };
            if !(0.0..=1.0).contains(&found) {
                return Err(wrong(
                    "score",
                    format!("expected a probability, 0 to 1, found {found}"),
                ));
            }
            let micros = match (times, at) {
                (Some(column), _) => {
                    let found = cell(column)
                        .number(Timestamp)
                        .map_err(|error| wrong("at", error))?;
                    micros(found.ok_or_else(|| wrong("at", "expected a time, found nothing".to_owned()))?)
                }
                (None, at) => at.unwrap_or_default(),
            };
            let version = version.map_or(Ok(None), |version| cell(version).number(Int));
            let version = version.map_err(|error| wrong("version", error))?.unwrap_or(1.0);
            let customer = customer(cell(customers)).map_err(|error| wrong("customer", error))?;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "casts saturate; the reader has refused other numbers"
            )]
            each(ScoreRow {
                hold_out: match hold_out {
                    Some(_) => flag(hold_out, "hold_out")?,
                    None => draw.includes(Some(&customer)),
                },
                customer: customer.canonical().to_string(),
                model: model.and_then(|model| match cell(model) {
                    Cell::Text(name) | Cell::Untyped(name) => Some(name.to_owned()),
                    _ => None,
                }),
                version: version as u64,
                at: micros,
                score: found,
            });
        }
    }
    Ok(skipped)
}

/// Whether a cell says that features were set: true, or a list of features, as the prediction log has it.
fn is_set(cell: Cell<'_>) -> bool {
    match cell {
        Cell::Null => false,
        Cell::Bool(set) => set,
        Cell::Text(text) | Cell::Untyped(text) => {
            !["", "[]", "0", "false"].contains(&text.trim().to_ascii_lowercase().as_str())
        }
        Cell::Int(number) => number != 0,
        Cell::Float(number) => number != 0.0,
        Cell::Time(_) | Cell::Unfit { .. } => true,
    }
}

/// Converts seconds since the Unix epoch to microseconds.
pub(super) fn micros(seconds: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "times of a few thousand years")]
    let micros = (seconds * 1e6).round() as i64;
    micros
}
