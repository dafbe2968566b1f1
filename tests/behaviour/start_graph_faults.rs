//! The start graph with programs that behave badly: signs of readiness that come too late or from others, messages of what a
//! program left behind, commands that outlast their program, and what is shown of all that.

use super::rsup;
use super::start_graph::{check, description, health};
use crate::harness::wait_for;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::Instant;

/// A command that runs this Python code, with `send(bytes)` to NOTIFY_SOCKET. Without double quotes.
fn notifies(code: &str) -> String {
    format!(
        "python3 -c \"import os, signal, socket, sys, time; s = socket.socket(1, 2); \
         s.connect(chr(0) + os.environ['NOTIFY_SOCKET'][1:]); send = s.send; {code}\"\nready=notify\nstartsecs=0\n"
    )
}

/// The processor time that a process has used, in seconds.
fn processor_seconds(pid: i32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = fields[11..13].iter().map(|field| field.parse::<f64>().unwrap()).sum();
    ticks / nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).unwrap().unwrap() as f64
}

#[test]
fn messages_of_what_a_program_left_do_not_keep_rsup_busy() {
    let left = "send(b'READY=1'); own = os.getpid(); \
                os.fork() or (signal.signal(15, 1), [time.sleep(0.05) for i in iter(lambda: os.getppid() == own, False)], \
                send(b'STATUS=left'), open('{dir}/sent', 'w'), time.sleep(1000)); time.sleep(1000)";
    let conf = format!(
        "[program:x]\ncommand={}post_stop=sh -c 'until test -e {{dir}}/sent; do sleep 0.05; done; sleep 1'\n",
        notifies(left)
    );
    let sandbox = rsup(&conf);
    sandbox.until("x", "RUNNING");
    let (begun, before) = (Instant::now(), processor_seconds(sandbox.pid()));
    assert_eq!(sandbox.ctl(&["stop", "x"]).out, "x: stopped\n");
    let (passed, used) = (begun.elapsed().as_secs_f64(), processor_seconds(sandbox.pid()) - before);
    assert!(used < passed / 4.0, "{used} s of {passed} s: an unread message made it spin");
}

#[test]
fn a_program_that_ends_right_after_its_sign_was_ready() {
    let conf = format!(
        "[program:fd]\ncommand=sh -c 'echo >&3'\nready=fd:3\nstartsecs=0\nautorestart=false\nstartretries=0\n\
         [program:line]\ncommand=printf ready\nready=line:^ready$\nstartsecs=0\nautorestart=false\nstartretries=0\n\
         [program:notify]\ncommand={}autorestart=false\nstartretries=0\n\
         [program:open]\ncommand=sh -c 'printf ready; exec sleep 1000 >&- 2>&-'\nready=line:^ready$\nstartsecs=0\n\
         [program:none]\ncommand=sh -c 'exit 5'\nready=fd:3\nstartretries=0\n",
        notifies("send(b'READY=1'); os._exit(0)")
    );
    let sandbox = rsup(&conf);
    for name in ["fd", "line", "notify"] {
        sandbox.until(name, "EXITED");
    }
    sandbox.until("open", "RUNNING");
    sandbox.until("none", "FATAL");
    assert!(sandbox.info("none")["spawnerr"].as_str().unwrap().contains("ready"), "{}", sandbox.info("none"));
}

#[test]
fn the_output_of_a_former_process_is_no_sign_of_its_successor() {
    let conf = "[program:x]\ncommand=sh -c 'test -e {dir}/again && exec sleep 1000; touch {dir}/again; \
                (until test -e {dir}/go; do sleep 0.05; done; echo ready) & echo ready; exit 1'\n\
                ready=line:ready\nready_timeout=0\nstartsecs=0\nautorestart=true\nstdout_logfile={dir}/x.log\n";
    let sandbox = rsup(conf);
    let pid = wait_for("the second process", || {
        let started = sandbox.log().matches("spawned: 'x'").count() == 2;
        started.then(|| sandbox.pid_of("x")).filter(|pid| *pid != 0)
    });
    sandbox.write("go", "");
    sandbox.until_file("x.log", "ready\nready\n");
    assert_eq!((sandbox.state("x"), sandbox.pid_of("x")), ("STARTING".into(), pid));
}

