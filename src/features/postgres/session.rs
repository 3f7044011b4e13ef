//! Connections to PostgreSQL: a few for single entities, one for bulk. Queries are pipelined; a lost connection is made again
//! at the next query.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Row, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::connection_string;
use crate::features::lazy::Lazy;
use crate::features::source::{Lane, SourceError};
use crate::files;

/// Timeout to connect.
const CONNECT: Duration = Duration::from_secs(2);

/// Default number of connections for single entities.
const CONNECTIONS: usize = 2;

/// Connections of one store.
#[derive(Debug)]
pub(crate) struct Sessions {
    config: Config,
    tls: PostgresTls,
    online: Vec<Lazy<Arc<Session>>>,
    bulk: Lazy<Arc<Session>>,
    next: AtomicUsize,
}

#[derive(Clone)]
struct PostgresTls(MakeRustlsConnect);

impl std::fmt::Debug for PostgresTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PostgresTls")
    }
}

/// One connection with its prepared statements.
pub(crate) struct Session {
    client: Client,
    statements: Mutex<HashMap<String, Statement>>,
}

impl Sessions {
    /// Prepares connections; nothing is connected yet.
    ///
    /// # Errors
    /// The connection string or a certificate cannot be read.
    pub(crate) fn new(connect: &str, password: &str, ca: &Path, connections: usize) -> Result<Self, String> {
        let mut config = connection_string::parse(connect)?;
        config.connect_timeout(CONNECT).application_name("evergreen");
        if !password.is_empty() {
            config.password(password);
        }
        let connections = if connections == 0 {
            CONNECTIONS
        } else {
            connections
        };
        Ok(Self {
            config,
            tls: PostgresTls(MakeRustlsConnect::new(tls(ca)?)),
            online: (0..connections).map(|_| Lazy::default()).collect(),
            bulk: Lazy::default(),
            next: AtomicUsize::new(0),
        })
    }

    /// Returns an open connection of a lane.
    ///
    /// # Errors
    /// No connection can be made.
    pub(crate) async fn session(&self, lane: Lane) -> Result<Arc<Session>, SourceError> {
        let slot = match lane {
            Lane::Bulk => &self.bulk,
            Lane::Online => &self.online[self.next.fetch_add(1, Ordering::Relaxed) % self.online.len()],
        };
        let (config, tls) = (self.config.clone(), self.tls.clone());
        let session = slot.get(|| connect(config, tls), |session| !session.client.is_closed());
        session
            .await
            .map(|(session, _)| session)
            .map_err(SourceError::Dropped)
    }
}

async fn connect(config: Config, PostgresTls(tls): PostgresTls) -> Result<Arc<Session>, String> {
    let (client, connection) = config.connect(tls).await.map_err(|error| describe(&error))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = describe(&error), "a connection to PostgreSQL ended");
        }
    });
    Ok(Arc::new(Session {
        client,
        statements: Mutex::default(),
    }))
}

impl Session {
    /// Prepares a query, once per connection.
    ///
    /// # Errors
    /// The server refuses the query.
    pub(crate) async fn prepare(&self, query: &str) -> Result<Statement, SourceError> {
        let statement = self.statement(query).await;
        statement.map_err(|error| self.classify(&error))
    }

    async fn statement(&self, query: &str) -> Result<Statement, tokio_postgres::Error> {
        let known = self
            .statements
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(query)
            .cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let statement = self.client.prepare(query).await?;
        let mut statements = self.statements.lock().unwrap_or_else(PoisonError::into_inner);
        statements.insert(query.to_owned(), statement.clone());
        Ok(statement)
    }

    /// Runs a prepared query.
    ///
    /// # Errors
    /// The connection is lost, or the server refuses.
    pub(crate) async fn query(
        &self,
        statement: &Statement,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, SourceError> {
        let rows = self.client.query(statement, parameters).await;
        rows.map_err(|error| {
            let error = self.classify(&error);
            // The table may have changed: the next query prepares the statement again. An id that is refused is no sign of
            // that, and must not cost other requests a statement.
            if !matches!(error, SourceError::Refused(_)) {
                self.forget_statements();
            }
            error
        })
    }

    /// Prepares and runs a query of a job, whose user may read all that the server says.
    ///
    /// # Errors
    /// The connection is lost, or the server refuses.
    pub(crate) async fn run(
        &self,
        query: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        let statement = self.statement(query).await?;
        let rows = self.client.query(&statement, parameters).await;
        rows.inspect_err(|_| self.forget_statements())
    }

    fn forget_statements(&self) {
        self.statements
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    fn classify(&self, error: &tokio_postgres::Error) -> SourceError {
        let code = error.code().map_or("", |code| code.code());
        // Class 22: data exceptions, such as a text that is no UUID.
        if code.starts_with("22") {
            return SourceError::Refused(format!("SQLSTATE {code}"));
        }
        // The result has other types than when the statement was prepared, or the statement is gone.
        if code == "0A000" || code == "26000" {
            return SourceError::Outdated(describe(error));
        }
        // 57P: the server is shutting down.
        if code.starts_with("57P") || self.client.is_closed() || error.as_db_error().is_none() {
            SourceError::Dropped(describe(error))
        } else {
            SourceError::Failed(describe(error))
        }
    }
}

/// The error with its causes. Of an error that the server reports only its code: its text can quote an id.
pub(crate) fn describe(error: &tokio_postgres::Error) -> String {
    if let Some(code) = error.code() {
        return format!("the server reports SQLSTATE {}", code.code());
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

fn tls(ca: &Path) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    if ca.as_os_str().is_empty() {
        for certificate in rustls_native_certs::load_native_certs().certs {
            // Skip unreadable system certificates.
            let _ = roots.add(certificate);
        }
    } else {
        let no = |error: &dyn std::fmt::Display| format!("{}: {error}", ca.display());
        let pem = files::read(ca, files::SMALL).map_err(|error| no(&error))?;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| no(&error))?;
            roots.add(certificate).map_err(|error| no(&error))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
