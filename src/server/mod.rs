//! Clients: the sockets that they come to, their connections, HTTP. From bytes to [`crate::rpc`] and back.
//!
//! Nobody is waited for: one request of a client at a time is answered, those behind it wait their turn, and a turn of
//! the loop takes a few of them at most. `listen` binds the sockets, `client` is one connection, `follow` a log that one
//! follows, `guard` keeps out what a web page makes a browser send.

mod client;
mod follow;
mod guard;
mod listen;

use crate::config::model::{Config, LogLevel};
use crate::rpc::{Host, Served};
use crate::supervision::{Reply, Ticket};
use crate::sys::poll::{Interest, Poll, Ready};
use crate::sys::sockets::{self, ListeningSocket};
use crate::sys::{clock, errno};
use crate::time::{Mono, Now};
use crate::web::Token;
use client::Client;
use guard::Guard;
use nix::errno::Errno;
use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// Most clients at one time. One that says nothing costs less than 1 KiB, one that has sent something 4 KiB more.
const CLIENTS_MAX: usize = 2000;
/// Most clients that are let in in one turn of the loop.
const ACCEPTS_A_TURN: usize = 64;
/// What all clients together may make us hold, in bytes; a client that takes us beyond it is dropped.
const HELD_MAX_BYTES: usize = 256 * 1024 * 1024;
/// Descriptors that are kept for a time when programs have taken all others: one for a client, one that it can use while it
/// is answered (a file to read).
const SPARES: usize = 2;
/// A system call that fails for want of memory or descriptors is tried again after so long, in milliseconds.
const RETRY_MILLIS: u64 = 100;
/// Such a failure is reported at most so often, in milliseconds.
const REPORT_MILLIS: u64 = 60_000;
/// At the end, clients have so long to take their last answer, in milliseconds.
const LAST_ANSWER_MILLIS: u64 = 100;

/// Logs are looked at for those who follow them at most so often, in milliseconds.
const FOLLOW_MILLIS: u64 = 20;

/// Lines for the log.
type Said = Vec<(LogLevel, String)>;

/// Every listening socket and every client.
#[derive(Debug)]
pub struct Server {
    poll: Rc<Poll>,
    /// The poll's tokens of listening socket 0 and of client 0; those of the others follow.
    tokens: [u64; 2],
    services: Vec<Service>,
    clients: Vec<Option<Box<Client>>>,
    open: usize,
    /// How many there may be.
    most: usize,
    /// Bytes that clients make us hold.
    held: usize,
    /// Counts clients' turns: so a ticket never comes twice.
    serial: u32,
    served: Served,
    web_token: Token,
    spares: Vec<File>,
    /// When to look for clients whose time is over, if there can be one.
    expiry: Option<Mono>,
    /// The clients that follow logs; one that has gone may still be among them.
    following: BTreeSet<u32>,
    /// How often logs had changed when they were last looked at, and when that may be done again.
    looked: (u64, Mono),
    /// They have changed since.
    is_behind: bool,
    /// When the next client is to be tried again, if one is.
    retries: Option<Mono>,
    /// Whether descriptors that were given up for it let the last client in.
    room_helps: bool,
    /// Lines for the log.
    said: Said,
    /// Until when each kind of failure is not reported again.
    reported: [Option<Mono>; 3],
}

/// What fails for want of memory or descriptors.
#[derive(Debug, Clone, Copy)]
enum Failing {
    /// accept4(2)
    Accept,
    /// epoll_ctl(2)
    Wait,
    /// recv(2), send(2)
    Transfer,
}

/// One listening socket.
#[derive(Debug)]
struct Service {
    listener: ListeningSocket,
    credentials: Option<(String, String)>,
    /// Of a TCP socket: what a browser may not ask.
    guard: Option<Guard>,
    /// Only root and our own user may come.
    is_private: bool,
    /// No client is let in until then.
    paused_until: Option<Mono>,
}

