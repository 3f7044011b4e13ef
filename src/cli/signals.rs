//! Signals that end a command: its temporary files are removed first. The server handles its signals itself.

use futures_util::FutureExt as _;
use futures_util::future::select_all;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{os, storage};

/// Removes temporary files when a signal ends the command, in a thread of its own.
pub(super) fn clean_up_when_ended() {
    // Without the handlers the copies stay, which is no reason not to run.
    let Ok((runtime, signals)) = install() else { return };
    let thread = std::thread::Builder::new().name("signals".to_owned());
    let _ = thread.spawn(move || {
        let number = runtime.block_on(first(signals));
        storage::remove_all();
        os::end_by(number)
    });
}

/// Installs the handlers; what this process ignores, such as SIGHUP after `nohup`, it ignores still.
fn install() -> std::io::Result<(Runtime, Vec<(i32, Signal)>)> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let guard = runtime.enter();
    let kinds = [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::hangup(),
    ];
    let kinds = kinds.into_iter().filter(|kind| !os::ignores(kind.as_raw_value()));
    let signals = kinds.map(|kind| Ok((kind.as_raw_value(), signal(kind)?)));
    let signals = signals.collect::<std::io::Result<Vec<_>>>()?;
    drop(guard);
    Ok((runtime, signals))
}

/// Waits for the first signal, and returns its number.
async fn first(signals: Vec<(i32, Signal)>) -> i32 {
    if signals.is_empty() {
        return std::future::pending().await;
    }
    let waiting = signals.into_iter().map(|(number, mut signal)| {
        async move {
            signal.recv().await;
            number
        }
        .boxed()
    });
    select_all(waiting).await.0
}
