//! Compares a new snapshot with the present one, so that a failed nightly job does not spoil every score.

use crate::config::SnapshotWatchSection;
use crate::features::snapshot::Snapshot;
use crate::models::ModelVersion;
use crate::models::contract::FeatureContract;
use crate::values::feature_type::FeatureType;

/// Why a snapshot is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::lifecycle) struct SnapshotRejection {
    /// The kind, for the metric: `unreadable`, `rows`, `nulls` or `ranges`.
    pub(in crate::lifecycle) kind: &'static str,
    pub(in crate::lifecycle) reason: String,
}

impl SnapshotRejection {
    pub(super) fn new(kind: &'static str, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { kind, reason }
    }
}

/// Statistics of a snapshot.
#[derive(Debug)]
pub(super) struct SnapshotProfile {
    rows: usize,
    columns: Vec<ColumnProfile>,
}

/// Statistics of the column of a feature.
#[derive(Debug)]
struct ColumnProfile {
    name: String,
    /// Share of rows without a value.
    nulls: f64,
    /// Share of rows whose value is outside the feature's range, or an unknown category.
    outside: f64,
}

impl SnapshotProfile {
    /// Computes the statistics of the columns that `models` use.
    pub(super) fn of(snapshot: &Snapshot, models: &[&ModelVersion]) -> Self {
        let contracts = models.iter().filter_map(|model| model.contract.as_ref());
        let mut columns: Vec<ColumnProfile> = Vec::new();
        for feature in contracts.flat_map(|contract| contract.stored()) {
            let known = columns.iter().any(|column| column.name == feature.column());
            if let Some(position) = snapshot.column(feature.column(), feature.kind).filter(|_| !known) {
                columns.push(column(snapshot, position, feature));
            }
        }
        let rows = snapshot.len();
        Self { rows, columns }
    }

    /// Checks that a snapshot with these statistics may replace one with those of `last`.
    pub(super) fn follows(
        &self,
        last: &Self,
        limits: &SnapshotWatchSection,
    ) -> Result<(), SnapshotRejection> {
        #[expect(clippy::cast_precision_loss, reason = "a share of rows")]
        let change = self.rows as f64 / last.rows.max(1) as f64 - 1.0;
        let (now, before) = (self.rows, last.rows);
        if -change > limits.fewer_rows || self.rows == 0 {
            return Err(SnapshotRejection::new(
                "rows",
                format!("rows: {now}, previously {before}; the drop exceeds features.watch.fewer_rows"),
            ));
        }
        if change > limits.more_rows {
            return Err(SnapshotRejection::new(
                "rows",
                format!("rows: {now}, previously {before}; the growth exceeds features.watch.more_rows"),
            ));
        }
        for column in &self.columns {
            let Some(before) = last.columns.iter().find(|known| known.name == column.name) else {
                continue;
            };
            let name = &column.name;
            let percent = |share: f64| share * 100.0;
            if column.nulls - before.nulls > limits.more_nulls {
                let (now, before) = (percent(column.nulls), percent(before.nulls));
                return Err(SnapshotRejection::new(
                    "nulls",
                    format!(
                        "column `{name}`: {now:.1}% nulls, previously {before:.1}%; the increase exceeds features.watch.more_nulls"
                    ),
                ));
            }
            if column.outside - before.outside > limits.more_out_of_range {
                let (now, before) = (percent(column.outside), percent(before.outside));
                return Err(SnapshotRejection::new(
                    "ranges",
                    format!(
                        "column `{name}`: {now:.1}% of the values out of range or unknown, previously {before:.1}%; \
                         the increase exceeds features.watch.more_out_of_range"
                    ),
                ));
            }
        }
        Ok(())
    }
}

fn column(snapshot: &Snapshot, position: usize, feature: &FeatureContract) -> ColumnProfile {
    let known: Option<Vec<bool>> = (feature.kind == FeatureType::Category).then(|| {
        let texts = snapshot.dictionary(position).iter();
        texts.map(|text| feature.categories.contains(text)).collect()
    });
    let (mut nulls, mut outside) = (0usize, 0usize);
    for row in 0..snapshot.len() {
        let value = snapshot.value(row, position);
        if value.is_nan() {
            nulls += 1;
        } else if let Some(known) = &known {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a position in the dictionary"
            )]
            let is_known = known.get(value as usize).copied().unwrap_or(false);
            outside += usize::from(!is_known);
        } else if let Some([low, high]) = feature.range {
            outside += usize::from(!(low..=high).contains(&value));
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a share of rows")]
    let share = |count: usize| count as f64 / snapshot.len().max(1) as f64;
    ColumnProfile {
        name: feature.column().to_owned(),
        nulls: share(nulls),
        outside: share(outside),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(rows: usize, nulls: f64, outside: f64) -> SnapshotProfile {
        let column = ColumnProfile {
            name: "nps".to_owned(),
            nulls,
            outside,
        };
        let columns = vec![column];
        SnapshotProfile { rows, columns }
    }

    /// The kind of the rejection, if `now` may not replace a snapshot of 1,000 rows with 2 % nulls and 1 % outside.
    fn rejected(now: &SnapshotProfile) -> Option<&'static str> {
        let limits = SnapshotWatchSection {
            fewer_rows: 0.25,
            more_rows: 0.5,
            more_nulls: 0.125,
            more_out_of_range: 0.0625,
            ..SnapshotWatchSection::default()
        };
        now.follows(&profile(1000, 0.02, 0.01), &limits)
            .err()
            .map(|rejection| rejection.kind)
    }

    #[test]
    fn as_many_rows_may_disappear_or_come_as_the_limits_allow() {
        for (rows, expected) in [
            (749, Some("rows")),
            (750, None),
            (1000, None),
            (1500, None),
            (1501, Some("rows")),
        ] {
            assert_eq!(rejected(&profile(rows, 0.02, 0.01)), expected, "{rows} rows");
        }
    }

    #[test]
    fn an_empty_snapshot_never_replaces_another() {
        let limits = SnapshotWatchSection {
            fewer_rows: 1.0,
            ..SnapshotWatchSection::default()
        };
        let empty = profile(0, 0.0, 0.0);
        assert!(empty.follows(&profile(10, 0.0, 0.0), &limits).is_err());
        assert!(empty.follows(&empty, &limits).is_err());
    }

    #[test]
    fn a_rise_of_nulls_or_of_values_out_of_range_is_rejected_and_a_fall_is_not() {
        assert_eq!(rejected(&profile(1000, 0.14, 0.01)), None);
        assert_eq!(rejected(&profile(1000, 0.15, 0.01)), Some("nulls"));
        assert_eq!(rejected(&profile(1000, 0.02, 0.07)), None);
        assert_eq!(rejected(&profile(1000, 0.02, 0.08)), Some("ranges"));
        assert_eq!(rejected(&profile(1000, 0.0, 0.0)), None);
    }

    #[test]
    fn a_column_that_no_model_used_before_is_not_compared() {
        let mut now = profile(1000, 1.0, 0.0);
        now.columns[0].name = "tenure".to_owned();
        assert_eq!(rejected(&now), None);
    }
}
