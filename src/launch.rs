//! Starts a command as a shell does: searches PATH, passes on the environment, and exits with 126 or 127 if the start fails.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

use crate::sys::program::executables;
use crate::sys::reap::Exit;
use crate::sys::signals::{Ignored, Signals};
use crate::sys::spawn::{CStringList, Failure, PidVariable, SpawnPlan, Unrecognized, spawn};
use crate::sys::{Pid, entry, errno, fds, output, pid1, reap};

/// The process group of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessGroup {
    /// The group of rsup.
    Ours,
    /// A new group, which the command leads.
    Own,
}

/// Variables with the process id of the process that systemd started. systemd started rsup but means the command.
/// Source: sd_listen_fds(3), sd_watchdog_enabled(3), systemd.exec(5).
const PID_VARIABLES: [&[u8]; 3] = [b"LISTEN_PID", b"WATCHDOG_PID", b"SYSTEMD_EXEC_PID"];

/// Why a command could not be started, or why rsup cannot wait for its end. `Display` is one line for the user.
#[derive(Debug)]
pub enum StartError {
    /// The command is missing; how to write it.
    Usage(&'static str),
    /// A system call for signals failed: what rsup tried to do, and why it failed.
    Signals(&'static str, std::io::Error),
    /// There is no program with this name.
    NotFound(OsString),
    /// The program cannot be executed.
    Failed(Failure),
    /// No process could be created.
    Process(std::io::Error),
}

impl StartError {
    /// The exit code of a shell for this error.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Signals(..) => 1,
            Self::Usage(_) => 2,
            Self::NotFound(_) => 127,
            Self::Failed(failure) if matches!(failure.errno, libc::ENOENT | libc::ENOTDIR) => 127,
            _ => 126,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(how) => f.write_str(how),
            Self::Signals(what, why) => write!(f, "can't {what} signals: {why}"),
            Self::NotFound(name) if name.as_bytes().contains(&b'/') => {
                write!(f, "can't find command '{}'", name.display())
            }
            Self::NotFound(name) => {
                let path = env::var_os("PATH");
                let path = path.as_ref().map_or("not set".into(), |path| path.to_string_lossy());
                write!(f, "can't find command '{}' (PATH is {path})", name.display())
            }
            Self::Failed(failure) => {
                let (file, why) = (failure.program.to_string_lossy(), errno::ErrnoName(failure.errno));
                write!(f, "can't execute command '{file}': {why}{}", failure.hint())
            }
            Self::Process(why) => write!(f, "can't make a process: {}", errno::name(why)),
        }
    }
}

/// Takes over all signals, adopts orphans, and starts the command `words`.
///
/// The command inherits everything that rsup inherited: environment, signal mask, ignored signals and descriptors. rsup then closes
/// its own descriptors from 3 on, so that only the command keeps locks and pipes open. rsup keeps 0, 1 and 2, since other processes
/// use them through /proc/1/fd/1.
pub fn take_over_and_start(words: &[OsString], group: ProcessGroup) -> Result<(Signals, Pid), StartError> {
    let signals = Signals::take_over(Ignored::PassedOn).map_err(|why| StartError::Signals("read", why))?;
    if !pid1::is_pid1() {
        // Fails only on a kernel that is too old. Then PID 1 gets the orphans.
        let _ = pid1::become_subreaper();
    }
    let pid = start(words, group, &signals)?;
    fds::close_all_but(signals.fd());
    Ok((signals, pid))
}

/// The exit code of `program` for the end of its command; an error is printed on stderr.
pub fn exit_code(program: &str, outcome: Result<Exit, StartError>) -> u8 {
    match outcome {
        Ok(exit) => exit.shell_status(),
        Err(why) => {
            let _ = output::to_stderr(&format!("{program}: {why}\n"));
            why.exit_code()
        }
    }
}

/// Starts `words` (a program and its arguments) with the working directory and all inheritable descriptors of rsup.
fn start(words: &[OsString], group: ProcessGroup, signals: &Signals) -> Result<Pid, StartError> {
    let name = words.first().cloned().unwrap_or_default();
    let path = env::var_os("PATH");
    let programs = executables(&name, path.as_deref());
    if programs.is_empty() {
        return Err(StartError::NotFound(name));
    }
    let argv = CStringList::of(words.iter().map(|word| word.as_bytes())).map_err(StartError::Process)?;
    let (env, pid_variables) = environment(entry::environment()).map_err(StartError::Process)?;
    let plan = SpawnPlan {
        unrecognized: Unrecognized::RunsInShell,
        pid_variables: &pid_variables,
        close_others: false,
        own_group: group == ProcessGroup::Own,
        ignored: signals.childs_ignored(),
        ..SpawnPlan::new(&programs, &argv, &env, signals.original_mask())
    };
    let started = spawn(&plan).map_err(StartError::Process)?;
    match started.failure {
        None => Ok(started.pid),
        Some(failure) => {
            reap::wait_for(started.pid);
            Err(StartError::Failed(failure))
        }
    }
}

/// The environment of rsup without the variables that contain its process id; these must contain the command's id instead.
fn environment(ours: Vec<Vec<u8>>) -> std::io::Result<(CStringList, Vec<PidVariable>)> {
    let own = std::process::id().to_string();
    let pid_variable = |word: &[u8]| {
        let at = memchr::memchr(b'=', word)?;
        let (name, value) = (word.get(..at)?, word.get(at..)?.get(1..)?);
        (value == own.as_bytes()).then(|| PID_VARIABLES.into_iter().find(|known| *known == name)).flatten()
    };
    let names: Vec<&[u8]> = ours.iter().filter_map(|word| pid_variable(word)).collect();
    // LISTEN_PIDFDID is the inode of the pidfd of LISTEN_PID's process, so it is wrong for the command.
    let is_pidfd = |word: &[u8]| names.contains(&b"LISTEN_PID".as_slice()) && word.starts_with(b"LISTEN_PIDFDID=");
    let kept = ours.iter().filter(|word| pid_variable(word).is_none() && !is_pidfd(word));
    Ok((CStringList::of(kept)?, names.iter().map(|name| PidVariable::named(name)).collect::<Result<_, _>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_passed_on_byte_for_byte() {
        let words =
            ["A=b", "NOEQUALS", "=noname", "A=c", "B=\u{e9}", "LISTEN_PID=0", ""].map(|word| word.as_bytes().to_vec());
        let (env, variables) = environment(words.to_vec()).unwrap();
        assert_eq!(env.iter().collect::<Vec<_>>(), words);
        assert!(variables.is_empty());
    }

    #[test]
    fn variables_with_the_process_id_of_rsup_get_that_of_the_child() {
        let own = std::process::id();
        let words = [
            format!("LISTEN_PID={own}"),
            format!("OTHER={own}"),
            "LISTEN_PIDFDID=7".into(),
            format!("WATCHDOG_PID={own}1"),
        ];
        let (env, variables) = environment(words.iter().map(|word| word.as_bytes().to_vec()).collect()).unwrap();
        assert_eq!(env.iter().collect::<Vec<_>>(), [words[1].as_bytes(), words[3].as_bytes()]);
        assert_eq!(variables.len(), 1);
    }
}
