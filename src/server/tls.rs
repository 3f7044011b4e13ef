//! TLS with rustls: one certificate for REST and gRPC, and optional CA certificates for client authentication. Changed
//! files are reloaded: new connections get the new certificate, open ones keep the old one.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::api::auth::secret_metrics::{Secret, SecretMetrics};
use crate::config::TlsSection;
use crate::file_backed::FileBacked;
use crate::files;
use crate::values::time;

/// Protocols that a port negotiates.
#[derive(Clone, Copy, Debug)]
pub(super) enum Alpn {
    /// HTTP/2 and HTTP/1.1.
    Rest,
    /// HTTP/2 only.
    Grpc,
}

/// The TLS configuration of REST and gRPC, reloaded when its files change.
pub(super) type ServerTls = FileBacked<TlsMaterial>;

/// rustls configurations of both ports.
#[derive(Debug)]
pub(super) struct TlsMaterial {
    rest: Arc<ServerConfig>,
    grpc: Arc<ServerConfig>,
    /// Earliest expiry in the certificate chain.
    expires: Timestamp,
}

/// Reads certificates and key; `None` if TLS is off.
///
/// # Errors
/// A file cannot be used; the message names it and the reason.
pub(super) fn start(section: &TlsSection, metrics: &SecretMetrics) -> Result<Option<Arc<ServerTls>>, String> {
    if !section.is_on() {
        return Ok(None);
    }
    let files = [&section.certificate, &section.key, &section.client_ca];
    let files = files.into_iter().filter(|path| !path.as_os_str().is_empty());
    let files = files.cloned().collect();
    let metrics = metrics.clone();
    let on_reload = Box::new(move |read: Result<&TlsMaterial, &str>| {
        metrics.count_read(Secret::Certificate, read.is_ok());
        match read {
            Ok(material) => {
                metrics.certificate_expires(material.expires);
                tracing::info!(expires = %material.expires, "TLS certificate loaded");
            }
            Err(error) => tracing::error!(error, "TLS certificate rejected, keeping the previous one"),
        }
    });
    let section = section.clone();
    ServerTls::new(files, move || read(&section), on_reload).map(|tls| Some(Arc::new(tls)))
}

impl ServerTls {
    /// Returns an acceptor with the current certificate.
    pub(super) fn acceptor(&self, alpn: Alpn) -> TlsAcceptor {
        let material = self.get();
        TlsAcceptor::from(match alpn {
            Alpn::Rest => material.rest.clone(),
            Alpn::Grpc => material.grpc.clone(),
        })
    }
}

fn read(section: &TlsSection) -> Result<TlsMaterial, String> {
    let chain = certificates(&section.certificate)?;
    let expires = earliest_expiry(&section.certificate, &chain)?;
    let path = section.key.display();
    let pem = files::read(&section.key, files::SMALL).map_err(|error| format!("tls.key: {path}: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|error| format!("tls.key: {path}: {error}; expected an unencrypted private key (PEM)"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = if section.client_ca.as_os_str().is_empty() {
        builder.with_no_client_auth()
    } else {
        let refuse = |error: &dyn std::fmt::Display| {
            format!("tls.client_ca: {}: {error}", section.client_ca.display())
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&section.client_ca)? {
            roots.add(certificate).map_err(|error| refuse(&error))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
        builder.with_client_cert_verifier(verifier.build().map_err(|error| refuse(&error))?)
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| {
        let certificate = section.certificate.display();
        format!("tls.key: {path} does not match {certificate}: {error}")
    })?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    let mut rest = config.clone();
    rest.alpn_protocols.push(b"http/1.1".to_vec());
    Ok(TlsMaterial {
        rest: Arc::new(rest),
        grpc: Arc::new(config),
        expires,
    })
}

/// What the certificate files of the settings hold.
#[derive(Debug)]
pub struct CertificateSummary {
    /// Earliest expiry in the chain.
    pub expires: Timestamp,
    /// The names and addresses that the server's certificate is for.
    pub names: Vec<String>,
}

/// Reads the files of `[tls]` as the server does.
///
/// # Errors
/// A file cannot be used; the message names it and the reason.
pub fn inspect(section: &TlsSection) -> Result<CertificateSummary, String> {
    let expires = read(section)?.expires;
    let chain = certificates(&section.certificate)?;
    let names = chain.first().map(|der| subject_names(der)).unwrap_or_default();
    Ok(CertificateSummary { expires, names })
}

fn subject_names(der: &CertificateDer<'_>) -> Vec<String> {
    let parsed = Certificate::from_der(der).ok();
    let names = parsed.and_then(|parsed| parsed.tbs_certificate.get::<SubjectAltName>().ok().flatten());
    let names = names.map(|(_, SubjectAltName(names))| names).unwrap_or_default();
    let text = |name: &GeneralName| match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::IpAddress(address) => match *address.as_bytes() {
            [a, b, c, d] => Some(Ipv4Addr::new(a, b, c, d).to_string()),
            _ => <[u8; 16]>::try_from(address.as_bytes())
                .ok()
                .map(|bytes| Ipv6Addr::from(bytes).to_string()),
        },
        _ => None,
    };
    names.iter().filter_map(text).collect()
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let refuse = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let pem = files::read(path, files::SMALL).map_err(|error| refuse(&error))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.map_err(|error| refuse(&error))?;
    if certificates.is_empty() {
        return Err(refuse(
            &"no certificate found; expected PEM with -----BEGIN CERTIFICATE-----",
        ));
    }
    Ok(certificates)
}

/// Checks that every certificate of a chain is valid now, and returns the earliest expiry.
fn earliest_expiry(path: &Path, chain: &[CertificateDer<'_>]) -> Result<Timestamp, String> {
    let now = time::timestamp();
    let mut earliest = Timestamp::MAX;
    for (number, der) in (1..).zip(chain) {
        let refuse = |what: String| format!("{}, certificate {number}: {what}", path.display());
        let parsed = Certificate::from_der(der).map_err(|error| refuse(error.to_string()))?;
        let validity = parsed.tbs_certificate.validity;
        let instant = |time: x509_cert::time::Time| {
            Timestamp::try_from(time.to_system_time()).map_err(|error| refuse(error.to_string()))
        };
        let (from, to) = (instant(validity.not_before)?, instant(validity.not_after)?);
        if to <= now {
            return Err(refuse(format!("expired on {to}")));
        }
        if from > now {
            return Err(refuse(format!(
                "is not valid before {from}; check the system clock"
            )));
        }
        earliest = earliest.min(to);
    }
    Ok(earliest)
}
