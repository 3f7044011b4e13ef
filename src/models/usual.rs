//! What is usual for a feature: the middle half of its values at training, by the quartiles of `reference.json`, or its bins
//! if it has none.

use super::input::ModelInput;
use super::reference::{Distribution, Reference};
use crate::values::feature_type::FeatureType;

/// What is usual for a feature.
#[derive(Clone, Debug, PartialEq)]
pub struct Usual {
    /// The median of the values, or the most common one.
    pub value: f64,
    /// The range or the share of what is usual.
    pub range: UsualRange,
    /// Share of rows without a value.
    pub missing: f64,
}

/// A usual range.
#[derive(Clone, Debug, PartialEq)]
pub enum UsualRange {
    /// The middle half of the numbers.
    Between {
        /// The first quartile.
        low: f64,
        /// The third quartile.
        high: f64,
    },
    /// The share of the most common category, or of true or false.
    Share(f64),
}

impl Usual {
    /// Reads what is usual for an input; `None` if no row has a value.
    fn of(input: &ModelInput, distribution: &Distribution) -> Option<Self> {
        match distribution {
            Distribution::Category { missing, counts } => {
                let (name, &most) = counts.iter().max_by_key(|(_, count)| **count)?;
                let present: u64 = counts.values().sum();
                Some(Self {
                    value: input.code(name)?,
                    range: UsualRange::Share(share(most, present)),
                    missing: share(*missing, present + missing),
                })
            }
            Distribution::Numeric {
                count,
                missing,
                min,
                max,
                edges,
                counts,
                quartiles,
                ..
            } => {
                let bins = NumberBins {
                    edges,
                    counts,
                    outer: ((*min)?, (*max)?),
                    whole: input.contract.kind == FeatureType::Int,
                };
                let (value, range) = match input.contract.kind {
                    FeatureType::Bool => {
                        let positive = bins.share_from(0.5);
                        let most = positive.max(1.0 - positive);
                        (f64::from(u8::from(positive >= 0.5)), UsualRange::Share(most))
                    }
                    _ => {
                        let from_bins =
                            || crate::models::usual::quartiles(edges, counts, bins.outer, bins.whole);
                        let [low, value, high] = quartiles.unwrap_or_else(from_bins);
                        (value, UsualRange::Between { low, high })
                    }
                };
                Some(Self {
                    value,
                    range,
                    missing: share(*missing, count + missing),
                })
            }
        }
    }

    /// The usual value: NaN where most rows have none, so that features which go together stay together.
    pub fn typical(&self) -> f64 {
        if self.is_mostly_missing() {
            f64::NAN
        } else {
            self.value
        }
    }

    /// Whether most rows have no value.
    pub fn is_mostly_missing(&self) -> bool {
        self.missing > 0.5
    }
}

/// What is usual for each input.
pub(super) fn of_inputs(inputs: &[ModelInput], reference: Option<&Reference>) -> Vec<Option<Usual>> {
    let usual = inputs.iter().map(|input| {
        let distribution = reference?.features.get(&input.contract.name)?;
        Usual::of(input, distribution)
    });
    usual.collect()
}

/// The quartiles of numbers that were counted in bins: `edges` are the inner edges, `outer` the least and the greatest number.
pub(crate) fn quartiles(edges: &[f64], counts: &[u64], outer: (f64, f64), whole: bool) -> [f64; 3] {
    let bins = NumberBins {
        edges,
        counts,
        outer,
        whole,
    };
    [0.25, 0.5, 0.75].map(|share| bins.quantile(share))
}

#[expect(clippy::cast_precision_loss, reason = "numbers of rows")]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// A histogram of numbers.
struct NumberBins<'a> {
    edges: &'a [f64],
    counts: &'a [u64],
    /// The least and the greatest value.
    outer: (f64, f64),
    /// Whether all numbers are whole.
    whole: bool,
}

impl NumberBins<'_> {
    /// The lower and upper end of a bin. A bin of whole numbers ends before the next one begins.
    fn ends(&self, bin: usize) -> (f64, f64) {
        let (min, max) = self.outer;
        let low = bin.checked_sub(1).map_or(min, |edge| self.edges[edge].max(min));
        let last = if self.whole { max + 1.0 } else { max };
        (low, self.edges.get(bin).copied().unwrap_or(last).min(last))
    }

    /// The value that this share of the rows stays below; within a bin, values are taken as evenly spread.
    #[expect(clippy::cast_precision_loss, reason = "numbers of rows")]
    fn quantile(&self, share: f64) -> f64 {
        let target = share * self.counts.iter().sum::<u64>() as f64;
        let mut below = 0.0;
        for (bin, &count) in self.counts.iter().enumerate() {
            let count = count as f64;
            if below + count >= target && count > 0.0 {
                let (low, high) = self.ends(bin);
                let value = low + (high - low) * (target - below) / count;
                return if self.whole {
                    value.floor().clamp(low.ceil(), (high - 1.0).max(low.ceil()))
                } else {
                    value
                };
            }
            below += count;
        }
        self.outer.1
    }

    /// The share of rows in the bins that begin at `from` or above.
    fn share_from(&self, from: f64) -> f64 {
        let above = (0..self.counts.len()).filter(|&bin| self.ends(bin).0 >= from);
        share(above.map(|bin| self.counts[bin]).sum(), self.counts.iter().sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::sample;

    fn bins<'a>(edges: &'a [f64], counts: &'a [u64], outer: (f64, f64), whole: bool) -> NumberBins<'a> {
        NumberBins {
            edges,
            counts,
            outer,
            whole,
        }
    }

    #[test]
    fn quartiles_of_whole_numbers_are_whole() {
        let counts = bins(&[1.0, 3.0, 5.0], &[10, 20, 30, 40], (0.0, 9.0), true);
        assert_eq!(
            [0.05, 0.25, 0.5, 0.99].map(|share| counts.quantile(share)),
            [0.0, 2.0, 4.0, 9.0]
        );
        let mostly_zero = bins(&[1.0], &[90, 10], (0.0, 4.0), true);
        assert_eq!(
            [0.25, 0.5, 0.75].map(|share| mostly_zero.quantile(share)),
            [0.0; 3]
        );
        let constant = bins(&[], &[7], (3.0, 3.0), true);
        assert_eq!(constant.quantile(0.75), 3.0);
    }

    #[test]
    fn quartiles_of_numbers_are_interpolated() {
        let even = bins(&[10.0, 20.0], &[10, 10, 10], (0.0, 30.0), false);
        assert_eq!(
            [0.25, 0.5, 0.75].map(|share| even.quantile(share)),
            [7.5, 15.0, 22.5]
        );
    }

    #[test]
    fn the_sample_has_something_usual_for_every_feature() {
        let model = sample::version(1);
        for (input, usual) in model.inputs.iter().zip(&model.usual) {
            let usual = usual.as_ref().unwrap();
            match usual.range {
                UsualRange::Between { low, high } => {
                    assert!(
                        low <= usual.value && usual.value <= high,
                        "{}",
                        input.contract.name
                    );
                }
                UsualRange::Share(share) => assert!(share > 0.0 && share <= 1.0),
            }
        }
    }
}
