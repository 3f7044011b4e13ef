//! The performance of a model in numbers and sentences, for every protocol.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::statistics::calibration::CalibrationTableRow;
use crate::statistics::cbpe::{PromisedPerformance, ThresholdReport};
use crate::statistics::ranking::LiftReport;
use crate::statistics::{Estimate, number};

/// What a model's scores turned out to be worth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PerformanceReport {
    /// The model's name.
    #[schema(example = "churn")]
    pub model: String,
    /// When this was computed.
    #[schema(value_type = String, format = DateTime, example = "2026-11-21T03:00:00Z")]
    pub as_of: Timestamp,
    /// By what rules scores are compared with outcomes.
    pub definition: DefinitionReport,
    /// The newest version in sentences.
    pub text: String,
    /// By version, the newest first; at most eight.
    pub versions: Vec<VersionPerformance>,
    /// Scores of versions that are not listed.
    pub older_scores: u64,
    /// What has to hold for these numbers to be right.
    pub assumptions: Vec<String>,
}

/// By what rules scores are compared with outcomes: those of the live version, for all versions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DefinitionReport {
    /// Days after the score within which a customer leaves.
    #[schema(example = 30)]
    pub horizon_days: u32,
    /// Days within which a customer who left may come back and has not left then.
    #[schema(example = 14)]
    pub grace_days: u32,
    /// What it means that nothing was recorded: `stayed` or `unknown`.
    #[schema(example = "stayed")]
    pub absent: String,
    /// Share of the customers that can be called.
    #[schema(example = 0.1)]
    pub contact_capacity: f64,
    /// The score from which a customer is at risk: the start of the highest band, or 0.5.
    #[schema(example = 0.3)]
    pub threshold: f64,
    /// The name of that band.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "high")]
    pub band: Option<String>,
}

/// The performance of one version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VersionPerformance {
    /// The version's number.
    #[schema(example = 3)]
    pub version: u64,
    /// The performance in sentences.
    #[schema(
        example = "Of 1,204 customers with a score at least 30 days old, 131 left (10.9 %, 9.2 to 12.8 %). The model expected 128."
    )]
    pub text: String,
    /// How many scores there are, and of how many the result is known.
    pub counts: ScoreCounts,
    /// The performance on scores with a known result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub observed: Option<ObservedPerformance>,
    /// The performance that the scores promise of themselves, without results; see `assumptions`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub expected: Option<PromisedPerformance>,
    /// What contact did, on scores with a known result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub contact: Option<ContactReport>,
    /// By the week of the score, the latest first; at most 60.
    pub weeks: Vec<WeekPerformance>,
}

/// How many scores there are, and of how many the result is known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ScoreCounts {
    /// Scores, at most one per customer and period.
    #[schema(example = 4120)]
    pub scores: u64,
    /// Scores of customers who had left before. They count nowhere else.
    #[schema(example = 3)]
    pub already_left: u64,
    /// Scores that are too recent to judge (censored): horizon and grace period are not over.
    #[schema(example = 2800)]
    pub pending: u64,
    /// Scores that are old enough.
    #[schema(example = 1317)]
    pub matured: u64,
    /// Of those, the ones with a known result.
    #[schema(example = 1204)]
    pub known: u64,
    /// Of those, the ones that nobody knows the result of. They are in no denominator.
    #[schema(example = 113)]
    pub unknown: u64,
    /// Customers with a known result. An estimate if there are more than 1,024, with unequal numbers of scores.
    #[schema(example = 1204.0)]
    pub customers: f64,
    /// `known` / `matured`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 0.914)]
    pub coverage: Option<f64>,
}

/// The performance on scores with a known result. Intervals are 95 % and count a customer once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ObservedPerformance {
    /// Scores whose customer left.
    #[schema(example = 131)]
    pub left: u64,
    /// The same as a share; Wilson's interval.
    pub rate: Estimate,
    /// The sum of the scores: how many the model expected to leave.
    #[schema(example = 128.4)]
    pub expected_left: f64,
    /// The mean squared error of the scores. Lower is better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub brier: Option<Estimate>,
    /// The mean negative log likelihood. Lower is better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub log_loss: Option<Estimate>,
    /// The area under the ROC curve; DeLong's interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub auc: Option<Estimate>,
    /// Whether the scores are the shares that they claim.
    pub calibration: CalibrationReport,
    /// At the threshold.
    pub at_threshold: ThresholdReport,
    /// What calling the highest scores reaches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub lift: Option<LiftReport>,
}

