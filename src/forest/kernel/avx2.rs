//! Ranked trees with AVX2: one instruction decides for the thirty-two trees of a stand.
//!
//! At every level of a top the lanes have come to different places. What each asks is *blended* from the lines of
//! the level by the decisions so far, the first decision first, so that only the last blend waits for the level
//! before. The slots asked are then looked up by byte shuffles of sixteen slots each, and one comparison decides.

use std::arch::x86_64::{
    __m256i, _CMP_LE_OQ, _CMP_LT_OQ, _mm_loadu_si128, _mm256_and_si256, _mm256_andnot_si256,
    _mm256_blendv_epi8, _mm256_broadcastsi128_si256, _mm256_cmp_pd, _mm256_cmp_ps, _mm256_cmpeq_epi8,
    _mm256_load_si256, _mm256_loadu_pd, _mm256_loadu_ps, _mm256_max_epu8, _mm256_movemask_pd,
    _mm256_movemask_ps, _mm256_or_si256, _mm256_set1_epi8, _mm256_set1_pd, _mm256_set1_ps,
    _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_slli_epi16, _mm256_storeu_si256,
};

use super::super::ensemble::{Comparison, Ensemble};
use super::super::number::Real;
use super::ranked::{Ranked, Work};
use super::search::BLOCK;
use super::stand::{LANES, Line};
use super::tail::Exits;

/// Whether this machine has what the kernel needs.
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi2") && is_x86_feature_detected!("popcnt")
}

/// Numbers that can be ranked sixteen at a time.
pub(crate) trait Passed: Sized {
    /// How many of a block's thresholds `x` has passed: those `<= x`, or those `< x` if `strictly`.
    ///
    /// # Safety
    /// The machine has AVX2 and POPCNT.
    unsafe fn passed(block: &[Self; BLOCK], x: Self, strictly: bool) -> u32;
}

impl Passed for f32 {
    #[inline]
    #[target_feature(enable = "avx2,popcnt")]
    unsafe fn passed(block: &[Self; BLOCK], x: Self, strictly: bool) -> u32 {
        let x = _mm256_set1_ps(x);
        let half = |at: usize| {
            // SAFETY: eight numbers from 0 or 8 on are within the block.
            let thresholds = unsafe { _mm256_loadu_ps(block.as_ptr().add(at)) };
            _mm256_movemask_ps(if strictly {
                _mm256_cmp_ps::<_CMP_LT_OQ>(thresholds, x)
            } else {
                _mm256_cmp_ps::<_CMP_LE_OQ>(thresholds, x)
            })
        };
        (half(0) | half(8) << 8).count_ones()
    }
}

impl Passed for f64 {
    #[inline]
    #[target_feature(enable = "avx2,popcnt")]
    unsafe fn passed(block: &[Self; BLOCK], x: Self, strictly: bool) -> u32 {
        let x = _mm256_set1_pd(x);
        let quarter = |at: usize| {
            // SAFETY: four numbers from 0, 4, 8 or 12 on are within the block.
            let thresholds = unsafe { _mm256_loadu_pd(block.as_ptr().add(at)) };
            _mm256_movemask_pd(if strictly {
                _mm256_cmp_pd::<_CMP_LT_OQ>(thresholds, x)
            } else {
                _mm256_cmp_pd::<_CMP_LE_OQ>(thresholds, x)
            })
        };
        (quarter(0) | quarter(4) << 4 | quarter(8) << 8 | quarter(12) << 12).count_ones()
    }
}

