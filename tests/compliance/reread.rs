//! Which changes `reread` and `update` see, and what they leave alone.

use crate::{Run, compare, compare_unstarted};

/// A program named `x` that does not start by itself.
fn program(options: &str) -> String {
    format!("[program:x]\ncommand=/bin/cat\nautostart=false\n{options}\n")
}

fn listener(options: &str) -> String {
    format!("[eventlistener:x]\ncommand=/bin/cat\nautostart=false\n{options}\n")
}

fn fcgi(options: &str) -> String {
    format!("[fcgi-program:x]\ncommand=/bin/cat\nautostart=false\n{options}\n")
}

/// Changes each first configuration into the second one. Notes the output of `reread` and `update`.
fn changes(pairs: Vec<(String, String)>) {
    compare("", |run| {
        for (before, after) in &pairs {
            run.reconfigure(before);
            run.sandbox.ctl(&["update"]);
            run.reconfigure(after);
            run.note("from", before);
            run.note("to", after);
            run.ctl(&["reread"]);
            run.ctl(&["update"]);
        }
    });
}

#[test]
fn reordered_lists() {
    let group = |programs: &str, environment: &str| {
        let member =
            |name: &str| format!("[program:{name}]\ncommand=/bin/cat\nautostart=false\nenvironment={environment}\n");
        format!("[group:x]\nprograms={programs}\n{}{}", member("p"), member("q"))
    };
    changes(vec![
        (program("environment=A=\"1\",B=\"2\""), program("environment=B=\"2\",A=\"1\"")),
        (program("user=root"), program("user=0")),
        (
            listener("events=TICK_60,TICK_3600\nenvironment=A=1,B=2"),
            listener("events=TICK_3600,TICK_60,TICK_60\nenvironment=B=2,A=1"),
        ),
        (
            fcgi("socket=unix://{dir}/f.sock\nenvironment=A=1,B=2"),
            fcgi("socket=unix://{dir}/./f.sock\nenvironment=B=2,A=1"),
        ),
        (group("p,q", "A=1,B=2"), group("p,q", "B=2,A=1")),
        (group("p,q", ""), group("q,p", "")),
        (
            program("numprocs=2\nprocess_name=%(process_num)d\nenvironment=A=1,B=%(process_num)d"),
            program("numprocs=2\nprocess_name=%(process_num)d\nenvironment=B=%(process_num)d,A=1"),
        ),
        (program("[supervisord]\nenvironment=A=1,B=2"), program("[supervisord]\nenvironment=B=2,A=1")),
        (program("[supervisord]\nenvironment=A=1"), program("environment=A=1")),
    ]);
}

#[test]
fn changed_logs_and_server_urls() {
    let both = |before: &str, after: &str| (program(before), program(after));
    changes(vec![
        both("", "stdout_logfile={dir}/a.log"),
        both("", "stdout_logfile=NONE"),
        both("stdout_logfile=AUTO", "stdout_logfile={dir}/a.log"),
        both("stderr_logfile=AUTO", "stderr_logfile={dir}/a.log"),
        both("", "stderr_logfile=NONE"),
        both("stdout_logfile={dir}/a.log", ""),
        both("stdout_logfile=NONE", "stdout_logfile=AUTO"),
        both("stderr_logfile={dir}/a.log", "stderr_logfile=NONE"),
        both("redirect_stderr=true", "redirect_stderr=true\nstderr_logfile=NONE"),
        (listener("events=TICK_5"), listener("events=TICK_5\nstderr_logfile={dir}/a.log")),
        (fcgi("socket=unix://{dir}/f.sock"), fcgi("socket=unix://{dir}/f.sock\nstdout_logfile=NONE")),
        both("", "serverurl=http://127.0.0.1:8"),
        both("serverurl=http://127.0.0.1:8", ""),
        both("serverurl=http://127.0.0.1:8", "serverurl=AUTO"),
        both("serverurl=", ""),
        both("serverurl=auto", ""),
    ]);
}

#[test]
fn changed_sockets_and_kinds_of_groups() {
    let socket = |options: &str| fcgi(&format!("socket=unix://{{dir}}/f.sock\n{options}"));
    let other = |options: &str| fcgi(&format!("socket=unix://{{dir}}/g.sock\n{options}"));
    changes(vec![
        (socket(""), socket("socket_mode=0770")),
        (socket(""), socket("socket_owner=root:root")),
        (socket(""), socket("socket_backlog=9")),
        (other(""), socket("")),
        (other(""), other("priority=5")),
        (other(""), program("")),
        (program(""), other("")),
        (program("priority=-1"), listener("events=TICK_5")),
        (listener("events=TICK_5"), listener("events=TICK_5\nbuffer_size=20")),
        (listener("events=TICK_5"), listener("events=TICK_5,TICK_60")),
        (program("numprocs=1\nprocess_name=%(process_num)d"), program("numprocs=2\nprocess_name=%(process_num)d")),
        (program("directory=/tmp"), program("directory=/tmp/")),
    ]);
}

/// The pid of the program, and the output of its start.
fn seen(run: &Run) -> (i32, String) {
    (run.pid_of("x"), run.read("out"))
}

