//! Dependencies, readiness, one-shots, hooks, stop sequences and health checks, with real processes.

use super::rsup;
use crate::harness::{Ran, Sandbox, free_port, run, skip, wait_for};
use std::process::Command;

/// A program that listens on a port after a while: `ready=tcp:PORT` sees it.
fn listens(port: u16) -> String {
    format!(
        "command=python3 -c \"import socket, time; time.sleep(0.3); s = socket.socket(); \
         s.setsockopt(1, 2, 1); s.bind(('127.0.0.1', {port})); s.listen(); time.sleep(1000)\"\nready=tcp:{port}\nstartsecs=0\n"
    )
}

/// The order in which these lines first occur in the log.
fn order(sandbox: &Sandbox, lines: &[&str]) {
    let log = sandbox.log();
    let places: Vec<usize> =
        lines.iter().map(|line| log.find(line).unwrap_or_else(|| panic!("no `{line}` in\n{log}"))).collect();
    assert!(places.is_sorted(), "{lines:?} in\n{log}");
}

pub fn description(sandbox: &Sandbox, name: &str) -> String {
    sandbox.info(name)["description"].as_str().unwrap().to_owned()
}

/// The problems that `rsup check` finds.
pub fn check(conf: &str) -> Ran {
    let sandbox = Sandbox::new(crate::Subject::Rsup, conf);
    run(sandbox.command_of(&crate::harness::rsup()).args(["check", "-c"]).arg(sandbox.dir.join("supervisord.conf")))
}

#[test]
fn programs_start_in_the_order_of_their_dependencies_and_stop_in_reverse() {
    let port = free_port();
    let conf = format!(
        "[program:a-web]\ncommand=sleep 1000\nstartsecs=0\ndepends_on=migrate,db\npriority=1\n\
         [program:migrate]\ncommand=sh -c 'test -e {{dir}}/migrated || exec touch {{dir}}/migrated; exit 3'\noneshot=true\n\
         depends_on=db\nstartretries=0\npriority=2\n\
         [program:db]\n{}priority=900\n",
        listens(port)
    );
    let mut sandbox = rsup(&conf);
    sandbox.until("a-web", "RUNNING");
    assert_eq!(sandbox.state("migrate"), "EXITED", "a one-shot is done, not RUNNING");
    let lines =
        ["success: db entered", "spawned: 'migrate'", "exited: migrate (exit status 0; expected)", "spawned: 'a-web'"];
    order(&sandbox, &lines);
    assert!(sandbox.log().contains("a-web waits for migrate, db"), "{}", sandbox.log());
    // A dependent that starts again does not run the one-shot again: a second run would fail.
    assert_eq!(sandbox.ctl(&["restart", "a-web"]).code, 0);
    assert_eq!((sandbox.state("a-web"), sandbox.state("migrate")), ("RUNNING".into(), "EXITED".into()));
    assert_eq!(sandbox.stop(), 0);
    // By priority alone db would be stopped first.
    let log = sandbox.log();
    let last = |line: &str| log.rfind(line).unwrap_or_else(|| panic!("no `{line}` in\n{log}"));
    assert!(last("stopped: a-web") < last("stopped: db"), "{log}");
}

