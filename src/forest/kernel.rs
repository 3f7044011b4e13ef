//! Walking trees: rows in, sums of leaves out.
//!
//! A kernel reads a validated [`Ensemble`] and knows no format. [`Kernel::choose`] picks one when a model is
//! loaded; every kernel must agree with [`scalar`], the reference, bit for bit, which means adding each group's
//! leaves one by one in the order of the trees.
//!
//! ```text
//! ask       every split as "slot > rank", on bytes
//! slots     which byte lies where
//! ranker    a row's numbers -> its slots, by search
//! stand     the trees laid out, 32 side by side: tops and tails
//! ranked    the way of rows through all of these; the tops are walked by
//!           lockstep   any machine
//!           avx2       x86-64 with AVX2
//! tail      the rest of the way, and the sums
//! sliced    many rows at once, a bit for each row: no ranks, no tops
//! trial     which of them is the fastest for a model, measured on the model itself
//! ```
//! A machine with AVX-512 VBMI would get a third walk of the tops beside those two (64 lanes, `vpermi2b` in place of
//! the shuffles and blends of the look-up), aarch64 a fourth (`tbl` over 64 slots at once).

mod ask;
#[cfg(target_arch = "x86_64")]
mod avx2;
mod lockstep;
mod name;
mod ranked;
mod ranker;
pub(crate) mod scalar;
mod search;
mod sliced;
mod slots;
mod stand;
mod tail;
#[cfg(test)]
mod tests;
mod trial;

use super::ensemble::Ensemble;
use super::number::Real;
pub use name::{KernelName, Kernels};
use ranked::Ranked;
use sliced::Sliced;

/// Levels in the tops: one more of complete trees would double what is read for less than it saves
/// (`benches/README.md`).
const LEVELS: usize = 6;

/// How a model's trees are walked, and the trees laid out for it.
#[derive(Debug)]
pub(crate) struct Kernel<T> {
    /// For a few rows.
    name: KernelName,
    ranked: Option<Ranked<T>>,
    /// For many rows.
    sliced: Option<Sliced<T>>,
    blocks: Blocks,
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
}

/// What the kernels ask of a float besides arithmetic.
pub(crate) trait Lane: Passed + Sized {
    /// Its bits in memory, in words; an `f32` has one.
    fn words(self) -> [u32; 2];
}

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Passed;

/// Numbers that can be ranked by this machine's vector instructions: there are none.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) trait Passed {}
#[cfg(not(target_arch = "x86_64"))]
impl Passed for f32 {}
#[cfg(not(target_arch = "x86_64"))]
impl Passed for f64 {}

impl Lane for f32 {
    fn words(self) -> [u32; 2] {
        [self.to_bits(), 0]
    }
}

impl Lane for f64 {
    fn words(self) -> [u32; 2] {
        // Words lie in memory as the number itself would.
        let bytes = self.to_ne_bytes();
        let [a, b, c, d, e, f, g, h] = bytes;
        [u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h])]
    }
}

/// Working memory of the kernels.
#[derive(Debug, Default)]
pub(crate) struct Work {
    slots: Vec<u8>,
    bits: Vec<sliced::Aligned>,
}

impl<T: Real> Kernel<T> {
    /// The kernel that can evaluate any model.
    pub(crate) fn reference() -> Self {
        Self {
            name: KernelName::Scalar,
            ranked: None,
            sliced: None,
            blocks: Blocks::ALWAYS,
        }
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
        let mut kernel = Self {
            name,
            ..Self::reference()
        };
        match name {
            KernelName::Scalar => {}
            KernelName::Lockstep | KernelName::Avx2 => kernel.ranked = Some(Ranked::new(ensemble, LEVELS)?),
            KernelName::Sliced => kernel.sliced = Some(Sliced::new(ensemble)?),
        }
        Some(kernel)
    }

    /// Which it is: for a few rows, and, from so many rows on, for many.
    pub(crate) fn names(&self) -> Kernels {
        let many = self.sliced.as_ref().filter(|_| self.name != KernelName::Sliced);
        // A small block that is never worth it for 64 rows is never made.
        let small = if self.blocks.small > 64 {
            usize::MAX
        } else {
            self.blocks.small
        };
        Kernels {
            few: self.name,
            many: many.map(|_| (small.min(self.blocks.large), KernelName::Sliced)),
        }
    }

    /// Bytes held besides the ensemble.
    pub(crate) fn bytes(&self) -> usize {
        self.ranked.as_ref().map_or(0, Ranked::bytes) + self.sliced.as_ref().map_or(0, Sliced::bytes)
    }

    /// Adds the leaves that each row reaches to its sums.
    ///
    /// `rows` is `n × features`, prepared by [`Ensemble::prepare`]; `sums` is `n × groups` and holds what the
    /// sums begin with.
    pub(crate) fn add_leaves(&self, ensemble: &Ensemble<T>, rows: &[T], sums: &mut [T], work: &mut Work) {
        let features = ensemble.features;
        let Some(sliced) = &self.sliced else {
            return self.walk(ensemble, rows, sums, work);
        };
        // Blocks of the larger kind as long as they are worth it, then one of the smaller, then row by row.
        let mut done = 0;
        let count = rows.len() / features;
        for (rows_to_a_block, worth) in [(256, self.blocks.large), (64, self.blocks.small)] {
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
        match &self.ranked {
            #[cfg(target_arch = "x86_64")]
            Some(ranked) if self.name == KernelName::Avx2 => {
                // SAFETY: a kernel is only made where it is available.
                unsafe { avx2::add_leaves(ranked, ensemble, rows, sums, &mut work.slots) };
            }
            Some(ranked) => lockstep::add_leaves(ranked, ensemble, rows, sums, &mut work.slots),
            None => scalar::add_leaves(ensemble, rows, sums),
        }
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
    lockstep::slice(sliced, ensemble, rows, sums, work, large);
}