#[test]
fn a_changed_supervisor_environment_applies_at_the_update() {
    let conf = |value: &str, section: &str| {
        let command = "command=/bin/sh -c \"echo $G >>{dir}/out; exec sleep 1000\"";
        format!(
            "[supervisord]\nenvironment={value}\n[{section}\n{command}\n[program:own]\n{}\nenvironment=G=own\n",
            command.replace("/out;", "/own;")
        )
    };
    for section in ["program:x]", "eventlistener:x]\nevents=TICK_3600", "fcgi-program:x]\nsocket=unix://{dir}/f.sock"] {
        compare_unstarted(&conf("G=one", section), |run| {
            run.start();
            run.until("x", "RUNNING");
            run.until_file("out", "one\n");
            run.reconfigure(&conf("G=two", section));
            run.ctl(&["reread"]);
            let (before, _) = seen(run);
            run.ctl(&["signal", "KILL", "x"]);
            run.until_file("out", "one\none\n");
            run.until("x", "RUNNING");
            assert_ne!(seen(run).0, before);
            run.ctl(&["restart", "x"]);
            run.until_file("out", "one\none\none\n");
            run.ctl(&["update"]);
            run.until_file("out", "one\none\none\ntwo\n");
            run.until_file("own", "own\n");
            run.note("program with a G of its own", run.read("own").matches("own").count());
            run.reconfigure(&conf("", section));
            run.ctl(&["update"]);
            run.until_file("out", "two\n\n");
        });
    }
}

#[test]
fn a_reordered_list_leaves_running_programs_alone() {
    let conf = |environment: &str, events: &str| {
        format!(
            "[program:x]\ncommand=/bin/sleep 1000\nenvironment={environment}\n\
             [eventlistener:l]\ncommand=/bin/sleep 1000\nevents={events}\nenvironment={environment}\n"
        )
    };
    compare(&conf("A=\"1\",B=\"2\"", "TICK_60,TICK_3600"), |run| {
        run.until("x", "RUNNING");
        run.until("l", "RUNNING");
        let before = [run.pid_of("x"), run.pid_of("l")];
        run.reconfigure(&conf("B=\"2\",A=\"1\"", "TICK_3600,TICK_60"));
        run.ctl(&["reread"]);
        run.ctl(&["update"]);
        assert_eq!([run.pid_of("x"), run.pid_of("l")], before);
    });
}

#[test]
fn a_file_that_lost_its_supervisord_section_is_broken() {
    compare("[program:x]\ncommand=/bin/sleep 1000\n", |run| {
        run.until("x", "RUNNING");
        let pid = run.pid_of("x");
        let common = run.common();
        let client =
            common.split("[unix_http_server]").nth(1).map(|rest| run.fill(&format!("[unix_http_server]{rest}")));
        // The client needs its own file, since the empty one names no server.
        run.write("client.conf", &client.unwrap());
        let x = "[program:x]\ncommand=/bin/sleep 1000\n";
        for text in ["", "; a comment\n", "\n", x, &format!("{}{x}", common.replace("[supervisord]", "[other]"))] {
            run.write("supervisord.conf", text);
            for command in ["reread", "update"] {
                let client = run.dir.join("bin/supervisorctl");
                let ran = crate::harness::run(run.command_of(&client).args(["-c", "client.conf", command]));
                assert!(ran.code == 1 && ran.out.contains("CANT_REREAD"), "{command} of {text:?}: {ran:?}");
            }
            let fault = run.rpc("supervisor.reloadConfig", serde_json::json!([])).unwrap_err();
            assert_eq!(fault.0, 92, "{fault:?}");
            // A restart stops all programs and ends Supervisor.
            if run.is_rsup() {
                let fault = run.rpc("supervisor.restart", serde_json::json!([])).unwrap_err();
                assert_eq!(fault.0, 92, "{fault:?}");
                run.signal(nix::sys::signal::Signal::SIGHUP);
                run.until_log("not restarted, the configuration is bad", 1);
            }
        }
        assert_eq!(run.pid_of("x"), pid);
    });
}

#[test]
fn a_relative_childlogdir_is_resolved_when_the_file_is_read() {
    let conf = "[supervisord]\nchildlogdir=logs\ndirectory=work\n[program:x]\ncommand=/bin/cat\n";
    for (conf, args) in [
        (conf.to_owned(), &["-c", "supervisord.conf", "-n"][..]),
        (conf.replace("=logs", "=./work/../logs/"), &["-c", "supervisord.conf", "-n"]),
        (conf.replace("childlogdir=logs\n", ""), &["-c", "supervisord.conf", "-n", "-q", "logs"]),
    ] {
        compare_unstarted(&conf, |run| {
            std::fs::create_dir(run.dir.join("logs")).unwrap();
            std::fs::create_dir(run.dir.join("work")).unwrap();
            run.launch(args);
            crate::harness::wait_for("x", || (run.state("x") == "RUNNING").then_some(()));
            let info = run.info("x");
            for log in ["stdout_logfile", "stderr_logfile"] {
                let path = info[log].as_str().unwrap().to_owned();
                assert!(path.starts_with(&run.fill("{dir}/logs/x-std")), "{path}");
                run.note(log, path);
            }
        });
    }
}

#[test]
fn an_empty_file_is_refused_at_start() {
    for text in ["", "; a comment\n# another\n", "[unix_http_server]\nfile={dir}/sock\n"] {
        compare_unstarted("", |run| {
            run.write("supervisord.conf", text);
            run.launch(&["-n", "-c", "{dir}/supervisord.conf"]);
            assert_eq!(run.wait(), 2);
            assert!(run.read("stderr").contains("supervisord.conf") || !run.is_rsup());
        });
    }
}
