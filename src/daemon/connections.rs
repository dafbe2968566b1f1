//! Clients: the sockets that they come to, their connections, HTTP. From bytes to [`crate::rpc`] and back.
//!
//! Nobody is waited for. A connection is read only while it has nothing to say and nothing to answer: so one request, or
//! one answer, is all that we hold for it. One request at a time is answered, those behind it wait their turn, and a turn
//! of the loop takes a few of them at most.

use super::{Kind, token};
use crate::config::model::{Config, HttpServerConfig, LogLevel, SocketAddress};
use crate::rpc::{self, Host, Pending, Progress};
use crate::supervision::{Reply, Ticket};
use crate::sys::poll::{Interest, Poll, Ready};
use crate::sys::sockets::{self, Access, ListenError, Listener};
use crate::sys::{clock, errno};
use crate::time::Now;
use crate::wire::http::{self, Framing, Parsed, Request, Response};
use nix::errno::Errno;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Most clients at one time.
const CLIENTS_MAX: usize = 1000;
/// Most clients that are let in in one turn of the loop.
const ACCEPTS_A_TURN: usize = 64;
/// Most requests of one client that are answered in one turn of the loop.
const REQUESTS_A_TURN: usize = 8;
/// Read at once, in bytes: the smallest and the largest piece.
const PIECE: (usize, usize) = (4096, 64 * 1024);
/// Buffers beyond this size, in bytes, are given back when they are empty.
const KEPT_BYTES: usize = 16 * 1024;
/// What all clients together may make us hold, in bytes; a client that takes us beyond it is dropped.
const HELD_MAX_BYTES: usize = 256 * 1024 * 1024;
/// At the end, clients have so long to take their last answer, in milliseconds.
const LAST_ANSWER_MILLIS: u64 = 100;
/// Where the control socket is when the file has no server section: the first that can be made.
const DEFAULT_SOCKETS: [&str; 3] = ["/run/rsup.sock", "/tmp/rsup.sock", "/dev/shm/rsup.sock"];

/// Lines for the log.
type Said = Vec<(LogLevel, String)>;

/// Every listening socket and every client.
#[derive(Debug, Default)]
pub struct Server {
    services: Vec<Service>,
    clients: Vec<Option<Box<Client>>>,
    open: usize,
    /// Bytes that clients make us hold.
    held: usize,
    /// Counts clients and their turns: so a ticket never comes twice, and it is known who was served last.
    serial: u32,
    has_supervisor: bool,
    default_url: Option<String>,
    spare: Option<File>,
}

/// One listening socket.
#[derive(Debug)]
struct Service {
    listener: Listener,
    credentials: Option<(String, String)>,
    /// Only root and our own user may come.
    is_private: bool,
}

/// One connection.
#[derive(Debug)]
struct Client {
    socket: OwnedFd,
    /// Number of its service.
    service: u32,
    input: Vec<u8>,
    output: Vec<u8>,
    /// What comes after `output`: a long answer's body, which is not copied.
    body: Vec<u8>,
    /// How much of both is written.
    sent: usize,
    doing: Doing,
    interest: Interest,
    /// It sends no more.
    has_ended: bool,
    /// The connection ends when all is written.
    is_last: bool,
    was_told_to_continue: bool,
    /// The server's serial when it was last served.
    served: u32,
    /// What of the server's `held` is its part.
    held: usize,
}

/// What a client waits for.
#[derive(Debug)]
enum Doing {
    /// Nothing: it has the word.
    Reading,
    /// The answer of a call.
    Answering { ticket: Ticket, framing: Framing, body: String, pending: Pending, is_paused: bool },
}

/// What becomes of a client after its turn.
enum Next {
    Wait(Interest),
    Close,
}

