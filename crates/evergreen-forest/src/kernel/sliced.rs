//! Many rows at once, a bit each: one instruction decides a split for all rows of a block.
//!
//! A block of 64 or 256 rows is first turned into lines of bits, one line for each question that any split asks. Then
//! every tree is a short program of bitwise operations on those lines, whatever way the rows take. What comes out is
//! the number of each row's leaf; leaves are added row by row in the order of the trees.
//!
//! ```text
//! asked   questions -> lines of bits
//! grove   trees -> programs
//! word    sixty-four or more rows
//! ```

mod asked;
mod grove;
mod word;

use super::super::ensemble::Ensemble;
use super::super::number::Real;
use super::machine::Machine;
use asked::{Asked, Sheet, columns};
use grove::{Form, Grove, LEAVES, Planted, Step, TEAM};
pub(super) use word::Word;

/// A model laid out for evaluation bit by bit.
#[derive(Debug)]
pub(crate) struct Sliced<T> {
    asked: Asked<T>,
    grove: Grove<T>,
}

/// Sixty-four bytes that begin at a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Aligned([u64; 8]);

/// Working memory of the trees.
struct Desk<W> {
    lines: *const W,
    /// Rows on their way to a leaf.
    reach: *mut W,
    /// A leaf's number for each row, tree by tree.
    leaves: *mut W,
}

impl<T: Real> Sliced<T> {
    /// Lays a model out; `None` if it cannot be evaluated like this.
    pub(super) fn new(ensemble: &Ensemble<T>) -> Option<Self> {
        if ensemble.leaf_width != 1 || !ensemble.linear.is_empty() {
            return None;
        }
        let (asked, lines) = Asked::of(ensemble)?;
        let grove = Grove::new(ensemble, &lines)?;
        Some(Self { asked, grove })
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.asked.bytes() + self.grove.bytes()
    }

    /// Adds the leaves that each row reaches to its sums, block by block.
    ///
    /// # Safety
    /// The machine has the words, and is such a machine.
    #[inline(always)]
    pub(super) unsafe fn add_leaves<W: Word, M: Machine>(
        &self,
        ensemble: &Ensemble<T>,
        rows: &[T],
        sums: &mut [T],
        work: &mut Vec<Aligned>,
    ) {
        let (features, groups) = (ensemble.features, ensemble.groups);
        let words = self.asked.lines + self.asked.buckets + LEAVES + TEAM * 8;
        let bytes = words * W::BYTES + columns::<W>() * size_of::<T>();
        let needed = bytes.div_ceil(size_of::<Aligned>());
        if work.len() < needed {
            work.resize(needed, Aligned([0; 8]));
        }
        // SAFETY: the parts lie one behind the other in memory that is long enough.
        unsafe {
            let lines = work.as_mut_ptr().cast::<W>();
            let buckets = lines.add(self.asked.lines);
            let reach = buckets.add(self.asked.buckets);
            let leaves = reach.add(LEAVES);
            let columns = leaves.add(TEAM * 8).cast::<T>();
            let sheet = Sheet {
                lines,
                buckets,
                columns,
            };
            let desk = Desk { lines, reach, leaves };
            // Another model may have left something there.
            for bucket in 0..self.asked.buckets {
                W::splat(0).store(buckets.add(bucket));
            }
            let blocks = rows.chunks(W::ROWS * features);
            for (rows, sums) in blocks.zip(sums.chunks_mut(W::ROWS * groups)) {
                self.asked.fill::<W, M>(rows, features, sheet);
                self.walk(&desk, sums, groups);
            }
        }
    }

    #[inline(always)]
    unsafe fn walk<W: Word>(&self, desk: &Desk<W>, sums: &mut [T], groups: usize) {
        let mut first = 0;
        for (group, end) in &self.grove.groups {
            let mut teams = self.grove.trees[first..*end].chunks_exact(TEAM);
            for team in teams.by_ref() {
                for (at, tree) in team.iter().enumerate() {
                    // SAFETY: there is room for a team's leaves.
                    unsafe { self.tree(tree, desk, at) };
                }
                let bases = std::array::from_fn(|at| self.grove.values[team[at].leaves..].as_ptr());
                // SAFETY: the numbers are those of these trees' leaves.
                unsafe { add::<T, W, TEAM>(bases, desk.leaves.cast(), &mut sums[*group..], groups) };
            }
            for tree in teams.remainder() {
                let base = [self.grove.values[tree.leaves..].as_ptr()];
                // SAFETY: there is room for a tree's leaves, and the numbers are those of its leaves.
                unsafe {
                    self.tree(tree, desk, 0);
                    add::<T, W, 1>(base, desk.leaves.cast(), &mut sums[*group..], groups);
                }
            }
            first = *end;
        }
    }

    /// Writes the number of each row's leaf.
    #[inline(always)]
    unsafe fn tree<W: Word>(&self, tree: &Planted, desk: &Desk<W>, at: usize) {
        // SAFETY: the layout was made so that questions are lines, leaves fewer than `LEAVES`, and each tree's
        // questions and steps are there.
        unsafe {
            let mut bits = [W::splat(0); 8];
            match tree.form {
                Form::Same { levels, asks } => {
                    let asks = self.grove.asks.as_ptr().add(asks);
                    for level in 0..levels {
                        bits[levels - 1 - level] = line(desk.lines, *asks.add(level));
                    }
                }
                Form::Full { levels, asks } => {
                    full(levels, self.grove.asks.as_ptr().add(asks), desk.lines, &mut bits);
                }
                Form::Any { steps, end, leaves } => {
                    any(&self.grove.steps[steps..end], leaves, desk, &mut bits);
                }
            }
            word::transpose(&mut bits);
            for (group, bytes) in bits.into_iter().enumerate() {
                bytes.store(desk.leaves.add(8 * at + group));
            }
        }
    }
}

