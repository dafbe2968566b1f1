//! Which clients may connect over which socket, and limits for clients.

use super::rsup;
use crate::harness::{Sandbox, Subject, free_port, over_tcp, report, run, skip, xmlrpc};
use serde_json::json;
use std::io::{Read, Write};

fn post(fields: &str) -> String {
    let body = xmlrpc::call("supervisor.getState", &json!([]));
    format!("POST /RPC2 HTTP/1.0\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len())
}

fn status(reply: &str) -> &str {
    reply.split(' ').nth(1).unwrap_or_default()
}

#[test]
fn programs_are_served_and_browsers_of_other_sites_are_refused() {
    let port = free_port();
    let sandbox = rsup(&format!("[inet_http_server]\nport=127.0.0.1:{port}\n"));
    let host = format!("Host: 127.0.0.1:{port}\r\n");
    for (fields, wanted) in [
        (String::new(), "200"),
        (host.clone(), "200"),
        ("Host: whatever.it.is.called\r\n".into(), "200"),
        (format!("{host}Origin: http://127.0.0.1:{port}\r\n"), "200"),
        (format!("{host}Origin: http://evil.example\r\nContent-Type: text/plain\r\n"), "403"),
        (format!("{host}Sec-Fetch-Site: cross-site\r\n"), "403"),
        ("Host: evil.example\r\nOrigin: http://evil.example\r\n".into(), "403"),
    ] {
        assert_eq!(status(&over_tcp(port, &post(&fields)).unwrap()), wanted, "{fields}");
        // A Unix socket allows all of these, since browsers cannot reach it.
        assert_eq!(status(&sandbox.raw(&post(&fields)).unwrap()), "200", "{fields}");
    }
    for path in ["/RPC2", "/logtail/x", "/mainlogtail", "/"] {
        let get = |fields: &str| over_tcp(port, &format!("GET {path} HTTP/1.0\r\n{fields}\r\n")).unwrap();
        let reply = get("Host: evil.example\r\n");
        assert!(status(&reply) == "403" && reply.contains("allowed_hosts"), "{path}: {reply}");
        let reply = get(&format!("{host}Referer: http://evil.example/\r\n"));
        assert!(status(&reply) == "403" && reply.contains("allowed_origins"), "{path}: {reply}");
    }
    // The real supervisorctl, over TCP.
    let address = format!("http://localhost:{port}");
    let ran = sandbox.ctl_of(Subject::Supervisor, &["-s", &address, "version"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "4.3.0\n"), "{ran:?}");
}

#[test]
fn a_link_acts_for_the_own_page_and_for_programs_and_asks_other_browsers_first() {
    let port = free_port();
    let sandbox = rsup(&format!("[inet_http_server]\nport=:{port}\n[program:a]\ncommand=/bin/sleep 1000\n"));
    sandbox.until("a", "RUNNING");
    let pid = sandbox.pid_of("a");
    let host = format!("Host: 10.9.9.9:{port}\r\n");
    let link = |verb: &str, fields: &str| format!("{verb} /index.html?action=stopall HTTP/1.0\r\n{host}{fields}\r\n");
    // What Chromium sends for <img referrerpolicy=no-referrer>, over http to an address off loopback.
    let picture = "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\nAccept: image/avif,image/webp,*/*;q=0.8\r\n\
                   Accept-Encoding: gzip, deflate\r\nAccept-Language: en-US,en;q=0.9\r\n";
    for (verb, fields, wanted) in [
        ("GET", picture, "403"),
        ("GET", "Sec-Fetch-Site: none\r\nUpgrade-Insecure-Requests: 1\r\n", "403"),
        ("GET", "Sec-Fetch-Site: cross-site\r\n", "403"),
        ("HEAD", "", "404"),
        ("HEAD", picture, "404"),
    ] {
        let reply = over_tcp(port, &link(verb, fields)).unwrap();
        assert_eq!(status(&reply), wanted, "{verb} {fields}");
        assert!(
            !fields.contains("Language") || verb == "HEAD" || reply.contains("Nothing has been done yet"),
            "{reply}"
        );
    }
    assert_eq!(status(&sandbox.raw(&link("HEAD", "")).unwrap()), "404");
    assert_eq!((sandbox.state("a").as_str(), sandbox.pid_of("a")), ("RUNNING", pid));
    let own = format!("{picture}Referer: http://10.9.9.9:{port}/\r\n");
    for fields in ["User-Agent: curl/8.5.0\r\nAccept: */*\r\n", "Sec-Fetch-Site: same-origin\r\n", &own] {
        assert_eq!(status(&over_tcp(port, &link("GET", fields)).unwrap()), "303", "{fields}");
        assert_eq!(sandbox.state("a"), "STOPPED", "{fields}");
        sandbox.rpc("supervisor.startProcess", json!(["a"])).unwrap();
    }
    // Browsers cannot reach a Unix socket.
    assert_eq!(status(&sandbox.raw(&link("GET", picture)).unwrap()), "303");
    assert_eq!(sandbox.state("a"), "STOPPED");
}

#[test]
fn answers_forbid_type_guessing_and_allow_no_other_site() {
    let port = free_port();
    let conf = format!(
        "[inet_http_server]\nport=127.0.0.1:{port}\n[program:a]\ncommand=/bin/cat\nstdout_logfile={{dir}}/a.out\n"
    );
    let sandbox = rsup(&conf);
    sandbox.until("a", "RUNNING");
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n");
    for request in [
        get("/logtail/a"),
        get("/mainlogtail"),
        get("/"),
        get("/nothing"),
        post(&format!("Host: localhost:{port}\r\n")),
    ] {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(crate::harness::TIMEOUT)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.contains("\r\nX-Content-Type-Options: nosniff\r\n"), "{request}: {head}");
        assert!(!head.to_lowercase().contains("access-control"), "{request}: {head}");
    }
}

