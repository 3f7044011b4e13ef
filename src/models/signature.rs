//! Signatures of bundles: Ed25519 over `bundle.toml`, which holds the checksums of all files that the gate reads. A
//! signature belongs to one model name, so that a signed bundle cannot be served as another model.

use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};

use super::contract::FILE_NAME;
use crate::config::models::PUBLIC_KEY_PREFIX;
use crate::files;

/// Name of the file with the signature, beside `bundle.toml`.
pub const SIGNATURE_FILE: &str = "bundle.toml.sig";

/// Largest size of a signature or key file in bytes.
const LARGEST: u64 = 16 << 10;

/// Begins an Ed25519 private key in PKCS#8 version 1 (RFC 8410); its 32 bytes follow. Other programs read this version
/// only: ring itself would write version 2, in a form of its own.
const PKCS8_V1: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Begins what is signed, so that no other signature of the same key can be taken for one of a bundle.
const PURPOSE: &[u8] = b"evergreen bundle 1\0";

/// A public key: `ed25519:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Reads a public key; `None` if the text is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = from_hex(text.strip_prefix(PUBLIC_KEY_PREFIX)?)?;
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC_KEY_PREFIX}{}", hex(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The signature file.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct SignatureFile {
    key: String,
    signature: String,
}

/// The keys whose signatures count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedKeys(Vec<PublicKey>);

impl TrustedKeys {
    /// Reads the keys of `models.trusted_keys`: public keys, or files with one at the beginning of each line.
    ///
    /// # Errors
    /// A file cannot be read or has no key, or a text is not a key.
    pub fn read(entries: &[String]) -> Result<Self, String> {
        let mut keys = Vec::new();
        for entry in entries {
            let refuse = |what: String| format!("models.trusted_keys: {what}");
            if entry.starts_with(PUBLIC_KEY_PREFIX) {
                keys.push(PublicKey::parse(entry).ok_or_else(|| refuse(not_a_key(entry)))?);
                continue;
            }
            let found = keys_of_file(Path::new(entry)).map_err(refuse)?;
            keys.extend(found);
        }
        Ok(Self(keys))
    }

    /// Whether bundles need a signature.
    pub fn is_on(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whether the signatures of a key count.
    pub fn has(&self, key: PublicKey) -> bool {
        self.0.contains(&key)
    }

    /// The keys.
    pub fn keys(&self) -> &[PublicKey] {
        &self.0
    }

    /// Checks the signature in `folder` of the manifest with these bytes, for the model `name`. Returns who signed.
    ///
    /// # Errors
    /// There is no signature, its key is not one of these, or it is of something else.
    pub fn verify(&self, folder: &Path, name: &str, manifest: &[u8]) -> Result<PublicKey, String> {
        let path = folder.join(SIGNATURE_FILE);
        if !path.exists() {
            return Err(format!(
                "{SIGNATURE_FILE} is missing: models.trusted_keys asks for a signature; publish with \
                 `evergreen publish --sign KEY`"
            ));
        }
        let text = read_small(&path)?;
        let file: SignatureFile =
            toml::from_str(&text).map_err(|error| format!("{SIGNATURE_FILE}: {}", error.message()))?;
        let key = PublicKey::parse(&file.key)
            .ok_or_else(|| format!("{SIGNATURE_FILE}: key: {}", not_a_key(&file.key)))?;
        if !self.has(key) {
            return Err(format!(
                "{SIGNATURE_FILE}: signed by {key}, which models.trusted_keys does not list; sign with a listed key, or \
                 add this one if you know whose it is"
            ));
        }
        let signature = from_hex(&file.signature)
            .ok_or_else(|| format!("{SIGNATURE_FILE}: signature: expected 128 hexadecimal digits"))?;
        UnparsedPublicKey::new(&ED25519, key.0)
            .verify(&message(name, manifest), &signature)
            .map_err(|_| {
                format!(
                    "{SIGNATURE_FILE}: the signature by {key} is not of this {FILE_NAME} as a version of the model \
                     `{name}`: the contract was changed after it was signed, or signed for another model"
                )
            })?;
        Ok(key)
    }
}

/// A private key that signs bundles.
#[derive(Debug)]
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// Reads a private key: PKCS#8 in PEM, as `evergreen key --signing` and OpenSSL write it.
    ///
    /// # Errors
    /// The file cannot be read or is not such a key. The message holds nothing of its content.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = read_small(path)?;
        let refuse = || {
            format!(
                "{}: expected an Ed25519 private key, as `evergreen key --signing` writes it",
                path.display()
            )
        };
        let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).map_err(|_| refuse())?;
        // Version 1 has no public key to compare with.
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der());
        pair.map(Self).map_err(|_| refuse())
    }

    /// Generates a key. Returns it as PKCS#8 in PEM, with its public key.
    ///
    /// # Errors
    /// The system's random number generator failed.
    pub fn generate() -> Result<(String, PublicKey), String> {
        let failed = || "the system's random number generator failed".to_owned();
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed).map_err(|_| failed())?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| failed())?;
        Ok((pem(&[&PKCS8_V1[..], &seed].concat()), Self(pair).public()))
    }

    /// The public key.
    pub fn public(&self) -> PublicKey {
        let mut key = [0; 32];
        key.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(key)
    }

    /// Signs a manifest for a model. Returns the text of the signature file.
    ///
    /// # Errors
    /// Never: the file is plain TOML.
    pub fn sign(&self, name: &str, manifest: &[u8]) -> Result<String, String> {
        let signature = self.0.sign(&message(name, manifest));
        let file = SignatureFile {
            key: self.public().to_string(),
            signature: hex(signature.as_ref()),
        };
        toml::to_string(&file).map_err(|error| error.to_string())
    }
}

