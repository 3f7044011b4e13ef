//! One model of the repository: what is known of its versions, and which of them should answer. Pure decisions; the
//! loading itself is `reload.rs`'s.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::config::models::{PolicySection, ShareSection, VersionName, Versions};
use crate::lifecycle::probation::Probation;
use crate::lifecycle::state_file::Withdrawn;
use crate::models::gate::GateReport;
use crate::models::repository::VersionFiles;
use crate::models::status::{Event, VersionState, VersionStatus};
use crate::scoring::Servable;
use crate::scoring::rollout::comparison::{Comparison, TrialCounters, TrialKind};

/// Files that do not agree count as still being copied for so long after they last changed.
const SETTLE: Duration = Duration::from_secs(30);

/// Events kept.
const EVENTS: usize = 50;

/// A version that is there, or answers although its files are gone.
#[derive(Debug)]
pub(super) struct KnownVersion {
    /// The files at the last look; `None` when they are gone.
    pub(super) found: Option<VersionFiles>,
    pub(super) state: Stage,
    pub(super) reason: Option<String>,
    pub(super) report: Arc<GateReport>,
    since: SystemTime,
    changed: Instant,
    /// It answers, but its files are others now.
    dirty: bool,
}

/// Where a version stands.
#[derive(Debug)]
pub(super) enum Stage {
    /// Not judged since its files last changed.
    Waiting,
    Settling,
    Refused,
    Loaded(Arc<Servable>),
    Unloaded,
    RolledBack,
}

impl KnownVersion {
    fn new(found: VersionFiles, now: Instant) -> Self {
        Self {
            found: Some(found),
            state: Stage::Waiting,
            reason: None,
            report: Arc::default(),
            since: SystemTime::now(),
            changed: now,
            dirty: false,
        }
    }

    pub(super) fn set(&mut self, state: Stage, reason: Option<String>) {
        self.state = state;
        self.reason = reason;
        self.since = SystemTime::now();
    }

    pub(super) fn served(&self) -> Option<&Arc<Servable>> {
        match &self.state {
            Stage::Loaded(served) => Some(served),
            _ => None,
        }
    }

    /// Whether the gate may be asked.
    fn is_due(&self) -> bool {
        match self.state {
            Stage::Waiting => true,
            Stage::Loaded(_) => self.dirty && self.found.is_some(),
            _ => false,
        }
    }

    fn send_away(&mut self, rolled_back: bool, reason: &str) {
        let state = if rolled_back {
            Stage::RolledBack
        } else {
            Stage::Unloaded
        };
        self.set(state, Some(reason.to_owned()));
    }
}

/// A model of the repository.
#[derive(Debug, Default)]
pub(super) struct ModelState {
    pub(super) policy: PolicySection,
    pub(super) labels: BTreeMap<String, u64>,
    pub(super) canary: Option<ShareSection>,
    pub(super) shadow: Option<ShareSection>,
    /// Answers until released, whatever else arrives.
    pub(super) hold: Option<u64>,
    /// Loaded on request beside what the policy asks for.
    pub(super) extra: BTreeSet<u64>,
    /// Versions that are not to be loaded by themselves, even if they are out of sight for a while.
    pub(super) away: BTreeMap<u64, Withdrawn>,
    /// An operator took the whole model away.
    pub(super) unloaded: bool,
    pub(super) versions: BTreeMap<u64, KnownVersion>,
    /// The version that answers.
    pub(super) live: Option<u64>,
    /// Of a version that has just gone live.
    pub(super) watch: Option<Probation>,
    pub(super) events: VecDeque<Event>,
    /// How versions being tried compare, now and lately, newest last.
    pub(super) comparisons: Vec<Arc<Comparison>>,
}

/// Comparisons kept.
const COMPARISONS: usize = 6;

impl ModelState {
    pub(super) fn new(policy: &PolicySection) -> Self {
        let mut model = Self::default();
        model.apply(policy);
        model
    }

