//! Keyed hashes of ids and values, so that nobody without the key can find them by trying all that are possible.

use std::path::Path;

use ring::hmac;

use crate::files;

/// The least length of a key in bytes.
const LEAST_KEY: usize = 16;

/// Bytes of a hash that are kept: enough to tell billions of values apart.
const KEPT: usize = 16;

/// Hashes with the secret key; without a key nothing can be hashed.
#[derive(Debug)]
pub(super) struct Hasher {
    key: Option<hmac::Key>,
}

impl Hasher {
    /// Reads the key; an empty path means none.
    ///
    /// # Errors
    /// The file cannot be read, or the key is too short.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        if path.as_os_str().is_empty() {
            return Ok(Self { key: None });
        }
        let fail = |error: String| format!("prediction_log.key_file: {}: {error}", path.display());
        let bytes = files::read(path, files::SMALL).map_err(|error| fail(error.to_string()))?;
        let secret = bytes.trim_ascii();
        if secret.len() < LEAST_KEY {
            return Err(fail(format!(
                "expected a key of at least {LEAST_KEY} bytes, found {}; make one with `head -c 32 /dev/urandom > key`",
                secret.len()
            )));
        }
        Ok(Self {
            key: Some(hmac::Key::new(hmac::HMAC_SHA256, secret)),
        })
    }

    /// Whether there is a key.
    pub(super) fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// The hash of `value` under `name` as hexadecimal digits; `None` without a key. The name is part of the hash, so that
    /// equal values of two features have different hashes.
    pub(super) fn hash(&self, name: &str, value: &[u8]) -> Option<String> {
        let mut context = hmac::Context::with_key(self.key.as_ref()?);
        context.update(name.as_bytes());
        context.update(&[0]);
        context.update(value);
        let tag = context.sign();
        let bytes = tag.as_ref().iter().take(KEPT);
        Some(bytes.map(|byte| format!("{byte:02x}")).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_depends_on_key_name_and_value() {
        let folder = tempfile::tempdir().unwrap();
        let hasher = |key: &str| {
            let path = folder.path().join("key");
            std::fs::write(&path, key).unwrap();
            Hasher::read(&path)
        };
        let one = hasher("0123456789abcdef\n").unwrap();
        let other = hasher("0123456789abcdeg").unwrap();
        // By Python: hmac.new(b"0123456789abcdef", b"id\0C-1", "sha256").hexdigest()[:32]
        let hash = one.hash("id", b"C-1").unwrap();
        assert_eq!(hash, "664f08ab6f1968af5704d707708034b0");
        assert_ne!(one.hash("id", b"C-2").unwrap(), hash);
        assert_ne!(one.hash("other", b"C-1").unwrap(), hash);
        assert_ne!(other.hash("id", b"C-1").unwrap(), hash);
        let error = hasher("short").unwrap_err();
        assert!(error.contains("at least 16 bytes, found 5"), "{error}");
        let none = Hasher::read(Path::new("")).unwrap();
        assert!(!none.has_key() && none.hash("id", b"C-1").is_none());
    }
}