impl Server {
    /// Binds every socket that the configuration names, or else one of the default places. `tokens`: what the poll is to
    /// say for the first listening socket and for the first client.
    /// Every problem comes back; there is no half of a server.
    pub fn open(config: &Config, poll: Rc<Poll>, tokens: [u64; 2]) -> Result<(Self, Said), Vec<String>> {
        let (mut said, mut problems) = (Said::new(), Vec::new());
        let supervisor = config.http.is_empty() || config.rpc_interfaces.iter().any(|(name, _)| name == "supervisor");
        let served = Served { supervisor, twiddler: config.twiddler.is_some() };
        let (services, clients, spares) = (Vec::new(), Vec::new(), Vec::new());
        let mut server = Self {
            poll,
            tokens,
            services,
            clients,
            open: 0,
            most: CLIENTS_MAX,
            held: 0,
            serial: 0,
            served,
            web_token: Token::random(),
            spares,
            expiry: None,
            following: BTreeSet::new(),
            looked: (0, Mono::default()),
            is_behind: false,
            retries: None,
            room_helps: true,
            said: Said::new(),
            reported: [None; 3],
        };
        server.refill();
        for section in &config.http {
            match listen::listen(section) {
                Ok(listener) => {
                    listen::announce(section, &listener, &config.rpc_interfaces, &mut said);
                    let credentials = section.credentials.clone();
                    let guard = Guard::of(section);
                    server.services.push(Service {
                        listener,
                        credentials,
                        guard,
                        is_private: false,
                        paused_until: None,
                    });
                }
                Err(why) => problems.push(why),
            }
        }
        if config.http.is_empty() {
            let listener = listen::listen_by_default(&mut said).into_iter();
            let private =
                |listener| Service { listener, credentials: None, guard: None, is_private: true, paused_until: None };
            server.services.extend(listener.map(private));
        }
        for (n, service) in (0..).zip(&server.services) {
            let added = server.poll.add(&service.listener, server.tokens[0] | n, Interest::Read);
            problems.extend(added.err().map(|error| format!("cannot wait for clients: {}", errno::name(&error))));
        }
        if problems.is_empty() {
            return Ok((server, said));
        }
        server.close_all();
        Err(problems)
    }

    /// The URL of the default socket, if that is in use.
    #[must_use]
    pub fn default_url(&self) -> Option<String> {
        let service = self.services.iter().find(|service| service.is_private)?;
        Some(format!("unix://{}", service.listener.path()?.display()))
    }

    /// Lets clients in that wait at the n-th listening socket.
    pub fn accept(&mut self, n: u32, now: Now) {
        if at(&self.services, n).is_some_and(|service| service.paused_until.is_some()) {
            return;
        }
        let mut has_made_room = false;
        for _ in 0..ACCEPTS_A_TURN {
            let socket = match self.take_in(n) {
                Ok(socket) => socket,
                Err(Errno::EAGAIN) => return,
                Err(errno) if sockets::is_of_one_client(errno) => continue,
                Err(Errno::EMFILE | Errno::ENFILE) if !has_made_room && self.make_room(n) => {
                    has_made_room = true;
                    continue;
                }
                Err(errno) => {
                    self.room_helps &= !has_made_room;
                    return self.pause(n, errno, now);
                }
            };
            (has_made_room, self.room_helps) = (false, true);
            let is_private = at(&self.services, n).is_some_and(|service| service.is_private);
            let is_ours = |uid| uid == 0 || uid == nix::unistd::geteuid().as_raw();
            if is_private && !sockets::peer_uid(&socket).is_ok_and(is_ours) {
                continue;
            }
            if self.open >= self.most && !self.drop_oldest(n) {
                continue; // Closed: better than a client that hangs.
            }
            self.let_in(socket, n, now);
        }
    }

    fn take_in(&self, n: u32) -> Result<OwnedFd, Errno> {
        at(&self.services, n).ok_or(Errno::EAGAIN)?.listener.accept()
    }

