//! `[storage]`: how object storage is reached.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `[storage]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct StorageSection {
    /// Another server than the cloud's own: any that speaks S3, or an emulator.
    pub endpoint: String,
    /// The region of S3; empty for what `AWS_REGION` says.
    pub region: String,
    /// The key's name, or Azure's account; empty for what the environment or the machine's role says.
    pub access_key: String,
    /// The key. Better given as a variable than written into a file.
    pub secret_key: String,
    /// Whether unencrypted HTTP will do.
    pub allow_http: bool,
    /// Seconds after which the storage counts as away.
    pub timeout_seconds: u64,
    /// Where objects are put while they are read; empty for the system's folder for temporary files.
    pub cache: PathBuf,
}

impl Default for StorageSection {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            region: String::new(),
            access_key: String::new(),
            secret_key: String::new(),
            allow_http: false,
            timeout_seconds: 30,
            cache: PathBuf::new(),
        }
    }
}

impl StorageSection {
    /// Where objects are put while they are read.
    pub fn cache(&self) -> PathBuf {
        if self.cache.as_os_str().is_empty() {
            std::env::temp_dir()
        } else {
            self.cache.clone()
        }
    }
}
