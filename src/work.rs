//! Work that takes longer than a worker of the async runtime may be held up. The rule: on a worker no loop runs over more
//! than [`INLINE_BYTES`] of what a client sent, or over more than one score of the largest batch; longer work moves to a
//! thread of its own here, or gives way in between. A worker that is held up answers nobody: two such requests would stop a
//! server of two cores.

use tokio::runtime::{Handle, RuntimeFlavor};

use crate::error::Error;

/// Bytes of a client that a worker parses, unpacks or writes without giving way: about 0.2 ms.
pub const INLINE_BYTES: usize = 64 << 10;

/// Does work on this many bytes: here, or on a blocking thread if there are many.
///
/// # Errors
/// The work panicked.
pub async fn on_bytes<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    if bytes <= INLINE_BYTES {
        Ok(work())
    } else {
        off_thread(work).await
    }
}

/// Does work on this many bytes here, after other tasks of this worker have moved to another thread if there are many. For
/// code that cannot wait, such as a decoder.
pub fn in_place<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    // A runtime of one thread has no other one.
    let threads =
        || Handle::try_current().is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread);
    if bytes > INLINE_BYTES && threads() {
        tokio::task::block_in_place(work)
    } else {
        work()
    }
}

/// Does work on a blocking thread.
///
/// # Errors
/// The work panicked.
pub async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal(format!("work stopped: {error}")))
}
