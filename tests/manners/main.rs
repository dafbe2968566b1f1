//! What rsup does in a container that Supervisor does not: the exit contract, the stop budget, sweeping, sinks that stall,
//! orphans by the thousand, idleness. Real processes, rsup as PID 1 of a namespace where that matters.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    missing_docs
)]

#[path = "../harness/mod.rs"]
mod harness;

mod differences;
mod ending;
mod loads;

use harness::{Sandbox, Subject, run, skip, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::Command;

/// rsup in the foreground with this configuration, answering.
fn rsup(conf: &str) -> Sandbox {
    let mut sandbox = Sandbox::new(Subject::Rsup, conf);
    sandbox.start();
    sandbox
}

/// The same, but for what may have ended by the time one would ask: waits for nothing.
fn short_lived(conf: &str) -> Sandbox {
    let mut sandbox = Sandbox::new(Subject::Rsup, conf);
    sandbox.launch(&["-n", "-c", "{dir}/supervisord.conf"]);
    sandbox
}

/// rsup as process number 1 of a PID namespace, and its number outside; nothing where that is not allowed.
fn as_pid1(conf: &str) -> Option<(Sandbox, Pid)> {
    let unshare = ["--pid", "--fork", "--mount-proc", "--kill-child"];
    if run(Command::new("unshare").args(unshare).arg("true")).code != 0 {
        skip("no PID namespace is allowed here");
        return None;
    }
    let mut sandbox = Sandbox::new(Subject::Rsup, conf);
    let mut command = sandbox.command("rsup");
    let (program, config) = (sandbox.dir.join("bin/rsup"), sandbox.dir.join("supervisord.conf"));
    let environment: Vec<_> = command.get_envs().map(|(k, v)| (k.to_owned(), v.map(ToOwned::to_owned))).collect();
    command = Command::new("unshare");
    command.env_clear().envs(environment.into_iter().filter_map(|(k, v)| Some((k, v?)))).current_dir(&sandbox.dir);
    command.args(unshare).arg(program).arg("-c").arg(config);
    sandbox.launch_as(command);
    let parent = sandbox.pid();
    let pid = wait_for("PID 1 of the namespace", || {
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    });
    wait_for("an answer", || sandbox.rpc("supervisor.getState", serde_json::json!([])).ok());
    Some((sandbox, Pid::from_raw(pid)))
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or_default()
}

fn term(pid: Pid) {
    kill(pid, Signal::SIGTERM).unwrap();
}
