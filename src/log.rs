//! The log on standard error: text for people or JSON for machines, at a level that can change while the program runs.

use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, LogSection};

/// Sends the log to standard error as `section` says; `RUST_LOG` overrides its level.
///
/// # Errors
/// The level is not valid.
pub fn to_stderr(section: &LogSection) -> Result<LogLevel, String> {
    let filter = filter(&section.level)?;
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr())
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours);
    let failed = |error: &dyn std::fmt::Display| error.to_string();
    let set: SetFilter = match section.format {
        LogFormat::Text => {
            let log = log.with_target(false).with_filter_reloading();
            let handle = log.reload_handle();
            log.try_init().map_err(|error| failed(&error))?;
            Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string()))
        }
        LogFormat::Json => {
            let log = log.json().flatten_event(true).with_filter_reloading();
            let handle = log.reload_handle();
            log.try_init().map_err(|error| failed(&error))?;
            Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string()))
        }
    };
    Ok(LogLevel { set })
}

type SetFilter = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

/// Changes what is logged while the program runs.
pub struct LogLevel {
    set: SetFilter,
}

impl LogLevel {
    /// Sets another level or filter, for lines from now on; `RUST_LOG` overrides it.
    ///
    /// # Errors
    /// The level is not valid.
    pub fn set(&self, level: &str) -> Result<(), String> {
        (self.set)(filter(level)?)
    }
}

fn filter(level: &str) -> Result<EnvFilter, String> {
    match std::env::var("RUST_LOG") {
        Ok(filter) if !filter.is_empty() => {
            EnvFilter::try_new(&filter).map_err(|error| format!("RUST_LOG: {error}"))
        }
        _ => EnvFilter::try_new(level).map_err(|error| format!("log.level: {error}")),
    }
}
