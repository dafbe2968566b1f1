//! Answers to clients that differ from Supervisor's; docs/compat.md has a row for each.

use super::rsup;
use crate::harness::{Sandbox, Subject, run, stale_socket};
use serde_json::json;
use std::process::Command;

const CALL: &str = "<?xml version='1.0'?><methodCall><methodName>supervisor.getPID</methodName><params/></methodCall>";

/// The status of the answer, and whether the server then closed the connection.
fn answer(sandbox: &Sandbox, request: &str) -> (String, bool) {
    use std::io::{Read, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(sandbox.dir.join("sock")).unwrap();
    stream.set_read_timeout(Some(crate::harness::TIMEOUT)).unwrap();
    // A second request, whose answer has another status, shows whether the connection is kept.
    stream.write_all(format!("{request}GET /nothing HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    let all = String::from_utf8_lossy(&all).into_owned();
    let status = all.split(' ').nth(1).unwrap_or_default().to_owned();
    (status, !all.contains("404 Not Found"))
}

#[test]
fn http_framing_that_supervisor_rejects_is_answered() {
    let sandbox = rsup("");
    let length = CALL.len();
    for (request, status, closes) in [
        ("POST /RPC2 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "411", true),
        (
            format!(
                "POST /RPC2 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{CALL}\r\n0\r\n\r\n"
            ),
            "200",
            false,
        ),
        ("garbage\r\n\r\n".into(), "400", true),
        (
            format!("POST http://localhost/RPC2 HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{CALL}"),
            "200",
            false,
        ),
        ("GET http://localhost/ HTTP/1.1\r\nHost: x\r\n\r\n".into(), "200", false),
    ] {
        assert_eq!(answer(&sandbox, &request), (status.to_owned(), closes), "{request}");
    }
}

#[test]
fn the_web_page_names_rsup_and_refuses_invalid_requests() {
    let sandbox = rsup("[program:x]\ncommand=/bin/sleep 1000\n");
    let (status, page) = sandbox.http("GET", "/", "", "").unwrap();
    let version = format!("<footer>rsup {}, compatible with Supervisor</footer>", env!("CARGO_PKG_VERSION"));
    assert!(status == 200 && page.contains(&version), "{page}");
    let (status, _) = sandbox.http("GET", "/index.html?action=stop&processname=", "", "").unwrap();
    assert_eq!(status, 400);
    for path in ["/logtail/x", "/mainlogtail"] {
        let reply = sandbox.raw(&format!("POST {path} HTTP/1.0\r\n\r\n")).unwrap();
        assert!(reply.starts_with("HTTP/1.1 411 "), "{path}: {reply}");
        assert_eq!(sandbox.http("POST", path, "", "").unwrap().0, 400, "{path}");
    }
}

#[test]
fn exit_codes_are_sorted_and_a_log_without_a_value_is_none() {
    let sandbox = rsup("[program:x]\ncommand=/bin/sleep 1000\nexitcodes=3,1,3,0\nstdout_logfile=\n");
    let config = &sandbox.rpc("supervisor.getAllConfigInfo", json!([])).unwrap()[0];
    assert_eq!((&config["exitcodes"], &config["stdout_logfile"]), (&json!([0, 1, 3]), &json!("none")));
}

#[test]
fn a_group_starts_by_priority_and_clear_names_it() {
    let sandbox = rsup(
        "[group:g]\nprograms=late,early\n[program:early]\ncommand=/bin/sleep 1000\npriority=2\n\
         [program:late]\ncommand=/bin/sleep 1000\npriority=9\n",
    );
    sandbox.until("g:late", "RUNNING");
    let spawned: Vec<String> = sandbox.messages().into_iter().filter(|line| line.contains("spawned: ")).collect();
    assert!(spawned.len() == 2 && spawned[0].contains("'early'") && spawned[1].contains("'late'"), "{spawned:?}");
    let ran = sandbox.ctl(&["clear", "g:*"]);
    let wanted = "g:*: ERROR (no such process)\nthis command takes single processes, or all\n";
    assert_eq!((ran.code, ran.out.as_str()), (1, wanted));
}

#[test]
fn a_start_reports_a_stale_socket_but_not_a_change_to_the_same_user() {
    let mut sandbox = Sandbox::new(Subject::Rsup, "");
    stale_socket(&sandbox.dir.join("sock"));
    sandbox.start();
    let log = sandbox.log();
    assert!(log.contains(&sandbox.fill("INFO Unlinking stale socket {dir}/sock\n")), "{log}");
    assert!(!log.contains("Set uid"), "{log}");
}

#[test]
fn python_constants_that_are_not_signals_are_refused() {
    let sandbox = rsup("[program:x]\ncommand=/bin/sleep 1000\n");
    sandbox.until("x", "RUNNING");
    for name in ["SIG_IGN", "SIG_DFL", "SIG_BLOCK", "SIG_UNBLOCK"] {
        let fault = sandbox.rpc("supervisor.signalProcess", json!(["x", name])).unwrap_err();
        assert_eq!(fault.0, 11, "{name}: {fault:?}");
        sandbox.write("bad.conf", &format!("[program:x]\ncommand=/bin/true\nstopsignal={name}\n"));
        let mut check = Command::new(sandbox.dir.join("bin/rsup"));
        let ran = run(check.arg("check").arg(sandbox.dir.join("bad.conf")));
        assert!(ran.code != 0 && format!("{}{}", ran.out, ran.err).contains(name), "{ran:?}");
    }
}
