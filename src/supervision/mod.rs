//! The brain: groups of processes, requests, waits and the ordered shutdown. Pure: no I/O, no clock.
//!
//! [`Supervision::handle`] takes one [`Input`] at a given moment; what is to be done comes out of
//! [`Supervision::next_effect`], in order, and its outcome goes back in as an input until nothing is left
//! ("drain to quiet"). [`Supervision::next_deadline`] says when `Input::Woke` is due; there is no tick.
//!
//! What decides what: `process` one process's state; `mood` the supervisor's own state, the order of its shutdown and
//! the exit contract; `command` which requests are accepted; `waits` when a waiting request is answered.
#![forbid(unsafe_code)]

mod command;
mod mood;
pub mod process;
mod report;
mod waits;

pub use crate::fault::{Fault, FaultCode};
use crate::protocol::namespec;
pub use crate::protocol::split_namespec;
pub use command::{Command, Target};
pub use mood::{Finish, Mood};
pub use waits::{Reply, Status};

use crate::config::compare;
use crate::config::model::{Config, GroupConfig, GroupKind, LogLevel, ProcessConfig, ServerConfig};
use crate::posix::{self, Exit};
use crate::time::{Mono, Now};
use process::{Action, Core, Event, Phase, Pid, Policy, State};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

/// A process of the table. No other process ever has the same number, not even after this one has left the table.
pub type ProcId = u32;

/// One process in one request: what a look at its command, or a client's signal, is answered for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ItemId(u64);

/// Whom a [`Reply`] is for; the daemon's own number.
pub type Ticket = u64;

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// The loop is up: autostart.
    Booted,
    /// Time has passed.
    Woke,
    /// `Effect::Spawn` made this child.
    Spawned(ProcId, Pid),
    /// `Effect::Spawn` could not; the text is for the log and `spawnerr`.
    SpawnFailed(ProcId, String),
    /// A child is dead, and whether others live in its process group (asked where `sweep` is set).
    Exited(ProcId, Exit, bool),
    /// The swept group of this process is empty.
    GroupEmpty(ProcId),
    /// The supervisor itself restarts this process, without a client: stop it if it lives, then start it.
    Restart(ProcId),
    /// Answer to `Effect::Probe`.
    Probed(ItemId, Result<(), Fault>),
    /// Answer to `Effect::Signal`.
    Signalled(ProcId, Purpose, SignalResult),
    /// A client asks.
    Command(Ticket, Command),
    /// A client has gone: nobody waits any more.
    Forget(Ticket),
    /// TERM, INT or QUIT, or a client's `shutdown`; the text says which.
    Terminate(String),
    /// Listeners have heard all that there is: see [`Supervision::waits_for_listeners`].
    Heard,
    /// HUP or a client's `restart`, its new configuration already found good.
    Reload,
}

/// What is to be done.
#[derive(Debug)]
pub enum Effect {
    /// Fork and exec when its turn comes, if [`Supervision::wants_fork`] says so then; answer at once with `Spawned` or
    /// `SpawnFailed`.
    Spawn(ProcId),
    /// See whether the command could be run; answer with `Probed`.
    Probe(ItemId, ProcId),
    /// kill(2); answer with `Signalled`.
    Signal {
        /// Whose.
        id: ProcId,
        /// The process, or the group's number.
        pid: Pid,
        /// The signal's number.
        signal: i32,
        /// Send it to the process group.
        group: bool,
        /// Why. What is to sweep an empty group is answered with `GroupEmpty`, unsent.
        purpose: Purpose,
    },
    /// See whether the swept group is empty; answer with `GroupEmpty` if it is.
    Look(ProcId, Pid),
    /// Reap the leader of this swept group, whoever else lives in it.
    Abandon(Pid),
    /// A line for the log.
    Log(LogLevel, String),
    /// The answer to a command.
    Reply(Ticket, Reply),
    /// The state of a process is another now.
    Became(ProcId, Change),
    /// The supervisor runs, or has begun to shut down or restart.
    Mood(Mood),
    /// These processes exist now (their AUTO logs are to be made).
    Added(Vec<ProcId>),
    /// These processes no longer exist.
    Removed(Vec<ProcId>),
    /// A group has come into use (true), or has gone.
    Group(Rc<GroupConfig>, bool),
    /// All is stopped.
    Finish(Finish),
}

