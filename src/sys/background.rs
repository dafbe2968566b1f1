//! Going to the background: the child goes on as the daemon, the parent ends with an exit code that says how that went.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, chdir, dup2_stderr, dup2_stdin, dup2_stdout, fork, pipe2, read, setsid};

/// Which process we are after [`split`].
#[derive(Debug)]
pub enum Side {
    /// The one that was started: it ends with this exit code.
    Parent(u8),
    /// The one that is to be the daemon.
    Child(Foreground),
}

/// The daemon's hold on the foreground: the parent process waits until it is given up.
#[derive(Debug)]
pub struct Foreground(File);

/// Forks. The parent comes back when the child has [detached](Foreground::detach), with 0, or has ended, with its exit code.
pub fn split() -> io::Result<Side> {
    let (ready, notify): (OwnedFd, OwnedFd) = pipe2(OFlag::O_CLOEXEC)?;
    // SAFETY: there is one thread, so that the child is a whole copy that may do whatever we may.
    match unsafe { fork() }? {
        ForkResult::Child => Ok(Side::Child(Foreground(File::from(notify)))),
        ForkResult::Parent { child } => {
            drop(notify);
            let done = loop {
                match read(&ready, &mut [0]) {
                    Err(nix::errno::Errno::EINTR) => {}
                    done => break done,
                }
            };
            Ok(Side::Parent(match done {
                Ok(1..) => 0,
                _ => match waitpid(child, None) {
                    Ok(WaitStatus::Exited(_, code)) => u8::try_from(code).unwrap_or(1),
                    _ => 1,
                },
            }))
        }
    }
}

impl Foreground {
    /// Leaves the terminal and the session, and lets the parent end. A directory that cannot be entered is returned as an error, and all else is done.
    pub fn detach(self, directory: Option<&Path>, mask: u32) -> Result<(), nix::errno::Errno> {
        let Foreground(mut parent) = self;
        let moved = directory.map_or(Ok(()), chdir);
        if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
            let _ = dup2_stdin(&null);
            let _ = dup2_stdout(&null);
            let _ = dup2_stderr(&null);
        }
        let _ = setsid();
        umask(Mode::from_bits_truncate(mask));
        let _ = parent.write_all(b"!");
        moved
    }
}
