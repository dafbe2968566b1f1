//! Pipes to and from children: what is read goes to the logs, what is queued goes to a child's stdin.
//!
//! A pipe outlives its child as long as another process holds its other end: it is *orphaned* then, and read on, so that what a
//! program has left in the background is not ended by SIGPIPE. A pipe that cannot be watched or read is tried again each second.

use super::token::{ChildId, Token};
use crate::events::Capture;
use crate::logs::{ChildLog, Flow, SinkId, Sinks};
use crate::rpc::Channel;
use crate::supervision::{ProcId, Process};
use crate::sys::poll::{Interest, Poll};
use crate::sys::{Pid, errno};
use crate::time::{Mono, Now};
use nix::errno::Errno;
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;

/// How much one read takes: as much as a pipe holds.
const READ_BYTES: usize = 64 * 1024;

/// So many reads empty the largest pipe that an ordinary user can make (1 MiB); what a surviving grandchild goes on
/// writing has no end.
const DRAIN_READS: usize = 17;

/// So many orphaned pipes of one name and channel are kept.
const ORPHANED_PER_NAME: usize = 8;

/// When a pipe that could not be watched or read is tried again, in milliseconds.
const RETRY_MS: u64 = 1000;

/// What reading and writing need.
pub struct PipeIo<'a> {
    /// Where output goes.
    pub sinks: &'a mut Sinks,
    /// What watches the pipes.
    pub poll: &'a Poll,
    /// Now.
    pub now: Now,
}

/// A part of a program's output that others than the logs need.
#[derive(Debug)]
pub struct ChildOutput {
    /// The process.
    pub id: ProcId,
    /// The child that wrote it.
    pub pid: Pid,
    /// stdout or stderr.
    pub channel: Channel,
    /// What it is.
    pub kind: OutputKind,
    /// As in the log; a listener's words as they came.
    pub bytes: Vec<u8>,
}

/// What a part of the output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputKind {
    /// What goes to the log, or is being captured; for a PROCESS_LOG event, if so set.
    Output {
        /// It is set so.
        has_events: bool,
    },
    /// All that stood between two tokens.
    Communication,
    /// An event listener's words.
    Protocol,
}

/// What others than the logs are to know.
#[derive(Debug, Default)]
pub struct Observed {
    /// All output is wanted for the main log too (its level is debug).
    pub copying: bool,
    /// What was read since this was last emptied, as far as others than the logs need it.
    pub outputs: Vec<ChildOutput>,
    /// Warnings for the main log.
    pub warnings: Vec<String>,
}

/// Whether the poll watches a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WatchState {
    /// It does.
    On,
    /// Its sink takes no more for now: the program blocks when the pipe is full.
    Parked,
    /// It could not be watched or read: it is tried again later.
    Retry,
}

/// The reading end of a child's pipe, and where its bytes go.
#[derive(Debug)]
pub struct PipeReader {
    fd: OwnedFd,
    log: ChildLog,
    token: Token,
    /// Whose it is; `None`: of an earlier configuration, so that its bytes go to its log only.
    id: Option<ProcId>,
    /// For messages, and to count the orphaned pipes of one program: `name` or `group:name`.
    name: Box<str>,
    pid: Pid,
    channel: Channel,
    /// Looks for what is between tokens.
    capture: Option<Box<Capture>>,
    /// Its bytes are an event listener's words.
    is_protocol: bool,
    /// PROCESS_LOG events are wanted.
    has_events: bool,
    watch: WatchState,
    /// Failed reads in a row.
    failures: u32,
}

/// What one read came to.
enum ReadOutcome {
    Data,
    /// There is nothing to read, and another process has the other end.
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
        let is_protocol = channel == Channel::Stdout && process.is_listener();
        let captures = config.capture_maxbytes > 0 && !is_protocol;
        Self {
            fd,
            log,
            token,
            id: Some(id.process),
            name: process.namespec().into(),
            pid,
            channel,
            capture: captures.then(|| Box::new(Capture::new(config.capture_maxbytes))),
            is_protocol,
            has_events: config.events_enabled && !is_protocol,
            watch: WatchState::Retry,
            failures: 0,
        }
    }

    /// Hands what was read to the log, and to what else needs it.
    fn take(&mut self, bytes: &[u8], observed: &mut Observed, sinks: &mut Sinks, now: Now) {
        let Self { id, pid, channel, has_events, .. } = *self;
        let Some(id) = id else {
            self.log.write(bytes, sinks, now);
            return;
        };
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

    /// At the end of the pipe.
    fn close(&mut self, observed: &mut Observed, io: &mut PipeIo<'_>) {
        if let Some(mut capture) = self.capture.take() {
            let rest = capture.finish();
            self.take(&rest, observed, io.sinks, io.now);
        }
        self.log.close(io.sinks, io.now);
        // Before it is closed: as long as another copy of the descriptor is there, its readiness would be reported again and again.
        self.unwatch(io.poll);
    }

    /// Stops reading until the sink has room. The watch ends: a pipe without a writer would be ready again and again.
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
    /// It takes no more and is not watched for room: it is tried again later.
    pub is_unwatched: bool,
}

