//! The table of everything that log bytes go to, and the rule for what is shared: whole lines, never torn.
//!
//! A sink with one writer takes its chunks as they come. Where several write to one (programs and the journal on the
//! container's stdout, eight workers with one log file), a part of a line is held per writer until its newline, 64 KiB
//! or 100 ms, so that lines of different writers cannot mix; should one have to be written in part, the next writer's
//! line starts on a line of its own.

use super::Trouble;
use super::file::{self, Inode, Limits, LogFile};
use super::stamp::Stamp;
use super::stream::{self, Stream};
use crate::sys::clock;
use crate::sys::stream::Inherited;
use crate::time::{Mono, Now};
use nix::errno::Errno;
use nix::poll::{PollFd, PollTimeout, poll};
use nix::sys::stat::fstat;
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::RawFd;
use std::path::Path;
use std::rc::Rc;

/// Names a stream of `Sinks`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(u32);

/// Names a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SinkId {
    File(u32),
    Stream(StreamId),
}

/// Names a writer: a `ChildLog` or the journal. Never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Writer(u64);

/// What is put before each line, after the time.
pub(super) type Label = Option<Rc<[u8]>>;

/// Every open log file and stream.
#[derive(Debug, Default)]
pub struct Sinks {
    inherited: Inherited,
    files: Vec<Option<Sink<LogFile>>>,
    streams: Vec<Sink<Stream>>,
    /// Held parts of lines, by writer.
    parts: BTreeMap<Writer, Part>,
    /// When to let go of them, earliest first; an entry whose part has gone, or is another by now, means nothing.
    due: VecDeque<(Mono, Writer)>,
    writers: u64,
    stamp: Stamp,
    /// Prefixed lines under construction.
    lines: Vec<u8>,
    /// What `strip_ansi` left of a chunk.
    pub(super) stripped: Vec<u8>,
    pub(super) troubles: Vec<Trouble>,
}

#[derive(Debug)]
struct Sink<T> {
    to: T,
    writers: u32,
    /// Who wrote the last byte, if that was not a newline.
    mid_line: Option<Writer>,
}

/// A part of a line, held for a writer.
#[derive(Debug)]
struct Part {
    at: SinkId,
    label: Label,
    bytes: Vec<u8>,
    /// When it is written as it is; `None`: when its full stream has room again.
    due: Option<Mono>,
}

/// A part of a line is held so long, in milliseconds,
const HOLD_MS: u64 = 100;
/// or until it is so long.
const HOLD_BYTES: usize = 64 * 1024;

impl Sinks {
    /// An empty table. Make it before `sys::fds::close_on_exec_from_3`: it looks which descriptors we inherited, for
    /// `/dev/fd/N`.
    #[must_use]
    pub fn new() -> Self {
        Self { inherited: Inherited::look(), ..Self::default() }
    }

    /// When `on_deadline` wants to be called; `None`: nothing is held.
    pub fn next_deadline(&mut self) -> Option<Mono> {
        while let Some(&(due, writer)) = self.due.front() {
            if self.parts.get(&writer).is_some_and(|part| part.due == Some(due)) {
                return Some(due);
            }
            self.due.pop_front();
        }
        None
    }

    /// Writes the parts of lines that have been held long enough.
    pub fn on_deadline(&mut self, now: Now) {
        while self.next_deadline().is_some_and(|due| due <= now.mono) {
            if let Some((_, writer)) = self.due.pop_front() {
                self.let_go(writer, now);
            }
        }
    }

