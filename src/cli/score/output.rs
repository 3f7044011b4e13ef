//! Where scores and rejected rows go: standard output, one file, or a folder of part files.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::checkpoint::{CHECKPOINT, Checkpoint};
use super::error::JobError;
use super::input::{STANDARD, SUCCESS};
use super::place::Place;
use super::resolve;
use crate::cli::rejects::Rejects;
use crate::cli::sink::{OutputFormat, Target};
use crate::config::StorageSection;
use crate::config::location::is_remote;
use crate::features::table::FileKind;

/// The output of a job.
pub(super) enum Output {
    /// Nothing but what a store gets.
    None,
    /// Standard output.
    Standard(OutputFormat),
    /// One file.
    File(OutputFile, OutputFormat),
    /// Part files in a folder.
    Parts(Place, OutputFormat),
}

/// One file, local or in object storage, that appears when it is complete.
pub(super) struct OutputFile {
    place: Place,
    name: String,
    /// The path, if it is local.
    local: Option<PathBuf>,
}

impl OutputFile {
    /// Prepares a file; nothing is written yet.
    ///
    /// # Errors
    /// The location has no name, its folder does not exist or cannot be written, or its storage cannot be opened.
    pub(super) fn new(location: &Path, storage: &StorageSection) -> Result<Self, JobError> {
        let (folder, name) = split(location)?;
        if !is_remote(location) && location.is_dir() {
            return Err(format!("{}: expected a file, found a folder", location.display()).into());
        }
        let place = Place::open(&folder, storage)?;
        place.check()?;
        Ok(Self {
            place,
            name,
            local: (!is_remote(location)).then(|| location.to_owned()),
        })
    }

    /// Its location; of one file always the same, if it is local.
    pub(super) fn location(&self) -> String {
        let resolved = self.local.as_deref().and_then(resolve);
        let shown = resolved.map(|path| path.display().to_string());
        shown.unwrap_or_else(|| self.place.shown(&self.name))
    }

    /// Whether it is there.
    ///
    /// # Errors
    /// The storage cannot be read.
    pub(super) fn exists(&self) -> Result<bool, String> {
        self.place.has(&self.name)
    }

    /// Begins the file.
    ///
    /// # Errors
    /// It cannot be created.
    pub(super) fn target(&self) -> Result<Target, String> {
        match &self.local {
            Some(path) => Target::at(path),
            None => self.place.target(&self.name),
        }
    }

    /// Makes the complete file visible.
    ///
    /// # Errors
    /// The storage cannot be written.
    pub(super) fn publish(&self) -> Result<(), String> {
        match &self.local {
            Some(_) => Ok(()),
            None => self.place.publish(&self.name),
        }
    }
}

/// The folder and the name of a file; of a URL in object storage too.
///
/// # Errors
/// There is no name.
pub(super) fn split(location: &Path) -> Result<(PathBuf, String), String> {
    let text = location.to_string_lossy();
    let (folder, name) = text.rsplit_once('/').unwrap_or((".", &text));
    if name.is_empty() || name == ".." {
        return Err(format!("{text}: expected the name of a file"));
    }
    let folder = if folder.is_empty() { "/" } else { folder };
    Ok((PathBuf::from(folder), name.to_owned()))
}

/// Whether a location is a folder for part files: it exists, or ends with a slash.
pub(super) fn is_folder(location: &Path) -> bool {
    location.to_string_lossy().ends_with('/') || location.is_dir()
}

