//! Acceptance: before a newer version replaces the live one, both score the same customers. The newer one goes live
//! unless it is clearly worse. The customers come from the snapshot, or from a file of the operator; requests have no
//! influence.

use std::path::Path;

use super::Lifecycle;
use crate::config::models::WatchSection;
use crate::files;
use crate::observe::distance::Distance;
use crate::scoring::rollout::population::{self, PopulationCounts, VersionCounts, spread};
use crate::values::entity_id::EntityId;

/// The outcome of a comparison.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// The newer version may go live; what was found.
    Accept(String),
    /// It is clearly worse than the live one; why.
    Reject(String),
    /// It cannot be judged now; why. The next poll tries again.
    Postpone(String),
}

impl Lifecycle {
    /// Compares the version that is to go live with the live one it replaces, until one is accepted or none is left.
    pub(super) fn accept_newer(&mut self, name: &str) {
        if let Some(state) = self.models.get_mut(name) {
            state
                .versions
                .values_mut()
                .for_each(|version| version.postponed = false);
        }
        while let Some((live, newer)) = self.models.get(name).and_then(|state| state.replacement()) {
            let verdict = self.compare(name, live, newer);
            let Some(state) = self.models.get_mut(name) else {
                return;
            };
            match verdict {
                Verdict::Accept(found) => {
                    tracing::info!(model = name, version = newer, live, found, "version accepted");
                    state.event(format!("version {newer} was compared with {live}: {found}"));
                    if let Some(version) = state.versions.get_mut(&newer) {
                        version.accepted_over = Some(live);
                    }
                }
                Verdict::Postpone(reason) => {
                    tracing::warn!(model = name, version = newer, live, reason, "version postponed");
                    if let Some(version) = state.versions.get_mut(&newer) {
                        version.postponed = true;
                    }
                }
                Verdict::Reject(reason) => {
                    tracing::error!(
                        model = name,
                        version = newer,
                        to = live,
                        reason,
                        "version rolled back"
                    );
                    state.roll_back(newer, live, &reason);
                    self.metrics.rolled_back(name, "watch");
                    self.validate_due(name);
                }
            }
        }
    }

    fn compare(&self, name: &str, live: u64, newer: u64) -> Verdict {
        let skipped = |why: &str| Verdict::Accept(format!("not compared: {why}"));
        let servable = |number| {
            let version = self.models.get(name)?.versions.get(&number)?;
            version.servable()
        };
        let (Some(base), Some(candidate)) = (servable(live), servable(newer)) else {
            return skipped("not loaded");
        };
        if candidate.scorable().is_err() {
            return skipped("the model has no contract");
        }
        let settings = &self.settings.watch;
        let what = format!("comparing {name} {newer} with {live}");
        let _busy = self.heartbeat.begin(what, self.load_limit());
        let ids = match self.compared_ids(candidate.model.entity()) {
            Ok(ids) => ids,
            Err(reason) => return skipped(&reason),
        };
        let Some(runtime) = &self.runtime else {
            return skipped("no requests are served yet");
        };
        match population::compare(base, candidate, &ids, runtime) {
            Ok(counts) => judge(&counts, settings),
            Err(error) => skipped(&error.to_string()),
        }
    }

    /// The ids of the customers to compare on, of entities named `entity`. The error says why there are none.
    fn compared_ids(&self, entity: &str) -> Result<Vec<EntityId>, String> {
        let path = &self.settings.watch.ids;
        if !path.as_os_str().is_empty() {
            return read_ids(path);
        }
        let snapshot = self.snapshot.snapshot();
        let snapshot = snapshot.filter(|snapshot| snapshot.entity() == entity);
        snapshot
            .map(|snapshot| population::sample(snapshot))
            .ok_or_else(|| {
                "there is no snapshot of these customers; name a file with ids in models.watch.ids".to_owned()
            })
    }
}

