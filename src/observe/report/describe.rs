//! Drift in words: "support_calls_30d moved: usually 0 to 2, now 3 to 6; PSI 0.31 over 12,400 customers".

use super::causes::others;
use super::{Cause, Drift, DriftReport, FeatureDrift, edges, share};

use crate::models::ModelVersion;
use crate::models::contract::safe;
use crate::models::input::ModelInput;
use crate::models::sentence::range_text;
use crate::models::usual::{Usual, UsualRange, quartiles};
use crate::observe::bins::FeatureBins;
use crate::observe::window::Window;
use crate::values::feature_type::FeatureType;
use crate::words::{counted, thousands};

/// From which share on a default is told of.
const TOLD_DEFAULT: f64 = 0.01;

/// Names listed in a summary.
const LISTED: usize = 5;

/// The sentence for a feature.
pub(super) fn feature(
    model: &ModelVersion,
    bins: &FeatureBins,
    counts: &[u64],
    window: &Window,
    drift: &FeatureDrift,
) -> String {
    let Some(input) = model.inputs.get(drift.input) else {
        return String::new();
    };
    let name = &input.contract.name;
    let over = format!("{} {}", thousands(window.rows), noun(model, window.rows));
    if drift.causes.is_empty() {
        let distance = drift.values.distance;
        return safe(&match (input.contract.kind, distance) {
            (FeatureType::Timestamp, _) => format!("{name} is a time, which moves by its nature; not judged"),
            (_, Some(distance)) if drift.values.judged => {
                let default = by_default(drift, "");
                format!(
                    "{name} has not moved; PSI {:.3} over {over}{default}",
                    distance.psi
                )
            }
            _ => format!(
                "{name}: too few rows to judge its {}",
                counted(used(&drift.values), "bin")
            ),
        });
    }
    let [missing, null, stale, out_of_range, default] = drift.statuses;
    let told_as_missing =
        drift.causes.contains(&Cause::Missing) && moved_most(&drift.values) + 1 == counts.len();
    let causes = drift.causes.iter();
    let causes = causes.filter(|cause| !(told_as_missing && **cause == Cause::Values));
    let clauses = causes.map(|cause| match cause {
        Cause::Values => {
            let psi = drift.values.distance.map_or(0.0, |distance| distance.psi);
            let how = moved(model, input, bins, counts, window, drift);
            let default = match drift.causes.contains(&Cause::Missing) {
                true => String::new(),
                false => by_default(drift, ", which counts as a value"),
            };
            format!("{name} moved: {how}; PSI {psi:.2} over {over}{default}")
        }
        Cause::BeyondTraining => {
            let (least, greatest) = bins.trained().unwrap_or_default();
            format!(
                "{name} is beyond the values at training ({}) for {} of {over}",
                range_text(input, least, greatest),
                percent(drift.beyond)
            )
        }
        Cause::OutOfRange if input.contract.kind == FeatureType::Category => format!(
            "{name} has a category that is unknown to the model for {} of {over}",
            percent(out_of_range)
        ),
        Cause::OutOfRange => format!(
            "{name} is outside its range for {} of {over}",
            percent(out_of_range)
        ),
        Cause::Stale => format!(
            "{name} is older than its max_age for {} of {over}",
            percent(stale)
        ),
        Cause::Missing => {
            let replaced = if default > 0.0 {
                "; the default is used"
            } else {
                ""
            };
            let usual = drift.values.expected.last().copied().unwrap_or(0.0);
            format!(
                "{name} has no value for {} of {over}, at training {}{replaced}",
                percent(missing + null),
                percent(usual)
            )
        }
        Cause::Default => {
            let (usual, now) = others(input, bins, counts).unwrap_or_default();
            format!(
                "{name}: the default stands for {} of {over}; {} have another value, at training {}",
                percent(default),
                percent(share(now, window.rows)),
                percent(share(usual, bins.expected.iter().sum()))
            )
        }
    });
    safe(&clauses.collect::<Vec<_>>().join(". "))
}

/// How often the contract's default stands for a value. That is not judged: training may have filled what was missing, and
/// does not say how often.
fn by_default(drift: &FeatureDrift, more: &str) -> String {
    let [.., default] = drift.statuses;
    match default >= TOLD_DEFAULT {
        true => format!("; the default stands for {}{more}", percent(default)),
        false => String::new(),
    }
}

/// How the values moved: the middle half if that moved, else the bin that moved most.
fn moved(
    model: &ModelVersion,
    input: &ModelInput,
    bins: &FeatureBins,
    counts: &[u64],
    window: &Window,
    drift: &FeatureDrift,
) -> String {
    let usual = model.usual.get(drift.input).and_then(Option::as_ref);
    let ranges = middle_half(input, usual, bins, counts, window.outer(drift.input));
    if let Some((usual, now)) = ranges.filter(|(usual, now)| usual != now) {
        return format!("usually {usual}, now {now}");
    }
    let (values, bin) = (&drift.values, moved_most(&drift.values));
    let share = |shares: &[f64]| percent(shares.get(bin).copied().unwrap_or(0.0));
    let label = values.labels.get(bin).map_or("", String::as_str);
    format!(
        "“{label}” is {}, at training {}",
        share(&values.observed),
        share(&values.expected)
    )
}

