//! System calls that fail for want of memory or descriptors (strace --inject): no client loses its answer, nothing spins, and
//! the log has one line.

use super::rsup;
use crate::harness::{Beside, PATIENCE, Sandbox, skip, wait_for};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long the calls fail. Not a measure of speed: what is checked is how often they are tried in it.
const FAILING: Duration = Duration::from_secs(2);
/// So many calls may be traced in that time: each is tried again ten times a second, with a few others around it. What spins makes
/// thousands.
const CALLS_MAX: usize = 300;

/// Lets `calls` of the running supervisor fail with `error` until it is dropped; the calls are traced to `{dir}/trace`.
pub(super) fn inject(sandbox: &Sandbox, calls: &str, error: &str) -> Option<Beside> {
    let mut strace = Command::new("strace");
    strace.args(["-p", &sandbox.pid().to_string(), "-o"]).arg(sandbox.dir.join("trace"));
    strace.args(["-e", &format!("trace=accept4,epoll_ctl,epoll_wait,epoll_pwait,recvfrom,sendto,{calls}")]);
    strace.args(["-e", &format!("inject={calls}:error={error}")]).stdin(Stdio::null()).stderr(Stdio::piped());
    let Ok(child) = strace.spawn() else {
        skip("no strace");
        return None;
    };
    let mut strace = Beside(child);
    let mut lines = BufReader::new(strace.0.stderr.take().unwrap()).lines().map_while(Result::ok);
    if !lines.any(|line| line.ends_with(" attached")) {
        skip("strace may not trace processes here");
        return None;
    }
    Some(strace)
}

#[test]
fn a_client_waits_while_calls_fail_and_gets_its_answer() {
    let sandbox = rsup("[program:x]\ncommand=/bin/sleep 1000\n");
    sandbox.until("x", "RUNNING");
    let mut idle = std::os::unix::net::UnixStream::connect(sandbox.dir.join("sock")).unwrap();
    for (calls, errors, line) in [
        ("accept4", &["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"][..], Some("cannot accept a client: ")),
        ("epoll_ctl", &["ENOMEM", "ENOSPC"], Some("cannot wait for a client: ")),
        ("sendto", &["ENOBUFS", "ENOMEM"], Some("cannot read from or write to a client: ")),
        ("sendto", &["EAGAIN"], None),
        ("recvfrom", &["ENOMEM", "ENOBUFS"], Some("cannot read from or write to a client: ")),
        ("recvfrom", &["EAGAIN"], None),
    ] {
        for error in errors {
            let Some(mut strace) = inject(&sandbox, calls, error) else { return };
            let mut client = sandbox.ctl_command(crate::harness::Subject::Rsup, &["pid"]);
            let client = client.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            // Time has to pass here: the calls are to fail again and again.
            let until = Instant::now() + FAILING;
            while Instant::now() < until {
                std::thread::sleep(Duration::from_millis(50));
            }
            let traced = sandbox.read("trace").lines().count();
            assert!(traced < CALLS_MAX, "{calls} {error}: {traced} calls\n{}", sandbox.read("trace"));
            nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(i32::try_from(strace.0.id()).unwrap()),
                nix::sys::signal::Signal::SIGTERM,
            )
            .unwrap();
            wait_for("the end of strace", || strace.0.try_wait().unwrap());
            let done = client.wait_with_output().unwrap();
            let wanted = format!("{}\n", sandbox.pid());
            assert_eq!(String::from_utf8_lossy(&done.stdout), wanted, "{calls} {error}: {done:?}");
            assert!(sandbox.read("trace").contains("INJECTED"), "{calls} {error}");
        }
        if let Some(line) = line {
            assert_eq!(sandbox.log().matches(line).count(), 1, "{calls}: {}", sandbox.log());
        }
    }
    // A client that was there before has at most lost its connection to the next one, once, where descriptors were short.
    let body = crate::harness::xmlrpc::call("supervisor.getState", &serde_json::json!([]));
    idle.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("POST /RPC2 HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut reply = String::new();
    let _ = std::io::Write::write_all(&mut idle, request.as_bytes());
    let _ = std::io::Read::read_to_string(&mut idle, &mut reply);
    assert!(reply.is_empty() || reply.contains("RUNNING"), "{reply}");
}
