use super::connection::REQUEST_MILLIS;
use super::*;
use crate::config::model::{HttpServerConfig, LogPlace, SocketAddress};
use crate::rpc::tests::fake::{FakeHost, program};
use crate::sys::sockets::Access;
use crate::wire::http::{self, ReceivedResponse, authorization, parse_reply, request};
use crate::wire::xmlrpc::{Value, parse_response, write_call};
use proptest::prelude::*;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

const TOKENS: [u64; 2] = [1 << 32, 2 << 32];

/// A server with a poll loop, a fake daemon, and a directory for its socket.
struct TestServer {
    server: Server,
    poll: Rc<Poll>,
    host: FakeHost,
    log_lines: LogLines,
    folder: tempfile::TempDir,
}

fn section(folder: &Path) -> HttpServerConfig {
    HttpServerConfig {
        section: "unix_http_server".into(),
        address: SocketAddress::Unix(folder.join("sock")),
        chmod: 0o700,
        chown: None,
        credentials: None,
        allowed_hosts: vec![],
        allowed_origins: vec![],
    }
}

fn test_server_with(programs: usize, change: impl FnOnce(&mut Config)) -> TestServer {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config { http: vec![section(folder.path())], ..Config::default() };
    config.rpc_interfaces.push(("supervisor".into(), "x".into()));
    change(&mut config);
    let poll = Rc::new(Poll::new().unwrap());
    let (server, log_lines) = Server::open(&config, Rc::clone(&poll), TOKENS).unwrap();
    let groups = (0..programs).map(|n| program(&format!("p{n}"), |_| {})).collect();
    TestServer { server, poll, host: FakeHost::new(groups), log_lines, folder }
}

fn test_server() -> TestServer {
    test_server_with(3, |_| {})
}

impl TestServer {
    fn connect(&self) -> UnixStream {
        let client = UnixStream::connect(self.folder.path().join("sock")).unwrap();
        client.set_nonblocking(true).unwrap();
        client
    }

    /// One turn of the loop; `false`: nothing was ready.
    fn turn(&mut self) -> bool {
        let mut ready = Vec::new();
        self.poll.wait(Now::default().mono, Some(Now::default().mono), &mut ready).unwrap();
        for ready in &ready {
            let n = u32::try_from(ready.token & u64::from(u32::MAX)).unwrap();
            match ready.token >> 32 {
                1 => self.server.accept(n, &mut self.host),
                _ => self.server.serve(n, *ready, &mut self.host),
            }
        }
        self.pass_replies();
        !ready.is_empty()
    }

    /// Passes the replies of the core to the server.
    fn pass_replies(&mut self) {
        while let Some((ticket, reply)) = self.host.replies.pop_front() {
            self.server.reply(ticket, reply, &mut self.host);
        }
    }

    /// Turns until nothing is ready. Fails if that never happens: the loop must not spin.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            if !self.turn() {
                return;
            }
        }
        panic!("the loop spins");
    }

    /// Turns until so many clients are left. A child that another test is forking holds a copy of each socket until its exec, so
    /// a socket that is closed here may stay open for a moment.
    fn settle_until(&mut self, clients: usize) {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while self.clients() != clients {
            assert!(std::time::Instant::now() < deadline, "{} clients are left, not {clients}", self.clients());
            self.settle();
        }
    }

    /// Sends `bytes` in pieces of the lengths `cuts`, and reads meanwhile. Returns everything that was received.
    fn exchange(&mut self, client: &mut UnixStream, bytes: &[u8], cuts: &[usize]) -> Vec<u8> {
        let (mut rest, mut back, mut cuts) = (bytes, Vec::new(), cuts.iter().cycle());
        let mut idle = 0;
        while idle < 3 {
            let piece = rest.len().min(cuts.next().copied().unwrap_or(usize::MAX));
            let sent = match client.write(&rest[..piece]) {
                Ok(sent) => sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(_) => {
                    rest = &[];
                    0
                }
            };
            rest = &rest[sent..];
            let busy = self.turn();
            let before = back.len();
            receive(client, &mut back);
            idle = if busy || sent > 0 || back.len() > before { 0 } else { idle + 1 };
        }
        assert!(rest.is_empty(), "{} bytes were not taken", rest.len());
        back
    }

    fn clients(&self) -> usize {
        assert_eq!(self.server.open_count, self.server.connections.iter().flatten().count());
        self.server.open_count
    }
}

