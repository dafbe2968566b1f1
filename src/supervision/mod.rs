//! The core that decides: processes in groups, requests of clients, the ordered shutdown. Pure: no I/O, no clock.
//!
//! [`Supervision::handle`] takes one [`Input`] at a given time. [`Supervision::next_effect`] then returns the effects to
//! carry out, in order. The caller feeds the result of each back as an input, until there is no effect left.
//! [`Supervision::next_deadline`] is the time at which `Input::TimePassed` is due; there is no periodic tick.
//!
//! The modules: `process` decides the state of one process; `restarts` limits its restarts; `shutdown` the state of the supervisor, the order of its
//! shutdown and the exit contract; `command` whether a request is accepted; `requests` when it is answered; `report` has
//! the log lines.
#![forbid(unsafe_code)]

mod command;
mod graph;
pub mod process;
mod report;
mod requests;
mod restarts;
mod shutdown;

pub use crate::fault::{Fault, FaultCode};
use crate::protocol::namespec;
pub use crate::protocol::split_namespec;
pub use command::{Command, Target};
pub use process::Hook;
pub use requests::{ProcessStatus, Reply};
pub use shutdown::{AfterShutdown, SupervisorState};

use crate::config::compare;
use crate::config::model::{Config, GroupConfig, GroupKind, HealthAction, LogLevel, ProcessConfig, ServerConfig};
use crate::posix::{self, Exit};
use crate::time::{Mono, Now};
use graph::Cause;
use process::{Action, Core, Event, Phase, Pid, Policy, State};
use restarts::RestartHistory;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

/// The number of a process. It is never reused, not even when the process has been removed.
pub type ProcId = u32;

/// The number of one process in one request. The answers to `Effect::Probe` and to a client's signal carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ItemId(u64);

/// Targets a [`Reply`] is for; the daemon's own number.
pub type Ticket = u64;

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// The event loop runs: start the programs with `autostart`.
    Booted,
    /// Time has passed.
    TimePassed,
    /// `Effect::Spawn` made this child.
    Spawned(ProcId, Pid),
    /// The child that was made last exits without having executed its program; the text is for the log, `spawnerr` and `status`.
    NotExecuted(ProcId, String),
    /// `Effect::Spawn` failed; the text is for the log and for `spawnerr`.
    SpawnFailed(ProcId, String),
    /// A child has ended. The flag: other members of its process group live (determined only with `sweep`).
    Exited(ProcId, Exit, bool),
    /// The child of this process is ready.
    Ready(ProcId),
    /// The child of this process will not be ready, for this reason.
    NotReady(ProcId, String),
    /// The child of this process is not ready yet, for this reason.
    NotReadyYet(ProcId, String),
    /// The child of this process needs until then to be ready.
    ExtendReady(ProcId, Mono),
    /// The health check of this process has failed, for this reason.
    Unhealthy(ProcId, String),
    /// The health check of this process succeeds again.
    Healthy(ProcId),
    /// The program does not work, for this reason: its watchdog has expired.
    WatchdogExpired(ProcId, String),
    /// The program reports its main process (`MAINPID=`).
    MainPid(ProcId, Pid),
    /// The program reports what it is doing (`STATUS=`).
    Status(ProcId, String),
    /// A hook of this process has ended; why it failed.
    HookEnded(ProcId, Hook, Result<(), String>),
    /// `reload_command` of this process has ended; an error has the reason.
    Reloaded(ProcId, Result<(), String>),
    /// The swept group of this process is empty.
    GroupEmpty(ProcId),
    /// Restart this process without a request of a client: stop it if it lives, then start it.
    Restart(ProcId),
    /// Answer to `Effect::Probe`.
    Probed(ItemId, Result<(), Fault>),
    /// Answer to `Effect::Signal`.
    Signalled(ProcId, Purpose, SignalResult),
    /// A request of a client.
    Command(Ticket, Command),
    /// The client has disconnected: its request needs no reply.
    CancelRequest(Ticket),
    /// SIGTERM, SIGINT or SIGQUIT was received; the text says which.
    Terminate(String),
    /// Event listeners have processed all events: see [`Supervision::waits_for_listeners`].
    ListenersDone,
    /// SIGHUP or a client's `restart`. The new configuration was read without a mistake.
    Reload,
}

