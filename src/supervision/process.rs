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
//! A process that dies before `startsecs` are over goes to BACKOFF; the n-th failure in a row waits n seconds (see `Backoff` in `config::policy`), and
//! failure number `startretries` + 1 is FATAL. So is an automatic restart beyond `restart_limit`. STOPPING gets KILL after `stopwaitsecs`, again and again until it is dead.
//! A restart (`Event::Restart`) is a stop that a start follows. A process that cannot be signalled while it is being stopped is UNKNOWN until the next stop, or until it ends.
//!
//! With `sweep`, a child that has ended may leave *remains*: live members of its process group. They get TERM, and KILL
//! after `stopwaitsecs` (after a crash: `sweep_wait`). With `post_stop`, a hook runs after each end, and after the stop command. Until
//! all of them are over, the process neither starts again nor counts as stopped. This cleanup is orthogonal to the phase: a crashed program shows
//! EXITED while its workers are being ended.
//!
//! The steps of STARTING: wait for the cleanup, for dependencies, for the hook `pre_start`, for the fork, and then until the
//! child is ready and `startsecs` are over. A child that is not ready in time is ended, still in STARTING, and the attempt has
//! failed. The steps of STOPPING: wait for dependents to end, for the hook `pre_stop`, for the exit, for the cleanup.
//!
//! The transitions are in [`Core::step`]; `process/tests.rs` runs them all with every policy.
#![forbid(unsafe_code)]

use crate::config::model::AutoRestart;
use crate::posix::Exit;
use crate::time::Mono;
use std::time::Duration;

/// A process id of the kernel; always greater than 1.
pub type Pid = i32;

pub use crate::config::policy::{Hook, Policy};
pub use crate::protocol::State;

impl Policy<'_> {
    /// The KILL for what a child left in its group that ended by itself at `now`.
    fn sweep_by(&self, now: Mono) -> KillTimer {
        KillTimer::Due(now.after(self.sweep_time))
    }

    /// When a KILL sent at `now` is repeated if the process still lives.
    fn kill_again_at(&self, now: Mono) -> Mono {
        now.after(self.stop_time.max(KILL_AGAIN))
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
        /// Its watchdog has expired: the KILL that follows SIGABRT.
        abort: Option<KillTimer>,
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
    /// The process group of the last child is being swept, or its `post_stop` runs; the next step follows after that.
    WaitingForCleanup,
    /// Other processes must be RUNNING first.
    WaitingForDependencies,
    /// `pre_start` runs.
    WaitingForHook,
    /// The fork was asked for.
    WaitingForFork,
    /// The child lives, but is not ready yet, or `startsecs` are not over.
    Up {
        /// The child.
        pid: Pid,
        /// When it was forked.
        since: Mono,
        /// Whether it is ready.
        ready: Ready,
    },
    /// The child was not ready in time and is being ended: the attempt has failed.
    Failing {
        /// The child.
        pid: Pid,
        /// The KILL that ends it.
        kill: KillTimer,
    },
}

/// Whether a child is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ready {
    /// It is, or need not be.
    Yes,
    /// It is not, and must be at this time; `None`: at any time.
    By(Option<Mono>),
}

/// The steps of STOPPING, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopStep {
    /// Processes that depend on it must end first. Its stop begins after that, or at this time.
    WaitingForDependents {
        /// The child.
        pid: Pid,
        /// In a shutdown with a budget: when it is killed.
        kill_by: Option<Mono>,
    },
    /// `pre_stop` runs.
    WaitingForHook {
        /// The child.
        pid: Pid,
        /// The KILL that ends it.
        kill: KillTimer,
    },
    /// The child was sent its stop signal, or KILL.
    WaitingForExit {
        /// The child.
        pid: Pid,
        /// The KILL that ends it.
        kill: KillTimer,
        /// With `stop_sequence`: the next signal and its time.
        next: Option<(usize, Mono)>,
    },
    /// The child has ended, and its process group is being swept, or its `post_stop` runs.
    WaitingForCleanup {
        /// The pid that it had; 0 if that is not known.
        pid: Pid,
    },
}

/// What follows a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AfterStop {
    /// It stays stopped.
    Stay,
    /// It was a restart: the process starts.
    Start,
    /// It is FATAL: it may not restart once more.
    GiveUp,
}

