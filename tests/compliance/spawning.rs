//! How programs are started, and the messages if they cannot be.

use crate::compare;
use serde_json::json;

/// A start that fails: the log has the reason, and clients get their fault.
fn spawn_error(conf: &str, reason: &str) {
    compare(&format!("[program:x]\n{conf}\nstartretries=0\n"), |run| {
        run.until("x", "FATAL");
        let reason = run.fill(reason);
        assert_eq!(run.info("x")["spawnerr"], reason);
        assert!(run.log().contains(&format!("INFO spawnerr: {reason}")));
        run.note_history("x");
        run.ctl(&["status"]);
        run.ctl(&["start", "x"]);
        run.call("supervisor.startProcess", json!(["x"])).unwrap_err();
    });
}

#[test]
fn command_not_found() {
    spawn_error("command=/no/such/program a b", "can't find command '/no/such/program'");
}

#[test]
fn command_not_found_in_path() {
    spawn_error("command=no-such-program a b", "can't find command 'no-such-program'");
}

#[test]
fn command_is_a_directory() {
    spawn_error("command={dir}/bin", "command at '{dir}/bin' is a directory");
}

#[test]
fn command_is_not_executable() {
    spawn_error("command={dir}/supervisord.conf", "command at '{dir}/supervisord.conf' is not executable");
}

#[test]
fn command_with_an_open_quote() {
    spawn_error("command=/bin/sh -c \"oops", "can't parse command '/bin/sh -c \"oops': No closing quotation");
}

#[test]
fn command_ending_in_a_backslash() {
    // The message has the command in the form of Python's repr.
    spawn_error("command=/bin/echo x\\", "can't parse command '/bin/echo x\\\\': No escaped character");
}

#[test]
fn command_empty() {
    spawn_error("command=", "command is empty");
}

#[test]
fn log_that_cannot_be_opened() {
    spawn_error("command=/bin/cat\nstdout_logfile={dir}/bin", "unknown error making dispatchers for 'x': EISDIR");
}

#[test]
fn a_failed_exec_is_reported_in_the_childs_log() {
    let conf = "[program:x]\ncommand={dir}/script\nstartretries=0\nstartsecs=10\nstderr_logfile={dir}/x.err\n";
    crate::compare_unstarted(conf, |run| {
        crate::harness::executable(&run.dir.join("script"), b"no shebang\n");
        run.start();
        run.until("x", "FATAL");
        run.note_history("x");
        run.note("stderr", run.read("x.err"));
    });
}

#[test]
fn a_missing_directory_is_reported_in_the_childs_log() {
    let conf =
        "[program:x]\ncommand=/bin/pwd\ndirectory=/no/such\nstartretries=0\nstartsecs=10\nstderr_logfile={dir}/x.err\n";
    compare(conf, |run| {
        run.until("x", "FATAL");
        run.note_history("x");
        run.note("stderr", run.read("x.err"));
    });
}

#[test]
fn redirect_stderr_also_redirects_the_report_of_a_failed_exec() {
    let conf = "[program:x]\ncommand=/bin/pwd\ndirectory=/no/such\nstartretries=0\nstartsecs=10\nredirect_stderr=true\nstdout_logfile={dir}/x.out\n";
    compare(conf, |run| {
        run.until("x", "FATAL");
        run.note("stdout", run.read("x.out"));
        assert_eq!(run.info("x")["stderr_logfile"], "");
    });
}

/// Runs a program once. Notes its whole standard output.
fn output(conf: &str) {
    let conf = format!(
        "[program:x]\n{conf}\nstdout_logfile={{dir}}/x.out\nstartsecs=0\nautorestart=false\nredirect_stderr=true\n"
    );
    compare(&conf, |run| {
        run.until("x", "EXITED");
        run.until_file("x.out", "\n");
        let seen = run.read("x.out");
        run.note("stdout", seen);
    });
}

