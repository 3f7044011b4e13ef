//! The exits of a stand's trees with AVX2.
//!
//! At every level of a complete the lanes have come to different places. What each asks is *blended* from the lines of
//! the level by the decisions so far, the first decision first, so that only the last blend waits for the level
//! before. The bins bounds are then looked up by byte shuffles of sixteen bins each, and one comparison decides.
//!
//! All of it is inlined into `add_leaves` and is compiled for AVX2 there; a function with the feature of its own would
//! be called instead (measured: twice the instructions).

use std::arch::x86_64::{
    __m256i, _mm_loadu_si128, _mm256_add_epi8, _mm256_and_si256, _mm256_andnot_si256, _mm256_blendv_epi8,
    _mm256_broadcastsi128_si256, _mm256_cmpeq_epi8, _mm256_load_si256, _mm256_max_epu8, _mm256_set1_epi8,
    _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_slli_epi16, _mm256_storeu_si256,
};

use crate::kernel::binned::leaf_sum::ExitIndices;
use crate::kernel::binned::tree_block::{LANES, PredicateLine, PreorderStep};

/// The first bins of a row, sixteen in each, twice.
struct BinTables<const N: usize>([__m256i; N]);

impl<const N: usize> BinTables<N> {
    #[inline(always)]
    unsafe fn new(bins: *const u8) -> Self {
        // SAFETY: a row has at least 256 bins.
        unsafe {
            let mut tables = [_mm256_setzero_si256(); N];
            let mut at = 0;
            while at < N {
                tables[at] = _mm256_broadcastsi128_si256(_mm_loadu_si128(bins.add(16 * at).cast()));
                at += 1;
            }
            Self(tables)
        }
    }

    /// What the bins hold.
    #[inline(always)]
    unsafe fn look_up(&self, columns: __m256i) -> __m256i {
        // SAFETY: the machine has AVX2.
        unsafe {
            // A shuffle gives 0 where the complete bit is set, which only the largest tables need.
            let within = if N > 8 {
                _mm256_and_si256(columns, _mm256_set1_epi8(15))
            } else {
                columns
            };
            let mut found = self.0;
            for found in &mut found {
                *found = _mm256_shuffle_epi8(*found, within);
            }
            // A blend looks at the complete bit of a byte: the bits that say which sixteen are moved there one by one.
            let mut left = N;
            let mut choose = _mm256_slli_epi16::<3>(columns);
            while left > 1 {
                left /= 2;
                for at in 0..left {
                    found[at] = _mm256_blendv_epi8(found[2 * at], found[2 * at + 1], choose);
                }
                choose = match left {
                    _ if left == N / 2 => _mm256_slli_epi16::<2>(columns),
                    _ if left == N / 4 => _mm256_slli_epi16::<1>(columns),
                    _ => columns,
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

/// The exits of a stand's complete.
#[inline(always)]
pub(super) unsafe fn complete<const N: usize>(
    lines: *const PredicateLine,
    levels: usize,
    bins: *const u8,
) -> ExitIndices {
    // SAFETY: the caller promises that the lines of all levels are there, and the machine has AVX2.
    unsafe {
        let tables = BinTables::<N>::new(bins);
        let mut left = [_mm256_setzero_si256(); 6];
        let mut exits = _mm256_setzero_si256();
        macro_rules! level {
            ($level:literal, $blend:ident) => {
                if levels > $level {
                    let line = lines.add((1 << $level) - 1).cast::<__m256i>();
                    let values = tables.look_up($blend::<$level>(line, &left));
                    let bounds = $blend::<$level>(line.add(1), &left);
                    left[$level] = goes_left(values, bounds);
                    exits = next(exits, left[$level]);
                }
            };
        }
        level!(0, blend0);
        level!(1, blend1);
        level!(2, blend2);
        level!(3, blend3);
        level!(4, blend4);
        level!(5, blend5);
        stored(exits)
    }
}

/// The lanes that go left: where the slot holds no more than the rank.
#[inline(always)]
unsafe fn goes_left(values: __m256i, bounds: __m256i) -> __m256i {
    // SAFETY: the machine has AVX2.
    unsafe { _mm256_cmpeq_epi8(_mm256_max_epu8(values, bounds), bounds) }
}

/// ExitIndices a level further down: twice what they were, and one more on the right.
#[inline(always)]
unsafe fn next(exits: __m256i, left: __m256i) -> __m256i {
    // SAFETY: the machine has AVX2.
    unsafe {
        let right = _mm256_add_epi8(left, _mm256_set1_epi8(1));
        _mm256_add_epi8(_mm256_add_epi8(exits, exits), right)
    }
}

#[inline(always)]
unsafe fn stored(exits: __m256i) -> ExitIndices {
    let mut out = [0u8; LANES];
    // SAFETY: the machine has AVX2, and there is room for a vector.
    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), exits) };
    out
}

/// The exits of a stand's complete that has one line for each level.
#[inline(always)]
pub(super) unsafe fn oblivious<const N: usize>(lines: &[PredicateLine], bins: *const u8) -> ExitIndices {
    // SAFETY: the machine has AVX2; lines are aligned to their length.
    unsafe {
        let tables = BinTables::<N>::new(bins);
        let mut exits = _mm256_setzero_si256();
        for line in lines {
            let values = tables.look_up(_mm256_load_si256(line.columns.as_ptr().cast()));
            let bounds = _mm256_load_si256(line.bins.as_ptr().cast());
            exits = next(exits, goes_left(values, bounds));
        }
        stored(exits)
    }
}

/// The exits of a stand whose splits come one after the other.
#[inline(always)]
pub(super) unsafe fn preorder<const N: usize>(steps: &[PreorderStep], bins: *const u8) -> ExitIndices {
    // SAFETY: the machine has AVX2; what is loaded is aligned to half a cache line.
    unsafe {
        let tables = BinTables::<N>::new(bins);
        let mut place = _mm256_setzero_si256();
        for step in steps {
            let values = tables.look_up(_mm256_load_si256(step.predicates.columns.as_ptr().cast()));
            let bounds = _mm256_load_si256(step.predicates.bins.as_ptr().cast());
            let left = goes_left(values, bounds);
            let here = _mm256_cmpeq_epi8(place, _mm256_load_si256(step.from.as_ptr().cast()));
            let to = _mm256_load_si256(step.to.as_ptr().cast());
            place = _mm256_blendv_epi8(place, to, _mm256_andnot_si256(left, here));
        }
        stored(place)
    }
}
