//! Inherited descriptors, which std and nix can only borrow unsafely.

use nix::errno::Errno;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// A close-on-exec duplicate of descriptor `fd`, if we inherited that from whoever started us.
///
/// The duplicate shares the open file description: whoever sets a flag on it sets it for everybody. EBADF when `fd` is
/// not open, or is one of our own (those are close-on-exec, inherited ones never are).
pub fn inherited(fd: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: F_GETFD takes no argument and touches no memory; any number is a valid question.
    let flags = Errno::result(unsafe { libc::fcntl(fd, libc::F_GETFD) })?;
    if flags & libc::FD_CLOEXEC != 0 {
        return Err(Errno::EBADF);
    }
    // SAFETY: F_DUPFD_CLOEXEC takes the lowest number wanted and touches no memory.
    let copy = Errno::result(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) })?;
    // SAFETY: the kernel has just given us `copy`, which nobody else knows of.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}
