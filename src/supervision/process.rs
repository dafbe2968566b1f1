//! The state machine of one process. Pure and total: every (phase, event) pair is decided here, and nowhere else.
//!
//! # States
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
//! A process that dies before `startsecs` are over goes to BACKOFF; the n-th failure in a row waits n seconds (see [`Backoff`]), and
//! failure number `startretries` + 1 is FATAL. So is an automatic restart beyond `restart_limit`. STOPPING gets KILL after `stopwaitsecs`, again and again until it is dead.
//! A restart (`Event::Restart`) is a stop that a start follows. A process that cannot be signalled while it is being stopped is UNKNOWN until the next stop, or until it ends.
//!
//! With `sweep`, a child that has ended may leave *remains*: live members of its process group. They get TERM, and KILL
//! after `stopwaitsecs`. Until the group is empty the process neither starts again nor counts as stopped.
//! Remains are orthogonal to the phase: a crashed program shows EXITED while its workers are being ended.
//!
//! The transitions are in [`Core::step`]; `process/tests.rs` runs them all with every policy.
#![forbid(unsafe_code)]

use crate::config::model::{AutoRestart, ExitCodes, ProcessConfig};
use crate::posix::Exit;
use crate::time::Mono;
use std::time::Duration;

/// A process id of the kernel; always greater than 1.
pub type Pid = i32;

pub use crate::protocol::State;

/// The part of a configuration that transitions depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Whether to start again after an exit.
    pub autorestart: AutoRestart,
    /// Expected exit codes.
    pub exitcodes: ExitCodes,
    /// How long a child must run to count as RUNNING.
    pub startsecs: Duration,
    /// Attempts after the first; `None`: the first failure is FATAL.
    pub retries: Option<u32>,
    /// How long to wait after a failed start.
    pub backoff: Backoff,
    /// The time from an exit to the automatic restart.
    pub restart_delay: Duration,
    /// Another automatic restart is within `restart_limit`.
    pub may_restart: bool,
    /// The time from the stop signal to KILL.
    pub stopwaitsecs: Duration,
}

/// The waits after failed starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure.
    pub delay: Duration,
    /// Each further wait in thousandths of the one before; `None`: the n-th wait is n times the first.
    pub factor_milli: Option<u32>,
    /// No wait is longer.
    pub limit: Duration,
    /// The random deviation of the next wait, in thousandths of it, from -1000 to 1000.
    pub deviation_milli: i32,
}

impl Backoff {
    /// The wait after failure number `failures`, counted from 1.
    fn wait(&self, failures: u32) -> Duration {
        let growth = match self.factor_milli {
            None => f64::from(failures),
            Some(factor) => (f64::from(factor) / 1000.0).powf(f64::from(failures.saturating_sub(1))),
        };
        let seconds = self.delay.as_secs_f64() * growth * (1.0 + f64::from(self.deviation_milli) / 1000.0);
        Duration::try_from_secs_f64(seconds).unwrap_or(self.limit).min(self.limit)
    }
}

impl Policy {
    /// When a KILL sent at `now` is repeated if the process still lives.
    fn kill_again_at(&self, now: Mono) -> Mono {
        now.after(self.stopwaitsecs.max(KILL_AGAIN))
    }
}

impl From<&ProcessConfig> for Policy {
    fn from(config: &ProcessConfig) -> Self {
        let millis = |value: u32| Duration::from_millis(value.into());
        let seconds = |value: i64| Duration::from_secs(u64::try_from(value).unwrap_or(0));
        Policy {
            autorestart: config.autorestart,
            exitcodes: config.exitcodes,
            startsecs: seconds(config.startsecs),
            retries: u32::try_from(config.startretries.min(i64::from(u32::MAX))).ok(),
            backoff: Backoff {
                delay: millis(config.lifecycle.backoff_delay_ms),
                factor_milli: config.lifecycle.backoff_factor_milli,
                limit: config.lifecycle.backoff_limit_ms.map_or(Duration::MAX, millis),
                deviation_milli: 0,
            },
            restart_delay: millis(config.lifecycle.restart_delay_ms),
            may_restart: true,
            stopwaitsecs: seconds(config.stopwaitsecs),
        }
    }
}

