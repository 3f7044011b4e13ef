//! Journals of scores, one for each period. A customer and version has one score in it, the first.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, TryLockError};

use super::super::contact::MOST_SHOWN;
use super::super::interface::StoreError;
use super::super::journal::{self, Journal};
use super::super::metrics::OutcomeMetrics;
use super::super::{DAY, ScoreRecord, period};
use super::lines::{score, score_line};
use super::places::{self, Place};
use super::{customer_hash, hash, lock, report, unwritable};
use crate::config::OutcomesSection;

const SCORES: &str = "scores-";
pub(super) const JOURNAL: &str = ".journal";

/// Most customers and versions with a score in one period: 40 MB of memory for each million.
const MOST_SEEN: usize = 2_000_000;

/// The journals of scores of a folder.
#[derive(Debug)]
pub(super) struct ScoreFiles {
    folder: PathBuf,
    most_bytes: u64,
    days: u32,
    scores: Mutex<Scores>,
    /// Held while an index is made: by one thread at a time, as it takes as long as reading the journal.
    indexing: Mutex<()>,
    metrics: OutcomeMetrics,
}

#[derive(Debug, Default)]
struct Scores {
    current: Option<Current>,
    /// Bytes of the files of other periods.
    other_bytes: u64,
}

/// The period that scores are written for.
#[derive(Debug)]
struct Current {
    number: i64,
    path: PathBuf,
    journal: Journal,
    /// Customers and versions that have a score in it.
    seen: HashSet<u64>,
    /// Where the scores of each customer are, in the order of the lines.
    places: Vec<Place>,
}

/// A journal of scores, with the bytes that it and its index take.
struct ScoreFile {
    path: PathBuf,
    first_day: i64,
    bytes: u64,
}

