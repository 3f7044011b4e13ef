//! Assigns binned features to columns.
//!
//! The upper levels address a column by one byte, so the columns they use come first. The columns of one
//! feature's category sets are adjacent, because one copy fills them.

use crate::ensemble::{ChildTarget, Ensemble};
use crate::kernel::KernelFloat;
use crate::kernel::predicate::{BinPredicate, BinnedFeature, BinnedFeatures};

/// Columns that a byte can address.
const BYTE_COLUMNS: usize = 256;

/// The assignment of columns.
#[derive(Debug)]
pub(in crate::kernel) struct ColumnOrder {
    /// The column of each binned feature.
    pub(in crate::kernel) column_of: Vec<u16>,
    /// The predicate of each split.
    pub(in crate::kernel) predicates: Vec<BinPredicate>,
    /// Levels of every tree that use only columns addressed by a byte.
    pub(in crate::kernel) levels: usize,
    /// Columns used by those levels, including the zero column.
    pub(in crate::kernel) upper_columns: usize,
    /// Columns used by all levels, including the zero column.
    pub(in crate::kernel) used: usize,
}

impl ColumnOrder {
    /// Returns whether a byte can address every column that is used.
    pub(in crate::kernel) fn fits_byte(&self) -> bool {
        self.used <= BYTE_COLUMNS
    }

    /// Assigns columns, with up to `levels` upper levels. Returns `None` if there are too many binned
    /// features.
    pub(in crate::kernel) fn new<T: KernelFloat>(
        ensemble: &Ensemble<T>,
        binned_features: &BinnedFeatures<T>,
        levels: usize,
    ) -> Option<Self> {
        let depth_of = depths(ensemble);
        let (levels, mut order) = (0..=levels).rev().find_map(|levels| {
            let order = upper_features(ensemble, binned_features, &depth_of, levels);
            (order.len() < BYTE_COLUMNS).then_some((levels, order))
        })?;
        let upper_columns = order.len() + 1;
        append_rest(binned_features, &mut order);
        // Two extra columns: the zero column and the spare one; see `Quantizer::new`.
        u16::try_from(order.len() + 2).ok()?;
        let mut column_of = vec![0u16; binned_features.all.len()];
        for (column, binned_feature) in (1u16..).zip(order) {
            *column_of.get_mut(binned_feature as usize)? = column;
        }
        let predicates = binned_features.of_split.iter().map(|(binned_feature, bin)| {
            let column = *column_of.get(*binned_feature as usize)?;
            Some(BinPredicate { column, bin: *bin })
        });
        Some(Self {
            predicates: predicates.collect::<Option<_>>()?,
            used: binned_features.all.len() + 1,
            column_of,
            levels,
            upper_columns,
        })
    }
}

/// Returns the number of splits above each split. Parents come before children.
fn depths<T: KernelFloat>(ensemble: &Ensemble<T>) -> Vec<u16> {
    let mut depths = vec![0u16; ensemble.splits.len()];
    for (position, split) in ensemble.splits.iter().enumerate() {
        for child in [split.left, split.right] {
            if let ChildTarget::Split(child) = child.target() {
                depths[child] = depths[position] + 1;
            }
        }
    }
    depths
}

/// Lists the binned features used by the first levels of all trees. All sets of a feature are included if one
/// is used.
fn upper_features<T: KernelFloat>(
    ensemble: &Ensemble<T>,
    binned_features: &BinnedFeatures<T>,
    depth_of: &[u16],
    levels: usize,
) -> Vec<u32> {
    let mut used = vec![false; binned_features.all.len()];
    for (position, (binned_feature, _)) in binned_features.of_split.iter().enumerate() {
        if usize::from(depth_of[position]) < levels {
            used[*binned_feature as usize] = true;
        }
    }
    let mut set_used = vec![false; ensemble.features];
    for (used, binned_feature) in used.iter().zip(&binned_features.all) {
        if let (true, BinnedFeature::Member { feature, .. }) = (used, binned_feature) {
            set_used[*feature as usize] = true;
        }
    }
    let wanted = |position: usize, binned_feature: &BinnedFeature| match binned_feature {
        BinnedFeature::Member { feature, .. } => set_used[*feature as usize],
        _ => used[position],
    };
    let all = binned_features.all.iter().enumerate();
    sorted(
        binned_features,
        all.filter(|(position, binned_feature)| wanted(*position, binned_feature))
            .map(|(position, _)| position),
    )
}

/// Appends the binned features that are not listed yet.
fn append_rest<T>(binned_features: &BinnedFeatures<T>, order: &mut Vec<u32>) {
    let mut placed = vec![false; binned_features.all.len()];
    for binned_feature in order.iter() {
        placed[*binned_feature as usize] = true;
    }
    let rest = (0..binned_features.all.len()).filter(|position| !placed[*position]);
    order.extend(sorted(binned_features, rest));
}

/// Sorts numbers before categories, each by feature.
fn sorted<T>(binned_features: &BinnedFeatures<T>, positions: impl Iterator<Item = usize>) -> Vec<u32> {
    let mut order: Vec<u32> = positions
        .filter_map(|position| u32::try_from(position).ok())
        .collect();
    order.sort_by_key(|position| {
        let binned_feature = binned_features.all[*position as usize];
        (
            matches!(binned_feature, BinnedFeature::Member { .. }),
            binned_feature.feature(),
            *position,
        )
    });
    order
}
