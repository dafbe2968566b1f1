//! The socket of a connection to a server: reads and writes bytes, with a time limit, and stops at Ctrl-C.
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrLike, UnixAddr, connect, getsockopt,
    recv, send, socket, sockopt,
};

use super::interrupts::Interrupts;
use crate::sys::hosts;
use crate::text;

/// Largest read, in bytes.
const READ_BYTES: usize = 64 * 1024;
/// The pause between two attempts to connect to a socket whose queue of clients is full.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(50);

/// The address of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// The path of a Unix socket.
    Unix(PathBuf),
    /// Host and port.
    Tcp(String, u16),
}

impl Address {
    /// Parses `unix:///path` or `http://host[:port]`; the default port is 80, as in Supervisor. The error is a message.
    pub fn of_url(url: &str) -> Result<Self, String> {
        if let Some(path) = url.strip_prefix("unix://") {
            return Ok(Self::Unix(text::to_path(path)));
        }
        let unknown = || format!("unknown protocol for serverurl {url}: use unix:// or http://");
        let authority =
            url.strip_prefix("http://").ok_or_else(unknown)?.split(['/', '?', '#']).next().unwrap_or_default();
        let host_and_port = authority.rsplit_once('@').map_or(authority, |(_, after)| after);
        let (host, port) = match host_and_port.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, after)) => (host, after.strip_prefix(':').unwrap_or_default()),
            None => host_and_port.split_once(':').unwrap_or((host_and_port, "")),
        };
        let bad_port = |_| format!("invalid port in serverurl {url}");
        let port = if port.is_empty() { 80 } else { port.parse().map_err(bad_port)? };
        Ok(Self::Tcp(host.to_owned(), port))
    }
}

/// The value of the Host field of a request. A server that listens on all addresses is called localhost.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(_) => f.write_str("localhost"),
            Self::Tcp(host, port) if means_all_addresses(host) => write!(f, "localhost:{port}"),
            Self::Tcp(host, port) => match hosts::number(host) {
                Some(address) => SocketAddr::new(address, *port).fmt(f),
                None => write!(f, "{host}:{port}"),
            },
        }
    }
}

/// Whether this host in a server section means all addresses.
fn means_all_addresses(host: &str) -> bool {
    matches!(host, "" | "*")
}

/// The addresses to try for a host. A server that listens on all addresses is reached on loopback.
fn addresses_of(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let found = if means_all_addresses(host) { vec![Ipv4Addr::UNSPECIFIED.into()] } else { hosts::addresses(host) };
    if found.is_empty() {
        return Ok((host.to_ascii_lowercase(), port).to_socket_addrs()?.collect());
    }
    let reachable = |address: IpAddr| match address {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => vec![Ipv4Addr::LOCALHOST.into()],
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()],
        address => vec![address],
    };
    Ok(found.into_iter().flat_map(reachable).map(|address| SocketAddr::new(address, port)).collect())
}

/// The conditions that end a wait for the server early.
#[derive(Clone, Default)]
pub struct WaitLimits {
    /// The longest wait for each part of an answer; `None`: no limit.
    pub timeout: Option<Duration>,
    /// Set if Ctrl-C ends the wait and not the client.
    pub interrupts: Option<Rc<Interrupts>>,
}

impl WaitLimits {
    /// Waits until `fd` is ready for `events`. Errors: [`ErrorKind::TimedOut`] after `timeout`, [`ErrorKind::Interrupted`] after Ctrl-C.
    fn wait(&self, fd: Option<BorrowedFd<'_>>, events: PollFlags, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = timeout.map_or(PollTimeout::NONE, |timeout| {
            PollTimeout::try_from(timeout.as_millis()).unwrap_or(PollTimeout::MAX)
        });
        let interrupts = self.interrupts.as_deref();
        let mut watched: Vec<PollFd<'_>> =
            interrupts.iter().map(|interrupts| PollFd::new(interrupts.as_fd(), PollFlags::POLLIN)).collect();
        watched.extend(fd.map(|fd| PollFd::new(fd, events)));
        loop {
            match poll(&mut watched, timeout) {
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
                Ok(_) if interrupts.is_some_and(Interrupts::take) => return Err(ErrorKind::Interrupted.into()),
                Ok(0) => return Err(ErrorKind::TimedOut.into()),
                Ok(_) => return Ok(()),
            }
        }
    }
}

/// A connected socket.
pub struct Transport {
    socket: OwnedFd,
    /// The IP address and port of the server; `None`: a Unix socket.
    peer: Option<SocketAddr>,
    limits: WaitLimits,
}

impl Transport {
    /// Connects to a server. Tries its addresses in order and takes the first that accepts. The error is that of the first
    /// address, unless another one refused the connection, which is more informative.
    pub fn connect(address: &Address, limits: WaitLimits) -> io::Result<Self> {
        let (host, port) = match address {
            Address::Unix(path) => return Self::connect_unix(path, limits),
            Address::Tcp(host, port) => (host, *port),
        };
        let mut failure: Option<io::Error> = None;
        for address in addresses_of(host, port)? {
            let connected = match address {
                SocketAddr::V4(address) => connect_to(AddressFamily::Inet, &SockaddrIn::from(address), &limits),
                SocketAddr::V6(address) => connect_to(AddressFamily::Inet6, &SockaddrIn6::from(address), &limits),
            };
            match connected {
                Ok(socket) => return Ok(Self { socket, peer: Some(address), limits }),
                Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
                Err(error) if failure.is_none() || error.kind() == ErrorKind::ConnectionRefused => {
                    failure = Some(error);
                }
                Err(_) => {}
            }
        }
        Err(failure.unwrap_or_else(|| io::Error::other("the host name has no address")))
    }

