//! The state of one model of the repository, and the decisions that follow from it: which version goes through the gate
//! next, which one is live, and which ones are unloaded. Nothing here does I/O.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::decisions::Decisions;
use super::known_version::{KnownVersion, Stage};
use super::withdrawn::Withdrawn;
use crate::config::models::{PolicySection, ShareSection, VersionName, Versions};
use crate::models::repository::VersionFiles;
use crate::models::status::{Event, VersionStatus};
use crate::scoring::rollout::comparison::{Comparison, TrialCounters, TrialKind};

/// Most events kept for each model.
const EVENTS: usize = 50;

/// Most comparisons of trials kept for each model.
const COMPARISONS: usize = 6;

/// The state of a model.
#[derive(Debug, Default)]
pub(super) struct ModelState {
    pub(super) policy: PolicySection,
    pub(super) labels: BTreeMap<String, u64>,
    pub(super) canary: Option<ShareSection>,
    pub(super) shadow: Option<ShareSection>,
    /// The version that an operator holds live, whatever is published.
    pub(super) hold: Option<u64>,
    /// Versions loaded on request, beside those of the policy.
    pub(super) extra: BTreeSet<u64>,
    /// Versions that must not be loaded by themselves, even after they were out of sight for a while.
    pub(super) withdrawn: BTreeMap<u64, Withdrawn>,
    /// The latest decisions of all servers, as far as this one knows.
    pub(super) decisions: Decisions,
    /// Why the decisions could not be exchanged at the last poll.
    pub(super) exchange_failed: Option<String>,
    /// Folders of versions without files at the last poll.
    empty_folders: usize,
    /// An operator unloaded the whole model.
    pub(super) unloaded: bool,
    pub(super) versions: BTreeMap<u64, KnownVersion>,
    /// The live version.
    pub(super) live: Option<u64>,
    /// The version that was live before, for as long as it stays in memory.
    pub(super) previous: Option<PreviousVersion>,
    pub(super) events: VecDeque<Event>,
    /// Comparisons of current and recent trials, newest last.
    pub(super) comparisons: Vec<Arc<Comparison>>,
}

/// A version that was replaced a short while ago.
#[derive(Clone, Debug)]
pub(super) struct PreviousVersion {
    /// The version.
    pub(super) version: u64,
    /// How long it stays in memory.
    pub(super) until: Instant,
}

impl ModelState {
    /// Creates the state of a model without known versions.
    pub(super) fn new(policy: &PolicySection) -> Self {
        let mut state = Self::default();
        state.apply_policy(policy);
        state
    }

    /// Applies the policy of the settings. Where it differs from the last one, it overrides saved commands.
    pub(super) fn apply_policy(&mut self, policy: &PolicySection) {
        if self.policy.labels != policy.labels {
            self.labels.clone_from(&policy.labels);
        }
        if self.policy.canary != policy.canary {
            self.canary.clone_from(&policy.canary);
        }
        if self.policy.shadow != policy.shadow {
            self.shadow.clone_from(&policy.shadow);
        }
        self.policy = policy.clone();
    }

    /// Logs how many folders of versions have no files, when that changes.
    pub(super) fn report_empty(&mut self, name: &str, folders: usize) {
        if std::mem::replace(&mut self.empty_folders, folders) != folders && folders > 0 {
            tracing::warn!(model = name, folders, "empty version folders ignored");
        }
    }

    /// Records an event.
    pub(super) fn event(&mut self, what: String) {
        if self.events.len() == EVENTS {
            self.events.pop_front();
        }
        let at = SystemTime::now();
        self.events.push_back(Event { at, what });
    }

    /// The comparison of a version on trial with the live one; a new one if there is none yet.
    pub(super) fn comparison(
        &mut self,
        kind: TrialKind,
        base: u64,
        candidate: u64,
        counters: impl FnOnce() -> TrialCounters,
    ) -> Arc<Comparison> {
        let is_same =
            |known: &&Arc<Comparison>| (known.kind, known.base, known.candidate) == (kind, base, candidate);
        if let Some(known) = self.comparisons.iter().rev().find(is_same) {
            return known.clone();
        }
        let comparison = Arc::new(Comparison::new(kind, base, candidate, counters()));
        if self.comparisons.len() == COMPARISONS {
            self.comparisons.remove(0);
        }
        self.comparisons.push(comparison.clone());
        comparison
    }

