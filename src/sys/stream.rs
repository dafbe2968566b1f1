//! Duplicates inherited descriptors, which std and nix can only borrow unsafely.

use nix::errno::Errno;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// The descriptors below 64 that rsup has inherited, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Inherited(u64);

impl Inherited {
    /// Finds the inherited descriptors: those that are not close-on-exec. Call it before `fds::close_on_exec_from_3`.
    #[must_use]
    pub fn find() -> Self {
        let is_inherited = |fd: &RawFd| {
            // SAFETY: F_GETFD takes no argument and touches no memory; any number is a valid question.
            let flags = unsafe { libc::fcntl(*fd, libc::F_GETFD) };
            flags >= 0 && flags & libc::FD_CLOEXEC == 0
        };
        Self((0..64).filter(is_inherited).fold(0, |all, fd| all | 1 << fd))
    }

    /// A close-on-exec duplicate of descriptor `fd`. EBADF: `fd` was not inherited, so rsup itself may have opened it.
    ///
    /// The duplicate shares the open file description: a flag that is set on it applies to all processes that share it.
    pub fn duplicate(self, fd: RawFd) -> Result<OwnedFd, Errno> {
        if !(0..64).contains(&fd) || self.0 >> fd & 1 == 0 {
            return Err(Errno::EBADF);
        }
        // SAFETY: the argument of F_DUPFD_CLOEXEC is the lowest number to use; it touches no memory.
        let copy = Errno::result(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) })?;
        // SAFETY: the kernel has just returned `copy`; nothing else owns it.
        Ok(unsafe { OwnedFd::from_raw_fd(copy) })
    }
}
