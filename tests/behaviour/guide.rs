//! Runs the recipes of docs/guide about the start graph as the pages have them. Scripts take the place of programs that a recipe only
//! names. What is replaced: `/app/`, ports, `user=`, and times that a test need not wait for.

use crate::harness::{Sandbox, Subject, block, executable, free_port, over_tcp, skip, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const SLEEP: &str = "exec sleep 1000";

/// Answers with its PORT, or 8080; `/slow` takes a second.
const WEB: &str = "exec python3 -c \"
import http.server, os, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == '/slow':
            open('{dir}/requested', 'w').close()
            time.sleep(1)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'served')
if os.path.exists('{dir}/broken'): sys.exit(1)
http.server.HTTPServer(('127.0.0.1', int(os.environ.get('PORT', 8080))), Handler).serve_forever()
\"";

/// Speaks sd_notify, as its watchdog asks.
const WORKER: &str = "exec python3 -c \"
import os, socket, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(chr(0) + os.environ['NOTIFY_SOCKET'][1:])
s.send(b'READY=1')
while True:
    s.send(b'WATCHDOG=1')
    time.sleep(int(os.environ['WATCHDOG_USEC']) / 4e6)
\"";

const NGINX: &str = "exec /usr/sbin/nginx -p {dir} -c {dir}/nginx.conf \"$@\"";

/// Starts rsup with the `ini` blocks of a page, after these replacements, and with these shell scripts as its programs.
fn recipe(page: &str, blocks: &[usize], programs: &[(&str, &str)], replacements: &[(&str, &str)]) -> Sandbox {
    let mut sandbox = Sandbox::bare(Subject::Rsup);
    let mut conf: String = blocks.iter().map(|&n| block(page, "ini", n)).collect();
    for (from, to) in [("user=postgres\n", ""), ("/app/", "{dir}/bin/")].iter().chain(replacements) {
        conf = conf.replace(from, to);
    }
    let common = match conf.strip_prefix("[supervisord]\n").and_then(|rest| rest.split_once("\n\n")) {
        Some((own, rest)) => {
            let common = sandbox.common().replacen("[supervisord]\n", &format!("[supervisord]\n{own}\n"), 1);
            conf = rest.to_owned();
            common
        }
        None => sandbox.common(),
    };
    sandbox.write("supervisord.conf", &format!("{common}{conf}"));
    for (name, script) in programs {
        let script = replacements.iter().fold((*script).to_owned(), |script, (from, to)| script.replace(from, to));
        executable(&sandbox.dir.join("bin").join(name), sandbox.fill(&format!("#!/bin/sh\n{script}\n")).as_bytes());
    }
    let mut command = sandbox.command("supervisord");
    command.env("PATH", sandbox.fill("{dir}/bin:/usr/local/bin:/usr/bin:/bin")).arg("-n").arg("-c");
    command.arg(sandbox.dir.join("supervisord.conf"));
    sandbox.launch_as(command);
    wait_for("an answer", || sandbox.rpc("supervisor.getState", serde_json::json!([])).ok());
    sandbox
}

