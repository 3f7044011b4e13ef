//! Walking trees: rows in, sums of leaves out.
//!
//! A kernel reads a validated [`Ensemble`] and knows no format. [`Kernel::choose`] picks one when a model is
//! loaded; every kernel must agree with [`scalar`], the reference, bit for bit, which means adding each group's
//! leaves one by one in the order of the trees.

pub(crate) mod scalar;

use super::ensemble::Ensemble;
use super::number::Real;

/// The kernel chosen for a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kernel {
    /// One row, one tree, one split at a time: any model on any machine.
    Scalar,
}

impl Kernel {
    /// The fastest kernel that can evaluate `ensemble` on this machine.
    pub(crate) fn choose<T: Real>(_ensemble: &Ensemble<T>) -> Self {
        Self::Scalar
    }

    /// Adds the leaves that each row reaches to its sums.
    ///
    /// `rows` is `n × features`, prepared by [`Ensemble::prepare`]; `sums` is `n × groups` and holds what the
    /// sums begin with.
    pub(crate) fn add_leaves<T: Real>(self, ensemble: &Ensemble<T>, rows: &[T], sums: &mut [T]) {
        match self {
            Self::Scalar => scalar::add_leaves(ensemble, rows, sums),
        }
    }
}
