//! What the options of a process mean for its life: when it starts again, how long each wait is, which commands run beside it.
//! `supervision` decides with it.
#![forbid(unsafe_code)]

use super::model::{AutoRestart, ExitCodes, Lifecycle, ProcessConfig, StopSignal};
use std::time::Duration;

/// The part of a configuration that transitions depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy<'a> {
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
    /// The time from the first stop signal to KILL.
    pub stop_time: Duration,
    /// `stop_sequence`: the first signal and those that follow it; empty: only `stopsignal`.
    pub stop_sequence: &'a [StopSignal],
    /// The time from TERM to KILL for the group of a child that ended by itself.
    pub sweep_time: Duration,
    /// The process is to end: an expected exit code is its success.
    pub oneshot: bool,
    /// The child counts as started only when it is ready.
    pub waits_for_ready: bool,
    /// How long it may take until it is ready; `None`: for ever.
    pub ready_timeout: Option<Duration>,
    /// A start waits for other processes.
    pub has_dependencies: bool,
    /// Processes that a stop must wait for live.
    pub has_live_dependents: bool,
    /// Has the hooks; `None`: no hook may begin.
    pub hooks: Option<&'a Lifecycle>,
    /// How long a hook may take.
    pub hook_timeout: Duration,
}

/// A command that runs beside the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    /// `pre_start`: before the fork.
    PreStart,
    /// `pre_stop`: before the stop signal.
    PreStop,
    /// `stop_command`: instead of the stop signal.
    StopCommand,
    /// `post_stop`: after the end.
    PostStop,
}

impl Hook {
    /// All hooks.
    pub const ALL: [Self; 4] = [Self::PreStart, Self::PreStop, Self::StopCommand, Self::PostStop];

    /// The option that it belongs to.
    #[must_use]
    pub fn option(self) -> &'static str {
        match self {
            Hook::PreStart => "pre_start",
            Hook::PreStop => "pre_stop",
            Hook::StopCommand => "stop_command",
            Hook::PostStop => "post_stop",
        }
    }

    /// Its command.
    #[must_use]
    pub fn command(self, of: &Lifecycle) -> Option<&str> {
        let command = match self {
            Hook::PreStart => &of.pre_start,
            Hook::PreStop => &of.pre_stop,
            Hook::StopCommand => &of.stop_command,
            Hook::PostStop => &of.post_stop,
        };
        command.as_deref()
    }
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
    #[must_use]
    pub fn wait(&self, failures: u32) -> Duration {
        let growth = match self.factor_milli {
            None => f64::from(failures),
            Some(factor) => (f64::from(factor) / 1000.0).powf(f64::from(failures.saturating_sub(1))),
        };
        let seconds = self.delay.as_secs_f64() * growth * (1.0 + f64::from(self.deviation_milli) / 1000.0);
        Duration::try_from_secs_f64(seconds).unwrap_or(self.limit).min(self.limit)
    }
}

impl Policy<'_> {
    /// Whether this hook is to run.
    #[must_use]
    pub fn has(&self, hook: Hook) -> bool {
        self.hooks.is_some_and(|of| hook.command(of).is_some())
    }
}

impl<'a> From<&'a ProcessConfig> for Policy<'a> {
    fn from(config: &'a ProcessConfig) -> Self {
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
            stop_time: config.stop_time(),
            stop_sequence: &config.lifecycle.stop_sequence,
            sweep_time: millis(config.lifecycle.sweep_wait_ms).min(seconds(config.stopwaitsecs)),
            oneshot: config.lifecycle.oneshot,
            waits_for_ready: config.lifecycle.ready.is_some(),
            ready_timeout: Some(config.lifecycle.ready_timeout_ms).filter(|&limit| limit > 0).map(millis),
            has_dependencies: config.lifecycle.has_dependencies(),
            has_live_dependents: false,
            hooks: Some(&config.lifecycle),
            hook_timeout: millis(config.lifecycle.hook_timeout_ms),
        }
    }
}