impl AfterStop {
    fn of(event: Event) -> Self {
        match event {
            Event::Restart => AfterStop::Start,
            Event::GiveUp => AfterStop::GiveUp,
            _ => AfterStop::Stay,
        }
    }
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
    /// Every dependency is met.
    DependenciesMet,
    /// A dependency cannot be met.
    DependencyFailed,
    /// No dependent lives any more.
    DependentsGone,
    /// The child is ready.
    Ready,
    /// It will not be ready: it closed its descriptor.
    NotReady,
    /// It needs until this time to be ready.
    ExtendReady(Mono),
    /// The child did not report in time that it is alive.
    WatchdogExpired,
    /// A hook has ended; whether it succeeded.
    HookEnded(Hook, bool),
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
    /// It needs a restart, but one more is not allowed: stop it, then FATAL.
    GiveUp,
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
    /// Check the dependencies; answered, now or later, by `DependenciesMet` or `DependencyFailed`.
    CheckDependencies,
    /// Check whether dependents live; answered, now or later, by `DependentsGone`.
    CheckDependents,
    /// Run this hook; answered by `HookEnded`.
    RunHook(Hook),
    /// Kill the hook that runs, with its process group. It is not answered any more.
    KillHook(Hook),
    /// The same, since its time is over: it has failed.
    HookTimedOut(Hook),
    /// Fork and exec; answered by `Spawned` or `SpawnFailed`.
    Spawn,
    /// The time until the child had to be ready is over.
    ReadyTimeout,
    /// Send SIGABRT, for the watchdog.
    Abort(Pid),
    /// Send a stop signal: that of this place in `stop_sequence`, or `stopsignal`.
    StopSignal(Pid, usize),
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
    /// Before `startsecs` were over, or before it was ready.
    TooQuick,
    /// It was not ready in time, and was ended.
    NotReady,
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
    /// The hook that runs, and when it is killed.
    pub hook: Option<(Hook, Mono)>,
    /// The supervisor is shutting down: the process will not start any more.
    pub is_shutting_down: bool,
}

impl Default for Core {
    fn default() -> Self {
        Core { phase: Phase::Stopped, backoff: 0, remains: None, hook: None, is_shutting_down: false }
    }
}

