//! What a body costs its client, if the client's rate is limited.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::memory::BodyMeter;
use crate::scoring::client::BodyLimits;

/// Bytes of a body that cost nothing: the usual small request is not refused because of large ones.
pub(super) const FREE_BYTES: usize = 1 << 10;

/// Most bytes that a packed one can become (deflate).
const MOST_UNPACKED: usize = 1032;

/// Bytes of memory that cost as much as a byte of the body. Usual entities take less; a body of many small elements, such as `{}`, takes
/// hundreds of times its bytes, and the time to fill them.
const MEMORY_PER_BYTE: usize = 16;

/// Charges a client for one body.
#[derive(Debug)]
pub(super) struct BodyCharge {
    limits: BodyLimits,
    most: usize,
    /// Bytes so far.
    bytes: AtomicUsize,
    /// What packed messages may become whose decoding has not begun.
    packed: AtomicUsize,
}

impl BodyCharge {
    /// For a body that may become `most` bytes.
    pub(super) fn new(limits: BodyLimits, most: usize) -> Self {
        Self {
            limits,
            most,
            bytes: AtomicUsize::new(0),
            packed: AtomicUsize::new(0),
        }
    }
}

impl BodyMeter for BodyCharge {
    fn decoding(&self, bytes: usize) {
        self.packed.store(0, Ordering::Relaxed);
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let beyond = |bytes: usize| bytes.saturating_sub(FREE_BYTES);
        self.limits.charge(beyond(before + bytes) - beyond(before));
    }

    fn decoded(&self, bytes: usize) {
        self.decoding(bytes / MEMORY_PER_BYTE);
    }

    fn packed(&self, bytes: usize) {
        let most = bytes.saturating_mul(MOST_UNPACKED).min(self.most);
        self.packed.fetch_add(most, Ordering::Relaxed);
    }
}

impl Drop for BodyCharge {
    /// A message that could not be unpacked took as long as one that could.
    fn drop(&mut self) {
        let packed = *self.packed.get_mut();
        self.decoding(packed);
    }
}
