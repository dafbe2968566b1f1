//! Deliberate differences from Supervisor, most of them tested with both. docs/compat.md names each.

use super::{as_pid1, rsup, short_lived};
use crate::harness::{Ran, Sandbox, Subject, TIMEOUT, oracle, run, skip, wait_for};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

/// Runs the body with a sandbox of each subject, which is not started.
fn each(conf: &str, body: impl Fn(&mut Sandbox)) {
    if oracle().is_none() {
        skip("no real Supervisor (tests/run makes build/oracle)");
    }
    for subject in [Subject::Supervisor, Subject::Rsup] {
        if subject == Subject::Rsup || oracle().is_some() {
            body(&mut Sandbox::new(subject, conf));
        }
    }
}

fn is_rsup(sandbox: &Sandbox) -> bool {
    sandbox.subject == Subject::Rsup
}

fn launch(sandbox: &mut Sandbox) {
    sandbox.launch(&["-n", "-c", "{dir}/supervisord.conf"]);
}

/// Runs `rsup check` on a text.
pub fn check(conf: &str) -> Ran {
    let sandbox = Sandbox::bare(Subject::Rsup);
    sandbox.write("x.conf", conf);
    run(sandbox.command("rsup").args(["check", "-c", "x.conf"]))
}

/// The set of ignored signals that a program's `grep SigIgn /proc/self/status` wrote to the file `out`.
fn ignored(sandbox: &Sandbox) -> u64 {
    u64::from_str_radix(sandbox.read("out").trim().rsplit('\t').next().unwrap(), 16).unwrap()
}

#[test]
fn children_have_default_actions_for_the_signals_that_python_ignores() {
    each(
        "[program:a]\ncommand=grep SigIgn /proc/self/status\nstdout_logfile={dir}/out\nstartsecs=0\nautorestart=false\n",
        |sandbox| {
            sandbox.start();
            sandbox.until_file("out", "\n");
            let pipe_and_xfsz = ignored(sandbox) & (1 << 12 | 1 << 24);
            assert_eq!(pipe_and_xfsz != 0, !is_rsup(sandbox));
        },
    );
}

#[test]
fn children_have_default_actions_for_the_signals_that_rsups_parent_ignores() {
    // If CHLD were ignored, the kernel would reap the children itself, and rsup would not notice their deaths.
    let mut sandbox = Sandbox::new(
        Subject::Rsup,
        "[program:a]\ncommand=env --ignore-signal=CHLD,PIPE,TERM,ALRM,TSTP,TTOU,WINCH,PWR {dir}/bin/rsup -c {dir}/inner.conf\n\
         stdout_logfile={dir}/rsup.out\nstartsecs=0\nautorestart=false\n",
    );
    sandbox.write(
        "inner.conf",
        "[supervisord]\nchildlogdir={dir}\nexit_when=all_done\n[unix_http_server]\nfile={dir}/inner.sock\n\
         [program:b]\ncommand=grep SigIgn /proc/self/status\nstdout_logfile={dir}/out\nstartsecs=0\nautorestart=false\n",
    );
    sandbox.start();
    sandbox.until_log("exited: a (exit status 0; expected)", 1);
    assert_eq!(ignored(&sandbox), 0);
}

#[test]
fn all_mistakes_are_reported_at_once_with_their_lines() {
    each("[program:a]\ncommand=/bin/cat\nstartsecs=soon\n[program:b]\ncommand=/bin/cat\nuser=nosuch\n", |sandbox| {
        launch(sandbox);
        assert_eq!(sandbox.wait(), 2);
        let output = sandbox.read("stderr");
        let python = "invalid literal for int() with base 10: 'soon'";
        assert_eq!(output.contains(python), !is_rsup(sandbox), "{output}");
        let plain = "[program:a] startsecs must be a whole number of seconds, not `soon`";
        assert_eq!(output.contains(plain), is_rsup(sandbox), "{output}");
        let conf = sandbox.read("supervisord.conf");
        let line = conf.lines().position(|line| line == "user=nosuch").unwrap() + 1;
        let place = format!("supervisord.conf:{line}: [program:b] user: Invalid user name nosuch");
        assert_eq!(output.contains(&place), is_rsup(sandbox), "{output}");
    });
}

#[test]
fn unknown_keys_are_warned_about_with_the_nearest_known_name() {
    each("[program:a]\ncommand=/bin/sleep 1000\nautostrat=false\n[Program:b]\ncommand=/bin/cat\n", |sandbox| {
        sandbox.start();
        sandbox.until("a", "RUNNING");
        let log = sandbox.log();
        for output in ["this key is not known and is ignored; did you mean autostart?", "write [program:b]"] {
            assert_eq!(log.contains(output), is_rsup(sandbox), "{log}");
        }
    });
}

