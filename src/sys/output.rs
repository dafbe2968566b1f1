//! Writes to descriptors that other processes share, without blocking.
//!
//! `O_NONBLOCK` belongs to the open file description: setting it on an inherited descriptor would change it for the parent of rsup and
//! for all other processes that write to the container's stdout. So the method depends on the kind of file (checked in the kernel's
//! source):
//!
//! | kind | method |
//! |---|---|
//! | regular file, /dev/null and the like | write(2): it does not wait for another process |
//! | socket | send(2) with MSG_DONTWAIT |
//! | pipe, FIFO, terminal | a separate non-blocking description, opened through /proc/self/fd |
//! | pipe that rsup may not open (another user's pipe; no /proc) | splice(2) from a private pipe with SPLICE_F_NONBLOCK, which applies to both ends and to one call only |
//! | controlling terminal that rsup may not open | /dev/tty |
//! | any other | poll(2), then few enough bytes that a writable terminal has room for them |

use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, SpliceFFlags, open, splice};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, major, minor};
use nix::sys::termios::tcgetsid;
use nix::unistd::{getsid, isatty, pipe2, read, write};

use super::clock;

/// How to write to a descriptor without blocking.
#[derive(Debug)]
pub enum WriteMethod {
    /// write(2): it never blocks for this kind, or the description is non-blocking and not shared.
    Write,
    /// send(2) with MSG_DONTWAIT.
    Socket,
    /// splice(2) through this pipe (read end, write end), which is empty between calls.
    Splice(OwnedFd, OwnedFd),
    /// At most PIPE_BUF bytes if poll(2) reports room: for when no private pipe can be made. The write can block if another writer
    /// takes the room in between.
    Pipe,
    /// A few bytes if poll(2) reports room.
    Terminal,
}

/// A writable pseudo-terminal has room for so many plain bytes. Bytes that its output processing changes (a newline becomes two bytes)
/// go in one by one and may not find room, so each is written alone.
const TERMINAL_BYTES: usize = 128;

/// How long a message on stdout or stderr waits for room.
const MESSAGE_TIMEOUT: Duration = Duration::from_millis(50);

impl WriteMethod {
    /// The method for a descriptor with this status. `is_shared`: other processes use its description, so it may be blocking.
    #[must_use]
    pub fn of(stat: &FileStat, is_shared: bool) -> Self {
        match kind(stat) {
            SFlag::S_IFREG => Self::Write,
            SFlag::S_IFSOCK => Self::Socket,
            _ if !is_shared => Self::Write,
            SFlag::S_IFIFO => {
                pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).map_or(Self::Pipe, |(out, into)| Self::Splice(out, into))
            }
            _ => Self::Terminal,
        }
    }

    /// Writes some of `bytes` to `fd`; returns how many. EAGAIN: there is no room now.
    pub fn write(&self, fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
        match self {
            Self::Write => write(fd, bytes),
            Self::Socket => send(fd.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL),
            Self::Splice(out, into) => {
                let put = write(into, bytes)?;
                let moved = splice(out, None, fd, None, put, SpliceFFlags::SPLICE_F_NONBLOCK);
                discard(out, put.saturating_sub(moved.unwrap_or(0)));
                moved
            }
            Self::Pipe => write_if_ready(fd, bytes.get(..libc::PIPE_BUF).unwrap_or(bytes)),
            Self::Terminal => {
                let plain = memchr::memchr3(b'\n', b'\r', b'\t', bytes).unwrap_or(bytes.len());
                write_if_ready(fd, bytes.get(..plain.clamp(1, TERMINAL_BYTES)).unwrap_or(bytes))
            }
        }
    }
}

/// Removes `left` bytes from a private pipe.
fn discard(pipe: &OwnedFd, mut left: usize) {
    let mut scrap = [0; 4096];
    while left > 0 {
        match read(pipe, &mut scrap) {
            Err(Errno::EINTR) => {}
            Ok(0) | Err(_) => break,
            Ok(count) => left = left.saturating_sub(count),
        }
    }
}