impl StdinPipe {
    /// Takes over a pipe, with nothing queued.
    pub fn new(fd: OwnedFd, id: ChildId) -> Self {
        Self { fd, queue: VecDeque::new(), token: Token::Stdin(id), is_unwatched: false }
    }

    /// How many bytes wait.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Queues bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.queue.extend(bytes);
    }

    /// Writes what it takes; `None`: it is closed.
    pub fn flush(&mut self, poll: &Poll) -> Option<()> {
        while !self.queue.is_empty() {
            match nix::unistd::write(&self.fd, self.queue.as_slices().0) {
                Ok(count) => drop(self.queue.drain(..count.min(self.queue.len()))),
                Err(Errno::EINTR) => {}
                Err(Errno::EPIPE) => return None,
                Err(Errno::EAGAIN) => {
                    // Added once, modified never: it is removed as soon as the queue is empty.
                    let added = poll.add(&self.fd, self.token.encode(), Interest::Write);
                    self.is_unwatched = added.is_err_and(|why| why.raw_os_error() != Some(libc::EEXIST));
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

/// What reads pipes, and the orphaned ones.
#[derive(Debug)]
pub struct Pipes {
    buffer: Box<[u8]>,
    /// Pipes of dead children, by number: the oldest first.
    orphaned: BTreeMap<u32, Box<PipeReader>>,
    next_number: u32,
    /// So many orphaned pipes are kept in all.
    pub max_orphaned: usize,
    /// When what could not be watched or read is tried again.
    retry_at: Option<Mono>,
    /// What others than the logs are to know.
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

    /// It is not watched for a second; a warning at the first time.
    fn retry_later(&mut self, reader: &mut PipeReader, what: &str, why: &str, poll: &Poll, now: Now) {
        if reader.failures <= 2 {
            self.observed.warnings.push(reader.warning(what, why));
            reader.failures = 3;
        }
        reader.unwatch(poll);
        self.retry_at.get_or_insert(now.mono.after_ms(RETRY_MS));
    }

    /// When [`Pipes::retry`] is wanted.
    pub fn next_deadline(&self) -> Option<Mono> {
        self.retry_at
    }

    /// Whether it is time to try again what could not be watched or read.
    pub fn begin_retry(&mut self, now: Now) -> bool {
        self.retry_at.take_if(|at| *at <= now.mono).is_some()
    }

    /// Tries again to watch a pipe.
    pub fn retry(&mut self, reader: &mut PipeReader, poll: &Poll, now: Now) {
        if reader.watch == WatchState::Retry {
            self.watch(reader, poll, now);
        }
    }

    /// Writes what a child's stdin takes; `None`: it is closed.
    pub fn flush_stdin(&mut self, stdin: &mut StdinPipe, poll: &Poll, now: Now) -> Option<()> {
        stdin.flush(poll)?;
        if stdin.is_unwatched {
            self.retry_at.get_or_insert(now.mono.after_ms(RETRY_MS));
        }
        Some(())
    }

    /// Reads once from a pipe that is ready and hands the bytes on. Afterwards the pipe is there, or has ended and is closed.
    pub fn read(&mut self, slot: &mut Option<PipeReader>, io: &mut PipeIo<'_>) {
        let Some(reader) = slot else { return };
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

    /// One failure may pass: it is read again at once.
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

    /// Reads what a dead child has left in its pipe. It is closed, or orphaned where other processes hold its other end.
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
        // The words of a listener that has ended are not its successor's.
        reader.is_protocol = false;
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

    /// Closes the oldest orphaned pipe where there are too many, of this program or in all.
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

    /// Tries again to watch orphaned pipes.
    pub fn retry_orphaned(&mut self, poll: &Poll, now: Now) {
        let mut orphaned = std::mem::take(&mut self.orphaned);
        for reader in orphaned.values_mut() {
            self.retry(reader, poll, now);
        }
        self.orphaned = orphaned;
    }

    /// Another configuration comes into use: what orphaned pipes bring goes to their logs only.
    pub fn forget_processes(&mut self) {
        for reader in self.orphaned.values_mut() {
            reader.id = None;
        }
    }

    /// The end: reads what is in orphaned pipes.
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
