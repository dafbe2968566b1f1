//! POSIX terms as plain data: how a process ended, and the names of signals.
#![forbid(unsafe_code)]

use std::fmt;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// exit(2) with this code.
    Code(u8),
    /// Killed by a signal.
    Signal {
        /// Its number.
        number: i32,
        /// Whether the kernel wrote a core file.
        core: bool,
    },
}

impl Exit {
    /// Supervisor's exit status: the code, or -1 for a signal.
    #[must_use]
    pub fn status(self) -> i32 {
        match self {
            Exit::Code(code) => i32::from(code),
            Exit::Signal { .. } => -1,
        }
    }

    /// A shell's exit status: the code, or 128 + signal.
    #[must_use]
    pub fn shell_status(self) -> u8 {
        match self {
            Exit::Code(code) => code,
            Exit::Signal { number, .. } => u8::try_from(number.saturating_add(128)).unwrap_or(u8::MAX),
        }
    }
}

impl fmt::Display for Exit {
    /// Supervisor's text (supervisor-behaviour.md §6.2): `exit status 3`, `terminated by SIGKILL`, `terminated by SIGSEGV (core dumped)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Exit::Code(code) => write!(f, "exit status {code}"),
            Exit::Signal { number, core } => {
                write!(f, "terminated by {}{}", SignalName(number), if core { " (core dumped)" } else { "" })
            }
        }
    }
}

/// SIGABRT's number.
pub const SIGABRT: i32 = 6;
/// SIGKILL's number.
pub const SIGKILL: i32 = 9;
/// SIGTERM's number.
pub const SIGTERM: i32 = 15;

/// The signals 1 to 31 without `SIG` (signal(7)). The numbers are the same on every architecture that rsup is built for.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "POLL",
    "PWR", "SYS",
];

/// Other names of signals. All are accepted; the two real-time ones are also printed.
const OTHERS: [(&str, i32); 5] = [("CLD", 17), ("IOT", 6), ("IO", 29), ("RTMIN", 34), ("RTMAX", 64)];

/// Displays a signal's name as Supervisor does: `SIGTERM`, or `signal 42` if it has no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignalName(pub i32);

impl fmt::Display for SignalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = usize::try_from(self.0).ok().and_then(|number| number.checked_sub(1));
        match (place.and_then(|place| SIGNALS.get(place)), self.0) {
            (Some(name), _) => write!(f, "SIG{name}"),
            (None, 34) => f.write_str("SIGRTMIN"),
            (None, 64) => f.write_str("SIGRTMAX"),
            (None, number) => write!(f, "signal {number}"),
        }
    }
}

/// The names of all signals, without `SIG`.
pub fn signal_names() -> impl Iterator<Item = &'static str> {
    SIGNALS.into_iter().chain(OTHERS.map(|(name, _)| name))
}

/// The number of a signal's name, with or without `SIG`, in any case.
#[must_use]
pub fn signal_number(name: &str) -> Option<i32> {
    let upper = name.to_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    let mut known = (1..).zip(SIGNALS).map(|(number, name)| (name, number)).chain(OTHERS);
    known.find(|(name, _)| *name == bare).map(|(_, number)| number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_those_of_the_kernel() {
        for (number, name) in [
            (libc::SIGHUP, "SIGHUP"),
            (libc::SIGKILL, "SIGKILL"),
            (libc::SIGTERM, "SIGTERM"),
            (libc::SIGCHLD, "SIGCHLD"),
            (libc::SIGUSR2, "SIGUSR2"),
            (libc::SIGPOLL, "SIGPOLL"),
            (libc::SIGSYS, "SIGSYS"),
        ] {
            assert_eq!(SignalName(number).to_string(), name);
            assert_eq!(signal_number(name), Some(number));
        }
        for number in 1..=31 {
            assert_eq!(signal_number(&SignalName(number).to_string().to_lowercase()), Some(number));
        }
        assert_eq!(
            ["CLD", "SIGIOT", "io", "RTMIN", "x"].map(signal_number),
            [Some(17), Some(6), Some(29), Some(34), None]
        );
        assert_eq!(SignalName(42).to_string(), "signal 42");
        assert_eq!(SignalName(0).to_string(), "signal 0");
    }

    #[test]
    fn exits_are_displayed_as_in_supervisors_log() {
        let signal = |number, core| Exit::Signal { number, core };
        assert_eq!(Exit::Code(3).to_string(), "exit status 3");
        assert_eq!(signal(9, false).to_string(), "terminated by SIGKILL");
        assert_eq!(signal(11, true).to_string(), "terminated by SIGSEGV (core dumped)");
        assert_eq!((signal(9, false).status(), signal(9, false).shell_status()), (-1, 137));
        assert_eq!((Exit::Code(3).status(), Exit::Code(3).shell_status()), (3, 3));
    }
}
