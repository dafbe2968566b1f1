//! Listening sockets and connections of clients: passes requests to [`crate::rpc`] and [`crate::web`], and their answers back.
//!
//! Nothing here waits. A connection has one request answered at a time, and a turn of the loop does a limited amount of work
//! for it. `listen` binds the sockets, `connection` is one connection, `follow` a log that a client follows, and `guard` refuses
//! requests that a web page of another site makes a browser send.

mod connection;
mod follow;
mod guard;
mod listen;

use crate::config::model::{Config, HttpServerConfig, LogLevel};
use crate::rpc::{Host, Namespaces};
use crate::supervision::{Reply, Ticket};
use crate::sys::poll::{Interest, Poll, Ready};
use crate::sys::sockets::{self, ListeningSocket};
use crate::sys::{clock, errno, memory};
use crate::time::{Mono, Now};
use crate::web::PageToken;
use connection::Connection;
use guard::BrowserGuard;
use nix::errno::Errno;
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// Largest number of connections at one time. An unused one costs less than 1 KiB, one that has sent a request 4 KiB more.
const CONNECTIONS_MAX: usize = 2000;
/// Largest number of clients that one socket accepts in one turn of the loop.
const ACCEPTS_A_TURN: usize = 64;
/// Largest number of clients, one after the other, of which accept4(2) reports an error. Then the error is not of these clients.
const ABORTED_MAX: u32 = 8;
/// Limit of the memory held for all connections together, in bytes; a connection that exceeds it is closed.
const HELD_MAX_BYTES: usize = 256 * 1024 * 1024;
/// A connection gets its turn only if this much memory can be allocated, in bytes, and keeps what it holds only if as much is left.
/// Small allocations are infallible, and must not find that the buffers of clients have used up all memory.
const TURN_BYTES: usize = 256 * 1024;
/// While the connections hold and need no more than this, in bytes, there is nothing to gain: the reserve of the allocator is as large.
const UNCHECKED_BYTES: usize = 512 * 1024;
/// Descriptors kept in reserve for when all others are in use: one for a connection, one for the file that its answer may
/// read.
const SPARES: usize = 2;
/// A system call that fails for lack of memory or descriptors is tried again after this time, in milliseconds.
const RETRY_MILLIS: u64 = 100;
/// Shortest time between two log messages on failures of one kind, in milliseconds.
const REPORT_MILLIS: u64 = 60_000;
/// When rsup ends, clients have this long to read their last answers, in milliseconds.
const LAST_ANSWER_MILLIS: u64 = 100;

/// Shortest time between two checks of the followed logs, in milliseconds.
const FOLLOW_MILLIS: u64 = 20;

/// Lines for the log.
type LogLines = Vec<(LogLevel, String)>;

/// All listening sockets and all connections.
#[derive(Debug)]
pub struct Server {
    poll: Rc<Poll>,
    /// The poll's tokens of endpoint 0 and of connection 0; the others count up from there.
    tokens: [u64; 2],
    endpoints: Vec<Endpoint>,
    connections: Vec<Option<Box<Connection>>>,
    open_count: usize,
    max_connections: usize,
    /// Bytes held for all connections together.
    held: usize,
    /// Counts the turns of connections, so that no ticket is used twice.
    serial: u32,
    namespaces: Namespaces,
    web_token: PageToken,
    spares: Vec<OwnedFd>,
    /// When the first time limit of a connection may be over.
    expiry: Option<Mono>,
    /// Indices of the connections that follow logs; closed ones may still be among them.
    following: BTreeSet<u32>,
    /// The number of changes of logs at the last check of the followed logs.
    seen_changes: u64,
    /// The next check of the followed logs must not be earlier.
    next_check: Mono,
    /// Logs have changed since the last check.
    check_is_due: bool,
    /// When the first retry of a connection is due.
    retries: Option<Mono>,
    /// Whether the last descriptor that was freed for a client allowed it to be accepted.
    freeing_helps: bool,
    /// Lines that are still to be logged.
    log_lines: LogLines,
    /// For each kind of failure, when it may be reported again.
    quiet_until: [Option<Mono>; 5],
}

