//! `[tls]`, `[auth]` and `[cors]`: who may ask.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// `[tls]`: encryption of REST and gRPC.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSection {
    /// A file with the server's certificate and those between it and its authority (PEM); empty for no TLS.
    pub certificate: PathBuf,
    /// A file with its key (PEM).
    pub key: PathBuf,
    /// A file with the authorities (PEM) that vouch for clients: every client must then show a certificate. Empty for
    /// none.
    pub client_ca: PathBuf,
}

/// `[auth]`: API keys.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthSection {
    /// A file with the hashes of the keys and their roles; empty where everyone may do everything.
    pub file: PathBuf,
}

/// `[cors]`: pages of other origins.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct CorsSection {
    /// The origins whose pages may ask, such as `https://sales.example.com`; `*` for all.
    pub origins: Vec<String>,
}

impl TlsSection {
    /// Whether there is TLS at all.
    pub fn is_on(&self) -> bool {
        !self.certificate.as_os_str().is_empty()
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        let key = !self.key.as_os_str().is_empty();
        if self.is_on() != key {
            return Err("tls.certificate and tls.key need each other".to_owned());
        }
        if !self.is_on() && !self.client_ca.as_os_str().is_empty() {
            return Err(
                "tls.client_ca asks clients for certificates: it needs tls.certificate and tls.key"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// Takes relative paths as meant from `base`.
    pub(super) fn rebase(&mut self, base: &Path) {
        for path in [&mut self.certificate, &mut self.key, &mut self.client_ca] {
            rebase(path, base);
        }
    }
}

impl AuthSection {
    /// Whether keys are needed at all.
    pub fn is_on(&self) -> bool {
        !self.file.as_os_str().is_empty()
    }

    /// Takes relative paths as meant from `base`.
    pub(super) fn rebase(&mut self, base: &Path) {
        rebase(&mut self.file, base);
    }
}

impl CorsSection {
    pub(super) fn validate(&self) -> Result<(), String> {
        for origin in self.origins.iter().filter(|origin| *origin != "*") {
            let host = ["https://", "http://"]
                .iter()
                .find_map(|scheme| origin.strip_prefix(scheme));
            let plain =
                |host: &&str| !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic() && b != b'/');
            if host.filter(plain).is_none() {
                return Err(format!(
                    "cors.origins: {origin:?} is no origin; expected \"https://host\" or \"https://host:port\", \
                     without a path"
                ));
            }
        }
        Ok(())
    }
}

/// Takes a relative path from where the settings are; an empty one stays empty.
pub(super) fn rebase(path: &mut PathBuf, base: &Path) {
    if !path.as_os_str().is_empty() {
        *path = base.join(&*path);
    }
}
