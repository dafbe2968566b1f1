//! Clients that ask for more than there is memory for (RLIMIT_AS): their requests fail with a reason, and everything else goes on.

use crate::harness::{Sandbox, Subject, wait_for, xmlrpc};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// The address space of the supervisor and of its programs, in KiB.
const LIMIT_KIB: u32 = 50_000;

/// Starts rsup with little memory, and with a log of 55 MB.
fn short_of_memory() -> Sandbox {
    let conf = "[program:x]\ncommand=/bin/sleep 1000\nstdout_logfile={dir}/x.log\nstdout_logfile_maxbytes=0\n\
        [program:many]\ncommand=/bin/true\nautostart=false\nnumprocs=200\nprocess_name=%(program_name)s_%(process_num)d\n";
    let mut sandbox = Sandbox::new(Subject::Rsup, conf);
    fs::write(sandbox.dir.join("x.log"), "a <line> & another\n".repeat(3_000_000)).unwrap();
    let mut command = sandbox.command_of(Path::new("sh"));
    let script = format!("ulimit -v {LIMIT_KIB} && exec \"$0\" -n -c supervisord.conf");
    command.arg("-c").arg(script).arg(sandbox.dir.join("bin/rsup"));
    sandbox.launch_as(command);
    wait_for("an answer", || sandbox.rpc("supervisor.getState", json!([])).ok());
    sandbox.until("x", "RUNNING");
    sandbox
}

/// The supervisor answers, starts programs, and ends when it should. `pid`: of the process to send SIGTERM to.
fn assert_all_is_well(sandbox: &mut Sandbox) {
    let status = sandbox.ctl(&["status", "x"]);
    assert!(status.out.contains("RUNNING"), "{status:?}");
    assert_eq!(sandbox.ctl(&["restart", "x"]).code, 0);
    assert!(sandbox.pid_of("x") > 0);
    assert_eq!(sandbox.stop(), 0);
    assert!(sandbox.log().contains("stopped: x (terminated by SIGTERM)"), "{}", sandbox.log());
}

/// The answer is complete and has at least `least` bytes, or it is a fault with the reason.
fn assert_answered(sandbox: &Sandbox, method: &str, params: Value, least: usize) {
    let (status, body) = sandbox.http("POST", "/RPC2", "", &xmlrpc::call(method, &params)).unwrap();
    let is_fault = body.contains("<value><string>FAILED: not enough memory for the answer</string></value>");
    let is_whole = body.len() >= least && body.ends_with("</methodResponse>\n");
    assert!(status == 200 && (is_whole || is_fault), "{method}: {status}, {} bytes: {body:.300}", body.len());
}

#[test]
fn an_answer_for_which_there_is_no_memory_is_a_fault() {
    let mut sandbox = short_of_memory();
    let all = json!({"methodName": "supervisor.getAllProcessInfo", "params": []});
    let log = json!({"methodName": "supervisor.readProcessStdoutLog", "params": ["x", 0, 55_000_000]});
    for (method, params, least) in [
        ("supervisor.readProcessStdoutLog", json!(["x", 0, 55_000_000]), 80_000_000),
        ("supervisor.tailProcessStdoutLog", json!(["x", 0, 55_000_000]), 80_000_000),
        ("system.multicall", json!([vec![all; 300]]), 30_000_000),
        ("system.multicall", json!([vec![log; 3]]), 80_000_000),
    ] {
        assert_answered(&sandbox, method, params, least);
        assert_eq!(sandbox.rpc("supervisor.getPID", json!([])).map(|pid| pid.is_number()), Ok(true), "{method}");
    }
    // The clients read an answer in pieces.
    for client in [Subject::Supervisor, Subject::Rsup] {
        let tail = sandbox.ctl_of(client, &["tail", "-5000000", "x"]);
        assert!(
            tail.code == 0 && sandbox.read("x.log").trim_end().ends_with(tail.out.trim()),
            "{client:?}: {:.200}",
            tail.out
        );
        assert!(tail.out.len() > 4_999_900, "{client:?}: {}", tail.out.len());
    }
    let (status, page) = sandbox.http("GET", "/tail.html?processname=x&limit=1048576", "", "").unwrap();
    assert!(status == 200 && page.len() > 1_000_000 || page.contains("not enough memory"), "{status} {page:.200}");
    assert_all_is_well(&mut sandbox);
}

#[test]
fn bodies_that_use_up_the_memory_cost_only_their_own_clients() {
    let mut sandbox = short_of_memory();
    let body = xmlrpc::call("supervisor.getState", &json!([vec!["x"; 20_000]]));
    assert!(body.len() > 500_000 && body.len() < 1_000_000, "{}", body.len());
    let head = format!("POST /RPC2 HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len() + 1);
    let mut clients: Vec<UnixStream> = Vec::new();
    for _ in 0..100 {
        let mut client = UnixStream::connect(sandbox.dir.join("sock")).unwrap();
        client.set_write_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        // The server may close any of them meanwhile.
        let _ = client.write_all(head.as_bytes()).and_then(|()| client.write_all(body.as_bytes()));
        clients.push(client);
    }
    sandbox.until_log("memory is short: closed a client", 1);
    assert_eq!(sandbox.rpc("supervisor.getPID", json!([])).map(|pid| pid.is_number()), Ok(true));
    // The last byte of each body.
    for client in &mut clients {
        let _ = client.write_all(b" ");
    }
    assert_all_is_well(&mut sandbox);
}

#[test]
fn a_configuration_for_which_there_is_no_memory_is_refused() {
    let mut sandbox = short_of_memory();
    let config = sandbox.read("supervisord.conf");
    let program = "[program:big]\ncommand=/bin/true\nnumprocs=60000\nprocess_name=%(process_num)d\n";
    for (added, why) in [
        (program.to_owned(), "numprocs: there is not enough memory for 60000 processes"),
        (format!(";{}\n", "x".repeat(4_000_000)), "supervisord.conf: out of memory"),
    ] {
        sandbox.write("supervisord.conf", &format!("{config}{added}"));
        let reread = sandbox.ctl(&["reread"]);
        assert!(reread.code == 1 && (reread.out.clone() + &reread.err).contains(why), "{reread:?}");
        assert_eq!(sandbox.rpc("supervisor.getPID", json!([])).map(|pid| pid.is_number()), Ok(true));
    }
    sandbox.write("supervisord.conf", &config);
    assert_eq!(sandbox.ctl(&["reread"]).code, 0);
    assert_all_is_well(&mut sandbox);
}
