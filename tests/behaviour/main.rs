//! Behaviour that rsup has and Supervisor has not: the exit contract, the stop budget, sweeping, stalled log readers,
//! thousands of orphans, idleness. The processes are real. Where it matters, rsup is PID 1 of a namespace.
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

mod bytes;
mod clients;
mod differences;
mod ending;
mod failing_calls;
mod faults;
mod guide;
mod loads;
mod logs;
mod memory;
mod network;
mod restarts;
mod start_graph;
mod start_graph_faults;
mod starting;
mod supervisor_stdout;

use harness::{Sandbox, Subject, run, skip, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::Command;

/// Starts rsup in the foreground with this configuration, and waits until it answers.
fn rsup(conf: &str) -> Sandbox {
    let mut sandbox = Sandbox::new(Subject::Rsup, conf);
    sandbox.start();
    sandbox
}

/// The same without waiting, for a configuration with which rsup may exit at once.
fn short_lived(conf: &str) -> Sandbox {
    let mut sandbox = Sandbox::new(Subject::Rsup, conf);
    sandbox.launch(&["-n", "-c", "{dir}/supervisord.conf"]);
    sandbox
}

/// A command that runs its program in a new PID namespace, if that is allowed here.
fn unshare() -> Option<Command> {
    let mut words = vec!["--pid", "--fork", "--mount-proc", "--kill-child"];
    if !nix::unistd::geteuid().is_root() {
        words.extend(["--user", "--map-root-user"]);
    }
    if run(Command::new("unshare").args(&words).arg("true")).code != 0 {
        skip("no PID namespace is allowed here (unshare)");
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(words);
    Some(command)
}

/// Starts rsup as PID 1 of a namespace; the exit code is that of rsup. `None` if that is not allowed here.
fn short_lived_pid1(conf: &str) -> Option<Sandbox> {
    let mut command = unshare()?;
    let mut sandbox = Sandbox::new(Subject::Rsup, conf);
    let plain = sandbox.command("rsup");
    let environment = plain.get_envs().filter_map(|(name, value)| Some((name, value?)));
    command.env_clear().envs(environment).current_dir(&sandbox.dir);
    command.arg(sandbox.dir.join("bin/rsup")).arg("-c").arg(sandbox.dir.join("supervisord.conf"));
    sandbox.launch_as(command);
    Some(sandbox)
}

/// The same, and waits until it answers. Also returns its pid outside of the namespace.
fn as_pid1(conf: &str) -> Option<(Sandbox, Pid)> {
    let sandbox = short_lived_pid1(conf)?;
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
