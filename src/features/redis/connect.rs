//! Connections to Redis or Valkey: a few for single entities, one for bulk; standalone or cluster, with TLS and passwords.
//! They are made at first use and reconnect by themselves.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    Client, ClientTlsConfig, Cmd, ConnectionInfo, ErrorKind, IntoConnectionInfo as _, Pipeline, RedisError,
    TlsCertificates, Value, cmd,
};

use super::reply::{Reply, ReplyShape};
use crate::config::source::RedisConnection;
use crate::features::lazy::Lazy;
use crate::features::source::{Lane, SourceError};
use crate::files;

/// Timeout to connect.
const CONNECT: Duration = Duration::from_secs(2);

/// Pause between two attempts to reach an unavailable server, so that its return is noticed within a second.
const PAUSE: Duration = Duration::from_millis(100);

/// Concurrent commands on one connection to a cluster.
const BURST: usize = 50;

/// Connections of one store.
#[derive(Debug)]
pub(crate) struct Connections {
    online: Vec<Connection>,
    bulk: Connection,
    next: AtomicUsize,
}

impl Connections {
    /// Prepares connections; nothing is connected yet.
    ///
    /// # Errors
    /// A URL or certificate cannot be read; the message names it.
    pub(crate) fn new(section: &RedisConnection) -> Result<Self, String> {
        let target = RedisTarget::new(section)?;
        let online = (0..section.connections.max(1)).map(|_| Connection::new(target.clone()));
        Ok(Self {
            online: online.collect(),
            bulk: Connection::new(target.clone()),
            next: AtomicUsize::new(0),
        })
    }

    /// Sends commands in one pipeline; each concerns one key and has a reply of `shape`.
    ///
    /// # Errors
    /// There is no connection, an error concerns more than one key, or a reply has another shape.
    pub(crate) async fn send(
        &self,
        commands: Vec<Cmd>,
        lane: Lane,
        shape: ReplyShape,
    ) -> Result<Vec<Reply>, SourceError> {
        let connection = match lane {
            Lane::Bulk => &self.bulk,
            Lane::Online => &self.online[self.next.fetch_add(1, Ordering::Relaxed) % self.online.len()],
        };
        connection.send(commands, shape).await
    }
}

/// Where to connect to.
#[derive(Clone)]
enum RedisTarget {
    One(Box<Client>),
    Cluster(Box<ClusterClient>),
}

impl std::fmt::Debug for RedisTarget {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::One(_) => "One",
            Self::Cluster(_) => "Cluster",
        })
    }
}

impl RedisTarget {
    fn new(section: &RedisConnection) -> Result<Self, String> {
        let nodes = section.urls.iter().map(|url| node(url, section));
        let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
        let certificates = certificates(section)?;
        let no = |error: RedisError| format!("redis: {error}");
        if section.cluster {
            let mut builder = ClusterClient::builder(nodes)
                .connection_timeout(CONNECT)
                // The caller has the timeout. Fewer retries would be used up before all nodes know a moved slot.
                .retries(8)
                .max_retry_wait(100)
                .min_retry_wait(5)
                .tcp_settings(TcpSettings::default().set_nodelay(true));
            if let Some(certificates) = certificates {
                builder = builder.certs(certificates);
            }
            return builder
                .build()
                .map(|client| Self::Cluster(Box::new(client)))
                .map_err(no);
        }
        let [node] = <[ConnectionInfo; 1]>::try_from(nodes)
            .map_err(|nodes| format!("redis: {} urls; set cluster = true or keep one", nodes.len()))?;
        let client = match certificates {
            Some(certificates) => Client::build_with_tls(node, certificates),
            None => Client::open(node),
        };
        client.map(|client| Self::One(Box::new(client))).map_err(no)
    }
}

fn node(url: &str, section: &RedisConnection) -> Result<ConnectionInfo, String> {
    // The URL may hold a password, so the message does not repeat it.
    let info = url
        .into_connection_info()
        .map_err(|error| format!("redis: expected a url such as \"redis://host:6379/0\": {error}"))?;
    let mut settings = info.redis_settings().clone();
    if !section.username.is_empty() {
        settings = settings.set_username(&section.username);
    }
    if !section.password.is_empty() {
        settings = settings.set_password(&section.password);
    }
    let tcp = TcpSettings::default().set_nodelay(true);
    Ok(info.set_redis_settings(settings).set_tcp_settings(tcp))
}

