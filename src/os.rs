//! What the standard library has no words for: giving memory back to the system, and stepping behind other threads.

/// Gives memory that was freed back to the system. The allocator keeps it otherwise, and a server that reloads large
/// models would seem to grow.
pub(crate) fn release_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "the allocator's own call")]
    // SAFETY: malloc_trim takes no pointer and may be called at any time from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Ends the process at once, without running anything else: for when threads no longer answer.
pub(crate) fn exit_now(code: i32) -> ! {
    #[expect(unsafe_code, reason = "the system's own call")]
    // SAFETY: _exit takes a plain number, runs no handlers, and does not return.
    unsafe {
        libc::_exit(code)
    }
}

/// Makes this thread step behind the others when processors are short: what it does can wait, requests cannot.
pub(crate) fn lower_priority() {
    #[cfg(target_os = "linux")]
    #[expect(unsafe_code, reason = "the system's own call")]
    // SAFETY: both calls take plain numbers. On Linux the id of a thread is that of a process to setpriority, and 0 is
    // the calling one. Failure leaves the priority as it was, which is no harm.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, 15);
    }
}
