//! `pidproxy PIDFILE COMMAND ARG…`: stands in for a daemon, a program that leaves its parent and writes its process number to a file.
//!
//! - It forwards every signal that can be forwarded to the process that the file names at that moment.
//! - It ends when its program ends, with the same exit code (128 + n if signal n ended it). The program is the command. But if the
//!   command exits with 0 and the process that the file names lives on, the command has put it in the background: then that process is
//!   the program. pidproxy is a child subreaper, so the process has become its child, and its exit code is known.
//!
//! Differs from Supervisor, whose pidproxy ends at once on TERM, INT and QUIT, otherwise up to 5 s late, always with 0; does not search
//! PATH; and signals every process for a file that contains -1.
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

/// What a program that goes into the background has to write its file after its first process has exited, in milliseconds.
const PIDFILE_GRACE_MS: u16 = 5000;
/// How often the file is looked at meanwhile, in milliseconds.
const PIDFILE_LOOK_MS: u16 = 50;

/// Runs `pidproxy` with these arguments (without its own name, which is `called`); returns the exit code.
#[must_use]
pub fn main(called: &OsStr, arguments: &[OsString]) -> u8 {
    let Some((pidfile, command)) = arguments.split_first().filter(|(_, command)| !command.is_empty()) else {
        let usage = format!(
            "Runs a command and passes the signals it gets on to the process that a pidfile names.\n\n\
             Usage: {} <pidfile name> <command> [<cmdarg1> ...]\n",
            called.display()
        );
        signals::ignore_broken_pipes();
        return stdout::print("pidproxy", &usage, 1);
    };
    launch::exit_code("pidproxy", run(pidfile, command))
}

fn run(pidfile: &OsStr, command: &[OsString]) -> Result<Exit, StartError> {
    // In our group, as Supervisor's: what the supervisor sends to the group (stopasgroup) reaches it.
    let (signals, command) = launch::stand_for(command, ProcessGroup::Ours)?;
    Proxy { pidfile, command, ending: false }.until_ended(&signals).map_err(|why| StartError::Signals("wait for", why))
}

struct Proxy<'a> {
    pidfile: &'a OsStr,
    /// 0 once it has ended: no signal is sent to that number.
    command: Pid,
    /// A signal that ends programs has come.
    ending: bool,
}

impl Proxy<'_> {
    fn until_ended(&mut self, signals: &Signals) -> io::Result<Exit> {
        let (exit, is_program) = self.until_command_ended(signals)?;
        if exit == Exit::Code(0) && !is_program { self.until_daemon_ended(signals) } else { Ok(exit) }
    }

    /// How the command ended, and whether the file names the command itself.
    fn until_command_ended(&mut self, signals: &Signals) -> io::Result<(Exit, bool)> {
        loop {
            signals.wait(None)?;
            self.pass_on(signals);
            // While it is not reaped, its number is not another's.
            let ended = peek(self.command);
            let is_program = ended.is_some() && self.named() == Ok(self.command);
            while reap_any().is_some() {}
            if let Some(exit) = ended {
                self.command = 0;
                return Ok((exit, is_program));
            }
        }
    }

    /// The command has exited with 0: waits for what it put into the background, if it did.
    fn until_daemon_ended(&mut self, signals: &Signals) -> io::Result<Exit> {
        let mut daemon = None;
        let mut grace = PIDFILE_GRACE_MS;
        loop {
            daemon = daemon.or_else(|| self.named().ok());
            let waited_enough = daemon.is_none() && (self.ending || grace == 0);
            if waited_enough || !has_children() {
                return Ok(Exit::Code(0));
            }
            if !signals.wait(daemon.is_none().then_some(PIDFILE_LOOK_MS))? {
                grace = grace.saturating_sub(PIDFILE_LOOK_MS);
            }
            self.pass_on(signals);
            // Before it is reaped, the process that the file names is still there to be found.
            daemon = daemon.or_else(|| self.named().ok());
            while let Some((pid, exit)) = reap_any() {
                if Some(pid) == daemon {
                    return Ok(exit);
                }
            }
        }
    }

    fn pass_on(&mut self, signals: &Signals) {
        for received in signals.pending() {
            // The kernel's SIGCHLD is for us, and our own signals are not forwarded.
            if (received.signo != libc::SIGCHLD || !received.is_kernels()) && !received.is_our_own() {
                self.pass(&received);
            }
            // The terminal stops a whole group: the shell waits until we are stopped too.
            if received.is_terminals() && matches!(received.signo, libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU) {
                let _ = signals::stop_ourselves(received.signo, || true);
            }
        }
    }

    fn pass(&mut self, received: &Received) {
        let ends = matches!(received.signo, libc::SIGTERM | libc::SIGINT | libc::SIGQUIT);
        self.ending |= ends;
        // What the terminal sent to our group has reached everything in it.
        let has_it = |pid| received.is_terminals() && tty::group_of(pid) == Some(tty::own_group());
        let problem = match self.named() {
            Ok(pid) if has_it(pid) => return,
            Ok(pid) => match signals::forward(pid, received) {
                Ok(()) => return,
                Err(why) => format!("{} not sent to {pid}: {}", SignalName(received.signo), errno::name(&why)),
            },
            Err(problem) => problem,
        };
        // Supervisor's pidproxy prints this on stdout. It must not hold up what follows.
        let _ = output::to_stdout(&format!("{problem}\n"));
        // A program that is to end before it has written its file, or after it has removed it: its command is all that we know.
        if ends && !has_it(self.command) {
            let _ = signals::forward(self.command, received);
        }
    }

    /// The live process that the file names now, or the reason why there is none.
    fn named(&self) -> Result<Pid, String> {
        let unreadable = |_| format!("Can't read child pidfile {}!", self.pidfile.display());
        let mut bytes = Vec::new();
        // Not blocking, in case it is a FIFO.
        let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(self.pidfile);
        file.and_then(|file| file.take(64).read_to_end(&mut bytes)).map_err(unreadable)?;
        let text = String::from_utf8_lossy(&bytes);
        let refuse = |why: &str| format!("pidfile {} says {:?}: {why}", self.pidfile.display(), text.trim());
        let pid: Pid = text.trim().parse().map_err(|_| refuse("not a process number"))?;
        if pid <= 1 || pid.unsigned_abs() == std::process::id() {
            return Err(refuse("no program's process number"));
        }
        signals::send(pid, 0).map(|()| pid).map_err(|why| refuse(&errno::name(&why)))
    }
}
