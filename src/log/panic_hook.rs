//! Logs panics through the queue. The hook of the standard library writes to standard error itself, which can block or fail.

use std::panic::PanicHookInfo;

use super::Pace;

/// Logs every panic of this process from now on.
pub(super) fn install() {
    std::panic::set_hook(Box::new(log));
}

fn log(info: &PanicHookInfo<'_>) {
    // A formatted text can quote a client's data: only fixed ones are logged.
    let text = info.payload().downcast_ref::<&str>().copied();
    let message = text.unwrap_or("(formatted text)");
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    let thread_name = thread.name().unwrap_or_default();
    // A client may have found a request whose handler panics.
    static PACE: Pace = Pace::new();
    if thread_name.starts_with("tokio") && PACE.count().is_none() {
        return;
    }
    tracing::error!(panic = message, location, thread = thread_name, "panic");
    if thread_name == "main" {
        super::flush();
    }
}
