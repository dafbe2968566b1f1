//! System calls that fail for lack of memory or descriptors (strace --inject): every client gets its answer, rsup does not spin, and the
//! log has one line.

use super::rsup;
use crate::harness::{Beside, Sandbox, TIMEOUT, skip, wait_for};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long the calls fail. The test checks how often they are tried in this time, not how fast anything is.
const FAILING: Duration = Duration::from_secs(2);
/// The most calls that may be traced in that time. Each failing call is tried ten times a second, with a few other calls. A spinning loop
/// would make thousands.
const CALLS_MAX: usize = 300;

/// Makes `calls` of the running supervisor fail with `error` until the result is dropped. Traces the calls to `{dir}/trace`.
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
        (
            "accept4",
            &["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "ECONNABORTED", "EPROTO", "ENETDOWN"][..],
            Some("cannot accept a client: "),
        ),
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
            // A fixed time, in which the calls fail again and again.
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
    // The idle client was at most closed to make room for another one, when there were no descriptors.
    let body = crate::harness::xmlrpc::call("supervisor.getState", &serde_json::json!([]));
    idle.set_read_timeout(Some(TIMEOUT)).unwrap();
    let request = format!("POST /RPC2 HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut reply = String::new();
    let _ = std::io::Write::write_all(&mut idle, request.as_bytes());
    let _ = std::io::Read::read_to_string(&mut idle, &mut reply);
    assert!(reply.is_empty() || reply.contains("RUNNING"), "{reply}");
}

#[test]
fn an_error_of_a_connection_closes_it_and_is_logged() {
    let sandbox = rsup("");
    for error in ["EIO", "ECONNRESET"] {
        let Some(_strace) = inject(&sandbox, "recvfrom", error) else { return };
        assert_ne!(sandbox.ctl(&["pid"]).code, 0);
    }
    let log = sandbox.log();
    assert_eq!(log.matches("closed a client: cannot read from or write to it: ").count(), 1, "{log}");
    assert!(log.contains("closed a client: cannot read from or write to it: EIO"), "{log}");
}

#[test]
fn a_pipe_that_cannot_be_removed_from_the_poll_does_not_make_the_loop_spin() {
    let mut sandbox = Sandbox::new(
        crate::harness::Subject::Rsup,
        "[program:x]\ncommand=yes\nautostart=false\nstdout_logfile={dir}/fifo\nstdout_logfile_maxbytes=0\n",
    );
    let fifo = sandbox.dir.join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let flags = nix::fcntl::OFlag::O_NONBLOCK.bits();
    let mut reader = std::fs::File::options().read(true).custom_flags(flags).open(&fifo).unwrap();
    sandbox.start();
    // The program is being read when the calls begin to fail.
    assert_eq!(sandbox.ctl(&["start", "x"]).code, 0);
    let read = std::thread::spawn(move || {
        let mut line = [0; 1000];
        let until = Instant::now() + FAILING;
        while Instant::now() < until {
            let _ = std::io::Read::read(&mut reader, &mut line);
        }
        reader
    });
    let Some(strace) = inject(&sandbox, "epoll_ctl", "ENOMEM") else { return };
    let _reader = read.join().unwrap();
    let calls = || sandbox.read("trace").lines().count();
    wait_for("a failing removal", || sandbox.read("trace").contains("EPOLL_CTL_DEL").then_some(()));
    let before = calls();
    std::thread::sleep(FAILING);
    let made = calls() - before;
    assert!(made < CALLS_MAX, "{made} calls\n{}", sandbox.read("trace"));
    drop(strace);
    assert_eq!(sandbox.rpc("supervisor.getPID", serde_json::json!([])).map(|pid| pid.is_number()), Ok(true));
    assert_eq!(sandbox.stop(), 0);
}

#[test]
fn a_health_check_that_rsup_cannot_make_restarts_nothing() {
    let conf = "[program:tcp]\ncommand=/bin/sleep 1000\nstartsecs=0\nhealthcheck=unix:{dir}/sock\nhealthcheck_interval=0.1\nhealthcheck_retries=1\n\
                [program:exec]\ncommand=/bin/sleep 1000\nstartsecs=0\nhealthcheck=exec:true\nhealthcheck_interval=0.1\nhealthcheck_retries=1\n";
    let sandbox = rsup(conf);
    let pids = ["tcp", "exec"].map(|name| {
        sandbox.until(name, "RUNNING");
        sandbox.pid_of(name)
    });
    for (call, error, name) in [("socket", "EMFILE", "tcp"), ("pipe2", "ENFILE", "exec")] {
        let Some(strace) = inject(&sandbox, call, error) else { return };
        sandbox.until_log(&format!("{name}: cannot check its health: "), 3);
        drop(strace);
    }
    assert_eq!(["tcp", "exec"].map(|name| sandbox.pid_of(name)), pids, "{}", sandbox.log());
    assert!(!sandbox.log().contains("unhealthy"), "{}", sandbox.log());
}
