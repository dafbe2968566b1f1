//! The state of the supervisor: running, restarting, shutting down; the ordered shutdown, its budget, and the exit
//! contract (`essential`, `exit_code_from`, `exit_when`).
//!
//! A shutdown goes through the group priorities from the highest number down. All groups of one priority are stopped at
//! once; the next priority follows when no process of this one lives. A priority with nothing to stop takes no time.
//!
//! With a stop budget each priority has a share of what is left of it, in proportion to its longest `stopwaitsecs`. When
//! its share is over and KILL was sent, the next priority follows even if a process of this one still lives: a process
//! that KILL does not end (an uninterruptible sleep, a frozen cgroup) must not keep the others from their stop signal.
#![forbid(unsafe_code)]

use super::process::{Event, State};
use super::{Effect, ProcId, Process, Supervision, is_listener, requests::Reply};
use crate::config::model::{ExitCodeFrom, LogLevel};
use crate::time::{Mono, Now};
use std::collections::BTreeMap;
use std::time::Duration;

/// What the supervisor is doing (Supervisor's codes: supervisor-behaviour.md §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SupervisorState {
    /// 1
    Running,
    /// 0: everything is being stopped, to start again with a new configuration.
    Restarting,
    /// -1
    ShuttingDown,
}

/// What follows the shutdown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AfterShutdown {
    /// Start again with the new configuration.
    Reload,
    /// End the supervisor.
    Exit {
        /// Exit code.
        code: u8,
        /// The reason, for the last line on stderr.
        reason: String,
    },
}

/// An ordered shutdown under way.
#[derive(Debug)]
pub(super) struct Shutdown {
    reason: String,
    /// When the first signal that asks for an end was received.
    signalled_at: Option<Mono>,
    turn: Turn,
    /// The second try at processes that could not be signalled was made.
    has_tried_again: bool,
    /// Only listeners are left: they have until this time to process the last events.
    listeners_until: Option<Mono>,
    /// They have processed them, or that time is over.
    listeners_done: bool,
    /// When the next line about the processes that still live is due.
    remind_at: Mono,
    /// The end of the stop budget, when KILL is sent to every process.
    pub(super) budget_end: Option<Mono>,
    /// KILL was sent to every process; processes that still live at this time are given up.
    pub(super) give_up_at: Option<Mono>,
}

/// The priority that a shutdown has reached.
#[derive(Debug, Clone, Copy)]
enum Turn {
    /// No priority has been stopped yet.
    First,
    /// This priority is being stopped.
    Of {
        priority: i32,
        /// With a budget: when the next priority follows, even if this one is not stopped.
        until: Option<Mono>,
    },
    /// Every priority was stopped. A process that still lives has outlived KILL.
    Over,
}

impl Shutdown {
    pub(super) fn deadline(&self) -> Mono {
        let end = if self.give_up_at.is_some() { self.give_up_at } else { self.budget_end };
        let listeners = self.listeners_until.filter(|_| !self.listeners_done);
        let turn = match self.turn {
            Turn::Of { until, .. } => until,
            Turn::First | Turn::Over => None,
        };
        [end, listeners, turn].into_iter().flatten().fold(self.remind_at, Mono::min)
    }
}

/// The exit codes that the exit contract needs.
#[derive(Debug, Default)]
pub(super) struct ExitContract {
    /// That of the first program that failed for good.
    first_failure: Option<u8>,
    /// That of the essential program whose end began the shutdown.
    essential: Option<u8>,
    /// The shutdown began since `restart_limit` was exceeded.
    pub(super) is_over_limit: bool,
}

/// The longest time that listeners have to process the last events before they are stopped.
const LAST_EVENTS: Duration = Duration::from_secs(1);

/// How often a shutdown logs the processes that it waits for (supervisor-behaviour.md §4.8).
const REMIND_EVERY: Duration = Duration::from_secs(3);

/// A second signal within this time is a copy of the first.
const SAME_REQUEST: Duration = Duration::from_millis(250);

/// The time after KILL in which the kernel ends what it can.
const GRACE: Duration = Duration::from_millis(100);