#[test]
fn reports_of_a_program_are_shown_beside_each_other() {
    let conf = format!(
        "[program:x]\ncommand={}[program:dog]\ncommand={}stopwaitsecs=1\n",
        notifies("send(b'READY=1\\nSTATUS=serves\\nMAINPID=77'); time.sleep(1000)"),
        notifies("send(b'READY=1'); time.sleep(0.2); send(b'WATCHDOG=trigger'); time.sleep(1000)")
    );
    let sandbox = rsup(&conf);
    sandbox.until("x", "RUNNING");
    wait_for("the status", || description(&sandbox, "x").ends_with(", main pid 77, serves").then_some(()));
    sandbox.until_log("x: main pid 77 (MAINPID)", 1);
    sandbox.until_log("has reported that it does not work (watchdog): sending SIGABRT", 1);
}

#[test]
fn a_cause_is_shown_only_for_what_it_caused() {
    let conf = "[program:sick]\ncommand=sh -c 'until test -e {dir}/end; do sleep 0.05; done; exit 4'\nstartsecs=0\nautorestart=false\n\
                healthcheck=tcp:1\nhealthcheck_interval=0.05\nhealthcheck_retries=1\nhealthcheck_action=none\n\
                [program:stopped]\ncommand=sleep 1000\nstartsecs=0\n\
                healthcheck=tcp:1\nhealthcheck_interval=0.05\nhealthcheck_retries=1\nhealthcheck_action=stop\n\
                [program:once]\ncommand=sh -c 'kill -9 $$'\noneshot=true\nstartretries=0\n\
                [program:waits]\ncommand=sleep 1000\ndepends_on=never\n\
                [program:never]\ncommand=sleep 1000\nready=file:{dir}/never\n\
                [program:fd]\ncommand=sleep 1000\nready=fd:2147483647\nstartretries=0\n\
                [program:hook]\ncommand=sleep 1000\nstartsecs=0\npre_stop=sleep 1000\nstopwaitsecs=1\n";
    let sandbox = rsup(conf);
    wait_for("the failed check", || description(&sandbox, "sick").contains("unhealthy (tcp:127.0.0.1:1").then_some(()));
    sandbox.write("end", "");
    sandbox.until("sick", "EXITED");
    assert_eq!(sandbox.info("sick")["spawnerr"], "Bad exit code 4");
    assert!(!description(&sandbox, "sick").contains("refused"), "{}", description(&sandbox, "sick"));
    sandbox.until("once", "FATAL");
    assert_eq!(sandbox.info("once")["spawnerr"], "terminated by SIGKILL");
    sandbox.until("fd", "FATAL");
    let why = sandbox.info("fd")["spawnerr"].as_str().unwrap().to_owned();
    assert!(
        why.starts_with("couldn't give ") && why.contains("the descriptor of ready=fd") && why.contains("EBADF"),
        "{why}"
    );
    // One that no request has stopped should run.
    sandbox.until("stopped", "STOPPED");
    assert_eq!(health(&sandbox, &["stopped"]).0, 1);
    wait_for("the wait", || (description(&sandbox, "waits") == "waiting for never").then_some(()));
    assert_eq!(health(&sandbox, &["waits"]).0, 1);
    assert_eq!(sandbox.ctl(&["stop", "waits"]).code, 0);
    assert_eq!(health(&sandbox, &["waits"]), (0, String::new()));
    sandbox.until("hook", "RUNNING");
    assert_eq!(sandbox.ctl(&["stop", "hook"]).code, 0);
    sandbox.until_log("hook: pre_stop did not end within 1 s and was killed (stopwaitsecs)", 1);
}

