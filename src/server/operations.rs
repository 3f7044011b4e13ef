//! The operations port. It has a thread of its own, so that a probe waits behind no scoring, and it answers from the
//! start: that the server lives and is loading, and, once everything is there, the rest.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::Request;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use super::connections::{ConnectionPolicy, serve};

/// The running port.
#[derive(Debug)]
pub(super) struct OperationsPort {
    full: Arc<OnceLock<Router>>,
    stop: CancellationToken,
    thread: std::thread::JoinHandle<()>,
}

impl OperationsPort {
    /// Answers with `loading` until there is more.
    pub(super) fn start(
        listener: TcpListener,
        loading: Router,
        treatment: ConnectionPolicy,
    ) -> Result<Self, String> {
        let full = Arc::new(OnceLock::new());
        let stop = CancellationToken::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let listener = listener.into_std().map_err(|error| error.to_string())?;
        let router = either(full.clone(), loading);
        let stopped = stop.clone();
        let work = async move {
            let listener = TcpListener::from_std(listener)?;
            // Open connections of probes and scrapers are not waited for.
            tokio::select! {
                () = serve(listener, router, treatment) => {}
                () = stopped.cancelled() => {}
            }
            std::io::Result::Ok(())
        };
        let run = move || {
            if let Err(error) = runtime.block_on(work) {
                tracing::error!(%error, "the operations port failed");
            }
        };
        let thread = std::thread::Builder::new()
            .name("operations".to_owned())
            .spawn(run);
        Ok(Self {
            full,
            stop,
            thread: thread.map_err(|error| error.to_string())?,
        })
    }

    /// Answers with everything from now on.
    pub(super) fn complete(&self, router: Router) {
        // It is completed once.
        let _ = self.full.set(router);
    }

    /// Ends it.
    pub(super) async fn end(self) {
        self.stop.cancel();
        // It only waits for the thread to see the token; a panic there has been logged.
        let _ = tokio::task::spawn_blocking(move || self.thread.join()).await;
    }
}

fn either(full: Arc<OnceLock<Router>>, loading: Router) -> Router {
    Router::new().fallback(move |request: Request| {
        let mut router = full.get().unwrap_or(&loading).clone();
        async move { router.call(request).await }
    })
}