#[test]
fn a_port_without_a_password_is_logged_and_can_be_forbidden() {
    let port = free_port();
    let open = format!("[inet_http_server]\nport=:{port}\n");
    let sandbox = rsup(&open);
    let critical =
        sandbox.log().lines().filter(|line| line.contains(" CRIT ") && line.contains("inet_http_server")).count();
    assert_eq!(critical, 1, "{}", sandbox.log());
    let check = |conf: &str| {
        let sandbox = Sandbox::new(Subject::Rsup, conf);
        run(sandbox.command("rsup").args(["check", "-c", "supervisord.conf"]))
    };
    let found = check(&open);
    assert!(found.code == 1 && found.out.contains("set username and password"), "{found:?}");
    for fine in [format!("{open}username=u\npassword=p\n"), format!("[inet_http_server]\nport=127.0.0.1:{port}\n")] {
        assert_eq!(check(&fine).code, 0, "{fine}");
    }
    for port in
        [open.clone(), format!("[inet_http_server]\nport=127.0.0.1:{port}\n"), format!("{open}username=\npassword=p\n")]
    {
        let forbidden = check(&format!("{port}require_password=true\n"));
        assert!(forbidden.code == 2 && forbidden.out.contains("require_password"), "{forbidden:?}");
    }
    assert_eq!(check(&format!("{open}username=u\npassword=p\nrequire_password=true\n")).code, 0);
}

