//! From the exit indices of a block's trees to the leaves, added in the order of the trees.

use crate::kernel::KernelFloat;
use crate::kernel::binned::tree_block::{self, LANES, SparseNode, Subtrees, TreeBlock, TreeBlocks};

/// Trees per turn of the unrolled loop.
const UNROLL: usize = 8;

/// The exit that a row takes in each tree of a block.
pub(in crate::kernel) type ExitIndices = [u8; LANES];

/// Rows that are summed side by side. An addition waits for the previous one of its row, not for those of
/// other rows.
#[derive(Debug)]
pub(in crate::kernel) struct RowGroup<'a, T, const R: usize> {
    /// The bins of each row.
    pub(in crate::kernel) bins: [*const u8; R],
    /// The exit indices of each row.
    pub(in crate::kernel) exits: &'a [ExitIndices; R],
    /// The sums of each row, `groups` numbers per row.
    pub(in crate::kernel) sums: &'a mut [T],
    pub(in crate::kernel) groups: usize,
}

/// Adds a block's leaves to the rows' sums.
///
/// # Safety
/// `block` is one of `blocks`; its first tree is `first`. Exit indices are below `2^levels`. The bins include
/// every column that a predicate names.
#[inline(always)]
pub(in crate::kernel) unsafe fn add<T: KernelFloat, const R: usize>(
    blocks: &TreeBlocks<T>,
    block: &TreeBlock,
    first: usize,
    rows: &mut RowGroup<'_, T, R>,
) {
    // SAFETY: guaranteed by the caller; the subtrees were written for this height.
    unsafe {
        match block.subtrees {
            // With both numbers known to the compiler, a leaf of the usual trees takes two instructions.
            Subtrees::Complete { height: 0 } if block.levels == 6 => {
                complete_leaves::<T, R>(blocks, block, first, (6, 0), rows)
            }
            Subtrees::Complete { height: 0 } if block.levels == 4 => {
                complete_leaves::<T, R>(blocks, block, first, (4, 0), rows)
            }
            Subtrees::Complete { height: 0 } if block.levels == 5 => {
                complete_leaves::<T, R>(blocks, block, first, (5, 0), rows)
            }
            Subtrees::Complete { height: 2 } if block.levels == 6 => {
                complete_leaves::<T, R>(blocks, block, first, (6, 2), rows)
            }
            Subtrees::Complete { height } => {
                complete_leaves::<T, R>(blocks, block, first, (block.levels, height), rows)
            }
            Subtrees::Sparse => nodes::<T, R>(blocks, block, first, rows),
        }
    }
}

#[inline(always)]
unsafe fn complete_leaves<T: KernelFloat, const R: usize>(
    blocks: &TreeBlocks<T>,
    block: &TreeBlock,
    first: usize,
    (levels, height): (usize, usize),
    rows: &mut RowGroup<'_, T, R>,
) {
    let words = tree_block::subtree_words::<T>(height);
    let of_tree = words << levels;
    let (bins, trees) = (rows.bins, block.trees);
    let mut exits: [*const u8; R] = std::array::from_fn(|row| rows.exits[row].as_ptr());
    // SAFETY: the block's subtrees begin at this word. Every tree has 2^levels subtrees of `words` words, and
    // every exit index is below that. There are as many exit indices as trees, a sum for every group, and a
    // group for every tree.
    unsafe {
        let mut base = blocks.words.as_ptr().cast::<u32>().add(block.first_word);
        // Pointers, because indices cost as much as the sum itself (callgrind: 8 instructions a tree, now 3).
        macro_rules! tree {
            ($sum:expr) => {
                for row in 0..R {
                    let exit = usize::from(*exits[row]);
                    $sum(row, leaf_of(base.add(exit * words), bins[row], height));
                    exits[row] = exits[row].add(1);
                }
                base = base.add(of_tree);
            };
        }
        if rows.groups == 1 {
            let mut sums = [T::ZERO; R];
            sums.copy_from_slice(&rows.sums[..R]);
            macro_rules! one {
                () => {
                    tree!(|row: usize, leaf: T| sums[row] += leaf)
                };
            }
            for _ in 0..trees / UNROLL {
                one!();
                one!();
                one!();
                one!();
                one!();
                one!();
                one!();
                one!();
            }
            for _ in 0..trees % UNROLL {
                one!();
            }
            rows.sums[..R].copy_from_slice(&sums);
        } else {
            let groups = blocks.groups.as_ptr().add(first);
            let sums = rows.sums.as_mut_ptr();
            for at in 0..trees {
                let sum = sums.add(*groups.add(at) as usize);
                tree!(|row: usize, leaf: T| *sum.add(row * rows.groups) += leaf);
            }
        }
    }
}

