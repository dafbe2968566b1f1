//! The pipes of children: reads output into the logs, and writes queued bytes to stdin.
//!
//! A pipe outlives its child as long as another process holds its other end. It is then *orphaned*, and rsup goes on reading it, so
//! that a process left in the background does not get SIGPIPE. A pipe that cannot be watched or read is tried again every second.

use super::token::{ChildId, Role, Token};
use crate::config::model::Readiness;
use crate::config::probe::line_regex;
use crate::events::Capture;
use crate::logs::{ChildLog, Flow, SinkId, Sinks};
use crate::probes::LineMatcher;
use crate::rpc::Channel;
use crate::supervision::{ProcId, Process};
use crate::sys::poll::{Interest, Poll};
use crate::sys::{Pid, errno};
use crate::time::{Mono, Now};
use nix::errno::Errno;
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;

/// The most bytes of one read: the capacity of a pipe.
const READ_BYTES: usize = 64 * 1024;

/// The most reads at the end of a child. They empty the largest pipe that an ordinary user can make (1 MiB); a surviving grandchild
/// may go on writing for ever.
const DRAIN_READS: usize = 17;

/// The most orphaned pipes of one process name and channel.
const ORPHANED_PER_NAME: usize = 8;

/// After this time, in milliseconds, a pipe that could not be watched or read is tried again.
const RETRY_MS: u64 = 1000;

/// Borrowed parts of the daemon that reading and writing need.
pub struct PipeIo<'a> {
    /// Where output goes.
    pub sinks: &'a mut Sinks,
    /// Watches the pipes.
    pub poll: &'a Poll,
    /// Now.
    pub now: Now,
}

/// A part of a program's output, for events, listeners and the main log.
#[derive(Debug)]
pub struct ChildOutput {
    /// The process.
    pub id: ProcId,
    /// The child that wrote it.
    pub pid: Pid,
    /// stdout or stderr.
    pub channel: Channel,
    /// Where it belongs.
    pub kind: OutputKind,
    /// The bytes as in the log; of a listener's protocol, the bytes as read.
    pub bytes: Vec<u8>,
}

/// Where a part of the output belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputKind {
    /// It goes to the log, or is being captured.
    Output {
        /// It also becomes a PROCESS_LOG event.
        has_events: bool,
    },
    /// The whole text between two capture tokens.
    Communication,
    /// The protocol of an event listener.
    Protocol,
}

/// Output and warnings that the daemon takes after reading.
#[derive(Debug, Default)]
pub struct Observed {
    /// Copy all output to the main log too, because its level is debug.
    pub copying: bool,
    /// Output read since the daemon last took it.
    pub outputs: Vec<ChildOutput>,
    /// Processes that have written the line of `ready=line:…`.
    pub ready: Vec<ProcId>,
    /// Warnings for the main log.
    pub warnings: Vec<String>,
}

/// Whether the poll watches a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WatchState {
    /// Yes.
    On,
    /// No: its sink has no room. The program blocks when the pipe is full.
    Parked,
    /// No: it could not be watched or read, and is tried again later.
    Retry,
}

/// The reading end of a child's pipe, and where its bytes go.
#[derive(Debug)]
pub struct PipeReader {
    fd: OwnedFd,
    log: ChildLog,
    token: Token,
    /// The process; `None` if it is of an earlier configuration, so that its output goes only to the log.
    id: Option<ProcId>,
    /// For messages, and to count the orphaned pipes of one program: `name` or `group:name`.
    name: Box<str>,
    pid: Pid,
    channel: Channel,
    /// Finds the text between capture tokens.
    capture: Option<Box<Capture>>,
    /// Finds the line that shows that the process is ready.
    pub matcher: Option<Box<LineMatcher>>,
    /// It carries the protocol of an event listener.
    is_protocol: bool,
    /// Its output becomes PROCESS_LOG events.
    has_events: bool,
    watch: WatchState,
    /// Failed reads in a row.
    failures: u32,
}

