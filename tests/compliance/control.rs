//! Every command of the control client: its output and its exit code.

use crate::{compare, compare_unstarted};

const THREE: &str = "[program:up]\ncommand=/bin/sleep 1000\n[program:down]\ncommand=/bin/sleep 1000\nautostart=false\n\
                     [program:broken]\ncommand=/no/such/program\nautostart=false\nstartretries=0\n\
                     [group:g]\nprograms=one,two\n[program:one]\ncommand=/bin/sleep 1000\n[program:two]\ncommand=/bin/sleep 1000\n";

#[test]
fn status_in_every_form() {
    compare(THREE, |run| {
        for name in ["up", "g:one", "g:two"] {
            run.until(name, "RUNNING");
        }
        for args in [
            &["status"][..],
            &["status", "all"],
            &["status", "up"],
            &["status", "down"],
            &["status", "up", "down"],
            &["status", "g:*"],
            &["status", "g:"],
            &["status", "g:one"],
            &["status", "g"],
            &["status", "nobody"],
            &["status", "nobody", "up"],
            &["status", "nobody", "down"],
            &["status", "nogroup:*"],
            &["status", "up", "up"],
            &["status", "g:nobody"],
        ] {
            run.ctl(args);
        }
    });
}

#[test]
fn start_in_every_form() {
    compare(THREE, |run| {
        for name in ["up", "g:one", "g:two"] {
            run.until(name, "RUNNING");
        }
        run.sandbox.ctl(&["stop", "all"]);
        for args in [
            &["start", "up"][..],
            &["start", "up"],
            &["start", "nobody"],
            &["start", "broken"],
            &["start", "down", "nobody"],
            &["start", "g:one"],
            &["start", "g:*"],
            &["start", "nogroup:*"],
            &["start", "g:nobody"],
            &["stop", "up", "down"],
            &["start", "up", "down"],
        ] {
            run.ctl(args);
        }
        run.ctl_roughly(&["start"]);
    });
}

#[test]
fn start_all_and_stop_all() {
    let conf = "[program:a]\ncommand=/bin/sleep 1000\nautostart=false\n[program:b]\ncommand=/bin/sleep 1000\nautostart=false\n";
    compare(conf, |run| {
        let mut lines: Vec<String> = run.sandbox.ctl(&["start", "all"]).out.lines().map(str::to_owned).collect();
        lines.sort();
        assert_eq!(lines, ["a: started", "b: started"]);
        run.ctl(&["start", "all"]);
        let mut lines: Vec<String> = run.sandbox.ctl(&["stop", "all"]).out.lines().map(str::to_owned).collect();
        lines.sort();
        assert_eq!(lines, ["a: stopped", "b: stopped"]);
        run.ctl(&["stop", "all"]);
    });
}

#[test]
fn stop_and_restart_in_every_form() {
    compare(THREE, |run| {
        for name in ["up", "g:one", "g:two"] {
            run.until(name, "RUNNING");
        }
        for args in [
            &["stop", "down"][..],
            &["stop", "nobody"],
            &["stop", "nogroup:*"],
            &["stop", "up"],
            &["restart", "up"],
            &["restart", "up"],
            &["restart", "nobody"],
            &["restart", "broken"],
            &["restart", "g:one"],
        ] {
            run.ctl(args);
        }
        run.ctl_roughly(&["stop"]);
        run.ctl_roughly(&["restart"]);
    });
}

#[test]
fn signal_in_every_form() {
    let conf = "[program:x]\ncommand=/bin/sh -c \"trap 'echo usr1' USR1; trap 'echo hup' HUP; echo ready; while :; do sleep 0.1; done\"\nstdout_logfile={dir}/x.out\n\
                [program:down]\ncommand=/bin/cat\nautostart=false\n";
    compare(conf, |run| {
        run.until("x", "RUNNING");
        run.until_file("x.out", "ready");
        run.ctl(&["signal", "USR1", "x"]);
        run.until_file("x.out", "usr1");
        run.ctl(&["signal", "sighup", "x"]);
        run.until_file("x.out", "hup");
        for args in [
            &["signal", "10", "x"][..],
            &["signal", "BOGUS", "x"],
            &["signal", "99", "x"],
            &["signal", "USR1", "nobody"],
            &["signal", "USR1", "down"],
            &["signal", "USR1", "x:*"],
            &["signal", "USR1", "nogroup:*"],
            &["signal", "USR1", "all"],
            &["signal", "BOGUS", "all"],
        ] {
            run.ctl(args);
        }
        run.ctl_roughly(&["signal"]);
        run.ctl_roughly(&["signal", "USR1"]);
    });
}