/// Adds the leaves that each row reaches to its sums.
///
/// # Safety
/// The kernel is [`available`].
#[target_feature(enable = "avx2,bmi2,popcnt")]
pub(super) unsafe fn add_leaves<T: Real>(
    ranked: &Ranked<T>,
    ensemble: &Ensemble<T>,
    rows: &[T],
    sums: &mut [T],
    work: &mut Work,
) {
    macro_rules! with {
        ($tables:literal, $strictly:literal) => {
            // SAFETY: the caller vouches for the machine; `top` gives 2^levels exits at most.
            unsafe {
                ranked.add_leaves(
                    ensemble,
                    rows,
                    sums,
                    work,
                    |block, x| T::passed(block, x, $strictly),
                    |lines, levels, slots| top::<$tables>(lines, levels, slots),
                )
            }
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

/// The first slots of a row, sixteen in each, twice.
struct Tables<const N: usize>([__m256i; N]);

impl<const N: usize> Tables<N> {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new(slots: *const u8) -> Self {
        let mut tables = [_mm256_setzero_si256(); N];
        for (at, table) in tables.iter_mut().enumerate() {
            // SAFETY: a row has at least 256 slots.
            let slots = unsafe { _mm_loadu_si128(slots.add(16 * at).cast()) };
            *table = _mm256_broadcastsi128_si256(slots);
        }
        Self(tables)
    }

    /// What the slots hold.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn look_up(&self, slots: __m256i) -> __m256i {
        // A shuffle gives 0 where the top bit is set, which only the largest tables need.
        let within = if N > 8 {
            _mm256_and_si256(slots, _mm256_set1_epi8(15))
        } else {
            slots
        };
        let mut found = [_mm256_setzero_si256(); N];
        for (found, table) in found.iter_mut().zip(&self.0) {
            *found = _mm256_shuffle_epi8(*table, within);
        }
        // A blend looks at the top bit of a byte: the bits that say which sixteen are moved there one by one.
        let choosing = [
            _mm256_slli_epi16::<3>(slots),
            _mm256_slli_epi16::<2>(slots),
            _mm256_slli_epi16::<1>(slots),
            slots,
        ];
        let mut left = N;
        for choose in choosing {
            left /= 2;
            for at in 0..left {
                found[at] = _mm256_blendv_epi8(found[2 * at], found[2 * at + 1], choose);
            }
        }
        found[0]
    }
}

/// What the lanes of a level ask: its lines blended by the decisions so far.
struct Level<'a> {
    /// The level's lines.
    lines: &'a [Line],
    /// For each level above, the lanes that went left.
    left: &'a [__m256i],
}

impl Level<'_> {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn load(&self, line: usize, ranks: bool) -> __m256i {
        debug_assert!(line < self.lines.len());
        // SAFETY: a level has a line for every place, and lines are aligned to their length.
        unsafe {
            let line = self.lines.as_ptr().add(line).cast::<__m256i>();
            _mm256_load_si256(line.add(usize::from(ranks)))
        }
    }
}

macro_rules! blend {
    ($name:ident, $above:ident, $decisions:literal) => {
        /// Blends by the first decisions.
        #[inline]
        #[target_feature(enable = "avx2")]
        fn $name(level: &Level<'_>, line: usize, ranks: bool) -> __m256i {
            let step = 1 << (level.left.len() - $decisions);
            let left = $above(level, line, ranks);
            let right = $above(level, line + step, ranks);
            _mm256_blendv_epi8(right, left, level.left[$decisions - 1])
        }
    };
}

#[inline]
#[target_feature(enable = "avx2")]
fn blend0(level: &Level<'_>, line: usize, ranks: bool) -> __m256i {
    level.load(line, ranks)
}
blend!(blend1, blend0, 1);
blend!(blend2, blend1, 2);
blend!(blend3, blend2, 3);
blend!(blend4, blend3, 4);
blend!(blend5, blend4, 5);

/// The exits of a stand's top.
#[inline]
#[target_feature(enable = "avx2")]
fn top<const N: usize>(lines: &[Line], levels: usize, slots: *const u8) -> Exits {
    let tables = Tables::<N>::new(slots);
    let mut left = [_mm256_setzero_si256(); 6];
    let mut exits = _mm256_setzero_si256();
    macro_rules! level {
        ($level:literal, $blend:ident) => {
            if levels > $level {
                let level = Level {
                    lines: &lines[(1 << $level) - 1..],
                    left: &left[..$level],
                };
                let held = tables.look_up($blend(&level, 0, false));
                let asked = $blend(&level, 0, true);
                // Left where the slot holds no more than the rank.
                let decided = _mm256_cmpeq_epi8(_mm256_max_epu8(held, asked), asked);
                left[$level] = decided;
                let bit = _mm256_andnot_si256(decided, _mm256_set1_epi8(1));
                exits = _mm256_or_si256(_mm256_slli_epi16::<1>(exits), bit);
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
    // SAFETY: there are as many bytes as lanes.
    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), exits) };
    out
}