/// The outcome of one read.
enum ReadOutcome {
    Data,
    /// The pipe is empty, and another process has the other end.
    Empty,
    /// No process has the other end.
    End,
    /// Its sink has no room.
    Blocked(SinkId),
    Failed(Errno),
}

impl PipeReader {
    /// Its log, for `clear` and reopening.
    pub fn log_mut(&mut self) -> &mut ChildLog {
        &mut self.log
    }

    /// Takes over a pipe; it is not watched yet.
    pub fn new(fd: OwnedFd, log: ChildLog, id: ChildId, process: &Process, pid: Pid, channel: Channel) -> Self {
        let (token, config) = match channel {
            Channel::Stdout => (Token::Stdout(id), &process.config.stdout),
            Channel::Stderr => (Token::Stderr(id), &process.config.stderr),
        };
        let is_program = id.role == Role::Program;
        let is_protocol = is_program && channel == Channel::Stdout && process.is_listener();
        let captures = is_program && config.capture_maxbytes > 0 && !is_protocol;
        let matcher = match &process.config.lifecycle.ready {
            Some(Readiness::Line(pattern)) if is_program => line_regex(pattern).ok(),
            _ => None,
        };
        Self {
            fd,
            log,
            token,
            id: Some(id.process),
            name: process.namespec().into(),
            pid,
            channel,
            matcher: matcher.map(|regex| Box::new(LineMatcher::new(regex))),
            capture: captures.then(|| Box::new(Capture::new(config.capture_maxbytes))),
            is_protocol,
            has_events: is_program && config.events_enabled && !is_protocol,
            watch: WatchState::Retry,
            failures: 0,
        }
    }

    /// Writes bytes that were read to the log, and passes them on as far as the daemon needs them.
    fn take(&mut self, bytes: &[u8], observed: &mut Observed, sinks: &mut Sinks, now: Now) {
        let Self { id, pid, channel, has_events, .. } = *self;
        let Some(id) = id else {
            self.log.write(bytes, sinks, now);
            return;
        };
        if self.matcher.as_mut().is_some_and(|matcher| matcher.feed(bytes)) {
            self.matcher = None;
            observed.ready.push(id);
        }
        let is_wanted = observed.copying || has_events;
        let mut pass_on = |kind: OutputKind, bytes: &[u8]| {
            if !matches!(kind, OutputKind::Output { .. }) || is_wanted && !bytes.is_empty() {
                observed.outputs.push(ChildOutput { id, pid, channel, kind, bytes: bytes.to_vec() });
            }
        };
        let output = OutputKind::Output { has_events };
        if self.is_protocol {
            self.log.write(bytes, sinks, now);
            pass_on(OutputKind::Protocol, bytes);
        } else if let Some(capture) = &mut self.capture {
            for piece in capture.cut(bytes) {
                if piece.is_inside {
                    let text = self.log.strip(&piece.text);
                    capture.keep(&text);
                    pass_on(output, &text);
                } else {
                    pass_on(output, self.log.write(&piece.text, sinks, now));
                }
                if piece.is_last {
                    pass_on(OutputKind::Communication, &capture.take());
                }
            }
        } else {
            pass_on(output, self.log.write(bytes, sinks, now));
        }
    }

    /// Reads once, if its sink has room.
    fn read(&mut self, buffer: &mut [u8], observed: &mut Observed, io: &mut PipeIo<'_>) -> ReadOutcome {
        if let Flow::Blocked(stream) = self.log.flow(io.sinks) {
            return ReadOutcome::Blocked(stream);
        }
        match nix::unistd::read(&self.fd, buffer) {
            Ok(0) => ReadOutcome::End,
            Ok(count) => {
                self.failures = 0;
                self.take(buffer.get(..count).unwrap_or_default(), observed, io.sinks, io.now);
                ReadOutcome::Data
            }
            Err(Errno::EAGAIN | Errno::EINTR) => ReadOutcome::Empty,
            Err(why) => ReadOutcome::Failed(why),
        }
    }

