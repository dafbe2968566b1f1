//! The event loop. It waits, passes inputs to `supervision`, and carries out the effects that `supervision` decides.
//!
//! ```text
//! one turn:  reap, if a deadline of the core has passed → act on deadlines → settle: carry out effects, pass their outcomes back,
//!            until there are none → fork, for 5 ms → write held parts of lines, log errors of sinks and orphans
//!            → deadlines of clients → wait for readiness or the next deadline (there is no tick) → serve in this order:
//!            signals (and with them every death) → listening sockets → clients → pipes of children: stdout, stderr, stdin, orphaned
//!            → streams that have room again. Settle after each; fork after signals and after each client
//! ```

mod children;
mod environment;
mod fcgi;
mod forks;
mod groups;
mod hooks;
mod host;
mod listeners;
mod pipes;
mod startup;
mod token;
mod watches;

pub use startup::{main, print_version};

use crate::config::Loaded;
use crate::config::model::{HttpServerConfig, LogLevel};
use crate::events::Events;
use crate::logs::{Journal, LabelledStdout, SinkId, Sinks};
use crate::posix::SignalName;
use crate::server::Server;
use crate::supervision::{AfterShutdown, Effect, Input, ProcId, Purpose, SignalResult, Supervision, SupervisorState};
use crate::sys::poll::{Interest, Poll, Ready, pause};
use crate::sys::signals::{self, SignalSet, Signals};
use crate::sys::{Pid, clock, errno, memory};
use crate::text;
use crate::time::{Mono, Now};
use children::{Children, StartedChild};
use environment::ChildDefaults;
use forks::ForkQueue;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;
use token::{ChildId, Role, Token};

/// The fields of the daemon that the pipes of children need, borrowed one by one.
macro_rules! io {
    ($daemon:expr) => {
        $crate::daemon::pipes::PipeIo { sinks: &mut $daemon.sinks, poll: &$daemon.poll, now: $daemon.now }
    };
}
use io;

/// Orphans are logged at most this often.
const ORPHANS_EVERY: Duration = Duration::from_secs(1);

/// After this time, signals or a stream that could not be watched are tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The length of a wait when epoll_wait(2) fails, in milliseconds.
const POLL_FAILED_MS: u16 = 100;

/// At the end, rsup waits this long for readers to take the last output.
const LAST_OUTPUT: Duration = Duration::from_millis(50);

/// How the loop ended.
enum Ended {
    /// Restart with this configuration.
    Reload(Box<Loaded>),
    /// End the process.
    Exit(u8, String),
}

/// Orphans that were reaped and are not logged yet.
#[derive(Debug, Default)]
struct Orphans {
    count: u64,
    last: String,
    quiet_until: Mono,
}

/// Operations whose last attempt failed. Each failure is logged once.
#[derive(Debug, Default)]
struct Failing {
    /// Allocations.
    memory: bool,
    /// Waiting for events.
    poll: bool,
    /// Watching or reading the signals. They are not watched while this is set.
    signals: bool,
    /// Watching a stream that has bytes queued.
    stream: bool,
    /// When signals and streams that could not be watched are tried again.
    retry_at: Option<Mono>,
}

/// The state of a running supervisor.
struct Daemon {
    supervision: Supervision,
    children: Children,
    events: Events,
    defaults: ChildDefaults,
    /// `None` while it acts on the daemon ([`Daemon::with_server`]), or if no socket could be opened.
    server: Option<Server>,
    /// The server sections in use; `None` before the first configuration.
    serving: Option<Vec<HttpServerConfig>>,
    poll: Rc<Poll>,
    signals: Signals,
    sinks: Sinks,
    journal: Journal,
    /// The output that `result_handler=supervisor_stdout:event_handler` prints.
    labelled: LabelledStdout,
    /// Streams that are watched for room: sink number and descriptor.
    watched: BTreeSet<(u32, i32)>,
    orphans: Orphans,
    settings: startup::Settings,
    /// AUTO logs, by process: stdout's, stderr's.
    auto_logs: BTreeMap<ProcId, [Option<std::path::PathBuf>; 2]>,
    /// It was logged that AUTO logs cannot be made.
    reported_no_auto_logs: bool,
    /// The pid file that this process wrote.
    pidfile: Option<std::path::PathBuf>,
    /// The configuration that a restart in progress will use.
    next_config: Option<Box<Loaded>>,
    finish: Option<AfterShutdown>,
    forks: ForkQueue,
    /// Starts and health that are watched.
    watches: watches::Watches,
    /// Calls of the server that wait until the present one returns.
    server_calls: VecDeque<host::ServerCall>,
    /// The server acts on the daemon, so `server` is `None`.
    is_server_busy: bool,
    failing: Failing,
    /// Set until the process has gone to the background.
    foreground: Option<crate::sys::background::Foreground>,
    now: Now,
}

