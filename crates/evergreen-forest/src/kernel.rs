//! Kernels: evaluate the trees of an [`Ensemble`] for a block of rows and add the leaves to the rows' sums.
//!
//! A kernel knows no model format. [`Kernel::choose`] picks one when a model is loaded. Every kernel must
//! agree with [`scalar`], the reference, bit for bit. This requires adding each group's leaves one by one in
//! the order of the trees.
//!
//! ```text
//! scalar             one row, one tree, one split at a time; takes every model
//! direct             compares ordered keys, eight trees at a time
//! binned             compares bins of one byte, 32 trees per vector instruction
//! bit_sliced         one bit per row, 64 rows or more per instruction
//!
//! predicate          every split as "bins[column] > bin"
//! ordered_key        floats as integers in the same order
//! category_table     lookup tables for splits on categories
//! threshold_search   the bin of a number
//! tree_shape         heights, leaf counts and depths
//! isa                operations that depend on the instruction set: portable, avx2
//! kernel_float       what kernels need from a float, and the entry points that are compiled once for each
//! autotune           measures which kernel is the fastest for a model
//! random_forest      forests and rows for tests and fuzzing
//! ```
//! AVX-512 VBMI and NEON are not implemented. An `isa/avx512` would use 64 lanes and `vpermi2b` for the
//! lookup; an `isa/neon` would use `tbl` over 64 bins.

mod autotune;
#[cfg(target_arch = "x86_64")]
mod binned;
mod bit_sliced;
mod category_table;
mod direct;
pub(crate) mod isa;
mod kernel_float;
mod name;
mod ordered_key;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub(crate) mod predicate;
#[cfg(any(test, feature = "fuzzing"))]
#[expect(clippy::unwrap_used, reason = "the forests are valid by their making")]
pub(crate) mod random_forest;
pub(crate) mod scalar;
#[cfg(test)]
mod tests;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub(crate) mod threshold_search;
mod tree_shape;

use crate::ensemble::Ensemble;
#[cfg(target_arch = "x86_64")]
use binned::BinnedKernel;
use bit_sliced::BitSlicedKernel;
use direct::DirectKernel;
pub(crate) use kernel_float::KernelFloat;
pub use name::{KernelName, Kernels};

/// The kernels chosen for a model, with the trees in their layouts.
#[derive(Debug)]
pub(crate) struct Kernel<T: KernelFloat> {
    /// Evaluates a few rows.
    walk: RowKernel<T>,
    /// Evaluates many rows, where that is faster.
    bit_sliced: Option<(BitSlicedKernel<T>, BreakEven)>,
}

/// The kernel for single rows. Resolved at load time, so that no row checks the CPU.
#[derive(Debug)]
enum RowKernel<T: KernelFloat> {
    Scalar,
    Direct(DirectKernel<T>),
    #[cfg(target_arch = "x86_64")]
    Binned(BinnedKernel<T>),
}

/// The fewest rows for which a bit-sliced block costs less than evaluating the rows one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BreakEven {
    /// For a block of 64 rows.
    small: usize,
    /// For the larger block, one row per bit of a vector.
    large: usize,
}

impl BreakEven {
    /// Always use the bit-sliced kernel.
    const ALWAYS: Self = Self { small: 1, large: 65 };

    /// Returns the fewest rows of any block that is used.
    fn least(self) -> usize {
        // A threshold above 64 means that the small block is never used.
        if self.small > 64 {
            self.large
        } else {
            self.small.min(self.large)
        }
    }
}

/// Working memory of the kernels, grown on first use.
#[derive(Debug, Default)]
pub(crate) struct KernelScratch {
    #[cfg(target_arch = "x86_64")]
    bins: Vec<u8>,
    keys: Vec<u32>,
    long_keys: Vec<u64>,
    bits: Vec<bit_sliced::BufferLine>,
}

impl<T: KernelFloat> Kernel<T> {
    /// Returns the kernel that evaluates every model.
    pub(crate) fn reference() -> Self {
        RowKernel::Scalar.into()
    }

    /// Returns the fastest kernels for `ensemble` on this CPU, measured on the model itself.
    pub(crate) fn choose(ensemble: &Ensemble<T>) -> Self {
        autotune::choose(ensemble)
    }

