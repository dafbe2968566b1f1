//! `[fcgi-program:x]`: one socket for all processes of the section, and how long it exists.

use crate::{Run, compare, compare_unstarted};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;

/// Sends its name to each client of the socket that it inherits as stdin.
const SAYER: &str = "import os, socket\nmain = socket.socket(fileno=0)\nwhile True:\n client, _ = main.accept()\n client.sendall(os.environ['SUPERVISOR_PROCESS_NAME'].encode())\n client.close()\n";

fn answer(mut client: impl Read + Write) -> String {
    let mut received = String::new();
    client.read_to_string(&mut received).unwrap();
    received
}

/// The lines of the main log about the socket.
fn sockets(run: &Run) -> String {
    run.messages()
        .into_iter()
        .filter(|line| line.starts_with("INFO") && line.contains(" socket "))
        .collect::<Vec<_>>()
        .join(", ")
}

#[test]
fn a_unix_socket_is_shared_and_lives_as_long_as_one_of_its_processes() {
    let conf = "[fcgi-program:f]\ncommand=python3 {dir}/say.py\nsocket=unix://{dir}/f.sock\nsocket_mode=0750\nsocket_owner=nobody\n\
                socket_backlog=64\nnumprocs=2\nprocess_name=%(program_name)s%(process_num)d\nautostart=false\n";
    compare_unstarted(conf, |run| {
        run.write("say.py", SAYER);
        // An existing file is replaced.
        run.write("f.sock", "a file");
        run.start();
        run.note("at first", sockets(run));
        run.ctl(&["start", "f:f0"]);
        let path = run.dir.join("f.sock");
        let meta = fs::metadata(&path).unwrap();
        run.note("socket", format!("{} {:o} {}", meta.file_type().is_socket(), meta.mode() & 0o777, meta.uid()));
        assert_eq!(answer(UnixStream::connect(&path).unwrap()), "f0");
        run.ctl(&["start", "f:f1"]);
        run.ctl(&["stop", "f:f0"]);
        assert_eq!(answer(UnixStream::connect(&path).unwrap()), "f1");
        run.note("with one left", sockets(run));
        run.call("supervisor.sendProcessStdin", serde_json::json!(["f:f1", "x"])).unwrap_err();
        run.ctl(&["stop", "f:*"]);
        run.until_log("Closing socket", 2);
        run.note("after the last", sockets(run));
        run.note("its file", path.exists());
        assert!(UnixStream::connect(&path).is_err());
        run.ctl(&["start", "f:f0"]);
        assert_eq!(answer(UnixStream::connect(&path).unwrap()), "f0");
        run.note("again", sockets(run));
        let target = fs::read_link(format!("/proc/{}/fd/0", run.pid_of("f:f0"))).unwrap();
        assert!(target.to_str().unwrap().starts_with("socket:"), "{target:?}");
    });
}

#[test]
fn a_tcp_socket_is_shared() {
    // A free port.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let other = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let conf = format!(
        "[fcgi-program:f]\ncommand=python3 {{dir}}/say.py\nsocket=tcp://localhost:%(ENV_PORT)s\nredirect_stderr=true\n\
         stdout_logfile={{dir}}/f.out\n[supervisord]\nenvironment=PORT=\"{port}\"\n"
    );
    compare_unstarted(&conf, |run| {
        // Both subjects run at the same time, so each needs its own port.
        let port = if run.is_rsup() { other } else { port };
        run.reconfigure(
            &conf.replace(&format!("PORT=\"{}\"", conf.split('"').nth(1).unwrap()), &format!("PORT=\"{port}\"")),
        );
        run.write("say.py", SAYER);
        run.start();
        run.until("f", "RUNNING");
        assert_eq!(answer(TcpStream::connect(("127.0.0.1", port)).unwrap()), "f");
        run.note("log", sockets(run).replace(&port.to_string(), "PORT"));
        run.note("program", run.read("f.out"));
    });
}

#[test]
fn in_a_group_it_is_a_plain_program() {
    let conf = "[fcgi-program:f]\ncommand=sh -c \"readlink /proc/self/fd/0 | cut -c1-5; exec sleep 1000\"\nsocket=unix://{dir}/f.sock\n\
                stdout_logfile={dir}/f.out\n[group:g]\nprograms=f\n";
    compare(conf, |run| {
        run.until("g:f", "RUNNING");
        run.until_file("f.out", "pipe:");
        run.note("socket", run.dir.join("f.sock").exists());
        run.note("log", sockets(run));
    });
}

#[test]
fn nginx_serves_a_real_fastcgi_program() {
    let is_there = |path: &str| fs::exists(path).unwrap_or(false);
    if !is_there("/usr/sbin/nginx") || !is_there("/usr/sbin/fcgiwrap") {
        return crate::harness::skip("no nginx and fcgiwrap (tests/run --install installs them)");
    }
    // The workers of nginx run as another user if nginx runs as root.
    let conf = "[fcgi-program:cgi]\ncommand=/usr/sbin/fcgiwrap\nsocket=unix://{dir}/cgi.sock\nsocket_mode=0777\nnumprocs=3\n\
                process_name=%(program_name)s_%(process_num)d\n\
                [program:nginx]\ncommand=/usr/sbin/nginx -c {dir}/nginx.conf -e stderr -g \"daemon off;\"\n";
    compare_unstarted(conf, |run| {
        let script =
            "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n%s %s' \"$REQUEST_METHOD\" \"$QUERY_STRING\"\n";
        crate::harness::executable(&run.dir.join("page.cgi"), script.as_bytes());
        run.write(
            "nginx.conf",
            "pid {dir}/nginx.pid; error_log stderr; events {}\n\
             http { access_log off; client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3;\n\
             uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;\n\
             server { listen unix:{dir}/web.sock; location / { fastcgi_pass unix:{dir}/cgi.sock;\n\
             fastcgi_param SCRIPT_FILENAME {dir}/page.cgi; fastcgi_param REQUEST_METHOD $request_method;\n\
             fastcgi_param QUERY_STRING $query_string; } } }\n",
        );
        run.start();
        run.until("nginx", "RUNNING");
        run.until("cgi:cgi_2", "RUNNING");
        let page = |run: &Run, query: &str| {
            let mut client = UnixStream::connect(run.dir.join("web.sock")).ok()?;
            write!(client, "GET /?{query} HTTP/1.0\r\n\r\n").unwrap();
            let page = answer(client);
            page.starts_with("HTTP/1.1 200").then(|| page.rsplit("\r\n").next().unwrap().to_owned())
        };
        run.note("page", crate::harness::wait_for("a page", || page(run, "a=1")));
        // Two of three processes may exit: the third still has the socket.
        run.ctl(&["stop", "cgi:cgi_0", "cgi:cgi_1"]);
        run.note("page", page(run, "b=2").expect("the one that is left answers"));
        run.ctl(&["stop", "cgi:cgi_2"]);
        run.until_log("Closing socket", 2);
        assert_eq!(page(run, "c=3"), None);
        run.ctl(&["start", "cgi:*"]);
        run.note("page", page(run, "d=4").expect("as before"));
        // nginx hides its environment, by which the sandbox would find it.
        assert_eq!(run.stop(), 0);
    });
}
