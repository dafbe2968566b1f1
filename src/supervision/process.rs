//! One process: the only place where its state is decided. Pure and total.
//!
//! # The state story
//!
//! ```text
//!            Start                 startsecs over
//! STOPPED ─────────► STARTING ───────────────────► RUNNING
//!    ▲  ▲               │  ▲                        │   │
//!    │  │ Stop          │  │ retry due         Stop │   │ Exited
//!    │  └──── BACKOFF ◄─┘──┘                        ▼   ▼
//!    │           │  too many tries        STOPPING ◄┘   EXITED ──► STARTING (autorestart, Start)
//!    │           ▼                           │
//!    │         FATAL ──► STARTING (Start)    │ Exited
//!    └───────────────────────────────────────┘
//! ```
//!
//! A process that dies before `startsecs` are over goes to BACKOFF; the n-th failure in a row waits n seconds, and
//! failure number `startretries` + 1 is FATAL. STOPPING gets KILL after `stopwaitsecs`, again and again until it is dead.
//! A process that cannot be signalled while it is being stopped is UNKNOWN until the next stop, or until it ends.
//!
//! With `sweep` a dead leader may leave *remains*: live members of its process group. They are told to end (TERM, then
//! KILL after `stopwaitsecs`); until the group is empty the process neither starts again nor counts as stopped.
//! Remains are orthogonal to the phase: a crashed program shows EXITED while its workers are being ended.
//!
//! Every (phase, event) pair is decided in [`Core::step`]; `tests.rs` enumerates them all with every policy.
#![forbid(unsafe_code)]

use crate::config::model::{AutoRestart, ExitCodes, ProcessConfig};
use crate::posix::Exit;
use crate::time::Mono;
use std::time::Duration;

/// A process id as the kernel gives it; always > 1.
pub type Pid = i32;

/// The states that users see, with Supervisor's codes (census §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Not running, by request or never started.
    Stopped = 0,
    /// Spawned (or about to be), not yet up for `startsecs`.
    Starting = 10,
    /// Up.
    Running = 20,
    /// Failed to start; waits for its next try.
    Backoff = 30,
    /// Told to stop, not dead yet.
    Stopping = 40,
    /// Ended by itself after it had been RUNNING.
    Exited = 100,
    /// Failed too often.
    Fatal = 200,
    /// It could not be signalled.
    Unknown = 1000,
}

impl State {
    /// The name that users see.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            State::Stopped => "STOPPED",
            State::Starting => "STARTING",
            State::Running => "RUNNING",
            State::Backoff => "BACKOFF",
            State::Stopping => "STOPPING",
            State::Exited => "EXITED",
            State::Fatal => "FATAL",
            State::Unknown => "UNKNOWN",
        }
    }

    /// Supervisor's "stopped" class: what `remove` wants and a waiting stop waits for.
    #[must_use]
    pub fn is_stopped(self) -> bool {
        matches!(self, State::Stopped | State::Exited | State::Fatal | State::Unknown)
    }

    /// Supervisor's "running" class: what start refuses and stop accepts.
    #[must_use]
    pub fn is_running(self) -> bool {
        matches!(self, State::Starting | State::Running | State::Backoff)
    }
}

/// The part of a configuration that transitions depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// When to start again after an exit.
    pub autorestart: AutoRestart,
    /// Expected exit codes.
    pub exitcodes: ExitCodes,
    /// Time to stay up to count as RUNNING.
    pub startsecs: Duration,
    /// Retries after the first attempt; `None`: none at all, not even a wait.
    pub retries: Option<u32>,
    /// From the stop signal to KILL.
    pub stopwaitsecs: Duration,
}

impl Policy {
    /// When a KILL sent at `now` is repeated if the process still lives.
    fn kill_again_at(&self, now: Mono) -> Mono {
        now.after(self.stopwaitsecs.max(KILL_AGAIN))
    }
}