impl Server {
    /// Binds every socket that the configuration names, or else one of the default places.
    /// Every problem comes back; there is no half of a server.
    pub fn open(config: &Config, poll: &Poll) -> Result<(Self, Said), Vec<String>> {
        let mut server = Server { spare: sockets::spare(), ..Server::default() };
        let (mut said, mut problems) = (Said::new(), Vec::new());
        server.has_supervisor =
            config.http.is_empty() || config.rpc_interfaces.iter().any(|(name, _)| name == "supervisor");
        for section in &config.http {
            match listen(section) {
                Ok(listener) => {
                    announce(section, &listener, &config.rpc_interfaces, &mut said);
                    server.add(listener, section.credentials.clone(), false);
                }
                Err(why) => problems.push(why),
            }
        }
        if config.http.is_empty() {
            server.open_default(&mut said);
        }
        for (n, service) in (0..).zip(&server.services) {
            let added = poll.add(&service.listener, token(Kind::Listener, n), Interest::Read);
            problems.extend(added.err().map(|error| format!("cannot wait for clients: {}", errno::name(&error))));
        }
        if problems.is_empty() {
            return Ok((server, said));
        }
        server.close_all(poll);
        Err(problems)
    }

    fn add(&mut self, listener: Listener, credentials: Option<(String, String)>, is_private: bool) {
        self.services.push(Service { listener, credentials, is_private });
    }

    /// Without a server section nobody asked for a socket: that none can be made is no error.
    fn open_default(&mut self, said: &mut Said) {
        let mut reasons = Vec::new();
        for path in DEFAULT_SOCKETS {
            match sockets::listen_unix(Path::new(path), Access { mode: 0o600, owner: None }) {
                Ok(listener) => {
                    self.default_url = Some(format!("unix://{path}"));
                    return self.add(listener, None, true);
                }
                Err(error) => reasons.push(format!("{path}: {}", name_of(error))),
            }
        }
        said.push((LogLevel::Warn, format!("no control socket, so no rsupctl: {}", reasons.join(", "))));
    }

    /// The URL of the default socket, if that is in use.
    #[must_use]
    pub fn default_url(&self) -> Option<String> {
        self.default_url.clone()
    }

    /// Lets clients in that wait at the n-th listening socket.
    pub fn accept(&mut self, n: u32, poll: &Poll, _now: Now) {
        for _ in 0..ACCEPTS_A_TURN {
            let Some(service) = at(&self.services, n) else { return };
            let is_private = service.is_private;
            let socket = match service.listener.accept() {
                Ok(socket) => socket,
                Err(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM) => {
                    self.turn_away(n);
                    continue;
                }
                Err(Errno::ECONNABORTED | Errno::EINTR) => continue,
                Err(_) => return,
            };
            if is_private
                && !sockets::peer_uid(&socket).is_ok_and(|uid| uid == 0 || uid == nix::unistd::geteuid().as_raw())
            {
                continue;
            }
            if self.open >= CLIENTS_MAX && !self.drop_idlest() {
                continue; // Closed: better than a client that hangs.
            }
            self.let_in(socket, n, poll);
        }
    }

    /// Without a descriptor for the next client: takes it from an idle one, or closes the next client's own, else the
    /// listening socket would be ready for ever.
    fn turn_away(&mut self, n: u32) {
        if self.drop_idlest() {
            return;
        }
        self.spare = None;
        if let Some(service) = at(&self.services, n) {
            drop(service.listener.accept());
        }
        self.spare = sockets::spare();
    }

    fn let_in(&mut self, socket: OwnedFd, service: u32, poll: &Poll) {
        let place = self.clients.iter().position(Option::is_none).unwrap_or(self.clients.len());
        let Ok(n) = u32::try_from(place) else { return };
        if poll.add(&socket, token(Kind::Connection, n), Interest::Read).is_err() {
            return;
        }
        self.serial = self.serial.wrapping_add(1);
        let client = Some(Box::new(Client {
            socket,
            service,
            input: Vec::new(),
            output: Vec::new(),
            body: Vec::new(),
            sent: 0,
            doing: Doing::Reading,
            interest: Interest::Read,
            has_ended: false,
            is_last: false,
            was_told_to_continue: false,
            served: self.serial,
            held: 0,
        }));
        match self.clients.get_mut(place) {
            Some(slot) => *slot = client,
            None => self.clients.push(client),
        }
        self.open = self.open.saturating_add(1);
    }

    /// Closes the connection that has been idle for longest; `false`: all are busy.
    fn drop_idlest(&mut self) -> bool {
        let idle = self.clients.iter_mut().filter(|slot| slot.as_ref().is_some_and(|client| client.is_idle()));
        let Some(slot) = idle.max_by_key(|slot| slot.as_ref().map(|client| self.serial.wrapping_sub(client.served)))
        else {
            return false;
        };
        if let Some(client) = slot.take() {
            self.close(&client);
        }
        true
    }

