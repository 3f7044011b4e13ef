//! What an earlier process left behind: complete files stay, a file in the making is removed, and its rows are counted as
//! lost, with those that were in memory.

use std::io::ErrorKind;
use std::path::Path;

use super::folder::remove_parts;
use super::marker::{KilledWriter, killed_writers};
use super::metrics::{LogMetrics, Loss};

/// Finds writers that were killed, counts their rows, and removes what they left incomplete.
pub(super) fn recover(root: &Path, metrics: &LogMetrics) {
    let killed = match killed_writers(root) {
        Ok(killed) => killed,
        Err(error) if error.kind() == ErrorKind::NotFound => return,
        Err(error) => {
            return tracing::warn!(folder = %root.display(), %error, "prediction log: earlier writers not checked");
        }
    };
    for writer in killed {
        if let Err(error) = count(root, writer, metrics) {
            tracing::warn!(folder = %root.display(), %error, "prediction log: rest of an earlier writer not removed");
        }
    }
}

fn count(root: &Path, killed: KilledWriter, metrics: &LogMetrics) -> std::io::Result<()> {
    let unfinished = remove_parts(root, &killed.writer)?;
    let writer = killed.writer.clone();
    match killed.counts.map(|counts| counts.open()) {
        None => {
            // At least one, so that the alert of lost rows says so.
            metrics.lost(Loss::Killed, 1);
            tracing::warn!(
                writer,
                unfinished,
                "prediction log: an earlier process was killed, the number of lost rows is not known"
            );
        }
        Some(0) => tracing::info!(
            writer,
            "prediction log: an earlier process was killed, no row is lost"
        ),
        Some(rows) => {
            metrics.lost(Loss::Killed, rows);
            tracing::warn!(
                writer,
                rows,
                unfinished,
                "prediction log: an earlier process was killed, rows may be missing"
            );
        }
    }
    killed.remove()
}
