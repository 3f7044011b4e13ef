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

use super::ensemble::Ensemble;
use super::number::Real;
pub use name::KernelName;
use ranked::Ranked;
use sliced::Sliced;

/// Levels in the tops: below them a tail costs less than one more level of blends (`benches/README.md`).
const LEVELS: usize = 6;

/// From so many rows on, a block of sixty-four bits is worth its lines; and one of 256.
const MANY: usize = 24;
const VERY_MANY: usize = 160;

/// How a model's trees are walked, and the trees laid out for it.
#[derive(Debug)]
pub(crate) struct Kernel<T> {
    /// For a few rows.
    name: KernelName,
    ranked: Option<Ranked<T>>,
    /// For many rows.
    sliced: Option<Sliced<T>>,
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
        }
    }

    /// The fastest kernel that can evaluate `ensemble` on this machine.
    pub(crate) fn choose(ensemble: &Ensemble<T>) -> Self {
        let few = [KernelName::Avx2, KernelName::Lockstep];
        let few = few.into_iter().find_map(|name| Self::of(name, ensemble));
        Self {
            sliced: Sliced::new(ensemble),
            ..few.unwrap_or_else(Self::reference)
        }
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
            KernelName::Lockstep | KernelName::Avx2 => kernel.ranked = Some(Ranked::new(ensemble, std::env::var("LV").map_or(LEVELS, |v| v.parse().unwrap()))?),
            KernelName::Sliced => kernel.sliced = Some(Sliced::new(ensemble)?),
        }
        Some(kernel)
    }

    /// Which it is: for a few rows, and, from so many rows on, for many.
    pub(crate) fn names(&self) -> (KernelName, Option<(usize, KernelName)>) {
        let many = self.sliced.as_ref().filter(|_| self.name != KernelName::Sliced);
        (self.name, many.map(|_| (MANY, KernelName::Sliced)))
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
        let count = rows.len() / ensemble.features;
        let sliced = self
            .sliced
            .as_ref()
            .filter(|_| count >= MANY || self.name == KernelName::Sliced);
        match (sliced, &self.ranked) {
            #[cfg(target_arch = "x86_64")]
            (Some(sliced), _) if avx2::available() => {
                // SAFETY: it is available.
                unsafe { avx2::slice(sliced, ensemble, rows, sums, &mut work.bits, count >= VERY_MANY) };
            }
            (Some(sliced), _) => lockstep::slice(sliced, ensemble, rows, sums, &mut work.bits),
            #[cfg(target_arch = "x86_64")]
            (None, Some(ranked)) if self.name == KernelName::Avx2 => {
                // SAFETY: a kernel is only made where it is available.
                unsafe { avx2::add_leaves(ranked, ensemble, rows, sums, &mut work.slots) };
            }
            (None, Some(ranked)) => lockstep::add_leaves(ranked, ensemble, rows, sums, &mut work.slots),
            (None, None) => scalar::add_leaves(ensemble, rows, sums),
        }
    }
}
