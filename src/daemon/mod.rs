//! The shell around `supervision`: the loop. It waits, reads what happened, lets the brain decide, and does what it says.
//!
//! ```text
//! turn:  Woke (deadlines that have passed) → settle: effects out, their outcomes in, until none is left
//!        → wait for readiness until the next deadline; no tick → serve in this order:
//!        signals (and with them every death) → children's pipes → sinks with room again → listeners → connections
//! ```

mod children;
mod environment;
mod fcgi;
mod host;
mod listeners;
mod startup;

pub use startup::{main, print_version};

use crate::config::Loaded;
use crate::config::model::{HttpServerConfig, LogLevel};
use crate::events::Events;
use crate::logs::{Journal, Level, SinkId, Sinks};
use crate::posix::SignalName;
use crate::server::Server;
use crate::supervision::{Effect, Finish, Input, Mood, ProcId, Purpose, SignalResult, Supervision};
use crate::sys::poll::{Interest, Poll, Ready};
use crate::sys::signals::{self, Signals};
use crate::sys::{Pid, clock};
use crate::time::{Mono, Now};
use children::Children;
use environment::Surroundings;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;
use supervisor_signals::{HUP, INT, QUIT, TERM, USR2};

/// The signals that mean something to a supervisor (census §5).
mod supervisor_signals {
    pub(super) const HUP: i32 = libc::SIGHUP;
    pub(super) const INT: i32 = libc::SIGINT;
    pub(super) const QUIT: i32 = libc::SIGQUIT;
    pub(super) const TERM: i32 = libc::SIGTERM;
    pub(super) const USR2: i32 = libc::SIGUSR2;
}

/// What a token of the poll means; the order is the order of service. Clients come before pipes: one that asks need not wait
/// until all that programs have written is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The signal descriptor.
    Signals,
    /// A listening socket.
    Listener,
    /// A client.
    Connection,
    /// A child's stdout.
    Stdout,
    /// A child's stderr.
    Stderr,
    /// A child's stdin.
    Stdin,
    /// A dead child's pipe.
    Lingering,
    /// A stream that has something queued.
    Stream,
}

const KINDS: [Kind; 8] = [
    Kind::Signals,
    Kind::Listener,
    Kind::Connection,
    Kind::Stdout,
    Kind::Stderr,
    Kind::Stdin,
    Kind::Lingering,
    Kind::Stream,
];

/// The poll's token of the n-th thing of a kind.
#[must_use]
pub fn token(kind: Kind, n: u32) -> u64 {
    (kind as u64) << 32 | u64::from(n)
}

fn split_token(token: u64) -> Option<(Kind, u32)> {
    let kind = KINDS.get(usize::try_from(token >> 32).ok()?)?;
    Some((*kind, u32::try_from(token & u64::from(u32::MAX)).ok()?))
}

/// How often orphans are mentioned at the most.
const ORPHANS_EVERY: Duration = Duration::from_secs(1);

/// In one turn of the loop programs are forked for so long.
const FORKS_A_TURN: Duration = Duration::from_millis(5);

/// At the end, output that a reader may still take is waited for so long.
const LAST_OUTPUT: Duration = Duration::from_millis(50);

/// How the loop ended.
enum Ended {
    /// Begin anew with this configuration.
    Reload(Box<Loaded>),
    /// End the process.
    Exit(u8, String),
}

/// Orphans reaped and not yet mentioned.
#[derive(Debug, Default)]
struct Orphans {
    count: u64,
    last: String,
    quiet_until: Mono,
}

/// Everything that runs.
struct Daemon {
    supervision: Supervision,
    children: Children,
    events: Events,
    around: Surroundings,
    /// Always there, but while it acts on us.
    server: Option<Server>,
    /// What the server's sockets were made from; `None`: not started yet.
    serving: Option<Vec<HttpServerConfig>>,
    poll: Rc<Poll>,
    signals: Signals,
    sinks: Sinks,
    journal: Journal,
    /// Streams that are watched for room, by number.
    watched: BTreeSet<(u32, i32)>,
    orphans: Orphans,
    settings: startup::Settings,
    /// AUTO logs, by process: stdout's, stderr's.
    auto_logs: BTreeMap<ProcId, [Option<std::path::PathBuf>; 2]>,
    /// It was said that AUTO logs cannot be made.
    said_no_auto_logs: bool,
    /// The pid file that we wrote.
    pidfile: Option<std::path::PathBuf>,
    /// What a reload under way begins with.
    next_config: Option<Box<Loaded>>,
    finish: Option<Finish>,
    /// Who is to be forked, in order; some may not want it any more.
    forks: VecDeque<ProcId>,
    /// When the others must wait for the next turn of the loop.
    forks_until: Mono,
    /// What goes to the background, until it has gone there.
    birth: Option<crate::sys::background::Birth>,
    now: Now,
}