impl Daemon {
    /// Runs until the supervisor ends or restarts.
    fn run(&mut self) -> Ended {
        self.begin_turn();
        self.supervision.handle(Input::Booted, self.now);
        let mut ready = Vec::new();
        loop {
            self.on_time();
            self.settle();
            self.fork_some();
            self.sinks.on_deadline(self.now);
            self.report();
            self.watch_streams();
            if let Some(finish) = self.finish.take() {
                return self.end(finish);
            }
            self.with_server(|server, daemon| {
                server.maintain(daemon.sinks.changes(), daemon.failing.memory, daemon);
            });
            self.check_turn();
            self.wait(&mut ready);
            self.begin_turn();
            for &each in &ready {
                self.serve(each);
            }
        }
    }

    fn begin_turn(&mut self) {
        self.now = clock::now();
        self.forks.begin_turn(self.now.mono);
    }

    /// Acts on the deadlines that have passed.
    fn on_time(&mut self) {
        self.children.groups.expire();
        // A process that died before its deadline must not count as one that survived it.
        if self.supervision.next_deadline().is_some_and(|at| at <= self.now.mono) {
            self.reap_all();
        }
        self.supervision.handle(Input::TimePassed, self.now);
        self.watch_on_time();
        self.events.on_time(self.now);
        self.children.retry(&self.poll, self.now);
        if self.failing.retry_at.take_if(|at| *at <= self.now.mono).is_some() && self.failing.signals {
            self.watch_signals();
        }
    }

    fn next_deadline(&mut self) -> Option<Mono> {
        let clients = self.server.as_ref().and_then(Server::next_deadline);
        let events = self.events.next_deadline(self.now);
        let forks = (!self.forks.is_empty()).then_some(self.now.mono);
        let (core, sinks) = (self.supervision.next_deadline(), self.sinks.next_deadline());
        let retries = [self.children.pipes.next_deadline(), self.failing.retry_at, self.watches.next_deadline()];
        [core, sinks, clients, events, forks].into_iter().chain(retries).flatten().min()
    }

    /// Waits until a descriptor is ready or a deadline has come, and sorts the ready ones in the order of service. If epoll_wait(2)
    /// fails, signals and pipes are polled ten times a second.
    fn wait(&mut self, ready: &mut Vec<Ready>) {
        let deadline = self.next_deadline();
        ready.clear();
        match self.poll.wait(self.now.mono, deadline, ready) {
            Ok(()) => {
                if std::mem::take(&mut self.failing.poll) {
                    self.log(LogLevel::Warn, "can wait for events again");
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing.poll, true) {
                    let line =
                        format!("cannot wait for events: {error}; clients are not served until waiting works again");
                    self.log(LogLevel::Critical, &line);
                }
                let is_signalled = self.signals.wait(Some(POLL_FAILED_MS)).unwrap_or_else(|_| {
                    pause(POLL_FAILED_MS);
                    true
                });
                let signals = is_signalled.then_some(Token::Signals);
                let tokens = signals.into_iter().chain(self.children.reading());
                ready.extend(tokens.map(|token| Ready { token: token.encode(), readable: true, writable: true }));
            }
        }
        ready.sort_unstable_by_key(|ready| ready.token);
    }

    /// Checks what must hold at the end of each turn.
    fn check_turn(&self) {
        debug_assert!(self.children.is_consistent(), "a child is in only one of the two tables");
        debug_assert!(self.server_calls.is_empty(), "a call of the server was not carried out");
        debug_assert!(self.finish.is_none(), "the end was not noticed");
        let queued: BTreeSet<(u32, i32)> = self.sinks.wants_write().map(|(id, fd)| (id.0, fd)).collect();
        debug_assert!(
            self.failing.stream || self.watched.is_subset(&queued),
            "a stream is watched but has nothing queued"
        );
        debug_assert!(
            self.failing.retry_at.is_some() || !self.failing.signals && self.watched == queued,
            "a descriptor is not watched, and no retry is due"
        );
    }

    /// Carries out effects and passes their outcomes back as inputs, until there are none.
    fn settle(&mut self) {
        loop {
            while let Some(effect) = self.supervision.next_effect() {
                if let Some(input) = self.perform(effect) {
                    self.supervision.handle(input, self.now);
                }
            }
            self.serve_listeners();
            if !self.supervision.waits_for_listeners() || self.events.has_undelivered() {
                return;
            }
            self.supervision.handle(Input::ListenersDone, self.now);
        }
    }