/// What the daemon has to do.
#[derive(Debug)]
pub enum Effect {
    /// Fork and exec, now or later; check [`Supervision::wants_fork`] first. Answer with `Spawned` or `SpawnFailed`.
    Spawn(ProcId),
    /// Run `reload_command` of this process; answer with `Reloaded`.
    Reload(ProcId),
    /// Run the command of this hook beside the process; answer with `HookEnded`.
    RunHook(ProcId, Hook),
    /// Kill the hook that runs, with its process group. Do not answer.
    KillHook(ProcId, Hook),
    /// Check that the command exists and is executable; answer with `Probed`.
    Probe(ItemId, ProcId),
    /// kill(2); answer with `Signalled`.
    Signal {
        /// The process.
        id: ProcId,
        /// Its pid, or the number of its process group.
        pid: Pid,
        /// The signal number.
        signal: i32,
        /// Send it to the process group.
        group: bool,
        /// Why. For a sweep, check first whether the group is empty; if so, answer with `GroupEmpty` instead.
        purpose: Purpose,
    },
    /// Check whether the swept process group is empty; answer with `GroupEmpty` if it is.
    CheckGroup(ProcId, Pid),
    /// Reap the leader of this swept process group, even if other members live.
    ReleaseGroup(Pid),
    /// A line for the log.
    Log(LogLevel, String),
    /// The answer to a command.
    Reply(Ticket, Reply),
    /// The state of a process changed.
    StateChanged(ProcId, StateChange),
    /// The supervisor runs, shuts down or restarts from now on.
    SupervisorStateChanged(SupervisorState),
    /// These processes were added: create their AUTO logs.
    ProcessesAdded(Vec<ProcId>),
    /// These processes were removed.
    ProcessesRemoved(Vec<ProcId>),
    /// This group is in use now.
    GroupAdded(Rc<GroupConfig>),
    /// This group is no longer in use.
    GroupRemoved(Rc<GroupConfig>),
    /// Every process is stopped, or was given up.
    Finished(AfterShutdown),
}

/// A change of state, with the data that events have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateChange {
    /// Before.
    pub from: State,
    /// After.
    pub to: State,
    /// The pid of the child, also of one that has just ended; 0 if there was none.
    pub pid: Pid,
    /// Failed starts in a row so far.
    pub tries: u32,
    /// The exit code of the last exit was in `exitcodes`.
    pub expected: bool,
}

/// Capacity of the queue of effects, in entries, that is kept when it is empty.
const KEPT_EFFECTS: usize = 64;

/// Why a signal is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The stop signal, or the KILL after it.
    Stop,
    /// To end the processes that a dead program left in its process group.
    Sweep {
        /// KILL instead of TERM.
        kill: bool,
    },
    /// A client asked for it.
    Request(ItemId),
}

/// What kill(2) answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignalResult {
    /// The signal was sent.
    Sent,
    /// ESRCH: the process has ended, and its exit is still to be handled.
    Gone,
    /// It could not be sent, for this reason.
    Failed(String),
}

/// What a reread found: the names of groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupChanges {
    /// Not in use yet, in configuration order.
    pub added: Vec<String>,
    /// In use with other settings, in configuration order.
    pub changed: Vec<String>,
    /// In use, and not in the configuration any more, in the order in which they were added.
    pub removed: Vec<String>,
}

/// One process of the table.
#[derive(Debug)]
pub struct Process {
    /// Its options.
    pub config: Rc<ProcessConfig>,
    /// Its group.
    pub group: Rc<GroupConfig>,
    core: Core,
    armed: Option<Mono>,
    restarts: RestartHistory,
    /// When the last attempt to start it began, in seconds since the epoch; 0: never.
    pub laststart: i64,
    /// When a child of it last ended, in seconds since the epoch; 0: never.
    pub laststop: i64,
    /// How it last ended.
    pub last_exit: Option<Exit>,
    /// Why the last start or run failed; empty if it did not.
    pub spawnerr: Box<str>,
    /// Why its last child did not execute the program, but exited with 127; or why it is not ready yet.
    pub obstacle: Option<Box<str>>,
    /// Why it became unhealthy, until it is healthy again or is started again.
    pub unhealthy: Option<Box<str>>,
    /// A request has stopped it since its last start. Without one, it should run if it has `autostart`.
    pub stopped_by_request: bool,
    /// The process that does the work, as the program reports (`MAINPID=` of sd_notify(3)).
    pub main_pid: Option<Pid>,
    /// What the program reports that it is doing (`STATUS=` of sd_notify(3)).
    pub status: Option<Box<str>>,
}

impl Process {
    /// The state that users see.
    #[must_use]
    pub fn state(&self) -> State {
        self.core.state()
    }

