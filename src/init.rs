//! `rsup -- COMMAND ARG…`: one program in tini's manner, without a configuration.
//!
//! As PID 1, or else as a subreaper: starts the program, passes every signal on to it, reaps whatever is left to us, and ends
//! when the program does, with its exit code (128 + n when signal n ended it).
//!
//! # Terminals
//!
//! Without a controlling terminal the program leads a process group of its own. With one it stays in the group that we were started in,
//! whatever 0, 1 and 2 are: the shell's job, together with what stands before and behind us in a pipeline. So the terminal is its as it
//! would be without us, and we never touch it. What remains to be done:
//! - What the terminal sends to the group has reached the program; we do not pass it on.
//! - A signal to the whole group (`kill %1`) reaches the program too, and must not come from us a second time. So where there is a
//!   shell with job control above us, we leave the group once the program is in it.
//! - That shell waits for us: when the program stops, we return to the group and stop as well, so that the shell gets its
//!   prompt back, and `fg` continues us both.
//!
//! Real-time signals keep the value that was queued with them, and SEGV, ABRT and the like are passed on when somebody sent them.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::ffi::OsString;
use std::io;

use crate::launch::{self, Group, StartError};
use crate::posix::SignalName;
use crate::sys::reap::{Exit, reap_any, stop_signal_of};
use crate::sys::signals::{self, Received, SignalSet, Signals};
use crate::sys::tty::Idler;
use crate::sys::{Pid, errno, output, tty};

/// How many children are reaped before signals are looked at again: a storm of orphans must not hold up a TERM.
const REAPED_AT_ONCE: usize = 1000;

/// Runs `command` (the words after `--`) to its end; returns our exit code.
#[must_use]
pub fn main(command: &[OsString]) -> u8 {
    launch::exit_code("rsup", run(command))
}

fn run(command: &[OsString]) -> Result<Exit, StartError> {
    if command.is_empty() {
        return Err(StartError::Usage("a command must follow: rsup -- COMMAND [ARGUMENT…]"));
    }
    let has_terminal = tty::has_controlling_terminal();
    let group = if has_terminal { Group::Ours } else { Group::Own };
    let (signals, child) = launch::stand_for(command, group)?;
    let job = if has_terminal { Job::of_terminal() } else { Job::None };
    let init = Init { signals, child, job, shared: Cell::default(), complained: Cell::default() };
    init.until_ended().map_err(|why| StartError::Signals("wait for", why))
}

/// What we have to do with the terminal's job control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Job {
    /// There is no terminal.
    None,
    /// The program is in our group, which no shell above us minds.
    Shared {
        /// The kernel tells a session's leader, alone, that the terminal is gone.
        leads_session: bool,
    },
    /// The program is in this group, and we have left it.
    Left(Pid),
}

impl Job {
    /// To be called when the program is in our group.
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
    /// Of these the next that we read went to the whole group, which we were in.
    shared: Cell<SignalSet>,
    /// The signals of which we have said that they cannot be passed on.
    complained: Cell<SignalSet>,
}

impl Init {
    fn until_ended(&self) -> io::Result<Exit> {
        loop {
            self.signals.wait(None)?;
            loop {
                self.signals
                    .pending()
                    .filter(|received| !self.is_programs_already(received))
                    .for_each(|r| self.pass_on(&r));
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

    /// Whether there is nothing to pass on: the kernel's SIGCHLD, what we caused ourselves, and what went to the whole group.
    fn is_programs_already(&self, received: &Received) -> bool {
        match (received.signo, self.job) {
            (libc::SIGCHLD, _) if received.is_kernels() => true,
            // SIGPIPE for a line that nobody reads, and the stop that was taken back.
            _ if received.is_our_own() => true,
            (signo, _) if self.shared.get().contains(signo) => {
                self.shared.set(self.shared.get().without(signo));
                true
            }
            (libc::SIGHUP | libc::SIGCONT, Job::Shared { leads_session: true }) => false,
            (_, Job::Shared { .. } | Job::Left(_)) => received.is_terminals(),
            _ => false,
        }
    }

    fn pass_on(&self, received: &Received) {
        let Err(why) = signals::forward(self.child, received) else { return };
        // The child has ended, and is about to be reaped.
        if why.raw_os_error() == Some(libc::ESRCH) || self.complained.get().contains(received.signo) {
            return;
        }
        self.complained.set(self.complained.get().with(received.signo));
        let (signal, child) = (SignalName(received.signo), self.child);
        let _ = output::to_stderr(&format!("rsup: cannot send {signal} to pid {child}: {}\n", errno::name(&why)));
    }

    /// Reaps what has ended; returns how the child ended, and whether more may be waiting.
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

    /// Where the program has been stopped, stops us as well, for the shell to see.
    fn stop_with_child(&self) {
        let (Job::Left(group), Some(signo)) = (self.job, stop_signal_of(self.child)) else { return };
        // Back in its group first: `fg` continues the group. If it is gone, nobody could continue us.
        if tty::join_group(group).is_err() {
            return;
        }
        // Whether a signal that came meanwhile went to the group or to us alone, another member of the group knows.
        let witness = Idler::start();
        let _ = signals::stop_ourselves(signo, || stop_signal_of(self.child).is_some());
        let shared = witness.map_or(SignalSet::EMPTY, |witness| witness.pending().intersect(signals::waiting()));
        self.shared.set(shared);
        // The group was continued, and the program has left it. A program that is in it was continued too: if it is stopped, then anew.
        if shared.contains(libc::SIGCONT) && tty::group_of(self.child) != Some(group) {
            let _ = signals::send(self.child, libc::SIGCONT);
        }
        let _ = tty::leave_group();
    }
}