#[test]
fn a_start_starts_its_dependencies_and_a_stop_ends_its_wait() {
    let port = free_port();
    let conf = format!(
        "[program:web]\ncommand=sleep 1000\nstartsecs=0\nautostart=false\ndepends_on=db\n\
         [program:db]\n{}autostart=false\n\
         [program:lost]\ncommand=sleep 1000\nautostart=false\ndepends_on=never\n\
         [program:never]\ncommand=sleep 1000\nautostart=false\nready=file:{{dir}}/ready\nready_timeout=0\nstartsecs=0\n",
        listens(port)
    );
    let sandbox = rsup(&conf);
    assert_eq!(sandbox.ctl(&["start", "web"]).out, "web: started\n");
    assert_eq!(sandbox.state("db"), "RUNNING", "it was started too, and first");
    sandbox.rpc("supervisor.startProcess", serde_json::json!(["lost", false])).unwrap();
    wait_for("the wait", || (description(&sandbox, "lost") == "waiting for never").then_some(()));
    assert_eq!((sandbox.state("lost"), sandbox.info("lost")["pid"].clone()), ("STARTING".into(), 0.into()));
    assert_eq!(sandbox.ctl(&["stop", "lost"]).out, "lost: stopped\n");
    assert_eq!(sandbox.state("lost"), "STOPPED");
    // Ready as soon as the file exists.
    sandbox.write("ready", "");
    sandbox.until("never", "RUNNING");
    assert_eq!(sandbox.ctl(&["start", "lost"]).out, "lost: started\n");
}

#[test]
fn what_cannot_be_ready_fails_and_so_does_what_needs_it() {
    let conf = "[program:web]\ncommand=sleep 1000\ndepends_on=db\n\
                [program:db]\ncommand=sh -c 'trap \"\" TERM; echo up; while :; do sleep 0.1; done'\nready=tcp:1\n\
                ready_timeout=0.3\nstartretries=1\nbackoff_delay=0.1\nstopwaitsecs=1\n\
                [program:closes]\ncommand=sh -c 'exec 3>&-; exec sleep 1000'\nready=fd:3\nstartretries=0\n\
                [program:soft]\ncommand=sleep 1000\nstartsecs=0\nafter=db\n\
                [program:once]\ncommand=sh -c 'exit 4'\noneshot=true\nstartretries=0\n\
                [program:needs-once]\ncommand=sleep 1000\ndepends_on=once\n";
    let sandbox = rsup(conf);
    sandbox.until("db", "FATAL");
    let reason = "not ready within 0.3 s (tcp:127.0.0.1:1: connection refused)";
    assert_eq!(sandbox.info("db")["spawnerr"], reason);
    sandbox.until("web", "FATAL");
    assert_eq!(sandbox.info("web")["spawnerr"], "needs db, which is FATAL");
    sandbox.until("soft", "RUNNING");
    sandbox.until("closes", "FATAL");
    assert_eq!(sandbox.info("closes")["spawnerr"], "not ready: its descriptor was closed without a newline");
    sandbox.until("needs-once", "FATAL");
    assert_eq!(sandbox.info("needs-once")["spawnerr"], "needs once, which is FATAL");
    assert_eq!(sandbox.info("once")["spawnerr"], "Bad exit code 4");
    assert!(sandbox.log().contains(&format!("db: {reason}")), "{}", sandbox.log());
}

