//! Memory for one execution of a target that allocates often and keeps nothing. The sanitizer's allocator takes half of the
//! time of such a target; here an allocation is an addition. The sanitizer still sees an access beyond an allocation, within
//! a gap, and to freed memory, which is not used again within an execution. Memory is freed on the thread that allocated it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;

/// Bytes of an arena. What does not fit comes from the system.
const SIZE: usize = 32 << 20;

/// Fewest and most bytes after an allocation that must not be touched: more than the longest vector. As in the sanitizer's
/// allocator, large allocations have more.
const GAP: usize = 64;
const WIDEST_GAP: usize = 2048;

/// What new memory is filled with, and how much of it: a program that reads it before it writes it does not find zeros.
const FILLER: u8 = 0xbe;
const FILLED: usize = 4096;

unsafe extern "C" {
    fn __asan_poison_memory_region(start: *const c_void, bytes: usize);
    fn __asan_unpoison_memory_region(start: *const c_void, bytes: usize);
    fn __asan_address_is_poisoned(address: *const c_void) -> i32;
}

/// The arena of a thread: addresses from `start` to `end`, both 0 before its first use.
#[derive(Clone, Copy)]
struct Arena {
    start: usize,
    end: usize,
    next: usize,
    /// Allocations that were not freed.
    live: usize,
    active: bool,
}

thread_local! {
    static ARENA: Cell<Arena> = const { Cell::new(Arena { start: 0, end: 0, next: 0, live: 0, active: false }) };
}

/// Does work whose allocations on this thread come from an arena, and end with it.
///
/// # Panics
/// An allocation is left, or the work is itself part of such work.
pub fn in_arena(work: impl FnOnce()) {
    ARENA.with(|own| {
        let mut arena = own.get();
        assert!(!arena.active && arena.live == 0, "the arena is in use");
        if arena.start == 0 {
            arena.start = reserve();
            arena.end = arena.start + SIZE;
        }
        arena.next = arena.start + GAP;
        own.set(Arena {
            active: true,
            ..arena
        });
    });
    work();
    let arena = ARENA.get();
    ARENA.set(Arena {
        active: false,
        ..arena
    });
    assert_eq!(arena.live, 0, "allocations are left");
}

/// Returns the address of an arena whose memory must not be touched.
fn reserve() -> usize {
    let layout = Layout::from_size_align(SIZE, 4096).expect("a layout");
    // SAFETY: the size is not 0. The memory is kept for the life of the process, and nothing has used it.
    unsafe {
        let start = System.alloc(layout);
        assert!(!start.is_null(), "no memory for an arena");
        __asan_poison_memory_region(start.cast(), SIZE);
        assert_ne!(
            __asan_address_is_poisoned(start.cast()),
            0,
            "the sanitizer is not active"
        );
        start as usize
    }
}

impl Arena {
    /// Takes the memory of an allocation; `None` if it does not fit.
    fn take(&mut self, layout: Layout) -> Option<*mut u8> {
        let start = self.next.next_multiple_of(layout.align().max(16));
        let gap = (layout.size() / 4).clamp(GAP, WIDEST_GAP);
        let next = start.checked_add(layout.size())?.checked_add(gap)?;
        if !self.active || next > self.end {
            return None;
        }
        self.next = next;
        self.live += 1;
        Some(start as *mut u8)
    }
}

/// Allocates in the arena; `None` if it is not active or full.
pub(crate) fn alloc(layout: Layout) -> Option<*mut u8> {
    let mut arena = ARENA.try_with(Cell::get).ok()?;
    let start = arena.take(layout)?;
    ARENA.set(arena);
    // SAFETY: the memory belongs to the arena, and to nothing else in it.
    unsafe {
        __asan_unpoison_memory_region(start.cast(), layout.size());
        ptr::write_bytes(start, FILLER, layout.size().min(FILLED));
    }
    Some(start)
}

/// Returns whether memory is that of the arena.
pub(crate) fn holds(pointer: *mut u8) -> bool {
    ARENA
        .try_with(Cell::get)
        .is_ok_and(|arena| (arena.start..arena.end).contains(&(pointer as usize)))
}

/// Frees memory of the arena.
///
/// # Safety
/// The arena [`holds`] it, with this layout, and nobody uses it any more.
pub(crate) unsafe fn dealloc(pointer: *mut u8, layout: Layout) {
    let arena = ARENA.get();
    ARENA.set(Arena {
        live: arena.live - 1,
        ..arena
    });
    // The sanitizer knows eight bytes at a time; behind the last ones is the gap.
    let bytes = layout.size().next_multiple_of(8);
    // SAFETY: as the caller promises.
    unsafe {
        let free = layout.size() > 0 && __asan_address_is_poisoned(pointer.cast()) != 0;
        assert!(!free, "memory is freed twice");
        __asan_poison_memory_region(pointer.cast(), bytes);
    }
}
