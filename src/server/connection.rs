//! One connection of a client: reads requests, answers them, writes the answers.
//!
//! A connection is read only while it has nothing to write and no call to answer, so rsup holds at most one request or one
//! answer for it. Nothing here waits: [`Connection::turn`] returns what the poll must wait for.

use super::follow::FollowedLog;
use super::{Server, at};
use crate::rpc::{self, Answer, Channel, Host, Namespaces, PendingRequest, RequestProgress};
use crate::supervision::{Reply, Ticket, split_namespec};
use crate::sys::poll::Interest;
use crate::sys::{memory, sockets};
use crate::time::{Mono, Now};
use crate::web::{self, PageAnswer, ResultPage};
use crate::wire::http::{self, AnswerFraming, HttpRequest, ParsedRequest, Response};
use crate::wire::xmlrpc::Append as _;
use nix::errno::Errno;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// A request must be complete this long after its first byte; each write of an answer restarts the time. In milliseconds.
pub(super) const REQUEST_MILLIS: u64 = 60_000;
/// A connection without a request is closed after this time, in milliseconds.
const IDLE_MILLIS: u64 = 3_600_000;
/// After a refusal, input is read and discarded for this time, in milliseconds. An immediate close would reset the
/// connection of a client that is still sending, and the client would lose the answer.
const DRAIN_MILLIS: u64 = 2_000;
/// Largest number of steps (requests, or pieces of a log) that one connection gets in one turn of the loop.
const STEPS_A_TURN: usize = 8;
/// The smallest and the largest read, in bytes.
const READ_BYTES: (usize, usize) = (4096, 64 * 1024);
/// An answer that is not complete is sent in pieces of at least this size, in bytes.
const PIECE_BYTES: usize = 64 * 1024;
/// An empty buffer with more capacity than this, in bytes, is freed.
const KEPT_BYTES: usize = 16 * 1024;

/// The handler of the paths with one prefix (supervisor-behaviour.md §7.2).
struct Route {
    /// The prefix of the paths.
    path: &'static str,
    /// The allowed methods; any other is answered with 400.
    methods: &'static [&'static str],
    /// Starts to answer a request; `false`: there is no such resource.
    answer: fn(&mut Connection, &HttpRequest, &Server, u32, &mut dyn Host) -> bool,
}

/// The first route that matches a path handles the request.
const ROUTES: [Route; 4] = [
    Route { path: "/RPC2", methods: &["POST"], answer: Connection::call },
    Route { path: "/logtail", methods: &["GET"], answer: Connection::follow },
    Route { path: "/mainlogtail", methods: &["GET"], answer: Connection::follow },
    Route { path: PAGES, methods: &["GET", "HEAD", "POST"], answer: Connection::page },
];
/// The prefix of web pages: any path that no other route matches.
const PAGES: &str = "";

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) socket: OwnedFd,
    /// Index of the endpoint that accepted it.
    pub(super) endpoint: u32,
    input: Vec<u8>,
    output: Vec<u8>,
    /// The body of a long answer, written after `output`. It is kept apart so that it is not copied.
    body: Vec<u8>,
    /// How many bytes of `output` and `body` together have been written.
    sent: usize,
    state: ConnectionState,
    /// The readiness that the connection needs to go on.
    pub(super) interest: Interest,
    /// The readiness that the poll has been asked for; `None`: the socket is not in the poll.
    pub(super) registered: Option<Interest>,
    /// When the next attempt is due, after a system call failed for lack of memory.
    pub(super) retry: Option<Mono>,
    /// Incremented by each read, write and step of an answer. If a turn does not change it, the connection is stuck.
    pub(super) progress: u64,
    /// Why the last read or write failed, unless it was because of the client. For lack of memory, it is tried again.
    pub(super) failure: Option<Errno>,
    /// The client sends no more.
    has_ended: bool,
    /// The connection ends when the output is written.
    is_last: bool,
    continue_sent: bool,
    /// The request was refused before all of it was read.
    must_drain: bool,
    /// The latest of: the connection was accepted, a request began, output was written. Time limits count from here.
    pub(super) since: Mono,
    /// How many bytes of [`Server::held`] belong to this connection.
    pub(super) held: usize,
}

/// A call that is being answered.
#[derive(Debug)]
struct PendingCall {
    ticket: Ticket,
    framing: AnswerFraming,
    /// The answer so far.
    body: Answer,
    /// The head of the response has been sent, and the answer follows in pieces.
    has_begun: bool,
    /// For a request of the web page: turns the answer into a page.
    page: Option<ResultPage>,
}

