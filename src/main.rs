//! The binary `evergreen`.

/// Answers are made of many small pieces, and some are freed by another thread than took them.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Settings of jemalloc, which reads them at the start. It would keep addresses for reuse and reserve a larger part each time: under a
/// limit of virtual memory (`ulimit -d` or `-v`) an allocation would fail although little memory is in use.
#[cfg(feature = "jemalloc")]
#[expect(unsafe_code, reason = "jemalloc finds its settings by this name")]
#[unsafe(export_name = "_rjem_malloc_conf")]
static ALLOCATOR_SETTINGS: &[u8; 13] = b"retain:false\0";

fn main() -> std::process::ExitCode {
    evergreen::cli::run()
}
