//! The bit-sliced kernel: one bit per row, so that one instruction evaluates a split for a block of 64 to 256
//! rows.
//!
//! A block of rows is turned into lines of bits, one line per predicate. Every tree is a short program of
//! bitwise operations on these lines, independent of the rows' paths. The result is the leaf number of each
//! row. Leaves are added row by row in the order of the trees.
//!
//! ```text
//! predicate_table   predicates -> lines of bits
//! tree_programs     trees -> programs
//! bit_word          a set of 64 rows or more
//! ```

mod bit_word;
mod predicate_table;
mod tree_programs;

use crate::ensemble::Ensemble;
use crate::kernel::KernelFloat;
use crate::kernel::isa::Isa;
pub(in crate::kernel) use bit_word::BitWord;
use predicate_table::{BlockBuffers, PredicateTable, columns};
use tree_programs::{LEAVES, PartitionStep, TREE_BATCH, TreeForm, TreeProgram, TreePrograms};

/// A model in the layout of the bit-sliced kernel.
#[derive(Debug)]
pub(crate) struct BitSlicedKernel<T> {
    predicates: PredicateTable<T>,
    programs: TreePrograms<T>,
}

/// Sixty-four bytes, aligned to a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct BufferLine([u64; 8]);

/// Buffers for evaluating trees.
struct TreeScratch<W> {
    lines: *const W,
    /// The rows that reach each leaf.
    reach: *mut W,
    /// The leaf number of each row, tree by tree.
    leaves: *mut W,
}

impl<T: KernelFloat> BitSlicedKernel<T> {
    /// Builds the layout. Returns `None` if the model has vector or linear leaves, or trees that are too
    /// large.
    pub(in crate::kernel) fn new(ensemble: &Ensemble<T>) -> Option<Self> {
        if ensemble.leaf_width != 1 || !ensemble.linear.is_empty() {
            return None;
        }
        let (predicates, lines) = PredicateTable::of(ensemble)?;
        let programs = TreePrograms::new(ensemble, &lines)?;
        Some(Self { predicates, programs })
    }

    /// Returns the bytes held in memory.
    pub(in crate::kernel) fn bytes(&self) -> usize {
        self.predicates.bytes() + self.programs.bytes()
    }

    /// Adds the leaves that each row reaches to its sums, block by block.
    ///
    /// # Safety
    /// The CPU supports the words `W` and the instruction set `M`.
    #[inline(always)]
    pub(in crate::kernel) unsafe fn add_leaves<W: BitWord, M: Isa>(
        &self,
        ensemble: &Ensemble<T>,
        rows: &[T],
        sums: &mut [T],
        work: &mut Vec<BufferLine>,
    ) {
        let (features, groups) = (ensemble.features, ensemble.groups);
        let words = self.predicates.lines + self.predicates.buckets + LEAVES + TREE_BATCH * 8;
        let bytes = words * W::BYTES + columns::<W>() * size_of::<T>();
        let needed = bytes.div_ceil(size_of::<BufferLine>());
        if work.len() < needed {
            work.resize(needed, BufferLine([0; 8]));
        }
        // SAFETY: the buffers are adjacent parts of memory that is long enough.
        unsafe {
            let lines = work.as_mut_ptr().cast::<W>();
            let buckets = lines.add(self.predicates.lines);
            let reach = buckets.add(self.predicates.buckets);
            let leaves = reach.add(LEAVES);
            let columns = leaves.add(TREE_BATCH * 8).cast::<T>();
            let buffers = BlockBuffers {
                lines,
                buckets,
                columns,
            };
            let scratch = TreeScratch { lines, reach, leaves };
            // Another model may have left data there.
            for bucket in 0..self.predicates.buckets {
                W::splat(0).store(buckets.add(bucket));
            }
            let blocks = rows.chunks(W::ROWS * features);
            for (rows, sums) in blocks.zip(sums.chunks_mut(W::ROWS * groups)) {
                self.predicates.fill::<W, M>(rows, features, buffers);
                self.walk(&scratch, sums, groups);
            }
        }
    }

    #[inline(always)]
    unsafe fn walk<W: BitWord>(&self, scratch: &TreeScratch<W>, sums: &mut [T], groups: usize) {
        let mut first = 0;
        for (group, end) in &self.programs.groups {
            let mut batches = self.programs.trees[first..*end].chunks_exact(TREE_BATCH);
            for batch in batches.by_ref() {
                for (at, tree) in batch.iter().enumerate() {
                    // SAFETY: the buffer holds the leaf numbers of a batch.
                    unsafe { self.tree(tree, scratch, at) };
                }
                let bases = std::array::from_fn(|at| self.programs.values[batch[at].leaves..].as_ptr());
                // SAFETY: the leaf numbers are those of these trees.
                unsafe { add::<T, W, TREE_BATCH>(bases, scratch.leaves.cast(), &mut sums[*group..], groups) };
            }
            for tree in batches.remainder() {
                let base = [self.programs.values[tree.leaves..].as_ptr()];
                // SAFETY: the buffer holds the leaf numbers of a tree, and they are those of this tree.
                unsafe {
                    self.tree(tree, scratch, 0);
                    add::<T, W, 1>(base, scratch.leaves.cast(), &mut sums[*group..], groups);
                }
            }
            first = *end;
        }
    }

