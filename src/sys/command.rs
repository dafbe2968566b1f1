//! A command line started as a shell would: found in PATH, with our environment, failures told as 126 and 127.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;

use super::program::find_executable;
use super::signals::SignalSet;
use super::spawn::{Manner, SpawnPlan, Words, spawn};
use super::{Pid, errno};

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

/// Why a command was not started. `Display` is one line for the user.
#[derive(Debug)]
pub enum StartError {
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
            Self::Program(_, Errno::ENOENT) => 127,
            _ => 126,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
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

/// Starts `words` (a program and its arguments) with our stdin, stdout, stderr, directory and every other inheritable descriptor.
pub fn start(words: &[OsString], group: Group<'_>, mask: SignalSet) -> Result<Pid, StartError> {
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
