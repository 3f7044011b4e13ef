//! Computes the report of a model from its sums.

use jiff::Timestamp;

use super::report::{
    CalibrationReport, ContactReport, DefinitionReport, GroupReport, HoldOutReport, ObservedPerformance,
    PerformanceReport, ScoreCounts, VersionPerformance, WeekPerformance,
};
use super::slice::{ContactCounts, GroupCount, Slice};
use super::{Definition, Evaluation, VersionSlices, text};
use crate::record::outcomes::DAY;
use crate::statistics::cbpe::ThresholdReport;
use crate::statistics::interval::{difference, wilson};
use crate::statistics::{Estimate, calibration, cbpe, number, ranking};

/// What has to hold for the numbers to be right.
const ASSUMPTIONS: [&str; 3] = [
    "`expected` is valid only if the relation between features and churn is unchanged and scores are calibrated.",
    "Only a random hold-out makes a difference between contacted and other customers an effect of contact.",
    "Numbers over several weeks count each score; their intervals count each customer once.",
];

impl Evaluation {
    /// Computes the report of `model`.
    pub fn report(&self, model: &str) -> PerformanceReport {
        let definition = &self.definition;
        let outcome = &definition.outcome;
        let versions = self.versions.iter().rev();
        let versions: Vec<VersionPerformance> = versions
            .map(|(&version, slices)| version_report(definition, version, slices))
            .collect();
        PerformanceReport {
            model: model.to_owned(),
            as_of: timestamp(self.now),
            definition: DefinitionReport {
                horizon_days: outcome.horizon_days,
                grace_days: outcome.grace_days,
                absent: outcome.absent.label().to_owned(),
                contact_capacity: outcome.contact_capacity,
                threshold: definition.threshold,
                band: definition.band.clone(),
            },
            text: match versions.first() {
                Some(newest) => format!("Version {}: {}", newest.version, newest.text),
                None => text::NO_SCORES.to_owned(),
            },
            versions,
            older_scores: self.older,
            assumptions: ASSUMPTIONS.map(str::to_owned).into(),
        }
    }
}

fn timestamp(at: i64) -> Timestamp {
    let end = if at < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_microsecond(at).unwrap_or(end)
}

fn version_report(definition: &Definition, version: u64, slices: &VersionSlices) -> VersionPerformance {
    let slice = &slices.whole;
    let contact = (slice.known.count > 0).then(|| contact_report(slice));
    let weeks = slices.weeks.iter().rev();
    let mut report = VersionPerformance {
        version,
        text: String::new(),
        counts: counts(slice),
        observed: observed(definition, slice),
        expected: cbpe::expected(&slice.all, &slice.bins, slice.all_design()),
        contact,
        weeks: weeks.map(|(&day, slice)| week_report(day, slice)).collect(),
    };
    report.text = text::version(&definition.outcome, &report);
    report
}

fn counts(slice: &Slice) -> ScoreCounts {
    let (matured, known) = (slice.matured(), slice.known.count);
    ScoreCounts {
        scores: slice.scores(),
        already_left: slice.gone,
        pending: slice.pending,
        matured,
        known,
        unknown: slice.unknown,
        customers: slice.customers().round(),
        coverage: (matured > 0).then(|| number(known) / number(matured)),
    }
}

/// A share with an interval for scores of which some are of the same customer.
fn share(part: u64, whole: u64, design: f64) -> Option<Estimate> {
    wilson(number(part) / design, number(whole) / design)
}

fn observed(definition: &Definition, slice: &Slice) -> Option<ObservedPerformance> {
    let known = &slice.known;
    let design = slice.known_design();
    let rows = calibration::table(&slice.bins, design);
    let line = calibration::line(&slice.bins, design);
    let cells = known.confusion;
    let (hits, above) = (cells.true_positives, cells.true_positives + cells.false_positives);
    let right = hits + cells.true_negatives;
    let capacity = definition.outcome.contact_capacity;
    Some(ObservedPerformance {
        left: known.left,
        rate: share(known.left, known.count, design)?,
        expected_left: known.expected,
        brier: known.brier(design),
        log_loss: known.log_loss(design),
        auc: ranking::auc(&slice.bins, design),
        calibration: CalibrationReport {
            error: calibration::error(&rows),
            rows,
            slope: line.map(|line| line.slope),
            intercept: line.map(|line| line.intercept),
        },
        at_threshold: ThresholdReport {
            precision: share(hits, above, design),
            recall: share(hits, known.left, design),
            f1: (above + known.left > 0).then(|| 2.0 * number(hits) / number(above + known.left)),
            accuracy: share(right, known.count, design),
        },
        lift: ranking::lift(&slice.bins, capacity, design),
    })
}

fn group(count: GroupCount, design: f64) -> GroupReport {
    GroupReport {
        scores: count.whole(),
        left: count.left,
        rate: share(count.left, count.whole(), design),
    }
}

fn contact_report(slice: &Slice) -> ContactReport {
    let design = slice.known_design();
    let mut report = ContactReport {
        contacted: group(slice.contact.contacted(true), design),
        not_contacted: group(slice.contact.contacted(false), design),
        all: hold_out(&slice.contact, design),
        at_risk: hold_out(&slice.contact_at_risk, design),
        text: String::new(),
    };
    report.text = text::contact(&report);
    report
}

fn hold_out(counts: &ContactCounts, design: f64) -> HoldOutReport {
    let held = group(counts.hold_out(true), design);
    let others = group(counts.hold_out(false), design);
    HoldOutReport {
        effect: held
            .rate
            .zip(others.rate)
            .map(|(held, others)| difference(held, others)),
        hold_out: held,
        others,
        contacted_anyway: counts.group(true, true).whole(),
    }
}

fn week_report(day: i64, slice: &Slice) -> WeekPerformance {
    let design = slice.known_design();
    let expected = cbpe::expected(&slice.all, &slice.bins, slice.all_design());
    WeekPerformance {
        week: timestamp(day * DAY).to_zoned(jiff::tz::TimeZone::UTC).date(),
        counts: counts(slice),
        left: slice.known.left,
        rate: share(slice.known.left, slice.known.count, design),
        expected_left: slice.known.expected,
        brier: slice.known.brier(design),
        auc: ranking::auc(&slice.bins, design),
        expected_auc: expected.and_then(|expected| expected.auc),
        expected_rate: expected.map(|expected| expected.rate),
    }
}