impl Supervision {
    /// TERM, INT or QUIT: the first begins an ordered shutdown, the second sends KILL to every process.
    pub(super) fn terminate(&mut self, reason: String, now: Now) {
        if self.state == SupervisorState::ShuttingDown {
            // The first signal after a shutdown that began without one (`essential`, a client) asks for nothing new. And
            // timeout(1), for one, signals the process and then its group: that is one request.
            match self.shutdown.as_mut().map(|shutdown| *shutdown.signalled_at.get_or_insert(now.mono)) {
                Some(first) if now.mono >= first.after(SAME_REQUEST) => {}
                _ => return,
            }
            // Differs from Supervisor: there a second TERM changes nothing.
            self.log(LogLevel::Warn, "second shutdown request: sending SIGKILL to all remaining processes".into());
            self.kill_all(now);
        } else {
            self.begin_shutdown(SupervisorState::ShuttingDown, reason, now);
            if let Some(shutdown) = &mut self.shutdown {
                shutdown.signalled_at = Some(now.mono);
            }
        }
    }

    pub(super) fn begin_shutdown(&mut self, state: SupervisorState, reason: String, now: Now) {
        if self.state == SupervisorState::ShuttingDown {
            return;
        }
        self.state = state;
        if self.shutdown.is_none() {
            self.effects.push_back(Effect::SupervisorStateChanged(state));
        }
        let budget = self.server.stop_budget_ms;
        let shutdown = self.shutdown.get_or_insert(Shutdown {
            reason: String::new(),
            signalled_at: None,
            turn: Turn::First,
            has_tried_again: false,
            listeners_until: None,
            listeners_done: false,
            remind_at: now.mono,
            budget_end: budget.map(|millis| now.mono.after_ms(millis)),
            give_up_at: None,
        });
        shutdown.reason = reason;
        for id in self.in_order() {
            self.step(id, Event::ShutdownBegan, now);
        }
    }

    /// Takes a shutdown as far as it can go at this time.
    pub(super) fn settle_shutdown(&mut self, now: Now) {
        while let Some(shutdown) = &mut self.shutdown {
            if shutdown.give_up_at.is_some_and(|at| now.mono >= at) {
                let left = self.names_unstopped();
                if !left.is_empty() {
                    self.log(LogLevel::Critical, format!("giving up on {left}: still there after SIGKILL"));
                }
                return self.finish();
            }
            if shutdown.give_up_at.is_none() && shutdown.budget_end.is_some_and(|end| now.mono >= end) {
                self.kill_all(now);
                continue;
            }
            let turn = shutdown.turn;
            if let Turn::Of { priority, until } = turn
                && until.is_none_or(|until| now.mono < until)
                && self.unstopped().any(|(id, process)| self.stop_priority(id, process) == priority)
            {
                return self.remind(now);
            }
            // Nothing starts any more, so no higher priority comes back.
            let levels = self.unstopped_levels(turn);
            let Some(&priority) = levels.keys().next_back() else {
                if self.unstopped().next().is_some() {
                    self.set_turn(Turn::Over);
                    return self.remind(now);
                }
                if self.to_stop().next().is_none() || self.has_tried_again() {
                    return self.finish();
                }
                // The reason why a process could not be signalled may be gone.
                self.set_turn(Turn::First);
                continue;
            };
            let has_turn = |id, process: &Process| levels.contains_key(&self.stop_priority(id, process));
            let only_listeners =
                self.to_stop().all(|(id, process)| is_listener(&process.group) || !has_turn(id, process));
            if only_listeners && !self.are_listeners_done(now) {
                return self.remind(now);
            }
            self.stop_level(priority, &levels, now);
        }
    }