/// Whether the scores are the shares that they claim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CalibrationReport {
    /// Tenths of the scores in ascending order; fewer where scores are equal.
    pub rows: Vec<CalibrationTableRow>,
    /// The mean distance of mean score and observed share over the rows (expected calibration error). Chance alone makes it
    /// positive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 0.012)]
    pub error: Option<f64>,
    /// The slope of the results on the log-odds of the scores: 1 is perfect, less means that scores are too extreme.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub slope: Option<Estimate>,
    /// The intercept of that line: 0 is perfect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub intercept: Option<Estimate>,
}

/// A group of scores with a known result.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GroupReport {
    /// Scores.
    #[schema(example = 300)]
    pub scores: u64,
    /// Scores whose customer left.
    #[schema(example = 40)]
    pub left: u64,
    /// Their share; Wilson's interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub rate: Option<Estimate>,
}

/// Who was contacted, and what the hold-out says about the effect of contact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ContactReport {
    /// Contacted customers.
    pub contacted: GroupReport,
    /// Customers that were not contacted.
    pub not_contacted: GroupReport,
    /// All customers, by hold-out.
    pub all: HoldOutReport,
    /// Customers at or above the threshold, by hold-out: those that sales would call.
    pub at_risk: HoldOutReport,
    /// Contact in sentences.
    pub text: String,
}

/// A comparison of the hold-out with the other customers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HoldOutReport {
    /// Customers that nobody was to contact.
    pub hold_out: GroupReport,
    /// The other customers, contacted or not.
    pub others: GroupReport,
    /// Churn in the hold-out less churn of the others (intention to treat): what being open to contact avoids. Newcombe's
    /// interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub effect: Option<Estimate>,
    /// Customers of the hold-out that were contacted anyway. They make the effect look smaller.
    #[schema(example = 2)]
    pub contacted_anyway: u64,
}

/// The performance of a version's scores of one week.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WeekPerformance {
    /// Monday of the week, in UTC.
    #[schema(value_type = String, format = Date, example = "2026-03-02")]
    pub week: jiff::civil::Date,
    /// How many scores there are, and of how many the result is known.
    pub counts: ScoreCounts,
    /// Scores whose customer left.
    #[schema(example = 21)]
    pub left: u64,
    /// The same as a share of the known ones; Wilson's interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub rate: Option<Estimate>,
    /// How many of the known ones the model expected to leave.
    #[schema(example = 19.6)]
    pub expected_left: f64,
    /// The mean squared error of the scores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub brier: Option<Estimate>,
    /// The area under the ROC curve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub auc: Option<Estimate>,
    /// The area that the scores promise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub expected_auc: Option<Estimate>,
    /// The share that the scores promise, of all scores of the week.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub expected_rate: Option<Estimate>,
}

impl PerformanceReport {
    /// The measures for alerts: version, name and value.
    pub fn measures(&self) -> Vec<(u64, &'static str, f64)> {
        let mut measures = Vec::new();
        for version in &self.versions {
            let mut put = |name, value: Option<f64>| {
                measures.extend(value.map(|value| (version.version, name, value)));
            };
            let value = |estimate: Option<Estimate>| estimate.map(|estimate| estimate.value);
            put("matured", Some(number(version.counts.matured)));
            put("known", Some(number(version.counts.known)));
            put("coverage", version.counts.coverage);
            if let Some(observed) = &version.observed {
                put("brier", value(observed.brier));
                put("log_loss", value(observed.log_loss));
                put("auc", value(observed.auc));
                put("calibration_error", observed.calibration.error);
                put("left_rate", Some(observed.rate.value));
                put(
                    "expected_left_rate",
                    Some(observed.expected_left / number(version.counts.known)),
                );
            }
            if let Some(expected) = &version.expected {
                put("expected_auc", value(expected.auc));
                put("expected_brier", value(expected.brier));
            }
        }
        measures
    }
}