/// What a change of state means to listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Before.
    pub from: State,
    /// After.
    pub to: State,
    /// The child's number, of the one that has just ended too; 0: there was none.
    pub pid: Pid,
    /// Failed starts in a row so far.
    pub tries: u32,
    /// Its last exit was an expected one.
    pub expected: bool,
}

/// So much room for effects is kept for the next time.
const KEPT_EFFECTS: usize = 64;

/// Why a signal is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Stop signal or KILL.
    Stop,
    /// To end what a dead program left.
    Sweep {
        /// With KILL, not TERM.
        kill: bool,
    },
    /// A client asked.
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
    /// When the last attempt began, seconds since the epoch; 0: never.
    pub laststart: i64,
    /// When it was last reaped, seconds since the epoch; 0: never.
    pub laststop: i64,
    /// How it last ended.
    pub last_exit: Option<Exit>,
    /// Why it last failed; empty: it did not.
    pub spawnerr: Box<str>,
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

    /// Whether it serves the supervisor, not the user.
    #[must_use]
    pub fn is_listener(&self) -> bool {
        is_listener(&self.group)
    }

    /// A start is to come without a request, or remains are being swept: a stop has something to do.
    #[must_use]
    fn is_held(&self) -> bool {
        self.core.remains.is_some() || self.core.is_restarting() || self.is_held_restart()
    }

    /// A restart of its own accord is due.
    fn is_held_restart(&self) -> bool {
        matches!(self.core.phase, Phase::Exited { restart_at: Some(_) })
    }

    /// What its end means as our own exit code: its code, 128 + signal, 127 where it could never be started; a FATAL
    /// program has failed even if its last exit was 0.
    fn exit_code(&self) -> u8 {
        match (self.state(), self.last_exit.map(Exit::shell_status)) {
            (State::Fatal, None) => 127,
            (State::Fatal, Some(0)) => 1,
            (_, code) => code.unwrap_or(0),
        }
    }

    /// Failed starts in a row.
    #[must_use]
    pub fn backoff(&self) -> u32 {
        self.core.backoff
    }
}

/// A group that is in use.
#[derive(Debug)]
struct Group {
    config: Rc<GroupConfig>,
    /// When it was added: ties of priority are in this order.
    serial: u32,
    /// In configuration order.
    members: Vec<ProcId>,
    /// Sorted by name.
    by_name: Vec<ProcId>,
}

/// The whole state.
#[derive(Debug)]
pub struct Supervision {
    mood: Mood,
    /// The settings of the supervisor itself that are in force: those that it began with. A reread does not change them.
    server: ServerConfig,
    /// The methods of `[rpcinterface:twiddler]` in force; see [`Config::twiddler`].
    twiddler: Option<Vec<String>>,
    /// The last configuration that was read without a mistake: what `add` and `avail` go by.
    last_read: Config,
    groups: BTreeMap<String, Group>,
    added: u32,
    processes: BTreeMap<ProcId, Box<Process>>,
    /// The number of the next process.
    next_process: ProcId,
    /// The number of the next item of a request.
    next_item: u64,
    timers: BTreeSet<(Mono, ProcId)>,
    effects: VecDeque<Effect>,
    waits: Vec<waits::Wait>,
    /// What is decided now was not decided by the request itself, nor by the fork or the signal that it asked for.
    is_late: bool,
    shutdown: Option<mood::Shutdown>,
    ended: mood::Ended,
    /// Scratch space of `step`.
    actions: Vec<Action>,
}

