//! The distributions of the sample, as the reference for drift: the same bins as `save_bundle` makes.

use evergreen_forest::Precision;
use serde_json::{Map, Value, json};

/// Least rows of each of several bins beside a common value: as many as a window of drift needs for each bin, so that χ²
/// holds.
const ROWS_IN_BIN: usize = 20;

/// The distribution of numbers that a model sees in this precision; NaN is missing.
pub(super) fn numeric(values: &[f64], precision: Precision) -> Value {
    let present: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    let mut distribution = bins(&present, precision);
    let quartiles = quartiles(&present);
    if let Some(distribution) = distribution.as_object_mut() {
        distribution.insert("kind".to_owned(), json!("numeric"));
        distribution.insert("count".to_owned(), json!(present.len()));
        distribution.insert("missing".to_owned(), json!(values.len() - present.len()));
        if let Some(quartiles) = quartiles {
            distribution.insert("quartiles".to_owned(), json!(quartiles));
        }
    }
    distribution
}

/// The distribution of categories, by the position of each row's category in `names`; `None` is missing.
pub(super) fn categories(names: &[String], rows: &[Option<usize>]) -> Value {
    let count = |position| rows.iter().filter(|row| **row == Some(position)).count();
    let counts = names.iter().enumerate();
    let counts: Map<String, Value> = counts
        .map(|(position, name)| (name.clone(), json!(count(position))))
        .collect();
    let missing = rows.iter().filter(|row| row.is_none()).count();
    json!({"kind": "category", "missing": missing, "counts": counts})
}

/// The distribution of scores.
pub(super) fn scores(values: &[f64]) -> Value {
    let found = bins(values, Precision::F64);
    json!({"edges": found["edges"], "counts": found["counts"], "mean": found["mean"]})
}

/// The extremes and the mean of the finite values, and the values by bin. Values that are one number for the model are one
/// here, as they are when the server counts them.
#[expect(clippy::cast_precision_loss, reason = "numbers of rows")]
fn bins(values: &[f64], precision: Precision) -> Value {
    let values: Vec<f64> = values.iter().map(|&value| seen(value, precision)).collect();
    let finite = sorted(&values);
    let (Some(&min), Some(&max)) = (finite.first(), finite.last()) else {
        return json!({"min": null, "max": null, "mean": null, "edges": [], "counts": [values.len()]});
    };
    let mut edges = edges_around_common(&finite);
    if edges.is_empty() {
        edges = deciles(&finite);
    }
    let mut counts = vec![0_u64; edges.len() + 1];
    for value in &values {
        counts[edges.partition_point(|edge| edge <= value)] += 1;
    }
    let mean = finite
        .iter()
        .map(|value| value / finite.len() as f64)
        .sum::<f64>();
    json!({"min": min, "max": max, "mean": mean, "edges": edges, "counts": counts})
}

/// The shortest decimal of a value in the precision in which the model sees it.
fn seen(value: f64, precision: Precision) -> f64 {
    #[expect(clippy::cast_possible_truncation, reason = "the model sees no more than this")]
    match precision {
        Precision::F32 => (value as f32).to_string().parse().unwrap_or(value),
        Precision::F64 => value,
    }
}

/// Deciles that are values of the sample, but not its minimum: drift measures need bins that are not empty.
fn deciles(finite: &[f64]) -> Vec<f64> {
    let (Some(&min), Some(last)) = (finite.first(), finite.len().checked_sub(1)) else {
        return Vec::new();
    };
    let mut edges: Vec<f64> = (1..10).map(|tenth| finite[(last * tenth).div_ceil(10)]).collect();
    edges.dedup();
    edges.retain(|edge| *edge > min);
    edges
}

/// Edges that keep apart what is below and above a value that four fifths of the rows have, if there is one. Deciles would
/// leave the rest in a bin with that value, or in two bins. A rest of too few rows stays with it.
fn edges_around_common(finite: &[f64]) -> Vec<f64> {
    let Some(&common) = finite.get(finite.len() / 2) else {
        return Vec::new();
    };
    let below = &finite[..finite.partition_point(|&value| value < common)];
    let above = &finite[finite.partition_point(|&value| value <= common)..];
    let mut edges = Vec::new();
    if 5 * (below.len() + above.len()) <= finite.len() {
        if !below.is_empty() {
            edges.extend(quarters(below));
            edges.push(common);
        }
        if !above.is_empty() {
            edges.push(above[0]);
            edges.extend(quarters(above));
        }
    }
    edges
}

/// The inner edges of up to four bins, each with a quarter of the values and rows for a drift measure.
fn quarters(sorted: &[f64]) -> Vec<f64> {
    let least = ROWS_IN_BIN.max(sorted.len().div_ceil(4));
    let mut edges = Vec::new();
    let mut end = 0;
    while sorted.len() - end > least {
        // Equal values are in one bin.
        let last = sorted[end + least - 1];
        end = sorted.partition_point(|&value| value <= last);
        if sorted.len() - end < ROWS_IN_BIN {
            break;
        }
        edges.push(sorted[end]);
    }
    edges
}

/// The quartiles, as values of the sample.
fn quartiles(values: &[f64]) -> Option<[f64; 3]> {
    let finite = sorted(values);
    let at = |quarter: usize| {
        finite
            .get((finite.len() * quarter).div_ceil(4).checked_sub(1)?)
            .copied()
    };
    Some([at(1)?, at(2)?, at(3)?])
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut finite: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    finite.sort_by(f64::total_cmp);
    finite
}