/// A state with its data. A phase of several steps names the current one; something else to wait for (a dependency, a
/// hook) is one more step.
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
    /// BACKOFF
    Backoff {
        /// When the next attempt is due; `None` in a shutdown.
        retry_at: Option<Mono>,
    },
    /// STOPPING
    Stopping {
        /// The current step.
        step: StopStep,
        /// What follows.
        then: AfterStop,
    },
    /// EXITED
    Exited {
        /// When the automatic restart is due, if there is one.
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
    /// The process group of the last child is being swept; the fork follows when it is empty.
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
    /// The child was sent its stop signal, or KILL.
    WaitingForExit {
        /// The child.
        pid: Pid,
        /// The KILL that ends it.
        kill: KillTimer,
    },
    /// The child has ended, and its process group is being swept.
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

/// Live members of the process group of a child that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remains {
    /// The group: the pid of the dead leader, which stays a zombie so that the kernel does not reuse the number.
    pub pgid: Pid,
    /// The KILL that ends it.
    pub kill: KillTimer,
    /// When to check the group again: rsup gets no SIGCHLD for members that are not its children.
    pub check_at: Mono,
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

/// How often the group of a dead leader is checked while it is swept.
const CHECK_EVERY: Duration = Duration::from_millis(50);

/// A program that ends within this time of its start is not restarted before that time is over
/// (Supervisor's loop has the same effect; supervisor-behaviour.md §4.7).
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
    /// The fork, or something before it, failed.
    SpawnFailed,
    /// The child has ended.
    Exited {
        /// How it ended.
        exit: Exit,
        /// Other members of its process group live (determined only with `sweep`).
        remains: bool,
    },
    /// An accepted stop request.
    Stop,
    /// Stop it if it lives, then start it. A stop that is under way, or that follows, takes precedence.
    Restart,
    /// Stop it as a part of the shutdown of the supervisor.
    StopForShutdown {
        /// With a stop budget: KILL no later than this.
        kill_by: Option<Mono>,
    },
    /// The supervisor begins to shut down: the process will not start any more.
    ShutdownBegan,
    /// Send KILL at once.
    KillNow,
    /// The stop signal or KILL could not be sent.
    SignalFailed,
    /// The swept process group is empty.
    GroupEmpty,
    /// KILL could not be sent to the swept process group.
    SweepRefused,
    /// Time has passed.
    TimePassed,
}

/// What follows from an event, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// The state changed.
    StateChanged {
        /// Before.
        from: State,
        /// After.
        to: State,
        /// The pid of the child, also of one that has just ended; 0 if there was none.
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
    /// Check whether the swept group is empty; answered by `GroupEmpty` if it is.
    CheckGroup(Pid),
    /// Stop sweeping this group, and reap its leader.
    ReleaseGroup(Pid),
    /// The child has ended: for the log, before the change of state.
    Ended {
        /// How it ended.
        exit: Exit,
        /// What that means under the policy.
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
    /// With another exit code, or by a signal.
    Unexpected,
}

/// The state of one process: all that the transitions depend on, beside its policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Core {
    /// Its state, with the data of that state.
    pub phase: Phase,
    /// Failed starts in a row.
    pub backoff: u32,
    /// The process group of the last child, if it is being swept.
    pub remains: Option<Remains>,
    /// The supervisor is shutting down: the process will not start any more.
    pub is_shutting_down: bool,
}

impl Default for Core {
    fn default() -> Self {
        Core { phase: Phase::Stopped, backoff: 0, remains: None, is_shutting_down: false }
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

    /// Whether nothing of it lives that could be signalled, and it will not start without a request.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.remains.is_none()
            && matches!(
                self.phase,
                Phase::Stopped | Phase::Fatal | Phase::Exited { restart_at: None } | Phase::Unknown { .. }
            )
    }

