//! A command line started as a shell would: found in PATH, with our environment, failures told as 126 and 127.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::io::Write as _;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;

use crate::sys::program::find_executable;
use crate::sys::reap::Exit;
use crate::sys::signals::{SignalSet, Signals};
use crate::sys::spawn::{Manner, SpawnPlan, Words, spawn};
use crate::sys::{Pid, errno, pid1};

/// Which process group the command is put in.
#[derive(Debug, Clone, Copy)]
pub enum Group<'a> {
    /// Ours.
    Ours,
    /// One of its own.
    Own,
    /// One of its own, which becomes the foreground group of this terminal.
    Foreground(BorrowedFd<'a>),
}

/// Why a command was not started, or not watched to its end. `Display` is one line for the user.
#[derive(Debug)]
pub enum StartError {
    /// There is none; how to give one.
    Usage(&'static str),
    /// What cannot be done with signals, and why.
    Signals(&'static str, std::io::Error),
    /// There is no such program, or it cannot be executed.
    Program(OsString, Errno),
    /// No process could be made for it.
    Process(std::io::Error),
}

impl StartError {
    /// A shell's exit code for it.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Signals(..) => 1,
            Self::Usage(_) => 2,
            Self::Program(_, Errno::ENOENT) => 127,
            _ => 126,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(how) => f.write_str(how),
            Self::Signals(what, why) => write!(f, "can't {what} signals: {why}"),
            Self::Program(name, Errno::ENOENT) if name.as_bytes().contains(&b'/') => {
                write!(f, "can't find command '{}'", name.display())
            }
            Self::Program(name, Errno::ENOENT) => {
                let path = env::var_os("PATH");
                let path = path.as_ref().map_or("not set".into(), |path| path.to_string_lossy());
                write!(f, "can't find command '{}' (PATH is {path})", name.display())
            }
            Self::Program(name, why) => {
                write!(f, "can't execute command '{}': {}", name.display(), errno::Name(*why as i32))
            }
            Self::Process(why) => write!(f, "can't make a process: {}", errno::name(why)),
        }
    }
}

/// Stands for the command `words` from here on: takes over all signals (`reset` as in [`Signals::take_over`]), adopts orphans, and
/// starts it.
pub fn stand_for(words: &[OsString], group: Group<'_>, reset: &[i32]) -> Result<(Signals, Pid), StartError> {
    let signals = Signals::take_over(reset).map_err(|why| StartError::Signals("read", why))?;
    if !pid1::is_pid1() {
        // Fails only on a kernel too old to know it; then orphans go to PID 1 as ever.
        let _ = pid1::become_subreaper();
    }
    let pid = start(words, group, signals.original_mask())?;
    Ok((signals, pid))
}

/// The exit code of what stood for a command as `program`; an error is told on stderr.
pub fn exit_code(program: &str, outcome: Result<Exit, StartError>) -> u8 {
    outcome.map_or_else(
        |why| {
            let _ = writeln!(std::io::stderr(), "{program}: {why}");
            why.exit_code()
        },
        |exit| exit.shell_status(),
    )
}

/// Starts `words` (a program and its arguments) with our stdin, stdout, stderr, directory and every other inheritable descriptor.
fn start(words: &[OsString], group: Group<'_>, mask: SignalSet) -> Result<Pid, StartError> {
    let name = words.first().cloned().unwrap_or_default();
    let path = env::var_os("PATH");
    let program = find_executable(&name, path.as_deref()).map_err(|why| StartError::Program(name, why))?;
    let argv = Words::of(words.iter().map(|word| word.as_bytes())).map_err(StartError::Process)?;
    let mut env = Words::default();
    for (name, value) in env::vars_os() {
        env.push(&[name.as_bytes(), b"=", value.as_bytes()]).map_err(StartError::Process)?;
    }
    let plan = SpawnPlan {
        close_others: false,
        own_group: !matches!(group, Group::Ours),
        foreground: if let Group::Foreground(terminal) = group { Some(terminal) } else { None },
        manner: Manner::Shell,
        ..SpawnPlan::new(&program, &argv, &env, mask)
    };
    spawn(&plan).map_err(StartError::Process)
}