    /// Its live child.
    #[must_use]
    pub fn pid(&self) -> Option<Pid> {
        self.core.pid()
    }

    /// `group:name`, or the name alone where both are equal.
    #[must_use]
    pub fn namespec(&self) -> String {
        namespec(&self.group.name, &self.config.name)
    }

    /// Whether it is an event listener.
    #[must_use]
    pub fn is_listener(&self) -> bool {
        is_listener(&self.group)
    }

    /// Whether it will start without a request, or is being swept, so that a stop has something to do.
    #[must_use]
    fn is_held(&self) -> bool {
        self.core.is_cleaning_up() || self.core.is_restarting() || self.is_held_restart()
    }

    /// Whether an automatic restart is due.
    fn is_held_restart(&self) -> bool {
        matches!(self.core.phase, Phase::Exited { restart_at: Some(_) })
    }

    /// The exit code of the supervisor that stands for its end: its own, or 128 + signal; 127 if it never started; 1 for a
    /// FATAL program whose last exit code was 0.
    fn exit_code(&self) -> u8 {
        match (self.state(), self.last_exit.map(Exit::shell_status)) {
            (State::Fatal, None) => 127,
            (State::Fatal, Some(0)) => 1,
            (_, code) => code.unwrap_or(0),
        }
    }
}

/// A group that is in use.
#[derive(Debug)]
struct Group {
    config: Rc<GroupConfig>,
    /// The n-th group that was added. Groups of equal priority are in this order.
    serial: u32,
    /// In configuration order.
    members: Vec<ProcId>,
    /// Sorted by name.
    by_name: Vec<ProcId>,
}

/// The whole state.
#[derive(Debug)]
pub struct Supervision {
    state: SupervisorState,
    /// The settings of the supervisor itself that are in force: those that it began with. A reread does not change them.
    server: ServerConfig,
    /// The methods of `[rpcinterface:twiddler]` in force; see [`Config::twiddler`].
    twiddler: Option<Vec<String>>,
    /// The last configuration that was read without a mistake. Its groups are the ones that can be added.
    last_read: Config,
    groups: BTreeMap<String, Group>,
    groups_added: u32,
    processes: BTreeMap<ProcId, Box<Process>>,
    /// The number of the next process.
    next_process: ProcId,
    /// The number of the next item of a request.
    next_item: u64,
    timers: BTreeSet<(Mono, ProcId)>,
    effects: VecDeque<Effect>,
    requests: Vec<requests::PendingRequest>,
    /// The current input is an event of its own, not a request or the direct result of one.
    is_late: bool,
    shutdown: Option<shutdown::Shutdown>,
    contract: shutdown::ExitContract,
    /// The automatic restarts of all processes.
    restarts: RestartHistory,
    /// The dependencies between processes.
    graph: graph::Graph,
    /// Buffer of `step`, kept to save allocations.
    actions: Vec<Action>,
    /// The state of the random numbers for `backoff_jitter`; the caller seeds it.
    random: u64,
}