/// A failure that is logged.
#[derive(Debug, Clone, Copy)]
enum Failure {
    /// accept4(2)
    Accept,
    /// epoll_ctl(2)
    Wait,
    /// recv(2) or send(2), for lack of memory.
    Transfer,
    /// The same, for another reason.
    Closed,
    /// The allocation of a buffer.
    Memory,
}

/// A listening socket and its rules.
#[derive(Debug)]
struct Endpoint {
    listener: ListeningSocket,
    credentials: Option<(String, String)>,
    /// For TCP sockets.
    guard: Option<BrowserGuard>,
    /// Only root and the user that rsup runs as may connect.
    is_private: bool,
    /// No client is accepted until then.
    paused_until: Option<Mono>,
}

impl Endpoint {
    /// `section`: of the configuration; `None`: a default socket.
    fn new(listener: ListeningSocket, section: Option<&HttpServerConfig>) -> Self {
        let credentials = section.and_then(|section| section.credentials.clone());
        let guard = section.and_then(BrowserGuard::of);
        Self { listener, credentials, guard, is_private: section.is_none(), paused_until: None }
    }
}

impl Server {
    /// Binds every socket of the configuration, or one of the default sockets if the configuration has none. Returns the
    /// server and lines to log. `tokens`: the poll's tokens for the first listening socket and for the first connection.
    /// If one socket cannot be bound, none is kept, and the error lists all problems.
    pub fn open(config: &Config, poll: Rc<Poll>, tokens: [u64; 2]) -> Result<(Self, LogLines), Vec<String>> {
        let (mut log_lines, mut problems) = (LogLines::new(), Vec::new());
        let supervisor = config.http.is_empty() || config.rpc_interfaces.iter().any(|(name, _)| name == "supervisor");
        let namespaces = Namespaces { supervisor, twiddler: config.twiddler.is_some() };
        let mut server = Self {
            poll,
            tokens,
            endpoints: Vec::new(),
            connections: Vec::new(),
            open_count: 0,
            max_connections: CONNECTIONS_MAX,
            held: 0,
            serial: 0,
            namespaces,
            web_token: PageToken::random(),
            spares: Vec::new(),
            expiry: None,
            following: BTreeSet::new(),
            seen_changes: 0,
            next_check: Mono::default(),
            check_is_due: false,
            retries: None,
            freeing_helps: true,
            log_lines: LogLines::new(),
            quiet_until: [None; 5],
        };
        server.refill();
        for section in &config.http {
            match listen::listen(section) {
                Ok(listener) => {
                    listen::announce(section, &listener, &config.rpc_interfaces, &mut log_lines);
                    server.endpoints.push(Endpoint::new(listener, Some(section)));
                }
                Err(why) => problems.push(why),
            }
        }
        if config.http.is_empty() {
            let listener = listen::listen_on_default(&mut log_lines).into_iter();
            server.endpoints.extend(listener.map(|listener| Endpoint::new(listener, None)));
        }
        for (n, endpoint) in (0..).zip(&server.endpoints) {
            let added = server.poll.add(&endpoint.listener, server.tokens[0] | n, Interest::Read);
            problems.extend(added.err().map(|error| format!("cannot wait for clients: {}", errno::name(&error))));
        }
        if problems.is_empty() {
            return Ok((server, log_lines));
        }
        server.close_all();
        Err(problems)
    }

    /// The URL of the default socket, if it is in use.
    #[must_use]
    pub fn default_url(&self) -> Option<String> {
        let endpoint = self.endpoints.iter().find(|endpoint| endpoint.is_private)?;
        Some(format!("unix://{}", endpoint.listener.path()?.display()))
    }