    /// Takes over a policy of the settings; what was asked for since the last one gives way where they differ.
    pub(super) fn apply(&mut self, policy: &PolicySection) {
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

    pub(super) fn event(&mut self, what: String) {
        if self.events.len() == EVENTS {
            self.events.pop_front();
        }
        let at = SystemTime::now();
        self.events.push_back(Event { at, what });
    }

    /// The comparison of a version being tried with the one that answers; a new one if there is none yet.
    pub(super) fn comparison(
        &mut self,
        kind: TrialKind,
        base: u64,
        candidate: u64,
        handles: impl FnOnce() -> TrialCounters,
    ) -> Arc<Comparison> {
        let known = self.comparisons.iter();
        let known = known
            .rev()
            .find(|c| (c.kind, c.base, c.candidate) == (kind, base, candidate));
        if let Some(known) = known {
            return known.clone();
        }
        let comparison = Arc::new(Comparison::new(kind, base, candidate, handles()));
        if self.comparisons.len() == COMPARISONS {
            self.comparisons.remove(0);
        }
        self.comparisons.push(comparison.clone());
        comparison
    }

    /// Takes a look at the repository into account. Returns the versions whose files have not come to agree in time.
    pub(super) fn observe(&mut self, found: &BTreeMap<u64, VersionFiles>, now: Instant) -> Vec<u64> {
        for (&number, found) in found {
            let version = self
                .versions
                .entry(number)
                .or_insert_with(|| KnownVersion::new(found.clone(), now));
            if version.found.as_ref() != Some(found) {
                version.found = Some(found.clone());
                version.changed = now;
                if version.served().is_some() {
                    version.dirty = true;
                } else {
                    version.set(Stage::Waiting, None);
                }
            }
            // Other files are a new chance; files that cannot be seen are not.
            let still = self.away.get(&number).map(|away| (away, away.is_still(found)));
            match still {
                Some((_, Some(false))) => {
                    self.away.remove(&number);
                }
                Some((away, Some(true))) if matches!(version.state, Stage::Waiting) => {
                    version.send_away(away.rolled_back, &away.reason);
                }
                _ => {}
            }
        }
        self.versions.retain(|number, version| {
            let there = found.contains_key(number);
            if !there {
                version.found = None;
            }
            there || version.served().is_some()
        });
        let mut overdue = Vec::new();
        for (&number, version) in &mut self.versions {
            if matches!(version.state, Stage::Settling) && now - version.changed >= SETTLE {
                let reason = version.reason.take();
                version.set(Stage::Refused, reason);
                overdue.push(number);
            }
        }
        overdue
    }

    /// Whether a version is only being tried, and so is none of the latest.
    fn on_trial(&self, number: u64) -> bool {
        let is = |share: &Option<ShareSection>| share.as_ref().is_some_and(|share| share.version == number);
        is(&self.canary) || is(&self.shadow)
    }

    /// The versions asked for by number.
    fn named(&self) -> BTreeSet<u64> {
        let mut named = self.extra.clone();
        named.extend(self.labels.values());
        named.extend(self.canary.iter().chain(&self.shadow).map(|share| share.version));
        named.extend(self.hold);
        if let Some(VersionName::Number(number)) = self.policy.default {
            named.insert(number);
        }
        if let Versions::Only(only) = &self.policy.versions {
            named.extend(only);
        }
        named
    }

    /// The next version for the gate, if any is due.
    pub(super) fn next(&self) -> Option<u64> {
        if self.unloaded {
            return None;
        }
        let due = |number: &u64| self.versions.get(number).is_some_and(KnownVersion::is_due);
        if let Some(number) = self.named().into_iter().rev().find(due) {
            return Some(number);
        }
        let newest_first = self.versions.iter().rev();
        let mut untried = newest_first.filter(|(number, _)| !self.on_trial(**number));
        match self.policy.versions {
            Versions::Only(_) => None,
            Versions::All => untried
                .find(|(_, version)| version.is_due())
                .map(|(&number, _)| number),
            Versions::Latest(count) => {
                let mut have = 0;
                untried
                    .take_while(|(_, version)| {
                        let room = have < count;
                        have += usize::from(version.served().is_some() && version.found.is_some());
                        room
                    })
                    .find(|(_, version)| version.is_due())
                    .map(|(&number, _)| number)
            }
        }
    }

    /// The version that should answer.
    pub(super) fn choose(&self) -> Option<u64> {
        let loaded = |number: u64| self.versions.get(&number)?.served().map(|_| number);
        let preferred = match &self.policy.default {
            Some(VersionName::Number(number)) => Some(*number),
            Some(VersionName::Label(label)) => self.labels.get(label).copied(),
            None => None,
        };
        if let Some(number) = self.hold.and_then(loaded).or_else(|| preferred.and_then(loaded)) {
            return Some(number);
        }
        // What was asked for is not there: what answers goes on answering.
        if let Some(live) = preferred.and(self.live).and_then(loaded) {
            return Some(live);
        }
        let candidates = || {
            let loaded = self
                .versions
                .iter()
                .rev()
                .filter(|(_, version)| version.served().is_some());
            loaded.filter(|(number, _)| !self.on_trial(**number))
        };
        let there = candidates().find(|(_, version)| version.found.is_some());
        let newest = there.or_else(|| candidates().next()).map(|(&number, _)| number);
        // A version on trial is better than none.
        newest
            .or_else(|| self.live.and_then(loaded))
            .or_else(|| self.versions.keys().rev().copied().find_map(loaded))
    }

    /// The loaded versions that nobody asks for any more.
    pub(super) fn unwanted(&self) -> Vec<u64> {
        let mut keep = self.named();
        keep.extend(self.live);
        keep.extend(self.watch.as_ref().map(|watch| watch.before));
        let loaded = self
            .versions
            .iter()
            .rev()
            .filter(|(_, version)| version.served().is_some());
        let there = loaded.clone().filter(|(_, version)| version.found.is_some());
        let there = there.filter(|(number, _)| !self.on_trial(**number));
        match self.policy.versions {
            Versions::Only(_) => {}
            Versions::All => keep.extend(there.map(|(number, _)| number)),
            Versions::Latest(count) => keep.extend(there.take(count).map(|(number, _)| number)),
        }
        loaded
            .map(|(&number, _)| number)
            .filter(|number| !keep.contains(number))
            .collect()
    }

    /// Says so if the version that ought to be held does not answer.
    pub(super) fn tell_of_lost_hold(&mut self, name: &str) {
        if let Some(held) = self.hold.filter(|held| self.live != Some(*held)) {
            tracing::error!(model = name, version = held, "the held version is not there");
            self.event(format!("version {held} is held but not there: another answers"));
        }
    }

    /// Records that the gate let a version through.
    pub(super) fn loaded(&mut self, number: u64, served: Arc<Servable>) {
        if let Some(version) = self.versions.get_mut(&number) {
            version.report = Arc::new(served.model.report.clone());
            version.dirty = false;
            version.set(Stage::Loaded(served), None);
        }
    }

    /// Records that the gate refused a version; whether it may only be on its way.
    pub(super) fn refused(
        &mut self,
        number: u64,
        report: GateReport,
        may_settle: bool,
        now: Instant,
    ) -> bool {
        let reason = report.failure().map(|step| step.detail.clone());
        let Some(version) = self.versions.get_mut(&number) else {
            return false;
        };
        version.report = Arc::new(report);
        version.dirty = false;
        if version.served().is_some() {
            let reason = reason.unwrap_or_default();
            version.reason = Some(format!(
                "its files were changed and refused, what was loaded before goes on answering: {reason}"
            ));
            return false;
        }
        let settling = may_settle && now - version.changed < SETTLE;
        let state = if settling { Stage::Settling } else { Stage::Refused };
        version.set(state, reason);
        settling
    }

    /// Makes a version due again, whatever it was refused or taken back for.
    pub(super) fn lift(&mut self, number: u64) {
        self.away.remove(&number);
        if let Some(version) = self.versions.get_mut(&number)
            && version.served().is_none()
        {
            version.set(Stage::Waiting, None);
        }
    }

    /// Takes a version out of use until it is asked for, or its files are others.
    pub(super) fn send_away(&mut self, number: u64, rolled_back: bool, reason: &str) {
        let Some(version) = self.versions.get_mut(&number) else {
            return;
        };
        version.send_away(rolled_back, reason);
        if let Some(away) = Withdrawn::new(version.found.as_ref(), rolled_back, reason) {
            self.away.insert(number, away);
        }
    }

    /// Takes a version back: whatever pointed at it for everyone points at `to`.
    pub(super) fn roll_back(&mut self, number: u64, to: u64, reason: &str) {
        self.send_away(number, true, reason);
        if let Some(VersionName::Label(label)) = &self.policy.default
            && self.labels.get(label) == Some(&number)
        {
            self.labels.insert(label.clone(), to);
        }
        self.extra.remove(&number);
        if self.hold == Some(number) {
            self.hold = None;
        }
        self.watch = None;
        self.event(format!("version {number} was rolled back to {to}: {reason}"));
    }

    /// Every version, newest first, for those who ask.
    pub(super) fn statuses(&self) -> Vec<VersionStatus> {
        let newest_first = self.versions.iter().rev();
        newest_first
            .map(|(&number, version)| VersionStatus {
                version: number,
                state: match version.state {
                    Stage::Waiting => VersionState::Available,
                    Stage::Settling => VersionState::Settling,
                    Stage::Refused => VersionState::Refused,
                    Stage::Loaded(_) if self.live == Some(number) => VersionState::Live,
                    Stage::Loaded(_) => VersionState::Loaded,
                    Stage::Unloaded => VersionState::Unloaded,
                    Stage::RolledBack => VersionState::RolledBack,
                },
                reason: version.reason.clone().or_else(|| {
                    let gone = version.found.is_none();
                    gone.then(|| "its files are gone; it stays in memory".to_owned())
                }),
                since: version.since,
                report: version.report.clone(),
            })
            .collect()
    }
}
