//! The allocator of the targets: it counts what a thread has, unless that comes from an arena.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use crate::arena;

thread_local! {
    /// Bytes that this thread has allocated and not freed; memory of other threads may make it negative.
    static HELD: Cell<isize> = const { Cell::new(0) };
    /// The most that [`HELD`] has been since [`peak`] began.
    static MOST: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes of an allocation of this size, as the system's allocator takes them: with a word of its own, in steps of 16.
fn block(size: usize) -> isize {
    (size + 8).next_multiple_of(16).max(32) as isize
}

fn count(bytes: isize) {
    // A thread that ends has no counters any more.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = MOST.try_with(|most| most.set(most.get().max(held.get())));
    });
}

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if let Some(pointer) = arena::alloc(layout) {
            return pointer;
        }
        count(block(layout.size()));
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if let Some(pointer) = arena::alloc(layout) {
            // SAFETY: the memory has just been allocated.
            unsafe { pointer.write_bytes(0, layout.size()) };
            return pointer;
        }
        count(block(layout.size()));
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if arena::holds(pointer) {
            // SAFETY: as the caller promises.
            return unsafe { arena::dealloc(pointer, layout) };
        }
        count(-(block(layout.size())));
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if arena::holds(pointer) {
            // SAFETY: as the caller promises; the new memory is another.
            unsafe {
                let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
                if !new.is_null() {
                    new.copy_from_nonoverlapping(pointer, size.min(layout.size()));
                    arena::dealloc(pointer, layout);
                }
                return new;
            }
        }
        count(block(size) - block(layout.size()));
        // SAFETY: as the caller promises.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Does the work; returns with its result the most bytes that it had at a time.
pub fn peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    MOST.set(before);
    let done = work();
    (done, (MOST.get() - before).unsigned_abs())
}
