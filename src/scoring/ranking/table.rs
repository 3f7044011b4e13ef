//! The ranking in memory: columns in the order of the scores, 8 bytes for a customer (12 if scores need 64 bits), and as
//! many again with a previous snapshot to compare with.

use std::ops::Range;
use std::sync::Arc;

use super::order::{Order, OrderKey, Place};
use crate::features::snapshot::Snapshot;
use crate::values::entity_id::IdRef;

/// Scores in few bytes: 32-bit ones if they lose nothing.
#[derive(Debug)]
pub(super) enum ScoreColumn {
    Single(Vec<f32>),
    Double(Vec<f64>),
}

impl ScoreColumn {
    /// Packs scores; NaN stands for none.
    pub(super) fn new(scores: &[f64]) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "it is checked that nothing is lost"
        )]
        let narrow = |score: f64| score as f32;
        let exact = |score: &f64| score.is_nan() || f64::from(narrow(*score)).to_bits() == score.to_bits();
        match scores.iter().all(exact) {
            true => Self::Single(scores.iter().map(|&score| narrow(score)).collect()),
            false => Self::Double(scores.to_vec()),
        }
    }

    /// A score; NaN for none.
    pub(super) fn get(&self, position: usize) -> f64 {
        match self {
            Self::Single(scores) => scores.get(position).copied().map_or(f64::NAN, f64::from),
            Self::Double(scores) => scores.get(position).copied().unwrap_or(f64::NAN),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Single(scores) => scores.capacity() * size_of::<f32>(),
            Self::Double(scores) => scores.capacity() * size_of::<f64>(),
        }
    }
}

/// Ranked customers. A *position* is a place in the order of the scores, from 0 for the highest.
#[derive(Debug)]
pub(super) struct RankTable {
    snapshot: Arc<Snapshot>,
    scores: ScoreColumn,
    /// By position, the row of the snapshot.
    rows: Vec<u32>,
    before: Option<Before>,
}

/// The comparison with the previous snapshot.
#[derive(Debug)]
struct Before {
    /// By position, the score by the previous snapshot; NaN if it does not have the customer.
    scores: ScoreColumn,
    /// The positions in the order of the change.
    order: Arc<[u32]>,
    /// How many of them have a change.
    changed: usize,
}

/// Customers in an order.
#[derive(Clone, Debug)]
pub(super) enum Sequence {
    /// Neighbours in the order of the scores.
    Range(Range<usize>),
    /// Positions in the descending order; those behind the first `reversible` stay where they are in the ascending one.
    List {
        positions: Arc<[u32]>,
        reversible: usize,
    },
}

impl Sequence {
    /// Number of customers.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Range(range) => range.len(),
            Self::List { positions, .. } => positions.len(),
        }
    }

    /// The position of the customer at an index of the order; `None` behind its end.
    pub(super) fn position(&self, index: usize, descending: bool) -> Option<usize> {
        if index >= self.len() {
            return None;
        }
        match self {
            Self::Range(range) if descending => Some(range.start + index),
            Self::Range(range) => Some(range.end - 1 - index),
            Self::List {
                positions,
                reversible,
            } => {
                let index = match descending || index >= *reversible {
                    true => index,
                    false => reversible - 1 - index,
                };
                positions.get(index).map(|&position| position as usize)
            }
        }
    }
}

