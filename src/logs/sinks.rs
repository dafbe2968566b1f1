//! The table of all open log files and streams (sinks). Writers that share a sink write whole lines.
//!
//! The chunks of a single writer are written as they come. If several writers share a sink (programs and the journal on the
//! container's stdout, eight workers with one log file), a part of a line is held for each writer until its newline, 64 KiB
//! or 100 ms, so that lines of different writers do not mix. If a part must be written without its newline, the next writer
//! begins a new line.

use super::SinkError;
use super::file::{self, Inode, LogFile, RotationLimits};
use super::framing::{FrameContext, Framing};
use super::stamp::Stamp;
use super::stream::{self, Stream};
use crate::sys::clock;
use crate::sys::stream::Inherited;
use crate::time::{Mono, Now};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{fstat, stat};
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// The number of a file or stream in `Sinks`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SinkId(pub u32);

/// The number of a writer: a `ChildLog` or the journal. It is never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WriterId(u64);

/// Every open log file and stream.
#[derive(Debug, Default)]
pub struct Sinks {
    inherited: Inherited,
    sinks: Vec<Option<Sink>>,
    /// Free places in `sinks`.
    free: Vec<SinkId>,
    /// The sink of each file or stream. Rotation changes it.
    inodes: BTreeMap<Inode, SinkId>,
    /// The sinks that are streams.
    streams: Vec<SinkId>,
    /// Streams without a writer. They stay open until the poll no longer watches their descriptors.
    closed: Vec<Sink>,
    /// Held parts of lines, by writer.
    parts: BTreeMap<WriterId, HeldPart>,
    /// When to write the held parts, the earliest first. Entries whose part was written meanwhile are ignored.
    due: VecDeque<(Mono, WriterId)>,
    /// syslog, while it has a writer.
    syslog: Option<SinkId>,
    /// rsup's name in syslog; empty: `rsup`.
    ident: Box<str>,
    writers: u64,
    stamp: Stamp,
    /// Framed lines under construction.
    lines: Vec<u8>,
    /// A chunk without its escapes, for `strip_ansi`.
    pub(super) stripped: Vec<u8>,
    errors: Vec<SinkError>,
    changes: u64,
}

#[derive(Debug)]
struct Sink {
    to: Destination,
    /// Its key in `inodes`.
    inode: Inode,
    writers: u32,
    /// The writer of the last byte, if that was not a newline.
    mid_line: Option<WriterId>,
}

#[derive(Debug)]
enum Destination {
    File(LogFile),
    Stream(Box<Stream>),
}

/// A part of a line, held for a writer.
#[derive(Debug)]
struct HeldPart {
    at: SinkId,
    framing: Framing,
    bytes: Vec<u8>,
    /// When it is written without its newline; `None`: when its full stream has room again.
    due: Option<Mono>,
}

/// A part of a line is held this long, in milliseconds,
const HOLD_MS: u64 = 100;
/// or until it has this many bytes.
const HOLD_BYTES: usize = 64 * 1024;

impl Sinks {
    /// An empty table. Call this before `sys::fds::close_on_exec_from_3`: it finds the inherited descriptors, for `/dev/fd/N`.
    #[must_use]
    pub fn new() -> Self {
        Self { inherited: Inherited::find(), ..Self::default() }
    }

    /// Sets rsup's name in syslog.
    pub fn set_ident(&mut self, name: &str) {
        self.ident = name.into();
    }

    /// When to call `on_deadline`; `None` if no part is held.
    pub fn next_deadline(&mut self) -> Option<Mono> {
        while let Some(&(due, writer)) = self.due.front() {
            if self.parts.get(&writer).is_some_and(|part| part.due == Some(due)) {
                return Some(due);
            }
            self.due.pop_front();
        }
        None
    }

    /// The number of writes, clears and reopenings. While it does not change, a followed log has no new bytes.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Writes the parts of lines that have been held long enough.
    pub fn on_deadline(&mut self, now: Now) {
        while self.next_deadline().is_some_and(|due| due <= now.mono) {
            if let Some((_, writer)) = self.due.pop_front() {
                self.release_part(writer, now);
            }
        }
    }