#[test]
fn a_format_without_a_name_is_not_expanded() {
    let conf = "[program:a]\ncommand=echo one %s\nstdout_logfile={dir}/out\nstartsecs=0\nautorestart=false\n";
    each(conf, |sandbox| {
        sandbox.start();
        sandbox.until_file("out", "\n");
        assert_eq!(sandbox.read("out") == "one %s\n", is_rsup(sandbox));
        assert_eq!(sandbox.log().contains("[program:a] command: "), is_rsup(sandbox), "{}", sandbox.log());
    });
}

#[test]
fn an_included_file_that_cannot_be_read_is_warned_about() {
    each("[include]\nfiles=sub.*\n", |sandbox| {
        std::fs::create_dir(sandbox.dir.join("sub.d")).unwrap();
        sandbox.start();
        let warnings = |sandbox: &Sandbox| sandbox.log().matches("sub.d is skipped: ").count();
        assert_eq!(warnings(sandbox), usize::from(is_rsup(sandbox)), "{}", sandbox.log());
        sandbox.ctl(&["reread"]);
        assert_eq!(warnings(sandbox), 2 * usize::from(is_rsup(sandbox)), "{}", sandbox.log());
    });
}

#[test]
fn an_include_directory_that_cannot_be_read_is_an_error() {
    if !nix::unistd::geteuid().is_root() {
        return skip("only root can start it as another user");
    }
    let conf = "[include]\nfiles=conf.d/*.conf\n";
    let mut sandbox = Sandbox::new(Subject::Rsup, conf);
    sandbox.write("supervisord.conf", &format!("{}{conf}", sandbox.common().replace("user=root\n", "")));
    let mode = |mode: u32| {
        std::fs::set_permissions(sandbox.dir.join("conf.d"), PermissionsExt::from_mode(mode)).unwrap();
    };
    std::fs::create_dir(sandbox.dir.join("conf.d")).unwrap();
    sandbox.write("conf.d/a.conf", "[program:a]\ncommand=/bin/sleep 1000\n");
    // A copy that any user can execute, since the build directory may not be accessible.
    std::fs::copy(sandbox.dir.join("bin/rsup"), sandbox.dir.join("supervisord")).unwrap();
    for path in [".", "conf.d", "conf.d/a.conf", "supervisord"] {
        std::os::unix::fs::chown(sandbox.dir.join(path), Some(65534), Some(65534)).unwrap();
    }
    let as_nobody = |sandbox: &Sandbox| {
        let mut command = sandbox.command_of(&sandbox.dir.join("supervisord"));
        command.args(["-n", "-c", "supervisord.conf"]).uid(65534).gid(65534);
        command
    };
    mode(0o000);
    let refused = run(&mut as_nobody(&sandbox));
    let why = sandbox.fill("cannot read the directory {dir}/conf.d: Permission denied");
    assert!(refused.code == 2 && refused.err.contains(&why), "{refused:?}");
    mode(0o755);
    let command = as_nobody(&sandbox);
    sandbox.launch_as(command);
    sandbox.until("a", "RUNNING");
    let pid = sandbox.pid_of("a");
    std::fs::set_permissions(sandbox.dir.join("conf.d"), PermissionsExt::from_mode(0o000)).unwrap();
    for command in ["reread", "update", "reload"] {
        let refused = sandbox.ctl(&[command]);
        assert!(refused.code == 1 && refused.out.contains(&why), "{command}: {refused:?}");
    }
    assert_eq!(sandbox.pid_of("a"), pid);
}

#[test]
fn an_endless_file_is_refused() {
    let sandbox = Sandbox::new(Subject::Rsup, "[include]\nfiles=endless\n");
    std::os::unix::fs::symlink("/dev/zero", sandbox.dir.join("endless")).unwrap();
    std::fs::write(sandbox.dir.join("long.conf"), vec![b';'; (16 << 20) + 1]).unwrap();
    for file in ["/dev/zero", "long.conf"] {
        for args in [&["check", "-c", file][..], &["-c", file]] {
            let refused = run(sandbox.command("rsup").args(args));
            let why = "it is longer than 16 MiB, which no configuration is";
            assert!(refused.code == 2 && (refused.out + &refused.err).contains(why), "{args:?}");
        }
    }
    let included = run(sandbox.command("rsup").args(["check", "-c", "supervisord.conf"]));
    assert!(
        included.code == 1 && included.out.contains("endless is skipped: it is not a regular file"),
        "{included:?}"
    );
}

