//! The children: from a process's options to a pid with its pipes, from its pipes to its logs, and its end.
//!
//! One `waitpid(-1)` loop is the only waiter. Where a program has `sweep`, a dead leader is looked at before it is reaped:
//! as long as others live in its process group it stays a zombie, so that the group's number cannot be given to anybody else.

use super::environment::Surroundings;
use super::fcgi::Sockets;
use super::{Kind, token};
use crate::config::model::{ChannelConfig, ProcessConfig};
use crate::config::values::{repr, split_command};
use crate::events::Capture;
use crate::logs::{ChildLog, Flow, SinkId, Sinks};
use crate::machine;
use crate::posix::Exit;
use crate::rpc::Channel;
use crate::supervision::{Fault, FaultCode, ProcId, Process};
use crate::sys::fds::{Pipe, pipe_from_child, pipe_to_child};
use crate::sys::poll::{Interest, Poll};
use crate::sys::program::find_program;
use crate::sys::spawn::{Credentials, SpawnPlan, Words, spawn};
use crate::sys::{Pid, errno, reap};
use crate::time::Now;
use nix::errno::Errno;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::rc::Rc;

/// How much one read takes: as much as a pipe holds.
const READ_BYTES: usize = 64 * 1024;

/// So many reads empty the largest pipe that an ordinary user can make (1 MiB); what a surviving grandchild goes on
/// writing has no end.
const DRAIN_READS: usize = 17;

/// What may wait for a program that does not read its stdin.
const STDIN_LIMIT: usize = 1024 * 1024;

/// The reading end of a child's pipe, and where its bytes go.
#[derive(Debug)]
struct Reader {
    fd: OwnedFd,
    log: ChildLog,
    token: u64,
    /// Its sink takes no more for now: the pipe is not watched, and the program blocks when it is full.
    is_paused: bool,
    id: ProcId,
    pid: Pid,
    channel: Channel,
    capture: Option<Box<Capture>>,
    /// Its bytes are an event listener's words.
    is_protocol: bool,
    /// PROCESS_LOG events are wanted.
    has_events: bool,
}

/// What somebody wants to know of a program's output.
#[derive(Debug)]
pub struct Heard {
    /// Whose.
    pub id: ProcId,
    /// The child that wrote it.
    pub pid: Pid,
    /// Where.
    pub channel: Channel,
    /// What it is.
    pub what: What,
    /// As in the log; a listener's words as they came.
    pub bytes: Vec<u8>,
}

/// What a part of the output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// What goes to the log, or is being captured; for a PROCESS_LOG event, if so set.
    Output {
        /// It is set so.
        has_events: bool,
    },
    /// All that stood between two tokens.
    Communication,
    /// An event listener's words.
    Protocol,
}

/// The writing end of a child's stdin.
#[derive(Debug)]
struct Stdin {
    fd: OwnedFd,
    queue: VecDeque<u8>,
}

/// One process's running child.
#[derive(Debug)]
struct Child {
    sweep: bool,
    stdin: Option<Stdin>,
    stdout: Option<Reader>,
    stderr: Option<Reader>,
    /// What it shares with its FastCGI group, held for as long as it lives.
    socket: Option<Rc<OwnedFd>>,
}

impl Reader {
    /// Hands what was read to the log, and to who else wants it.
    fn take(&mut self, bytes: &[u8], copying: bool, heard: &mut Vec<Heard>, sinks: &mut Sinks, now: Now) {
        let (id, pid, channel, has_events) = (self.id, self.pid, self.channel, self.has_events);
        let mut hear = |what, bytes| heard.push(Heard { id, pid, channel, what, bytes });
        let output = What::Output { has_events };
        let is_wanted = |text: &[u8]| (copying || has_events) && !text.is_empty();
        if self.is_protocol {
            self.log.write(bytes, sinks, now);
            return hear(What::Protocol, bytes.to_vec());
        }
        let Some(capture) = &mut self.capture else {
            let text = self.log.write(bytes, sinks, now);
            return if is_wanted(text) {
                hear(output, text.to_vec())
            };
        };
        for piece in capture.cut(bytes) {
            let text = if piece.is_inside {
                let text = self.log.strip(&piece.text);
                capture.keep(&text);
                text
            } else {
                self.log.write(&piece.text, sinks, now).to_vec()
            };
            if is_wanted(&text) {
                hear(output, text);
            }
            if piece.is_last {
                hear(What::Communication, capture.take());
            }
        }
    }