    /// Goes on with the n-th client.
    pub fn serve(&mut self, n: u32, ready: Ready, host: &mut dyn Host, poll: &Poll) {
        let Some(client) = slot(&mut self.clients, n).and_then(Option::take) else { return };
        // Room to write is never waited for together with something to read: both mean that the other end is closed.
        let is_gone = ready.readable && ready.writable;
        if is_gone && let Doing::Answering { ticket, .. } = client.doing {
            host.forget(ticket);
            return self.close(&client);
        }
        self.advance(client, n, ready.readable, host, poll);
    }

    /// The brain's reply; a client that has gone does not get it.
    pub fn reply(&mut self, ticket: Ticket, reply: Reply, host: &mut dyn Host, poll: &Poll) {
        let n = u32::try_from(ticket & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        let waits = |client: &mut Box<Client>| matches!(client.doing, Doing::Answering { ticket: own, is_paused: false, .. } if own == ticket);
        let Some(mut client) = slot(&mut self.clients, n).and_then(|slot| slot.take_if(waits)) else { return };
        if let Doing::Answering { framing, mut body, pending, .. } =
            std::mem::replace(&mut client.doing, Doing::Reading)
        {
            let progress = pending.resume(reply, host, ticket, &mut body);
            client.progress(progress, ticket, framing, body, host.now());
        }
        self.advance(client, n, false, host, poll);
    }

    /// A client's turn; afterwards it is back in its place, or gone.
    fn advance(&mut self, mut client: Box<Client>, n: u32, may_read: bool, host: &mut dyn Host, poll: &Poll) {
        self.serial = self.serial.wrapping_add(1);
        client.served = self.serial;
        let next = client.turn(self, n, may_read, host);
        let held = [&client.input, &client.output, &client.body]
            .iter()
            .fold(0, |sum: usize, b| sum.saturating_add(b.capacity()));
        self.held = self.held.saturating_sub(client.held).saturating_add(held);
        client.held = held;
        let interest = match next {
            Next::Wait(interest) if self.held <= HELD_MAX_BYTES => interest,
            _ => {
                if let Doing::Answering { ticket, .. } = client.doing {
                    host.forget(ticket);
                }
                return self.close(&client);
            }
        };
        if interest != client.interest && poll.modify(&client.socket, token(Kind::Connection, n), interest).is_err() {
            return self.close(&client);
        }
        client.interest = interest;
        if let Some(slot) = slot(&mut self.clients, n) {
            *slot = Some(client);
        }
    }

    /// The caller drops it, which closes the socket.
    fn close(&mut self, client: &Client) {
        self.open = self.open.saturating_sub(1);
        self.held = self.held.saturating_sub(client.held);
    }

    /// Answers that are still to be written have a moment for that.
    pub fn flush_before_exit(&mut self, _poll: &Poll, now: Now) {
        let end = now.mono.after_ms(LAST_ANSWER_MILLIS);
        for client in self.clients.iter_mut().flatten() {
            while matches!(client.flush(), Ok(false)) {
                let left = u16::try_from(end.since(clock::mono()).as_millis()).unwrap_or(0);
                if left == 0 {
                    break;
                }
                sockets::wait_for_room(&client.socket, left);
            }
        }
    }

    /// Closes everything, and removes the files of our sockets.
    pub fn close_all(&mut self, _poll: &Poll) {
        for service in &self.services {
            service.listener.unlink();
        }
        *self = Server::default();
    }
}

impl Client {
    /// Nobody would miss anything if the connection were closed.
    fn is_idle(&self) -> bool {
        matches!(self.doing, Doing::Reading) && self.input.is_empty() && self.output.is_empty()
    }