#[test]
fn pid_in_every_form() {
    compare(THREE, |run| {
        run.until("up", "RUNNING");
        assert_eq!(run.sandbox.ctl(&["pid"]).out, format!("{}\n", run.pid()));
        assert_eq!(run.sandbox.ctl(&["pid", "up"]).out, format!("{}\n", run.pid_of("up")));
        for args in [&["pid", "down"][..], &["pid", "nobody"], &["pid", "g:*"]] {
            run.ctl(args);
        }
        let all = run.sandbox.ctl(&["pid", "all"]);
        run.note("lines", format!("{} {}", all.code, all.out.lines().count()));
    });
}

#[test]
fn version_avail_help_and_unknown_commands() {
    compare(THREE, |run| {
        for args in [&["version"][..], &["avail"], &["help", "bogus"], &["bogus"], &["bogus", "x"], &["!ls"]] {
            run.ctl(args);
        }
        // Each prints an error and the help of the command.
        for args in [["version", "x"], ["avail", "x"], ["reread", "x"], ["reload", "x"], ["shutdown", "x"]] {
            run.ctl_roughly(&args);
        }
    });
}

#[test]
fn help_of_every_command() {
    compare("", |run| {
        for name in [
            "add", "avail", "clear", "exit", "fg", "maintail", "open", "pid", "quit", "reload", "remove", "reread",
            "restart", "shutdown", "signal", "start", "status", "stop", "tail", "update", "version", "help",
        ] {
            let ran = run.sandbox.ctl(&["help", name]);
            assert!(ran.code == 0 && ran.out.contains(name), "{ran:?}");
        }
    });
}

#[test]
fn reread_and_update() {
    let kept = "[program:kept]\ncommand=/bin/sleep 1000\n";
    compare(
        &format!("{kept}[program:gone]\ncommand=/bin/sleep 1000\n[program:changed]\ncommand=/bin/sleep 1000\n"),
        |run| {
            for name in ["kept", "gone", "changed"] {
                run.until(name, "RUNNING");
            }
            run.ctl(&["reread"]);
            run.ctl(&["update"]);
            let pid = run.pid_of("kept");
            run.reconfigure(&format!(
                "{kept}[program:changed]\ncommand=/bin/sleep 2000\n[program:fresh]\ncommand=/bin/sleep 1000\n"
            ));
            run.ctl(&["reread"]);
            run.ctl(&["status"]);
            run.ctl(&["avail"]);
            run.ctl(&["update"]);
            run.until("fresh", "RUNNING");
            run.until("changed", "RUNNING");
            run.ctl(&["status"]);
            assert_eq!(run.pid_of("kept"), pid, "what did not change is left alone");
            run.ctl(&["reread"]);
        },
    );
}

#[test]
fn update_of_named_groups() {
    compare("[program:a]\ncommand=/bin/sleep 1000\n[program:b]\ncommand=/bin/sleep 1000\n", |run| {
        run.until("a", "RUNNING");
        run.reconfigure("[program:b]\ncommand=/bin/sleep 2000\n[program:c]\ncommand=/bin/sleep 1000\n[program:d]\ncommand=/bin/sleep 1000\n");
        for args in
            [&["update", "c"][..], &["update", "nobody"], &["update", "a", "b"], &["update", "all"], &["update"]]
        {
            run.ctl(args);
        }
    });
}

#[test]
fn add_and_remove() {
    compare("[program:a]\ncommand=/bin/sleep 1000\n", |run| {
        run.until("a", "RUNNING");
        run.reconfigure("[program:a]\ncommand=/bin/sleep 1000\n[program:b]\ncommand=/bin/sleep 1000\n");
        run.ctl(&["add", "b"]);
        run.ctl(&["reread"]);
        run.ctl(&["add", "b"]);
        run.until("b", "RUNNING");
        for args in [
            &["add", "b"][..],
            &["add", "nobody"],
            &["add"],
            &["remove", "b"],
            &["remove", "nobody"],
            &["stop", "b"],
            &["remove", "b"],
            &["remove"],
            &["status"],
            &["add", "b", "nobody"],
        ] {
            run.ctl(args);
        }
    });
}

#[test]
fn reread_of_a_broken_file() {
    compare("[program:a]\ncommand=/bin/sleep 1000\n", |run| {
        run.until("a", "RUNNING");
        run.reconfigure("[program:a]\nautostart=true\n");
        for command in ["reread", "update"] {
            let ran = run.sandbox.ctl(&[command]);
            assert_eq!(ran.code, 1, "{ran:?}");
            assert!(ran.out.contains("CANT_REREAD") || ran.out.contains("Fault 92"), "{ran:?}");
        }
        assert_eq!(run.state("a"), "RUNNING");
    });
}

