//! Ranked trees with AVX2: one instruction decides for the thirty-two trees of a stand.
//!
//! At every level of a top the lanes have come to different places. What each asks is *blended* from the lines of
//! the level by the decisions so far, the first decision first, so that only the last blend waits for the level
//! before. The slots asked are then looked up by byte shuffles of sixteen slots each, and one comparison decides.

use std::arch::x86_64::{
    __m256, __m256d, __m256i, _CMP_LE_OQ, _CMP_LT_OQ, _CMP_UNORD_Q, _mm_loadu_si128, _mm256_add_epi8,
    _mm256_and_si256, _mm256_blendv_epi8, _mm256_broadcastsi128_si256, _mm256_castpd_ps, _mm256_castps_si256,
    _mm256_cmp_pd, _mm256_cmp_ps, _mm256_cmpeq_epi8, _mm256_load_si256, _mm256_loadu_pd, _mm256_loadu_ps,
    _mm256_max_epu8, _mm256_movemask_epi8, _mm256_movemask_pd, _mm256_packs_epi16, _mm256_packs_epi32,
    _mm256_set1_epi8, _mm256_set1_pd, _mm256_set1_ps, _mm256_setzero_si256, _mm256_shuffle_epi8,
    _mm256_slli_epi16, _mm256_storeu_si256, _pext_u32,
};

use super::super::ensemble::{Comparison, Ensemble};
use super::super::number::Real;
use super::ranked::{Machine, Ranked};
use super::search::BLOCK;
use super::sliced::{Aligned, Sliced};
use super::stand::{LANES, Line};
use super::tail::Exits;

/// Whether this machine has what the kernel needs.
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("popcnt")
}

/// Numbers that can be ranked sixteen at a time.
pub(crate) trait Passed: Sized {
    /// How many of a block's thresholds `x` has passed: those `<= x`, or those `< x` if `strictly`.
    ///
    /// # Safety
    /// The machine has AVX2 and POPCNT.
    unsafe fn passed(block: &[Self; BLOCK], x: Self, strictly: bool) -> u32;

    /// Which of 32 numbers have passed a threshold; bit `i` is for the number at `place(i)`.
    ///
    /// # Safety
    /// The machine has AVX2 and BMI2; there are 32 numbers.
    unsafe fn passing(numbers: *const Self, threshold: Self, strictly: bool) -> u32;

    /// Which of 32 numbers are NaN, in the same order.
    ///
    /// # Safety
    /// The machine has AVX2 and BMI2; there are 32 numbers.
    unsafe fn missing(numbers: *const Self) -> u32;

    /// Where the number of a bit is: packing keeps to the halves of a vector.
    fn place(bit: usize) -> usize;
}

// No closures on the way from `add_leaves` to an instruction: a closure is a function without AVX2, and what it calls
// would not be inlined.

