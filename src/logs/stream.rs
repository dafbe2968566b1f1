//! A stream sink: a pipe, terminal, socket or other descriptor that cannot seek. Other processes may share it.
//!
//! Nothing here may block. [`crate::sys::output`] writes to each kind of descriptor. syslog's socket gets one datagram for each line, by
//! send(2) with MSG_DONTWAIT on rsup's own connection.

use super::SinkError;
use super::file::Inode;
use super::outage::Outage;
use crate::sys::output::{WriteMethod, own_description};
use crate::time::Mono;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, send, socket};
use nix::sys::stat::{FileStat, SFlag, fstat, major, minor};
use nix::sys::statfs::{FsType, fstatfs};
use nix::unistd::{getpid, isatty, write};
use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

/// A stream, its queue, and the channels that wait for room.
#[derive(Debug)]
pub(super) struct Stream {
    fd: OwnedFd,
    how: StreamMethod,
    /// The name in messages: `stdout`, or the path.
    name: Box<str>,
    pub(super) inode: Inode,
    queue: VecDeque<u8>,
    /// The daemon's tokens of the channels that wait for room, in the order of arrival.
    pub(super) waiting: VecDeque<u64>,
    /// An error means that it has no reader and will never have one.
    loses_reader_for_good: bool,
    /// It had such an error.
    is_closed: bool,
    /// It was inherited, so its path always means the same stream.
    inherited: bool,
    outage: Outage,
    /// Lines that were lost because there was no room.
    pub(super) lost_lines: u64,
}

#[derive(Debug)]
enum StreamMethod {
    /// A regular file: it never blocks, and an error may be temporary.
    File,
    /// By the method for this kind of descriptor.
    Descriptor(WriteMethod),
    /// A datagram for each line, to the process that then listens on this Unix socket.
    Syslog(UnixAddr),
}

/// With this many bytes queued, a stream takes no more from programs.
pub(super) const FULL: usize = 64 * 1024;
/// With this many bytes queued, it takes no more from the journal.
const FULL_FOR_JOURNAL: usize = 3 * FULL;
/// A full stream takes more from programs again when this many bytes are queued, or fewer.
const ROOM: usize = FULL / 2;
/// The file system of pipes without a name (PIPEFS_MAGIC in linux/magic.h).
const PIPEFS: FsType = FsType(0x5049_5045);