#[test]
fn each_sign_of_readiness_is_seen() {
    let (tcp, http) = (free_port(), free_port());
    let conf = format!(
        "[program:tcp]\n{}\
         [program:http]\ncommand=python3 -m http.server --bind 127.0.0.1 {http}\nready=http://127.0.0.1:{http}/\nstartsecs=0\n\
         [program:missing]\ncommand=python3 -m http.server --bind 127.0.0.1 {}\nready=http://127.0.0.1:{}/none\nready_timeout=0\n\
         [program:unix]\ncommand=python3 -c \"import socket, time; time.sleep(0.3); s = socket.socket(1); s.bind('{{dir}}/s'); s.listen(); time.sleep(1000)\"\n\
         ready=unix:{{dir}}/s\nstartsecs=0\n\
         [program:file]\ncommand=sh -c 'sleep 0.3; mkdir {{dir}}/run; touch {{dir}}/run/f; exec sleep 1000'\nready=file:{{dir}}/run/f\nstartsecs=0\n\
         [program:exec]\ncommand=sh -c 'sleep 0.3; touch {{dir}}/done; exec sleep 1000'\nready=exec:test -e {{dir}}/done\nstartsecs=0\n\
         [program:fd]\ncommand=sh -c 'sleep 0.3; echo >&5; exec sleep 1000'\nready=fd:5\nstartsecs=0\n\
         [program:line]\ncommand=sh -c 'printf \"\\033[1mserv\"; sleep 0.3; printf \"ing 80\\033[0m\\r\\n\" >&1; exec sleep 1000'\nready=line:^serving \\d+$\nstartsecs=0\n\
         [program:notify]\ncommand=python3 -c \"import os, socket, time; s = socket.socket(1, 2); time.sleep(0.3); \
         s.sendto(b'READY=1\\nSTATUS=serves', chr(0) + os.environ['NOTIFY_SOCKET'][1:]); time.sleep(1000)\"\nready=notify\nstartsecs=0\n",
        listens(tcp),
        tcp + 1,
        tcp + 1,
    );
    let sandbox = rsup(&conf);
    for name in ["tcp", "http", "unix", "file", "exec", "fd", "line", "notify"] {
        sandbox.until(name, "RUNNING");
        let log = sandbox.log();
        let [spawned, ready] =
            [format!("spawned: '{name}'"), format!("success: {name} entered RUNNING state, it is ready (")];
        assert!(log.find(&spawned).unwrap() < log.find(&ready).unwrap(), "{log}");
    }
    assert!(description(&sandbox, "notify").ends_with(", serves"), "{}", description(&sandbox, "notify"));
    wait_for("the answer 404", || (description(&sandbox, "missing") == "not ready yet (404)").then_some(()));
    assert_eq!(sandbox.state("missing"), "STARTING");
}

#[test]
fn programs_of_s6_and_redis_say_when_they_are_ready() {
    let port = free_port();
    let programs = ["s6-log", "s6-svscan", "redis-server"].map(|name| std::path::Path::new("/usr/bin").join(name));
    if let Some(missing) = programs.iter().find(|program| !program.exists()) {
        return skip(&format!("no {} (tests/run --install installs it)", missing.display()));
    }
    let conf = format!(
        "[program:logger]\ncommand=s6-log -d 3 n2 {{dir}}/logs\nready=fd:3\nstartsecs=0\n\
         [program:scanner]\ncommand=s6-svscan -d 7 {{dir}}/services\nready=fd:7\nstartsecs=0\n\
         [program:redis]\ncommand=redis-server --bind 127.0.0.1 --port {port} --supervised systemd --dir {{dir}}\nready=notify\nstartsecs=0\n"
    );
    let mut sandbox = Sandbox::new(crate::Subject::Rsup, &conf);
    std::fs::create_dir(sandbox.dir.join("services")).unwrap();
    sandbox.start();
    for (name, how) in [("logger", "fd:3"), ("scanner", "fd:7"), ("redis", "notify")] {
        sandbox.until(name, "RUNNING");
        let line = format!("success: {name} entered RUNNING state, it is ready ({how})");
        assert!(sandbox.log().contains(&line), "{}", sandbox.log());
    }
    wait_for("redis' STATUS=", || description(&sandbox, "redis").contains("Ready to accept connections").then_some(()));
}

#[test]
fn a_program_follows_the_restarts_of_another() {
    let conf = "[program:web]\ncommand=sleep 1000\nstartsecs=0\ndepends_on=db\nrestart_with=db\n\
                [program:db]\ncommand=sleep 1000\nstartsecs=0\n\
                [program:other]\ncommand=sleep 1000\nstartsecs=0\ndepends_on=db\n";
    let sandbox = rsup(conf);
    for name in ["web", "other"] {
        sandbox.until(name, "RUNNING");
    }
    let (web, other) = (sandbox.pid_of("web"), sandbox.pid_of("other"));
    // After a death.
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(sandbox.pid_of("db")), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
    let again = wait_for("the restart", || Some(sandbox.pid_of("web")).filter(|pid| *pid != web && *pid != 0));
    assert_eq!(sandbox.pid_of("other"), other, "a dependent without restart_with is left alone");
    // By request: first web is stopped, then db.
    assert_eq!(sandbox.ctl(&["restart", "db"]).code, 0);
    wait_for("the second restart", || Some(sandbox.pid_of("web")).filter(|pid| *pid != again && *pid != 0));
    order(&sandbox, &["stopped: web", "waiting for db to stop"][..1]);
    assert_eq!(sandbox.ctl(&["stop", "db"]).out, "db: stopped\n");
    assert_eq!(sandbox.state("web"), "STOPPED");
    let log = sandbox.log();
    assert!(log.rfind("stopped: web").unwrap() < log.rfind("stopped: db").unwrap(), "{log}");
}

