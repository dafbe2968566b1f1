//! Which requests of clients are accepted, and the faults for those that are not (supervisor-behaviour.md §4.4, §7.5).
#![forbid(unsafe_code)]

use super::process::{Event, State};
use super::requests::{Decided, Done, Goal, Item, PendingRequest, ProcessStatus, Reply};
use super::{
    Effect, Group, ItemId, ProcId, Process, Purpose, SignalResult, Supervision, SupervisorState, Ticket, report,
};
use crate::config::model::{GroupConfig, LogLevel, ProcessConfig};
use crate::fault::{Fault, FaultCode};
use crate::protocol::split_namespec;
use crate::time::Now;
use std::rc::Rc;

/// A request that changes something. Queries use the `&self` methods of [`Supervision`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// startProcess, startProcessGroup, startAllProcesses.
    Start {
        /// Its processes.
        target: Target,
        /// Answer when it is RUNNING.
        wait: bool,
    },
    /// stopProcess, stopProcessGroup, stopAllProcesses.
    Stop {
        /// Its processes.
        target: Target,
        /// Answer when it is stopped.
        wait: bool,
    },
    /// signalProcess, signalProcessGroup, signalAllProcesses.
    Signal {
        /// Its processes.
        target: Target,
        /// The signal as given, and its number if it is one.
        signal: (String, Option<i32>),
    },
    /// Run `reload_command`, and answer when it has ended: the process, which is RUNNING, and its name as given.
    Reload(ProcId, String),
    /// addProcessGroup.
    AddGroup(String),
    /// removeProcessGroup.
    RemoveGroup(String),
    /// twiddler's addProgramToGroup: the name of the group, and its new processes.
    AddPrograms(String, Vec<Rc<ProcessConfig>>),
    /// twiddler's removeProcessFromGroup: the names of the group and of the process.
    RemoveProcess(String, String),
    /// shutdown.
    Shutdown,
}

/// The processes that a request names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `name`, `group:name`; also `group:*` and `group:`.
    Name(String),
    /// A group's name.
    Group(String),
    /// Every process.
    All,
}

/// The processes of a target.
enum Targets {
    One(ProcId),
    Many(Vec<ProcId>),
}

impl Supervision {
    pub(super) fn command(&mut self, ticket: Ticket, command: Command, now: Now) {
        if self.state != SupervisorState::Running {
            return self.refuse(ticket, Fault::new(FaultCode::ShutdownState, ""));
        }
        match command {
            Command::Start { target, wait } => match self.targets(&target) {
                Ok(targets) => self.start(ticket, targets, &target, wait),
                Err(fault) => self.refuse(ticket, fault),
            },
            Command::Stop { target, wait } => match self.targets(&target) {
                Ok(targets) => self.stop(ticket, targets, &target, wait, now),
                Err(fault) => self.refuse(ticket, fault),
            },
            Command::Signal { target, signal } => match self.targets(&target) {
                Ok(targets) => self.signal(ticket, targets, &target, signal),
                Err(fault) => self.refuse(ticket, fault),
            },
            Command::Reload(id, name) => {
                let mut waiting = PendingRequest::single(ticket);
                waiting.items.push(self.new_item(id, Goal::Reload, name));
                self.add_request(waiting);
                self.effects.push_back(Effect::Reload(id));
            }
            Command::AddGroup(name) => self.add(ticket, &name, now),
            Command::RemoveGroup(name) => self.remove(ticket, &name),
            Command::AddPrograms(group, new) => match self.add_programs(&group, &new) {
                Ok(ids) => {
                    self.effects.push_back(Effect::Reply(ticket, Reply::True));
                    ids.into_iter().for_each(|id| self.autostart(id, now));
                }
                Err(fault) => self.refuse(ticket, fault),
            },
            Command::RemoveProcess(group, name) => match self.remove_process(&group, &name) {
                Ok(()) => self.effects.push_back(Effect::Reply(ticket, Reply::True)),
                Err(fault) => self.refuse(ticket, fault),
            },
            Command::Shutdown => self.shut_down_on_request(ticket, now),
        }
    }

