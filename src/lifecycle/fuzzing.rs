//! The readers of saved states and decisions, for the fuzz targets.

use super::decisions::Decisions;
use super::state_file;

/// Reads a state file, writes its content and reads that; returns whether it is the same.
///
/// # Errors
/// It is not valid.
pub fn state_survives(text: &[u8]) -> Result<bool, String> {
    let saved = state_file::parse(text)?;
    let written = serde_json::to_vec(&saved).map_err(|error| error.to_string())?;
    Ok(state_file::parse(&written)? == saved)
}

/// Merges the decisions of two files; returns whether both orders end in the same state after one exchange.
///
/// # Errors
/// One is not valid.
pub fn decisions_converge(ours: &[u8], theirs: &[u8]) -> Result<bool, String> {
    let read = |text| serde_json::from_slice::<Decisions>(text).map_err(|error| error.to_string());
    let (ours, theirs) = (read(ours)?, read(theirs)?);
    let merged = ours.merged(&theirs);
    // What one server has merged and written, the other one and a second exchange leave as it is.
    Ok(
        theirs.merged(&merged) == merged
            && merged.merged(&theirs) == merged
            && merged.merged(&ours) == merged,
    )
}
