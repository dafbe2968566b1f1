//! Goes to the background: the child continues as the daemon; the parent waits until it has started, and exits.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, chdir, dup2_stderr, dup2_stdin, dup2_stdout, fork, pipe2, read, setsid};

/// The current process after [`split`].
#[derive(Debug)]
pub enum Side {
    /// The original process, which must exit with this code.
    Parent(u8),
    /// The new process, which becomes the daemon.
    Child(Foreground),
}

/// Keeps the parent process in the foreground: it waits until this is detached or dropped.
#[derive(Debug)]
pub struct Foreground(File);

/// Forks. In the parent it returns when the child has [detached](Foreground::detach), with 0, or when the child has ended, with its
/// exit code.
pub fn split() -> io::Result<Side> {
    let (ready, notify): (OwnedFd, OwnedFd) = pipe2(OFlag::O_CLOEXEC)?;
    // SAFETY: this process has one thread, so the child is a complete copy that may call any function.
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
    /// Leaves the terminal and the session, and lets the parent exit. If `directory` cannot be entered, does everything else and
    /// returns the error.
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
