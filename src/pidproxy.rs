//! `pidproxy PIDFILE COMMAND ARG…`: runs a daemon that leaves its parent and writes its process id to a file.
//!
//! - pidproxy forwards every signal that it can receive to the process whose id is in the file at that moment.
//! - pidproxy exits when its program ends, with the same exit code (128 + n if signal n ended the program). The program is the command,
//!   unless the command exits with 0 while the process in the file lives on: then that process is the program, since the command has put
//!   it in the background. pidproxy is a child subreaper, so it is the parent of that process and receives its exit status.
//!
//! Differs from Supervisor: its pidproxy exits at once on TERM, INT and QUIT, else up to 5 s after its program, and always with 0. It does
//! not search PATH, and it signals every process if the file contains -1.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;

use crate::launch::{self, ProcessGroup, StartError};
use crate::posix::SignalName;
use crate::stdout;
use crate::sys::reap::{Exit, has_children, peek, reap_any};
use crate::sys::signals::{self, Received, Signals};
use crate::sys::{Pid, errno, output, tty};

/// How long a program that goes into the background has to write its file after its first process has exited, in milliseconds.
const PIDFILE_GRACE_MS: u16 = 5000;
/// How often the file is read in this time, in milliseconds.
const PIDFILE_POLL_MS: u16 = 50;

/// Runs `pidproxy` with these arguments; `called` is the name that it was started with. Returns the exit code.
#[must_use]
pub fn main(called: &OsStr, arguments: &[OsString]) -> u8 {
    let Some((pidfile, command)) = arguments.split_first().filter(|(_, command)| !command.is_empty()) else {
        let usage = format!(
            "Runs a command, and forwards signals to the process whose id is in a file.\n\n\
             Usage: {} <pidfile name> <command> [<cmdarg1> ...]\n",
            called.display()
        );
        signals::ignore_broken_pipes();
        return stdout::print("pidproxy", &usage, 1);
    };
    launch::exit_code("pidproxy", run(pidfile, command))
}

fn run(pidfile: &OsStr, command: &[OsString]) -> Result<Exit, StartError> {
    // As in Supervisor, the command stays in pidproxy's group, so that it receives signals to the group (stopasgroup).
    let (signals, command) = launch::take_over_and_start(command, ProcessGroup::Ours)?;
    Proxy { pidfile, command, is_ending: false }
        .until_ended(&signals)
        .map_err(|why| StartError::Signals("wait for", why))
}

struct Proxy<'a> {
    pidfile: &'a OsStr,
    /// 0 after the command has ended. No signal is sent to process id 0.
    command: Pid,
    /// Whether TERM, INT or QUIT was received.
    is_ending: bool,
}

impl Proxy<'_> {
    fn until_ended(&mut self, signals: &Signals) -> io::Result<Exit> {
        let (exit, is_program) = self.until_command_ended(signals)?;
        if exit == Exit::Code(0) && !is_program { self.until_daemon_ended(signals) } else { Ok(exit) }
    }

    /// How the command ended, and whether the file contains the command's own id.
    fn until_command_ended(&mut self, signals: &Signals) -> io::Result<(Exit, bool)> {
        loop {
            signals.wait(None)?;
            self.forward_pending(signals);
            // Compare before reaping: until then no other process gets the id.
            let ended = peek(self.command);
            let is_program = ended.is_some() && self.named() == Ok(self.command);
            while reap_any().is_some() {}
            if let Some(exit) = ended {
                self.command = 0;
                return Ok((exit, is_program));
            }
        }
    }

    /// Waits for the process that the command has put into the background, if any. The command has exited with 0.
    fn until_daemon_ended(&mut self, signals: &Signals) -> io::Result<Exit> {
        let mut daemon = None;
        let mut grace = PIDFILE_GRACE_MS;
        loop {
            daemon = daemon.or_else(|| self.named().ok());
            let waited_enough = daemon.is_none() && (self.is_ending || grace == 0);
            if waited_enough || !has_children() {
                return Ok(Exit::Code(0));
            }
            if !signals.wait(daemon.is_none().then_some(PIDFILE_POLL_MS))? {
                grace = grace.saturating_sub(PIDFILE_POLL_MS);
            }
            self.forward_pending(signals);
            // Read the file before reaping: until then the process in it exists, even if it has ended.
            daemon = daemon.or_else(|| self.named().ok());
            while let Some((pid, exit)) = reap_any() {
                if Some(pid) == daemon {
                    return Ok(exit);
                }
            }
        }
    }

    fn forward_pending(&mut self, signals: &Signals) {
        for received in signals.pending() {
            // The kernel's SIGCHLD is for pidproxy, and signals that it caused itself are not forwarded.
            if (received.signo != libc::SIGCHLD || !received.is_from_kernel()) && !received.is_from_self() {
                self.forward(&received);
            }
            // The terminal stops a whole group: the shell waits until pidproxy has stopped too.
            if received.is_from_terminal() && matches!(received.signo, libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU) {
                let _ = signals::stop_ourselves(received.signo, || true);
            }
        }
    }

    fn forward(&mut self, received: &Received) {
        let ends = matches!(received.signo, libc::SIGTERM | libc::SIGINT | libc::SIGQUIT);
        self.is_ending |= ends;
        // A signal of the terminal has reached every process in the group.
        let has_received_it = |pid| received.is_from_terminal() && tty::group_of(pid) == Some(tty::own_group());
        let problem = match self.named() {
            Ok(pid) if has_received_it(pid) => return,
            Ok(pid) => match signals::forward(pid, received) {
                Ok(()) => return,
                Err(why) => format!("{} not sent to {pid}: {}", SignalName(received.signo), errno::name(&why)),
            },
            Err(problem) => problem,
        };
        // On stdout like Supervisor's pidproxy, but without blocking.
        let _ = output::to_stdout(&format!("{problem}\n"));
        // The file does not exist yet or no longer, so the command is the only process that can be stopped.
        if ends && !has_received_it(self.command) {
            let _ = signals::forward(self.command, received);
        }
    }

    /// The running process whose id is in the file now, or the reason why there is none.
    fn named(&self) -> Result<Pid, String> {
        let unreadable = |_| format!("Can't read child pidfile {}!", self.pidfile.display());
        let mut bytes = Vec::new();
        // Without O_NONBLOCK the open of a FIFO waits for a writer.
        let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(self.pidfile);
        file.and_then(|file| file.take(64).read_to_end(&mut bytes)).map_err(unreadable)?;
        let text = String::from_utf8_lossy(&bytes);
        let refuse = |why: &str| format!("pidfile {} contains {:?}: {why}", self.pidfile.display(), text.trim());
        let pid: Pid = text.trim().parse().map_err(|_| refuse("not a process id"))?;
        if pid <= 1 || pid.unsigned_abs() == std::process::id() {
            return Err(refuse("not the process id of a program"));
        }
        signals::send(pid, 0).map(|()| pid).map_err(|why| refuse(&errno::name(&why)))
    }
}