#[test]
fn an_update_of_a_dependency_does_not_lose_the_start_that_waits_for_it() {
    let conf = |first: &str| {
        format!(
            "[program:db]\ncommand=sh -c '{first}; until test -e {{dir}}/go; do sleep 0.05; done; echo >&3; exec sleep 1000'\n\
             ready=fd:3\nstartsecs=0\n[program:web]\ncommand=sleep 1000\nstartsecs=0\ndepends_on=db\n"
        )
    };
    let sandbox = rsup(&conf("true"));
    wait_for("the wait", || (description(&sandbox, "web") == "waiting for db").then_some(()));
    sandbox.reconfigure(&conf("echo changed"));
    assert_eq!(sandbox.ctl(&["update"]).out, "db: stopped\ndb: updated process group\n");
    sandbox.write("go", "");
    sandbox.until("web", "RUNNING");
}

#[test]
fn a_program_that_was_stopped_by_request_is_not_unhealthy() {
    let conf = "[program:x]\ncommand=sleep 1000\nstartsecs=0\nessential=true\nautorestart=false\nhealthcheck=tcp:1\n\
                healthcheck_interval=0.05\nhealthcheck_retries=1\nhealthcheck_action=none\n";
    let sandbox = rsup(conf);
    wait_for("the failed check", || (health(&sandbox, &["--live"]).0 == 1).then_some(()));
    assert_eq!(sandbox.ctl(&["stop", "x"]).code, 0);
    for args in [&["--live"][..], &["--ready"]] {
        assert_eq!(health(&sandbox, args), (0, String::new()));
    }
}

#[test]
fn a_stop_command_may_outlast_its_program() {
    let conf = "[program:x]\ncommand=sh -c 'until test -e {dir}/end; do sleep 0.05; done'\nstartsecs=0\nstdout_logfile={dir}/x.log\n\
                stop_command=sh -c 'touch {dir}/end; sleep 0.5; echo cleaned'\npost_stop=echo after\n";
    let sandbox = rsup(conf);
    sandbox.until("x", "RUNNING");
    assert_eq!(sandbox.ctl(&["stop", "x"]).out, "x: stopped\n");
    sandbox.until_file("x.log", "cleaned\nafter\n");
    assert!(sandbox.log().contains("stopped: x (exit status 0)"), "{}", sandbox.log());
}

#[test]
fn starting_all_counts_no_dependency_as_started_before() {
    let conf = "[program:web]\ncommand=sleep 1000\npriority=1\nstartsecs=0\nautostart=false\ndepends_on=db\n\
                [program:db]\ncommand=sleep 1000\nautostart=false\n";
    let sandbox = rsup(conf);
    let ran = sandbox.ctl(&["start", "all"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "web: started\ndb: started\n"));
}

#[test]
fn a_shutdown_starts_nothing_that_follows_another() {
    let conf = "[program:web]\ncommand=sleep 1000\nstartsecs=0\nrestart_with=db\npriority=10\n\
                [program:db]\ncommand=sleep 1000\nready=file:{dir}/ready\nstartsecs=0\npriority=10\n\
                [program:last]\ncommand=sh -c 'trap \"\" TERM; until test -e {dir}/end; do sleep 0.05; done'\nstartsecs=0\nstopwaitsecs=1000\n";
    let mut sandbox = rsup(conf);
    sandbox.write("ready", "");
    sandbox.until("db", "RUNNING");
    sandbox.until("last", "RUNNING");
    assert_eq!(sandbox.ctl(&["stop", "db"]).code, 0);
    std::fs::remove_file(sandbox.dir.join("ready")).unwrap();
    sandbox.rpc("supervisor.startProcess", serde_json::json!(["db", false])).unwrap();
    kill(Pid::from_raw(sandbox.pid()), Signal::SIGTERM).unwrap();
    sandbox.until_log("waiting for db, last to die", 1);
    sandbox.write("ready", "");
    sandbox.until_log("success: db entered", 2);
    sandbox.write("end", "");
    assert_eq!(sandbox.wait(), 0);
    assert_eq!(sandbox.log().matches("spawned: 'web'").count(), 1, "{}", sandbox.log());
}