    /// The streams that have bytes queued, with the descriptor to watch for room. Other streams must not be watched.
    pub fn wants_write(&self) -> impl Iterator<Item = (SinkId, RawFd)> + '_ {
        self.streams.iter().filter_map(|&at| Some((at, self.stream(at)?.wants_write()?.as_raw_fd())))
    }

    /// Closes the descriptors of streams without a writer. Call it when the poll no longer watches them, so that no descriptor
    /// number is reused before.
    pub fn drop_closed(&mut self) {
        self.closed.clear();
    }

    /// Records that the daemon has stopped reading a channel after `Flow::Blocked(at)`. `flush` will return its `token`.
    pub fn park(&mut self, at: SinkId, token: u64) {
        if let Some(stream) = self.stream_mut(at) {
            stream.waiting.push_back(token);
        }
    }

    /// Writes as many queued bytes as the stream takes. If it has room again, returns the tokens parked on it: the channels to read
    /// again, in this order, so that each gets its turn.
    pub fn flush(&mut self, at: SinkId, now: Now) -> VecDeque<u64> {
        let mut errors = std::mem::take(&mut self.errors);
        let room = self.stream_mut(at).is_some_and(|stream| stream.flush(now.mono, &mut errors));
        self.errors = errors;
        if !room {
            return VecDeque::new();
        }
        let lost = self.stream_mut(at).map_or(0, |stream| std::mem::take(&mut stream.lost_lines));
        if lost > 0 {
            let line = format!(" WARN {lost} lines of this log were lost: the reader was too slow\n");
            let line = [self.stamp(now), line.as_bytes()].concat();
            let writer = self.new_writer();
            self.put(at, writer, &line, now.mono);
        }
        let overdue = self.parts.iter().filter(|(_, part)| part.due.is_none() && part.at == at);
        for writer in overdue.map(|(&writer, _)| writer).collect::<Vec<_>>() {
            self.release_part(writer, now);
        }
        let parked = self.stream_mut(at).map(|stream| std::mem::take(&mut stream.waiting)).unwrap_or_default();
        self.close_unused(at);
        parked
    }

    /// Takes the errors since the last call.
    pub fn take_errors(&mut self) -> Vec<SinkError> {
        std::mem::take(&mut self.errors)
    }

    /// Writes all held and queued bytes, when rsup ends, and waits for readers until `until`. The rest is dropped; the result counts
    /// it.
    pub fn finish(&mut self, until: Mono) -> Vec<SinkError> {
        let now = clock::now();
        while let Some(writer) = self.parts.keys().next().copied() {
            self.write_part(writer, now);
        }
        loop {
            for at in self.streams.clone() {
                self.flush(at, now);
            }
            let wait = until.since(clock::mono());
            let timeout = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
            let queued = self.streams.iter().filter_map(|&at| self.stream(at)?.wants_write());
            let mut queued: Vec<_> = queued.map(|fd| PollFd::new(fd, PollFlags::POLLOUT)).collect();
            if queued.is_empty() || wait.is_zero() || matches!(poll(&mut queued, timeout), Ok(0)) {
                break;
            }
        }
        let lost = self.sinks.iter_mut().flatten().filter_map(|sink| sink.to.last_error());
        self.errors.extend(lost);
        self.take_errors()
    }

    /// Clears the log of a program that does not run, if it is a regular file and not an inherited descriptor.
    pub fn clear_path(&mut self, path: &Path, private: bool) -> Result<(), Errno> {
        let Ok(stat) = stat(path) else { return Ok(()) };
        self.changes = self.changes.wrapping_add(1);
        if stream::inherited_fd(path).is_some() || !stream::is_regular(&stat) {
            return Ok(());
        }
        match self.find(Inode::of(&stat)) {
            Some(at) => self.clear(at),
            None => file::clear(path, private).map(drop),
        }
    }

    // For ChildLog and Journal.

    pub(super) fn new_writer(&mut self) -> WriterId {
        self.writers = self.writers.wrapping_add(1);
        WriterId(self.writers)
    }

    /// Opens `path`, or joins the writers that have it open; `None` for /dev/null.
    pub(super) fn open(&mut self, path: &Path, limits: RotationLimits) -> Result<Option<(SinkId, WriterId)>, Errno> {
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
            return Ok(Some((at, self.join(at, limits))));
        }
        let to = if inherited.is_none() && stream::is_regular(&stat) {
            Destination::File(LogFile::new(fd, path, &stat, limits))
        } else {
            let name = match inherited {
                Some(1) => "stdout".to_owned(),
                Some(2) => "stderr".to_owned(),
                _ => format!("'{}'", path.display()),
            };
            Destination::Stream(Box::new(Stream::new(fd, name, &stat, inherited.is_some())))
        };
        self.add(to).map(Some)
    }

    /// Opens syslog, or joins the writers that have it open. Its socket need not exist yet.
    pub(super) fn open_syslog(&mut self, path: &Path) -> Result<(SinkId, WriterId), Errno> {
        if let Some(at) = self.syslog.filter(|&at| self.is_syslog(at)) {
            return Ok((at, self.join(at, RotationLimits::default())));
        }
        let opened = self.add(Destination::Stream(Box::new(Stream::syslog(path)?)))?;
        self.syslog = Some(opened.0);
        Ok(opened)
    }

    fn join(&mut self, at: SinkId, limits: RotationLimits) -> WriterId {
        if let Some(sink) = self.sink_mut(at) {
            sink.writers = sink.writers.saturating_add(1);
            if let Destination::File(file) = &mut sink.to {
                file.join(limits);
            }
        }
        self.new_writer()
    }

    fn add(&mut self, to: Destination) -> Result<(SinkId, WriterId), Errno> {
        // Close FIFOs that have been read by now.
        for at in self.streams.clone() {
            self.close_unused(at);
        }
        let at = match self.free.pop() {
            Some(at) => at,
            None => {
                self.sinks.push(None);
                SinkId(u32::try_from(self.sinks.len().saturating_sub(1)).map_err(|_| Errno::EMFILE)?)
            }
        };
        if matches!(to, Destination::Stream(_)) {
            self.streams.push(at);
        }
        let inode = to.inode();
        self.inodes.insert(inode, at);
        if let Some(place) = self.sinks.get_mut(at.0 as usize) {
            *place = Some(Sink { to, inode, writers: 1, mid_line: None });
        }
        Ok((at, self.new_writer()))
    }

    /// Removes a writer: writes its part of a line, and closes the sink if it has no other writer.
    pub(super) fn close(&mut self, at: SinkId, writer: WriterId, now: Now) {
        self.write_part(writer, now);
        if let Some(sink) = self.sink_mut(at) {
            sink.writers = sink.writers.saturating_sub(1);
            self.close_unused(at);
        }
    }

    /// Closes a sink without writers. A stream stays open while bytes are queued, and an inherited one always.
    fn close_unused(&mut self, at: SinkId) {
        let Some(place) = self.sinks.get_mut(at.0 as usize) else { return };
        let Some(mut sink) = place.take_if(|sink| sink.writers == 0 && sink.to.is_done()) else { return };
        self.errors.extend(sink.to.last_error());
        // The entry may belong to the same FIFO, opened again after its reader had gone.
        if self.inodes.get(&sink.inode) == Some(&at) {
            self.inodes.remove(&sink.inode);
        }
        self.streams.retain(|&stream| stream != at);
        self.free.push(at);
        self.closed.extend(matches!(sink.to, Destination::Stream(_)).then_some(sink));
    }

    /// Writes a chunk of a writer's output, of any length and with newlines anywhere.
    pub(super) fn write(&mut self, at: SinkId, writer: WriterId, framing: &Framing, bytes: &[u8], now: Now) {
        let shared = self.sink(at).is_some_and(|sink| sink.writers > 1) || self.is_syslog(at);
        if !shared && !self.parts.contains_key(&writer) {
            return self.emit(at, writer, framing, bytes, now);
        }
        let (mut lines, rest) = split_after(bytes, memchr::memrchr(b'\n', bytes));
        if !lines.is_empty()
            && let Some(mut part) = self.parts.remove(&writer)
        {
            let (first, others) = split_after(lines, memchr::memchr(b'\n', lines));
            part.bytes.extend_from_slice(first);
            self.emit(at, writer, framing, &part.bytes, now);
            lines = others;
        }
        self.emit(at, writer, framing, lines, now);
        if !rest.is_empty() {
            self.hold(at, writer, framing, rest, now);
        }
    }

    /// Whether `at` is a stream that takes no more from programs.
    pub(super) fn is_full(&self, at: SinkId) -> bool {
        self.stream(at).is_some_and(Stream::is_full)
    }

    /// Counts the lines of `bytes` as lost if the stream has no room for them. Returns whether they are lost.
    pub(super) fn is_lost(&mut self, at: SinkId, bytes: &[u8]) -> bool {
        let Some(stream) = self.stream_mut(at).filter(|stream| stream.is_full_for_journal()) else { return false };
        let lines = memchr::memchr_iter(b'\n', bytes).count() as u64;
        stream.lost_lines = stream.lost_lines.saturating_add(lines.max(1));
        true
    }

    /// Writes a line of the journal, or counts it as lost if the stream has no room.
    pub(super) fn journal(&mut self, at: SinkId, writer: WriterId, line: &[u8], now: Now) {
        // In syslog, each line is a message.
        let framing = if self.is_syslog(at) { Framing::Syslog(Rc::from([])) } else { Framing::Raw };
        if !self.is_lost(at, b"") {
            self.emit(at, writer, &framing, line, now);
        }
    }

    /// The time stamp of log lines.
    pub(super) fn stamp(&mut self, now: Now) -> &[u8] {
        self.stamp.text(now.wall)
    }

    pub(super) fn reopen(&mut self, at: SinkId) -> Result<(), Errno> {
        let done = self.file_mut(at).map_or(Ok(()), LogFile::reopen);
        self.note_inode(at);
        done
    }

    pub(super) fn clear(&mut self, at: SinkId) -> Result<(), Errno> {
        let done = self.file_mut(at).map_or(Ok(()), LogFile::clear);
        self.note_inode(at);
        done
    }

    pub(super) fn path(&self, at: SinkId) -> Option<&Path> {
        match &self.sink(at)?.to {
            Destination::File(file) => Some(&file.path),
            Destination::Stream(_) => None,
        }
    }

    /// Where to read the bytes written to a sink, if it leads to a regular file.
    pub(super) fn source(&self, at: SinkId) -> Option<PathBuf> {
        match &self.sink(at)?.to {
            Destination::File(file) => Some(file.path.to_path_buf()),
            Destination::Stream(stream) => stream.source(),
        }
    }

    // The table.

    fn find(&self, inode: Inode) -> Option<SinkId> {
        self.inodes.get(&inode).copied().filter(|&at| self.sink(at).is_some_and(|sink| sink.to.can_be_joined()))
    }

    /// Updates `inodes` after the file of a sink may have been replaced.
    fn note_inode(&mut self, at: SinkId) {
        self.changes = self.changes.wrapping_add(1);
        let Some(Some(sink)) = self.sinks.get_mut(at.0 as usize) else { return };
        let inode = sink.to.inode();
        if inode != sink.inode {
            self.inodes.remove(&std::mem::replace(&mut sink.inode, inode));
            self.inodes.insert(inode, at);
        }
    }

    fn sink(&self, at: SinkId) -> Option<&Sink> {
        self.sinks.get(at.0 as usize)?.as_ref()
    }

    fn sink_mut(&mut self, at: SinkId) -> Option<&mut Sink> {
        self.sinks.get_mut(at.0 as usize)?.as_mut()
    }

    fn is_syslog(&self, at: SinkId) -> bool {
        self.stream(at).is_some_and(Stream::is_syslog)
    }

    fn stream(&self, at: SinkId) -> Option<&Stream> {
        match &self.sink(at)?.to {
            Destination::Stream(stream) => Some(stream),
            Destination::File(_) => None,
        }
    }

    fn stream_mut(&mut self, at: SinkId) -> Option<&mut Stream> {
        match &mut self.sink_mut(at)?.to {
            Destination::Stream(stream) => Some(stream),
            Destination::File(_) => None,
        }
    }

    fn file_mut(&mut self, at: SinkId) -> Option<&mut LogFile> {
        match &mut self.sink_mut(at)?.to {
            Destination::File(file) => Some(file),
            Destination::Stream(_) => None,
        }
    }

    // Lines.

    fn hold(&mut self, at: SinkId, writer: WriterId, framing: &Framing, bytes: &[u8], now: Now) {
        let due = now.mono.after_ms(HOLD_MS);
        let part = self.parts.entry(writer).or_insert_with(|| {
            self.due.push_back((due, writer));
            HeldPart { at, framing: framing.clone(), bytes: Vec::new(), due: Some(due) }
        });
        part.bytes.extend_from_slice(bytes);
        if part.bytes.len() >= HOLD_BYTES {
            self.write_part(writer, now);
        }
    }

    /// Writes a writer's part of a line. If its stream is full, the part waits for room.
    fn release_part(&mut self, writer: WriterId, now: Now) {
        if self.parts.get(&writer).is_some_and(|part| self.is_full(part.at)) {
            self.parts.entry(writer).and_modify(|part| part.due = None);
        } else {
            self.write_part(writer, now);
        }
    }

    fn write_part(&mut self, writer: WriterId, now: Now) {
        if let Some(part) = self.parts.remove(&writer) {
            self.emit(part.at, writer, &part.framing, &part.bytes, now);
        }
    }

    /// Frames each line and writes.
    fn emit(&mut self, at: SinkId, writer: WriterId, framing: &Framing, bytes: &[u8], now: Now) {
        if *framing == Framing::Raw {
            return self.put(at, writer, bytes, now.mono);
        }
        let goes_on = self.sink(at).is_some_and(|sink| sink.mid_line == Some(writer));
        let mut lines = std::mem::take(&mut self.lines);
        lines.clear();
        let mut context = FrameContext { stamp: &mut self.stamp, now: now.wall, ident: &self.ident };
        framing.frame(bytes, goes_on, &mut context, &mut lines);
        self.put(at, writer, &lines, now.mono);
        self.lines = lines;
    }

    fn put(&mut self, at: SinkId, writer: WriterId, bytes: &[u8], now: Mono) {
        let Some(Some(sink)) = self.sinks.get_mut(at.0 as usize) else { return };
        let Some(&last) = bytes.last() else { return };
        let open = (last != b'\n').then_some(writer);
        if std::mem::replace(&mut sink.mid_line, open).is_some_and(|other| other != writer) {
            sink.to.write(b"\n", now, &mut self.errors);
        }
        sink.to.write(bytes, now, &mut self.errors);
        self.note_inode(at);
    }
}

