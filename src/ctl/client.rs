//! The connection to a server: XML-RPC calls on one connection that is kept open, and followed logs, each on its own connection.
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

/// Longest head of the answer to a request to follow a log, in bytes, and the largest number of its fields.
const HEAD_MAX: (usize, usize) = (16 * 1024, 64);
/// How often the progress of a long call is shown.
const IDLE_PERIOD: Duration = Duration::from_secs(1);

/// Why a command cannot continue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandError {
    /// No server listens at the address.
    Refused,
    /// The Unix socket does not exist.
    NoFile,
    /// The server requires a user name and password, or refused the given ones.
    Unauthorized,
    /// The server answered with a fault.
    Fault(RpcFault),
    /// Ctrl-C was pressed.
    Interrupted,
    /// Any other error, as a message.
    Other(String),
    /// A complete message, and the exit code.
    Exit(String, u8),
}

impl CommandError {
    /// Whether it is a fault with this code.
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

/// A client of one server.
pub struct RpcClient {
    /// The address as the user gave it; for messages.
    pub url: String,
    /// User name and password.
    pub credentials: Option<(String, String)>,
    limits: WaitLimits,
    trust: Option<Trust>,
    connection: Option<Transport>,
}

/// Checks process and user of a server; the error says why the server is not trusted.
pub type Trust = fn(libc::pid_t, libc::uid_t) -> Result<(), String>;

impl RpcClient {
    /// A client of the server at `url`. It connects with the first call. `credentials`: user name and password.
    #[must_use]
    pub fn new(url: String, credentials: Option<(String, String)>, limits: WaitLimits) -> Self {
        Self { url, credentials, limits, trust: None, connection: None }
    }

    /// Connects to the Unix socket at `path`, which no configuration names. In a directory that everyone can write to, any user
    /// could have created it, so each connection is closed if `trust` refuses the server.
    pub fn at_default_socket(path: &Path, limits: WaitLimits, trust: Trust) -> Result<Self, CommandError> {
        let mut client = Self::new(format!("unix://{}", text::of_os(path)), None, limits);
        client.trust = Some(trust);
        client.connection = Some(client.connect(&Address::Unix(path.into()))?);
        Ok(client)
    }

    /// A client of the server at `url` with the same credentials and without a time limit.
    #[must_use]
    pub fn with_url(&self, url: &str) -> Self {
        let limits = WaitLimits { timeout: None, ..self.limits.clone() };
        let trust = self.trust.filter(|_| url == self.url);
        Self { trust, ..Self::new(url.to_owned(), self.credentials.clone(), limits) }
    }

    /// Another client of the same server, which waits at most `timeout` for each part of an answer.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        let mut client = self.with_url(&self.url);
        client.limits.timeout = Some(timeout);
        client
    }

    /// Makes Ctrl-C end the wait for an answer.
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

    /// Calls `supervisor.<method>`, or a method with another namespace, and calls `idle` every second until the answer arrives.
    pub fn call_while(
        &mut self,
        method: &str,
        params: &[Value],
        idle: Option<&mut dyn FnMut()>,
    ) -> Result<Value, CommandError> {
        let address = self.address()?;
        let namespace = if method.contains('.') { "" } else { "supervisor." };
        let document = xmlrpc::write_call(&format!("{namespace}{method}"), params);
        let request = http::request("POST", "/RPC2", &address.to_string(), &self.authorization(), &document);
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

    /// Starts to follow the log at `/logtail/…` or `/mainlogtail`.
    pub fn follow(&self, path: &str) -> Result<LogStream, CommandError> {
        let address = self.address()?;
        let connection = self.connect(&address)?;
        self.follow_on(connection, path, &address.to_string())
    }

    /// Starts to follow a log with the IP address of the server in the Host field, instead of the name. A server without a
    /// password refuses a GET by a name that it does not know, such as an alias in /etc/hosts, with 403 (DNS rebinding). A page in
    /// a browser cannot choose the Host field; this client can.
    pub fn follow_by_ip_address(&self, path: &str) -> Result<LogStream, CommandError> {
        let address = self.address()?;
        let connection = self.connect(&address)?;
        let host = connection.peer().unwrap_or_else(|| address.to_string());
        self.follow_on(connection, path, &host)
    }

    fn follow_on(&self, connection: Transport, path: &str, host: &str) -> Result<LogStream, CommandError> {
        let request = http::request("GET", path, host, &self.authorization(), "");
        connection.write_all(&request).map_err(|why| self.other(why))?;
        Ok(LogStream { connection, buffer: Vec::new(), in_chunks: None, status: None })
    }

    fn authorization(&self) -> String {
        self.credentials.as_ref().map(|(user, password)| http::authorization(user, password)).unwrap_or_default()
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

/// Why a request was not answered.
enum ExchangeError {
    Interrupted,
    Other(String),
}

impl From<io::Error> for ExchangeError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::Interrupted => Self::Interrupted,
            ErrorKind::TimedOut => Self::Other("no answer within the time limit".into()),
            _ => Self::Other(error.to_string()),
        }
    }
}

/// Writes a request and reads the answer. A server may answer and close before it has read the whole request (401), so a failed
/// write counts only if no answer arrives.
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

/// A followed log: an answer without an end.
pub struct LogStream {
    connection: Transport,
    buffer: Vec<u8>,
    /// Whether the body is in chunks; `None` until the head has arrived.
    in_chunks: Option<bool>,
    /// The HTTP status; `None` until the head has arrived.
    status: Option<u16>,
}

impl AsFd for LogStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

impl LogStream {
    /// Whether the server has refused the request with 403.
    pub fn is_forbidden(&self) -> bool {
        self.status == Some(403)
    }

    /// Reads once, and appends the received part of the log to `log`; `false`: the log has ended. The error is in Supervisor's words.
    pub fn read(&mut self, log: &mut Vec<u8>) -> Result<bool, String> {
        let malformed = || "Cannot read, malformed answer".to_owned();
        let bytes = self.connection.read_more(&mut self.buffer).map_err(|error| error.to_string())?;
        if self.in_chunks.is_none() {
            let mut fields = [httparse::EMPTY_HEADER; HEAD_MAX.1];
            let mut head = httparse::Response::new(&mut fields);
            match head.parse(&self.buffer).map_err(|_| malformed())? {
                Status::Complete(_) if head.code != Some(200) => {
                    self.status = head.code;
                    return Err(format!("Cannot read, status code {}", head.code.unwrap_or_default()));
                }
                Status::Complete(bytes) => {
                    let mut names = head.headers.iter().map(|field| field.name);
                    self.in_chunks = Some(names.any(|name| name.eq_ignore_ascii_case("transfer-encoding")));
                    self.buffer.drain(..bytes);
                }
                Status::Partial if self.buffer.len() > HEAD_MAX.0 => return Err(malformed()),
                Status::Partial => return Ok(bytes > 0),
            }
        }
        if self.in_chunks == Some(false) {
            log.append(&mut self.buffer);
            return Ok(bytes > 0);
        }
        while let Status::Complete((start, size)) = httparse::parse_chunk_size(&self.buffer).map_err(|_| malformed())? {
            let end = usize::try_from(size).ok().and_then(|size| start.checked_add(size)).ok_or_else(malformed)?;
            // Each chunk is followed by CR LF.
            if self.buffer.len() < end.saturating_add(2) {
                break;
            }
            log.extend_from_slice(self.buffer.get(start..end).unwrap_or_default());
            self.buffer.drain(..end.saturating_add(2));
            if size == 0 {
                return Ok(false);
            }
        }
        Ok(bytes > 0)
    }
}
