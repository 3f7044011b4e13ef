//! From the exits of a stand's top to the leaves, and their sum in the order of the trees.

use super::super::number::Real;
use super::stand::{ABREAST, LANES, Link, Stand, Stands, Tail};

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
            Tail::Blocks { height: 0, words } => blocks::<T, R>(stands, stand, first, words, 0, rows),
            Tail::Blocks { height: 1, words } => blocks::<T, R>(stands, stand, first, words, 1, rows),
            Tail::Blocks { height: 2, words } => blocks::<T, R>(stands, stand, first, words, 2, rows),
            Tail::Blocks { height: 3, words } => blocks::<T, R>(stands, stand, first, words, 3, rows),
            Tail::Blocks { height, words } => blocks::<T, R>(stands, stand, first, words, height, rows),
            Tail::Links => links::<T, R>(stands, stand, first, rows),
        }
    }
}

/// The sums while one stand is added: in registers if there is one group.
#[inline(always)]
fn summed<T: Real, const R: usize>(
    rows: &mut Rows<'_, T, R>,
    groups: &[u32],
    mut leaf: impl FnMut(usize, usize) -> T,
) {
    if rows.groups == 1 {
        let mut sums = [T::ZERO; R];
        sums.copy_from_slice(&rows.sums[..R]);
        for tree in 0..groups.len() {
            for (row, sum) in sums.iter_mut().enumerate() {
                *sum += leaf(row, tree);
            }
        }
        rows.sums[..R].copy_from_slice(&sums);
    } else {
        for (tree, group) in groups.iter().enumerate() {
            for row in 0..R {
                rows.sums[row * rows.groups + *group as usize] += leaf(row, tree);
            }
        }
    }
}

#[inline(always)]
unsafe fn blocks<T: Real, const R: usize>(
    stands: &Stands<T>,
    stand: &Stand,
    first: usize,
    words: usize,
    height: usize,
    rows: &mut Rows<'_, T, R>,
) {
    let groups = &stands.groups[first..first + stand.trees];
    let (slots, exits) = (rows.slots, rows.exits);
    // SAFETY: the stand's tails begin at this word.
    let base = unsafe { stands.words.as_ptr().cast::<u32>().add(stand.tails) };
    let levels = stand.levels;
    summed(rows, groups, |row, tree| {
        let exit = usize::from(exits[row][tree]);
        // SAFETY: every tree of the stand has 2^levels blocks of `words` words, and every exit is below that.
        unsafe { leaf_of(base.add(((tree << levels) + exit) * words), slots[row], height) }
    });
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
    let groups = &stands.groups[first..first + stand.trees];
    let mut reached = [[0u32; LANES]; R];
    for (row, reached) in reached.iter_mut().enumerate() {
        for (chunk, reached) in reached.chunks_exact_mut(ABREAST).enumerate() {
            let tree = chunk * ABREAST;
            if tree >= stand.trees {
                break;
            }
            for (lane, reached) in reached.iter_mut().enumerate() {
                let exit = usize::from(rows.exits[row][tree + lane]);
                // SAFETY: every lane up to the next multiple of `ABREAST` has a word for each exit.
                *reached = unsafe {
                    let words = stands.words.as_ptr().cast::<u32>();
                    *words.add(stand.tails + ((tree + lane) << stand.levels) + exit)
                };
            }
            // SAFETY: entries are links.
            unsafe { walk(&stands.links, rows.slots[row], reached) };
        }
    }
    // SAFETY: every link has a value.
    summed(rows, groups, |row, tree| unsafe {
        *stands.values.get_unchecked(reached[row][tree] as usize)
    });
}

/// Follows links until all lanes have arrived.
#[inline(always)]
unsafe fn walk(links: &[Link], slots: *const u8, reached: &mut [u32]) {
    let mut at = [0u32; ABREAST];
    at.copy_from_slice(reached);
    loop {
        let mut moved = 0;
        for at in &mut at {
            let before = *at;
            // SAFETY: links lead to links; the slots they name are there.
            unsafe {
                *at = step(links, slots, *at);
                *at = step(links, slots, *at);
            }
            moved |= before ^ *at;
        }
        if moved == 0 {
            break;
        }
    }
    reached.copy_from_slice(&at);
}

#[inline(always)]
unsafe fn step(links: &[Link], slots: *const u8, at: u32) -> u32 {
    // SAFETY: as for `walk`.
    unsafe {
        let link = links.get_unchecked(at as usize);
        link.next + u32::from(*slots.add(usize::from(link.slot)) > link.rank)
    }
}
