//! Ends and reloads: exit contract, stop budget, sweeping, signals, reload with a broken file.

use super::{as_pid1, last_line, rsup, short_lived, short_lived_pid1, term};
use crate::harness::{Sandbox, Subject, run, skip, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use std::process::Command;
use std::time::{Duration, Instant};

#[test]
fn the_end_of_an_essential_program_ends_rsup_with_its_exit_code() {
    let mut sandbox = short_lived(
        "[program:side]\ncommand=sleep 1000\n\
         [program:web]\ncommand=sh -c 'sleep 1.2; exit 7'\nautorestart=false\nessential=true\n",
    );
    assert_eq!(sandbox.wait(), 7);
    let stderr = sandbox.read("stderr");
    assert_eq!(last_line(&stderr), "rsup: web, which is essential, ended (exit status 7); exit code 7");
    assert!(sandbox.log().contains("stopped: side (terminated by SIGTERM)"));
}

#[test]
fn pid_1_exits_with_the_programs_code_and_prints_the_reason_last() {
    let main = |then: &str| {
        format!(
            "[program:main]\ncommand=sh -c 'sleep 1.2; {then}'\nautorestart=false\nessential=true\n\
             [program:other]\ncommand=sleep 1000\n"
        )
    };
    let fatal = "[program:main]\ncommand=sh -c 'exit 9'\nstartretries=0\nessential=true\n";
    for (from, programs, code) in [
        ("essential", main("exit 7"), 7),
        ("main", main("kill -9 $$"), 137),
        ("essential", main("exit 0"), 0),
        ("first_failure", fatal.to_owned(), 9),
    ] {
        let Some(mut sandbox) = short_lived_pid1(&format!("[supervisord]\nexit_code_from={from}\n{programs}")) else {
            return;
        };
        assert_eq!(sandbox.wait(), code, "{from}: {programs}");
        let stderr = sandbox.read("stderr");
        assert!(last_line(&stderr).ends_with(&format!("exit code {code}")), "{stderr:?}");
    }
}

const TWO: &str =
    "[program:a]\ncommand=/bin/sleep 1000\npriority=1\n[program:b]\ncommand=/bin/sleep 1000\npriority=2\n";

#[test]
fn term_int_and_quit_end_pid_1_in_order() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        let Some((mut sandbox, init)) = as_pid1(TWO) else { return };
        sandbox.until("a", "RUNNING");
        sandbox.until("b", "RUNNING");
        kill(init, signal).unwrap();
        assert_eq!(sandbox.wait(), 0);
        let log = sandbox.read("stdout");
        assert!(log.find("stopped: b").unwrap() < log.find("stopped: a").unwrap(), "{log}");
    }
}

#[test]
fn hup_reloads_pid_1() {
    let Some((mut sandbox, init)) = as_pid1(TWO) else { return };
    sandbox.until("a", "RUNNING");
    for signal in [Signal::SIGUSR1, Signal::SIGPIPE, Signal::SIGALRM, Signal::SIGHUP] {
        kill(init, signal).unwrap();
    }
    wait_for("the second start of a", || (sandbox.read("stdout").matches("success: a").count() == 2).then_some(()));
    term(init);
    assert_eq!(sandbox.wait(), 0);
}

#[test]
fn an_essential_program_that_cannot_start_ends_rsup() {
    let mut sandbox = short_lived(
        "[program:side]\ncommand=sleep 1000\n[program:web]\ncommand=/nonexistent\nstartretries=0\nessential=true\n",
    );
    assert_eq!(sandbox.wait(), 127);
    assert!(last_line(&sandbox.read("stderr")).contains("can't find command '/nonexistent'"));
}

#[test]
fn the_exit_code_of_a_killed_named_program_is_128_plus_the_signal() {
    let mut sandbox = short_lived(
        "[supervisord]\nexit_code_from=b\nexit_when=all_done\n\
         [program:a]\ncommand=sh -c 'sleep 1.2; exit 3'\nautorestart=false\n\
         [program:b]\ncommand=sh -c 'sleep 1.4; kill -9 $$'\nautorestart=false\n",
    );
    assert_eq!(sandbox.wait(), 137);
    assert_eq!(last_line(&sandbox.read("stderr")), "rsup: all programs are done; exit code 137");
}