impl ScoreFiles {
    /// The journals of a folder; nothing is read yet.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub(super) fn open(section: &OutcomesSection, metrics: &OutcomeMetrics) -> io::Result<Self> {
        let files = Self {
            folder: section.folder.clone(),
            most_bytes: section.folder_bytes,
            days: section.score_days,
            scores: Mutex::default(),
            indexing: Mutex::default(),
            metrics: metrics.clone(),
        };
        let bytes = files.list()?.iter().map(|file| file.bytes).sum();
        lock(&files.scores).other_bytes = bytes;
        Ok(files)
    }

    /// Bytes of all journals and their indexes.
    pub(super) fn bytes(&self) -> u64 {
        let scores = lock(&self.scores);
        let current = scores.current.as_ref();
        scores.other_bytes + current.map_or(0, |current| current.journal.length())
    }

    /// Keeps the scores that are the first of their customer and version in their period. Returns how many those are.
    /// `outcome_bytes` is what the folder has beside scores.
    ///
    /// # Errors
    /// They were not kept: the store is full or cannot write.
    pub(super) fn write(&self, records: &[ScoreRecord], outcome_bytes: u64) -> Result<usize, StoreError> {
        let mut scores = lock(&self.scores);
        let mut kept = 0;
        let same = |a: &ScoreRecord, b: &ScoreRecord| period(a.at, self.days) == period(b.at, self.days);
        for part in records.chunk_by(same) {
            let Some(first) = part.first() else { continue };
            let number = period(first.at, self.days);
            self.begin_period(&mut scores, number)
                .map_err(|error| unwritable(&self.folder, &error))?;
            let other_bytes = scores.other_bytes + outcome_bytes;
            if let Some(current) = &mut scores.current {
                kept += self.add(current, part, other_bytes)?;
            }
        }
        Ok(kept)
    }

    fn add(
        &self,
        current: &mut Current,
        records: &[ScoreRecord],
        other_bytes: u64,
    ) -> Result<usize, StoreError> {
        let start = current.journal.length();
        let mut block = Vec::new();
        let mut places = Vec::new();
        let mut new = HashSet::new();
        for record in records {
            let key = seen_key(record);
            if !current.seen.contains(&key) && new.insert(key) {
                places.push(Place {
                    customer: customer_hash(&record.model, &record.customer),
                    at: start + block.len() as u64,
                });
                journal::add_line(&mut block, &score_line(record));
            }
        }
        if other_bytes + start + block.len() as u64 > self.most_bytes {
            return Err(super::too_large(&self.folder, self.most_bytes));
        }
        if current.seen.len() + new.len() > MOST_SEEN {
            return Err(StoreError::Full(format!(
                "more than {MOST_SEEN} scores in {} days; lower outcomes.share or use PostgreSQL",
                self.days
            )));
        }
        current
            .journal
            .append(&block, false)
            .map_err(|error| unwritable(&self.folder, &error))?;
        let kept = new.len();
        current.seen.extend(new);
        current.places.extend(places);
        Ok(kept)
    }

    /// Opens the journal of a period, and reads which customers have a score in it.
    fn begin_period(&self, scores: &mut Scores, number: i64) -> io::Result<()> {
        if scores
            .current
            .as_ref()
            .is_some_and(|current| current.number == number)
        {
            return Ok(());
        }
        scores.current = None;
        let day = number * i64::from(self.days) - 3;
        let path = self.folder.join(format!("{SCORES}{day}{JOURNAL}"));
        let (mut seen, mut places) = (HashSet::new(), Vec::new());
        let found = journal::read_places(&path, |at, text| {
            if let Some(record) = score(text) {
                seen.insert(seen_key(&record));
                places.push(Place {
                    customer: customer_hash(&record.model, &record.customer),
                    at,
                });
            }
        })?;
        report(&path, found.damaged, found.torn, &self.metrics);
        let journal = Journal::open(&path, found)?;
        let files = self.list()?;
        let others = files.iter().filter(|file| file.path != path);
        scores.other_bytes = others.map(|file| file.bytes).sum();
        scores.current = Some(Current {
            number,
            path,
            journal,
            seen,
            places,
        });
        Ok(())
    }

    /// Waits until written scores are on the disk. A failure costs scores after a crash of the machine, nothing else.
    pub(super) fn sync(&self) {
        if let Some(current) = &lock(&self.scores).current
            && let Err(error) = current.journal.sync()
        {
            tracing::warn!(%error, "scores for outcomes not on the disk");
        }
    }

    /// Shows the scores of a model, the oldest period first.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(super) fn read(&self, model: &str, mut each: impl FnMut(&ScoreRecord)) -> Result<(), StoreError> {
        let files = self.list().map_err(|error| unreadable(&self.folder, &error))?;
        for file in files {
            let read = journal::read(&file.path, |text| {
                if let Some(record) = score(text).filter(|record| record.model == model) {
                    each(&record);
                }
            });
            read.map_err(|error| unreadable(&file.path, &error))?;
        }
        Ok(())
    }

    /// The scores of a customer, the newest first, at most [`MOST_SHOWN`].
    ///
    /// # Errors
    /// A file cannot be read, or is being read for its index.
    pub(super) fn of_customer(&self, model: &str, customer: &str) -> Result<Vec<ScoreRecord>, StoreError> {
        let mut files = self.list().map_err(|error| unreadable(&self.folder, &error))?;
        files.sort_by_key(|file| Reverse(file.first_day));
        let mut records = Vec::new();
        for file in files {
            if records.len() >= MOST_SHOWN {
                break;
            }
            let found = self.in_file(&file.path, customer_hash(model, customer))?;
            // Two customers may have the same hash.
            let own = found
                .into_iter()
                .filter(|record| record.customer == customer && record.model == model);
            records.extend(own);
        }
        records.sort_by_key(|record| Reverse((record.at, record.version)));
        records.truncate(MOST_SHOWN);
        Ok(records)
    }

    fn in_file(&self, path: &Path, customer: u64) -> Result<Vec<ScoreRecord>, StoreError> {
        let places = match self.current_places(path, customer) {
            Some(places) => places,
            None => self.indexed_places(path, customer)?,
        };
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let read = || -> io::Result<Vec<ScoreRecord>> {
            let file = File::open(path)?;
            let mut records = Vec::with_capacity(places.len());
            for &at in &places {
                records.extend(journal::line_at(&file, at)?.as_deref().and_then(score));
            }
            Ok(records)
        };
        match read() {
            // Deleted meanwhile, for its age.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            read => read.map_err(|error| unreadable(path, &error)),
        }
    }

    /// The places of a customer's lines by the index of a journal, which is made if need be.
    fn indexed_places(&self, path: &Path, customer: u64) -> Result<Vec<u64>, StoreError> {
        let find = || match places::places(path, customer) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Some(Vec::new())),
            found => found.map_err(|error| unreadable(path, &error)),
        };
        if let Some(places) = find()? {
            return Ok(places);
        }
        let busy = || {
            StoreError::Unavailable("the scores of past weeks are being indexed; retry shortly".to_owned())
        };
        let _indexing = match self.indexing.try_lock() {
            Ok(indexing) => indexing,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(busy()),
        };
        // Another request may have made it meanwhile.
        if let Some(places) = find()? {
            return Ok(places);
        }
        places::index(path).map_err(|error| unreadable(path, &error))?;
        find()?.ok_or_else(busy)
    }

    /// The places of a customer's lines, if the journal is that of the present period.
    fn current_places(&self, path: &Path, customer: u64) -> Option<Vec<u64>> {
        let scores = lock(&self.scores);
        let current = scores.current.as_ref().filter(|current| current.path == path)?;
        let own = current.places.iter().filter(|place| place.customer == customer);
        Some(own.map(|place| place.at).collect())
    }

    /// Deletes the periods that ended before `cutoff`, in microseconds since the Unix epoch.
    ///
    /// # Errors
    /// A file cannot be deleted.
    pub(super) fn expire(&self, cutoff: i64) -> io::Result<()> {
        for file in self.list()? {
            if (file.first_day + i64::from(self.days)) * DAY <= cutoff {
                std::fs::remove_file(&file.path)?;
                match std::fs::remove_file(places::index_path(&file.path)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
                let mut scores = lock(&self.scores);
                scores.other_bytes = scores.other_bytes.saturating_sub(file.bytes);
            }
        }
        Ok(())
    }

    /// The journals, oldest first.
    fn list(&self) -> io::Result<Vec<ScoreFile>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name
                .to_str()
                .and_then(|name| name.strip_prefix(SCORES)?.strip_suffix(JOURNAL));
            if let Some(first_day) = name.and_then(|day| day.parse().ok()) {
                let path = entry.path();
                let index = std::fs::metadata(places::index_path(&path));
                files.push(ScoreFile {
                    first_day,
                    bytes: entry.metadata()?.len() + index.map_or(0, |index| index.len()),
                    path,
                });
            }
        }
        files.sort_by_key(|file| file.first_day);
        Ok(files)
    }
}

fn unreadable(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Unavailable(format!("{} cannot be read: {error}", path.display()))
}

fn seen_key(record: &ScoreRecord) -> u64 {
    hash(
        &format!("{}\u{1}{}", record.model, record.version),
        &record.customer,
    )
}