#[test]
fn a_group_that_another_one_replaces_is_warned_about() {
    each(
        "[group:a]\nprograms=b\n[program:a]\ncommand=/bin/cat\n[program:b]\ncommand=/bin/cat\n\
         [program:c]\nprocess_name=same\ncommand=/bin/cat\n[program:d]\nprocess_name=same\ncommand=/bin/cat\n\
         [group:g]\nprograms=c,d\n",
        |sandbox| {
            sandbox.start();
            let all = sandbox.rpc("supervisor.getAllProcessInfo", json!([])).unwrap();
            let names: Vec<String> = all.as_array().unwrap().iter().map(|info| info["name"].to_string()).collect();
            assert_eq!(names, ["\"b\"", "\"same\""]);
            for output in
                ["another group is called a too and takes its place", "are called same: only the last one runs"]
            {
                assert_eq!(sandbox.log().contains(output), is_rsup(sandbox), "{}", sandbox.log());
            }
        },
    );
}

#[test]
fn a_variable_removed_from_the_file_is_unknown_after_a_reread() {
    let program = "[program:a]\ncommand=/bin/sleep %(ENV_LONG)s\n";
    each(&format!("{program}[supervisord]\nenvironment=LONG=\"1000\"\n"), |sandbox| {
        sandbox.start();
        sandbox.reconfigure(program);
        let answer = sandbox.rpc("supervisor.reloadConfig", json!([]));
        assert_eq!(answer.is_err_and(|(code, _)| code == 92), is_rsup(sandbox));
    });
}

#[test]
fn a_start_of_a_stopping_program_is_refused_with_and_without_waiting() {
    let conf = "[program:a]\ncommand=/bin/sh -c \"trap '' TERM; while :; do sleep 0.1; done\"\nstopasgroup=true\n";
    each(conf, |sandbox| {
        sandbox.start();
        sandbox.until("a", "RUNNING");
        sandbox.rpc("supervisor.stopProcess", json!(["a", false])).unwrap();
        let answer = sandbox.rpc("supervisor.startProcess", json!(["a", false]));
        let refused = Err((40, "ABNORMAL_TERMINATION: a".to_owned()));
        assert_eq!(answer, if is_rsup(sandbox) { refused } else { Ok(json!(true)) });
        assert_eq!(sandbox.state("a"), "STOPPING");
    });
}

#[test]
fn clear_empties_the_logs_of_a_stopped_program_too() {
    let conf = "[program:a]\ncommand=echo hello\nstdout_logfile={dir}/a.out\nstartsecs=0\nautorestart=false\n";
    each(conf, |sandbox| {
        sandbox.start();
        sandbox.until_file("a.out", "hello\n");
        sandbox.until("a", "EXITED");
        assert_eq!(sandbox.ctl(&["clear", "a"]).out, "a: cleared\n");
        assert_eq!(sandbox.read("a.out"), if is_rsup(sandbox) { "" } else { "hello\n" });
    });
}

#[test]
fn relative_log_and_pid_files_stay_where_they_were_created() {
    each("[supervisord]\nlogfile=rel.log\npidfile=rel.pid\n", |sandbox| {
        sandbox.launch(&["-n", "-c", "supervisord.conf"]);
        wait_for("an answer", || sandbox.rpc("supervisor.reloadConfig", json!([])).ok());
        wait_for("the pid file", || sandbox.dir.join("rel.pid").exists().then_some(()));
        assert!(sandbox.read("rel.log").contains("supervisord started"));
        if is_rsup(sandbox) {
            assert_eq!(sandbox.ctl(&["maintail"]).code, 0);
        }
        // The file named on the command line is found again too.
        sandbox.signal(Signal::SIGHUP);
        wait_for("the restart", || (sandbox.read("rel.log").matches("supervisord started").count() > 1).then_some(()));
        assert_eq!(sandbox.stop(), 0);
        assert!(!is_rsup(sandbox) || !sandbox.dir.join("rel.pid").exists());
    });
}