/// Four comparisons of eight as 32 bits.
#[inline(always)]
unsafe fn packed(masks: [__m256; 4]) -> u32 {
    // SAFETY: the machine has AVX2.
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

/// Eight comparisons of four as 32 bits.
#[inline(always)]
unsafe fn packed_pairs(masks: [__m256d; 8]) -> u32 {
    // SAFETY: the machine has AVX2 and BMI2.
    unsafe {
        let [a, b, c, d, e, f, g, h] = masks;
        // A mask of eight bytes is taken for two of four.
        let low = packed([
            _mm256_castpd_ps(a),
            _mm256_castpd_ps(b),
            _mm256_castpd_ps(c),
            _mm256_castpd_ps(d),
        ]);
        let high = packed([
            _mm256_castpd_ps(e),
            _mm256_castpd_ps(f),
            _mm256_castpd_ps(g),
            _mm256_castpd_ps(h),
        ]);
        _pext_u32(low, 0x5555_5555) | _pext_u32(high, 0x5555_5555) << 16
    }
}

impl Passed for f32 {
    #[inline(always)]
    unsafe fn passing(numbers: *const Self, threshold: Self, strictly: bool) -> u32 {
        // SAFETY: the caller vouches for the machine and the numbers.
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
            packed(masks)
        }
    }

    #[inline(always)]
    unsafe fn missing(numbers: *const Self) -> u32 {
        // SAFETY: the caller vouches for the machine and the numbers.
        unsafe {
            let mut masks = [_mm256_set1_ps(0.0); 4];
            let mut at = 0;
            while at < 4 {
                let numbers = _mm256_loadu_ps(numbers.add(8 * at));
                masks[at] = _mm256_cmp_ps::<_CMP_UNORD_Q>(numbers, numbers);
                at += 1;
            }
            packed(masks)
        }
    }

    #[inline(always)]
    fn place(bit: usize) -> usize {
        (bit % 16) / 4 * 8 + bit / 16 * 4 + bit % 4
    }

    #[inline(always)]
    unsafe fn passed(block: &[Self; BLOCK], x: Self, strictly: bool) -> u32 {
        // SAFETY: the machine has AVX2; two vectors of eight make a block.
        unsafe {
            let x = _mm256_set1_ps(x);
            let low = _mm256_loadu_ps(block.as_ptr());
            let high = _mm256_loadu_ps(block.as_ptr().add(8));
            let (low, high) = if strictly {
                (
                    _mm256_cmp_ps::<_CMP_LT_OQ>(low, x),
                    _mm256_cmp_ps::<_CMP_LT_OQ>(high, x),
                )
            } else {
                (
                    _mm256_cmp_ps::<_CMP_LE_OQ>(low, x),
                    _mm256_cmp_ps::<_CMP_LE_OQ>(high, x),
                )
            };
            let both = _mm256_packs_epi32(_mm256_castps_si256(low), _mm256_castps_si256(high));
            // Two bits for each.
            _mm256_movemask_epi8(both).count_ones() / 2
        }
    }
}

impl Passed for f64 {
    #[inline(always)]
    unsafe fn passing(numbers: *const Self, threshold: Self, strictly: bool) -> u32 {
        // SAFETY: the caller vouches for the machine and the numbers.
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
            packed_pairs(masks)
        }
    }

    #[inline(always)]
    unsafe fn missing(numbers: *const Self) -> u32 {
        // SAFETY: the caller vouches for the machine and the numbers.
        unsafe {
            let mut masks = [_mm256_set1_pd(0.0); 8];
            let mut at = 0;
            while at < 8 {
                let numbers = _mm256_loadu_pd(numbers.add(4 * at));
                masks[at] = _mm256_cmp_pd::<_CMP_UNORD_Q>(numbers, numbers);
                at += 1;
            }
            packed_pairs(masks)
        }
    }

    #[inline(always)]
    fn place(bit: usize) -> usize {
        let (half, bit) = (bit / 16, bit % 16);
        16 * half + (bit % 8) / 2 * 4 + bit / 8 * 2 + bit % 2
    }

    #[inline(always)]
    unsafe fn passed(block: &[Self; BLOCK], x: Self, strictly: bool) -> u32 {
        // SAFETY: the machine has AVX2; four vectors of four make a block.
        unsafe {
            let x = _mm256_set1_pd(x);
            let mut passed = 0;
            let mut at = 0;
            while at < BLOCK {
                let thresholds = _mm256_loadu_pd(block.as_ptr().add(at));
                let mask = if strictly {
                    _mm256_cmp_pd::<_CMP_LT_OQ>(thresholds, x)
                } else {
                    _mm256_cmp_pd::<_CMP_LE_OQ>(thresholds, x)
                };
                passed += _mm256_movemask_pd(mask).count_ones();
                at += 4;
            }
            passed
        }
    }
}

