//! The bins that values are counted in: those of `reference.json`, so that windows compare with training and add up.

use rustc_hash::FxHashMap;

use crate::models::ModelVersion;
use crate::models::input::ModelInput;
use crate::models::reference::{Bins, Distribution, Reference};
use crate::models::sentence::decimal;
use crate::values::feature_type::FeatureType;

/// The bins of all inputs of a model, and of the value that its score is made from.
#[derive(Debug)]
pub struct ModelBins {
    /// By input.
    pub inputs: Vec<FeatureBins>,
    /// Of the model's value; `None` if that is not one number.
    pub score: Option<FeatureBins>,
}

/// The bins of one input. The last one counts missing values.
#[derive(Debug)]
pub struct FeatureBins {
    /// How a value finds its bin.
    pub rule: BinRule,
    /// Rows at training, by bin.
    pub expected: Vec<u64>,
}

/// How a value finds its bin.
#[derive(Debug)]
pub enum BinRule {
    /// Inner edges, ascending: bin `i` holds `edges[i-1] <= x < edges[i]`.
    Numbers(NumberBins),
    /// By code. The last but one bin counts categories without rows at training.
    Categories {
        /// The bin of each code.
        codes: FxHashMap<u64, usize>,
        /// The name of each bin.
        names: Vec<String>,
    },
}

/// Edges in the precision in which the model sees values.
#[derive(Debug)]
pub struct NumberBins {
    /// Inner edges.
    pub edges: Vec<f64>,
    /// Whether values are rounded to 32 bits before they are compared.
    narrow: bool,
    /// Whether the only values are true and false.
    flags: bool,
    /// The least and the greatest value at training; `None` without values. The outer bins have no end.
    trained: Option<(f64, f64)>,
}

impl ModelBins {
    /// The bins of a model; `None` if its bundle has no reference.
    pub fn of(model: &ModelVersion) -> Option<Self> {
        let reference = model.reference.as_ref()?;
        let inputs = model
            .inputs
            .iter()
            .map(|input| FeatureBins::of_input(input, reference));
        Some(Self {
            inputs: inputs.collect::<Option<_>>()?,
            score: reference.score.as_ref().map(FeatureBins::of_score),
        })
    }

    /// The number of bins of all inputs and the score.
    pub fn count(&self) -> usize {
        self.all().map(|bins| bins.expected.len()).sum()
    }

    /// The inputs, then the score.
    pub fn all(&self) -> impl Iterator<Item = &FeatureBins> {
        self.inputs.iter().chain(&self.score)
    }
}

impl FeatureBins {
    fn of_input(input: &ModelInput, reference: &Reference) -> Option<Self> {
        match reference.features.get(&input.contract.name)? {
            Distribution::Numeric {
                edges,
                counts,
                missing,
                min,
                max,
                ..
            } => {
                let narrow = input.is_narrow();
                let edges = edges.iter().map(|&edge| round(edge, narrow)).collect();
                Some(Self {
                    rule: BinRule::Numbers(NumberBins {
                        edges,
                        narrow,
                        flags: input.contract.kind == FeatureType::Bool,
                        trained: min
                            .zip(*max)
                            .map(|(min, max)| (round(min, narrow), round(max, narrow))),
                    }),
                    expected: with_last(counts, &[*missing]),
                })
            }
            Distribution::Category { missing, counts } => {
                let (mut codes, mut names) = (FxHashMap::default(), Vec::<String>::new());
                let mut rows: Vec<u64> = Vec::new();
                for (name, &count) in counts {
                    let Some(code) = input.code(name) else { continue };
                    // Categories that the model does not tell apart have one code.
                    let bin = *codes.entry(code.to_bits()).or_insert(names.len());
                    match names.get_mut(bin) {
                        Some(names) => {
                            names.push_str(", ");
                            names.push_str(name);
                            rows[bin] += count;
                        }
                        None => {
                            names.push(name.clone());
                            rows.push(count);
                        }
                    }
                }
                Some(Self {
                    rule: BinRule::Categories { codes, names },
                    expected: with_last(&rows, &[0, *missing]),
                })
            }
        }
    }

    fn of_score(bins: &Bins) -> Self {
        let edges = bins.edges.clone();
        Self {
            rule: BinRule::Numbers(NumberBins {
                edges,
                narrow: false,
                flags: false,
                trained: None,
            }),
            expected: with_last(&bins.counts, &[0]),
        }
    }

    /// The bin of a value.
    pub fn bin(&self, value: f64) -> usize {
        let last = self.expected.len() - 1;
        if value.is_nan() {
            return last;
        }
        match &self.rule {
            BinRule::Numbers(NumberBins { edges, narrow, .. }) => {
                let value = round(value, *narrow);
                edges.partition_point(|&edge| edge <= value)
            }
            BinRule::Categories { codes, .. } => codes.get(&value.to_bits()).copied().unwrap_or(last - 1),
        }
    }