    fn set_turn(&mut self, turn: Turn) {
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.turn = turn;
        }
    }

    /// Whether the second try at processes that cannot be signalled was made; marks it as made.
    fn has_tried_again(&mut self) -> bool {
        self.shutdown.as_mut().is_some_and(|shutdown| std::mem::replace(&mut shutdown.has_tried_again, true))
    }

    /// Whether listeners may be stopped: they have processed the last events, or used up their time for it (at most half of
    /// what is left of a budget).
    fn are_listeners_done(&mut self, now: Now) -> bool {
        let Some(shutdown) = &mut self.shutdown else { return true };
        let left = shutdown.budget_end.map_or(LAST_EVENTS, |end| end.since(now.mono).mul_f64(0.5));
        let until = *shutdown.listeners_until.get_or_insert(now.mono.after(LAST_EVENTS.min(left)));
        shutdown.listeners_done |= now.mono >= until || shutdown.give_up_at.is_some();
        shutdown.listeners_done
    }

    /// Whether a shutdown waits only for listeners to process the last events.
    #[must_use]
    pub fn waits_for_listeners(&self) -> bool {
        self.shutdown.as_ref().is_some_and(|shutdown| shutdown.listeners_until.is_some() && !shutdown.listeners_done)
    }

    /// Listeners have processed all events.
    pub(super) fn listeners_done(&mut self) {
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.listeners_done = true;
        }
    }

    /// The state of `id` changed to `to`: begins the shutdown if the exit contract says so.
    pub(super) fn apply_exit_contract(&mut self, id: ProcId, to: State, now: Now) {
        let Some(process) = self.process(id) else { return };
        let for_good = match to {
            // The process may have left that state in the same step.
            State::Fatal | State::Exited => process.state() == to && !process.is_held_restart(),
            // A stop by request is not an end: the first half of a client's restart is one too.
            _ => false,
        };
        if self.state != SupervisorState::Running || !for_good || is_listener(&process.group) {
            return;
        }
        // A one-shot that is done has not failed, and its end is not the end of the service.
        let code = if process.is_done() { 0 } else { process.exit_code() };
        let (name, essential) = (process.namespec(), process.config.essential && !process.is_done());
        let how = process.last_exit.map_or_else(|| process.spawnerr.to_string(), |exit| exit.to_string());
        if code != 0 && self.contract.first_failure.is_none() {
            self.contract.first_failure = Some(code);
        }
        if essential {
            self.contract.essential = Some(code);
            self.begin_shutdown(
                SupervisorState::ShuttingDown,
                format!("{name}, which is essential, ended ({how})"),
                now,
            );
        } else {
            self.end_if_all_done(now);
        }
    }

    fn end_if_all_done(&mut self, now: Now) {
        if self.state == SupervisorState::Running && self.server.exit_when_all_done && self.all_done() {
            self.begin_shutdown(SupervisorState::ShuttingDown, "all programs are done".into(), now);
        }
    }

    fn all_done(&self) -> bool {
        self.all().all(|(_, process)| is_listener(&process.group) || process.core.is_at_rest())
    }

    fn finish(&mut self) {
        let Some(shutdown) = self.shutdown.take() else { return };
        let unknown: Vec<&str> = self
            .to_stop()
            .filter(|(_, process)| process.state() == State::Unknown)
            .map(|(_, process)| process.config.name.as_str())
            .collect();
        if !unknown.is_empty() {
            let line = format!("giving up on {}: still running, and cannot be signalled", unknown.join(", "));
            self.log(LogLevel::Critical, line);
        }
        self.requests.clear();
        let finish = match self.state {
            SupervisorState::Restarting => AfterShutdown::Reload,
            SupervisorState::Running | SupervisorState::ShuttingDown => {
                AfterShutdown::Exit { code: self.exit_code(), reason: shutdown.reason }
            }
        };
        self.effects.push_back(Effect::Finished(finish));
    }

    fn exit_code(&self) -> u8 {
        let code = match &self.server.exit_code_from {
            ExitCodeFrom::Zero | ExitCodeFrom::Essential => self.contract.essential,
            ExitCodeFrom::FirstFailure => self.contract.first_failure,
            ExitCodeFrom::Program(name) => {
                let (group, name) = name.split_once(':').unwrap_or((name, name));
                let exact = self.find(group, name).and_then(|id| self.process(id));
                // A bare name may mean a process of any group.
                let process = exact.or_else(|| self.all().map(|(_, p)| p).find(|p| p.config.name == name));
                process.map(Process::exit_code)
            }
        };
        code.unwrap_or(u8::from(self.contract.is_over_limit))
    }

    fn unstopped(&self) -> impl Iterator<Item = (ProcId, &Process)> {
        self.to_stop().filter(|(_, process)| !process.core.is_at_rest())
    }

    /// Those, and the processes that live but could not be signalled: their stop is tried again.
    fn to_stop(&self) -> impl Iterator<Item = (ProcId, &Process)> {
        let all = self.processes.iter().map(|(&id, process)| (id, &**process));
        all.filter(|(_, process)| !process.core.is_at_rest() || process.state() == State::Unknown)
    }

    /// The priorities still to stop after `turn`, each with its longest time for a stop in milliseconds.
    fn unstopped_levels(&self, turn: Turn) -> BTreeMap<i32, u64> {
        let mut levels = BTreeMap::new();
        for (id, process) in self.to_stop() {
            let own = self.stop_priority(id, process);
            let is_to_come = match turn {
                Turn::First => true,
                Turn::Of { priority, .. } => own < priority,
                Turn::Over => false,
            };
            if is_to_come {
                let longest = levels.entry(own).or_insert(0);
                *longest = millis(process.config.stop_time()).max(*longest);
            }
        }
        levels
    }

    /// Stops the processes of one priority. `levels`: the priorities still to stop, this one among them.
    fn stop_level(&mut self, priority: i32, levels: &BTreeMap<i32, u64>, now: Now) {
        let Some(shutdown) = &mut self.shutdown else { return };
        let share = shutdown.budget_end.map(|end| share(end, levels, priority, now.mono));
        let until = shutdown.budget_end.zip(share).map(|(end, share)| {
            // A killed process needs a moment to end, which is taken from the priorities after this one.
            let own = levels.get(&priority).copied().unwrap_or(0);
            let share_end = now.mono.after_ms(share);
            let killed_at = share_end.min(now.mono.after_ms(own));
            let rest = end.since(killed_at).checked_div(u32::try_from(levels.len()).unwrap_or(u32::MAX));
            share_end.max(killed_at.after(GRACE.min(rest.unwrap_or_default())))
        });
        shutdown.turn = Turn::Of { priority, until };
        let mut members: Vec<ProcId> = self.in_order();
        members.retain(|&id| self.process(id).is_some_and(|process| self.stop_priority(id, process) == priority));
        // Processes that wait for their dependents share the time with them.
        let depth = |id: &ProcId| u64::from(self.stop_depth(*id)).saturating_add(1);
        let deepest = members.iter().map(depth).max().unwrap_or(1);
        let parts: Vec<u64> = members.iter().map(depth).collect();
        for (id, part) in members.into_iter().zip(parts).rev() {
            let part = |share: u64| share.saturating_mul(part).checked_div(deepest).unwrap_or(share);
            self.step(id, Event::StopForShutdown { kill_by: share.map(|share| now.mono.after_ms(part(share))) }, now);
        }
    }

    fn kill_all(&mut self, now: Now) {
        if let Some(shutdown) = &mut self.shutdown {
            let grace = match shutdown.turn {
                // Every process was sent KILL, and had the time to end.
                Turn::Over => Duration::ZERO,
                Turn::First | Turn::Of { .. } => GRACE,
            };
            shutdown.give_up_at = Some(now.mono.after(grace));
        }
        for id in self.in_order().into_iter().rev() {
            self.step(id, Event::KillNow, now);
        }
    }

    fn remind(&mut self, now: Now) {
        let Some(shutdown) = &mut self.shutdown else { return };
        if now.mono >= shutdown.remind_at {
            shutdown.remind_at = now.mono.after(REMIND_EVERY);
            let names = self.names_unstopped();
            self.log(LogLevel::Info, format!("waiting for {names} to die"));
        }
    }

    fn names_unstopped(&self) -> String {
        let mut groups: Vec<_> = self.groups.values().collect();
        groups.sort_by_key(|group| group.serial);
        let members = groups.into_iter().flat_map(|group| &group.members).filter_map(|&id| self.process(id));
        let names: Vec<&str> =
            members.filter(|process| !process.core.is_at_rest()).map(|process| process.config.name.as_str()).collect();
        names.join(", ")
    }

    /// Replies to the client, and begins the shutdown.
    pub(super) fn shut_down_on_request(&mut self, ticket: super::Ticket, now: Now) {
        self.effects.push_back(Effect::Reply(ticket, Reply::True));
        self.begin_shutdown(SupervisorState::ShuttingDown, "a client asked for it".into(), now);
    }
}

/// The share of the time until `end` that belongs to `priority`, in milliseconds: in proportion to its `stopwaitsecs`, or
/// to [`GRACE`] where that is longer. It is no shorter than that where the time is enough for all `levels`.
fn share(end: Mono, levels: &BTreeMap<i32, u64>, priority: i32, now: Mono) -> u64 {
    let weight = |wait: &u64| (*wait).max(millis(GRACE));
    let all = levels.values().map(weight).fold(0, u64::saturating_add);
    let own = levels.get(&priority).map_or(0, weight);
    let part = u128::from(millis(end.since(now))).saturating_mul(u128::from(own)).checked_div(u128::from(all));
    part.and_then(|part| u64::try_from(part).ok()).unwrap_or(u64::MAX)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
