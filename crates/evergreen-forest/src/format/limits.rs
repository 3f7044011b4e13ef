//! Limits for counts that a file announces without listing the items.

use crate::FormatError;

/// Always allowed, however small the file.
const FREE: usize = 1 << 16;

/// Rejects a count of zero, or one that is implausible for a file of `bytes` bytes: a file of a hundred bytes
/// must not make the engine reserve gigabytes.
pub(super) fn check(path: &str, count: usize, bytes: usize) -> Result<(), FormatError> {
    let reject = |reason| {
        Err(FormatError {
            at: path.to_owned(),
            reason,
        })
    };
    if count == 0 {
        return reject("expected at least 1, found 0".to_owned());
    }
    if count > FREE && count > bytes / 4 {
        return reject(format!("{count} is implausible for a file of {bytes} bytes"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_limited_by_the_length_of_the_file() {
        assert!(check("n", 0, 100).is_err());
        assert!(check("n", FREE, 100).is_ok());
        assert!(check("n", FREE + 1, 100).is_err());
        assert!(check("n", FREE + 1, 4 * (FREE + 1)).is_ok());
    }
}
