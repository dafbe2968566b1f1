//! Talks XML-RPC to a server: over a Unix socket or TCP, on one connection that is kept, waiting as long as it takes.
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use crate::wire::http::{self, Reply};
use crate::wire::xmlrpc::{self, Fault, Value};

/// How much is read at once, in bytes.
const READ_BYTES: usize = 64 * 1024;

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket's path.
    Unix(PathBuf),
    /// Host and port.
    Tcp(String, u16),
}

impl Address {
    /// Reads `unix:///path` or `http://host[:port]`; the port is 80 if not given, as in Supervisor.
    pub fn of_url(url: &str) -> Result<Self, Trouble> {
        if let Some(path) = url.strip_prefix("unix://") {
            return Ok(Self::Unix(path.into()));
        }
        let unknown = || Trouble::Other(format!("unknown protocol for serverurl {url}: use unix:// or http://"));
        let authority =
            url.strip_prefix("http://").ok_or_else(unknown)?.split(['/', '?', '#']).next().unwrap_or_default();
        let host_and_port = authority.rsplit_once('@').map_or(authority, |(_, after)| after);
        let (host, port) = match host_and_port.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, after)) => (host, after.strip_prefix(':').unwrap_or_default()),
            None => host_and_port.split_once(':').unwrap_or((host_and_port, "")),
        };
        let bad_port = || Trouble::Other(format!("bad port in serverurl {url}"));
        let port = if port.is_empty() { 80 } else { port.parse().map_err(|_| bad_port())? };
        Ok(Self::Tcp(host.to_owned(), port))
    }
}

/// Why a call has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// Nobody listens there.
    Refused,
    /// The Unix socket does not exist.
    NoFile,
    /// The server wants a user and a password, or others.
    Unauthorized,
    /// The server answered: no.
    Fault(Fault),
    /// Anything else, in words.
    Other(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("refused connection"),
            Self::NoFile => f.write_str("no such file"),
            Self::Unauthorized => f.write_str("Server requires authentication"),
            Self::Fault(fault) => f.write_str(&fault.text),
            Self::Other(why) => f.write_str(why),
        }
    }
}

/// What a connection must be able to do.
trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

/// One server, and the connection to it while there is one.
pub struct Client {
    /// As users know it; for messages.
    pub url: String,
    credentials: Option<(String, String)>,
    timeout: Option<Duration>,
    connection: Option<Box<dyn Stream>>,
}

impl Client {
    /// A client of the server at `url`; connects with the first call. `credentials`: user and password; `timeout`: how
    /// long to wait for any part of an answer, for ever if `None`.
    #[must_use]
    pub fn new(url: String, credentials: Option<(String, String)>, timeout: Option<Duration>) -> Self {
        Self { url, credentials, timeout, connection: None }
    }

    /// Connects to a Unix socket that nobody told us of, if its server runs as root or as us: in a directory where
    /// everyone may write, a stranger could have put it there.
    #[must_use]
    pub fn of_default_socket(path: &Path, timeout: Option<Duration>) -> Option<Self> {
        let stream = UnixStream::connect(path).ok()?;
        stream.set_read_timeout(timeout).ok()?;
        let server_uid = getsockopt(&stream, PeerCredentials).ok()?.uid();
        if server_uid != 0 && server_uid != nix::unistd::geteuid().as_raw() {
            return None;
        }
        let url = format!("unix://{}", path.display());
        Some(Self { connection: Some(Box::new(stream)), ..Self::new(url, None, timeout) })
    }

    /// A client of another server, with the same credentials.
    #[must_use]
    pub fn at(&self, url: String) -> Self {
        Self::new(url, self.credentials.clone(), self.timeout)
    }