impl RankTable {
    /// Sorts the scores of the rows of `snapshot`, and those by the previous snapshot, if there are any; NaN stands for none.
    pub(super) fn new(snapshot: Arc<Snapshot>, scores: Vec<f64>, before: Option<Vec<f64>>) -> Self {
        let id = |row: u32| snapshot.id_ref(row as usize).unwrap_or(IdRef::Int(0));
        let place = |values: &[f64], row: u32| Place {
            value: values.get(row as usize).copied().filter(|value| !value.is_nan()),
            id: id(row),
        };
        let count = u32::try_from(scores.len()).unwrap_or(u32::MAX);
        let scored = |row: &u32| scores.get(*row as usize).is_some_and(|score| !score.is_nan());
        let mut rows: Vec<u32> = (0..count).filter(scored).collect();
        rows.shrink_to_fit();
        rows.sort_unstable_by(|&a, &b| place(&scores, a).descending(place(&scores, b)));
        let of_rows = |values: &[f64]| -> Vec<f64> {
            rows.iter()
                .map(|&row| values.get(row as usize).copied().unwrap_or(f64::NAN))
                .collect()
        };
        let ranked = ScoreColumn::new(&of_rows(&scores));
        drop(scores);
        let before = before.map(|before| {
            let before = ScoreColumn::new(&of_rows(&before));
            let change = |position: u32| change(&ranked, &before, position as usize);
            let place = |position: u32| Place {
                value: change(position),
                id: rows.get(position as usize).map_or(IdRef::Int(0), |&row| id(row)),
            };
            let count = u32::try_from(rows.len()).unwrap_or(u32::MAX);
            let mut order: Vec<u32> = (0..count).collect();
            order.sort_unstable_by(|&a, &b| place(a).descending(place(b)));
            let changed = order.partition_point(|&position| change(position).is_some());
            Before {
                order: order.into(),
                changed,
                scores: before,
            }
        });
        Self {
            snapshot,
            scores: ranked,
            rows,
            before,
        }
    }

    /// The snapshot that the customers are from.
    pub(super) fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Number of ranked customers.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The score of the customer at a position; NaN if there is none.
    pub(super) fn score(&self, position: usize) -> f64 {
        self.scores.get(position)
    }

    /// The row of the snapshot at a position.
    pub(super) fn row(&self, position: usize) -> usize {
        self.rows.get(position).map_or(usize::MAX, |&row| row as usize)
    }