impl Destination {
    fn write(&mut self, bytes: &[u8], now: Mono, errors: &mut Vec<SinkError>) {
        match self {
            Self::File(file) => file.write(bytes, now, errors),
            Self::Stream(stream) => stream.write(bytes, now, errors),
        }
    }

    fn inode(&self) -> Inode {
        match self {
            Self::File(file) => file.inode,
            Self::Stream(stream) => stream.inode,
        }
    }

    /// Whether it can be closed once it has no writer.
    fn is_done(&self) -> bool {
        match self {
            Self::File(_) => true,
            Self::Stream(stream) => stream.is_done(),
        }
    }

    /// The bytes that are lost and not yet reported.
    fn last_error(&mut self) -> Option<SinkError> {
        match self {
            Self::File(file) => file.unreported(),
            Self::Stream(stream) => stream.give_up(),
        }
    }

    /// Whether a new writer of the same inode shares this sink. Not a closed terminal: a new one may have its name.
    fn can_be_joined(&self) -> bool {
        match self {
            Self::File(_) => true,
            Self::Stream(stream) => !stream.is_stale(),
        }
    }
}

/// Splits `bytes` after index `last`; without `last`, before the first byte.
fn split_after(bytes: &[u8], last: Option<usize>) -> (&[u8], &[u8]) {
    let middle = last.map_or(0, |last| last.saturating_add(1)).min(bytes.len());
    bytes.split_at_checked(middle).unwrap_or_default()
}

#[cfg(test)]
mod tests;