/// Reads everything that has arrived. `false`: the connection is closed.
fn receive(client: &mut UnixStream, into: &mut Vec<u8>) -> bool {
    let mut piece = [0; 64 * 1024];
    loop {
        match client.read(&mut piece) {
            Ok(0) => return false,
            Ok(read) => into.extend_from_slice(&piece[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            Err(_) => return false,
        }
    }
}

fn call(method: &str, params: &[Value]) -> Vec<u8> {
    request("POST", "/RPC2", "localhost", "", &write_call(method, params))
}

fn replies(mut bytes: &[u8]) -> Vec<ReceivedResponse> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        match parse_reply(bytes, true) {
            Ok(Some((reply, consumed))) => {
                bytes = &bytes[consumed..];
                all.push(reply);
            }
            other => panic!("{other:?}: {}", String::from_utf8_lossy(bytes)),
        }
    }
    all
}

fn value(reply: &ReceivedResponse) -> Value {
    assert_eq!(reply.status, 200);
    parse_response(&reply.body).unwrap().unwrap()
}

#[test]
fn a_closed_connection_causes_no_events_though_a_child_has_a_copy_of_it() {
    let mut test = test_server();
    let client = test.connect();
    test.settle();
    let copy = test.server.connections[0].as_ref().unwrap().socket.try_clone().unwrap();
    drop(client);
    test.settle_until(0);
    let mut next = test.connect();
    let bytes = call("supervisor.getAPIVersion", &[]);
    assert_eq!(replies(&test.exchange(&mut next, &bytes, &[])).len(), 1);
    drop(copy);
}

#[test]
fn many_calls_go_over_one_connection_however_they_are_split() {
    let mut test = test_server();
    for cuts in [&[][..], &[1], &[3, 50], &[4000]] {
        let mut client = test.connect();
        let bytes = call("supervisor.getAPIVersion", &[]).repeat(50);
        let got = replies(&test.exchange(&mut client, &bytes, cuts));
        assert_eq!(got.len(), 50);
        assert!(got.iter().all(|reply| reply.keep_alive && value(reply) == "3.0".into()));
        drop(client);
        test.settle_until(0);
        assert_eq!(test.server.held, 0);
    }
}

proptest! {
    #[test]
    fn splitting_changes_nothing(cuts in prop::collection::vec(1..400_usize, 1..20)) {
        let mut test = test_server();
        let mut client = test.connect();
        let mut bytes = call("supervisor.startProcess", &["p0".into()]);
        bytes.extend(call("supervisor.stopProcess", &["p0".into(), false.into()]));
        bytes.extend(b"GET /nothing HTTP/1.1\r\n\r\n");
        bytes.extend(call("supervisor.getIdentification", &[]));
        let mut back = test.exchange(&mut client, &bytes, &cuts);
        test.host.pass(5);
        test.pass_replies();
        back.extend(test.exchange(&mut client, &[], &[]));
        let got = replies(&back);
        let status: Vec<u16> = got.iter().map(|reply| reply.status).collect();
        prop_assert_eq!(status, [200, 200, 404, 200]);
        prop_assert_eq!(value(&got[0]), true.into());
        prop_assert_eq!(value(&got[1]), true.into());
        prop_assert_eq!(value(&got[3]), "the <one>".into());
    }

    #[test]
    fn no_bytes_make_it_fail(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut test = test_server();
        let mut client = test.connect();
        client.write_all(&bytes).unwrap();
        test.settle();
        drop(client);
        test.settle_until(0);
    }
}