    fn targets(&self, target: &Target) -> Result<Targets, Fault> {
        let bad_name = |name: &str| Fault::new(FaultCode::BadName, name);
        match target {
            Target::All => Ok(Targets::Many(self.in_order())),
            Target::Group(name) => {
                let group = self.groups.get(name).ok_or_else(|| bad_name(name))?;
                Ok(Targets::Many(self.members_in_order(group)))
            }
            Target::Name(namespec) => match split_namespec(namespec) {
                (group, Some(name)) => self.find(group, name).map(Targets::One).ok_or_else(|| bad_name(namespec)),
                (group, None) => {
                    let group = self.groups.get(group).ok_or_else(|| bad_name(namespec))?;
                    Ok(Targets::Many(self.members_in_order(group)))
                }
            },
        }
    }

    fn refuse(&mut self, ticket: Ticket, fault: Fault) {
        self.effects.push_back(Effect::Reply(ticket, Reply::Fault(fault)));
    }

    fn given_name(&self, target: &Target, id: ProcId) -> String {
        match target {
            Target::Name(name) if !matches!(split_namespec(name), (_, None)) => name.clone(),
            _ => self.process(id).map(|process| process.config.name.clone()).unwrap_or_default(),
        }
    }

    fn start(&mut self, ticket: Ticket, targets: Targets, target: &Target, wait: bool) {
        let (ids, mut waiting) = match targets {
            Targets::One(id) => (vec![id], PendingRequest::single(ticket)),
            Targets::Many(ids) => (ids, PendingRequest::array(ticket)),
        };
        for id in ids {
            if waiting.is_array && self.process(id).is_none_or(|process| process.state().is_running()) {
                continue;
            }
            let name = self.given_name(target, id);
            let item = self.new_item(id, Goal::Probe { wait }, name);
            // The command is checked before the state (supervisor-behaviour.md §4.4).
            self.effects.push_back(Effect::Probe(item.item, id));
            waiting.items.push(item);
        }
        self.add_request(waiting);
    }

    /// The command was checked: starts the process, or replies why not.
    pub(super) fn probed(&mut self, item: ItemId, result: Result<(), Fault>, now: Now) {
        let Some(Item { process: id, goal: Goal::Probe { wait }, name, .. }) = self.item(item).cloned() else { return };
        let is_of_many = self.requests.iter().any(|of| of.is_array && of.items.iter().any(|of| of.item == item));
        let outcome = result.and_then(|()| match self.process(id).map(Process::state) {
            None => Err(Fault::new(FaultCode::BadName, &name)),
            Some(State::Unknown) => {
                Err(Fault::new(FaultCode::Failed, format!("{name} is in an unknown process state")))
            }
            // Of a request for many, a dependency may have been started by what needs it.
            Some(State::Starting | State::Running | State::Backoff) if !is_of_many => {
                Err(Fault::new(FaultCode::AlreadyStarted, &name))
            }
            // Differs from Supervisor: with wait=false it replies true and does nothing.
            Some(State::Stopping) => Err(Fault::new(FaultCode::AbnormalTermination, &name)),
            Some(_) => Ok(()),
        });
        match outcome {
            Ok(()) => {
                self.set_goal(item, Goal::Start { wait });
                self.step(id, Event::Start, now);
            }
            Err(fault) => {
                if fault.code == FaultCode::AbnormalTermination {
                    self.log(LogLevel::Warn, format!("process '{name}' already running"));
                }
                self.settle_item(item, Some(fault));
            }
        }
    }

    fn stop(&mut self, ticket: Ticket, targets: Targets, target: &Target, wait: bool, now: Now) {
        // Differs from Supervisor: the stop of a process that could not be signalled is tried again.
        let stoppable =
            |process: &Process| process.state().is_running() || process.state() == State::Unknown || process.is_held();
        match targets {
            Targets::One(id) => {
                let name = self.given_name(target, id);
                if !self.process(id).is_some_and(stoppable) {
                    self.set_stopped_along(id, false);
                    return self.refuse(ticket, Fault::new(FaultCode::NotRunning, name));
                }
                self.stop_processes(PendingRequest::single(ticket), vec![(id, name)], wait, now);
            }
            Targets::Many(mut ids) => {
                ids.retain(|&id| self.process(id).is_some_and(stoppable));
                let named = ids.into_iter().map(|id| (id, self.given_name(target, id))).collect();
                self.stop_processes(PendingRequest::array(ticket), named, wait, now);
            }
        }
    }

    fn stop_processes(&mut self, mut waiting: PendingRequest, ids: Vec<(ProcId, String)>, wait: bool, now: Now) {
        for (id, name) in &ids {
            waiting.items.push(self.new_item(*id, Goal::Stop { wait, remind_at: now.mono }, name.clone()));
        }
        self.add_request(waiting);
        for (id, _) in ids {
            self.set_stopped_along(id, false);
            self.process_mut(id).into_iter().for_each(|process| process.stopped_by_request = true);
            self.step(id, Event::Stop, now);
        }
        self.log_waiting_stops(now);
    }

