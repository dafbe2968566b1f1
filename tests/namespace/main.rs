//! rsup as PID 1 of a PID namespace, and as a child subreaper: orphans, signals, the ways to end, sweeping, silence.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]
#![allow(clippy::disallowed_methods, missing_docs)]

#[path = "../harness/mod.rs"]
mod harness;

use harness::{Sandbox, Subject, run, skip, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

/// The command that gives its program a PID namespace of its own, where that is allowed.
fn unshare() -> Option<Vec<&'static str>> {
    let mut words = vec!["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
    if !nix::unistd::geteuid().is_root() {
        words.splice(1..1, ["--user", "--map-root-user"]);
    }
    (run(Command::new(words[0]).args(&words[1..]).arg("true")).code == 0).then_some(words)
}

/// rsup as PID 1 with this configuration, or none where namespaces are not allowed.
struct Pid1 {
    sandbox: Sandbox,
    /// PID 1 as it is seen from outside; 0 when it ended before it could be looked at.
    pid: i32,
}

impl Pid1 {
    fn start(conf: &str) -> Option<Pid1> {
        let Some(words) = unshare() else {
            skip("no PID namespace is allowed here (unshare)");
            return None;
        };
        let mut sandbox = Sandbox::bare(Subject::Rsup);
        sandbox.write("rsup.conf", conf);
        let plain = sandbox.command("rsup");
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(plain.get_program()).arg("-c").arg(sandbox.dir.join("rsup.conf"));
        command.current_dir(&sandbox.dir).env_clear();
        for (name, value) in plain.get_envs() {
            command.env(name, value.unwrap());
        }
        sandbox.launch_as(command);
        let outer = sandbox.pid();
        let pid = wait_for("PID 1", || {
            if sandbox.read("stderr").contains("exit code") {
                return Some(0); // it is over already
            }
            let children = fs::read_to_string(format!("/proc/{outer}/task/{outer}/children")).ok()?;
            children.split_whitespace().next()?.parse().ok()
        });
        sandbox.until_file("stdout", "supervisord started with pid 1");
        Some(Pid1 { sandbox, pid })
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid), signal).unwrap();
    }

    fn until(&self, text: &str) {
        self.sandbox.until_file("stdout", text);
    }

    fn log(&self) -> String {
        self.sandbox.read("stdout")
    }

    /// The state letters of PID 1's children.
    fn children(&self) -> Vec<char> {
        states_of_children(self.pid)
    }
}

fn states_of_children(parent: i32) -> Vec<char> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let stat = fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
        let mut fields = stat.rsplit_once(") ")?.1.split(' ');
        let state = fields.next()?.chars().next()?;
        (fields.next()?.parse::<i32>().ok()? == parent).then_some(state)
    });
    processes.collect()
}

/// A loop that leaves `count` orphans behind, then writes the file `done`.
fn orphans(count: u32) -> String {
    format!(
        "[program:parent]\ncommand=/bin/sh -c \"i=0; while [ $i -lt {count} ]; do (: &); i=$((i+1)); done; echo >{{dir}}/done; exec sleep 1000\"\n"
    )
}

#[test]
fn ten_thousand_orphans_leave_no_zombie() {
    let Some(mut pid1) = Pid1::start(&orphans(10_000)) else { return };
    pid1.sandbox.until_file("done", "\n");
    wait_for("one child and no zombie", || {
        let children = pid1.children();
        (children.len() == 1 && children[0] != 'Z').then_some(())
    });
    pid1.signal(Signal::SIGTERM);
    assert_eq!(pid1.sandbox.wait(), 0);
}

#[test]
fn orphans_come_to_rsup_also_when_it_is_not_pid_1() {
    let mut sandbox = Sandbox::new(Subject::Rsup, &orphans(200));
    sandbox.launch(&["-n", "-c", "{dir}/supervisord.conf"]);
    sandbox.until_file("done", "\n");
    wait_for("one child and no zombie", || {
        let children = states_of_children(sandbox.pid());
        (children.len() == 1 && children[0] != 'Z').then_some(())
    });
    assert_eq!(sandbox.stop(), 0);
}

