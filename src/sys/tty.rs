//! The controlling terminal, and the process group that it sends its keys to.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::{getpgid, getpgrp, getpid, getppid, getsid, isatty, setpgid, tcgetpgrp};

use super::signals::{self, SignalSet};
use super::{Pid, reap};

/// Whether our session has a controlling terminal, wherever stdin, stdout and stderr lead.
#[must_use]
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
        // There is no such device here: field 7 is the terminal's number (proc(5)).
        _ => stat_field("self", 7).is_some_and(|number: i32| number != 0),
    }
}

/// A field of /proc/PID/stat, counted from 1 as in proc(5), for those after the name.
fn stat_field(pid: &str, field: usize) -> Option<i32> {
    let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let text = String::from_utf8_lossy(&text);
    let (_, fields) = text.rsplit_once(") ")?;
    fields.split(' ').nth(field.checked_sub(3)?)?.parse().ok()
}

/// Our own process group; 0 where its leader is outside our PID namespace.
#[must_use]
pub fn own_group() -> Pid {
    getpgrp().as_raw()
}

/// The process group of `pid`; `None`: there is no such process.
#[must_use]
pub fn group_of(pid: Pid) -> Option<Pid> {
    getpgid(Some(nix::unistd::Pid::from_raw(pid))).ok().map(nix::unistd::Pid::as_raw)
}

/// Whether we lead our session, so that the kernel sends us SIGHUP when the terminal is gone.
#[must_use]
pub fn leads_session() -> bool {
    getsid(None) == Ok(getpid())
}

/// More processes than this do not stand between us and a shell.
const ANCESTORS: usize = 64;

/// Whether a process of our session above us is in another group, as a shell with job control is: it continues our group when
/// the terminal has stopped it. Without one our group is orphaned, and the kernel lets the terminal stop nothing in it.
#[must_use]
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
        let Some(next) = stat_field(&above.to_string(), 4) else { return false };
        above = nix::unistd::Pid::from_raw(next);
    }
    false
}

/// Moves us into a new process group of our session. Fails for a session's leader.
pub fn leave_group() -> io::Result<()> {
    let own = nix::unistd::Pid::from_raw(0);
    if getpid() != getpgrp() {
        return Ok(setpgid(own, own)?);
    }
    // A group's leader cannot found another: its number is taken. So a child founds it, we join it, and the child ends.
    let founder = Idler::start()?;
    let group = nix::unistd::Pid::from_raw(founder.0);
    setpgid(group, group).and_then(|()| setpgid(own, group))?;
    Ok(())
}

/// Moves us into the group `group` of our session.
pub fn join_group(group: Pid) -> io::Result<()> {
    Ok(setpgid(nix::unistd::Pid::from_raw(0), nix::unistd::Pid::from_raw(group))?)
}

/// A child that does nothing, with all signals blocked, until it is dropped. It starts in our process group. A signal to the whole group
/// stays pending in it; a signal to us alone does not.
#[derive(Debug)]
pub struct Idler(Pid);

impl Idler {
    /// Starts it. The caller must block all signals.
    pub fn start() -> io::Result<Self> {
        // SAFETY: one thread runs; the child makes system calls only, so it does not matter what state it has copied.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                // SAFETY: no memory is involved. It must not outlive us, whatever ends us.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
                loop {
                    // SAFETY: no memory is involved.
                    unsafe { libc::pause() };
                }
            }
            pid => Ok(Self(pid)),
        }
    }

    /// What was sent to it, or to its whole group; nothing where /proc is not mounted.
    #[must_use]
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
