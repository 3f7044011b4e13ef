//! The level kernel: explains one row, eight splits at a time, with AVX2 and FMA.
//!
//! The recurrence is that of [`lane_walk`](super::lane_walk). The constants follow from `v` alone: `p = v (1 - v) / (t u)`,
//! which is 1 where no earlier split tests the feature and 0 where one has lost the row (`v = 1`). A lane carries the
//! turns of its path as bits, so that a split on a repeated feature knows whether the row is still there.

use std::arch::x86_64::{
    __m256, __m256i, _mm_loadl_epi64, _mm256_and_si256, _mm256_andnot_ps, _mm256_andnot_si256,
    _mm256_blendv_ps, _mm256_castps_si256, _mm256_castsi256_ps, _mm256_cmpeq_epi32, _mm256_cmpgt_epi32,
    _mm256_cvtepi8_epi32, _mm256_fmadd_ps, _mm256_fnmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256,
    _mm256_mul_ps, _mm256_or_si256, _mm256_permutevar8x32_ps, _mm256_set1_epi32, _mm256_set1_ps,
    _mm256_setr_epi32, _mm256_setzero_ps, _mm256_storeu_ps, _mm256_sub_ps,
};

use crate::contributions::lanes::{LANES, avx2};
use crate::contributions::level_layout::{LEVEL_NODES, LevelChunk, LevelLayout, LevelRule, LevelVector};

/// Working memory, grown on first use.
#[derive(Debug, Default)]
pub(super) struct LevelBuffers {
    /// The bins of the row.
    pub(super) bins: Vec<i32>,
    /// The contributions, by column.
    sums: Vec<f64>,
    lanes: Vec<f32>,
}

/// Working memory of a chunk: arrays with a number for each split, in level order.
struct ChunkLanes {
    /// `A`, one array for each node.
    a: *mut f32,
    /// `B` likewise.
    b: *mut f32,
    /// The turns of the path: bit `d` is set if the row goes along at level `d`.
    turns: *mut f32,
    /// Whether the row goes right.
    right: *mut f32,
    /// Length of an array.
    stride: usize,
    bins: *const i32,
    sums: *mut f64,
}

/// Returns whether the kernel takes leaves of `outputs` numbers and bins of `columns` columns, on this CPU.
pub(super) fn fits(outputs: usize, columns: usize) -> bool {
    outputs == 1 && columns <= 1 << 16 && avx2::available()
}

/// Adds the contributions of one row. `buffers.bins` holds its bins, one per column of the layout. `add(group, column, sum)`
/// takes the sums.
///
/// # Safety
/// The kernel [`fits`], and `buffers.bins` is longer than every column of the layout.
pub(super) unsafe fn add_row(
    layout: &LevelLayout,
    buffers: &mut LevelBuffers,
    mut add: impl FnMut(usize, usize, f64),
) {
    let LevelBuffers { bins, sums, lanes } = buffers;
    // A vector may write a whole vector from the last place on.
    let stride = (layout.most_vectors + 2) * LANES;
    if lanes.len() < stride * (2 * LEVEL_NODES + 2) {
        lanes.resize(stride * (2 * LEVEL_NODES + 2), 0.0);
    }
    sums.clear();
    sums.resize(bins.len(), 0.0);
    for (at, chunk) in layout.chunks.iter().enumerate() {
        let start = lanes.as_mut_ptr();
        // SAFETY: the arrays are within `lanes`; the caller guarantees the ISA and the columns.
        unsafe {
            let array = |number: usize| start.add(number * stride);
            let lanes = ChunkLanes {
                a: array(0),
                b: array(LEVEL_NODES),
                turns: array(2 * LEVEL_NODES),
                right: array(2 * LEVEL_NODES + 1),
                stride,
                bins: bins.as_ptr(),
                sums: sums.as_mut_ptr(),
            };
            for (pass, rule) in chunk.rules.iter().enumerate() {
                let first = chunk.first_factor + pass * chunk.repeats * chunk.nodes;
                let factors = &layout.factors[first..first + chunk.repeats * chunk.nodes];
                let vectors = &layout.vectors[chunk.first_vector..];
                match chunk.nodes {
                    2 => evaluate::<2>(chunk, vectors, rule, factors, &lanes),
                    3 => evaluate::<3>(chunk, vectors, rule, factors, &lanes),
                    4 => evaluate::<4>(chunk, vectors, rule, factors, &lanes),
                    5 => evaluate::<5>(chunk, vectors, rule, factors, &lanes),
                    6 => evaluate::<6>(chunk, vectors, rule, factors, &lanes),
                    7 => evaluate::<7>(chunk, vectors, rule, factors, &lanes),
                    _ => evaluate::<8>(chunk, vectors, rule, factors, &lanes),
                }
            }
        }
        if layout
            .chunks
            .get(at + 1)
            .is_none_or(|next| next.group != chunk.group)
        {
            for (column, sum) in sums.iter_mut().enumerate() {
                add(chunk.group, column, std::mem::take(sum));
            }
        }
    }
}

