//! The table of children: starts a child from the options of its process, holds its pipes, and reaps it.
//!
//! The loop reaps only here. For `sweep` see [`super::groups`].

use super::environment::ChildDefaults;
use super::fcgi::FastCgiSockets;
use super::groups::ProcessGroups;
use super::pipes::{PipeIo, PipeReader, Pipes, StdinPipe};
use super::token::{ChildId, Role, Token};
use crate::config::model::{ProcessConfig, Readiness};
use crate::config::values::{repr, split_command};
use crate::logs::ChildLog;
use crate::machine;
use crate::posix::Exit;
use crate::rpc::Channel;
use crate::supervision::{Fault, FaultCode, ProcId, Process};
use crate::sys::fds::{Pipe, pipe_from_child, pipe_to_child};
use crate::sys::poll::Poll;
use crate::sys::program::{FindError, find_program};
use crate::sys::spawn::{CStringList, Credentials, SpawnPlan, Spawned, spawn};
use crate::sys::{Pid, errno, memory, reap, signals};
use crate::text;
use crate::time::Now;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

/// How many bytes may be queued for a program that does not read its stdin.
const STDIN_LIMIT: usize = 1024 * 1024;

/// A running child.
#[derive(Debug)]
struct Child {
    sweep: bool,
    stdin: Option<StdinPipe>,
    stdout: Option<PipeReader>,
    stderr: Option<PipeReader>,
    /// The socket of its FastCGI group. It stays open as long as a child holds it.
    _socket: Option<Rc<OwnedFd>>,
}

impl Child {
    fn readers_mut(&mut self) -> impl Iterator<Item = &mut PipeReader> {
        [self.stdout.as_mut(), self.stderr.as_mut()].into_iter().flatten()
    }
}

/// A child that has been started and is not in the table yet.
#[derive(Debug)]
pub struct StartedChild {
    /// Its pid.
    pub pid: Pid,
    /// Our ends of the pipes to its stdin, and from its stdout and stderr.
    ends: [Option<OwnedFd>; 3],
    socket: Option<Rc<OwnedFd>>,
    /// Our end of the pipe of `ready=fd:N`.
    pub ready: Option<OwnedFd>,
    /// Why it could not execute its program; it exits with 127.
    pub failure: Option<String>,
}

/// All children.
#[derive(Debug, Default)]
pub struct Children {
    by_pid: BTreeMap<Pid, ChildId>,
    by_id: BTreeMap<ChildId, Box<Child>>,
    /// Hooks that were killed and are still to be reaped.
    killed: BTreeSet<Pid>,
    /// The process groups of dead leaders.
    pub groups: ProcessGroups,
    /// How many live children have `sweep`.
    sweepers: usize,
    /// What reads and writes the pipes.
    pub pipes: Pipes,
    /// The sockets that FastCGI programs share.
    pub sockets: FastCgiSockets,
}

/// A process that has ended.
#[derive(Debug)]
pub struct Death {
    /// Its pid.
    pub pid: Pid,
    /// How it ended.
    pub exit: Exit,
    /// The child; `None` for an orphan.
    pub id: Option<ChildId>,
    /// Other members of its process group live, so it is not reaped yet. Determined only with `sweep`.
    pub remains: bool,
}

