//! Connections that repeat prepared requests at low cost: the load generator shares the cores with the server.

use std::sync::Arc;
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
    /// Every sender asks these in turn, from a place of its own.
    pub bodies: Arc<[Bytes]>,
    pub grpc: bool,
}

impl Target {
    fn request(&self, number: usize) -> Result<Request<Full<Bytes>>> {
        let body = self
            .bodies
            .get(number % self.bodies.len().max(1))
            .ok_or("no bodies")?;
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
            request.header(CONTENT_LENGTH, body.len())
        };
        Ok(request.body(Full::new(body.clone()))?)
    }
}

/// One connection; over gRPC, many requests can be on their way in it, with HTTP/1.1 one.
enum Connection {
    Rest(Target, http1::SendRequest<Full<Bytes>>),
    Grpc(Target, http2::SendRequest<Full<Bytes>>),
}

/// Sends one request after the other.
pub struct Sender {
    connection: Connection,
    /// The number of the next request.
    next: usize,
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
                senders.extend((0..each).map(|_| Connection::Grpc(target.clone(), sender.clone())));
            } else {
                let (sender, connection) = http1::handshake(io).await?;
                tokio::spawn(connection);
                senders.push(Connection::Rest(target.clone(), sender));
            }
        }
        let apart = (target.bodies.len() / senders.len().max(1)).max(1);
        let senders = senders.into_iter().enumerate();
        let senders = senders.map(|(number, connection)| Self {
            connection,
            next: number * apart,
        });
        Ok(senders.collect())
    }

    /// Asks once and returns the answer's bytes.
    pub async fn ask(&mut self) -> Result<Bytes> {
        let answer = tokio::time::timeout(PATIENCE, self.exchange()).await;
        answer.map_err(|_| format!("no answer in {PATIENCE:?}"))?
    }

    async fn exchange(&mut self) -> Result<Bytes> {
        let number = self.next;
        self.next += 1;
        let response = match &mut self.connection {
            Connection::Rest(target, sender) => {
                sender.ready().await?;
                sender.send_request(target.request(number)?).await?
            }
            Connection::Grpc(target, sender) => {
                sender.ready().await?;
                sender.send_request(target.request(number)?).await?
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
