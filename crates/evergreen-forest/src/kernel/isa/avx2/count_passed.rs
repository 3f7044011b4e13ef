//! Comparisons of numbers with thresholds, with AVX2.
//!
//! There are no closures between `add_leaves` and the intrinsics: a closure is compiled without AVX2, so what
//! it calls would not be inlined.

use std::arch::x86_64::{
    __m256, __m256d, _CMP_GE_OQ, _CMP_GT_OQ, _CMP_LE_OQ, _CMP_LT_OQ, _CMP_UNORD_Q, _mm256_castpd_ps,
    _mm256_castps_si256, _mm256_cmp_pd, _mm256_cmp_ps, _mm256_loadu_pd, _mm256_loadu_ps,
    _mm256_movemask_epi8, _mm256_movemask_pd, _mm256_movemask_ps, _mm256_packs_epi16, _mm256_packs_epi32,
    _mm256_set1_pd, _mm256_set1_ps, _pext_u32,
};

use crate::kernel::threshold_search::HALF;

/// Floats that AVX2 compares with sixteen thresholds at a time.
pub(crate) trait CountPassed: Sized {
    /// Counts the thresholds of a block that `x` has passed: those `<= x`, or those `< x` if `strictly`.
    ///
    /// # Safety
    /// The CPU has AVX2 and POPCNT; `N` is [`BLOCK`](crate::kernel::threshold_search::BLOCK) or [`HALF`].
    unsafe fn count_passed<const N: usize>(block: &[Self; N], x: Self, strictly: bool) -> u32;

    /// Returns which of 32 numbers have passed a threshold. Bit `i` belongs to number `number_of_bit(i)`.
    ///
    /// # Safety
    /// The CPU has AVX2 and BMI2; `numbers` points at 32 numbers.
    unsafe fn passed_mask(numbers: *const Self, threshold: Self, strictly: bool) -> u32;

    /// Returns which of 32 numbers are NaN, in the same bit order.
    ///
    /// # Safety
    /// The CPU has AVX2 and BMI2; `numbers` points at 32 numbers.
    unsafe fn missing_mask(numbers: *const Self) -> u32;

    /// Returns the number that a bit belongs to. Packing works within the halves of a vector.
    fn number_of_bit(bit: usize) -> usize;
}

