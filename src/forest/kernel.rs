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
mod slots;
mod stand;
mod tail;
#[cfg(test)]
mod tests;

use super::ensemble::Ensemble;
use super::number::Real;
pub use name::KernelName;
use ranked::Ranked;
pub(crate) use ranked::Work;

/// Levels in the tops: below them a tail costs less than one more level of blends (`benches/README.md`).
const LEVELS: usize = 5;

/// The kernel chosen for a model, and the model as it needs it.
#[derive(Debug)]
pub(crate) struct Kernel {
    name: KernelName,
    plan: Option<Plan>,
}

/// Ranked trees in the width they compute in.
#[derive(Debug)]
pub(crate) enum Plan {
    /// Single precision.
    Narrow(Ranked<f32>),
    /// Double precision.
    Wide(Ranked<f64>),
}

/// What the kernels ask of a float besides arithmetic.
pub(crate) trait Lane: Passed + Sized {
    /// The plan of trees in this width.
    fn plan(ranked: Ranked<Self>) -> Plan;
    /// The trees of a plan in this width.
    fn ranked(plan: &Plan) -> Option<&Ranked<Self>>;
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
    fn plan(ranked: Ranked<Self>) -> Plan {
        Plan::Narrow(ranked)
    }
    fn ranked(plan: &Plan) -> Option<&Ranked<Self>> {
        match plan {
            Plan::Narrow(ranked) => Some(ranked),
            Plan::Wide(_) => None,
        }
    }
    fn words(self) -> [u32; 2] {
        [self.to_bits(), 0]
    }
}

impl Lane for f64 {
    fn plan(ranked: Ranked<Self>) -> Plan {
        Plan::Wide(ranked)
    }
    fn ranked(plan: &Plan) -> Option<&Ranked<Self>> {
        match plan {
            Plan::Wide(ranked) => Some(ranked),
            Plan::Narrow(_) => None,
        }
    }
    fn words(self) -> [u32; 2] {
        // Words lie in memory as the number itself would.
        let bytes = self.to_ne_bytes();
        let [a, b, c, d, e, f, g, h] = bytes;
        [u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h])]
    }
}

impl Kernel {
    /// The fastest kernel that can evaluate `ensemble` on this machine.
    pub(crate) fn choose<T: Real>(ensemble: &Ensemble<T>) -> Self {
        let ranked = KernelName::ALL
            .into_iter()
            .rev()
            .find_map(|name| Self::of(name, ensemble));
        ranked.unwrap_or(Self {
            name: KernelName::Scalar,
            plan: None,
        })
    }

    /// This kernel for `ensemble`; `None` if it cannot evaluate it, or not on this machine.
    pub(crate) fn of<T: Real>(name: KernelName, ensemble: &Ensemble<T>) -> Option<Self> {
        if !name.available() {
            return None;
        }
        let plan = match name {
            KernelName::Scalar => None,
            KernelName::Lockstep | KernelName::Avx2 => Some(T::plan(Ranked::new(ensemble, LEVELS)?)),
        };
        Some(Self { name, plan })
    }

    /// Which it is.
    pub(crate) fn name(&self) -> KernelName {
        self.name
    }

    /// Bytes held besides the ensemble.
    pub(crate) fn bytes(&self) -> usize {
        match &self.plan {
            None => 0,
            Some(Plan::Narrow(ranked)) => ranked.bytes(),
            Some(Plan::Wide(ranked)) => ranked.bytes(),
        }
    }

    /// Adds the leaves that each row reaches to its sums.
    ///
    /// `rows` is `n × features`, prepared by [`Ensemble::prepare`]; `sums` is `n × groups` and holds what the
    /// sums begin with.
    pub(crate) fn add_leaves<T: Real>(
        &self,
        ensemble: &Ensemble<T>,
        rows: &[T],
        sums: &mut [T],
        work: &mut Work,
    ) {
        let Some(ranked) = self.plan.as_ref().and_then(T::ranked) else {
            return scalar::add_leaves(ensemble, rows, sums);
        };
        match self.name {
            KernelName::Scalar => scalar::add_leaves(ensemble, rows, sums),
            KernelName::Lockstep => lockstep::add_leaves(ranked, ensemble, rows, sums, work),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a kernel is only made where it is available.
            KernelName::Avx2 => unsafe { avx2::add_leaves(ranked, ensemble, rows, sums, work) },
            #[cfg(not(target_arch = "x86_64"))]
            KernelName::Avx2 => lockstep::add_leaves(ranked, ensemble, rows, sums, work),
        }
    }
}
