//! Vectors with AVX2 and FMA.
//!
//! There are no closures between an entry point and the intrinsics: a closure is compiled without AVX2, so what it calls
//! would not be inlined.

#![allow(clippy::needless_range_loop, reason = "iterators are made of closures")]

use std::arch::x86_64::{
    __m256, _mm256_add_ps, _mm256_and_ps, _mm256_andnot_ps, _mm256_blendv_ps, _mm256_castsi256_ps,
    _mm256_cmpgt_epi32, _mm256_div_ps, _mm256_fmadd_ps, _mm256_fnmadd_ps, _mm256_load_ps, _mm256_load_si256,
    _mm256_mul_ps, _mm256_set1_epi32, _mm256_set1_ps, _mm256_store_ps, _mm256_sub_ps, _mm256_xor_si256,
};
use std::ops::{Add, Div, Mul, Sub};

use super::{BinLine, LaneIsa, Lanes, Line, PerNode};

/// Returns whether this CPU has AVX2 and FMA.
pub(in crate::contributions) fn available() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

/// Proof that the CPU has AVX2 and FMA.
#[derive(Clone, Copy)]
pub(in crate::contributions) struct Avx2(());

impl Avx2 {
    /// # Safety
    /// The CPU has AVX2 and FMA.
    #[inline(always)]
    pub(in crate::contributions) unsafe fn new() -> Self {
        Self(())
    }
}

/// A vector. Only [`Avx2`] makes one from other data, so whoever holds one runs on a CPU with AVX2 and FMA.
#[derive(Clone, Copy)]
pub(in crate::contributions) struct Avx2Lanes(__m256);

impl LaneIsa for Avx2 {
    type Lanes = Avx2Lanes;
    type Packed = Line;

    #[inline(always)]
    fn splat(self, x: f32) -> Avx2Lanes {
        // SAFETY: `self` proves the ISA.
        Avx2Lanes(unsafe { _mm256_set1_ps(x) })
    }

    #[inline(always)]
    fn nodes<const Q: usize>(self, numbers: &PerNode) -> [Avx2Lanes; Q] {
        let mut nodes = [self.splat(0.0); Q];
        for at in 0..Q {
            nodes[at] = self.splat(numbers.0[at]);
        }
        nodes
    }

    #[inline(always)]
    fn load(self, line: &Line) -> Avx2Lanes {
        // SAFETY: `self` proves the ISA; a line is a vector long and aligned to it.
        Avx2Lanes(unsafe { _mm256_load_ps(line.0.as_ptr()) })
    }

    #[inline(always)]
    fn unpack(self, packed: &Line) -> Avx2Lanes {
        self.load(packed)
    }

    #[inline(always)]
    fn pack(self, lanes: Avx2Lanes, packed: &mut Line) {
        lanes.store(packed);
    }

    #[inline(always)]
    fn greater(self, bins: &BinLine, bound: i32, flip: i32) -> Avx2Lanes {
        // SAFETY: `self` proves the ISA; a line is a vector long and aligned to it.
        unsafe {
            let bins = _mm256_load_si256(bins.0.as_ptr().cast());
            let mask = _mm256_cmpgt_epi32(bins, _mm256_set1_epi32(bound));
            Avx2Lanes(_mm256_castsi256_ps(_mm256_xor_si256(
                mask,
                _mm256_set1_epi32(flip),
            )))
        }
    }
}

/// The arithmetic of a vector type, given its intrinsics. A vector proves that the CPU has the instructions.
macro_rules! arithmetic {
    ($lanes:ident: $add:ident $sub:ident $mul:ident $div:ident $fmadd:ident $fnmadd:ident $blend:ident $and:ident $andnot:ident $store:ident) => {
        arithmetic!(@operator $lanes, Add, add, $add);
        arithmetic!(@operator $lanes, Sub, sub, $sub);
        arithmetic!(@operator $lanes, Mul, mul, $mul);
        arithmetic!(@operator $lanes, Div, div, $div);

        impl Lanes for $lanes {
            #[inline(always)]
            fn store(self, line: &mut Line) {
                // SAFETY: a vector proves the ISA; a line is at least a vector long and aligned to it.
                unsafe { $store(line.0.as_mut_ptr(), self.0) };
            }

            #[inline(always)]
            fn mul_add(self, by: Self, plus: Self) -> Self {
                // SAFETY: a vector proves the ISA.
                Self(unsafe { $fmadd(self.0, by.0, plus.0) })
            }

            #[inline(always)]
            fn subtract_product(self, by: Self, from: Self) -> Self {
                // SAFETY: a vector proves the ISA.
                Self(unsafe { $fnmadd(self.0, by.0, from.0) })
            }

            #[inline(always)]
            fn choose(self, yes: Self, no: Self) -> Self {
                // SAFETY: a vector proves the ISA.
                Self(unsafe { $blend(no.0, yes.0, self.0) })
            }

            #[inline(always)]
            fn and(self, other: Self) -> Self {
                // SAFETY: a vector proves the ISA.
                Self(unsafe { $and(self.0, other.0) })
            }

            #[inline(always)]
            fn and_not(self, other: Self) -> Self {
                // SAFETY: a vector proves the ISA.
                Self(unsafe { $andnot(self.0, other.0) })
            }
        }
    };
    (@operator $lanes:ident, $operator:ident, $name:ident, $intrinsic:ident) => {
        impl $operator for $lanes {
            type Output = Self;
            #[inline(always)]
            fn $name(self, other: Self) -> Self {
                // SAFETY: a vector proves the ISA.
                Self(unsafe { $intrinsic(self.0, other.0) })
            }
        }
    };
}
pub(super) use arithmetic;

arithmetic!(Avx2Lanes: _mm256_add_ps _mm256_sub_ps _mm256_mul_ps _mm256_div_ps _mm256_fmadd_ps _mm256_fnmadd_ps
    _mm256_blendv_ps _mm256_and_ps _mm256_andnot_ps _mm256_store_ps);
