//! The embedded store: one journal of outcomes, and one of scores for each period. Outcomes are on the disk before a request
//! is answered. What happened to each customer is kept in memory too, to know repeated records and to evaluate scores.

mod known;
mod lines;
mod places;
pub(super) mod probe;
mod scores;

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use smallvec::SmallVec;

use super::contact::{self, LastContact};
use super::interface::{CustomerEvent, Recorded, ScoreVisitor, StoreError};
use super::journal::{self, Journal};
use super::metrics::OutcomeMetrics;
use super::{OutcomeRecord, ScoreRecord};
use crate::config::OutcomesSection;
use crate::values::entity_id::IdRef;
use crate::values::id_hash::IdHasher;
use known::{KnownOutcome, KnownOutcomes};
use lines::outcome;
use scores::ScoreFiles;

const OUTCOMES: &str = "outcomes.journal";
const LOCK: &str = "lock";

/// Lines that the journal of outcomes may have in vain before it is written anew.
const VAIN_LINES: u64 = 1000;

/// The embedded store.
#[derive(Debug)]
pub(super) struct FileStore {
    folder: PathBuf,
    most_bytes: u64,
    most_outcomes: usize,
    outcomes: Mutex<Outcomes>,
    scores: ScoreFiles,
    /// Held as long as the store is open: two servers would write over each other.
    _lock: File,
}

#[derive(Debug)]
struct Outcomes {
    journal: Journal,
    lines: u64,
    known: KnownOutcomes,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hash(first: &str, second: &str) -> u64 {
    IdHasher::new(first).hash(IdRef::Text(second))
}

/// The key of what is known of a customer.
fn customer_hash(model: &str, customer: &str) -> u64 {
    hash(model, customer)
}

impl FileStore {
    /// Opens the folder, and creates it if it is missing. Reports torn and damaged lines in the log and in `metrics`.
    ///
    /// # Errors
    /// Another server uses the folder, or it cannot be read or written.
    pub(super) fn open(section: &OutcomesSection, metrics: &OutcomeMetrics) -> Result<Self, String> {
        let folder = section.folder.clone();
        let failed = |error: &dyn std::fmt::Display| format!("outcomes.folder {}: {error}", folder.display());
        std::fs::create_dir_all(&folder).map_err(|error| failed(&error))?;
        let lock = File::create(folder.join(LOCK)).map_err(|error| failed(&error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(failed(
                    &"another server uses it; give each server its own folder, or use [outcomes.postgres] for several",
                ));
            }
            Err(TryLockError::Error(error)) => return Err(failed(&error)),
        }
        let path = folder.join(OUTCOMES);
        let mut known = KnownOutcomes::default();
        let mut unknown = 0;
        let found = journal::read_places(&path, |place, text| match outcome(text) {
            Some(record) => known.put(&record, place),
            None => unknown += 1,
        });
        let found = found.map_err(|error| failed(&error))?;
        report(&path, found.damaged + unknown, found.torn, metrics);
        let journal = Journal::open(&path, found).map_err(|error| failed(&error))?;
        // Otherwise a crash of the machine could lose the file itself.
        File::open(&folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| failed(&error))?;
        Ok(Self {
            most_bytes: section.folder_bytes,
            most_outcomes: section.most_outcomes,
            outcomes: Mutex::new(Outcomes {
                journal,
                lines: found.lines,
                known,
            }),
            scores: ScoreFiles::open(section, metrics).map_err(|error| failed(&error))?,
            folder: folder.clone(),
            _lock: lock,
        })
    }

    /// Keeps records; they are on the disk when this returns.
    ///
    /// # Errors
    /// Nothing was kept: the store is full or cannot write.
    pub(super) fn record(&self, records: &[OutcomeRecord]) -> Result<Recorded, StoreError> {
        let score_bytes = self.scores.bytes();
        let mut outcomes = lock(&self.outcomes);
        let (recorded, block, places) = outcomes.known.compare(records);
        let start = outcomes.journal.length();
        let new = recorded.new.len();
        if outcomes.known.count + new > self.most_outcomes {
            let most = self.most_outcomes;
            return Err(StoreError::Full(format!(
                "the folder has {} of at most {most} outcomes (outcomes.most_outcomes); lower outcomes.keep_days or use \
                 PostgreSQL",
                outcomes.known.count
            )));
        }
        let bytes = outcomes.journal.length() + score_bytes + block.len() as u64;
        if bytes > self.most_bytes {
            return Err(too_large(&self.folder, self.most_bytes));
        }
        if !block.is_empty() {
            outcomes
                .journal
                .append(&block, true)
                .map_err(|error| unwritable(&self.folder, &error))?;
        }
        for (position, place) in places {
            if let Some(record) = records.get(position) {
                outcomes.known.put(record, start + place);
                outcomes.lines += 1;
            }
        }
        Ok(recorded)
    }