    /// At the end of the pipe.
    fn close(&mut self, copying: bool, heard: &mut Vec<Heard>, sinks: &mut Sinks, now: Now) {
        if let Some(mut capture) = self.capture.take() {
            let rest = capture.finish();
            self.take(&rest, copying, heard, sinks, now);
        }
        self.log.close(sinks, now);
    }
}

/// All children.
#[derive(Debug)]
pub struct Children {
    by_pid: BTreeMap<Pid, ProcId>,
    by_id: Vec<Option<Box<Child>>>,
    /// Pipes of dead children whose sink is blocked: read to their end when it is not.
    lingering: Vec<Option<Box<Reader>>>,
    /// Dead leaders that are not reaped yet, because others live in their group.
    held: BTreeSet<Pid>,
    /// While one is held: zombies that the glance has shown, not taken yet.
    found: Vec<Pid>,
    /// What /proc showed in this turn of the loop: one look has to do for all that end together.
    glance: Option<Vec<Stat>>,
    /// How many live children have `sweep`.
    sweepers: usize,
    buffer: Box<[u8]>,
    /// The sockets that FastCGI programs share.
    pub sockets: Sockets,
    /// What was read is wanted for the main log too (its level is debug).
    pub copying: bool,
    /// What was read, and is wanted, since this was last emptied.
    pub heard: Vec<Heard>,
}

/// A process that has ended.
#[derive(Debug)]
pub struct Death {
    /// Its number.
    pub pid: Pid,
    /// How.
    pub exit: Exit,
    /// Whose it was; `None`: an orphan's.
    pub id: Option<ProcId>,
    /// Others live in its process group (looked at with `sweep` only); it is not reaped yet.
    pub remains: bool,
}

impl Default for Children {
    fn default() -> Self {
        Children {
            by_pid: BTreeMap::new(),
            by_id: Vec::new(),
            lingering: Vec::new(),
            held: BTreeSet::new(),
            found: Vec::new(),
            glance: None,
            sweepers: 0,
            sockets: Sockets::default(),
            buffer: vec![0; READ_BYTES].into(),
            copying: false,
            heard: Vec::new(),
        }
    }
}