#[test]
fn the_default_socket_refuses_other_users() {
    if !nix::unistd::geteuid().is_root() {
        return skip("other users can be had by root only");
    }
    // In a new mount namespace, so that no other process uses /run.
    let script = "mount -t tmpfs none /run && mkdir /run/x && cd /run/x && printf '[program:a]\\ncommand=/bin/sleep 1000\\n' > rsup.conf && \
        { \"$0\" -c rsup.conf >log 2>&1 & } && pid=$! && \
        for i in $(seq 400); do \"$1\" -s unix:///run/rsup.sock pid >/dev/null 2>&1 && break; sleep 0.1; done; \
        \"$1\" -s unix:///run/rsup.sock version; echo \"root $?\"; \
        chmod 666 /run/rsup.sock; setpriv --reuid=65534 --clear-groups \"$1\" -s unix:///run/rsup.sock version; echo \"other $?\"; kill $pid; wait $pid";
    let sandbox = Sandbox::bare(Subject::Rsup);
    let mut command = std::process::Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", script])
        .arg(sandbox.dir.join("bin/rsup"))
        .arg(sandbox.dir.join("bin/rsupctl"));
    let ran = run(&mut command);
    if ran.err.contains("unshare") || ran.err.contains("mount:") {
        return skip("no mount namespace is allowed here");
    }
    assert!(ran.out.contains("4.3.0\nroot 0\n"), "{ran:?}");
    let other = ran.out.split("root 0\n").nth(1).unwrap();
    assert!(!other.contains("4.3.0") && !other.contains("other 0"), "{ran:?}");
}

#[test]
fn programs_that_take_all_descriptors_leave_one_for_a_client() {
    let conf = "[supervisord]\nminfds=40\n[program:a]\ncommand=/bin/sleep 1000\nnumprocs=40\nprocess_name=%(process_num)02d\nstartretries=0\n\
                stdout_logfile=NONE\nstderr_logfile=NONE\n";
    let mut sandbox = Sandbox::new(Subject::Rsup, conf);
    let plain = sandbox.command("supervisord");
    let mut limited = std::process::Command::new("/bin/sh");
    limited.current_dir(&sandbox.dir).env_clear();
    limited.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited.args(["-c", "ulimit -n 64 && exec \"$0\" -n -c supervisord.conf"]).arg(plain.get_program());
    sandbox.launch_as(limited);
    sandbox.until_log("gave up: ", 6);
    let mut idle = Vec::new();
    for n in 0..20 {
        let state = sandbox.rpc("supervisor.getState", json!([])).unwrap_or_else(|why| panic!("{n}: {why:?}"));
        assert_eq!(state["statename"], "RUNNING");
        let log = sandbox.rpc("supervisor.readLog", json!([-10, 0])).unwrap_or_else(|why| panic!("{n}: {why:?}"));
        assert_eq!(log.as_str().unwrap().len(), 10, "a file can be read too");
        // Idle connections must not matter.
        idle.push(std::os::unix::net::UnixStream::connect(sandbox.dir.join("sock")).unwrap());
    }
    let ran = sandbox.ctl(&["stop", "all"]);
    assert!(ran.code == 0 && ran.out.contains(": stopped"), "{ran:?}");
    assert_eq!(sandbox.stop(), 0);
}