impl Supervision {
    /// The state before `Booted`, with every group of `config` in use.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let mut new = Supervision {
            state: SupervisorState::Running,
            server: config.server.clone(),
            twiddler: config.twiddler.clone(),
            last_read: Config::default(),
            groups: BTreeMap::new(),
            groups_added: 0,
            processes: BTreeMap::new(),
            next_process: 0,
            next_item: 0,
            timers: BTreeSet::new(),
            effects: VecDeque::new(),
            requests: Vec::new(),
            is_late: false,
            shutdown: None,
            contract: shutdown::ExitContract::default(),
            restarts: RestartHistory::default(),
            graph: graph::Graph::default(),
            actions: Vec::new(),
            random: 0,
        };
        for group in &config.groups {
            new.add_group(group);
        }
        new.relink();
        // Collected from sorted entries, the tree has no spare capacity.
        new.groups = std::mem::take(&mut new.groups).into_iter().collect();
        new.last_read = config;
        new
    }

    /// Seeds the random numbers, so that many containers that start together do not retry together.
    pub fn seed(&mut self, random: u64) {
        self.random = random;
    }

    /// Handles one input.
    pub fn handle(&mut self, input: Input, now: Now) {
        self.is_late = matches!(input, Input::Exited(..) | Input::TimePassed | Input::GroupEmpty(_));
        match input {
            Input::Booted => self.boot(now),
            Input::TimePassed => self.time_passed(now),
            Input::Spawned(id, pid) => {
                if let Some(process) = self.process_mut(id) {
                    process.laststart = now.wall.secs;
                    let line = format!("spawned: '{}' with pid {pid}", process.config.name);
                    self.log(LogLevel::Info, line);
                }
                self.step(id, Event::Spawned(pid), now);
            }
            Input::NotExecuted(id, why) => {
                self.warn(id, &why);
                self.process_mut(id).into_iter().for_each(|process| process.obstacle = Some(why.as_str().into()));
            }
            Input::SpawnFailed(id, why) => {
                self.log(LogLevel::Info, format!("spawnerr: {why}"));
                if let Some(process) = self.process_mut(id) {
                    process.spawnerr = why.into();
                }
                self.step(id, Event::SpawnFailed, now);
            }
            Input::Exited(id, exit, remains) => self.step(id, Event::Exited { exit, remains }, now),
            Input::Ready(id) => {
                self.set_obstacle(id, None);
                self.step(id, Event::Ready, now);
            }
            Input::NotReady(id, why) => self.cannot_be_ready(id, why, now),
            Input::NotReadyYet(id, why) => self.set_obstacle(id, Some(why)),
            Input::ExtendReady(id, until) => self.step(id, Event::ExtendReady(until), now),
            Input::Unhealthy(id, why) => self.unhealthy(id, why, now),
            Input::Healthy(id) => self.healthy(id),
            Input::WatchdogExpired(id, why) => self.watchdog_expired(id, &why, now),
            Input::MainPid(id, pid) => self.set_main_pid(id, pid),
            Input::Status(id, text) => {
                self.process_mut(id).into_iter().for_each(|process| process.status = Some(text.as_str().into()));
            }
            Input::HookEnded(id, hook, result) => self.hook_ended(id, hook, result, now),
            Input::Reloaded(id, result) => self.reloaded(id, result.err()),
            Input::GroupEmpty(id) => self.sweep_ended(id, Event::GroupEmpty, now),
            Input::Restart(id) => self.step(id, Event::Restart, now),
            Input::Probed(item, result) => self.probed(item, result, now),
            Input::Signalled(id, purpose, result) => self.signalled(id, purpose, result, now),
            Input::Command(ticket, command) => self.command(ticket, command, now),
            Input::CancelRequest(ticket) => self.requests.retain(|wait| wait.ticket != ticket),
            Input::Terminate(reason) => self.terminate(reason, now),
            Input::ListenersDone => self.listeners_done(),
            Input::Reload => self.begin_shutdown(SupervisorState::Restarting, String::new(), now),
        }
        self.settle_graph(now);
        self.settle_shutdown(now);
        self.settle_graph(now);
        debug_assert_eq!(self.broken_invariant(), None);
    }

    /// The first broken invariant, for `debug_assert`. All of them hold after each input. (That no process at rest has a
    /// live child but UNKNOWN, the type [`Phase`] says.)
    fn broken_invariant(&self) -> Option<String> {
        for (id, process) in &self.processes {
            let deadline = process.core.deadline(&Policy::from(&*process.config));
            if process.armed != deadline || deadline.is_some_and(|at| !self.timers.contains(&(at, *id))) {
                return Some(format!("the timer is not the deadline {deadline:?}: {process:?}"));
            }
            if !self.groups.get(&process.group.name).is_some_and(|group| group.members.contains(id)) {
                return Some(format!("in no group: {process:?}"));
            }
        }
        if self.timers.len() != self.processes.values().filter(|process| process.armed.is_some()).count() {
            return Some(format!("a timer of no process: {:?}", self.timers));
        }
        self.requests.iter().find_map(|wait| wait.broken_invariant(self))
    }

    /// The next effect to carry out.
    pub fn next_effect(&mut self) -> Option<Effect> {
        let effect = self.effects.pop_front();
        if effect.is_none() && self.effects.capacity() > KEPT_EFFECTS {
            // The start of a thousand programs needs a capacity that nothing needs again.
            self.effects = VecDeque::new();
        }
        effect
    }

    /// When `Input::TimePassed` is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Mono> {
        let timer = self.timers.first().map(|&(at, _)| at);
        let shutdown = self.shutdown.as_ref().map(shutdown::Shutdown::deadline);
        let waits = self.requests.iter().filter_map(requests::PendingRequest::deadline).min();
        [timer, shutdown, waits].into_iter().flatten().min()
    }

    /// The supervisor's own state.
    #[must_use]
    pub fn state(&self) -> SupervisorState {
        self.state
    }

    /// The settings of `[supervisord]` in force. A reread changes none of them, a reload all.
    #[must_use]
    pub fn server(&self) -> &ServerConfig {
        &self.server
    }

    /// The methods of `[rpcinterface:twiddler]` in force; see [`Config::twiddler`].
    #[must_use]
    pub fn twiddler(&self) -> Option<&[String]> {
        self.twiddler.as_deref()
    }

    /// The last configuration that was read without a mistake. Its groups are the ones that can be added; its other
    /// settings are not in force before a reload.
    #[must_use]
    pub fn last_read(&self) -> &Config {
        &self.last_read
    }

    /// One process.
    #[must_use]
    pub fn process(&self, id: ProcId) -> Option<&Process> {
        self.processes.get(&id).map(|process| &**process)
    }

    /// Whether this process waits for its fork.
    #[must_use]
    pub fn wants_fork(&self, id: ProcId) -> bool {
        self.process(id).is_some_and(|process| process.core.wants_fork())
    }

    /// Whether this hook of the process is to run.
    #[must_use]
    pub fn wants_hook(&self, id: ProcId, hook: Hook) -> bool {
        self.process(id).is_some_and(|process| process.core.hook.is_some_and(|(wanted, _)| wanted == hook))
    }

    /// Every process, sorted by group name, then process name.
    pub fn all(&self) -> impl Iterator<Item = (ProcId, &Process)> {
        let ids = self.groups.values().flat_map(|group| group.by_name.iter().copied());
        ids.filter_map(|id| Some((id, self.process(id)?)))
    }

    /// Whether a group of this name is in use.
    #[must_use]
    pub fn has_group(&self, name: &str) -> bool {
        self.groups.contains_key(name)
    }

    /// The groups in use, in the order in which they were added.
    #[must_use]
    pub fn group_names(&self) -> Vec<&str> {
        let mut groups: Vec<&Group> = self.groups.values().collect();
        groups.sort_by_key(|group| group.serial);
        groups.into_iter().map(|group| group.config.name.as_str()).collect()
    }

    /// The process `name` of this group.
    #[must_use]
    pub fn find(&self, group: &str, name: &str) -> Option<ProcId> {
        let by_name = &self.groups.get(group)?.by_name;
        let named = |&id: &ProcId| self.process(id).map_or("", |process| &process.config.name).cmp(name);
        by_name.get(by_name.binary_search_by(named).ok()?).copied()
    }

    /// Takes `config` as the one last read and compares its groups with those in use (`reloadConfig`). Nothing is started
    /// or stopped, and no setting in force changes.
    pub fn reread(&mut self, config: Config) -> GroupChanges {
        let mut changes = GroupChanges::default();
        for group in &config.groups {
            match self.groups.get(&group.name) {
                None => changes.added.push(group.name.clone()),
                Some(old) if !compare::same_group(&old.config, group) => changes.changed.push(group.name.clone()),
                Some(_) => {}
            }
        }
        let kept: BTreeSet<&str> = config.groups.iter().map(|group| group.name.as_str()).collect();
        let in_use = self.group_names().into_iter();
        changes.removed = in_use.filter(|name| !kept.contains(name)).map(str::to_owned).collect();
        self.last_read = config;
        changes
    }

    /// Adds a group and its processes, all STOPPED.
    fn add_group(&mut self, config: &Rc<GroupConfig>) -> Vec<ProcId> {
        let mut members = Vec::with_capacity(config.processes.len());
        for process in &config.processes {
            members.push(self.insert_new(process, config));
        }
        let by_name = self.sorted_by_name(&members);
        let group = Group { config: Rc::clone(config), serial: self.groups_added, members: members.clone(), by_name };
        self.groups_added = self.groups_added.saturating_add(1);
        self.groups.insert(config.name.clone(), group);
        self.effects.push_back(Effect::ProcessesAdded(members.clone()));
        self.effects.push_back(Effect::GroupAdded(Rc::clone(config)));
        members
    }

    fn sorted_by_name(&self, members: &[ProcId]) -> Vec<ProcId> {
        let mut by_name = members.to_vec();
        by_name.sort_by_key(|&id| self.process(id).map(|process| process.config.name.clone()));
        by_name
    }

    fn insert_new(&mut self, process: &Rc<ProcessConfig>, group: &Rc<GroupConfig>) -> ProcId {
        let process = Box::new(Process {
            config: Rc::clone(process),
            group: Rc::clone(group),
            core: Core::default(),
            armed: None,
            restarts: RestartHistory::default(),
            laststart: 0,
            laststop: 0,
            last_exit: None,
            spawnerr: Box::default(),
            obstacle: None,
            unhealthy: None,
            stopped_by_request: false,
            main_pid: None,
            status: None,
        });
        let id = self.next_process;
        self.next_process = id.saturating_add(1);
        self.processes.insert(id, process);
        id
    }

    fn process_mut(&mut self, id: ProcId) -> Option<&mut Process> {
        self.processes.get_mut(&id).map(|process| &mut **process)
    }

    /// Processes in starting order: groups by priority (ties: order added), then process priority.
    #[must_use]
    pub fn in_order(&self) -> Vec<ProcId> {
        let mut groups: Vec<&Group> = self.groups.values().collect();
        groups.sort_by_key(|group| (group.config.priority, group.serial));
        groups.into_iter().flat_map(|group| self.members_in_order(group)).collect()
    }

    /// A group's processes by priority (ties: configuration order).
    fn members_in_order(&self, group: &Group) -> Vec<ProcId> {
        let mut members = group.members.clone();
        members.sort_by_key(|&id| self.process(id).map(|process| process.config.priority));
        members
    }

    fn boot(&mut self, now: Now) {
        self.effects.push_back(Effect::SupervisorStateChanged(self.state));
        for id in self.in_order() {
            self.autostart(id, now);
        }
    }

    fn autostart(&mut self, id: ProcId, now: Now) {
        if self.state == SupervisorState::Running && self.process(id).is_some_and(|process| process.config.autostart) {
            self.step(id, Event::Start, now);
        }
    }

    fn time_passed(&mut self, now: Now) {
        while let Some(&(_, id)) = self.timers.first().filter(|(at, _)| *at <= now.mono) {
            self.timers.pop_first();
            if let Some(process) = self.process_mut(id) {
                process.armed = None;
            }
            self.step(id, Event::TimePassed, now);
        }
        self.log_waiting_stops(now);
    }

    /// The only place where a process changes: decides what `event` does, and turns the actions into effects.
    fn step(&mut self, id: ProcId, event: Event, now: Now) {
        if self.state == SupervisorState::Running && matches!(event, Event::Stop | Event::Restart) {
            self.stop_followers(id, now);
        }
        let is_stop = matches!(event, Event::Stop | Event::Restart | Event::StopForShutdown { .. });
        let has_live_dependents = is_stop && self.has_live_dependents(id);
        let mut actions = std::mem::take(&mut self.actions);
        if let Some(process) = self.processes.get_mut(&id) {
            let config = Rc::clone(&process.config);
            let mut policy = Policy::from(&*config);
            policy.backoff.deviation_milli =
                restarts::deviation(&mut self.random, config.lifecycle.backoff_jitter_milli);
            policy.may_restart = process.restarts.has_room(config.lifecycle.restart_limit, now.mono);
            policy.has_live_dependents = has_live_dependents;
            // There is no time for a hook any more.
            if self.shutdown.as_ref().is_some_and(|shutdown| shutdown.give_up_at.is_some()) {
                policy.hooks = None;
            }
            let rests = |core: &Core| (!core.is_cleaning_up(), core.is_at_rest());
            let before = rests(&process.core);
            process.core.step(event, now.mono, &policy, &mut actions);
            if rests(&process.core) != before {
                self.graph.changed(id, true);
            }
            let (before, after) = (process.armed, process.core.deadline(&policy));
            process.armed = after;
            if before != after {
                before.map(|at| self.timers.remove(&(at, id)));
                after.map(|at| self.timers.insert((at, id)));
            }
        }
        let is_requested = matches!(event, Event::Start | Event::Restart);
        let mut is_restart = false;
        for action in actions.drain(..) {
            is_restart |= matches!(action, Action::StateChanged { from: State::Exited, to: State::Starting, .. });
            if action == Action::CheckDependencies {
                self.graph.check(id, if is_requested { Cause::Request } else { Cause::Policy });
            }
            self.perform(id, action, now);
        }
        self.actions = actions;
        // Last, since it may begin the shutdown.
        if is_restart && !is_requested {
            self.restarted(id, now);
        }
        self.settle_requests(id);
    }

    /// The health check of a process has failed: acts as `healthcheck_action` says.
    fn unhealthy(&mut self, id: ProcId, why: String, now: Now) {
        let is_shutting_down = self.state != SupervisorState::Running;
        let Some(process) = self.process_mut(id).filter(|process| process.state() == State::Running) else { return };
        let action = if is_shutting_down { HealthAction::None } else { process.config.lifecycle.healthcheck_action };
        let may_restart = process.restarts.has_room(process.config.lifecycle.restart_limit, now.mono);
        let is_new = process.unhealthy.is_none();
        let line = format!("{} is unhealthy ({why})", process.namespec());
        process.unhealthy = Some(why.into());
        if is_new || action != HealthAction::None {
            self.log(LogLevel::Warn, format!("{line}{}", report::consequence(action)));
        }
        match action {
            HealthAction::None => {}
            HealthAction::Stop => self.step(id, Event::Stop, now),
            HealthAction::Restart if may_restart => {
                self.step(id, Event::Restart, now);
                self.restarted(id, now);
            }
            HealthAction::Restart => self.step(id, Event::GiveUp, now),
        }
    }

    fn healthy(&mut self, id: ProcId) {
        let Some(process) = self.process_mut(id).filter(|process| process.state() == State::Running) else { return };
        if process.unhealthy.take().is_some() {
            let line = format!("{} is healthy again", process.namespec());
            self.log(LogLevel::Info, line);
        }
    }

    fn watchdog_expired(&mut self, id: ProcId, why: &str, now: Now) {
        let is_watched = |process: &&mut Process| matches!(process.core.phase, Phase::Running { abort: None, .. });
        let Some(process) = self.process_mut(id).filter(is_watched) else { return };
        process.unhealthy = Some(format!("{why} (watchdog)").into());
        let line = report::watchdog(&process.config, process.pid().unwrap_or(0), why);
        self.log(LogLevel::Warn, line);
        self.step(id, Event::WatchdogExpired, now);
    }

    /// Only the first main process of each start is logged, so that a program cannot fill the log.
    fn set_main_pid(&mut self, id: ProcId, pid: Pid) {
        let Some(process) = self.process_mut(id).filter(|process| process.pid().is_some()) else { return };
        if process.main_pid.replace(pid).is_none() {
            let line = format!("{}: main pid {pid} (MAINPID)", process.config.name);
            self.log(LogLevel::Info, line);
        }
    }

    fn set_obstacle(&mut self, id: ProcId, why: Option<String>) {
        if let Some(process) = self.process_mut(id).filter(|process| process.core.waits_for_ready()) {
            process.obstacle = why.map(Into::into);
        }
    }

    fn cannot_be_ready(&mut self, id: ProcId, why: String, now: Now) {
        self.warn(id, &why);
        self.set_obstacle(id, Some(why));
        self.step(id, Event::NotReady, now);
    }

    fn hook_ended(&mut self, id: ProcId, hook: Hook, result: Result<(), String>, now: Now) {
        let is_ok = result.is_ok();
        if let Err(why) = result {
            self.hook_failed(id, hook, why);
        }
        self.sweep_ended(id, Event::HookEnded(hook, is_ok), now);
    }

    fn hook_failed(&mut self, id: ProcId, hook: Hook, why: String) {
        self.warn(id, &why);
        if let Some(process) = self.process_mut(id).filter(|_| hook == Hook::PreStart) {
            process.spawnerr = why.into();
        }
    }

    fn warn(&mut self, id: ProcId, why: &str) {
        let line = self.process(id).map(|process| format!("{}: {why}", process.config.name));
        self.effects.extend(line.map(|line| Effect::Log(LogLevel::Warn, line)));
    }

    /// The sweep of this process is over, or a hook.
    fn sweep_ended(&mut self, id: ProcId, event: Event, now: Now) {
        self.step(id, event, now);
        // A program that had ended for good is at rest only now, and may have been the last.
        if let Some(state) = self.process(id).map(Process::state) {
            self.apply_exit_contract(id, state, now);
        }
    }

    fn perform(&mut self, id: ProcId, action: Action, now: Now) {
        let Some(process) = self.process_mut(id) else { return };
        let config = Rc::clone(&process.config);
        let signal = |pid, signal, group, purpose| Effect::Signal { id, pid, signal, group, purpose };
        let effect = match action {
            Action::Spawn => {
                process.laststart = now.wall.secs;
                process.spawnerr = Box::default();
                Effect::Spawn(id)
            }
            Action::CheckDependencies => return,
            Action::CheckDependents => return self.graph.check(id, Cause::Links),
            Action::RunHook(hook) => Effect::RunHook(id, hook),
            Action::KillHook(hook) => Effect::KillHook(id, hook),
            Action::HookTimedOut(hook) => {
                let has_budget = self.shutdown.as_ref().is_some_and(|shutdown| shutdown.budget_end.is_some());
                self.hook_failed(id, hook, report::hook_timed_out(&config, hook, has_budget));
                Effect::KillHook(id, hook)
            }
            Action::ReadyTimeout => {
                let why = report::not_ready(&config, process.obstacle.as_deref());
                process.obstacle = Some(why.as_str().into());
                Effect::Log(LogLevel::Warn, format!("{}: {why}", config.name))
            }
            Action::Abort(pid) => signal(pid, posix::SIGABRT, false, Purpose::Stop),
            Action::StopSignal(pid, place) => {
                let number = config.lifecycle.stop_sequence.get(place).map_or(config.stopsignal, |stop| stop.signal);
                self.log(LogLevel::Debug, report::killing(&config, pid, number, config.stopasgroup));
                signal(pid, number, config.stopasgroup, Purpose::Stop)
            }
            Action::Kill(pid) => {
                self.log(LogLevel::Warn, format!("killing '{}' ({pid}) with SIGKILL", config.name));
                self.log(LogLevel::Debug, report::killing(&config, pid, posix::SIGKILL, config.killasgroup));
                signal(pid, posix::SIGKILL, config.killasgroup, Purpose::Stop)
            }
            Action::Sweep { pgid, kill } => {
                let number = if kill { posix::SIGKILL } else { posix::SIGTERM };
                signal(pgid, number, true, Purpose::Sweep { kill })
            }
            Action::CheckGroup(pgid) => Effect::CheckGroup(id, pgid),
            Action::ReleaseGroup(pgid) => Effect::ReleaseGroup(pgid),
            Action::Ended { exit, kind } => {
                process.laststop = now.wall.secs;
                process.last_exit = Some(exit);
                process.spawnerr = report::spawnerr(&config, exit, kind, process.obstacle.as_deref()).into();
                let (level, line) = report::ended(&config, exit, kind);
                Effect::Log(level, line)
            }
            Action::StateChanged { from, to, pid, tries } => {
                let expected = process.last_exit.is_some_and(|exit| config.exitcodes.contains(exit.status()));
                return self.state_changed(id, StateChange { from, to, pid, tries, expected }, now);
            }
        };
        self.effects.push_back(effect);
    }

    fn state_changed(&mut self, id: ProcId, change: StateChange, now: Now) {
        let StateChange { from, to, .. } = change;
        let Some(process) = self.process_mut(id) else { return };
        let config = Rc::clone(&process.config);
        if to == State::Starting {
            process.unhealthy = None;
            (process.obstacle, process.status, process.main_pid) = (None, None, None);
            process.stopped_by_request = false;
        }
        if from == State::Backoff && matches!(to, State::Stopped | State::Stopping) {
            let line = format!("Attempted to kill {}, which is in BACKOFF state.", config.name);
            self.log(LogLevel::Debug, line);
        }
        self.effects.push_back(Effect::StateChanged(id, change));
        let gives_up = to == State::Fatal && matches!(from, State::Exited | State::Stopped);
        let limit = config.lifecycle.restart_limit.filter(|_| gives_up);
        if let (Some(limit), Some(process)) = (limit, self.process_mut(id)) {
            process.spawnerr = report::limit(limit).into();
        }
        // A program that was not tried to its end is FATAL for the reason in `spawnerr`.
        let is_refused = to == State::Fatal && matches!(from, State::Exited | State::Stopped | State::Starting);
        let why = self.process(id).filter(|_| is_refused).map(|process| process.spawnerr.clone());
        // As in Supervisor, no line is logged when a shutdown makes BACKOFF FATAL.
        let is_logged = to != State::Fatal || self.state == SupervisorState::Running;
        let line = if is_logged { report::became(&config, to, why.as_deref()) } else { None };
        self.links_changed(id, to, now);
        self.apply_exit_contract(id, to, now);
        self.effects.extend(line.map(|line| Effect::Log(LogLevel::Info, line)));
    }

    fn log(&mut self, level: LogLevel, line: String) {
        self.effects.push_back(Effect::Log(level, line));
    }
}

/// Event listeners serve the supervisor: the exit contract does not count them as programs.
fn is_listener(group: &GroupConfig) -> bool {
    matches!(group.kind, GroupKind::Listeners(_))
}

#[cfg(test)]
mod tests;