    /// Calls `supervisor.<method>`.
    pub fn call(&mut self, method: &str, params: &[Value]) -> Result<Value, Trouble> {
        let address = Address::of_url(&self.url)?;
        let host = match &address {
            Address::Unix(_) => "localhost".to_owned(),
            Address::Tcp(host, port) if host.contains(':') => format!("[{host}]:{port}"),
            Address::Tcp(host, port) => format!("{host}:{port}"),
        };
        let credentials = self.credentials.as_ref().map(|(user, password)| (user.as_str(), password.as_str()));
        let document = xmlrpc::write_call(&format!("supervisor.{method}"), params);
        let request = http::post_request("/RPC2", &host, credentials, &document);
        let mut connection = match self.connection.take() {
            Some(kept) => kept,
            None => self.connect(&address)?,
        };
        let reply = exchange(&mut *connection, &request).map_err(|why| self.other(why))?;
        if reply.keep_alive {
            self.connection = Some(connection);
        }
        match reply.status {
            200 => xmlrpc::parse_response(&reply.body).map_err(|why| self.other(why))?.map_err(Trouble::Fault),
            401 => Err(Trouble::Unauthorized),
            status => Err(self.other(format!("HTTP status {status} {}", reply.reason))),
        }
    }

    fn connect(&self, address: &Address) -> Result<Box<dyn Stream>, Trouble> {
        let connected = match address {
            Address::Unix(path) => UnixStream::connect(path)
                .and_then(|stream| stream.set_read_timeout(self.timeout).map(|()| Box::new(stream) as Box<dyn Stream>)),
            Address::Tcp(host, port) => TcpStream::connect((host.as_str(), *port))
                .and_then(|stream| stream.set_read_timeout(self.timeout).map(|()| Box::new(stream) as Box<dyn Stream>)),
        };
        connected.map_err(|error| match error.kind() {
            ErrorKind::ConnectionRefused => Trouble::Refused,
            ErrorKind::NotFound => Trouble::NoFile,
            _ => self.other(error),
        })
    }

    fn other(&self, why: impl fmt::Display) -> Trouble {
        Trouble::Other(format!("{}: {why}", self.url))
    }
}

/// Writes a request and reads its answer. A server may answer and close before it has read the request (401), so a
/// failed write is no trouble as long as an answer comes.
fn exchange(connection: &mut dyn Stream, request: &[u8]) -> Result<Reply, String> {
    let written = connection.write_all(request);
    let (mut buffer, mut piece) = (Vec::new(), [0; READ_BYTES]);
    loop {
        let read = match connection.read(&mut piece) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read,
        };
        let bytes = read.as_ref().map_or(0, |bytes| *bytes);
        buffer.extend_from_slice(piece.get(..bytes).unwrap_or_default());
        match http::parse_reply(&buffer, bytes == 0).map_err(|why| why.to_string())? {
            Some((reply, _)) => return Ok(reply),
            None if bytes > 0 => {}
            None => {
                return Err(match (written, read) {
                    (_, Err(e)) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                        "no answer in time".into()
                    }
                    (Err(error), _) | (_, Err(error)) => error.to_string(),
                    _ => "the server closed the connection without an answer".into(),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_supervisor_reads_them() {
        let tcp = |host: &str, port| Ok(Address::Tcp(host.to_owned(), port));
        assert_eq!(Address::of_url("unix:///a b/s"), Ok(Address::Unix("/a b/s".into())));
        assert_eq!(Address::of_url("http://h"), tcp("h", 80));
        assert_eq!(Address::of_url("http://h:9001/RPC2?x"), tcp("h", 9001));
        assert_eq!(Address::of_url("http://u:p@h:9001"), tcp("h", 9001));
        assert_eq!(Address::of_url("http://[::1]:9001/"), tcp("::1", 9001));
        assert_eq!(Address::of_url("http://[::1]"), tcp("::1", 80));
        for bad in ["https://h", "h:9001", "http://h:x", "http://h:99999", "unix:/x"] {
            assert!(Address::of_url(bad).is_err(), "{bad}");
        }
    }
}
