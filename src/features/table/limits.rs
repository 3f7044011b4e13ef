//! Bounds on what a text file may make its reader hold: the columns of a table, and the bytes of one record. Where a file ends
//! is of interest too: not within a record.

use std::io::{Error, ErrorKind, Read, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The most columns of a file, as in a spreadsheet.
pub(super) const MOST_COLUMNS: usize = 16_384;

/// The most bytes of a record: a line of CSV or JSON lines.
pub(super) const RECORD_BYTES: usize = 16 << 20;

/// Checks the number of columns of a file.
///
/// # Errors
/// There are too many.
pub(super) fn check_columns(count: usize) -> std::result::Result<(), String> {
    if count <= MOST_COLUMNS {
        return Ok(());
    }
    Err(format!("expected at most {MOST_COLUMNS} columns, found {count}"))
}

/// What may still be read of the present record. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct RecordBudget {
    left: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
}

impl RecordBudget {
    /// Begins the next record.
    pub(super) fn renew(&self) {
        self.left.store(RECORD_BYTES, Ordering::Relaxed);
    }

    /// Whether the reader has asked for more after the last line. If it did so within a record, a quote does not close: any
    /// other record ends with its line.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

/// A file whose reader holds whole records: reading fails where a record is too long. Its last line has an end, even if the
/// file's has none.
#[derive(Debug)]
pub(super) struct BoundedRecords<R> {
    inner: R,
    budget: RecordBudget,
    /// Whether the end of the last line has been given.
    last_line_ended: bool,
}

impl<R> BoundedRecords<R> {
    /// Bounds the records of `inner`; the reader renews the budget before each one.
    pub(super) fn new(inner: R) -> (Self, RecordBudget) {
        let budget = RecordBudget {
            left: Arc::new(AtomicUsize::new(RECORD_BYTES)),
            ended: Arc::default(),
        };
        let bounded = Self {
            inner,
            budget: budget.clone(),
            last_line_ended: false,
        };
        (bounded, budget)
    }
}

impl<R: Read> Read for BoundedRecords<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let left = self.budget.left.load(Ordering::Relaxed);
        if left == 0 {
            let message = format!("expected a record of at most {} MiB", RECORD_BYTES >> 20);
            return Err(Error::new(ErrorKind::InvalidData, message));
        }
        let most = buffer.len().min(left);
        let count = self.inner.read(&mut buffer[..most])?;
        self.budget.left.store(left - count, Ordering::Relaxed);
        Ok(match count {
            0 => self.end_line(buffer),
            count => count,
        })
    }
}

impl<R> BoundedRecords<R> {
    /// Ends the last line once, which adds no record: CSV skips empty lines. Then says that nothing follows.
    fn end_line(&mut self, buffer: &mut [u8]) -> usize {
        let Some(first) = buffer.first_mut() else { return 0 };
        if std::mem::replace(&mut self.last_line_ended, true) {
            self.budget.ended.store(true, Ordering::Relaxed);
            return 0;
        }
        *first = b'\n';
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_an_end() {
        let (mut endless, budget) = BoundedRecords::new(std::io::repeat(b'x'));
        let mut buffer = vec![0; RECORD_BYTES];
        endless.read_exact(&mut buffer).unwrap();
        assert!(endless.read(&mut buffer).is_err());
        budget.renew();
        assert!(endless.read(&mut buffer).is_ok());
        assert!(check_columns(MOST_COLUMNS).is_ok() && check_columns(MOST_COLUMNS + 1).is_err());
    }
}
