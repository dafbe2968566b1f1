//! Descriptors: pipes to children, limits, files that are read whole, and descriptors that were inherited open or closed.
//!
//! Every descriptor that rsup opens is close-on-exec and above 2: at start, placeholders take the numbers 0, 1 and 2 if they are closed.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};

use super::memory;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::resource::{Resource, getrlimit};

/// The descriptors of 0, 1 and 2 that [`occupy_standard`] found closed, one bit each.
static CLOSED: AtomicU8 = AtomicU8::new(0);

/// Opens a placeholder for each closed descriptor of 0, 1 and 2, so that no file opened later becomes stdin, stdout or stderr.
///
/// A placeholder needs no /dev and acts like a closed descriptor: reads and writes fail with EBADF, and it is close-on-exec, so it is
/// closed in programs too. Call this before any file is opened.
pub fn occupy_standard() {
    for fd in 0..3 {
        // SAFETY: F_GETFD touches no memory; any number is a valid question.
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
            // SAFETY: a NUL-terminated string. The lowest free number is `fd`, since all numbers below it are open now.
            let got = unsafe { libc::open(c"/".as_ptr(), libc::O_PATH | libc::O_CLOEXEC) };
            if got == fd {
                CLOSED.fetch_or(1_u8.wrapping_shl(fd.unsigned_abs()), Ordering::Relaxed);
            }
        }
    }
}

/// Replaces the placeholders by /dev/null, for rsup and its children. Changes nothing if there is no usable /dev/null.
pub fn open_null_for_closed() {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let closed = CLOSED.load(Ordering::Relaxed);
    if closed == 0 {
        return;
    }
    let null = std::fs::File::options().read(true).write(true).open("/dev/null");
    let is_device =
        |file: &std::fs::File| file.metadata().is_ok_and(|m| m.file_type().is_char_device() && m.rdev() == NULL_DEVICE);
    let Some(null) = null.ok().filter(is_device) else { return };
    for fd in (0..3).filter(|fd| closed >> fd & 1 == 1) {
        // SAFETY: no memory is involved, and the replaced descriptor is a placeholder.
        unsafe { libc::dup2(null.as_raw_fd(), fd) };
    }
}

/// The device number of /dev/null: major 1, minor 3.
const NULL_DEVICE: u64 = 0x103;

/// Closes every descriptor from 3 on except `keep`. They were inherited for the program, which has its own copies now.
pub fn close_all_but(keep: BorrowedFd<'_>) {
    let keep = keep.as_raw_fd();
    let close_range = |first: RawFd, last: RawFd| {
        // SAFETY: no memory is involved; the caller owns no descriptor in the range.
        first > last || unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } == 0
    };
    if close_range(3, keep.saturating_sub(1)) && close_range(keep.saturating_add(1).max(3), RawFd::MAX) {
        return;
    }
    for fd in open_from_3().into_iter().filter(|&fd| fd != keep) {
        // SAFETY: no memory is involved; a number that is closed by now is only an error.
        unsafe { libc::close(fd) };
    }
}

/// The descriptors from 3 on in /proc/self/fd; without /proc, all possible numbers.
fn open_from_3() -> Vec<RawFd> {
    let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    let numbers: Vec<RawFd> = match std::fs::read_dir("/proc/self/fd") {
        Ok(entries) => entries.flatten().filter_map(number).collect(),
        Err(_) => {
            let limit = nofile().map_or(1024, |limit| limit.hard.min(65_536));
            (0..RawFd::try_from(limit).unwrap_or(1024)).collect()
        }
    };
    numbers.into_iter().filter(|&fd| fd >= 3).collect()
}

/// Reads a regular file, at most `most` bytes of it. Never blocks: any other file, such as a FIFO, is an error.
pub fn read_regular(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut bytes = Vec::new();
    memory::fallible(|| file.take(most).read_to_end(&mut bytes))?;
    Ok(bytes)
}

/// A pipe to or from a child.
#[derive(Debug)]
pub struct Pipe {
    /// The end of rsup, non-blocking.
    pub ours: OwnedFd,
    /// The end of the child, blocking. The two ends are separate open file descriptions.
    pub childs: OwnedFd,
}

/// A pipe that rsup reads from: a child's stdout or stderr.
pub fn pipe_from_child() -> io::Result<Pipe> {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    set_nonblocking(&read)?;
    Ok(Pipe { ours: read, childs: write })
}

/// A pipe that rsup writes to: a child's stdin.
pub fn pipe_to_child() -> io::Result<Pipe> {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    set_nonblocking(&write)?;
    Ok(Pipe { ours: write, childs: read })
}

/// Sets O_NONBLOCK on the open file description, and so for every process that shares it. Never call it for an inherited descriptor.
pub fn set_nonblocking(fd: impl AsFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd.as_fd(), FcntlArg::F_GETFL)?);
    fcntl(fd.as_fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Marks every descriptor from 3 on close-on-exec, so that children do not inherit what the parent of rsup left open. If the kernel is
/// too old for one call (before 5.11) or a filter forbids it, marks the descriptors one by one.
pub fn close_on_exec_from_3() -> io::Result<()> {
    let flag = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: no memory is involved; with this flag the call closes nothing.
    if unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, flag) } == 0 {
        return Ok(());
    }
    for fd in open_from_3() {
        // SAFETY: no memory is involved; a number that is closed by now is only an error.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}

/// A soft and a hard limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// The enforced limit.
    pub soft: u64,
    /// The highest value for the soft limit.
    pub hard: u64,
}

/// The limit on open descriptors of this process.
pub fn nofile() -> io::Result<Limit> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(Limit { soft, hard })
}

/// The limit on processes of this user.
pub fn nproc() -> io::Result<Limit> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NPROC)?;
    Ok(Limit { soft, hard })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonblocking(fd: &OwnedFd) -> bool {
        OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL).unwrap()).contains(OFlag::O_NONBLOCK)
    }

    #[test]
    fn only_our_end_does_not_block() {
        for pipe in [pipe_from_child().unwrap(), pipe_to_child().unwrap()] {
            assert!(nonblocking(&pipe.ours));
            assert!(!nonblocking(&pipe.childs));
            assert_eq!(fcntl(&pipe.childs, FcntlArg::F_GETFD).unwrap(), libc::FD_CLOEXEC);
            assert_eq!(fcntl(&pipe.ours, FcntlArg::F_GETFD).unwrap(), libc::FD_CLOEXEC);
        }
        let pipe = pipe_from_child().unwrap();
        nix::unistd::write(&pipe.childs, b"x").unwrap();
        assert_eq!(nix::unistd::read(&pipe.ours, &mut [0; 4]).unwrap(), 1);
        let pipe = pipe_to_child().unwrap();
        nix::unistd::write(&pipe.ours, b"xy").unwrap();
        assert_eq!(nix::unistd::read(&pipe.childs, &mut [0; 4]).unwrap(), 2);
    }
}