#[test]
fn hooks_run_around_a_program_and_their_failures_have_their_reason() {
    let conf = "[program:x]\ncommand=sh -c 'echo runs; exec sleep 1000'\nstartsecs=0\nstdout_logfile={dir}/x.log\nredirect_stderr=true\n\
                environment=WHO=\"me\"\n\
                pre_start=sh -c 'echo before $WHO'\npre_stop=sh -c 'echo stopping $SUPERVISOR_PROCESS_PID'\npost_stop=sh -c 'echo after $EXIT_CODE$EXIT_SIGNAL'\n\
                [program:refused]\ncommand=sleep 1000\npre_start=sh -c 'exit 7'\nstartretries=0\n\
                [program:hangs]\ncommand=sleep 1000\npre_start=sh -c 'sleep 1000 & wait'\nhook_timeout=0.2\nstartretries=0\n\
                [program:missing]\ncommand=sleep 1000\npre_start=/no/such/command\nstartretries=0\n\
                [program:asked]\ncommand=sh -c 'until test -e {dir}/end; do sleep 0.05; done; exit 5'\nstartsecs=0\nautorestart=false\nstop_command=touch {dir}/end\n\
                [program:unasked]\ncommand=sleep 1000\nstartsecs=0\nstop_command=false\n";
    let sandbox = rsup(conf);
    sandbox.until("x", "RUNNING");
    let pid = sandbox.pid_of("x");
    assert_eq!(sandbox.ctl(&["stop", "x", "asked", "unasked"]).code, 0);
    wait_for("the hooks", || {
        (sandbox.read("x.log") == format!("before me\nruns\nstopping {pid}\nafter TERM\n")).then_some(())
    });
    for (name, reason) in [
        ("refused", "pre_start failed (exit status 7)"),
        ("hangs", "pre_start did not end within 0.2 s and was killed (hook_timeout)"),
        ("missing", "pre_start failed: can't find command '/no/such/command'"),
    ] {
        sandbox.until(name, "FATAL");
        assert_eq!(sandbox.info(name)["spawnerr"], reason);
    }
    let log = sandbox.log();
    assert!(log.contains("stopped: asked (exit status 5)"), "the command stopped it, not a signal: {log}");
    assert!(log.contains("stopped: unasked (terminated by SIGTERM)"), "{log}");
    assert!(log.contains("unasked: stop_command failed (exit status 1)"), "{log}");
    let left = run(Command::new("pgrep").args(["-f", "sleep 1000 & wait"])).out;
    assert!(
        !left.lines().any(|line| nix::unistd::getpgid(line.parse().ok().map(nix::unistd::Pid::from_raw)).is_ok_and(
            |_| {
                std::fs::read_to_string(format!("/proc/{line}/environ"))
                    .is_ok_and(|text| text.contains(sandbox.dir.to_str().unwrap()))
            }
        )),
        "the group of a hook that hangs is killed"
    );
}