    /// Accepts the clients that wait at the n-th endpoint.
    pub fn accept(&mut self, n: u32, host: &mut dyn Host) {
        let now = host.now();
        if at(&self.endpoints, n).is_some_and(|endpoint| endpoint.paused_until.is_some()) {
            return;
        }
        let (mut has_freed_one, mut aborted) = (false, 0_u32);
        for _ in 0..ACCEPTS_A_TURN {
            let socket = match self.accept_one(n) {
                Ok(socket) => socket,
                Err(Errno::EAGAIN) => return,
                Err(errno) if sockets::is_of_one_client(errno) && aborted < ABORTED_MAX => {
                    aborted = aborted.saturating_add(1);
                    continue;
                }
                Err(Errno::EMFILE | Errno::ENFILE) if !has_freed_one && self.free_descriptor(n) => {
                    has_freed_one = true;
                    continue;
                }
                Err(errno) => {
                    self.freeing_helps &= !has_freed_one;
                    return self.pause(n, errno, now);
                }
            };
            (has_freed_one, aborted, self.freeing_helps) = (false, 0, true);
            let is_private = at(&self.endpoints, n).is_some_and(|endpoint| endpoint.is_private);
            let is_ours = |uid| uid == 0 || uid == nix::unistd::geteuid().as_raw();
            if is_private && !sockets::peer_uid(&socket).is_ok_and(is_ours) {
                continue;
            }
            if self.open_count >= self.max_connections && !self.close_oldest(n) {
                continue; // The socket is closed here: better than a client that hangs.
            }
            if !self.make_room(TURN_BYTES, 0, host) {
                self.report(Failure::Memory, libc::ENOMEM, now.mono);
                continue;
            }
            self.add_connection(socket, n, now);
        }
    }

    fn accept_one(&self, n: u32) -> Result<OwnedFd, Errno> {
        at(&self.endpoints, n).ok_or(Errno::EAGAIN)?.listener.accept()
    }

    /// Closes a descriptor so that the next client can be accepted: a spare, or an idle connection. `false`: there is none, or
    /// closing the last one did not help.
    fn free_descriptor(&mut self, n: u32) -> bool {
        if !self.freeing_helps {
            return false;
        }
        if self.spares.len() >= SPARES {
            self.spares.pop();
            return true;
        }
        self.close_oldest(n)
    }

    /// Stops accepting clients at this endpoint for a moment. Otherwise its socket would stay ready and make the loop spin.
    fn pause(&mut self, n: u32, errno: Errno, now: Now) {
        let token = self.tokens[0] | u64::from(n);
        let Some(endpoint) = usize::try_from(n).ok().and_then(|n| self.endpoints.get_mut(n)) else { return };
        endpoint.paused_until = Some(now.mono.after_ms(RETRY_MILLIS));
        let unwatched = self.poll.modify(&endpoint.listener, token, Interest::Nothing);
        self.report(Failure::Accept, errno as i32, now.mono);
        if let Err(error) = unwatched {
            self.report(Failure::Wait, error.raw_os_error().unwrap_or(0), now.mono);
        }
    }

    /// Accepts clients again at the endpoints whose pause is over.
    fn resume(&mut self, now: Mono) {
        let mut failed = None;
        for (n, endpoint) in (0..).zip(&mut self.endpoints) {
            if endpoint.paused_until.is_some_and(|until| until <= now) {
                let waits = self.poll.modify(&endpoint.listener, self.tokens[0] | n, Interest::Read);
                endpoint.paused_until = waits.is_err().then(|| now.after_ms(RETRY_MILLIS));
                failed = failed.or(waits.err());
            }
        }
        if let Some(error) = failed {
            self.report(Failure::Wait, error.raw_os_error().unwrap_or(0), now);
        }
    }

