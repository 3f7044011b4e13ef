//! The binary `evergreen`.

/// Answers are made of many small pieces, and some are freed by another thread than took them.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    evergreen::cli::run()
}