/// What a step depends on, and what comes of it.
struct Turn<'a> {
    now: Mono,
    policy: &'a Policy<'a>,
    out: &'a mut Vec<Action>,
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
            Phase::Starting(StartStep::Up { pid, .. } | StartStep::Failing { pid, .. })
            | Phase::Running { pid, .. }
            | Phase::Stopping {
                step:
                    StopStep::WaitingForDependents { pid, .. }
                    | StopStep::WaitingForHook { pid, .. }
                    | StopStep::WaitingForExit { pid, .. },
                ..
            }
            | Phase::Unknown { pid } => Some(pid),
            Phase::Starting(_)
            | Phase::Stopping { step: StopStep::WaitingForCleanup { .. }, .. }
            | Phase::Stopped
            | Phase::Backoff { .. }
            | Phase::Exited { .. }
            | Phase::Fatal => None,
        }
    }

    /// Whether the last child has ended, but its process group, its stop command or its `post_stop` has not.
    #[must_use]
    pub fn is_cleaning_up(&self) -> bool {
        let runs_hook = match self.hook {
            Some((Hook::PostStop, _)) => true,
            Some((Hook::StopCommand, _)) => self.pid().is_none(),
            _ => false,
        };
        runs_hook || self.remains.is_some()
    }

    /// Whether it waits for its fork. A stop may have come since the fork was asked for.
    #[must_use]
    pub fn wants_fork(&self) -> bool {
        self.phase == Phase::Starting(StartStep::WaitingForFork)
    }

    /// Whether its start waits for other processes.
    #[must_use]
    pub fn waits_for_others(&self) -> bool {
        self.phase == Phase::Starting(StartStep::WaitingForDependencies)
    }

    /// Whether its child lives and is not ready yet.
    #[must_use]
    pub fn waits_for_ready(&self) -> bool {
        matches!(self.phase, Phase::Starting(StartStep::Up { ready: Ready::By(_), .. }))
    }

    /// Whether its stop signal was sent, or is being sent.
    #[must_use]
    pub fn is_signalled(&self) -> bool {
        self.hook.is_none() && matches!(self.phase, Phase::Stopping { step: StopStep::WaitingForExit { .. }, .. })
    }

    /// Whether its stop is the first half of a restart.
    #[must_use]
    pub fn is_restarting(&self) -> bool {
        matches!(self.phase, Phase::Stopping { then: AfterStop::Start, .. })
    }

    /// Whether nothing of it lives that could be signalled, and it will not start without a request.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        !self.is_cleaning_up()
            && matches!(
                self.phase,
                Phase::Stopped | Phase::Fatal | Phase::Exited { restart_at: None } | Phase::Unknown { .. }
            )
    }

    /// When `Event::TimePassed` is due.
    #[must_use]
    pub fn deadline(&self, policy: &Policy) -> Option<Mono> {
        let phase = match self.phase {
            Phase::Starting(StartStep::Up { ready: Ready::By(at), .. }) => at,
            Phase::Starting(StartStep::Up { since, .. }) if !policy.oneshot => Some(since.after(policy.startsecs)),
            // During a cleanup, its end decides.
            Phase::Backoff { retry_at: at } | Phase::Exited { restart_at: at } if !self.is_cleaning_up() => at,
            Phase::Starting(StartStep::Failing { kill, .. })
            | Phase::Running { abort: Some(kill), .. }
            | Phase::Stopping { step: StopStep::WaitingForHook { kill, .. }, .. } => Some(kill.at()),
            Phase::Stopping { step: StopStep::WaitingForExit { kill, next, .. }, .. } => {
                Some(next.map_or(kill.at(), |(_, at)| at.min(kill.at())))
            }
            Phase::Stopping { step: StopStep::WaitingForDependents { kill_by, .. }, .. } => kill_by,
            _ => None,
        };
        let remains = self.remains.map(|remains| remains.kill.at().min(remains.check_at));
        [phase, remains, self.hook.map(|(_, kill_at)| kill_at)].into_iter().flatten().min()
    }

    /// Decides what `event` does, at `now`, under `policy`; actions are appended to `out`.
    pub fn step(&mut self, event: Event, now: Mono, policy: &Policy, out: &mut Vec<Action>) {
        self.decide(event, &mut Turn { now, policy, out });
    }

    fn decide(&mut self, event: Event, turn: &mut Turn<'_>) {
        use StartStep::{Failing, Up, WaitingForCleanup, WaitingForDependencies, WaitingForFork, WaitingForHook};
        use StopStep::{WaitingForDependents, WaitingForExit};
        use {Event as E, Phase as P};
        if matches!(event, E::ShutdownBegan | E::StopForShutdown { .. } | E::KillNow) {
            self.is_shutting_down = true;
            self.stay_stopped();
        }
        if self.is_shutting_down && matches!(event, E::Start | E::Restart | E::GiveUp) {
            return;
        }
        match (self.phase, event) {
            // ---- starting
            (P::Stopped | P::Exited { .. } | P::Fatal, E::Start | E::Restart) => {
                // Differs from Supervisor: a start by request counts its tries from the first (supervisor-behaviour.md §12, 8).
                self.backoff = 0;
                self.attempt(turn);
            }
            (P::Starting(WaitingForDependencies), E::DependenciesMet) => self.before_fork(turn),
            (P::Starting(WaitingForDependencies), E::DependencyFailed) => {
                self.backoff = 0;
                self.enter(P::Fatal, turn);
            }
            (P::Starting(WaitingForHook), E::HookEnded(Hook::PreStart, is_ok)) => {
                self.hook = None;
                if is_ok { self.fork(turn) } else { self.attempt_failed(turn) }
            }
            (P::Starting(WaitingForFork), E::Spawned(pid)) => {
                let by = turn.policy.ready_timeout.map(|limit| turn.now.after(limit));
                let ready = if turn.policy.waits_for_ready { Ready::By(by) } else { Ready::Yes };
                self.phase = P::Starting(Up { pid, since: turn.now, ready });
                self.time_passed(turn);
            }
            (P::Starting(WaitingForFork), E::SpawnFailed) => self.attempt_failed(turn),
            (P::Starting(Up { pid, since, ready: Ready::By(_) }), E::Ready) => {
                self.phase = P::Starting(Up { pid, since, ready: Ready::Yes });
                self.time_passed(turn);
            }
            (P::Starting(Up { pid, ready: Ready::By(_), .. }), E::NotReady) => self.give_up(pid, turn),
            (P::Starting(Up { pid, since, ready: Ready::By(Some(by)) }), E::ExtendReady(until)) => {
                self.phase = P::Starting(Up { pid, since, ready: Ready::By(Some(by.max(until))) });
            }
            // ---- the child's end
            (P::Starting(Up { pid, since, ready }), E::Exited { exit, remains }) => {
                if turn.policy.oneshot && turn.policy.exitcodes.contains(exit.status()) {
                    self.backoff = 0;
                    turn.out.push(Action::Ended { exit, kind: Ending::Expected });
                    self.clean_up(remains.then_some(pid), turn.policy.sweep_by(turn.now), turn);
                    self.enter(P::Exited { restart_at: None }, turn);
                } else if turn.policy.oneshot || ready != Ready::Yes || turn.now < since.after(turn.policy.startsecs) {
                    turn.out.push(Action::Ended { exit, kind: Ending::TooQuick });
                    self.clean_up(remains.then_some(pid), turn.policy.sweep_by(turn.now), turn);
                    self.attempt_failed(turn);
                } else {
                    self.enter(P::Running { pid, since, abort: None }, turn);
                    self.backoff = 0;
                    self.ended_by_itself(pid, since, exit, remains, turn);
                }
            }
            (P::Starting(Failing { pid, .. }), E::Exited { exit, remains }) => {
                turn.out.push(Action::Ended { exit, kind: Ending::NotReady });
                self.clean_up(remains.then_some(pid), turn.policy.sweep_by(turn.now), turn);
                self.attempt_failed(turn);
            }
            (P::Running { pid, since, .. }, E::Exited { exit, remains }) => {
                self.ended_by_itself(pid, since, exit, remains, turn);
            }
            (P::Stopping { step: StopStep::WaitingForCleanup { .. }, .. }, E::Exited { .. }) => {}
            (P::Stopping { step, then }, E::Exited { exit, remains }) => {
                let pid = self.pid().unwrap_or(0);
                turn.out.push(Action::Ended { exit, kind: Ending::Stopped });
                // The stop command may have more to do.
                let has_command = matches!(self.hook, Some((Hook::StopCommand, _)));
                if !has_command {
                    self.kill_hook(turn);
                }
                if remains || has_command || turn.policy.has(Hook::PostStop) {
                    self.phase = P::Stopping { step: StopStep::WaitingForCleanup { pid }, then };
                    // The group has the same time until KILL as its leader.
                    let kill = match step {
                        StopStep::WaitingForHook { kill, .. } | WaitingForExit { kill, .. } => kill,
                        _ => KillTimer::Due(turn.now.after(turn.policy.stop_time)),
                    };
                    self.clean_up(remains.then_some(pid), kill, turn);
                } else {
                    self.stopped(then, turn);
                }
            }
            // Differs from Supervisor: UNKNOWN ends when the process does (there an assertion fails).
            (P::Unknown { pid }, E::Exited { exit, remains }) => {
                turn.out.push(Action::Ended { exit, kind: Ending::Stopped });
                self.clean_up(remains.then_some(pid), turn.policy.sweep_by(turn.now), turn);
                self.enter(P::Stopped, turn);
            }
            // ---- stopping
            (
                P::Starting(Up { pid, .. }) | P::Running { pid, .. } | P::Unknown { pid },
                E::Stop | E::Restart | E::GiveUp,
            ) => self.stop(pid, None, AfterStop::of(event), turn),
            (
                P::Starting(Up { pid, .. }) | P::Running { pid, .. } | P::Unknown { pid },
                E::StopForShutdown { kill_by },
            ) => {
                self.stop(pid, kill_by, AfterStop::Stay, turn);
            }
            (
                P::Starting(Up { pid, .. } | Failing { pid, .. }) | P::Running { pid, .. } | P::Unknown { pid },
                E::KillNow,
            ) => {
                let step = WaitingForExit { pid, kill: KillTimer::Due(turn.now), next: None };
                self.enter(P::Stopping { step, then: AfterStop::Stay }, turn);
                self.time_passed(turn);
            }
            // Its stop is under way already.
            (P::Starting(Failing { pid, kill }), E::Stop | E::Restart | E::StopForShutdown { .. }) => {
                let step = WaitingForExit { pid, kill, next: None };
                self.enter(P::Stopping { step, then: AfterStop::of(event) }, turn);
                self.shorten(event, turn);
            }
            // The fork will not come.
            (
                P::Starting(WaitingForFork | WaitingForDependencies | WaitingForHook),
                E::Stop | E::ShutdownBegan | E::StopForShutdown { .. } | E::KillNow,
            ) => {
                self.kill_hook(turn);
                self.wait_for_cleanup(AfterStop::Stay, turn);
                self.stopped(AfterStop::Stay, turn);
            }
            (P::Starting(WaitingForCleanup), E::Stop | E::ShutdownBegan | E::StopForShutdown { .. } | E::KillNow) => {
                self.wait_for_cleanup(AfterStop::Stay, turn);
                self.shorten(event, turn);
            }
            (P::Stopping { .. }, E::Stop) => self.stay_stopped(),
            (P::Stopping { .. }, E::StopForShutdown { .. } | E::KillNow) => self.shorten(event, turn),
            (P::Stopping { step: WaitingForDependents { pid, kill_by }, then }, E::DependentsGone) => {
                self.begin_stop(pid, kill_by, then, turn);
            }
            (P::Stopping { step: StopStep::WaitingForHook { pid, kill }, then }, E::HookEnded(Hook::PreStop, _)) => {
                self.hook = None;
                self.send_stop(pid, kill, then, turn);
            }
            (P::Stopping { step: WaitingForExit { pid, kill, .. }, then }, E::HookEnded(Hook::StopCommand, is_ok)) => {
                self.hook = None;
                if !is_ok {
                    self.send_stop_signal(pid, kill, then, turn);
                }
            }
            (P::Stopping { step: StopStep::WaitingForCleanup { .. }, .. }, E::HookEnded(Hook::StopCommand, _)) => {
                self.hook = None;
                self.run_post_stop(turn);
                self.cleaned_up(turn);
            }
            (P::Stopping { step: WaitingForExit { pid, .. }, .. }, E::SignalFailed) => {
                self.kill_hook(turn);
                self.enter(P::Unknown { pid }, turn);
            }
            (P::Backoff { .. }, E::Stop) if self.is_cleaning_up() => self.wait_for_cleanup(AfterStop::Stay, turn),
            (P::Backoff { .. }, E::Restart) if self.is_cleaning_up() => self.wait_for_cleanup(AfterStop::Start, turn),
            (P::Backoff { .. }, E::Stop) => self.stopped(AfterStop::Stay, turn),
            (P::Backoff { .. }, E::Restart) => self.stopped(AfterStop::Start, turn),
            (P::Backoff { .. }, E::StopForShutdown { .. } | E::KillNow) => {
                self.backoff = 0;
                self.enter(P::Fatal, turn);
                self.shorten(event, turn);
            }
            // A stop while a restart is due cancels it.
            (P::Exited { .. }, E::Stop | E::ShutdownBegan | E::StopForShutdown { .. } | E::KillNow) => {
                self.phase = P::Exited { restart_at: None };
                self.shorten(event, turn);
            }
            (P::Backoff { .. }, E::ShutdownBegan) => self.phase = P::Backoff { retry_at: None },
            (P::Stopped | P::Fatal, E::StopForShutdown { .. } | E::KillNow) => self.shorten(event, turn),
            // ---- health
            (P::Running { pid, since, abort: None }, E::WatchdogExpired) => {
                self.phase =
                    P::Running { pid, since, abort: Some(KillTimer::Due(turn.now.after(turn.policy.stop_time))) };
                turn.out.push(Action::Abort(pid));
            }
            // ---- time and cleanup
            (_, E::TimePassed) => self.time_passed(turn),
            (_, E::GroupEmpty) if self.remains.is_some() => {
                self.remains = None;
                self.cleaned_up(turn);
            }
            (_, E::SweepRefused) => {
                if let Some(remains) = self.remains.take() {
                    turn.out.push(Action::ReleaseGroup(remains.pgid));
                    self.cleaned_up(turn);
                }
            }
            (_, E::HookEnded(Hook::PostStop, _)) if matches!(self.hook, Some((Hook::PostStop, _))) => {
                self.hook = None;
                self.cleaned_up(turn);
            }
            // ---- nothing else has an effect: requests that `command` refuses, and events that come too late
            (
                _,
                E::Start
                | E::Restart
                | E::Stop
                | E::ShutdownBegan
                | E::Spawned(_)
                | E::SpawnFailed
                | E::Exited { .. }
                | E::SignalFailed
                | E::GroupEmpty
                | E::HookEnded(..)
                | E::DependenciesMet
                | E::DependencyFailed
                | E::DependentsGone
                | E::Ready
                | E::NotReady
                | E::ExtendReady(_)
                | E::GiveUp
                | E::WatchdogExpired,
            ) => {}
        }
    }

    /// The only line that changes the visible state.
    fn enter(&mut self, phase: Phase, turn: &mut Turn<'_>) {
        let child = |core: &Self| match core.phase {
            Phase::Stopping { step: StopStep::WaitingForCleanup { pid }, .. } => Some(pid),
            _ => core.pid().or(core.remains.map(|remains| remains.pgid)),
        };
        let (from, before) = (self.state(), child(self));
        self.phase = phase;
        let pid = child(self).or(before).unwrap_or(0);
        turn.out.push(Action::StateChanged { from, to: self.state(), pid, tries: self.backoff });
    }

    /// Begins an attempt to start.
    fn attempt(&mut self, turn: &mut Turn<'_>) {
        self.enter(Phase::Starting(StartStep::WaitingForCleanup), turn);
        if !self.is_cleaning_up() {
            self.after_cleanup(turn);
        }
    }

    /// Waits for the dependencies, if there are any.
    fn after_cleanup(&mut self, turn: &mut Turn<'_>) {
        if turn.policy.has_dependencies {
            self.phase = Phase::Starting(StartStep::WaitingForDependencies);
            return turn.out.push(Action::CheckDependencies);
        }
        self.before_fork(turn);
    }

    /// Runs `pre_start`, if there is one.
    fn before_fork(&mut self, turn: &mut Turn<'_>) {
        if turn.policy.has(Hook::PreStart) {
            self.phase = Phase::Starting(StartStep::WaitingForHook);
            return self.run_hook(Hook::PreStart, turn.now.after(turn.policy.hook_timeout), turn);
        }
        self.fork(turn);
    }

    fn fork(&mut self, turn: &mut Turn<'_>) {
        self.phase = Phase::Starting(StartStep::WaitingForFork);
        turn.out.push(Action::Spawn);
    }

    /// An attempt failed: wait for the next, or give up.
    fn attempt_failed(&mut self, turn: &mut Turn<'_>) {
        self.backoff = self.backoff.saturating_add(1);
        let wait = turn.policy.backoff.wait(self.backoff);
        self.enter(Phase::Backoff { retry_at: (!self.is_shutting_down).then(|| turn.now.after(wait)) }, turn);
        if turn.policy.retries.is_none_or(|retries| self.backoff > retries) {
            self.enter(Phase::Fatal, turn);
            self.backoff = 0;
        }
    }

    /// The child is not ready in time: ends it. The attempt fails when it has ended.
    fn give_up(&mut self, pid: Pid, turn: &mut Turn<'_>) {
        let kill = KillTimer::Due(turn.now.after(turn.policy.stop_time));
        self.phase = Phase::Starting(StartStep::Failing { pid, kill });
        turn.out.push(Action::StopSignal(pid, 0));
        self.time_passed(turn);
    }

    /// A child that was RUNNING has ended without a request.
    fn ended_by_itself(&mut self, pid: Pid, since: Mono, exit: Exit, remains: bool, turn: &mut Turn<'_>) {
        let expected = turn.policy.exitcodes.contains(exit.status());
        let kind = if expected { Ending::Expected } else { Ending::Unexpected };
        let again = !self.is_shutting_down
            && match turn.policy.autorestart {
                AutoRestart::Always => true,
                AutoRestart::Unexpected => !expected,
                AutoRestart::Never => false,
            };
        let restart_at = again.then(|| turn.now.after(turn.policy.restart_delay).max(since.after(RESTART_FLOOR)));
        turn.out.push(Action::Ended { exit, kind });
        self.clean_up(remains.then_some(pid), turn.policy.sweep_by(turn.now), turn);
        self.enter(Phase::Exited { restart_at }, turn);
        self.time_passed(turn);
    }

    /// Begins a stop: after the dependents, if there are any.
    fn stop(&mut self, pid: Pid, kill_by: Option<Mono>, then: AfterStop, turn: &mut Turn<'_>) {
        self.enter(Phase::Stopping { step: StopStep::WaitingForDependents { pid, kill_by }, then }, turn);
        if turn.policy.has_live_dependents {
            return turn.out.push(Action::CheckDependents);
        }
        self.begin_stop(pid, kill_by, then, turn);
    }

    /// Runs `pre_stop`, if there is one, within the time for the stop.
    fn begin_stop(&mut self, pid: Pid, kill_by: Option<Mono>, then: AfterStop, turn: &mut Turn<'_>) {
        let wait_over = turn.now.after(turn.policy.stop_time);
        let kill_at = kill_by.map_or(wait_over, |by| by.min(wait_over));
        let kill = KillTimer::Due(kill_at);
        if turn.policy.has(Hook::PreStop) {
            self.phase = Phase::Stopping { step: StopStep::WaitingForHook { pid, kill }, then };
            return self.run_hook(Hook::PreStop, turn.now.after(turn.policy.hook_timeout).min(kill_at), turn);
        }
        self.send_stop(pid, kill, then, turn);
    }

    /// Runs the stop command, or sends the stop signal.
    fn send_stop(&mut self, pid: Pid, kill: KillTimer, then: AfterStop, turn: &mut Turn<'_>) {
        if turn.policy.has(Hook::StopCommand) {
            self.phase = Phase::Stopping { step: StopStep::WaitingForExit { pid, kill, next: None }, then };
            return self.run_hook(Hook::StopCommand, turn.now.after(turn.policy.hook_timeout).min(kill.at()), turn);
        }
        self.send_stop_signal(pid, kill, then, turn);
    }

    fn send_stop_signal(&mut self, pid: Pid, kill: KillTimer, then: AfterStop, turn: &mut Turn<'_>) {
        let next = turn.policy.stop_sequence.first().map(|first| (1, turn.now.after_ms(first.wait_ms.into())));
        self.phase = Phase::Stopping { step: StopStep::WaitingForExit { pid, kill, next }, then };
        turn.out.push(Action::StopSignal(pid, 0));
    }

    fn wait_for_cleanup(&mut self, then: AfterStop, turn: &mut Turn<'_>) {
        let pid = self.remains.map_or(0, |remains| remains.pgid);
        self.enter(Phase::Stopping { step: StopStep::WaitingForCleanup { pid }, then }, turn);
    }

    /// The stop is over.
    fn stopped(&mut self, then: AfterStop, turn: &mut Turn<'_>) {
        self.enter(Phase::Stopped, turn);
        match then {
            AfterStop::Stay => {}
            AfterStop::Start => {
                self.backoff = 0;
                self.attempt(turn);
            }
            AfterStop::GiveUp => self.enter(Phase::Fatal, turn),
        }
    }

    /// Makes a restart under way a stop.
    fn stay_stopped(&mut self) {
        if let Phase::Stopping { then, .. } = &mut self.phase {
            *then = AfterStop::Stay;
        }
    }

    fn run_hook(&mut self, hook: Hook, kill_at: Mono, turn: &mut Turn<'_>) {
        self.hook = Some((hook, kill_at));
        turn.out.push(Action::RunHook(hook));
    }

    fn kill_hook(&mut self, turn: &mut Turn<'_>) {
        if let Some((hook, _)) = self.hook.take() {
            turn.out.push(Action::KillHook(hook));
        }
    }

    /// A child has ended: begins to sweep its process group, if it has live members, and runs `post_stop`.
    fn clean_up(&mut self, pgid: Option<Pid>, kill: KillTimer, turn: &mut Turn<'_>) {
        if let Some(pgid) = pgid {
            let (kill, is_kill) = match kill {
                KillTimer::Due(_) => (kill, false),
                KillTimer::Sent(_) => (KillTimer::Sent(turn.policy.kill_again_at(turn.now)), true),
            };
            self.remains = Some(Remains { pgid, kill, check_at: turn.now.after(CHECK_EVERY) });
            turn.out.push(Action::Sweep { pgid, kill: is_kill });
        }
        self.run_post_stop(turn);
    }

    /// Runs `post_stop`, if there is one, after the stop command.
    fn run_post_stop(&mut self, turn: &mut Turn<'_>) {
        if turn.policy.has(Hook::PostStop) && self.hook.is_none() {
            self.run_hook(Hook::PostStop, turn.now.after(turn.policy.hook_timeout), turn);
        }
    }

    /// Moves every KILL that was not sent yet forward to `by`.
    fn kill_by(&mut self, by: Mono) {
        match &mut self.phase {
            Phase::Stopping {
                step: StopStep::WaitingForExit { kill, .. } | StopStep::WaitingForHook { kill, .. },
                ..
            } => {
                kill.bring_forward(by);
            }
            Phase::Stopping { step: StopStep::WaitingForDependents { kill_by, .. }, .. } => {
                *kill_by = Some(kill_by.map_or(by, |at| at.min(by)));
            }
            _ => {}
        }
        if let Some(remains) = &mut self.remains {
            remains.kill.bring_forward(by);
        }
        if let Some((_, kill_at)) = &mut self.hook {
            *kill_at = by.min(*kill_at);
        }
    }

    /// Shortens the time until KILL of what is being stopped or swept, as the shutdown demands.
    fn shorten(&mut self, event: Event, turn: &mut Turn<'_>) {
        match event {
            Event::StopForShutdown { kill_by: Some(by) } => self.kill_by(by),
            Event::KillNow => {
                self.kill_by(turn.now);
                self.time_passed(turn);
            }
            _ => {}
        }
    }

    /// One part of the cleanup is over.
    fn cleaned_up(&mut self, turn: &mut Turn<'_>) {
        match self.phase {
            _ if self.is_cleaning_up() => {}
            Phase::Stopping { step: StopStep::WaitingForCleanup { .. }, then } => self.stopped(then, turn),
            Phase::Starting(StartStep::WaitingForCleanup) => self.after_cleanup(turn),
            _ => self.time_passed(turn),
        }
    }

    /// Does what is due at `now`.
    fn time_passed(&mut self, turn: &mut Turn<'_>) {
        let again_at = turn.policy.kill_again_at(turn.now);
        self.hook_time_passed(turn);
        match self.phase {
            Phase::Starting(StartStep::Up { pid, ready: Ready::By(Some(by)), .. }) if turn.now >= by => {
                turn.out.push(Action::ReadyTimeout);
                self.give_up(pid, turn);
            }
            Phase::Starting(StartStep::Up { pid, since, ready: Ready::Yes })
                if turn.now >= since.after(turn.policy.startsecs) && !turn.policy.oneshot =>
            {
                self.backoff = 0;
                self.enter(Phase::Running { pid, since, abort: None }, turn);
            }
            Phase::Starting(StartStep::Failing { pid, kill }) if turn.now >= kill.at() => {
                self.phase = Phase::Starting(StartStep::Failing { pid, kill: KillTimer::Sent(again_at) });
                turn.out.push(Action::Kill(pid));
            }
            Phase::Running { pid, since, abort: Some(kill) } if turn.now >= kill.at() => {
                self.phase = Phase::Running { pid, since, abort: Some(KillTimer::Sent(again_at)) };
                turn.out.push(Action::Kill(pid));
            }
            Phase::Exited { restart_at: Some(at) }
                if turn.now >= at && !self.is_cleaning_up() && !turn.policy.may_restart =>
            {
                self.enter(Phase::Fatal, turn);
            }
            Phase::Backoff { retry_at: Some(at) } | Phase::Exited { restart_at: Some(at) }
                if turn.now >= at && !self.is_cleaning_up() =>
            {
                self.attempt(turn);
            }
            Phase::Stopping { step: StopStep::WaitingForDependents { pid, kill_by: Some(by) }, then }
                if turn.now >= by =>
            {
                self.begin_stop(pid, Some(by), then, turn);
                self.time_passed(turn);
            }
            Phase::Stopping { step: StopStep::WaitingForExit { pid, kill, .. }, then } if turn.now >= kill.at() => {
                self.kill_hook(turn);
                let step = StopStep::WaitingForExit { pid, kill: KillTimer::Sent(again_at), next: None };
                self.phase = Phase::Stopping { step, then };
                turn.out.push(Action::Kill(pid));
            }
            Phase::Stopping { step: StopStep::WaitingForExit { pid, kill, next: Some((place, at)) }, then }
                if turn.now >= at =>
            {
                let wait = turn.policy.stop_sequence.get(place).map(|signal| signal.wait_ms.into());
                let next = wait.map(|wait| (place.saturating_add(1), at.after_ms(wait)));
                self.phase = Phase::Stopping { step: StopStep::WaitingForExit { pid, kill, next }, then };
                if wait.is_some() {
                    turn.out.push(Action::StopSignal(pid, place));
                }
            }
            _ => {}
        }
        self.sweep_time_passed(again_at, turn);
    }

    /// Sends KILL to the swept group if it is due, and checks the group.
    fn sweep_time_passed(&mut self, again_at: Mono, turn: &mut Turn<'_>) {
        let Some(remains) = &mut self.remains else { return };
        if turn.now >= remains.kill.at() {
            remains.kill = KillTimer::Sent(again_at);
            turn.out.push(Action::Sweep { pgid: remains.pgid, kill: true });
        }
        if turn.now >= remains.check_at {
            remains.check_at = turn.now.after(CHECK_EVERY);
            turn.out.push(Action::CheckGroup(remains.pgid));
        }
    }

    /// Ends a hook whose time is over. It has failed.
    fn hook_time_passed(&mut self, turn: &mut Turn<'_>) {
        let Some((hook, _)) = self.hook.filter(|(_, kill_at)| turn.now >= *kill_at) else { return };
        turn.out.push(Action::HookTimedOut(hook));
        self.decide(Event::HookEnded(hook, false), turn);
    }
}

#[cfg(test)]
mod tests;
