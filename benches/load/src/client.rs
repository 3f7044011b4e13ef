//! Connections that repeat one prepared request at low cost: the load generator shares the cores with the server.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::Result;

/// A server that takes longer does not answer at all.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is asked, and of whom.
#[derive(Clone)]
pub struct Target {
    pub address: String,
    pub path: String,
    pub body: Bytes,
    pub grpc: bool,
}

impl Target {
    fn request(&self) -> Result<Request<Full<Bytes>>> {
        let uri = if self.grpc {
            format!("http://{}{}", self.address, self.path)
        } else {
            self.path.clone()
        };
        let request = Request::post(uri).header("host", &self.address);
        let request = if self.grpc {
            request
                .header(CONTENT_TYPE, "application/grpc")
                .header("te", "trailers")
        } else {
            let request = request.header(CONTENT_TYPE, "application/json");
            request.header(CONTENT_LENGTH, self.body.len())
        };
        Ok(request.body(Full::new(self.body.clone()))?)
    }
}

/// One connection; over gRPC, many requests can be on their way in it.
#[derive(Clone)]
pub struct Connection {
    target: Target,
    grpc: Option<http2::SendRequest<Full<Bytes>>>,
}

/// A connection with HTTP/1.1 has one request on its way.
pub enum Sender {
    Rest(Target, http1::SendRequest<Full<Bytes>>),
    Grpc(Connection),
}

impl Sender {
    /// So many senders over so many connections.
    pub async fn connect(target: &Target, connections: usize, each: usize) -> Result<Vec<Self>> {
        let mut senders = Vec::new();
        for _ in 0..connections {
            let stream = TcpStream::connect(&target.address).await?;
            stream.set_nodelay(true)?;
            let io = TokioIo::new(stream);
            if target.grpc {
                let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                    .initial_stream_window_size(1 << 20)
                    .initial_connection_window_size(1 << 24)
                    .handshake(io)
                    .await?;
                tokio::spawn(connection);
                let connection = Connection {
                    target: target.clone(),
                    grpc: Some(sender),
                };
                senders.extend((0..each).map(|_| Self::Grpc(connection.clone())));
            } else {
                let (sender, connection) = http1::handshake(io).await?;
                tokio::spawn(connection);
                senders.push(Self::Rest(target.clone(), sender));
            }
        }
        Ok(senders)
    }

    /// Asks once and returns the answer's bytes.
    pub async fn ask(&mut self) -> Result<Bytes> {
        let answer = tokio::time::timeout(PATIENCE, self.exchange()).await;
        answer.map_err(|_| format!("no answer in {PATIENCE:?}"))?
    }

    async fn exchange(&mut self) -> Result<Bytes> {
        let response = match self {
            Self::Rest(target, sender) => {
                sender.ready().await?;
                sender.send_request(target.request()?).await?
            }
            Self::Grpc(connection) => {
                let sender = connection.grpc.as_mut().ok_or("no connection")?;
                sender.ready().await?;
                sender.send_request(connection.target.request()?).await?
            }
        };
        read(response).await
    }
}

async fn read(response: Response<hyper::body::Incoming>) -> Result<Bytes> {
    let (parts, body) = response.into_parts();
    let body = body.collect().await?;
    let status = body
        .trailers()
        .and_then(|trailers| trailers.get("grpc-status"))
        .or(parts.headers.get("grpc-status"))
        .map(|status| status.as_bytes().to_owned());
    let bytes = body.to_bytes();
    if parts.status != StatusCode::OK || status.is_some_and(|status| status != b"0") {
        return Err(format!("{}: {}", parts.status, String::from_utf8_lossy(&bytes)).into());
    }
    Ok(bytes)
}
