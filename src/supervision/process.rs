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
//! A restart (`Event::Restart`) is a stop that a start follows. A process that cannot be signalled while it is being stopped is UNKNOWN until the next stop, or until it ends.
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

pub use crate::protocol::State;

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

/// Where a process is, with the data that is valid only there. A phase of several steps names the one that it is in: what
/// a process may one day wait for besides (a dependency, a hook) is a step more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// STOPPED
    Stopped,
    /// STARTING
    Starting(StartStep),
    /// RUNNING
    Running {
        /// The child.
        pid: Pid,
        /// When it was forked.
        since: Mono,
    },
    /// BACKOFF; `None`: no more tries, the supervisor is stopping.
    Backoff {
        /// When the next try is due.
        retry_at: Option<Mono>,
    },
    /// STOPPING
    Stopping {
        /// How far it has come.
        step: StopStep,
        /// What comes after it.
        then: AfterStop,
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

/// The steps of STARTING, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StartStep {
    /// The group of the last child is being swept: the fork is asked for when it is empty.
    WaitingForSweep,
    /// The fork was asked for.
    WaitingForFork,
    /// The child lives, but not yet for `startsecs`.
    Up {
        /// The child.
        pid: Pid,
        /// When it was forked.
        since: Mono,
    },
}

/// The steps of STOPPING, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopStep {
    /// The child has its stop signal, or KILL.
    WaitingForExit {
        /// The child.
        pid: Pid,
        /// The KILL that ends it.
        kill: KillTimer,
    },
    /// The child is dead, and its group is being swept.
    WaitingForSweep,
}