/// Evaluates a complete subtree.
#[inline(always)]
unsafe fn leaf_of<T: KernelFloat>(block: *const u32, bins: *const u8, height: usize) -> T {
    let mut place = 1usize;
    for _ in 0..height {
        // SAFETY: a subtree of this height has 2^height − 1 predicates; the bins of their columns exist.
        let right = unsafe {
            let word = *block.add(place - 1);
            *bins.add((word & 0xffff) as usize) > (word >> 16) as u8
        };
        place = 2 * place + usize::from(right);
    }
    let inner = (1usize << height) - 1;
    // SAFETY: 2^height leaves follow the predicates; they may be unaligned.
    unsafe {
        block
            .add(inner)
            .cast::<T>()
            .add(place - (1 << height))
            .read_unaligned()
    }
}

#[inline(always)]
unsafe fn nodes<T: KernelFloat, const R: usize>(
    blocks: &TreeBlocks<T>,
    block: &TreeBlock,
    first: usize,
    rows: &mut RowGroup<'_, T, R>,
) {
    let reached: [[u32; LANES]; R] =
        // SAFETY: guaranteed by the caller.
        std::array::from_fn(|row| unsafe { reach(blocks, block, rows.bins[row], &rows.exits[row]) });
    let groups = &blocks.groups[first..first + block.trees];
    for (tree, group) in groups.iter().enumerate() {
        for (row, reached) in reached.iter().enumerate() {
            // SAFETY: every node has a value.
            let leaf = unsafe { *blocks.values.get_unchecked(reached[tree] as usize) };
            rows.sums[row * rows.groups + *group as usize] += leaf;
        }
    }
}

/// Returns the nodes of the leaves that a row reaches.
///
/// Lanes that have reached a leaf leave the list of active lanes, so that only steps that are needed are
/// taken.
#[inline(always)]
unsafe fn reach<T: KernelFloat>(
    blocks: &TreeBlocks<T>,
    block: &TreeBlock,
    bins: *const u8,
    exits: &ExitIndices,
) -> [u32; LANES] {
    let mut reached = [0u32; LANES];
    let mut under_way = [0u8; LANES];
    let mut count = 0;
    // SAFETY: every lane with a tree has a word for each exit, and the words are node indices. Nodes lead to
    // nodes, and the bins of their columns exist. The active lanes are at most all lanes.
    unsafe {
        let entries = blocks.words.as_ptr().cast::<u32>().add(block.first_word);
        let nodes = blocks.nodes.as_ptr();
        for lane in 0..block.trees {
            let at = *entries.add((lane << block.levels) + usize::from(exits[lane]));
            reached[lane] = at;
            under_way[count] = lane as u8;
            count += usize::from((*nodes.add(at as usize)).next != at);
        }
        while count > 0 {
            let mut left = 0;
            for position in 0..count {
                let lane = *under_way.get_unchecked(position);
                let reached = reached.get_unchecked_mut(usize::from(lane));
                let SparseNode { next, column, bin } = *nodes.add(*reached as usize);
                let at = next + u32::from(*bins.add(usize::from(column)) > bin);
                *reached = at;
                *under_way.get_unchecked_mut(left) = lane;
                left += usize::from((*nodes.add(at as usize)).next != at);
            }
            count = left;
        }
    }
    reached
}
