//! Talks to a server over a Unix socket or TCP: XML-RPC on one connection that is kept, and logs that are followed, each
//! on a connection of its own.
use std::fmt;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use httparse::Status;

use super::interrupts::Interrupts;
use super::transport::{Address, Transport, WaitLimits};
use crate::fault::FaultCode;
use crate::text;
use crate::wire::http::{self, ReceivedResponse};
use crate::wire::xmlrpc::{self, RpcFault, Value};

/// Longest head of an answer that is followed, in bytes, and most fields in it.
const HEAD_MAX: (usize, usize) = (16 * 1024, 64);
/// How often a caller that waits for an answer gets to show what it waits for.
const IDLE_PERIOD: Duration = Duration::from_secs(1);

/// Why a command goes no further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandError {
    /// No server listens there.
    Refused,
    /// The Unix socket does not exist.
    NoFile,
    /// The server wants a user and a password, or others.
    Unauthorized,
    /// The server answered with a fault.
    Fault(RpcFault),
    /// Ctrl-C.
    Interrupted,
    /// Anything else that went wrong, as a message.
    Other(String),
    /// The complete message, and the exit code.
    Exit(String, u8),
}

impl CommandError {
    /// Whether it is this fault.
    #[must_use]
    pub fn is(&self, code: FaultCode) -> bool {
        matches!(self, Self::Fault(fault) if fault.code == code as i64)
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused connection",
            Self::NoFile => "no such file",
            Self::Unauthorized => "Server requires authentication",
            Self::Fault(fault) => &fault.text,
            Self::Interrupted => "interrupted",
            Self::Other(message) | Self::Exit(message, _) => message,
        })
    }
}

/// One server, and the connection to it while there is one.
pub struct RpcClient {
    /// As users know it; for messages.
    pub url: String,
    /// User and password.
    pub credentials: Option<(String, String)>,
    limits: WaitLimits,
    trust: Option<Trust>,
    connection: Option<Transport>,
}

/// Says why the server of this process and user is not trusted, if it is not.
pub type Trust = fn(libc::pid_t, libc::uid_t) -> Result<(), String>;

impl RpcClient {
    /// A client of the server at `url`; connects with the first call. `credentials`: user and password.
    #[must_use]
    pub fn new(url: String, credentials: Option<(String, String)>, limits: WaitLimits) -> Self {
        Self { url, credentials, limits, trust: None, connection: None }
    }

    /// Connects to the Unix socket at `path`, which no configuration names: in a directory where everyone may write, anyone
    /// could have put it there. So each connection is given up if `trust` objects to the server.
    pub fn at_default_socket(path: &Path, limits: WaitLimits, trust: Trust) -> Result<Self, CommandError> {
        let mut client = Self::new(format!("unix://{}", text::of_os(path)), None, limits);
        client.trust = Some(trust);
        client.connection = Some(client.connect(&Address::Unix(path.into()))?);
        Ok(client)
    }

    /// A client of the server at `url`, with the same credentials, that waits as long as it takes.
    #[must_use]
    pub fn with_url(&self, url: &str) -> Self {
        let limits = WaitLimits { timeout: None, ..self.limits.clone() };
        let trust = self.trust.filter(|_| url == self.url);
        Self { trust, ..Self::new(url.to_owned(), self.credentials.clone(), limits) }
    }

