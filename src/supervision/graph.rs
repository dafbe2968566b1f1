//! Dependencies between processes (`depends_on`, `after`, `restart_with`): which ones a start waits for and starts, which ones
//! end first in a stop, and which ones are restarted together.
//!
//! The links are resolved whenever the table of processes changes. What waits is checked at the end of each input, when a
//! process that it waits for has changed: so all programs that start at boot have begun before the first of them is judged.
#![forbid(unsafe_code)]

use super::process::{Event, Phase, StartStep, State, StopStep};
use super::{ProcId, Process, Supervision, SupervisorState};
use crate::config::model::LogLevel;
use crate::protocol::split_namespec;
use crate::time::Now;
use std::collections::{BTreeMap, VecDeque};

/// The links of one process, and what follows from them. Processes without links have none.
#[derive(Debug, Default)]
pub(super) struct Node {
    needs: Vec<ProcId>,
    after: Vec<ProcId>,
    restart_with: Vec<ProcId>,
    /// The processes that have these links to this one, each as often as it has one.
    dependents: Vec<ProcId>,
    /// A name of `depends_on` that no process in use has.
    missing: Option<String>,
    /// The priority of its group, or that of a process that it must end before, if that is stopped earlier.
    stop_priority: i32,
    /// The length of the longest chain of dependents, which end before it.
    depth: u32,
    /// It has been RUNNING, so that the next time is a restart.
    has_run: bool,
    /// It was stopped together with one of `restart_with`, or could not start since a dependency was stopped, and starts together with it.
    stopped_along: bool,
}

/// All links, and the processes to check.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: BTreeMap<ProcId, Node>,
    /// Processes to check, and why.
    to_check: VecDeque<(ProcId, Cause)>,
}

/// Why a process is checked that may wait for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// It has begun to wait because of a request, or at boot: dependencies are started, FATAL ones too.
    Request,
    /// It has begun to wait because of a retry or an automatic restart: dependencies are started.
    Policy,
    /// It has begun to wait for dependents, or the links have changed.
    Links,
    /// This process has changed.
    Changed(ProcId),
}

/// The most names in the description of a process that waits.
const NAMES_SHOWN: usize = 8;

/// Capacity of the queue that is kept when it is empty.
const QUEUE_KEPT: usize = 64;

/// How far a dependency is.
enum Met {
    Yes,
    NotYet,
    /// For this reason. The flag: the dependency was only stopped, or removed, and may come back.
    Never(String, bool),
}

impl Node {
    /// The processes that it has a link to.
    fn linked(&self) -> impl Iterator<Item = ProcId> {
        [&self.needs, &self.after, &self.restart_with].into_iter().flatten().copied()
    }
}

impl Graph {
    fn node(&self, id: ProcId) -> Option<&Node> {
        self.nodes.get(&id)
    }

    /// Marks a process that has begun to wait.
    pub(super) fn check(&mut self, id: ProcId, cause: Cause) {
        self.to_check.push_back((id, cause));
    }

    /// Finds out in which order a shutdown stops the processes. A circle, which only programs added at run time can make, has none.
    fn order(&mut self) {
        let mut left: BTreeMap<_, _> = self.nodes.iter().map(|(&id, node)| (id, node.dependents.len())).collect();
        // Every process after its dependents.
        let mut order: Vec<ProcId> = left.iter().filter(|(_, left)| **left == 0).map(|(&id, _)| id).collect();
        let mut place = 0_usize;
        while let Some(node) = order.get(place).and_then(|id| self.nodes.get(id)) {
            let (depth, linked) = (node.depth.saturating_add(1), node.linked().collect::<Vec<_>>());
            for of in linked {
                let (Some(left), Some(node)) = (left.get_mut(&of), self.nodes.get_mut(&of)) else { continue };
                node.depth = node.depth.max(depth);
                *left = left.saturating_sub(1);
                order.extend((*left == 0).then_some(of));
            }
            place = place.saturating_add(1);
        }
        for id in order.into_iter().rev() {
            let Some(node) = self.node(id) else { continue };
            let (priority, dependents) = (node.stop_priority, node.dependents.clone());
            for dependent in dependents {
                if let Some(node) = self.nodes.get_mut(&dependent) {
                    node.stop_priority = node.stop_priority.max(priority);
                }
            }
        }
    }

    /// The state of a process changed, or its cleanup is over: what waits for it is to be checked. Only a process that has ended
    /// lets those end that it depends on.
    pub(super) fn changed(&mut self, id: ProcId, has_ended: bool) {
        if let Some(node) = self.nodes.get(&id) {
            let others = node.linked().filter(|_| has_ended).chain(node.dependents.iter().copied());
            self.to_check.extend(others.map(|other| (other, Cause::Changed(id))));
        }
    }
}