#[test]
fn mistakes_in_times_and_signals_have_what_to_write() {
    let program = |line: &str| check(&format!("[program:x]\ncommand=sleep 1\n{line}\n"));
    for key in ["hook_timeout", "healthcheck_interval", "healthcheck_timeout", "watchdog"] {
        let ran = program(&format!("ready=notify\n{key}=0"));
        let wanted = format!("{key} must be a number of seconds greater than 0, such as 8 or 9.5, not `0`");
        assert!(ran.code != 0 && ran.out.contains(&wanted), "{}", ran.out);
    }
    for key in ["pre_start", "pre_stop", "post_stop", "stop_command", "reload_command"] {
        let ran = program(&format!("{key}="));
        let wanted = format!("this command cannot be parsed: it is empty; write a command or remove {key}");
        assert!(ran.code != 0 && ran.out.contains(&wanted), "{}", ran.out);
    }
    let ran = program("oneshot=true\nhealthcheck=tcp:80");
    assert!(ran.out.contains("healthcheck has no effect beside oneshot=true; remove it"), "{}", ran.out);
}

#[test]
fn each_option_has_an_error_for_a_wrong_value() {
    for (line, wanted) in [
        ("ready=port 80", "'port 80' has no known form; write"),
        ("ready_timeout=1m", "ready_timeout must be a number of seconds"),
        ("depends_on=no", "no program or group is called no"),
        ("after=no", "no program or group is called no"),
        ("after=,", "there is a comma without a name; remove the comma"),
        ("restart_with=no", "no program or group is called no"),
        ("oneshot=maybe", "oneshot must be true or false"),
        ("healthcheck=tcp:", "has no port; write"),
        ("healthcheck_interval=x", "healthcheck_interval must be a number of seconds"),
        ("healthcheck_timeout=x", "healthcheck_timeout must be a number of seconds"),
        ("healthcheck_retries=x", "healthcheck_retries must be a whole number from 1 on"),
        ("healthcheck_start_period=x", "healthcheck_start_period must be a number of seconds"),
        ("healthcheck_action=reboot", "healthcheck_action must be restart, stop or none"),
        ("watchdog=x", "watchdog must be a number of seconds"),
        ("stop_sequence=TERM:x", "stop_sequence must be SIGNAL:seconds"),
        ("reload_signal=NO", "reload_signal must be a signal such as"),
        ("reload_signal=HUP\nreload_command=a", "remove reload_signal or reload_command"),
        ("hook_timeout=x", "hook_timeout must be a number of seconds"),
        ("sweep_wait=x", "sweep_wait must be a number of seconds"),
    ] {
        let ran = check(&format!("[program:x]\ncommand=sleep 1\n{line}\n"));
        let error = ran.out.lines().find(|line| line.contains(": error: [program:x] ")).unwrap_or_default();
        assert!(ran.code == 2 && error.contains(wanted), "{line}: {} {}", ran.code, ran.out);
    }
}

#[test]
fn a_program_can_extend_its_time_and_wait_for_its_messages_to_be_read() {
    let late = notifies(
        "import array; send(b'EXTEND_TIMEOUT_USEC=60000000'); r, w = os.pipe(); \
         s.sendmsg([b'BARRIER=1'], [(1, 1, array.array('i', [w]))]); os.close(w); os.read(r, 1); \
         open('read', 'w').close(); time.sleep(1.5); send(b'READY=1'); time.sleep(1000)",
    );
    let conf = format!("[program:late]\ncommand={late}ready_timeout=1\nstartretries=0\ndirectory={{dir}}\n");
    let sandbox = rsup(&conf);
    sandbox.until("late", "RUNNING");
    assert!(sandbox.dir.join("read").exists(), "rsup closed the descriptor of BARRIER=1");
    assert!(!sandbox.log().contains("not ready within"), "{}", sandbox.log());
}