/// The bin whose share changed most.
fn moved_most(values: &Drift) -> usize {
    let changes = values.expected.iter().zip(&values.observed);
    let changes = changes.map(|(expected, observed)| (observed - expected).abs());
    let largest = changes.enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b));
    largest.map_or(0, |(bin, _)| bin)
}

/// The middle half at training and in the window; `None` for categories, true or false, and features that are mostly missing.
fn middle_half(
    input: &ModelInput,
    usual: Option<&Usual>,
    bins: &FeatureBins,
    counts: &[u64],
    outer: Option<(f64, f64)>,
) -> Option<(String, String)> {
    let (present, missing) = counts.split_at(counts.len().checked_sub(1)?);
    let present_rows: u64 = present.iter().sum();
    let usual = usual.filter(|usual| !usual.is_mostly_missing())?;
    if present_rows < missing.iter().sum() {
        return None;
    }
    let UsualRange::Between { low, high } = usual.range else {
        return None;
    };
    let (edges, outer) = (edges(bins)?, outer?);
    let numbers = || edges.iter().chain([&outer.0, &outer.1]);
    let whole = input.contract.kind == FeatureType::Int || numbers().all(|number| number.fract() == 0.0);
    let [now_low, _, now_high] = quartiles(edges, present, outer, whole);
    // A quartile in the bin that it was in at training counts as the same: where it is in the bin is not known.
    let now = |share, usual, now| {
        let before = bins
            .expected
            .split_last()
            .map_or(0, |(_, before)| bin_of(before, share));
        if bin_of(present, share) == before {
            usual
        } else {
            now
        }
    };
    let (now_low, now_high) = (now(0.25, low, now_low), now(0.75, high, now_high));
    Some((range_text(input, low, high), range_text(input, now_low, now_high)))
}

/// The bin that holds the value which this share of the rows stays below.
#[expect(clippy::cast_precision_loss, reason = "numbers of rows")]
fn bin_of(counts: &[u64], share: f64) -> usize {
    let target = share * counts.iter().sum::<u64>() as f64;
    let mut below = 0;
    counts
        .iter()
        .position(|&count| {
            below += count;
            count > 0 && below as f64 >= target
        })
        .unwrap_or(0)
}

/// The summary of a report.
pub(super) fn summary(model: &ModelVersion, report: &DriftReport) -> String {
    let over = format!("{} {}", thousands(report.rows), noun(model, report.rows));
    if !report.enough() {
        return format!("too few rows: {over}; {} are needed", report.needed);
    }
    let drifted = report.drifted();
    let names: Vec<&str> = drifted
        .iter()
        .take(LISTED)
        .filter_map(|feature| Some(model.inputs.get(feature.input)?.contract.name.as_str()))
        .collect();
    let more = match drifted.len() - names.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let features = counted(report.features.len(), "feature");
    let what = match drifted.len() {
        0 => format!("none of {features} moved"),
        moved => format!(
            "{moved} of {features} moved, with {} of what the model relies on: {}{more}",
            percent(report.drifted_weight),
            names.join(", ")
        ),
    };
    let score = match &report.score {
        Some(score) if score.drifted => format!(
            "; the scores moved, PSI {:.2}",
            score.distance.map_or(0.0, |distance| distance.psi)
        ),
        Some(score) if score.judged => "; the scores did not".to_owned(),
        _ => String::new(),
    };
    let score = match (drifted.is_empty(), score.as_str()) {
        (true, "; the scores did not") => "; nor did the scores".to_owned(),
        _ => score,
    };
    safe(&format!("{over}: {what}{score}"))
}

/// The entities of a model, counted: `customers` for `customer_id`.
fn noun(model: &ModelVersion, rows: u64) -> String {
    let entity = model.entity();
    let stem = entity.strip_suffix("_id").or_else(|| entity.strip_suffix("Id"));
    let plural = if rows == 1 { "" } else { "s" };
    match stem.filter(|stem| !stem.is_empty() && !stem.ends_with('s')) {
        Some(stem) => format!("{}{plural}", stem.replace('_', " ")),
        None => format!("row{plural}"),
    }
}

fn used(drift: &Drift) -> usize {
    let bins = drift.expected.iter().zip(&drift.observed);
    bins.filter(|(expected, observed)| **expected + **observed > 0.0)
        .count()
}

/// A share in percent: `0.4%`, `12%`.
fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    match percent {
        ..10.0 if percent > 0.0 => format!("{percent:.1}%"),
        _ => format!("{percent:.0}%"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_shares_keep_a_decimal() {
        assert_eq!(
            [0.0, 0.004, 0.31, 1.0].map(percent),
            ["0%", "0.4%", "31%", "100%"]
        );
    }
}