impl Children {
    /// Starts a child with `more` variables. Pass it to [`Children::insert`]. The error is Supervisor's message
    /// (supervisor-behaviour.md §4.5).
    pub fn start(
        &self,
        role: Role,
        process: &Process,
        (program, words): &(CString, Vec<OsString>),
        defaults: &ChildDefaults,
        more: &[(&str, String)],
    ) -> Result<StartedChild, String> {
        let config = &*process.config;
        let name = &config.name;
        let argv = CStringList::of(words.iter().map(|word| word.as_bytes()))
            .map_err(|error| format!("can't parse command '{}': {error}", config.command))?;
        let env =
            defaults.environment_of(process, more).map_err(|error| format!("bad environment of '{name}': {error}"))?;
        let directory = config.directory.as_deref().map(|path| CString::new(path.as_os_str().as_bytes()));
        let directory = directory.transpose().map_err(|error| format!("bad directory of '{name}': {error}"))?;
        let socket = self.sockets.of(&process.group).filter(|_| role == Role::Program);
        let pipes = open_pipes(config, socket.is_some()).map_err(|error| match error.raw_os_error() {
            Some(libc::EMFILE) => format!("too many open files to spawn '{name}'"),
            _ => format!("unknown error making pipes for '{name}': {}", errno::name(&error)),
        })?;
        let ready = match config.lifecycle.ready {
            Some(Readiness::Fd(number)) if role == Role::Program => Some((pipe_from_child(), number)),
            _ => None,
        };
        let ready = ready.map(|(pipe, number)| pipe.map(|pipe| (pipe, number))).transpose();
        let ready = ready.map_err(|error| format!("cannot make the pipe of ready=fd: {}", errno::name(&error)))?;
        // Looked up at each spawn, as Supervisor does: the groups may have changed since the configuration was read.
        let other = config.user.as_deref().filter(|user| user.uid != nix::unistd::getuid().as_raw());
        let groups = other.map(machine::groups_of).transpose();
        let groups = groups.map_err(|why| format!("cannot look up the groups of the user of '{name}': {why}"))?;
        let [stdin, stdout, stderr] = pipes.each_ref().map(|pipe| pipe.as_ref().map(|pipe| pipe.childs.as_fd()));
        let plan = SpawnPlan {
            stdio: [
                socket.as_ref().map(|socket| socket.as_fd()).or(stdin),
                stdout,
                if config.redirect_stderr { stdout } else { stderr },
            ],
            extra: ready.as_ref().map(|(pipe, number)| (pipe.childs.as_fd(), *number)),
            directory: directory.as_deref(),
            umask: config.umask,
            credentials: other.zip(groups.as_ref()).map(|(user, groups)| Credentials {
                uid: user.uid,
                gid: groups.primary,
                groups: &groups.all,
            }),
            limits: &defaults.limits,
            ..SpawnPlan::new(std::slice::from_ref(program), &argv, &env, defaults.mask)
        };
        let Spawned { pid, failure } = spawn(&plan).map_err(|error| match error.raw_os_error() {
            Some(libc::EAGAIN) => format!("Too many processes in process table to spawn '{name}'"),
            _ => format!("unknown error during fork for '{name}': {}", errno::name(&error)),
        })?;
        if let (Some(failure), Some(stderr)) = (&failure, plan.stdio.last().copied().flatten()) {
            // Supervisor's child writes this itself. The pipe is empty, so it has room for PIPE_BUF bytes.
            let text = format!("supervisor: couldn't {failure}\nsupervisor: child process was not spawned\n");
            let _ = nix::unistd::write(stderr, text.as_bytes().get(..libc::PIPE_BUF).unwrap_or(text.as_bytes()));
        }
        let failure = failure.map(|failure| format!("couldn't {}", failure.reason()));
        let ready = ready.map(|(pipe, _)| pipe.ours);
        Ok(StartedChild { pid, ends: pipes.map(|pipe| pipe.map(|pipe| pipe.ours)), socket, ready, failure })
    }

    /// Adds a started child, and watches its pipes.
    pub fn insert(
        &mut self,
        id: ChildId,
        process: &Process,
        started: &mut StartedChild,
        logs: [Option<ChildLog>; 2],
        poll: &Poll,
        now: Now,
    ) {
        let [stdin, stdout, stderr] = std::mem::take(&mut started.ends);
        let (pid, socket) = (started.pid, started.socket.take());
        let [stdout_log, stderr_log] = logs;
        let mut reader = |fd: Option<OwnedFd>, log: Option<ChildLog>, channel| {
            let (fd, log) = fd.zip(log)?;
            let mut reader = PipeReader::new(fd, log, id, process, pid, channel);
            self.pipes.watch(&mut reader, poll, now);
            Some(reader)
        };
        let child = Child {
            sweep: process.config.sweep && id.role == Role::Program,
            // A hook reads the end of its stdin at once.
            stdin: stdin.filter(|_| id.role == Role::Program).map(|fd| StdinPipe::new(fd, id)),
            stdout: reader(stdout, stdout_log, Channel::Stdout),
            stderr: reader(stderr, stderr_log, Channel::Stderr),
            _socket: socket,
        };
        self.sweepers = self.sweepers.saturating_add(usize::from(child.sweep));
        self.by_pid.insert(pid, id);
        self.by_id.insert(id, Box::new(child));
    }

    /// Treats all children as orphans: they belong to an earlier configuration and could not be stopped.
    pub fn forget_processes(&mut self, io: &mut PipeIo<'_>) {
        for (_, child) in std::mem::take(&mut self.by_id) {
            let Child { stdout, stderr, .. } = *child;
            for reader in [stdout, stderr].into_iter().flatten() {
                self.pipes.outlive(reader, io);
            }
        }
        self.pipes.forget_processes();
        self.by_pid.clear();
        self.groups.clear();
        self.sweepers = 0;
    }

