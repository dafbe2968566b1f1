//! Loads that must not disturb rsup: stalled readers, storms of orphans, a thousand starts. And no load: no wake-ups.

use super::{as_pid1, rsup, short_lived, term};
use crate::harness::{Sandbox, Subject, wait_for};
use nix::unistd::Pid;
use std::fs;
use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

fn switches(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn an_idle_rsup_with_a_hundred_programs_does_not_wake_up() {
    let many = "process_name=%(program_name)s_%(process_num)d\nstdout_logfile=NONE\nstderr_logfile=NONE\n";
    // Readiness and dependencies cost nothing once everything runs.
    let conf = format!(
        "[program:idle]\ncommand=sleep 1000\nnumprocs=50\n{many}\
         [program:ready]\ncommand=sh -c 'echo >&3; exec sleep 1000'\nready=fd:3\ndepends_on=idle\nrestart_with=idle\nnumprocs=25\n{many}\
         [program:notify]\ncommand=python3 -c \"import os, socket, time; socket.socket(1, 2).sendto(b'READY=1', chr(0) + \
         os.environ['NOTIFY_SOCKET'][1:]); time.sleep(1000)\"\nready=notify\nafter=ready\nnumprocs=25\n{many}"
    );
    let Some((mut sandbox, init)) = as_pid1(&conf) else { return };
    for (name, count) in [("idle", 50), ("ready", 25), ("notify", 25)] {
        for n in 0..count {
            sandbox.until(&format!("{name}:{name}_{n}"), "RUNNING");
        }
    }
    // When the count no longer changes, the connection of the last client is closed.
    let pid = init.as_raw();
    let mut before = switches(pid);
    wait_for("an idle rsup", || {
        std::thread::sleep(Duration::from_millis(300));
        let now = switches(pid);
        let is_idle = now == before;
        before = now;
        is_idle.then_some(())
    });
    std::thread::sleep(Duration::from_secs(30));
    assert_eq!(switches(pid), before);
    term(init);
    assert_eq!(sandbox.wait(), 0);
}

const THOUSAND: &str = "[program:crowd]\ncommand=sleep 1000\nnumprocs=1000\nprocess_name=%(program_name)s_%(process_num)d\n\
    stdout_logfile=NONE\nstderr_logfile=NONE\n";

#[test]
fn a_quick_exit_among_a_thousand_starts_is_a_failed_start() {
    let first_and_last = "command=sh -c 'sleep 0.2; exit 1'\nstartretries=0\n";
    let conf = format!(
        "{THOUSAND}[program:first]\npriority=1\n{first_and_last}[program:last]\npriority=9999\n{first_and_last}"
    );
    let mut sandbox = rsup(&conf);
    for name in ["first", "last"] {
        sandbox.until(name, "FATAL");
        let lines = sandbox.history(name);
        assert!(lines.len() == 3 && lines[1].contains("exited") && lines[2].contains("FATAL"), "{lines:#?}");
    }
    sandbox.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(sandbox.wait(), 0);
}

#[test]
fn a_thousand_starts_do_not_delay_a_shutdown() {
    let mut sandbox = short_lived(&format!(
        "{THOUSAND}[program:ender]\npriority=1\ncommand=sh -c 'kill -TERM $PPID; exec sleep 1000'\n"
    ));
    assert_eq!(sandbox.wait(), 0);
    let log = sandbox.log();
    let spawned = log.matches("spawned: 'crowd_").count();
    assert!(log.contains("received SIGTERM") && spawned < 1000, "{spawned} were started before the end");
}

#[test]
fn ten_thousand_orphans_leave_no_zombie() {
    let conf = "[program:storm]\ncommand=python3 {dir}/storm.py\nautostart=false\nautorestart=false\n";
    let Some((sandbox, init)) = as_pid1(conf) else { return };
    sandbox.write(
        "storm.py",
        "import os, time\n\
         for _ in range(100):\n\
         \x20   if os.fork() == 0:\n\
         \x20       for _ in range(100):\n\
         \x20           if os.fork() == 0: os._exit(0)\n\
         \x20       os._exit(0)\n\
         while True:\n\
         \x20   try: os.wait()\n\
         \x20   except ChildProcessError: break\n\
         open('{dir}/done', 'w').write('done')\n\
         time.sleep(1000)\n",
    );
    assert_eq!(sandbox.ctl(&["start", "storm"]).code, 0);
    sandbox.until_file("done", "done");
    // Only PID 1 and the program still run.
    wait_for("no zombie", || {
        let args = ["-t", &init.to_string(), "-p", "-m", "ps", "-e", "-o", "stat="];
        let ran = crate::harness::run(std::process::Command::new("nsenter").args(args));
        (ran.out.lines().filter(|stat| stat.starts_with('Z')).count() == 0).then_some(())
    });
    let counted = || {
        let stdout = sandbox.read("stdout");
        let many =
            stdout.lines().filter_map(|line| line.split("reaped ").nth(1)?.split(' ').next()?.parse::<u64>().ok());
        many.sum::<u64>() + stdout.matches("reaped unknown pid").count() as u64
    };
    // The rest of the count is logged at a later wake-up.
    wait_for("the count", || {
        sandbox.ctl(&["status"]);
        (counted() >= 10_000).then_some(())
    });
    assert!(sandbox.read("stdout").matches("reaped").count() < 200, "there must not be a line for each orphan");
    term(init);
    let mut sandbox = sandbox;
    assert_eq!(sandbox.wait(), 0);
}

#[test]
fn rsup_reaps_orphans_also_when_it_is_not_pid_1() {
    let mut sandbox = rsup(
        "[program:parent]\ncommand=sh -c 'i=0; while [ $i -lt 200 ]; do (: &); i=$((i+1)); done; echo >{dir}/done; exec sleep 1000'\n",
    );
    sandbox.until_file("done", "\n");
    wait_for("one child and no zombie", || {
        let args = ["-o", "stat=", "--ppid", &sandbox.pid().to_string()];
        let ran = crate::harness::run(std::process::Command::new("ps").args(args));
        (ran.out.lines().count() == 1 && !ran.out.starts_with('Z')).then_some(())
    });
    assert_eq!(sandbox.stop(), 0);
}

/// Starts rsup with its stdout on a pipe that is not read yet.
fn stalled(conf: &str) -> (Sandbox, std::process::Child) {
    let sandbox = Sandbox::new(Subject::Rsup, conf);
    let mut command = sandbox.command("rsup");
    command.arg("-c").arg(sandbox.dir.join("supervisord.conf")).stdin(Stdio::null()).stdout(Stdio::piped());
    let daemon = command.stderr(Stdio::null()).spawn().unwrap();
    wait_for("an answer", || sandbox.rpc("supervisor.getState", serde_json::json!([])).ok());
    (sandbox, daemon)
}

#[test]
fn a_stalled_reader_delays_neither_status_nor_term() {
    let (sandbox, mut daemon) = stalled(
        "[program:flood]\ncommand=sh -c 'while :; do echo 0123456789012345678901234567890123456789; done'\n\
         stdout_logfile=/dev/stdout\nstdout_logfile_maxbytes=0\n\
         [program:other]\ncommand=sh -c 'while :; do echo other; sleep 0.1; done'\nstdout_logfile={dir}/other.log\n",
    );
    sandbox.until("flood", "RUNNING");
    // When the pipe is full the program waits, which shows in its CPU time.
    let pid = sandbox.pid_of("flood");
    let ticks = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|n| n.parse::<u64>().unwrap())
            .sum::<u64>()
    };
    let mut last = 0;
    wait_for("back-pressure", || {
        let now = ticks();
        std::thread::sleep(Duration::from_millis(200));
        let still = now == ticks() && now == last;
        last = now;
        still.then_some(())
    });
    // Other programs go on.
    let size = || fs::metadata(sandbox.dir.join("other.log")).unwrap().len();
    let before = size();
    wait_for("other's log grows", || (size() > before + 50).then_some(()));
    assert!(sandbox.ctl(&["status"]).out.contains("other"));
    let begun = Instant::now();
    super::kill(Pid::from_raw(daemon.id() as i32), super::Signal::SIGTERM).unwrap();
    let status = wait_for("the exit", || daemon.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    // The output has only whole lines.
    let mut out = String::new();
    daemon.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    let torn = out.lines().rev().skip(1).find(|line| line.starts_with('0') && line.len() != 40);
    assert_eq!(torn, None);
}