impl From<&ProcessConfig> for Policy {
    fn from(config: &ProcessConfig) -> Self {
        let seconds = |value: i64| Duration::from_secs(u64::try_from(value).unwrap_or(0));
        Policy {
            autorestart: config.autorestart,
            exitcodes: config.exitcodes,
            startsecs: seconds(config.startsecs),
            retries: u32::try_from(config.startretries.min(i64::from(u32::MAX))).ok(),
            stopwaitsecs: seconds(config.stopwaitsecs),
        }
    }
}

/// Where a process is, with what is valid there only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// STOPPED
    Stopped,
    /// STARTING; no pid until the fork is done, or while remains of its forerunner are being swept.
    Starting {
        /// The child.
        pid: Option<Pid>,
        /// When the attempt began.
        since: Mono,
    },
    /// RUNNING
    Running {
        /// The child.
        pid: Pid,
        /// When the attempt began.
        since: Mono,
    },
    /// BACKOFF; `None`: no more tries, the supervisor is stopping.
    Backoff {
        /// When the next try is due.
        retry_at: Option<Mono>,
    },
    /// STOPPING; no pid when only remains are left.
    Stopping {
        /// The child.
        pid: Option<Pid>,
        /// The KILL that ends it.
        kill: KillTimer,
    },
    /// EXITED
    Exited {
        /// When the automatic restart is due, if there is to be one.
        restart_at: Option<Mono>,
    },
    /// FATAL
    Fatal,
    /// UNKNOWN: alive, and its stop signal or KILL could not be sent. The next stop tries again.
    Unknown {
        /// The child.
        pid: Pid,
    },
}

/// Live members of a dead leader's process group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remains {
    /// The group: the dead leader's pid, kept from reuse by leaving the leader unreaped.
    pub pgid: Pid,
    /// The KILL that ends it.
    pub kill: KillTimer,
    /// When to look again: members that are not our children end without a SIGCHLD for us.
    pub look_at: Mono,
}

/// The SIGKILL for a process, or a group, that does not end after its stop signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KillTimer {
    /// Not sent yet: due at this time.
    Due(Mono),
    /// Sent. It stays pending in the kernel and is repeated at this time, not earlier.
    Sent(Mono),
}

impl KillTimer {
    /// When the next KILL is to be sent.
    #[must_use]
    pub fn at(self) -> Mono {
        match self {
            KillTimer::Due(at) | KillTimer::Sent(at) => at,
        }
    }

    /// Moves a KILL that was not sent yet forward to `by`.
    fn bring_forward(&mut self, by: Mono) {
        if let KillTimer::Due(at) = self {
            *at = by.min(*at);
        }
    }
}

/// How often the group of a dead leader is looked at while it is swept.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A program that dies within this time of its start is not started again before it is over
/// (Supervisor's loop has the same effect; census §4.7).
const RESTART_FLOOR: Duration = Duration::from_secs(1);

/// KILL is repeated no faster than this, even with `stopwaitsecs=0`.
const KILL_AGAIN: Duration = Duration::from_secs(1);

/// What can happen to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// Start it: autostart or an accepted request.
    Start,
    /// The fork succeeded.
    Spawned(Pid),
    /// No child could be made.
    SpawnFailed,
    /// The child is dead.
    Exited {
        /// How.
        exit: Exit,
        /// Whether others live in its process group (asked with `sweep` only).
        remains: bool,
    },
    /// An accepted stop request.
    Stop,
    /// Its turn in the supervisor's own shutdown; KILL no later than the given time.
    ShutDown {
        /// Its share of the stop budget.
        kill_by: Option<Mono>,
    },
    /// The supervisor begins to shut down: nothing starts by itself from now on.
    Halt,
    /// No more patience: KILL at once.
    Hurry,
    /// The stop signal or KILL could not be sent.
    SignalFailed,
    /// Nobody is left in the swept group.
    GroupEmpty,
    /// The swept group may not be killed.
    SweepRefused,
    /// Time has passed.
    Woke,
}

