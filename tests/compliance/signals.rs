//! Signals to the supervisor: ordered shutdown, reload, reopened logs.

use crate::harness::wait_for;
use crate::{Run, compare};
use nix::sys::signal::Signal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR2};

const TWO: &str =
    "[program:a]\ncommand=/bin/sleep 1000\npriority=1\n[program:b]\ncommand=/bin/sleep 1000\npriority=2\n";

fn ends_on(run: &mut Run, signal: nix::sys::signal::Signal, name: &str) {
    run.until("a", "RUNNING");
    run.until("b", "RUNNING");
    run.signal(signal);
    assert_eq!(run.wait(), 0);
    assert!(run.log().contains(&format!("WARN received {name} indicating exit request")));
    run.note_history("");
    assert!(!run.dir.join("sock").exists() && !run.dir.join("supervisord.pid").exists());
}

#[test]
fn term_shuts_down_in_order() {
    compare(TWO, |run| ends_on(run, SIGTERM, "SIGTERM"));
}

#[test]
fn int_shuts_down_in_order() {
    compare(TWO, |run| ends_on(run, SIGINT, "SIGINT"));
}

#[test]
fn quit_shuts_down_in_order() {
    compare(TWO, |run| ends_on(run, SIGQUIT, "SIGQUIT"));
}

#[test]
fn shutdown_turns_backoff_into_fatal() {
    compare("[program:x]\ncommand=/bin/false\nstartretries=100\n", |run| {
        run.until_log("exited: x", 2);
        run.until("x", "BACKOFF");
        assert_eq!(run.stop(), 0);
        // It goes from BACKOFF to FATAL without the line `gave up`, which FATAL after too many retries has.
        assert!(!run.log().contains("gave up: x"));
    });
}

#[test]
fn shutdown_waits_and_logs_which_programs_remain() {
    let conf = "[program:slow]\ncommand=/bin/sh -c \"trap 'sleep 1; exit' TERM; while :; do sleep 0.1; done\"\npriority=2\n\
                [program:quick]\ncommand=/bin/sleep 1000\npriority=1\n";
    compare(conf, |run| {
        run.until("slow", "RUNNING");
        run.until("quick", "RUNNING");
        assert_eq!(run.stop(), 0);
        let first = run.messages().into_iter().find(|line| line.contains("to die")).unwrap();
        assert!(first.contains("slow") && first.contains("quick"), "{first}");
        run.note("first", first);
    });
}

#[test]
fn hup_restarts_with_the_new_configuration() {
    compare("[program:old]\ncommand=/bin/sleep 1000\n", |run| {
        run.until("old", "RUNNING");
        let (pid, child) = (run.pid(), run.pid_of("old"));
        run.reconfigure("[program:new]\ncommand=/bin/sleep 1000\n");
        run.signal(SIGHUP);
        run.until("new", "RUNNING");
        assert_eq!(run.state("old"), "");
        assert_eq!(run.rpc("supervisor.getPID", serde_json::json!([])).unwrap(), serde_json::json!(pid));
        assert!(!std::path::Path::new(&format!("/proc/{child}/exe")).exists());
        assert!(run.log().contains("WARN received SIGHUP indicating restart request"));
        run.note_history("");
    });
}

#[test]
fn usr2_reopens_the_logs_by_name() {
    let conf =
        "[program:x]\ncommand=/bin/sh -c \"while :; do echo line; sleep 0.1; done\"\nstdout_logfile={dir}/x.out\n";
    compare(conf, |run| {
        run.until("x", "RUNNING");
        run.until_file("x.out", "line");
        for name in ["x.out", "main.log"] {
            std::fs::rename(run.dir.join(name), run.dir.join(format!("{name}.moved"))).unwrap();
        }
        run.signal(SIGUSR2);
        run.until_file("x.out", "line");
        wait_for("a new main log", || run.dir.join("main.log").exists().then_some(()));
        run.until_file("main.log.moved", "INFO received SIGUSR2 indicating log reopen request");
        run.note("messages", run.messages().join("|"));
    });
}

#[test]
fn hup_is_ignored_while_shutting_down() {
    let conf = "[program:slow]\ncommand=/bin/sh -c \"trap 'sleep 2; exit' TERM; while :; do sleep 0.1; done\"\n";
    compare(conf, |run| {
        run.until("slow", "RUNNING");
        run.signal(SIGTERM);
        run.until_log("waiting for slow to die", 1);
        run.signal(SIGHUP);
        assert_eq!(run.wait(), 0);
        assert!(run.log().contains("WARN ignored SIGHUP indicating restart request (shutdown in progress)"));
    });
}