#[test]
fn no_byte_is_lost_when_a_stalled_reader_resumes() {
    let (sandbox, mut daemon) = stalled(
        "[program:count]\ncommand=sh -c 'i=0; while [ $i -lt 30000 ]; do echo line $i; i=$((i+1)); done; echo the end'\n\
         autorestart=false\nstartsecs=0\nstdout_logfile=/dev/stdout\nstdout_logfile_maxbytes=0\n",
    );
    let mut out = daemon.stdout.take().unwrap();
    let mut text = Vec::new();
    let mut piece = [0; 4096];
    // A message of rsup may arrive in the same piece.
    let mut last = 0;
    while !text[last..].windows(8).any(|part| part == b"the end\n") {
        let count = out.read(&mut piece).unwrap();
        assert_ne!(count, 0, "end of file before the last line");
        last = text.len().saturating_sub(8);
        text.extend_from_slice(&piece[..count]);
    }
    let text = String::from_utf8(text).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("line ")).collect();
    assert_eq!(lines.len(), 30_000);
    assert!(lines.iter().enumerate().all(|(n, line)| *line == format!("line {n}")));
    sandbox.until("count", "EXITED");
    super::kill(Pid::from_raw(daemon.id() as i32), super::Signal::SIGTERM).unwrap();
    wait_for("the exit", || daemon.try_wait().unwrap());
}

#[test]
fn the_last_output_of_a_program_that_dies_at_once_is_kept() {
    let conf = "[program:last]\ncommand=sh -c 'seq 1 20000; echo gone >&2; kill -9 $$'\nautorestart=false\nstartsecs=0\n\
        stdout_logfile={dir}/out.log\nstderr_logfile={dir}/err.log\n";
    let mut sandbox = rsup(conf);
    sandbox.until("last", "EXITED");
    assert_eq!(sandbox.read("out.log").lines().count(), 20_000);
    assert_eq!(sandbox.read("err.log"), "gone\n");
    assert_eq!(sandbox.stop(), 0);
}