    /// Logs a failure, unless one of the same kind was logged a short time ago.
    fn report(&mut self, failure: Failure, errno: i32, now: Mono) {
        let Some(quiet_until) = self.quiet_until.get_mut(failure as usize) else { return };
        if quiet_until.is_some_and(|until| until > now) {
            return;
        }
        *quiet_until = Some(now.after_ms(REPORT_MILLIS));
        let (name, retry) = (errno::ErrnoName(errno), format!("retrying every {RETRY_MILLIS} ms"));
        let line = match failure {
            Failure::Accept => format!("cannot accept a client: {name}; {retry}"),
            Failure::Wait => format!("cannot wait for a client: {name}; {retry}"),
            Failure::Transfer => format!("cannot read from or write to a client: {name}; {retry}"),
            Failure::Closed => format!("closed a client: cannot read from or write to it: {name}"),
            Failure::Memory => "memory is short: closed a client whose request or answer needs much of it".to_owned(),
        };
        self.log_lines.push((LogLevel::Error, line));
    }

    /// Opens the missing spare descriptors.
    fn refill(&mut self) {
        let missing = SPARES.saturating_sub(self.spares.len());
        self.spares.extend(std::iter::repeat_with(sockets::spare).take(missing).map_while(|spare| spare));
    }

    fn add_connection(&mut self, socket: OwnedFd, endpoint: u32, now: Now) {
        let place = self.connections.iter().position(Option::is_none).unwrap_or(self.connections.len());
        let Ok(n) = u32::try_from(place) else { return };
        let mut connection = Connection::new(socket, endpoint, now.mono);
        self.register(&mut connection, n, now.mono);
        self.note_expiry(connection.expiry());
        let connection = Some(Box::new(connection));
        match self.connections.get_mut(place) {
            Some(slot) => *slot = connection,
            None => self.connections.push(connection),
        }
        self.open_count = self.open_count.saturating_add(1);
    }

    /// Makes the poll wait for what a connection waits for. If that fails, the connection is tried again later.
    fn register(&mut self, connection: &mut Connection, n: u32, now: Mono) {
        let wanted = connection.interest;
        let done = match connection.registered {
            Some(registered) if registered == wanted => return,
            Some(_) => self.poll.modify(&connection.socket, self.token(n), wanted),
            None => self.poll.add(&connection.socket, self.token(n), wanted),
        };
        match done {
            Ok(()) => connection.registered = Some(wanted),
            Err(error) => {
                self.retry(connection, now);
                self.report(Failure::Wait, error.raw_os_error().unwrap_or(0), now);
            }
        }
    }

    /// Tries a connection again later.
    fn retry(&mut self, connection: &mut Connection, now: Mono) {
        let at = now.after_ms(RETRY_MILLIS);
        connection.retry = Some(at);
        self.retries = Some(self.retries.map_or(at, |earlier| earlier.min(at)));
    }

    fn token(&self, n: u32) -> u64 {
        self.tokens[1] | u64::from(n)
    }

    /// Closes the connection that has been without progress for the longest time, preferably one of the same endpoint.
    /// `false`: all connections wait for an answer.
    fn close_oldest(&mut self, endpoint: u32) -> bool {
        let idle = self
            .connections
            .iter_mut()
            .filter(|slot| slot.as_ref().is_some_and(|connection| connection.ticket().is_none()));
        let oldest =
            idle.min_by_key(|slot| slot.as_ref().map(|connection| (connection.endpoint != endpoint, connection.since)));
        let Some(connection) = oldest.and_then(Option::take) else { return false };
        self.close(&connection);
        true
    }

    /// Serves the n-th connection, which is ready.
    pub fn serve(&mut self, n: u32, ready: Ready, host: &mut dyn Host) {
        let Some(connection) = slot(&mut self.connections, n).and_then(Option::take) else { return };
        // No connection waits for both at once, so both together mean that the client has closed its end.
        if ready.readable && ready.writable && connection.ticket().is_some() {
            return self.abort(&connection, host);
        }
        let before = connection.progress;
        self.advance(connection, n, ready.readable, host);
        // The socket is ready, but its system calls fail for lack of memory.
        let is_stuck = |connection: &mut Box<Connection>| connection.progress == before;
        if let Some(mut connection) = slot(&mut self.connections, n).and_then(|slot| slot.take_if(is_stuck)) {
            if self.poll.remove(&connection.socket).is_ok() {
                connection.registered = None;
            }
            let now = host.now().mono;
            self.retry(&mut connection, now);
            if let Some(errno) = connection.failure.take() {
                self.report(Failure::Transfer, errno as i32, now);
            }
            if let Some(slot) = slot(&mut self.connections, n) {
                *slot = Some(connection);
            }
        }
    }

