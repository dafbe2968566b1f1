//! Requests of clients: which are accepted, and the faults of those that are not (census §4.4, §7.5).
#![forbid(unsafe_code)]

use super::process::{Event, State};
use super::waits::{Decided, Done, Goal, Item, Reply, Status, Wait};
use super::{Effect, Group, ItemId, Mood, ProcId, Process, Purpose, SignalResult, Supervision, Ticket, report};
use crate::config::model::{GroupConfig, LogLevel, ProcessConfig};
use crate::fault::{Fault, FaultCode};
use crate::protocol::split_namespec;
use crate::time::Now;
use std::rc::Rc;

/// What a client can ask of the brain; reading is done through its `&self` methods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// startProcess, startProcessGroup, startAllProcesses.
    Start {
        /// Whom.
        target: Target,
        /// Answer when it is RUNNING.
        wait: bool,
    },
    /// stopProcess, stopProcessGroup, stopAllProcesses.
    Stop {
        /// Whom.
        target: Target,
        /// Answer when it is stopped.
        wait: bool,
    },
    /// signalProcess, signalProcessGroup, signalAllProcesses.
    Signal {
        /// Whom.
        target: Target,
        /// The signal as given, and its number if it is one.
        signal: (String, Option<i32>),
    },
    /// addProcessGroup.
    AddGroup(String),
    /// removeProcessGroup.
    RemoveGroup(String),
    /// twiddler's addProgramToGroup: the group's name, and what is new in it.
    AddPrograms(String, Vec<Rc<ProcessConfig>>),
    /// twiddler's removeProcessFromGroup: the group's name, the process's.
    RemoveProcess(String, String),
    /// shutdown.
    Shutdown,
}

/// Whom a request means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `name`, `group:name`; also `group:*` and `group:`.
    Name(String),
    /// A group's name.
    Group(String),
    /// Everybody.
    All,
}

/// Whom a target turned out to mean.
enum Whom {
    One(ProcId),
    Many(Vec<ProcId>),
}