#[test]
fn a_stop_sequence_sends_one_signal_after_another() {
    let conf = "[program:x]\ncommand=python3 -c \"import signal, time, sys; \
                [signal.signal(n, lambda n, f: print(n, flush=True)) for n in (1, 15)]; print('up', flush=True); \
                [time.sleep(1) for i in range(1000)]\"\nstdout_logfile={dir}/x.log\nstop_sequence=HUP:0.2,TERM:0.2,USR1:5\nstopwaitsecs=1000\n";
    let sandbox = rsup(conf);
    sandbox.until_file("x.log", "up");
    assert_eq!(sandbox.ctl(&["stop", "x"]).out, "x: stopped\n");
    assert_eq!(sandbox.read("x.log"), "up\n1\n15\n");
    assert!(sandbox.log().contains("stopped: x (terminated by SIGUSR1)"), "{}", sandbox.log());
}

#[test]
fn several_stop_signals_are_sent_one_after_another() {
    let conf = "[program:x]\ncommand=sh -c \"trap 'echo HUP' HUP; echo up; while :; do sleep 0.1; done\"\n\
                stdout_logfile={dir}/x.log\nstopsignal=HUP TERM\nstopwaitsecs=1\n";
    let sandbox = rsup(conf);
    sandbox.until_file("x.log", "up");
    assert_eq!(sandbox.ctl(&["stop", "x"]).out, "x: stopped\n");
    assert_eq!(sandbox.read("x.log"), "up\nHUP\n");
    assert!(sandbox.log().contains("stopped: x (terminated by SIGTERM)"), "{}", sandbox.log());
    let ran = check("[program:x]\ncommand=sleep 1\nstopsignal=HUP BOGUS\n");
    assert!(ran.code != 0 && ran.out.contains("not `HUP BOGUS`"), "{} {}", ran.code, ran.out);
}

#[test]
fn a_program_that_gets_stuck_is_found_by_its_health_check_and_by_its_watchdog() {
    let port = free_port();
    let conf = format!(
        "[program:web]\ncommand=python3 -m http.server --bind 127.0.0.1 {port}\nready=http://127.0.0.1:{port}/\nstartsecs=0\nstopwaitsecs=1\n\
         healthcheck=http://127.0.0.1:{port}/\nhealthcheck_interval=0.1\nhealthcheck_timeout=0.3\nhealthcheck_retries=2\n\
         [program:shown]\ncommand=sleep 1000\nstartsecs=0\nhealthcheck=exec:test -e {{dir}}/well\nhealthcheck_interval=0.1\nhealthcheck_retries=1\nhealthcheck_action=none\n\
         [program:limited]\ncommand=sleep 1000\nstartsecs=0\nhealthcheck=tcp:1\nhealthcheck_interval=0.1\nhealthcheck_retries=1\nrestart_limit=2/60\n\
         [program:dog]\ncommand=python3 -c \"import os, socket, time; s = socket.socket(1, 2); s.connect(chr(0) + os.environ['NOTIFY_SOCKET'][1:]); \
         s.send(b'READY=1'); [(s.send(b'WATCHDOG=1'), time.sleep(int(os.environ['WATCHDOG_USEC']) / 4e6)) for i in range(100000)]\"\n\
         ready=notify\nwatchdog=1\nstartsecs=0\nstopwaitsecs=1\n"
    );
    let sandbox = rsup(&conf);
    for name in ["web", "dog", "shown"] {
        sandbox.until(name, "RUNNING");
    }
    for name in ["web", "dog"] {
        let pid = sandbox.pid_of(name);
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGSTOP).unwrap();
        wait_for(&format!("{name} to come back"), || {
            (sandbox.state(name) == "RUNNING" && sandbox.pid_of(name) != pid).then_some(())
        });
    }
    let log = sandbox.log();
    assert!(log.contains(&format!("web is unhealthy (http://127.0.0.1:{port}/: timed out): restarting it")), "{log}");
    assert!(log.contains("has not reported within 1 s (watchdog): sending SIGABRT"), "{log}");
    wait_for("shown to be unhealthy", || {
        description(&sandbox, "shown")
            .ends_with(
                "unhealthy (exec:test -e {dir}/well: exit status 1)"
                    .replace("{dir}", sandbox.dir.to_str().unwrap())
                    .as_str(),
            )
            .then_some(())
    });
    sandbox.write("well", "");
    wait_for("shown to be healthy", || (!description(&sandbox, "shown").contains("unhealthy")).then_some(()));
    sandbox.until("limited", "FATAL");
    assert_eq!(sandbox.info("limited")["spawnerr"], "more than 2 restarts in 60 s (restart_limit)");
}