    /// The version of this number if it is loaded.
    pub(super) fn loaded(&self, number: u64) -> Option<&KnownVersion> {
        self.versions.get(&number).filter(|version| version.is_loaded())
    }

    /// Takes a poll of the repository into account. Returns the versions that are refused because their files still do
    /// not agree.
    pub(super) fn observe(&mut self, found: &BTreeMap<u64, VersionFiles>, now: Instant) -> Vec<u64> {
        for (&number, files) in found {
            let version = self.versions.entry(number);
            let version = version.or_insert_with(|| KnownVersion::new(files.clone(), now));
            version.found(files, now);
            let withdrawn = self.withdrawn.get(&number);
            match withdrawn.map(|withdrawn| (withdrawn, withdrawn.has_files(files))) {
                // Changed files get another chance; files that cannot be listed do not.
                Some((_, Some(false))) => {
                    self.withdrawn.remove(&number);
                }
                Some((withdrawn, Some(true))) if matches!(version.stage, Stage::Available) => {
                    version.withdraw(withdrawn.rolled_back, &withdrawn.reason);
                }
                _ => {}
            }
        }
        self.versions.retain(|number, version| {
            let exists = found.contains_key(number);
            if !exists {
                version.files = None;
            }
            exists || version.is_loaded()
        });
        let versions = self.versions.iter_mut();
        let overdue =
            versions.filter_map(|(&number, version)| version.refuse_unsettled(now).then_some(number));
        overdue.collect()
    }

    /// Whether a version is on trial, and so is not counted among the newest.
    fn on_trial(&self, number: u64) -> bool {
        let mut shares = self.canary.iter().chain(&self.shadow);
        shares.any(|share| share.version == number)
    }

    /// The versions that something refers to by number.
    fn referenced(&self) -> BTreeSet<u64> {
        let mut numbers = self.extra.clone();
        numbers.extend(self.labels.values());
        numbers.extend(self.canary.iter().chain(&self.shadow).map(|share| share.version));
        numbers.extend(self.hold);
        if let Some(VersionName::Number(number)) = self.policy.default {
            numbers.insert(number);
        }
        if let Versions::Only(only) = &self.policy.versions {
            numbers.extend(only);
        }
        numbers
    }

    /// The next version for the gate, if any is due.
    pub(super) fn next(&self) -> Option<u64> {
        if self.unloaded {
            return None;
        }
        let due = |number: &u64| self.versions.get(number).is_some_and(KnownVersion::is_due);
        if let Some(number) = self.referenced().into_iter().rev().find(due) {
            return Some(number);
        }
        let newest_first = self.versions.iter().rev();
        let mut untried = newest_first.filter(|(number, _)| !self.on_trial(**number));
        let found = match self.policy.versions {
            Versions::Only(_) => None,
            Versions::All => untried.find(|(_, version)| version.is_due()),
            Versions::Latest(count) => {
                let mut have = 0;
                untried
                    .take_while(|(_, version)| {
                        let room = have < count;
                        have += usize::from(version.is_backed());
                        room
                    })
                    .find(|(_, version)| version.is_due())
            }
        };
        found.map(|(&number, _)| number)
    }

    /// The version that should be live.
    pub(super) fn choose(&self) -> Option<u64> {
        let loaded = |number: u64| self.loaded(number).map(|_| number);
        let ready = |number: u64| self.loaded(number).is_some_and(|version| !version.postponed);
        let preferred = match &self.policy.default {
            Some(VersionName::Number(number)) => Some(*number),
            Some(VersionName::Label(label)) => self.labels.get(label).copied(),
            None => None,
        };
        if let Some(number) = self
            .hold
            .and_then(loaded)
            .or_else(|| preferred.filter(|&number| ready(number)))
        {
            return Some(number);
        }
        // The preferred version is not loaded, or cannot be compared now: the live one stays.
        if let Some(live) = preferred.and(self.live).and_then(loaded) {
            return Some(live);
        }
        let candidates = || {
            let newest_first = self.versions.iter().rev();
            newest_first.filter(|(number, version)| {
                version.is_loaded() && !version.postponed && !self.on_trial(**number)
            })
        };
        let backed = candidates().find(|(_, version)| version.is_backed());
        let newest = backed.or_else(|| candidates().next()).map(|(&number, _)| number);
        // A version on trial is better than none.
        newest
            .or_else(|| self.live.and_then(loaded))
            .or_else(|| self.versions.keys().rev().copied().find_map(loaded))
    }

