//! From the exits of a block's top to the leaves, and their sum in the order of the trees.

use crate::kernel::KernelFloat;
use crate::kernel::binned::tree_block::{self, LANES, SparseNode, Subtrees, TreeBlock, TreeBlocks};

/// Trees whose leaves are added between two looks at how many are left.
const ABREAST: usize = 8;

/// The exit that a row takes in each tree of a block.
pub(in crate::kernel) type ExitIndices = [u8; LANES];

/// RowGroup that are summed side by side: one addition has to wait for the last, several rows' do not.
#[derive(Debug)]
pub(in crate::kernel) struct RowGroup<'a, T, const R: usize> {
    /// Each row's bins.
    pub(in crate::kernel) bins: [*const u8; R],
    /// Each row's exits.
    pub(in crate::kernel) exits: &'a [ExitIndices; R],
    /// Each row's sums; `groups` apart.
    pub(in crate::kernel) sums: &'a mut [T],
    pub(in crate::kernel) groups: usize,
}

/// Adds a block's leaves to the rows' sums.
///
/// # Safety
/// `block` is one of `blocks`, its first tree is `first`; exits are below `2^levels`; bins are all that the
/// questions name.
#[inline(always)]
pub(in crate::kernel) unsafe fn add<T: KernelFloat, const R: usize>(
    blocks: &TreeBlocks<T>,
    block: &TreeBlock,
    first: usize,
    rows: &mut RowGroup<'_, T, R>,
) {
    // SAFETY: as promised by the caller; the first_word were laid out for just this height.
    unsafe {
        match block.subtrees {
            // With both numbers known beforehand a leaf of the usual trees takes two instructions.
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
    // SAFETY: the block's first_word begin at this word; every tree of it has 2^levels complete_leaves of `words` words, and every
    // exit is below that; there are as many exits as trees, a sum for every group, and a group for every tree.
    unsafe {
        let mut base = blocks.words.as_ptr().cast::<u32>().add(block.first_word);
        // Pointers, because positions cost as much as the sum itself (callgrind: 8 instructions a tree, now 3).
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
            for _ in 0..trees / ABREAST {
                one!();
                one!();
                one!();
                one!();
                one!();
                one!();
                one!();
                one!();
            }
            for _ in 0..trees % ABREAST {
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

/// Walks one block.
#[inline(always)]
unsafe fn leaf_of<T: KernelFloat>(block: *const u32, bins: *const u8, height: usize) -> T {
    let mut place = 1usize;
    for _ in 0..height {
        // SAFETY: a block of this height has 2^height − 1 questions; the bins they name are there.
        let right = unsafe {
            let word = *block.add(place - 1);
            *bins.add((word & 0xffff) as usize) > (word >> 16) as u8
        };
        place = 2 * place + usize::from(right);
    }
    let inner = (1usize << height) - 1;
    // SAFETY: the leaves, 2^height of them, follow the questions; they need not be aligned to their width.
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
            // SAFETY: every link has a value.
            let leaf = unsafe { *blocks.values.get_unchecked(reached[tree] as usize) };
            rows.sums[row * rows.groups + *group as usize] += leaf;
        }
    }
}

/// The nodes of the leaves that a row reaches.
///
/// Lanes that have arrived leave the list of those under way, so that a step is taken only where there is one to take.
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
    // SAFETY: every lane with a tree has a word for each exit, and the words are nodes; nodes lead to nodes, and the
    // bins they name are there; no more lanes are under way than there are.
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