#[test]
fn a_flood_of_messages_costs_only_its_sender() {
    let flood =
        notifies("send(b'READY=1'); [send(b'STATUS=' + str(i).encode()) for i in iter(int, 1) for i in range(10**6)]");
    let port = crate::harness::free_port();
    let conf = format!(
        "[program:flood]\ncommand={flood}[program:other]\ncommand=python3 -m http.server --bind 127.0.0.1 {port}\n\
         ready=tcp:{port}\nstartsecs=0\nautorestart=true\ndepends_on=flood\n"
    );
    let mut sandbox = rsup(&conf);
    sandbox.until("other", "RUNNING");
    for _ in 0..3 {
        let pid = sandbox.pid_of("other");
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        wait_for("the other program", || {
            (sandbox.state("other") == "RUNNING" && sandbox.pid_of("other") != pid).then_some(())
        });
    }
    assert_eq!(sandbox.ctl(&["restart", "other"]).code, 0);
    assert!(sandbox.state("flood") == "RUNNING");
    assert_eq!(sandbox.stop(), 0);
}

#[test]
fn a_probes_command_runs_as_its_program_does() {
    let conf = "[program:a]\ncommand=sleep 1000\nstartsecs=0\ndirectory={dir}/bin\numask=027\nenvironment=WORD=\"own\"\n\
                ready=exec:sh -c 'echo $(umask) $(pwd) $WORD $(ps -o pgid= -p $$) $$ > {dir}/probe'\n";
    let sandbox = rsup(conf);
    sandbox.until("a", "RUNNING");
    let probe = sandbox.read("probe");
    let words: Vec<&str> = probe.split_whitespace().collect();
    assert_eq!(words[..3], ["0027", sandbox.dir.join("bin").to_str().unwrap(), "own"]);
    assert_eq!(words[3], words[4], "it leads a process group of its own");
}

#[test]
fn a_health_check_may_take_longer_than_its_interval() {
    let conf = "[program:a]\ncommand=sleep 1000\nstartsecs=0\nhealthcheck=exec:sh -c 'echo begin >> {dir}/checks; sleep 0.2; echo end >> {dir}/checks'\n\
                healthcheck_interval=0.01\n";
    let sandbox = rsup(conf);
    wait_for("four checks", || (sandbox.read("checks").matches("end").count() >= 4).then_some(()));
    let checks = sandbox.read("checks");
    let alternates = checks.lines().enumerate().all(|(n, line)| line == if n % 2 == 0 { "begin" } else { "end" });
    assert!(alternates, "one at a time:\n{checks}");
    assert_eq!(sandbox.state("a"), "RUNNING");
}

#[test]
fn a_fastcgi_program_can_be_waited_for_and_can_wait() {
    let conf = "[fcgi-program:f]\nsocket=unix://{dir}/f.sock\ncommand=sleep 1000\nstartsecs=0\nnumprocs=2\n\
                process_name=%(program_name)s%(process_num)d\ndepends_on=first\nready=file:{dir}/go\n\
                [program:first]\ncommand=sleep 1000\nstartsecs=0\n\
                [program:last]\ncommand=sleep 1000\nstartsecs=0\ndepends_on=f\n";
    let sandbox = rsup(conf);
    wait_for("both", || (description(&sandbox, "last") == "waiting for f:f0, f:f1").then_some(()));
    sandbox.until("first", "RUNNING");
    sandbox.write("go", "");
    sandbox.until("last", "RUNNING");
    let log = sandbox.log();
    assert!(log.find("success: first") < log.find("spawned: 'f0'"), "{log}");
    assert!(log.find("success: f1") < log.find("spawned: 'last'"), "{log}");
}

