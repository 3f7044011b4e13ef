//! Vectors of one row, with a lane for each quadrature node of a pass: half an AVX2 vector.
//!
//! One row fills an eighth of a vector of rows. Its nodes fill most of this one, and take one operation together.

use std::arch::x86_64::{
    __m128, _mm_add_ps, _mm_and_ps, _mm_andnot_ps, _mm_blendv_ps, _mm_castsi128_ps, _mm_div_ps, _mm_fmadd_ps,
    _mm_fnmadd_ps, _mm_load_ps, _mm_mul_ps, _mm_set1_epi32, _mm_set1_ps, _mm_store_ps, _mm_sub_ps,
};
use std::ops::{Add, Div, Mul, Sub};

use super::avx2::arithmetic;
use super::{BinLine, LaneIsa, Lanes, Line, PerNode};

/// Proof that the CPU has AVX2 and FMA. The row is the first one of each line of bins.
#[derive(Clone, Copy)]
pub(in crate::contributions) struct NodeIsa(());

impl NodeIsa {
    /// # Safety
    /// The CPU has AVX2 and FMA.
    #[inline(always)]
    pub(in crate::contributions) unsafe fn new() -> Self {
        Self(())
    }
}

/// A vector. Only [`NodeIsa`] makes one from other data, so whoever holds one runs on a CPU with AVX2 and FMA.
#[derive(Clone, Copy)]
pub(in crate::contributions) struct NodeLanes(__m128);

impl LaneIsa for NodeIsa {
    type Lanes = NodeLanes;
    type Packed = PerNode;

    #[inline(always)]
    fn splat(self, x: f32) -> NodeLanes {
        // SAFETY: `self` proves the ISA.
        NodeLanes(unsafe { _mm_set1_ps(x) })
    }

    #[inline(always)]
    fn nodes<const Q: usize>(self, numbers: &PerNode) -> [NodeLanes; Q] {
        const { assert!(Q == 1, "all nodes are in one vector") };
        // SAFETY: `self` proves the ISA; the numbers are a vector long and aligned to it.
        [NodeLanes(unsafe { _mm_load_ps(numbers.0.as_ptr()) }); Q]
    }

    #[inline(always)]
    fn load(self, line: &Line) -> NodeLanes {
        // SAFETY: `self` proves the ISA; a line is longer than a vector and aligned to it.
        NodeLanes(unsafe { _mm_load_ps(line.0.as_ptr()) })
    }

    #[inline(always)]
    fn unpack(self, packed: &PerNode) -> NodeLanes {
        // SAFETY: `self` proves the ISA; the numbers are a vector long and aligned to it.
        NodeLanes(unsafe { _mm_load_ps(packed.0.as_ptr()) })
    }

    #[inline(always)]
    fn pack(self, lanes: NodeLanes, packed: &mut PerNode) {
        // SAFETY: `self` proves the ISA; the numbers are a vector long and aligned to it.
        unsafe { _mm_store_ps(packed.0.as_mut_ptr(), lanes.0) };
    }

    #[inline(always)]
    fn greater(self, bins: &BinLine, bound: i32, flip: i32) -> NodeLanes {
        let mask = -i32::from(bins.0[0] > bound) ^ flip;
        // SAFETY: `self` proves the ISA.
        NodeLanes(unsafe { _mm_castsi128_ps(_mm_set1_epi32(mask)) })
    }
}

arithmetic!(NodeLanes: _mm_add_ps _mm_sub_ps _mm_mul_ps _mm_div_ps _mm_fmadd_ps _mm_fnmadd_ps
    _mm_blendv_ps _mm_and_ps _mm_andnot_ps _mm_store_ps);