    /// Another client of the same server, that waits at most `timeout` for any part of an answer.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        let mut client = self.with_url(&self.url);
        client.limits.timeout = Some(timeout);
        client
    }

    /// From now on Ctrl-C ends the wait for an answer.
    pub fn interrupt_by(&mut self, interrupts: Rc<Interrupts>) {
        self.limits.interrupts = Some(interrupts);
        if let Some(connection) = &mut self.connection {
            connection.set_limits(self.limits.clone());
        }
    }

    /// Calls `supervisor.<method>`.
    pub fn call(&mut self, method: &str, params: &[Value]) -> Result<Value, CommandError> {
        self.call_while(method, params, None)
    }

    /// The same; `idle` is called each second until the answer comes.
    pub fn call_while(
        &mut self,
        method: &str,
        params: &[Value],
        idle: Option<&mut dyn FnMut()>,
    ) -> Result<Value, CommandError> {
        let address = self.address()?;
        let document = xmlrpc::write_call(&format!("supervisor.{method}"), params);
        let request = http::post_request("/RPC2", &address.to_string(), self.credentials(), &document);
        let connection = match self.connection.take() {
            Some(kept) => kept,
            None => self.connect(&address)?,
        };
        let reply = exchange(&connection, &request, idle).map_err(|failure| match failure {
            ExchangeError::Interrupted => CommandError::Interrupted,
            ExchangeError::Other(why) => self.other(why),
        })?;
        if reply.keep_alive {
            self.connection = Some(connection);
        }
        match reply.status {
            200 => xmlrpc::parse_response(&reply.body).map_err(|why| self.other(why))?.map_err(CommandError::Fault),
            401 => Err(CommandError::Unauthorized),
            status => Err(self.other(format!("HTTP status {status} {}", reply.reason))),
        }
    }

    /// Asks for a log that goes on (`/logtail/…`, `/mainlogtail`).
    pub fn follow(&self, path: &str) -> Result<LogStream, CommandError> {
        let address = self.address()?;
        let connection = self.connect(&address)?;
        let request = http::get_request(path, &address.to_string(), self.credentials());
        connection.write_all(&request).map_err(|why| self.other(why))?;
        Ok(LogStream { connection, held: Vec::new(), in_chunks: None })
    }

    fn credentials(&self) -> Option<(&str, &str)> {
        self.credentials.as_ref().map(|(user, password)| (user.as_str(), password.as_str()))
    }

    fn address(&self) -> Result<Address, CommandError> {
        Address::of_url(&self.url).map_err(CommandError::Other)
    }

    fn connect(&self, address: &Address) -> Result<Transport, CommandError> {
        let connected = Transport::connect(address, self.limits.clone()).map_err(|error| match error.kind() {
            ErrorKind::ConnectionRefused => CommandError::Refused,
            ErrorKind::NotFound => CommandError::NoFile,
            ErrorKind::Interrupted => CommandError::Interrupted,
            _ => self.other(error),
        })?;
        if let Some(trust) = self.trust {
            let (pid, uid) = connected.server().map_err(|error| self.other(error))?;
            trust(pid, uid).map_err(|why| self.other(why))?;
        }
        Ok(connected)
    }

    fn other(&self, why: impl fmt::Display) -> CommandError {
        CommandError::Other(format!("{}: {why}", self.url))
    }
}

/// Why a request has no answer.
enum ExchangeError {
    Interrupted,
    Other(String),
}

impl From<io::Error> for ExchangeError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::Interrupted => Self::Interrupted,
            ErrorKind::TimedOut => Self::Other("no answer in time".into()),
            _ => Self::Other(error.to_string()),
        }
    }
}

/// Writes a request and reads its answer. A server may answer and close before it has read the request (401), so a
/// failed write is no failure as long as an answer comes.
fn exchange(
    connection: &Transport,
    request: &[u8],
    mut idle: Option<&mut dyn FnMut()>,
) -> Result<ReceivedResponse, ExchangeError> {
    let other = |why: &dyn fmt::Display| ExchangeError::Other(why.to_string());
    let written = connection.write_all(request);
    let mut buffer = Vec::new();
    loop {
        if let Some(idle) = &mut idle {
            while !connection.is_readable_within(IDLE_PERIOD)? {
                idle();
            }
        }
        let read = connection.read_more(&mut buffer);
        let at_end = !matches!(read, Ok(1..));
        match http::parse_reply(&buffer, at_end).map_err(|why| other(&why))? {
            Some((reply, _)) => return Ok(reply),
            None if !at_end => {}
            None => {
                written?;
                read?;
                return Err(other(&"the server closed the connection without an answer"));
            }
        }
    }
}

/// A log that is followed: an answer without an end.
pub struct LogStream {
    connection: Transport,
    held: Vec<u8>,
    /// Whether it comes in chunks; `None` until the head has come.
    in_chunks: Option<bool>,
}

impl AsFd for LogStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

impl LogStream {
    /// Reads once, and appends what that gives of the log to `log`; `false`: no more will come. An error is in Supervisor's words.
    pub fn read(&mut self, log: &mut Vec<u8>) -> Result<bool, String> {
        let malformed = || "Cannot read, malformed answer".to_owned();
        let bytes = self.connection.read_more(&mut self.held).map_err(|error| error.to_string())?;
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