#[test]
fn without_the_extra_keys_the_exit_code_is_always_0() {
    let mut sandbox = rsup("[program:bad]\ncommand=/bin/false\nstartretries=0\n[program:web]\ncommand=sleep 1000\n");
    sandbox.until("bad", "FATAL");
    sandbox.until("web", "RUNNING");
    assert_eq!(sandbox.stop(), 0);
    assert_eq!(last_line(&sandbox.read("stdout")), last_line(&sandbox.log()));
}

#[test]
fn the_budget_is_kept_against_programs_that_ignore_term() {
    let mut sandbox = rsup(
        "[supervisord]\nstop_budget=2\n\
         [program:a]\ncommand=sh -c 'trap \"\" TERM; while :; do sleep 1; done'\npriority=1\nkillasgroup=true\n\
         [program:b]\ncommand=sh -c 'trap \"\" TERM; while :; do sleep 1; done'\npriority=2\nkillasgroup=true\n",
    );
    sandbox.until("a", "RUNNING");
    sandbox.until("b", "RUNNING");
    let begun = Instant::now();
    assert_eq!(sandbox.stop(), 0);
    // Each had its share of the budget before KILL. Without the budget it would have taken 20 s.
    assert!(begun.elapsed() > Duration::from_secs(1), "{:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    let log = sandbox.log();
    let killed = |name: &str| log.find(&format!("killing '{name}'")).expect(name);
    assert!(killed("b") < killed("a"), "{log}");
}

/// A freezer of cgroup version 1, whose members survive even KILL. It is thawed and removed at the end.
struct Freezer(std::path::PathBuf);

impl Freezer {
    fn new(name: &str) -> Option<Freezer> {
        let dir = std::path::Path::new("/sys/fs/cgroup/freezer").join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir(&dir).ok().map(|()| Freezer(dir))
    }

    fn freeze(&self, pid: i32) {
        std::fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
        std::fs::write(self.0.join("freezer.state"), "FROZEN").unwrap();
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        let _ = std::fs::write(self.0.join("freezer.state"), "THAWED");
        wait_for("the exit of the frozen process", || std::fs::remove_dir(&self.0).ok());
    }
}

#[test]
fn a_program_that_outlives_kill_does_not_delay_the_stop_signals_of_others() {
    let Some(freezer) = Freezer::new("rsup-budget") else {
        return skip("no freezer of cgroup version 1 is writable here");
    };
    let mut sandbox = rsup(
        "[supervisord]\nstop_budget=5\n\
         [program:db]\ncommand=sh -c 'trap \"echo flushed >{dir}/flushed; exit 0\" TERM; while :; do sleep 0.05; done'\n\
         priority=1\nstopwaitsecs=3\n\
         [program:hung]\ncommand=sleep 1000\npriority=900\nstopwaitsecs=1\n",
    );
    sandbox.until("db", "RUNNING");
    sandbox.until("hung", "RUNNING");
    freezer.freeze(sandbox.pid_of("hung"));
    let begun = Instant::now();
    assert_eq!(sandbox.stop(), 0);
    // rsup uses its budget, and then exits although the frozen program still exists.
    assert!(begun.elapsed() >= Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!(sandbox.read("flushed"), "flushed\n");
    let log = sandbox.log();
    assert!(log.find("killing 'hung'").expect(&log) < log.find("stopped: db").expect(&log), "{log}");
    assert!(log.contains("giving up on hung: still there after SIGKILL"), "{log}");
}

#[test]
fn at_the_end_of_the_budget_each_program_is_killed_once() {
    let deaf = "command=sh -c 'trap \"\" TERM; while :; do sleep 1; done'\nstopwaitsecs=9\nkillasgroup=true\n";
    let ask: [fn(&mut Sandbox); 2] = [
        |sandbox| sandbox.signal(Signal::SIGTERM),
        |sandbox| assert!(sandbox.rpc("supervisor.shutdown", json!([])).is_ok()),
    ];
    for ask in ask {
        let mut sandbox =
            rsup(&format!("[supervisord]\nstop_budget=1\n[program:a]\n{deaf}[program:b]\npriority=1\n{deaf}",));
        sandbox.until("a", "RUNNING");
        sandbox.until("b", "RUNNING");
        ask(&mut sandbox);
        assert_eq!(sandbox.wait(), 0);
        let log = sandbox.log();
        for name in ["a", "b"] {
            assert_eq!(log.matches(&format!("killing '{name}'")).count(), 1, "{log}");
        }
    }
}

/// Runs as a user that root without CAP_KILL may not signal. As soon as the file `allowed` exists, becomes root.
const GUARDED: &str = "import os, sys, time
os.setresuid(1234, 0, 1234)
open(sys.argv[1] + '.ready', 'w').close()
while not os.path.exists('allowed'):
    time.sleep(0.02)
os.setresuid(0, 0, 0)
open(sys.argv[1] + '.allowed', 'w').close()
while True:
    time.sleep(1)
";

#[test]
fn a_program_that_could_not_be_signalled_can_be_stopped_and_removed_later() {
    if !nix::unistd::geteuid().is_root() {
        return skip("only root can give away CAP_KILL");
    }
    let program = |name: &str| format!("[program:{name}]\ncommand=python3 guarded.py {name}\ndirectory={{dir}}\n");
    let mut sandbox = Sandbox::new(Subject::Rsup, &["a", "b"].map(program).concat());
    sandbox.write("guarded.py", GUARDED);
    let plain = sandbox.command("supervisord");
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-kill", "--inh-caps=-kill"]).arg(plain.get_program());
    command.args(["-n", "-c", "supervisord.conf"]).current_dir(&sandbox.dir).env_clear();
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    sandbox.launch_as(command);
    wait_for("an answer", || sandbox.rpc("supervisor.getState", json!([])).ok());
    let code = |method: &str, params| sandbox.rpc(&format!("supervisor.{method}"), params).map_err(|(code, _)| code);
    for name in ["a", "b"] {
        wait_for("the program's change of user", || sandbox.dir.join(format!("{name}.ready")).exists().then_some(()));
        sandbox.until(name, "RUNNING");
        assert_eq!(code("stopProcess", json!([name])), Err(30));
        assert_eq!(sandbox.state(name), "UNKNOWN");
    }
    assert_eq!(code("stopProcess", json!(["a"])), Err(30), "it is tried again and fails again");
    assert_eq!(code("removeProcessGroup", json!(["a"])), Err(91), "it still runs");
    assert_eq!(code("startProcess", json!(["a"])), Err(30));
    sandbox.write("allowed", "");
    for name in ["a", "b"] {
        wait_for("root's program", || sandbox.dir.join(format!("{name}.allowed")).exists().then_some(()));
    }
    assert_eq!(code("stopProcess", json!(["a"])), Ok(json!(true)));
    assert_eq!(sandbox.state("a"), "STOPPED");
    assert_eq!(code("removeProcessGroup", json!(["a"])), Ok(json!(true)));
    // A shutdown tries it again, and waits for it.
    assert_eq!(sandbox.stop(), 0);
    assert!(sandbox.log().contains("stopped: b (terminated by SIGTERM)"), "{}", sandbox.log());
}

#[test]
fn a_second_term_kills_everything_at_once() {
    let mut sandbox = rsup(
        "[program:a]\ncommand=sh -c 'trap \"\" TERM; while :; do sleep 1; done'\nkillasgroup=true\nstopwaitsecs=600\n",
    );
    sandbox.until("a", "RUNNING");
    sandbox.signal(Signal::SIGTERM);
    sandbox.until_log("waiting for a to die", 1);
    let pid = sandbox.pid();
    // A second signal right after the first counts as the same request, so it is sent until rsup exits.
    let done = std::thread::spawn(move || {
        while kill(Pid::from_raw(pid), Signal::SIGTERM).is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    assert_eq!(sandbox.wait(), 0);
    done.join().unwrap();
    assert!(sandbox.log().contains("second shutdown request"));
}

#[test]
fn usr1_and_other_unused_signals_are_ignored() {
    let mut sandbox = rsup("[program:a]\ncommand=sleep 1000\n");
    for signal in [Signal::SIGUSR1, Signal::SIGALRM, Signal::SIGPIPE, Signal::SIGWINCH] {
        sandbox.signal(signal);
    }
    sandbox.until("a", "RUNNING");
    assert_eq!(sandbox.stop(), 0);
}

#[test]
fn a_reload_with_a_broken_file_keeps_everything_running() {
    let mut sandbox = rsup("[program:a]\ncommand=sleep 1000\n");
    sandbox.until("a", "RUNNING");
    let pid = sandbox.pid_of("a");
    sandbox.reconfigure("[program:a]\nstartsecs=soon\n[program:b]\nnonsense\n");
    sandbox.signal(Signal::SIGHUP);
    sandbox.until_log("not restarted, the configuration is bad", 1);
    // Each mistake is logged with its line.
    let log = sandbox.log();
    assert!(log.contains("supervisord.conf:") && log.contains("soon") && log.contains("nonsense"), "{log}");
    assert_eq!((sandbox.state("a").as_str(), sandbox.pid_of("a")), ("RUNNING", pid));
    sandbox.reconfigure("[program:c]\ncommand=sleep 1000\n");
    sandbox.signal(Signal::SIGHUP);
    sandbox.until("c", "RUNNING");
    assert_eq!(sandbox.state("a"), "");
    assert_eq!(sandbox.stop(), 0);
}

#[test]
fn as_pid_1_it_stays_in_the_foreground_and_creates_no_default_files() {
    let Some((sandbox, init)) = as_pid1("[supervisord]\nnodaemon=false\n[program:a]\ncommand=sleep 1000\n") else {
        return;
    };
    sandbox.until("a", "RUNNING");
    assert!(sandbox.read("stdout").contains("nodaemon=false"));
    assert_eq!(sandbox.read("stdout").matches("supervisord started with pid 1\n").count(), 1);
    term(init);
    let mut sandbox = sandbox;
    assert_eq!(sandbox.wait(), 0);
    for file in ["supervisord.log", "supervisord.pid"] {
        let made = sandbox.dir.join(file).exists();
        let asked = sandbox.read("supervisord.conf").contains(file);
        assert!(asked || !made, "{file} was made");
    }
}

#[test]
fn processes_that_a_program_left_are_ended_before_it_starts_again() {
    // The worker keeps the port that the program needs, so that without the sweep each restart would fail.
    let python = "import os, socket, sys, time\n\
        s = socket.socket()\n\
        s.bind(('127.0.0.1', int(open('{dir}/port').read())))\n\
        s.listen()\n\
        open('{dir}/up', 'a').write(str(os.getpid()) + '\\n')\n\
        if os.fork() == 0:\n\
        \x20   import signal\n\
        \x20   if sys.argv[1] == 'deaf': signal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
        \x20   time.sleep(1000)\n\
        time.sleep(1000)\n";
    // Only the worker that must be killed gets a short time: the other may need long to exit on a busy machine.
    for (how, patience) in [("obedient", 60), ("deaf", 1)] {
        let conf = format!(
            "[program:web]\ncommand=python3 {{dir}}/web.py {how}\nsweep=true\nautorestart=true\nautostart=false\nstopwaitsecs={patience}\n"
        );
        let mut sandbox = rsup(&conf);
        sandbox.write("web.py", python);
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        sandbox.write("port", &port.to_string());
        assert_eq!(sandbox.ctl(&["start", "web"]).code, 0);
        let first = sandbox.pid_of("web");
        kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
        wait_for("the program is back", || {
            let info = sandbox.info("web");
            (info["statename"] == "RUNNING" && info["pid"] != first).then_some(())
        });
        assert!(sandbox.log().contains(&format!("sweeping what web left in process group {first} with SIGTERM")));
        assert_eq!(sandbox.log().contains("with SIGKILL"), how == "deaf", "{}", sandbox.log());
        // A stop sweeps too: the group is empty when the client gets its answer.
        let second = sandbox.pid_of("web");
        assert_eq!(sandbox.ctl(&["stop", "web"]).out, "web: stopped\n");
        // A zombie may remain: it does not run.
        let all = run(Command::new("ps").args(["-e", "-o", "pgid=,stat="])).out;
        let lives = |line: &&str| {
            let mut words = line.split_whitespace();
            words.next() == Some(&second.to_string()) && !words.next().unwrap_or_default().starts_with('Z')
        };
        assert_eq!(all.lines().find(lives), None, "the group still has a process");
        assert_eq!(sandbox.stop(), 0);
    }
}

#[test]
fn a_zombie_kept_for_a_sweep_does_not_delay_other_reaping() {
    let conf = "[program:a]\ncommand=sh -c 'trap \"\" TERM; sh -c \"trap : TERM; while :; do sleep 0.1; done\" & wait; wait'\n\
        sweep=true\nautorestart=false\nstopwaitsecs=3\n[program:b]\ncommand=sleep 1000\n";
    let Some((sandbox, init)) = as_pid1(conf) else { return };
    sandbox.until("a", "RUNNING");
    sandbox.until("b", "RUNNING");
    let inside = |name: &str| sandbox.info(name)["pid"].as_i64().unwrap();
    let enter = |pid: i64, signal: &str| {
        let init = init.to_string();
        let args = ["-t", &init, "-p", "-m", "kill", signal, &pid.to_string()];
        assert_eq!(crate::harness::run(std::process::Command::new("nsenter").args(args)).code, 0);
    };
    let b = inside("b");
    enter(inside("a"), "-KILL");
    sandbox.until("a", "EXITED");
    // While a's worker runs, a is kept as a zombie. The death of b is noticed all the same.
    enter(b, "-KILL");
    wait_for("b is back", || (sandbox.state("b") == "RUNNING" && inside("b") != b).then_some(()));
    sandbox.until_log("sweeping what a left", 2);
    term(init);
    let mut sandbox = sandbox;
    assert_eq!(sandbox.wait(), 0);
}

#[test]
fn the_first_term_in_a_shutdown_that_no_signal_started_does_not_kill() {
    let mut sandbox = short_lived(
        "[program:db]\ncommand=sh -c 'trap \"until [ -e {dir}/go ]; do sleep 0.05; done; exit 0\" TERM; while :; do sleep 0.05; done'\n\
         stopwaitsecs=600\n\
         [program:web]\ncommand=sh -c 'sleep 1.2; exit 3'\nautorestart=false\nessential=true\n",
    );
    sandbox.until_log("waiting for db to die", 1);
    sandbox.signal(Signal::SIGTERM);
    sandbox.until_log("received SIGTERM", 1);
    sandbox.write("go", "");
    assert_eq!(sandbox.wait(), 3);
    assert!(sandbox.log().contains("stopped: db (exit status 0)"), "{}", sandbox.log());
    assert!(!sandbox.log().contains("second shutdown request"));
}

#[test]
fn all_done_waits_for_the_sweep_of_the_last_program() {
    let mut sandbox = short_lived(
        "[supervisord]\nexit_when=all_done\n\
         [program:a]\ncommand=sh -c 'sleep 1000 & sleep 1.2'\nautorestart=false\nsweep=true\n",
    );
    assert_eq!(sandbox.wait(), 0);
    assert_eq!(last_line(&sandbox.read("stderr")), "rsup: all programs are done; exit code 0");
}

#[test]
fn a_program_that_changed_its_process_group_can_be_stopped() {
    let join = "import os, time; os.setpgid(0, os.getpgid(os.getppid())); time.sleep(1000)";
    let conf =
        format!("[program:a]\ncommand=python3 -c '{join}'\nstopasgroup=true\nkillasgroup=true\nstopwaitsecs=600\n");
    let mut sandbox = rsup(&conf);
    sandbox.until("a", "RUNNING");
    let (pid, own) = (Pid::from_raw(sandbox.pid_of("a")), Pid::from_raw(sandbox.pid()));
    let group = |pid| nix::unistd::getpgid(Some(pid));
    wait_for("the program in rsup's process group", || (group(pid) == group(own)).then_some(()));
    assert_eq!(sandbox.ctl(&["stop", "a"]).out, "a: stopped\n");
    assert_eq!(sandbox.stop(), 0);
}

#[test]
fn a_missing_command_creates_no_logs() {
    let mut sandbox = rsup("[program:a]\ncommand=/nonexistent\nstartretries=0\nstdout_logfile={dir}/a.log\n");
    sandbox.until("a", "FATAL");
    assert!(!sandbox.dir.join("a.log").exists());
    assert_eq!(sandbox.stop(), 0);
}

#[test]
fn a_reload_that_cannot_open_its_socket_keeps_the_old_one() {
    let mut sandbox = rsup("[program:a]\ncommand=sleep 1000\n");
    sandbox.until("a", "RUNNING");
    let good = sandbox.read("supervisord.conf");
    let bad = good.replace("[unix_http_server]", "[inet_http_server]\nport=192.0.2.1:1\n[unix_http_server]");
    sandbox.write("supervisord.conf", &bad.replace("program:a", "program:b"));
    sandbox.signal(Signal::SIGHUP);
    sandbox.until_log("the control sockets stay as they were before the reload", 1);
    sandbox.until("b", "RUNNING");
    sandbox.write("supervisord.conf", &good);
    sandbox.signal(Signal::SIGHUP);
    sandbox.until("a", "RUNNING");
    assert_eq!(sandbox.stop(), 0);
}

#[test]
fn a_configuration_from_a_pipe_is_not_waited_for_again() {
    let mut sandbox = Sandbox::new(Subject::Rsup, "[program:a]\ncommand=sleep 1000\n");
    let fifo = sandbox.dir.join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let conf = sandbox.read("supervisord.conf");
    let writer = std::thread::spawn(move || std::fs::write(fifo, conf).unwrap());
    sandbox.launch(&["-n", "-c", "{dir}/fifo"]);
    writer.join().unwrap();
    wait_for("an answer", || sandbox.rpc("supervisor.getState", json!([])).ok());
    sandbox.until("a", "RUNNING");
    let pid = sandbox.pid_of("a");
    sandbox.signal(Signal::SIGHUP);
    sandbox.until_log("only a regular file can be read again", 1);
    let answer = sandbox.rpc("supervisor.reloadConfig", json!([]));
    assert!(answer.is_err_and(|(code, text)| code == 92 && text.contains("only a regular file")));
    assert_eq!(sandbox.pid_of("a"), pid);
    assert_eq!(sandbox.stop(), 0);
}

#[test]
fn without_proc_nothing_is_swept_and_a_warning_says_so() {
    let unshare = ["--user", "--map-root-user", "--mount"];
    if run(Command::new("unshare").args(unshare).args(["mount", "-t", "tmpfs", "none", "/proc"])).code != 0 {
        return skip("nothing can be mounted here");
    }
    let mut sandbox = Sandbox::new(Subject::Rsup, "[program:a]\ncommand=sleep 1000\nsweep=true\n");
    let script =
        format!("mount -t tmpfs none /proc && exec {0}/bin/rsup -n -c {0}/supervisord.conf", sandbox.dir.display());
    let mut command = Command::new("unshare");
    command.args(unshare).args(["sh", "-c", &script]).current_dir(&sandbox.dir);
    sandbox.launch_as(command);
    sandbox.until("a", "RUNNING");
    sandbox.until_log("sweep=true has no effect: /proc is not mounted", 1);
    assert_eq!(sandbox.stop(), 0);
}

#[test]
fn auto_logs_that_cannot_be_created_are_logged_once() {
    let mut sandbox =
        rsup("[supervisord]\nchildlogdir=/proc\n[program:a]\ncommand=sleep 1000\n[program:b]\ncommand=sleep 1000\n");
    sandbox.until("b", "RUNNING");
    sandbox.until_log("cannot make AUTO logs in /proc", 1);
    assert_eq!(sandbox.log().matches("cannot make AUTO logs").count(), 1);
    assert_eq!(sandbox.stop(), 0);
}