impl Supervision {
    /// Resolves all links anew, after processes were added or removed.
    pub(super) fn relink(&mut self) {
        let old = std::mem::take(&mut self.graph.nodes);
        let is_linked = |process: &Process| {
            process.config.lifecycle.has_dependencies() || !process.config.lifecycle.restart_with.is_empty()
        };
        let mut nodes: BTreeMap<ProcId, Node> = BTreeMap::new();
        for (&id, process) in self.processes.iter().filter(|(_, process)| is_linked(process)) {
            let config = &process.config.lifecycle;
            let resolve = |names: &[String]| names.iter().flat_map(|name| self.named(name)).collect::<Vec<_>>();
            let node = nodes.entry(id).or_default();
            (node.needs, node.after) = (resolve(&config.depends_on), resolve(&config.after));
            node.restart_with = resolve(&config.restart_with);
            node.missing = config.depends_on.iter().find(|name| self.named(name).is_empty()).cloned();
            for of in node.linked().collect::<Vec<_>>() {
                nodes.entry(of).or_default().dependents.push(id);
            }
        }
        for (id, node) in &mut nodes {
            node.stop_priority = self.process(*id).map_or(0, |process| process.group.priority);
            if let Some(old) = old.get(id) {
                (node.has_run, node.stopped_along) = (old.has_run, old.stopped_along);
            }
        }
        self.graph.nodes = nodes;
        self.graph.order();
        self.graph.to_check.extend(self.graph.nodes.keys().map(|&id| (id, Cause::Links)));
    }

    /// The processes that a name in a list of dependencies means: of a group, of a program, or `group:process`.
    fn named(&self, name: &str) -> Vec<ProcId> {
        if let Some(group) = self.groups.get(name) {
            return group.members.clone();
        }
        if name.contains(':') {
            let (group, process) = split_namespec(name);
            return process.and_then(|process| self.find(group, process)).into_iter().collect();
        }
        self.all().filter(|(_, process)| &*process.config.program == name).map(|(id, _)| id).collect()
    }

    /// The priority at which the shutdown stops this process.
    pub(super) fn stop_priority(&self, id: ProcId, process: &Process) -> i32 {
        self.graph.node(id).map_or(process.group.priority, |node| node.stop_priority)
    }

    /// The length of the longest chain of dependents that end before this process.
    pub(super) fn stop_depth(&self, id: ProcId) -> u32 {
        self.graph.node(id).map_or(0, |node| node.depth)
    }

    /// Whether a process lives that must end before this one: in a shutdown each dependent, else only those that are being
    /// stopped because they follow its stops (`restart_with`). One that starts meanwhile is not waited for.
    pub(super) fn has_live_dependents(&self, id: ProcId) -> bool {
        let is_running = self.state == SupervisorState::Running;
        // From the back: they end in order, so that the last one is most often still there.
        let dependents = self.graph.node(id).into_iter().flat_map(|node| node.dependents.iter().rev());
        let relevant = dependents.filter(|&&dependent| !is_running || self.follows(dependent, id));
        relevant.filter_map(|&dependent| self.process(dependent)).any(|process| match process.state() {
            _ if process.core.is_cleaning_up() => true,
            State::Stopping => process.pid().is_some(),
            // It cannot be signalled, and is given up.
            State::Unknown => false,
            _ => !is_running && process.pid().is_some(),
        })
    }

    fn follows(&self, dependent: ProcId, id: ProcId) -> bool {
        self.graph.node(dependent).is_some_and(|node| node.restart_with.contains(&id))
    }

    /// This process is to be stopped or restarted: those that are restarted with it are stopped first.
    pub(super) fn stop_followers(&mut self, id: ProcId, now: Now) {
        let by_request = self.process(id).is_some_and(|process| process.stopped_by_request);
        for follower in self.graph.node(id).map_or_else(Vec::new, |node| node.dependents.clone()) {
            if !self.follows(follower, id) {
                continue;
            }
            if let Some(process) = self.process_mut(follower).filter(|process| process.is_up()) {
                process.stopped_by_request = by_request;
                self.step(follower, Event::Stop, now);
                self.set_stopped_along(follower, true);
            }
        }
    }

    /// Whether this process starts together with the one that it was stopped with. It does not after a request to stop it.
    pub(super) fn set_stopped_along(&mut self, id: ProcId, stopped_along: bool) {
        if let Some(node) = self.graph.nodes.get_mut(&id) {
            node.stopped_along = stopped_along;
        }
    }

    /// The state of a process changed.
    pub(super) fn links_changed(&mut self, id: ProcId, to: State, now: Now) {
        if !matches!(to, State::Starting | State::Stopping) {
            self.graph.changed(id, to != State::Running);
        }
        let Some(node) = self.graph.nodes.get_mut(&id) else { return };
        match to {
            State::Running => {
                let is_again = std::mem::replace(&mut node.has_run, true);
                for follower in node.dependents.clone() {
                    self.restart_along(follower, id, is_again, now);
                }
            }
            State::Starting => node.stopped_along = false,
            _ => {}
        }
    }

