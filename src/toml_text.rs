//! Reading a TOML text into a typed value, with errors that a person can act on: the file, the line, the key, and
//! for a key that does not exist the nearest one that does.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::suggest::with_hint;

/// What is wrong with a TOML file.
#[derive(Debug, thiserror::Error)]
#[error("{}{}: {message}", path.display(), line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct TomlError {
    /// The file.
    pub path: PathBuf,
    /// The line, counted from 1, where one can be named.
    pub line: Option<usize>,
    /// The field and what is wrong with it.
    pub message: String,
}

impl TomlError {
    /// An error at `span` (byte offsets into `text`).
    pub fn at(path: &Path, text: &str, span: Option<Range<usize>>, message: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line: span.map(|span| line_of(text, span.start)),
            message: message.into(),
        }
    }
}

/// Parses `text`, the content of `path`.
///
/// # Errors
/// The text is not TOML, a key is unknown or missing, or a value has the wrong type.
pub fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, TomlError> {
    toml::from_str(text).map_err(|error| TomlError::at(path, text, error.span(), with_hint(error.message())))
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()
        .iter()
        .take(offset)
        .filter(|&&byte| byte == b'\n')
        .count()
        + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[expect(dead_code, reason = "only its name matters")]
        models: String,
    }

    #[test]
    fn a_misspelt_key_is_named_with_its_line_and_the_nearest_right_one() {
        let error = parse::<Sample>(Path::new("x.toml"), "# a\nmodles = \"m\"\n")
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("x.toml:2: unknown field `modles`"), "{error}");
        assert!(error.ends_with("did you mean `models`?"), "{error}");
    }
}
