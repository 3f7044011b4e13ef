//! How far a job has come, for the run after one that was killed. A checkpoint belongs to its input, model and options: what
//! they say is in the file, and another job is refused.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::error::JobError;
use super::input::InputIdentity;
use super::pipeline::Position;
use super::place::Place;
use super::summary::Counts;
use crate::cli::sink::IdType;

/// The name of the checkpoint in a folder of part files. Readers skip names that begin with `_`.
pub(super) const CHECKPOINT: &str = "_evergreen.json";

/// What a job computes. Two jobs with equal values write the same rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct JobIdentity {
    pub(super) model: String,
    pub(super) version: u64,
    pub(super) sha256: String,
    /// SHA-256 of `bundle.toml`: bands, ranges, bounds and words of reasons change what is written too. Of the model file
    /// without a contract.
    pub(super) bundle_sha256: String,
    /// The options that change what is written.
    pub(super) options: BTreeMap<String, String>,
    pub(super) input: InputIdentity,
}

impl JobIdentity {
    /// What differs in another job, in words; `None` if nothing does.
    fn difference(&self, then: &Self) -> Option<String> {
        if self.sha256 != then.sha256 || self.model != then.model || self.version != then.version {
            return Some(format!(
                "it was begun with version {} of the model {} ({}), and now it is version {} of {} ({})",
                then.version,
                then.model,
                short(&then.sha256),
                self.version,
                self.model,
                short(&self.sha256)
            ));
        }
        if self.bundle_sha256 != then.bundle_sha256 {
            return Some(format!(
                "it was begun with another contract of version {} of the model {} (bundle.toml {}), and now it is {}",
                then.version,
                then.model,
                short(&then.bundle_sha256),
                short(&self.bundle_sha256)
            ));
        }
        if let Some(change) = self.input.difference(&then.input) {
            return Some(format!("the input has changed since it was begun: {change}"));
        }
        let names = self.options.keys().chain(then.options.keys());
        let value = |options: &BTreeMap<String, String>, name| options.get(name).cloned().unwrap_or_default();
        let found = names.map(|name| (name, value(&then.options, name), value(&self.options, name)));
        let mut differing = found.filter(|(_, then, now)| then != now);
        differing
            .next()
            .map(|(name, then, now)| format!("it was begun with {name} \"{then}\", and now it is \"{now}\""))
    }
}

/// The first characters of a SHA-256.
pub(super) fn short(sha256: &str) -> &str {
    sha256.get(..12).unwrap_or(sha256)
}

/// How far a job has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    format: u32,
    pub(super) job: JobIdentity,
    /// The time as of which derived features are computed, in seconds since the Unix epoch.
    pub(super) as_of: f64,
    /// Parts that are complete.
    pub(super) parts: u32,
    /// Where they end in the input.
    pub(super) end: Position,
    /// What is in them.
    pub(super) counts: Counts,
    /// The type of ids in Parquet.
    pub(super) ids: Option<IdType>,
    /// Whether the job is complete.
    pub(super) complete: bool,
    /// Where a complete job has written its rejects.
    #[serde(default)]
    pub(super) rejects: Option<String>,
}

/// The version of the file's format.
const FORMAT: u32 = 3;

/// What a checkpoint of every format has.
#[derive(Deserialize)]
struct AnyFormat {
    format: u32,
    #[serde(rename = "job")]
    _job: BTreeMap<String, serde_json::Value>,
    #[serde(rename = "parts")]
    _parts: u32,
}

impl Checkpoint {
    /// The beginning of a job.
    pub(super) fn new(job: JobIdentity, as_of: f64) -> Self {
        Self {
            format: FORMAT,
            job,
            as_of,
            parts: 0,
            end: Position::default(),
            counts: Counts::default(),
            ids: None,
            complete: false,
            rejects: None,
        }
    }

