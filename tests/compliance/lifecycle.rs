//! States and transitions: autostart, startsecs, retries, exit codes, autorestart, stopping, priorities, numprocs.

use crate::compare;
use serde_json::json;

#[test]
fn autostart_starts_and_reports() {
    compare(
        "[program:yes]\ncommand=/bin/sleep 1000\n[program:no]\ncommand=/bin/sleep 1000\nautostart=false\n",
        |run| {
            run.until("yes", "RUNNING");
            assert_eq!(run.state("no"), "STOPPED");
            run.note_history("yes");
            run.ctl(&["status"]);
        },
    );
}

#[test]
fn startsecs_zero_is_running_at_once() {
    compare("[program:x]\ncommand=/bin/sleep 1000\nstartsecs=0\n", |run| {
        run.until("x", "RUNNING");
        run.note_history("x");
    });
}

#[test]
fn too_many_quick_exits_end_in_fatal() {
    compare("[program:x]\ncommand=/bin/sh -c \"exit 3\"\nstartretries=2\nautorestart=true\n", |run| {
        run.until("x", "FATAL");
        run.note_history("x");
        let info = run.info("x");
        assert_eq!(info["spawnerr"], "Exited too quickly (process log may have details)");
        assert_eq!(info["exitstatus"], 0);
        run.note("description", &info["description"]);
        run.ctl(&["status"]);
    });
}

#[test]
fn backoff_shows_and_can_be_stopped() {
    compare("[program:x]\ncommand=/bin/false\nstartretries=100\n", |run| {
        run.until_log("exited: x", 2);
        run.until("x", "BACKOFF");
        assert_eq!(
            run.call("supervisor.startProcess", json!(["x"])).unwrap_err(),
            (60, "ALREADY_STARTED: x".to_owned())
        );
        assert_eq!(run.ctl(&["stop", "x"]), "x: stopped\n");
        assert_eq!(run.state("x"), "STOPPED");
        run.ctl(&["stop", "x"]);
    });
}

#[test]
fn stopped_after_spawn_errors_shows_the_epoch() {
    compare("[program:x]\ncommand=/no/such\nstartretries=100\n", |run| {
        run.until_log("spawnerr: ", 1);
        run.until("x", "BACKOFF");
        run.ctl(&["stop", "x"]);
        let info = run.info("x");
        assert_eq!((info["statename"].as_str(), info["stop"].as_i64()), (Some("STOPPED"), Some(0)));
        assert!(info["description"].as_str().unwrap().starts_with("Jan 01 "), "{info}");
    });
}

#[test]
fn an_expected_exit_stays_exited() {
    compare("[program:x]\ncommand=/bin/sh -c \"sleep 2; exit 0\"\n", |run| {
        run.until("x", "EXITED");
        run.note_history("x");
        assert_eq!(run.info("x")["exitstatus"], 0);
        run.note("spawnerr", &run.info("x")["spawnerr"]);
    });
}

#[test]
fn exitcodes_say_what_is_expected() {
    compare("[program:x]\ncommand=/bin/sh -c \"sleep 2; exit 7\"\nexitcodes=0,7\n", |run| {
        run.until("x", "EXITED");
        run.note_history("x");
        assert_eq!(run.info("x")["exitstatus"], 7);
    });
}

#[test]
fn an_unexpected_exit_restarts() {
    compare("[program:x]\ncommand=/bin/sh -c \"sleep 2; exit 1\"\n", |run| {
        run.until_log("spawned: 'x'", 2);
        run.note("first life", format!("{:?}", &run.history("x")[..3]));
    });
}

#[test]
fn autorestart_false_never_restarts() {
    compare("[program:x]\ncommand=/bin/sh -c \"sleep 2; exit 1\"\nautorestart=false\n", |run| {
        run.until("x", "EXITED");
        run.note_history("x");
        run.note("spawnerr", &run.info("x")["spawnerr"]);
    });
}

#[test]
fn autorestart_true_restarts_an_expected_exit() {
    compare("[program:x]\ncommand=/bin/sh -c \"sleep 2\"\nautorestart=true\n", |run| {
        run.until_log("spawned: 'x'", 2);
        run.note("first life", format!("{:?}", &run.history("x")[..3]));
    });
}

#[test]
fn death_by_signal_is_unexpected() {
    compare("[program:x]\ncommand=/bin/sh -c \"sleep 2; kill -9 $$\"\nautorestart=false\n", |run| {
        run.until("x", "EXITED");
        assert_eq!(run.info("x")["exitstatus"], -1);
        run.note("spawnerr", &run.info("x")["spawnerr"]);
        run.note_history("x");
    });
}

