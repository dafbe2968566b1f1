//! One connection: bytes in, requests, answers, bytes out. It is read only while it has nothing to say and nothing to
//! answer: so one request, or one answer, is all that we hold for it.

use super::follow::Follow;
use super::{Server, at};
use crate::logs::tail::LogSource;
use crate::rpc::{self, Channel, Host, Pending, Progress, Served};
use crate::supervision::{Reply, Ticket, split_namespec};
use crate::sys::poll::Interest;
use crate::sys::sockets;
use crate::time::{Mono, Now};
use crate::web::{self, Answer, Outcome};
use crate::wire::http::{self, Framing, Parsed, Request, Response};
use nix::errno::Errno;
use std::os::fd::OwnedFd;

/// A request must have come whole so long after its first byte, and an answer must be taken on, in milliseconds.
pub(super) const REQUEST_MILLIS: u64 = 60_000;
/// A connection without a request is closed after so long.
const IDLE_MILLIS: u64 = 3_600_000;
/// What comes behind a request that was refused unread is taken and thrown away for so long: a close at once would take
/// the answer from a client that is still sending.
const DRAIN_MILLIS: u64 = 2_000;
/// Most requests of one client that are answered in one turn of the loop.
const REQUESTS_A_TURN: usize = 8;
/// Read at once, in bytes: the smallest and the largest piece.
const PIECE: (usize, usize) = (4096, 64 * 1024);
/// Buffers beyond this size, in bytes, are given back when they are empty.
const KEPT_BYTES: usize = 16 * 1024;

/// What answers the requests for some paths (supervisor-behaviour §7.2).
struct Route {
    /// How these paths begin.
    path: &'static str,
    /// Any other method is 400.
    methods: &'static [&'static str],
    /// Begins to answer; `false`: nothing has this name.
    answer: fn(&mut Client, &Request, &Server, u32, &mut dyn Host) -> bool,
}

/// The first route whose path fits answers.
const ROUTES: [Route; 4] = [
    Route { path: "/RPC2", methods: &["POST"], answer: Client::call },
    Route { path: "/logtail", methods: &["GET"], answer: Client::follow },
    Route { path: "/mainlogtail", methods: &["GET"], answer: Client::follow },
    Route { path: PAGES, methods: &["GET", "HEAD", "POST"], answer: Client::page },
];
/// Every other path may be that of a page.
const PAGES: &str = "";

/// One connection.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) socket: OwnedFd,
    /// Number of its service.
    pub(super) service: u32,
    input: Vec<u8>,
    output: Vec<u8>,
    /// What comes after `output`: a long answer's body, which is not copied.
    body: Vec<u8>,
    /// How much of both is written.
    sent: usize,
    doing: Doing,
    /// What it waits for.
    pub(super) interest: Interest,
    /// What the poll waits for on its behalf; `None`: the poll does not know it.
    pub(super) registered: Option<Interest>,
    /// When it has another turn, after a system call failed for want of memory.
    pub(super) retry: Option<Mono>,
    /// Counts what was read, written or worked out.
    pub(super) progress: u64,
    /// Why the last read or write failed, if that was for want of memory.
    pub(super) failure: Option<Errno>,
    /// It sends no more.
    has_ended: bool,
    /// The connection ends when all is written.
    is_last: bool,
    was_told_to_continue: bool,
    /// The request was refused before it was read.
    must_drain: bool,
    /// When it came, the request that comes now began, or something was last written.
    pub(super) since: Mono,
    /// What of the server's `held` is its part.
    pub(super) held: usize,
}

/// A call that is being answered.
#[derive(Debug)]
struct Call {
    ticket: Ticket,
    framing: Framing,
    /// The answer so far.
    body: String,
    /// The page that is to be made of it.
    page: Option<Outcome>,
}

/// What a client waits for.
#[derive(Debug)]
enum Doing {
    /// Nothing: it has the word.
    Reading,
    /// The answer of a call.
    Answering { call: Call, pending: Pending, is_paused: bool },
    /// For more of a log.
    Following(Follow, Framing),
    /// For the end of what nobody reads.
    Draining,
}