impl Children {
    /// Starts a child; the error is what Supervisor would say (census §4.5). It leaves the logs to the caller, to be closed.
    pub fn spawn(
        &mut self,
        id: ProcId,
        process: &Process,
        (program, words): &(CString, Vec<String>),
        logs: &mut [Option<ChildLog>; 2],
        around: &Surroundings,
        poll: &Poll,
    ) -> Result<Pid, String> {
        let config = &*process.config;
        let name = &config.name;
        let argv = Words::of(words).map_err(|error| format!("can't parse command '{}': {error}", config.command))?;
        let env = around.environment_of(process).map_err(|error| format!("bad environment of '{name}': {error}"))?;
        let directory = config.directory.as_deref().map(|path| CString::new(path.as_os_str().as_bytes()));
        let directory = directory.transpose().map_err(|error| format!("bad directory of '{name}': {error}"))?;
        let socket = self.sockets.of(&process.group);
        let pipes = open_pipes(config, socket.is_some()).map_err(|error| match error.raw_os_error() {
            Some(libc::EMFILE) => format!("too many open files to spawn '{name}'"),
            _ => format!("unknown error making pipes for '{name}': {}", errno::name(&error)),
        })?;
        // Looked up at each spawn, as by Supervisor: a user's groups may have changed since the configuration was read.
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
            directory: directory.as_deref(),
            umask: config.umask,
            credentials: other.zip(groups.as_ref()).map(|(user, groups)| Credentials {
                uid: user.uid,
                gid: groups.primary,
                groups: &groups.all,
            }),
            limits: &around.limits,
            ..SpawnPlan::new(program, &argv, &env, around.mask)
        };
        let pid = spawn(&plan).map_err(|error| match error.raw_os_error() {
            Some(libc::EAGAIN) => format!("Too many processes in process table to spawn '{name}'"),
            _ => format!("unknown error during fork for '{name}': {}", errno::name(&error)),
        })?;
        self.insert(id, pid, process, pipes.map(|pipe| pipe.map(|pipe| pipe.ours)), std::mem::take(logs), poll);
        if let Some(child) = self.child_mut(id) {
            child.socket = socket;
        }
        Ok(pid)
    }

    fn insert(
        &mut self,
        id: ProcId,
        pid: Pid,
        process: &Process,
        [stdin, stdout, stderr]: [Option<OwnedFd>; 3],
        [stdout_log, stderr_log]: [Option<ChildLog>; 2],
        poll: &Poll,
    ) {
        let sweep = process.config.sweep;
        let reader = |fd: Option<OwnedFd>, log: Option<ChildLog>, kind, channel, config: &ChannelConfig| {
            let (fd, log) = fd.zip(log)?;
            let token = token(kind, id);
            // Without memory for the watch the output cannot be had; the program goes on.
            poll.add(&fd, token, Interest::Read).ok()?;
            let is_protocol = channel == Channel::Stdout && process.is_listener();
            let capture = (config.capture_maxbytes > 0 && !is_protocol).then_some(config.capture_maxbytes);
            Some(Reader {
                fd,
                log,
                token,
                is_paused: false,
                id,
                pid,
                channel,
                capture: capture.map(|bytes| Box::new(Capture::new(bytes))),
                is_protocol,
                has_events: config.events_enabled && !is_protocol,
            })
        };
        let config = &process.config;
        let child = Child {
            sweep,
            stdin: stdin.map(|fd| Stdin { fd, queue: VecDeque::new() }),
            stdout: reader(stdout, stdout_log, Kind::Stdout, Channel::Stdout, &config.stdout),
            stderr: reader(stderr, stderr_log, Kind::Stderr, Channel::Stderr, &config.stderr),
            socket: None,
        };
        let place = usize::try_from(id).unwrap_or(usize::MAX);
        if place >= self.by_id.len() {
            self.by_id.resize_with(place.saturating_add(1), || None);
        }
        if let Some(slot) = self.by_id.get_mut(place) {
            *slot = Some(Box::new(child));
        }
        self.by_pid.insert(pid, id);
        self.sweepers = self.sweepers.saturating_add(usize::from(sweep));
    }

    /// Forgets whose the children are: what of an earlier configuration could not be ended is an orphan from now on.
    pub fn disown(&mut self) {
        self.by_pid.clear();
        self.by_id.clear();
        self.held.clear();
        self.found.clear();
        self.sweepers = 0;
    }

    /// The next process that has ended, its own or adopted. Call it until there is none: no zombie outlives a turn but
    /// those that are held.
    pub fn next_death(&mut self) -> Option<Death> {
        if self.sweepers == 0 && self.held.is_empty() {
            let (pid, exit) = reap::reap_any()?;
            return Some(Death { pid, exit, id: self.by_pid.get(&pid).copied(), remains: false });
        }
        let (pid, exit) = self.peek_past_held()?;
        let id = self.by_pid.get(&pid).copied();
        let sweep = id.and_then(|id| self.child(id)).is_some_and(|child| child.sweep);
        let remains = sweep && self.group_lives(pid);
        if remains {
            self.held.insert(pid);
        } else {
            reap::reap(pid)?;
        }
        Some(Death { pid, exit, id, remains })
    }

    /// The next zombie that is not held. The kernel shows the same one again and again, so with one held they are found
    /// in /proc: all with one look. Who dies after it sends a SIGCHLD that brings the next.
    fn peek_past_held(&mut self) -> Option<(Pid, Exit)> {
        if self.held.is_empty() {
            self.found.clear();
            return reap::peek_any();
        }
        if self.found.is_empty() {
            let ours = nix::unistd::getpid().as_raw();
            let all = self.glance.get_or_insert_with(|| stats().collect());
            self.found = all.iter().filter(|stat| stat.ppid == ours && stat.is_dead).map(|stat| stat.pid).collect();
        }
        while let Some(pid) = self.found.pop() {
            if !self.held.contains(&pid)
                && let Some(exit) = reap::peek(pid)
            {
                return Some((pid, exit));
            }
        }
        None
    }

    /// Time has passed: what /proc showed is old. To be called before deaths or groups are looked at.
    pub fn blink(&mut self) {
        self.glance = None;
    }

    /// Whether anything but zombies is in the process group of this dead leader, as /proc tells.
    fn group_lives(&mut self, leader: Pid) -> bool {
        // A glance from before its death may lack what it forked since.
        let was_dead = |all: &Vec<Stat>| all.iter().any(|stat| stat.pid == leader && stat.is_dead);
        let glance = self.glance.take().filter(was_dead).unwrap_or_else(|| stats().collect());
        self.glance.insert(glance).iter().any(|stat| stat.pgrp == leader && !stat.is_dead)
    }

    /// Ends the hold on a dead leader if its group is empty by now; whether it is.
    pub fn release_if_empty(&mut self, pgid: Pid) -> bool {
        if !self.held.contains(&pgid) {
            return true;
        }
        let empty = !self.group_lives(pgid);
        if empty {
            self.release(pgid);
        }
        empty
    }

    /// Reaps a dead leader that was held; its group's number is anybody's from now on.
    pub fn release(&mut self, pgid: Pid) {
        if self.held.remove(&pgid) {
            reap::reap(pgid);
        }
    }

    /// Reads what a dead child has left in its pipes, and closes them; a pipe whose sink is blocked is read later.
    pub fn bury(&mut self, pid: Pid, sinks: &mut Sinks, poll: &Poll, now: Now) {
        let Some(child) = self.by_pid.remove(&pid).and_then(|id| self.take(id)) else { return };
        let Child { stdout, stderr, sweep, .. } = *child;
        self.sweepers = self.sweepers.saturating_sub(usize::from(sweep));
        for reader in [stdout, stderr].into_iter().flatten() {
            self.drain(reader, sinks, poll, now);
        }
    }

    fn drain(&mut self, mut reader: Reader, sinks: &mut Sinks, poll: &Poll, now: Now) {
        for _ in 0..DRAIN_READS {
            if let Flow::Blocked(stream) = reader.log.flow(sinks) {
                return self.linger(reader, stream, sinks, poll);
            }
            match nix::unistd::read(&reader.fd, &mut self.buffer) {
                Ok(count @ 1..) => {
                    let bytes = self.buffer.get(..count).unwrap_or_default();
                    reader.take(bytes, self.copying, &mut self.heard, sinks, now);
                }
                Err(Errno::EINTR) => {}
                Ok(_) | Err(_) => break,
            }
        }
        reader.close(self.copying, &mut self.heard, sinks, now);
    }

    fn linger(&mut self, mut reader: Reader, stream: SinkId, sinks: &mut Sinks, poll: &Poll) {
        if !reader.is_paused {
            let _ = poll.remove(&reader.fd);
        }
        let place = self.lingering.iter().position(Option::is_none).unwrap_or(self.lingering.len());
        reader.token = token(Kind::Lingering, u32::try_from(place).unwrap_or(u32::MAX));
        reader.is_paused = true;
        sinks.park(stream, reader.token);
        match self.lingering.get_mut(place) {
            Some(slot) => *slot = Some(Box::new(reader)),
            None => self.lingering.push(Some(Box::new(reader))),
        }
    }

    /// Reads once from a pipe that is ready and hands the bytes on.
    pub fn read(&mut self, kind: Kind, n: u32, sinks: &mut Sinks, poll: &Poll, now: Now) {
        let Some(slot) = reader_slot(&mut self.by_id, kind, n) else { return };
        let Some(reader) = slot else { return };
        // The watch ends with the pause: a pipe without a writer would be told as ready again and again.
        if let Flow::Blocked(stream) = reader.log.flow(sinks) {
            reader.is_paused = true;
            let _ = poll.remove(&reader.fd);
            return sinks.park(stream, reader.token);
        }
        match nix::unistd::read(&reader.fd, &mut self.buffer) {
            Ok(count @ 1..) => {
                let bytes = self.buffer.get(..count).unwrap_or_default();
                reader.take(bytes, self.copying, &mut self.heard, sinks, now);
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // The child and all who inherited the pipe have closed it.
            Ok(_) | Err(_) => {
                if let Some(mut reader) = slot.take() {
                    reader.close(self.copying, &mut self.heard, sinks, now);
                }
            }
        }
    }

    /// The sink for which this pipe waited has room again.
    pub fn resume(&mut self, kind: Kind, n: u32, sinks: &mut Sinks, poll: &Poll, now: Now) {
        if kind == Kind::Lingering {
            let slot = usize::try_from(n).ok().and_then(|place| self.lingering.get_mut(place));
            if let Some(reader) = slot.and_then(Option::take) {
                self.drain(*reader, sinks, poll, now);
            }
            return;
        }
        let reader = reader_slot(&mut self.by_id, kind, n).and_then(Option::as_mut);
        if let Some(reader) = reader.filter(|reader| reader.is_paused) {
            reader.is_paused = poll.add(&reader.fd, reader.token, Interest::Read).is_err();
        }
    }

    /// Queues bytes for a child's stdin, if there is room, and writes what it takes now.
    pub fn write_stdin(&mut self, id: ProcId, bytes: &[u8], poll: &Poll) -> Result<(), Fault> {
        let stdin = self.child_mut(id).and_then(|child| child.stdin.as_mut());
        if stdin.is_some_and(|stdin| stdin.queue.len().saturating_add(bytes.len()) > STDIN_LIMIT) {
            return Err(Fault::new(FaultCode::Failed, "the program does not read its stdin"));
        }
        self.send(id, bytes, poll)
    }

    /// The same, however long it is: for an event, of which a listener has one at a time.
    pub fn send(&mut self, id: ProcId, bytes: &[u8], poll: &Poll) -> Result<(), Fault> {
        let fault = |extra: &str| Fault::new(FaultCode::NoFile, extra);
        let stdin = self.child_mut(id).and_then(|child| child.stdin.as_mut()).ok_or_else(|| fault(""))?;
        let idle = stdin.queue.is_empty();
        stdin.queue.extend(bytes);
        if idle && self.flush_stdin(id, poll).is_none() {
            return Err(fault(""));
        }
        Ok(())
    }

    /// Writes what a child's stdin takes; `None`: it is closed.
    pub fn flush_stdin(&mut self, id: ProcId, poll: &Poll) -> Option<()> {
        let token = token(Kind::Stdin, id);
        let child = self.child_mut(id)?;
        let stdin = child.stdin.as_mut()?;
        while !stdin.queue.is_empty() {
            match nix::unistd::write(&stdin.fd, stdin.queue.as_slices().0) {
                Ok(count) => drop(stdin.queue.drain(..count.min(stdin.queue.len()))),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    // Added once, modified never: it is removed as soon as the queue is empty.
                    let _ = poll.add(&stdin.fd, token, Interest::Write);
                    return Some(());
                }
                Err(_) => {
                    child.stdin = None;
                    return None;
                }
            }
        }
        stdin.queue = VecDeque::new();
        let _ = poll.remove(&stdin.fd);
        Some(())
    }

    /// The logs of a running child, for `clear` and reopening.
    pub fn logs_mut(&mut self) -> impl Iterator<Item = &mut ChildLog> {
        let children = self.by_id.iter_mut().flatten();
        children
            .flat_map(|child| [child.stdout.as_mut(), child.stderr.as_mut()])
            .flatten()
            .map(|reader| &mut reader.log)
    }

    /// The logs of one running child.
    pub fn logs_of(&mut self, id: ProcId) -> impl Iterator<Item = &mut ChildLog> {
        let child = self.child_mut(id);
        let readers = child.map(|child| [child.stdout.as_mut(), child.stderr.as_mut()]);
        readers.into_iter().flatten().flatten().map(|reader| &mut reader.log)
    }

    fn child(&self, id: ProcId) -> Option<&Child> {
        self.by_id.get(usize::try_from(id).ok()?)?.as_deref()
    }

    fn child_mut(&mut self, id: ProcId) -> Option<&mut Child> {
        self.by_id.get_mut(usize::try_from(id).ok()?)?.as_deref_mut()
    }

    fn take(&mut self, id: ProcId) -> Option<Box<Child>> {
        self.by_id.get_mut(usize::try_from(id).ok()?)?.take()
    }
}