#[test]
fn startsecs_zero_exits_without_backoff() {
    compare("[program:x]\ncommand=/bin/false\nstartsecs=0\nautorestart=false\n", |run| {
        run.until("x", "EXITED");
        run.note_history("x");
    });
}

#[test]
fn stop_sends_the_stop_signal() {
    compare(
        "[program:x]\ncommand=/bin/sh -c \"trap 'exit 5' INT; while :; do sleep 0.1; done\"\nstopsignal=INT\nexitcodes=5\n",
        |run| {
            run.until("x", "RUNNING");
            assert_eq!(run.ctl(&["stop", "x"]), "x: stopped\n");
            assert_eq!(run.state("x"), "STOPPED");
            run.note_history("x");
            assert_eq!(run.info("x")["exitstatus"], 5);
        },
    );
}

#[test]
fn a_program_that_ignores_its_stop_signal_is_killed_after_stopwaitsecs() {
    compare("[program:x]\ncommand=/bin/sh -c \"trap '' TERM; while :; do sleep 0.2; done\"\nstopwaitsecs=1\n", |run| {
        run.until("x", "RUNNING");
        assert_eq!(run.ctl(&["stop", "x"]), "x: stopped\n");
        run.note_history("x");
    });
}

#[test]
fn a_stopping_program_refuses_stop_and_start() {
    compare(
        "[program:x]\ncommand=/bin/sh -c \"trap 'sleep 2; exit' TERM; while :; do sleep 0.1; done\"\nautorestart=true\n",
        |run| {
            run.until("x", "RUNNING");
            run.call("supervisor.stopProcess", json!(["x", false])).unwrap();
            run.until("x", "STOPPING");
            assert_eq!(
                run.call("supervisor.stopProcess", json!(["x", false])).unwrap_err(),
                (70, "NOT_RUNNING: x".to_owned())
            );
            assert_eq!(run.call("supervisor.startProcess", json!(["x", true])).unwrap_err().0, 40);
            run.ctl(&["status", "x"]);
            run.until("x", "STOPPED");
        },
    );
}

#[test]
fn stopasgroup_reaches_the_whole_group() {
    compare(
        "[program:x]\ncommand=/bin/sh -c \"sh -c 'trap \\\"echo child; exit 0\\\" TERM; while :; do sleep 0.1; done' & \
         trap 'echo parent; wait; exit 0' TERM; wait\"\nstopasgroup=true\nstdout_logfile={dir}/x.out\n",
        |run| {
            run.until("x", "RUNNING");
            run.ctl(&["stop", "x"]);
            run.until_file("x.out", "child");
            run.until_file("x.out", "parent");
            run.note_history("x");
        },
    );
}

#[test]
fn killasgroup_kills_the_whole_group() {
    compare(
        "[program:x]\ncommand=/bin/sh -c \"trap '' TERM; sleep 777 & echo $! >{dir}/child; while :; do wait; done\"\n\
         stopwaitsecs=1\nkillasgroup=true\n",
        |run| {
            run.until("x", "RUNNING");
            let child: i32 = run.read("child").trim().parse().unwrap();
            run.ctl(&["stop", "x"]);
            crate::harness::wait_for("the exit of the child", || {
                let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
                (stat.is_empty() || stat.contains(") Z ")).then_some(())
            });
            run.note_history("x");
        },
    );
}

#[test]
fn priority_orders_start_and_shutdown() {
    let conf = "[program:late]\ncommand=/bin/sleep 1000\npriority=30\n[program:early]\ncommand=/bin/sleep 1000\npriority=10\n\
                [program:middle]\ncommand=/bin/sleep 1000\npriority=20\n";
    compare(conf, |run| {
        for name in ["late", "early", "middle"] {
            run.until(name, "RUNNING");
        }
        assert_eq!(run.stop(), 0);
        let of =
            |kind: &str| -> Vec<String> { run.history("").into_iter().filter(|line| line.contains(kind)).collect() };
        let (spawned, stopped) = (of("spawned:"), of("stopped:"));
        run.note("spawned", format!("{spawned:?}"));
        run.note("stopped", format!("{stopped:?}"));
    });
}

#[test]
fn group_members_stop_in_reverse_priority_at_shutdown() {
    let conf = "[group:g]\nprograms=a,b\n[program:a]\ncommand=/bin/sleep 1000\npriority=2\n\
                [program:b]\ncommand=/bin/sleep 1000\npriority=1\n[supervisord]\nloglevel=debug\n";
    compare(conf, |run| {
        run.until("g:a", "RUNNING");
        run.until("g:b", "RUNNING");
        run.ctl(&["status"]);
        run.ctl(&["status", "g:*"]);
        run.sandbox.ctl(&["stop", "g:*"]); // both at once: they exit in a random order
        run.sandbox.ctl(&["start", "g:*"]);
        run.ctl(&["status"]);
        assert_eq!(run.stop(), 0);
        // The order of the stop signals; the order of the exits is random here too.
        let log = run.log();
        let killed: Vec<&str> = log.lines().filter_map(|line| line.split(" DEBG killing ").nth(1)).collect();
        assert_eq!(killed.len(), 4, "{log}");
        run.note("killed", killed[2..].join("|"));
    });
}

