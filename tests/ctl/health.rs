//! `rsup health` against the real Supervisor.

use crate::fake::{Answer, Fake};
use crate::harness::{Ran, Sandbox, Subject, oracle, run, skip};
use rsup::wire::xmlrpc::Value;
use std::process::Command;

fn health(args: &[&str]) -> Ran {
    run(Command::new(env!("CARGO_BIN_EXE_rsup")).arg("health").args(args))
}

fn result(ran: &Ran) -> (i32, &str) {
    (ran.code, ran.out.as_str())
}

#[test]
fn every_program_that_should_run_must_run() {
    if oracle().is_none() {
        return skip("no real Supervisor");
    }
    let mut sandbox = Sandbox::new(
        Subject::Supervisor,
        "[program:up]\ncommand=/bin/sleep 1000\n[program:off]\ncommand=/bin/sleep 1000\nautostart=false\n\
         [program:done]\ncommand=/bin/sh -c \"exit 3\"\nstartsecs=0\nautorestart=false\nexitcodes=3\nautostart=false\n\
         [program:bad]\ncommand=/bin/sh -c \"exit 4\"\nstartsecs=0\nautorestart=false\nautostart=false\n\
         [program:slow]\ncommand=/bin/sleep 1000\nstartsecs=60\nautostart=false\n\
         [program:fatal]\ncommand=/bin/false\nstartretries=0\nautostart=false\n",
    );
    sandbox.start();
    let conf = sandbox.fill("{dir}/supervisord.conf");
    let health = |names: &[&str]| health(&[&["-c", &conf], names].concat());
    sandbox.until("up", "RUNNING");
    assert_eq!(result(&health(&[])), (0, ""));

    sandbox.ctl(&["start", "done"]);
    sandbox.until("done", "EXITED");
    sandbox.ctl(&["stop", "up"]);
    assert_eq!(result(&health(&[])), (0, ""), "stopped by request, or exited as expected");

    sandbox.rpc("supervisor.startProcess", serde_json::json!(["slow", false])).unwrap();
    sandbox.until("slow", "STARTING");
    assert_eq!(result(&health(&[])), (1, "slow STARTING\n"));
    assert_eq!(result(&health(&["up", "done"])), (0, ""));

    sandbox.ctl(&["start", "fatal"]);
    sandbox.until("fatal", "FATAL");
    let ran = health(&[]);
    assert!(ran.code == 1 && ran.out.starts_with("fatal FATAL Exited too quickly"), "{ran:?}");

    sandbox.ctl(&["start", "bad"]);
    sandbox.until("bad", "EXITED");
    let ran = health(&["bad:*"]);
    assert!(ran.code == 1 && ran.out.starts_with("bad EXITED "), "{ran:?}");
    assert_eq!(result(&health(&["nobody"])), (1, "nobody: ERROR (no such process)\n"));
}

#[test]
fn a_supervisor_that_does_not_answer_is_exit_2() {
    let no_file = health(&["-s", "unix:///none"]);
    assert_eq!(result(&no_file), (2, "unix:///none no such file\n"));
    let fake = Fake::start(|_, _| Answer::Http(401));
    assert_eq!(health(&["-s", &fake.url()]).code, 2);
    let fake = Fake::start(|_, _| Answer::Raw(""));
    assert_eq!(health(&["-s", &fake.url()]).code, 2);
    let fake = Fake::start(|_, _| Answer::Fault(1, "UNKNOWN_METHOD"));
    assert_eq!(health(&["-s", &fake.url()]).code, 2);
    assert_eq!(health(&["-Z"]).code, 2);
    assert_eq!(health(&["-c", "/no/such/file"]).code, 2);
    let help = health(&["-h"]);
    assert!(help.code == 0 && help.out.contains("STARTING"));
}

#[test]
fn a_supervisor_that_hangs_is_not_waited_for() {
    let fake = Fake::start(|_, _| {
        loop {
            std::thread::park();
        }
    });
    let ran = health(&["-s", &fake.url()]);
    assert!(ran.code == 2 && ran.out.ends_with("no answer within the time limit\n"), "{ran:?}");
}

#[test]
fn a_supervisor_that_shuts_down_is_exit_1() {
    let fake = Fake::start(|_, _: &[Value]| Answer::Fault(6, "SHUTDOWN_STATE"));
    assert_eq!(result(&health(&["-s", &fake.url()])), (1, "SHUTDOWN_STATE\n"));
}