/// `rsup health` with these arguments: its exit code and what it prints.
pub fn health(sandbox: &Sandbox, args: &[&str]) -> (i32, String) {
    let conf = sandbox.dir.join("supervisord.conf");
    let ran = run(sandbox.command_of(&crate::harness::rsup()).arg("health").arg("-c").arg(conf).args(args));
    (ran.code, ran.out)
}

#[test]
fn health_tells_readiness_from_liveness() {
    let conf = "[program:once]\ncommand=true\noneshot=true\n\
                [program:slow]\ncommand=sleep 1000\nstartsecs=0\nready=file:{dir}/ready\n\
                [program:vital]\ncommand=sleep 1000\nstartsecs=0\nessential=true\nautorestart=false\n\
                healthcheck=exec:test ! -e {dir}/sick\nhealthcheck_interval=0.1\nhealthcheck_retries=1\nhealthcheck_action=none\n\
                [program:off]\ncommand=false\nautostart=false\n";
    let mut sandbox = rsup(conf);
    sandbox.until("vital", "RUNNING");
    wait_for("the reason", || {
        (health(&sandbox, &[]).1 == "slow STARTING not ready yet (it does not exist)\n").then_some(())
    });
    assert_eq!(health(&sandbox, &["--ready"]).0, 1);
    assert_eq!(health(&sandbox, &["--live"]), (0, String::new()), "it is on its way");
    assert_eq!(health(&sandbox, &["vital", "once"]), (0, String::new()), "only these");
    assert_eq!(health(&sandbox, &["nothing"]).0, 1);
    sandbox.write("ready", "");
    sandbox.until("slow", "RUNNING");
    assert_eq!(health(&sandbox, &[]), (0, String::new()));
    sandbox.write("sick", "");
    wait_for("the sickness", || (health(&sandbox, &["--live"]).0 == 1).then_some(()));
    for args in [&["--live"][..], &["--ready"], &["vital"]] {
        let (code, text) = health(&sandbox, args);
        assert!(
            code == 1 && text.starts_with("vital RUNNING pid ") && text.contains(", unhealthy (exec:test ! -e "),
            "{code} {text}"
        );
    }
    assert_eq!(health(&sandbox, &["slow"]), (0, String::new()));
    for args in [&["--live", "--ready"][..], &["--timeout", "0"]] {
        assert_eq!(health(&sandbox, args).0, 2, "{args:?}");
    }
    sandbox.signal(nix::sys::signal::Signal::SIGSTOP);
    assert_eq!(health(&sandbox, &["--timeout", "0.3"]).0, 2, "nothing answers in time");
    sandbox.signal(nix::sys::signal::Signal::SIGCONT);
    assert_eq!(sandbox.stop(), 0);
}

