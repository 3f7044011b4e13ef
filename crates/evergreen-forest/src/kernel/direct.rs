//! The direct kernel: compares numbers as ordered keys, eight trees at a time, without bins or branches, on
//! every CPU.
//!
//! A row's numbers become *keys*, integers in the same order, twice: for splits that send missing values left
//! and for those that send them right. The first levels of the trees are stored as complete, so that a step
//! is `2 · place + (threshold < key)`: two loads, a comparison with a third, and an addition with carry.
//!
//! ```text
//! row_keys     a row's numbers -> keys; splits -> predicates on them
//! tree_block   the layout of the trees
//! ```

mod row_keys;
mod tree_block;

use crate::ensemble::Ensemble;
use crate::kernel::KernelFloat;
use crate::kernel::ordered_key::OrderedKey;
use row_keys::RowKeys;
use tree_block::{DirectBlock, DirectBlocks, LANES, TALLEST};

/// Bytes of keys to fill before the trees are evaluated. They must stay in the L1 cache.
const FILLED: usize = 1 << 14;

/// Bytes of trees that all those rows pass before the next trees.
const WALKED: usize = 1 << 14;

/// A model in the layout of the direct kernel.
#[derive(Debug)]
pub(crate) struct DirectKernel<T: KernelFloat> {
    keys: RowKeys,
    blocks: DirectBlocks<T>,
    /// Blocks that several rows pass before the next blocks.
    tile: usize,
}

impl<T: KernelFloat> DirectKernel<T> {
    /// Builds the layout. Returns `None` if the model has vector or linear leaves or too many columns.
    pub(super) fn new(ensemble: &Ensemble<T>) -> Option<Self> {
        if ensemble.leaf_width != 1 || !ensemble.linear.is_empty() {
            return None;
        }
        let (keys, predicates) = RowKeys::of(ensemble)?;
        let blocks = DirectBlocks::new(ensemble, &predicates)?;
        Some(Self {
            keys,
            tile: blocks.within(WALKED),
            blocks,
        })
    }

    /// Returns the bytes held in memory.
    pub(super) fn bytes(&self) -> usize {
        self.keys.bytes() + self.blocks.bytes()
    }

    /// Adds the leaves that each row reaches to its sums.
    pub(super) fn add_leaves(
        &self,
        ensemble: &Ensemble<T>,
        rows: &[T],
        sums: &mut [T],
        keys: &mut Vec<T::OrderedKey>,
    ) {
        let (features, groups, width) = (ensemble.features, ensemble.groups, self.keys.width());
        let at_once = (FILLED / size_of::<T>() / width).max(1);
        let needed = width * at_once.min(rows.len() / features);
        if keys.len() < needed {
            keys.resize(needed, T::OrderedKey::LEAST);
        }
        let rows = rows.chunks(at_once * features);
        for (rows, sums) in rows.zip(sums.chunks_mut(at_once * groups)) {
            for (row, keys) in rows.chunks_exact(features).zip(keys.chunks_exact_mut(width)) {
                self.keys.fill(row, keys);
            }
            self.walk(keys, sums, groups);
        }
    }

    /// Evaluates rows, one tile of trees after the other.
    fn walk(&self, keys: &[T::OrderedKey], sums: &mut [T], groups: usize) {
        let width = self.keys.width();
        let alone = sums.len() == groups;
        let tile = if alone { usize::MAX } else { self.tile };
        for blocks in self.blocks.blocks.chunks(tile) {
            for (keys, sums) in keys.chunks_exact(width).zip(sums.chunks_exact_mut(groups)) {
                for block in blocks {
                    // SAFETY: the keys include every column that a predicate names.
                    let leaves = unsafe { self.leaves(block, keys.as_ptr()) };
                    self.add(block, leaves, sums);
                }
            }
        }
    }

    #[inline(always)]
    fn add(&self, block: &DirectBlock, leaves: [T; LANES], sums: &mut [T]) {
        match sums {
            [sum] if block.trees == LANES => {
                for leaf in leaves {
                    *sum += leaf;
                }
            }
            _ => {
                let groups = &self.blocks.groups[block.first..][..block.trees];
                for (leaf, group) in leaves.into_iter().zip(groups) {
                    sums[*group as usize] += leaf;
                }
            }
        }
    }

    /// Returns the leaves that a row reaches in a block's trees.
    #[inline(always)]
    unsafe fn leaves(&self, block: &DirectBlock, keys: *const T::OrderedKey) -> [T; LANES] {
        // SAFETY: the block's words and columns begin at these positions; the caller guarantees the keys.
        let exits = unsafe {
            let words = self.blocks.words.as_ptr().add(block.words);
            let columns = self.blocks.columns.as_ptr().add(block.columns);
            match block.levels {
                0 => exits::<T::OrderedKey, 0>(words, columns, keys),
                1 => exits::<T::OrderedKey, 1>(words, columns, keys),
                2 => exits::<T::OrderedKey, 2>(words, columns, keys),
                3 => exits::<T::OrderedKey, 3>(words, columns, keys),
                4 => exits::<T::OrderedKey, 4>(words, columns, keys),
                5 => exits::<T::OrderedKey, 5>(words, columns, keys),
                6 => exits::<T::OrderedKey, 6>(words, columns, keys),
                7 => exits::<T::OrderedKey, 7>(words, columns, keys),
                TALLEST.. => exits::<T::OrderedKey, TALLEST>(words, columns, keys),
            }
        };
        if block.has_sparse {
            // SAFETY: the exits are node indices.
            unsafe { self.follow(exits, keys) }
        } else {
            exits.map(T::of_bits)
        }
    }

    /// Follows sparse nodes until all eight trees have reached a leaf.
    #[inline(always)]
    unsafe fn follow(&self, exits: [T::OrderedKey; LANES], keys: *const T::OrderedKey) -> [T; LANES] {
        let mut at = exits.map(OrderedKey::position);
        loop {
            let mut moved = 0;
            for at in &mut at {
                let before = *at;
                // SAFETY: nodes lead to nodes; their columns are keys.
                unsafe {
                    *at = self.step(*at, keys);
                    *at = self.step(*at, keys);
                }
                moved |= before ^ *at;
            }
            if moved == 0 {
                break;
            }
        }
        // SAFETY: every node has a value.
        at.map(|at| unsafe { *self.blocks.values.get_unchecked(at as usize) })
    }

    #[inline(always)]
    unsafe fn step(&self, at: u32, keys: *const T::OrderedKey) -> u32 {
        // SAFETY: as for `follow`.
        unsafe {
            let node = self.blocks.nodes.get_unchecked(at as usize);
            node.next + u32::from(node.threshold < *keys.add(usize::from(node.column)))
        }
    }
}

/// Returns the exits of eight trees of `LEVELS` complete levels.
#[inline(always)]
unsafe fn exits<K: OrderedKey, const LEVELS: usize>(
    words: *const K,
    columns: *const u16,
    keys: *const K,
) -> [K; LANES] {
    let mut place = [1usize; LANES];
    // SAFETY: `place` is below 2^LEVELS until the last step, which leads to an exit; columns are keys.
    unsafe {
        for _ in 0..LEVELS {
            macro_rules! step {
                ($($tree:literal)*) => {
                    $(place[$tree] = K::step::<$tree, LEVELS>(place[$tree], words, columns, keys);)*
                };
            }
            step!(0 1 2 3 4 5 6 7);
        }
        std::array::from_fn(|tree| *words.add((tree << (LEVELS + 1)) + place[tree]))
    }
}