impl Supervision {
    /// The state before `Booted`, with every group of `config` in use.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let mut new = Supervision {
            mood: Mood::Running,
            server: config.server.clone(),
            twiddler: config.twiddler.clone(),
            last_read: Config::default(),
            groups: BTreeMap::new(),
            added: 0,
            processes: BTreeMap::new(),
            next_process: 0,
            next_item: 0,
            timers: BTreeSet::new(),
            effects: VecDeque::new(),
            waits: Vec::new(),
            is_late: false,
            shutdown: None,
            ended: mood::Ended::default(),
            actions: Vec::new(),
        };
        for group in &config.groups {
            new.add_group(group);
        }
        // Built anew from what is sorted, the tree has no room left over.
        new.groups = std::mem::take(&mut new.groups).into_iter().collect();
        new.last_read = config;
        new
    }

    /// Takes in what happened.
    pub fn handle(&mut self, input: Input, now: Now) {
        self.is_late = matches!(input, Input::Exited(..) | Input::Woke | Input::GroupEmpty(_));
        match input {
            Input::Booted => self.boot(now),
            Input::Woke => self.woke(now),
            Input::Spawned(id, pid) => {
                if let Some(process) = self.process_mut(id) {
                    process.laststart = now.wall.secs;
                    let line = format!("spawned: '{}' with pid {pid}", process.config.name);
                    self.log(LogLevel::Info, line);
                }
                self.step(id, Event::Spawned(pid), now);
            }
            Input::SpawnFailed(id, why) => {
                self.log(LogLevel::Info, format!("spawnerr: {why}"));
                if let Some(process) = self.process_mut(id) {
                    process.spawnerr = why.into();
                }
                self.step(id, Event::SpawnFailed, now);
            }
            Input::Exited(id, exit, remains) => self.step(id, Event::Exited { exit, remains }, now),
            Input::GroupEmpty(id) => self.swept(id, Event::GroupEmpty, now),
            Input::Restart(id) if self.mood == Mood::Running => self.step(id, Event::Restart, now),
            Input::Restart(_) => {}
            Input::Probed(item, result) => self.probed(item, result, now),
            Input::Signalled(id, purpose, result) => self.signalled(id, purpose, result, now),
            Input::Command(ticket, command) => self.command(ticket, command, now),
            Input::Forget(ticket) => self.waits.retain(|wait| wait.ticket != ticket),
            Input::Terminate(reason) => self.terminate(reason, now),
            Input::Heard => self.heard(),
            Input::Reload => self.begin_shutdown(Mood::Restarting, String::new(), now),
        }
        self.settle_shutdown(now);
        debug_assert_eq!(self.broken_invariant(), None);
    }

    /// The first of the rules that does not hold. All of them hold at the end of every turn.
    fn broken_invariant(&self) -> Option<String> {
        for (id, process) in &self.processes {
            let deadline = process.core.deadline(&Policy::from(&*process.config));
            if process.armed != deadline || deadline.is_some_and(|at| !self.timers.contains(&(at, *id))) {
                return Some(format!("the timer is not the deadline {deadline:?}: {process:?}"));
            }
            if process.core.is_at_rest() && process.pid().is_some() && process.state() != State::Unknown {
                return Some(format!("at rest with a live child: {process:?}"));
            }
            if !self.groups.get(&process.group.name).is_some_and(|group| group.members.contains(id)) {
                return Some(format!("in no group: {process:?}"));
            }
        }
        if self.timers.len() != self.processes.values().filter(|process| process.armed.is_some()).count() {
            return Some(format!("a timer of no process: {:?}", self.timers));
        }
        self.waits.iter().find_map(|wait| wait.broken_invariant(self))
    }

    /// The next thing to do.
    pub fn next_effect(&mut self) -> Option<Effect> {
        let effect = self.effects.pop_front();
        if effect.is_none() && self.effects.capacity() > KEPT_EFFECTS {
            // A start of a thousand programs has needed room that nothing needs again.
            self.effects = VecDeque::new();
        }
        effect
    }

    /// When `Woke` is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Mono> {
        let timer = self.timers.first().map(|&(at, _)| at);
        let shutdown = self.shutdown.as_ref().map(mood::Shutdown::deadline);
        let waits = self.waits.iter().filter_map(waits::Wait::deadline).min();
        [timer, shutdown, waits].into_iter().flatten().min()
    }

    /// The supervisor's own state.
    #[must_use]
    pub fn mood(&self) -> Mood {
        self.mood
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

    /// The last configuration that was read without a mistake. Only its groups mean something before a reload: they are
    /// those that can be added.
    #[must_use]
    pub fn last_read(&self) -> &Config {
        &self.last_read
    }

    /// One process.
    #[must_use]
    pub fn process(&self, id: ProcId) -> Option<&Process> {
        self.processes.get(&id).map(|process| &**process)
    }

    /// Whether this process still waits for its fork.
    #[must_use]
    pub fn wants_fork(&self, id: ProcId) -> bool {
        self.process(id).is_some_and(|process| process.core.wants_fork())
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

    /// The process that `group:name` or `name` means.
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

    /// Puts a group into use; its processes start with `autostart` at the next step.
    fn add_group(&mut self, config: &Rc<GroupConfig>) -> Vec<ProcId> {
        let mut members = Vec::with_capacity(config.processes.len());
        for process in &config.processes {
            members.push(self.insert_new(process, config));
        }
        let by_name = self.sorted_by_name(&members);
        let group = Group { config: Rc::clone(config), serial: self.added, members: members.clone(), by_name };
        self.added = self.added.saturating_add(1);
        self.groups.insert(config.name.clone(), group);
        self.effects.push_back(Effect::Added(members.clone()));
        self.effects.push_back(Effect::Group(Rc::clone(config), true));
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
            laststart: 0,
            laststop: 0,
            last_exit: None,
            spawnerr: Box::default(),
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
        self.effects.push_back(Effect::Mood(self.mood));
        for id in self.in_order() {
            self.autostart(id, now);
        }
    }

    fn autostart(&mut self, id: ProcId, now: Now) {
        if self.mood == Mood::Running && self.process(id).is_some_and(|process| process.config.autostart) {
            self.step(id, Event::Start, now);
        }
    }

    fn woke(&mut self, now: Now) {
        while let Some(&(at, id)) = self.timers.first() {
            if at > now.mono {
                break;
            }
            self.timers.pop_first();
            if let Some(process) = self.process_mut(id) {
                process.armed = None;
            }
            self.step(id, Event::Woke, now);
        }
        self.remind_waits(now);
    }

    /// The one way in which a process changes: decide, then carry the actions over into effects.
    fn step(&mut self, id: ProcId, event: Event, now: Now) {
        let mut actions = std::mem::take(&mut self.actions);
        if let Some(process) = self.process_mut(id) {
            let policy = Policy::from(&*process.config);
            process.core.step(event, now.mono, &policy, &mut actions);
            let (before, after) = (process.armed, process.core.deadline(&policy));
            process.armed = after;
            if before != after {
                before.map(|at| self.timers.remove(&(at, id)));
                after.map(|at| self.timers.insert((at, id)));
            }
        }
        for action in actions.drain(..) {
            self.carry_over(id, action, now);
        }
        self.actions = actions;
        self.look_at_waits(id);
    }

    /// Nobody is swept any more.
    fn swept(&mut self, id: ProcId, event: Event, now: Now) {
        self.step(id, event, now);
        // Only now it is at rest, if it had ended for good: that may have been the last.
        if let Some(state) = self.process(id).map(Process::state) {
            self.became(id, state, now);
        }
    }

    fn carry_over(&mut self, id: ProcId, action: Action, now: Now) {
        let Some(process) = self.process_mut(id) else { return };
        let config = Rc::clone(&process.config);
        let signal = |pid, signal, group, purpose| Effect::Signal { id, pid, signal, group, purpose };
        let effect = match action {
            Action::Spawn => {
                process.laststart = now.wall.secs;
                process.spawnerr = Box::default();
                Effect::Spawn(id)
            }
            Action::StopSignal(pid) => {
                self.log(LogLevel::Debug, report::killing(&config, pid, config.stopsignal, config.stopasgroup));
                signal(pid, config.stopsignal, config.stopasgroup, Purpose::Stop)
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
            Action::Look(pgid) => Effect::Look(id, pgid),
            Action::Abandon(pgid) => Effect::Abandon(pgid),
            Action::Ended { exit, kind } => {
                process.laststop = now.wall.secs;
                process.last_exit = Some(exit);
                process.spawnerr = report::spawnerr(exit, kind).into();
                let (level, line) = report::ended(&config, exit, kind);
                Effect::Log(level, line)
            }
            Action::Became { from, to, pid, tries } => {
                let expected = process.last_exit.is_some_and(|exit| config.exitcodes.contains(exit.status()));
                if from == State::Backoff && matches!(to, State::Stopped | State::Stopping) {
                    let line = format!("Attempted to kill {}, which is in BACKOFF state.", config.name);
                    self.log(LogLevel::Debug, line);
                }
                self.effects.push_back(Effect::Became(id, Change { from, to, pid, tries, expected }));
                // At a shutdown BACKOFF turns FATAL without a word, as in Supervisor.
                let gives_up = to != State::Fatal || self.mood == mood::Mood::Running;
                let line = if gives_up { report::became(&config, to) } else { None };
                self.became(id, to, now);
                match line {
                    Some(line) => Effect::Log(LogLevel::Info, line),
                    None => return,
                }
            }
        };
        self.effects.push_back(effect);
    }

    fn log(&mut self, level: LogLevel, line: String) {
        self.effects.push_back(Effect::Log(level, line));
    }
}

/// Event listeners serve the supervisor: they do not count where programs are meant.
fn is_listener(group: &GroupConfig) -> bool {
    matches!(group.kind, GroupKind::Listeners(_))
}

#[cfg(test)]
mod tests;