#[test]
fn a_log_on_stdout_has_each_line_once_and_needs_no_other_option() {
    // Not with the real Supervisor: it fails, as rotation is on by default (and as root it would delete /dev/stdout on clear).
    let conf = "[supervisord]\nlogfile=/dev/stdout\n[program:a]\ncommand=echo hello\nstdout_logfile=/dev/stdout\n\
                startsecs=0\nautorestart=false\n";
    let sandbox = Sandbox::new(Subject::Rsup, conf);
    let mut command = sandbox.command("supervisord");
    let mut child = command.args(["-n", "-c", "supervisord.conf"]).stdout(Stdio::piped()).spawn().unwrap();
    sandbox.until("a", "EXITED");
    let cleared = sandbox.rpc("supervisor.clearAllProcessLogs", json!([]));
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success(), "{text}");
    for line in ["supervisord started with pid", "spawned: 'a'", "exited: a"] {
        assert_eq!(text.matches(line).count(), 1, "{text}");
    }
    assert_eq!(text.lines().filter(|line| *line == "hello").count(), 1, "{text}");
    assert!(
        !text.contains("CRIT") || text.matches("CRIT").count() == text.matches("HTTP authentication").count(),
        "{text}"
    );
    assert!(cleared.is_ok() && std::fs::symlink_metadata("/dev/stdout").unwrap().is_symlink(), "{cleared:?}");
}

#[test]
fn a_file_without_a_supervisord_section_is_accepted() {
    for subject in [Subject::Supervisor, Subject::Rsup] {
        if subject == Subject::Supervisor && oracle().is_none() {
            skip("no real Supervisor (tests/run makes build/oracle)");
            continue;
        }
        let mut sandbox = Sandbox::bare(subject);
        sandbox.write(
            "supervisord.conf",
            "[unix_http_server]\nfile={dir}/sock\n[rpcinterface:supervisor]\n\
             supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n\
             [program:a]\ncommand=sleep 1000\nstdout_logfile=NONE\nstderr_logfile=NONE\n",
        );
        launch(&mut sandbox);
        if is_rsup(&sandbox) {
            sandbox.until("a", "RUNNING");
            // root is the usual user in a container, and no reason for a CRIT line.
            assert!(!sandbox.read("supervisord.log").contains("root"), "{}", sandbox.read("supervisord.log"));
            assert_eq!(sandbox.stop(), 0);
        } else {
            assert_eq!(sandbox.wait(), 2);
        }
    }
}

#[test]
fn a_uid_without_a_passwd_entry_is_a_user() {
    if !nix::unistd::geteuid().is_root() {
        return skip("only root can start programs of another user");
    }
    let conf = "[program:a]\ncommand=/bin/sh -c \"id -u; id -g\"\nuser=54321\nstdout_logfile={dir}/out\n\
                startsecs=0\nautorestart=false\n";
    each(conf, |sandbox| {
        launch(sandbox);
        if is_rsup(sandbox) {
            let gid = nix::unistd::getegid();
            sandbox.until_file("out", &format!("54321\n{gid}\n"));
        } else {
            assert_eq!(sandbox.wait(), 2);
            assert!(sandbox.read("stderr").contains("Invalid user id 54321"));
        }
    });
}

#[test]
fn python_plug_ins_are_warned_about_by_name() {
    let conf = "[supervisord]\nlogfile=x.log\n[unix_http_server]\nfile=sock\n\
        [rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n\
        [rpcinterface:cache]\nsupervisor.rpcinterface_factory=some_cache.rpc:make\n\
        [ctlplugin:x]\nsupervisor.ctl_factory=some_ctl:make\n\
        [eventlistener:l]\ncommand=cat\nevents=TICK_5\nresult_handler=some_handler:handle\n";
    let ran = check(conf);
    assert_eq!(ran.code, 1, "{ran:?}");
    for output in ["some_cache.rpc:make cannot be loaded", "[ctlplugin:x]", "some_handler:handle cannot be loaded"] {
        assert!(ran.out.contains(output), "{ran:?}");
    }
}

#[test]
fn credentials_that_cannot_be_decoded_are_a_401() {
    let sandbox = short_lived("[unix_http_server]\nusername=joe\npassword=secret\n");
    wait_for("the socket", || sandbox.dir.join("sock").exists().then_some(()));
    assert_eq!(sandbox.http("POST", "/RPC2", "", "").unwrap().0, 401);
    // Credentials that cannot be decoded count as none; Supervisor answers HTTP 500.
    assert_eq!(sandbox.http("POST", "/RPC2", "Authorization: Basic !\r\n", "").unwrap().0, 401);
}

