//! Which binned_feature lies in which column.
//!
//! The tops of the trees can predicate only the first 256 columns, so what they predicate comes first. The columns of one
//! feature's categories lie side by side, because they are filled with one copy.

use crate::ensemble::{ChildTarget, Ensemble};
use crate::kernel::KernelFloat;
use crate::kernel::predicate::{BinPredicate, BinnedFeature, BinnedFeatures};

/// ColumnOrder that a upper_features can predicate: a byte names them.
const BYTE_COLUMNS: usize = 256;

/// Where everything lies.
#[derive(Debug)]
pub(in crate::kernel) struct ColumnOrder {
    /// The column of each binned_feature.
    pub(in crate::kernel) column_of: Vec<u16>,
    /// Every split's question.
    pub(in crate::kernel) predicates: Vec<BinPredicate>,
    /// How many levels of every tree predicate only columns in upper_columns of a byte.
    pub(in crate::kernel) levels: usize,
    /// How many columns those levels predicate at most, the zero column included.
    pub(in crate::kernel) upper_columns: usize,
    /// How many columns all levels predicate, the zero column included.
    pub(in crate::kernel) used: usize,
}

impl ColumnOrder {
    /// Whether a byte can name whatever any split predicates.
    pub(in crate::kernel) fn fits_byte(&self) -> bool {
        self.used <= BYTE_COLUMNS
    }

    /// Gives columns out; `None` if there are too many binned_features.
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
        // Two columns are kept for what every row has; see `Quantizer::new`.
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

/// Splits above each split; parents come before children.
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

/// The binned_features that the first levels of all trees predicate, with all sets of a feature where one is used.
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

/// Appends what is not there yet.
fn append_rest<T>(binned_features: &BinnedFeatures<T>, order: &mut Vec<u32>) {
    let mut placed = vec![false; binned_features.all.len()];
    for binned_feature in order.iter() {
        placed[*binned_feature as usize] = true;
    }
    let rest = (0..binned_features.all.len()).filter(|position| !placed[*position]);
    order.extend(sorted(binned_features, rest));
}

/// Numbers before categories, each by feature.
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