    /// When `Event::TimePassed` is due.
    #[must_use]
    pub fn deadline(&self, policy: &Policy) -> Option<Mono> {
        let phase = match self.phase {
            Phase::Starting(StartStep::Up { since, .. }) => Some(since.after(policy.startsecs)),
            // During a sweep, its end decides.
            Phase::Backoff { retry_at: at } | Phase::Exited { restart_at: at } if self.remains.is_none() => at,
            Phase::Stopping { step: StopStep::WaitingForExit { kill, .. }, .. } => Some(kill.at()),
            _ => None,
        };
        let remains = self.remains.map(|remains| remains.kill.at().min(remains.check_at));
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
        if matches!(event, E::ShutdownBegan | E::StopForShutdown { .. } | E::KillNow) {
            self.is_shutting_down = true;
            self.stay_stopped();
        }
        match (self.phase, event) {
            // ---- starting
            (P::Stopped | P::Exited { .. } | P::Fatal, E::Start | E::Restart) => {
                // Differs from Supervisor: a start by request counts its tries from the first (supervisor-behaviour.md §12, 8).
                self.backoff = 0;
                self.attempt(out);
            }
            (P::Starting(WaitingForFork), E::Spawned(pid)) => {
                self.phase = P::Starting(Up { pid, since: now });
                self.time_passed(now, policy, out);
            }
            (P::Starting(WaitingForFork), E::SpawnFailed) => self.attempt_failed(now, policy, out),
            // ---- the child's end
            (P::Starting(Up { pid, since }), E::Exited { exit, remains }) => {
                if now < since.after(policy.startsecs) {
                    out.push(Action::Ended { exit, kind: Ending::TooQuick });
                    self.begin_sweep(remains.then_some(pid), now, policy, out);
                    self.attempt_failed(now, policy, out);
                } else {
                    self.enter(P::Running { pid, since }, out);
                    self.backoff = 0;
                    self.ended_by_itself(pid, since, exit, remains, now, policy, out);
                }
            }
            (P::Running { pid, since }, E::Exited { exit, remains }) => {
                self.ended_by_itself(pid, since, exit, remains, now, policy, out);
            }
            (P::Stopping { step: WaitingForExit { pid, kill }, then }, E::Exited { exit, remains }) => {
                out.push(Action::Ended { exit, kind: Ending::Stopped });
                if remains {
                    self.phase = P::Stopping { step: StopStep::WaitingForSweep, then };
                    self.begin_sweep_in_stop(pid, kill, now, policy, out);
                } else {
                    self.stopped(then, out);
                }
            }
            // Differs from Supervisor: UNKNOWN ends when the process does (there an assertion fails).
            (P::Unknown { pid }, E::Exited { exit, remains }) => {
                out.push(Action::Ended { exit, kind: Ending::Stopped });
                self.begin_sweep(remains.then_some(pid), now, policy, out);
                self.enter(P::Stopped, out);
            }
            // ---- stopping
            (P::Starting(Up { pid, .. }) | P::Running { pid, .. } | P::Unknown { pid }, E::Stop) => {
                self.stop(pid, now.after(policy.stopwaitsecs), AfterStop::Stay, out);
            }
            (P::Starting(Up { pid, .. }) | P::Running { pid, .. } | P::Unknown { pid }, E::Restart) => {
                self.stop(pid, now.after(policy.stopwaitsecs), AfterStop::Start, out);
            }
            (P::Starting(Up { pid, .. }) | P::Running { pid, .. } | P::Unknown { pid }, E::StopForShutdown { kill_by }) => {
                let wait_over = now.after(policy.stopwaitsecs);
                let kill_at = kill_by.map_or(wait_over, |by| by.min(wait_over));
                self.stop(pid, kill_at, AfterStop::Stay, out);
            }
            (P::Starting(Up { pid, .. }) | P::Running { pid, .. } | P::Unknown { pid }, E::KillNow) => {
                let step = WaitingForExit { pid, kill: KillTimer::Due(now) };
                self.enter(P::Stopping { step, then: AfterStop::Stay }, out);
                self.time_passed(now, policy, out);
            }
            // The fork will not come.
            (P::Starting(WaitingForFork), E::Stop | E::ShutdownBegan | E::StopForShutdown { .. } | E::KillNow) => {
                self.wait_for_sweep(AfterStop::Stay, out);
                self.stopped(AfterStop::Stay, out);
            }
            (P::Starting(WaitingForSweep), E::Stop | E::ShutdownBegan | E::StopForShutdown { .. } | E::KillNow) => {
                self.wait_for_sweep(AfterStop::Stay, out);
                self.shorten(event, now, policy, out);
            }
            (P::Stopping { .. }, E::Stop) => self.stay_stopped(),
            (P::Stopping { .. }, E::StopForShutdown { .. } | E::KillNow) => self.shorten(event, now, policy, out),
            (P::Stopping { step: WaitingForExit { pid, .. }, .. }, E::SignalFailed) => {
                self.enter(P::Unknown { pid }, out);
            }
            (P::Backoff { .. }, E::Stop) if self.remains.is_some() => self.wait_for_sweep(AfterStop::Stay, out),
            (P::Backoff { .. }, E::Restart) if self.remains.is_some() => self.wait_for_sweep(AfterStop::Start, out),
            (P::Backoff { .. }, E::Stop) => self.stopped(AfterStop::Stay, out),
            (P::Backoff { .. }, E::Restart) => self.stopped(AfterStop::Start, out),
            (P::Backoff { .. }, E::StopForShutdown { .. } | E::KillNow) => {
                self.backoff = 0;
                self.enter(P::Fatal, out);
                self.shorten(event, now, policy, out);
            }
            // A stop while a restart is due cancels it.
            (P::Exited { .. }, E::Stop | E::ShutdownBegan) => self.phase = P::Exited { restart_at: None },
            (P::Exited { .. }, E::StopForShutdown { .. } | E::KillNow) => {
                self.phase = P::Exited { restart_at: None };
                self.shorten(event, now, policy, out);
            }
            (P::Backoff { .. }, E::ShutdownBegan) => self.phase = P::Backoff { retry_at: None },
            (P::Stopped | P::Fatal, E::StopForShutdown { .. } | E::KillNow) => self.shorten(event, now, policy, out),
            // ---- time and remains
            (_, E::TimePassed) => self.time_passed(now, policy, out),
            (_, E::GroupEmpty) if self.remains.is_some() => self.sweep_done(now, policy, out),
            (_, E::SweepRefused) => {
                if let Some(remains) = self.remains {
                    out.push(Action::ReleaseGroup(remains.pgid));
                    self.sweep_done(now, policy, out);
                }
            }
            // ---- nothing else has an effect: requests that `command` refuses, and events that come too late
            (P::Stopped | P::Fatal, E::Stop | E::ShutdownBegan)
            | (
                P::Stopped | P::Fatal | P::Exited { .. } | P::Backoff { .. },
                E::Spawned(_) | E::SpawnFailed | E::Exited { .. } | E::SignalFailed,
            )
            | (P::Backoff { .. } | P::Running { .. }, E::Start)
            | (P::Starting(_) | P::Stopping { .. }, E::Start)
            // A restart of a process that was not forked yet changes nothing.
            | (P::Starting(WaitingForSweep | WaitingForFork) | P::Stopping { .. }, E::Restart)
            | (P::Starting(WaitingForSweep | Up { .. }), E::Spawned(_) | E::SpawnFailed)
            | (P::Starting(_), E::SignalFailed)
            | (P::Starting(Up { .. }), E::ShutdownBegan)
            | (P::Running { .. }, E::SignalFailed | E::ShutdownBegan)
            | (P::Starting(WaitingForSweep | WaitingForFork), E::Exited { .. })
            | (P::Running { .. } | P::Stopping { .. }, E::Spawned(_) | E::SpawnFailed)
            | (P::Stopping { .. }, E::ShutdownBegan)
            | (P::Stopping { step: StopStep::WaitingForSweep, .. }, E::Exited { .. } | E::SignalFailed)
            | (P::Unknown { .. }, E::Start | E::ShutdownBegan | E::Spawned(_) | E::SpawnFailed | E::SignalFailed)
            | (_, E::GroupEmpty) => {}
        }
    }

