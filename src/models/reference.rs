//! `reference.json`: the distributions of the features and the score at training, as the reference for drift.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::contract::Contract;
use crate::suggest::with_hint;
use crate::values::feature_type::FeatureType;

/// File name in a bundle.
pub const FILE_NAME: &str = "reference.json";

/// The distributions of a bundle.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// Number of rows.
    pub rows: u64,
    /// By feature.
    pub features: BTreeMap<String, Distribution>,
    /// The distribution of the model's value; missing if that is not one number.
    pub score: Option<Bins>,
}

/// The distribution of a feature.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Distribution {
    /// Of numbers.
    Numeric {
        /// Rows with a value.
        count: u64,
        /// Rows without one.
        missing: u64,
        /// The least value; `None` without values.
        min: Option<f64>,
        /// The greatest value.
        max: Option<f64>,
        /// Their mean.
        mean: Option<f64>,
        /// Inner edges of the bins, strictly ascending.
        edges: Vec<f64>,
        /// Rows in each bin: one more than there are edges; bin `i` holds `edges[i-1] <= x < edges[i]`.
        counts: Vec<u64>,
        /// The first, second and third quartile, as values of the sample.
        quartiles: Option<[f64; 3]>,
    },
    /// Of categories.
    Category {
        /// Rows without a value.
        missing: u64,
        /// Rows of each category.
        counts: BTreeMap<String, u64>,
    },
}

/// The distribution of the score.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bins {
    /// Inner edges of the bins, strictly ascending.
    pub edges: Vec<f64>,
    /// Rows in each bin.
    pub counts: Vec<u64>,
    /// The mean score.
    pub mean: Option<f64>,
}

impl Reference {
    /// Parses the distributions and checks them against the contract.
    ///
    /// # Errors
    /// A line or the distribution of a feature is not valid; the message names it.
    pub fn parse(text: &[u8], contract: &Contract) -> Result<Self, String> {
        let reference: Self = serde_json::from_slice(text).map_err(|error| with_hint(&error.to_string()))?;
        for feature in contract.features() {
            let at = |message: String| format!("feature `{}`: {message}", feature.name);
            let found = reference.features.get(&feature.name);
            let found = found.ok_or_else(|| at("has no distribution".to_owned()))?;
            found.check(feature.kind, reference.rows).map_err(at)?;
        }
        let known = |name: &&String| contract.features().any(|feature| feature.name == **name);
        if let Some(name) = reference.features.keys().find(|name| !known(name)) {
            return Err(format!("feature `{name}`: not in the contract"));
        }
        if let Some(score) = &reference.score {
            bins(&score.edges, &score.counts, reference.rows)
                .map_err(|message| format!("score: {message}"))?;
        }
        Ok(reference)
    }
}

impl Distribution {
    /// The share of the values at training that are below a number; within a bin, values are taken as evenly spread. 0 for
    /// categories.
    #[expect(clippy::cast_precision_loss, reason = "numbers of rows")]
    pub fn share_below(&self, value: f64) -> f64 {
        let Self::Numeric {
            min: Some(min),
            max: Some(max),
            edges,
            counts,
            ..
        } = self
        else {
            return 0.0;
        };
        let total = counts.iter().sum::<u64>().max(1) as f64;
        let starts = [*min].into_iter().chain(edges.iter().copied());
        let ends = edges.iter().copied().chain([*max]);
        let below = starts.zip(ends).zip(counts).map(|((start, end), &count)| {
            let part = if value >= end {
                1.0
            } else if value <= start {
                0.0
            } else {
                (value - start) / (end - start)
            };
            part * count as f64
        });
        below.sum::<f64>() / total
    }

    fn check(&self, kind: FeatureType, rows: u64) -> Result<(), String> {
        let total = |present: u64, missing: u64| match present.checked_add(missing) {
            Some(total) if total == rows => Ok(()),
            _ => Err(format!(
                "expected {rows} rows, found {present} with a value and {missing} without"
            )),
        };
        match self {
            Self::Numeric { .. } if kind == FeatureType::Category => {
                Err("expected kind = \"category\", found \"numeric\"".to_owned())
            }
            Self::Category { .. } if kind != FeatureType::Category => {
                Err("expected kind = \"numeric\", found \"category\"".to_owned())
            }
            Self::Numeric {
                count,
                missing,
                edges,
                counts,
                quartiles,
                ..
            } => {
                total(*count, *missing)?;
                match quartiles {
                    Some(quartiles) if !quartiles.is_sorted() => {
                        Err("expected quartiles in ascending order".to_owned())
                    }
                    _ => bins(edges, counts, *count),
                }
            }
            Self::Category { missing, counts } => total(counts.values().sum(), *missing),
        }
    }
}

fn bins(edges: &[f64], counts: &[u64], rows: u64) -> Result<(), String> {
    if counts.len() != edges.len() + 1 {
        return Err(format!(
            "{} edges: expected {} bins, found {}",
            edges.len(),
            edges.len() + 1,
            counts.len()
        ));
    }
    if !edges.is_sorted_by(|a, b| a < b) {
        return Err("expected edges in strictly ascending order".to_owned());
    }
    match counts.iter().sum::<u64>() {
        sum if sum == rows => Ok(()),
        sum => Err(format!("the bins: expected {rows} rows in total, found {sum}")),
    }
}