    /// Carries out one effect. Returns its outcome, if it has one now.
    fn perform(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Probe(item, id) => {
                let process = self.supervision.process(id)?;
                let found = children::find_command(&process.config, &process.config.command, &self.defaults);
                return Some(Input::Probed(item, found.map(drop)));
            }
            Effect::Signal { id, pid, signal, group, purpose } => {
                return Some(self.signal(id, pid, signal, group, purpose));
            }
            Effect::CheckGroup(id, pgid) => {
                return self.children.groups.release_if_empty(pgid).then_some(Input::GroupEmpty(id));
            }
            Effect::Spawn(id) => self.forks.push(ChildId::program(id)),
            Effect::Reload(id) => self.reload_process(id),
            Effect::RunHook(id, hook) => self.forks.push(ChildId::hook(id, hook)),
            Effect::KillHook(id, hook) => {
                self.forks.remove(ChildId::hook(id, hook));
                self.children.kill(ChildId::hook(id, hook), &mut io!(self));
            }
            Effect::ReleaseGroup(pgid) => self.children.groups.release(pgid),
            Effect::Log(level, line) => self.log(level, &line),
            Effect::Reply(ticket, reply) => {
                self.with_server(move |server, daemon| server.reply(ticket, reply, daemon));
            }
            Effect::StateChanged(id, change) => {
                self.notify_process_state(id, change);
                self.watch_state(id, change);
            }
            Effect::SupervisorStateChanged(state) => self.notify_supervisor_state(state),
            Effect::ProcessesAdded(ids) => {
                self.make_auto_logs(&ids);
                self.try_sockets(&ids);
            }
            Effect::GroupAdded(group) => self.notify_group_added(&group),
            Effect::GroupRemoved(group) => self.notify_group_removed(&group),
            Effect::ProcessesRemoved(ids) => ids.iter().for_each(|id| drop(self.auto_logs.remove(id))),
            Effect::Finished(finish) => self.finish = Some(finish),
        }
        None
    }

    /// Forks from the queue while this turn has time for it, so that the start of a thousand programs delays neither signals
    /// nor clients.
    fn fork_some(&mut self) {
        while let Some(id) = self.forks.next(self.now.mono) {
            let spawned = match (id.role, id.role.hook()) {
                (Role::Program, _) if self.supervision.wants_fork(id.process) => self.try_spawn(id.process),
                (_, Some(hook)) if self.supervision.wants_hook(id.process, hook) => Ok(self.run_hook(id, hook)),
                (Role::Ready | Role::Health | Role::Reload, _) => {
                    self.run_probe(id);
                    Ok(Vec::new())
                }
                _ => continue,
            };
            // A fork takes time, and the uptime of the child is measured from here.
            self.now = clock::now();
            match spawned {
                Err(why) => self.supervision.handle(Input::SpawnFailed(id.process, why), self.now),
                Ok(inputs) => inputs.into_iter().for_each(|input| self.supervision.handle(input, self.now)),
            }
            self.settle();
        }
        self.close_sockets();
    }

    /// Starts a process. Returns the inputs for the core that report the outcome.
    fn try_spawn(&mut self, id: ProcId) -> Result<Vec<Input>, String> {
        let process = self.supervision.process(id).ok_or("no such process")?;
        let group = Rc::clone(&process.group);
        if let Some(line) = self.children.sockets.open(&group)? {
            self.log(LogLevel::Info, &line);
        }
        let spawned = self.spawn_with_logs(id);
        self.close_sockets();
        spawned
    }

    fn spawn_with_logs(&mut self, id: ProcId) -> Result<Vec<Input>, String> {
        let config = self.supervision.process(id).map(|process| Rc::clone(&process.config)).ok_or("no such process")?;
        let more = self.notify_variables(id, &config)?;
        let started = self.start_command(ChildId::program(id), &config.command, &more);
        self.events.restarted(id);
        let mut started = started?;
        self.watch_start(id, &config, started.ready.take());
        let failed = started.failure.take().map(|why| Input::NotExecuted(id, why));
        Ok([Input::Spawned(id, started.pid)].into_iter().chain(failed).collect())
    }

    /// Starts a child of a process with its user, environment, directory and logs.
    fn start_command(&mut self, id: ChildId, command: &str, more: &[(&str, String)]) -> Result<StartedChild, String> {
        let process = self.supervision.process(id.process).ok_or("no such process")?;
        // Before the logs: a command that does not exist creates no log files.
        let command = children::find_command(&process.config, command, &self.defaults).map_err(|fault| fault.extra)?;
        let mut logs = self.open_logs(id.process)?;
        let process = self.supervision.process(id.process).ok_or("no such process")?;
        let started = self.children.start(id.role, process, &command, &self.defaults, more).map(|mut started| {
            self.children.insert(id, process, &mut started, std::mem::take(&mut logs), &self.poll, self.now);
            started
        });
        for log in logs.iter_mut().flatten() {
            log.close(&mut self.sinks, self.now);
        }
        started
    }

    /// Opens the FastCGI sockets of these processes' groups once, so that an error is logged early (supervisor-behaviour.md §10).
    fn try_sockets(&mut self, ids: &[ProcId]) {
        for &id in ids {
            let Some(group) = self.supervision.process(id).map(|process| Rc::clone(&process.group)) else { continue };
            match self.children.sockets.open(&group) {
                Ok(None) => {}
                Ok(Some(line)) => self.log(LogLevel::Info, &line),
                // Differs from Supervisor, which exits with 1. Here only the group's programs cannot start.
                Err(why) => self.log(LogLevel::Error, &why),
            }
        }
        self.close_sockets();
    }

    /// Closes the FastCGI sockets that no process has. Waits for queued forks, because a new child may need the socket.
    fn close_sockets(&mut self) {
        if !self.forks.is_empty() {
            return;
        }
        for line in self.children.sockets.close_unused() {
            self.log(LogLevel::Info, &line);
        }
    }

    fn signal(&mut self, id: ProcId, pid: Pid, signal: i32, group: bool, purpose: Purpose) -> Input {
        // The group may have become empty since the last check. Its number may then belong to another group.
        if matches!(purpose, Purpose::Sweep { .. }) && self.children.groups.release_if_empty(pid) {
            return Input::GroupEmpty(id);
        }
        let mut sent = if group { signals::send_group(pid, signal) } else { signals::send(pid, signal) };
        // A program may have left its group, as an interactive shell does. The signal must reach it too.
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

    /// Serves one ready descriptor. The event may belong to a pipe that was just closed but that a child before its exec still
    /// has; the read or write of its successor then finds nothing to do.
    fn serve(&mut self, ready: Ready) {
        let Some(token) = Token::decode(ready.token) else { return };
        match token {
            Token::Signals => self.take_signals(),
            Token::Stdout(_) | Token::Stderr(_) | Token::Orphaned(_) => {
                self.children.read(token, &mut io!(self));
                self.handle_output();
            }
            Token::Stdin(id) => drop(self.children.flush_stdin(id, &self.poll, self.now)),
            Token::Stream(n) => {
                for token in self.sinks.flush(SinkId(n), self.now).into_iter().filter_map(Token::decode) {
                    self.children.resume(token, &mut io!(self));
                }
                self.handle_output();
            }
            Token::Watch(id) => self.serve_watch(id),
            Token::Notify(id) => self.serve_notified(id),
            Token::Listener(n) => self.with_server(move |server, daemon| server.accept(n, daemon)),
            Token::Connection(n) => self.with_server(move |server, daemon| server.serve(n, ready, daemon)),
        }
        self.settle();
        // Restarts and requests of clients need not wait for the pipes.
        if matches!(token, Token::Signals | Token::Connection(_)) {
            self.fork_some();
        }
    }

    /// Takes all pending signals: deaths first, then TERM before the others, each signal once.
    fn take_signals(&mut self) {
        let pending = self.signals.pending().fold(SignalSet::EMPTY, |set, received| set.with(received.signo));
        self.reap_all();
        if pending == SignalSet::EMPTY {
            return self.signals_failed();
        }
        for signal in
            [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT].into_iter().filter(|signal| pending.contains(*signal))
        {
            let name = SignalName(signal);
            self.log(LogLevel::Warn, &format!("received {name} indicating exit request"));
            self.supervision.handle(Input::Terminate(format!("received {name}")), self.now);
            self.settle();
        }
        if pending.contains(libc::SIGHUP) {
            self.reload_on_signal();
        }
        if pending.contains(libc::SIGUSR2) {
            self.log(LogLevel::Info, "received SIGUSR2 indicating log reopen request");
            self.reopen_logs();
        }
    }

    /// Signals are pending but cannot be read: stops watching them for a while.
    fn signals_failed(&mut self) {
        let _ = self.poll.remove(self.signals.fd());
        if !std::mem::replace(&mut self.failing.signals, true) {
            self.log(LogLevel::Critical, "cannot read signals; trying again every second");
        }
        self.retry_later();
    }

    fn watch_signals(&mut self) {
        let added = self.poll.add(self.signals.fd(), Token::Signals.encode(), Interest::Read);
        self.failing.signals = added.is_err();
        if added.is_err() {
            self.retry_later();
        }
    }

    fn retry_later(&mut self) {
        self.failing.retry_at.get_or_insert(self.now.mono.after(RETRY_AFTER));
    }

    /// Reaps every process that has ended, and settles after each.
    fn reap_all(&mut self) {
        self.children.groups.expire();
        while let Some(death) = self.children.next_death() {
            let Some(id) = death.id else {
                self.orphans.count = self.orphans.count.saturating_add(1);
                if self.orphans.count == 1 {
                    self.orphans.last = format!("reaped unknown pid {} ({})", death.pid, death.exit);
                }
                continue;
            };
            self.children.finish_child(death.pid, &mut io!(self));
            self.handle_output();
            match id.role {
                Role::Program => {
                    self.take_last_signs(id.process);
                    self.supervision.handle(Input::Exited(id.process, death.exit, death.remains), self.now);
                    self.settle();
                    self.events.restarted(id.process);
                }
                Role::PreStart | Role::PreStop | Role::StopCommand | Role::PostStop => self.hook_ended(id, death.exit),
                Role::Ready | Role::Health | Role::Reload => self.probe_ended(id, death.exit),
            }
            self.close_sockets();
        }
    }

    /// Logs errors of sinks, a shortage of memory, and orphans.
    fn report(&mut self) {
        for error in self.sinks.take_errors() {
            self.log(LogLevel::Warn, &error.to_string());
        }
        let is_short = memory::has_failed();
        if is_short && !std::mem::replace(&mut self.failing.memory, is_short) {
            self.log(LogLevel::Critical, "memory is short: allocations fail, and wait until there is memory again");
        }
        self.failing.memory = is_short;
        // One line for many, without a timer: it is written at the first wake-up at least a second after the last line.
        if self.orphans.count > 0 && self.now.mono >= self.orphans.quiet_until {
            let Orphans { count, last, .. } = std::mem::take(&mut self.orphans);
            self.orphans.quiet_until = self.now.mono.after(ORPHANS_EVERY);
            let line = if count == 1 { last } else { format!("reaped {count} unknown pids (orphans)") };
            self.log(LogLevel::Info, &line);
        }
    }

    /// Watches for room exactly the streams that have bytes queued.
    fn watch_streams(&mut self) {
        let wanted: BTreeSet<(u32, i32)> = self.sinks.wants_write().map(|(id, fd)| (id.0, fd)).collect();
        let (mut watched, mut failed) = (wanted.clone(), None);
        for &(n, fd) in self.watched.difference(&wanted) {
            if let Err(why) = self.poll.remove_raw(fd)
                && !matches!(why.raw_os_error(), Some(libc::ENOENT | libc::EBADF))
            {
                watched.insert((n, fd));
                failed = Some(why);
            }
        }
        if failed.is_none() {
            self.sinks.drop_closed();
        }
        for &(n, fd) in wanted.difference(&self.watched) {
            if let Err(why) = self.poll.add_raw(fd, Token::Stream(n).encode(), Interest::Write) {
                watched.remove(&(n, fd));
                failed = Some(why);
            }
        }
        self.watched = watched;
        let was_failing = std::mem::replace(&mut self.failing.stream, failed.is_some());
        if let Some(why) = failed {
            if !was_failing {
                let line =
                    format!("cannot watch a log stream for room: {}; trying again every second", errno::name(&why));
                self.log(LogLevel::Warn, &line);
            }
            self.retry_later();
        }
    }

    fn log(&mut self, level: LogLevel, line: &str) {
        self.journal.log(level, format_args!("{}", text::shown(line)), &mut self.sinks, self.now);
    }

    fn end(&mut self, finish: AfterShutdown) -> Ended {
        self.with_server(|server, daemon| server.flush_before_exit(daemon.now));
        match (finish, self.next_config.take()) {
            (AfterShutdown::Reload, Some(config)) => Ended::Reload(config),
            (AfterShutdown::Reload, None) => Ended::Exit(1, "there is no configuration to restart with".into()),
            (AfterShutdown::Exit { code, reason }, _) => Ended::Exit(code, reason),
        }
    }

    /// Writes the last output, as far as its readers take it.
    fn finish_sinks(&mut self) {
        self.children.pipes.drain_orphaned(&mut io!(self));
        let until = clock::mono().after(LAST_OUTPUT);
        for error in self.sinks.finish(until) {
            self.log(LogLevel::Warn, &error.to_string());
        }
        let _ = self.sinks.finish(clock::mono());
    }

    fn is_running(&self) -> bool {
        self.supervision.state() == SupervisorState::Running
    }
}