impl Output {
    /// Opens the output at `location`.
    ///
    /// # Errors
    /// The format is unknown or does not fit, another job uses the folder, or it cannot be made.
    pub(super) fn open(
        location: Option<&Path>,
        format: Option<FileKind>,
        storage: &StorageSection,
    ) -> Result<Self, JobError> {
        let plain = |kind| OutputFormat {
            kind,
            compression: None,
        };
        let Some(location) = location else {
            return Ok(Self::None);
        };
        if location.as_os_str() == STANDARD {
            return Ok(Self::Standard(plain(format.unwrap_or(FileKind::Csv))));
        }
        if is_folder(location) {
            let place = Place::open(location, storage)?.lock()?;
            return Ok(Self::Parts(place, plain(format.unwrap_or(FileKind::Parquet))));
        }
        let found = match format {
            Some(kind) => plain(kind),
            None => OutputFormat::of(location)
                .map_err(|error| format!("{error}; a folder of part files ends with /"))?,
        };
        Ok(Self::File(OutputFile::new(location, storage)?, found))
    }

    /// The format, if there is an output.
    pub(super) fn format(&self) -> Option<OutputFormat> {
        match self {
            Self::None => None,
            Self::Standard(format) | Self::File(_, format) | Self::Parts(_, format) => Some(*format),
        }
    }

    /// Begins the output, or its part of this number.
    ///
    /// # Errors
    /// It cannot be created.
    pub(super) fn target(&self, part: u32) -> Result<Option<Target>, String> {
        match self {
            Self::None => Ok(None),
            Self::Standard(_) => Ok(Some(Target::stdout())),
            Self::File(file, _) => file.target().map(Some),
            Self::Parts(place, format) => place.target(&part_name(part, *format)).map(Some),
        }
    }

    /// Makes the complete output, or its part of this number, visible.
    ///
    /// # Errors
    /// The storage cannot be written.
    pub(super) fn publish(&self, part: u32) -> Result<(), String> {
        match self {
            Self::None | Self::Standard(_) => Ok(()),
            Self::File(file, _) => file.publish(),
            Self::Parts(place, format) => place.publish(&part_name(part, *format)),
        }
    }
}

pub(super) fn part_name(part: u32, format: OutputFormat) -> String {
    format!("part-{part:05}{}", format.ending())
}

/// Whether a job names a part so, in any format: it may start over with another one.
fn is_part(name: &str) -> bool {
    let kinds = [
        FileKind::Parquet,
        FileKind::Csv,
        FileKind::Tsv,
        FileKind::JsonLines,
    ];
    let number = kinds.into_iter().find_map(|kind| {
        let compression = None;
        let ending = OutputFormat { kind, compression }.ending();
        name.strip_prefix("part-")?.strip_suffix(&ending)
    });
    number.is_some_and(is_number)
}

/// Whether a job names a part of its rejects so.
fn is_part_of_rejects(name: &str) -> bool {
    let rest = name.strip_prefix(PARTS_OF_REJECTS);
    rest.and_then(|rest| rest.strip_suffix(".csv"))
        .is_some_and(is_number)
}

