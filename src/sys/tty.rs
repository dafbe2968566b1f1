//! The controlling terminal's foreground process group.

use std::io;
use std::os::fd::BorrowedFd;

use super::Pid;

/// The group that the terminal `fd` lets read and sends its ^C to; `None` where `fd` is not our controlling terminal, 0 where the group
/// is outside our PID namespace.
#[must_use]
pub fn foreground_group(fd: BorrowedFd<'_>) -> Option<Pid> {
    nix::unistd::tcgetpgrp(fd).ok().map(nix::unistd::Pid::as_raw)
}

/// Makes `group` the foreground group. The caller must block SIGTTOU, or be stopped by it when in the background.
pub fn set_foreground_group(fd: BorrowedFd<'_>, group: Pid) -> io::Result<()> {
    Ok(nix::unistd::tcsetpgrp(fd, nix::unistd::Pid::from_raw(group))?)
}

/// Our own process group; 0 where its leader is outside our PID namespace.
#[must_use]
pub fn own_group() -> Pid {
    nix::unistd::getpgrp().as_raw()
}
