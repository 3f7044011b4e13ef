//! The operations port. It has a thread of its own, so that neither probes nor signals
//! wait for scoring. It answers from the start:
//! first only liveness and that the models are loading, then everything.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::Request;
use tokio::net::TcpListener;
use tokio::runtime::{EnterGuard, Runtime};
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use super::connections::{ConnectionPolicy, serve};

/// The running operations port.
#[derive(Debug)]
pub(super) struct OperationsPort {
    full_router: Arc<OnceLock<Router>>,
    stop: CancellationToken,
    thread: std::thread::JoinHandle<()>,
}

/// The runtime of the operations port, which has one thread. It may be dropped anywhere.
#[derive(Debug)]
pub(super) struct OperationsRuntime(Option<Runtime>);

impl OperationsRuntime {
    /// Creates the runtime.
    ///
    /// # Errors
    /// The system has no resources for it.
    pub(super) fn new() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    /// Makes what is created meanwhile belong to this runtime.
    pub(super) fn enter(&self) -> Option<EnterGuard<'_>> {
        self.0.as_ref().map(Runtime::enter)
    }

    /// Runs `work` on this thread; `None` never happens.
    fn block_on<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.0.as_ref().map(|runtime| runtime.block_on(work))
    }
}

impl Drop for OperationsRuntime {
    fn drop(&mut self) {
        // Dropping it plainly would panic on a thread that runs tasks.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl OperationsPort {
    /// Starts the port and the handling of signals on `runtime`. The port uses `loading_router` until [`Self::set_router`].
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn start(
        runtime: OperationsRuntime,
        listener: TcpListener,
        loading_router: Router,
        policy: ConnectionPolicy,
        signals: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Self, String> {
        let full_router = Arc::new(OnceLock::new());
        let stop = CancellationToken::new();
        let listener = listener.into_std().map_err(|error| error.to_string())?;
        let router = full_or_loading(full_router.clone(), loading_router);
        let stop_signal = stop.clone();
        let work = async move {
            tokio::spawn(signals);
            let listener = TcpListener::from_std(listener)?;
            // Do not wait for open connections of probes and scrapers.
            tokio::select! {
                () = serve(listener, router, policy) => {}
                () = stop_signal.cancelled() => {}
            }
            std::io::Result::Ok(())
        };
        let run = move || {
            if let Some(Err(error)) = runtime.block_on(work) {
                tracing::error!(%error, "operations port failed");
            }
        };
        let thread = std::thread::Builder::new()
            .name("operations".to_owned())
            .spawn(run);
        Ok(Self {
            full_router,
            stop,
            thread: thread.map_err(|error| error.to_string())?,
        })
    }

    /// Sets the router to use once the models are loaded.
    pub(super) fn set_router(&self, router: Router) {
        // Cannot fail: called once.
        let _ = self.full_router.set(router);
    }

    /// Stops the port.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        // Brief: the thread ends when it sees the token. The panic hook has logged a panic.
        let _ = tokio::task::spawn_blocking(move || self.thread.join()).await;
    }
}

fn full_or_loading(full_router: Arc<OnceLock<Router>>, loading_router: Router) -> Router {
    Router::new().fallback(move |request: Request| {
        let mut router = full_router.get().unwrap_or(&loading_router).clone();
        async move { router.call(request).await }
    })
}
