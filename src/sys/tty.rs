//! The controlling terminal, and the process groups of its session.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::{getpgid, getpgrp, getpid, getppid, getsid, isatty, setpgid, tcgetpgrp};

use super::signals::{self, SignalSet};
use super::{Pid, reap};

/// Whether the session of rsup has a controlling terminal, even if stdin, stdout and stderr are redirected.
pub fn has_controlling_terminal() -> bool {
    // tcgetpgrp(3) fails for any terminal but the controlling one.
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let ours: [BorrowedFd<'_>; 3] = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    if ours.into_iter().any(|fd| tcgetpgrp(fd).is_ok()) {
        return true;
    }
    let flags = OFlag::O_RDONLY | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    match open("/dev/tty", flags, Mode::empty()) {
        Ok(fd) if isatty(&fd).unwrap_or(false) => true,
        Err(Errno::ENXIO) => false,
        // The device does not exist. Field 7 is the number of the terminal (proc(5)).
        _ => stat_field("self", 7).is_some_and(|number: i32| number != 0),
    }
}

/// A field of /proc/PID/stat after the name, counted from 1 as in proc(5).
fn stat_field(pid: &str, field: usize) -> Option<i32> {
    let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let text = String::from_utf8_lossy(&text);
    let (_, fields) = text.rsplit_once(") ")?;
    fields.split(' ').nth(field.checked_sub(3)?)?.parse().ok()
}

/// The process group of rsup; 0 if the group's leader is outside this PID namespace.
pub fn own_group() -> Pid {
    getpgrp().as_raw()
}

/// The process group of `pid`; `None`: there is no such process.
pub fn group_of(pid: Pid) -> Option<Pid> {
    getpgid(Some(nix::unistd::Pid::from_raw(pid))).ok().map(nix::unistd::Pid::as_raw)
}

/// The parent of `pid`; `None`: there is no such process, or /proc does not show it.
pub fn parent_of(pid: Pid) -> Option<Pid> {
    stat_field(&pid.to_string(), 4)
}

/// Whether rsup leads its session, so that the kernel sends it SIGHUP when the terminal closes.
pub fn leads_session() -> bool {
    getsid(None) == Ok(getpid())
}

/// The most ancestors to check for a shell.
const ANCESTORS: usize = 64;

/// Whether an ancestor in the same session is in another process group, like a shell with job control. Such a shell continues the group
/// of rsup after the terminal has stopped it. Without one, the group is orphaned, and the kernel does not let the terminal stop it.
pub fn is_under_job_control() -> bool {
    let Ok(session) = getsid(None) else { return false };
    let group = getpgrp();
    let mut above = getppid();
    for _ in 0..ANCESTORS {
        if above.as_raw() <= 0 || getsid(Some(above)) != Ok(session) {
            return false;
        }
        match getpgid(Some(above)) {
            Ok(other) if other == group => {}
            Ok(_) => return true,
            Err(_) => return false,
        }
        let Some(next) = parent_of(above.as_raw()) else { return false };
        above = nix::unistd::Pid::from_raw(next);
    }
    false
}

/// Moves rsup into a new process group of its session. Fails if rsup leads the session.
pub fn leave_group() -> io::Result<()> {
    let own = nix::unistd::Pid::from_raw(0);
    if getpid() != getpgrp() {
        return Ok(setpgid(own, own)?);
    }
    // A group's leader cannot create another group, whose id would be the same. So a child creates it, rsup joins it, and the child ends.
    let founder = Idler::start()?;
    let group = nix::unistd::Pid::from_raw(founder.0);
    setpgid(group, group).and_then(|()| setpgid(own, group))?;
    Ok(())
}

/// Moves rsup into the process group `group` of its session.
pub fn join_group(group: Pid) -> io::Result<()> {
    Ok(setpgid(nix::unistd::Pid::from_raw(0), nix::unistd::Pid::from_raw(group))?)
}

/// A child that does nothing, with all signals blocked, until it is dropped. It starts in the process group of rsup. So a signal to the
/// whole group is pending in the child, and a signal to rsup alone is not.
#[derive(Debug)]
pub struct Idler(Pid);

impl Idler {
    /// Starts the child. The caller must block all signals.
    pub fn start() -> io::Result<Self> {
        // SAFETY: one thread runs; the child makes only system calls, so the state of the copied memory does not matter.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                // SAFETY: no memory is involved. The child ends with its parent, however that ends.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
                loop {
                    // SAFETY: no memory is involved.
                    unsafe { libc::pause() };
                }
            }
            pid => Ok(Self(pid)),
        }
    }

    /// The signals that were sent to the child or its whole group; empty if /proc is not mounted.
    pub fn pending(&self) -> SignalSet {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("ShdPnd:"));
        SignalSet::from_mask(mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0))
    }
}

impl Drop for Idler {
    fn drop(&mut self) {
        let _ = signals::send(self.0, libc::SIGKILL);
        reap::wait_for(self.0);
    }
}