    /// Passes a reply of the core to the connection that waits for it, if that still exists.
    pub fn reply(&mut self, ticket: Ticket, reply: Reply, host: &mut dyn Host) {
        let n = u32::try_from(ticket & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        let waits = |connection: &mut Box<Connection>| connection.waits_for(ticket);
        let Some(mut connection) = slot(&mut self.connections, n).and_then(|slot| slot.take_if(waits)) else { return };
        connection.resume(reply, host);
        self.advance(connection, n, false, host);
    }

    /// Gives a connection its turn, and then puts it back into its slot or closes it.
    fn advance(&mut self, mut connection: Box<Connection>, n: u32, may_read: bool, host: &mut dyn Host) {
        let now = host.now().mono;
        let needed = TURN_BYTES.saturating_add(connection.input_growth());
        if !self.make_room(needed, connection.held, host) {
            self.report(Failure::Memory, libc::ENOMEM, now);
            return self.abort(&connection, host);
        }
        self.serial = self.serial.wrapping_add(1);
        let is_short = self.spares.len() < SPARES;
        if is_short {
            self.spares.pop();
        }
        let next = connection.turn(self, n, may_read, host);
        if is_short {
            self.refill();
        }
        let held = connection.bytes();
        self.held = self.held.saturating_sub(connection.held).saturating_add(held);
        connection.held = held;
        let has_room = self.held <= HELD_MAX_BYTES && self.make_room(TURN_BYTES, held, host);
        let Some(interest) = next.filter(|_| has_room) else {
            match connection.failure {
                _ if !has_room => self.report(Failure::Memory, libc::ENOMEM, now),
                Some(Errno::ENOMEM) => self.report(Failure::Memory, libc::ENOMEM, now),
                Some(errno) => self.report(Failure::Closed, errno as i32, now),
                None => {}
            }
            return self.abort(&connection, host);
        };
        connection.interest = interest;
        self.register(&mut connection, n, now);
        self.note_expiry(connection.expiry());
        if connection.follows() {
            self.following.insert(n);
        }
        if let Some(slot) = slot(&mut self.connections, n) {
            *slot = Some(connection);
        }
    }

    /// Closes the connections that hold the most memory until `bytes` can be allocated; `false`: no connection is left that holds more
    /// than `held`.
    fn make_room(&mut self, bytes: usize, held: usize, host: &mut dyn Host) -> bool {
        while self.held.max(bytes) > UNCHECKED_BYTES && !memory::has_room(bytes) {
            let larger =
                self.connections.iter_mut().filter(|slot| slot.as_ref().is_some_and(|other| other.held > held));
            let largest = larger.max_by_key(|slot| slot.as_ref().map(|other| other.held));
            let Some(connection) = largest.and_then(Option::take) else { return false };
            self.abort(&connection, host);
            self.report(Failure::Memory, libc::ENOMEM, host.now().mono);
        }
        true
    }

    /// Does what is due: retries, closing connections whose time is over, and sending what was appended to followed logs.
    /// `changes` counts the changes of all logs. `is_short`: an allocation has failed, so clients must free what they hold.
    pub fn maintain(&mut self, changes: u64, is_short: bool, host: &mut dyn Host) {
        let now = host.now().mono;
        if is_short {
            self.make_room(TURN_BYTES, 0, host);
        }
        self.resume(now);
        if self.retries.is_some_and(|at| at <= now) {
            self.retry_connections(now, host);
        }
        for (level, line) in std::mem::take(&mut self.log_lines) {
            host.log_line(level, &line);
        }
        if self.expiry.is_some_and(|expiry| expiry <= now) {
            self.expire(host);
        }
        self.check_is_due = !self.following.is_empty() && changes != self.seen_changes;
        if !self.check_is_due || now < self.next_check {
            return;
        }
        self.check_is_due = false;
        (self.seen_changes, self.next_check) = (changes, now.after_ms(FOLLOW_MILLIS));
        for n in std::mem::take(&mut self.following) {
            // A connection that waits until it can write continues from there.
            let waits =
                |connection: &mut Box<Connection>| connection.follows() && connection.interest == Interest::Read;
            if let Some(connection) = slot(&mut self.connections, n).and_then(|slot| slot.take_if(waits)) {
                self.advance(connection, n, false, host);
            }
        }
    }

    fn retry_connections(&mut self, now: Mono, host: &mut dyn Host) {
        for n in (0..).take(self.connections.len()) {
            let is_due = |connection: &mut Box<Connection>| connection.retry.is_some_and(|at| at <= now);
            if let Some(mut connection) = slot(&mut self.connections, n).and_then(|slot| slot.take_if(is_due)) {
                connection.retry = None;
                self.advance(connection, n, true, host);
            }
        }
        self.retries = self.connections.iter().flatten().filter_map(|connection| connection.retry).min();
    }

    fn expire(&mut self, host: &mut dyn Host) {
        let now = host.now().mono;
        let is_over = |connection: &mut Box<Connection>| connection.expiry().is_some_and(|expiry| expiry <= now);
        let over: Vec<_> = self.connections.iter_mut().filter_map(|slot| slot.take_if(is_over)).collect();
        over.iter().for_each(|connection| self.abort(connection, host));
        self.expiry = self.connections.iter().flatten().filter_map(|connection| connection.expiry()).min();
    }

    fn note_expiry(&mut self, expiry: Option<Mono>) {
        self.expiry = [self.expiry, expiry].into_iter().flatten().min();
    }

    /// When [`Server::maintain`] must be called even if no descriptor is ready.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Mono> {
        let checks = self.check_is_due.then_some(self.next_check);
        let resumes = self.endpoints.iter().filter_map(|endpoint| endpoint.paused_until).min();
        [checks, self.expiry, self.retries, resumes].into_iter().flatten().min()
    }

