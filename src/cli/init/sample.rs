//! The sample rows: which columns are the model's features, and their first cells.

use std::collections::HashSet;

use evergreen_forest::Forest;

use crate::cli::offline::is_id;
use crate::cli::sink::id_text;
use crate::features::table::Table;
use crate::suggest::hint;
use crate::values::cell::Cell;

/// Rows that are looked at: the first ones, which bounds memory.
const MOST_ROWS: usize = 20_000;

/// A cell that outlives its batch.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum OwnedCell {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Untyped(String),
    Time(i64),
}

impl OwnedCell {
    fn of(cell: Cell<'_>) -> Self {
        match cell {
            // The reader of a sample refuses values that nothing can take.
            Cell::Null | Cell::Unfit { .. } => Self::Null,
            Cell::Bool(value) => Self::Bool(value),
            Cell::Int(value) => Self::Int(value),
            Cell::Float(value) => Self::Float(value),
            Cell::Text(text) => Self::Text(text.to_owned()),
            Cell::Untyped(text) => Self::Untyped(text.to_owned()),
            Cell::Time(micros) => Self::Time(micros),
        }
    }

    /// The cell as readers give it.
    pub(super) fn cell(&self) -> Cell<'_> {
        match self {
            Self::Null => Cell::Null,
            Self::Bool(value) => Cell::Bool(*value),
            Self::Int(value) => Cell::Int(*value),
            Self::Float(value) => Cell::Float(*value),
            Self::Text(text) => Cell::Text(text),
            Self::Untyped(text) => Cell::Untyped(text),
            Self::Time(micros) => Cell::Time(*micros),
        }
    }
}

/// The first rows of a table.
pub(super) struct Sample {
    pub(super) rows: usize,
    /// By feature.
    pub(super) columns: Vec<Vec<OwnedCell>>,
}

/// The id column: the given one, or the only one named like an id.
///
/// # Errors
/// There is none, or it is not clear which one it is.
pub(super) fn id_column(table: &Table, forest: &Forest, given: Option<&str>) -> Result<String, String> {
    let path = table.path().display();
    let names = table.columns();
    if let Some(given) = given {
        return match names.iter().find(|name| *name == given) {
            Some(name) => Ok(name.clone()),
            None => {
                let hint = hint(given, names.iter().map(String::as_str));
                Err(format!("--id: {path} has no column `{given}`{hint}"))
            }
        };
    }
    let is_feature = |name: &str| forest.features().iter().any(|feature| feature.name == name);
    let found: Vec<&String> = names
        .iter()
        .filter(|name| is_id(name) && !is_feature(name))
        .collect();
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        [] => {
            let others = names.iter().filter(|name| !is_feature(name));
            let others: Vec<String> = others.take(9).map(|name| format!("`{name}`")).collect();
            let others = match others.is_empty() {
                true => "every column is a feature of the model".to_owned(),
                false => format!("the columns that are no features are {}", others.join(", ")),
            };
            Err(format!(
                "{path}: expected an id column, such as customer_id, by which a server finds a customer; {others}. \
                 Name it with --id"
            ))
        }
        several => {
            let names: Vec<String> = several.iter().map(|name| format!("`{name}`")).collect();
            Err(format!(
                "{path}: {} could be the id; choose with --id",
                names.join(" and ")
            ))
        }
    }
}

/// The columns of the features, in the model's order.
///
/// # Errors
/// The model has no names, or the table lacks a column.
pub(super) fn feature_columns(
    table: &Table,
    forest: &Forest,
    id: &str,
    by_position: bool,
) -> Result<Vec<String>, String> {
    let path = table.path().display();
    let features = forest.features();
    if forest.summary().named {
        let names: Vec<String> = features.iter().map(|feature| feature.name.clone()).collect();
        return table
            .batches(&names)
            .map(|_| names)
            .map_err(|error| format!("the model and the rows do not match: {error}"));
    }
    let others: Vec<String> = table
        .columns()
        .iter()
        .filter(|name| *name != id)
        .cloned()
        .collect();
    if !by_position {
        return Err(format!(
            "the model file has no names of features, so columns cannot be matched; train with a data frame, or use \
             --by-position if the columns of {path} but `{id}` are the {} features in the order of training",
            features.len()
        ));
    }
    if others.len() != features.len() {
        return Err(format!(
            "{path}: expected {} columns beside `{id}`, as the model has features, found {}",
            features.len(),
            others.len()
        ));
    }
    Ok(others)
}

impl Sample {
    /// Reads the first rows.
    ///
    /// # Errors
    /// A row cannot be read, there is none, or an id is missing or occurs twice.
    pub(super) fn read(table: &Table, id: &str, columns: &[String]) -> Result<Self, String> {
        let chosen: Vec<String> = [id.to_owned()]
            .into_iter()
            .chain(columns.iter().cloned())
            .collect();
        let mut batches = table.batches(&chosen).map_err(|error| error.to_string())?;
        let mut sample = Self {
            rows: 0,
            columns: vec![Vec::new(); columns.len()],
        };
        let mut ids = HashSet::new();
        while let Some(batch) = batches.next_batch().map_err(|error| error.to_string())? {
            for row in 0..batch.rows.min(MOST_ROWS - sample.rows) {
                let at = batch.first_row + row as u64;
                let path = batch.path.display();
                match id_text(batch.columns[0].cell(row)) {
                    None => {
                        return Err(format!(
                            "{path}, row {at}: column `{id}` is empty; choose the id with --id"
                        ));
                    }
                    Some(value) if !ids.insert(value.clone()) => {
                        return Err(format!(
                            "{path}, row {at}: the id \"{value}\" occurs twice in `{id}`; a server needs one row per \
                             customer, or choose another column with --id"
                        ));
                    }
                    Some(_) => {}
                }
                for (cells, column) in sample.columns.iter_mut().zip(&batch.columns[1..]) {
                    cells.push(OwnedCell::of(column.cell(row)));
                }
                sample.rows += 1;
            }
            if sample.rows == MOST_ROWS {
                break;
            }
        }
        match sample.rows {
            0 => Err(format!("{}: expected rows, found none", table.path().display())),
            _ => Ok(sample),
        }
    }
}
