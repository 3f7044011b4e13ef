//! What the standard library has no words for: giving memory back to the system, stepping behind other threads, signals.

/// Gives memory that was freed back to the system. Allocators keep it otherwise, jemalloc for some time and that of glibc for
/// good.
pub(crate) fn release_memory() {
    #[cfg(feature = "jemalloc")]
    #[expect(unsafe_code, reason = "the allocator's own call")]
    // SAFETY: the name ends with a zero byte. The call reads and writes no value, and may come at any time from any thread. It
    // fails if the name is not known, which changes nothing.
    unsafe {
        use std::ptr::null_mut;
        // 4096 stands for all arenas (MALLCTL_ARENAS_ALL).
        tikv_jemalloc_sys::mallctl(
            c"arena.4096.purge".as_ptr(),
            null_mut(),
            null_mut(),
            null_mut(),
            0,
        );
    }
    // What C libraries hold, and everything without jemalloc.
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

/// Returns whether this process ignores a signal, as `nohup` makes it ignore SIGHUP.
pub(crate) fn ignores(signal: i32) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    #[expect(unsafe_code, reason = "the system's own call")]
    // SAFETY: without a new action the call changes nothing. It writes the present one, which is read only if it succeeded.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

/// Returns whether a connection waits on a port to be accepted.
pub(crate) fn is_asked(port: &impl std::os::fd::AsRawFd) -> bool {
    let mut asked = libc::pollfd {
        fd: port.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    #[expect(unsafe_code, reason = "the system's own call")]
    // SAFETY: it is told of one entry, which outlives the call, and does not wait.
    let ready = unsafe { libc::poll(&raw mut asked, 1, 0) };
    ready == 1
}

/// Ends the process by a signal as if nothing handled it, so that its parent sees what ended it.
pub(crate) fn end_by(signal: i32) -> ! {
    #[expect(unsafe_code, reason = "the system's own calls")]
    // SAFETY: both take plain numbers, and the default action runs no code of this process.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
    // Process 1 of a container has no default action: end with the code that a shell reports.
    exit_now(128 + signal)
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

/// The resident memory of this process in bytes; 0 if the system does not say. It takes some microseconds.
pub(crate) fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = status
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<usize>().ok());
    #[expect(unsafe_code, reason = "the system's own call")]
    // SAFETY: it takes a plain number.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    pages.unwrap_or(0) * usize::try_from(page).unwrap_or(0)
}

/// Raises the limit of open files to the most that the system allows, and returns the limit; `None` if it is not known.
pub(crate) fn raise_open_files() -> Option<u64> {
    let mut limits = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    #[expect(unsafe_code, reason = "the system's own call")]
    // SAFETY: `limits` is valid for the whole call, which writes it.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limits) } == 0;
    if !known {
        return None;
    }
    let raised = libc::rlimit {
        rlim_cur: limits.rlim_max,
        ..limits
    };
    #[expect(unsafe_code, reason = "the system's own call")]
    // SAFETY: `raised` is valid for the whole call, which reads it.
    let done = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) } == 0;
    Some(if done { raised.rlim_cur } else { limits.rlim_cur })
}