/// What a connection is doing.
#[derive(Debug)]
enum ConnectionState {
    /// Reads the next request.
    Reading,
    /// Answers a call. `is_paused`: the call has used up its share of the turn; else it waits for a reply of the core.
    Answering { call: PendingCall, pending: PendingRequest, is_paused: bool },
    /// Sends what is appended to a log.
    Following(FollowedLog, AnswerFraming),
    /// Discards what a refused client still sends.
    Draining,
    /// An answer that has begun cannot be completed.
    Broken,
}

/// What follows a step of a connection.
enum Step {
    /// Another step, in the same turn.
    Continue,
    /// A wait of the poll.
    WaitFor(Interest),
    /// The end of the connection.
    Close,
}

impl Connection {
    pub(super) fn new(socket: OwnedFd, endpoint: u32, since: Mono) -> Self {
        Self {
            socket,
            endpoint,
            input: Vec::new(),
            output: Vec::new(),
            body: Vec::new(),
            sent: 0,
            state: ConnectionState::Reading,
            interest: Interest::Read,
            registered: None,
            retry: None,
            progress: 0,
            failure: None,
            has_ended: false,
            is_last: false,
            continue_sent: false,
            must_drain: false,
            since,
            held: 0,
        }
    }

    /// When the connection is closed unless it makes progress first; `None`: it has no time limit.
    pub(super) fn expiry(&self) -> Option<Mono> {
        Some(self.since.after_ms(match self.state {
            ConnectionState::Following(..) => return None,
            ConnectionState::Answering { .. } if self.output.is_empty() && self.body.is_empty() => return None,
            ConnectionState::Answering { .. } => REQUEST_MILLIS,
            ConnectionState::Draining | ConnectionState::Broken => DRAIN_MILLIS,
            ConnectionState::Reading if self.input.is_empty() && self.output.is_empty() => IDLE_MILLIS,
            ConnectionState::Reading => REQUEST_MILLIS,
        }))
    }