    fn signal(&mut self, ticket: Ticket, targets: Targets, target: &Target, (given, number): (String, Option<i32>)) {
        let signallable = |process: &Process| {
            matches!(process.state(), State::Starting | State::Running | State::Stopping | State::Unknown)
        };
        let (ids, mut waiting) = match targets {
            Targets::One(id) => (vec![id], PendingRequest::single(ticket)),
            Targets::Many(mut ids) => {
                ids.retain(|&id| self.process(id).is_some_and(signallable));
                (ids, PendingRequest::array(ticket))
            }
        };
        for id in ids {
            let name = self.given_name(target, id);
            let pid = self.process(id).filter(|process| signallable(process)).and_then(Process::pid);
            let fault = match (number, pid) {
                (None, _) => Fault::new(FaultCode::BadSignal, &given),
                (_, None) => Fault::new(FaultCode::NotRunning, &name),
                (Some(signal), Some(pid)) => {
                    if let Some(line) = self.process(id).map(|process| report::sending(&process.config, pid, signal)) {
                        self.log(LogLevel::Debug, line);
                    }
                    let item = self.new_item(id, Goal::Signal, name);
                    let purpose = Purpose::Request(item.item);
                    waiting.items.push(item);
                    self.effects.push_back(Effect::Signal { id, pid, signal, group: false, purpose });
                    continue;
                }
            };
            if !waiting.is_array {
                return self.refuse(ticket, fault);
            }
            let status = self.status(id, Some(fault));
            waiting.done.extend(status.map(|status| Done { process: id, decided: Decided::AtOnce, status }));
        }
        self.add_request(waiting);
    }

    /// Handles the result of kill(2).
    pub(super) fn signalled(&mut self, id: ProcId, purpose: Purpose, result: SignalResult, now: Now) {
        let Some(process) = self.process(id) else { return };
        let (config, pid, remains) = (Rc::clone(&process.config), process.pid().unwrap_or(0), process.core.remains);
        let name = &config.name;
        if let (SignalResult::Gone, Purpose::Stop | Purpose::Request(_)) = (&result, purpose) {
            self.log(LogLevel::Debug, report::gone(&config, pid));
        }
        match (purpose, result) {
            (Purpose::Stop, SignalResult::Sent | SignalResult::Gone) => {
                self.stop_signal_answered(id, &|wait| !wait, None)
            }
            (Purpose::Stop, SignalResult::Failed(why)) => {
                let line = format!("unknown problem killing {name} ({pid}): {why}");
                self.log(LogLevel::Critical, line.clone());
                self.stop_signal_answered(id, &|_| true, Some(Fault::new(FaultCode::Failed, line)));
                self.step(id, Event::SignalFailed, now);
            }
            (Purpose::Request(item), result) => {
                let fault = match result {
                    SignalResult::Sent | SignalResult::Gone => None,
                    SignalResult::Failed(why) => {
                        let line = format!("unknown problem sending sig {name} ({pid}): {why}");
                        self.log(LogLevel::Critical, line.clone());
                        Some(Fault::new(FaultCode::Failed, line))
                    }
                };
                self.settle_item(item, fault);
            }
            (Purpose::Sweep { kill }, result) => {
                let Some(remains) = remains else { return };
                let why = match result {
                    SignalResult::Sent | SignalResult::Gone => None,
                    SignalResult::Failed(why) => Some(why),
                };
                let (level, line) = report::sweeping(&config, remains.pgid, kill, why.as_ref());
                self.log(level, line);
                // A group that cannot be killed is left alone; otherwise its program would never start again.
                if kill && why.is_some() {
                    self.sweep_ended(id, Event::SweepRefused, now);
                }
            }
        }
    }

    /// Settles stops of this process after its stop signal; `is` selects them by their `wait`.
    fn stop_signal_answered(&mut self, id: ProcId, is: &dyn Fn(bool) -> bool, fault: Option<Fault>) {
        let is_meant = |goal: &Goal| matches!(goal, Goal::Stop { wait, .. } if is(*wait));
        while let Some(item) = self.item_of(id, is_meant) {
            self.settle_item(item, fault.clone());
        }
    }