#[test]
fn a_limit_that_cannot_be_raised_is_reported_with_its_current_value() {
    each("[supervisord]\nminfds=2147483646\n", |sandbox| {
        let hard = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap().1;
        launch(sandbox);
        assert_eq!(sandbox.wait(), 2);
        let output = sandbox.read("stderr");
        assert!(output.contains("The minimum number of file descriptors required to run this process is 2147483646"));
        assert_eq!(
            output.contains(&format!("only allow you to open {hard} file descriptors")),
            is_rsup(sandbox),
            "{output}"
        );
    });
}

#[test]
fn of_several_pending_signals_term_is_handled_first() {
    let mut sandbox = rsup("[program:a]\ncommand=/bin/sleep 1000\n");
    sandbox.until("a", "RUNNING");
    for signal in [Signal::SIGSTOP, Signal::SIGHUP, Signal::SIGUSR2, Signal::SIGTERM, Signal::SIGCONT] {
        sandbox.signal(signal);
    }
    assert_eq!(sandbox.wait(), 0);
    let log = sandbox.log();
    assert!(log.find("received SIGTERM").unwrap() < log.find("ignored SIGHUP").unwrap(), "{log}");
}

#[test]
fn unread_stdin_is_queued_up_to_one_mebibyte() {
    each("[program:a]\ncommand=/bin/sleep 1000\n", |sandbox| {
        sandbox.start();
        sandbox.until("a", "RUNNING");
        let send = || sandbox.rpc("supervisor.sendProcessStdin", json!(["a", "x".repeat(400_000)]));
        let answers: Vec<_> = (0..3).map(|_| send().map_err(|(code, _)| code)).collect();
        // The pipe takes 64 KiB. Supervisor queues the rest without limit, but answers HTTP 500 as soon as the pipe is full.
        let theirs = vec![Ok(Value::Bool(true)), Err(-500), Err(-500)];
        let ours = vec![Ok(Value::Bool(true)), Ok(Value::Bool(true)), Err(30)];
        assert_eq!(answers, if is_rsup(sandbox) { ours } else { theirs });
    });
}

#[test]
fn auto_logs_that_cannot_be_created_are_left_out() {
    let sandbox = rsup("[supervisord]\nchildlogdir=/proc\n[program:a]\ncommand=/bin/sleep 1000\n");
    sandbox.until("a", "RUNNING");
    assert!(sandbox.log().contains("WARN cannot make AUTO logs in /proc"), "{}", sandbox.log());
    assert_eq!(sandbox.info("a")["stdout_logfile"], "");
}

#[test]
fn as_pid_1_it_logs_where_output_goes_and_nothing_critical() {
    let Some((sandbox, _)) = as_pid1("[program:a]\ncommand=sleep 1000\n") else { return };
    sandbox.until("a", "RUNNING");
    let output = sandbox.read("stdout");
    assert!(!output.contains("CRIT"), "{output}");
    assert!(output.contains("for `docker logs` set stdout_logfile=/dev/stdout"), "{output}");
}

#[test]
fn a_stopped_container_has_the_exit_code_of_the_named_program() {
    for (from, code) in [("a", 143), ("first_failure", 0), ("essential", 0)] {
        let conf =
            format!("[supervisord]\nexit_code_from={from}\n[program:a]\ncommand=/bin/sleep 1000\nessential=true\n");
        let mut sandbox = rsup(&conf);
        sandbox.until("a", "RUNNING");
        assert_eq!(sandbox.stop(), code, "{from}");
    }
}

#[test]
fn extra_keys_with_bad_values_are_refused() {
    for line in ["exit_code_from=nobody", "exit_when=never", "stop_budget=soon"] {
        assert_eq!(check(&format!("[supervisord]\n{line}\n[program:a]\ncommand=cat\n")).code, 2, "{line}");
    }
    for line in ["essential=perhaps", "sweep=2", "stdout_format=xml", "backoff_factor=0", "restart_delay=soon"] {
        assert_eq!(check(&format!("[program:a]\ncommand=cat\n{line}\n")).code, 2, "{line}");
    }
    assert_eq!(check("[program:a]\ncommand=cat\nnumprocs=70000\nprocess_name=%(process_num)d\n").code, 2);
}