    /// The live version and the newer one that is to replace it, if they must be compared first. A version that an
    /// operator holds or loaded by command is not compared.
    pub(super) fn replacement(&self) -> Option<(u64, u64)> {
        let (live, newer) = self
            .live
            .zip(self.choose())
            .filter(|(live, newer)| newer > live)?;
        let version = self.loaded(newer)?;
        let decided = self.hold == Some(newer) || version.by_command || version.accepted_over == Some(live);
        (!decided && self.loaded(live).is_some()).then_some((live, newer))
    }

    /// The loaded versions that nothing needs any more.
    pub(super) fn unwanted(&self) -> Vec<u64> {
        let mut keep = self.referenced();
        keep.extend(self.live);
        keep.extend(self.previous.as_ref().map(|previous| previous.version));
        let newest_first = self.versions.iter().rev();
        let backed = newest_first.filter(|(number, version)| version.is_backed() && !self.on_trial(**number));
        let backed = backed.map(|(&number, _)| number);
        match self.policy.versions {
            Versions::Only(_) => {}
            Versions::All => keep.extend(backed),
            Versions::Latest(count) => keep.extend(backed.take(count)),
        }
        let loaded = self
            .versions
            .iter()
            .rev()
            .filter(|(_, version)| version.is_loaded());
        loaded
            .map(|(&number, _)| number)
            .filter(|number| !keep.contains(number))
            .collect()
    }

    /// Reports a held version that is not live.
    pub(super) fn report_missing_hold(&mut self, name: &str) {
        if let Some(held) = self.hold.filter(|held| self.live != Some(*held)) {
            tracing::error!(model = name, version = held, "held version unavailable");
            self.event(format!(
                "version {held} is held but not available: another version answers"
            ));
        }
    }

    /// Makes a version due again, even if it was refused or withdrawn.
    pub(super) fn reinstate(&mut self, number: u64) {
        self.withdrawn.remove(&number);
        if let Some(version) = self.versions.get_mut(&number)
            && !version.is_loaded()
        {
            version.set(Stage::Available, None);
        }
    }

    /// Records that an operator asked for a version: it goes live without a comparison.
    pub(super) fn asked_for(&mut self, number: u64) {
        if let Some(version) = self.versions.get_mut(&number) {
            version.by_command = true;
        }
    }

    /// Withdraws a version for the reason that another server recorded.
    pub(super) fn withdraw_as(&mut self, number: u64, withdrawn: Withdrawn) {
        if let Some(version) = self.versions.get_mut(&number)
            && let Some(files) = &version.files
            && withdrawn.has_files(files) != Some(false)
        {
            version.withdraw(withdrawn.rolled_back, &withdrawn.reason);
        }
        self.extra.remove(&number);
        self.withdrawn.insert(number, withdrawn);
    }

    /// Withdraws a version until it is requested or its files change.
    pub(super) fn withdraw(&mut self, number: u64, rolled_back: bool, reason: &str) {
        let Some(version) = self.versions.get_mut(&number) else {
            return;
        };
        version.withdraw(rolled_back, reason);
        if let Some(withdrawn) = Withdrawn::new(version.files.as_ref(), rolled_back, reason) {
            self.withdrawn.insert(number, withdrawn);
        }
    }

    /// Rolls a version back: what made it the live one for everyone points at `to` from now on.
    pub(super) fn roll_back(&mut self, number: u64, to: u64, reason: &str) {
        self.withdraw(number, true, reason);
        if let Some(VersionName::Label(label)) = &self.policy.default
            && self.labels.get(label) == Some(&number)
        {
            self.labels.insert(label.clone(), to);
        }
        self.extra.remove(&number);
        if self.hold == Some(number) {
            self.hold = None;
        }
        self.previous = None;
        self.event(format!("version {number} was rolled back to {to}: {reason}"));
    }

    /// The status of every version, newest first.
    pub(super) fn statuses(&self) -> Vec<VersionStatus> {
        let newest_first = self.versions.iter().rev();
        newest_first
            .map(|(&number, version)| version.status(number, self.live == Some(number)))
            .collect()
    }
}

#[cfg(test)]
mod tests;