fn certificates(section: &RedisConnection) -> Result<Option<TlsCertificates>, String> {
    if section.urls.iter().any(|url| url.starts_with("rediss:")) {
        // Already installed by another caller.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let read =
        |path: &Path| files::read(path, files::SMALL).map_err(|error| format!("{}: {error}", path.display()));
    let root_cert = match section.ca.as_os_str().is_empty() {
        true => None,
        false => Some(read(&section.ca)?),
    };
    let client_tls = match section.certificate.as_os_str().is_empty() {
        true => None,
        false => Some(ClientTlsConfig {
            client_cert: read(&section.certificate)?,
            client_key: read(&section.key)?,
        }),
    };
    let any = root_cert.is_some() || client_tls.is_some();
    Ok(any.then_some(TlsCertificates {
        client_tls,
        root_cert,
    }))
}

/// One connection, made at first use.
#[derive(Clone, Debug)]
struct Connection {
    target: RedisTarget,
    client: Arc<Lazy<RedisClient>>,
    /// Whether a task is trying to reconnect.
    reconnecting: Arc<AtomicBool>,
}

#[derive(Clone)]
enum RedisClient {
    One(ConnectionManager),
    Cluster(ClusterConnection),
}

impl Connection {
    fn new(target: RedisTarget) -> Self {
        Self {
            target,
            client: Arc::default(),
            reconnecting: Arc::default(),
        }
    }

    async fn send(&self, commands: Vec<Cmd>, shape: ReplyShape) -> Result<Vec<Reply>, SourceError> {
        let (client, number) = self.client().await.map_err(SourceError::Dropped)?;
        let replies = self.exchange(client, commands, number).await?;
        if replies.iter().flatten().all(|value| shape.fits(value)) {
            return Ok(replies);
        }
        // Nothing that follows on this connection can be trusted.
        self.client.forget(number);
        let reason = "Redis sent a reply of another shape than the command has; the connection is closed";
        Err(SourceError::Failed(reason.to_owned()))
    }

    async fn exchange(
        &self,
        client: RedisClient,
        commands: Vec<Cmd>,
        number: u64,
    ) -> Result<Vec<Reply>, SourceError> {
        match client {
            RedisClient::One(manager) => self.pipeline(manager, commands, number).await,
            RedisClient::Cluster(cluster) => {
                let mut guard = CancelGuard {
                    client: &self.client,
                    number,
                    done: false,
                };
                let replies = self.scatter(&cluster, commands, number).await;
                guard.done = true;
                replies
            }
        }
    }

    async fn pipeline(
        &self,
        mut manager: ConnectionManager,
        commands: Vec<Cmd>,
        number: u64,
    ) -> Result<Vec<Reply>, SourceError> {
        if let [command] = commands.as_slice() {
            let value = manager.req_packed_command(command).await;
            return self.reply(value, number).map(|reply| vec![reply]);
        }
        let count = commands.len();
        let mut pipeline = Pipeline::with_capacity(count);
        for command in commands {
            pipeline.add_command(command);
        }
        let values = manager.req_packed_commands(&pipeline, 0, count).await;
        let values = values.map_err(|error| self.classify(&error, number))?;
        values
            .into_iter()
            .map(|value| self.reply(Ok(value), number))
            .collect()
    }

    /// Sends commands to a cluster: the client routes each one to its node, and pipelines per node.
    async fn scatter(
        &self,
        cluster: &ClusterConnection,
        commands: Vec<Cmd>,
        number: u64,
    ) -> Result<Vec<Reply>, SourceError> {
        let mut replies = Vec::with_capacity(commands.len());
        // The client follows a moved slot one command at a time; a large burst on such a slot would exceed its retries.
        for some in commands.chunks(BURST) {
            let sent = some.iter().map(|command| {
                let mut cluster = cluster.clone();
                async move { cluster.req_packed_command(command).await }
            });
            for value in join_all(sent).await {
                replies.push(self.reply(value, number)?);
            }
        }
        Ok(replies)
    }

    /// Turns an error that concerns one key into the reply for that key.
    fn reply(&self, value: Result<Value, RedisError>, number: u64) -> Result<Reply, SourceError> {
        match value.and_then(Value::extract_error) {
            Ok(value) => Ok(Ok(value)),
            Err(error) if error.code() == Some(WRONG_TYPE) => {
                Ok(Err("WRONGTYPE: the key holds another type of value".to_owned()))
            }
            Err(error) => Err(self.classify(&error, number)),
        }
    }

    async fn client(&self) -> Result<(RedisClient, u64), String> {
        let target = self.target.clone();
        self.client.get(|| make(target), |_| true).await
    }

    /// Classifies an error. A connection that cannot recover is dropped.
    fn classify(&self, error: &RedisError, number: u64) -> SourceError {
        let stuck = matches!(
            error.kind(),
            ErrorKind::AuthenticationFailed | ErrorKind::ClusterConnectionNotFound | ErrorKind::Client
        ) || error.code() == Some("NOAUTH");
        if stuck {
            self.client.forget(number);
        }
        if stuck || error.is_io_error() || error.is_unrecoverable_error() {
            self.revive();
            SourceError::Dropped(describe(error))
        } else {
            SourceError::Failed(describe(error))
        }
    }

    /// Reconnects in the background, so that requests fail fast while the server is unavailable and succeed soon after its
    /// return. The client itself would retry only at the next request, and fail that one.
    fn revive(&self) {
        if self.reconnecting.swap(true, Ordering::Relaxed) {
            return;
        }
        let connection = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(PAUSE).await;
                let ping = cmd("PING");
                let answer = async {
                    match connection.client().await?.0 {
                        RedisClient::One(mut manager) => manager.req_packed_command(&ping).await,
                        // A cluster client finds its nodes by itself.
                        RedisClient::Cluster(_) => return Ok(()),
                    }
                    .map(|_| ())
                    .map_err(|error| error.to_string())
                };
                if let Ok(Ok(())) = tokio::time::timeout(CONNECT, answer).await {
                    break;
                }
                // The store is no longer in use.
                if Arc::strong_count(&connection.client) == 1 {
                    break;
                }
            }
            connection.reconnecting.store(false, Ordering::Relaxed);
        });
    }
}