    /// Computes the leaf number of each row.
    #[inline(always)]
    unsafe fn tree<W: BitWord>(&self, tree: &TreeProgram, scratch: &TreeScratch<W>, at: usize) {
        // SAFETY: predicates are offsets of lines, leaf numbers are below `LEAVES`, and each tree's
        // predicates and steps exist.
        unsafe {
            let mut bits = [W::splat(0); 8];
            match tree.form {
                TreeForm::Oblivious { levels, predicates } => {
                    let predicates = self.programs.predicates.as_ptr().add(predicates);
                    for level in 0..levels {
                        bits[levels - 1 - level] = line(scratch.lines, *predicates.add(level));
                    }
                }
                TreeForm::Complete { levels, predicates } => {
                    complete(
                        levels,
                        self.programs.predicates.as_ptr().add(predicates),
                        scratch.lines,
                        &mut bits,
                    );
                }
                TreeForm::Irregular { steps, end, leaves } => {
                    irregular(&self.programs.steps[steps..end], leaves, scratch, &mut bits);
                }
            }
            bit_word::transpose(&mut bits);
            for (group, bytes) in bits.into_iter().enumerate() {
                bytes.store(scratch.leaves.add(8 * at + group));
            }
        }
    }
}

/// Loads a line. `offset` is in bytes for lines of eight bytes.
#[inline(always)]
unsafe fn line<W: BitWord>(lines: *const W, offset: u32) -> W {
    // SAFETY: the caller's offset is that of a line.
    unsafe { W::load(lines.byte_add(offset as usize * (W::BYTES / 8))) }
}

macro_rules! level {
    ($name:ident, $below:ident, $height:literal) => {
        /// Partitions the rows in `reach` among the leaves of a subtree of this height.
        #[inline(always)]
        unsafe fn $name<W: BitWord>(predicates: *const u32, lines: *const W, reach: W, bits: &mut [W; 8]) {
            // SAFETY: a subtree has a predicate for each of its splits.
            unsafe {
                let right = reach.and(line(lines, *predicates));
                bits[$height - 1] = bits[$height - 1].or(right);
                $below(predicates.add(1), lines, reach.xor(right), bits);
                $below(predicates.add(1 << ($height - 1)), lines, right, bits);
            }
        }
    };
}

#[inline(always)]
unsafe fn level0<W: BitWord>(_: *const u32, _: *const W, _: W, _: &mut [W; 8]) {}
level!(level1, level0, 1);
level!(level2, level1, 2);
level!(level3, level2, 3);
level!(level4, level3, 4);
level!(level5, level4, 5);
level!(level6, level5, 6);

/// Evaluates a complete tree.
#[inline(always)]
unsafe fn complete<W: BitWord>(levels: usize, predicates: *const u32, lines: *const W, bits: &mut [W; 8]) {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let all = W::splat(u64::MAX);
        match levels {
            0 => {}
            1 => level1(predicates, lines, all, bits),
            2 => level2(predicates, lines, all, bits),
            3 => level3(predicates, lines, all, bits),
            4 => level4(predicates, lines, all, bits),
            5 => level5(predicates, lines, all, bits),
            6 => level6(predicates, lines, all, bits),
            _ => tall(levels, predicates, lines, bits),
        }
    }
}

/// Evaluates a complete tree of seven or eight levels as two or four subtrees of six.
#[inline(always)]
unsafe fn tall<W: BitWord>(levels: usize, predicates: *const u32, lines: *const W, bits: &mut [W; 8]) {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let all = W::splat(u64::MAX);
        let right = line(lines, *predicates);
        let mut open = [all.xor(right), right, all, all];
        let mut starts = [1, 1 << (levels - 1), 0, 0];
        let mut count = 2;
        bits[levels - 1] = right;
        if levels == 8 {
            let (left, right) = (open[0], open[1]);
            let left_right = left.and(line(lines, *predicates.add(starts[0])));
            let right_right = right.and(line(lines, *predicates.add(starts[1])));
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
            level6(predicates.add(starts[at]), lines, open[at], bits);
        }
    }
}

/// Evaluates an irregular tree.
#[inline(always)]
unsafe fn irregular<W: BitWord>(
    steps: &[PartitionStep],
    leaves: usize,
    scratch: &TreeScratch<W>,
    bits: &mut [W; 8],
) {
    // SAFETY: steps name leaves below `leaves`, which is at most `LEAVES`.
    unsafe {
        let reach = scratch.reach;
        W::splat(u64::MAX).store(reach);
        for step in steps {
            let from = reach.add(usize::from(step.from));
            let here = W::load(from);
            let right = here.and(line(scratch.lines, step.predicate));
            here.xor(right).store(from);
            right.store(reach.add(usize::from(step.to)));
        }
        // The upper half of the leaves have the highest bit set. Merge them into the lower half for the next
        // bit.
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
unsafe fn add<T: KernelFloat, W: BitWord, const K: usize>(
    values: [*const T; K],
    leaves: *const u8,
    sums: &mut [T],
    groups: usize,
) {
    for (row, sum) in sums.iter_mut().step_by(groups).enumerate() {
        let mut total = *sum;
        for (tree, values) in values.iter().enumerate() {
            // SAFETY: every row of a block has a leaf number for each tree, and every number a value.
            total += unsafe { *values.add(usize::from(*leaves.add(tree * W::ROWS + row))) };
        }
        *sum = total;
    }
}
