//! Exit indices of a block's trees, with AVX2.
//!
//! At each level the lanes are at different nodes. The predicates of the lanes are *blended* from the lines
//! of the level by the earlier decisions, the first decision first, so that only the last blend waits for the
//! previous level. The bins of the columns are looked up by byte shuffles, sixteen columns each, and one
//! comparison decides.
//!
//! All functions are inlined into `add_leaves` and compiled for AVX2 there. A function with its own target
//! feature would be called instead (measured: twice the instructions).

use std::arch::x86_64::{
    __m256i, _mm_loadu_si128, _mm256_add_epi8, _mm256_and_si256, _mm256_andnot_si256, _mm256_blendv_epi8,
    _mm256_broadcastsi128_si256, _mm256_cmpeq_epi8, _mm256_load_si256, _mm256_max_epu8, _mm256_set1_epi8,
    _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_slli_epi16, _mm256_storeu_si256,
};

use crate::kernel::binned::leaf_sum::ExitIndices;
use crate::kernel::binned::tree_block::{LANES, PredicateLine, PreorderStep};

/// The first bins of a row, sixteen per vector, in both halves.
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

    /// Looks up the bins of 32 columns.
    #[inline(always)]
    unsafe fn look_up(&self, columns: __m256i) -> __m256i {
        // SAFETY: the CPU has AVX2.
        unsafe {
            // A shuffle gives 0 where the highest bit is set, which happens only with the largest tables.
            let within = if N > 8 {
                _mm256_and_si256(columns, _mm256_set1_epi8(15))
            } else {
                columns
            };
            let mut found = self.0;
            for found in &mut found {
                *found = _mm256_shuffle_epi8(*found, within);
            }
            // A blend uses the highest bit of a byte. Shift the bits that select a table there one by one.
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
        /// Blends by the first decisions: the lanes in `left` take the line at `at`, the others the line
        /// `step` further, as the remaining decisions need it.
        #[inline(always)]
        unsafe fn $name<const LEVEL: usize>(at: *const __m256i, left: &[__m256i; 6]) -> __m256i {
            // SAFETY: a level has a line for each of its 2^LEVEL positions.
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
    // SAFETY: a line is two vectors long and aligned to its length.
    unsafe { _mm256_load_si256(at) }
}
blend!(blend1, blend0, 1);
blend!(blend2, blend1, 2);
blend!(blend3, blend2, 3);
blend!(blend4, blend3, 4);
blend!(blend5, blend4, 5);

/// Evaluates complete upper levels.
#[inline(always)]
pub(super) unsafe fn complete<const N: usize>(
    lines: *const PredicateLine,
    levels: usize,
    bins: *const u8,
) -> ExitIndices {
    // SAFETY: the caller guarantees the lines of all levels, and that the CPU has AVX2.
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

/// Returns the lanes that go left: those whose bin is no greater than the predicate's.
#[inline(always)]
unsafe fn goes_left(values: __m256i, bounds: __m256i) -> __m256i {
    // SAFETY: the CPU has AVX2.
    unsafe { _mm256_cmpeq_epi8(_mm256_max_epu8(values, bounds), bounds) }
}

/// Moves exit indices one level down: doubled, plus one on the right.
#[inline(always)]
unsafe fn next(exits: __m256i, left: __m256i) -> __m256i {
    // SAFETY: the CPU has AVX2.
    unsafe {
        let right = _mm256_add_epi8(left, _mm256_set1_epi8(1));
        _mm256_add_epi8(_mm256_add_epi8(exits, exits), right)
    }
}

#[inline(always)]
unsafe fn stored(exits: __m256i) -> ExitIndices {
    let mut out = [0u8; LANES];
    // SAFETY: the CPU has AVX2, and there is room for a vector.
    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), exits) };
    out
}

/// Evaluates oblivious upper levels, one line per level.
#[inline(always)]
pub(super) unsafe fn oblivious<const N: usize>(lines: &[PredicateLine], bins: *const u8) -> ExitIndices {
    // SAFETY: the CPU has AVX2; lines are aligned to their length.
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

/// Evaluates trees step by step in preorder.
#[inline(always)]
pub(super) unsafe fn preorder<const N: usize>(steps: &[PreorderStep], bins: *const u8) -> ExitIndices {
    // SAFETY: the CPU has AVX2; what is loaded is aligned to half a cache line.
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