/// What is signed. A model name has no zero byte, so that the parts cannot be shifted.
fn message(name: &str, manifest: &[u8]) -> Vec<u8> {
    [PURPOSE, name.as_bytes(), b"\0", manifest].concat()
}

fn keys_of_file(path: &Path) -> Result<Vec<PublicKey>, String> {
    let text = read_small(path)?;
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys = lines.map(|line| {
        let word = line.split_whitespace().next().unwrap_or_default();
        PublicKey::parse(word).ok_or_else(|| format!("{}: {}", path.display(), not_a_key(word)))
    });
    let keys: Vec<PublicKey> = keys.collect::<Result<_, _>>()?;
    if keys.is_empty() {
        return Err(format!(
            "{}: no key found; expected lines such as ed25519:1f…",
            path.display()
        ));
    }
    Ok(keys)
}

fn not_a_key(text: &str) -> String {
    let shown: String = text.chars().take(80).collect();
    format!(
        "expected {PUBLIC_KEY_PREFIX} and 64 hexadecimal digits, as `evergreen key --signing` prints them, found {shown:?}"
    )
}

/// Reads a small text file.
fn read_small(path: &Path) -> Result<String, String> {
    files::read_text(path, LARGEST).map_err(|error| format!("{}: {error}", path.display()))
}

/// Writes PKCS#8 as PEM (RFC 7468): lines of 64 characters.
fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines = text.as_bytes().chunks(64).map(String::from_utf8_lossy);
    let mut pem = "-----BEGIN PRIVATE KEY-----\n".to_owned();
    for line in lines {
        pem.push_str(&line);
        pem.push('\n');
    }
    pem + "-----END PRIVATE KEY-----\n"
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16)?.try_into().ok()).collect();
    let digits = digits?;
    let pairs = digits.chunks_exact(2);
    let whole = pairs.remainder().is_empty();
    whole.then(|| {
        pairs
            .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &[u8] = b"format = 1\n";

    /// A signing key in `folder`.
    fn key(folder: &Path) -> SigningKey {
        let path = folder.join("key.pem");
        let (text, public) = SigningKey::generate().unwrap();
        std::fs::write(&path, text).unwrap();
        let key = SigningKey::read(&path).unwrap();
        assert_eq!(key.public(), public);
        key
    }

    fn trust(keys: &[&SigningKey]) -> TrustedKeys {
        let keys: Vec<String> = keys.iter().map(|key| key.public().to_string()).collect();
        TrustedKeys::read(&keys).unwrap()
    }

    #[test]
    fn a_signature_is_of_one_manifest_one_model_and_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (key(folder.path()), key(folder.path()));
        let path = folder.path().join(SIGNATURE_FILE);
        let refusal = |trusted: &TrustedKeys, name: &str, manifest: &[u8]| {
            trusted.verify(folder.path(), name, manifest).unwrap_err()
        };
        let both = trust(&[&old, &new]);
        assert!(refusal(&both, "churn", MANIFEST).contains("is missing"));
        std::fs::write(&path, old.sign("churn", MANIFEST).unwrap()).unwrap();
        assert_eq!(both.verify(folder.path(), "churn", MANIFEST), Ok(old.public()));
        assert!(refusal(&both, "churn", b"format = 2\n").contains("was changed after it was signed"));
        assert!(refusal(&both, "upsell", MANIFEST).contains("of the model `upsell`"));
        assert!(refusal(&trust(&[&new]), "churn", MANIFEST).contains(&old.public().to_string()));
        // The key of the file must be the one that signed.
        let text = std::fs::read_to_string(&path).unwrap();
        let forged = text.replace(&old.public().to_string(), &new.public().to_string());
        std::fs::write(&path, forged).unwrap();
        assert!(refusal(&both, "churn", MANIFEST).contains("is not of this bundle.toml"));
        for (text, expected) in [
            ("nonsense", "bundle.toml.sig: "),
            ("key = \"x\"\nsignature = \"\"\n", "expected ed25519: and 64"),
        ] {
            std::fs::write(&path, text).unwrap();
            assert!(refusal(&both, "churn", MANIFEST).contains(expected), "{text}");
        }
        std::fs::write(&path, vec![b'#'; 1 << 20]).unwrap();
        assert!(refusal(&both, "churn", MANIFEST).contains("at most"));
    }

    #[test]
    fn keys_are_given_as_texts_and_files() {
        let folder = tempfile::tempdir().unwrap();
        let key = key(folder.path()).public().to_string();
        let path = folder.path().join("trusted.pub");
        let file = path.display().to_string();
        std::fs::write(&path, format!("# of the team\n{key} release\n\n")).unwrap();
        let trusted = TrustedKeys::read(&[key.clone(), file.clone()]).unwrap();
        assert_eq!(trusted.keys().len(), 2);
        assert!(!TrustedKeys::read(&[]).unwrap().is_on());
        for text in ["", "# none\n", "release ed25519:00\n", "ed25519:00\n"] {
            std::fs::write(&path, text).unwrap();
            assert!(
                TrustedKeys::read(std::slice::from_ref(&file)).is_err(),
                "{text:?}"
            );
        }
        for wrong in [&key[..key.len() - 1], "ed25519:", "/no/such/file"] {
            let error = TrustedKeys::read(&[wrong.to_owned()]).unwrap_err();
            assert!(error.starts_with("models.trusted_keys: "), "{error}");
        }
    }

    #[test]
    fn another_key_or_file_is_no_signing_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        for text in [
            "",
            "secret",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ] {
            std::fs::write(&path, text).unwrap();
            let error = SigningKey::read(&path).unwrap_err();
            assert!(error.contains("expected an Ed25519 private key"), "{error}");
        }
    }
}