    /// The only line that changes the visible state.
    fn enter(&mut self, phase: Phase, out: &mut Vec<Action>) {
        let child = |core: &Self| core.pid().or(core.remains.map(|remains| remains.pgid));
        let (from, before) = (self.state(), child(self));
        self.phase = phase;
        let pid = child(self).or(before).unwrap_or(0);
        out.push(Action::StateChanged { from, to: self.state(), pid, tries: self.backoff });
    }

    /// Begins an attempt to start; during a sweep the fork waits for its end.
    fn attempt(&mut self, out: &mut Vec<Action>) {
        if self.remains.is_some() {
            return self.enter(Phase::Starting(StartStep::WaitingForSweep), out);
        }
        self.enter(Phase::Starting(StartStep::WaitingForFork), out);
        out.push(Action::Spawn);
    }

    /// An attempt failed: wait for the next, or give up.
    fn attempt_failed(&mut self, now: Mono, policy: &Policy, out: &mut Vec<Action>) {
        self.backoff = self.backoff.saturating_add(1);
        let wait = policy.backoff.wait(self.backoff);
        self.enter(Phase::Backoff { retry_at: (!self.is_shutting_down).then(|| now.after(wait)) }, out);
        if policy.retries.is_none_or(|retries| self.backoff > retries) {
            self.enter(Phase::Fatal, out);
            self.backoff = 0;
        }
    }

    /// A child that was RUNNING has ended without a request.
    #[allow(clippy::too_many_arguments)]
    fn ended_by_itself(
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
        let again = !self.is_shutting_down
            && match policy.autorestart {
                AutoRestart::Always => true,
                AutoRestart::Unexpected => !expected,
                AutoRestart::Never => false,
            };
        let restart_at = again.then(|| now.after(policy.restart_delay).max(since.after(RESTART_FLOOR)));
        out.push(Action::Ended { exit, kind });
        self.begin_sweep(remains.then_some(pid), now, policy, out);
        self.enter(Phase::Exited { restart_at }, out);
        self.time_passed(now, policy, out);
    }

