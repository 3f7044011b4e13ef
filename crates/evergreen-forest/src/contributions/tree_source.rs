//! What the layouts of the kernels are made from.

use crate::contributions::cover_share::{CoverShares, leaf_value};
use crate::contributions::row_bins::BinTest;
use crate::ensemble::Ensemble;
use crate::number::Real;

/// The trees, with what was computed for each split.
#[derive(Clone, Copy, Debug)]
pub(super) struct TreeSource<'a, T> {
    pub(super) ensemble: &'a Ensemble<T>,
    pub(super) shares: &'a CoverShares,
    pub(super) tests: &'a [BinTest],
    /// Leaves are divided by it, so that sums of `f32` do not overflow; 1 for all but huge leaves.
    pub(super) scale: f64,
}

impl<T: Real> TreeSource<'_, T> {
    /// Returns a number of a leaf less the mean of its tree, divided by the scale.
    pub(super) fn leaf(&self, leaf: usize, output: usize, mean: f64) -> f32 {
        ((leaf_value(self.ensemble, leaf, output) - mean) / self.scale) as f32
    }
}

/// Returns a power of two by which leaves are divided.
pub(super) fn scale<T: Real>(ensemble: &Ensemble<T>) -> f64 {
    // Far below the greatest f32: a million leaves may add up.
    const GREATEST: f64 = (1u128 << 100) as f64;
    let values = ensemble.values.iter().map(|value| value.to_f64().abs());
    let greatest = values.fold(0.0, f64::max);
    if greatest > GREATEST {
        (greatest / GREATEST).log2().ceil().exp2()
    } else {
        1.0
    }
}
