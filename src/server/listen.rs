//! Binds the ports. All are bound before the models load, so that a port in use is reported at once. The operations
//! port listens immediately. REST and gRPC listen once the models are loaded: until then a load balancer's connection
//! is refused at once, and it tries another server instead of waiting.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

use crate::config::ServerSection;

/// Connections that may wait for an accept.
const BACKLOG: u32 = 4096;

/// The bound ports.
#[derive(Debug)]
pub(super) struct Ports {
    pub(super) http: BoundPort,
    pub(super) grpc: BoundPort,
    pub(super) ops: BoundPort,
}

/// A bound port that does not listen yet.
#[derive(Debug)]
pub(super) struct BoundPort {
    name: &'static str,
    address: SocketAddr,
    socket: TcpSocket,
}

/// The bound addresses; port 0 in the settings becomes a free port.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "each is the port of that name")]
pub struct Addresses {
    pub http: SocketAddr,
    pub grpc: SocketAddr,
    pub ops: SocketAddr,
}

impl Ports {
    /// Binds the ports.
    ///
    /// # Errors
    /// A port cannot be bound; the message names it and the option to change.
    pub(super) fn bind(server: &ServerSection) -> Result<Self, String> {
        Ok(Self {
            http: BoundPort::bind("http", server.http)?,
            grpc: BoundPort::bind("grpc", server.grpc)?,
            ops: BoundPort::bind("ops", server.ops)?,
        })
    }

    pub(super) fn addresses(&self) -> Addresses {
        Addresses {
            http: self.http.address,
            grpc: self.grpc.address,
            ops: self.ops.address,
        }
    }
}

impl BoundPort {
    fn bind(name: &'static str, address: SocketAddr) -> Result<Self, String> {
        let bind = || {
            let socket = if address.is_ipv4() {
                TcpSocket::new_v4()?
            } else {
                TcpSocket::new_v6()?
            };
            // Allow a restart while the previous server's connections are in TIME_WAIT.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            Ok((socket.local_addr()?, socket))
        };
        let (address, socket) = bind().map_err(|error| bind_error(name, address, &error))?;
        Ok(Self {
            name,
            address,
            socket,
        })
    }

    /// Starts listening.
    pub(super) fn listen(self) -> Result<TcpListener, String> {
        self.socket
            .listen(BACKLOG)
            .map_err(|error| bind_error(self.name, self.address, &error))
    }
}

fn bind_error(name: &str, address: SocketAddr, error: &std::io::Error) -> String {
    format!("cannot listen on {address}: {error}; choose another address with --{name} HOST:PORT")
}