/// The inherited descriptor that `path` means (such as `/dev/stdout`), directly or through symbolic links.
// Differs from Supervisor, which opens such a path again; that fails for a socket or another user's pipe.
pub(super) fn inherited_fd(path: &Path) -> Option<RawFd> {
    let mut path = PathBuf::from(path);
    for _ in 0..8 {
        match path.to_str() {
            Some("/dev/stdin") => return Some(0),
            Some("/dev/stdout") => return Some(1),
            Some("/dev/stderr") => return Some(2),
            _ => {}
        }
        let own = format!("/proc/{}/fd", getpid());
        if let (Some(folder), Some(number)) = (path.parent(), path.file_name())
            && ["/dev/fd", "/proc/self/fd", "/proc/thread-self/fd", &own].iter().any(|each| folder == Path::new(each))
            && let Some(number) = number.to_str().and_then(|number| number.parse().ok())
        {
            return Some(number);
        }
        let target = path.read_link().ok()?;
        path = path.parent()?.join(target);
    }
    None
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

/// Whether `stat` is of /dev/null.
pub(super) fn is_null(stat: &FileStat) -> bool {
    kind(stat) == SFlag::S_IFCHR && (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3)
}

pub(super) fn is_regular(stat: &FileStat) -> bool {
    kind(stat) == SFlag::S_IFREG
}

impl Stream {
    /// Takes over a descriptor. Other processes share an inherited one; any other is rsup's own and non-blocking.
    pub(super) fn new(fd: OwnedFd, name: String, stat: &FileStat, inherited: bool) -> Self {
        let own = if inherited { own_description(&fd, stat) } else { None };
        let how = if is_regular(stat) {
            StreamMethod::File
        } else {
            StreamMethod::Descriptor(WriteMethod::of(stat, inherited && own.is_none()))
        };
        let own_or_given = own.unwrap_or(fd);
        Self {
            loses_reader_for_good: loses_reader_for_good(&own_or_given, stat),
            fd: own_or_given,
            how,
            name: name.into(),
            inode: Inode::of(stat),
            queue: VecDeque::new(),
            waiting: VecDeque::new(),
            is_closed: false,
            inherited,
            outage: Outage::default(),
            lost_lines: 0,
        }
    }

    /// A stream to syslog, which listens on the Unix socket `path`, now or later. Write only whole lines to it.
    pub(super) fn syslog(path: &Path) -> Result<Self, Errno> {
        let fd =
            socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
        let stat = fstat(&fd)?;
        let stream = Self::new(fd, path.display().to_string(), &stat, false);
        Ok(Self { how: StreamMethod::Syslog(UnixAddr::new(path)?), loses_reader_for_good: false, ..stream })
    }

    /// Where to read it, if it is a regular file: through this descriptor, since an inherited name may mean another file by now
    /// (in the background, 1 is /dev/null).
    pub(super) fn source(&self) -> Option<PathBuf> {
        let is_file = matches!(self.how, StreamMethod::File);
        is_file.then(|| format!("/proc/self/fd/{}", self.fd.as_raw_fd()).into())
    }

    pub(super) fn is_syslog(&self) -> bool {
        matches!(self.how, StreamMethod::Syslog(_))
    }

    /// Writes as many of `bytes` as the stream takes and queues the rest. Callers check `is_full` first.
    pub(super) fn write(&mut self, bytes: &[u8], now: Mono, errors: &mut Vec<SinkError>) {
        let taken = if self.queue.is_empty() { self.try_write(bytes, now, errors) } else { 0 };
        self.queue.extend(bytes.get(taken..).unwrap_or_default());
    }

    /// Writes as many queued bytes as the stream takes. Returns whether it has room for more.
    pub(super) fn flush(&mut self, now: Mono, errors: &mut Vec<SinkError>) -> bool {
        while !self.queue.is_empty() {
            let mut queue = std::mem::take(&mut self.queue);
            let taken = self.try_write(queue.as_slices().0, now, errors);
            queue.drain(..taken.min(queue.len()));
            self.queue = queue;
            if taken == 0 {
                break;
            }
        }
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
        self.queue.len() <= ROOM
    }

    /// Returns how many of `bytes` are written, or lost because of an error.
    fn try_write(&mut self, bytes: &[u8], now: Mono, errors: &mut Vec<SinkError>) -> usize {
        let mut rest = bytes;
        while !rest.is_empty() {
            let sent = if self.is_closed { Err(Errno::EPIPE) } else { self.send(rest) };
            match sent {
                Ok(taken) => {
                    rest = rest.get(taken..).unwrap_or_default();
                    if let Some(lost) = self.outage.end(now) {
                        errors.push(SinkError::Writable(self.name.to_string(), lost));
                    }
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(why) => {
                    self.fail(why, rest.len(), now, errors);
                    return bytes.len();
                }
            }
        }
        bytes.len().saturating_sub(rest.len())
    }

    fn fail(&mut self, why: Errno, lost: usize, now: Mono, errors: &mut Vec<SinkError>) {
        let is_shortage = matches!(why, Errno::ENOBUFS | Errno::ENOMEM | Errno::ENOSPC);
        let is_final = self.loses_reader_for_good && !is_shortage;
        let is_due = self.outage.lose(lost, now);
        if is_final && !std::mem::replace(&mut self.is_closed, true) {
            errors.push(SinkError::Closed(self.name.to_string(), why));
        } else if is_due && !self.is_closed {
            errors.push(SinkError::Unwritable(self.name.to_string(), why));
        }
    }

    fn send(&self, bytes: &[u8]) -> Result<usize, Errno> {
        match &self.how {
            StreamMethod::File => write(&self.fd, bytes),
            StreamMethod::Descriptor(method) => method.write(self.fd.as_fd(), bytes),
            StreamMethod::Syslog(address) => {
                let end = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |newline| newline.saturating_add(1));
                let line = bytes.get(..end).unwrap_or(bytes);
                let line = line.strip_suffix(b"\n").unwrap_or(line);
                let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                match send(self.fd.as_raw_fd(), line, flags) {
                    // Not connected yet, or to a process that has gone; another may listen by now.
                    Err(Errno::ENOTCONN | Errno::ECONNREFUSED | Errno::ECONNRESET | Errno::EPIPE) => {
                        connect(self.fd.as_raw_fd(), address)?;
                        send(self.fd.as_raw_fd(), line, flags)?;
                    }
                    sent => drop(sent?),
                }
                Ok(end)
            }
        }
    }

    /// Whether it is closed for good and its path may mean another stream by now, so that a new writer must not share it.
    pub(super) fn is_stale(&self) -> bool {
        self.is_closed && !self.inherited
    }

    /// Whether it can be closed: nothing is queued, and its path can be opened again. A FIFO with unread bytes cannot, because they
    /// would be lost if no other process has it open.
    pub(super) fn is_done(&self) -> bool {
        let is_fifo = fstat(&self.fd).is_ok_and(|stat| kind(&stat) == SFlag::S_IFIFO);
        let is_unread = || poll(&mut [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO) != Ok(0);
        self.queue.is_empty() && !self.inherited && !(is_fifo && is_unread())
    }

    pub(super) fn is_full(&self) -> bool {
        self.queue.len() >= FULL
    }

    pub(super) fn is_full_for_journal(&self) -> bool {
        self.queue.len() >= FULL_FOR_JOURNAL
    }

    /// The descriptor to watch for room while bytes are queued.
    pub(super) fn wants_write(&self) -> Option<BorrowedFd<'_>> {
        (!self.queue.is_empty()).then(|| self.fd.as_fd())
    }

    /// Drops the queue. Returns how many bytes were lost in all.
    pub(super) fn give_up(&mut self) -> Option<SinkError> {
        let queued = std::mem::take(&mut self.queue).len() as u64;
        let lost = self.outage.take_lost().unwrap_or(0).saturating_add(queued);
        (lost > 0).then(|| SinkError::Dropped(self.name.to_string(), lost))
    }
}

/// Whether an error is final: a pipe without a name never gets a new reader, and a terminal that has hung up is not connected again.
/// The reader of a FIFO may be replaced by another.
fn loses_reader_for_good(fd: &OwnedFd, stat: &FileStat) -> bool {
    match kind(stat) {
        SFlag::S_IFIFO => fstatfs(fd).is_ok_and(|stat| stat.filesystem_type() == PIPEFS),
        SFlag::S_IFCHR => isatty(fd).unwrap_or(false),
        SFlag::S_IFREG => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests;
