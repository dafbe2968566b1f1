//! `rsup -- COMMAND ARG…`: one program in tini's manner, without a configuration.
//!
//! As PID 1, or else as a subreaper: starts the program, passes every signal on to it, reaps whatever is left to us, and ends
//! when the program does, with its exit code (128 + n when signal n ended it).
//!
//! What differs from tini 0.19, on purpose:
//! - Real-time signals keep the value that was queued with them, and SEGV, ABRT and the like are passed on when somebody sent them.
//! - A program that its terminal stopped (^Z) does not leave the terminal dead: we stop ourselves with it, so that the shell
//!   above gets its prompt back, and `fg` continues both. Where nobody is above us to continue it (PID 1), the program is continued at once,
//!   as if the key had not been pressed: that is how it would be without an init.
//! - The terminal is handed over only when it is ours to give (not from a background job), and taken back at the end.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;

use crate::launch::{self, Group, StartError};
use crate::sys::reap::{Change, Exit, next_change};
use crate::sys::signals::{self, RESET_LEAST, Received, Signals};
use crate::sys::{Pid, tty};

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
    let stdin = io::stdin();
    let at_terminal = tty::foreground_group(stdin.as_fd()).map(|foreground| foreground == tty::own_group());
    let group = if at_terminal == Some(true) { Group::Foreground(stdin.as_fd()) } else { Group::Own };
    let (signals, child) = launch::stand_for(command, group, &RESET_LEAST)?;
    let init = Init { signals, child, at_terminal: at_terminal.is_some(), told_to_stop: Cell::new(false) };
    let exit = init.until_ended().map_err(|why| StartError::Signals("wait for", why))?;
    init.take_terminal();
    Ok(exit)
}

struct Init {
    signals: Signals,
    /// Leads a process group of its own.
    child: Pid,
    /// stdin is our controlling terminal.
    at_terminal: bool,
    /// We have passed on a signal that stops, and none that continues since.
    told_to_stop: Cell<bool>,
}

impl Init {
    fn until_ended(&self) -> io::Result<Exit> {
        loop {
            self.signals.wait(None)?;
            loop {
                self.signals.pending().for_each(|received| self.pass_on(&received));
                let (ended, more) = self.reap();
                if let Some(exit) = ended {
                    return Ok(exit);
                }
                if !more {
                    break;
                }
            }
        }
    }

    fn pass_on(&self, received: &Received) {
        match received.signo {
            // The kernel's own, not somebody's: reaping follows anyway.
            libc::SIGCHLD if received.code > 0 => return,
            libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU => self.told_to_stop.set(true),
            libc::SIGCONT => {
                self.told_to_stop.set(false);
                if self.at_terminal {
                    return self.resume();
                }
            }
            _ => (),
        }
        // It fails only when the child has just ended.
        let _ = signals::forward(self.child, received);
    }

    /// Reaps what has ended; returns how the child ended, and whether more may be waiting.
    fn reap(&self) -> (Option<Exit>, bool) {
        let mut ended = None;
        for _ in 0..REAPED_AT_ONCE {
            match next_change() {
                Some((pid, Change::Ended(exit))) if pid == self.child => ended = Some(exit),
                Some((pid, Change::Stopped(signo))) if pid == self.child => self.child_stopped(signo),
                Some(_) => (),
                None => return (ended, false),
            }
        }
        (ended, true)
    }

    fn child_stopped(&self, signo: i32) {
        if !self.at_terminal || !matches!(signo, libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU) {
            return;
        }
        self.take_terminal();
        let _ = signals::stop_own_group();
        if signals::is_pending(libc::SIGCONT) || self.told_to_stop.get() || tty::own_group() == 0 {
            // We were stopped and continued, and that SIGCONT is passed on next. Or the child is to stay stopped until one comes: somebody
            // asked for it, or our group goes on outside our PID namespace, where a shell now has it stopped.
            return;
        }
        // Nobody is there to continue us, so the kernel did not stop us. A program that may not use the terminal stays as it is, else
        // it would only try again.
        if self.give_terminal() || signo == libc::SIGTSTP {
            self.resume();
        }
    }

    /// Continues the child and those in its group, with the terminal if it is ours to give.
    fn resume(&self) {
        self.give_terminal();
        if signals::send_group(self.child, libc::SIGCONT).is_err() {
            let _ = signals::send(self.child, libc::SIGCONT);
        }
    }

    /// Makes the child's group the foreground group if ours is; whether the child's is now.
    fn give_terminal(&self) -> bool {
        self.hand_terminal(tty::own_group(), self.child)
    }

    /// Makes our group the foreground group if the child's is.
    fn take_terminal(&self) -> bool {
        self.hand_terminal(self.child, tty::own_group())
    }

    fn hand_terminal(&self, from: Pid, to: Pid) -> bool {
        let stdin = io::stdin();
        let holder = if self.at_terminal { tty::foreground_group(stdin.as_fd()) } else { None };
        holder == Some(to) || holder == Some(from) && tty::set_foreground_group(stdin.as_fd(), to).is_ok()
    }
}
