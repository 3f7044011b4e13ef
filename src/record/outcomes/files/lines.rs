//! The lines of the journals: JSON with short names.

use serde::{Deserialize, Serialize};

use super::super::{ActionTaken, CustomerResult, OutcomeRecord, ScoreRecord};

/// A line of the journal of outcomes.
#[derive(Debug, Deserialize, Serialize)]
struct OutcomeLine {
    model: String,
    customer: String,
    key: String,
    at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    action: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    result: Option<String>,
}

/// A line of a journal of scores.
#[derive(Debug, Deserialize, Serialize)]
struct ScoreLine {
    model: String,
    version: u64,
    customer: String,
    at: i64,
    score: f64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    hold_out: bool,
}

pub(super) fn outcome_line(record: &OutcomeRecord) -> Vec<u8> {
    let line = OutcomeLine {
        model: record.model.clone(),
        customer: record.customer.clone(),
        key: record.key.clone(),
        at: record.at,
        action: record.action.map(|action| action.label().to_owned()),
        detail: record.detail.clone(),
        result: record.result.map(|result| result.label().to_owned()),
    };
    // Texts and numbers always have a JSON form.
    serde_json::to_vec(&line).unwrap_or_default()
}

pub(super) fn outcome(text: &str) -> Option<OutcomeRecord> {
    let line: OutcomeLine = serde_json::from_str(text).ok()?;
    let action = |label: String| {
        ActionTaken::ALL
            .into_iter()
            .find(|action| action.label() == label)
    };
    let result = |label: String| {
        CustomerResult::ALL
            .into_iter()
            .find(|result| result.label() == label)
    };
    Some(OutcomeRecord {
        model: line.model,
        customer: line.customer,
        key: line.key,
        at: line.at,
        action: line.action.and_then(action),
        detail: line.detail,
        result: line.result.and_then(result),
    })
}

pub(super) fn score_line(record: &ScoreRecord) -> Vec<u8> {
    let line = ScoreLine {
        model: record.model.clone(),
        version: record.version,
        customer: record.customer.clone(),
        at: record.at,
        score: record.score,
        hold_out: record.hold_out,
    };
    serde_json::to_vec(&line).unwrap_or_default()
}

pub(super) fn score(text: &str) -> Option<ScoreRecord> {
    let line: ScoreLine = serde_json::from_str(text).ok()?;
    Some(ScoreRecord {
        model: line.model,
        version: line.version,
        customer: line.customer,
        at: line.at,
        score: line.score,
        hold_out: line.hold_out,
    })
}
