//! Inherited descriptors, which std and nix can only borrow unsafely.

use nix::errno::Errno;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Which descriptors below 64 whoever started us has left open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Inherited(u64);

impl Inherited {
    /// Looks; to be called before `fds::close_on_exec_from_3`, for what is inherited is known by not being close-on-exec.
    #[must_use]
    pub fn look() -> Self {
        let is_inherited = |fd: &RawFd| {
            // SAFETY: F_GETFD takes no argument and touches no memory; any number is a valid question.
            let flags = unsafe { libc::fcntl(*fd, libc::F_GETFD) };
            flags >= 0 && flags & libc::FD_CLOEXEC == 0
        };
        Self((0..64).filter(is_inherited).fold(0, |all, fd| all | 1 << fd))
    }

    /// A close-on-exec duplicate of descriptor `fd`; EBADF if that was not inherited (it may be ours by now).
    ///
    /// The duplicate shares the open file description: whoever sets a flag on it sets it for everybody.
    pub fn duplicate(self, fd: RawFd) -> Result<OwnedFd, Errno> {
        if !(0..64).contains(&fd) || self.0 >> fd & 1 == 0 {
            return Err(Errno::EBADF);
        }
        // SAFETY: F_DUPFD_CLOEXEC takes the lowest number wanted and touches no memory.
        let copy = Errno::result(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) })?;
        // SAFETY: the kernel has just given us `copy`, which nobody else knows of.
        Ok(unsafe { OwnedFd::from_raw_fd(copy) })
    }
}