/// Adds the contributions of a chunk, for one pass of `Q` quadrature nodes.
///
/// # Safety
/// The chunk's vectors begin `vectors`, `factors` are those of the pass, and `lanes` is large enough for both.
#[target_feature(enable = "avx2,fma")]
unsafe fn evaluate<const Q: usize>(
    chunk: &LevelChunk,
    vectors: &[LevelVector],
    rule: &LevelRule,
    factors: &[[f32; LANES]],
    lanes: &ChunkLanes,
) {
    let zero = _mm256_setzero_ps();
    for at in (0..chunk.roots).step_by(LANES) {
        for node in 0..Q {
            // SAFETY: the arrays hold the roots of the chunk, padded.
            unsafe {
                _mm256_storeu_ps(
                    lanes.a.add(node * lanes.stride + at),
                    _mm256_set1_ps(rule.weight[node]),
                )
            };
        }
        // SAFETY: as above.
        unsafe { _mm256_storeu_ps(lanes.turns.add(at), zero) };
    }
    let mut done = 0;
    let mut factor = 0;
    for (level, size) in chunk.levels.iter().enumerate() {
        let turn = _mm256_set1_epi32(1 << level);
        let mut to = (done + size.vectors) * LANES;
        for vector in &vectors[done..done + size.vectors] {
            let at = done * LANES;
            // SAFETY: the places of the vector and of its children are within the arrays; its columns are those of the
            // bins.
            unsafe {
                let split = SplitLanes::new(vector, decide(vector, lanes));
                _mm256_storeu_ps(lanes.right.add(at), split.right);
                let v = v::<Q>(vector, rule, &factors[factor..], lanes, at);
                if vector.counts == [0, 0] {
                    leave::<Q>(vector, rule, &split, &v, lanes, (at, to));
                } else {
                    enter::<Q>(vector, &split, &v, turn, lanes, (at, to));
                    to += children(vector);
                }
            }
            factor += if vector.repeats { Q } else { 0 };
            done += 1;
        }
    }
    // Upwards, from the end of each level.
    let mut below = 0;
    for size in chunk.levels.iter().rev() {
        let mut to = done * LANES + below;
        for vector in vectors[done - size.vectors..done].iter().rev() {
            done -= 1;
            let at = done * LANES;
            factor -= if vector.repeats { Q } else { 0 };
            if vector.counts == [0, 0] {
                continue;
            }
            to -= children(vector);
            // SAFETY: as above; the children have written what is read.
            unsafe {
                let split = SplitLanes::new(vector, _mm256_loadu_ps(lanes.right.add(at)));
                let v = v::<Q>(vector, rule, &factors[factor..], lanes, at);
                leave::<Q>(vector, rule, &split, &v, lanes, (at, to));
            }
        }
        below = size.splits;
    }
}