#[test]
fn health_reports_a_stuck_program_until_it_has_come_back() {
    let conf = "[program:checked]\ncommand=sleep 1000\nstartsecs=0\nstopwaitsecs=1000\nessential=true\n\
                healthcheck=exec:test ! -e {dir}/sick\nhealthcheck_interval=0.1\nhealthcheck_retries=1\n\
                [program:dog]\ncommand=python3 -c \"import os, socket, time; s = socket.socket(1, 2); s.connect(chr(0) + os.environ['NOTIFY_SOCKET'][1:]); \
                s.send(b'READY=1'); [(s.send(b'WATCHDOG=1'), time.sleep(int(os.environ['WATCHDOG_USEC']) / 4e6)) for i in range(100000)]\"\n\
                ready=notify\nwatchdog=1\nstartsecs=0\nstopwaitsecs=1000\n\
                [program:ended]\ncommand=sleep 1000\nstartsecs=0\nhealthcheck=exec:test ! -e {dir}/sick\nhealthcheck_interval=0.1\n\
                healthcheck_retries=1\nhealthcheck_action=stop\n";
    let sandbox = rsup(conf);
    for name in ["checked", "dog", "ended"] {
        sandbox.until(name, "RUNNING");
    }
    let send = |pid, signal| nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
    let (checked, dog) = (sandbox.pid_of("checked"), sandbox.pid_of("dog"));
    // Neither ends before it is killed: a stopped process does not handle SIGTERM and SIGABRT.
    for pid in [checked, dog] {
        send(pid, nix::sys::signal::Signal::SIGSTOP);
    }
    sandbox.write("sick", "");
    let sick = format!("unhealthy (exec:test ! -e {}/sick: exit status 1)", sandbox.dir.display());
    let unhealthy = |name: &str, args: &[&str], start: &str, end: &str| {
        wait_for(&format!("{name} {start} {end}"), || {
            let (code, text) = health(&sandbox, args);
            (code == 1 && text.starts_with(&format!("{name} {start}")) && text.ends_with(&format!("{end}\n")))
                .then_some(())
        });
    };
    unhealthy("checked", &["checked"], "STOPPING ", &sick);
    unhealthy("checked", &["--live"], "STOPPING ", &sick);
    unhealthy("dog", &["dog"], "RUNNING pid ", "unhealthy (has not reported within 1 s (watchdog))");
    unhealthy("ended", &["ended"], "STOPPED ", "");
    std::fs::remove_file(sandbox.dir.join("sick")).unwrap();
    for pid in [checked, dog] {
        send(pid, nix::sys::signal::Signal::SIGKILL);
    }
    wait_for("both to be healthy", || (health(&sandbox, &["checked", "dog"]).0 == 0).then_some(()));
    assert_eq!(health(&sandbox, &["--live"]), (0, String::new()));
    // A stop by request is no failure.
    for name in ["ended", "checked"] {
        sandbox.rpc("supervisor.startProcess", serde_json::json!([name])).ok();
        sandbox.rpc("supervisor.stopProcess", serde_json::json!([name])).unwrap();
    }
    assert_eq!(health(&sandbox, &["ended", "checked"]), (0, String::new()));
}

#[test]
fn a_reload_uses_the_signal_or_the_command_of_a_program() {
    let conf = "[program:signal]\ncommand=python3 -c \"import signal, time; signal.signal(1, lambda *a: print('again', flush=True)); print('up', flush=True); \
                [time.sleep(1) for i in range(1000)]\"\nstdout_logfile={dir}/signal.log\nstartsecs=0\nreload_signal=HUP\n\
                [program:command]\ncommand=sleep 1000\nstdout_logfile={dir}/command.log\nstartsecs=0\nreload_command=sh -c 'echo reload $SUPERVISOR_PROCESS_PID'\n\
                [program:fails]\ncommand=sleep 1000\nstartsecs=0\nreload_command=sh -c 'exit 9'\n\
                [program:hangs]\ncommand=sleep 1000\nstartsecs=0\nreload_command=sleep 1000\nhook_timeout=0.2\n\
                [program:neither]\ncommand=sleep 1000\nstartsecs=0\n";
    let sandbox = rsup(conf);
    sandbox.until_file("signal.log", "up");
    let ran = sandbox.ctl(&["reload", "signal", "command", "fails", "hangs"]);
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (
            1,
            "signal: reloaded\ncommand: reloaded\nfails: ERROR (FAILED: reload_command failed (exit status 9))\n\
             hangs: ERROR (FAILED: reload_command failed (timed out))\n"
        )
    );
    sandbox.until_file("signal.log", "again");
    sandbox.until_file("command.log", &format!("reload {}", sandbox.pid_of("command")));
    sandbox.until_log("fails: reload_command failed (exit status 9)", 1);
    sandbox.until_log("hangs: reload_command failed (timed out)", 1);
    let ran = sandbox.ctl(&["reload", "neither"]);
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (1, "neither: ERROR (FAILED: neither has neither reload_signal nor reload_command)\n")
    );
    assert_eq!(
        sandbox.supervisorctl(&["reload", "signal"]).out.lines().next(),
        Some("Error: reload accepts no arguments")
    );
}

