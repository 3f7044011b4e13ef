//! The ports. All are taken before anything is loaded, so that one in use is known at once. The operations port answers
//! from then on; the others listen when there is something to answer with, so that until then a load balancer is refused
//! at once, and asks another server, rather than waiting for this one.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

use crate::config::ServerSection;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;

/// The ports that were taken.
#[derive(Debug)]
pub(super) struct Ports {
    pub(super) http: BoundPort,
    pub(super) grpc: BoundPort,
    pub(super) ops: BoundPort,
}

/// One port.
#[derive(Debug)]
pub(super) struct BoundPort {
    name: &'static str,
    address: SocketAddr,
    socket: TcpSocket,
}

/// Where the ports ended up: a port of 0 becomes a free one.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "each is the port of that name")]
pub struct Addresses {
    pub http: SocketAddr,
    pub grpc: SocketAddr,
    pub ops: SocketAddr,
}

impl Ports {
    /// Takes the ports.
    ///
    /// # Errors
    /// Names the port that cannot be taken and the setting to change.
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
            // A server that has just ended must not keep its successor from the port.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            Ok((socket.local_addr()?, socket))
        };
        let (address, socket) = bind().map_err(|error| refuse(name, address, &error))?;
        Ok(Self {
            name,
            address,
            socket,
        })
    }

    /// Connections are taken from now on.
    pub(super) fn listen(self) -> Result<TcpListener, String> {
        self.socket
            .listen(BACKLOG)
            .map_err(|error| refuse(self.name, self.address, &error))
    }
}

fn refuse(name: &str, address: SocketAddr, error: &std::io::Error) -> String {
    format!("cannot listen on {address}: {error}; choose another address with --{name}")
}
