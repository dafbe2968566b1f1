//! Faults that must not end, stall or silence rsup: a stderr without a reader, pipes that outlive their program, failing system calls and
//! allocations.

use super::failing_calls::inject;
use super::{rsup, unshare};
use crate::harness::{Beside, Sandbox, Subject, code_of, run, skip, wait_for};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, pipe2, write};
use std::fs;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

/// Both ends of a full pipe or terminal that is not read.
fn full(kind: &str) -> (OwnedFd, OwnedFd) {
    let (reader, writer) = match kind {
        "pipe" => pipe2(OFlag::O_CLOEXEC).unwrap(),
        _ => {
            let pty = openpty(None, None).unwrap();
            (pty.master, pty.slave)
        }
    };
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    while write(&writer, &[b'x'; 1024]).is_ok() || write(&writer, b"x").is_ok() {}
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    (reader, writer)
}

/// Runs rsup with a full stderr (with `both`, also stdout) that is not read. Returns its exit code.
fn end_with_full_stderr(kind: &str, conf: &str, both: bool, when_up: Option<Signal>) -> i32 {
    let sandbox = Sandbox::new(Subject::Rsup, conf);
    let (_reader, writer) = full(kind);
    let mut command = sandbox.command("rsup");
    command.arg("-c").arg(sandbox.dir.join("supervisord.conf")).stdin(Stdio::null());
    command.stdout(if both { writer.try_clone().unwrap().into() } else { Stdio::null() });
    let mut rsup = Beside(command.stderr(writer).spawn().unwrap());
    if let Some(signal) = when_up {
        wait_for("an answer", || sandbox.rpc("supervisor.getState", serde_json::json!([])).ok());
        kill(Pid::from_raw(rsup.0.id() as i32), signal).unwrap();
    }
    code_of(wait_for("the exit", || rsup.0.try_wait().unwrap()))
}

#[test]
fn an_unread_stderr_does_not_delay_the_exit() {
    let essential = "[program:x]\ncommand=/bin/sh -c 'exit 7'\nessential=true\nstartsecs=0\nautorestart=false\n";
    let quiet = "[program:x]\ncommand=sleep 1000\n";
    let loud = "[program:x]\ncommand=yes\nstderr_logfile=/dev/stderr\nstdout_logfile=/dev/stderr\n\
        stdout_logfile_maxbytes=0\nstderr_logfile_maxbytes=0\n";
    for kind in ["pipe", "terminal"] {
        for both in [false, true] {
            for (conf, signal, code) in [
                (essential, None, 7),
                (quiet, Some(Signal::SIGTERM), 0),
                (loud, Some(Signal::SIGTERM), 0),
                (
                    "[supervisord]\nexit_when=all_done\n[program:x]\ncommand=true\nstartsecs=0\nautorestart=false\n",
                    None,
                    0,
                ),
                ("[program:x]\ncommand=sleep 1\nautorestart=perhaps\n", None, 2),
            ] {
                let got = end_with_full_stderr(kind, conf, both, signal);
                assert_eq!(got, code, "{kind}, stdout too: {both}, {conf}");
            }
        }
    }
}

#[test]
fn a_wrong_command_line_with_an_unread_stderr_ends_as_pid_1_too() {
    for kind in ["pipe", "terminal"] {
        for (args, code) in [
            (&["foo"][..], 2),
            (&["x.conf"], 2),
            (&["chekc", "-c", "x"], 2),
            (&["check", "-x"], 2),
            (&["sample-config", "x"], 2),
            (&["ctl", "-x"], 2),
            (&["health", "-c", "/nonexistent"], 2),
            (&["ctl", "-c", "/nonexistent", "status"], 2),
        ] {
            let sandbox = Sandbox::bare(Subject::Rsup);
            let mut commands = vec![sandbox.command("rsup")];
            if let Some(mut unshare) = unshare() {
                unshare.arg(sandbox.dir.join("bin/rsup"));
                commands.push(unshare);
            }
            for mut command in commands {
                let (_reader, writer) = full(kind);
                command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(writer);
                let mut rsup = Beside(command.spawn().unwrap());
                assert_eq!(code_of(wait_for("the exit", || rsup.0.try_wait().unwrap())), code, "{kind} {args:?}");
            }
        }
    }
}