    /// Writes the rest at the end of the pipe.
    fn close(&mut self, observed: &mut Observed, io: &mut PipeIo<'_>) {
        if let Some(mut capture) = self.capture.take() {
            let rest = capture.finish();
            self.take(&rest, observed, io.sinks, io.now);
        }
        if let (Some(id), true) = (self.id, self.matcher.as_mut().is_some_and(|matcher| matcher.finish())) {
            observed.ready.push(id);
        }
        self.log.close(io.sinks, io.now);
        // Before it is closed: while a copy of the descriptor exists, its readiness would be reported again and again.
        self.unwatch(io.poll);
    }

    /// Stops reading until the sink has room. Stops watching too, because a pipe without a writer is always ready.
    fn park(&mut self, stream: SinkId, io: &mut PipeIo<'_>) {
        self.unwatch(io.poll);
        self.watch = WatchState::Parked;
        io.sinks.park(stream, self.token.encode());
    }

    fn unwatch(&mut self, poll: &Poll) {
        if self.watch == WatchState::On {
            let _ = poll.remove(&self.fd);
        }
        self.watch = WatchState::Retry;
    }

    fn warning(&self, what: &str, why: &str) -> String {
        format!("cannot {what} the {} of '{}': {why}; trying again every second", self.channel.name(), self.name)
    }
}

/// The writing end of a child's stdin.
#[derive(Debug)]
pub struct StdinPipe {
    fd: OwnedFd,
    queue: VecDeque<u8>,
    token: Token,
    /// It is full and could not be watched for room, so it is tried again later.
    pub is_unwatched: bool,
}

impl StdinPipe {
    /// Takes over a pipe, with nothing queued.
    pub fn new(fd: OwnedFd, id: ChildId) -> Self {
        Self { fd, queue: VecDeque::new(), token: Token::Stdin(id), is_unwatched: false }
    }

    /// The number of queued bytes.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Queues bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.queue.extend(bytes);
    }

    /// Writes as many queued bytes as it takes; `None` if it is closed.
    pub fn flush(&mut self, poll: &Poll) -> Option<()> {
        while !self.queue.is_empty() {
            match nix::unistd::write(&self.fd, self.queue.as_slices().0) {
                Ok(count) => drop(self.queue.drain(..count.min(self.queue.len()))),
                Err(Errno::EINTR) => {}
                Err(Errno::EPIPE) => return None,
                Err(Errno::EAGAIN) => {
                    // It is removed as soon as the queue is empty.
                    self.is_unwatched = poll.add(&self.fd, self.token.encode(), Interest::Write).is_err();
                    return Some(());
                }
                // Such as ENOMEM, which may pass.
                Err(_) => {
                    let _ = poll.remove(&self.fd);
                    self.is_unwatched = true;
                    return Some(());
                }
            }
        }
        self.queue = VecDeque::new();
        self.is_unwatched = false;
        let _ = poll.remove(&self.fd);
        Some(())
    }
}

/// Reads the pipes of children, and owns the orphaned ones.
#[derive(Debug)]
pub struct Pipes {
    buffer: Box<[u8]>,
    /// Pipes of dead children by number, the oldest first.
    orphaned: BTreeMap<u32, Box<PipeReader>>,
    next_number: u32,
    /// The most orphaned pipes in all.
    pub max_orphaned: usize,
    /// When pipes that could not be watched or read are tried again.
    retry_at: Option<Mono>,
    /// Output and warnings that the daemon takes after reading.
    pub observed: Observed,
}

impl Default for Pipes {
    fn default() -> Self {
        Self {
            buffer: vec![0; READ_BYTES].into(),
            orphaned: BTreeMap::new(),
            next_number: 0,
            max_orphaned: usize::MAX,
            retry_at: None,
            observed: Observed::default(),
        }
    }
}

