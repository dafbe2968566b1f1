//! The log lines about processes, in the words that users of Supervisor grep for (supervisor-behaviour.md §6.2, §4.3).
#![forbid(unsafe_code)]

use super::process::{Ending, Hook, Pid, State};
use crate::config::model::{HealthAction, LogLevel, ProcessConfig, RestartLimit};
use crate::posix::{Exit, SignalName};

pub(super) fn ended(config: &ProcessConfig, exit: Exit, kind: Ending) -> (LogLevel, String) {
    let name = &config.name;
    match kind {
        Ending::Stopped => {
            let known = config.exitcodes.contains(exit.status());
            (if known { LogLevel::Info } else { LogLevel::Warn }, format!("stopped: {name} ({exit})"))
        }
        Ending::Expected => (LogLevel::Info, format!("exited: {name} ({exit}; expected)")),
        Ending::Unexpected | Ending::TooQuick | Ending::NotReady => {
            (LogLevel::Warn, format!("exited: {name} ({exit}; not expected)"))
        }
    }
}

/// `obstacle`: why the child did not come to execute its program, or was not ready, which says more than its exit.
pub(super) fn spawnerr(config: &ProcessConfig, exit: Exit, kind: Ending, obstacle: Option<&str>) -> String {
    match (kind, obstacle) {
        (Ending::TooQuick | Ending::Unexpected | Ending::NotReady, Some(why)) => why.to_owned(),
        (Ending::TooQuick, None) if config.lifecycle.oneshot && exit.status() < 0 => exit.to_string(),
        (Ending::TooQuick, None) if config.lifecycle.oneshot => format!("Bad exit code {}", exit.status()),
        (Ending::TooQuick, None) if config.lifecycle.ready.is_some() => format!("ended before it was ready ({exit})"),
        (Ending::TooQuick, None) => "Exited too quickly (process log may have details)".into(),
        (Ending::Unexpected, None) => format!("Bad exit code {}", exit.status()),
        (Ending::Stopped | Ending::Expected | Ending::NotReady, _) => String::new(),
    }
}

/// `last`: why it was not ready when it was last checked.
pub(super) fn not_ready(config: &ProcessConfig, last: Option<&str>) -> String {
    let seconds = f64::from(config.lifecycle.ready_timeout_ms) / 1000.0;
    let wanted = config.lifecycle.ready.as_ref().map_or_else(String::new, ToString::to_string);
    let last = last.map_or_else(String::new, |why| format!(": {why}"));
    format!("not ready within {seconds} s ({wanted}{last})")
}

/// `has_budget`: rsup shuts down within its budget.
pub(super) fn hook_timed_out(config: &ProcessConfig, hook: Hook, has_budget: bool) -> String {
    let is_in_stop = matches!(hook, Hook::PreStop | Hook::StopCommand);
    let (own, stop) = (f64::from(config.lifecycle.hook_timeout_ms) / 1000.0, config.stop_time().as_secs_f64());
    let (limit, option) = match is_in_stop && stop < own {
        _ if has_budget => ("in time".into(), "stop_budget"),
        true => (format!("within {stop} s"), "stopwaitsecs"),
        false => (format!("within {own} s"), "hook_timeout"),
    };
    format!("{} did not end {limit} and was killed ({option})", hook.option())
}

pub(super) fn watchdog(config: &ProcessConfig, pid: Pid, why: &str) -> String {
    format!("{} (pid {pid}) {why} (watchdog): sending SIGABRT", config.name)
}

/// What follows from a failed health check.
pub(super) fn consequence(action: HealthAction) -> &'static str {
    match action {
        HealthAction::None => "",
        HealthAction::Stop => ": stopping it",
        HealthAction::Restart => ": restarting it",
    }
}

/// Why a program is FATAL whose last start did not fail.
pub(super) fn limit(limit: RestartLimit) -> String {
    format!("more than {} restarts in {} s (restart_limit)", limit.restarts, limit.within().as_secs_f64())
}

/// `why`: the reason of FATAL, if it is not `startretries`.
pub(super) fn became(config: &ProcessConfig, state: State, why: Option<&str>) -> Option<String> {
    let name = &config.name;
    match state {
        State::Running if let Some(ready) = &config.lifecycle.ready => {
            Some(format!("success: {name} entered RUNNING state, it is ready ({ready})"))
        }
        State::Running => Some(format!(
            "success: {name} entered RUNNING state, process has stayed up for > than {} seconds (startsecs)",
            config.startsecs
        )),
        State::Fatal => {
            let why = why.unwrap_or("too many start retries too quickly");
            Some(format!("gave up: {name} entered FATAL state, {why}"))
        }
        _ => None,
    }
}

pub(super) fn killing(config: &ProcessConfig, pid: Pid, signal: i32, group: bool) -> String {
    let target = if group { "process group " } else { "" };
    format!("killing {} (pid {pid}) {target}with signal {}", config.name, SignalName(signal))
}

/// kill(2) failed with ESRCH.
pub(super) fn gone(config: &ProcessConfig, pid: Pid) -> String {
    format!("unable to signal {} (pid {pid}), it probably just exited on its own: No such process", config.name)
}

pub(super) fn sending(config: &ProcessConfig, pid: Pid, signal: i32) -> String {
    format!("sending {} (pid {pid}) sig {}", config.name, SignalName(signal))
}

pub(super) fn sweeping(config: &ProcessConfig, pgid: Pid, kill: bool, why: Option<&String>) -> (LogLevel, String) {
    let left = format!("what {} left in process group {pgid}", config.name);
    match (why, kill) {
        (None, false) => (LogLevel::Info, format!("sweeping {left} with SIGTERM")),
        (None, true) => (LogLevel::Info, format!("sweeping {left} with SIGKILL")),
        (Some(why), false) => (LogLevel::Warn, format!("cannot sweep {left}: {why}")),
        (Some(_), true) => (LogLevel::Error, format!("giving up on {left}: it is left alone from now on")),
    }
}