/// Reads ids, one per line, spread evenly over the file if it has too many.
fn read_ids(path: &Path) -> Result<Vec<EntityId>, String> {
    let text = files::read_text(path, files::LISTS)
        .map_err(|error| format!("{} (models.watch.ids): {error}", path.display()))?;
    let ids: Vec<&str> = text.lines().map(str::trim).filter(|id| !id.is_empty()).collect();
    Ok(spread(ids.len())
        .filter_map(|position| ids.get(position))
        .map(|id| EntityId::Text((*id).to_owned()))
        .collect())
}

/// Judges the newer version by what both answered. Equal answers are always accepted.
fn judge(counts: &PopulationCounts, settings: &WatchSection) -> Verdict {
    let PopulationCounts { base, candidate, .. } = counts;
    let compared = candidate.compared();
    if counts.unavailable > 0 {
        return Verdict::Postpone(format!(
            "its features are unavailable for {} customers that the live version scores",
            counts.unavailable
        ));
    }
    if compared > 0 && counts.differing == 0 {
        return Verdict::Accept(format!("gives the same answers for {compared} customers"));
    }
    if compared < settings.samples.max(1) {
        return Verdict::Accept(format!(
            "not compared: {compared} customers; models.watch.samples asks for {}",
            settings.samples
        ));
    }
    let moved = format!(
        "moves {:.1}% of {compared} customers across a band",
        100.0 * share(counts.moved, compared)
    );
    let disagrees = || {
        let agreement = counts.agreement.filter(|&found| found < settings.agreement)?;
        Some(format!(
            "it orders the customers another way: the rank correlation with the live version is {agreement:.2} \
             (models.watch.agreement asks for {}), and it {moved}",
            settings.agreement
        ))
    };
    match worse(candidate, base, settings).or_else(disagrees) {
        Some(reason) => Verdict::Reject(reason),
        None => Verdict::Accept(match counts.agreement {
            Some(agreement) => format!("{moved}; rank correlation {agreement:.2}"),
            None => moved,
        }),
    }
}

/// Why `now` is clearly worse than `before`; `None` if it is not.
fn worse(now: &VersionCounts, before: &VersionCounts, settings: &WatchSection) -> Option<String> {
    let compared = now.compared();
    let limits = [
        (
            now.not_finite,
            before.not_finite,
            settings.non_finite_rate,
            "got a score that is not finite",
            "non_finite_rate",
        ),
        (
            now.failed,
            before.failed,
            settings.error_rate,
            "got no score",
            "error_rate",
        ),
    ];
    for (count, was, limit, what, key) in limits {
        let (rate, was) = (share(count, compared), share(was, compared));
        if rate > limit && rate > 2.0 * was {
            return Some(format!(
                "{count} of {compared} customers {what} (models.watch.{key} allows {limit})"
            ));
        }
    }
    let far = Distance::of(&now.expected, &now.bins)?.beyond_chance();
    // Customers may differ from the training data: then the live version is far from its training as well.
    let was_far = Distance::of(&before.expected, &before.bins).map(|distance| distance.beyond_chance());
    let limit = settings.psi.max(was_far.map_or(0.0, |was| 2.0 * was));
    (settings.psi > 0.0 && far > limit).then(|| {
        format!(
            "the scores of {} customers are far from those at training: a population stability index of {far:.2} \
             above chance (models.watch.psi allows {}); the live version has {:.2}",
            now.scored,
            settings.psi,
            was_far.unwrap_or(0.0)
        )
    })
}