    /// Keeps the scores that are the first of their customer and version in their period. Returns how many those are.
    ///
    /// # Errors
    /// They were not kept: the store is full or cannot write.
    pub(super) fn write_scores(&self, records: &[ScoreRecord]) -> Result<usize, StoreError> {
        let outcome_bytes = lock(&self.outcomes).journal.length();
        self.scores.write(records, outcome_bytes)
    }

    /// Waits until written scores are on the disk. A failure costs scores after a crash of the machine, nothing else.
    pub(super) fn sync(&self) {
        self.scores.sync();
    }

    /// Shows a visitor the scores of a model, with what happened to their customers.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(super) fn visit(&self, model: &str, visitor: &mut impl ScoreVisitor) -> Result<(), StoreError> {
        let mut events = Vec::new();
        self.scores.read(model, |record| {
            events.clear();
            // The lock is held for one customer at a time, so that recording does not wait for evaluation.
            let outcomes = lock(&self.outcomes);
            let known = outcomes.known.events(customer_hash(model, &record.customer));
            events.extend(known.map(|known| known.event));
            drop(outcomes);
            visitor.visit(record, &events);
        })
    }

    /// The scores of a customer, the newest first, at most [`MOST_SHOWN`](contact::MOST_SHOWN).
    ///
    /// # Errors
    /// A file cannot be read, or is being read for its index.
    pub(super) fn scores_of(&self, model: &str, customer: &str) -> Result<Vec<ScoreRecord>, StoreError> {
        self.scores.of_customer(model, customer)
    }

    /// What is recorded of a customer for some models, the newest first.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub(super) fn of_customer(
        &self,
        models: &[String],
        customer: &str,
    ) -> Result<Vec<OutcomeRecord>, StoreError> {
        let outcomes = lock(&self.outcomes);
        let mut known: Vec<&KnownOutcome> = models
            .iter()
            .flat_map(|model| outcomes.known.events(customer_hash(model, customer)))
            .collect();
        known.sort_by_key(|known| Reverse(known.event.at));
        known.truncate(contact::MOST_SHOWN);
        let mut records = Vec::with_capacity(known.len());
        for known in known {
            let record = self.record_at(&outcomes, known.place)?;
            // Two customers may have the same hash.
            records.extend(record.filter(|record| record.customer == customer));
        }
        contact::newest(&mut records);
        Ok(records)
    }

    /// The last contacts with customers of a model; those of whom nothing is known are left out.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub(super) fn contacts(
        &self,
        model: &str,
        customers: &[String],
    ) -> Result<HashMap<String, LastContact>, StoreError> {
        let mut found = HashMap::new();
        for customer in customers {
            // The lock is held for one customer at a time, so that recording does not wait.
            let outcomes = lock(&self.outcomes);
            let known: SmallVec<[&KnownOutcome; 4]> =
                outcomes.known.events(customer_hash(model, customer)).collect();
            let events: SmallVec<[CustomerEvent; 4]> = known.iter().map(|known| known.event).collect();
            let mut contact = LastContact::default();
            for place in contact::last(&events).into_iter().flatten() {
                let record = known
                    .get(place)
                    .map(|known| self.record_at(&outcomes, known.place));
                if let Some(record) = record
                    .transpose()?
                    .flatten()
                    .filter(|record| record.customer == *customer)
                {
                    contact.add(record);
                }
            }
            if contact.is_some() {
                found.insert(customer.clone(), contact);
            }
        }
        Ok(found)
    }

    /// The hashes of customers, of any model, who were contacted at `since` or later or have left.
    pub(super) fn handled(&self, since: i64) -> HashSet<u64> {
        let outcomes = lock(&self.outcomes);
        let mut events: SmallVec<[CustomerEvent; 4]> = SmallVec::new();
        let handled = outcomes.known.customers.iter().filter(|(_, known)| {
            events.clear();
            events.extend(known.iter().map(|known| known.event));
            contact::is_handled(&events, since)
        });
        handled.map(|(customer, _)| *customer).collect()
    }

    fn record_at(&self, outcomes: &Outcomes, place: u64) -> Result<Option<OutcomeRecord>, StoreError> {
        let line = outcomes.journal.line(place);
        let line = line.map_err(|error| {
            StoreError::Unavailable(format!("{} cannot be read: {error}", self.folder.display()))
        })?;
        Ok(line.as_deref().and_then(outcome))
    }

    /// Deletes what happened before `cutoff`. Scores go by whole periods.
    ///
    /// # Errors
    /// A file cannot be deleted or written.
    pub(super) fn expire(&self, cutoff: i64) -> Result<(), StoreError> {
        let failed = |error: io::Error| unwritable(&self.folder, &error);
        self.scores.expire(cutoff).map_err(failed)?;
        let mut outcomes = lock(&self.outcomes);
        outcomes.known.forget_before(cutoff);
        let Outcomes {
            journal,
            lines,
            known,
        } = &mut *outcomes;
        let live = known.count as u64;
        if lines.saturating_sub(live) > VAIN_LINES.max(live) {
            let keep = |text: &str| outcome(text).is_some_and(|record| known.has(&record));
            journal.compact(keep).map_err(failed)?;
            let set = |place, text: &str| {
                if let Some(record) = outcome(text) {
                    known.set_place(&record, place);
                }
            };
            journal::read_places(&self.folder.join(OUTCOMES), set).map_err(failed)?;
            *lines = live;
        }
        Ok(())
    }
}

