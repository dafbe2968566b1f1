//! Logs on an inherited descriptor, and logs that cannot be opened for a while.

use super::rsup;
use crate::harness::{Sandbox, Subject, wait_for};
use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use serde_json::json;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Stdio;

/// A program that writes a line to both streams ten times a second.
const LINES: &str = "[program:x]\ncommand=sh -c 'while sleep 0.1; do echo line; echo line >&2; done'\n";
/// A program that exits again and again, so that rsup's own log grows.
const RESTARTS: &str = "[program:x]\ncommand=sh -c 'echo x >>{dir}/starts; sleep 0.1'\nstartsecs=0\nautorestart=true\n";

/// Opens a FIFO for reading, without waiting for a writer.
fn reader(fifo: &Path) -> fs::File {
    fs::OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(fifo).unwrap()
}

fn until_read(what: &str, fifo: &mut fs::File) {
    let (mut text, mut buffer) = (String::new(), [0; 65_536]);
    wait_for(&format!("{what:?} in the FIFO"), || {
        let count = fifo.read(&mut buffer).unwrap_or(0);
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
        text.contains(what).then_some(())
    });
}

/// Starts rsup with `redirection` to `{dir}/fifo`. Also returns the FIFO's first reader.
fn on_a_fifo(conf: &str, redirection: &str) -> (Sandbox, fs::File) {
    let mut sandbox = Sandbox::new(Subject::Rsup, conf);
    let fifo = sandbox.dir.join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let first = reader(&fifo);
    let mut command = sandbox.command_of(Path::new("/bin/sh"));
    command.args(["-c", &format!("exec bin/rsup -n -c supervisord.conf {redirection}")]);
    sandbox.launch_as(command);
    wait_for("an answer", || sandbox.rpc("supervisor.getState", json!([])).ok());
    (sandbox, first)
}

#[test]
fn output_to_a_fifo_resumes_with_the_next_reader() {
    let out = |name: &str| format!("{LINES}stdout_logfile={name}\n");
    let err = |name: &str| format!("{LINES}stderr_logfile={name}\n");
    let cases = [
        (out("/dev/stdout"), ">fifo"),
        (out("/dev/fd/1"), ">fifo"),
        (out("/proc/self/fd/1"), ">fifo"),
        (err("/dev/stderr"), "2>fifo"),
        (err("/dev/fd/2"), "2>fifo"),
        (out("/dev/fd/7"), "7>fifo"),
    ];
    for (conf, redirection) in cases {
        for signal in [None, Some(Signal::SIGUSR2), Some(Signal::SIGHUP)] {
            let (mut sandbox, mut first) = on_a_fifo(&conf, redirection);
            until_read("line\n", &mut first);
            drop(first);
            sandbox.until_log("Broken pipe; output is being lost", 1);
            if let Some(signal) = signal {
                sandbox.signal(signal);
                let logged = if signal == Signal::SIGHUP { "SIGHUP" } else { "supervisord logreopen" };
                sandbox.until_log(logged, 1);
            }
            let mut next = reader(&sandbox.dir.join("fifo"));
            until_read("line\nline\n", &mut next);
            sandbox.until_log("bytes of output were lost", 1);
            assert_eq!(sandbox.stop(), 0);
            assert_eq!(sandbox.log().matches("output is being lost").count(), 1, "logged once");
        }
    }
}

#[test]
fn the_main_log_on_a_fifo_resumes_with_the_next_reader() {
    for (name, redirection) in [("/dev/stdout", ">fifo"), ("/dev/stderr", "2>fifo"), ("/dev/fd/1", ">fifo")] {
        let (mut sandbox, mut first) =
            on_a_fifo(&format!("{RESTARTS}[supervisord]\nlogfile={name}\nsilent=true\n"), redirection);
        until_read("INFO spawned", &mut first);
        drop(first);
        let starts = |sandbox: &Sandbox| sandbox.read("starts").len();
        let before = starts(&sandbox);
        wait_for("two more starts", || (starts(&sandbox) >= before + 4).then_some(()));
        let mut next = reader(&sandbox.dir.join("fifo"));
        until_read("INFO spawned", &mut next);
        assert_eq!(sandbox.stop(), 0, "{name}");
    }
}

