//! The log on standard error: text for people or JSON for machines, at a level that can change while the program runs.

use std::io::IsTerminal as _;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, fmt};

use crate::config::{LogFormat, LogSection};

/// Sends the log to standard error as `section` says; `RUST_LOG` overrides its level.
///
/// # Errors
/// The level is not valid.
pub fn to_stderr(section: &LogSection) -> Result<LogLevel, String> {
    let (filter, level) = reload::Layer::new(targets(&section.level)?);
    let colours =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    let filtered = tracing_subscriber::registry().with(filter);
    let started = match section.format {
        LogFormat::Text => filtered.with(lines.with_target(false)).try_init(),
        LogFormat::Json => filtered.with(lines.json().flatten_event(true)).try_init(),
    };
    started.map_err(|error| error.to_string())?;
    Ok(LogLevel { level })
}

/// Changes what is logged while the program runs.
#[derive(Debug)]
pub struct LogLevel {
    level: reload::Handle<Targets, Registry>,
}

impl LogLevel {
    /// Sets another level or filter, for lines from now on; `RUST_LOG` overrides it.
    ///
    /// # Errors
    /// The level is not valid.
    pub fn set(&self, level: &str) -> Result<(), String> {
        self.level
            .reload(targets(level)?)
            .map_err(|error| error.to_string())
    }
}

/// The filter of `RUST_LOG`, or of a setting: a level, or pairs of target and level such as `info,evergreen=debug`.
fn targets(level: &str) -> Result<Targets, String> {
    let (name, filter) = match std::env::var("RUST_LOG") {
        Ok(filter) if !filter.is_empty() => ("RUST_LOG", filter),
        _ => ("log.level", level.to_owned()),
    };
    filter.parse().map_err(|error| {
        format!(
            "{name}: expected a level or a filter such as \"info,evergreen=debug\", found {filter:?}: {error}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn a_filter_sets_levels_by_target() {
        let filter = targets("warn,evergreen::access=debug").unwrap();
        assert!(filter.would_enable("evergreen::access", &Level::DEBUG));
        assert!(!filter.would_enable("evergreen", &Level::INFO));
        assert!(filter.would_enable("hyper", &Level::WARN));
    }

    #[test]
    fn a_level_that_does_not_exist_is_named_with_an_example() {
        let error = targets("evergreen=loud").unwrap_err();
        assert!(
            error.starts_with("log.level: expected a level") && error.contains("loud"),
            "{error}"
        );
    }
}