fn write_if_ready(fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
    let mut ready = [PollFd::new(fd, PollFlags::POLLOUT)];
    if poll(&mut ready, PollTimeout::ZERO)? == 0 { Err(Errno::EAGAIN) } else { write(fd, bytes) }
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

/// Opens a separate non-blocking description for the pipe or terminal `fd`; `None`: that is not possible.
#[must_use]
pub fn own_description(fd: impl AsFd, stat: &FileStat) -> Option<OwnedFd> {
    let fd = fd.as_fd();
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let is_terminal = match kind(stat) {
        SFlag::S_IFIFO => false,
        // Opening the master of a pseudo-terminal would create a new pseudo-terminal.
        SFlag::S_IFCHR if (major(stat.st_rdev), minor(stat.st_rdev)) != (5, 2) => isatty(fd).unwrap_or(false),
        _ => return None,
    };
    let is_same =
        |other: &OwnedFd| fstat(other).is_ok_and(|other| (other.st_dev, other.st_ino) == (stat.st_dev, stat.st_ino));
    let again = open(format!("/proc/self/fd/{}", fd.as_raw_fd()).as_str(), flags, Mode::empty());
    again.ok().filter(is_same).or_else(|| {
        let is_ours = is_terminal && tcgetsid(fd).ok()? == getsid(None).ok()?;
        is_ours.then(|| open("/dev/tty", flags, Mode::empty()).ok()).flatten()
    })
}

/// Writes a message to stderr without blocking: see [`to_stdout`].
///
/// # Errors
/// As [`to_stdout`].
pub fn to_stderr(text: &str) -> io::Result<()> {
    write_with_timeout(io::stderr().as_fd(), text.as_bytes())
}

/// Writes a message to stdout without blocking: drops the rest of it if there is no room for 50 ms. For every part of rsup that must
/// not wait for a slow reader.
///
/// # Errors
/// The errors of write(2); EAGAIN: the rest of the message was dropped.
pub fn to_stdout(text: &str) -> io::Result<()> {
    write_with_timeout(io::stdout().as_fd(), text.as_bytes())
}

fn write_with_timeout(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    let stat = fstat(fd)?;
    let own = own_description(fd, &stat);
    let fd = own.as_ref().map_or(fd, AsFd::as_fd);
    let method = WriteMethod::of(&stat, own.is_none());
    let until = clock::mono().after(MESSAGE_TIMEOUT);
    while !bytes.is_empty() {
        match method.write(fd, bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                let left = until.since(clock::mono());
                let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
                if left.is_zero() || poll(&mut [PollFd::new(fd, PollFlags::POLLOUT)], timeout) == Ok(0) {
                    return Err(Errno::EAGAIN.into());
                }
            }
            Err(why) => return Err(why.into()),
        }
    }
    Ok(())
}

/// Appends a line to the container's termination message, if the file exists: Kubernetes creates it, and shows its end.
pub fn to_termination_log(line: &str) {
    // Without O_NONBLOCK the open of a FIFO waits for a reader.
    let mut options = std::fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK | libc::O_NOCTTY);
    if let Ok(mut file) = options.append(true).open("/dev/termination-log") {
        let _ = file.write_all(format!("{line}\n").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fills a pipe; returns how many bytes fit.
    fn fill(pipe: &OwnedFd) -> usize {
        super::super::fds::set_nonblocking(pipe).unwrap();
        let mut total = 0;
        while let Ok(count) = write(pipe, &[b'x'; 4096]) {
            total += count;
        }
        nix::fcntl::fcntl(pipe, nix::fcntl::FcntlArg::F_SETFL(OFlag::empty())).unwrap();
        total
    }

    #[test]
    fn no_method_blocks_on_a_full_pipe() {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let stat = fstat(&writer).unwrap();
        let own = own_description(&writer, &stat).unwrap();
        let total = fill(&writer);
        assert_eq!(WriteMethod::of(&stat, false).write(own.as_fd(), b"y"), Err(Errno::EAGAIN));
        assert!(matches!(WriteMethod::of(&stat, true), WriteMethod::Splice(..)));
        for method in [WriteMethod::of(&stat, true), WriteMethod::Pipe] {
            assert_eq!(method.write(writer.as_fd(), b"y"), Err(Errno::EAGAIN));
        }
        let error = write_with_timeout(writer.as_fd(), b"y").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
        let mut left = total;
        let mut buffer = vec![0; total];
        while left > 0 {
            left -= read(&reader, &mut buffer).unwrap();
        }
        write_with_timeout(writer.as_fd(), b"now there is room\n").unwrap();
        assert_eq!(read(&reader, &mut buffer).unwrap(), 18);
        drop(reader);
        assert_eq!(write_with_timeout(writer.as_fd(), b"y").unwrap_err().raw_os_error(), Some(libc::EPIPE));
    }

    #[test]
    fn a_reader_that_starts_in_time_receives_all() {
        let (mut reader, writer) = io::pipe().unwrap();
        let writer = OwnedFd::from(writer);
        fill(&writer);
        let thread = std::thread::spawn(move || {
            let mut text = String::new();
            io::Read::read_to_string(&mut reader, &mut text).unwrap();
            text
        });
        // Longer than PIPE_BUF, so it is written in parts.
        let text = "y".repeat(10_000);
        write_with_timeout(writer.as_fd(), text.as_bytes()).unwrap();
        drop(writer);
        assert!(thread.join().unwrap().ends_with(&format!("x{text}")));
    }
}
