//! Readiness: epoll(7), level-triggered. The loop's only place to wait.

use crate::time::Mono;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};

/// What to wait for on a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Something to read, or the other end has closed.
    Read,
    /// Room to write.
    Write,
    /// Both.
    Both,
    /// Nothing but an error or a hang-up, which the kernel always tells.
    Nothing,
}

impl Interest {
    fn flags(self) -> EpollFlags {
        match self {
            Interest::Read => EpollFlags::EPOLLIN,
            Interest::Write => EpollFlags::EPOLLOUT,
            Interest::Both => EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT,
            Interest::Nothing => EpollFlags::empty(),
        }
    }
}

/// One descriptor that is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// What it was added with.
    pub token: u64,
    /// There is something to read, or the end of it.
    pub readable: bool,
    /// There is room to write, or no reader is left.
    pub writable: bool,
}

/// The set of descriptors that are waited for.
#[derive(Debug)]
pub struct Poll {
    epoll: Epoll,
}

impl Poll {
    /// How many ready descriptors one turn takes; the others come with the next.
    const BATCH: usize = 256;

    /// An empty set (epoll_create1(2)).
    pub fn new() -> io::Result<Self> {
        Ok(Poll { epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)? })
    }

    /// Waits for `fd` too. A regular file cannot be waited for (EPERM): it is always ready.
    pub fn add(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(self.epoll.add(fd, EpollEvent::new(interest.flags(), token))?)
    }

    /// Changes what is waited for.
    pub fn modify(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(self.epoll.modify(fd, &mut EpollEvent::new(interest.flags(), token))?)
    }

    /// Waits for `fd` no more. Closing a descriptor does the same, unless another process shares its description.
    pub fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(self.epoll.delete(fd)?)
    }

    /// `add` for a descriptor known by its number only. A number that is not open (any more) is an error, nothing worse.
    pub fn add_raw(&self, fd: RawFd, token: u64, interest: Interest) -> io::Result<()> {
        // SAFETY: the number is only handed to epoll_ctl(2), which checks it.
        self.add(unsafe { BorrowedFd::borrow_raw(fd) }, token, interest)
    }

    /// `remove` for a descriptor known by its number only.
    pub fn remove_raw(&self, fd: RawFd) -> io::Result<()> {
        // SAFETY: as above.
        self.remove(unsafe { BorrowedFd::borrow_raw(fd) })
    }

    /// Sleeps until something is ready or `until` has come (`None`: for ever), and appends what is ready to `ready`.
    ///
    /// Wakes at most a millisecond late, never early. An interrupting signal counts as nothing ready.
    pub fn wait(&self, now: Mono, until: Option<Mono>, ready: &mut Vec<Ready>) -> io::Result<()> {
        let timeout = match until {
            None => EpollTimeout::NONE,
            Some(until) => {
                // Rounded up: waking before the deadline would mean turning round for nothing.
                let millis = until.since(now).as_nanos().div_ceil(1_000_000);
                EpollTimeout::try_from(i32::try_from(millis).unwrap_or(i32::MAX)).unwrap_or(EpollTimeout::MAX)
            }
        };
        let mut events = [EpollEvent::empty(); Self::BATCH];
        let count = match self.epoll.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(nix::Error::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        ready.extend(events.iter().take(count).map(|event| {
            let flags = event.events();
            let broken = flags.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
            Ready {
                token: event.data(),
                readable: broken || flags.contains(EpollFlags::EPOLLIN),
                writable: broken || flags.contains(EpollFlags::EPOLLOUT),
            }
        }));
        Ok(())
    }
}

/// Sleeps for `millis` milliseconds, whatever is ready: for where waiting itself fails.
pub fn pause(millis: u16) {
    let nanos = libc::c_long::from(millis % 1000).saturating_mul(1_000_000);
    let wanted = libc::timespec { tv_sec: (millis / 1000).into(), tv_nsec: nanos };
    // SAFETY: the pointer is to a live timespec; what is left after an interruption is not asked for.
    unsafe { libc::nanosleep(&raw const wanted, std::ptr::null_mut()) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn tells_what_is_ready_and_when_time_is_over() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let poll = Poll::new().unwrap();
        poll.add(&reader, 7, Interest::Read).unwrap();
        let mut ready = Vec::new();
        poll.wait(Mono(0), Some(Mono(1)), &mut ready).unwrap();
        assert_eq!(ready, []);
        writer.write_all(b"x").unwrap();
        poll.wait(Mono(0), None, &mut ready).unwrap();
        assert_eq!(ready, [Ready { token: 7, readable: true, writable: false }]);
        poll.modify(&reader, 7, Interest::Nothing).unwrap();
        ready.clear();
        poll.wait(Mono(0), Some(Mono(0)), &mut ready).unwrap();
        assert_eq!(ready, []);
        drop(writer);
        poll.wait(Mono(0), None, &mut ready).unwrap();
        assert_eq!(ready, [Ready { token: 7, readable: true, writable: true }]);
    }
}