#[test]
fn a_command_that_waits_for_room_in_stdout_ends_with_sigterm_as_pid_1_too() {
    for words in [
        &["-h"][..],
        &["--version"],
        &["help"],
        &["sample-config"],
        &["check", "-c", "supervisord.conf", "--dump"],
        &["check", "-h"],
        &["health", "-h"],
        &["ctl", "-h"],
        &["ctl", "-c", "supervisord.conf", "help"],
    ] {
        let sandbox = Sandbox::new(Subject::Rsup, "[program:x]\ncommand=true\n");
        let Some(mut unshare) = unshare() else { return };
        let (_reader, writer) = full("pipe");
        unshare.arg(sandbox.dir.join("bin/rsup")).args(words).current_dir(&sandbox.dir);
        let mut rsup = Beside(unshare.stdin(Stdio::null()).stdout(writer).spawn().unwrap());
        let parent = rsup.0.id();
        let pid = wait_for("the write", || {
            let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
            let pid = children.split_whitespace().next()?.parse().ok()?;
            fs::read_to_string(format!("/proc/{pid}/wchan")).is_ok_and(|at| at.contains("pipe")).then_some(pid)
        });
        kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
        assert_eq!(code_of(wait_for("the exit", || rsup.0.try_wait().unwrap())), 143, "{words:?}");
    }
}

/// A command that leaves a process in the background, which writes a line each 20 ms, for 60 s, and the number of lines to a file.
fn leaves_behind(name: &str, redirect: &str, then: &str) -> String {
    format!(
        "command=sh -c '(i=0; while [ $i -lt 3000 ]; do echo tick $i{redirect} || exit 1; i=$((i+1)); \
         echo $i >{{dir}}/{name}.new; mv {{dir}}/{name}.new {{dir}}/{name}; sleep 0.02; done) & {then}'\n"
    )
}

fn written(sandbox: &Sandbox, name: &str) -> u32 {
    sandbox.read(name).trim().parse().unwrap_or(0)
}

/// Waits until the background process has written more lines.
fn assert_keeps_writing(sandbox: &Sandbox, name: &str) {
    let before = written(sandbox, name);
    wait_for(&format!("more than {before} lines of {name}"), || (written(sandbox, name) > before + 5).then_some(()));
}

#[test]
fn a_background_process_keeps_writing_to_every_kind_of_log() {
    let options = [
        ("file", "", "stdout_logfile={dir}/file.log"),
        ("none", "", "stdout_logfile=NONE"),
        ("auto", "", ""),
        ("error", " >&2", "stderr_logfile={dir}/error.log"),
        ("merged", " >&2", "redirect_stderr=true\nstdout_logfile={dir}/merged.log"),
        ("stream", "", "stdout_logfile=/dev/stdout\nstdout_logfile_maxbytes=0"),
        ("prefix", "", "stdout_logfile={dir}/prefix.log\nstdout_format=prefix"),
        ("captured", "", "stdout_logfile={dir}/captured.log\nstdout_capture_maxbytes=1MB"),
        ("events", "", "stdout_logfile={dir}/events.log\nstdout_events_enabled=true"),
        ("small", "", "stdout_logfile={dir}/small.log\nstdout_logfile_maxbytes=100\nstdout_logfile_backups=1"),
    ];
    let mut conf = String::new();
    for (name, redirect, keys) in options {
        let command = leaves_behind(&format!("{name}.count"), redirect, "sleep 0.2");
        conf += &format!("[program:{name}]\n{command}startsecs=0\nautorestart=false\n{keys}\n");
    }
    let mut sandbox = rsup(&conf);
    for (name, ..) in options {
        sandbox.until(name, "EXITED");
        assert_keeps_writing(&sandbox, &format!("{name}.count"));
    }
    for name in ["file", "error", "merged", "prefix", "captured", "events"] {
        let lines = written(&sandbox, &format!("{name}.count"));
        sandbox.until_file(&format!("{name}.log"), &format!("tick {}\n", lines + 2));
    }
    // A reopened log gets the later output.
    fs::rename(sandbox.dir.join("file.log"), sandbox.dir.join("file.log.old")).unwrap();
    sandbox.signal(Signal::SIGUSR2);
    sandbox.until_file("file.log", "tick");
    assert_eq!(sandbox.stop(), 0);
}