#[test]
fn failures_after_the_start_do_not_count_until_the_first_success() {
    let conf = "[program:a]\ncommand=sleep 1000\nstartsecs=0\nhealthcheck=exec:sh -c 'echo check >> {dir}/checks; test -e {dir}/up'\n\
                healthcheck_interval=0.1\nhealthcheck_retries=1\nhealthcheck_start_period=1000\n";
    let sandbox = rsup(conf);
    let more_checks = |more: usize| {
        let count = || sandbox.read("checks").lines().count();
        let before = count();
        wait_for("more checks", || (count() >= before + more).then_some(()));
    };
    sandbox.until("a", "RUNNING");
    let pid = sandbox.pid_of("a");
    more_checks(3);
    assert!(sandbox.pid_of("a") == pid && !sandbox.log().contains("unhealthy"), "{}", sandbox.log());
    sandbox.write("up", "");
    // The first of these may have begun before the file was there.
    more_checks(2);
    std::fs::remove_file(sandbox.dir.join("up")).unwrap();
    sandbox.until_log("a is unhealthy (exec:sh -c ", 1);
    wait_for("the restart", || (sandbox.state("a") == "RUNNING" && sandbox.pid_of("a") != pid).then_some(()));
}

/// The time of a line of the log, in milliseconds since midnight.
fn millis(log: &str, text: &str) -> i64 {
    let line = log.lines().find(|line| line.contains(text)).unwrap_or_else(|| panic!("no `{text}` in\n{log}"));
    let numbers: Vec<i64> = line[11..23].split([':', ',']).map(|number| number.parse().unwrap()).collect();
    ((numbers[0] * 60 + numbers[1]) * 60 + numbers[2]) * 1000 + numbers[3]
}

#[test]
fn what_a_dead_program_left_has_sweep_wait_to_end() {
    let conf = "[program:a]\ncommand=sh -c \"test -e {dir}/once && exec sleep 1000; touch {dir}/once; \
                sh -c 'trap : TERM; touch {dir}/trapped; while :; do sleep 0.1; done' & \
                while ! test -e {dir}/trapped; do sleep 0.05; done; exit 1\"\n\
                startsecs=0\nautorestart=true\nsweep=true\nsweep_wait=3\nstopwaitsecs=1000\n";
    let sandbox = rsup(conf);
    sandbox.until_log("what a left in process group", 2);
    sandbox.until("a", "RUNNING");
    let log = sandbox.log();
    let [term, kill] = ["with SIGTERM", "with SIGKILL"].map(|signal| millis(&log, signal));
    let waited = (kill - term).rem_euclid(24 * 3600 * 1000);
    // Neither the default of 2 seconds nor stopwaitsecs. The log has whole milliseconds.
    assert!(waited >= 2_998, "{waited} ms:\n{log}");
    assert_eq!(log.matches("spawned: 'a'").count(), 2, "{log}");
}

#[test]
fn the_spellings_of_the_go_clone_are_read() {
    let conf = "[program:a]\ncommand=sleep 1000\nstartsecs=0\npre_start_hook=touch {dir}/started\npre_stop_hook=touch {dir}/stopping\n\
                liveness_check_script=test ! -e {dir}/sick\nliveness_check_period=0.1\nliveness_check_timeout=5\n\
                liveness_check_failure_threshold=2\nliveness_check_initial_delay=0\nliveness_check_failure_action=stop\n";
    let sandbox = rsup(conf);
    sandbox.until("a", "RUNNING");
    assert!(sandbox.dir.join("started").exists() && !sandbox.dir.join("stopping").exists());
    sandbox.write("sick", "");
    sandbox.until("a", "STOPPED");
    assert!(sandbox.dir.join("stopping").exists());
    let log = sandbox.log();
    assert!(log.contains("a is unhealthy (exec:test ! -e "), "{log}");
}
