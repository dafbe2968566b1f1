//! Talks to a server over a Unix socket or TCP: XML-RPC on one connection that is kept, waiting as long as it takes, and
//! logs that are followed, each on a connection of its own.
use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use httparse::Status;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use crate::fault::FaultCode;
use crate::wire::http::{self, Reply};
use crate::wire::xmlrpc::{self, Fault, Value};

/// How much is read at once, in bytes.
const READ_BYTES: usize = 64 * 1024;
/// Longest head of an answer that is followed, and most fields in it.
const HEAD_MAX: (usize, usize) = (16 * 1024, 64);
/// How often somebody who waits for an answer is told what it waits for, in milliseconds.
const IDLE_MS: u16 = 1000;

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

/// As the Host field of a request has it.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(_) => f.write_str("localhost"),
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

/// Why a command goes no further.
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
    /// Anything else that went wrong, in words.
    Other(String),
    /// The line that says it all, and the exit code.
    Said(String, u8),
}

impl Trouble {
    /// Whether it is this fault.
    #[must_use]
    pub fn is(&self, code: FaultCode) -> bool {
        matches!(self, Self::Fault(fault) if fault.code == code as i64)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused connection",
            Self::NoFile => "no such file",
            Self::Unauthorized => "Server requires authentication",
            Self::Fault(fault) => &fault.text,
            Self::Other(words) | Self::Said(words, _) => words,
        })
    }
}

/// One server, and the connection to it while there is one.
pub struct Client {
    /// As users know it; for messages.
    pub url: String,
    /// User and password.
    pub credentials: Option<(String, String)>,
    timeout: Option<Duration>,
    connection: Option<File>,
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
        Some(Self { connection: Some(OwnedFd::from(stream).into()), ..Self::new(url, None, timeout) })
    }

    /// A client of the server at `url`, with the same credentials.
    #[must_use]
    pub fn at(&self, url: &str, timeout: Option<Duration>) -> Self {
        Self::new(url.to_owned(), self.credentials.clone(), timeout)
    }

    /// Calls `supervisor.<method>`.
    pub fn call(&mut self, method: &str, params: &[Value]) -> Result<Value, Trouble> {
        self.call_while(method, params, None)
    }

    /// The same; `idle` is called each second until the answer comes.
    pub fn call_while(
        &mut self,
        method: &str,
        params: &[Value],
        idle: Option<&mut dyn FnMut()>,
    ) -> Result<Value, Trouble> {
        let address = Address::of_url(&self.url)?;
        let document = xmlrpc::write_call(&format!("supervisor.{method}"), params);
        let request = http::post_request("/RPC2", &address.to_string(), self.credentials(), &document);
        let mut connection = match self.connection.take() {
            Some(kept) => kept,
            None => self.connect(&address)?,
        };
        let reply = exchange(&mut connection, &request, idle).map_err(|why| self.other(why))?;
        if reply.keep_alive {
            self.connection = Some(connection);
        }
        match reply.status {
            200 => xmlrpc::parse_response(&reply.body).map_err(|why| self.other(why))?.map_err(Trouble::Fault),
            401 => Err(Trouble::Unauthorized),
            status => Err(self.other(format!("HTTP status {status} {}", reply.reason))),
        }
    }

    /// Asks for a log that goes on (`/logtail/…`, `/mainlogtail`).
    pub fn follow(&self, path: &str) -> Result<Tail, Trouble> {
        let address = Address::of_url(&self.url)?;
        let mut connection = self.connect(&address)?;
        let request = http::get_request(path, &address.to_string(), self.credentials());
        connection.write_all(&request).map_err(|why| self.other(why))?;
        Ok(Tail { connection, held: Vec::new(), in_chunks: None })
    }

    fn credentials(&self) -> Option<(&str, &str)> {
        self.credentials.as_ref().map(|(user, password)| (user.as_str(), password.as_str()))
    }

    fn connect(&self, address: &Address) -> Result<File, Trouble> {
        let connected = || -> io::Result<OwnedFd> {
            Ok(match address {
                Address::Unix(path) => {
                    let stream = UnixStream::connect(path)?;
                    stream.set_read_timeout(self.timeout)?;
                    stream.into()
                }
                Address::Tcp(host, port) => {
                    let stream = TcpStream::connect((host.as_str(), *port))?;
                    stream.set_read_timeout(self.timeout)?;
                    stream.into()
                }
            })
        };
        connected().map(File::from).map_err(|error| match error.kind() {
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
fn exchange(connection: &mut File, request: &[u8], mut idle: Option<&mut dyn FnMut()>) -> Result<Reply, String> {
    let written = connection.write_all(request);
    let mut buffer = Vec::new();
    loop {
        if let Some(idle) = &mut idle {
            while poll(&mut [PollFd::new(connection.as_fd(), PollFlags::POLLIN)], IDLE_MS) == Ok(0) {
                idle();
            }
        }
        let read = read_more(connection, &mut buffer);
        let at_end = !matches!(read, Ok(1..));
        match http::parse_reply(&buffer, at_end).map_err(|why| why.to_string())? {
            Some((reply, _)) => return Ok(reply),
            None if !at_end => {}
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

/// Appends what there is to `buffer`; how many bytes that were, 0 at the end.
fn read_more(source: &mut File, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let mut piece = [0; READ_BYTES];
    loop {
        match source.read(&mut piece) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => {
                let bytes = read?;
                buffer.extend_from_slice(piece.get(..bytes).unwrap_or_default());
                return Ok(bytes);
            }
        }
    }
}

/// A log that is followed: an answer without an end.
pub struct Tail {
    connection: File,
    held: Vec<u8>,
    /// Whether it comes in chunks; `None` until the head has come.
    in_chunks: Option<bool>,
}

impl AsFd for Tail {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

impl Tail {
    /// Reads once, and appends what that gives of the log to `log`; `false`: no more will come. An error is in Supervisor's words.
    pub fn read(&mut self, log: &mut Vec<u8>) -> Result<bool, String> {
        let malformed = || "Cannot read, malformed answer".to_owned();
        let bytes = read_more(&mut self.connection, &mut self.held).map_err(|error| error.to_string())?;
        if self.in_chunks.is_none() {
            let mut fields = [httparse::EMPTY_HEADER; HEAD_MAX.1];
            let mut head = httparse::Response::new(&mut fields);
            match head.parse(&self.held).map_err(|_| malformed())? {
                Status::Complete(_) if head.code != Some(200) => {
                    return Err(format!("Cannot read, status code {}", head.code.unwrap_or_default()));
                }
                Status::Complete(bytes) => {
                    let mut names = head.headers.iter().map(|field| field.name);
                    self.in_chunks = Some(names.any(|name| name.eq_ignore_ascii_case("transfer-encoding")));
                    self.held.drain(..bytes);
                }
                Status::Partial if self.held.len() > HEAD_MAX.0 => return Err(malformed()),
                Status::Partial => return Ok(bytes > 0),
            }
        }
        if self.in_chunks == Some(false) {
            log.append(&mut self.held);
            return Ok(bytes > 0);
        }
        while let Status::Complete((start, size)) = httparse::parse_chunk_size(&self.held).map_err(|_| malformed())? {
            let end = usize::try_from(size).ok().and_then(|size| start.checked_add(size)).ok_or_else(malformed)?;
            // The end of a line follows each chunk.
            if self.held.len() < end.saturating_add(2) {
                break;
            }
            log.extend_from_slice(self.held.get(start..end).unwrap_or_default());
            self.held.drain(..end.saturating_add(2));
            if size == 0 {
                return Ok(false);
            }
        }
        Ok(bytes > 0)
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
