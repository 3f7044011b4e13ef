//! `[storage]`: access to object storage.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Object storage (`s3://`, `gs://`, `az://`), in builds with `--features object-store`. Empty keys fall back to the
/// usual variables (`AWS_ACCESS_KEY_ID`, `AWS_REGION`, `GOOGLE_SERVICE_ACCOUNT`, `AZURE_STORAGE_ACCOUNT_NAME`, …) or
/// the machine's role.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct StorageSection {
    /// URL of a server other than the cloud's own: any that speaks S3, or an emulator.
    pub endpoint: String,
    /// Region of S3.
    pub region: String,
    /// Name of the access key, or the Azure account.
    pub access_key: String,
    /// The secret key. Better set by the variable EVERGREEN_STORAGE__SECRET_KEY than here.
    pub secret_key: String,
    /// Allow plain HTTP.
    pub allow_http: bool,
    /// Seconds after which a request to the storage fails.
    pub timeout_seconds: u64,
    /// Folder for copies of objects while they are read. Empty: the system's temporary folder.
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
    /// The folder for copies of objects while they are read.
    pub fn cache(&self) -> PathBuf {
        if self.cache.as_os_str().is_empty() {
            std::env::temp_dir()
        } else {
            self.cache.clone()
        }
    }
}