#[test]
fn command_words_are_split_as_by_a_shell() {
    output(r#"command=/usr/bin/printf "[%%s]\n" one 'two three' "fo\"ur" fi\ ve a"b"'c' '' x#y $HOME *  ~ "a\$b\nc""#);
}

#[test]
fn a_command_may_continue_over_several_lines() {
    output("command=/usr/bin/printf \"[%%s]\\n\"\n  one\n  'two\n  three'\n");
}

#[test]
fn umask_and_directory() {
    output("command=/bin/sh -c \"umask; pwd\"\numask=027\ndirectory=/usr/share");
}

#[test]
fn environment_of_a_program() {
    output(
        "command=/bin/sh -c \"env | grep -v -e RSUP_TEST -e ^_= -e ^SHLVL -e ^OLDPWD -e SERVER_URL | sort\"\n\
         environment=A=\"one two\",B=%(program_name)s/%(process_num)d,C='%(host_node_name)s',PATH=\"/opt/x:%(ENV_PATH)s\"",
    );
}

#[test]
fn environment_names_the_server() {
    output("command=/bin/sh -c \"echo $SUPERVISOR_SERVER_URL $SUPERVISOR_ENABLED\"");
}

#[test]
fn serverurl_can_be_set() {
    output("command=/bin/sh -c \"echo $SUPERVISOR_SERVER_URL\"\nserverurl=http://somewhere:1234");
}

#[test]
fn environment_may_override_supervisors_own() {
    output(
        "command=/bin/sh -c \"env | grep ^SUPERVISOR_ | grep -v URL | sort\"\nenvironment=SUPERVISOR_ENABLED=no,SUPERVISOR_GROUP_NAME=mine",
    );
}

#[test]
fn global_environment_comes_before_the_programs() {
    output(
        "command=/bin/sh -c \"echo $ONE $TWO %(ENV_ONE)s\"\nenvironment=TWO=program\n[supervisord]\nenvironment=ONE=global,TWO=global\n[program:x]",
    );
}

#[test]
fn path_of_the_programs_environment_is_searched() {
    let conf = "[program:x]\ncommand=tool\nenvironment=PATH=\"{dir}/tools\"\nstdout_logfile={dir}/x.out\nstartsecs=0\nautorestart=false\n";
    crate::compare_unstarted(conf, |run| {
        std::fs::create_dir(run.dir.join("tools")).unwrap();
        std::os::unix::fs::symlink("/bin/pwd", run.dir.join("tools/tool")).unwrap();
        run.start();
        run.until("x", "EXITED");
        run.note_history("x");
    });
}

#[test]
fn a_program_leads_a_group_in_the_same_session() {
    compare("[program:x]\ncommand=/bin/sleep 1000\n", |run| {
        run.until("x", "RUNNING");
        let pid = run.pid_of("x");
        let ids = |pid: i32| -> Vec<i32> {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            let after = stat.rsplit_once(") ").unwrap().1;
            after.split(' ').skip(2).take(2).map(|id| id.parse().unwrap()).collect()
        };
        assert_eq!(ids(pid)[0], pid, "its own process group");
        assert_eq!(ids(pid)[1], ids(run.pid())[1], "the supervisor's session");
    });
}

#[test]
fn only_descriptors_0_to_2_are_inherited() {
    compare("[program:x]\ncommand=/bin/sleep 1000\n", |run| {
        run.until("x", "RUNNING");
        let pid = run.pid_of("x");
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        let mut open: Vec<String> = open.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        open.sort();
        assert_eq!(open, ["0", "1", "2"]);
        let kinds = ["0", "1", "2"].map(|fd| {
            let to = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap();
            to.to_string_lossy().split(':').next().unwrap().to_owned()
        });
        run.note("descriptors", kinds.join(" "));
    });
}

#[test]
fn limits_are_those_that_supervisor_gives() {
    output("command=/bin/bash -c \"ulimit -Sn; ulimit -Hn; ulimit -Su; ulimit -Hu; ulimit -c\"");
}

#[test]
fn the_supervisors_umask_and_directory_do_nothing_in_the_foreground() {
    output(
        "command=/bin/sh -c \"umask; pwd | sed s=/tmp/rs.*=sandbox=\"\n[supervisord]\numask=077\ndirectory=/usr\n[program:x]",
    );
}

#[test]
fn a_relative_command_is_resolved_against_the_supervisors_directory() {
    let conf = "[program:x]\ncommand=bin/tool\ndirectory=/usr\nstartretries=0\nstdout_logfile={dir}/x.out\nstderr_logfile={dir}/x.err\n";
    compare(conf, |run| {
        run.until("x", "FATAL");
        run.note_history("x");
    });
}

#[test]
fn a_program_runs_as_its_user() {
    if !nix::unistd::geteuid().is_root() {
        return crate::harness::skip("only root can start programs of another user");
    }
    output("command=/bin/sh -c \"id -u; id -g; id -G; echo $HOME $USER\"\nuser=games");
}

#[test]
fn the_groups_of_a_user_are_looked_up_at_each_start() {
    if !nix::unistd::geteuid().is_root() {
        return crate::harness::skip("needs root to start programs of another user");
    }
    let conf = "[program:by_name]\ncommand=sh -c \"id -G; exec sleep 50\"\nuser=alice\nstdout_logfile={dir}/by_name\n\
                [program:by_uid]\ncommand=sh -c \"id -G; exec sleep 50\"\nuser=2997\nstdout_logfile={dir}/by_uid\n";
    crate::compare_unstarted(conf, |run| {
        run.write("passwd", "root:x:0:0::/:\nalice:x:2997:2997::/:\n");
        run.write("group", "root:x:0:\n");
        // It is a bind mount, so it must be changed in place.
        let script = "mount --make-rprivate / && mount --bind passwd /etc/passwd && mount --bind group /etc/group && \
                      exec bin/supervisord -n -c supervisord.conf";
        let mut command = run.command_of(std::path::Path::new("unshare"));
        command.args(["--mount", "sh", "-c", script]);
        run.launch_as(command);
        let seen = |lines: [&str; 2]| {
            for name in ["by_name", "by_uid"] {
                run.until(name, "RUNNING");
                crate::harness::wait_for(name, || (run.read(name) == lines.concat()).then_some(()));
            }
        };
        seen(["2997\n", ""]);
        run.write("passwd", "root:x:0:0::/:\nalice:x:2997:2996::/:\n");
        run.write("group", "root:x:0:\nmore:x:2998:alice\n");
        for name in ["by_name", "by_uid"] {
            run.rpc("supervisor.stopProcess", json!([name])).unwrap();
            run.rpc("supervisor.startProcess", json!([name])).unwrap();
        }
        seen(["2997\n", "2996 2998\n"]);
        // The groups of a user are not a part of the configuration.
        run.call("supervisor.reloadConfig", json!([])).unwrap();
    });
}

#[test]
fn an_unknown_user_is_refused() {
    crate::compare_unstarted("[program:x]\ncommand=/bin/cat\nuser=nobody-of-that-name\n", |run| {
        run.launch(&["-n", "-c", "{dir}/supervisord.conf"]);
        assert_eq!(run.wait(), 2);
        assert!(run.read("stderr").contains("Invalid user name nobody-of-that-name"));
    });
}

#[test]
fn stdin_is_a_pipe_that_clients_can_write() {
    compare("[program:x]\ncommand=/bin/cat\nstdout_logfile={dir}/x.out\n", |run| {
        run.until("x", "RUNNING");
        run.call("supervisor.sendProcessStdin", json!(["x", "hello wörld\n"])).unwrap();
        run.until_file("x.out", "hello wörld\n");
        run.call("supervisor.sendProcessStdin", json!(["nobody", "x"])).unwrap_err();
        run.call("supervisor.stopProcess", json!(["x"])).unwrap();
        run.call("supervisor.sendProcessStdin", json!(["x", "x"])).unwrap_err();
    });
}