    /// The id of the customer at a position.
    pub(super) fn id(&self, position: usize) -> IdRef<'_> {
        self.snapshot.id_ref(self.row(position)).unwrap_or(IdRef::Int(0))
    }

    /// Whether there is a previous snapshot to compare with.
    pub(super) fn has_before(&self) -> bool {
        self.before.is_some()
    }

    /// The score by the previous snapshot; `None` if it does not have the customer.
    pub(super) fn before(&self, position: usize) -> Option<f64> {
        let score = self.before.as_ref()?.scores.get(position);
        (!score.is_nan()).then_some(score)
    }

    /// Every customer, by a key. Without a previous snapshot nobody has a change, so ids alone decide: the order of the
    /// scores then stands for it.
    pub(super) fn all(&self, key: OrderKey) -> Sequence {
        match (&self.before, key) {
            (Some(before), OrderKey::Change) => Sequence::List {
                positions: before.order.clone(),
                reversible: before.changed,
            },
            _ => Sequence::Range(0..self.len()),
        }
    }

    /// The positions whose score is at least `from`: the first ones.
    pub(super) fn at_least(&self, from: f64) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.score(middle) >= from {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        low
    }

    /// The place of the customer at a position in an order.
    pub(super) fn place(&self, position: usize, key: OrderKey) -> Place<'_> {
        let value = match (&self.before, key) {
            (Some(before), OrderKey::Change) => change(&self.scores, &before.scores, position),
            _ => Some(self.score(position)),
        };
        Place {
            value,
            id: self.id(position),
        }
    }

    /// The index in a sequence of the first customer behind a place.
    pub(super) fn index_after(&self, sequence: &Sequence, order: Order, place: Place<'_>) -> usize {
        let (mut low, mut high) = (0, sequence.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            let position = sequence.position(middle, order.descending).unwrap_or(usize::MAX);
            let found = self.place(position, order.key);
            match found.compare(place, order.descending).is_le() {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        low
    }

    /// Bytes in memory, without the snapshot.
    pub(super) fn bytes(&self) -> usize {
        let before = self.before.as_ref();
        let before = before.map_or(0, |before| {
            before.scores.bytes() + before.order.len() * size_of::<u32>()
        });
        self.scores.bytes() + self.rows.capacity() * size_of::<u32>() + before
    }
}

/// The change of the score at a position.
fn change(now: &ScoreColumn, before: &ScoreColumn, position: usize) -> Option<f64> {
    let change = now.get(position) - before.get(position);
    (!change.is_nan()).then_some(change)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::snapshot::{ColumnSpec, SnapshotSpec};
    use crate::values::feature_type::FeatureType;

    /// A snapshot with these ids.
    fn snapshot(ids: &[&str]) -> Arc<Snapshot> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("customers.csv");
        let rows: String = ids.iter().map(|id| format!("{id},1\n")).collect();
        std::fs::write(&path, format!("id,x\n{rows}")).unwrap();
        let spec = SnapshotSpec {
            entity: "id".to_owned(),
            as_of: None,
            columns: vec![ColumnSpec {
                column: "x".to_owned(),
                kind: FeatureType::Float,
                single: false,
            }],
        };
        Arc::new(Snapshot::load(&path, &spec, &mut |_| {}).unwrap())
    }

    const IDS: [&str; 6] = ["f", "e", "d", "c", "b", "a"];

    fn table(scores: [f64; 6], before: Option<[f64; 6]>) -> RankTable {
        RankTable::new(snapshot(&IDS), scores.to_vec(), before.map(Vec::from))
    }

    fn ids(table: &RankTable, order: Order) -> String {
        let sequence = table.all(order.key);
        let positions = (0..sequence.len()).filter_map(|index| sequence.position(index, order.descending));
        positions.map(|position| table.id(position).to_string()).collect()
    }

    const EVERY: [Order; 4] = [
        order(OrderKey::Score, true),
        order(OrderKey::Score, false),
        order(OrderKey::Change, true),
        order(OrderKey::Change, false),
    ];

    const fn order(key: OrderKey, descending: bool) -> Order {
        Order { key, descending }
    }

    #[test]
    fn customers_are_in_each_order_and_those_without_a_score_are_left_out() {
        let table = table(
            [0.5, 0.5, 0.75, 0.0, f64::NAN, 0.25],
            Some([0.25, 0.5, 0.75, f64::NAN, 0.5, 0.0]),
        );
        let found = EVERY.map(|order| ids(&table, order));
        assert_eq!(found, ["defac", "cafed", "afdec", "edfac"]);
        assert_eq!(
            (table.len(), table.score(0), table.before(0)),
            (5, 0.75, Some(0.75))
        );
        assert_eq!(
            (table.at_least(0.5), table.at_least(0.75), table.at_least(-1.0)),
            (3, 1, 5)
        );
        // 8 bytes for each customer, and 8 more with a previous snapshot.
        assert_eq!(table.bytes(), 5 * 16);
    }

    #[test]
    fn every_place_leads_to_the_next_customer_also_if_it_is_gone() {
        let table = table(
            [0.5, 0.5, 0.75, 0.0, -0.0, 0.25],
            Some([0.25, 0.5, 0.75, f64::NAN, f64::NAN, 0.0]),
        );
        for order in EVERY {
            let sequence = table.all(order.key);
            for index in 0..sequence.len() {
                let position = sequence.position(index, order.descending).unwrap();
                let place = table.place(position, order.key);
                assert_eq!(table.index_after(&sequence, order, place), index + 1, "{order:?}");
            }
            let gone = |value| Place {
                value,
                id: IdRef::Text("dd"),
            };
            let first = gone(Some(if order.descending { 9.0 } else { -9.0 }));
            assert_eq!(table.index_after(&sequence, order, first), 0);
            let last = gone(Some(if order.descending { -9.0 } else { 9.0 }));
            let end = match order.key {
                OrderKey::Score => 6,
                OrderKey::Change => 4,
            };
            assert_eq!(table.index_after(&sequence, order, last), end);
        }
    }

    #[test]
    fn scores_take_64_bits_only_if_they_need_them() {
        let narrow = ScoreColumn::new(&[0.5, f64::NAN, f64::from(0.1f32)]);
        assert!(matches!(narrow, ScoreColumn::Single(_)));
        assert!(narrow.get(1).is_nan() && narrow.get(2) == f64::from(0.1f32) && narrow.get(9).is_nan());
        let wide = ScoreColumn::new(&[0.5, 0.1]);
        assert!(matches!(wide, ScoreColumn::Double(_)) && wide.get(1) == 0.1);
    }

    #[test]
    fn without_a_previous_snapshot_changes_are_in_the_order_of_scores() {
        let table = table([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], None);
        assert_eq!(ids(&table, EVERY[2]), ids(&table, EVERY[0]));
        assert!(!table.has_before() && table.before(0).is_none());
    }
}