    fn add(&mut self, ticket: Ticket, name: &str, now: Now) {
        let Some(config) = self.last_read.groups.iter().find(|group| group.name == name).map(Rc::clone) else {
            return self.refuse(ticket, Fault::new(FaultCode::BadName, name));
        };
        if self.has_group(name) {
            return self.refuse(ticket, Fault::new(FaultCode::AlreadyAdded, name));
        }
        self.effects.push_back(Effect::Reply(ticket, Reply::True));
        self.add_group(&config);
        self.relink();
        if let Some(group) = self.groups.get(name) {
            for id in self.members_in_order(group) {
                self.autostart(id, now);
            }
        }
    }

    fn remove(&mut self, ticket: Ticket, name: &str) {
        let Some(group) = self.groups.get(name) else {
            return self.refuse(ticket, Fault::new(FaultCode::BadName, name));
        };
        if !group.members.iter().filter_map(|&id| self.process(id)).all(is_gone) {
            return self.refuse(ticket, Fault::new(FaultCode::StillRunning, name));
        }
        let Some(Group { config, members, .. }) = self.groups.remove(name) else { return };
        self.forget(members);
        self.relink();
        self.effects.push_back(Effect::GroupRemoved(config));
        self.effects.push_back(Effect::Reply(ticket, Reply::True));
    }

    /// Removes processes that are in no group any more.
    fn forget(&mut self, ids: Vec<ProcId>) {
        for &id in &ids {
            let name = self.process(id).map_or("", |process| &process.config.name).to_owned();
            while let Some(item) = self.item_of(id, |_| true) {
                self.settle_item(item, Some(Fault::new(FaultCode::BadName, &name)));
            }
            if let Some(armed) = self.processes.remove(&id).and_then(|process| process.armed) {
                self.timers.remove(&(armed, id));
            }
        }
        self.effects.push_back(Effect::ProcessesRemoved(ids));
    }

    fn add_programs(&mut self, name: &str, new: &[Rc<ProcessConfig>]) -> Result<Vec<ProcId>, Fault> {
        let mut config = self.group_to_change(name)?;
        if let Some(taken) = new.iter().find(|process| self.find(name, &process.name).is_some()) {
            return Err(Fault::new(FaultCode::BadName, &taken.name));
        }
        config.processes.extend(new.iter().cloned());
        let config = Rc::new(config);
        let ids: Vec<ProcId> = new.iter().map(|process| self.insert_new(process, &config)).collect();
        self.change_group(name, config, |members| members.extend(&ids));
        self.relink();
        self.effects.push_back(Effect::ProcessesAdded(ids.clone()));
        Ok(ids)
    }

    fn remove_process(&mut self, name: &str, process: &str) -> Result<(), Fault> {
        let mut config = self.group_to_change(name)?;
        let id = self.find(name, process).ok_or_else(|| Fault::new(FaultCode::BadName, process))?;
        if !self.process(id).is_some_and(is_gone) {
            return Err(Fault::new(FaultCode::StillRunning, process));
        }
        config.processes.retain(|own| own.name != process);
        self.change_group(name, Rc::new(config), |members| members.retain(|&own| own != id));
        self.forget(vec![id]);
        self.relink();
        Ok(())
    }

    /// A copy of the configuration of a group, to be changed.
    fn group_to_change(&self, name: &str) -> Result<GroupConfig, Fault> {
        let group = self.groups.get(name).map(|group| (*group.config).clone());
        group.ok_or_else(|| Fault::new(FaultCode::BadName, format!("group: {name}")))
    }

    fn change_group(&mut self, name: &str, config: Rc<GroupConfig>, change: impl FnOnce(&mut Vec<ProcId>)) {
        let Some(mut group) = self.groups.remove(name) else { return };
        change(&mut group.members);
        group.by_name = self.sorted_by_name(&group.members);
        for &id in &group.members {
            if let Some(process) = self.process_mut(id) {
                process.group = Rc::clone(&config);
            }
        }
        group.config = config;
        self.groups.insert(name.to_owned(), group);
    }

    /// The entry of one process in the reply to a request for many.
    pub fn status(&self, id: ProcId, fault: Option<Fault>) -> Option<ProcessStatus> {
        let process = self.process(id)?;
        Some(ProcessStatus { name: process.config.name.clone(), group: process.group.name.clone(), fault })
    }
}

/// Whether nothing of a process lives, so that it can be removed. UNKNOWN alone does not count: such a process lives.
fn is_gone(process: &Process) -> bool {
    process.state().is_stopped() && process.pid().is_none() && !process.core.is_cleaning_up()
}
