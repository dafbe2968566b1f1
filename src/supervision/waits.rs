//! "Start and wait", "stop and wait" as data: an entry for each request, looked at when its process changed.
#![forbid(unsafe_code)]

use super::process::State;
use super::{Effect, ProcId, Supervision, Ticket};
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
    /// One entry for each process, in starting order: first what was decided at once, then what failed later, then the others.
    // Differs from Supervisor: it has what is decided later in order of completion, as its slow loop comes upon it.
    Statuses(Vec<Status>),
    /// Refused, or failed.
    Fault(Fault),
}

/// What became of one process of a request for many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Process name.
    pub name: String,
    /// Group name.
    pub group: String,
    /// `None`: all is well.
    pub fault: Option<Fault>,
}

/// What a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// For the look at its command.
    Probe { wait: bool },
    /// For RUNNING; without `wait` for the fork only.
    Start { wait: bool },
    /// For a stopped state; without `wait` for the stop signal only.
    Stop { wait: bool, remind_at: Mono },
    /// For kill(2) to answer.
    Signal,
}

/// One request.
#[derive(Debug)]
pub(super) struct Wait {
    pub(super) ticket: Ticket,
    pub(super) is_array: bool,
    /// What is still open: process, goal, the name that the client gave.
    pub(super) items: Vec<(ProcId, Goal, String)>,
    pub(super) done: Vec<(ProcId, Verdict, Status)>,
    fault: Option<Fault>,
    /// Of a request for many: whom it was for.
    order: Vec<ProcId>,
}

/// When it was known what becomes of a process, in the order in which it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    AtOnce,
    FailedLater,
    DoneLater,
}

/// A place in the table: wait, item.
pub(super) type Place = (usize, usize);

/// How often a waiting stop says so (census §6.2).
const REMIND_EVERY: Duration = Duration::from_secs(2);

impl Wait {
    pub(super) fn single(ticket: Ticket) -> Self {
        let (items, done, order) = (Vec::new(), Vec::new(), Vec::new());
        Wait { ticket, is_array: false, items, done, fault: None, order }
    }

    pub(super) fn array(ticket: Ticket) -> Self {
        Wait { is_array: true, ..Wait::single(ticket) }
    }

    fn statuses(self) -> Vec<Status> {
        let place: BTreeMap<ProcId, usize> = self.order.iter().copied().zip(0..).collect();
        let mut done = self.done;
        done.sort_by_key(|(id, verdict, _)| (*verdict, place.get(id)));
        done.into_iter().map(|(_, _, status)| status).collect()
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        let times = self.items.iter().filter_map(|(_, goal, _)| match *goal {
            Goal::Stop { wait: true, remind_at } => Some(remind_at),
            _ => None,
        });
        times.min()
    }
}

impl Supervision {
    pub(super) fn add_wait(&mut self, mut wait: Wait) {
        if wait.is_array {
            let decided = wait.done.iter().map(|(id, _, _)| *id);
            wait.order = decided.chain(wait.items.iter().map(|(id, _, _)| *id)).collect();
        }
        self.waits.push(wait);
        self.answer_finished();
    }

    /// The first open item of this process with such a goal.
    pub(super) fn waiting_item(&self, id: ProcId, is: impl Fn(&Goal) -> bool) -> Option<(Place, String)> {
        self.waits.iter().enumerate().find_map(|(w, wait)| {
            let item = wait.items.iter().position(|(of, goal, _)| *of == id && is(goal))?;
            let (_, _, name) = wait.items.get(item)?;
            Some(((w, item), name.clone()))
        })
    }

    pub(super) fn goal(&self, (wait, item): Place) -> Option<Goal> {
        self.waits.get(wait)?.items.get(item).map(|(_, goal, _)| *goal)
    }

    pub(super) fn set_goal(&mut self, (wait, item): Place, goal: Goal) {
        if let Some(item) = self.waits.get_mut(wait).and_then(|wait| wait.items.get_mut(item)) {
            item.1 = goal;
        }
    }

    /// Closes one item, and answers the request if that was the last.
    pub(super) fn settle_item(&mut self, (wait, item): Place, fault: Option<Fault>) {
        let Some(id) = self.waits.get(wait).and_then(|wait| wait.items.get(item)).map(|item| item.0) else { return };
        let status = self.status(id, fault.clone());
        if let Some(wait) = self.waits.get_mut(wait) {
            wait.items.remove(item);
            let verdict = match &fault {
                _ if !self.is_late => Verdict::AtOnce,
                Some(_) => Verdict::FailedLater,
                None => Verdict::DoneLater,
            };
            wait.done.extend(status.map(|status| (id, verdict, status)));
            wait.fault = fault;
        }
        self.answer_finished();
    }

    /// The process may have reached what somebody waits for.
    pub(super) fn look_at_waits(&mut self, id: ProcId) {
        while let Some((place, fault)) = self.reached(id) {
            self.settle_item(place, fault);
        }
    }

    fn reached(&self, id: ProcId) -> Option<(Place, Option<Fault>)> {
        if self.waits.is_empty() {
            return None;
        }
        let process = self.process(id)?;
        let (state, failed) = (process.state(), !process.spawnerr.is_empty());
        self.waits.iter().enumerate().find_map(|(w, wait)| {
            wait.items.iter().enumerate().filter(|(_, (of, _, _))| *of == id).find_map(|(i, (_, goal, name))| {
                let outcome = match (goal, state) {
                    (Goal::Start { .. }, State::Running) => None,
                    // The fork is still to come.
                    (Goal::Start { .. }, State::Starting) if process.pid().is_none() => return None,
                    (Goal::Start { wait: false }, State::Starting) => None,
                    (Goal::Start { wait: true }, State::Starting) => return None,
                    (Goal::Start { .. }, _) if failed => Some(Fault::new(FaultCode::SpawnError, name)),
                    (Goal::Start { .. }, _) => Some(Fault::new(FaultCode::AbnormalTermination, name)),
                    // The signal was not sent yet.
                    (Goal::Stop { wait: false, .. }, State::Stopping) if process.pid().is_some() => return None,
                    (Goal::Stop { wait: false, .. }, _) => None,
                    (Goal::Stop { .. }, state) if state.is_stopped() && process.core.remains.is_none() => None,
                    (Goal::Stop { .. } | Goal::Probe { .. } | Goal::Signal, _) => return None,
                };
                Some(((w, i), outcome))
            })
        })
    }

    /// A process left the table.
    pub(super) fn forget_process(&mut self, id: ProcId) {
        for wait in &mut self.waits {
            wait.items.retain(|(of, _, _)| *of != id);
        }
        self.answer_finished();
    }

    pub(super) fn remind_waits(&mut self, now: Now) {
        let mut waited_for = Vec::new();
        for (id, goal, _) in self.waits.iter_mut().flat_map(|wait| &mut wait.items) {
            match goal {
                Goal::Stop { wait: true, remind_at } if now.mono >= *remind_at => {
                    *remind_at = now.mono.after(REMIND_EVERY);
                    waited_for.push(*id);
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

    fn answer_finished(&mut self) {
        let (finished, open) = std::mem::take(&mut self.waits).into_iter().partition(|wait| wait.items.is_empty());
        self.waits = open;
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
