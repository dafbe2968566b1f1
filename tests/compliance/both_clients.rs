//! The real control client with rsup, and rsup's client with the real Supervisor, must give the same answers.

use crate::compare;
use crate::harness::{Ran, Sandbox, Subject};

const PROGRAMS: &str = "[program:a]\ncommand=/bin/sh -c \"echo hello; exec sleep 1000\"\nstdout_logfile={dir}/a.out\n\
                        [program:b]\ncommand=/bin/sleep 1000\nautostart=false\n[program:broken]\ncommand=/no/such\nautostart=false\nstartretries=0\n";

/// Every command of the client, in an order that shows most of its answers.
const SESSION: [&[&str]; 30] = [
    &["status"],
    &["status", "a"],
    &["status", "nobody"],
    &["pid", "b"],
    &["start", "a"],
    &["start", "b"],
    &["start", "broken"],
    &["start", "nobody"],
    &["stop", "b"],
    &["stop", "b"],
    &["restart", "b"],
    &["signal", "CONT", "a"],
    &["signal", "BOGUS", "a"],
    &["tail", "a"],
    &["tail", "-3", "a"],
    &["tail", "nobody"],
    &["clear", "a"],
    &["clear", "nobody"],
    &["version"],
    &["avail"],
    &["reread"],
    &["update"],
    &["add", "nobody"],
    &["remove", "a"],
    &["stop", "a"],
    &["remove", "a"],
    &["add", "a"],
    &["bogus"],
    &["stop", "all"],
    &["shutdown"],
];

/// Runs every command. `client` runs a control client with the sandbox's server.
fn session_of(client: fn(&Sandbox, &[&str]) -> Ran) {
    compare(PROGRAMS, |run| {
        run.until("a", "RUNNING");
        run.until_file("a.out", "hello");
        for args in SESSION {
            let ran = client(&run.sandbox, args);
            // The order in which programs that are stopped together exit is random.
            let mut lines: Vec<&str> = ran.out.lines().collect();
            if args == ["stop", "all"] {
                lines.sort_unstable();
            }
            run.note(&format!("{args:?}"), format!("{} {lines:?} {:?}", ran.code, ran.err));
        }
        assert_eq!(run.wait(), 0);
    });
}

#[test]
fn each_client_with_its_own_server() {
    session_of(|sandbox, args| sandbox.supervisorctl(args));
}

#[test]
fn the_real_client_with_both_servers() {
    session_of(|sandbox, args| sandbox.ctl_of(Subject::Supervisor, args));
}

#[test]
fn rsupctl_with_both_servers() {
    session_of(|sandbox, args| sandbox.ctl_of(Subject::Rsup, args));
}
