//! The report of a replay, as text and as JSON.

use serde_json::{Value, json};

use super::comparison::{Mover, VersionComparison};
use super::contributions::{BaseModels, ContributionChange, changes};
use crate::cli::table::TextTable;
use crate::cli::{BOLD, GREEN, RED, YELLOW, print_line, print_table, thousands};
use crate::models::ModelVersion;

/// The percentiles that are reported.
const PERCENTS: [f64; 7] = [0.0, 5.0, 25.0, 50.0, 75.0, 95.0, 100.0];

/// Features that are listed for an entity.
const FEATURES: usize = 5;

/// Features that the text names.
const NAMED: usize = 3;

/// What one version wrote, compared with a model.
pub(super) struct VersionReport {
    comparison: VersionComparison,
    percentiles: Option<[f64; PERCENTS.len()]>,
    /// By mover; empty if the version that wrote the log is not there.
    reasons: Vec<Vec<ContributionChange>>,
}

impl VersionReport {
    /// Completes a comparison.
    ///
    /// # Errors
    /// A model has no contributions.
    pub(super) fn new(
        mut comparison: VersionComparison,
        model: &ModelVersion,
        bases: &BaseModels,
    ) -> Result<Self, String> {
        let percentiles = comparison.percentiles(PERCENTS);
        let base = match comparison.movers.is_empty() {
            true => None,
            false => bases.find(&comparison.meta),
        };
        let movers = comparison.movers.iter();
        let reasons = base.map(|base| {
            let changes = |mover| {
                changes(mover, &base, model).map(|mut changes| {
                    changes.truncate(FEATURES);
                    changes
                })
            };
            movers.map(changes).collect::<Result<_, String>>()
        });
        Ok(Self {
            reasons: reasons.transpose()?.unwrap_or_default(),
            percentiles,
            comparison,
        })
    }
}

/// The report as JSON.
pub(super) fn json(model: &ModelVersion, reports: &[VersionReport]) -> Value {
    json!({
        "model": {"name": model.name, "version": model.version, "sha256": model.sha256},
        "versions": reports.iter().map(version_json).collect::<Vec<_>>(),
    })
}

fn version_json(report: &VersionReport) -> Value {
    let comparison = &report.comparison;
    let meta = &comparison.meta;
    let mut out = json!({
        "model": meta.model, "version": meta.version, "sha256": meta.sha256,
        "same": comparison.is_same(), "rows": comparison.rows(),
    });
    let add = match comparison.is_same() {
        true => json!({
            "differing_rows": comparison.differing_bits(),
            "differing": comparison.listed.iter().map(|row| json!({
                "entity": row.logged.entity, "writer": row.logged.writer, "sequence": row.logged.sequence,
                "logged": {"score": row.logged.score, "value": row.logged.value, "margin": row.logged.margin},
                "replayed": {"score": row.score, "value": row.value, "margin": row.margin},
            })).collect::<Vec<_>>(),
            "no_score": comparison.refused,
        }),
        false => json!({
            "changed_scores": comparison.changed,
            "no_score": comparison.refused,
            "change": comparison.means().map(|(mean, size)| json!({
                "mean": mean,
                "mean_size": size,
                "percentiles": report.percentiles.map(|values| {
                    let pairs = PERCENTS.iter().zip(values);
                    pairs.map(|(percent, value)| (percent.to_string(), json!(value))).collect::<serde_json::Map<_, _>>()
                }),
            })),
            "bands": comparison.bands.iter().map(|((from, to), rows)| json!({
                "from": from, "to": to, "rows": rows,
            })).collect::<Vec<_>>(),
            "most_changed": comparison.movers.iter().enumerate().map(|(at, mover)| {
                mover_json(mover, report.reasons.get(at))
            }).collect::<Vec<_>>(),
        }),
    };
    if let (Value::Object(out), Value::Object(add)) = (&mut out, add) {
        out.extend(add);
    }
    out
}

fn mover_json(mover: &Mover, reasons: Option<&Vec<ContributionChange>>) -> Value {
    let reasons = reasons.map(|reasons| {
        let reasons = reasons
            .iter()
            .map(|reason| json!({"feature": reason.feature, "before": reason.before, "after": reason.after}));
        reasons.collect::<Vec<_>>()
    });
    json!({
        "entity": mover.logged.entity, "writer": mover.logged.writer, "sequence": mover.logged.sequence,
        "logged": mover.logged.score, "replayed": mover.score, "contributions": reasons,
    })
}

