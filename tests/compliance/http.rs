//! What is served over HTTP beside XML-RPC: logs that are followed, headers, status codes.

use crate::harness::{Subject, wait_for};
use crate::{Run, compare};
use serde_json::json;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};

const CAT: &str = "[program:a]\ncommand=/bin/cat\nstdout_logfile={dir}/a.out\nstderr_logfile={dir}/a.err\n\
                   [program:none]\ncommand=/bin/sleep 1000\nautostart=false\nstdout_logfile=NONE\n";

/// The real control client, its output in a file of the sandbox.
fn following(run: &Run, args: &[&str], name: &str) -> Child {
    let file = std::fs::File::create(run.dir.join(name)).unwrap();
    let mut client = run.sandbox.ctl_command(Subject::Supervisor, args);
    client.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap()
}

fn interrupt(mut client: Child) -> Option<i32> {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(client.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    wait_for("the client's end", || client.try_wait().unwrap()).code()
}

#[test]
fn supervisorctl_tail_f_follows_a_log_through_clearing() {
    compare(CAT, |run| {
        run.until("a", "RUNNING");
        let say = |run: &Run, text: &str| run.rpc("supervisor.sendProcessStdin", json!(["a", text])).unwrap();
        say(run, "before\n");
        run.until_file("a.out", "before\n");
        let client = following(run, &["tail", "-f", "a"], "tail");
        run.until_file("tail", "before\n");
        say(run, "ünë\n");
        run.until_file("tail", "ünë\n");
        run.rpc("supervisor.clearProcessLogs", json!(["a"])).unwrap();
        say(run, "two\n");
        run.until_file("tail", "two\n");
        run.note("code", format!("{:?}", interrupt(client)));
        run.note("printed", run.read("tail"));
    });
}

#[test]
fn supervisorctl_tail_f_follows_a_log_through_rotation() {
    compare(&CAT.replace("a.out\n", "a.out\nstdout_logfile_maxbytes=100\nstdout_logfile_backups=1\n"), |run| {
        run.until("a", "RUNNING");
        run.rpc("supervisor.sendProcessStdin", json!(["a", "begin\n"])).unwrap();
        run.until_file("a.out", "begin");
        let client = following(run, &["tail", "-f", "a"], "tail");
        for n in 0..8 {
            run.rpc("supervisor.sendProcessStdin", json!(["a", format!("{n}{}\n", "-".repeat(39))])).unwrap();
            // What is written just before a rotation, Supervisor's stream may lose.
            if run.is_rsup() {
                run.until_file("tail", &format!("{n}-"));
            }
        }
        let last = || {
            run.rpc("supervisor.sendProcessStdin", json!(["a", "last\n"])).unwrap();
            run.read("tail").contains("last\n").then_some(())
        };
        wait_for("what comes after the rotations", last);
        run.note("code", format!("{:?}", interrupt(client)));
    });
}

#[test]
fn supervisorctl_maintail_f_follows_the_main_log() {
    compare(CAT, |run| {
        run.until("a", "RUNNING");
        let client = following(run, &["maintail", "-f"], "tail");
        run.until_file("tail", "success: a entered RUNNING state");
        run.rpc("supervisor.stopProcess", json!(["a"])).unwrap();
        run.until_file("tail", "stopped: a (terminated by SIGTERM)");
        run.rpc("supervisor.clearLog", json!([])).unwrap();
        run.rpc("supervisor.startProcess", json!(["a"])).unwrap();
        wait_for("the new log", || (run.read("tail").matches("success: a entered RUNNING").count() == 2).then_some(()));
        run.note("code", format!("{:?}", interrupt(client)));
    });
}

#[test]
fn a_follower_ends_when_the_supervisor_does() {
    compare(CAT, |run| {
        run.until("a", "RUNNING");
        run.rpc("supervisor.sendProcessStdin", json!(["a", "x\n"])).unwrap();
        let mut client = following(run, &["tail", "-f", "a"], "tail");
        run.until_file("tail", "x\n");
        run.rpc("supervisor.shutdown", json!([])).unwrap();
        let code = wait_for("the client's end", || client.try_wait().unwrap()).code();
        run.note("code", format!("{code:?}"));
        run.note("printed", run.read("tail"));
    });
}

#[test]
fn what_cannot_be_followed_is_404() {
    compare(CAT, |run| {
        run.until("a", "RUNNING");
        for name in ["nobody", "a:*", "none"] {
            let ran = run.sandbox.ctl_of(Subject::Supervisor, &["tail", "-f", name]);
            run.note(name, format!("{} {} {}", ran.code, ran.out, ran.err));
        }
        for (verb, path) in [
            ("GET", "/logtail/"),
            ("GET", "/logtail/nobody"),
            ("GET", "/logtail/a:*"),
            ("GET", "/logtail/a/foo"),
            ("GET", "/logtail/a/"),
            ("GET", "/logtail/a/stdout/x"),
            ("GET", "/logtail/none"),
            ("POST", "/logtail/a"),
            ("HEAD", "/logtail/a"),
            ("POST", "/mainlogtail"),
        ] {
            let (status, body) = run.http(verb, path, "", "").unwrap();
            // Supervisor sends a body with HEAD too.
            run.note(&format!("{verb} {path}"), format!("{status} {}", if verb == "HEAD" { "" } else { &body }));
        }
    });
}

#[test]
fn a_followed_log_has_supervisors_headers_and_framing() {
    compare(CAT, |run| {
        run.until("a", "RUNNING");
        run.rpc("supervisor.sendProcessStdin", json!(["a", &"0123456789abcde\n".repeat(200)])).unwrap();
        wait_for("the log", || (run.read("a.out").len() == 3200).then_some(()));
        // With HTTP/1.0 Supervisor sends nothing before it has 64 KiB.
        for path in ["/logtail/a", "/logtailx/a:a/stdout"] {
            let mut stream = UnixStream::connect(run.dir.join("sock")).unwrap();
            stream.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
            write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            let (mut reply, mut piece) = (String::new(), [0; 4096]);
            while reply.matches("0123456789abcde\n").count() < 64 {
                let read = stream.read(&mut piece).unwrap();
                assert!(read > 0, "{reply}");
                reply.push_str(std::str::from_utf8(&piece[..read]).unwrap());
            }
            let (head, body) = reply.split_once("\r\n\r\n").unwrap();
            let mut fields: Vec<&str> = head
                .lines()
                .filter(|line| !["Date", "Server", "Last-Modified"].iter().any(|name| line.starts_with(name)))
                .collect();
            fields.sort_unstable();
            run.note(path, format!("{fields:?} {}", body.trim_end()));
            assert!(head.contains("\r\nLast-Modified: "));
        }
    });
}