#[test]
fn a_main_log_on_a_descriptor_can_be_read_if_it_is_a_file() {
    for name in ["/dev/stdout", "/dev/stderr", "/dev/fd/1", "/proc/self/fd/2", "{dir}/link"] {
        let mut sandbox =
            Sandbox::new(Subject::Rsup, &format!("{RESTARTS}[supervisord]\nlogfile={name}\nsilent=true\n"));
        std::os::unix::fs::symlink("/dev/stdout", sandbox.dir.join("link")).unwrap();
        sandbox.start();
        sandbox
            .until_file(if name.contains('2') || name.contains("err") { "stderr" } else { "stdout" }, "INFO spawned");
        let text = |method: &str| sandbox.rpc(method, json!([0, 0])).unwrap().as_str().unwrap().to_owned();
        for method in ["supervisor.readLog", "supervisor.readMainLog"] {
            assert!(text(method).contains("INFO spawned: 'x'"), "{name}: {}", text(method));
        }
        let tail = sandbox.rpc("supervisor.readLog", json!([-10, 0])).unwrap();
        assert_eq!(tail.as_str().unwrap().len(), 10, "{name}");
        for arguments in [&["maintail"][..], &["maintail", "-60"]] {
            let ran = sandbox.ctl(arguments);
            assert!(ran.code == 0 && !ran.out.trim().is_empty(), "{name}: {arguments:?}: {ran:?}");
        }
        let mut command = sandbox.ctl_command(Subject::Rsup, &["maintail", "-f"]);
        let mut follower = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("INFO spawned")), "{name}");
        follower.kill().unwrap();
        follower.wait().unwrap();
        let fault = sandbox.rpc("supervisor.clearLog", json!([])).unwrap_err();
        assert_eq!(fault.0, 20, "{name}: rsup must not empty the file of a descriptor");
        assert!(fs::symlink_metadata("/dev/stdout").is_ok());
        assert_eq!(sandbox.stop(), 0);
    }
}

#[test]
fn a_main_log_that_cannot_be_reopened_stays_in_use_until_it_can() {
    let mut sandbox = Sandbox::new(Subject::Rsup, &format!("{RESTARTS}[supervisord]\nlogfile={{dir}}/logs/main.log\n"));
    fs::create_dir(sandbox.dir.join("logs")).unwrap();
    sandbox.start();
    fs::rename(sandbox.dir.join("logs"), sandbox.dir.join("moved")).unwrap();
    sandbox.signal(Signal::SIGUSR2);
    sandbox.until_file("moved/main.log", "cannot reopen the main log: ENOENT");
    let fault = sandbox.rpc("supervisor.clearLog", json!([])).unwrap_err();
    assert_eq!(fault.0, 20);
    sandbox.until_file("moved/main.log", "spawned");
    fs::create_dir(sandbox.dir.join("logs")).unwrap();
    sandbox.until_file("logs/main.log", "/logs/main.log' has been reopened");
    sandbox.until_file("logs/main.log", "INFO spawned");
    assert_eq!(sandbox.read("moved/main.log").matches("cannot reopen").count(), 1, "logged once");
    assert_eq!(sandbox.stop(), 0);
}

#[test]
fn a_reload_that_cannot_open_the_main_log_keeps_the_old_one() {
    let mut sandbox = rsup(RESTARTS);
    fs::create_dir(sandbox.dir.join("folder")).unwrap();
    sandbox.reconfigure(&format!("{RESTARTS}[supervisord]\nlogfile={{dir}}/folder\n"));
    sandbox.signal(Signal::SIGHUP);
    sandbox.until_log("the log from before the reload stays in use", 1);
    sandbox.until_log("supervisord started", 2);
    assert_eq!(sandbox.stop(), 0);
}