impl Supervision {
    pub(super) fn command(&mut self, ticket: Ticket, command: Command, now: Now) {
        if self.mood != Mood::Running {
            return self.refuse(ticket, Fault::new(FaultCode::ShutdownState, ""));
        }
        match command {
            Command::Start { target, wait } => match self.whom(&target) {
                Ok(whom) => self.start(ticket, whom, &target, wait),
                Err(fault) => self.refuse(ticket, fault),
            },
            Command::Stop { target, wait } => match self.whom(&target) {
                Ok(whom) => self.stop(ticket, whom, &target, wait, now),
                Err(fault) => self.refuse(ticket, fault),
            },
            Command::Signal { target, signal } => match self.whom(&target) {
                Ok(whom) => self.signal(ticket, whom, &target, signal),
                Err(fault) => self.refuse(ticket, fault),
            },
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

    fn whom(&self, target: &Target) -> Result<Whom, Fault> {
        let bad_name = |name: &str| Fault::new(FaultCode::BadName, name);
        match target {
            Target::All => Ok(Whom::Many(self.in_order())),
            Target::Group(name) => {
                let group = self.groups.get(name).ok_or_else(|| bad_name(name))?;
                Ok(Whom::Many(self.members_in_order(group)))
            }
            Target::Name(namespec) => match split_namespec(namespec) {
                (group, Some(name)) => self.find(group, name).map(Whom::One).ok_or_else(|| bad_name(namespec)),
                (group, None) => {
                    let group = self.groups.get(group).ok_or_else(|| bad_name(namespec))?;
                    Ok(Whom::Many(self.members_in_order(group)))
                }
            },
        }
    }

    fn refuse(&mut self, ticket: Ticket, fault: Fault) {
        self.effects.push_back(Effect::Reply(ticket, Reply::Fault(fault)));
    }

    fn name_given(&self, target: &Target, id: ProcId) -> String {
        match target {
            Target::Name(name) if !matches!(split_namespec(name), (_, None)) => name.clone(),
            _ => self.process(id).map(|process| process.config.name.clone()).unwrap_or_default(),
        }
    }

    fn start(&mut self, ticket: Ticket, whom: Whom, target: &Target, wait: bool) {
        let (ids, mut waiting) = match whom {
            Whom::One(id) => (vec![id], Wait::single(ticket)),
            Whom::Many(ids) => (ids, Wait::array(ticket)),
        };
        for id in ids {
            if waiting.is_array && self.process(id).is_none_or(|process| process.state().is_running()) {
                continue;
            }
            let name = self.name_given(target, id);
            let item = self.new_item(id, Goal::Probe { wait }, name);
            // The command is looked at before the state (census §4.4).
            self.effects.push_back(Effect::Probe(item.item, id));
            waiting.items.push(item);
        }
        self.add_wait(waiting);
    }

    /// The command was looked at: start it, or say why not.
    pub(super) fn probed(&mut self, item: ItemId, result: Result<(), Fault>, now: Now) {
        let Some(Item { process: id, goal: Goal::Probe { wait }, name, .. }) = self.item(item).cloned() else { return };
        let outcome = result.and_then(|()| match self.process(id).map(Process::state) {
            None => Err(Fault::new(FaultCode::BadName, &name)),
            Some(State::Unknown) => {
                Err(Fault::new(FaultCode::Failed, format!("{name} is in an unknown process state")))
            }
            Some(State::Starting | State::Running | State::Backoff) => {
                Err(Fault::new(FaultCode::AlreadyStarted, &name))
            }
            // Differs from Supervisor: refused with wait=false too, where it says true and does nothing.
            Some(State::Stopping) => Err(Fault::new(FaultCode::AbnormalTermination, &name)),
            Some(State::Stopped | State::Exited | State::Fatal) => Ok(()),
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

    fn stop(&mut self, ticket: Ticket, whom: Whom, target: &Target, wait: bool, now: Now) {
        // Differs from Supervisor: the stop of a process that could not be signalled is tried again.
        let stoppable =
            |process: &Process| process.state().is_running() || process.state() == State::Unknown || process.is_held();
        match whom {
            Whom::One(id) => {
                let name = self.name_given(target, id);
                if !self.process(id).is_some_and(stoppable) {
                    return self.refuse(ticket, Fault::new(FaultCode::NotRunning, name));
                }
                self.stop_these(Wait::single(ticket), vec![(id, name)], wait, now);
            }
            Whom::Many(mut ids) => {
                ids.retain(|&id| self.process(id).is_some_and(stoppable));
                let named = ids.into_iter().map(|id| (id, self.name_given(target, id))).collect();
                self.stop_these(Wait::array(ticket), named, wait, now);
            }
        }
    }

    fn stop_these(&mut self, mut waiting: Wait, ids: Vec<(ProcId, String)>, wait: bool, now: Now) {
        for (id, name) in &ids {
            waiting.items.push(self.new_item(*id, Goal::Stop { wait, remind_at: now.mono }, name.clone()));
        }
        self.add_wait(waiting);
        for (id, _) in ids {
            self.step(id, Event::Stop, now);
        }
        self.remind_waits(now);
    }

    fn signal(&mut self, ticket: Ticket, whom: Whom, target: &Target, (given, number): (String, Option<i32>)) {
        let signallable = |process: &Process| {
            matches!(process.state(), State::Starting | State::Running | State::Stopping | State::Unknown)
        };
        let (ids, mut waiting) = match whom {
            Whom::One(id) => (vec![id], Wait::single(ticket)),
            Whom::Many(mut ids) => {
                ids.retain(|&id| self.process(id).is_some_and(signallable));
                (ids, Wait::array(ticket))
            }
        };
        for id in ids {
            let name = self.name_given(target, id);
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
        self.add_wait(waiting);
    }

    /// kill(2) has answered.
    pub(super) fn signalled(&mut self, id: ProcId, purpose: Purpose, result: SignalResult, now: Now) {
        let Some(process) = self.process(id) else { return };
        let (config, pid, remains) = (Rc::clone(&process.config), process.pid().unwrap_or(0), process.core.remains);
        let name = &config.name;
        if let (SignalResult::Gone, Purpose::Stop | Purpose::Request(_)) = (&result, purpose) {
            self.log(LogLevel::Debug, report::gone(&config, pid));
        }
        match (purpose, result) {
            (Purpose::Stop, SignalResult::Sent | SignalResult::Gone) => self.told_to_stop(id, &|wait| !wait, None),
            (Purpose::Stop, SignalResult::Failed(why)) => {
                let line = format!("unknown problem killing {name} ({pid}): {why}");
                self.log(LogLevel::Critical, line.clone());
                self.told_to_stop(id, &|_| true, Some(Fault::new(FaultCode::Failed, line)));
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
                // A group that may not be killed is left alone, or its program would never start again.
                if kill && why.is_some() {
                    self.swept(id, Event::SweepRefused, now);
                }
            }
        }
    }

    /// The stop signal of a process was sent, or could not be: answers the requests of this patience that asked for it.
    fn told_to_stop(&mut self, id: ProcId, is: &dyn Fn(bool) -> bool, fault: Option<Fault>) {
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
        if !group.members.iter().filter_map(|&id| self.process(id)).all(has_gone) {
            return self.refuse(ticket, Fault::new(FaultCode::StillRunning, name));
        }
        let Some(Group { config, members, .. }) = self.groups.remove(name) else { return };
        self.forget(members);
        self.effects.push_back(Effect::Group(config, false));
        self.effects.push_back(Effect::Reply(ticket, Reply::True));
    }

    /// Takes processes out of the table that are in no group any more.
    fn forget(&mut self, ids: Vec<ProcId>) {
        for &id in &ids {
            if let Some(armed) = self.processes.remove(&id).and_then(|process| process.armed) {
                self.timers.remove(&(armed, id));
            }
            self.forget_process(id);
        }
        self.effects.push_back(Effect::Removed(ids));
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
        self.effects.push_back(Effect::Added(ids.clone()));
        Ok(ids)
    }

    fn remove_process(&mut self, name: &str, process: &str) -> Result<(), Fault> {
        let mut config = self.group_to_change(name)?;
        let id = self.find(name, process).ok_or_else(|| Fault::new(FaultCode::BadName, process))?;
        if !self.process(id).is_some_and(has_gone) {
            return Err(Fault::new(FaultCode::StillRunning, process));
        }
        config.processes.retain(|own| own.name != process);
        self.change_group(name, Rc::new(config), |members| members.retain(|&own| own != id));
        self.forget(vec![id]);
        Ok(())
    }

    /// A copy of a group's configuration, in which processes come and go.
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

    /// What a request for many says of one process.
    pub fn status(&self, id: ProcId, fault: Option<Fault>) -> Option<Status> {
        let process = self.process(id)?;
        Some(Status { name: process.config.name.clone(), group: process.group.name.clone(), fault })
    }
}

/// Nothing of a process is left. One that cannot be signalled still lives: without it in the table its end would be an
/// orphan's.
fn has_gone(process: &Process) -> bool {
    process.state().is_stopped() && process.pid().is_none() && process.core.remains.is_none()
}