impl Pipes {
    /// Begins to watch a pipe.
    pub fn watch(&mut self, reader: &mut PipeReader, poll: &Poll, now: Now) {
        match poll.add(&reader.fd, reader.token.encode(), Interest::Read) {
            Ok(()) => reader.watch = WatchState::On,
            Err(why) => {
                reader.failures = reader.failures.saturating_add(1);
                self.retry_later(reader, "watch", &errno::name(&why), poll, now);
            }
        }
    }

    /// Stops watching a pipe for a second. Warns the first time.
    fn retry_later(&mut self, reader: &mut PipeReader, what: &str, why: &str, poll: &Poll, now: Now) {
        if reader.failures <= 2 {
            self.observed.warnings.push(reader.warning(what, why));
            reader.failures = 3;
        }
        reader.unwatch(poll);
        self.retry_at.get_or_insert(now.mono.after_ms(RETRY_MS));
    }

    /// When to retry pipes: see [`Pipes::begin_retry`].
    pub fn next_deadline(&self) -> Option<Mono> {
        self.retry_at
    }

    /// Whether it is time to retry pipes. If so, call the functions `retry…`.
    pub fn begin_retry(&mut self, now: Now) -> bool {
        self.retry_at.take_if(|at| *at <= now.mono).is_some()
    }

    /// Watches a pipe that could not be watched or read before.
    pub fn retry(&mut self, reader: &mut PipeReader, poll: &Poll, now: Now) {
        if reader.watch == WatchState::Retry {
            self.watch(reader, poll, now);
        }
    }

    /// Writes as many queued bytes as a child's stdin takes; `None` if it is closed.
    pub fn flush_stdin(&mut self, stdin: &mut StdinPipe, poll: &Poll, now: Now) -> Option<()> {
        stdin.flush(poll)?;
        if stdin.is_unwatched {
            self.retry_at.get_or_insert(now.mono.after_ms(RETRY_MS));
        }
        Some(())
    }

    /// Reads once from a ready pipe. Empties `slot` if the pipe has ended.
    pub fn read(&mut self, slot: &mut Option<PipeReader>, io: &mut PipeIo<'_>) {
        let Some(reader) = slot else { return };
        if reader.watch != WatchState::On {
            // It could not be removed from the poll before.
            let _ = io.poll.remove(&reader.fd);
        }
        if reader.watch == WatchState::Parked {
            return;
        }
        match reader.read(&mut self.buffer, &mut self.observed, io) {
            ReadOutcome::Data | ReadOutcome::Empty => {}
            ReadOutcome::Blocked(stream) => reader.park(stream, io),
            ReadOutcome::Failed(why) => self.failed(reader, why, io),
            ReadOutcome::End => {
                reader.close(&mut self.observed, io);
                *slot = None;
            }
        }
    }

    /// After a first failure the pipe is read again at once, after more only every second.
    fn failed(&mut self, reader: &mut PipeReader, why: Errno, io: &PipeIo<'_>) {
        reader.failures = reader.failures.saturating_add(1);
        if reader.failures > 1 {
            self.retry_later(reader, "read", &errno::ErrnoName(why as i32).to_string(), io.poll, io.now);
        }
    }

    /// The sink for which this pipe waited has room again.
    pub fn resume(&mut self, reader: &mut PipeReader, poll: &Poll, now: Now) {
        if reader.watch == WatchState::Parked {
            self.watch(reader, poll, now);
        }
    }