/// Whether a start could succeed, as far as the file is concerned (census §7.5: NO_FILE, NOT_EXECUTABLE).
pub fn probe(config: &ProcessConfig, around: &Surroundings) -> Result<(), Fault> {
    use crate::sys::program::FindError;
    let words = words_of(config).map_err(|why| Fault::new(FaultCode::NotExecutable, why))?;
    let name = words.first().map(String::as_str).unwrap_or_default();
    find_program(OsStr::new(name), around.path_of(config)).map(drop).map_err(|error| {
        let code = if matches!(error, FindError::Missing(_)) { FaultCode::NoFile } else { FaultCode::NotExecutable };
        Fault::new(code, error.to_string())
    })
}

/// The file to execute and the words of the command; the error is Supervisor's.
pub fn resolve(config: &ProcessConfig, around: &Surroundings) -> Result<(CString, Vec<String>), String> {
    let words = words_of(config)?;
    let name = words.first().map(String::as_str).unwrap_or_default();
    let program = find_program(OsStr::new(name), around.path_of(config)).map_err(|error| error.to_string())?;
    Ok((program, words))
}

fn words_of(config: &ProcessConfig) -> Result<Vec<String>, String> {
    let words = split_command(&config.command)
        .map_err(|why| format!("can't parse command {}: {why}", repr(&config.command)))?;
    if words.is_empty() { Err("command is empty".into()) } else { Ok(words) }
}