/// Packs four masks of eight comparisons into 32 bits.
#[inline(always)]
unsafe fn pack(masks: [__m256; 4]) -> u32 {
    // SAFETY: the CPU has AVX2.
    unsafe {
        let [a, b, c, d] = [
            _mm256_castps_si256(masks[0]),
            _mm256_castps_si256(masks[1]),
            _mm256_castps_si256(masks[2]),
            _mm256_castps_si256(masks[3]),
        ];
        let (low, high) = (_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
        _mm256_movemask_epi8(_mm256_packs_epi16(low, high)).cast_unsigned()
    }
}

/// Packs eight masks of four comparisons into 32 bits.
#[inline(always)]
unsafe fn pack_pairs(masks: [__m256d; 8]) -> u32 {
    // SAFETY: the CPU has AVX2 and BMI2.
    unsafe {
        let [a, b, c, d, e, f, g, h] = masks;
        // A mask of eight bytes is treated as two of four.
        let low = pack([
            _mm256_castpd_ps(a),
            _mm256_castpd_ps(b),
            _mm256_castpd_ps(c),
            _mm256_castpd_ps(d),
        ]);
        let high = pack([
            _mm256_castpd_ps(e),
            _mm256_castpd_ps(f),
            _mm256_castpd_ps(g),
            _mm256_castpd_ps(h),
        ]);
        _pext_u32(low, 0x5555_5555) | _pext_u32(high, 0x5555_5555) << 16
    }
}

impl CountPassed for f32 {
    #[inline(always)]
    unsafe fn passed_mask(numbers: *const Self, threshold: Self, strictly: bool) -> u32 {
        // SAFETY: the caller guarantees the ISA and the numbers.
        unsafe {
            let threshold = _mm256_set1_ps(threshold);
            let mut masks = [threshold; 4];
            let mut at = 0;
            while at < 4 {
                let numbers = _mm256_loadu_ps(numbers.add(8 * at));
                masks[at] = if strictly {
                    _mm256_cmp_ps::<_CMP_LT_OQ>(threshold, numbers)
                } else {
                    _mm256_cmp_ps::<_CMP_LE_OQ>(threshold, numbers)
                };
                at += 1;
            }
            pack(masks)
        }
    }

    #[inline(always)]
    unsafe fn missing_mask(numbers: *const Self) -> u32 {
        // SAFETY: the caller guarantees the ISA and the numbers.
        unsafe {
            let mut masks = [_mm256_set1_ps(0.0); 4];
            let mut at = 0;
            while at < 4 {
                let numbers = _mm256_loadu_ps(numbers.add(8 * at));
                masks[at] = _mm256_cmp_ps::<_CMP_UNORD_Q>(numbers, numbers);
                at += 1;
            }
            pack(masks)
        }
    }

    #[inline(always)]
    fn number_of_bit(bit: usize) -> usize {
        (bit % 16) / 4 * 8 + bit / 16 * 4 + bit % 4
    }

    #[inline(always)]
    unsafe fn count_passed<const N: usize>(block: &[Self; N], x: Self, strictly: bool) -> u32 {
        // SAFETY: the CPU has AVX2 and POPCNT; a block is one vector of eight, or two.
        unsafe {
            let x = _mm256_set1_ps(x);
            let low = passed_eight(block.as_ptr(), x, strictly);
            if N == HALF {
                return _mm256_movemask_ps(low).cast_unsigned().count_ones();
            }
            let high = passed_eight(block.as_ptr().add(HALF), x, strictly);
            let both = _mm256_packs_epi32(_mm256_castps_si256(low), _mm256_castps_si256(high));
            // Each comparison gives two bits.
            _mm256_movemask_epi8(both).count_ones() / 2
        }
    }
}

/// Compares eight thresholds with a number. The number is the first operand, because the second can be read
/// from memory.
#[inline(always)]
unsafe fn passed_eight(thresholds: *const f32, x: __m256, strictly: bool) -> __m256 {
    // SAFETY: the CPU has AVX2; the caller points at eight thresholds.
    unsafe {
        let thresholds = _mm256_loadu_ps(thresholds);
        if strictly {
            _mm256_cmp_ps::<_CMP_GT_OQ>(x, thresholds)
        } else {
            _mm256_cmp_ps::<_CMP_GE_OQ>(x, thresholds)
        }
    }
}

impl CountPassed for f64 {
    #[inline(always)]
    unsafe fn passed_mask(numbers: *const Self, threshold: Self, strictly: bool) -> u32 {
        // SAFETY: the caller guarantees the ISA and the numbers.
        unsafe {
            let threshold = _mm256_set1_pd(threshold);
            let mut masks = [threshold; 8];
            let mut at = 0;
            while at < 8 {
                let numbers = _mm256_loadu_pd(numbers.add(4 * at));
                masks[at] = if strictly {
                    _mm256_cmp_pd::<_CMP_LT_OQ>(threshold, numbers)
                } else {
                    _mm256_cmp_pd::<_CMP_LE_OQ>(threshold, numbers)
                };
                at += 1;
            }
            pack_pairs(masks)
        }
    }

    #[inline(always)]
    unsafe fn missing_mask(numbers: *const Self) -> u32 {
        // SAFETY: the caller guarantees the ISA and the numbers.
        unsafe {
            let mut masks = [_mm256_set1_pd(0.0); 8];
            let mut at = 0;
            while at < 8 {
                let numbers = _mm256_loadu_pd(numbers.add(4 * at));
                masks[at] = _mm256_cmp_pd::<_CMP_UNORD_Q>(numbers, numbers);
                at += 1;
            }
            pack_pairs(masks)
        }
    }

    #[inline(always)]
    fn number_of_bit(bit: usize) -> usize {
        let (half, bit) = (bit / 16, bit % 16);
        16 * half + (bit % 8) / 2 * 4 + bit / 8 * 2 + bit % 2
    }

    #[inline(always)]
    unsafe fn count_passed<const N: usize>(block: &[Self; N], x: Self, strictly: bool) -> u32 {
        // SAFETY: the CPU has AVX2 and POPCNT; vectors of four make a block.
        unsafe {
            let x = _mm256_set1_pd(x);
            let mut bits = 0;
            let mut at = 0;
            while at < N {
                let thresholds = _mm256_loadu_pd(block.as_ptr().add(at));
                let mask = if strictly {
                    _mm256_cmp_pd::<_CMP_GT_OQ>(x, thresholds)
                } else {
                    _mm256_cmp_pd::<_CMP_GE_OQ>(x, thresholds)
                };
                bits = bits << 4 | _mm256_movemask_pd(mask).cast_unsigned();
                at += 4;
            }
            bits.count_ones()
        }
    }
}