#[expect(clippy::cast_precision_loss, reason = "counts of customers")]
fn share(count: u64, of: u64) -> f64 {
    count as f64 / of.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(scored: u64, failed: u64, not_finite: u64, bins: &[u64]) -> VersionCounts {
        VersionCounts {
            scored,
            failed,
            not_finite,
            bins: bins.to_vec(),
            expected: vec![1000; 4],
        }
    }

    const EVEN: [u64; 4] = [250, 250, 250, 250];
    const SHIFTED: [u64; 4] = [0, 0, 0, 1000];

    fn reason(now: &VersionCounts, before: &VersionCounts) -> Option<String> {
        let counts = PopulationCounts {
            base: before.clone(),
            candidate: now.clone(),
            moved: 30,
            differing: u64::from(now != before),
            agreement: Some(0.9),
            ..PopulationCounts::default()
        };
        match judge(&counts, &WatchSection::default()) {
            Verdict::Accept(_) => None,
            Verdict::Reject(reason) | Verdict::Postpone(reason) => Some(reason),
        }
    }

    #[test]
    fn each_way_to_be_worse_is_found() {
        let well = counts(1000, 0, 0, &EVEN);
        for (now, part) in [
            (counts(900, 100, 0, &EVEN), "100 of 1000 customers got no score"),
            (
                counts(980, 20, 20, &EVEN),
                "20 of 1000 customers got a score that is not finite",
            ),
            (counts(1000, 0, 0, &SHIFTED), "stability index"),
        ] {
            assert!(reason(&now, &well).unwrap().contains(part), "{now:?}");
        }
    }

    #[test]
    fn a_version_that_answers_like_the_live_one_is_accepted_whatever_it_answers() {
        for same in [
            counts(1000, 0, 0, &EVEN),
            counts(1000, 0, 0, &SHIFTED),
            counts(0, 1000, 0, &[0; 4]),
            counts(500, 500, 500, &[0, 0, 0, 500]),
        ] {
            assert_eq!(reason(&same, &same), None, "{same:?}");
        }
    }

    #[test]
    fn a_version_that_orders_customers_another_way_is_rejected() {
        let well = counts(1000, 0, 0, &EVEN);
        let mut found = PopulationCounts {
            base: well.clone(),
            candidate: well,
            moved: 455,
            differing: 900,
            agreement: Some(0.31),
            ..PopulationCounts::default()
        };
        let Verdict::Reject(reason) = judge(&found, &WatchSection::default()) else {
            panic!("accepted");
        };
        assert!(
            reason.contains("rank correlation with the live version is 0.31"),
            "{reason}"
        );
        assert!(reason.contains("moves 45.5% of 1000 customers"), "{reason}");
        found.agreement = Some(0.8);
        assert!(matches!(
            judge(&found, &WatchSection::default()),
            Verdict::Accept(_)
        ));
    }

    #[test]
    fn the_same_answers_are_accepted_whatever_the_reference_says() {
        let mut newer = counts(1000, 0, 0, &EVEN);
        newer.expected = vec![1, 1, 1, 9997];
        let found = PopulationCounts {
            base: counts(1000, 0, 0, &EVEN),
            candidate: newer,
            ..PopulationCounts::default()
        };
        let expected = "gives the same answers for 1000 customers".to_owned();
        assert_eq!(judge(&found, &WatchSection::default()), Verdict::Accept(expected));
    }

    #[test]
    fn a_version_whose_source_is_away_waits() {
        let found = PopulationCounts {
            base: counts(0, 0, 0, &[0; 4]),
            unavailable: 500,
            ..PopulationCounts::default()
        };
        assert!(matches!(
            judge(&found, &WatchSection::default()),
            Verdict::Postpone(_)
        ));
    }

    #[test]
    fn too_few_customers_say_nothing() {
        let few = counts(100, 100, 0, &EVEN);
        assert_eq!(reason(&few, &counts(200, 0, 0, &EVEN)), None);
    }

    #[test]
    fn ids_are_read_one_per_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ids.txt");
        std::fs::write(&path, "C-1\n\n  C-2 \r\n7").unwrap();
        let ids: Vec<String> = read_ids(&path).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(ids, ["C-1", "C-2", "7"]);
        let missing = read_ids(&folder.path().join("none")).unwrap_err();
        assert!(missing.contains("models.watch.ids"), "{missing}");
    }
}
