//! The state of one model of the repository, and the decisions that follow from it: which version goes through the gate
//! next, which one is live, and which ones are unloaded. Nothing here does I/O.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::known_version::{KnownVersion, Stage};
use super::probation::Probation;
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
    /// An operator unloaded the whole model.
    pub(super) unloaded: bool,
    pub(super) versions: BTreeMap<u64, KnownVersion>,
    /// The live version.
    pub(super) live: Option<u64>,
    /// The probation of a version that went live a short while ago.
    pub(super) probation: Option<Probation>,
    pub(super) events: VecDeque<Event>,
    /// Comparisons of current and recent trials, newest last.
    pub(super) comparisons: Vec<Arc<Comparison>>,
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
        let preferred = match &self.policy.default {
            Some(VersionName::Number(number)) => Some(*number),
            Some(VersionName::Label(label)) => self.labels.get(label).copied(),
            None => None,
        };
        if let Some(number) = self.hold.and_then(loaded).or_else(|| preferred.and_then(loaded)) {
            return Some(number);
        }
        // The preferred version is not loaded: the live one stays.
        if let Some(live) = preferred.and(self.live).and_then(loaded) {
            return Some(live);
        }
        let candidates = || {
            let newest_first = self.versions.iter().rev();
            newest_first.filter(|(number, version)| version.is_loaded() && !self.on_trial(**number))
        };
        let backed = candidates().find(|(_, version)| version.is_backed());
        let newest = backed.or_else(|| candidates().next()).map(|(&number, _)| number);
        // A version on trial is better than none.
        newest
            .or_else(|| self.live.and_then(loaded))
            .or_else(|| self.versions.keys().rev().copied().find_map(loaded))
    }

    /// The loaded versions that nothing needs any more.
    pub(super) fn unwanted(&self) -> Vec<u64> {
        let mut keep = self.referenced();
        keep.extend(self.live);
        keep.extend(self.probation.as_ref().map(|probation| probation.previous));
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
            tracing::error!(model = name, version = held, "the held version is not available");
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
        self.probation = None;
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
mod tests {
    use std::sync::OnceLock;

    use super::*;
    use crate::features::metrics::FeatureMetrics;
    use crate::metrics::Registry;
    use crate::models::report::{GateReport, GateStep};
    use crate::models::sample;
    use crate::scoring::Servable;
    use crate::storage::{FileStat, Listing};

    fn servable() -> Arc<Servable> {
        static SAMPLE: OnceLock<Arc<Servable>> = OnceLock::new();
        let make = || {
            let metrics = FeatureMetrics::new(&Registry::default()).unwrap();
            Arc::new(Servable::new(Arc::new(sample::version(1)), None, &[], &metrics))
        };
        SAMPLE.get_or_init(make).clone()
    }

    /// Files that differ by their tag.
    fn files(tag: &str) -> VersionFiles {
        Ok(Listing::Folder(vec![FileStat {
            name: "model.ubj".to_owned(),
            size: 5,
            tag: format!("{tag} inode"),
        }]))
    }

    fn poll(numbers: &[u64]) -> BTreeMap<u64, VersionFiles> {
        numbers.iter().map(|&number| (number, files("t1"))).collect()
    }

    fn refusal(step: GateStep) -> GateReport {
        let mut report = GateReport::default();
        report.fail(step, "it does not fit".to_owned());
        report
    }

    /// A model with a policy (TOML) whose versions have been found, and those in `loaded` have passed the gate.
    fn state(policy: &str, found: &[u64], loaded: &[u64]) -> ModelState {
        let mut state = ModelState::new(&toml::from_str(policy).unwrap());
        state.observe(&poll(found), Instant::now());
        for number in loaded {
            state.versions.get_mut(number).unwrap().accept(servable());
        }
        state
    }

    #[test]
    fn the_next_version_for_the_gate_follows_the_policy() {
        for (policy, found, loaded, expected) in [
            ("", &[1, 2, 3][..], &[][..], Some(3)),
            ("", &[1, 2, 3], &[3], None),
            ("versions = { latest = 2 }", &[1, 2, 3], &[3], Some(2)),
            ("versions = { latest = 2 }", &[1, 2, 3], &[3, 2], None),
            ("versions = \"all\"", &[1, 2, 3], &[3, 2], Some(1)),
            ("versions = { only = [1] }", &[1, 2, 3], &[], Some(1)),
            ("versions = { only = [1] }", &[1, 2, 3], &[1], None),
            ("default = 2", &[1, 2, 3], &[3], Some(2)),
            ("labels = { stable = 1 }", &[1, 2, 3], &[3], Some(1)),
            ("canary = { version = 3, share = 0.1 }", &[1, 2, 3], &[3], Some(2)),
            ("shadow = { version = 3 }", &[2, 3], &[3, 2], None),
        ] {
            let state = state(policy, found, loaded);
            assert_eq!(state.next(), expected, "{policy}, {found:?}, {loaded:?}");
        }
        let mut unloaded = state("", &[1], &[]);
        unloaded.unloaded = true;
        assert_eq!(unloaded.next(), None);
    }

    #[test]
    fn the_live_version_is_held_preferred_or_the_newest() {
        for (policy, hold, live, loaded, expected) in [
            ("", None, None, &[1, 2][..], Some(2)),
            ("", Some(1), None, &[1, 2], Some(1)),
            ("", Some(3), None, &[1, 2], Some(2)),
            ("default = 1", None, None, &[1, 2], Some(1)),
            (
                "default = \"stable\"\nlabels = { stable = 1 }",
                None,
                None,
                &[1, 2],
                Some(1),
            ),
            ("default = 3", None, Some(1), &[1, 2], Some(1)),
            ("default = 3", None, None, &[1, 2], Some(2)),
            (
                "canary = { version = 2, share = 0.1 }",
                None,
                None,
                &[1, 2],
                Some(1),
            ),
            ("canary = { version = 2, share = 0.1 }", None, None, &[2], Some(2)),
            ("", None, None, &[], None),
        ] {
            let mut state = state(policy, &[1, 2, 3], loaded);
            (state.hold, state.live) = (hold, live);
            assert_eq!(state.choose(), expected, "{policy}, hold {hold:?}, live {live:?}");
        }
    }

    #[test]
    fn a_version_whose_files_are_gone_gives_way_but_serves_if_it_is_the_last() {
        let mut state = state("", &[1, 2], &[1, 2]);
        state.live = Some(2);
        state.observe(&poll(&[1]), Instant::now());
        assert_eq!((state.versions.len(), state.choose()), (2, Some(1)));
        state.observe(&poll(&[]), Instant::now());
        assert_eq!(state.choose(), Some(2));
        assert_eq!(
            state.statuses()[0].reason.as_deref(),
            Some("its files are gone; it stays in memory")
        );
    }

    #[test]
    fn only_what_nothing_needs_is_unloaded() {
        for (policy, live, previous, expected) in [
            ("", Some(3), None, vec![2, 1]),
            ("", Some(3), Some(2), vec![1]),
            ("", Some(1), None, vec![2]),
            ("versions = { latest = 2 }", Some(3), None, vec![1]),
            ("versions = \"all\"", Some(3), None, vec![]),
            ("labels = { old = 1 }", Some(3), None, vec![2]),
            ("versions = { only = [2] }", Some(2), None, vec![3, 1]),
        ] {
            let mut state = state(policy, &[1, 2, 3], &[1, 2, 3]);
            state.live = live;
            state.probation = previous.map(|previous| Probation {
                previous,
                until: Instant::now(),
                start: Default::default(),
            });
            assert_eq!(
                state.unwanted(),
                expected,
                "{policy}, live {live:?}, probation {previous:?}"
            );
        }
    }

    #[test]
    fn changed_files_are_a_new_chance_and_unchanged_ones_are_not() {
        let mut state = state("", &[1], &[]);
        let now = Instant::now();
        let version = state.versions.get_mut(&1).unwrap();
        assert!(!version.refuse(refusal(GateStep::Golden), false, now));
        state.observe(&poll(&[1]), now);
        assert_eq!(state.next(), None);
        state.observe(&BTreeMap::from([(1, files("t2"))]), now);
        assert_eq!(state.next(), Some(1));
    }

    #[test]
    fn files_that_do_not_agree_settle_for_a_while_and_are_refused_then() {
        let mut state = state("", &[1], &[]);
        let now = Instant::now();
        let version = state.versions.get_mut(&1).unwrap();
        assert!(version.refuse(refusal(GateStep::Checksums), true, now));
        assert_eq!(state.observe(&poll(&[1]), now), Vec::<u64>::new());
        let later = now + crate::lifecycle::SETTLE;
        assert_eq!(state.observe(&poll(&[1]), later), [1]);
        assert!(matches!(state.versions[&1].stage, Stage::Refused));
    }

    #[test]
    fn a_loaded_version_stays_while_its_changed_files_are_refused() {
        let mut state = state("", &[1], &[1]);
        state.live = Some(1);
        let now = Instant::now();
        state.observe(&BTreeMap::from([(1, files("t2"))]), now);
        assert_eq!(state.next(), Some(1));
        state
            .versions
            .get_mut(&1)
            .unwrap()
            .refuse(refusal(GateStep::Golden), false, now);
        assert_eq!((state.next(), state.choose()), (None, Some(1)));
    }

    #[test]
    fn a_version_that_was_rolled_back_stays_away_until_its_files_change() {
        let mut state = state("default = \"stable\"\nlabels = { stable = 2 }", &[1, 2], &[1, 2]);
        (state.live, state.hold) = (Some(2), Some(2));
        state.roll_back(2, 1, "wrong scores");
        assert_eq!(
            (state.choose(), state.hold, state.labels["stable"]),
            (Some(1), None, 1)
        );
        // It disappears and comes back: nothing changes.
        let now = Instant::now();
        state.observe(&poll(&[1]), now);
        state.observe(&poll(&[1, 2]), now);
        assert_eq!(state.next(), None);
        assert!(matches!(state.versions[&2].stage, Stage::RolledBack));
        // An inode that differs is no change, another time is.
        state.reinstate(2);
        assert_eq!(state.next(), Some(2));
    }

    #[test]
    fn a_changed_policy_overrides_commands_and_an_unchanged_one_does_not() {
        let policy = toml::from_str("labels = { stable = 1 }").unwrap();
        let mut state = ModelState::new(&policy);
        state.labels.insert("stable".to_owned(), 2);
        state.apply_policy(&policy);
        assert_eq!(state.labels["stable"], 2);
        state.apply_policy(&toml::from_str("labels = { stable = 3 }").unwrap());
        assert_eq!(state.labels["stable"], 3);
    }
}
