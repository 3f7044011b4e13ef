//! What kernels need from a float, among it the entry points to the binned and the bit-sliced kernel. These are not generic,
//! so that this crate compiles each kernel once per float. Generic functions would be compiled again in every crate that
//! predicts: 1 MB of code for each.

#[cfg(target_arch = "x86_64")]
use super::binned::BinnedKernel;
use super::bit_sliced::{BitSlicedKernel, BufferLine};
use super::isa;
#[cfg(target_arch = "x86_64")]
use super::isa::avx2::CountPassed as IsaFloat;
use super::ordered_key::OrderedFloat;
use crate::ensemble::Ensemble;
use crate::number::Real;

/// What an instruction set needs from a float: nothing on this CPU.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) trait IsaFloat {}
#[cfg(not(target_arch = "x86_64"))]
impl<T> IsaFloat for T {}

/// What kernels need from a float beyond arithmetic.
pub(crate) trait KernelFloat: Real + OrderedFloat + IsaFloat {
    /// Adds the leaves that each row reaches to its sums, with the binned kernel.
    ///
    /// # Safety
    /// AVX2 is available.
    #[cfg(target_arch = "x86_64")]
    unsafe fn binned(
        binned: &BinnedKernel<Self>,
        ensemble: &Ensemble<Self>,
        rows: &[Self],
        sums: &mut [Self],
        bins: &mut Vec<u8>,
    );

    /// Adds the leaves that each row reaches to its sums, with the bit-sliced kernel: in large blocks or in blocks of 64.
    fn bit_sliced(
        bit_sliced: &BitSlicedKernel<Self>,
        ensemble: &Ensemble<Self>,
        rows: &[Self],
        sums: &mut [Self],
        work: &mut Vec<BufferLine>,
        large: bool,
    );
}

macro_rules! kernel_float {
    ($float:ty) => {
        impl KernelFloat for $float {
            #[cfg(target_arch = "x86_64")]
            #[inline(never)]
            unsafe fn binned(
                binned: &BinnedKernel<Self>,
                ensemble: &Ensemble<Self>,
                rows: &[Self],
                sums: &mut [Self],
                bins: &mut Vec<u8>,
            ) {
                // SAFETY: guaranteed by the caller.
                unsafe { isa::avx2::add_leaves(binned, ensemble, rows, sums, bins) }
            }

            #[inline(never)]
            fn bit_sliced(
                bit_sliced: &BitSlicedKernel<Self>,
                ensemble: &Ensemble<Self>,
                rows: &[Self],
                sums: &mut [Self],
                work: &mut Vec<BufferLine>,
                large: bool,
            ) {
                #[cfg(target_arch = "x86_64")]
                if isa::avx2::available() {
                    // SAFETY: just checked.
                    return unsafe { isa::avx2::slice(bit_sliced, ensemble, rows, sums, work, large) };
                }
                isa::portable::slice(bit_sliced, ensemble, rows, sums, work, large);
            }
        }
    };
}

kernel_float!(f32);
kernel_float!(f64);