    /// The streams that have something queued, and the descriptor to watch for writability; those not named need
    /// no watching (any more).
    pub fn wants_write(&self) -> impl Iterator<Item = (StreamId, RawFd)> + '_ {
        (0..).map(StreamId).zip(&self.streams).filter_map(|(id, sink)| Some((id, sink.to.wants_write()?)))
    }

    /// The daemon stops reading a channel that was told `Flow::Blocked(id)`, and gets its `token` back from `flush`.
    pub fn park(&mut self, id: StreamId, token: u64) {
        if let Some(sink) = self.streams.get_mut(id.0 as usize) {
            sink.to.waiting.push_back(token);
        }
    }

    /// Writes what the stream takes. Once it has room again, returns the tokens parked on it: the channels to read
    /// again, in this order (so that each has its turn).
    pub fn flush(&mut self, id: StreamId, now: Now) -> VecDeque<u64> {
        let Some(sink) = self.streams.get_mut(id.0 as usize) else { return VecDeque::new() };
        sink.to.flush(&mut self.troubles);
        if !sink.to.has_room() {
            return VecDeque::new();
        }
        if sink.to.lost_lines > 0 {
            let lost = std::mem::take(&mut sink.to.lost_lines);
            let line = format!(" WARN {lost} lines of this log were lost: nobody read them in time\n");
            let line = [self.stamp.text(now.wall), line.as_bytes()].concat();
            let writer = self.new_writer();
            self.put(SinkId::Stream(id), writer, &line, now.mono);
        }
        let overdue = |part: &Part| part.due.is_none() && part.at == SinkId::Stream(id);
        let overdue: Vec<_> = self.parts.iter().filter(|(_, part)| overdue(part)).map(|(&writer, _)| writer).collect();
        for writer in overdue {
            self.let_go(writer, now);
        }
        self.streams.get_mut(id.0 as usize).map(|sink| std::mem::take(&mut sink.to.waiting)).unwrap_or_default()
    }

    /// What went wrong since the last call.
    pub fn take_troubles(&mut self) -> Vec<Trouble> {
        std::mem::take(&mut self.troubles)
    }

    /// At the end: writes everything held and queued, waiting for readers no longer than `until`. What is left then is
    /// dropped; it is counted in what this returns.
    pub fn finish(&mut self, until: Mono) -> Vec<Trouble> {
        let now = clock::now();
        while let Some((writer, _)) = self.parts.first_key_value().map(|(&writer, part)| (writer, part.at)) {
            self.write_part(writer, now);
        }
        loop {
            for sink in &mut self.streams {
                sink.to.flush(&mut self.troubles);
            }
            let wait = until.since(clock::mono());
            let mut blocked: Vec<PollFd<'_>> = self.streams.iter().filter_map(|sink| sink.to.poll_fd()).collect();
            let timeout = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
            if blocked.is_empty() || wait.is_zero() || matches!(poll(&mut blocked, timeout), Ok(0)) {
                break;
            }
        }
        let mut troubles = self.take_troubles();
        troubles.extend(self.files.iter_mut().flatten().filter_map(|sink| sink.to.unreported()));
        troubles.extend(self.streams.iter_mut().filter_map(|sink| sink.to.drop_queue()));
        troubles
    }

    /// Clears a log of a program that does not run. A path that means a stream, or is none of a regular file, is left
    /// alone.
    pub fn clear_path(&mut self, path: &Path, private: bool) -> Result<(), Errno> {
        let Ok(stat) = nix::sys::stat::stat(path) else { return Ok(()) };
        if stream::inherited_fd(path).is_some() || !stream::is_regular(&stat) {
            return Ok(());
        }
        match self.find(Inode::of(&stat)) {
            Some(at) => self.clear(at),
            None => file::remove(path).and_then(|()| file::open_append(path, private)).map(drop),
        }
    }

    // What ChildLog and Journal use.

    pub(super) fn new_writer(&mut self) -> Writer {
        self.writers = self.writers.wrapping_add(1);
        Writer(self.writers)
    }

    /// Opens what `path` means, or joins those who have it open; `None` for what only discards.
    pub(super) fn open(&mut self, path: &Path, limits: Limits) -> Result<Option<SinkId>, Errno> {
        let inherited = stream::inherited_fd(path);
        let fd = match inherited {
            Some(number) => self.inherited.duplicate(number)?,
            None => file::open_append(path, limits.private)?,
        };
        let stat = fstat(&fd)?;
        if stream::is_null(&stat) {
            return Ok(None);
        }
        if let Some(at) = self.find(Inode::of(&stat)) {
            match at {
                SinkId::File(index) => {
                    if let Some(Some(sink)) = self.files.get_mut(index as usize) {
                        sink.writers = sink.writers.saturating_add(1);
                        sink.to.join(limits);
                    }
                }
                SinkId::Stream(id) => {
                    if let Some(sink) = self.streams.get_mut(id.0 as usize) {
                        sink.writers = sink.writers.saturating_add(1);
                    }
                }
            }
            return Ok(Some(at));
        }
        if inherited.is_none() && stream::is_regular(&stat) {
            let sink = Sink { to: LogFile::new(fd, path, &stat, limits), writers: 1, mid_line: None };
            let free = self.files.iter().position(Option::is_none);
            let index = free.unwrap_or_else(|| {
                self.files.push(None);
                self.files.len().saturating_sub(1)
            });
            if let Some(place) = self.files.get_mut(index) {
                *place = Some(sink);
            }
            return Ok(Some(SinkId::File(u32::try_from(index).map_err(|_| Errno::EMFILE)?)));
        }
        let name = match inherited {
            Some(1) => "stdout".to_owned(),
            Some(2) => "stderr".to_owned(),
            _ => format!("'{}'", path.display()),
        };
        let id = StreamId(u32::try_from(self.streams.len()).map_err(|_| Errno::EMFILE)?);
        self.streams.push(Sink { to: Stream::new(fd, name, &stat, inherited.is_some()), writers: 1, mid_line: None });
        Ok(Some(SinkId::Stream(id)))
    }

    fn find(&self, inode: Inode) -> Option<SinkId> {
        let same = |sink: &Option<Sink<LogFile>>| sink.as_ref().is_some_and(|sink| sink.to.inode == inode);
        let file = (0..).zip(&self.files).find(|(_, sink)| same(sink)).map(|(index, _)| SinkId::File(index));
        file.or_else(|| {
            let stream = (0..).zip(&self.streams).find(|(_, sink)| sink.to.inode == inode);
            stream.map(|(index, _)| SinkId::Stream(StreamId(index)))
        })
    }

    /// A writer leaves: its part of a line is written, and a file that nobody else writes to is closed. A stream
    /// stays, for what it has queued.
    pub(super) fn close(&mut self, at: SinkId, writer: Writer, now: Now) {
        self.write_part(writer, now);
        match at {
            SinkId::File(index) => {
                if let Some(place) = self.files.get_mut(index as usize)
                    && let Some(sink) = place
                {
                    sink.writers = sink.writers.saturating_sub(1);
                    if sink.writers == 0 {
                        self.troubles.extend(sink.to.unreported());
                        *place = None;
                    }
                }
            }
            SinkId::Stream(id) => {
                if let Some(sink) = self.streams.get_mut(id.0 as usize) {
                    sink.writers = sink.writers.saturating_sub(1);
                }
            }
        }
    }

    /// Takes a chunk of a writer's output, of any length and with newlines anywhere.
    pub(super) fn write(&mut self, at: SinkId, writer: Writer, label: &Label, bytes: &[u8], now: Now) {
        if bytes.is_empty() {
            return;
        }
        if !self.is_shared(at) && !self.parts.contains_key(&writer) {
            return self.emit(at, writer, label, bytes, now);
        }
        let whole = memchr::memrchr(b'\n', bytes).map_or(0, |last| last.saturating_add(1));
        let (mut lines, rest) = bytes.split_at_checked(whole).unwrap_or_default();
        if !lines.is_empty()
            && let Some(mut part) = self.parts.remove(&writer)
        {
            let first = memchr::memchr(b'\n', lines).map_or(lines.len(), |end| end.saturating_add(1));
            let (first, others) = lines.split_at_checked(first).unwrap_or_default();
            part.bytes.extend_from_slice(first);
            self.emit(at, writer, label, &part.bytes, now);
            lines = others;
        }
        if !lines.is_empty() {
            self.emit(at, writer, label, lines, now);
        }
        if !rest.is_empty() {
            self.hold(at, writer, label, rest, now);
        }
    }

    /// Whether a writer may go on.
    pub(super) fn blocked(&self, at: SinkId) -> Option<StreamId> {
        match at {
            SinkId::Stream(id) => self.streams.get(id.0 as usize)?.to.is_full().then_some(id),
            SinkId::File(_) => None,
        }
    }

    /// Writes a line of the journal; a stream that has no room for it counts it instead.
    pub(super) fn journal(&mut self, at: SinkId, writer: Writer, line: &[u8], now: Mono) {
        if let SinkId::Stream(id) = at
            && let Some(sink) = self.streams.get_mut(id.0 as usize)
            && sink.to.is_full_for_journal()
        {
            sink.to.lost_lines = sink.to.lost_lines.saturating_add(1);
            return;
        }
        self.put(at, writer, line, now);
    }

    /// The time of `now` as log lines have it.
    pub(super) fn stamp(&mut self, now: Now) -> &[u8] {
        self.stamp.text(now.wall)
    }

    pub(super) fn reopen(&mut self, at: SinkId) -> Result<(), Errno> {
        self.file(at).map_or(Ok(()), LogFile::reopen)
    }

    pub(super) fn clear(&mut self, at: SinkId) -> Result<(), Errno> {
        self.file(at).map_or(Ok(()), LogFile::clear)
    }

    pub(super) fn path(&self, at: SinkId) -> Option<&Path> {
        match at {
            SinkId::File(index) => Some(&self.files.get(index as usize)?.as_ref()?.to.path),
            SinkId::Stream(_) => None,
        }
    }

    fn file(&mut self, at: SinkId) -> Option<&mut LogFile> {
        match at {
            SinkId::File(index) => Some(&mut self.files.get_mut(index as usize)?.as_mut()?.to),
            SinkId::Stream(_) => None,
        }
    }

    fn is_shared(&self, at: SinkId) -> bool {
        let writers = match at {
            SinkId::File(index) => self.files.get(index as usize).and_then(Option::as_ref).map(|sink| sink.writers),
            SinkId::Stream(id) => self.streams.get(id.0 as usize).map(|sink| sink.writers),
        };
        writers.is_some_and(|writers| writers > 1)
    }

    fn hold(&mut self, at: SinkId, writer: Writer, label: &Label, bytes: &[u8], now: Now) {
        let due = now.mono.after_ms(HOLD_MS);
        let part = self.parts.entry(writer).or_insert_with(|| {
            self.due.push_back((due, writer));
            Part { at, label: label.clone(), bytes: Vec::new(), due: Some(due) }
        });
        part.bytes.extend_from_slice(bytes);
        if part.bytes.len() >= HOLD_BYTES {
            self.write_part(writer, now);
        }
    }

    /// Writes a writer's part of a line, unless its stream is full: then it waits for room.
    fn let_go(&mut self, writer: Writer, now: Now) {
        match self.parts.get_mut(&writer).map(|part| (part.at, &mut part.due)) {
            Some((SinkId::Stream(id), due))
                if self.streams.get(id.0 as usize).is_some_and(|sink| sink.to.is_full()) =>
            {
                *due = None;
            }
            _ => self.write_part(writer, now),
        }
    }

    fn write_part(&mut self, writer: Writer, now: Now) {
        if let Some(part) = self.parts.remove(&writer) {
            self.emit(part.at, writer, &part.label, &part.bytes, now);
        }
    }

    /// Puts the prefix before each line, if there is one, and writes.
    fn emit(&mut self, at: SinkId, writer: Writer, label: &Label, bytes: &[u8], now: Now) {
        let Some(label) = label else { return self.put(at, writer, bytes, now.mono) };
        let mut lines = std::mem::take(&mut self.lines);
        lines.clear();
        let mut bytes = bytes;
        let mut goes_on = self.mid_line(at) == Some(writer);
        let stamp = self.stamp.text(now.wall);
        while !bytes.is_empty() {
            let end = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |end| end.saturating_add(1));
            let (line, rest) = bytes.split_at_checked(end).unwrap_or_default();
            if !std::mem::take(&mut goes_on) {
                lines.extend_from_slice(stamp);
                lines.extend_from_slice(label);
            }
            lines.extend_from_slice(line);
            bytes = rest;
        }
        self.put(at, writer, &lines, now.mono);
        self.lines = lines;
    }

    fn mid_line(&self, at: SinkId) -> Option<Writer> {
        match at {
            SinkId::File(index) => self.files.get(index as usize)?.as_ref()?.mid_line,
            SinkId::Stream(id) => self.streams.get(id.0 as usize)?.mid_line,
        }
    }

    fn put(&mut self, at: SinkId, writer: Writer, bytes: &[u8], now: Mono) {
        match at {
            SinkId::File(index) => {
                if let Some(Some(sink)) = self.files.get_mut(index as usize) {
                    if sink.breaks_line(writer, bytes) {
                        sink.to.write(b"\n", now, &mut self.troubles);
                    }
                    sink.to.write(bytes, now, &mut self.troubles);
                }
            }
            SinkId::Stream(id) => {
                if let Some(sink) = self.streams.get_mut(id.0 as usize) {
                    if sink.breaks_line(writer, bytes) {
                        sink.to.write(b"\n", &mut self.troubles);
                    }
                    sink.to.write(bytes, &mut self.troubles);
                }
            }
        }
    }
}

impl<T> Sink<T> {
    /// Whether `bytes` come after a part of somebody else's line; notes whose line is open after them.
    fn breaks_line(&mut self, writer: Writer, bytes: &[u8]) -> bool {
        let open = (bytes.last() != Some(&b'\n')).then_some(writer);
        std::mem::replace(&mut self.mid_line, open).is_some_and(|other| other != writer)
    }
}