/// Returns the number of children that are splits.
#[inline]
fn children(vector: &LevelVector) -> usize {
    usize::from(vector.counts[0]) + usize::from(vector.counts[1])
}

/// Eight splits at the row.
struct SplitLanes {
    /// Whether the row goes right.
    right: __m256,
    /// The share of the side not taken: positive where the row goes left, negative elsewhere.
    lost: __m256,
}

impl SplitLanes {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn new(vector: &LevelVector, right: __m256) -> Self {
        let left = _mm256_andnot_ps(right, _mm256_set1_ps(1.0));
        Self {
            right,
            lost: _mm256_sub_ps(left, load(&vector.shares)),
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn load(lanes: &[f32; LANES]) -> __m256 {
    // SAFETY: the array is a vector long.
    unsafe { _mm256_loadu_ps(lanes.as_ptr()) }
}

/// Reads eight numbers of a byte, with their sign.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn load_bytes(bytes: &[u8; LANES]) -> __m256i {
    // SAFETY: the array has the eight bytes that are read.
    _mm256_cvtepi8_epi32(unsafe { _mm_loadl_epi64(bytes.as_ptr().cast()) })
}

/// Returns where the row goes right.
///
/// # Safety
/// The columns of the vector are those of the bins.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn decide(vector: &LevelVector, lanes: &ChunkLanes) -> __m256 {
    // Eight reads take less time than a gather on the CPUs that were measured.
    // SAFETY: the caller guarantees the columns; the bounds are a vector long.
    unsafe {
        let [a, b, c, d, e, f, g, h] = vector.columns.map(|column| *lanes.bins.add(usize::from(column)));
        let bins = _mm256_setr_epi32(a, b, c, d, e, f, g, h);
        let bounds = _mm256_loadu_si256(vector.bounds.as_ptr().cast());
        _mm256_castsi256_ps(_mm256_cmpgt_epi32(bins, bounds))
    }
}

/// Returns `v` at each quadrature node.
///
/// # Safety
/// `at` is the place of the vector within the arrays.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn v<const Q: usize>(
    vector: &LevelVector,
    rule: &LevelRule,
    factors: &[[f32; LANES]],
    lanes: &ChunkLanes,
    at: usize,
) -> [__m256; Q] {
    let one = _mm256_set1_ps(1.0);
    let mut v = [one; Q];
    if vector.repeats {
        // SAFETY: guaranteed by the caller.
        let kept = unsafe {
            let turns = _mm256_loadu_si256(lanes.turns.add(at).cast());
            let needed = _mm256_loadu_si256(vector.needed.as_ptr().cast());
            _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(turns, needed), needed))
        };
        for (v, factor) in v.iter_mut().zip(factors) {
            *v = _mm256_blendv_ps(one, load(factor), kept);
        }
    } else {
        for (v, u) in v.iter_mut().zip(rule.u) {
            *v = _mm256_set1_ps(u);
        }
    }
    v
}

/// Passes `A` and the turns on to the children that are splits.
///
/// # Safety
/// `at` and `to` are the places of the vector and of its children within the arrays.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn enter<const Q: usize>(
    vector: &LevelVector,
    split: &SplitLanes,
    v: &[__m256; Q],
    turn: __m256i,
    lanes: &ChunkLanes,
    (at, to): (usize, usize),
) {
    let [pack_left, pack_right] = [load_bytes(&vector.packs[0]), load_bytes(&vector.packs[1])];
    let to_right = to + usize::from(vector.counts[0]);
    // |lost|, without its sign.
    let lost = _mm256_andnot_ps(_mm256_set1_ps(-0.0), split.lost);
    // SAFETY: guaranteed by the caller.
    unsafe {
        for (node, v) in v.iter().enumerate() {
            let array = lanes.a.add(node * lanes.stride);
            let a = _mm256_loadu_ps(array.add(at));
            let not_taken = _mm256_mul_ps(a, _mm256_mul_ps(lost, *v));
            let taken = _mm256_sub_ps(a, not_taken);
            let left = _mm256_blendv_ps(taken, not_taken, split.right);
            let right = _mm256_blendv_ps(not_taken, taken, split.right);
            _mm256_storeu_ps(array.add(to), _mm256_permutevar8x32_ps(left, pack_left));
            _mm256_storeu_ps(array.add(to_right), _mm256_permutevar8x32_ps(right, pack_right));
        }
        let turns = _mm256_loadu_si256(lanes.turns.add(at).cast());
        let goes_right = _mm256_castps_si256(split.right);
        let left = _mm256_or_si256(turns, _mm256_andnot_si256(goes_right, turn));
        let right = _mm256_or_si256(turns, _mm256_and_si256(goes_right, turn));
        let [left, right] = [_mm256_castsi256_ps(left), _mm256_castsi256_ps(right)];
        _mm256_storeu_ps(lanes.turns.add(to), _mm256_permutevar8x32_ps(left, pack_left));
        _mm256_storeu_ps(
            lanes.turns.add(to_right),
            _mm256_permutevar8x32_ps(right, pack_right),
        );
    }
}

