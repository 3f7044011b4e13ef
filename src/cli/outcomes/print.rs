//! The performance of a model as text.

use super::super::table::TextTable;
use super::super::{BOLD, print_line, print_table};
use crate::record::performance::report::{
    CalibrationReport, PerformanceReport, VersionPerformance, WeekPerformance,
};
use crate::statistics::Estimate;

/// Weeks that are printed; the JSON has all.
const WEEKS: usize = 12;

/// Prints a report.
pub(super) fn report(report: &PerformanceReport) {
    let definition = &report.definition;
    print_line!(
        "{BOLD}{}{BOLD:#}: leaves within {} days, grace period {} days, no record means {}, at risk from {}",
        report.model,
        definition.horizon_days,
        definition.grace_days,
        definition.absent,
        definition.threshold
    );
    if report.versions.is_empty() {
        print_line!("{}", report.text);
        return;
    }
    for version in &report.versions {
        print_version(version);
    }
    print_line!("");
    for assumption in &report.assumptions {
        print_line!("Note: {assumption}");
    }
}

fn print_version(version: &VersionPerformance) {
    print_line!("\n{BOLD}version {}{BOLD:#}", version.version);
    print_line!("{}", version.text);
    if let Some(contact) = &version.contact {
        print_line!("{}", contact.text);
    }
    print_line!("");
    let mut table = TextTable::with_header(["measure", "observed", "promised"], &[]);
    let (observed, expected) = (version.observed.as_ref(), version.expected.as_ref());
    let rows = [
        (
            "share that left",
            observed.map(|found| found.rate),
            expected.map(|found| found.rate),
        ),
        (
            "AUC",
            observed.and_then(|found| found.auc),
            expected.and_then(|found| found.auc),
        ),
        (
            "Brier score",
            observed.and_then(|found| found.brier),
            expected.and_then(|found| found.brier),
        ),
        ("log loss", observed.and_then(|found| found.log_loss), None),
        (
            "calibration slope",
            observed.and_then(|found| found.calibration.slope),
            None,
        ),
        (
            "precision at risk",
            observed.and_then(|found| found.at_threshold.precision),
            expected.and_then(|found| found.at_threshold.precision),
        ),
        (
            "recall at risk",
            observed.and_then(|found| found.at_threshold.recall),
            expected.and_then(|found| found.at_threshold.recall),
        ),
        (
            "lift",
            observed.and_then(|found| found.lift).map(|lift| lift.lift),
            None,
        ),
    ];
    for (name, observed, expected) in rows {
        table.add_row([name.to_owned(), estimate(observed), estimate(expected)]);
    }
    print_table(&table, "");
    if let Some(observed) = observed {
        print_calibration(&observed.calibration);
    }
    print_weeks(&version.weeks);
}

fn print_calibration(calibration: &CalibrationReport) {
    print_line!("");
    let mut table = TextTable::with_header(
        ["scores from", "customers", "mean score", "left", "share"],
        &[1, 3],
    );
    for row in &calibration.rows {
        table.add_row([
            format!("{:.3}", row.from),
            row.scores.to_string(),
            format!("{:.3}", row.mean),
            row.left.to_string(),
            estimate(Some(row.rate)),
        ]);
    }
    print_table(&table, "");
}

fn print_weeks(weeks: &[WeekPerformance]) {
    print_line!("");
    let header = [
        "week",
        "scores",
        "pending",
        "known",
        "left",
        "expected",
        "AUC",
        "promised AUC",
    ];
    let mut table = TextTable::with_header(header, &[1, 2, 3, 4, 5]);
    for week in weeks.iter().take(WEEKS) {
        table.add_row([
            week.week.to_string(),
            week.counts.scores.to_string(),
            week.counts.pending.to_string(),
            week.counts.known.to_string(),
            week.left.to_string(),
            format!("{:.0}", week.expected_left),
            estimate(week.auc),
            estimate(week.expected_auc),
        ]);
    }
    print_table(&table, "");
    if weeks.len() > WEEKS {
        print_line!("{} earlier weeks: --json", weeks.len() - WEEKS);
    }
}

fn estimate(estimate: Option<Estimate>) -> String {
    estimate.map_or_else(
        || "-".to_owned(),
        |found| format!("{:.3} ({:.3} to {:.3})", found.value, found.low, found.high),
    )
}
