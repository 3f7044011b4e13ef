//! The log on standard error: text for people or JSON for machines, at a level that can change while the program runs.

use std::io::IsTerminal as _;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, fmt};

use crate::config::{LogFormat, LogSection};
use crate::suggest::{nearest, unknown};

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
    let wrong = |why: String| {
        format!(
            "{name}: expected a level or a filter such as \"info,evergreen=debug\", found {filter:?}: {why}"
        )
    };
    filter
        .split(',')
        .try_for_each(|directive| check(directive.trim()))
        .map_err(wrong)?;
    filter
        .parse()
        .map_err(|error: tracing_subscriber::filter::ParseError| wrong(error.to_string()))
}

/// The levels, and the word for no lines at all.
const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// This program's own target: the name of its crate.
const OWN_TARGET: &str = env!("CARGO_CRATE_NAME");

/// Refuses a word that is no level, and a target that is nearly this program's. The parser takes any word for a target,
/// and nothing else would be logged then.
fn check(directive: &str) -> Result<(), String> {
    let (target, level) = match directive.split_once('=') {
        Some((target, level)) => (Some(target), Some(level)),
        None if directive == OWN_TARGET || directive.contains("::") => (Some(directive), None),
        None => (None, Some(directive)),
    };
    if let Some(level) = level
        && !LEVELS.contains(&level.to_ascii_lowercase().as_str())
    {
        return Err(unknown("level", level, LEVELS.into_iter()));
    }
    let own = target.and_then(|target| target.split("::").next());
    match own {
        Some(own) if !own.starts_with(OWN_TARGET) && nearest(own, [OWN_TARGET]).is_some() => {
            Err(unknown("target", own, [OWN_TARGET].into_iter()))
        }
        _ => Ok(()),
    }
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
    fn a_word_that_is_no_level_is_refused_with_the_nearest_one() {
        for (filter, expected) in [
            ("evergreen=loud", "no level `loud`"),
            ("WARNING", "did you mean `warn`?"),
            ("inof", "did you mean `info`?"),
            ("debgu", "did you mean `debug`?"),
            ("verbose", "expected one of error, warn, info"),
            ("", "no level ``"),
            ("info,evergren=debug", "did you mean `evergreen`?"),
            ("info,evergren::access=debug", "did you mean `evergreen`?"),
        ] {
            let error = targets(filter).unwrap_err();
            assert!(
                error.starts_with("log.level: expected a level") && error.contains(expected),
                "{filter}: {error}"
            );
        }
        for filter in [
            "INFO",
            "off",
            "warn, hyper=debug",
            "evergreen",
            "evergreen::access",
        ] {
            assert!(targets(filter).is_ok(), "{filter}");
        }
    }
}
