//! Numbers compared as they are, eight trees abreast: no ranks, no branches, any machine.
//!
//! A row's numbers are turned into *keys*, whole numbers in the same order, once for splits that send what is missing
//! left and once for those that send it right. The first levels of the trees are laid out as complete ones, so that a
//! step is `2 · place + (threshold < key)`: two loads, a comparison with a third, and an addition with its carry.
//!
//! ```text
//! keys    a row's numbers -> keys; splits -> questions to them
//! stand   the trees
//! ```

mod keys;
mod stand;

use super::super::ensemble::Ensemble;
use super::super::number::Real;
use super::key::Key;
use keys::Keys;
use stand::{ABREAST, Stand, Stands, TALLEST};

/// Bytes of keys that are made before the trees are walked: they must stay in the first cache.
const FILLED: usize = 1 << 14;

/// Bytes of trees that all those rows walk before the next trees come.
const WALKED: usize = 1 << 14;

/// A model laid out for walking by its numbers.
#[derive(Debug)]
pub(crate) struct Direct<T: Real> {
    keys: Keys,
    stands: Stands<T>,
    /// Stands that several rows walk before the next come.
    tile: usize,
}

impl<T: Real> Direct<T> {
    /// Lays a model out; `None` if it cannot be walked like this.
    pub(super) fn new(ensemble: &Ensemble<T>) -> Option<Self> {
        if ensemble.leaf_width != 1 || !ensemble.linear.is_empty() {
            return None;
        }
        let (keys, questions) = Keys::of(ensemble)?;
        let stands = Stands::new(ensemble, &questions)?;
        Some(Self {
            keys,
            tile: stands.within(WALKED),
            stands,
        })
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.keys.bytes() + self.stands.bytes()
    }

    /// Adds the leaves that each row reaches to its sums.
    pub(super) fn add_leaves(
        &self,
        ensemble: &Ensemble<T>,
        rows: &[T],
        sums: &mut [T],
        keys: &mut Vec<T::Key>,
    ) {
        let (features, groups, width) = (ensemble.features, ensemble.groups, self.keys.width());
        let at_once = (FILLED / size_of::<T>() / width).max(1);
        let needed = width * at_once.min(rows.len() / features);
        if keys.len() < needed {
            keys.resize(needed, T::Key::LEAST);
        }
        let rows = rows.chunks(at_once * features);
        for (rows, sums) in rows.zip(sums.chunks_mut(at_once * groups)) {
            for (row, keys) in rows.chunks_exact(features).zip(keys.chunks_exact_mut(width)) {
                self.keys.fill(row, keys);
            }
            self.walk(keys, sums, groups);
        }
    }

    /// Some rows through one tile of trees after the other.
    fn walk(&self, keys: &[T::Key], sums: &mut [T], groups: usize) {
        let width = self.keys.width();
        let alone = sums.len() == groups;
        let tile = if alone { usize::MAX } else { self.tile };
        for stands in self.stands.stands.chunks(tile) {
            for (keys, sums) in keys.chunks_exact(width).zip(sums.chunks_exact_mut(groups)) {
                for stand in stands {
                    // SAFETY: these are the keys that the questions name.
                    let leaves = unsafe { self.leaves(stand, keys.as_ptr()) };
                    self.add(stand, leaves, sums);
                }
            }
        }
    }

    #[inline(always)]
    fn add(&self, stand: &Stand, leaves: [T; ABREAST], sums: &mut [T]) {
        match sums {
            [sum] if stand.trees == ABREAST => {
                for leaf in leaves {
                    *sum += leaf;
                }
            }
            _ => {
                let groups = &self.stands.groups[stand.first..][..stand.trees];
                for (leaf, group) in leaves.into_iter().zip(groups) {
                    sums[*group as usize] += leaf;
                }
            }
        }
    }

    /// The leaves that a row reaches in a stand's trees.
    #[inline(always)]
    unsafe fn leaves(&self, stand: &Stand, keys: *const T::Key) -> [T; ABREAST] {
        // SAFETY: a stand's words and slots lie from these positions on; the caller vouches for the keys.
        let exits = unsafe {
            let words = self.stands.words.as_ptr().add(stand.words);
            let slots = self.stands.slots.as_ptr().add(stand.slots);
            match stand.levels {
                0 => exits::<T::Key, 0>(words, slots, keys),
                1 => exits::<T::Key, 1>(words, slots, keys),
                2 => exits::<T::Key, 2>(words, slots, keys),
                3 => exits::<T::Key, 3>(words, slots, keys),
                4 => exits::<T::Key, 4>(words, slots, keys),
                5 => exits::<T::Key, 5>(words, slots, keys),
                6 => exits::<T::Key, 6>(words, slots, keys),
                7 => exits::<T::Key, 7>(words, slots, keys),
                TALLEST.. => exits::<T::Key, TALLEST>(words, slots, keys),
            }
        };
        if stand.linked {
            // SAFETY: the exits are links.
            unsafe { self.follow(exits, keys) }
        } else {
            exits.map(T::of_bits)
        }
    }

    /// Follows links until all eight have arrived.
    #[inline(always)]
    unsafe fn follow(&self, exits: [T::Key; ABREAST], keys: *const T::Key) -> [T; ABREAST] {
        let mut at = exits.map(Key::position);
        loop {
            let mut moved = 0;
            for at in &mut at {
                let before = *at;
                // SAFETY: links lead to links; the slots they name are keys.
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
        // SAFETY: every link has a value.
        at.map(|at| unsafe { *self.stands.values.get_unchecked(at as usize) })
    }

    #[inline(always)]
    unsafe fn step(&self, at: u32, keys: *const T::Key) -> u32 {
        // SAFETY: as for `follow`.
        unsafe {
            let link = self.stands.links.get_unchecked(at as usize);
            link.next + u32::from(link.threshold < *keys.add(usize::from(link.slot)))
        }
    }
}

/// The exits of eight trees of `LEVELS` complete levels.
#[inline(always)]
unsafe fn exits<K: Key, const LEVELS: usize>(
    words: *const K,
    slots: *const u16,
    keys: *const K,
) -> [K; ABREAST] {
    let mut place = [1usize; ABREAST];
    // SAFETY: places are below 2^LEVELS until the last step, which leads to an exit; slots name keys.
    unsafe {
        for _ in 0..LEVELS {
            macro_rules! step {
                ($($tree:literal)*) => {
                    $(place[$tree] = K::step::<$tree, LEVELS>(place[$tree], words, slots, keys);)*
                };
            }
            step!(0 1 2 3 4 5 6 7);
        }
        std::array::from_fn(|tree| *words.add((tree << (LEVELS + 1)) + place[tree]))
    }
}
