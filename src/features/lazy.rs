//! A value that takes time to create, such as a connection: created once for all callers, in a task of its own, so that it
//! completes even if every caller has given up.

use std::sync::{Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};

type SharedFuture<T> = Shared<BoxFuture<'static, Result<T, String>>>;

/// The value, or its creation in progress.
pub(crate) struct Lazy<T: Clone>(Mutex<LazyState<T>>);

/// The last value, and the number of values created so far.
struct LazyState<T: Clone> {
    made: Option<SharedFuture<T>>,
    number: u64,
}

impl<T: Clone> Default for Lazy<T> {
    fn default() -> Self {
        Self(Mutex::new(LazyState {
            made: None,
            number: 0,
        }))
    }
}

impl<T: Clone> std::fmt::Debug for Lazy<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lazy")
    }
}

impl<T: Clone + Send + Sync + 'static> Lazy<T> {
    /// Returns the value and its number. It is created if there is none, if the last attempt failed, or if it is not `good` any
    /// more.
    ///
    /// # Errors
    /// The creation failed.
    pub(crate) async fn get<M>(
        &self,
        make: impl FnOnce() -> M,
        good: impl Fn(&T) -> bool,
    ) -> Result<(T, u64), String>
    where
        M: Future<Output = Result<T, String>> + Send + 'static,
    {
        let (making, number) = {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let usable = known.made.as_ref().filter(|making| match making.peek() {
                None => true,
                Some(Ok(made)) => good(made),
                Some(Err(_)) => false,
            });
            match usable {
                Some(making) => (making.clone(), known.number),
                None => {
                    let task = tokio::spawn(make());
                    let making = async move { task.await.unwrap_or_else(|error| Err(error.to_string())) };
                    known.number += 1;
                    (known.made.insert(making.boxed().shared()).clone(), known.number)
                }
            }
        };
        Ok((making.await?, number))
    }

    /// Discards the value with that number: the next caller creates another one. A later value stays.
    pub(crate) fn forget(&self, number: u64) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.number == number {
            known.made = None;
        }
    }
}