    /// Connects to the Unix socket at `path`.
    pub fn connect_unix(path: &Path, limits: WaitLimits) -> io::Result<Self> {
        let socket = connect_to(AddressFamily::Unix, &UnixAddr::new(path)?, &limits)?;
        Ok(Self { socket, peer: None, limits })
    }

    /// Sets the limits of all further waits.
    pub fn set_limits(&mut self, limits: WaitLimits) {
        self.limits = limits;
    }

    /// IP address and port of the server, in the form of a Host field; `None`: a Unix socket.
    pub fn peer(&self) -> Option<String> {
        // Without the scope of an IPv6 address, which no Host field has.
        self.peer.map(|peer| SocketAddr::new(peer.ip(), peer.port()).to_string())
    }

    /// Process and user of the server of a Unix socket, at the time when it called listen(2).
    pub fn server(&self) -> io::Result<(libc::pid_t, libc::uid_t)> {
        let credentials = getsockopt(&self.socket, sockopt::PeerCredentials)?;
        Ok((credentials.pid(), credentials.uid()))
    }

    /// Sends all of `bytes`.
    pub fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match send(self.socket.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL) {
                Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
                Err(Errno::EAGAIN) => {
                    self.limits.wait(Some(self.socket.as_fd()), PollFlags::POLLOUT, self.limits.timeout)?;
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Waits at most `timeout` for input; `false`: none has arrived.
    pub fn is_readable_within(&self, timeout: Duration) -> io::Result<bool> {
        match self.limits.wait(Some(self.socket.as_fd()), PollFlags::POLLIN, Some(timeout)) {
            Err(error) if error.kind() == ErrorKind::TimedOut => Ok(false),
            waited => waited.map(|()| true),
        }
    }

    /// Reads once and appends to `buffer`; returns the number of bytes, 0 at the end.
    pub fn read_more(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let mut piece = [0; READ_BYTES];
        loop {
            match recv(self.socket.as_raw_fd(), &mut piece, MsgFlags::empty()) {
                Ok(bytes) => {
                    buffer.extend_from_slice(piece.get(..bytes).unwrap_or_default());
                    return Ok(bytes);
                }
                Err(Errno::EAGAIN) => {
                    self.limits.wait(Some(self.socket.as_fd()), PollFlags::POLLIN, self.limits.timeout)?;
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn connect_to(family: AddressFamily, address: &dyn SockaddrLike, limits: &WaitLimits) -> io::Result<OwnedFd> {
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    loop {
        match connect(fd.as_raw_fd(), address) {
            Ok(()) => return Ok(fd),
            Err(Errno::EINTR) => {}
            // unix(7): the queue of clients is full. poll(2) does not report when there is room again.
            Err(Errno::EAGAIN) => match limits.wait(None, PollFlags::empty(), Some(QUEUE_FULL_PAUSE)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
                _ => {}
            },
            Err(Errno::EINPROGRESS) => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    limits.wait(Some(fd.as_fd()), PollFlags::POLLOUT, limits.timeout)?;
    match getsockopt(&fd, sockopt::SocketError)? {
        0 => Ok(fd),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed_as_by_supervisor() {
        let tcp = |host: &str, port| Ok(Address::Tcp(host.to_owned(), port));
        assert_eq!(Address::of_url("unix:///a b/s"), Ok(Address::Unix("/a b/s".into())));
        assert_eq!(Address::of_url("http://h"), tcp("h", 80));
        assert_eq!(Address::of_url("http://h:9001/RPC2?x"), tcp("h", 9001));
        assert_eq!(Address::of_url("http://u:p@h:9001"), tcp("h", 9001));
        assert_eq!(Address::of_url("http://[::1]:9001/"), tcp("::1", 9001));
        assert_eq!(Address::of_url("http://[::1]"), tcp("::1", 80));
        assert_eq!(Address::of_url("http://*:9001"), tcp("*", 9001));
        assert_eq!(Address::of_url("http://:9001"), tcp("", 9001));
        for bad in ["https://h", "h:9001", "http://h:x", "http://h:99999", "unix:/x"] {
            assert!(Address::of_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_server_on_all_addresses_is_reached_on_loopback_and_called_localhost() {
        for (host, tried, name) in [
            ("*", "127.0.0.1:9", "localhost:9"),
            ("", "127.0.0.1:9", "localhost:9"),
            ("0.0.0.0", "127.0.0.1:9", "0.0.0.0:9"),
            ("0", "127.0.0.1:9", "0.0.0.0:9"),
            ("::", "[::1]:9 127.0.0.1:9", "[::]:9"),
            ("127.1", "127.0.0.1:9", "127.0.0.1:9"),
            ("::1", "[::1]:9", "[::1]:9"),
        ] {
            let found = addresses_of(host, 9).unwrap();
            assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "), tried, "{host}");
            assert_eq!(Address::Tcp(host.into(), 9).to_string(), name);
        }
        let local = addresses_of("LOCALHOST", 9).unwrap();
        assert!(local.contains(&"127.0.0.1:9".parse().unwrap()), "{local:?}");
    }
}