const TWO: &str =
    "[program:a]\ncommand=/bin/sleep 1000\npriority=1\n[program:b]\ncommand=/bin/sleep 1000\npriority=2\n";

#[test]
fn term_int_and_quit_end_it_in_order() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        let Some(mut pid1) = Pid1::start(TWO) else { return };
        pid1.until("success: a");
        pid1.until("success: b");
        pid1.signal(signal);
        assert_eq!(pid1.sandbox.wait(), 0);
        let log = pid1.log();
        assert!(log.find("stopped: b").unwrap() < log.find("stopped: a").unwrap(), "{log}");
    }
}

#[test]
fn usr1_and_pipe_do_no_harm() {
    let Some(mut pid1) = Pid1::start(TWO) else { return };
    pid1.until("success: a");
    for signal in [Signal::SIGUSR1, Signal::SIGPIPE, Signal::SIGALRM, Signal::SIGHUP] {
        pid1.signal(signal);
    }
    pid1.until("received SIGHUP indicating restart request");
    wait_for("the second life of a", || (pid1.log().matches("success: a").count() == 2).then_some(()));
    pid1.signal(Signal::SIGTERM);
    assert_eq!(pid1.sandbox.wait(), 0);
}

const DEAF: &str = "[program:deaf]\ncommand=/bin/sh -c \"trap '' TERM; echo >{dir}/deaf; while :; do sleep 0.2; done\"\nstopwaitsecs=600\n";

#[test]
fn a_second_term_ends_at_once() {
    let Some(mut pid1) = Pid1::start(DEAF) else { return };
    pid1.sandbox.until_file("deaf", "\n");
    pid1.signal(Signal::SIGTERM);
    pid1.until("waiting for deaf to die");
    // What comes within a moment of the first counts as the same request.
    wait_for("the end", || {
        let _ = kill(Pid::from_raw(pid1.pid), Signal::SIGTERM);
        pid1.log().contains("told again to end").then_some(())
    });
    assert_eq!(pid1.sandbox.wait(), 0);
}

#[test]
fn a_stop_budget_bounds_the_shutdown() {
    let conf = format!("[supervisord]\nstop_budget=2\n{DEAF}priority=5\n{}", DEAF.replace("deaf", "daft"));
    let Some(mut pid1) = Pid1::start(&conf) else { return };
    pid1.sandbox.until_file("deaf", "\n");
    pid1.sandbox.until_file("daft", "\n");
    pid1.signal(Signal::SIGTERM);
    assert_eq!(pid1.sandbox.wait(), 0);
    assert!(pid1.log().contains("killing 'deaf'") && pid1.log().contains("killing 'daft'"));
}

/// The exit contract: this configuration ends by itself with this code, and says why.
fn ends_with(conf: &str, code: i32) {
    let Some(mut pid1) = Pid1::start(conf) else { return };
    assert_eq!(pid1.sandbox.wait(), code, "{conf}");
    let said = pid1.sandbox.read("stderr");
    assert!(said.lines().last().unwrap_or_default().contains(&format!("exit code {code}")), "{said:?}");
}

#[test]
fn an_essential_program_ends_all() {
    let other = "[program:other]\ncommand=/bin/sleep 1000\n";
    let main = |then: &str| {
        format!("[program:main]\ncommand=/bin/sh -c \"sleep 2; {then}\"\nautorestart=false\nessential=true\n")
    };
    ends_with(&format!("[supervisord]\nexit_code_from=essential\n{}{other}", main("exit 7")), 7);
    ends_with(&format!("[supervisord]\nexit_code_from=main\n{}{other}", main("kill -9 $$")), 137);
    ends_with(&format!("[supervisord]\nexit_code_from=essential\n{}{other}", main("exit 0")), 0);
}

#[test]
fn an_essential_program_that_turns_fatal_ends_all() {
    let conf = "[supervisord]\nexit_code_from=first_failure\n[program:main]\ncommand=/bin/sh -c \"exit 9\"\nstartretries=0\nessential=true\n";
    ends_with(conf, 9);
}