    /// The memory of its buffers and of its call, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let of_call = match &self.state {
            ConnectionState::Answering { call, pending, .. } => call.body.capacity().saturating_add(pending.bytes()),
            _ => 0,
        };
        let buffers = [&self.input, &self.output, &self.body];
        buffers.iter().fold(of_call, |sum: usize, buffer| sum.saturating_add(buffer.capacity()))
    }

    /// The memory that its next turn may need for its input: a larger buffer, and a copy of the body.
    pub(super) fn input_growth(&self) -> usize {
        self.input.capacity().saturating_mul(4)
    }

    /// The call that has not been answered yet.
    pub(super) fn ticket(&self) -> Option<Ticket> {
        if let ConnectionState::Answering { call, .. } = &self.state { Some(call.ticket) } else { None }
    }

    /// Whether it waits for the core's reply to this call.
    pub(super) fn waits_for(&self, wanted: Ticket) -> bool {
        matches!(&self.state, ConnectionState::Answering { call, is_paused: false, .. } if call.ticket == wanted)
    }

    /// Whether it follows a log, so that it needs a turn when logs change.
    pub(super) fn follows(&self) -> bool {
        matches!(self.state, ConnectionState::Following(..))
    }

    /// Continues the call with the core's reply.
    pub(super) fn resume(&mut self, reply: Reply, host: &mut dyn Host) {
        if let ConnectionState::Answering { mut call, pending, .. } =
            std::mem::replace(&mut self.state, ConnectionState::Reading)
        {
            let progress = pending.resume(reply, host, call.ticket, &mut call.body);
            self.progressed(progress, call, host.now());
        }
    }

    /// Writes, reads and answers, until the connection must wait or the other connections must have their turn. Returns the
    /// readiness to wait for; `None`: the connection is over. `may_read`: the socket has input.
    pub(super) fn turn(
        &mut self,
        server: &Server,
        n: u32,
        mut may_read: bool,
        host: &mut dyn Host,
    ) -> Option<Interest> {
        self.failure = None;
        for _ in 0..STEPS_A_TURN {
            match self.flush(host.now().mono) {
                Ok(true) if self.is_last && self.has_ended => return None,
                Ok(true) if self.is_last => return self.drain(),
                Ok(true) => {}
                Ok(false) => return Some(Interest::Write),
                Err(_) => return None,
            }
            let step = match std::mem::replace(&mut self.state, ConnectionState::Reading) {
                ConnectionState::Reading => self.read_request(server, n, std::mem::take(&mut may_read), host),
                ConnectionState::Answering { call, pending, is_paused: true } => {
                    self.continue_answer(call, pending, host)
                }
                waiting @ ConnectionState::Answering { .. } => {
                    self.state = waiting;
                    self.read_ahead(may_read, host.now().mono)
                }
                ConnectionState::Following(log, framing) => {
                    self.send_piece(log, framing, std::mem::take(&mut may_read), host.now().mono)
                }
                ConnectionState::Draining => {
                    self.state = ConnectionState::Draining;
                    self.discard_input()
                }
                ConnectionState::Broken => Step::Close,
            };
            match step {
                Step::Continue => {}
                Step::WaitFor(interest) => return Some(interest),
                Step::Close => return None,
            }
        }
        // The socket is writable, so the next turn of the loop serves this connection again, after the others.
        Some(Interest::Write)
    }

    /// Reads, and answers the request if it is complete.
    fn read_request(&mut self, server: &Server, n: u32, may_read: bool, host: &mut dyn Host) -> Step {
        if may_read && self.read(host.now().mono).is_err() {
            return Step::Close;
        }
        match self.take_request(server, n, host) {
            true => Step::Continue,
            false if self.has_ended => Step::Close,
            false => Step::WaitFor(Interest::Read),
        }
    }

    /// Continues an answer that was paused.
    fn continue_answer(&mut self, mut call: PendingCall, pending: PendingRequest, host: &mut dyn Host) -> Step {
        let progress = pending.continue_answer(host, call.ticket, &mut call.body);
        self.progress = self.progress.wrapping_add(1);
        self.progressed(progress, call, host.now());
        let is_paused = matches!(self.state, ConnectionState::Answering { is_paused: true, .. });
        if is_paused { Step::WaitFor(Interest::Write) } else { Step::Continue }
    }

    /// While a call waits for a reply: reads a limited amount, so that a client that disconnects is noticed.
    fn read_ahead(&mut self, may_read: bool, now: Mono) -> Step {
        if may_read && self.read(now).is_err() {
            return Step::Close;
        }
        let has_enough = self.has_ended || self.input.len() >= READ_BYTES.1;
        Step::WaitFor(if has_enough { Interest::Nothing } else { Interest::Read })
    }

    /// Sends the next piece of a followed log.
    fn send_piece(&mut self, mut log: FollowedLog, framing: AnswerFraming, may_read: bool, now: Mono) -> Step {
        if may_read {
            if self.read(now).is_err() {
                return Step::Close;
            }
            // This answer has no end, so a request behind it is never answered.
            self.input.clear();
        }
        let Some(piece) = log.next_piece().ok().filter(|_| !self.has_ended) else { return Step::Close };
        self.state = ConnectionState::Following(log, framing);
        if piece.is_empty() {
            return Step::WaitFor(Interest::Read);
        }
        http::write_chunk(framing, &piece, &mut self.output);
        Step::Continue
    }

    /// Discards what a refused client still sends.
    fn discard_input(&mut self) -> Step {
        // Input does not extend the time limit.
        let read = self.read(self.since);
        self.input.clear();
        if read.is_err() || self.has_ended { Step::Close } else { Step::WaitFor(Interest::Read) }
    }

    /// Ends the connection after its last answer. If the request was refused, first discards what the client still sends.
    fn drain(&mut self) -> Option<Interest> {
        if !std::mem::take(&mut self.must_drain) {
            return None;
        }
        sockets::end_output(&self.socket);
        (self.state, self.is_last) = (ConnectionState::Draining, false);
        self.input.clear();
        Some(Interest::Read)
    }

    /// Reads once, without waiting.
    fn read(&mut self, now: Mono) -> Result<(), Errno> {
        let (filled, (least, most)) = (self.input.len(), READ_BYTES);
        let wanted = filled.clamp(least, most);
        memory::fallible(|| self.input.try_reserve(wanted)).map_err(|_| self.failed(Errno::ENOMEM))?;
        self.input.resize(filled.saturating_add(wanted), 0);
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
            Err(errno) if is_out_of_memory(errno) => {
                self.failure = Some(errno);
                Ok(())
            }
            Err(errno) => Err(self.failed(errno)),
        }
    }

    /// Notes why the connection ends, unless the client has closed it.
    fn failed(&mut self, errno: Errno) -> Errno {
        let is_of_client = matches!(errno, Errno::EPIPE | Errno::ECONNRESET | Errno::ETIMEDOUT);
        self.failure = (!is_of_client).then_some(errno);
        errno
    }

    /// Writes as much as the socket takes; `true`: everything is written.
    pub(super) fn flush(&mut self, now: Mono) -> Result<bool, Errno> {
        loop {
            let rest = match self.sent.checked_sub(self.output.len()) {
                None => self.output.get(self.sent..),
                Some(sent_of_body) => self.body.get(sent_of_body..),
            };
            let Some(rest) = rest.filter(|rest| !rest.is_empty()) else { break };
            match sockets::transmit(&self.socket, rest) {
                Ok(sent) => {
                    (self.sent, self.since) = (self.sent.saturating_add(sent), now);
                    self.progress = self.progress.wrapping_add(1);
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(false),
                Err(errno) if is_out_of_memory(errno) => {
                    self.failure = Some(errno);
                    return Ok(false);
                }
                Err(errno) => return Err(self.failed(errno)),
            }
        }
        self.sent = 0;
        empty(&mut self.output);
        empty(&mut self.body);
        Ok(true)
    }

    /// Answers the request at the front of the input; `false`: it is not complete yet.
    fn take_request(&mut self, server: &Server, n: u32, host: &mut dyn Host) -> bool {
        match http::parse_request(&self.input) {
            Ok(ParsedRequest::Complete { request, consumed }) => {
                self.input.drain(..consumed);
                if self.input.is_empty() {
                    empty(&mut self.input);
                }
                self.continue_sent = false;
                self.answer(&request, server, n, host);
            }
            Ok(ParsedRequest::Partial { head, expects_continue }) => {
                // A request that will be refused is refused before its body arrives, so that its body is never held.
                if let Some(refusal) = head.and_then(|head| self.refusal(&head, server)) {
                    self.must_drain = true;
                    self.send(refusal, AnswerFraming::LAST, host.now());
                    return true;
                }
                if !expects_continue || self.continue_sent {
                    return false;
                }
                self.continue_sent = true;
                self.output.extend_from_slice(http::CONTINUE);
            }
            Err(why) => {
                self.must_drain = true;
                self.send(Response::error(why.status()), AnswerFraming::LAST, host.now());
            }
        }
        true
    }

    /// The answer to a client that is not allowed to make this request.
    fn refusal(&self, request: &HttpRequest, server: &Server) -> Option<Response> {
        let endpoint = at(&server.endpoints, self.endpoint)?;
        if let Some(why) = endpoint.guard.as_ref().and_then(|guard| guard.refusal(request)) {
            return Some(Response::text(403, why));
        }
        let (user, password) = endpoint.credentials.as_ref()?;
        (!request.is_authorized((user, password))).then(|| Response::error(401))
    }

    /// Answers a request through its route.
    fn answer(&mut self, request: &HttpRequest, server: &Server, n: u32, host: &mut dyn Host) {
        if let Some(refusal) = self.refusal(request, server) {
            return self.send(refusal, request.framing, host.now());
        }
        let path = request.path();
        let method = request.method.as_str();
        let route = ROUTES.iter().find(|route| path.starts_with(route.path));
        let allowed = route.filter(|route| route.methods.contains(&method));
        if allowed.is_some_and(|route| (route.answer)(self, request, server, n, host)) {
            return;
        }
        let is_missing = matches!(method, "GET" | "HEAD") && route.is_none_or(|route| route.path == PAGES);
        self.send(Response::error(if is_missing { 404 } else { 400 }), request.framing, host.now());
    }

    /// `/logtail/NAME`, `/logtail/NAME/stderr`, `/mainlogtail`: an answer without an end.
    // Differs from Supervisor: `/logtail` alone is 404 (there 500), and so is a log that is not a regular file.
    fn follow(&mut self, request: &HttpRequest, _: &Server, _: u32, host: &mut dyn Host) -> bool {
        let (path, framing) = (request.path(), request.framing);
        let is_main = path.starts_with("/mainlogtail");
        let log = if is_main { host.main_log() } else { log_at(&path, host) };
        let Some((follow, modified)) = log.and_then(FollowedLog::open) else {
            self.send(Response::error(404), framing, host.now());
            return true;
        };
        let modified = modified.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut fields = vec![("Last-Modified", http::http_date(modified))];
        fields.extend((!is_main).then(|| ("X-Accel-Buffering", "no".to_owned())));
        let response = Response { status: 200, content_type: "text/plain;charset=utf-8", fields, body: None };
        self.send(response, framing, host.now());
        self.is_last = false;
        self.state = ConnectionState::Following(follow, framing);
        true
    }

    /// `/RPC2`
    fn call(&mut self, request: &HttpRequest, server: &Server, n: u32, host: &mut dyn Host) -> bool {
        let mut call = PendingCall::new(request, server, n, None);
        let endpoint = at(&server.endpoints, self.endpoint);
        // twiddler's methods can run any command, so on a TCP socket they need a password.
        let allows_twiddler =
            endpoint.is_some_and(|endpoint| endpoint.guard.is_none() || endpoint.credentials.is_some());
        let namespaces = Namespaces { twiddler: server.namespaces.twiddler && allows_twiddler, ..server.namespaces };
        match rpc::call(&request.body, namespaces, host, call.ticket, &mut call.body) {
            Ok(progress) => self.progressed(progress, call, host.now()),
            Err(_) => self.send(Response::error(400), request.framing, host.now()),
        }
        true
    }

    /// The web page; `false`: no page has this path.
    fn page(&mut self, request: &HttpRequest, server: &Server, n: u32, host: &mut dyn Host) -> bool {
        let guard = at(&server.endpoints, self.endpoint).and_then(|endpoint| endpoint.guard.as_ref());
        let is_trusted = guard.is_none_or(|guard| guard.trusts(request));
        match web::answer(request, host, &server.web_token, is_trusted) {
            None => return false,
            Some(PageAnswer::Ready(response)) => self.send(response, request.framing, host.now()),
            Some(PageAnswer::Calls(calls, outcome)) => {
                let mut call = PendingCall::new(request, server, n, Some(outcome));
                let progress = rpc::multicall(
                    calls,
                    Namespaces { supervisor: true, twiddler: false },
                    host,
                    call.ticket,
                    &mut call.body,
                );
                self.progressed(progress, call, host.now());
            }
        }
        true
    }

    /// Sends the answer of a call if it is complete; else keeps the call. A long answer is sent in pieces, so that rsup never holds
    /// all of it.
    // Differs from Supervisor, where every answer has a Content-Length.
    fn progressed(&mut self, progress: RequestProgress, mut call: PendingCall, now: Now) {
        let is_done = matches!(progress, RequestProgress::Done);
        // Not while it waits for the core: the reply must find the buffers empty.
        let is_piece = matches!(progress, RequestProgress::Paused(_)) && call.body.len() > PIECE_BYTES;
        if is_done && call.has_begun || is_piece && call.page.is_none() {
            if !self.send_answer_piece(&mut call, is_done, now) {
                self.state = ConnectionState::Broken;
                return;
            }
        } else if is_done {
            let response = match call.page {
                Some(page) => page.page(&call.body, now.wall),
                None => Response::xml(call.body.take()),
            };
            return self.send(response, call.framing, now);
        }
        let (pending, is_paused) = match progress {
            RequestProgress::Done => return,
            RequestProgress::Waiting(pending) => (pending, false),
            RequestProgress::Paused(pending) => (pending, true),
        };
        self.state = ConnectionState::Answering { call, pending, is_paused };
    }

    /// Puts what there is of an answer into the output buffers; `false`: the answer cannot be completed.
    fn send_answer_piece(&mut self, call: &mut PendingCall, is_last: bool, now: Now) -> bool {
        let (framing, length) = (call.framing, call.body.len());
        if framing.http11 {
            call.body.push_str(if is_last { "\r\n0\r\n\r\n" } else { "\r\n" });
        }
        if call.body.failure().is_some() {
            return false;
        }
        if !std::mem::replace(&mut call.has_begun, true) {
            self.send(Response { body: None, ..Response::xml(String::new()) }, framing, now);
        }
        self.is_last = is_last && !(framing.keep_alive && framing.http11);
        if framing.http11 {
            self.output.extend_from_slice(format!("{length:x}\r\n").as_bytes());
        }
        (self.body, self.since) = (call.body.take().into_bytes(), now.mono);
        true
    }

    /// Puts a response into the output buffer.
    fn send(&mut self, response: Response, framing: AnswerFraming, now: Now) {
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

impl PendingCall {
    fn new(request: &HttpRequest, server: &Server, n: u32, page: Option<ResultPage>) -> Self {
        let ticket = u64::from(server.serial) << 32 | u64::from(n);
        Self { ticket, framing: request.framing, body: Answer::default(), has_begun: false, page }
    }
}

/// The log of a path `/logtail…/NAME[/stdout|/stderr]`.
fn log_at(path: &str, host: &dyn Host) -> Option<PathBuf> {
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

fn is_out_of_memory(errno: Errno) -> bool {
    matches!(errno, Errno::ENOBUFS | Errno::ENOMEM)
}

/// Empties a buffer, and frees a large one.
fn empty(buffer: &mut Vec<u8>) {
    buffer.clear();
    if buffer.capacity() > KEPT_BYTES {
        *buffer = Vec::new();
    }
}