    /// The next process that has ended, a child or an adopted orphan. Call it until it returns `None`, so that no zombie but the
    /// held ones outlives a turn.
    pub fn next_death(&mut self) -> Option<Death> {
        loop {
            let death = self.next_zombie()?;
            if !self.killed.remove(&death.pid) {
                return Some(death);
            }
        }
    }

    fn next_zombie(&mut self) -> Option<Death> {
        if self.sweepers == 0 && !self.groups.holds_any() {
            let (pid, exit) = reap::reap_any()?;
            return Some(Death { pid, exit, id: self.by_pid.get(&pid).copied(), remains: false });
        }
        let (pid, exit) = self.groups.next_zombie()?;
        let id = self.by_pid.get(&pid).copied();
        let sweep = id.and_then(|id| self.by_id.get(&id)).is_some_and(|child| child.sweep);
        let remains = sweep && self.groups.hold_if_alive(pid);
        if !remains {
            reap::reap(pid)?;
        }
        Some(Death { pid, exit, id, remains })
    }

    /// A child has ended: reads the rest of its pipes. Each is then closed, or orphaned.
    pub fn finish_child(&mut self, pid: Pid, io: &mut PipeIo<'_>) {
        let Some(child) = self.by_pid.remove(&pid).and_then(|id| self.by_id.remove(&id)) else { return };
        let Child { stdout, stderr, sweep, .. } = *child;
        self.sweepers = self.sweepers.saturating_sub(usize::from(sweep));
        for reader in [stdout, stderr].into_iter().flatten() {
            self.pipes.outlive(reader, io);
        }
    }

    /// Kills a hook with its process group. Its end is not reported.
    pub fn kill(&mut self, id: ChildId, io: &mut PipeIo<'_>) {
        let Some(pid) = self.by_pid.iter().find(|(_, own)| **own == id).map(|(pid, _)| *pid) else { return };
        // The first fails if the hook has left its group. The second fails only if it has ended.
        let _ = signals::send_group(pid, libc::SIGKILL);
        let _ = signals::send(pid, libc::SIGKILL);
        self.killed.insert(pid);
        self.finish_child(pid, io);
    }

    /// A pipe is ready.
    pub fn read(&mut self, token: Token, io: &mut PipeIo<'_>) {
        if let Token::Orphaned(number) = token {
            self.pipes.read_orphaned(number, io);
        } else if let Some(slot) = reader_slot(&mut self.by_id, token) {
            self.pipes.read(slot, io);
        }
    }

    /// The sink for which this pipe waited has room again.
    pub fn resume(&mut self, token: Token, io: &mut PipeIo<'_>) {
        if let Token::Orphaned(number) = token {
            self.pipes.resume_orphaned(number, io.poll, io.now);
        } else if let Some(reader) = reader_slot(&mut self.by_id, token).and_then(Option::as_mut) {
            self.pipes.resume(reader, io.poll, io.now);
        }
    }

    /// Retries the pipes that could not be watched, read or written.
    pub fn retry(&mut self, poll: &Poll, now: Now) {
        if !self.pipes.begin_retry(now) {
            return;
        }
        for child in self.by_id.values_mut() {
            for reader in child.readers_mut() {
                self.pipes.retry(reader, poll, now);
            }
            if let Some(stdin) = child.stdin.as_mut().filter(|stdin| stdin.is_unwatched)
                && self.pipes.flush_stdin(stdin, poll, now).is_none()
            {
                child.stdin = None;
            }
        }
        self.pipes.retry_orphaned(poll, now);
    }

    /// The tokens of all pipes from children.
    pub fn reading(&self) -> impl Iterator<Item = Token> {
        let children = self.by_id.keys().flat_map(|&id| [Token::Stdout(id), Token::Stderr(id)]);
        children.chain(self.pipes.orphaned())
    }

    /// Queues bytes for a child's stdin if there is room, and writes as many as it takes now.
    pub fn write_stdin(&mut self, id: ChildId, bytes: &[u8], poll: &Poll, now: Now) -> Result<(), Fault> {
        let stdin = self.by_id.get(&id).and_then(|child| child.stdin.as_ref());
        let queued = stdin.map_or(0, StdinPipe::queued).saturating_add(bytes.len());
        if queued > STDIN_LIMIT {
            return Err(Fault::new(FaultCode::Failed, "the program does not read its stdin"));
        }
        if !memory::has_room(queued.saturating_mul(2)) {
            return Err(Fault::new(FaultCode::Failed, "not enough memory"));
        }
        self.send(id, bytes, poll, now)
    }

