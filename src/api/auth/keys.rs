//! API keys, stored as SHA-256 hashes. A fast hash is safe here: keys are 256 random bits, so that guessing is not
//! feasible. Slow hashes protect passwords that people choose.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::access::Role;
use crate::config::clients::check_limits;
use crate::files;
use crate::scoring::Client;
use crate::scoring::client::ModelPattern;
use crate::toml_text;

/// Prefix of every key, so that scanners recognise a leaked one.
const PREFIX: &str = "evergreen_";

/// The line of a key file that is meant to hold no keys. Without it, an empty file may be one that is being written.
const NO_KEYS: &str = "# no keys";

/// The keys in a key file.
#[derive(Debug)]
pub(super) struct ApiKeys(Vec<ApiKey>);

/// Names a key in sessions, without being its digest.
pub(super) type KeyTag = [u8; 16];

/// One key.
#[derive(Debug)]
pub(super) struct ApiKey {
    pub(super) name: String,
    digest: [u8; 32],
    pub(super) tag: KeyTag,
    roles: Vec<Role>,
    pub(super) limits: KeyLimits,
    pub(super) client: Client,
}

/// What an entry sets beside the role; the rest is as `[clients]` says.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyLimits {
    pub(super) rate: Option<f64>,
    pub(super) burst: Option<u64>,
    pub(super) share: Option<f64>,
    pub(super) models: Option<Vec<ModelPattern>>,
}

/// A key's entry in the key file.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    sha256: String,
    roles: Vec<Role>,
    #[serde(skip_serializing_if = "Option::is_none")]
    models: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    burst: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<f64>,
}

impl KeyEntry {
    /// Checks the limits.
    fn limits(&self) -> Result<KeyLimits, String> {
        check_limits(self.rate, self.share)
            .map_err(|(key, expected)| format!("{key}: expected {expected}"))?;
        let models = self.models.as_ref().map(|models| {
            let patterns = models.iter().map(|text| {
                ModelPattern::parse(text).ok_or_else(|| {
                    format!("models: expected names such as \"churn\", or \"upsell-*\" with a star at the end, found {text:?}")
                })
            });
            patterns.collect::<Result<Vec<_>, _>>()
        });
        let models = models.transpose()?;
        if models.as_ref().is_some_and(Vec::is_empty) {
            return Err(
                "models: expected at least one name such as \"churn\"; remove it to allow all".to_owned(),
            );
        }
        Ok(KeyLimits {
            rate: self.rate,
            burst: self.burst,
            share: self.share,
            models,
        })
    }
}

impl ApiKeys {
    /// Reads a key file. A file without keys is valid only if it has the line [`NO_KEYS`]: then it revokes the last key.
    ///
    /// # Errors
    /// The file cannot be read or is empty without saying so, a hash or a role is invalid, or two names share a key.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let text =
            files::read_text(path, files::SMALL).map_err(|error| format!("{}: {error}", path.display()))?;
        Self::parse(path, &text)
    }

    /// Parses `text`, the content of `path`.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, String> {
        let refuse = |what: String| format!("{}: {what}", path.display());
        let entries: BTreeMap<String, KeyEntry> =
            toml_text::parse(path, text).map_err(|error| error.to_string())?;
        if entries.is_empty() && !text.lines().any(|line| line.trim() == NO_KEYS) {
            return Err(refuse(format!(
                "the file has no key; add one with `evergreen key NAME`, or the line `{NO_KEYS}` to revoke all"
            )));
        }
        let mut keys: Vec<ApiKey> = Vec::with_capacity(entries.len());
        for (name, entry) in entries {
            let digest = digest(&entry.sha256).ok_or_else(|| {
                refuse(format!(
                    "[{name}] sha256: expected 64 hexadecimal digits, as `evergreen key` prints them"
                ))
            })?;
            if entry.roles.is_empty() {
                return Err(refuse(format!(
                    "[{name}] roles: expected at least one of \"score\", \"read\", \"administer\""
                )));
            }
            if let Some(same) = keys.iter().find(|key| key.digest == digest) {
                return Err(refuse(format!("[{name}] and [{}] are the same key", same.name)));
            }
            let limits = entry
                .limits()
                .map_err(|error| refuse(format!("[{name}] {error}")))?;
            keys.push(ApiKey {
                name,
                digest,
                tag: tag(&digest),
                roles: entry.roles,
                limits,
                client: Client::default(),
            });
        }
        Ok(Self(keys))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut ApiKey> {
        self.0.iter_mut()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Finds the presented key. It compares with all keys in constant time, so that timing reveals nothing.
    pub(super) fn find(&self, presented: &[u8]) -> Option<&ApiKey> {
        let presented: [u8; 32] = Sha256::digest(presented).into();
        let mut found = None;
        for key in &self.0 {
            if bool::from(key.digest.ct_eq(&presented)) {
                found = Some(key);
            }
        }
        found
    }

    /// Finds the key of a session. A key that was replaced under the same name has another tag.
    pub(super) fn find_tag(&self, tag: &KeyTag) -> Option<&ApiKey> {
        self.0.iter().find(|key| key.tag == *tag)
    }
}