    /// Whether a number is below the least or above the greatest at training.
    pub fn is_beyond(&self, value: f64) -> bool {
        match &self.rule {
            BinRule::Numbers(NumberBins {
                trained: Some((least, greatest)),
                narrow,
                ..
            }) => {
                // Comparisons with NaN are false.
                let value = round(value, *narrow);
                value < *least || value > *greatest
            }
            _ => false,
        }
    }

    /// The least and the greatest value at training; `None` for categories, and without values.
    pub fn trained(&self) -> Option<(f64, f64)> {
        match &self.rule {
            BinRule::Numbers(numbers) => numbers.trained,
            BinRule::Categories { .. } => None,
        }
    }

    /// What each bin holds, in words.
    pub fn labels(&self) -> Vec<String> {
        let mut labels = match &self.rule {
            BinRule::Numbers(numbers) if numbers.flags && numbers.edges.len() == 1 => {
                vec!["no".to_owned(), "yes".to_owned()]
            }
            BinRule::Numbers(NumberBins { edges, narrow, .. }) => {
                let short = |edge: f64| decimal(edge);
                let clear = edges.windows(2).all(|pair| short(pair[0]) != short(pair[1]));
                let text = |edge| {
                    if clear {
                        short(edge)
                    } else {
                        shortest(edge, *narrow)
                    }
                };
                match (edges.first(), edges.last()) {
                    (Some(&first), Some(&last)) => {
                        let below = format!("below {}", text(first));
                        let inner = edges
                            .windows(2)
                            .map(|pair| format!("{} to {}", text(pair[0]), text(pair[1])));
                        let from = format!("{} or more", text(last));
                        std::iter::once(below).chain(inner).chain([from]).collect()
                    }
                    _ => vec!["any value".to_owned()],
                }
            }
            BinRule::Categories { names, .. } => {
                let others = "others".to_owned();
                names.iter().cloned().chain([others]).collect()
            }
        };
        labels.push("missing".to_owned());
        labels
    }
}

fn with_last(counts: &[u64], last: &[u64]) -> Vec<u64> {
    counts.iter().chain(last).copied().collect()
}

/// A value as a model sees it that takes 32-bit floats, or as it is.
fn round(value: f64, narrow: bool) -> f64 {
    #[expect(clippy::cast_possible_truncation, reason = "the model rounds alike")]
    match narrow {
        true => f64::from(value as f32),
        false => value,
    }
}

/// The shortest decimal of a value.
fn shortest(value: f64, narrow: bool) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "the model rounds alike")]
    match narrow {
        true => (value as f32).to_string(),
        false => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::sample;

    fn numbers(edges: &[f64], narrow: bool) -> FeatureBins {
        let edges: Vec<f64> = edges.iter().map(|&edge| round(edge, narrow)).collect();
        FeatureBins {
            expected: vec![1; edges.len() + 2],
            rule: BinRule::Numbers(NumberBins {
                edges,
                narrow,
                flags: false,
                trained: Some((round(0.1, narrow), 7.0)),
            }),
        }
    }

    #[test]
    fn a_value_at_an_edge_is_in_the_bin_above_in_either_precision() {
        for narrow in [false, true] {
            let bins = numbers(&[0.1, 0.7, 5.0], narrow);
            let found = [0.05, 0.1, 0.7, f64::from(0.7_f32), 9.0, f64::NAN].map(|value| bins.bin(value));
            // 0.7 as a 32-bit float is below 0.7: only a model that rounds takes it for the edge.
            assert_eq!(found, [0, 1, 2, if narrow { 2 } else { 1 }, 3, 4]);
        }
    }

    #[test]
    fn values_outside_of_training_are_beyond_in_either_precision() {
        for narrow in [false, true] {
            let bins = numbers(&[0.7], narrow);
            let found = [0.05, 0.1, 7.0, 7.5, f64::NAN].map(|value| bins.is_beyond(value));
            assert_eq!(found, [true, false, false, true, false]);
        }
    }

    #[test]
    fn every_row_at_training_is_in_a_bin_of_the_sample() {
        let model = sample::version(1);
        let rows = model.reference.as_ref().unwrap().rows;
        let bins = ModelBins::of(&model).unwrap();
        for bins in bins.all() {
            assert_eq!(bins.expected.iter().sum::<u64>(), rows);
            assert_eq!(bins.labels().len(), bins.expected.len());
        }
    }

    #[test]
    fn a_category_that_training_did_not_have_is_among_the_others() {
        let model = sample::version(1);
        let bins = ModelBins::of(&model).unwrap();
        let plan = model.input("plan").unwrap();
        let code = model.inputs[plan].code("showroom").unwrap();
        let plan = &bins.inputs[plan];
        assert_eq!(plan.labels()[plan.bin(code)], "showroom");
        assert_eq!(plan.labels()[plan.bin(99.0)], "others");
    }
}