    /// Closes a connection, and cancels its call if that has not been answered.
    fn abort(&mut self, connection: &Connection, host: &mut dyn Host) {
        if let Some(ticket) = connection.ticket() {
            host.cancel(ticket);
        }
        self.close(connection);
    }

    /// Removes a connection from the poll; its socket is closed when the caller drops it. Closing alone is not enough: a child
    /// between fork and exec has a copy of the socket, and the events of that copy would be taken for the next connection's.
    fn close(&mut self, connection: &Connection) {
        let _ = self.poll.remove(&connection.socket);
        self.open_count = self.open_count.saturating_sub(1);
        self.held = self.held.saturating_sub(connection.held);
        if self.open_count == 0 {
            self.expiry = None;
        }
    }

    /// Writes the answers that are still in buffers, within `LAST_ANSWER_MILLIS`.
    pub fn flush_before_exit(&mut self, now: Now) {
        let end = now.mono.after_ms(LAST_ANSWER_MILLIS);
        for connection in self.connections.iter_mut().flatten() {
            while matches!(connection.flush(now.mono), Ok(false)) {
                let left = u16::try_from(end.since(clock::mono()).as_millis()).unwrap_or(0);
                if left == 0 {
                    break;
                }
                sockets::wait_for_room(&connection.socket, left);
            }
        }
    }

    /// Closes everything, and removes the files of the Unix sockets.
    pub fn close_all(self) {
        self.endpoints.iter().for_each(|endpoint| endpoint.listener.unlink());
    }
}

fn at(endpoints: &[Endpoint], n: u32) -> Option<&Endpoint> {
    endpoints.get(usize::try_from(n).ok()?)
}

fn slot(connections: &mut [Option<Box<Connection>>], n: u32) -> Option<&mut Option<Box<Connection>>> {
    connections.get_mut(usize::try_from(n).ok()?)
}

#[cfg(test)]
mod tests;
