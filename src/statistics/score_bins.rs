//! Scores and outcomes in bins of equal width of the log-odds, so that scores near 0 and near 1 are resolved alike. Memory is
//! bounded by the bins, whatever the number of scores.

use std::collections::BTreeMap;

use super::number;

/// Bins over the log-odds from -[`EDGE`] to [`EDGE`]; scores beyond are in the first or the last one.
const BINS: u16 = 2048;
const EDGE: f64 = 12.0;

/// What is in a bin.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ScoreBin {
    /// Scores.
    pub scores: u64,
    /// Their sum.
    pub sum: f64,
    /// Scores with a known result.
    pub known: u64,
    /// The sum of those.
    pub known_sum: f64,
    /// Those that left.
    pub left: u64,
}

/// Occupied bins by their number, in ascending order of the score.
#[derive(Clone, Debug, Default)]
pub struct ScoreBins {
    bins: BTreeMap<u16, ScoreBin>,
}

impl ScoreBins {
    /// Adds a score, a probability.
    pub fn add(&mut self, score: f64) {
        let bin = self.bins.entry(position(score)).or_default();
        bin.scores += 1;
        bin.sum += score;
    }

    /// Adds the known result of a score that was added.
    pub fn add_known(&mut self, score: f64, left: bool) {
        let bin = self.bins.entry(position(score)).or_default();
        bin.known += 1;
        bin.known_sum += score;
        bin.left += u64::from(left);
    }

    /// The occupied bins, in ascending order of the score.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (ScoreRange, &ScoreBin)> {
        self.bins.iter().map(|(&bin, content)| (range(bin), content))
    }

    /// Weights of stayed and left customers by bin, in ascending order of the score.
    pub(super) fn known(&self) -> Vec<Weights> {
        let known = self.bins.values().filter(|bin| bin.known > 0);
        let weights = known.map(|bin| Weights {
            stayed: number(bin.known - bin.left),
            left: number(bin.left),
        });
        weights.collect()
    }

    /// Weights as the scores themselves expect them.
    pub(super) fn expected(&self) -> Vec<Weights> {
        let bins = self.bins.values().filter(|bin| bin.scores > 0);
        let weights = bins.map(|bin| Weights {
            stayed: (number(bin.scores) - bin.sum).max(0.0),
            left: bin.sum,
        });
        weights.collect()
    }
}

/// How many customers of a bin stayed and left, or are expected to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weights {
    pub(super) stayed: f64,
    pub(super) left: f64,
}

/// The scores of a bin: from, included, to, excluded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreRange {
    /// The lowest score.
    pub from: f64,
    /// The end.
    pub to: f64,
}

/// The log-odds of a probability.
pub(super) fn log_odds(score: f64) -> f64 {
    (score / (1.0 - score)).ln()
}

fn position(score: f64) -> u16 {
    let place = (log_odds(score) + EDGE) / (2.0 * EDGE) * f64::from(BINS);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped; a NaN, which no score is, becomes 0"
    )]
    let bin = place.clamp(0.0, f64::from(BINS - 1)) as u16;
    bin
}

fn range(bin: u16) -> ScoreRange {
    let edge = |bin: u16| {
        let log_odds = f64::from(bin) / f64::from(BINS) * 2.0 * EDGE - EDGE;
        1.0 / (1.0 + (-log_odds).exp())
    };
    ScoreRange {
        from: if bin == 0 { 0.0 } else { edge(bin) },
        to: if bin == BINS - 1 { 1.0 } else { edge(bin + 1) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_probability_is_in_the_bin_of_its_range() {
        for score in [0.0, 1e-9, 0.001, 0.013, 0.5, 0.871, 0.9999, 1.0] {
            let ScoreRange { from, to } = range(position(score));
            let inside = from <= score + 1e-12 && (score < to + 1e-12 || to == 1.0);
            assert!(inside, "{score}: {from} to {to}");
            let (a, b) = (log_odds(from.max(1e-4)), log_odds(to.min(1.0 - 1e-4)));
            assert!(
                b - a < 0.012 || from == 0.0 || to == 1.0,
                "{score}: {from} to {to}"
            );
        }
    }
}