fn too_large(folder: &Path, most: u64) -> StoreError {
    let folder = folder.display();
    StoreError::Full(format!(
        "{folder} has {most} bytes, the most that outcomes.folder_bytes allows"
    ))
}

fn unwritable(folder: &Path, error: &io::Error) -> StoreError {
    StoreError::Full(format!("{} cannot be written: {error}", folder.display()))
}

/// Reports lines that could not be read.
fn report(path: &Path, damaged: u64, torn: u64, metrics: &OutcomeMetrics) {
    let path = path.display();
    if torn > 0 {
        metrics.torn.inc();
        tracing::warn!(%path, bytes = torn, "unfinished last line of the outcomes cut off");
    }
    if damaged > 0 {
        metrics.damaged.inc_by(damaged);
        tracing::error!(%path, lines = damaged, "damaged lines of the outcomes skipped");
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CustomerResult, DAY};
    use super::*;
    use crate::metrics::Registry;

    const MONDAY: i64 = 1_772_409_600 * super::super::SECOND;

    fn open(folder: &Path, change: impl Fn(&mut OutcomesSection)) -> Result<FileStore, String> {
        let mut section = OutcomesSection {
            folder: folder.to_owned(),
            ..OutcomesSection::default()
        };
        change(&mut section);
        FileStore::open(&section, &OutcomeMetrics::new(&Registry::default()).unwrap())
    }

    fn left(customer: &str, at: i64) -> OutcomeRecord {
        OutcomeRecord {
            model: "churn".to_owned(),
            customer: customer.to_owned(),
            key: format!("at:{at}"),
            at,
            action: None,
            detail: None,
            result: Some(CustomerResult::Left),
        }
    }

    fn scored(customer: &str, at: i64) -> ScoreRecord {
        ScoreRecord {
            model: "churn".to_owned(),
            version: 1,
            customer: customer.to_owned(),
            at,
            score: 0.25,
            hold_out: false,
        }
    }

    #[derive(Default)]
    struct Seen(Vec<(String, usize)>);

    impl ScoreVisitor for Seen {
        fn visit(&mut self, score: &ScoreRecord, events: &[CustomerEvent]) {
            self.0.push((score.customer.clone(), events.len()));
        }
    }

    fn seen(store: &FileStore) -> Vec<(String, usize)> {
        let mut seen = Seen::default();
        store.visit("churn", &mut seen).unwrap();
        seen.0
    }

    #[test]
    fn records_are_new_known_or_replaced_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (left("a", MONDAY), left("b", MONDAY));
        let corrected = OutcomeRecord {
            result: Some(CustomerResult::Stayed),
            ..a.clone()
        };
        {
            let store = open(folder.path(), |_| {}).unwrap();
            let first = store.record(&[a.clone(), b.clone(), a.clone()]).unwrap();
            assert_eq!((first.new, first.known), (vec![0, 1], vec![2]));
            assert_eq!(
                store.record(std::slice::from_ref(&corrected)).unwrap().replaced,
                [0]
            );
            assert!(
                open(folder.path(), |_| {})
                    .unwrap_err()
                    .contains("another server uses it")
            );
        }
        let store = open(folder.path(), |_| {}).unwrap();
        assert_eq!(store.record(&[corrected, b]).unwrap().known, [0, 1]);
        assert_eq!(store.record(&[a]).unwrap().replaced, [0]);
    }

    #[test]
    fn one_score_per_customer_and_period_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        {
            let store = open(folder.path(), |_| {}).unwrap();
            let scores = [
                scored("a", MONDAY),
                scored("b", MONDAY + DAY),
                scored("a", MONDAY + DAY),
            ];
            assert_eq!(store.write_scores(&scores).unwrap(), 2);
        }
        let store = open(folder.path(), |_| {}).unwrap();
        assert_eq!(store.write_scores(&[scored("a", MONDAY + 2 * DAY)]).unwrap(), 0);
        assert_eq!(store.write_scores(&[scored("a", MONDAY + 7 * DAY)]).unwrap(), 1);
        store.record(&[left("a", MONDAY + DAY)]).unwrap();
        let expected = [("a", 1), ("b", 0), ("a", 1)].map(|(id, events)| (id.to_owned(), events));
        assert_eq!(seen(&store), expected);
        store.expire(MONDAY + 7 * DAY).unwrap();
        assert_eq!(seen(&store), [("a".to_owned(), 0)]);
    }

    #[test]
    fn the_scores_of_a_customer_come_from_every_period_the_newest_first() {
        let folder = tempfile::tempdir().unwrap();
        let weeks = |store: &FileStore, customer: &str| -> Vec<i64> {
            let scores = store.scores_of("churn", customer).unwrap();
            scores.iter().map(|score| (score.at - MONDAY) / DAY).collect()
        };
        {
            let store = open(folder.path(), |_| {}).unwrap();
            for week in 0..3 {
                let at = MONDAY + 7 * week * DAY;
                store.write_scores(&[scored("a", at), scored("b", at)]).unwrap();
            }
            assert_eq!(weeks(&store, "a"), [14, 7, 0]);
            store.write_scores(&[scored("c", MONDAY + 15 * DAY)]).unwrap();
            assert_eq!(weeks(&store, "c"), [15]);
        }
        // Before the first score after a restart, the present period is a file like the others.
        let store = open(folder.path(), |_| {}).unwrap();
        assert_eq!(weeks(&store, "b"), [14, 7, 0]);
        store.write_scores(&[scored("d", MONDAY + 16 * DAY)]).unwrap();
        store.write_scores(&[scored("d", MONDAY + 21 * DAY)]).unwrap();
        assert_eq!(weeks(&store, "d"), [21, 16]);
        assert!(store.scores_of("other", "a").unwrap().is_empty());
        let bytes = store.scores.bytes();
        store.expire(MONDAY + 14 * DAY).unwrap();
        assert_eq!(weeks(&store, "a"), [14]);
        assert!(store.scores.bytes() < bytes);
    }

    #[test]
    fn a_full_store_refuses_and_keeps_what_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path(), |section| section.most_outcomes = 2).unwrap();
        store.record(&[left("a", MONDAY)]).unwrap();
        let error = store.record(&[left("b", MONDAY), left("c", MONDAY)]).unwrap_err();
        assert!(error.to_string().contains("1 of at most 2 outcomes"), "{error}");
        store.record(&[left("a", MONDAY), left("b", MONDAY)]).unwrap();
        drop(store);
        let store = open(folder.path(), |section| section.folder_bytes = 100).unwrap();
        let error = store.write_scores(&[scored("a", MONDAY)]).unwrap_err();
        assert!(error.to_string().contains("folder_bytes"), "{error}");
    }

    #[test]
    fn old_outcomes_leave_memory_and_file() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path(), |_| {}).unwrap();
        let old: Vec<OutcomeRecord> = (0..2500)
            .map(|id| left(&format!("o{id}"), MONDAY - DAY))
            .collect();
        store.record(&old).unwrap();
        store.record(&[left("a", MONDAY)]).unwrap();
        store.expire(MONDAY).unwrap();
        let path = folder.path().join(OUTCOMES);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
        drop(store);
        let store = open(folder.path(), |_| {}).unwrap();
        assert_eq!(store.record(&[left("a", MONDAY)]).unwrap().known, [0]);
        assert_eq!(store.record(&old[..1]).unwrap().new, [0]);
    }
}