#[test]
fn a_rolling_restart_waits_for_each_process_and_ends_at_the_first_that_fails() {
    let conf = "[program:web]\ncommand=sh -c 'test -e {dir}/broken-%(process_num)d && exec 3>&- sleep 1000; echo >&3; exec sleep 1000'\nready=fd:3\nstartsecs=0\nstartretries=0\n\
                numprocs=3\nprocess_name=%(program_name)s_%(process_num)d\n";
    let sandbox = rsup(conf);
    for n in 0..3 {
        sandbox.until(&format!("web:web_{n}"), "RUNNING");
    }
    let ran = sandbox.ctl(&["restart", "--rolling", "web:*"]);
    let lines = |n: usize| format!("web:web_{n}: stopped\nweb:web_{n}: started\n");
    assert_eq!((ran.code, ran.out), (0, (0..3).map(lines).collect::<String>()));
    sandbox.write("broken-1", "");
    let last = sandbox.pid_of("web:web_2");
    let ran = sandbox.ctl(&["restart", "--rolling", "web:*"]);
    let failed = "web:web_1: stopped\nweb:web_1: ERROR (spawn error)\n\
                  web:web_1: not ready: its descriptor was closed without a newline\nnot restarted: web:web_2\n";
    assert_eq!((ran.code, ran.out), (1, lines(0) + failed));
    assert_eq!(sandbox.pid_of("web:web_2"), last);
    assert_eq!(sandbox.ctl(&["restart", "--rolling"]).code, 2);
    assert_eq!(sandbox.ctl(&["restart", "--rolling", "wbe"]).code, 1);
}

#[test]
fn mistakes_are_refused_with_what_to_write() {
    for (program, message) in [
        ("depends_on=dbb\n[program:db]\ncommand=a", "no program or group is called dbb; did you mean db?"),
        ("depends_on=x", "x is or contains this program, which cannot wait for itself; name other programs"),
        (
            "after=l\n[eventlistener:l]\ncommand=a\nevents=TICK_5",
            "l is a pool of event listeners, which no program can wait for",
        ),
        (
            "depends_on=y\n[program:y]\ncommand=a\nafter=z\n[program:z]\ncommand=a\nrestart_with=x",
            "these programs wait for each other: x → y → z → x; remove one of the links",
        ),
        ("ready=tcp:", "has no port; write tcp:PORT, tcp:HOST:PORT or tcp:[V6]:PORT"),
        ("ready=fd:1", "has no descriptor from 3 on, after stdin, stdout and stderr; write fd:3"),
        ("ready=line:(", "'(' is not a regular expression"),
        ("watchdog=5", "watchdog needs ready=notify"),
        ("oneshot=true\nready=tcp:80", "a one-shot is done when it ends, and is never ready"),
        (
            "stop_sequence=TERM",
            "stop_sequence must be SIGNAL:seconds, separated by commas, such as TERM:10,INT:5, not `TERM`",
        ),
        ("pre_start='a", "this command cannot be parsed"),
        ("healthcheck_retries=0", "healthcheck_retries must be a whole number from 1 on, not `0`"),
        ("x=y\n[eventlistener:l]\ncommand=a\nevents=TICK_5\noneshot=true", "an event listener cannot have oneshot"),
    ] {
        let ran = check(&format!("[program:x]\ncommand=sleep 1\n{program}\n"));
        assert!(ran.code != 0 && ran.out.contains(message), "{program}: {} {}{}", ran.code, ran.out, ran.err);
    }
}
