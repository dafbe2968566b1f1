//! Descriptors: pipes to children, our own limit, what a parent left open.
//!
//! Everything that rsup opens is close-on-exec, and above 2: what a parent left closed of 0, 1 and 2 is occupied first.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU8, Ordering};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Which of 0, 1 and 2 [`occupy_standard`] found closed, a bit each.
static CLOSED: AtomicU8 = AtomicU8::new(0);

/// Occupies 0, 1 and 2 where they are closed, so that nothing that is opened later becomes stdin, stdout or stderr.
///
/// What stands there needs no /dev, and acts as if it were closed: reads and writes fail with EBADF, and it is close-on-exec, so that a
/// program finds it closed too. To be called before anything else is opened.
pub fn occupy_standard() {
    for fd in 0..3 {
        // SAFETY: F_GETFD touches no memory; any number is a valid question.
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
            // SAFETY: a NUL-terminated string. The lowest free number is `fd`, since those below it are open by now.
            let got = unsafe { libc::open(c"/".as_ptr(), libc::O_PATH | libc::O_CLOEXEC) };
            if got == fd {
                CLOSED.fetch_or(1_u8.wrapping_shl(fd.unsigned_abs()), Ordering::Relaxed);
            }
        }
    }
}

/// Makes /dev/null of those of 0, 1 and 2 that our parent left closed, for us and our children. Changes nothing where there is no usable
/// /dev/null.
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
        // SAFETY: no memory is involved, and what is overwritten is our own placeholder.
        unsafe { libc::dup2(null.as_raw_fd(), fd) };
    }
}

/// The number of /dev/null: major 1, minor 3.
const NULL_DEVICE: u64 = 0x103;

/// Closes every descriptor from 3 on but `keep`: those that were inherited for a program that has them now.
pub fn close_all_but(keep: BorrowedFd<'_>) {
    let keep = keep.as_raw_fd();
    let close_range = |first: RawFd, last: RawFd| {
        // SAFETY: no memory is involved; the caller owns nothing there.
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

/// The descriptors from 3 on that /proc/self/fd lists or, without /proc, all numbers that there can be.
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

/// A pipe to or from a child.
#[derive(Debug)]
pub struct Pipe {
    /// Our end, not blocking.
    pub ours: OwnedFd,
    /// The child's end, blocking: the two are separate open file descriptions.
    pub childs: OwnedFd,
}

/// A pipe whose reading end is ours: a child's stdout or stderr.
pub fn pipe_from_child() -> io::Result<Pipe> {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    set_nonblocking(&read)?;
    Ok(Pipe { ours: read, childs: write })
}

/// A pipe whose writing end is ours: a child's stdin.
pub fn pipe_to_child() -> io::Result<Pipe> {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    set_nonblocking(&write)?;
    Ok(Pipe { ours: write, childs: read })
}

/// Sets O_NONBLOCK on the open file description, for every process that shares it: never on an inherited descriptor.
pub fn set_nonblocking(fd: impl AsFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd.as_fd(), FcntlArg::F_GETFL)?);
    fcntl(fd.as_fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Marks every descriptor from 3 on close-on-exec: what a parent left open is not for our children.
/// Where the kernel is too old for it (before 5.11) or a filter forbids it, each is marked by itself.
pub fn close_on_exec_from_3() -> io::Result<()> {
    let flag = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: no memory is involved; nothing is closed now.
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
    /// What is enforced.
    pub soft: u64,
    /// What the soft one may be raised to.
    pub hard: u64,
}

/// Our limit of open descriptors.
pub fn nofile() -> io::Result<Limit> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(Limit { soft, hard })
}

/// Our limit of processes of our user.
pub fn nproc() -> io::Result<Limit> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NPROC)?;
    Ok(Limit { soft, hard })
}

/// Raises our soft limit of descriptors to the hard one; returns what it was, for the children.
pub fn raise_nofile() -> io::Result<Limit> {
    let before = nofile()?;
    setrlimit(Resource::RLIMIT_NOFILE, before.hard, before.hard)?;
    Ok(before)
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