    /// Writes, goes on answering, reads, answers: until something must be waited for, or others should have their turn.
    fn turn(&mut self, server: &Server, n: u32, mut may_read: bool, host: &mut dyn Host) -> Next {
        for _ in 0..REQUESTS_A_TURN {
            match self.flush() {
                Ok(true) if self.is_last => return Next::Close,
                Ok(true) => {}
                Ok(false) => return Next::Wait(Interest::Write),
                Err(_) => return Next::Close,
            }
            match std::mem::replace(&mut self.doing, Doing::Reading) {
                Doing::Answering { ticket, framing, mut body, pending, is_paused: true } => {
                    let progress = pending.go_on(host, ticket, &mut body);
                    self.progress(progress, ticket, framing, body, host.now());
                    if matches!(self.doing, Doing::Answering { is_paused: true, .. }) {
                        return Next::Wait(Interest::Write);
                    }
                }
                waiting @ Doing::Answering { .. } => {
                    self.doing = waiting;
                    // Read on, to see whether it goes; but not more than a little.
                    if may_read && self.read().is_err() {
                        return Next::Close;
                    }
                    let enough = self.has_ended || self.input.len() >= PIECE.1;
                    return Next::Wait(if enough { Interest::Nothing } else { Interest::Read });
                }
                Doing::Reading => {
                    if std::mem::take(&mut may_read) && self.read().is_err() {
                        return Next::Close;
                    }
                    if !self.take_request(server, n, host) {
                        return if self.has_ended { Next::Close } else { Next::Wait(Interest::Read) };
                    }
                }
            }
        }
        // There is room to write: so this comes back after the others.
        Next::Wait(Interest::Write)
    }