/// Adds the leaves that each row reaches to its sums.
///
/// # Safety
/// The kernel is [`available`].
#[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
pub(super) unsafe fn add_leaves<T: Real>(
    ranked: &Ranked<T>,
    ensemble: &Ensemble<T>,
    rows: &[T],
    sums: &mut [T],
    slots: &mut Vec<u8>,
) {
    macro_rules! with {
        ($tables:literal, $strictly:literal) => {
            // SAFETY: the caller vouches for the machine.
            unsafe { ranked.add_leaves::<Avx2<$tables, $strictly>>(ensemble, rows, sums, slots) }
        };
    }
    let strictly = ranked.ranker.comparison() == Comparison::LessEqual;
    match (ranked.reach.div_ceil(16), strictly) {
        (..=2, false) => with!(2, false),
        (..=2, true) => with!(2, true),
        (..=4, false) => with!(4, false),
        (..=4, true) => with!(4, true),
        (..=8, false) => with!(8, false),
        (..=8, true) => with!(8, true),
        (_, false) => with!(16, false),
        (_, true) => with!(16, true),
    }
}

/// Adds the leaves that each row reaches to its sums, bit by bit.
///
/// # Safety
/// The kernel is [`available`].
#[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
pub(super) unsafe fn slice<T: Real>(
    sliced: &Sliced<T>,
    ensemble: &Ensemble<T>,
    rows: &[T],
    sums: &mut [T],
    work: &mut Vec<Aligned>,
    many: bool,
) {
    // SAFETY: the caller vouches for the machine.
    unsafe {
        match (many, ensemble.comparison) {
            (true, Comparison::Less) => {
                sliced.add_leaves::<__m256i, Avx2<2, false>>(ensemble, rows, sums, work)
            }
            (true, Comparison::LessEqual) => {
                sliced.add_leaves::<__m256i, Avx2<2, true>>(ensemble, rows, sums, work)
            }
            (false, Comparison::Less) => sliced.add_leaves::<u64, Avx2<2, false>>(ensemble, rows, sums, work),
            (false, Comparison::LessEqual) => {
                sliced.add_leaves::<u64, Avx2<2, true>>(ensemble, rows, sums, work)
            }
        }
    }
}

/// The machine, for models whose tops ask up to `16 · N` slots.
struct Avx2<const N: usize, const STRICTLY: bool>;

impl<const N: usize, const STRICTLY: bool> Machine for Avx2<N, STRICTLY> {
    #[inline(always)]
    unsafe fn passed<T: Real>(_: Comparison, block: &[T; BLOCK], x: T) -> u32 {
        // SAFETY: the caller vouches for the machine.
        unsafe { T::passed(block, x, STRICTLY) }
    }

    // Measured: with more the search is quicker.
    const SCANNED: usize = 80;

    #[inline(always)]
    unsafe fn passing<T: Real>(_: Comparison, numbers: *const T, threshold: T) -> u32 {
        // SAFETY: the caller vouches for the machine and the numbers.
        unsafe { T::passing(numbers, threshold, STRICTLY) }
    }

    #[inline(always)]
    unsafe fn missing<T: Real>(numbers: *const T) -> u32 {
        // SAFETY: the caller vouches for the machine and the numbers.
        unsafe { <T as Passed>::missing(numbers) }
    }

    #[inline(always)]
    fn place<T: Real>(bit: usize) -> usize {
        T::place(bit)
    }

    #[inline(always)]
    unsafe fn top(lines: *const Line, levels: usize, slots: *const u8) -> Exits {
        // SAFETY: as the caller promises.
        unsafe { top::<N>(lines, levels, slots) }
    }
}

// What follows is inlined into `add_leaves` and is compiled for AVX2 there; a function with the feature of its own
// would be called instead (measured: twice the instructions).

/// The first slots of a row, sixteen in each, twice.
struct Tables<const N: usize>([__m256i; N]);

impl<const N: usize> Tables<N> {
    #[inline(always)]
    unsafe fn new(slots: *const u8) -> Self {
        // SAFETY: a row has at least 256 slots.
        unsafe {
            let mut tables = [_mm256_setzero_si256(); N];
            let mut at = 0;
            while at < N {
                tables[at] = _mm256_broadcastsi128_si256(_mm_loadu_si128(slots.add(16 * at).cast()));
                at += 1;
            }
            Self(tables)
        }
    }

