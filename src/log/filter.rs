//! What is logged: a level, or a filter by target.

use tracing_subscriber::filter::{LevelFilter, Targets};

use crate::suggest::{nearest, unknown};

/// Libraries whose events any client can cause at will, with the most that is logged of them unless the filter names them.
const QUIET: [(&str, LevelFilter); 2] = [("h2", LevelFilter::OFF), ("hyper", LevelFilter::ERROR)];

/// The filter of `RUST_LOG`, or of a setting: a level, or pairs of target and level such as `info,evergreen=debug`.
pub(super) fn targets(level: &str) -> Result<Targets, String> {
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
    let named: Targets = filter
        .parse()
        .map_err(|error: tracing_subscriber::filter::ParseError| wrong(error.to_string()))?;
    Ok(with_quiet(named))
}

/// Adds the libraries of [`QUIET`] that a filter does not name; never more than its level for all.
fn with_quiet(named: Targets) -> Targets {
    let names: Vec<String> = named.iter().map(|(target, _)| target.to_owned()).collect();
    let most = named.default_level().unwrap_or(LevelFilter::OFF);
    let quiet = QUIET
        .into_iter()
        .filter(|(target, _)| !names.iter().any(|name| name.split("::").next() == Some(*target)))
        .map(|(target, level)| (target.to_owned(), level.min(most)));
    named.with_targets(quiet)
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
        assert!(filter.would_enable("tonic", &Level::WARN));
    }

    #[test]
    fn what_clients_cause_in_libraries_is_logged_only_on_request() {
        let filter = targets("debug").unwrap();
        assert!(!filter.would_enable("h2::codec", &Level::ERROR));
        assert!(filter.would_enable("hyper::proto", &Level::ERROR));
        assert!(!filter.would_enable("hyper::proto", &Level::WARN));
        assert!(!targets("off").unwrap().would_enable("hyper", &Level::ERROR));
        let filter = targets("info,h2=debug").unwrap();
        assert!(filter.would_enable("h2", &Level::DEBUG));
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
