//! Requests that wait for a reply: an entry for each, checked when one of its processes changes.
#![forbid(unsafe_code)]

use super::process::State;
use super::{Effect, ItemId, ProcId, Process, Supervision, Ticket};
use crate::config::model::LogLevel;
use crate::fault::{Fault, FaultCode};
use crate::time::{Mono, Now};
use std::collections::BTreeMap;
use std::time::Duration;

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Done.
    True,
    /// One entry for each process: first those settled at once, then those that failed later, then the others; each in
    /// starting order.
    // Differs from Supervisor: there the later ones are in the order in which its loop finds them settled.
    Statuses(Vec<ProcessStatus>),
    /// Refused, or failed.
    Fault(Fault),
}

/// What became of one process of a request for many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessStatus {
    /// Process name.
    pub name: String,
    /// Group name.
    pub group: String,
    /// `None`: it succeeded.
    pub fault: Option<Fault>,
}

/// What a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// For the answer to `Effect::Probe`.
    Probe { wait: bool },
    /// For RUNNING; without `wait`, for the fork.
    Start { wait: bool },
    /// For a stopped state; without `wait`, for the stop signal.
    Stop { wait: bool, remind_at: Mono },
    /// For the result of kill(2).
    Signal,
    /// For the end of `reload_command`.
    Reload,
}

/// One process of a request, still to be settled.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) item: ItemId,
    pub(super) process: ProcId,
    pub(super) goal: Goal,
    /// The name that the client gave.
    pub(super) name: String,
}

/// One process of a request, settled.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) process: ProcId,
    pub(super) decided: Decided,
    pub(super) status: ProcessStatus,
}

/// When and how a process was settled, in the order of the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Decided {
    AtOnce,
    FailedLater,
    DoneLater,
}

/// One request.
#[derive(Debug)]
pub(super) struct PendingRequest {
    pub(super) ticket: Ticket,
    pub(super) is_array: bool,
    pub(super) items: Vec<Item>,
    pub(super) done: Vec<Done>,
    fault: Option<Fault>,
    /// Of a request for many: its processes in starting order.
    order: Vec<ProcId>,
}

/// How often a stop that waits logs a line (supervisor-behaviour.md §6.2).
const REMIND_EVERY: Duration = Duration::from_secs(2);

impl PendingRequest {
    pub(super) fn single(ticket: Ticket) -> Self {
        let (items, done, order) = (Vec::new(), Vec::new(), Vec::new());
        PendingRequest { ticket, is_array: false, items, done, fault: None, order }
    }

    pub(super) fn array(ticket: Ticket) -> Self {
        PendingRequest { is_array: true, ..PendingRequest::single(ticket) }
    }

    fn statuses(self) -> Vec<ProcessStatus> {
        let place: BTreeMap<ProcId, usize> = self.order.iter().copied().zip(0..).collect();
        let mut done = self.done;
        done.sort_by_key(|done| (done.decided, place.get(&done.process)));
        done.into_iter().map(|done| done.status).collect()
    }

    /// A request has open items, and each of them waits for something that can still come.
    pub(super) fn broken_invariant(&self, supervision: &Supervision) -> Option<String> {
        let is_open = |item: &Item| {
            supervision
                .process(item.process)
                .is_some_and(|process| matches!(progress_of(item, process), Progress::Open))
        };
        let holds = !self.items.is_empty() && self.items.iter().all(is_open);
        (!holds).then(|| format!("a request that waits for nothing: {self:?}"))
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        let times = self.items.iter().filter_map(|item| match item.goal {
            Goal::Stop { wait: true, remind_at } => Some(remind_at),
            _ => None,
        });
        times.min()
    }
}

impl Supervision {
    pub(super) fn add_request(&mut self, mut wait: PendingRequest) {
        if wait.is_array {
            let decided = wait.done.iter().map(|done| done.process);
            wait.order = decided.chain(wait.items.iter().map(|item| item.process)).collect();
        }
        self.requests.push(wait);
        self.answer_settled();
    }

    pub(super) fn new_item(&mut self, process: ProcId, goal: Goal, name: String) -> Item {
        let item = ItemId(self.next_item);
        self.next_item = self.next_item.saturating_add(1);
        Item { item, process, goal, name }
    }

    /// The open item of this number; `None` if its client has disconnected or its process was removed.
    pub(super) fn item(&self, id: ItemId) -> Option<&Item> {
        self.requests.iter().flat_map(|wait| &wait.items).find(|item| item.item == id)
    }

    /// The first open item of this process with such a goal.
    pub(super) fn item_of(&self, process: ProcId, is: impl Fn(&Goal) -> bool) -> Option<ItemId> {
        let mut items = self.requests.iter().flat_map(|wait| &wait.items);
        items.find(|item| item.process == process && is(&item.goal)).map(|item| item.item)
    }