#[test]
fn each_path_and_method_has_its_answer() {
    let mut test = test_server();
    for (request, status, stays) in [
        ("GET / HTTP/1.1\r\n\r\n", 200, true),
        ("HEAD /x HTTP/1.1\r\n\r\n", 404, true),
        ("GET /RPC2 HTTP/1.1\r\n\r\n", 400, true),
        ("PUT /x HTTP/1.1\r\n\r\n", 400, true),
        ("POST /RPC2 HTTP/1.1\r\n\r\n", 411, false),
        ("POST /RPC2 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 400, true),
        ("POST /RPC2 HTTP/1.1\r\nContent-Length: 2000000\r\n\r\n", 413, false),
        ("POST /x HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 400, true),
        ("nonsense\r\n\r\n", 400, false),
        ("GET / HTTP/1.0\r\n\r\n", 200, false),
        ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200, true),
        ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n", 200, false),
        ("GET / HTTP/3.0\r\n\r\n", 505, false),
    ] {
        let mut client = test.connect();
        let back = test.exchange(&mut client, request.as_bytes(), &[]);
        assert!(
            back.starts_with(format!("HTTP/1.{} {status} ", u8::from(!request.contains("/1.0"))).as_bytes()),
            "{request}"
        );
        assert_eq!(receive(&mut client, &mut Vec::new()), stays, "{request}");
    }
    let mut client = test.connect();
    let back = test.exchange(&mut client, format!("GET / HTTP/1.1\r\nX: {}\r\n", "y".repeat(20_000)).as_bytes(), &[]);
    assert_eq!(replies(&back)[0].status, 431);
    // The route matches any path with this prefix.
    let mut client = test.connect();
    let any = String::from_utf8(call("system.listMethods", &[])).unwrap().replace("/RPC2", "/%52PC2xyz");
    assert_eq!(replies(&test.exchange(&mut client, any.as_bytes(), &[]))[0].status, 200);
}

#[test]
fn expect_100_continue_is_answered() {
    let mut test = test_server();
    let mut client = test.connect();
    let body = write_call("supervisor.getAPIVersion", &[]);
    let head = format!("POST /RPC2 HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n", body.len());
    assert_eq!(test.exchange(&mut client, head.as_bytes(), &[]), http::CONTINUE);
    assert_eq!(replies(&test.exchange(&mut client, body.as_bytes(), &[1])).len(), 1);
}

#[test]
fn a_password_is_asked_for_on_every_path() {
    let digest = format!("{{SHA}}{}", sha1_smol::Sha1::from("s:ecret").digest());
    for password in ["s:ecret", &digest] {
        let mut test = test_server_with(0, |config| config.http[0].credentials = Some(("u".into(), password.into())));
        assert!(test.log_lines.iter().all(|(level, _)| *level == LogLevel::Info));
        for path in ["/RPC2", "/", "/x"] {
            let mut client = test.connect();
            let back = test.exchange(&mut client, format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes(), &[]);
            let text = String::from_utf8(back).unwrap();
            assert!(
                text.starts_with("HTTP/1.1 401 ") && text.contains("WWW-Authenticate: Basic realm=\"default\"\r\n")
            );
            assert!(!receive(&mut client, &mut Vec::new()));
        }
        // Refused before the body arrives, so that nothing is held for a client without the password.
        let mut client = test.connect();
        let incomplete = b"POST /RPC2 HTTP/1.1\r\nContent-Length: 1000000\r\n\r\nnot all of it";
        assert!(test.exchange(&mut client, incomplete, &[]).starts_with(b"HTTP/1.1 401 "));
        for (given, status) in
            [(("u", "s:ecret"), 200), (("u", "wrong"), 401), (("v", "s:ecret"), 401), (("u", ""), 401)]
        {
            let mut client = test.connect();
            let call = write_call("supervisor.getState", &[]);
            let request = request("POST", "/RPC2", "x", &authorization(given.0, given.1), &call);
            assert_eq!(replies(&test.exchange(&mut client, &request, &[]))[0].status, status, "{given:?}");
        }
    }
}

/// A program `a` with a log file, in the test's directory.
fn logged(test: &mut TestServer) -> std::path::PathBuf {
    let path = test.folder.path().join("a.log");
    let program = program("a", |process| process.stdout.logfile = LogPlace::File(path.clone()));
    test.host = FakeHost::new(vec![program]);
    std::fs::write(&path, "before\n").unwrap();
    path
}

fn append(path: &Path, text: &str) {
    std::fs::File::options().append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

#[test]
fn many_clients_follow_a_log_and_a_slow_one_holds_one_piece() {
    let mut test = test_server_with(0, |_| {});
    let path = logged(&mut test);
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\n\r\n").into_bytes();
    let (mut slow, mut quick, mut old) = (test.connect(), test.connect(), test.connect());
    let head = test.exchange(&mut quick, &get("/logtail/a:a/stdout"), &[]);
    let text = String::from_utf8(head).unwrap();
    assert!(
        text.contains("\r\nTransfer-Encoding: chunked\r\n") && text.contains("\r\nX-Accel-Buffering: no\r\n"),
        "{text}"
    );
    assert!(text.contains("\r\nLast-Modified: ") && text.ends_with("\r\n\r\n7\r\nbefore\n\r\n"), "{text}");
    let text = String::from_utf8(test.exchange(&mut old, b"GET /logtail/%61 HTTP/1.0\r\n\r\n", &[])).unwrap();
    assert!(!text.contains("chunked") && text.ends_with("\r\n\r\nbefore\n"), "{text}");
    slow.write_all(&get("/logtail/a")).unwrap();
    test.settle();
    let mut changes = 0;
    let (mut got, mut sent) = (Vec::new(), 0);
    for _ in 0..200 {
        append(&path, &"0123456789abcde\n".repeat(1000));
        sent += 16_000;
        changes += 1;
        test.host.now.mono = test.host.now.mono.after_ms(FOLLOW_MILLIS);
        test.server.maintain(changes, false, &mut test.host);
        test.settle();
        assert!(receive(&mut quick, &mut got) && receive(&mut old, &mut Vec::new()));
    }
    let lines = String::from_utf8_lossy(&got).matches("0123456789abcde\n").count();
    assert!(lines * 16 + 16 * 20 > sent, "{lines}: all but the lines across the end of a chunk");
    let held = test.server.held;
    assert!(held < 200_000, "{held}");
    // One check sends the new bytes to all.
    append(&path, "x\n");
    test.server.maintain(changes + 1, false, &mut test.host);
    assert!(test.server.check_is_due && test.server.next_deadline().is_some());
    test.host.now.mono = test.host.now.mono.after_ms(FOLLOW_MILLIS);
    test.server.maintain(changes + 1, false, &mut test.host);
    assert!(!test.server.check_is_due);
    drop((slow, quick, old));
    test.settle_until(0);
    assert_eq!(test.server.held, 0);
}

#[test]
fn each_request_to_follow_has_its_status() {
    let mut test = test_server_with(0, |_| {});
    let path = logged(&mut test);
    let ask = |test: &mut TestServer, verb: &str, target: &str| {
        let mut client = test.connect();
        let back = test.exchange(
            &mut client,
            format!("{verb} {target} HTTP/1.1\r\nContent-Length: 0\r\n\r\n").as_bytes(),
            &[],
        );
        String::from_utf8(back).unwrap().split(' ').nth(1).unwrap().parse::<u16>().unwrap()
    };
    for target in ["a:*", "b", "", "a/foo", "a/", "a/stdout/x", "a/stderr", "g:a"] {
        assert_eq!(ask(&mut test, "GET", &format!("/logtail/{target}")), 404, "{target}");
    }
    for (verb, target, status) in [
        ("GET", "/logtail", 404),
        ("GET", "/mainlogtail", 404),
        ("HEAD", "/logtail/a", 400),
        ("POST", "/logtail/a", 400),
        ("GET", "/logtailx/a?x=y", 200),
    ] {
        assert_eq!(ask(&mut test, verb, target), status, "{verb} {target}");
    }
    test.host.main_log = Some(path.clone());
    assert_eq!(ask(&mut test, "GET", "/mainlogtail/x"), 200);
    std::fs::remove_file(path).unwrap();
    assert_eq!(ask(&mut test, "GET", "/logtail/a"), 404);
}

#[test]
fn a_slow_reader_holds_one_answer_and_its_next_request_waits() {
    let mut test = test_server_with(1000, |_| {});
    let (mut slow, mut quick) = (test.connect(), test.connect());
    slow.write_all(&call("supervisor.getAllProcessInfo", &[]).repeat(5)).unwrap();
    test.settle();
    let held = test.server.held;
    assert!(held > 1_000_000 && held < 4_000_000, "{held}");
    assert_eq!(replies(&test.exchange(&mut quick, &call("supervisor.getState", &[]), &[])).len(), 1);
    let mut back = Vec::new();
    for _ in 0..1000 {
        assert!(receive(&mut slow, &mut back));
        test.settle();
    }
    let got = replies(&back);
    assert_eq!(got.len(), 5);
    assert!(got.iter().all(|reply| value(reply).as_array().unwrap().len() == 1000));
    assert!(test.server.held < 100_000, "{}", test.server.held);
}

#[test]
fn a_waiting_call_delays_no_other_client_and_a_disconnect_cancels_it() {
    let mut test = test_server();
    let (mut waits, mut goes, mut other) = (test.connect(), test.connect(), test.connect());
    let start = |name: &str| call("supervisor.startProcess", &[name.into()]);
    assert!(test.exchange(&mut waits, &start("p0"), &[]).is_empty());
    assert!(test.exchange(&mut goes, &start("p1"), &[]).is_empty());
    assert_eq!(replies(&test.exchange(&mut other, &call("supervisor.getState", &[]), &[])).len(), 1);
    drop(goes);
    test.settle_until(2);
    assert_eq!(test.host.cancelled.len(), 1);
    test.host.pass(5);
    test.pass_replies();
    let got = replies(&test.exchange(&mut waits, &[], &[]));
    assert_eq!(value(&got[0]), true.into());
}

#[test]
fn the_calls_of_a_waiting_multicall_count_as_held() {
    let mut test = test_server();
    let mut client = test.connect();
    let entry = |method: &str, param: &str| {
        Value::Struct(vec![("methodName".into(), method.into()), ("params".into(), Value::Array(vec![param.into()]))])
    };
    let mut calls = vec![entry("supervisor.startProcess", "p0")];
    calls.extend(vec![entry("supervisor.getProcessInfo", &"x".repeat(1000)); 600]);
    assert!(test.exchange(&mut client, &call("system.multicall", &[Value::Array(calls)]), &[]).is_empty());
    assert!(test.server.held > 600_000, "{}", test.server.held);
    drop(client);
    test.settle_until(0);
    assert_eq!(test.server.held, 0);
}

#[test]
fn a_client_that_only_stops_sending_still_gets_its_answer() {
    let mut test = test_server();
    let mut client = test.connect();
    let mut bytes = call("supervisor.getState", &[]);
    bytes.extend(call("supervisor.startProcess", &["p0".into()]));
    client.write_all(&bytes).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    test.settle();
    test.host.pass(5);
    test.pass_replies();
    test.settle();
    let mut back = Vec::new();
    assert!(!receive(&mut client, &mut back));
    assert_eq!(replies(&back).len(), 2);
    assert_eq!((test.clients(), test.host.cancelled.len()), (0, 0));
}

#[test]
fn a_long_multicall_does_not_delay_other_clients() {
    let mut test = test_server_with(100, |_| {});
    let (mut long, mut other) = (test.connect(), test.connect());
    let one = Value::Struct(vec![("methodName".into(), "supervisor.getAllProcessInfo".into())]);
    long.write_all(&call("system.multicall", &[Value::Array(vec![one; 60])])).unwrap();
    test.turn();
    test.turn();
    other.write_all(&call("supervisor.getState", &[])).unwrap();
    test.turn();
    let (mut early, mut late) = (Vec::new(), Vec::new());
    receive(&mut other, &mut early);
    receive(&mut long, &mut late);
    assert!(!early.is_empty() && !late.ends_with(b"\r\n0\r\n\r\n"));
    late.extend(test.exchange(&mut long, &[], &[]));
    assert_eq!(value(&replies(&late)[0]).as_array().unwrap().len(), 60);
}

/// A server whose first program has a log of 8 MiB, and a call that reads it.
fn with_long_log() -> (TestServer, Vec<u8>) {
    let mut test = test_server();
    let path = test.folder.path().join("log");
    std::fs::write(&path, "<&>\n".repeat(2 << 20)).unwrap();
    test.host = FakeHost::new(vec![program("p0", |config| config.stdout.logfile = LogPlace::File(path.clone()))]);
    let read = call("supervisor.readProcessStdoutLog", &["p0".into(), Value::Int(0), Value::Int(0)]);
    (test, read)
}

#[test]
fn a_long_answer_is_sent_in_pieces_and_never_held_as_a_whole() {
    let (mut test, read) = with_long_log();
    let mut client = test.connect();
    client.write_all(&read.repeat(2)).unwrap();
    let (mut back, mut most) = (Vec::new(), 0);
    for _ in 0..10_000 {
        let busy = test.turn();
        most = most.max(test.server.held);
        let before = back.len();
        receive(&mut client, &mut back);
        if !busy && back.len() == before {
            break;
        }
    }
    assert!(most < 4 << 20, "{most} bytes were held");
    let got = replies(&back);
    assert_eq!(got.len(), 2);
    assert!(got.iter().all(|reply| reply.keep_alive && value(reply).as_str() == Some(&"<&>\n".repeat(2 << 20))));
    // HTTP/1.0 has no chunks: the end of the connection ends the answer.
    let mut old = test.connect();
    let read = String::from_utf8(read).unwrap().replacen("HTTP/1.1", "HTTP/1.0", 1);
    let back = test.exchange(&mut old, read.as_bytes(), &[]);
    let (reply, _) = parse_reply(&back, true).unwrap().unwrap();
    assert!(!reply.keep_alive && value(&reply).as_str().is_some_and(|text| text.len() == 8 << 20));
    test.settle_until(1);
}

#[test]
fn a_client_that_does_not_read_a_long_answer_is_closed_and_its_call_is_dropped() {
    let (mut test, read) = with_long_log();
    let mut client = test.connect();
    client.write_all(&read).unwrap();
    test.settle();
    assert!(test.server.held < 4 << 20, "{}", test.server.held);
    test.host.now.mono = test.host.now.mono.after_ms(REQUEST_MILLIS + 1);
    test.server.maintain(0, false, &mut test.host);
    assert_eq!((test.clients(), test.server.held), (0, 0));
}

/// The limit of connections in these tests; the real one needs more descriptors than a test should use.
const TEST_MAX: usize = 100;

#[test]
fn a_full_server_closes_the_longest_idle_client_and_no_busy_one() {
    let mut test = test_server();
    test.server.max_connections = TEST_MAX;
    let mut waits = test.connect();
    assert!(test.exchange(&mut waits, &call("supervisor.startProcess", &["p0".into()]), &[]).is_empty());
    let mut clients = Vec::new();
    for _ in 0..TEST_MAX {
        clients.push(test.connect());
        test.settle();
    }
    assert_eq!(test.clients(), TEST_MAX);
    assert!(!receive(&mut clients[0], &mut Vec::new()), "the first was idle for longest");
    assert!(receive(&mut clients[1], &mut Vec::new()));
    assert!(test.host.cancelled.is_empty());
    drop(clients);
    test.settle_until(1);
}

#[test]
fn a_slow_client_is_closed_and_no_other_client() {
    let mut test = test_server_with(1000, |_| {});
    let (mut silent, mut slow, mut not_reading, mut waits) =
        (test.connect(), test.connect(), test.connect(), test.connect());
    test.exchange(&mut waits, &call("supervisor.startProcess", &["p0".into()]), &[]);
    not_reading.write_all(&call("supervisor.getAllProcessInfo", &[]).repeat(3)).unwrap();
    test.settle();
    let mut seconds = 0;
    let mut pass = |test: &mut TestServer, millis: u64| {
        test.host.now.mono = test.host.now.mono.after_ms(millis);
        test.server.maintain(0, false, &mut test.host);
        test.settle();
        seconds += millis / 1000;
    };
    // One byte a second does not keep a connection open.
    for byte in 0..REQUEST_MILLIS / 1000 {
        assert_eq!(test.clients(), 4, "{byte}");
        let _ = slow.write(b"P").unwrap();
        test.settle();
        pass(&mut test, 1000);
    }
    assert_eq!(test.clients(), 2, "the client that sends slowly and the one that does not read are closed");
    assert!(!receive(&mut slow, &mut Vec::new()) && !receive(&mut not_reading, &mut Vec::new()));
    assert!(receive(&mut silent, &mut Vec::new()));
    pass(&mut test, 3_600_000);
    assert!(!receive(&mut silent, &mut Vec::new()));
    assert_eq!(
        (test.clients(), test.server.next_deadline()),
        (1, None),
        "a client that waits for its answer has no time limit"
    );
}

#[test]
fn many_clients_of_one_socket_do_not_displace_those_of_another() {
    let mut test = test_server_with(0, |config| {
        let tcp = SocketAddress::Tcp("127.0.0.1".into(), 0);
        config.http.push(HttpServerConfig { address: tcp, ..config.http[0].clone() });
    });
    test.server.max_connections = TEST_MAX;
    let port = test.server.endpoints[1].listener.port.unwrap();
    let mut ours = test.connect();
    test.settle();
    let mut crowd = Vec::new();
    for _ in 0..TEST_MAX + 20 {
        // A client that has sent a byte has no advantage.
        let mut client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        client.write_all(b"P").unwrap();
        crowd.push(client);
        test.settle();
    }
    assert_eq!(test.clients(), TEST_MAX);
    assert_eq!(replies(&test.exchange(&mut ours, &call("supervisor.getState", &[]), &[])).len(), 1);
    let mut more = test.connect();
    assert_eq!(replies(&test.exchange(&mut more, &call("supervisor.getState", &[]), &[])).len(), 1);
}

#[test]
fn a_client_that_sends_too_much_can_read_the_answer() {
    let mut test = test_server();
    let mut client = test.connect();
    let mut bytes = b"POST /RPC2 HTTP/1.1\r\nContent-Length: 1073741824\r\n\r\n".to_vec();
    bytes.resize(20_000_000, b'x');
    let got = replies(&test.exchange(&mut client, &bytes, &[]));
    assert_eq!((got.len(), got[0].status), (1, 413));
    assert!(test.server.held < 100_000, "{}", test.server.held);
    test.host.now.mono = test.host.now.mono.after_ms(2_000);
    test.server.maintain(0, false, &mut test.host);
    assert_eq!(test.clients(), 0, "it is closed after a moment");
}

#[test]
fn the_last_answers_are_written_and_the_socket_is_removed() {
    let mut test = test_server_with(1000, |_| {});
    let path = test.folder.path().join("sock");
    let mut client = test.connect();
    client.write_all(&call("supervisor.shutdown", &[])).unwrap();
    test.settle();
    test.server.flush_before_exit(clock::now());
    test.server.close_all();
    let mut back = Vec::new();
    assert!(!receive(&mut client, &mut back));
    assert_eq!(value(&replies(&back)[0]), true.into());
    assert!(!path.exists());
}

#[test]
fn a_client_that_does_not_read_delays_the_end_by_a_moment_only() {
    let mut test = test_server_with(1000, |_| {});
    let mut client = test.connect();
    client.write_all(&call("supervisor.getAllProcessInfo", &[])).unwrap();
    test.settle();
    let before = clock::mono();
    test.server.flush_before_exit(clock::now());
    assert!(clock::mono().since(before).as_millis() >= u128::from(LAST_ANSWER_MILLIS) - 1);
}

#[test]
fn the_problems_of_all_sockets_are_reported_together() {
    let folder = tempfile::tempdir().unwrap();
    let used = sockets::listen_unix(&folder.path().join("sock"), Access { mode: 0o600, owner: None }).unwrap();
    let missing = SocketAddress::Unix(folder.path().join("no/sock"));
    let nowhere = SocketAddress::Tcp("::1".into(), 1);
    let http = [section(folder.path()).address, missing, nowhere, SocketAddress::Unix(folder.path().join("good"))];
    let http = http.map(|address| HttpServerConfig { address, ..section(folder.path()) });
    let config = Config { http: http.into(), ..Config::default() };
    let problems = Server::open(&config, Rc::new(Poll::new().unwrap()), TOKENS).unwrap_err();
    let [in_use, missing, nowhere] = problems.as_slice() else { panic!("{problems:?}") };
    assert!(in_use.starts_with("Another program is already listening on a port that one of our HTTP servers is configured to use.  Shut this program down first before starting supervisord."));
    assert!(missing.starts_with("Cannot open an HTTP server: socket.error reported errno.ENOENT (2)"), "{missing}");
    assert!(nowhere.starts_with("Cannot open an HTTP server: socket.error reported -2"), "{nowhere}");
    assert!(!folder.path().join("good").exists(), "no socket is left");
    drop(used);
}

#[test]
fn sockets_are_logged_and_have_their_mode() {
    let mut test = test_server_with(0, |config| {
        config.http[0].chmod = 0o711;
        let tcp = |host: &str| HttpServerConfig {
            address: SocketAddress::Tcp(host.into(), 0),
            section: format!("inet_http_server:{host}"),
            ..config.http[0].clone()
        };
        let more = [tcp("127.0.0.1"), tcp("")];
        config.http.extend(more);
    });
    let meta = std::fs::metadata(test.folder.path().join("sock")).unwrap();
    assert_eq!(meta.permissions().mode() & 0o777, 0o711);
    let critical: Vec<&str> = test
        .log_lines
        .iter()
        .filter(|(level, _)| *level == LogLevel::Critical)
        .map(|(_, line)| line.as_str())
        .collect();
    let plain = "running without any HTTP authentication checking";
    assert_eq!(
        critical[..2],
        [format!("Server 'unix_http_server' {plain}"), format!("Server 'inet_http_server:127.0.0.1' {plain}")]
    );
    assert!(critical[2].starts_with(&format!("Server 'inet_http_server:' {plain}: ")), "{critical:?}");
    let initialized =
        test.log_lines.iter().filter(|(_, line)| line == "RPC interface 'supervisor' initialized").count();
    assert_eq!(initialized, 3);
    let port = test.server.endpoints[1].listener.port.unwrap();
    let mut client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.write_all(&call("supervisor.getState", &[])).unwrap();
    test.settle();
    let mut piece = [0; 4096];
    let read = client.read(&mut piece).unwrap();
    assert_eq!(replies(&piece[..read]).len(), 1);
}

#[test]
fn without_the_interface_in_the_configuration_its_methods_are_unknown() {
    let mut test = test_server_with(0, |config| config.rpc_interfaces.clear());
    let mut client = test.connect();
    let back = test.exchange(&mut client, &call("supervisor.getState", &[]), &[]);
    assert_eq!(parse_response(&replies(&back)[0].body).unwrap().unwrap_err().text, "UNKNOWN_METHOD");
}
