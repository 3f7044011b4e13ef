//! Counts that a file merely announces, without spelling out what it counts.

use crate::FormatError;

/// Always allowed, however small the file.
const FREE: usize = 1 << 16;

/// Refuses a count that is zero, or absurd for a file of so many bytes: a hundred bytes must not make the engine
/// reserve gigabytes.
pub(super) fn check(path: &str, count: usize, bytes: usize) -> Result<(), FormatError> {
    let refuse = |reason| {
        Err(FormatError {
            at: path.to_owned(),
            reason,
        })
    };
    if count == 0 {
        return refuse("there are none".to_owned());
    }
    if count > FREE && count > bytes / 4 {
        return refuse(format!("{count} of them in a file of {bytes} bytes"));
    }
    Ok(())
}
