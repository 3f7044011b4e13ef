//! Walking trees: rows in, sums of leaves out.
//!
//! A kernel reads a validated [`Ensemble`] and knows no format. [`Kernel::choose`] picks one when a model is
//! loaded; every kernel must agree with [`scalar`], the reference, bit for bit, which means adding each group's
//! leaves one by one in the order of the trees.
//!
//! ```text
//! key      floats as whole numbers in the same order
//! direct   trees by numbers, eight abreast: any machine
//!
//! ask      every split as "slot > rank", on bytes
//! bins    which byte lies where
//! ranker   a row's numbers -> its bins, by search
//! stand    the trees laid out, 32 side by side: tops and tails
//! binned   the way of rows through all of these
//! avx2     the walk of the tops, x86-64 with AVX2
//! tail     the rest of the way, and the sums
//!
//! bit_sliced   many rows at once, a bit for each row
//!
//! categories, search, shape, machine, portable    what several of them need
//! autotune    which of them is the fastest for a model, measured on the model itself
//! ```
//! A machine with AVX-512 VBMI would get a walk of the tops beside that of AVX2 (64 lanes, `vpermi2b` in place of the
//! shuffles and blends of the look-up), aarch64 another (`tbl` over 64 bins at once).

mod autotune;
#[cfg(target_arch = "x86_64")]
mod binned;
mod bit_sliced;
mod category_table;
mod direct;
mod isa;
mod name;
mod ordered_key;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
mod predicate;
pub(crate) mod scalar;
#[cfg(test)]
mod tests;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
mod threshold_search;
mod tree_shape;

use crate::ensemble::Ensemble;
use crate::number::Real;
#[cfg(target_arch = "x86_64")]
use binned::Binned;
use bit_sliced::BitSliced;
use direct::Direct;
pub use name::{KernelName, Kernels};
use ordered_key::OrderedFloat;

/// How a model's trees are walked, and the trees laid out for it.
#[derive(Debug)]
pub(crate) struct Kernel<T: KernelFloat> {
    /// For a few rows.
    walk: RowKernel<T>,
    /// For many rows, if it gains anything, and from how many on.
    bit_sliced: Option<(BitSliced<T>, BreakEven)>,
}

/// How single rows are walked; which of these is known when a model is loaded, so that no row asks for the machine.
#[derive(Debug)]
enum RowKernel<T: KernelFloat> {
    Scalar,
    Direct(Direct<T>),
    #[cfg(target_arch = "x86_64")]
    Binned(Binned<T>),
}

/// From how many rows on a block of bits costs less than walking them one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BreakEven {
    /// A block of 64 rows.
    small: usize,
    /// A block of as many as the machine's vectors have bits.
    large: usize,
}

impl BreakEven {
    /// Always, whichever fits.
    const ALWAYS: Self = Self { small: 1, large: 65 };

    /// The fewest rows of any block.
    fn least(self) -> usize {
        // A small block that is never worth it for 64 rows is never made.
        if self.small > 64 {
            self.large
        } else {
            self.small.min(self.large)
        }
    }
}

/// What the kernels ask of a float besides arithmetic.
#[cfg(target_arch = "x86_64")]
pub(crate) trait KernelFloat: Real + OrderedFloat + isa::avx2::CountPassed {}
/// What the kernels ask of a float besides arithmetic.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) trait KernelFloat: Real + OrderedFloat {}

impl KernelFloat for f32 {}
impl KernelFloat for f64 {}

/// Working memory of the kernels.
#[derive(Debug, Default)]
pub(crate) struct KernelScratch {
    #[cfg(target_arch = "x86_64")]
    bins: Vec<u8>,
    keys: Vec<u32>,
    long_keys: Vec<u64>,
    bits: Vec<bit_sliced::BufferLine>,
}

impl<T: KernelFloat> Kernel<T> {
    /// The kernel that can evaluate any model.
    pub(crate) fn reference() -> Self {
        RowKernel::Scalar.into()
    }

    /// The fastest way for `ensemble` on this machine, as measured on the model itself.
    pub(crate) fn choose(ensemble: &Ensemble<T>) -> Self {
        autotune::choose(ensemble)
    }

    /// This kernel for `ensemble`; `None` if it cannot evaluate it, or not on this machine.
    pub(crate) fn of(name: KernelName, ensemble: &Ensemble<T>) -> Option<Self> {
        if !name.available() {
            return None;
        }
        match name {
            KernelName::Scalar => Some(Self::reference()),
            KernelName::Direct => Some(RowKernel::Direct(Direct::new(ensemble)?).into()),
            #[cfg(target_arch = "x86_64")]
            KernelName::Binned => Some(RowKernel::Binned(Binned::new(ensemble)?).into()),
            #[cfg(not(target_arch = "x86_64"))]
            KernelName::Binned => None,
            KernelName::BitSliced => Some(Self {
                walk: RowKernel::Scalar,
                bit_sliced: Some((BitSliced::new(ensemble)?, BreakEven::ALWAYS)),
            }),
        }
    }

    /// Which it is: for a few rows, and, from so many rows on, for many.
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

    /// Bytes held besides the ensemble.
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
    /// `rows` is `n × features`, prepared by [`Ensemble::prepare`]; `sums` is `n × groups` and holds what the
    /// sums begin with.
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
        // BreakEven of the larger kind as long as they are worth it, then one of the smaller, then row by row.
        let mut done = 0;
        let count = rows.len() / features;
        for (rows_to_a_block, worth) in [(256, *large), (64, *small)] {
            // A block that is not worth it when it is full never is.
            if worth > rows_to_a_block {
                continue;
            }
            let left = count - done;
            let blocks = left / rows_to_a_block + usize::from(left % rows_to_a_block >= worth);
            let end = count.min(done + blocks * rows_to_a_block);
            if end > done {
                let rows = &rows[done * features..end * features];
                let sums = &mut sums[done * ensemble.groups..end * ensemble.groups];
                slice(
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

    /// Walks rows one by one, or a few side by side.
    fn walk(&self, ensemble: &Ensemble<T>, rows: &[T], sums: &mut [T], work: &mut KernelScratch) {
        match &self.walk {
            RowKernel::Scalar => scalar::add_leaves(ensemble, rows, sums),
            RowKernel::Direct(direct) => direct.add_leaves(ensemble, rows, sums, T::keys(work)),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a kernel is only made where it is available.
            RowKernel::Binned(binned) => unsafe {
                isa::avx2::add_leaves(binned, ensemble, rows, sums, &mut work.bins)
            },
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

/// Evaluates rows bit by bit, in blocks of the larger kind or of 64.
fn slice<T: KernelFloat>(
    bit_sliced: &BitSliced<T>,
    ensemble: &Ensemble<T>,
    rows: &[T],
    sums: &mut [T],
    work: &mut Vec<bit_sliced::BufferLine>,
    large: bool,
) {
    #[cfg(target_arch = "x86_64")]
    if isa::avx2::available() {
        // SAFETY: it is available.
        return unsafe { isa::avx2::slice(bit_sliced, ensemble, rows, sums, work, large) };
    }
    isa::portable::slice(bit_sliced, ensemble, rows, sums, work, large);
}