/// The tag of a key with this digest.
fn tag(digest: &[u8; 32]) -> KeyTag {
    let hash = Sha256::new()
        .chain_update(b"evergreen session")
        .chain_update(digest)
        .finalize();
    let mut tag = [0; 16];
    tag.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    tag
}

impl ApiKey {
    /// Returns whether the key has a role. Every key may read.
    pub(super) fn may(&self, role: Role) -> bool {
        role == Role::Read || self.roles.contains(&role)
    }

    /// The roles that the key has.
    pub(super) fn granted(&self) -> Vec<Role> {
        Role::ALL.into_iter().filter(|role| self.may(*role)).collect()
    }
}

fn digest(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, position) in digest.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(&text[position..position + 2], 16).ok()?;
    }
    Some(digest)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A new key.
pub struct NewKey {
    /// The key that its owner sends.
    pub secret: String,
    /// Its entry in the key file.
    pub entry: String,
}

/// Why a key cannot be generated.
#[derive(Debug, thiserror::Error)]
pub enum InvalidKeyName {
    /// The name cannot be a TOML key.
    #[error("{0:?}: expected a name of letters, digits, - and _, such as front-end")]
    Name(String),
    /// The system's random number generator failed.
    #[error("the system's random number generator failed")]
    Random,
    /// The entry cannot be written as TOML.
    #[error("{0}")]
    Text(#[from] toml::ser::Error),
}

impl NewKey {
    /// Generates a key with the given owner and roles.
    ///
    /// # Errors
    /// The name has other characters than letters, digits, - and _, or the random number generator failed.
    pub fn generate(name: &str, roles: &[Role]) -> Result<Self, InvalidKeyName> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if name.is_empty() || !name.bytes().all(plain) {
            return Err(InvalidKeyName::Name(name.to_owned()));
        }
        let mut random = [0; 32];
        let source = rustls::crypto::ring::default_provider().secure_random;
        source.fill(&mut random).map_err(|_| InvalidKeyName::Random)?;
        let secret = format!("{PREFIX}{}", hex(&random));
        let entry = KeyEntry {
            sha256: hex(&Sha256::digest(&secret)),
            roles: roles.to_vec(),
            models: None,
            rate: None,
            burst: None,
            share: None,
        };
        let entry = toml::to_string(&BTreeMap::from([(name, entry)]))?;
        Ok(Self { secret, entry })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ApiKeys, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.toml");
        std::fs::write(&path, text).unwrap();
        ApiKeys::read(&path)
    }

    #[test]
    fn finds_a_new_key_with_its_roles() {
        let score = NewKey::generate("front-end", &[Role::Score]).unwrap();
        let admin = NewKey::generate("on-call", &[Role::Administer]).unwrap();
        let keys = read(&format!("{}{}", score.entry, admin.entry)).unwrap();
        let found = keys.find(score.secret.as_bytes()).unwrap();
        assert_eq!(found.name, "front-end");
        assert!(found.may(Role::Score) && found.may(Role::Read) && !found.may(Role::Administer));
        let found = keys.find(admin.secret.as_bytes()).unwrap();
        assert!(found.may(Role::Administer) && !found.may(Role::Score));
        assert!(keys.find(b"").is_none() && keys.find(&score.secret.as_bytes()[1..]).is_none());
        assert!(!score.entry.contains(&score.secret));
    }

    #[test]
    fn names_an_invalid_entry() {
        let hash = "0".repeat(64);
        for (text, part) in [
            (
                "[a]\nsha256 = \"12\"\nroles = [\"score\"]".to_owned(),
                "[a] sha256: expected 64",
            ),
            (
                format!("[a]\nsha256 = \"{hash}\"\nroles = []"),
                "[a] roles: expected at least one of",
            ),
            (
                format!("[a]\nsha256 = \"{hash}\"\nroles = [\"scores\"]"),
                "did you mean `score`?",
            ),
            (
                format!(
                    "[a]\nsha256 = \"{hash}\"\nroles = [\"score\"]\n[b]\nsha256 = \"{hash}\"\nroles = [\"read\"]"
                ),
                "are the same key",
            ),
            (
                format!("[a]\nsha256 = \"{hash}\"\nroles = [\"score\"]\nmodels = []"),
                "[a] models: expected at least one name",
            ),
            (
                format!("[a]\nsha256 = \"{hash}\"\nroles = [\"score\"]\nmodels = [\"a*b\"]"),
                "with a star at the end, found \"a*b\"",
            ),
            (
                format!("[a]\nsha256 = \"{hash}\"\nroles = [\"score\"]\nshare = 2"),
                "[a] share: expected more than 0",
            ),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        // The last key may be revoked by a file that says so; an empty one may be cut off.
        assert!(read("").unwrap_err().contains("# no keys"));
        assert_eq!(read("# no keys\n").unwrap().len(), 0);
    }
}