#[test]
fn a_background_process_keeps_writing_however_its_leader_ended() {
    let part = |name: &str, then: &str, keys: &str| {
        let command = leaves_behind(&format!("{name}.count"), "", then);
        format!(
            "[program:{name}]\n{command}startsecs=0\nautorestart=false\nstdout_logfile={{dir}}/{name}.log\n{keys}\n"
        )
    };
    let stays = part("stopped", "exec sleep 1000", "") + &part("crashed", "sleep 0.2; kill -9 $$", "");
    let goes = part("removed", "exec sleep 1000", "");
    let mut sandbox = rsup(&format!("{stays}{goes}"));
    sandbox.until("crashed", "EXITED");
    for name in ["stopped", "removed"] {
        sandbox.until(name, "RUNNING");
        assert_eq!(sandbox.ctl(&["stop", name]).code, 0);
    }
    sandbox.reconfigure(&stays);
    assert_eq!(sandbox.ctl(&["update"]).code, 0);
    for name in ["stopped", "crashed", "removed"] {
        assert_keeps_writing(&sandbox, &format!("{name}.count"));
    }
    sandbox.reconfigure("[program:other]\ncommand=sleep 1000\n");
    assert_eq!(sandbox.ctl(&["reload"]).code, 0);
    sandbox.until("other", "RUNNING");
    for name in ["stopped", "crashed", "removed"] {
        assert_keeps_writing(&sandbox, &format!("{name}.count"));
        let lines = written(&sandbox, &format!("{name}.count"));
        sandbox.until_file(&format!("{name}.log"), &format!("tick {}\n", lines + 2));
    }
    assert_eq!(sandbox.stop(), 0);
}

#[test]
fn pipes_of_background_processes_are_limited() {
    let mut sandbox = rsup(
        "[program:leaves]\ncommand=sh -c 'sleep 1000 & echo $! >>{dir}/pids'\nstartsecs=0\nautorestart=false\nautostart=false\n",
    );
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", sandbox.pid())).unwrap().count();
    let mut after_ten = 0;
    for n in 1..=30 {
        assert_eq!(sandbox.ctl(&["start", "leaves"]).code, 0);
        wait_for("another", || (sandbox.read("pids").lines().count() == n).then_some(()));
        sandbox.until("leaves", "EXITED");
        if n == 10 {
            after_ten = descriptors();
        }
    }
    // The connection of the last client may or may not be open.
    assert!(descriptors() <= after_ten + 1, "{} after {after_ten}", descriptors());
    assert!(sandbox.log().contains("closed the stdout of 'leaves' that former process"), "{}", sandbox.log());
    for pid in sandbox.read("pids").lines() {
        kill(Pid::from_raw(pid.parse().unwrap()), Signal::SIGKILL).unwrap();
    }
    wait_for("closed pipes", || (descriptors() <= after_ten - 15).then_some(()));
    assert_eq!(sandbox.stop(), 0);
}

/// Sets the soft limit of the address space of a running process. Returns whether that worked.
fn limit_address_space(pid: i32, bytes: &str) -> bool {
    run(Command::new("prlimit").args(["--pid", &pid.to_string(), &format!("--as={bytes}:unlimited")])).code == 0
}