#[test]
fn the_sample_configuration_runs_unchanged() {
    let mut sandbox = Sandbox::bare(Subject::Rsup);
    let sample = run(sandbox.command("rsup").arg("sample-config"));
    assert!(sample.code == 0 && !sample.out.contains("/tmp"), "{sample:?}");
    // Another socket, so that the test does not use the default one.
    let socket = "[unix_http_server]\nfile={dir}/sock\n[rpcinterface:supervisor]\n\
                  supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n";
    sandbox.write("supervisord.conf", &format!("{}{socket}", sample.out));
    sandbox.start();
    sandbox.until("example", "RUNNING");
    let checked = run(sandbox.command("rsup").args(["check", "-c", "supervisord.conf"]));
    assert_eq!((checked.code, &*checked.out), (0, ""));
    let unknown = run(sandbox.command("rsup").args(["sample-config", "--al"]));
    assert!(unknown.code == 2 && unknown.err.contains("--al"), "{unknown:?}");
}

#[test]
fn a_pid_file_of_another_process_is_left_alone() {
    let mut sandbox = rsup("");
    sandbox.write("supervisord.pid", "1\n");
    assert_eq!(sandbox.stop(), 0);
    assert_eq!(sandbox.read("supervisord.pid"), "1\n");
}

#[test]
fn a_client_beyond_the_limit_replaces_the_idlest_one() {
    if !super::network::descriptors(2_200) {
        return;
    }
    let sandbox = rsup("");
    let connect = || std::os::unix::net::UnixStream::connect(sandbox.dir.join("sock")).unwrap();
    let mut first = connect();
    first.set_read_timeout(Some(TIMEOUT)).unwrap();
    let others: Vec<_> = (0..2000).map(|_| connect()).collect();
    assert!(sandbox.rpc("supervisor.getState", json!([])).is_ok());
    // The client that was idle for the longest time was closed.
    let _ = first.write_all(b"x");
    assert!(matches!(first.read(&mut [0]), Ok(0) | Err(_)));
    drop(others);
}

#[test]
fn a_failed_fastcgi_socket_stops_only_its_programs_and_a_working_one_survives_a_restart() {
    let conf = "[fcgi-program:f]\ncommand=sleep 1000\nsocket=unix://{dir}/none/f.sock\nstartretries=0\n\
        [fcgi-program:g]\ncommand=sleep 1000\nsocket=unix://{dir}/g.sock\nautorestart=true\nstartsecs=0\n";
    let mut sandbox = Sandbox::new(Subject::Rsup, conf);
    sandbox.start();
    sandbox.until("f", "FATAL");
    let why = "Could not create FastCGI socket unix://{dir}/none/f.sock: ENOENT";
    assert!(sandbox.log().contains(&format!("ERRO {}", sandbox.fill(why))), "{}", sandbox.log());
    assert_eq!(sandbox.info("f")["spawnerr"], sandbox.fill(why));
    sandbox.until("g", "RUNNING");
    // It runs for more than a second, so that its restart is not delayed.
    wait_for("more than a second of run time", || {
        (sandbox.info("g")["now"].as_i64() > Some(sandbox.info("g")["start"].as_i64()? + 1)).then_some(())
    });
    let first = sandbox.pid_of("g");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(first), nix::sys::signal::Signal::SIGKILL).unwrap();
    sandbox.until_log("spawned: 'g'", 2);
    assert_eq!(
        sandbox.log().matches("Closing socket").count(),
        1,
        "only that of the test bind at the start: {}",
        sandbox.log()
    );
}

#[test]
fn listeners_receive_the_last_events_before_they_are_stopped() {
    // It takes 0.1 s for each event, and exits at once on SIGTERM.
    let listener = "import sys, time\nwhile True:\n print('READY', flush=True)\n line = sys.stdin.readline()\n \
        length = int(line.rsplit(':', 1)[1])\n data = sys.stdin.read(length)\n time.sleep(0.1)\n \
        open('got', 'a').write(data + '\\n')\n print('RESULT 2\\nOK', end='', flush=True)\n";
    let conf = "[program:a]\ncommand=/bin/sleep 1000\nnumprocs=3\nprocess_name=a%(process_num)d\n\
        [eventlistener:l]\ncommand=python3 listener.py\nevents=PROCESS_STATE_STOPPED\n[eventlistener:deaf]\n\
        command=/bin/sleep 1000\nevents=PROCESS_STATE_STOPPED\n";
    let mut sandbox = Sandbox::new(Subject::Rsup, conf);
    sandbox.write("listener.py", listener);
    sandbox.start();
    for name in ["a:a0", "a:a1", "a:a2", "l", "deaf"] {
        sandbox.until(name, "RUNNING");
    }
    assert_eq!(sandbox.stop(), 0);
    let got = sandbox.read("got");
    for n in 0..3 {
        assert!(got.contains(&format!("processname:a{n} groupname:a from_state:STOPPING")), "{got}");
    }
}