/// The median time of the call that `status` makes.
fn latency(stream: &mut std::os::unix::net::UnixStream) -> std::time::Duration {
    let body = xmlrpc::call("supervisor.getAllProcessInfo", &json!([]));
    let request = format!("POST /RPC2 HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut times: Vec<_> = (0..400)
        .map(|_| {
            let begin = std::time::Instant::now();
            stream.write_all(request.as_bytes()).unwrap();
            let (mut reply, mut piece) = (Vec::new(), [0; 65536]);
            while !reply.ends_with(b"</methodResponse>\n") {
                let read = stream.read(&mut piece).unwrap();
                assert!(read > 0);
                reply.extend_from_slice(&piece[..read]);
            }
            begin.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}

fn resident_kib(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Raises the descriptor limit of this process, which needs one for its end of each connection. Returns `false` if the hard limit is too low.
pub fn descriptors(wanted: u64) -> bool {
    use nix::sys::resource::{Resource::RLIMIT_NOFILE, getrlimit, setrlimit};
    // Twice as many, since the tests of this file run at the same time.
    let (_, hard) = getrlimit(RLIMIT_NOFILE).unwrap();
    if hard < wanted * 2 {
        skip("thousands of connections need as many descriptors");
        return false;
    }
    setrlimit(RLIMIT_NOFILE, hard, hard).unwrap();
    true
}

/// 1,000 silent clients, 100 that send a byte a second, and two with bodies of 1 GiB. docs/security.md has the figures.
#[test]
fn a_thousand_clients_cost_little_memory_and_time() {
    const SECONDS: u32 = 5;
    if !descriptors(1_200) {
        return;
    }
    let port = free_port();
    let programs = "[program:a]\ncommand=/bin/sleep 1000\nnumprocs=10\nprocess_name=%(process_num)d\n";
    let sandbox = rsup(&format!("[inet_http_server]\nport=127.0.0.1:{port}\n{programs}"));
    (0..10).for_each(|n| sandbox.until(&format!("a:{n}"), "RUNNING"));
    let (pid, connect) = (sandbox.pid(), || std::net::TcpStream::connect(("127.0.0.1", port)).unwrap());
    let mut own = std::os::unix::net::UnixStream::connect(sandbox.dir.join("sock")).unwrap();
    own.set_read_timeout(Some(crate::harness::TIMEOUT)).unwrap();
    latency(&mut own);
    let (quiet, before) = (latency(&mut own), resident_kib(pid));
    let mut idle: Vec<_> = (0..1_000).map(|_| connect()).collect();
    let mut slow: Vec<_> = (0..100).map(|_| connect()).collect();
    slow.iter_mut().for_each(|client| client.write_all(b"POST /RPC2 HTTP/1.1\r\nX: ").unwrap());
    // One body is a single chunk, the other has a length.
    let heads = ["Transfer-Encoding: chunked\r\n\r\n40000000", "Content-Length: 1073741824\r\n"];
    let senders = heads.map(|head| {
        let mut large = connect();
        std::thread::spawn(move || {
            let (piece, mut sent) = (vec![b'x'; 1 << 20], 0_u64);
            large.write_all(format!("POST /RPC2 HTTP/1.1\r\n{head}\r\n").as_bytes()).unwrap();
            // The server closes the connection long before the end.
            while sent < 1 << 30 && large.write_all(&piece).is_ok() {
                sent += 1 << 20;
            }
            sent >> 20
        })
    });
    let (mut crowded, mut most) = (Vec::new(), before);
    let begin = std::time::Instant::now();
    for second in 0..SECONDS {
        slow.iter_mut().for_each(|client| client.write_all(b"x").unwrap());
        while begin.elapsed().as_secs() <= second.into() {
            crowded.push(latency(&mut own));
            most = most.max(resident_kib(pid));
        }
    }
    let sent = senders.map(|sender| sender.join().unwrap());
    most = most.max(resident_kib(pid));
    crowded.sort_unstable();
    let typical = crowded[crowded.len() / 2];
    report(
        "figures",
        &format!(
            "1,000 idle, 100 slow, bodies of 1 GiB ({sent:?} MiB of them sent): resident {before} KiB, at most {most} KiB; \
         status {quiet:?}, with all of them {typical:?}: {:.2} times",
            typical.as_secs_f64() / quiet.as_secs_f64()
        ),
    );
    // 4 KiB for a client that has sent something, less than 1 KiB for a silent one, and some for the allocator.
    assert!(most < before + 4096, "{before} KiB became {most} KiB");
    // Only the fastest call is compared: if all are slow, the machine is busy.
    assert!(crowded[0] < quiet * 20 + std::time::Duration::from_millis(5), "{quiet:?} became {crowded:?}");
    // No silent or slow client was closed.
    for client in idle.iter_mut().chain(&mut slow).step_by(50) {
        client.set_nonblocking(true).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }
    assert_eq!(sandbox.rpc("supervisor.getState", json!([])).unwrap()["statename"], "RUNNING");
}