#[test]
fn failed_allocations_end_nothing_and_work_resumes_with_memory() {
    if run(Command::new("prlimit").arg("--version")).code != 0 {
        return skip("no prlimit");
    }
    let mut sandbox = rsup(
        "[program:crash]\ncommand=sleep 0.2\nstartsecs=0\nautorestart=true\n[program:loud]\ncommand=sh -c 'while echo x; do sleep 0.01; done'\n\
         [program:many]\ncommand=sleep 1000\nnumprocs=100\nprocess_name=%(program_name)s_%(process_num)d\n",
    );
    sandbox.until("many:many_99", "RUNNING");
    let pid = sandbox.pid();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
    let size: u64 = size.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(limit_address_space(pid, &(size * 1024).to_string()));
    // Clients that ask for large answers at the same time, and do not read them.
    let body = "<methodCall><methodName>supervisor.getAllProcessInfo</methodName></methodCall>";
    let request = format!(
        "POST /RPC2 HTTP/1.1\r\nHost: x\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let clients: Vec<_> = (0..100)
        .map(|_| {
            let mut client = std::os::unix::net::UnixStream::connect(sandbox.dir.join("sock")).unwrap();
            std::io::Write::write_all(&mut client, request.as_bytes()).unwrap();
            client
        })
        .collect();
    // rsup logs it, or waits for memory, which shows in its system call.
    wait_for("a lack of memory", || {
        let is_asleep = fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap().contains("nanosleep");
        (is_asleep || sandbox.log().contains("memory is short")).then_some(())
    });
    assert!(limit_address_space(pid, "unlimited"));
    drop(clients);
    sandbox.until_log("memory is short", 1);
    sandbox.until("many:many_99", "RUNNING");
    let spawned = sandbox.log().matches("spawned: 'crash'").count();
    sandbox.until_log("spawned: 'crash'", spawned + 2);
    assert_eq!(sandbox.stop(), 0);
}

#[test]
fn pipes_that_cannot_be_read_or_polled_are_kept_and_retried_slowly() {
    let mut sandbox =
        rsup("[program:loud]\ncommand=sh -c 'while echo x; do sleep 0.05; done'\nstdout_logfile={dir}/loud.log\n");
    sandbox.until("loud", "RUNNING");
    let (pid, mut warnings) = (sandbox.pid_of("loud"), 0);
    for (calls, error, warning) in [
        ("read", "EIO", "cannot read the stdout of 'loud': EIO; trying again every second"),
        ("read", "ENOMEM", "cannot read the stdout of 'loud': ENOMEM; trying again every second"),
        ("epoll_wait,epoll_pwait", "ENOMEM", "cannot wait for events: "),
    ] {
        let Some(mut strace) = inject(&sandbox, calls, error) else { return };
        wait_for(warning, || sandbox.log().contains(warning).then_some(()));
        // Two more tries show that the calls keep failing.
        let failed = || sandbox.read("trace").matches("(INJECTED)").count();
        let before = failed();
        wait_for("more tries", || (failed() > before + 2).then_some(()));
        let traced = sandbox.read("trace").lines().count();
        assert!(traced < 1000, "{calls} {error}: {traced} calls");
        kill(Pid::from_raw(strace.0.id() as i32), Signal::SIGINT).unwrap();
        wait_for("the exit of strace", || strace.0.try_wait().unwrap());
        let size = || fs::metadata(sandbox.dir.join("loud.log")).unwrap().len();
        let before = size();
        wait_for("output after the failure", || (size() > before + 10).then_some(()));
        warnings += 1;
    }
    assert_eq!((sandbox.pid_of("loud"), warnings), (pid, 3));
    assert_eq!(sandbox.stop(), 0);
}

/// Runs `script` with a private /dev that has null and termination-log. Returns the output, which ends with that log.
fn with_termination_log(sandbox: &Sandbox, script: &str) -> Option<String> {
    let dev = "mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && touch /dev/termination-log";
    let mut unshare = sandbox.command_of(std::path::Path::new("unshare"));
    let ran =
        run(unshare.args(["--mount", "sh", "-c", &format!("{dev} && echo ready; {script}; cat /dev/termination-log")]));
    if !ran.out.starts_with("ready") {
        skip("no mount namespace with a /dev of its own (unshare, mount, mknod)");
        return None;
    }
    Some(ran.out)
}

#[test]
fn a_fifo_in_the_place_of_a_file_blocks_neither_the_start_nor_the_end() {
    let mut sandbox = Sandbox::new(
        Subject::Rsup,
        "[inet_http_server]\nport=nosuchhost.invalid:0\n[program:x]\ncommand=/bin/sleep 1000\n",
    );
    let Some(ran) = with_termination_log(&sandbox, "true") else { return };
    assert!(ran.starts_with("ready"));
    let dev = "mount -t tmpfs none /dev && mkfifo /dev/null hosts && mount --bind hosts /etc/hosts";
    let launch = |sandbox: &mut Sandbox| {
        let mut unshare = sandbox.command_of(std::path::Path::new("unshare"));
        let script = format!("{dev} && exec bin/rsup -n -c supervisord.conf");
        unshare.args(["--mount", "sh", "-c", &script]);
        sandbox.launch_as(unshare);
    };
    // The name of the host is searched in /etc/hosts.
    launch(&mut sandbox);
    assert_eq!(sandbox.wait(), 2, "{}", sandbox.read("stderr"));
    assert!(sandbox.read("stderr").contains("nosuchhost.invalid"), "{}", sandbox.read("stderr"));
    fs::remove_file(sandbox.dir.join("hosts")).unwrap();
    sandbox.reconfigure("[program:x]\ncommand=/bin/sleep 1000\n");
    launch(&mut sandbox);
    sandbox.until("x", "RUNNING");
    let pidfile = sandbox.dir.join("supervisord.pid");
    fs::remove_file(&pidfile).unwrap();
    nix::unistd::mkfifo(&pidfile, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(sandbox.stop(), 0);
    assert!(pidfile.exists());
}

#[test]
fn the_termination_message_has_the_reason_wherever_rsup_runs() {
    for (conf, reason) in [
        (
            "[program:x]\ncommand=/bin/sh -c 'exit 7'\nessential=true\nstartsecs=0\nautorestart=false\n",
            "rsup: x, which is essential, ended (exit status 7); exit code 7\n",
        ),
        ("[program:x]\ncommand=sleep 1\nautorestart=perhaps\n", "autorestart"),
    ] {
        let sandbox = Sandbox::new(Subject::Rsup, conf);
        // rsup is neither PID 1 nor its replacement by exec.
        let Some(out) = with_termination_log(&sandbox, "bin/rsup -c supervisord.conf >out 2>err") else { return };
        assert!(out.contains(reason), "{out}");
    }
}