/// Pipes for 0, 1 and 2; where a socket is 0, none for that.
fn open_pipes(config: &ProcessConfig, has_socket: bool) -> io::Result<[Option<Pipe>; 3]> {
    let stderr = if config.redirect_stderr { None } else { Some(pipe_from_child()?) };
    Ok([if has_socket { None } else { Some(pipe_to_child()?) }, Some(pipe_from_child()?), stderr])
}

fn reader_slot(by_id: &mut [Option<Box<Child>>], kind: Kind, id: ProcId) -> Option<&mut Option<Reader>> {
    let child = by_id.get_mut(usize::try_from(id).ok()?)?.as_deref_mut()?;
    match kind {
        Kind::Stdout => Some(&mut child.stdout),
        Kind::Stderr => Some(&mut child.stderr),
        _ => None,
    }
}

/// What /proc/PID/stat says of a process (proc(5)).
#[derive(Debug)]
struct Stat {
    pid: Pid,
    is_dead: bool,
    ppid: Pid,
    pgrp: Pid,
}

fn stats() -> impl Iterator<Item = Stat> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let pid: Pid = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(PathBuf::from("/proc").join(pid.to_string()).join("stat")).ok()?;
        parse_stat(pid, &line)
    })
}

/// `pid (name) state ppid pgrp …`; the name may hold blanks and parentheses.
fn parse_stat(pid: Pid, line: &[u8]) -> Option<Stat> {
    let rest = line.get(memchr::memrchr(b')', line)?.checked_add(2)?..)?;
    let mut fields = std::str::from_utf8(rest).ok()?.split(' ');
    let is_dead = matches!(fields.next()?, "Z" | "X");
    Some(Stat { pid, is_dead, ppid: fields.next()?.parse().ok()?, pgrp: fields.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_name() {
        let stat = parse_stat(7, b"7 (a) Z (b) S 1 42 42 0 -1").unwrap();
        assert_eq!((stat.ppid, stat.pgrp, stat.is_dead), (1, 42, false));
        assert!(parse_stat(7, b"7 (x) Z 1 7 7").unwrap().is_dead);
        assert!(parse_stat(7, b"7 (x").is_none());
        assert!(parse_stat(7, b"").is_none());
    }
}
