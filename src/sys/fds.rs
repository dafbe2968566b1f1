//! Descriptors: pipes to children, our own limit, what a parent left open.
//!
//! Everything that rsup opens is close-on-exec. That 0, 1 and 2 are open is Rust's own doing: its start-up opens
//! /dev/null where one of them is closed, and aborts where it cannot.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

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

/// Sets O_NONBLOCK on the open file description, for everyone who shares it: never on an inherited descriptor.
pub fn set_nonblocking(fd: impl AsFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd.as_fd(), FcntlArg::F_GETFL)?);
    fcntl(fd.as_fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Marks every descriptor from 3 on close-on-exec: what a parent left open is not for our children.
/// Where the kernel is too old for it (before 5.11) or a filter forbids it, /proc/self/fd tells which there are.
pub fn close_on_exec_from_3() -> io::Result<()> {
    let flag = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: no memory is involved; nothing is closed now.
    if unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, flag) } == 0 {
        return Ok(());
    }
    for entry in std::fs::read_dir("/proc/self/fd")?.flatten() {
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok()).unwrap_or(0);
        if number >= 3 {
            // SAFETY: no memory is involved; a number that is closed by now is only an error.
            unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
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
