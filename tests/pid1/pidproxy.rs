//! Behaviour of pidproxy that Supervisor's does not have; `tests/compliance` has the common part.

use crate::harness::run;
use crate::init::{Running, python, rsup};
use rsup::sys::signals::{Received, forward, send};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

/// A directory for a pid file.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn pidfile(&self) -> PathBuf {
        self.folder.path().join("pid")
    }

    fn write(&self, text: &str) {
        let new = self.folder.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.pidfile()).unwrap();
    }

    /// pidproxy with a script in which `PIDFILE` and `WATCH` are replaced.
    fn script(&self, script: &str) -> Command {
        let watch = python("watch").join(" ");
        let script = script.replace("PIDFILE", self.pidfile().to_str().unwrap()).replace("WATCH", &watch);
        self.command(&["sh", "-c", &script])
    }

    fn command(&self, command: &[&str]) -> Command {
        let mut proxy = Command::new(rsup());
        proxy.arg("pidproxy").arg(self.pidfile()).args(command);
        proxy
    }
}

#[test]
fn it_exits_at_once_with_the_code_of_its_program() {
    let place = Place::new();
    for (script, code) in [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137), ("kill -40 $$", 168)] {
        assert_eq!(run(&mut place.script(script)).code, code, "{script}");
    }
    // PATH is searched.
    assert_eq!(run(&mut place.command(&["false"])).code, 1);
    assert_eq!(run(&mut place.command(&["no-such-program"])).code, 127);
    assert_eq!(run(&mut place.command(&["/etc/passwd"])).code, 126);
}

#[test]
fn every_signal_reaches_the_process_of_the_pid_file() {
    let place = Place::new();
    let mut running = Running::start(place.script("WATCH & echo $! >PIDFILE; wait $!"));
    running.line("ready", |line| line.starts_with("ready"));
    let sent: Vec<i32> = (1..=64).filter(|signal| ![9, 15, 19, 32, 33].contains(signal)).collect();
    for &signal in &sent {
        send(running.pid(), signal).unwrap();
        running.line(&signal.to_string(), |line| line.starts_with(&format!("{signal} ")));
    }
    forward(running.pid(), &Received { signo: 50, code: libc::SI_QUEUE, pid: 0, uid: 0, value: 77 }).unwrap();
    running.line("the value", |line| line.starts_with("50 -1 ") && line.ends_with(" 77"));
    send(running.pid(), 15).unwrap();
    assert_eq!(running.end(), 42);
    let seen: BTreeSet<i32> = running.text().lines().filter_map(|line| line.split(' ').next()?.parse().ok()).collect();
    assert_eq!(seen, sent.into_iter().chain([15]).collect());
}

#[test]
fn term_waits_for_the_program() {
    let place = Place::new();
    let script = "trap 'echo ending; sleep 0.3; echo ended; exit 9' TERM; echo $$ >PIDFILE; echo ready; while :; do sleep 0.05; done";
    let mut running = Running::start(place.script(script));
    running.line("ready", |line| line == "ready");
    send(running.pid(), libc::SIGTERM).unwrap();
    assert_eq!(running.end(), 9);
    assert_eq!(running.text(), "ready\nending\nended\n");
}

#[test]
fn a_pid_that_must_not_be_signalled_is_refused() {
    let reserved = "not the process id of a program";
    let refused = [
        ("1\n", reserved),
        ("0", reserved),
        ("-1\n", reserved),
        ("-12345", reserved),
        ("x7", "not a process id"),
        ("", "not a process id"),
        ("99999999", "ESRCH"),
    ];
    for (text, why) in refused {
        let place = Place::new();
        place.write(text);
        // Without a trap HUP would kill the script.
        let mut running = Running::start(place.script("echo ready; exec sleep 1000"));
        running.line("ready", |line| line == "ready");
        send(running.pid(), libc::SIGHUP).unwrap();
        let line = running.line("the refusal", |line| line.contains(why));
        assert!(line.contains(&format!("{:?}", text.trim())), "{line}");
        // SIGTERM goes to the command all the same, since no other process is known.
        send(running.pid(), libc::SIGTERM).unwrap();
        assert_eq!(running.end(), 143);
    }
}

#[test]
fn its_own_pid_is_refused() {
    let place = Place::new();
    let mut running = Running::start(place.script("echo $PPID >PIDFILE; echo ready; exec sleep 1000"));
    running.line("ready", |line| line == "ready");
    send(running.pid(), libc::SIGUSR1).unwrap();
    running.line("the refusal", |line| line.contains("not the process id of a program"));
    send(running.pid(), libc::SIGTERM).unwrap();
    assert_eq!(running.end(), 143);
}

#[test]
fn a_missing_pid_file_is_reported_and_the_signal_dropped() {
    let place = Place::new();
    let mut running = Running::start(place.script("echo ready; exec sleep 1000"));
    running.line("ready", |line| line == "ready");
    send(running.pid(), libc::SIGHUP).unwrap();
    let expected = format!("Can't read child pidfile {}!", place.pidfile().display());
    running.line("the message", |line| line == expected);
    send(running.pid(), libc::SIGTERM).unwrap();
    assert_eq!(running.end(), 143);
}

#[test]
fn a_program_that_went_to_the_background_is_waited_for() {
    let scripts = [
        "WATCH & echo $! >PIDFILE; exit 0",
        // The file appears after the first process has exited.
        "(sleep 0.3; sh -c 'echo $$ >PIDFILE; exec WATCH') & exit 0",
    ];
    for script in scripts {
        let place = Place::new();
        let mut running = Running::start(place.script(script));
        running.line("ready", |line| line.starts_with("ready"));
        send(running.pid(), libc::SIGUSR1).unwrap();
        running.line("USR1", |line| line.starts_with("10 "));
        send(running.pid(), libc::SIGTERM).unwrap();
        assert_eq!(running.end(), 42, "{script}: {}", running.text());
    }
}

#[test]
fn a_stale_pid_file_does_not_delay_the_exit() {
    let place = Place::new();
    place.write(&std::process::id().to_string());
    assert_eq!(run(&mut place.command(&["true"])).code, 0);
}

#[test]
fn background_processes_of_a_foreground_program_are_not_waited_for() {
    let place = Place::new();
    let script = "sleep 1000 & echo left $!; echo $$ >PIDFILE; exit 0";
    let mut running = Running::start(place.script(script));
    assert_eq!(running.end(), 0);
    let line = running.line("left", |line| line.starts_with("left "));
    send(line.rsplit_once(' ').unwrap().1.parse().unwrap(), libc::SIGKILL).unwrap();
}