/// Whether a text is the number of a part: at least five digits.
fn is_number(text: &str) -> bool {
    text.len() >= 5 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Checks that a folder for part files has nothing of another origin. With `restart`, the checkpoint of a job that begins,
/// removes what a job has left.
///
/// # Errors
/// There are files that no job has written, or the storage cannot be read or written.
pub(super) fn prepare_folder(place: &Place, restart: Option<&Checkpoint>) -> Result<(), JobError> {
    let names = place.names().map_err(JobError::Output)?;
    let is_ours = |name: &&String| is_part(name) || is_part_of_rejects(name) || **name == SUCCESS;
    let foreign = names
        .iter()
        .find(|name| !is_ours(name) && **name != CHECKPOINT && !name.starts_with('.'));
    if let Some(name) = foreign {
        return Err(format!(
            "{}: expected an empty folder, or one of an earlier job; choose another --output",
            place.shown(name)
        )
        .into());
    }
    let ours: Vec<&String> = names.iter().filter(is_ours).collect();
    if let Some(name) = ours
        .first()
        .filter(|_| !names.iter().any(|name| name == CHECKPOINT))
    {
        return Err(format!(
            "{}: another program has written this folder; choose another --output, or remove its files",
            place.shown(name)
        )
        .into());
    }
    let Some(begun) = restart else {
        return Ok(());
    };
    // First what says that the folder or a part is complete: after a failure in between nothing counts on parts that are
    // gone, and the folder is known as a job's.
    let cleared = place
        .remove(SUCCESS)
        .and_then(|()| begun.write(place, CHECKPOINT))
        .and_then(|()| ours.into_iter().try_for_each(|name| place.remove(name)));
    cleared.map_err(JobError::Output)
}

/// The beginning of the names of the parts of the rejects in a folder of part files.
pub(super) const PARTS_OF_REJECTS: &str = "_rejects-";

/// Joins the parts of the rejects to one file.
///
/// # Errors
/// A part cannot be read, or the file not written.
pub(super) fn join_rejects(file: &OutputFile, place: &Place, names: &[String]) -> Result<(), String> {
    // The header is a record; what follows is already CSV.
    Rejects::new(file.target()?)?.finish_with(|target| {
        let mut buffer = vec![0; 1 << 16];
        names.iter().try_for_each(|name| {
            place.with_file(name, |path| {
                let fail = |error: std::io::Error| format!("{}: {error}", path.display());
                let mut part = std::fs::File::open(path).map_err(fail)?;
                loop {
                    let count = part.read(&mut buffer).map_err(fail)?;
                    if count == 0 {
                        return Ok(());
                    }
                    target
                        .write_all(&buffer[..count])
                        .map_err(|error| target.fail(&error))?;
                }
            })
        })
    })?;
    file.publish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::score::checkpoint::JobIdentity;

    /// The checkpoint of a job that begins.
    fn begun() -> Checkpoint {
        let job: JobIdentity = serde_json::from_value(serde_json::json!({
            "model": "m", "version": 1, "sha256": "", "bundle_sha256": "", "options": {}, "input": {"files": 1, "sha256": ""}
        }))
        .unwrap();
        Checkpoint::new(job, 0.0)
    }

    #[test]
    fn a_restart_forgets_the_parts_and_the_folder_stays_a_jobs() {
        let root = tempfile::tempdir().unwrap();
        for name in [SUCCESS, CHECKPOINT, "part-00000.csv", "_rejects-00000.csv"] {
            std::fs::write(root.path().join(name), "old").unwrap();
        }
        let place = Place::open(root.path(), &StorageSection::default()).unwrap();
        let begun = begun();
        prepare_folder(&place, Some(&begun)).unwrap();
        assert_eq!(place.names().unwrap(), [CHECKPOINT]);
        let found = Checkpoint::read(&place, CHECKPOINT, &begun.job).unwrap().unwrap();
        assert_eq!((found.parts, found.complete), (0, false));
    }

    #[test]
    fn only_what_a_job_names_so_is_a_part() {
        for part in [
            "part-00000.parquet",
            "part-00012.csv",
            "part-100000.jsonl",
            "part-00001.tsv",
        ] {
            assert!(is_part(part), "{part}");
        }
        for other in [
            "part-list.csv",
            "part-0.parquet",
            "part-00000",
            "part-00000-5e1c.parquet",
            "part-00000.txt",
        ] {
            assert!(!is_part(other), "{other}");
            let root = tempfile::tempdir().unwrap();
            std::fs::write(root.path().join(other), "mine").unwrap();
            std::fs::write(root.path().join(CHECKPOINT), "old").unwrap();
            let place = Place::open(root.path(), &StorageSection::default()).unwrap();
            let error = format!("{:?}", prepare_folder(&place, Some(&begun())).unwrap_err());
            assert!(
                error.contains(other) && error.contains("expected an empty folder"),
                "{error}"
            );
            assert!(root.path().join(other).exists());
        }
        assert!(is_part_of_rejects("_rejects-00000.csv") && !is_part_of_rejects("_rejects-mine.csv"));
    }
}