/// Prints the report as text.
pub(super) fn print(model: &ModelVersion, reports: &[VersionReport]) {
    for report in reports {
        let comparison = &report.comparison;
        let meta = &comparison.meta;
        let rows = thousands(comparison.rows());
        print_line!(
            "{BOLD}{} version {}{BOLD:#} ({}): {rows} rows, scored by {} version {} ({})",
            meta.model,
            meta.version,
            short(&meta.sha256),
            model.name,
            model.version,
            short(&model.sha256)
        );
        if comparison.is_same() {
            print_same(comparison);
        } else {
            print_other(report);
        }
    }
}

fn print_same(comparison: &VersionComparison) {
    print_refused(comparison);
    if comparison.differing_bits() == 0 {
        return print_line!("  {GREEN}the same version: every bit of every score is as logged{GREEN:#}");
    }
    let rows = comparison.differing_bits();
    print_line!("  {RED}the same version, but {rows} rows differ from the log{RED:#}; the first:");
    let header = [
        "entity",
        "writer",
        "sequence",
        "logged score",
        "score",
        "logged value",
        "value",
        "logged margin",
        "margin",
    ];
    let margin = |margin: Option<f64>| margin.map_or_else(String::new, |margin| margin.to_string());
    let mut table = TextTable::with_header(header, &[2, 3, 4, 5, 6, 7, 8]);
    for row in &comparison.listed {
        table.add_row([
            entity(row.logged.entity.as_deref()),
            row.logged.writer.clone(),
            row.logged.sequence.to_string(),
            row.logged.score.to_string(),
            row.score.to_string(),
            row.logged.value.to_string(),
            row.value.to_string(),
            margin(row.logged.margin),
            margin(row.margin),
        ]);
    }
    print_table(&table, "    ");
}

fn print_other(report: &VersionReport) {
    let comparison = &report.comparison;
    print_refused(comparison);
    let (changed, scored) = (comparison.changed, comparison.scored);
    print_line!("  {changed} of {scored} scores differ");
    if let (Some((mean, size)), Some(values)) = (comparison.means(), report.percentiles) {
        print_line!("  change of the score: mean {mean:+.4}, mean size {size:.4}");
        let percent = |percent: f64| format!("{percent}%");
        let mut table = TextTable::with_header(
            PERCENTS.map(percent).each_ref().map(String::as_str),
            &[0, 1, 2, 3, 4, 5, 6],
        );
        table.add_row(values.map(|value| format!("{value:+.4}")));
        print_table(&table, "    ");
    }
    print_line!("  bands:");
    let mut table = TextTable::with_header(["from", "to", "rows"], &[2]);
    for ((from, to), rows) in &comparison.bands {
        let style = if from == to { anstyle::Style::new() } else { YELLOW };
        table.add_row([from.clone(), format!("{style}{to}{style:#}"), rows.to_string()]);
    }
    print_table(&table, "    ");
    print_movers(report);
}

fn print_movers(report: &VersionReport) {
    let movers = &report.comparison.movers;
    if movers.is_empty() {
        return;
    }
    print_line!("  most changed, and the features whose contributions to the margin change most:");
    let mut table = TextTable::with_header(["entity", "logged", "score", "features"], &[1, 2]);
    for (at, mover) in movers.iter().enumerate() {
        let reasons = report.reasons.get(at).map(|reasons| {
            let named = reasons.iter().take(NAMED);
            let named = named.map(|reason| format!("{} {:+.2}", reason.feature, reason.change()));
            named.collect::<Vec<_>>().join(", ")
        });
        table.add_row([
            entity(mover.logged.entity.as_deref()),
            format!("{:.4}", mover.logged.score),
            format!("{:.4}", mover.score),
            reasons.unwrap_or_default(),
        ]);
    }
    print_table(&table, "    ");
    if report.reasons.is_empty() {
        print_line!(
            "    {YELLOW}no features:{YELLOW:#} the version that wrote the log is not in --models, or the log lacks some of its \
             values; name its bundle with --base"
        );
    }
}

fn print_refused(comparison: &VersionComparison) {
    for (reason, rows) in &comparison.refused {
        print_line!("  {YELLOW}{rows} rows have no score:{YELLOW:#} {reason}");
    }
}

fn entity(id: Option<&str>) -> String {
    id.unwrap_or("(no id)").to_owned()
}

/// The beginning of a checksum.
fn short(sha256: &str) -> &str {
    sha256.get(..12).unwrap_or(sha256)
}
