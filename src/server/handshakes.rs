//! Stops a port from beginning new connections while it accepts those that have begun. Closing a port resets what the
//! system accepts between the last accept and the close; without handshakes there is nothing to reset.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

/// How long handshakes under way get: several round trips within a region. A client that is farther away, or loses a
/// packet, may still be reset.
pub(super) const TIME_TO_COMPLETE: Duration = Duration::from_millis(20);

/// Makes a listening port ignore the first packet of new connections. Clients send it again after a second: then they are
/// refused, as the port is closed, or reach the next server on it. Connections that exist, and handshakes under way, go on;
/// what the port accepts from now on has the same filter, which lets all later packets of a connection pass.
///
/// # Errors
/// The system does not let a socket have a filter.
#[cfg(target_os = "linux")]
pub(super) fn stop(port: &impl AsFd) -> io::Result<()> {
    use libc::{BPF_ABS, BPF_B, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET};
    use socket2::{SockFilter, SockRef};

    /// Where the flags are in a TCP header, and the flag of a packet that opens a connection (RFC 9293, section 3.1).
    const FLAGS_OFFSET: u32 = 13;
    const SYN: u32 = 2;

    let instruction = |code: u32, if_true, if_false, operand| {
        // The codes are the sums of constants below 256.
        SockFilter::new(code as u16, if_true, if_false, operand)
    };
    SockRef::from(port).attach_filter(&[
        instruction(BPF_LD | BPF_B | BPF_ABS, 0, 0, FLAGS_OFFSET),
        instruction(BPF_JMP | BPF_JSET | BPF_K, 0, 1, SYN),
        // The number of bytes of the packet to keep: none, or all.
        instruction(BPF_RET | BPF_K, 0, 0, 0),
        instruction(BPF_RET | BPF_K, 0, 0, u32::MAX),
    ])
}

/// Other systems have no such filter.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub(super) fn stop(_: &impl AsFd) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::io::{ErrorKind, Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd as _;

    use socket2::SockRef;

    use super::*;

    const SOON: Duration = Duration::from_millis(200);

    /// Lets a port complete handshakes only when data arrives, so that a test has one under way.
    fn defer_accept(port: &TcpListener) {
        let seconds: libc::c_int = 5;
        #[expect(unsafe_code, reason = "the system's own call")]
        // SAFETY: the value is valid for the whole call, which reads it, and has the length that is told.
        let failed = unsafe {
            libc::setsockopt(
                port.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_DEFER_ACCEPT,
                (&raw const seconds).cast(),
                size_of_val(&seconds) as libc::socklen_t,
            )
        };
        assert_eq!(failed, 0);
    }

    fn asks(client: &mut TcpStream, port: &TcpListener) {
        client.write_all(b"asked").unwrap();
        // Else it would wait for ever for what the filter drops.
        SockRef::from(port)
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let (mut accepted, _) = port.accept().unwrap();
        let mut asked = [0; 5];
        accepted.read_exact(&mut asked).unwrap();
        assert_eq!(&asked, b"asked");
    }

    #[test]
    fn a_port_begins_no_connection_and_accepts_those_that_have_begun() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = port.local_addr().unwrap();
        let mut connected = TcpStream::connect(address).unwrap();
        defer_accept(&port);
        let mut under_way = TcpStream::connect(address).unwrap();
        stop(&port).unwrap();
        let later = TcpStream::connect_timeout(&address, SOON).unwrap_err();
        assert_eq!(later.kind(), ErrorKind::TimedOut);
        asks(&mut connected, &port);
        asks(&mut under_way, &port);
        drop(port);
        let refused = TcpStream::connect_timeout(&address, SOON).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }
}
