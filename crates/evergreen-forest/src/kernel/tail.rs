//! From the exits of a stand's top to the leaves, and their sum in the order of the trees.

use super::super::number::Real;
use super::stand::{self, LANES, Link, Stand, Stands, Tail};

/// Trees whose leaves are added between two looks at how many are left.
const ABREAST: usize = 8;

/// The exit that a row takes in each tree of a stand.
pub(super) type Exits = [u8; LANES];

/// Rows that are summed side by side: one addition has to wait for the last, several rows' do not.
#[derive(Debug)]
pub(super) struct Rows<'a, T, const R: usize> {
    /// Each row's slots.
    pub(super) slots: [*const u8; R],
    /// Each row's exits.
    pub(super) exits: &'a [Exits; R],
    /// Each row's sums; `groups` apart.
    pub(super) sums: &'a mut [T],
    pub(super) groups: usize,
}

/// Adds a stand's leaves to the rows' sums.
///
/// # Safety
/// `stand` is one of `stands`, its first tree is `first`; exits are below `2^levels`; slots are all that the
/// questions name.
#[inline(always)]
pub(super) unsafe fn add<T: Real, const R: usize>(
    stands: &Stands<T>,
    stand: &Stand,
    first: usize,
    rows: &mut Rows<'_, T, R>,
) {
    // SAFETY: as promised by the caller; the tails were laid out for just this height.
    unsafe {
        match stand.tail {
            // With both numbers known beforehand a leaf of the usual trees takes two instructions.
            Tail::Blocks { height: 0 } if stand.levels == 6 => {
                blocks::<T, R>(stands, stand, first, (6, 0), rows)
            }
            Tail::Blocks { height: 0 } if stand.levels == 4 => {
                blocks::<T, R>(stands, stand, first, (4, 0), rows)
            }
            Tail::Blocks { height: 0 } if stand.levels == 5 => {
                blocks::<T, R>(stands, stand, first, (5, 0), rows)
            }
            Tail::Blocks { height: 2 } if stand.levels == 6 => {
                blocks::<T, R>(stands, stand, first, (6, 2), rows)
            }
            Tail::Blocks { height } => blocks::<T, R>(stands, stand, first, (stand.levels, height), rows),
            Tail::Links => links::<T, R>(stands, stand, first, rows),
        }
    }
}

#[inline(always)]
unsafe fn blocks<T: Real, const R: usize>(
    stands: &Stands<T>,
    stand: &Stand,
    first: usize,
    (levels, height): (usize, usize),
    rows: &mut Rows<'_, T, R>,
) {
    let words = stand::words::<T>(height);
    let of_tree = words << levels;
    let (slots, trees) = (rows.slots, stand.trees);
    let mut exits: [*const u8; R] = std::array::from_fn(|row| rows.exits[row].as_ptr());
    // SAFETY: the stand's tails begin at this word; every tree of it has 2^levels blocks of `words` words, and every
    // exit is below that; there are as many exits as trees, a sum for every group, and a group for every tree.
    unsafe {
        let mut base = stands.words.as_ptr().cast::<u32>().add(stand.tails);
        // Pointers, because positions cost as much as the sum itself (callgrind: 8 instructions a tree, now 3).
        macro_rules! tree {
            ($sum:expr) => {
                for row in 0..R {
                    let exit = usize::from(*exits[row]);
                    $sum(row, leaf_of(base.add(exit * words), slots[row], height));
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
            let groups = stands.groups.as_ptr().add(first);
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
unsafe fn leaf_of<T: Real>(block: *const u32, slots: *const u8, height: usize) -> T {
    let mut place = 1usize;
    for _ in 0..height {
        // SAFETY: a block of this height has 2^height − 1 questions; the slots they name are there.
        let right = unsafe {
            let word = *block.add(place - 1);
            *slots.add((word & 0xffff) as usize) > (word >> 16) as u8
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
unsafe fn links<T: Real, const R: usize>(
    stands: &Stands<T>,
    stand: &Stand,
    first: usize,
    rows: &mut Rows<'_, T, R>,
) {
    let reached: [[u32; LANES]; R] =
        // SAFETY: as promised by the caller.
        std::array::from_fn(|row| unsafe { reach(stands, stand, rows.slots[row], &rows.exits[row]) });
    let groups = &stands.groups[first..first + stand.trees];
    for (tree, group) in groups.iter().enumerate() {
        for (row, reached) in reached.iter().enumerate() {
            // SAFETY: every link has a value.
            let leaf = unsafe { *stands.values.get_unchecked(reached[tree] as usize) };
            rows.sums[row * rows.groups + *group as usize] += leaf;
        }
    }
}

/// The links of the leaves that a row reaches.
///
/// Lanes that have arrived leave the list of those under way, so that a step is taken only where there is one to take.
#[inline(always)]
unsafe fn reach<T: Real>(stands: &Stands<T>, stand: &Stand, slots: *const u8, exits: &Exits) -> [u32; LANES] {
    let mut reached = [0u32; LANES];
    let mut under_way = [0u8; LANES];
    let mut count = 0;
    // SAFETY: every lane with a tree has a word for each exit, and the words are links; links lead to links, and the
    // slots they name are there; no more lanes are under way than there are.
    unsafe {
        let entries = stands.words.as_ptr().cast::<u32>().add(stand.tails);
        let links = stands.links.as_ptr();
        for lane in 0..stand.trees {
            let at = *entries.add((lane << stand.levels) + usize::from(exits[lane]));
            reached[lane] = at;
            under_way[count] = lane as u8;
            count += usize::from((*links.add(at as usize)).next != at);
        }
        while count > 0 {
            let mut left = 0;
            for position in 0..count {
                let lane = *under_way.get_unchecked(position);
                let reached = reached.get_unchecked_mut(usize::from(lane));
                let Link { next, slot, rank } = *links.add(*reached as usize);
                let at = next + u32::from(*slots.add(usize::from(slot)) > rank);
                *reached = at;
                *under_way.get_unchecked_mut(left) = lane;
                left += usize::from((*links.add(at as usize)).next != at);
            }
            count = left;
        }
    }
    reached
}