    /// Builds the named kernel. Returns `None` if it cannot evaluate this model or this CPU cannot run it.
    pub(crate) fn of(name: KernelName, ensemble: &Ensemble<T>) -> Option<Self> {
        if !name.available() {
            return None;
        }
        match name {
            KernelName::Scalar => Some(Self::reference()),
            KernelName::Direct => Some(RowKernel::Direct(DirectKernel::new(ensemble)?).into()),
            #[cfg(target_arch = "x86_64")]
            KernelName::Binned => Some(RowKernel::Binned(BinnedKernel::new(ensemble)?).into()),
            #[cfg(not(target_arch = "x86_64"))]
            KernelName::Binned => None,
            KernelName::BitSliced => Some(Self {
                walk: RowKernel::Scalar,
                bit_sliced: Some((BitSlicedKernel::new(ensemble)?, BreakEven::ALWAYS)),
            }),
        }
    }

    /// Returns the names of the kernels in use.
    pub(crate) fn names(&self) -> Kernels {
        let few = match &self.walk {
            RowKernel::Scalar => KernelName::Scalar,
            RowKernel::Direct(_) => KernelName::Direct,
            #[cfg(target_arch = "x86_64")]
            RowKernel::Binned(_) => KernelName::Binned,
        };
        match &self.bit_sliced {
            Some((_, BreakEven::ALWAYS)) => Kernels {
                few: KernelName::BitSliced,
                many: None,
            },
            Some((_, blocks)) => Kernels {
                few,
                many: Some((blocks.least(), KernelName::BitSliced)),
            },
            None => Kernels { few, many: None },
        }
    }

    /// Returns the bytes held besides the ensemble.
    pub(crate) fn bytes(&self) -> usize {
        let walk = match &self.walk {
            RowKernel::Scalar => 0,
            RowKernel::Direct(direct) => direct.bytes(),
            #[cfg(target_arch = "x86_64")]
            RowKernel::Binned(binned) => binned.bytes(),
        };
        walk + self
            .bit_sliced
            .as_ref()
            .map_or(0, |(bit_sliced, _)| bit_sliced.bytes())
    }

    /// Adds the leaves that each row reaches to its sums.
    ///
    /// `rows` is `n × features`, prepared by [`Ensemble::prepare`]. `sums` is `n × groups` and holds the
    /// initial values.
    pub(crate) fn add_leaves(
        &self,
        ensemble: &Ensemble<T>,
        rows: &[T],
        sums: &mut [T],
        work: &mut KernelScratch,
    ) {
        let features = ensemble.features;
        let Some((bit_sliced, BreakEven { small, large })) = &self.bit_sliced else {
            return self.walk(ensemble, rows, sums, work);
        };
        // Use large blocks while they pay off, then one small block, then single rows.
        let mut done = 0;
        let count = rows.len() / features;
        for (rows_to_a_block, worth) in [(256, *large), (64, *small)] {
            // A block that does not pay off when full never does.
            if worth > rows_to_a_block {
                continue;
            }
            let left = count - done;
            let blocks = left / rows_to_a_block + usize::from(left % rows_to_a_block >= worth);
            let end = count.min(done + blocks * rows_to_a_block);
            if end > done {
                let rows = &rows[done * features..end * features];
                let sums = &mut sums[done * ensemble.groups..end * ensemble.groups];
                T::bit_sliced(
                    bit_sliced,
                    ensemble,
                    rows,
                    sums,
                    &mut work.bits,
                    rows_to_a_block == 256,
                );
                done = end;
            }
        }
        if done < count {
            let sums = &mut sums[done * ensemble.groups..];
            self.walk(ensemble, &rows[done * features..], sums, work);
        }
    }

    /// Evaluates rows one by one, or a few side by side.
    fn walk(&self, ensemble: &Ensemble<T>, rows: &[T], sums: &mut [T], work: &mut KernelScratch) {
        match &self.walk {
            RowKernel::Scalar => scalar::add_leaves(ensemble, rows, sums),
            RowKernel::Direct(direct) => direct.add_leaves(ensemble, rows, sums, T::keys(work)),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Kernel::of` builds a kernel only where it is available.
            RowKernel::Binned(binned) => unsafe { T::binned(binned, ensemble, rows, sums, &mut work.bins) },
        }
    }
}

impl<T: KernelFloat> From<RowKernel<T>> for Kernel<T> {
    fn from(walk: RowKernel<T>) -> Self {
        Self {
            walk,
            bit_sliced: None,
        }
    }
}
