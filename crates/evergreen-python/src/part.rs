//! The outputs of consecutive rows: each thread fills one, and they are joined.

use arrow_array::StringArray;
use arrow_buffer::NullBuffer;

/// The numbers of one column, for some rows.
#[derive(Debug)]
pub(crate) enum Numbers {
    Single(Vec<f32>),
    Double(Vec<f64>),
    Whole(Vec<i64>),
    Count(Vec<i32>),
    /// Positions in the list of bands, counted from 1; 0 is below the first.
    Band(Vec<u32>),
    /// The texts are with the failures.
    Error,
}

/// The outputs of consecutive rows.
#[derive(Debug, Default)]
pub(crate) struct Part {
    pub(crate) rows: usize,
    pub(crate) columns: Vec<Numbers>,
    /// Rows without a score, and why.
    pub(crate) unscored: Vec<Unscored>,
}

/// A row without a score.
#[derive(Debug)]
pub(crate) struct Unscored {
    pub(crate) row: usize,
    pub(crate) reason: String,
    /// Its score is not finite; other outputs are there.
    pub(crate) score_only: bool,
}

/// Joins consecutive parts.
pub(crate) fn joined(parts: Vec<Part>) -> Option<Part> {
    let mut parts = parts.into_iter();
    let mut first = parts.next()?;
    for part in parts {
        let start = first.rows;
        first.rows += part.rows;
        let moved = part.unscored.into_iter().map(|unscored| Unscored {
            row: start + unscored.row,
            ..unscored
        });
        first.unscored.extend(moved);
        for pair in first.columns.iter_mut().zip(part.columns) {
            match pair {
                (Numbers::Single(to), Numbers::Single(from)) => to.extend(from),
                (Numbers::Double(to), Numbers::Double(from)) => to.extend(from),
                (Numbers::Whole(to), Numbers::Whole(from)) => to.extend(from),
                (Numbers::Count(to), Numbers::Count(from)) => to.extend(from),
                (Numbers::Band(to), Numbers::Band(from)) => to.extend(from),
                // Both are of one list of kinds.
                _ => {}
            }
        }
    }
    Some(first)
}

/// Which rows have a value; `None` if all have.
pub(crate) fn nulls(part: &Part, counts: impl Fn(&Unscored) -> bool) -> Option<NullBuffer> {
    let mut without = part
        .unscored
        .iter()
        .filter(|unscored| counts(unscored))
        .peekable();
    without.peek()?;
    let mut valid = vec![true; part.rows];
    for unscored in without {
        valid[unscored.row] = false;
    }
    Some(valid.into())
}

/// The reasons of the rows without a score, as a column.
pub(crate) fn reasons(rows: usize, unscored: &[Unscored]) -> StringArray {
    let mut reasons = vec![None; rows];
    for unscored in unscored {
        reasons[unscored.row] = Some(unscored.reason.as_str());
    }
    reasons.into()
}
