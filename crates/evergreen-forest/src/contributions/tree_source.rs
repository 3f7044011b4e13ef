//! What the layouts of the kernels are made from.

use crate::contributions::cover_share::CoverShares;
use crate::contributions::row_bins::BinTest;
use crate::ensemble::Ensemble;

/// The trees, with what was computed for each split.
#[derive(Clone, Copy, Debug)]
pub(super) struct TreeSource<'a, T> {
    pub(super) ensemble: &'a Ensemble<T>,
    pub(super) shares: &'a CoverShares,
    pub(super) tests: &'a [BinTest],
}