    /// Like `write_stdin`, but without a limit: for an event, since a listener has only one at a time.
    pub fn send(&mut self, id: ChildId, bytes: &[u8], poll: &Poll, now: Now) -> Result<(), Fault> {
        let closed = || Fault::new(FaultCode::NoFile, "");
        let stdin = self.by_id.get_mut(&id).and_then(|child| child.stdin.as_mut()).ok_or_else(closed)?;
        let is_idle = stdin.queued() == 0;
        stdin.push(bytes);
        if is_idle && self.flush_stdin(id, poll, now).is_none() {
            return Err(closed());
        }
        Ok(())
    }

    /// Writes as many queued bytes as a child's stdin takes; `None` if it is closed.
    pub fn flush_stdin(&mut self, id: ChildId, poll: &Poll, now: Now) -> Option<()> {
        let child = self.by_id.get_mut(&id)?;
        let flushed = self.pipes.flush_stdin(child.stdin.as_mut()?, poll, now);
        if flushed.is_none() {
            child.stdin = None;
        }
        flushed
    }

    /// The logs of all children and of orphaned pipes, for reopening.
    pub fn logs_mut(&mut self) -> impl Iterator<Item = &mut ChildLog> {
        let children = self.by_id.values_mut().flat_map(|child| child.readers_mut()).map(PipeReader::log_mut);
        children.chain(self.pipes.logs_mut())
    }

    /// The program has written the line that shows that it is ready: the rest of its output is not matched.
    pub fn stop_matching(&mut self, id: ProcId) {
        let child = self.by_id.get_mut(&ChildId::program(id));
        child.into_iter().flat_map(|child| child.readers_mut()).for_each(|reader| reader.matcher = None);
    }

    /// The logs of one child.
    pub fn logs_of(&mut self, id: ChildId) -> impl Iterator<Item = &mut ChildLog> {
        self.by_id.get_mut(&id).into_iter().flat_map(|child| child.readers_mut()).map(PipeReader::log_mut)
    }

    /// Whether each child is in both tables.
    pub fn is_consistent(&self) -> bool {
        self.by_pid.len() == self.by_id.len() && self.by_pid.values().all(|id| self.by_id.contains_key(id))
    }
}

/// Finds the file to execute, and splits the command into words. The fault is NO_FILE or NOT_EXECUTABLE
/// (supervisor-behaviour.md §7.5), with Supervisor's message.
pub fn find_command(
    config: &ProcessConfig,
    command: &str,
    defaults: &ChildDefaults,
) -> Result<(CString, Vec<OsString>), Fault> {
    let words = words_of(command).map_err(|why| Fault::new(FaultCode::NotExecutable, why))?;
    let name = words.first().map(OsString::as_os_str).unwrap_or_default();
    let program = find_program(name, defaults.path_of(config).as_deref()).map_err(|error| {
        let code = if matches!(error, FindError::Missing(_)) { FaultCode::NoFile } else { FaultCode::NotExecutable };
        Fault::new(code, error.to_string())
    })?;
    Ok((program, words))
}

fn words_of(command: &str) -> Result<Vec<OsString>, String> {
    let words = split_command(command).map_err(|why| format!("can't parse command {}: {why}", repr(command)))?;
    if words.is_empty() {
        return Err("command is empty".into());
    }
    Ok(words.iter().map(|word| text::to_os(word)).collect())
}

/// Pipes for descriptors 0, 1 and 2. None for 0 if that is a socket, and none for 2 if it is the stdout pipe.
fn open_pipes(config: &ProcessConfig, has_socket: bool) -> io::Result<[Option<Pipe>; 3]> {
    let stderr = if config.redirect_stderr { None } else { Some(pipe_from_child()?) };
    Ok([if has_socket { None } else { Some(pipe_to_child()?) }, Some(pipe_from_child()?), stderr])
}

fn reader_slot(by_id: &mut BTreeMap<ChildId, Box<Child>>, token: Token) -> Option<&mut Option<PipeReader>> {
    match token {
        Token::Stdout(id) => Some(&mut by_id.get_mut(&id)?.stdout),
        Token::Stderr(id) => Some(&mut by_id.get_mut(&id)?.stderr),
        _ => None,
    }
}
