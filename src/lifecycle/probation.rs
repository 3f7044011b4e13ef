//! Probation: compares the answers of a version that has just gone live with those of the previous version and with the
//! distribution at training.

use std::time::Instant;

use crate::config::models::WatchSection;
use crate::models::psi::beyond_chance;
use crate::scoring::answer_stats::AnswerCounts;

/// The probation of a version.
#[derive(Clone, Debug)]
pub(super) struct Probation {
    /// The previous version, to roll back to.
    pub(super) previous: u64,
    /// When the probation ends.
    pub(super) until: Instant,
    /// Its counts when it went live; what it answered as a canary does not count.
    pub(super) start: AnswerCounts,
}

/// Why the version with the counts `now` should be rolled back to the one with the counts `before`; `None` if all is
/// well, or too little is known.
pub(super) fn misbehaves(
    now: &AnswerCounts,
    before: &AnswerCounts,
    settings: &WatchSection,
) -> Option<String> {
    let seen = now.scored + now.failed;
    if seen < settings.samples.max(1) {
        return None;
    }
    let enough = before.scored + before.failed >= settings.samples.max(1);
    let was = |count: u64| if enough { rate(count, before) } else { 0.0 };
    let non_finite = rate(now.non_finite, now);
    if non_finite > settings.non_finite_rate && non_finite > 2.0 * was(before.non_finite) {
        return Some(format!(
            "{} of {seen} scores are not finite (models.watch.non_finite_rate allows {})",
            now.non_finite, settings.non_finite_rate
        ));
    }
    let failed = rate(now.failed, now);
    if failed > settings.error_rate && failed > 2.0 * was(before.failed) {
        return Some(format!(
            "{} of {seen} entities got no score (models.watch.error_rate allows {})",
            now.failed, settings.error_rate
        ));
    }
    let far = beyond_chance(&now.expected, &now.bins)?;
    // Requests may differ from the training data: then the previous version was far from its training as well.
    let scored = before.bins.iter().sum::<u64>() >= settings.samples.max(1);
    let was_far = beyond_chance(&before.expected, &before.bins).filter(|_| scored);
    let limit = settings.psi.max(was_far.map_or(0.0, |was| 2.0 * was));
    (settings.psi > 0.0 && far > limit).then(|| {
        format!(
            "the scores of {} entities are far from those at training: a population stability index of {far:.2} above \
             chance (models.watch.psi allows {})",
            now.scored, settings.psi
        )
    })
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests")]
fn rate(count: u64, of: &AnswerCounts) -> f64 {
    count as f64 / (of.scored + of.failed).max(1) as f64
}

/// The counts since `start`.
pub(super) fn since(start: &AnswerCounts, now: AnswerCounts) -> AnswerCounts {
    let bins = now.bins.iter().enumerate();
    AnswerCounts {
        scored: now.scored - start.scored,
        failed: now.failed - start.failed,
        non_finite: now.non_finite - start.non_finite,
        bins: bins
            .map(|(bin, count)| count - start.bins.get(bin).unwrap_or(&0))
            .collect(),
        expected: now.expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(scored: u64, failed: u64, non_finite: u64, bins: &[u64]) -> AnswerCounts {
        AnswerCounts {
            scored,
            failed,
            non_finite,
            bins: bins.to_vec(),
            expected: vec![1000; 4],
        }
    }

    #[test]
    fn each_kind_of_misbehaviour_is_found_after_enough_answers() {
        let settings = WatchSection::default();
        let even = [250, 250, 250, 250];
        let well = counts(1000, 0, 0, &even);
        let judge = |now: &AnswerCounts, before: &AnswerCounts| misbehaves(now, before, &settings);
        assert_eq!(judge(&well, &well), None);
        assert!(
            judge(&counts(900, 100, 0, &even), &well)
                .unwrap()
                .contains("100 of 1000 entities")
        );
        assert!(
            judge(&counts(980, 20, 20, &even), &well)
                .unwrap()
                .contains("not finite")
        );
        let shifted = [0, 0, 0, 1000];
        assert!(
            judge(&counts(1000, 0, 0, &shifted), &well)
                .unwrap()
                .contains("stability index")
        );
        assert_eq!(judge(&counts(100, 100, 0, &even), &well), None, "too few");
        let as_before = counts(1000, 0, 0, &shifted);
        assert_eq!(
            judge(&counts(1000, 0, 0, &shifted), &as_before),
            None,
            "others ask than at training"
        );
        assert_eq!(
            judge(&counts(900, 100, 0, &even), &counts(900, 90, 0, &even)),
            None,
            "no worse than before"
        );
    }
}