/// What follows a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AfterStop {
    /// It stays stopped.
    Stay,
    /// It was a restart: the process starts.
    Start,
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
    /// Stop it if it lives, then start it. A stop that is under way, or comes later, outranks it.
    Restart,
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
            Phase::Starting(_) => State::Starting,
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
            Phase::Starting(StartStep::Up { pid, .. })
            | Phase::Running { pid, .. }
            | Phase::Stopping { step: StopStep::WaitingForExit { pid, .. }, .. }
            | Phase::Unknown { pid } => Some(pid),
            Phase::Starting(StartStep::WaitingForSweep | StartStep::WaitingForFork)
            | Phase::Stopping { step: StopStep::WaitingForSweep, .. }
            | Phase::Stopped
            | Phase::Backoff { .. }
            | Phase::Exited { .. }
            | Phase::Fatal => None,
        }
    }

    /// Whether it waits for its fork. A stop may have come since the fork was asked for.
    #[must_use]
    pub fn wants_fork(&self) -> bool {
        self.phase == Phase::Starting(StartStep::WaitingForFork)
    }

    /// Whether its stop is the first half of a restart.
    #[must_use]
    pub fn is_restarting(&self) -> bool {
        matches!(self.phase, Phase::Stopping { then: AfterStop::Start, .. })
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
            Phase::Starting(StartStep::Up { since, .. }) => Some(since.after(policy.startsecs)),
            // While remains live, their end decides.
            Phase::Backoff { retry_at: at } | Phase::Exited { restart_at: at } if self.remains.is_none() => at,
            Phase::Stopping { step: StopStep::WaitingForExit { kill, .. }, .. } => Some(kill.at()),
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
        use StartStep::{Up, WaitingForFork, WaitingForSweep};
        use StopStep::WaitingForExit;
        use {Event as E, Phase as P};
        if matches!(event, E::Halt | E::ShutDown { .. } | E::Hurry) {
            self.halted = true;
            self.stay_stopped();
        }
        match (self.phase, event) {
            // ---- starting
            (P::Stopped | P::Exited { .. } | P::Fatal, E::Start | E::Restart) => {
                // Differs from Supervisor: a start by request counts its tries from the first (census §12, 8).
                self.backoff = 0;
                self.attempt(out);
            }
            (P::Starting(WaitingForFork), E::Spawned(pid)) => {
                self.phase = P::Starting(Up { pid, since: now });
                self.woke(now, policy, out);
            }
            (P::Starting(WaitingForFork), E::SpawnFailed) => self.failed(now, policy, out),
            // ---- the child's end
            (P::Starting(Up { pid, since }), E::Exited { exit, remains }) => {
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
            (P::Stopping { step: WaitingForExit { pid, kill }, then }, E::Exited { exit, remains }) => {
                out.push(Action::Ended { exit, kind: Ending::Stopped });
                if remains {
                    self.phase = P::Stopping { step: StopStep::WaitingForSweep, then };
                    self.left_behind_in_stop(pid, kill, now, policy, out);
                } else {
                    self.stopped(then, out);
                }
            }
            // Differs from Supervisor: UNKNOWN ends when the process does (there an assertion fails).
            (P::Unknown { pid }, E::Exited { exit, remains }) => {
                out.push(Action::Ended { exit, kind: Ending::Stopped });
                self.left_behind(remains.then_some(pid), now, policy, out);
                self.go(P::Stopped, out);
            }
            // ---- stopping
            (P::Starting(Up { pid, .. }) | P::Running { pid, .. } | P::Unknown { pid }, E::Stop) => {
                self.stop(pid, now.after(policy.stopwaitsecs), AfterStop::Stay, out);
            }
            (P::Starting(Up { pid, .. }) | P::Running { pid, .. } | P::Unknown { pid }, E::Restart) => {
                self.stop(pid, now.after(policy.stopwaitsecs), AfterStop::Start, out);
            }
            (P::Starting(Up { pid, .. }) | P::Running { pid, .. } | P::Unknown { pid }, E::ShutDown { kill_by }) => {
                let wait_over = now.after(policy.stopwaitsecs);
                let kill_at = kill_by.map_or(wait_over, |by| by.min(wait_over));
                self.stop(pid, kill_at, AfterStop::Stay, out);
            }
            (P::Starting(Up { pid, .. }) | P::Running { pid, .. } | P::Unknown { pid }, E::Hurry) => {
                let step = WaitingForExit { pid, kill: KillTimer::Due(now) };
                self.go(P::Stopping { step, then: AfterStop::Stay }, out);
                self.woke(now, policy, out);
            }
            // The fork will not come.
            (P::Starting(WaitingForFork), E::Stop | E::Halt | E::ShutDown { .. } | E::Hurry) => {
                self.wait_for_sweep(AfterStop::Stay, out);
                self.stopped(AfterStop::Stay, out);
            }
            (P::Starting(WaitingForSweep), E::Stop | E::Halt | E::ShutDown { .. } | E::Hurry) => {
                self.wait_for_sweep(AfterStop::Stay, out);
                self.hasten(event, now, policy, out);
            }
            (P::Stopping { .. }, E::Stop) => self.stay_stopped(),
            (P::Stopping { .. }, E::ShutDown { .. } | E::Hurry) => self.hasten(event, now, policy, out),
            (P::Stopping { step: WaitingForExit { pid, .. }, .. }, E::SignalFailed) => {
                self.go(P::Unknown { pid }, out);
            }
            (P::Backoff { .. }, E::Stop) if self.remains.is_some() => self.wait_for_sweep(AfterStop::Stay, out),
            (P::Backoff { .. }, E::Restart) if self.remains.is_some() => self.wait_for_sweep(AfterStop::Start, out),
            (P::Backoff { .. }, E::Stop) => self.stopped(AfterStop::Stay, out),
            (P::Backoff { .. }, E::Restart) => self.stopped(AfterStop::Start, out),
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
            // ---- all else changes nothing: requests that the command layer refuses, and events that come too late
            (P::Stopped | P::Fatal, E::Stop | E::Halt)
            | (
                P::Stopped | P::Fatal | P::Exited { .. } | P::Backoff { .. },
                E::Spawned(_) | E::SpawnFailed | E::Exited { .. } | E::SignalFailed,
            )
            | (P::Backoff { .. } | P::Running { .. }, E::Start)
            | (P::Starting(_) | P::Stopping { .. }, E::Start)
            // A process that has still to be forked starts with all that a restart would give it.
            | (P::Starting(WaitingForSweep | WaitingForFork) | P::Stopping { .. }, E::Restart)
            | (P::Starting(WaitingForSweep | Up { .. }), E::Spawned(_) | E::SpawnFailed)
            | (P::Starting(_), E::SignalFailed)
            | (P::Starting(Up { .. }), E::Halt)
            | (P::Running { .. }, E::SignalFailed | E::Halt)
            | (P::Starting(WaitingForSweep | WaitingForFork), E::Exited { .. })
            | (P::Running { .. } | P::Stopping { .. }, E::Spawned(_) | E::SpawnFailed)
            | (P::Stopping { .. }, E::Halt)
            | (P::Stopping { step: StopStep::WaitingForSweep, .. }, E::Exited { .. } | E::SignalFailed)
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
    fn attempt(&mut self, out: &mut Vec<Action>) {
        if self.remains.is_some() {
            return self.go(Phase::Starting(StartStep::WaitingForSweep), out);
        }
        self.go(Phase::Starting(StartStep::WaitingForFork), out);
        out.push(Action::Spawn);
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

    fn stop(&mut self, pid: Pid, kill_at: Mono, then: AfterStop, out: &mut Vec<Action>) {
        let step = StopStep::WaitingForExit { pid, kill: KillTimer::Due(kill_at) };
        self.go(Phase::Stopping { step, then }, out);
        out.push(Action::StopSignal(pid));
    }

    fn wait_for_sweep(&mut self, then: AfterStop, out: &mut Vec<Action>) {
        self.go(Phase::Stopping { step: StopStep::WaitingForSweep, then }, out);
    }

    /// Nothing of it lives: the stop is over.
    fn stopped(&mut self, then: AfterStop, out: &mut Vec<Action>) {
        self.go(Phase::Stopped, out);
        if then == AfterStop::Start {
            self.backoff = 0;
            self.attempt(out);
        }
    }

    /// A restart under way becomes a stop.
    fn stay_stopped(&mut self) {
        if let Phase::Stopping { then, .. } = &mut self.phase {
            *then = AfterStop::Stay;
        }
    }

    /// Begins to sweep the group of a dead leader, if it has live members.
    fn left_behind(&mut self, pgid: Option<Pid>, now: Mono, policy: &Policy, out: &mut Vec<Action>) {
        if let Some(pgid) = pgid {
            let kill = KillTimer::Due(now.after(policy.stopwaitsecs));
            self.remains = Some(Remains { pgid, kill, look_at: now.after(LOOK_EVERY) });
            out.push(Action::Sweep { pgid, kill: false });
        }
    }

    /// The same in a stop: the group has no more time than its leader, whose KILL this is.
    fn left_behind_in_stop(&mut self, pgid: Pid, kill: KillTimer, now: Mono, policy: &Policy, out: &mut Vec<Action>) {
        match kill {
            KillTimer::Due(at) => {
                self.left_behind(Some(pgid), now, policy, out);
                self.kill_by(at);
            }
            KillTimer::Sent(_) => {
                let kill = KillTimer::Sent(policy.kill_again_at(now));
                self.remains = Some(Remains { pgid, kill, look_at: now.after(LOOK_EVERY) });
                out.push(Action::Sweep { pgid, kill: true });
            }
        }
    }

    /// Moves each KILL that was not sent yet forward: that of a child being stopped, and that of remains.
    fn kill_by(&mut self, by: Mono) {
        if let Phase::Stopping { step: StopStep::WaitingForExit { kill, .. }, .. } = &mut self.phase {
            kill.bring_forward(by);
        }
        if let Some(remains) = &mut self.remains {
            remains.kill.bring_forward(by);
        }
    }

    /// A shutdown shortens the time of what is being ended already.
    fn hasten(&mut self, event: Event, now: Mono, policy: &Policy, out: &mut Vec<Action>) {
        match event {
            Event::ShutDown { kill_by: Some(by) } => self.kill_by(by),
            Event::Hurry => {
                self.kill_by(now);
                self.woke(now, policy, out);
            }
            _ => {}
        }
    }

    /// The last member of the swept group is gone.
    fn swept(&mut self, now: Mono, policy: &Policy, out: &mut Vec<Action>) {
        match self.phase {
            Phase::Stopping { step: StopStep::WaitingForSweep, then } => {
                // The stop is over before the remains are forgotten: its event names their process group.
                self.go(Phase::Stopped, out);
                self.remains = None;
                if then == AfterStop::Start {
                    self.backoff = 0;
                    self.attempt(out);
                }
            }
            Phase::Starting(StartStep::WaitingForSweep) => {
                self.remains = None;
                self.phase = Phase::Starting(StartStep::WaitingForFork);
                out.push(Action::Spawn);
            }
            _ => {
                self.remains = None;
                self.woke(now, policy, out);
            }
        }
    }

    /// Whatever is due is done.
    fn woke(&mut self, now: Mono, policy: &Policy, out: &mut Vec<Action>) {
        let again_at = policy.kill_again_at(now);
        match self.phase {
            Phase::Starting(StartStep::Up { pid, since }) if now >= since.after(policy.startsecs) => {
                self.backoff = 0;
                self.go(Phase::Running { pid, since }, out);
            }
            Phase::Backoff { retry_at: Some(at) } | Phase::Exited { restart_at: Some(at) }
                if now >= at && self.remains.is_none() =>
            {
                self.attempt(out);
            }
            Phase::Stopping { step: StopStep::WaitingForExit { pid, kill }, then } if now >= kill.at() => {
                let step = StopStep::WaitingForExit { pid, kill: KillTimer::Sent(again_at) };
                self.phase = Phase::Stopping { step, then };
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
