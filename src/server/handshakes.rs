//! Stops a port from beginning new connections while it accepts those that have begun. Closing a port resets what the
//! system accepts between the last accept and the close; a port without handshakes has nothing to reset.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

/// How long handshakes under way get: a round trip to the client, which has the answer to its first packet already.
pub(super) const TIME_TO_COMPLETE: Duration = Duration::from_millis(20);

/// Makes a listening port ignore the first packet of new connections. Clients send it again after a second, when the port
/// is closed: then they are refused. Connections that exist, and handshakes under way, go on.
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

/// Does nothing: the port may reset a connection when it closes.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub(super) fn stop(_: &impl AsFd) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::{ErrorKind, Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    const SOON: Duration = Duration::from_millis(200);

    #[test]
    fn a_port_begins_no_connection_and_accepts_those_that_have_begun() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut before = TcpStream::connect(address).unwrap();
        stop(&listener).unwrap();
        let later = TcpStream::connect_timeout(&address, SOON).unwrap_err();
        assert_eq!(later.kind(), ErrorKind::TimedOut);
        let (mut accepted, _) = listener.accept().unwrap();
        before.write_all(b"asked").unwrap();
        let mut asked = [0; 5];
        accepted.read_exact(&mut asked).unwrap();
        assert_eq!(&asked, b"asked");
        drop(listener);
        let refused = TcpStream::connect_timeout(&address, SOON).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }
}
