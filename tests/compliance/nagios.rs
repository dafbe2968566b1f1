//! A Nagios check, nagios-check-supervisord, unmodified, with both supervisors.

use crate::harness::{free_port, run, third_party};
use crate::{Run, compare_unstarted};
use serde_json::json;
use std::path::Path;
use std::process::Command;

/// Runs the check. Notes its exit code and output.
fn check(of: &mut Run, plugin: &Path, port: u16, args: &[&str]) -> i32 {
    let args: Vec<_> = args.iter().map(|arg| of.fill(&arg.replace("{port}", &port.to_string()))).collect();
    let ran = run(Command::new(plugin).args(&args));
    let result = format!("{args:?}: {} {:?} {:?}", ran.code, ran.out, ran.err).replace(&port.to_string(), "{port}");
    of.note("check", result);
    ran.code
}

#[test]
fn a_nagios_check_reports_ok_warning_critical_and_unknown() {
    let Some(plugin) = third_party("check_supervisord.py") else { return };
    let conf = "[program:up]\ncommand=/bin/sleep 1000\nstartsecs=0\n\
                [program:down]\ncommand=/bin/sleep 1000\nautostart=false\n\
                [program:done]\ncommand=/bin/true\nstartsecs=0\nautostart=false\nautorestart=false\n\
                [program:bad]\ncommand=/bin/false\nstartsecs=30\nstartretries=0\nautostart=false\n";
    compare_unstarted(conf, |run| {
        let port = free_port();
        let server = format!("[inet_http_server]\nport=127.0.0.1:{port}\nusername=nagios\npassword=secret\n");
        run.reconfigure(&format!("{conf}{server}"));
        run.start();
        run.until("up", "RUNNING");
        let tcp = ["-s", "127.0.0.1", "-p", "{port}", "-u", "nagios", "-S", "secret"];
        let socket = ["-s", "{dir}/sock"];
        let both = |run: &mut Run, more: &[&str]| {
            let code = check(run, &plugin, port, &[&tcp, more].concat());
            assert_eq!(check(run, &plugin, port, &[&socket, more].concat()), code, "over TCP and over the socket");
            code
        };
        assert_eq!(both(run, &[]), 0, "OK");
        assert_eq!(both(run, &["--stopped-state-exit-code", "critical"]), 2, "one is stopped");
        assert_eq!(both(run, &["-P", "up,missing"]), 0, "one is not there");
        // Whether a program that exits at once counts as started is random.
        let _ = run.rpc("supervisor.startProcess", json!(["done"]));
        run.until("done", "EXITED");
        assert_eq!(both(run, &[]), 1, "WARNING");
        let _ = run.rpc("supervisor.startProcess", json!(["bad"]));
        run.until("bad", "FATAL");
        assert_eq!(both(run, &[]), 2, "CRITICAL");
        let wrong = [&tcp[..6], &["-S", "wrong"]].concat();
        assert_eq!(check(run, &plugin, port, &wrong), 3, "UNKNOWN");
        assert_eq!(check(run, &plugin, port, &[&wrong[..], &["--network-errors-exit-code", "critical"]].concat()), 2);
        run.stop();
        assert_eq!(check(run, &plugin, port, &tcp), 3, "nobody is there");
    });
}