/// What is to be done, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// The state changed.
    Became {
        /// Before.
        from: State,
        /// After.
        to: State,
        /// The child's number, of the one that has just ended too; 0: there was none.
        pid: Pid,
        /// Failed starts in a row so far.
        tries: u32,
    },
    /// Fork and exec; answered by `Spawned` or `SpawnFailed`.
    Spawn,
    /// Send the stop signal.
    StopSignal(Pid),
    /// Send KILL.
    Kill(Pid),
    /// End the group of a dead leader: TERM, or KILL.
    Sweep {
        /// The group.
        pgid: Pid,
        /// KILL instead of TERM.
        kill: bool,
    },
    /// See whether the swept group is empty; answered by `GroupEmpty` or not at all.
    Look(Pid),
    /// Leave the swept group alone from now on.
    Abandon(Pid),
    /// The exit was handled: before its state change, for the log.
    Ended {
        /// How it ended.
        exit: Exit,
        /// What that means.
        kind: Ending,
    },
}

/// What an exit means under the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// It was being stopped.
    Stopped,
    /// Before `startsecs` were over.
    TooQuick,
    /// With an expected exit code.
    Expected,
    /// Otherwise.
    Unexpected,
}

/// The whole state that decisions depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Core {
    /// Where it is.
    pub phase: Phase,
    /// Failed starts in a row.
    pub backoff: u32,
    /// What the last child left behind.
    pub remains: Option<Remains>,
    /// The supervisor is shutting down: nothing starts by itself any more.
    pub halted: bool,
}

impl Default for Core {
    fn default() -> Self {
        Core { phase: Phase::Stopped, backoff: 0, remains: None, halted: false }
    }
}