#[test]
fn shutdown_by_the_client() {
    compare("[program:a]\ncommand=/bin/sleep 1000\n", |run| {
        run.until("a", "RUNNING");
        run.ctl(&["shutdown"]);
        assert_eq!(run.wait(), 0);
        for args in [
            &["shutdown"][..],
            &["status"],
            &["start", "a"],
            &["reread"],
            &["update"],
            &["pid"],
            &["version"],
            &["reload"],
        ] {
            run.ctl_roughly(args);
        }
    });
}

#[test]
fn while_shutting_down_everything_is_refused() {
    compare(
        "[program:a]\ncommand=/bin/sh -c \"trap '' TERM; while :; do sleep 0.1; done\"\nstopwaitsecs=1000\n",
        |run| {
            run.until("a", "RUNNING");
            let deaf = nix::unistd::Pid::from_raw(run.pid_of("a"));
            run.ctl(&["shutdown"]);
            run.until_log("waiting for a to die", 1);
            for args in [
                &["shutdown"][..],
                &["reread"],
                &["update"],
                &["add", "x"],
                &["remove", "x"],
                &["avail"],
                &["reload"],
                &["status"],
                &["stop", "a"],
            ] {
                run.ctl_roughly(args);
            }
            nix::sys::signal::kill(deaf, nix::sys::signal::Signal::SIGKILL).unwrap();
            assert_eq!(run.wait(), 0);
        },
    );
}

#[test]
fn reload_by_the_client() {
    compare("[program:old]\ncommand=/bin/sleep 1000\n", |run| {
        run.until("old", "RUNNING");
        run.reconfigure("[program:new]\ncommand=/bin/sleep 1000\n");
        run.ctl(&["reload"]);
        run.until("new", "RUNNING");
        run.ctl(&["status"]);
    });
}

#[test]
fn a_password_is_asked_for_and_used() {
    let conf = "[program:a]\ncommand=/bin/sleep 1000\n[unix_http_server]\nusername=joe\npassword={SHA}5baa61e4c9b93f3f0682250b6cf8331b7ee68fd8\n\
                [supervisorctl]\nusername=joe\npassword=password\n";
    compare_unstarted(conf, |run| {
        run.launch(&["-n", "-c", "{dir}/supervisord.conf"]);
        run.until_log("entered RUNNING state", 1);
        run.ctl(&["status"]);
        run.ctl(&["-u", "joe", "-p", "password", "status"]);
        for wrong in [["-u", "joe", "-p", "wrong", "status"], ["-u", "nobody", "-p", "password", "status"]] {
            let ran = run.sandbox.ctl(&wrong);
            run.note("refused", format!("{} {:?}", ran.code, ran.out.lines().next()));
        }
        for credentials in ["am9lOnBhc3N3b3Jk", "am9lOndyb25n"] {
            let headers = format!("Content-Type: text/xml\r\nAuthorization: Basic {credentials}\r\n");
            let body = crate::harness::xmlrpc::call("supervisor.getState", &serde_json::json!([]));
            run.note(credentials, run.http("POST", "/RPC2", &headers, &body).unwrap().0);
        }
        let refused = run.raw("GET / HTTP/1.0\r\n\r\n").unwrap();
        assert!(refused.starts_with("HTTP/1.0 401 ") || refused.starts_with("HTTP/1.1 401 "), "{refused}");
        assert!(refused.contains("WWW-Authenticate: Basic realm=\"default\"\r\n"), "{refused}");
    });
}

#[test]
fn options_of_the_client() {
    compare("[program:a]\ncommand=/bin/sleep 1000\n", |run| {
        run.until("a", "RUNNING");
        let url = format!("unix://{}/sock", run.dir.display());
        run.ctl(&["-s", &url, "status"]);
        run.ctl(&["--serverurl", &url, "version"]);
        run.ctl(&["-s", "unix:///no/such/socket", "status"]);
        run.ctl(&["-s", "unix:///no/such/socket", "start", "a"]);
        for args in [
            &["-s", "foo", "status"][..],
            &["-Z", "status"],
            &["--bogus", "status"],
            &["-c", "/no/such/file", "status"],
        ] {
            let ran = run.sandbox.ctl(args);
            run.note(&format!("{args:?}"), format!("{} {:?}", ran.code, ran.err.lines().next()));
        }
    });
}