    /// Gives up a descriptor for the next client: a spare, or an idle client's. `false`: there is none, or the last one did not
    /// help.
    fn make_room(&mut self, n: u32) -> bool {
        if !self.room_helps {
            return false;
        }
        if self.spares.len() >= SPARES {
            self.spares.pop();
            return true;
        }
        self.drop_oldest(n)
    }

    /// Lets no client in at this socket for a moment. They stay in its queue, which would else be ready without end.
    fn pause(&mut self, n: u32, errno: Errno, now: Now) {
        let token = self.tokens[0] | u64::from(n);
        let Some(service) = usize::try_from(n).ok().and_then(|n| self.services.get_mut(n)) else { return };
        service.paused_until = Some(now.mono.after_ms(RETRY_MILLIS));
        let waits_no_more = self.poll.modify(&service.listener, token, Interest::Nothing);
        self.report(Failing::Accept, errno as i32, now.mono);
        if let Err(error) = waits_no_more {
            self.report(Failing::Wait, error.raw_os_error().unwrap_or(0), now.mono);
        }
    }

    /// Waits again for clients at the sockets whose pause is over.
    fn resume(&mut self, now: Mono) {
        let mut failed = None;
        for (n, service) in (0..).zip(&mut self.services) {
            if service.paused_until.is_some_and(|until| until <= now) {
                let waits = self.poll.modify(&service.listener, self.tokens[0] | n, Interest::Read);
                service.paused_until = waits.is_err().then(|| now.after_ms(RETRY_MILLIS));
                failed = failed.or(waits.err());
            }
        }
        if let Some(error) = failed {
            self.report(Failing::Wait, error.raw_os_error().unwrap_or(0), now);
        }
    }

    /// Notes a failure for the log, unless it was noted a short time ago.
    fn report(&mut self, failing: Failing, errno: i32, now: Mono) {
        let [accept, wait, transfer] = &mut self.reported;
        let (quiet_until, what) = match failing {
            Failing::Accept => (accept, "accept a client"),
            Failing::Wait => (wait, "wait for a client"),
            Failing::Transfer => (transfer, "read from or write to a client"),
        };
        if quiet_until.is_none_or(|until| until <= now) {
            *quiet_until = Some(now.after_ms(REPORT_MILLIS));
            let name = errno::ErrnoName(errno);
            let line = format!("cannot {what}: {name}; clients wait, and this is tried again every {RETRY_MILLIS} ms");
            self.said.push((LogLevel::Error, line));
        }
    }

    fn refill(&mut self) {
        let missing = SPARES.saturating_sub(self.spares.len());
        self.spares.extend(std::iter::repeat_with(sockets::spare).take(missing).map_while(|spare| spare));
    }

    fn let_in(&mut self, socket: OwnedFd, service: u32, now: Now) {
        let place = self.clients.iter().position(Option::is_none).unwrap_or(self.clients.len());
        let Ok(n) = u32::try_from(place) else { return };
        let mut client = Client::new(socket, service, now.mono);
        self.register(&mut client, n, now.mono);
        self.note_expiry(client.expiry());
        let client = Some(Box::new(client));
        match self.clients.get_mut(place) {
            Some(slot) => *slot = client,
            None => self.clients.push(client),
        }
        self.open = self.open.saturating_add(1);
    }

    /// Makes the poll wait for what a client waits for. Where that fails, the client has another turn later.
    fn register(&mut self, client: &mut Client, n: u32, now: Mono) {
        let wanted = client.interest;
        let done = match client.registered {
            Some(registered) if registered == wanted => return,
            Some(_) => self.poll.modify(&client.socket, self.token(n), wanted),
            None => self.poll.add(&client.socket, self.token(n), wanted),
        };
        match done {
            Ok(()) => client.registered = Some(wanted),
            Err(error) => {
                self.retry(client, now);
                self.report(Failing::Wait, error.raw_os_error().unwrap_or(0), now);
            }
        }
    }