impl Daemon {
    /// Runs until all is over.
    fn run(&mut self) -> Ended {
        self.now = clock::now();
        self.forks_until = self.now.mono.after(FORKS_A_TURN);
        self.supervision.handle(Input::Booted, self.now);
        let mut ready = Vec::new();
        loop {
            self.children.blink();
            // Who has died before his time was over must not be taken for one who has lived through it.
            if self.supervision.next_deadline().is_some_and(|at| at <= self.now.mono) {
                self.reap_all();
            }
            self.supervision.handle(Input::Woke, self.now);
            self.events.on_time(self.now);
            self.settle();
            self.fork_some();
            self.sinks.on_deadline(self.now);
            self.report();
            self.watch_streams();
            if let Some(finish) = self.finish.take() {
                return self.end(finish);
            }
            self.with_server(|server, daemon| server.tend(daemon.sinks.changes(), daemon));
            let clients = self.server.as_ref().and_then(Server::next_deadline);
            let events = self.events.next_deadline(self.now);
            let forks = (!self.forks.is_empty()).then_some(self.now.mono);
            let deadlines = [self.supervision.next_deadline(), self.sinks.next_deadline(), clients, events, forks];
            let deadline = deadlines.into_iter().flatten().min();
            ready.clear();
            if let Err(error) = self.poll.wait(self.now.mono, deadline, &mut ready) {
                self.log(LogLevel::Critical, &format!("cannot wait for events: {error}"));
            }
            self.now = clock::now();
            self.forks_until = self.now.mono.after(FORKS_A_TURN);
            ready.sort_unstable_by_key(|ready| ready.token);
            for &each in &ready {
                self.serve(each);
            }
        }
    }

    /// Carries out effects and feeds their outcomes back until all is quiet.
    fn settle(&mut self) {
        loop {
            while let Some(effect) = self.supervision.next_effect() {
                if let Some(input) = self.perform(effect) {
                    self.supervision.handle(input, self.now);
                }
            }
            self.serve_listeners();
            if !self.supervision.waits_for_listeners() || self.events.is_anything_unheard() {
                return;
            }
            self.supervision.handle(Input::Heard, self.now);
        }
    }