    pub(super) fn set_goal(&mut self, id: ItemId, goal: Goal) {
        let mut items = self.requests.iter_mut().flat_map(|wait| &mut wait.items);
        if let Some(item) = items.find(|item| item.item == id) {
            item.goal = goal;
        }
    }

    /// Settles one item, and replies if it was the last of its request.
    pub(super) fn settle_item(&mut self, id: ItemId, fault: Option<Fault>) {
        let Some(process) = self.item(id).map(|item| item.process) else { return };
        let status = self.status(process, fault.clone());
        let decided = match &fault {
            _ if !self.is_late => Decided::AtOnce,
            Some(_) => Decided::FailedLater,
            None => Decided::DoneLater,
        };
        if let Some(wait) = self.requests.iter_mut().find(|wait| wait.items.iter().any(|item| item.item == id)) {
            wait.items.retain(|item| item.item != id);
            wait.done.extend(status.map(|status| Done { process, decided, status }));
            wait.fault = fault;
        }
        self.answer_settled();
    }

    /// Settles the items that waited for the state in which this process is now.
    pub(super) fn settle_requests(&mut self, id: ProcId) {
        while let Some((item, fault)) = self.reached(id) {
            self.settle_item(item, fault);
        }
    }

    fn reached(&self, id: ProcId) -> Option<(ItemId, Option<Fault>)> {
        if self.requests.is_empty() {
            return None;
        }
        let process = self.process(id)?;
        let mut items = self.requests.iter().flat_map(|wait| &wait.items).filter(|item| item.process == id);
        items.find_map(|item| match progress_of(item, process) {
            Progress::Open => None,
            Progress::Done => Some((item.item, None)),
            Progress::Failed(code) => Some((item.item, Some(Fault::new(code, &item.name)))),
        })
    }

    /// Answers the requests that wait for `reload_command` of this process. `why`: it has failed.
    pub(super) fn reloaded(&mut self, id: ProcId, why: Option<String>) {
        if let (Some(why), Some(process)) = (&why, self.process(id)) {
            self.log(LogLevel::Warn, format!("{}: {why}", process.config.name));
        }
        while let Some(item) = self.item_of(id, |goal| *goal == Goal::Reload) {
            self.settle_item(item, why.as_ref().map(|why| Fault::new(FaultCode::Failed, why)));
        }
    }

    pub(super) fn log_waiting_stops(&mut self, now: Now) {
        let mut waited_for = Vec::new();
        for item in self.requests.iter_mut().flat_map(|wait| &mut wait.items) {
            match &mut item.goal {
                Goal::Stop { wait: true, remind_at } if now.mono >= *remind_at => {
                    *remind_at = now.mono.after(REMIND_EVERY);
                    waited_for.push(item.process);
                }
                _ => {}
            }
        }
        for id in waited_for {
            let name = self.process(id).map_or("", |process| &process.config.name);
            let line = format!("waiting for {name} to stop");
            self.log(LogLevel::Info, line);
        }
    }

    fn answer_settled(&mut self) {
        let (finished, open) = std::mem::take(&mut self.requests).into_iter().partition(|wait| wait.items.is_empty());
        self.requests = open;
        for mut wait in finished {
            let ticket = wait.ticket;
            let reply = match wait.fault.take() {
                _ if wait.is_array => Reply::Statuses(wait.statuses()),
                Some(fault) => Reply::Fault(fault),
                None => Reply::True,
            };
            self.effects.push_back(Effect::Reply(ticket, reply));
        }
    }
}

/// How far an item of a request is.
enum Progress {
    Open,
    Done,
    Failed(FaultCode),
}

fn progress_of(item: &Item, process: &Process) -> Progress {
    use Progress::{Done, Failed, Open};
    match (item.goal, process.state()) {
        (Goal::Start { .. }, State::Running) => Done,
        (Goal::Start { .. }, State::Exited) if process.is_done() => Done,
        // The fork is still to come. Without `wait`, no answer waits for another process.
        (Goal::Start { wait: false }, State::Starting) if process.core.waits_for_others() => Done,
        (Goal::Start { .. }, State::Starting) if process.pid().is_none() => Open,
        (Goal::Start { wait: false }, State::Starting) => Done,
        (Goal::Start { wait: true }, State::Starting) => Open,
        (Goal::Start { .. }, _) if !process.spawnerr.is_empty() => Failed(FaultCode::SpawnError),
        (Goal::Start { .. }, _) => Failed(FaultCode::AbnormalTermination),
        // The signal was not sent yet.
        (Goal::Stop { wait: false, .. }, State::Stopping) if process.core.is_signalled() => Open,
        (Goal::Stop { wait: false, .. }, _) => Done,
        (Goal::Stop { .. }, state) if state.is_stopped() && !process.core.is_cleaning_up() => Done,
        // The command is killed with the program.
        (Goal::Reload, state) if state != State::Running => Failed(FaultCode::NotRunning),
        (Goal::Stop { .. } | Goal::Probe { .. } | Goal::Signal | Goal::Reload, _) => Open,
    }
}