    /// Reads the rest of a dead child's pipe. Closes it, or keeps it as orphaned if another process holds its other end.
    pub fn outlive(&mut self, mut reader: PipeReader, io: &mut PipeIo<'_>) {
        let mut blocked = None;
        for _ in 0..DRAIN_READS {
            match reader.read(&mut self.buffer, &mut self.observed, io) {
                ReadOutcome::Data => {}
                ReadOutcome::Failed(why) => self.failed(&mut reader, why, io),
                ReadOutcome::End => return reader.close(&mut self.observed, io),
                ReadOutcome::Empty => break,
                ReadOutcome::Blocked(stream) => {
                    blocked = Some(stream);
                    break;
                }
            }
        }
        // The output of a process that has ended is not part of its successor's protocol, nor a sign that it is ready.
        (reader.is_protocol, reader.matcher) = (false, None);
        self.make_room(&reader, io);
        let number = self.next_number;
        self.next_number = number.wrapping_add(1);
        reader.token = Token::Orphaned(number);
        match blocked {
            Some(stream) => reader.park(stream, io),
            None => {
                reader.unwatch(io.poll);
                self.watch(&mut reader, io.poll, io.now);
            }
        }
        self.orphaned.insert(number, Box::new(reader));
    }

    /// Closes the oldest orphaned pipe if there are too many of this program or in all.
    fn make_room(&mut self, of: &PipeReader, io: &mut PipeIo<'_>) {
        let is_same = |reader: &PipeReader| (&reader.name, reader.channel) == (&of.name, of.channel);
        let same = || self.orphaned.iter().filter(|(_, reader)| is_same(reader));
        let number = if same().count() >= ORPHANED_PER_NAME {
            same().next()
        } else if self.orphaned.len() >= self.max_orphaned {
            self.orphaned.iter().next()
        } else {
            return;
        };
        let Some(mut oldest) = number.map(|(&number, _)| number).and_then(|number| self.orphaned.remove(&number))
        else {
            return;
        };
        oldest.close(&mut self.observed, io);
        self.observed.warnings.push(format!(
            "closed the {} of '{}' that former process {} has left open in the background: too many are open; \
             a process that still writes to it gets SIGPIPE",
            oldest.channel.name(),
            oldest.name,
            oldest.pid
        ));
    }

    /// An orphaned pipe is ready.
    pub fn read_orphaned(&mut self, number: u32, io: &mut PipeIo<'_>) {
        let mut slot = self.orphaned.remove(&number).map(|reader| *reader);
        self.read(&mut slot, io);
        if let Some(reader) = slot {
            self.orphaned.insert(number, Box::new(reader));
        }
    }

    /// The sink for which an orphaned pipe waited has room again.
    pub fn resume_orphaned(&mut self, number: u32, poll: &Poll, now: Now) {
        if let Some(mut reader) = self.orphaned.remove(&number) {
            self.resume(&mut reader, poll, now);
            self.orphaned.insert(number, reader);
        }
    }

    /// Retries orphaned pipes.
    pub fn retry_orphaned(&mut self, poll: &Poll, now: Now) {
        let mut orphaned = std::mem::take(&mut self.orphaned);
        for reader in orphaned.values_mut() {
            self.retry(reader, poll, now);
        }
        self.orphaned = orphaned;
    }

    /// From now on, the output of orphaned pipes goes only to their logs: their processes belong to an earlier configuration.
    pub fn forget_processes(&mut self) {
        for reader in self.orphaned.values_mut() {
            reader.id = None;
        }
    }

    /// Reads the rest of all orphaned pipes and closes them, when rsup ends.
    pub fn drain_orphaned(&mut self, io: &mut PipeIo<'_>) {
        for (_, mut reader) in std::mem::take(&mut self.orphaned) {
            for _ in 0..DRAIN_READS {
                if !matches!(reader.read(&mut self.buffer, &mut self.observed, io), ReadOutcome::Data) {
                    break;
                }
            }
            reader.close(&mut self.observed, io);
        }
    }

    /// The tokens of orphaned pipes.
    pub fn orphaned(&self) -> impl Iterator<Item = Token> {
        self.orphaned.keys().copied().map(Token::Orphaned)
    }

    /// The logs of orphaned pipes.
    pub fn logs_mut(&mut self) -> impl Iterator<Item = &mut ChildLog> {
        self.orphaned.values_mut().map(|reader| &mut reader.log)
    }
}
