//! Signal handlers of the server. They are installed before the models load, as the default action would end the
//! process at once, or, for process 1 of a container, do nothing. They belong to the runtime of the operations port, so that
//! a signal is heard when the workers that answer requests are stuck.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::operations::OperationsRuntime;
use crate::{log, os};

/// Time beyond the settings after which a stopping process is ended.
const SPARE: Duration = Duration::from_secs(2);

/// Exit code of a server that stopped with requests unfinished.
const UNFINISHED_CODE: i32 = 3;

/// Signals that other programs use to reopen logs or to print their state. By default they would end the process with
/// requests unanswered.
const IGNORED: [fn() -> SignalKind; 3] = [
    SignalKind::user_defined1,
    SignalKind::user_defined2,
    SignalKind::alarm,
];

/// SIGTERM, SIGINT (Ctrl-C) and SIGQUIT, which stop the server.
#[derive(Debug)]
pub(super) struct ShutdownSignals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
}

/// What the signals ask for.
#[derive(Clone, Debug, Default)]
pub(super) struct StopRequests {
    /// Cancelled by the first signal: stop.
    pub(super) stop: CancellationToken,
    /// Cancelled by the second one: stop at once.
    pub(super) at_once: CancellationToken,
}

impl ShutdownSignals {
    /// Installs the handlers; `runtime` handles the signals.
    pub(super) fn new(runtime: &OperationsRuntime) -> std::io::Result<Self> {
        let _context = runtime.enter();
        for kind in IGNORED {
            // The handler stays when the stream is dropped.
            drop(signal(kind())?);
        }
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    /// Passes signals on. The server may take `limit` to stop.
    pub(super) async fn pass_on(mut self, requests: StopRequests, limit: Duration) {
        self.next().await;
        end_after(limit + SPARE, UNFINISHED_CODE);
        requests.stop.cancel();
        self.next().await;
        requests.at_once.cancel();
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.quit.recv() => {}
        }
    }
}

/// Ends the process after `limit` if it has not ended by itself: by a thread that needs no runtime.
pub(super) fn end_after(limit: Duration, code: i32) {
    let wait = move || {
        std::thread::sleep(limit);
        let seconds = limit.as_secs();
        tracing::error!(seconds, "server does not stop, ending the process");
        log::flush();
        os::exit_now(code);
    };
    let thread = std::thread::Builder::new()
        .name("last-resort".to_owned())
        .spawn(wait);
    if let Err(error) = thread {
        tracing::error!(%error, "no thread to end the process if it does not stop");
    }
}

/// Returns the stream of SIGHUP, which reloads the settings.
pub(super) fn hangup() -> std::io::Result<Signal> {
    signal(SignalKind::hangup())
}