/// The line at an offset that was reckoned for lines of eight bytes.
#[inline(always)]
unsafe fn line<W: Word>(lines: *const W, offset: u32) -> W {
    // SAFETY: the caller's offset is a line's.
    unsafe { W::load(lines.byte_add(offset as usize * (W::BYTES / 8))) }
}

macro_rules! level {
    ($name:ident, $below:ident, $height:literal) => {
        /// Sends the rows that reach a subtree of this height down to its leaves.
        #[inline(always)]
        unsafe fn $name<W: Word>(asks: *const u32, lines: *const W, reach: W, bits: &mut [W; 8]) {
            // SAFETY: a subtree has a question for each of its places.
            unsafe {
                let right = reach.and(line(lines, *asks));
                bits[$height - 1] = bits[$height - 1].or(right);
                $below(asks.add(1), lines, reach.xor(right), bits);
                $below(asks.add(1 << ($height - 1)), lines, right, bits);
            }
        }
    };
}

#[inline(always)]
unsafe fn level0<W: Word>(_: *const u32, _: *const W, _: W, _: &mut [W; 8]) {}
level!(level1, level0, 1);
level!(level2, level1, 2);
level!(level3, level2, 3);
level!(level4, level3, 4);
level!(level5, level4, 5);
level!(level6, level5, 6);

/// A complete tree.
#[inline(always)]
unsafe fn full<W: Word>(levels: usize, asks: *const u32, lines: *const W, bits: &mut [W; 8]) {
    // SAFETY: as promised by the caller.
    unsafe {
        let all = W::splat(u64::MAX);
        match levels {
            0 => {}
            1 => level1(asks, lines, all, bits),
            2 => level2(asks, lines, all, bits),
            3 => level3(asks, lines, all, bits),
            4 => level4(asks, lines, all, bits),
            5 => level5(asks, lines, all, bits),
            6 => level6(asks, lines, all, bits),
            _ => tall(levels, asks, lines, bits),
        }
    }
}

/// A complete tree of seven or eight levels: two or four subtrees of six.
#[inline(always)]
unsafe fn tall<W: Word>(levels: usize, asks: *const u32, lines: *const W, bits: &mut [W; 8]) {
    // SAFETY: as promised by the caller.
    unsafe {
        let all = W::splat(u64::MAX);
        let right = line(lines, *asks);
        let mut open = [all.xor(right), right, all, all];
        let mut starts = [1, 1 << (levels - 1), 0, 0];
        let mut count = 2;
        bits[levels - 1] = right;
        if levels == 8 {
            let (left, right) = (open[0], open[1]);
            let left_right = left.and(line(lines, *asks.add(starts[0])));
            let right_right = right.and(line(lines, *asks.add(starts[1])));
            open = [
                left.xor(left_right),
                left_right,
                right.xor(right_right),
                right_right,
            ];
            starts = [starts[0] + 1, starts[0] + 64, starts[1] + 1, starts[1] + 64];
            bits[6] = left_right.or(right_right);
            count = 4;
        }
        for at in 0..count {
            level6(asks.add(starts[at]), lines, open[at], bits);
        }
    }
}

/// A tree of any form.
#[inline(always)]
unsafe fn any<W: Word>(steps: &[Step], leaves: usize, desk: &Desk<W>, bits: &mut [W; 8]) {
    // SAFETY: steps lead from place to place below `leaves`, which is at most `LEAVES`.
    unsafe {
        let reach = desk.reach;
        W::splat(u64::MAX).store(reach);
        for step in steps {
            let from = reach.add(usize::from(step.from));
            let here = W::load(from);
            let right = here.and(line(desk.lines, step.ask));
            here.xor(right).store(from);
            right.store(reach.add(usize::from(step.to)));
        }
        // The upper half of the leaves have the highest bit; they are laid over the lower half for the next.
        let mut count = leaves;
        for bit in (0..8).rev() {
            let half = 1 << bit;
            if count <= half {
                continue;
            }
            let mut set = W::splat(0);
            for at in half..count {
                let upper = W::load(reach.add(at));
                set = set.or(upper);
                let lower = reach.add(at - half);
                W::load(lower).or(upper).store(lower);
            }
            bits[bit] = set;
            count = half;
        }
    }
}

/// Adds the leaves of `K` trees to every row's sum, tree by tree.
#[inline(always)]
unsafe fn add<T: Real, W: Word, const K: usize>(
    values: [*const T; K],
    leaves: *const u8,
    sums: &mut [T],
    groups: usize,
) {
    for (row, sum) in sums.iter_mut().step_by(groups).enumerate() {
        let mut total = *sum;
        for (tree, values) in values.iter().enumerate() {
            // SAFETY: every row of a block has a number for each tree, and every number a value.
            total += unsafe { *values.add(usize::from(*leaves.add(tree * W::ROWS + row))) };
        }
        *sum = total;
    }
}