    /// What the slots hold.
    #[inline(always)]
    unsafe fn look_up(&self, slots: __m256i) -> __m256i {
        // SAFETY: the machine has AVX2.
        unsafe {
            // A shuffle gives 0 where the top bit is set, which only the largest tables need.
            let within = if N > 8 {
                _mm256_and_si256(slots, _mm256_set1_epi8(15))
            } else {
                slots
            };
            let mut found = self.0;
            for found in &mut found {
                *found = _mm256_shuffle_epi8(*found, within);
            }
            // A blend looks at the top bit of a byte: the bits that say which sixteen are moved there one by one.
            let mut left = N;
            let mut choose = _mm256_slli_epi16::<3>(slots);
            while left > 1 {
                left /= 2;
                for at in 0..left {
                    found[at] = _mm256_blendv_epi8(found[2 * at], found[2 * at + 1], choose);
                }
                choose = match left {
                    _ if left == N / 2 => _mm256_slli_epi16::<2>(slots),
                    _ if left == N / 4 => _mm256_slli_epi16::<1>(slots),
                    _ => slots,
                };
            }
            found[0]
        }
    }
}

macro_rules! blend {
    ($name:ident, $above:ident, $decisions:literal) => {
        /// Blends by the first decisions: the lanes of `left` take what lies at `at`, the others what lies as far
        /// behind as the decisions still to come need.
        #[inline(always)]
        unsafe fn $name<const LEVEL: usize>(at: *const __m256i, left: &[__m256i; 6]) -> __m256i {
            // SAFETY: a level has a line for each of its 2^LEVEL places.
            unsafe {
                let step = 2 << (LEVEL - $decisions);
                let (a, b) = (
                    $above::<LEVEL>(at, left),
                    $above::<LEVEL>(at.add(step), left),
                );
                _mm256_blendv_epi8(b, a, left[$decisions - 1])
            }
        }
    };
}

#[inline(always)]
unsafe fn blend0<const LEVEL: usize>(at: *const __m256i, _: &[__m256i; 6]) -> __m256i {
    // SAFETY: lines are aligned to their length, twice that of a vector.
    unsafe { _mm256_load_si256(at) }
}
blend!(blend1, blend0, 1);
blend!(blend2, blend1, 2);
blend!(blend3, blend2, 3);
blend!(blend4, blend3, 4);
blend!(blend5, blend4, 5);

/// The exits of a stand's top.
#[inline(always)]
unsafe fn top<const N: usize>(lines: *const Line, levels: usize, slots: *const u8) -> Exits {
    // SAFETY: the caller promises that the lines of all levels are there, and the machine has AVX2.
    unsafe {
        let tables = Tables::<N>::new(slots);
        let mut left = [_mm256_setzero_si256(); 6];
        let mut exits = _mm256_setzero_si256();
        macro_rules! level {
            ($level:literal, $blend:ident) => {
                if levels > $level {
                    let line = lines.add((1 << $level) - 1).cast::<__m256i>();
                    let held = tables.look_up($blend::<$level>(line, &left));
                    let asked = $blend::<$level>(line.add(1), &left);
                    // Left where the slot holds no more than the rank.
                    left[$level] = _mm256_cmpeq_epi8(_mm256_max_epu8(held, asked), asked);
                    let right = _mm256_add_epi8(left[$level], _mm256_set1_epi8(1));
                    exits = _mm256_add_epi8(_mm256_add_epi8(exits, exits), right);
                }
            };
        }
        level!(0, blend0);
        level!(1, blend1);
        level!(2, blend2);
        level!(3, blend3);
        level!(4, blend4);
        level!(5, blend5);
        let mut out = [0u8; LANES];
        _mm256_storeu_si256(out.as_mut_ptr().cast(), exits);
        out
    }
}
