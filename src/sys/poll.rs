//! Waits until descriptors are ready: epoll(7), level-triggered. The loop waits nowhere else.
//!
//! If a descriptor cannot be removed or changed, its readiness is reported at each wait. The next wait is then delayed, so that the
//! loop does not spin; callers try the removal again at the next such event.

use crate::time::Mono;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};

/// The state of a descriptor to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// There is something to read, or the other end has closed.
    Read,
    /// There is room to write.
    Write,
    /// Either of them.
    Both,
    /// Only an error or a hang-up, which the kernel always reports.
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
    /// The token that the descriptor was added with.
    pub token: u64,
    /// There is something to read, or the end of the file.
    pub readable: bool,
    /// There is room to write, or no reader is left.
    pub writable: bool,
}

/// The set of descriptors to wait for.
#[derive(Debug)]
pub struct Poll {
    epoll: Epoll,
    /// A descriptor could not be removed or changed.
    must_pause: Cell<bool>,
}

impl Poll {
    /// The most ready descriptors that one wait returns; the next wait returns the others.
    const BATCH: usize = 256;
    /// The delay of a wait, in milliseconds.
    const PAUSE_MS: u16 = 100;

    /// An empty set (epoll_create1(2)).
    pub fn new() -> io::Result<Self> {
        Ok(Poll { epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?, must_pause: Cell::new(false) })
    }

    /// Adds `fd` to the set, or changes its token and interest. A regular file is refused with EPERM: it is always ready.
    pub fn add(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        match self.epoll.add(fd.as_fd(), EpollEvent::new(interest.flags(), token)) {
            Err(Errno::EEXIST) => self.modify(fd, token, interest),
            added => Ok(added?),
        }
    }

    /// Changes the interest in `fd`.
    pub fn modify(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        self.checked(self.epoll.modify(fd, &mut EpollEvent::new(interest.flags(), token)))
    }

    /// Removes `fd` from the set. Closing a descriptor also removes it, unless another process shares its description.
    pub fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        self.checked(self.epoll.delete(fd))
    }

    fn checked(&self, done: Result<(), Errno>) -> io::Result<()> {
        let is_left = done.is_err_and(|why| !matches!(why, Errno::ENOENT | Errno::EBADF));
        self.must_pause.set(self.must_pause.get() || is_left);
        Ok(done?)
    }

    /// `add` for a descriptor of which only the number is known. A number that is not open is an error.
    pub fn add_raw(&self, fd: RawFd, token: u64, interest: Interest) -> io::Result<()> {
        // SAFETY: the number is only handed to epoll_ctl(2), which checks it.
        self.add(unsafe { BorrowedFd::borrow_raw(fd) }, token, interest)
    }

    /// `remove` for a descriptor of which only the number is known.
    pub fn remove_raw(&self, fd: RawFd) -> io::Result<()> {
        // SAFETY: as above.
        self.remove(unsafe { BorrowedFd::borrow_raw(fd) })
    }

    /// Waits until a descriptor is ready or `until` has passed (`None`: without limit), and appends the ready ones to `ready`.
    ///
    /// Returns at most a millisecond late, never early. If a signal interrupts the wait, no descriptor is ready.
    pub fn wait(&self, now: Mono, until: Option<Mono>, ready: &mut Vec<Ready>) -> io::Result<()> {
        let timeout = match until {
            None => EpollTimeout::NONE,
            Some(until) => {
                // Rounded up: a wait that ends before the deadline would need another turn.
                let millis = until.since(now).as_nanos().div_ceil(1_000_000);
                EpollTimeout::try_from(i32::try_from(millis).unwrap_or(i32::MAX)).unwrap_or(EpollTimeout::MAX)
            }
        };
        if self.must_pause.take() {
            pause(Self::PAUSE_MS);
        }
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

/// Sleeps for `millis` milliseconds, even if a descriptor is ready: for when the wait itself fails.
pub fn pause(millis: u16) {
    let nanos = libc::c_long::from(millis % 1000).saturating_mul(1_000_000);
    let wanted = libc::timespec { tv_sec: (millis / 1000).into(), tv_nsec: nanos };
    // SAFETY: the pointer is to a live timespec; the null pointer means that the remaining time is not returned.
    unsafe { libc::nanosleep(&raw const wanted, std::ptr::null_mut()) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_wait_returns_ready_descriptors_or_ends_at_its_deadline() {
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