/// The class and the code of an error. The server's own text can quote an id, and is not repeated.
fn describe(error: &RedisError) -> String {
    if error.is_io_error() {
        return error.to_string();
    }
    let is_code = |code: &&str| code.len() <= 32 && code.bytes().all(|byte| byte.is_ascii_uppercase());
    match error.code().filter(is_code) {
        Some(code) => format!("{} ({code})", error.category()),
        None => error.category().to_owned(),
    }
}

/// Drops a cluster connection if its caller is cancelled: after a failover the client may wait for the node that is gone,
/// while a new one finds the others at once.
struct CancelGuard<'a> {
    client: &'a Lazy<RedisClient>,
    number: u64,
    done: bool,
}

impl Drop for CancelGuard<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.client.forget(self.number);
        }
    }
}

async fn make(target: RedisTarget) -> Result<RedisClient, String> {
    let client = match target {
        RedisTarget::One(client) => {
            let config = ConnectionManagerConfig::new()
                .set_connection_timeout(Some(CONNECT))
                // The caller has a timeout for the whole fetch.
                .set_response_timeout(None)
                .set_number_of_retries(1)
                .set_min_delay(Duration::from_millis(5))
                .set_max_delay(PAUSE);
            ConnectionManager::new_lazy_with_config(*client, config).map(RedisClient::One)
        }
        RedisTarget::Cluster(client) => client.get_async_connection().await.map(RedisClient::Cluster),
    };
    client.map_err(|error| error.to_string())
}

/// The error code for a key of another type than the command expects.
const WRONG_TYPE: &str = "WRONGTYPE";
