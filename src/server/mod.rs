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
use crate::sys::sockets::{self, Listener};
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
/// Descriptors that we keep for a time when programs have taken all others: one for a client, one to lend it while it is
/// answered (a file to read), one to turn the next one away.
const SPARES: usize = 3;
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
}

/// One listening socket.
#[derive(Debug)]
struct Service {
    listener: Listener,
    credentials: Option<(String, String)>,
    /// Of a TCP socket: what a browser may not ask.
    guard: Option<Guard>,
    /// Only root and our own user may come.
    is_private: bool,
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
        };
        server.refill();
        for section in &config.http {
            match listen::listen(section) {
                Ok(listener) => {
                    listen::announce(section, &listener, &config.rpc_interfaces, &mut said);
                    let credentials = section.credentials.clone();
                    let guard = Guard::of(section);
                    server.services.push(Service { listener, credentials, guard, is_private: false });
                }
                Err(why) => problems.push(why),
            }
        }
        if config.http.is_empty() {
            let listener = listen::listen_by_default(&mut said).into_iter();
            let private = |listener| Service { listener, credentials: None, guard: None, is_private: true };
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
        for _ in 0..ACCEPTS_A_TURN {
            let socket = match self.take_in(n) {
                Ok(socket) => socket,
                // Some descriptor is free again, or it never will be.
                Err(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM) if self.make_room(n) => continue,
                Err(Errno::ECONNABORTED | Errno::EINTR) => continue,
                Err(_) => return,
            };
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

    /// Without a descriptor for the next client: takes one of ours, or an idle client's, or else closes the next client,
    /// since the listening socket would be ready for ever.
    fn make_room(&mut self, n: u32) -> bool {
        if self.spares.len() > SPARES.saturating_sub(1) {
            self.spares.pop();
        } else if !self.drop_oldest(n) {
            let spare = self.spares.pop();
            let had_one = spare.is_some();
            drop(spare);
            drop(self.take_in(n));
            self.refill();
            return had_one;
        }
        true
    }

    fn refill(&mut self) {
        let missing = SPARES.saturating_sub(self.spares.len());
        self.spares.extend(std::iter::repeat_with(sockets::spare).take(missing).map_while(|spare| spare));
    }

    fn let_in(&mut self, socket: OwnedFd, service: u32, now: Now) {
        let place = self.clients.iter().position(Option::is_none).unwrap_or(self.clients.len());
        let Ok(n) = u32::try_from(place) else { return };
        if self.poll.add(&socket, self.token(n), Interest::Read).is_err() {
            return;
        }
        let client = Client::new(socket, service, now.mono);
        self.note_expiry(client.expiry());
        let client = Some(Box::new(client));
        match self.clients.get_mut(place) {
            Some(slot) => *slot = client,
            None => self.clients.push(client),
        }
        self.open = self.open.saturating_add(1);
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
        self.advance(client, n, ready.readable, host);
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
        if interest != client.interest && self.poll.modify(&client.socket, self.token(n), interest).is_err() {
            return self.hang_up(&client, host);
        }
        client.interest = interest;
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
        [looks, self.expiry].into_iter().flatten().min()
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