#[test]
fn exit_when_all_is_done() {
    let job = |name: &str, then: &str| {
        format!("[program:{name}]\ncommand=/bin/sh -c \"{then}\"\nstartsecs=0\nautorestart=false\n")
    };
    let conf = format!(
        "[supervisord]\nexit_when=all_done\nexit_code_from=first_failure\n{}{}",
        job("a", "exit 0"),
        job("b", "sleep 1; exit 4")
    );
    ends_with(&conf, 4);
}

/// What a killed program left in its group is gone before its next life starts.
#[test]
fn sweep_ends_what_a_dead_program_left() {
    let conf = "[program:x]\ncommand=/bin/sh -c \"ls {dir}/worker 2>/dev/null; (trap '' HUP; exec sleep 1000) & echo $! >>{dir}/workers; wait\"\nautorestart=true\nsweep=true\nstopwaitsecs=1\n";
    let Some(mut pid1) = Pid1::start(conf) else { return };
    pid1.until("success: x");
    let group = |pid: i32| -> Option<Vec<i32>> {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        Some(children.split_whitespace().map(|id| id.parse().unwrap()).collect())
    };
    let program = wait_for("the program", || group(pid1.pid)?.first().copied());
    let worker = wait_for("its worker", || group(program)?.first().copied());
    kill(Pid::from_raw(program), Signal::SIGKILL).unwrap();
    wait_for("the next life", || (pid1.log().matches("spawned: 'x'").count() == 2).then_some(()));
    // By the time that the second life is announced the worker of the first must be gone.
    let state = fs::read_to_string(format!("/proc/{worker}/stat")).unwrap_or_default();
    assert!(state.is_empty() || !state.contains("(sleep)"), "{state}");
    pid1.signal(Signal::SIGTERM);
    assert_eq!(pid1.sandbox.wait(), 0);
}

#[test]
fn a_reload_with_a_broken_file_keeps_what_runs() {
    let Some(mut pid1) = Pid1::start(TWO) else { return };
    pid1.until("success: a");
    pid1.until("success: b");
    pid1.sandbox.write("rsup.conf", "[program:a]\nthis is no configuration\n");
    pid1.signal(Signal::SIGHUP);
    wait_for("the reason", || (pid1.log() + &pid1.sandbox.read("stderr")).contains("rsup.conf:2").then_some(()));
    assert!(!pid1.log().contains("stopped:"), "{}", pid1.log());
    assert_eq!(pid1.children().len(), 2);
    pid1.signal(Signal::SIGTERM);
    assert_eq!(pid1.sandbox.wait(), 0);
}

/// Thirty seconds with a hundred programs and nothing to do: PID 1 is not woken once.
#[test]
fn idle_is_silent() {
    let conf = "[program:x]\ncommand=/bin/sleep 1000\nnumprocs=100\nprocess_name=x%(process_num)d\n";
    let Some(mut pid1) = Pid1::start(conf) else { return };
    wait_for("a hundred programs", || (pid1.log().matches("entered RUNNING").count() == 100).then_some(()));
    let switches = || {
        let status = fs::read_to_string(format!("/proc/{}/status", pid1.pid)).unwrap();
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap();
        line.rsplit('\t').next().unwrap().parse::<u64>().unwrap()
    };
    // What the last transitions left to do is over once the count stands still for a moment.
    let mut last = (switches(), Instant::now());
    wait_for("quiet", || {
        let now = switches();
        if now != last.0 {
            last = (now, Instant::now());
        }
        (last.1.elapsed() > Duration::from_secs(1)).then_some(())
    });
    let before = switches();
    let until = Instant::now() + Duration::from_secs(30);
    while Instant::now() < until {
        std::thread::sleep(Duration::from_secs(1));
    }
    assert_eq!(switches(), before);
    pid1.signal(Signal::SIGTERM);
    assert_eq!(pid1.sandbox.wait(), 0);
}
