//! Which histogram gets the duration of the current request. Handlers know the operation and the model; the context layer,
//! which is outside of them, knows when the request began and when its answer is ready.

use std::cell::RefCell;

use crate::metrics::Histogram;

thread_local! {
    /// The histogram of the request that is polled on this thread.
    static CURRENT: RefCell<Option<Histogram>> = const { RefCell::new(None) };
}

/// Replaces the histogram of the request that is polled on this thread; returns the previous one.
pub(super) fn replace(histogram: Option<Histogram>) -> Option<Histogram> {
    CURRENT.replace(histogram)
}

/// Sets the histogram unless one is set.
pub(super) fn set_default(histogram: impl FnOnce() -> Histogram) {
    CURRENT.with_borrow_mut(|current| {
        current.get_or_insert_with(histogram);
    });
}