    fn stop(&mut self, pid: Pid, kill_at: Mono, then: AfterStop, out: &mut Vec<Action>) {
        let step = StopStep::WaitingForExit { pid, kill: KillTimer::Due(kill_at) };
        self.enter(Phase::Stopping { step, then }, out);
        out.push(Action::StopSignal(pid));
    }

    fn wait_for_sweep(&mut self, then: AfterStop, out: &mut Vec<Action>) {
        self.enter(Phase::Stopping { step: StopStep::WaitingForSweep, then }, out);
    }

    /// The stop is over.
    fn stopped(&mut self, then: AfterStop, out: &mut Vec<Action>) {
        self.enter(Phase::Stopped, out);
        if then == AfterStop::Start {
            self.backoff = 0;
            self.attempt(out);
        }
    }

    /// Makes a restart under way a stop.
    fn stay_stopped(&mut self) {
        if let Phase::Stopping { then, .. } = &mut self.phase {
            *then = AfterStop::Stay;
        }
    }

    /// Begins to sweep the process group of a child that has ended, if it has live members.
    fn begin_sweep(&mut self, pgid: Option<Pid>, now: Mono, policy: &Policy, out: &mut Vec<Action>) {
        if let Some(pgid) = pgid {
            let kill = KillTimer::Due(now.after(policy.stopwaitsecs));
            self.remains = Some(Remains { pgid, kill, check_at: now.after(CHECK_EVERY) });
            out.push(Action::Sweep { pgid, kill: false });
        }
    }

    /// Begins to sweep in a stop: the group has the same time until KILL as its leader.
    fn begin_sweep_in_stop(&mut self, pgid: Pid, kill: KillTimer, now: Mono, policy: &Policy, out: &mut Vec<Action>) {
        match kill {
            KillTimer::Due(at) => {
                self.begin_sweep(Some(pgid), now, policy, out);
                self.kill_by(at);
            }
            KillTimer::Sent(_) => {
                let kill = KillTimer::Sent(policy.kill_again_at(now));
                self.remains = Some(Remains { pgid, kill, check_at: now.after(CHECK_EVERY) });
                out.push(Action::Sweep { pgid, kill: true });
            }
        }
    }

    /// Moves every KILL that was not sent yet forward to `by`.
    fn kill_by(&mut self, by: Mono) {
        if let Phase::Stopping { step: StopStep::WaitingForExit { kill, .. }, .. } = &mut self.phase {
            kill.bring_forward(by);
        }
        if let Some(remains) = &mut self.remains {
            remains.kill.bring_forward(by);
        }
    }

    /// Shortens the time until KILL of what is being stopped or swept, as the shutdown demands.
    fn shorten(&mut self, event: Event, now: Mono, policy: &Policy, out: &mut Vec<Action>) {
        match event {
            Event::StopForShutdown { kill_by: Some(by) } => self.kill_by(by),
            Event::KillNow => {
                self.kill_by(now);
                self.time_passed(now, policy, out);
            }
            _ => {}
        }
    }

    /// The swept group is empty, or cannot be killed.
    fn sweep_done(&mut self, now: Mono, policy: &Policy, out: &mut Vec<Action>) {
        match self.phase {
            Phase::Stopping { step: StopStep::WaitingForSweep, then } => {
                // First the change of state: its event has the number of the group.
                self.enter(Phase::Stopped, out);
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
                self.time_passed(now, policy, out);
            }
        }
    }

    /// Does what is due at `now`.
    fn time_passed(&mut self, now: Mono, policy: &Policy, out: &mut Vec<Action>) {
        let again_at = policy.kill_again_at(now);
        match self.phase {
            Phase::Starting(StartStep::Up { pid, since }) if now >= since.after(policy.startsecs) => {
                self.backoff = 0;
                self.enter(Phase::Running { pid, since }, out);
            }
            Phase::Exited { restart_at: Some(at) } if now >= at && self.remains.is_none() && !policy.may_restart => {
                self.enter(Phase::Fatal, out);
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
            if now >= remains.check_at {
                remains.check_at = now.after(CHECK_EVERY);
                out.push(Action::CheckGroup(remains.pgid));
            }
        }
    }
}

#[cfg(test)]
mod tests;
