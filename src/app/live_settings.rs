//! Applies changed settings while the server runs, where that is safe, and names those that need a restart.

use std::sync::Mutex;

use toml::{Table, Value};

use super::App;
use crate::config::Config;
use crate::lifecycle::Command;
use crate::log::LogLevel;

/// Reads the settings again, from the same places as at the start.
pub type ReadConfig = Box<dyn Fn() -> Result<Config, String> + Send + Sync>;

/// The present settings, and how to read and apply changes.
pub struct LiveSettings {
    read: ReadConfig,
    log: LogLevel,
    current: Mutex<Config>,
}

impl std::fmt::Debug for LiveSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveSettings").finish_non_exhaustive()
    }
}

/// Settings that can change while the server runs: these keys and everything below them.
const CHANGEABLE: [&str; 11] = [
    "limits.batch",
    "limits.in_flight",
    "limits.memory",
    "limits.numbers",
    "log.level",
    "models.file_bytes",
    "models.load_seconds",
    "models.policy",
    "models.poll_seconds",
    "models.trusted_keys",
    "models.watch",
];

impl LiveSettings {
    /// Starts with the settings of the server.
    pub fn new(config: Config, read: ReadConfig, log: LogLevel) -> Self {
        let current = Mutex::new(config);
        Self { read, log, current }
    }

    /// Reads the settings again and applies those that can change. If they are not valid, nothing changes.
    pub async fn reload(&self, app: &App) {
        let new = match (self.read)() {
            Ok(new) => new,
            Err(error) => {
                tracing::error!(error, "settings not valid, keeping the previous ones");
                return;
            }
        };
        let changed = {
            let mut current = self
                .current
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            let changed = differences(&current, &new);
            *current = new.clone();
            changed
        };
        let (applied, restart): (Vec<String>, Vec<String>) =
            changed.into_iter().partition(|key| is_changeable(key));
        if let Err(error) = self.log.set(&new.log.level) {
            tracing::error!(error, "log level not valid, keeping the previous one");
        }
        if new.limits.memory > 0 {
            app.memory.set_limit(new.limits.memory);
        }
        app.scorer.set_limits(new.limits);
        if let Err(error) = app
            .lifecycle
            .execute(Command::Settings(Box::new(new.models)))
            .await
        {
            tracing::error!(%error, "settings of models not applied");
        }
        tracing::info!(applied = applied.join(", "), "settings reloaded");
        if !restart.is_empty() {
            tracing::warn!(
                needs_restart = restart.join(", "),
                "settings that need a restart were not applied"
            );
        }
    }
}

fn is_changeable(key: &str) -> bool {
    let below = |known: &str| {
        let rest = key.strip_prefix(known);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    CHANGEABLE.into_iter().any(below)
}

/// The keys with different values, with their sections.
fn differences(old: &Config, new: &Config) -> Vec<String> {
    let table = |config: &Config| Table::try_from(config).unwrap_or_default();
    let mut keys = Vec::new();
    collect("", &table(old), &table(new), &mut keys);
    keys
}

fn collect(path: &str, old: &Table, new: &Table, keys: &mut Vec<String>) {
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let key = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        match (old.get(name), new.get(name)) {
            (Some(Value::Table(old)), Some(Value::Table(new))) => collect(&key, old, new, keys),
            (old, new) if old != new => keys.push(key),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named_and_what_can_change_is_known() {
        let old = Config::default();
        let mut new = old.clone();
        new.log.level = "debug".to_owned();
        new.limits.body_bytes = 5;
        new.models.policy.insert("churn".to_owned(), Default::default());
        let found = differences(&old, &new);
        assert_eq!(found, ["limits.body_bytes", "log.level", "models.policy"]);
        let changeable: Vec<bool> = found.iter().map(|key| is_changeable(key)).collect();
        assert_eq!(changeable, [false, true, true]);
        assert!(is_changeable("models.watch.seconds") && !is_changeable("models.watchful"));
    }
}