    /// A client has another turn later.
    fn retry(&mut self, client: &mut Client, now: Mono) {
        let at = now.after_ms(RETRY_MILLIS);
        client.retry = Some(at);
        self.retries = Some(self.retries.map_or(at, |earlier| earlier.min(at)));
    }

    fn token(&self, n: u32) -> u64 {
        self.tokens[1] | u64::from(n)
    }

    /// Closes the connection that has been without progress for longest, of those who came as the next one does if there
    /// is one; `false`: all wait for an answer.
    fn drop_oldest(&mut self, service: u32) -> bool {
        let idle = self.clients.iter_mut().filter(|slot| slot.as_ref().is_some_and(|client| client.ticket().is_none()));
        let oldest = idle.min_by_key(|slot| slot.as_ref().map(|client| (client.service != service, client.since)));
        let Some(client) = oldest.and_then(Option::take) else { return false };
        self.close(&client);
        true
    }

    /// Goes on with the n-th client.
    pub fn serve(&mut self, n: u32, ready: Ready, host: &mut dyn Host) {
        let Some(client) = slot(&mut self.clients, n).and_then(Option::take) else { return };
        // Room to write is never waited for together with something to read: both mean that the other end is closed.
        if ready.readable && ready.writable && client.ticket().is_some() {
            return self.hang_up(&client, host);
        }
        let before = client.progress;
        self.advance(client, n, ready.readable, host);
        // The poll says that it can go on, and it cannot: its calls fail for want of memory.
        let is_stuck = |client: &mut Box<Client>| client.progress == before;
        if let Some(mut client) = slot(&mut self.clients, n).and_then(|slot| slot.take_if(is_stuck)) {
            if self.poll.remove(&client.socket).is_ok() {
                client.registered = None;
            }
            let now = host.now().mono;
            self.retry(&mut client, now);
            if let Some(errno) = client.failure.take() {
                self.report(Failing::Transfer, errno as i32, now);
            }
            if let Some(slot) = slot(&mut self.clients, n) {
                *slot = Some(client);
            }
        }
    }