impl Core {
    /// The state that users see.
    #[must_use]
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Stopped => State::Stopped,
            Phase::Starting { .. } => State::Starting,
            Phase::Running { .. } => State::Running,
            Phase::Backoff { .. } => State::Backoff,
            Phase::Stopping { .. } => State::Stopping,
            Phase::Exited { .. } => State::Exited,
            Phase::Fatal => State::Fatal,
            Phase::Unknown { .. } => State::Unknown,
        }
    }

    /// The live child, if there is one.
    #[must_use]
    pub fn pid(&self) -> Option<Pid> {
        match self.phase {
            Phase::Starting { pid, .. } | Phase::Stopping { pid, .. } => pid,
            Phase::Running { pid, .. } | Phase::Unknown { pid } => Some(pid),
            Phase::Stopped | Phase::Backoff { .. } | Phase::Exited { .. } | Phase::Fatal => None,
        }
    }

    /// A fork is what it waits for. Between the wish for it and its turn a stop may have come.
    #[must_use]
    pub fn wants_fork(&self) -> bool {
        matches!(self.phase, Phase::Starting { pid: None, .. }) && self.remains.is_none()
    }

    /// Nothing of it lives, or nothing that could be signalled (UNKNOWN); and nothing will start by itself.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.remains.is_none()
            && matches!(
                self.phase,
                Phase::Stopped | Phase::Fatal | Phase::Exited { restart_at: None } | Phase::Unknown { .. }
            )
    }

    /// When `Woke` has something to do.
    #[must_use]
    pub fn deadline(&self, policy: &Policy) -> Option<Mono> {
        let phase = match self.phase {
            Phase::Starting { pid: Some(_), since } => Some(since.after(policy.startsecs)),
            // While remains live, their end decides.
            Phase::Backoff { retry_at: at } | Phase::Exited { restart_at: at } if self.remains.is_none() => at,
            Phase::Stopping { pid: Some(_), kill } => Some(kill.at()),
            _ => None,
        };
        let remains = self.remains.map(|remains| remains.kill.at().min(remains.look_at));
        match (phase, remains) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Decides what `event` does, at `now`, under `policy`; actions are appended to `out`.
    pub fn step(&mut self, event: Event, now: Mono, policy: &Policy, out: &mut Vec<Action>) {
        use {Event as E, Phase as P};
        self.halted |= matches!(event, E::Halt | E::ShutDown { .. } | E::Hurry);
        match (self.phase, event) {
            // ---- starting
            (P::Stopped | P::Exited { .. } | P::Fatal, E::Start) => {
                // Differs from Supervisor: a start by request counts its tries anew (census §12, 8).
                self.backoff = 0;
                self.attempt(now, out);
            }
            (P::Starting { pid: None, .. }, E::Spawned(pid)) => {
                self.phase = P::Starting { pid: Some(pid), since: now };
                self.woke(now, policy, out);
            }
            (P::Starting { pid: None, .. }, E::SpawnFailed) => self.failed(now, policy, out),
            // ---- the child's end
            (P::Starting { pid: Some(pid), since }, E::Exited { exit, remains }) => {
                if now < since.after(policy.startsecs) {
                    out.push(Action::Ended { exit, kind: Ending::TooQuick });
                    self.left_behind(remains.then_some(pid), now, policy, out);
                    self.failed(now, policy, out);
                } else {
                    self.go(P::Running { pid, since }, out);
                    self.backoff = 0;
                    self.exited(pid, since, exit, remains, now, policy, out);
                }
            }
            (P::Running { pid, since }, E::Exited { exit, remains }) => {
                self.exited(pid, since, exit, remains, now, policy, out);
            }
            (P::Stopping { pid: Some(pid), kill }, E::Exited { exit, remains }) => {
                out.push(Action::Ended { exit, kind: Ending::Stopped });
                if remains {
                    self.phase = P::Stopping { pid: None, kill };
                    // The group has no more time than its leader would have had.
                    match kill {
                        KillTimer::Due(at) => {
                            self.left_behind(Some(pid), now, policy, out);
                            self.kill_remains_by(at);
                        }
                        KillTimer::Sent(_) => {
                            let kill = KillTimer::Sent(policy.kill_again_at(now));
                            self.remains = Some(Remains { pgid: pid, kill, look_at: now.after(LOOK_EVERY) });
                            out.push(Action::Sweep { pgid: pid, kill: true });
                        }
                    }
                } else {
                    self.go(P::Stopped, out);
                }
            }
            // Differs from Supervisor: UNKNOWN ends when the process does (there an assertion fails).
            (P::Unknown { pid }, E::Exited { exit, remains }) => {
                out.push(Action::Ended { exit, kind: Ending::Stopped });
                self.left_behind(remains.then_some(pid), now, policy, out);
                self.go(P::Stopped, out);
            }
            // ---- stopping
            (P::Starting { pid: Some(pid), .. } | P::Running { pid, .. } | P::Unknown { pid }, E::Stop) => {
                self.stop(pid, now.after(policy.stopwaitsecs), out);
            }
            (
                P::Starting { pid: Some(pid), .. } | P::Running { pid, .. } | P::Unknown { pid },
                E::ShutDown { kill_by },
            ) => {
                let wait_over = now.after(policy.stopwaitsecs);
                let kill_at = kill_by.map_or(wait_over, |by| by.min(wait_over));
                self.stop(pid, kill_at, out);
            }
            (P::Starting { pid: Some(pid), .. } | P::Running { pid, .. } | P::Unknown { pid }, E::Hurry) => {
                self.go(P::Stopping { pid: Some(pid), kill: KillTimer::Due(now) }, out);
                self.woke(now, policy, out);
            }
            // The fork was waiting, for its turn or for a sweep: it will not come.
            (P::Starting { pid: None, .. }, E::Stop | E::Halt | E::ShutDown { .. } | E::Hurry) => {
                self.go(P::Stopping { pid: None, kill: KillTimer::Due(now) }, out);
                if self.remains.is_some() {
                    self.hasten(event, now, policy, out);
                } else {
                    self.go(P::Stopped, out);
                }
            }
            (P::Stopping { pid, mut kill }, E::ShutDown { kill_by: Some(by) }) => {
                kill.bring_forward(by);
                self.phase = P::Stopping { pid, kill };
                self.kill_remains_by(by);
            }
            (P::Stopping { pid, mut kill }, E::Hurry) => {
                kill.bring_forward(now);
                self.phase = P::Stopping { pid, kill };
                self.kill_remains_by(now);
                self.woke(now, policy, out);
            }
            (P::Stopping { pid: Some(pid), .. }, E::SignalFailed) => self.go(P::Unknown { pid }, out),
            (P::Backoff { .. }, E::Stop) if self.remains.is_some() => {
                self.go(P::Stopping { pid: None, kill: KillTimer::Due(now) }, out);
            }
            (P::Backoff { .. }, E::Stop) => self.go(P::Stopped, out),
            (P::Backoff { .. }, E::ShutDown { .. } | E::Hurry) => {
                self.backoff = 0;
                self.go(P::Fatal, out);
                self.hasten(event, now, policy, out);
            }
            // A stop while a restart is due cancels it.
            (P::Exited { .. }, E::Stop | E::Halt) => self.phase = P::Exited { restart_at: None },
            (P::Exited { .. }, E::ShutDown { .. } | E::Hurry) => {
                self.phase = P::Exited { restart_at: None };
                self.hasten(event, now, policy, out);
            }
            (P::Backoff { .. }, E::Halt) => self.phase = P::Backoff { retry_at: None },
            (P::Stopped | P::Fatal, E::ShutDown { .. } | E::Hurry) => self.hasten(event, now, policy, out),
            // ---- time and remains
            (_, E::Woke) => self.woke(now, policy, out),
            (_, E::GroupEmpty) if self.remains.is_some() => self.swept(now, policy, out),
            (_, E::SweepRefused) => {
                if let Some(remains) = self.remains {
                    out.push(Action::Abandon(remains.pgid));
                    self.swept(now, policy, out);
                }
            }
            // ---- all else changes nothing: requests that the command layer refuses, and news that came too late
            (P::Stopped | P::Fatal, E::Stop | E::Halt)
            | (
                P::Stopped | P::Fatal | P::Exited { .. } | P::Backoff { .. },
                E::Spawned(_) | E::SpawnFailed | E::Exited { .. } | E::SignalFailed,
            )
            | (P::Backoff { .. } | P::Starting { .. } | P::Running { .. } | P::Stopping { .. }, E::Start)
            | (P::Starting { pid: Some(_), .. }, E::Spawned(_) | E::SpawnFailed)
            | (P::Starting { .. }, E::SignalFailed)
            | (P::Starting { pid: Some(_), .. }, E::Halt)
            | (P::Running { .. }, E::SignalFailed | E::Halt)
            | (P::Starting { pid: None, .. }, E::Exited { .. })
            | (P::Running { .. } | P::Stopping { .. }, E::Spawned(_) | E::SpawnFailed)
            | (P::Stopping { .. }, E::Stop | E::ShutDown { kill_by: None } | E::Halt)
            | (P::Stopping { pid: None, .. }, E::Exited { .. } | E::SignalFailed)
            | (P::Unknown { .. }, E::Start | E::Halt | E::Spawned(_) | E::SpawnFailed | E::SignalFailed)
            | (_, E::GroupEmpty) => {}
        }
    }

    /// The only line that changes the visible state.
    fn go(&mut self, phase: Phase, out: &mut Vec<Action>) {
        let child = |core: &Self| core.pid().or(core.remains.map(|remains| remains.pgid));
        let (from, before) = (self.state(), child(self));
        self.phase = phase;
        let pid = child(self).or(before).unwrap_or(0);
        out.push(Action::Became { from, to: self.state(), pid, tries: self.backoff });
    }

    /// Begins an attempt; while remains live the fork waits for their end.
    fn attempt(&mut self, now: Mono, out: &mut Vec<Action>) {
        self.go(Phase::Starting { pid: None, since: now }, out);
        if self.remains.is_none() {
            out.push(Action::Spawn);
        }
    }

    /// An attempt failed: wait for the next, or give up.
    fn failed(&mut self, now: Mono, policy: &Policy, out: &mut Vec<Action>) {
        self.backoff = self.backoff.saturating_add(1);
        let wait = Duration::from_secs(u64::from(self.backoff));
        self.go(Phase::Backoff { retry_at: (!self.halted).then(|| now.after(wait)) }, out);
        if policy.retries.is_none_or(|retries| self.backoff > retries) {
            self.go(Phase::Fatal, out);
            self.backoff = 0;
        }
    }

    /// A child that had been RUNNING is dead, and nobody had asked for it.
    #[allow(clippy::too_many_arguments)]
    fn exited(
        &mut self,
        pid: Pid,
        since: Mono,
        exit: Exit,
        remains: bool,
        now: Mono,
        policy: &Policy,
        out: &mut Vec<Action>,
    ) {
        let expected = policy.exitcodes.contains(exit.status());
        let kind = if expected { Ending::Expected } else { Ending::Unexpected };
        let again = !self.halted
            && match policy.autorestart {
                AutoRestart::Always => true,
                AutoRestart::Unexpected => !expected,
                AutoRestart::Never => false,
            };
        let restart_at = again.then(|| now.max(since.after(RESTART_FLOOR)));
        out.push(Action::Ended { exit, kind });
        self.left_behind(remains.then_some(pid), now, policy, out);
        self.go(Phase::Exited { restart_at }, out);
        self.woke(now, policy, out);
    }

    fn stop(&mut self, pid: Pid, kill_at: Mono, out: &mut Vec<Action>) {
        self.go(Phase::Stopping { pid: Some(pid), kill: KillTimer::Due(kill_at) }, out);
        out.push(Action::StopSignal(pid));
    }

    /// Begins to sweep the group of a dead leader, if it has live members.
    fn left_behind(&mut self, pgid: Option<Pid>, now: Mono, policy: &Policy, out: &mut Vec<Action>) {
        if let Some(pgid) = pgid {
            let kill = KillTimer::Due(now.after(policy.stopwaitsecs));
            self.remains = Some(Remains { pgid, kill, look_at: now.after(LOOK_EVERY) });
            out.push(Action::Sweep { pgid, kill: false });
        }
    }

    fn kill_remains_by(&mut self, by: Mono) {
        if let Some(remains) = &mut self.remains {
            remains.kill.bring_forward(by);
        }
    }

    /// A shutdown shortens the time of remains too.
    fn hasten(&mut self, event: Event, now: Mono, policy: &Policy, out: &mut Vec<Action>) {
        match event {
            Event::ShutDown { kill_by: Some(by) } => self.kill_remains_by(by),
            Event::Hurry => {
                self.kill_remains_by(now);
                self.woke(now, policy, out);
            }
            _ => {}
        }
    }

    /// The last member of the swept group is gone.
    fn swept(&mut self, now: Mono, policy: &Policy, out: &mut Vec<Action>) {
        if let Phase::Stopping { pid: None, .. } = self.phase {
            self.go(Phase::Stopped, out);
        }
        self.remains = None;
        if let Phase::Starting { pid: None, .. } = self.phase {
            self.phase = Phase::Starting { pid: None, since: now };
            out.push(Action::Spawn);
        } else {
            self.woke(now, policy, out);
        }
    }

    /// Whatever is due is done.
    fn woke(&mut self, now: Mono, policy: &Policy, out: &mut Vec<Action>) {
        let again_at = policy.kill_again_at(now);
        match self.phase {
            Phase::Starting { pid: Some(pid), since } if now >= since.after(policy.startsecs) => {
                self.backoff = 0;
                self.go(Phase::Running { pid, since }, out);
            }
            Phase::Backoff { retry_at: Some(at) } | Phase::Exited { restart_at: Some(at) }
                if now >= at && self.remains.is_none() =>
            {
                self.attempt(now, out);
            }
            Phase::Stopping { pid: Some(pid), kill } if now >= kill.at() => {
                self.phase = Phase::Stopping { pid: Some(pid), kill: KillTimer::Sent(again_at) };
                out.push(Action::Kill(pid));
            }
            _ => {}
        }
        if let Some(remains) = &mut self.remains {
            if now >= remains.kill.at() {
                remains.kill = KillTimer::Sent(again_at);
                out.push(Action::Sweep { pgid: remains.pgid, kill: true });
            }
            if now >= remains.look_at {
                remains.look_at = now.after(LOOK_EVERY);
                out.push(Action::Look(remains.pgid));
            }
        }
    }
}

#[cfg(test)]
mod tests;
