//! `rsup -- COMMAND ARG…`: a minimal init for one program, without a configuration.
//!
//! As PID 1, or elsewhere as a child subreaper, rsup starts the program, forwards every signal to it, and reaps orphans. When the
//! program ends, rsup exits with the same exit code (128 + n if signal n ended the program). Real-time signals keep the value that was
//! queued with them. SIGSEGV, SIGABRT and other synchronous signals are forwarded if a process sent them.
//!
//! # Terminals
//!
//! Without a controlling terminal, the program leads a process group of its own. With one, even if 0, 1 and 2 are redirected, the program
//! stays in the group that rsup was started in: the shell's job, with the other processes of a pipeline. The program uses the terminal as
//! it would without rsup, and rsup never changes the foreground group. This leaves three tasks:
//! - A signal that the terminal sends to the group has already reached the program. rsup does not forward it.
//! - A signal to the whole group (`kill %1`) has reached the program too. So if a shell with job control is above rsup, rsup leaves the
//!   group once the program is in it, and gets only the signals that are sent to rsup itself.
//! - That shell waits for rsup. When the program is stopped, rsup returns to the group and stops as well: the shell shows its
//!   prompt, and `fg` continues both.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::ffi::OsString;
use std::io;

use crate::launch::{self, ProcessGroup, StartError};
use crate::posix::SignalName;
use crate::sys::reap::{Exit, reap_any, stop_signal_of};
use crate::sys::signals::{self, Received, SignalSet, Signals};
use crate::sys::tty::Idler;
use crate::sys::{Pid, errno, output, tty};

/// How many children are reaped before signals are read again: many orphans must not delay a TERM.
const REAPED_AT_ONCE: usize = 1000;

/// Runs `command` (the words after `--`) until it ends; returns the exit code of rsup.
#[must_use]
pub fn main(command: &[OsString]) -> u8 {
    launch::exit_code("rsup", run(command))
}

fn run(command: &[OsString]) -> Result<Exit, StartError> {
    if command.is_empty() {
        return Err(StartError::Usage("a command must follow: rsup -- COMMAND [ARGUMENT…]"));
    }
    let has_terminal = tty::has_controlling_terminal();
    let group = if has_terminal { ProcessGroup::Ours } else { ProcessGroup::Own };
    let (signals, child) = launch::take_over_and_start(command, group)?;
    let job = if has_terminal { Job::of_terminal() } else { Job::None };
    let init = Init { signals, child, job, shared: Cell::default(), complained: Cell::default() };
    init.until_ended().map_err(|why| StartError::Signals("wait for", why))
}

/// The part of rsup in the terminal's job control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Job {
    /// There is no terminal.
    None,
    /// The program is in the process group of rsup. No shell with job control is above rsup.
    Shared {
        /// The kernel sends SIGHUP for a lost terminal to the session leader only, not to its group.
        leads_session: bool,
    },
    /// The program is in this group, and rsup has left it.
    Left(Pid),
}

impl Job {
    /// Call it when the program is in the process group of rsup.
    fn of_terminal() -> Self {
        let group = tty::own_group();
        if tty::is_under_job_control() && tty::leave_group().is_ok() {
            return Self::Left(group);
        }
        Self::Shared { leads_session: tty::leads_session() }
    }
}

struct Init {
    signals: Signals,
    child: Pid,
    job: Job,
    /// Signals that were sent to the whole group and have reached the program: the next one of each kind is not forwarded.
    shared: Cell<SignalSet>,
    /// The signals for which a failure to forward them was reported.
    complained: Cell<SignalSet>,
}

impl Init {
    fn until_ended(&self) -> io::Result<Exit> {
        loop {
            self.signals.wait(None)?;
            loop {
                self.signals
                    .pending()
                    .filter(|received| !self.is_not_forwarded(received))
                    .for_each(|received| self.forward(&received));
                let (ended, more) = self.reap();
                if let Some(exit) = ended {
                    return Ok(exit);
                }
                if !more {
                    break;
                }
            }
            self.stop_with_child();
        }
    }

    /// Whether a signal must not be forwarded: the kernel's SIGCHLD, signals that rsup itself caused, and signals that were sent to the
    /// whole group, so that the program has received them.
    fn is_not_forwarded(&self, received: &Received) -> bool {
        match (received.signo, self.job) {
            (libc::SIGCHLD, _) if received.is_from_kernel() => true,
            // SIGPIPE after a write, or a stop signal that rsup sent to itself and did not need.
            _ if received.is_from_self() => true,
            (signo, _) if self.shared.get().contains(signo) => {
                self.shared.set(self.shared.get().without(signo));
                true
            }
            (libc::SIGHUP | libc::SIGCONT, Job::Shared { leads_session: true }) => false,
            (_, Job::Shared { .. } | Job::Left(_)) => received.is_from_terminal(),
            _ => false,
        }
    }

    fn forward(&self, received: &Received) {
        let Err(why) = signals::forward(self.child, received) else { return };
        // The child has ended, and is about to be reaped.
        if why.raw_os_error() == Some(libc::ESRCH) || self.complained.get().contains(received.signo) {
            return;
        }
        self.complained.set(self.complained.get().with(received.signo));
        let (signal, child) = (SignalName(received.signo), self.child);
        let _ = output::to_stderr(&format!("rsup: cannot send {signal} to pid {child}: {}\n", errno::name(&why)));
    }

    /// Reaps children; returns how the program ended, if it did, and whether more children may have ended.
    fn reap(&self) -> (Option<Exit>, bool) {
        let mut ended = None;
        for _ in 0..REAPED_AT_ONCE {
            match reap_any() {
                Some((pid, exit)) if pid == self.child => ended = Some(exit),
                Some(_) => (),
                None => return (ended, false),
            }
        }
        (ended, true)
    }

    /// If the program has been stopped, stops rsup as well, for the shell to notice.
    fn stop_with_child(&self) {
        let (Job::Left(group), Some(signo)) = (self.job, stop_signal_of(self.child)) else { return };
        // `fg` continues the program's group, so rsup returns to it first. If the group no longer exists, nothing would continue rsup.
        if tty::join_group(group).is_err() {
            return;
        }
        // A second member of the group shows which signals are sent to the whole group in the meantime, and which to rsup alone.
        let witness = Idler::start();
        let _ = signals::stop_ourselves(signo, || stop_signal_of(self.child).is_some());
        let shared = witness.map_or(SignalSet::EMPTY, |witness| witness.pending().intersect(signals::pending()));
        self.shared.set(shared);
        // SIGCONT was sent to the group, but the program has left it. (A program in the group has received the SIGCONT; if it is stopped
        // now, it was stopped again.)
        if shared.contains(libc::SIGCONT) && tty::group_of(self.child) != Some(group) {
            let _ = signals::send(self.child, libc::SIGCONT);
        }
        let _ = tty::leave_group();
    }
}