    /// Restarts a process after `id` has come to RUNNING once more, or starts it if it was stopped together with `id`, or if its
    /// start ended because `id` was stopped.
    fn restart_along(&mut self, follower: ProcId, id: ProcId, is_again: bool, now: Now) {
        let Some(node) = self.graph.node(follower) else { return };
        let (follows, stopped_along) = (is_again && node.restart_with.contains(&id), node.stopped_along);
        let can_start = || !matches!(self.dependencies(follower, Cause::Links), Met::Never(..));
        match self.process(follower).map(|process| (process.is_up(), process.state())) {
            Some((true, _)) if follows => self.step(follower, Event::Restart, now),
            Some((_, State::Stopped)) if follows && stopped_along => self.step(follower, Event::Start, now),
            Some((_, State::Fatal)) if stopped_along && can_start() => self.step(follower, Event::Start, now),
            _ => {}
        }
    }

    /// Lets go on what waits for other processes, as far as it can.
    pub(super) fn settle_graph(&mut self, now: Now) {
        while let Some((id, cause)) = self.graph.to_check.pop_front() {
            match self.process(id).map(|process| process.core.phase) {
                Some(Phase::Starting(StartStep::WaitingForDependencies)) => {
                    let is_new = matches!(cause, Cause::Request | Cause::Policy);
                    if is_new {
                        self.start_needs(id, cause, now);
                    }
                    match self.dependencies(id, cause) {
                        Met::Yes => self.step(id, Event::DependenciesMet, now),
                        Met::NotYet if is_new => {
                            let name = self.process(id).map_or("", |process| &process.config.name);
                            let line = format!("{name} waits for {}", self.waiting_for(id).unwrap_or_default());
                            self.log(LogLevel::Info, line);
                        }
                        Met::NotYet => {}
                        Met::Never(why, is_stopped) => {
                            self.set_stopped_along(id, is_stopped);
                            if let Some(process) = self.process_mut(id) {
                                process.spawnerr = why.into();
                            }
                            self.step(id, Event::DependencyFailed, now);
                        }
                    }
                }
                Some(Phase::Stopping { step: StopStep::WaitingForDependents { .. }, .. })
                    if !self.has_live_dependents(id) =>
                {
                    self.step(id, Event::DependentsGone, now);
                }
                _ => {}
            }
        }
        self.graph.to_check.shrink_to(QUEUE_KEPT);
    }

    /// Starts the dependencies that are at rest. A one-shot that is done does not run again.
    fn start_needs(&mut self, id: ProcId, cause: Cause, now: Now) {
        for need in self.graph.node(id).map_or_else(Vec::new, |node| node.needs.clone()) {
            let is_at_rest = self.process(need).is_some_and(|process| match process.state() {
                State::Stopped => true,
                State::Exited => !process.is_done() && !process.is_held_restart(),
                State::Fatal => cause == Cause::Request,
                _ => false,
            });
            if is_at_rest {
                self.step(need, Event::Start, now);
            }
        }
    }

    fn dependencies(&self, id: ProcId, cause: Cause) -> Met {
        let Some(node) = self.graph.node(id) else { return Met::Yes };
        if let Some(missing) = &node.missing {
            return Met::Never(format!("needs {missing}, which is not in use"), true);
        }
        // Of a hundred dependencies, only the one that has changed can have become impossible.
        let changed = |need: &&ProcId| !matches!(cause, Cause::Changed(changed) if changed != **need);
        let mut needs = node.needs.iter().filter(changed).filter_map(|&need| self.process(need));
        if let Some(process) = needs.find(|process| !process.is_met() && process.core.is_at_rest()) {
            let why = format!("needs {}, which is {}", process.namespec(), process.state().name());
            return Met::Never(why, process.state() == State::Stopped);
        }
        // From the back: what starts in order becomes ready in order, so that the last one is most often still to come.
        if self.waited_for(id).next_back().is_some() { Met::NotYet } else { Met::Yes }
    }

    /// The processes that a start of this one waits for.
    fn waited_for(&self, id: ProcId) -> impl DoubleEndedIterator<Item = &Process> {
        let node = self.graph.node(id);
        let needs = node.into_iter().flat_map(|node| &node.needs).filter_map(|&need| self.process(need));
        let after = node.into_iter().flat_map(|node| &node.after).filter_map(|&after| self.process(after));
        let on_its_way = |process: &&Process| matches!(process.state(), State::Starting | State::Backoff);
        needs.filter(|process| !process.is_met()).chain(after.filter(on_its_way))
    }

    /// The names that the start of this process waits for, the first few of them; `None` if it waits for none.
    #[must_use]
    pub fn waiting_for(&self, id: ProcId) -> Option<String> {
        self.process(id).filter(|process| process.core.waits_for_others())?;
        let names: Vec<String> = self.waited_for(id).take(NAMES_SHOWN).map(Process::namespec).collect();
        let more = self.waited_for(id).skip(NAMES_SHOWN).count();
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        Some(names.join(", ") + &rest)
    }
}

impl Process {
    /// Whether it is a one-shot that has succeeded.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.config.lifecycle.oneshot && self.state() == State::Exited
    }

    /// Whether its program runs and is not being stopped.
    fn is_up(&self) -> bool {
        self.pid().is_some() && matches!(self.state(), State::Starting | State::Running)
    }

    /// Whether what depends on it may start.
    fn is_met(&self) -> bool {
        self.is_done() || self.state() == State::Running
    }
}