    /// Reads how far the same job has come; `None` if it has not begun.
    ///
    /// # Errors
    /// The file is of another job, or not a checkpoint; or the storage cannot be read.
    pub(super) fn read(place: &Place, name: &str, job: &JobIdentity) -> Result<Option<Self>, JobError> {
        let shown = place.shown(name);
        let Some(bytes) = place.read(name).map_err(JobError::Output)? else {
            return Ok(None);
        };
        let no_checkpoint = |error| no_checkpoint(&shown, name, &error);
        // First what every format has: another one may lack fields of this one.
        let AnyFormat { format, .. } = serde_json::from_slice(&bytes).map_err(no_checkpoint)?;
        if format != FORMAT {
            return Err(JobError::Input(format!(
                "{shown}: expected format {FORMAT}, found {format}; --restart starts over"
            )));
        }
        let found: Self = serde_json::from_slice(&bytes).map_err(no_checkpoint)?;
        match job.difference(&found.job) {
            Some(difference) => Err(JobError::Input(format!(
                "{shown}: another job, so it cannot be continued: {difference}; --restart starts over, or choose another output"
            ))),
            None => Ok(Some(found)),
        }
    }

    /// Checks that a job that starts over replaces a checkpoint, and no file of another kind that the user has named.
    ///
    /// # Errors
    /// The file is no checkpoint; or the storage cannot be read.
    pub(super) fn check_replaceable(place: &Place, name: &str) -> Result<(), JobError> {
        let Some(bytes) = place.read(name).map_err(JobError::Output)? else {
            return Ok(());
        };
        let found: Result<AnyFormat, _> = serde_json::from_slice(&bytes);
        found
            .map(drop)
            .map_err(|error| no_checkpoint(&place.shown(name), name, &error).into())
    }

    /// Writes it as a whole.
    ///
    /// # Errors
    /// The storage cannot be written.
    pub(super) fn write(&self, place: &Place, name: &str) -> Result<(), String> {
        let text = serde_json::to_vec_pretty(self).map_err(|error| error.to_string())?;
        place.write(name, &text)
    }
}

/// The message of a file that is no checkpoint. In a folder of part files its name is the job's; a file that the user has named
/// may be anything.
fn no_checkpoint(shown: &str, name: &str, error: &serde_json::Error) -> String {
    let advice = match name {
        CHECKPOINT => "--restart replaces it",
        _ => "choose another --checkpoint, such as job.json, or remove the file",
    };
    format!("{shown}: expected a checkpoint of evergreen score, found another file ({error}); {advice}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::StorageSection;

    /// A job of a model with these checksums.
    fn job(sha256: &str, bundle_sha256: &str) -> JobIdentity {
        serde_json::from_value(serde_json::json!({
            "model": "churn", "version": 1, "sha256": sha256, "bundle_sha256": bundle_sha256, "options": {},
            "input": {"files": 1, "sha256": ""}
        }))
        .unwrap()
    }

    #[test]
    fn another_contract_of_the_same_model_file_is_another_job() {
        let then = job("a", "b");
        assert_eq!(then.difference(&then), None);
        let difference = job("a", "c").difference(&then).unwrap();
        assert!(
            difference.contains("another contract of version 1 of the model churn"),
            "{difference}"
        );
        let difference = job("d", "c").difference(&then).unwrap();
        assert!(difference.contains("begun with version 1"), "{difference}");
    }

    #[test]
    fn a_checkpoint_of_another_format_is_named_as_such() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(
            root.path().join("job.json"),
            r#"{"format": 2, "job": {}, "parts": 3}"#,
        )
        .unwrap();
        let place = Place::open(root.path(), &StorageSection::default()).unwrap();
        let error = Checkpoint::read(&place, "job.json", &job("a", "b")).unwrap_err();
        let error = format!("{error:?}");
        assert!(
            error.starts_with("Input") && error.contains("expected format 3, found 2"),
            "{error}"
        );
    }

    #[test]
    fn a_job_that_starts_over_replaces_checkpoints_only() {
        let root = tempfile::tempdir().unwrap();
        let place = Place::open(root.path(), &StorageSection::default()).unwrap();
        assert!(Checkpoint::check_replaceable(&place, "job.json").is_ok());
        Checkpoint::new(job("a", "b"), 0.0)
            .write(&place, "job.json")
            .unwrap();
        assert!(Checkpoint::check_replaceable(&place, "job.json").is_ok());
        for other in ["", "id,a\n1,2\n", "{}", r#"{"format": 3}"#] {
            std::fs::write(root.path().join("rows.csv"), other).unwrap();
            let error = format!(
                "{:?}",
                Checkpoint::check_replaceable(&place, "rows.csv").unwrap_err()
            );
            assert!(
                error.contains("rows.csv: expected a checkpoint of evergreen score"),
                "{error}"
            );
        }
    }
}
