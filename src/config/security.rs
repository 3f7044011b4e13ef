//! `[tls]`, `[auth]` and `[cors]`: encryption, API keys and cross-origin requests.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Encryption of REST and gRPC. The operations port is for the internal network and has none.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSection {
    /// File (PEM) with the server's certificate and its intermediate certificates. Empty: no TLS.
    pub certificate: PathBuf,
    /// File (PEM) with the private key of the certificate, unencrypted.
    pub key: PathBuf,
    /// File (PEM) with CA certificates for client authentication: every client must present a certificate. Empty:
    /// none.
    pub client_ca: PathBuf,
}

/// API keys. Probes, metrics, `/docs` and gRPC's health and reflection need no key.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthSection {
    /// File with the hashes of API keys and their roles, as `evergreen key` prints them. Empty: everyone who reaches
    /// a port may do everything.
    pub file: PathBuf,
}

/// Cross-origin requests from web pages.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct CorsSection {
    /// Origins allowed by CORS, such as `"https://sales.example.com"`; `"*"` allows all.
    pub origins: Vec<String>,
}

impl TlsSection {
    /// Whether TLS is configured.
    pub fn is_on(&self) -> bool {
        !self.certificate.as_os_str().is_empty()
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        let key = !self.key.as_os_str().is_empty();
        if self.is_on() != key {
            return Err("set both tls.certificate and tls.key, or neither".to_owned());
        }
        if !self.is_on() && !self.client_ca.as_os_str().is_empty() {
            return Err(
                "tls.client_ca: client certificates need TLS; set tls.certificate and tls.key, too"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// Makes relative paths start at `base`.
    pub(super) fn rebase(&mut self, base: &Path) {
        for path in [&mut self.certificate, &mut self.key, &mut self.client_ca] {
            rebase(path, base);
        }
    }
}

impl AuthSection {
    /// Whether API keys are required.
    pub fn is_on(&self) -> bool {
        !self.file.as_os_str().is_empty()
    }

    /// Makes relative paths start at `base`.
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
                    "cors.origins: expected \"https://host\" or \"https://host:port\" without a path, found {origin:?}"
                ));
            }
        }
        Ok(())
    }
}

/// Makes a relative path start at `base`; an empty path stays empty.
pub(super) fn rebase(path: &mut PathBuf, base: &Path) {
    if !path.as_os_str().is_empty() {
        *path = base.join(&*path);
    }
}