/// The text with one space between two words, and one 0 for each number. The date of an exit is left out.
fn shape(text: &str) -> String {
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let shown = if words.get(1) == Some(&"EXITED") { &words[..2] } else { &words[..] };
        let mut shape = String::new();
        for c in shown.join(" ").chars() {
            match c.is_ascii_digit() {
                true if shape.ends_with('0') => {}
                true => shape.push('0'),
                false => shape.push(c),
            }
        }
        shape
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Waits until `rsupctl status` prints what the page shows.
fn until_status(sandbox: &Sandbox, page: &str, text: usize) {
    let shown = shape(&block(page, "text", text));
    let mut last = String::new();
    wait_for(&format!("the status of {page}: {shown}"), || {
        let status = shape(&sandbox.ctl(&["status"]).out);
        if status != last {
            eprintln!("{status}");
            last.clone_from(&status);
        }
        (status == shown).then_some(())
    });
}

/// Checks that rsup's log has these lines of the page, in this order.
fn log_has(sandbox: &Sandbox, page: &str, text: usize) {
    let (log, shown) = (shape(&sandbox.log()), shape(&block(page, "text", text)));
    let mut rest = log.as_str();
    for line in shown.lines() {
        let at = rest.find(line).unwrap_or_else(|| panic!("no `{line}` after what {page} shows before it:\n{log}"));
        rest = &rest[at + line.len()..];
    }
}

fn stop_running(sandbox: &Sandbox, name: &str) -> i32 {
    let pid = sandbox.pid_of(name);
    kill(Pid::from_raw(pid), Signal::SIGSTOP).unwrap();
    pid
}

#[test]
fn the_application_waits_for_the_database() {
    let page = "docs/guide/wait-for-the-database.md";
    let programs = [("postgres", SLEEP), ("server", SLEEP), ("pg_isready", "test -e {dir}/accepts || exit 2")];
    let mut sandbox = recipe(page, &[0], &programs, &[]);
    until_status(&sandbox, page, 0);
    sandbox.write("accepts", "");
    sandbox.until("app", "RUNNING");
    log_has(&sandbox, page, 1);
    assert_eq!(sandbox.stop(), 0);
    let log = sandbox.log();
    assert!(log.find("stopped: app") < log.find("stopped: db"), "{log}");

    let fails = [("ready_timeout=120", "ready_timeout=1\nstartretries=0")];
    let sandbox = recipe(page, &[0], &programs, &fails);
    until_status(&sandbox, page, 2);
    sandbox.write("accepts", "");
    assert_eq!(sandbox.ctl(&["start", "app"]).code, 0);
    assert_eq!((sandbox.state("app"), sandbox.state("db")), ("RUNNING".into(), "RUNNING".into()));
}

#[test]
fn migrations_run_first() {
    let page = "docs/guide/migrations.md";
    let migrate = "echo run >> {dir}/runs; test ! -e {dir}/fails";
    let programs = [("postgres", SLEEP), ("server", SLEEP), ("pg_isready", "exit 0"), ("migrate", migrate)];
    let sandbox = recipe(page, &[0], &programs, &[]);
    until_status(&sandbox, page, 0);
    assert_eq!(sandbox.command("rsup").args(["health", "-c", "supervisord.conf"]).status().unwrap().code(), Some(0));
    assert_eq!(sandbox.ctl(&["restart", "app"]).code, 0);
    assert_eq!(sandbox.read("runs"), "run\n");
    assert_eq!(sandbox.ctl(&["start", "migrate"]).code, 0);
    assert_eq!((sandbox.read("runs"), sandbox.state("migrate")), ("run\nrun\n".into(), "EXITED".into()));

    let migrate = "test -e {dir}/works";
    let programs = [("postgres", SLEEP), ("server", SLEEP), ("pg_isready", "exit 0"), ("migrate", migrate)];
    let sandbox = recipe(page, &[0], &programs, &[("oneshot=true", "oneshot=true\nstartretries=0")]);
    until_status(&sandbox, page, 1);
    assert!(!sandbox.log().contains("spawned: 'app'"), "{}", sandbox.log());
    sandbox.write("works", "");
    assert_eq!(sandbox.ctl(&["start", "app"]).code, 0);
    assert_eq!((sandbox.state("app"), sandbox.state("migrate")), ("RUNNING".into(), "EXITED".into()));
}

#[test]
fn a_health_check_and_a_watchdog_restart_what_hangs() {
    let page = "docs/guide/health-check.md";
    let port = free_port().to_string();
    let faster = [
        ("8080", port.as_str()),
        ("healthcheck_interval=10", "healthcheck_interval=0.2"),
        ("healthcheck_timeout=2", "healthcheck_timeout=0.5\nstopwaitsecs=1"),
        ("watchdog=30", "watchdog=1\nstopwaitsecs=1"),
    ];
    let sandbox = recipe(page, &[0, 1], &[("web", WEB), ("worker", WORKER)], &faster);
    let health = |name: &str| {
        sandbox.command("rsup").args(["health", "-c", "supervisord.conf", name]).status().unwrap().code().unwrap()
    };
    for name in ["web", "worker"] {
        sandbox.until(name, "RUNNING");
        wait_for("health", || (health(name) == 0).then_some(()));
        let pid = stop_running(&sandbox, name);
        wait_for("a process that is not healthy", || (health(name) == 1).then_some(()));
        wait_for("a new process", || (sandbox.state(name) == "RUNNING" && sandbox.pid_of(name) != pid).then_some(()));
        wait_for("health", || (health(name) == 0).then_some(()));
    }
    let log = sandbox.log();
    let shown = block(page, "text", 0).replace("8080", &port);
    assert!(log.contains(shown.trim()), "no `{shown}` in\n{log}");
    assert!(log.contains("sending SIGABRT"), "{log}");
}

/// Whether Debian's nginx is here.
fn has_nginx() -> bool {
    let there = std::path::Path::new("/usr/sbin/nginx").exists();
    if !there {
        skip("no nginx (tests/run --install installs it)");
    }
    there
}

/// A configuration for the script of nginx, whose server answers as `location` says.
fn nginx_conf(sandbox: &Sandbox, port: u16, location: &str) {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {{dir}}/{kind};\n"))
        .collect();
    let user = if nix::unistd::geteuid().is_root() { "user root;\n" } else { "" };
    let conf = format!(
        "{user}pid {{dir}}/nginx.pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}\
         server {{ listen 127.0.0.1:{port}; location / {{ {location} }} }}\n}}\n"
    );
    sandbox.write("nginx.conf", &conf);
}

fn get(port: u16, path: &str) -> std::io::Result<String> {
    over_tcp(port, &format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n"))
}

#[test]
fn nginx_answers_open_requests_before_it_ends() {
    if !has_nginx() {
        return;
    }
    let page = "docs/guide/stop-gracefully.md";
    let (port, app) = (free_port(), free_port());
    // The script waits for the configuration, which needs the sandbox.
    let nginx = format!("while [ ! -e {{dir}}/nginx.conf ]; do sleep 0.05; done\n{NGINX}");
    let mut sandbox = recipe(page, &[0], &[("web", WEB), ("nginx", &nginx)], &[("8080", &app.to_string())]);
    nginx_conf(&sandbox, port, &format!("proxy_pass http://127.0.0.1:{app};"));
    wait_for("an answer through nginx", || get(port, "/").ok().filter(|answer| answer.ends_with("served")));
    let request = std::thread::spawn(move || get(port, "/slow"));
    wait_for("the request", || sandbox.dir.join("requested").exists().then_some(()));
    assert_eq!(sandbox.stop(), 0);
    let answer = request.join().unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("served"), "{answer}\n{}", sandbox.log());
    log_has(&sandbox, page, 0);
}

#[test]
fn pauses_grow_and_restarts_have_a_limit() {
    let page = "docs/guide/restarts.md";
    // Fails twice; then it runs, until the file is there again, and leaves a process in its group.
    let api = "echo start >> {dir}/starts; test $(wc -l < {dir}/starts) -gt 2 || exit 1; sleep 1000 & echo $! > {dir}/left; \
               while [ ! -e {dir}/end ]; do sleep 0.05; done; rm {dir}/end; exit 1";
    let faster = [
        ("backoff_delay=0.5", "backoff_delay=0.1"),
        ("restart_delay=1", "restart_delay=0.2"),
        ("restart_limit=10/600", "restart_limit=1/600"),
    ];
    let sandbox = recipe(page, &[0], &[("api", api)], &faster);
    sandbox.until("api", "RUNNING");
    assert_eq!(sandbox.log().matches("exited: api (exit status 1; not expected)").count(), 2, "{}", sandbox.log());
    let left = sandbox.read("left");
    sandbox.write("end", "");
    wait_for("the restart", || (sandbox.read("starts").lines().count() == 4).then_some(()));
    let left = Pid::from_raw(left.trim().parse().unwrap());
    assert!(kill(left, None).is_err(), "what the first process left was ended before the restart");
    sandbox.until("api", "RUNNING");
    sandbox.write("end", "");
    sandbox.until("api", "FATAL");
    assert_eq!(sandbox.read("starts").lines().count(), 4);

    let sandbox = recipe(page, &[0], &[("api", "exit 1")], &[("backoff_delay=0.5", "backoff_delay=0.01")]);
    sandbox.until("api", "FATAL");
    log_has(&sandbox, page, 0);
    assert_eq!(sandbox.log().matches("spawned: 'api'").count(), 6);
}

#[test]
fn hooks_run_around_a_program() {
    let page = "docs/guide/hooks.md";
    let render = "echo 'rendering the configuration'; test ! -e {dir}/fails || exit 3";
    let programs = [("server", SLEEP), ("drain", "echo 'draining connections'"), ("render-config", render)];
    let sandbox = recipe(page, &[0], &programs, &[]);
    sandbox.until("app", "RUNNING");
    assert_eq!(sandbox.ctl(&["restart", "app"]).code, 0);
    let shown = block(page, "text", 0);
    let output = sandbox.read("stdout");
    let printed: Vec<&str> = output.lines().filter(|line| shown.lines().any(|shown| shown == *line)).collect();
    assert_eq!(printed, shown.lines().collect::<Vec<_>>(), "{output}");
    sandbox.write("fails", "");
    assert_ne!(sandbox.ctl(&["restart", "app"]).code, 0);
    until_status(&sandbox, page, 1);
}

#[test]
fn nginx_reloads_without_a_restart() {
    if !has_nginx() {
        return;
    }
    let page = "docs/guide/reload.md";
    let port = free_port();
    let haproxy = "trap 'echo reloaded >> {dir}/reloads' USR2; echo up; while :; do sleep 0.1; done";
    let nginx = format!("while [ ! -e {{dir}}/nginx.conf ]; do sleep 0.05; done\n{NGINX}");
    let sandbox = recipe(page, &[0, 1], &[("nginx", &nginx), ("haproxy", haproxy)], &[]);
    nginx_conf(&sandbox, port, "return 200 one;");
    wait_for("the first answer", || get(port, "/").ok().filter(|answer| answer.ends_with("one")));
    for name in ["nginx", "haproxy"] {
        sandbox.until(name, "RUNNING");
    }
    let pid = sandbox.pid_of("nginx");
    nginx_conf(&sandbox, port, "return 200 two;");
    assert_eq!(sandbox.ctl(&["reload", "nginx", "haproxy"]).code, 0);
    wait_for("the new answer", || get(port, "/").ok().filter(|answer| answer.ends_with("two")));
    sandbox.until_file("reloads", "reloaded");
    nginx_conf(&sandbox, port, "no_such_directive;");
    let ran = sandbox.ctl(&["reload", "nginx"]);
    assert_eq!((ran.code, ran.out), (1, block(page, "text", 0)));
    // A worker of before the first reload may still answer once.
    wait_for("an answer by the last good configuration", || {
        get(port, "/").ok().filter(|answer| answer.ends_with("two"))
    });
    assert_eq!(sandbox.pid_of("nginx"), pid);
}

#[test]
fn a_rolling_restart_restarts_one_process_after_another() {
    let page = "docs/guide/rolling-restart.md";
    // Three ports that differ in their last digit only, and that no other test has.
    let tens = wait_for("three free ports", || {
        let ports = [free_port(), free_port(), free_port()];
        (ports[0].is_multiple_of(10) && ports[2] == ports[0] + 2).then(|| (ports[0] / 10).to_string())
    });
    let sandbox = recipe(page, &[0], &[("web", WEB)], &[("808%", &format!("{tens}%"))]);
    for process in 0..3 {
        sandbox.until(&format!("web:web_{process}"), "RUNNING");
    }
    assert!(block(page, "sh", 0).contains("rsupctl restart --rolling 'web:*'"));
    let ran = sandbox.ctl(&["restart", "--rolling", "web:*"]);
    assert_eq!((ran.code, ran.out), (0, block(page, "text", 0)), "{}", ran.err);
    sandbox.write("broken", "");
    let others = [1, 2].map(|process| sandbox.pid_of(&format!("web:web_{process}")));
    let ran = sandbox.ctl(&["restart", "--rolling", "web:*"]);
    assert_eq!(ran.code, 1, "{} {}", ran.out, ran.err);
    assert_eq!(others, [1, 2].map(|process| sandbox.pid_of(&format!("web:web_{process}"))));
}