    /// The brain's reply; a client that has gone does not get it.
    pub fn reply(&mut self, ticket: Ticket, reply: Reply, host: &mut dyn Host) {
        let n = u32::try_from(ticket & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        let waits = |client: &mut Box<Client>| client.waits_for(ticket);
        let Some(mut client) = slot(&mut self.clients, n).and_then(|slot| slot.take_if(waits)) else { return };
        client.resume(reply, host);
        self.advance(client, n, false, host);
    }

    /// A client's turn; afterwards it is back in its place, or gone.
    fn advance(&mut self, mut client: Box<Client>, n: u32, may_read: bool, host: &mut dyn Host) {
        self.serial = self.serial.wrapping_add(1);
        let is_short = self.spares.len() < SPARES;
        if is_short {
            self.spares.pop();
        }
        let next = client.turn(self, n, may_read, host);
        if is_short {
            self.refill();
        }
        let held = client.bytes();
        self.held = self.held.saturating_sub(client.held).saturating_add(held);
        client.held = held;
        let Some(interest) = next.filter(|_| self.held <= HELD_MAX_BYTES) else { return self.hang_up(&client, host) };
        client.interest = interest;
        self.register(&mut client, n, host.now().mono);
        self.note_expiry(client.expiry());
        if client.follows() {
            self.following.insert(n);
        }
        if let Some(slot) = slot(&mut self.clients, n) {
            *slot = Some(client);
        }
    }

    /// Closes the connections whose time is over, and sends what has come to those who follow logs, if these have changed:
    /// `changes` counts that.
    pub fn tend(&mut self, changes: u64, host: &mut dyn Host) {
        let now = host.now().mono;
        self.resume(now);
        if self.retries.is_some_and(|at| at <= now) {
            self.go_on_with_retries(now, host);
        }
        for (level, line) in std::mem::take(&mut self.said) {
            host.say(level, &line);
        }
        if self.expiry.is_some_and(|expiry| expiry <= now) {
            self.expire(now);
        }
        self.is_behind = !self.following.is_empty() && changes != self.looked.0;
        if !self.is_behind || now < self.looked.1 {
            return;
        }
        (self.looked, self.is_behind) = ((changes, now.after_ms(FOLLOW_MILLIS)), false);
        for n in std::mem::take(&mut self.following) {
            // Who has room to write only later has his turn then.
            let waits = |client: &mut Box<Client>| client.follows() && client.interest == Interest::Read;
            if let Some(client) = slot(&mut self.clients, n).and_then(|slot| slot.take_if(waits)) {
                self.advance(client, n, false, host);
            }
        }
    }

    fn go_on_with_retries(&mut self, now: Mono, host: &mut dyn Host) {
        for n in (0..).take(self.clients.len()) {
            let is_due = |client: &mut Box<Client>| client.retry.is_some_and(|at| at <= now);
            if let Some(mut client) = slot(&mut self.clients, n).and_then(|slot| slot.take_if(is_due)) {
                client.retry = None;
                self.advance(client, n, true, host);
            }
        }
        self.retries = self.clients.iter().flatten().filter_map(|client| client.retry).min();
    }

    fn expire(&mut self, now: Mono) {
        let is_over = |client: &mut Box<Client>| client.expiry().is_some_and(|expiry| expiry <= now);
        let over: Vec<_> = self.clients.iter_mut().filter_map(|slot| slot.take_if(is_over)).collect();
        over.iter().for_each(|client| self.close(client));
        self.expiry = self.clients.iter().flatten().filter_map(|client| client.expiry()).min();
    }

    fn note_expiry(&mut self, expiry: Option<Mono>) {
        self.expiry = [self.expiry, expiry].into_iter().flatten().min();
    }

    /// When [`Server::tend`] is to be called again though nothing happens.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Mono> {
        let looks = self.is_behind.then_some(self.looked.1);
        let resumes = self.services.iter().filter_map(|service| service.paused_until).min();
        [looks, self.expiry, self.retries, resumes].into_iter().flatten().min()
    }

    /// Closes a connection whose call may not have been answered yet.
    fn hang_up(&mut self, client: &Client, host: &mut dyn Host) {
        if let Some(ticket) = client.ticket() {
            host.forget(ticket);
        }
        self.close(client);
    }

    /// The caller drops it, which closes the socket. The poll must be told: a child on its way through exec still has a copy
    /// (its close-on-exec comes after we go on), and a hang-up told of that would be taken for the next client's.
    fn close(&mut self, client: &Client) {
        let _ = self.poll.remove(&client.socket);
        self.open = self.open.saturating_sub(1);
        self.held = self.held.saturating_sub(client.held);
        if self.open == 0 {
            self.expiry = None;
        }
    }

    /// Answers that are still to be written have a moment for that.
    pub fn flush_before_exit(&mut self, now: Now) {
        let end = now.mono.after_ms(LAST_ANSWER_MILLIS);
        for client in self.clients.iter_mut().flatten() {
            while matches!(client.flush(now.mono), Ok(false)) {
                let left = u16::try_from(end.since(clock::mono()).as_millis()).unwrap_or(0);
                if left == 0 {
                    break;
                }
                sockets::wait_for_room(&client.socket, left);
            }
        }
    }

    /// Closes everything, and removes the files of our sockets.
    pub fn close_all(self) {
        self.services.iter().for_each(|service| service.listener.unlink());
    }
}

fn at(services: &[Service], n: u32) -> Option<&Service> {
    services.get(usize::try_from(n).ok()?)
}

fn slot(clients: &mut [Option<Box<Client>>], n: u32) -> Option<&mut Option<Box<Client>>> {
    clients.get_mut(usize::try_from(n).ok()?)
}

#[cfg(test)]
mod tests;