/// Credits the splits, and writes their `B`.
///
/// # Safety
/// As [`enter`]; the children have written their `B`.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn leave<const Q: usize>(
    vector: &LevelVector,
    rule: &LevelRule,
    split: &SplitLanes,
    v: &[__m256; Q],
    lanes: &ChunkLanes,
    (at, to): (usize, usize),
) {
    let [left_leaves, right_leaves] = [load(&vector.leaves[0]), load(&vector.leaves[1])];
    let terminal = vector.counts == [0, 0];
    let mut total = _mm256_setzero_ps();
    for (node, v) in v.iter().enumerate() {
        let (mut left, mut right) = (left_leaves, right_leaves);
        if !terminal {
            let [pick_left, pick_right] = [load_bytes(&vector.picks[0]), load_bytes(&vector.picks[1])];
            // SAFETY: guaranteed by the caller.
            unsafe {
                let below = lanes.b.add(node * lanes.stride + to);
                left = pick(below, pick_left, left);
                right = pick(below.add(usize::from(vector.counts[0])), pick_right, right);
            }
        }
        let d = _mm256_mul_ps(split.lost, _mm256_sub_ps(left, right));
        let taken = _mm256_blendv_ps(left, right, split.right);
        // SAFETY: guaranteed by the caller.
        let a = unsafe { _mm256_loadu_ps(lanes.a.add(node * lanes.stride + at)) };
        if vector.repeats {
            let p = _mm256_mul_ps(_mm256_fnmadd_ps(*v, *v, *v), _mm256_set1_ps(rule.c[node]));
            total = _mm256_fmadd_ps(_mm256_mul_ps(a, p), d, total);
        } else {
            total = _mm256_fmadd_ps(a, d, total);
        }
        let b = _mm256_fnmadd_ps(*v, d, taken);
        // SAFETY: guaranteed by the caller.
        unsafe { _mm256_storeu_ps(lanes.b.add(node * lanes.stride + at), b) };
    }
    let mut sums = [0.0; LANES];
    // SAFETY: the array is a vector long; the columns of the vector are those of the sums.
    unsafe {
        _mm256_storeu_ps(sums.as_mut_ptr(), total);
        for (column, sum) in vector.columns.iter().zip(sums) {
            *lanes.sums.add(usize::from(*column)) += f64::from(sum);
        }
    }
}

/// Returns the numbers of the children that are splits, and of the leaves elsewhere.
///
/// # Safety
/// A vector can be read at `below`.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn pick(below: *const f32, picks: __m256i, leaves: __m256) -> __m256 {
    // SAFETY: guaranteed by the caller.
    let below = unsafe { _mm256_loadu_ps(below) };
    let children = _mm256_permutevar8x32_ps(below, picks);
    // The sign of a pick marks a leaf.
    _mm256_blendv_ps(children, leaves, _mm256_castsi256_ps(picks))
}
