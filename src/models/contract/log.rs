//! `log` and `log_entity` of a contract: what the prediction log has of a value.

use std::fmt;

use serde::Deserializer;
use serde::de::{Error, Visitor};

use crate::config::LogPolicy;

/// Deserializes `true`, `"hash"` or `false`.
pub(super) fn in_log<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LogPolicy, D::Error> {
    deserializer.deserialize_any(PolicyVisitor)
}

struct PolicyVisitor;

impl Visitor<'_> for PolicyVisitor {
    type Value = LogPolicy;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true, \"hash\" or false")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<LogPolicy, E> {
        Ok(match value {
            true => LogPolicy::Plain,
            false => LogPolicy::Omit,
        })
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<LogPolicy, E> {
        match text {
            "hash" => Ok(LogPolicy::Hash),
            other => Err(E::custom(format!(
                "expected true, \"hash\" or false, found {other:?}"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Section {
        #[serde(default, deserialize_with = "in_log")]
        log: LogPolicy,
    }

    fn read(text: &str) -> Result<LogPolicy, String> {
        let section: Result<Section, _> = toml::from_str(text);
        section
            .map(|section| section.log)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_policy_is_a_boolean_or_hash() {
        assert_eq!(read(""), Ok(LogPolicy::Plain));
        assert_eq!(read("log = true"), Ok(LogPolicy::Plain));
        assert_eq!(read("log = false"), Ok(LogPolicy::Omit));
        assert_eq!(read("log = \"hash\""), Ok(LogPolicy::Hash));
        for wrong in ["log = \"omit\"", "log = 1"] {
            let error = read(wrong).unwrap_err();
            assert!(error.contains("true, \"hash\" or false"), "{error}");
        }
    }
}
