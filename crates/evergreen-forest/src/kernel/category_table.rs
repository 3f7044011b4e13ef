//! What splits on categories ask, looked up: for every code of a feature one byte for each of its sets.

use crate::ensemble::{CategorySet, ChildRef, CodeRule, Ensemble, Split, SplitTest};
use crate::kernel::KernelFloat;
use crate::kernel::scalar;

/// A question: the set's position, and whether a missing number goes left.
pub(super) type SetPredicate = (u32, bool);

/// CodeRule of a feature with a row of their own, at most.
const MOST_CODES: u32 = 1 << 24;

/// A feature that is read as a category.
#[derive(Clone, Copy, Debug)]
struct CategoryColumns {
    feature: u32,
    /// The first of its columns, which lie side by side.
    to: usize,
    columns: usize,
    /// CodeRule with a row of their own in the table; after them one row for all others and one for missing.
    codes: u32,
    rows: usize,
}

/// All such features.
#[derive(Debug)]
pub(super) struct CategoryTable {
    features: Vec<CategoryColumns>,
    /// 0 goes left, 255 goes right.
    table: Vec<u8>,
    codes: CodeRule,
    /// Bytes that the table may have: those of the model itself.
    most: usize,
}

impl CategoryTable {
    /// None yet.
    pub(super) fn new<T: KernelFloat>(ensemble: &Ensemble<T>) -> Self {
        Self {
            features: Vec::new(),
            table: Vec::new(),
            codes: ensemble.codes,
            most: ensemble.bytes(),
        }
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.features.as_slice()) + self.table.len()
    }

    /// Adds the questions on one feature, whose columns begin at `to`; `None` if their table is larger than the model
    /// itself, which it is not worth.
    pub(super) fn add<T: KernelFloat>(
        &mut self,
        ensemble: &Ensemble<T>,
        feature: u32,
        to: usize,
        predicates: &[SetPredicate],
    ) -> Option<()> {
        let capacity =
            |(set, _): &SetPredicate| ensemble.sets.get(*set as usize).map_or(0, CategorySet::capacity);
        let codes = u32::try_from(predicates.iter().map(capacity).max()?).ok()?;
        let more = (codes as usize + 2).saturating_mul(predicates.len());
        if codes > MOST_CODES || more.saturating_add(self.table.len()) > self.most {
            return None;
        }
        self.features.push(CategoryColumns {
            feature,
            to,
            columns: predicates.len(),
            codes,
            rows: self.table.len(),
        });
        let nothing = ChildRef::leaf(0)?;
        // The last two rows: no code at all, and missing.
        let beyond = [T::cast(-1f32), T::cast(f32::NAN)];
        let codes = (0..codes).map(|code| T::cast(f64::from(code)));
        for x in codes.chain(beyond) {
            for (set, missing_left) in predicates {
                let split = Split {
                    test: SplitTest::Member(*set),
                    feature,
                    left: nothing,
                    right: nothing,
                    missing_left: *missing_left,
                    zero_missing: false,
                };
                let left = scalar::goes_left(ensemble, &split, x);
                self.table.push(if left { 0 } else { u8::MAX });
            }
        }
        Some(())
    }

    /// For each feature where its columns begin and what they hold.
    #[inline(always)]
    pub(super) fn of_row<T: KernelFloat>(&self, row: &[T]) -> impl Iterator<Item = (usize, &[u8])> {
        self.features.iter().map(|category| {
            let position = position(self.codes, category.codes, row[category.feature as usize]);
            let held = &self.table[category.rows + position * category.columns..][..category.columns];
            (category.to, held)
        })
    }
}

/// Which of a feature's rows a number takes, where `known` codes have one of their own: after them come one for all other
/// numbers and one for missing ones.
#[inline(always)]
pub(super) fn position<T: KernelFloat>(codes: CodeRule, known: u32, x: T) -> usize {
    if x.missing() {
        return known as usize + 1;
    }
    codes.of(x.to_f64()).map_or(known, |code| code.min(known)) as usize
}
