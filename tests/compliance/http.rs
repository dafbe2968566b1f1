//! What is served over HTTP beside XML-RPC: logs that are followed, headers, status codes.

use crate::harness::{Subject, free_port, over_tcp, wait_for, xmlrpc};
use crate::{Run, compare, compare_unstarted};
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
    wait_for("the exit of the client", || client.try_wait().unwrap()).code()
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
            // Supervisor's stream may lose text that was written just before a rotation.
            if run.is_rsup() {
                run.until_file("tail", &format!("{n}-"));
            }
        }
        let last = || {
            run.rpc("supervisor.sendProcessStdin", json!(["a", "last\n"])).unwrap();
            run.read("tail").contains("last\n").then_some(())
        };
        wait_for("the line after the rotations", last);
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
        let code = wait_for("the exit of the client", || client.try_wait().unwrap()).code();
        run.note("code", format!("{code:?}"));
        run.note("printed", run.read("tail"));
    });
}

#[test]
fn a_log_that_cannot_be_followed_is_404() {
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
            stream.set_read_timeout(Some(crate::harness::TIMEOUT)).unwrap();
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
                .filter(|line| {
                    !["Date", "Server", "Last-Modified", "X-Content-Type-Options"]
                        .iter()
                        .any(|name| line.starts_with(name))
                })
                .collect();
            fields.sort_unstable();
            run.note(path, format!("{fields:?} {}", body.trim_end()));
            assert!(head.contains("\r\nLast-Modified: "));
        }
    });
}

/// The first line and the fields of a reply, without the fields that differ between two servers.
fn head_of(reply: &str) -> String {
    let (head, _) = reply.split_once("\r\n\r\n").unwrap_or((reply, ""));
    let mut lines: Vec<&str> = head
        .lines()
        .filter(|line| {
            !["Date: ", "Server: ", "Connection: ", "X-Content-Type-Options: "]
                .iter()
                .any(|name| line.starts_with(name))
        })
        .collect();
    lines.sort_unstable();
    lines.join("; ")
}

fn call(method: &str, fields: &str) -> String {
    let body = xmlrpc::call(method, &json!([]));
    format!("POST /RPC2 HTTP/1.0\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn every_form_of_port_listens_and_so_do_several_sections() {
    compare_unstarted("", |run| {
        let forms = [
            "{port}",
            ":{port}",
            "*:{port}",
            "127.0.0.1:{port}",
            "localhost:{port}",
            "LOCALHOST:{port}",
            "0.0.0.0:{port}",
        ];
        let ports = forms.map(|_| free_port());
        let mut conf = String::new();
        for (n, (form, port)) in forms.iter().zip(ports).enumerate() {
            // A section is recognised by the beginning of its name.
            let name = ["inet_http_server", "inet_http_server2", "inet_http_server:x", "inet_http_server_y"].get(n);
            let name = name.map_or_else(|| format!("inet_http_server:{n}"), |name| (*name).to_owned());
            conf += &format!("[{name}]\nport={}\n", form.replace("{port}", &port.to_string()));
        }
        run.reconfigure(&format!("{conf}[unix_http_server:more]\nfile={{dir}}/sock2\nchmod=0600\n"));
        run.sandbox.start();
        for (form, port) in forms.iter().zip(ports) {
            let reply = over_tcp(port, &call("supervisor.getAPIVersion", "")).unwrap();
            run.note(form, head_of(&reply));
            assert!(reply.ends_with("</methodResponse>\n"), "{reply}");
        }
        let mode =
            |name: &str| std::os::unix::fs::PermissionsExt::mode(&run.dir.join(name).metadata().unwrap().permissions());
        let modes = [mode("sock"), mode("sock2")];
        run.note("modes", format!("{:o} {:o}", modes[0], modes[1]));
        let warned = run.log().matches("running without any HTTP authentication checking").count();
        run.note("warned", warned);
        assert_eq!(run.stop(), 0);
        assert!(!run.dir.join("sock").exists() && !run.dir.join("sock2").exists());
    });
}

#[test]
fn a_port_in_use_or_an_unknown_host_is_a_start_error() {
    compare_unstarted("", |run| {
        let used = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = used.local_addr().unwrap().port();
        for address in [format!("127.0.0.1:{port}"), format!("192.0.2.1:{port}"), format!("no.such.invalid:{port}")] {
            run.reconfigure(&format!("[inet_http_server]\nport={address}\n"));
            std::fs::write(run.dir.join("stderr"), "").unwrap();
            run.launch(&["-n", "-c", "{dir}/supervisord.conf"]);
            assert_eq!(run.wait(), 2);
            let message = run.read("stderr");
            let line = message.lines().find_map(|line| line.split_once("rror: ")).map_or("", |(_, line)| line);
            run.note("message", line.split(" [").next().unwrap_or_default().trim_end());
        }
    });
}

#[test]
fn passwords_are_asked_for_over_tcp() {
    compare_unstarted("", |run| {
        let (plain, hashed) = (free_port(), free_port());
        run.reconfigure(&format!(
            "[inet_http_server]\nport=127.0.0.1:{plain}\nusername=joe\npassword=pass:word\n\
             [inet_http_server:2]\nport=127.0.0.1:{hashed}\nusername=joe\npassword={{SHA}}5baa61e4c9b93f3f0682250b6cf8331b7ee68fd8\n"
        ));
        run.sandbox.start();
        // joe:pass:word, joe:password (twice), joe:, another scheme, and no field.
        let given = [
            "Basic am9lOnBhc3M6d29yZA==",
            "Basic am9lOnBhc3N3b3Jk",
            "basic am9lOnBhc3N3b3Jk",
            "Basic am9lOg==",
            "Bearer x",
            "",
        ];
        for port in [plain, hashed] {
            for given in given {
                let field = if given.is_empty() { String::new() } else { format!("Authorization: {given}\r\n") };
                let reply = over_tcp(port, &call("supervisor.getAPIVersion", &field)).unwrap();
                run.note(given, head_of(&reply));
            }
            for path in ["/", "/logtail/x", "/mainlogtail", "/nothing"] {
                let reply = over_tcp(port, &format!("GET {path} HTTP/1.0\r\n\r\n")).unwrap();
                run.note(path, head_of(&reply));
            }
        }
    });
}
