//! The log on standard error: text for people or JSON for machines, at a level that can change while the program runs.
//!
//! The log can neither stop nor slow the program: whoever logs puts a line into a bounded queue (`queue`), and one thread
//! writes. Text of clients and stores cannot forge lines or flood the log: `line` escapes and cuts every value, and
//! `Pace` limits events that clients cause at will.

mod fields;
mod filter;
mod json;
mod line;
mod pace;
mod panic_hook;
mod queue;
mod text;

use std::io::IsTerminal as _;
use std::time::Duration;

use tracing_subscriber::Registry as Subscriber;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogFormat, LogSection};
use crate::metrics::Registry;
use line::{LineLayer, Style};
pub(crate) use pace::Pace;

/// How long the end of the program waits until the last lines are written.
const FLUSH: Duration = Duration::from_secs(1);

/// Sends the log to standard error as `section` says; `RUST_LOG` overrides its level. From then on panics are logged too.
///
/// # Errors
/// The level is not valid, or the thread that writes cannot be started.
pub fn to_stderr(section: &LogSection) -> Result<LogLevel, String> {
    let (filter, level) = reload::Layer::new(filter::targets(&section.level)?);
    let style = match section.format {
        LogFormat::Json => Style::Json,
        LogFormat::Text if has_colours() => Style::Coloured,
        LogFormat::Text => Style::Plain,
    };
    queue::start().map_err(|error| error.to_string())?;
    let filtered = tracing_subscriber::registry().with(filter);
    let started = filtered.with(LineLayer::new(style)).try_init();
    started.map_err(|error| error.to_string())?;
    panic_hook::install();
    Ok(LogLevel { level })
}

/// Whether standard error is a terminal that wants colours.
pub(crate) fn has_colours() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Declares the metric of the log.
///
/// # Errors
/// The metric is already declared.
pub fn declare_metrics(registry: &Registry) -> crate::metrics::Result<()> {
    let dropped = registry.counter(
        "evergreen_log_dropped_lines_total",
        "Log lines lost because standard error took them too slowly or not at all.",
    )?;
    queue::count_dropped(dropped);
    Ok(())
}

/// Writes a text to the log as it is, after the lines before it. Never waits.
pub(crate) fn write_text(text: &str) {
    queue::push(format!("{text}\n").as_bytes());
}

/// Waits until the lines so far are written, at most a second: the log may be blocked.
pub(crate) fn flush() {
    queue::flush(FLUSH);
}

/// Changes what is logged while the program runs.
#[derive(Debug)]
pub struct LogLevel {
    level: reload::Handle<Targets, Subscriber>,
}

impl LogLevel {
    /// Sets another level or filter, for lines from now on; `RUST_LOG` overrides it.
    ///
    /// # Errors
    /// The level is not valid.
    pub fn set(&self, level: &str) -> Result<(), String> {
        self.level
            .reload(filter::targets(level)?)
            .map_err(|error| error.to_string())
    }
}