    /// Reads a piece, if one is there.
    fn read(&mut self) -> Result<(), Errno> {
        let (filled, (least, most)) = (self.input.len(), PIECE);
        self.input.resize(filled.saturating_add(filled.clamp(least, most)), 0);
        let piece = self.input.get_mut(filled..).unwrap_or_default();
        let read = sockets::receive(&self.socket, piece);
        self.input.truncate(filled.saturating_add(read.unwrap_or(0)));
        match read {
            Ok(0) => self.has_ended = true,
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
        Ok(())
    }

    /// Writes what there is room for; `true`: all is written.
    fn flush(&mut self) -> Result<bool, Errno> {
        loop {
            let rest = match self.sent.checked_sub(self.output.len()) {
                None => self.output.get(self.sent..),
                Some(of_body) => self.body.get(of_body..),
            };
            let Some(rest) = rest.filter(|rest| !rest.is_empty()) else { break };
            match sockets::transmit(&self.socket, rest) {
                Ok(sent) => self.sent = self.sent.saturating_add(sent),
                Err(Errno::EAGAIN) => return Ok(false),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        self.sent = 0;
        empty(&mut self.output);
        empty(&mut self.body);
        Ok(true)
    }

    /// Answers the request at the front of the input; `false`: it is not all there.
    fn take_request(&mut self, server: &Server, n: u32, host: &mut dyn Host) -> bool {
        match http::parse_request(&self.input) {
            Ok(Parsed::Complete { request, consumed }) => {
                self.input.drain(..consumed);
                if self.input.is_empty() {
                    empty(&mut self.input);
                }
                self.was_told_to_continue = false;
                self.answer(&request, server, n, host);
            }
            Ok(Parsed::Partial { expects_continue: true }) if !self.was_told_to_continue => {
                self.was_told_to_continue = true;
                self.output.extend_from_slice(http::CONTINUE);
            }
            Ok(Parsed::Partial { .. }) => return false,
            Err(why) => self.say(Response::error(why.status()), Framing::LAST, host.now()),
        }
        true
    }

    /// Which part of us answers what (census §7.2).
    fn answer(&mut self, request: &Request, server: &Server, n: u32, host: &mut dyn Host) {
        let credentials = at(&server.services, self.service).and_then(|service| service.credentials.as_ref());
        if credentials.is_some_and(|(user, password)| !request.is_authorized((user, password))) {
            return self.say(Response::error(401), request.framing, host.now());
        }
        let is_rpc = request.path().starts_with("/RPC2");
        let status = match request.method.as_str() {
            "POST" if is_rpc => return self.call(request, server, n, host),
            "GET" | "HEAD" if !is_rpc => 404,
            _ => 400,
        };
        self.say(Response::error(status), request.framing, host.now());
    }

    fn call(&mut self, request: &Request, server: &Server, n: u32, host: &mut dyn Host) {
        let ticket = u64::from(server.serial) << 32 | u64::from(n);
        let mut body = String::new();
        match rpc::call(&request.body, server.has_supervisor, host, ticket, &mut body) {
            Ok(progress) => self.progress(progress, ticket, request.framing, body, host.now()),
            Err(_) => self.say(Response::error(400), request.framing, host.now()),
        }
    }

    fn progress(&mut self, progress: Progress, ticket: Ticket, framing: Framing, body: String, now: Now) {
        let (pending, is_paused) = match progress {
            Progress::Done => return self.say(Response::xml(body), framing, now),
            Progress::Waiting(pending) => (pending, false),
            Progress::Paused(pending) => (pending, true),
        };
        self.doing = Doing::Answering { ticket, framing, body, pending, is_paused };
    }

    fn say(&mut self, response: Response, framing: Framing, now: Now) {
        let date = http::http_date(u64::try_from(now.wall.secs).unwrap_or(0));
        response.write_head(framing, &date, &mut self.output);
        self.is_last = response.closes(framing);
        match response.body.filter(|_| !framing.head_only) {
            Some(body) if body.len() > KEPT_BYTES => self.body = body,
            Some(body) => self.output.extend_from_slice(&body),
            None => {}
        }
    }
}

/// Empties a buffer, and gives a large one back.
fn empty(buffer: &mut Vec<u8>) {
    buffer.clear();
    if buffer.capacity() > KEPT_BYTES {
        *buffer = Vec::new();
    }
}

fn at(services: &[Service], n: u32) -> Option<&Service> {
    services.get(usize::try_from(n).ok()?)
}

fn slot(clients: &mut [Option<Box<Client>>], n: u32) -> Option<&mut Option<Box<Client>>> {
    clients.get_mut(usize::try_from(n).ok()?)
}

/// Binds the socket of one section; the problem in Supervisor's words (census §7.1), and whose it is.
fn listen(section: &HttpServerConfig) -> Result<Listener, String> {
    let (listener, place) = match &section.address {
        SocketAddress::Unix(path) => {
            let owner = section.chown.map(|owner| (owner.uid, owner.gid));
            (sockets::listen_unix(path, Access { mode: section.chmod, owner }), path.display().to_string())
        }
        SocketAddress::Tcp(host, port) => (sockets::listen_tcp(host, *port), format!("{host}:{port}")),
    };
    listener.map_err(|error| {
        let what = match error {
            ListenError::Failed(Errno::EADDRINUSE) => {
                "Another program is already listening on a port that one of our HTTP servers is configured to use.  \
                 Shut this program down first before starting supervisord."
                    .to_owned()
            }
            ListenError::NotChowned(Errno::EPERM) => {
                let (uid, gid) = section.chown.map_or((0, None), |owner| (owner.uid, owner.gid));
                let gid = gid.map_or_else(|| "-1".to_owned(), |gid| gid.to_string());
                format!(
                    "Not permitted to chown {place} to uid/gid ({uid}, {gid}); choose an owner that user {} can give it to",
                    nix::unistd::geteuid()
                )
            }
            error => format!("Cannot open an HTTP server: socket.error reported {}", name_of(error)),
        };
        format!("{what} [{}]: {place}", section.section)
    })
}

fn name_of(error: ListenError) -> String {
    match error {
        ListenError::Failed(errno) | ListenError::NotChowned(errno) => {
            format!("errno.{} ({})", errno::Name(errno as i32), errno as i32)
        }
        ListenError::UnknownHost => "-2".into(),
    }
}

/// What is worth a line when a socket is there.
fn announce(section: &HttpServerConfig, listener: &Listener, interfaces: &[(String, String)], said: &mut Said) {
    if listener.was_stale
        && let SocketAddress::Unix(path) = &section.address
    {
        said.push((LogLevel::Info, format!("Unlinking stale socket {}", path.display())));
    }
    said.extend(interfaces.iter().map(|(name, _)| (LogLevel::Info, format!("RPC interface '{name}' initialized"))));
    let unguarded = format!("Server '{}' running without any HTTP authentication checking", section.section);
    match &section.address {
        _ if section.credentials.is_some() => {}
        SocketAddress::Tcp(host, port) if !is_loopback(host) => {
            let line = format!("{unguarded}: whoever can reach port {port} can run what it likes here; set a password");
            said.push((LogLevel::Critical, line));
        }
        // Differs from Supervisor: in a container a socket file with its mode is nothing to be frightened of.
        SocketAddress::Unix(_) if std::process::id() == 1 => {}
        _ => said.push((LogLevel::Critical, unguarded)),
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests;
