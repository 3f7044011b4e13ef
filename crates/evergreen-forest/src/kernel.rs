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
//! slots    which byte lies where
//! ranker   a row's numbers -> its slots, by search
//! stand    the trees laid out, 32 side by side: tops and tails
//! ranked   the way of rows through all of these
//! avx2     the walk of the tops, x86-64 with AVX2
//! tail     the rest of the way, and the sums
//!
//! sliced   many rows at once, a bit for each row
//!
//! categories, search, shape, machine, portable    what several of them need
//! trial    which of them is the fastest for a model, measured on the model itself
//! ```
//! A machine with AVX-512 VBMI would get a walk of the tops beside that of AVX2 (64 lanes, `vpermi2b` in place of the
//! shuffles and blends of the look-up), aarch64 another (`tbl` over 64 slots at once).

#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
mod ask;
#[cfg(target_arch = "x86_64")]
mod avx2;
mod categories;
mod direct;
mod key;
mod machine;
mod name;
mod portable;
#[cfg(target_arch = "x86_64")]
mod ranked;
#[cfg(target_arch = "x86_64")]
mod ranker;
pub(crate) mod scalar;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
mod search;
mod shape;
mod sliced;
#[cfg(target_arch = "x86_64")]
mod slots;
#[cfg(target_arch = "x86_64")]
mod stand;
#[cfg(target_arch = "x86_64")]
mod tail;
#[cfg(test)]
mod tests;
mod trial;

use super::ensemble::Ensemble;
use super::number::Real;
use direct::Direct;
use key::Keyed;
pub use name::{KernelName, Kernels};
#[cfg(target_arch = "x86_64")]
use ranked::Ranked;
use sliced::Sliced;

/// How a model's trees are walked, and the trees laid out for it.
#[derive(Debug)]
pub(crate) struct Kernel<T: Real> {
    /// For a few rows.
    walk: Walk<T>,
    /// For many rows, if it gains anything, and from how many on.
    sliced: Option<(Sliced<T>, Blocks)>,
}

/// How single rows are walked; which of these is known when a model is loaded, so that no row asks for the machine.
#[derive(Debug)]
enum Walk<T: Real> {
    Scalar,
    Direct(Direct<T>),
    #[cfg(target_arch = "x86_64")]
    Avx2(Ranked<T>),
}

/// From how many rows on a block of bits costs less than walking them one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Blocks {
    /// A block of 64 rows.
    small: usize,
    /// A block of as many as the machine's vectors have bits.
    large: usize,
}

impl Blocks {
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
pub(crate) trait Lane: Keyed + avx2::Passed {}
/// What the kernels ask of a float besides arithmetic.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) trait Lane: Keyed {}

impl Lane for f32 {}
impl Lane for f64 {}

/// Working memory of the kernels.
#[derive(Debug, Default)]
pub(crate) struct Work {
    #[cfg(target_arch = "x86_64")]
    slots: Vec<u8>,
    keys: Vec<u32>,
    long_keys: Vec<u64>,
    bits: Vec<sliced::Aligned>,
}

impl<T: Real> Kernel<T> {
    /// The kernel that can evaluate any model.
    pub(crate) fn reference() -> Self {
        Walk::Scalar.into()
    }

    /// The fastest way for `ensemble` on this machine, as measured on the model itself.
    pub(crate) fn choose(ensemble: &Ensemble<T>) -> Self {
        trial::choose(ensemble)
    }

    /// This kernel for `ensemble`; `None` if it cannot evaluate it, or not on this machine.
    pub(crate) fn of(name: KernelName, ensemble: &Ensemble<T>) -> Option<Self> {
        if !name.available() {
            return None;
        }
        match name {
            KernelName::Scalar => Some(Self::reference()),
            KernelName::Direct => Some(Walk::Direct(Direct::new(ensemble)?).into()),
            #[cfg(target_arch = "x86_64")]
            KernelName::Avx2 => Some(Walk::Avx2(Ranked::new(ensemble)?).into()),
            #[cfg(not(target_arch = "x86_64"))]
            KernelName::Avx2 => None,
            KernelName::Sliced => Some(Self {
                walk: Walk::Scalar,
                sliced: Some((Sliced::new(ensemble)?, Blocks::ALWAYS)),
            }),
        }
    }

    /// Which it is: for a few rows, and, from so many rows on, for many.
    pub(crate) fn names(&self) -> Kernels {
        let few = match &self.walk {
            Walk::Scalar => KernelName::Scalar,
            Walk::Direct(_) => KernelName::Direct,
            #[cfg(target_arch = "x86_64")]
            Walk::Avx2(_) => KernelName::Avx2,
        };
        match &self.sliced {
            Some((_, Blocks::ALWAYS)) => Kernels {
                few: KernelName::Sliced,
                many: None,
            },
            Some((_, blocks)) => Kernels {
                few,
                many: Some((blocks.least(), KernelName::Sliced)),
            },
            None => Kernels { few, many: None },
        }
    }

    /// Bytes held besides the ensemble.
    pub(crate) fn bytes(&self) -> usize {
        let walk = match &self.walk {
            Walk::Scalar => 0,
            Walk::Direct(direct) => direct.bytes(),
            #[cfg(target_arch = "x86_64")]
            Walk::Avx2(ranked) => ranked.bytes(),
        };
        walk + self.sliced.as_ref().map_or(0, |(sliced, _)| sliced.bytes())
    }

    /// Adds the leaves that each row reaches to its sums.
    ///
    /// `rows` is `n × features`, prepared by [`Ensemble::prepare`]; `sums` is `n × groups` and holds what the
    /// sums begin with.
    pub(crate) fn add_leaves(&self, ensemble: &Ensemble<T>, rows: &[T], sums: &mut [T], work: &mut Work) {
        let features = ensemble.features;
        let Some((sliced, Blocks { small, large })) = &self.sliced else {
            return self.walk(ensemble, rows, sums, work);
        };
        // Blocks of the larger kind as long as they are worth it, then one of the smaller, then row by row.
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
                    sliced,
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
    fn walk(&self, ensemble: &Ensemble<T>, rows: &[T], sums: &mut [T], work: &mut Work) {
        match &self.walk {
            Walk::Scalar => scalar::add_leaves(ensemble, rows, sums),
            Walk::Direct(direct) => direct.add_leaves(ensemble, rows, sums, T::keys(work)),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a kernel is only made where it is available.
            Walk::Avx2(ranked) => unsafe { avx2::add_leaves(ranked, ensemble, rows, sums, &mut work.slots) },
        }
    }
}

impl<T: Real> From<Walk<T>> for Kernel<T> {
    fn from(walk: Walk<T>) -> Self {
        Self { walk, sliced: None }
    }
}

/// Evaluates rows bit by bit, in blocks of the larger kind or of 64.
fn slice<T: Real>(
    sliced: &Sliced<T>,
    ensemble: &Ensemble<T>,
    rows: &[T],
    sums: &mut [T],
    work: &mut Vec<sliced::Aligned>,
    large: bool,
) {
    #[cfg(target_arch = "x86_64")]
    if avx2::available() {
        // SAFETY: it is available.
        return unsafe { avx2::slice(sliced, ensemble, rows, sums, work, large) };
    }
    portable::slice(sliced, ensemble, rows, sums, work, large);
}
