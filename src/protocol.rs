//! Constants and rules that client and server share, besides the formats of `wire`: states, names of processes, default sockets.
#![forbid(unsafe_code)]

/// The paths of the control socket if the configuration has no server section. The first usable one counts.
pub const DEFAULT_SOCKETS: [&str; 3] = ["/run/rsup.sock", "/tmp/rsup.sock", "/dev/shm/rsup.sock"];

/// The version of the XML-RPC interface (getAPIVersion, getVersion).
pub const API_VERSION: &str = "3.0";

/// The status of a process for which a request succeeded. If it failed, the status is the code of the fault.
pub const SUCCESS: i32 = 80;

/// The states that users see, with Supervisor's codes (supervisor-behaviour.md §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Not running: the process was stopped by request, or never started.
    Stopped = 0,
    /// Spawned or about to be spawned, and not yet up for `startsecs`.
    Starting = 10,
    /// Running for at least `startsecs`.
    Running = 20,
    /// The start failed; the process waits for the next attempt.
    Backoff = 30,
    /// The stop signal was sent, and the process has not ended yet.
    Stopping = 40,
    /// The process ended by itself after it had been RUNNING.
    Exited = 100,
    /// The start failed too often.
    Fatal = 200,
    /// The process could not be signalled.
    Unknown = 1000,
}

impl State {
    const ALL: [State; 8] = [
        State::Stopped,
        State::Starting,
        State::Running,
        State::Backoff,
        State::Stopping,
        State::Exited,
        State::Fatal,
        State::Unknown,
    ];

    /// The state with this code.
    #[must_use]
    pub fn of_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|state| *state as i64 == code)
    }

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

    /// Supervisor's "stopped" class: `remove` requires it, a waiting stop waits for it, and `status` has a special exit code for it.
    #[must_use]
    pub fn is_stopped(self) -> bool {
        matches!(self, State::Stopped | State::Exited | State::Fatal | State::Unknown)
    }

    /// Supervisor's "running" class: a start request is refused, and a stop request accepted.
    #[must_use]
    pub fn is_running(self) -> bool {
        matches!(self, State::Starting | State::Running | State::Backoff)
    }
}

/// `group:name`, or just the name if both are equal.
#[must_use]
pub fn namespec(group: &str, name: &str) -> String {
    if group == name { name.to_owned() } else { format!("{group}:{name}") }
}

/// Splits `group:name` into group and name. `group:*` and `group:` have no name: they mean the whole group. `name` is short for
/// `name:name`.
#[must_use]
pub fn split_namespec(namespec: &str) -> (&str, Option<&str>) {
    match namespec.split_once(':') {
        Some((group, "" | "*")) => (group, None),
        Some((group, name)) => (group, Some(name)),
        None => (namespec, Some(namespec)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_and_joined_as_by_supervisor() {
        for (spec, parts) in [
            ("a", ("a", Some("a"))),
            ("a:b", ("a", Some("b"))),
            ("a:*", ("a", None)),
            ("a:", ("a", None)),
            ("a:b:c", ("a", Some("b:c"))),
            (":b", ("", Some("b"))),
        ] {
            assert_eq!(split_namespec(spec), parts);
        }
        assert_eq!((namespec("a", "a"), namespec("a", "b")), ("a".into(), "a:b".into()));
    }

    #[test]
    fn each_state_is_found_by_its_code() {
        for state in State::ALL {
            assert_eq!(State::of_code(state as i64), Some(state));
        }
        assert_eq!(State::of_code(50), None);
    }
}
