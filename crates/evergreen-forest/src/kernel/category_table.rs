//! Lookup tables for splits on categories: one byte per code and set of a feature.

use crate::ensemble::{CategorySet, ChildRef, CodeRule, Ensemble, Split, SplitTest};
use crate::kernel::KernelFloat;
use crate::kernel::scalar;

/// A predicate: the set's position, and whether a missing value goes left.
pub(super) type SetPredicate = (u32, bool);

/// Most codes of a feature with a table row of their own.
const MOST_CODES: u32 = 1 << 24;

/// The table of one categorical feature.
#[derive(Clone, Copy, Debug)]
struct CategoryColumns {
    feature: u32,
    /// The first of its adjacent columns.
    to: usize,
    columns: usize,
    /// Codes with a table row of their own. One more row is for other numbers, and one for missing ones.
    codes: u32,
    rows: usize,
}

/// The tables of all categorical features.
#[derive(Debug)]
pub(super) struct CategoryTable {
    features: Vec<CategoryColumns>,
    /// 0 goes left, 255 goes right.
    table: Vec<u8>,
    codes: CodeRule,
    /// Most bytes of the table: the size of the model.
    most: usize,
}

impl CategoryTable {
    /// Creates an empty table.
    pub(super) fn new<T: KernelFloat>(ensemble: &Ensemble<T>) -> Self {
        Self {
            features: Vec::new(),
            table: Vec::new(),
            codes: ensemble.codes,
            most: ensemble.bytes(),
        }
    }

    /// Returns the bytes held in memory.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.features.as_slice()) + self.table.len()
    }

    /// Adds the predicates on one feature, whose columns begin at `to`. Returns `None` if the table would be
    /// larger than the model, which is not worth it.
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
        // The last two rows: not a code, and missing.
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

    /// Yields the first column of each feature and the bytes to copy there.
    #[inline(always)]
    pub(super) fn of_row<T: KernelFloat>(&self, row: &[T]) -> impl Iterator<Item = (usize, &[u8])> {
        self.features.iter().map(|category| {
            let position = position(self.codes, category.codes, row[category.feature as usize]);
            let held = &self.table[category.rows + position * category.columns..][..category.columns];
            (category.to, held)
        })
    }
}

/// Returns the table row of a number. Codes below `known` have rows of their own; then comes one row for all
/// other numbers and one for missing ones.
#[inline(always)]
pub(super) fn position<T: KernelFloat>(codes: CodeRule, known: u32, x: T) -> usize {
    if x.missing() {
        return known as usize + 1;
    }
    codes.of(x.to_f64()).map_or(known, |code| code.min(known)) as usize
}