    fn perform(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Spawn(id) => {
                self.forks.push_back(id);
                None
            }
            Effect::Probe(id) => {
                let process = self.supervision.process(id)?;
                Some(Input::Probed(id, children::probe(&process.config, &self.around)))
            }
            Effect::Signal { id, pid, signal, group, purpose } => Some(self.signal(id, pid, signal, group, purpose)),
            Effect::Abandon(pgid) => {
                self.children.release(pgid);
                None
            }
            Effect::Look(id, pgid) => self.children.release_if_empty(pgid).then_some(Input::GroupEmpty(id)),
            Effect::Log(level, line) => {
                self.log(level, &line);
                None
            }
            Effect::Reply(ticket, reply) => {
                self.with_server(|server, daemon| server.reply(ticket, reply, daemon));
                None
            }
            Effect::Became(id, change) => {
                self.tell_of_change(id, change);
                None
            }
            Effect::Mood(mood) => {
                self.tell_of_mood(mood);
                None
            }
            Effect::Added(ids) => {
                self.make_auto_logs(&ids);
                self.try_sockets(&ids);
                None
            }
            Effect::Group(group, is_added) => {
                self.tell_of_group(&group, is_added);
                None
            }
            Effect::Removed(ids) => {
                for id in ids {
                    self.auto_logs.remove(&id);
                }
                None
            }
            Effect::Finish(finish) => {
                self.finish = Some(finish);
                None
            }
        }
    }

    /// Forks those whose turn it is: some in each turn of the loop, so that a start of a thousand programs holds up neither
    /// signals nor clients.
    fn fork_some(&mut self) {
        while self.now.mono < self.forks_until {
            let Some(id) = self.forks.pop_front() else { return self.close_sockets() };
            if !self.supervision.wants_fork(id) {
                continue;
            }
            let spawned = self.try_spawn(id);
            // A fork takes its time, and lives are measured from here.
            self.now = clock::now();
            let input = spawned.map_or_else(|why| Input::SpawnFailed(id, why), |pid| Input::Spawned(id, pid));
            self.supervision.handle(input, self.now);
            self.settle();
        }
    }

    fn try_spawn(&mut self, id: ProcId) -> Result<Pid, String> {
        let process = self.supervision.process(id).ok_or("no such process")?;
        let group = Rc::clone(&process.group);
        if let Some(line) = self.children.sockets.open(&group)? {
            self.log(LogLevel::Info, &line);
        }
        let spawned = self.spawn_with_logs(id);
        self.close_sockets();
        spawned
    }

    fn spawn_with_logs(&mut self, id: ProcId) -> Result<Pid, String> {
        let process = self.supervision.process(id).ok_or("no such process")?;
        // First of all: a command that is not there makes no logs.
        let command = children::resolve(&process.config, &self.around)?;
        let mut logs = self.open_logs(id)?;
        let process = self.supervision.process(id).ok_or("no such process")?;
        let spawned = self.children.spawn(id, process, &command, &mut logs, &self.around, &self.poll);
        for log in logs.iter_mut().flatten() {
            log.close(&mut self.sinks, self.now);
        }
        self.events.restarted(id);
        spawned
    }

    /// Shows early that the sockets of these processes' groups can be made (census §10).
    fn try_sockets(&mut self, ids: &[ProcId]) {
        for &id in ids {
            let Some(group) = self.supervision.process(id).map(|process| Rc::clone(&process.group)) else { continue };
            match self.children.sockets.open(&group) {
                Ok(None) => {}
                Ok(Some(line)) => self.log(LogLevel::Info, &line),
                // Differs from Supervisor: it ends, with exit code 1. Here its programs cannot start.
                Err(why) => self.log(LogLevel::Error, &why),
            }
        }
        self.close_sockets();
    }

    /// Closes what no process has; not while one is about to be forked, which may be the next to have it.
    fn close_sockets(&mut self) {
        if !self.forks.is_empty() {
            return;
        }
        for line in self.children.sockets.close_unused() {
            self.log(LogLevel::Info, &line);
        }
    }

    fn signal(&mut self, id: ProcId, pid: Pid, signal: i32, group: bool, purpose: Purpose) -> Input {
        // The group may have emptied since it was last looked at: then its number is not ours any more.
        if matches!(purpose, Purpose::Sweep { .. }) && self.children.release_if_empty(pid) {
            return Input::GroupEmpty(id);
        }
        let mut sent = if group { signals::send_group(pid, signal) } else { signals::send(pid, signal) };
        // A program may have left its group (an interactive shell does): it must end all the same.
        if group && (sent.is_err() || signal == libc::SIGKILL) {
            let itself = signals::send(pid, signal);
            sent = sent.or(itself);
        }
        let result = match sent {
            Ok(()) => SignalResult::Sent,
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => SignalResult::Gone,
            Err(error) => SignalResult::Failed(error.to_string()),
        };
        Input::Signalled(id, purpose, result)
    }

    /// A pipe's news may be of one that was closed a moment ago and that a child on its way through exec still has: its
    /// successor is then tried for nothing.
    fn serve(&mut self, ready: Ready) {
        let Some((kind, n)) = split_token(ready.token) else { return };
        match kind {
            Kind::Signals => self.take_signals(),
            Kind::Stdout | Kind::Stderr => {
                self.children.read(kind, n, &mut self.sinks, &self.poll, self.now);
                self.hear();
            }
            Kind::Stdin => drop(self.children.flush_stdin(n, &self.poll)),
            Kind::Stream => {
                for token in self.sinks.flush(SinkId(n), self.now) {
                    if let Some((kind, n)) = split_token(token) {
                        self.children.resume(kind, n, &mut self.sinks, &self.poll, self.now);
                    }
                }
                self.hear();
            }
            Kind::Lingering => {}
            Kind::Listener => self.with_server(|server, daemon| server.accept(n, daemon.now)),
            Kind::Connection => self.with_server(|server, daemon| server.serve(n, ready, daemon)),
        }
        self.settle();
        // What has died, or what a client asks for, need not wait for the pipes.
        if matches!(kind, Kind::Signals | Kind::Connection) {
            self.fork_some();
        }
    }

    /// Takes all pending signals: the dead first, then TERM before the others, each kind once.
    fn take_signals(&mut self) {
        let mut pending = 0_u64;
        for received in self.signals.pending() {
            pending |= 1_u64.checked_shl(received.signo.unsigned_abs()).unwrap_or(0);
        }
        let has = |signal: i32| pending >> signal & 1 == 1;
        self.reap_all();
        for signal in [TERM, INT, QUIT] {
            if has(signal) {
                let name = SignalName(signal);
                self.log(LogLevel::Warn, &format!("received {name} indicating exit request"));
                self.supervision.handle(Input::Terminate(format!("received {name}")), self.now);
                self.settle();
            }
        }
        if has(HUP) {
            self.reload_on_signal();
        }
        if has(USR2) {
            self.log(LogLevel::Info, "received SIGUSR2 indicating log reopen request");
            self.reopen_logs();
        }
    }

    /// Reaps everything that has ended, each death settled before the next is looked at.
    fn reap_all(&mut self) {
        self.children.blink();
        while let Some(death) = self.children.next_death() {
            let Some(id) = death.id else {
                self.orphans.count = self.orphans.count.saturating_add(1);
                if self.orphans.count == 1 {
                    self.orphans.last = format!("reaped unknown pid {} ({})", death.pid, death.exit);
                }
                continue;
            };
            self.children.bury(death.pid, &mut self.sinks, &self.poll, self.now);
            self.hear();
            self.supervision.handle(Input::Exited(id, death.exit, death.remains), self.now);
            self.settle();
            self.events.restarted(id);
            self.close_sockets();
        }
    }

    /// Says what has piled up: troubles with sinks, orphans.
    fn report(&mut self) {
        for trouble in self.sinks.take_troubles() {
            self.log(LogLevel::Warn, &trouble.to_string());
        }
        // One line for many, and no timer for it: the next wake-up after a second of silence brings it.
        if self.orphans.count > 0 && self.now.mono >= self.orphans.quiet_until {
            let Orphans { count, last, .. } = std::mem::take(&mut self.orphans);
            self.orphans.quiet_until = self.now.mono.after(ORPHANS_EVERY);
            let line = if count == 1 { last } else { format!("reaped {count} unknown pids (orphans)") };
            self.log(LogLevel::Info, &line);
        }
    }

    /// Watches the streams that have something queued for room, and no others.
    fn watch_streams(&mut self) {
        let wanted: BTreeSet<(u32, i32)> = self.sinks.wants_write().map(|(id, fd)| (id.0, fd)).collect();
        for (_, fd) in self.watched.difference(&wanted) {
            let _ = self.poll.remove_raw(*fd);
        }
        for &(n, fd) in wanted.difference(&self.watched) {
            let _ = self.poll.add_raw(fd, token(Kind::Stream, n), Interest::Write);
        }
        self.watched = wanted;
        self.sinks.drop_closed();
    }

    fn log(&mut self, level: LogLevel, line: &str) {
        self.journal.log(journal_level(level), format_args!("{line}"), &mut self.sinks, self.now);
    }

    fn end(&mut self, finish: Finish) -> Ended {
        self.with_server(|server, daemon| server.flush_before_exit(daemon.now));
        match (finish, self.next_config.take()) {
            (Finish::Reload, Some(config)) => Ended::Reload(config),
            (Finish::Reload, None) => Ended::Exit(1, "nothing to begin anew with".into()),
            (Finish::Exit { code, reason }, _) => Ended::Exit(code, reason),
        }
    }

    /// The last output, as far as its readers take it.
    fn finish_sinks(&mut self) {
        let until = clock::mono().after(LAST_OUTPUT);
        let troubles = self.sinks.finish(until);
        for trouble in troubles {
            self.log(LogLevel::Warn, &trouble.to_string());
        }
        let _ = self.sinks.finish(clock::mono());
    }

    fn is_running(&self) -> bool {
        self.supervision.mood() == Mood::Running
    }
}

fn journal_level(level: LogLevel) -> Level {
    match level {
        LogLevel::Critical => Level::Critical,
        LogLevel::Error => Level::Error,
        LogLevel::Warn => Level::Warn,
        LogLevel::Info => Level::Info,
        LogLevel::Debug => Level::Debug,
        LogLevel::Trace => Level::Trace,
        LogLevel::Blather => Level::Blather,
    }
}
