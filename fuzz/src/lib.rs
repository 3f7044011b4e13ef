//! What the fuzz targets share: measures of memory and time, and the check of models.

mod arena;
mod input;
mod memory;
mod models;

pub use arena::in_arena;
pub use input::{Endless, Input};
pub use memory::peak;
pub use models::load_and_predict;

/// Inputs of at most so many bytes must be done with within [`MOST_SECONDS`].
const SMALL: usize = 64 << 10;

/// On a processor, with the sanitizer and without optimisation: the server takes a tenth or less.
const MOST_SECONDS: f64 = 4.0;

/// Does the work on `bytes`.
///
/// # Panics
/// It took too long.
pub fn quick<T>(bytes: &[u8], work: impl FnOnce() -> T) -> T {
    let start = processor_seconds();
    let done = work();
    let seconds = processor_seconds() - start;
    assert!(
        bytes.len() > SMALL || seconds < MOST_SECONDS,
        "{} bytes took {seconds:.2} s",
        bytes.len()
    );
    done
}

/// Does the work on `bytes` within a time and a memory that are bounded.
///
/// # Panics
/// It took too long, or had more bytes than `most` at a time.
pub fn bounded<T>(bytes: &[u8], most: usize, work: impl FnOnce() -> T) -> T {
    let (done, peak) = quick(bytes, || peak(work));
    assert!(
        peak <= most,
        "{} bytes took {peak} bytes of memory, more than {most}",
        bytes.len()
    );
    done
}

/// Runs a future to its end on this thread.
///
/// # Panics
/// The system has no runtime left.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}

fn processor_seconds() -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is valid for the call, which only writes to it.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The most memory that a JSON text of `bytes` may take, of which `counted` are those of the memory budget. Beside them a text
/// is in the rewritten body and in what is parsed, or several times in the making of an error.
pub fn most_parsed(bytes: &[u8], counted: usize) -> usize {
    (64 << 10) + counted + 6 * bytes.len()
}

/// The most memory that a TOML text may take: files are small, and written by people.
pub fn most_toml(bytes: &[u8]) -> usize {
    (256 << 10) + 4096 * bytes.len()
}