#[test]
fn each_signal_has_its_line_at_loglevel_debug() {
    let deaf = "command=/bin/sh -c 'trap \"\" TERM; echo ready; while :; do sleep 0.1; done'\nstopwaitsecs=1\n";
    let conf = format!(
        "[supervisord]\nloglevel=debug\n[program:alone]\n{deaf}stdout_logfile={{dir}}/alone.out\n\
         [program:many]\n{deaf}stopasgroup=true\nstdout_logfile={{dir}}/many.out\n\
         [program:willing]\ncommand=/bin/sleep 1000\nstopsignal=INT\n\
         [program:late]\n{deaf}stdout_logfile={{dir}}/late.out\npriority=1\n\
         [program:broken]\ncommand=/no/such/program\nstartretries=100\n",
    );
    compare(&conf, |run| {
        for name in ["alone", "many", "late"] {
            run.until_file(&format!("{name}.out"), "ready");
            run.until(name, "RUNNING");
        }
        run.until("willing", "RUNNING");
        run.ctl(&["signal", "USR1", "willing"]);
        run.until("willing", "STARTING");
        run.until("willing", "RUNNING");
        run.ctl(&["signal", "HUP", "nobody"]);
        for name in ["alone", "many", "willing"] {
            run.ctl(&["stop", name]);
        }
        run.until("broken", "BACKOFF");
        run.ctl(&["stop", "broken"]);
        assert_eq!(run.stop(), 0);
        let is_signal = |line: &str| ["killing ", "sending ", "ttempted to "].iter().any(|part| line.contains(part));
        for line in run.messages() {
            if is_signal(&line) {
                run.note("log", run.normal(&line));
            }
        }
    });
}

#[test]
fn numprocs_makes_a_group() {
    let conf = "[program:x]\ncommand=/bin/sh -c \"echo n%(process_num)d; exec sleep 1000\"\nnumprocs=3\nnumprocs_start=5\n\
                process_name=%(program_name)s_%(process_num)02d\nstdout_logfile={dir}/%(process_num)d.out\n";
    compare(conf, |run| {
        for number in 5..8 {
            run.until(&format!("x:x_0{number}"), "RUNNING");
            run.until_file(&format!("{number}.out"), &format!("n{number}"));
        }
        run.ctl(&["status"]);
        run.ctl(&["stop", "x:x_06"]);
        run.ctl(&["status", "x:*"]);
        run.ctl(&["start", "x:*"]);
        run.sandbox.ctl(&["stop", "all"]);
        run.ctl(&["status"]);
    });
}

#[test]
fn a_manual_start_waits_for_running() {
    compare("[program:x]\ncommand=/bin/sleep 1000\nautostart=false\n", |run| {
        assert_eq!(run.call("supervisor.startProcess", json!(["x"])).unwrap(), json!(true));
        assert_eq!(run.state("x"), "RUNNING");
        assert_eq!(run.call("supervisor.startProcess", json!(["x"])).unwrap_err().0, 60);
        run.call("supervisor.stopProcess", json!(["x"])).unwrap();
        assert_eq!(run.state("x"), "STOPPED");
        run.note_history("x");
    });
}

#[test]
fn a_manual_start_that_dies_is_abnormal() {
    compare("[program:x]\ncommand=/bin/false\nautostart=false\nstartretries=0\nstartsecs=10\n", |run| {
        assert_eq!(run.call("supervisor.startProcess", json!(["x"])).unwrap_err(), (50, "SPAWN_ERROR: x".to_owned()));
        run.until("x", "FATAL");
        run.ctl(&["start", "x"]);
    });
}

#[test]
fn negative_retries_are_fatal_after_the_first() {
    compare("[program:x]\ncommand=/bin/false\nstartretries=-1\n", |run| {
        run.until("x", "FATAL");
        run.note_history("x");
    });
}

#[test]
fn a_listed_but_empty_program_shows_nothing() {
    compare("[program:x]\ncommand=/bin/cat\nnumprocs=0\n[program:y]\ncommand=/bin/cat\nautostart=false\n", |run| {
        run.ctl(&["status"]);
        run.ctl(&["avail"]);
        run.ctl(&["start", "x:*"]);
    });
}