impl Client {
    pub(super) fn new(socket: OwnedFd, service: u32, since: Mono) -> Self {
        Self {
            socket,
            service,
            input: Vec::new(),
            output: Vec::new(),
            body: Vec::new(),
            sent: 0,
            doing: Doing::Reading,
            interest: Interest::Read,
            registered: None,
            retry: None,
            progress: 0,
            failure: None,
            has_ended: false,
            is_last: false,
            was_told_to_continue: false,
            must_drain: false,
            since,
            held: 0,
        }
    }

    /// When the connection is closed if nothing happens before; `None`: it may take as long as it takes.
    pub(super) fn expiry(&self) -> Option<Mono> {
        Some(self.since.after_ms(match self.doing {
            Doing::Answering { .. } | Doing::Following(..) => return None,
            Doing::Draining => DRAIN_MILLIS,
            Doing::Reading if self.input.is_empty() && self.output.is_empty() => IDLE_MILLIS,
            Doing::Reading => REQUEST_MILLIS,
        }))
    }

    /// What it makes us hold, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let answer = if let Doing::Answering { call, .. } = &self.doing { call.body.capacity() } else { 0 };
        let buffers = [&self.input, &self.output, &self.body];
        buffers.iter().fold(answer, |sum: usize, buffer| sum.saturating_add(buffer.capacity()))
    }

    /// The call that is not answered yet.
    pub(super) fn ticket(&self) -> Option<Ticket> {
        if let Doing::Answering { call, .. } = &self.doing { Some(call.ticket) } else { None }
    }

    /// Whether the brain's reply to this call is the next thing.
    pub(super) fn waits_for(&self, wanted: Ticket) -> bool {
        matches!(&self.doing, Doing::Answering { call, is_paused: false, .. } if call.ticket == wanted)
    }

    /// Whether it is to have a turn when a log has changed.
    pub(super) fn follows(&self) -> bool {
        matches!(self.doing, Doing::Following(..))
    }

    /// Takes the brain's reply.
    pub(super) fn resume(&mut self, reply: Reply, host: &mut dyn Host) {
        if let Doing::Answering { mut call, pending, .. } = std::mem::replace(&mut self.doing, Doing::Reading) {
            let answered = pending.resume(reply, host, call.ticket, &mut call.body);
            self.answered(answered, call, host.now());
        }
    }

    /// Writes, goes on answering, reads, answers: until something must be waited for, or others should have their turn.
    /// `None`: the connection is over.
    pub(super) fn turn(
        &mut self,
        server: &Server,
        n: u32,
        mut may_read: bool,
        host: &mut dyn Host,
    ) -> Option<Interest> {
        for _ in 0..REQUESTS_A_TURN {
            match self.flush(host.now().mono) {
                Ok(true) if self.is_last && self.has_ended => return None,
                Ok(true) if self.is_last => return self.drain(),
                Ok(true) => {}
                Ok(false) => return Some(Interest::Write),
                Err(_) => return None,
            }
            match std::mem::replace(&mut self.doing, Doing::Reading) {
                Doing::Answering { mut call, pending, is_paused: true } => {
                    let answered = pending.go_on(host, call.ticket, &mut call.body);
                    self.progress = self.progress.wrapping_add(1);
                    self.answered(answered, call, host.now());
                    if matches!(self.doing, Doing::Answering { is_paused: true, .. }) {
                        return Some(Interest::Write);
                    }
                }
                waiting @ Doing::Answering { .. } => {
                    self.doing = waiting;
                    // Read on, to see whether it goes; but not more than a little.
                    if may_read {
                        self.read(host.now().mono).ok()?;
                    }
                    let enough = self.has_ended || self.input.len() >= PIECE.1;
                    return Some(if enough { Interest::Nothing } else { Interest::Read });
                }
                Doing::Draining => {
                    self.doing = Doing::Draining;
                    self.read(self.since).ok()?;
                    self.input.clear();
                    return (!self.has_ended).then_some(Interest::Read);
                }
                Doing::Following(mut follow, framing) => {
                    if std::mem::take(&mut may_read) {
                        self.read(host.now().mono).ok()?;
                        self.input.clear(); // Nothing behind an answer without an end is ever answered.
                    }
                    let piece = follow.more().ok().filter(|_| !self.has_ended)?;
                    self.doing = Doing::Following(follow, framing);
                    if piece.is_empty() {
                        return Some(Interest::Read);
                    }
                    http::write_chunk(framing, &piece, &mut self.output);
                }
                Doing::Reading => {
                    if std::mem::take(&mut may_read) {
                        self.read(host.now().mono).ok()?;
                    }
                    if !self.take_request(server, n, host) {
                        return (!self.has_ended).then_some(Interest::Read);
                    }
                }
            }
        }
        // There is room to write: so this comes back after the others.
        Some(Interest::Write)
    }

    /// After the last answer: the connection is over, but for what a refused client may still be sending.
    fn drain(&mut self) -> Option<Interest> {
        if !std::mem::take(&mut self.must_drain) {
            return None;
        }
        sockets::end_output(&self.socket);
        (self.doing, self.is_last) = (Doing::Draining, false);
        self.input.clear();
        Some(Interest::Read)
    }

    /// Reads a piece, if one is there.
    fn read(&mut self, now: Mono) -> Result<(), Errno> {
        let (filled, (least, most)) = (self.input.len(), PIECE);
        self.input.resize(filled.saturating_add(filled.clamp(least, most)), 0);
        let piece = self.input.get_mut(filled..).unwrap_or_default();
        let read = sockets::receive(&self.socket, piece);
        self.input.truncate(filled.saturating_add(read.unwrap_or(0)));
        match read {
            Ok(bytes) => {
                self.progress = self.progress.wrapping_add(1);
                self.has_ended |= bytes == 0;
                if bytes > 0 && filled == 0 {
                    self.since = now;
                }
                Ok(())
            }
            Err(Errno::EINTR | Errno::EAGAIN) => Ok(()),
            Err(errno) if is_want_of_memory(errno) => {
                self.failure = Some(errno);
                Ok(())
            }
            Err(errno) => Err(errno),
        }
    }

    /// Writes what there is room for; `true`: all is written.
    pub(super) fn flush(&mut self, now: Mono) -> Result<bool, Errno> {
        loop {
            let rest = match self.sent.checked_sub(self.output.len()) {
                None => self.output.get(self.sent..),
                Some(of_body) => self.body.get(of_body..),
            };
            let Some(rest) = rest.filter(|rest| !rest.is_empty()) else { break };
            match sockets::transmit(&self.socket, rest) {
                Ok(sent) => {
                    (self.sent, self.since) = (self.sent.saturating_add(sent), now);
                    self.progress = self.progress.wrapping_add(1);
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(false),
                Err(errno) if is_want_of_memory(errno) => {
                    self.failure = Some(errno);
                    return Ok(false);
                }
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
            Ok(Parsed::Partial { head, expects_continue }) => {
                // Who may not ask need not send what is asked: nobody's body is held for nothing.
                if let Some(refusal) = head.and_then(|head| self.refusal(&head, server)) {
                    self.must_drain = true;
                    self.say(refusal, Framing::LAST, host.now());
                    return true;
                }
                if !expects_continue || self.was_told_to_continue {
                    return false;
                }
                self.was_told_to_continue = true;
                self.output.extend_from_slice(http::CONTINUE);
            }
            Err(why) => {
                self.must_drain = true;
                self.say(Response::error(why.status()), Framing::LAST, host.now());
            }
        }
        true
    }

    /// The answer to who may not ask.
    fn refusal(&self, request: &Request, server: &Server) -> Option<Response> {
        let service = at(&server.services, self.service)?;
        if let Some(why) = service.guard.as_ref().and_then(|guard| guard.refusal(request)) {
            return Some(Response::text(403, why));
        }
        let (user, password) = service.credentials.as_ref()?;
        (!request.is_authorized((user, password))).then(|| Response::error(401))
    }

    /// Answers a request, as the routes say.
    fn answer(&mut self, request: &Request, server: &Server, n: u32, host: &mut dyn Host) {
        if let Some(refusal) = self.refusal(request, server) {
            return self.say(refusal, request.framing, host.now());
        }
        let path = request.path();
        let method = request.method.as_str();
        let route = ROUTES.iter().find(|route| path.starts_with(route.path));
        let allowed = route.filter(|route| route.methods.contains(&method));
        if allowed.is_some_and(|route| (route.answer)(self, request, server, n, host)) {
            return;
        }
        let is_missing = matches!(method, "GET" | "HEAD") && route.is_none_or(|route| route.path == PAGES);
        self.say(Response::error(if is_missing { 404 } else { 400 }), request.framing, host.now());
    }

    /// `/logtail/NAME`, `/logtail/NAME/stderr`, `/mainlogtail`: the answer has no end.
    // Differs from Supervisor: `/logtail` alone is 404 (there 500), and so is a log that is no regular file.
    fn follow(&mut self, request: &Request, _: &Server, _: u32, host: &mut dyn Host) -> bool {
        let (path, framing) = (request.path(), request.framing);
        let is_main = path.starts_with("/mainlogtail");
        let log = if is_main { host.main_log() } else { followed(&path, host) };
        let Some((follow, modified)) = log.and_then(Follow::begin) else {
            self.say(Response::error(404), framing, host.now());
            return true;
        };
        let modified = modified.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut fields = vec![("Last-Modified", http::http_date(modified))];
        fields.extend((!is_main).then(|| ("X-Accel-Buffering", "no".to_owned())));
        let response = Response { status: 200, content_type: "text/plain;charset=utf-8", fields, body: None };
        self.say(response, framing, host.now());
        self.is_last = false;
        self.doing = Doing::Following(follow, framing);
        true
    }

    /// `/RPC2`
    fn call(&mut self, request: &Request, server: &Server, n: u32, host: &mut dyn Host) -> bool {
        let mut call = Call::new(request, server, n, None);
        let service = at(&server.services, self.service);
        // Whoever can start a new command must at least have a password.
        let may_twiddle = service.is_some_and(|service| service.guard.is_none() || service.credentials.is_some());
        let served = Served { twiddler: server.served.twiddler && may_twiddle, ..server.served };
        match rpc::call(&request.body, served, host, call.ticket, &mut call.body) {
            Ok(progress) => self.answered(progress, call, host.now()),
            Err(_) => self.say(Response::error(400), request.framing, host.now()),
        }
        true
    }

    /// A page for browsers; `false`: there is none of this name.
    fn page(&mut self, request: &Request, server: &Server, n: u32, host: &mut dyn Host) -> bool {
        let guard = at(&server.services, self.service).and_then(|service| service.guard.as_ref());
        let is_vouched_for = guard.is_none_or(|guard| guard.vouches_for(request));
        match web::answer(request, host, &server.web_token, is_vouched_for) {
            None => return false,
            Some(Answer::Ready(response)) => self.say(response, request.framing, host.now()),
            Some(Answer::Calls(calls, outcome)) => {
                let mut call = Call::new(request, server, n, Some(outcome));
                let progress = rpc::multicall(
                    calls,
                    Served { supervisor: true, twiddler: false },
                    host,
                    call.ticket,
                    &mut call.body,
                );
                self.answered(progress, call, host.now());
            }
        }
        true
    }

    fn answered(&mut self, progress: Progress, call: Call, now: Now) {
        let (pending, is_paused) = match progress {
            Progress::Done => {
                let Call { body, framing, page, .. } = call;
                let response = page.map(|page| page.page(&body, now.wall));
                return self.say(response.unwrap_or_else(|| Response::xml(body)), framing, now);
            }
            Progress::Waiting(pending) => (pending, false),
            Progress::Paused(pending) => (pending, true),
        };
        self.doing = Doing::Answering { call, pending, is_paused };
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

impl Call {
    fn new(request: &Request, server: &Server, n: u32, page: Option<Outcome>) -> Self {
        let ticket = u64::from(server.serial) << 32 | u64::from(n);
        Self { ticket, framing: request.framing, body: String::new(), page }
    }
}

/// The log that `/logtail…/NAME[/stdout|/stderr]` means.
fn followed(path: &str, host: &dyn Host) -> Option<LogSource> {
    let (_, rest) = path.strip_prefix('/')?.split_once('/')?;
    let (namespec, channel) = match rest.split_once('/') {
        None | Some((_, "stdout")) => (rest.split('/').next()?, Channel::Stdout),
        Some((namespec, "stderr")) => (namespec, Channel::Stderr),
        Some(_) => return None,
    };
    let (group, name) = split_namespec(namespec);
    let id = host.supervision().find(group, name?)?;
    host.process_log(id, channel)
}

fn is_want_of_memory(errno: Errno) -> bool {
    matches!(errno, Errno::ENOBUFS | Errno::ENOMEM)
}

/// Empties a buffer, and gives a large one back.
fn empty(buffer: &mut Vec<u8>) {
    buffer.clear();
    if buffer.capacity() > KEPT_BYTES {
        *buffer = Vec::new();
    }
}
