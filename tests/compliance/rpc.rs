//! XML-RPC: answers, faults, their structure, and requests that are not XML-RPC.

use crate::compare;
use serde_json::{Value, json};

const PROGRAMS: &str = "[program:a]\ncommand=/bin/sleep 1000\npriority=5\n[program:b]\ncommand=/bin/sleep 1000\nautostart=false\nstdout_logfile=NONE\n\
                        [group:g]\nprograms=one,two\n[program:one]\ncommand=/bin/sleep 1000\nautostart=false\n[program:two]\ncommand=/bin/sleep 1000\nautostart=false\n";

#[test]
fn identity() {
    compare("", |run| {
        for method in [
            "supervisor.getAPIVersion",
            "supervisor.getVersion",
            "supervisor.getSupervisorVersion",
            "supervisor.getIdentification",
            "supervisor.getState",
        ] {
            run.call(method, json!([])).unwrap();
        }
        assert_eq!(run.rpc("supervisor.getPID", json!([])).unwrap(), json!(run.pid()));
    });
}

#[test]
fn the_method_list_is_complete() {
    compare("", |run| {
        let methods = run.call("system.listMethods", json!([])).unwrap();
        assert_eq!(methods.as_array().unwrap().len(), 41);
    });
}

#[test]
fn method_signatures() {
    compare("", |run| {
        let methods = run.rpc("system.listMethods", json!([])).unwrap();
        for method in methods.as_array().unwrap() {
            run.call("system.methodSignature", json!([method])).unwrap();
        }
        run.call("system.methodSignature", json!(["bogus"])).unwrap_err();
        run.call("system.methodHelp", json!(["bogus"])).unwrap_err();
    });
}

#[test]
fn process_info_has_every_key() {
    compare(PROGRAMS, |run| {
        run.until("a", "RUNNING");
        for name in ["a", "b", "g:one"] {
            let mut info = run.info(name);
            for key in ["start", "stop", "now", "pid"] {
                let set = info[key].as_i64().unwrap() > 0;
                info[key] = json!(set);
            }
            for key in ["logfile", "stdout_logfile", "stderr_logfile"] {
                let path = info[key].as_str().unwrap();
                info[key] = json!(path.split("---").next().unwrap());
            }
            run.note(name, info);
        }
        let all = run.rpc("supervisor.getAllProcessInfo", json!([])).unwrap();
        let names: Vec<&Value> = all.as_array().unwrap().iter().map(|info| &info["name"]).collect();
        run.note("order", format!("{names:?}"));
        for name in ["nobody", "g:*", "g", "a:b", ""] {
            run.call("supervisor.getProcessInfo", json!([name])).unwrap_err();
        }
    });
}

#[test]
fn config_info_has_every_key() {
    let conf = format!(
        "{PROGRAMS}[program:full]\ncommand=/bin/cat -u\nautostart=false\nautorestart=false\ndirectory=/tmp\nuser=games\nstartsecs=3\nstartretries=7\n\
         exitcodes=1,2\nstopsignal=HUP\nstopwaitsecs=4\nstopasgroup=true\nkillasgroup=true\nredirect_stderr=true\nstdout_logfile={{dir}}/f.out\n\
         stdout_logfile_maxbytes=1MB\nstdout_logfile_backups=2\nstdout_capture_maxbytes=1KB\nstdout_events_enabled=true\nserverurl=http://x:1\npriority=77\n"
    );
    compare(&conf, |run| {
        let mut all = run.rpc("supervisor.getAllConfigInfo", json!([])).unwrap();
        for info in all.as_array_mut().unwrap() {
            for key in ["stdout_logfile", "stderr_logfile"] {
                // The names of AUTO logs have a random end.
                info[key] = json!(info[key].as_str().unwrap().split("---").next().unwrap());
            }
            run.note("config", &info);
        }
    });
}

#[test]
fn start_and_stop_without_waiting() {
    compare(PROGRAMS, |run| {
        run.until("a", "RUNNING");
        run.call("supervisor.startProcess", json!(["b", false])).unwrap();
        run.until("b", "RUNNING");
        run.call("supervisor.stopProcess", json!(["b", false])).unwrap();
        run.until("b", "STOPPED");
        run.call("supervisor.stopProcess", json!(["b"])).unwrap_err();
        for name in ["nobody", "g:nobody", "nogroup:*", ""] {
            run.call("supervisor.startProcess", json!([name])).unwrap_err();
            run.call("supervisor.stopProcess", json!([name])).unwrap_err();
        }
    });
}

#[test]
fn group_methods_return_one_struct_for_each_process() {
    compare(PROGRAMS, |run| {
        run.until("a", "RUNNING");
        run.call("supervisor.startProcessGroup", json!(["g"])).unwrap();
        run.call("supervisor.startProcessGroup", json!(["g"])).unwrap();
        run.call("supervisor.signalProcessGroup", json!(["g", "CONT"])).unwrap();
        run.call("supervisor.signalProcessGroup", json!(["g", "BOGUS"])).unwrap();
        run.call("supervisor.signalProcess", json!(["g:*", "CONT"])).unwrap();
        for (method, name) in
            [("stopProcessGroup", "g"), ("stopProcessGroup", "g"), ("startProcess", "g:*"), ("stopProcess", "g:*")]
        {
            // The order in which two processes that are stopped together exit is random.
            let answer = run.rpc(&format!("supervisor.{method}"), json!([name])).unwrap();
            let mut items: Vec<String> = answer.as_array().unwrap().iter().map(Value::to_string).collect();
            items.sort();
            run.note(method, items.join(" "));
        }
        run.call("supervisor.startProcessGroup", json!(["nogroup"])).unwrap_err();
        run.call("supervisor.stopProcessGroup", json!(["nogroup"])).unwrap_err();
        run.call("supervisor.signalAllProcesses", json!(["CONT"])).unwrap();
    });
}

#[test]
fn immediate_results_come_in_starting_order() {
    const AT_ONCE: &str = "autostart=false\nstartsecs=0\nstartretries=0\n";
    let program = |(name, command)| format!("[program:{name}]\ncommand={command}\n{AT_ONCE}");
    let programs = [("a", "/bin/sleep 1000"), ("b", "/no/such"), ("c", "/bin/sleep 1000"), ("d", "/etc/passwd")];
    let conf: String = programs.map(program).concat() + "[group:g]\nprograms=c,b\npriority=5\n";
    compare(&conf, |run| {
        run.call("supervisor.startAllProcesses", json!([])).unwrap();
        run.call("supervisor.startAllProcesses", json!([])).unwrap();
    });
}

#[test]
fn a_group_removed_from_the_file_cannot_be_added_though_it_is_in_use() {
    compare(PROGRAMS, |run| {
        run.reconfigure("[program:b]\ncommand=/bin/sleep 1000\n");
        run.call("supervisor.addProcessGroup", json!(["a"])).unwrap_err();
        run.call("supervisor.reloadConfig", json!([])).unwrap();
        for name in ["a", "b", "nobody"] {
            run.call("supervisor.addProcessGroup", json!([name])).unwrap_err();
        }
    });
}

#[test]
fn after_a_reread_auto_logs_in_use_are_named() {
    compare("[program:a]\ncommand=/bin/sleep 1000\n", |run| {
        let before = run.rpc("supervisor.getAllConfigInfo", json!([])).unwrap()[0]["stdout_logfile"].clone();
        assert_eq!(before, run.info("a")["stdout_logfile"]);
        run.call("supervisor.reloadConfig", json!([])).unwrap();
        let after = run.rpc("supervisor.getAllConfigInfo", json!([])).unwrap()[0]["stdout_logfile"].clone();
        assert_eq!(after, if run.is_rsup() { before } else { json!("auto") });
    });
}

#[test]
fn signals_by_name_and_number() {
    compare(PROGRAMS, |run| {
        run.until("a", "RUNNING");
        for signal in [
            json!("CONT"),
            json!("SIGCONT"),
            json!("cont"),
            json!("18"),
            json!(18),
            json!("BOGUS"),
            json!("9999"),
            json!(""),
        ] {
            let _ = run.call("supervisor.signalProcess", json!(["a", signal]));
        }
        run.call("supervisor.signalProcess", json!(["b", "CONT"])).unwrap_err();
        run.call("supervisor.signalProcess", json!(["nobody", "CONT"])).unwrap_err();
    });
}

#[test]
fn multicall() {
    compare(PROGRAMS, |run| {
        run.until("a", "RUNNING");
        let calls = json!([[
            {"methodName": "supervisor.getAPIVersion", "params": []},
            {"methodName": "supervisor.getAPIVersion"},
            {"methodName": "supervisor.getProcessInfo", "params": ["nobody"]},
            {"methodName": "supervisor.bogus", "params": []},
            {"methodName": "system.multicall", "params": [[]]},
            {"params": []},
            {"methodName": "supervisor.startProcess", "params": ["b"]},
            {"methodName": "supervisor.stopProcess", "params": ["b"]},
        ]]);
        run.call("system.multicall", calls).unwrap();
        run.call("system.multicall", json!([[]])).unwrap();
    });
}

#[test]
fn wrong_calls_are_faults() {
    compare(PROGRAMS, |run| {
        for (method, params) in [
            ("supervisor.bogus", json!([])),
            ("bogus", json!([])),
            ("bogus.getState", json!([])),
            ("supervisor._update", json!([""])),
            ("supervisor.getState.x", json!([])),
            ("supervisor.getState", json!([1])),
            ("supervisor.getProcessInfo", json!([])),
            ("supervisor.startProcess", json!(["a", true, 3])),
        ] {
            run.call(method, params).unwrap_err();
        }
    });
}

#[test]
fn a_request_that_is_not_xml_rpc_is_an_http_error() {
    compare("", |run| {
        let body = crate::harness::xmlrpc::call("supervisor.getState", &json!([]));
        for (verb, path, body) in [
            ("POST", "/RPC2", "this is no xml"),
            ("POST", "/RPC2", "<methodCall></methodCall>"),
            ("GET", "/RPC2", ""),
            ("POST", "/RPC2", &body),
            ("PUT", "/nothing/here", ""),
            ("GET", "/nothing/here", ""),
        ] {
            let (status, _) = run.http(verb, path, "Content-Type: text/xml\r\n", body).unwrap();
            run.note(&format!("{verb} {path} {body:.20}"), status);
        }
    });
}

#[test]
fn one_connection_serves_many_calls() {
    use std::io::{Read as _, Write as _};
    compare("", |run| {
        let mut stream = std::os::unix::net::UnixStream::connect(run.dir.join("sock")).unwrap();
        stream.set_read_timeout(Some(crate::harness::TIMEOUT)).unwrap();
        let body = crate::harness::xmlrpc::call("supervisor.getState", &json!([]));
        for _ in 0..3 {
            let head = format!(
                "POST /RPC2 HTTP/1.1\r\nHost: x\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            // A request may arrive in several pieces.
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(body.as_bytes()).unwrap();
            let mut reply = Vec::new();
            while !reply.ends_with(b"</methodResponse>\n") {
                let mut piece = [0; 4096];
                let read = stream.read(&mut piece).unwrap();
                assert!(read > 0, "the connection was closed");
                reply.extend_from_slice(&piece[..read]);
            }
            let text = String::from_utf8(reply).unwrap();
            assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
        }
    });
}

#[test]
fn a_waiting_start_delays_no_other_client() {
    compare("[program:x]\ncommand=/bin/sleep 1000\nautostart=false\nstartsecs=4\n", |run| {
        std::thread::scope(|scope| {
            let sandbox = &run.sandbox;
            let waiting = scope.spawn(|| sandbox.rpc("supervisor.startProcess", json!(["x", true])));
            sandbox.until("x", "STARTING");
            assert_eq!(sandbox.rpc("supervisor.getState", json!([])).unwrap()["statecode"], 1);
            assert!(!waiting.is_finished());
            assert_eq!(waiting.join().unwrap().unwrap(), json!(true));
        });
        assert_eq!(run.state("x"), "RUNNING");
    });
}

#[test]
fn a_stop_ends_a_waiting_start() {
    compare("[program:x]\ncommand=/bin/sleep 1000\nautostart=false\nstartsecs=30\n", |run| {
        let answer = std::thread::scope(|scope| {
            let sandbox = &run.sandbox;
            let waiting = scope.spawn(|| sandbox.rpc("supervisor.startProcess", json!(["x", true])));
            sandbox.until("x", "STARTING");
            sandbox.rpc("supervisor.stopProcess", json!(["x", true])).unwrap();
            waiting.join().unwrap()
        });
        run.note("start", format!("{answer:?}"));
        assert_eq!(answer.unwrap_err().0, 40);
    });
}

#[test]
fn remote_comm_event_is_accepted() {
    compare("", |run| {
        run.call("supervisor.sendRemoteCommEvent", json!(["kind", "data"])).unwrap();
    });
}

#[test]
fn every_method_refuses_too_few_and_too_many_parameters() {
    compare(PROGRAMS, |run| {
        run.until("a", "RUNNING");
        let methods = run.rpc("system.listMethods", json!([])).unwrap();
        for method in methods.as_array().unwrap().iter().map(|name| name.as_str().unwrap()) {
            let signature = run.rpc("system.methodSignature", json!([method])).unwrap();
            let wanted = signature.as_array().unwrap().len() - 1;
            run.call(method, json!(vec!["x"; wanted + 1])).unwrap_err();
            // `wait` may be left out; a method without parameters would act.
            let may_lack_one = method.contains("start") || method.contains("stop");
            if let Some(few) = wanted.checked_sub(if may_lack_one { 2 } else { 1 }) {
                run.call(method, json!(vec!["x"; few])).unwrap_err();
            }
        }
    });
}

#[test]
fn every_method_with_a_name_refuses_unknown_names() {
    compare(PROGRAMS, |run| {
        run.until("a", "RUNNING");
        for (method, more) in [
            ("startProcess", json!([])),
            ("stopProcess", json!([])),
            ("signalProcess", json!(["CONT"])),
            ("getProcessInfo", json!([])),
            ("sendProcessStdin", json!(["x"])),
            ("readProcessStdoutLog", json!([0, 1])),
            ("readProcessStderrLog", json!([0, 1])),
            ("readProcessLog", json!([0, 1])),
            ("tailProcessStdoutLog", json!([0, 1])),
            ("tailProcessStderrLog", json!([0, 1])),
            ("tailProcessLog", json!([0, 1])),
            ("clearProcessLogs", json!([])),
            ("clearProcessLog", json!([])),
        ] {
            for name in ["nobody", "g:nobody", "nogroup:one", "g", "a:b", ":", "a:a:a"] {
                let params: Vec<Value> = std::iter::once(json!(name)).chain(more.as_array().unwrap().clone()).collect();
                run.call(&format!("supervisor.{method}"), json!(params)).unwrap_err();
            }
        }
        for method in ["startProcessGroup", "stopProcessGroup", "addProcessGroup", "removeProcessGroup"] {
            for name in ["nobody", "g:*", "g:one", ""] {
                run.call(&format!("supervisor.{method}"), json!([name])).unwrap_err();
            }
        }
        run.call("supervisor.signalProcessGroup", json!(["nobody", "CONT"])).unwrap_err();
        run.call("supervisor.addProcessGroup", json!(["a"])).unwrap_err();
        run.call("supervisor.removeProcessGroup", json!(["a"])).unwrap_err();
        run.call("supervisor.removeProcessGroup", json!(["b"])).unwrap();
        run.call("supervisor.removeProcessGroup", json!(["b"])).unwrap_err();
        run.call("supervisor.addProcessGroup", json!(["b"])).unwrap();
    });
}

#[test]
fn failed_starts_return_their_fault() {
    // With startsecs=1, Supervisor's slow loop may see a program that fails at once as RUNNING.
    let conf = "[program:gone]\ncommand=/no/such/thing\nautostart=false\n[program:plain]\ncommand=/etc/passwd\nautostart=false\n\
                [program:folder]\ncommand=/etc\nautostart=false\n[program:quick]\ncommand=/bin/false\nautostart=false\nstartretries=0\nstartsecs=10\n\
                [program:nowhere]\ncommand=/bin/sleep 1000\ndirectory=/no/such\nautostart=false\nstartretries=0\nstartsecs=10\n\
                [program:up]\ncommand=/bin/sleep 1000\n";
    compare(conf, |run| {
        run.until("up", "RUNNING");
        for name in ["gone", "plain", "folder", "quick", "nowhere", "up"] {
            run.call("supervisor.startProcess", json!([name])).unwrap_err();
            run.until(
                name,
                if name == "up" {
                    "RUNNING"
                } else if ["quick", "nowhere"].contains(&name) {
                    "FATAL"
                } else {
                    "STOPPED"
                },
            );
        }
        run.call("supervisor.startProcess", json!(["gone", false])).unwrap_err();
        // True, unless Supervisor is so slow that the program has exited before it answers.
        let _ = run.call("supervisor.startProcess", json!(["quick", 0]));
        run.until("quick", "FATAL");
        run.call("supervisor.stopProcess", json!(["quick"])).unwrap_err();
        run.call("supervisor.signalProcess", json!(["quick", "HUP"])).unwrap_err();
        run.call("supervisor.sendProcessStdin", json!(["quick", "x"])).unwrap_err();
    });
}

#[test]
fn logs_are_read_and_tailed_by_the_same_arithmetic() {
    let conf = "[program:x]\ncommand=/usr/bin/printf 0123456789\nstartsecs=0\nautorestart=false\nstdout_logfile={dir}/x.out\nstderr_logfile=NONE\n";
    compare(conf, |run| {
        run.until("x", "EXITED");
        run.until_file("x.out", "0123456789");
        for offset in [-11, -10, -4, -1, 0, 3, 9, 10, 11] {
            for length in [-1, 0, 1, 5, 10, 100] {
                for method in ["readProcessStdoutLog", "readProcessLog", "tailProcessStdoutLog", "tailProcessLog"] {
                    let _ = run.call(&format!("supervisor.{method}"), json!(["x", offset, length]));
                }
            }
        }
        let _ = run.call("supervisor.readProcessStderrLog", json!(["x", 0, 1]));
        run.call("supervisor.tailProcessStderrLog", json!(["x", 0, 1])).unwrap();
        for (offset, length) in [(-1, 1), (0, -1), (1_000_000, 0)] {
            let _ = run.call("supervisor.readLog", json!([offset, length]));
            let _ = run.call("supervisor.readMainLog", json!([offset, length]));
        }
        std::fs::remove_file(run.dir.join("x.out")).unwrap();
        let _ =
            run.rpc("supervisor.readProcessStdoutLog", json!(["x", 0, 1])).map_err(|(code, _)| run.note("gone", code));
        run.call("supervisor.tailProcessStdoutLog", json!(["x", 0, 1])).unwrap();
        std::fs::remove_file(run.dir.join("main.log")).unwrap();
        let _ = run.rpc("supervisor.readLog", json!([0, 1])).map_err(|(code, _)| run.note("no main log", code));
        let _ = run.rpc("supervisor.clearLog", json!([])).map_err(|(code, _)| run.note("no main log to clear", code));
    });
}

#[test]
fn a_multicall_waits_for_each_of_its_calls() {
    compare(PROGRAMS, |run| {
        run.until("a", "RUNNING");
        let call = |method: &str, params: Value| json!({"methodName": method, "params": params});
        run.call(
            "system.multicall",
            json!([[
                call("supervisor.stopProcess", json!(["a"])),
                call("supervisor.startProcess", json!(["a"])),
                call("supervisor.startProcess", json!(["a"])),
                call("supervisor.startProcessGroup", json!(["nogroup"])),
                call("supervisor.signalProcess", json!(["a", "BOGUS"])),
                call("system.methodSignature", json!(["supervisor.getState"])),
                call("system.methodSignature", json!(["bogus"])),
                call("supervisor.getState", json!([1])),
                call("supervisor.tailProcessLog", json!(["b", 0, 10])),
            ]]),
        )
        .unwrap();
    });
}

#[test]
fn during_a_shutdown_every_method_is_refused() {
    let conf = "[program:a]\ncommand=/bin/sh -c \"trap '' TERM; while :; do sleep 0.1; done\"\nstopwaitsecs=1000\n";
    compare(conf, |run| {
        run.until("a", "RUNNING");
        let methods = run.rpc("system.listMethods", json!([])).unwrap();
        let signature = |method: &Value| run.rpc("system.methodSignature", json!([method])).unwrap();
        let signatures: Vec<Value> = methods.as_array().unwrap().iter().map(signature).collect();
        run.rpc("supervisor.shutdown", json!([])).unwrap();
        run.until_log("waiting for a to die", 1);
        for (method, signature) in methods.as_array().unwrap().iter().zip(signatures) {
            let method = method.as_str().unwrap();
            let params = signature.as_array().unwrap()[1..].iter().map(|kind| match kind.as_str().unwrap() {
                "int" => json!(0),
                "boolean" => json!(true),
                "array" => json!([]),
                _ => json!("a"),
            });
            let answer = run.rpc(method, params.collect());
            if method.starts_with("supervisor.") && method != "supervisor.sendRemoteCommEvent" {
                assert_eq!(answer, Err((6, "SHUTDOWN_STATE".into())), "{method}");
            }
            run.note(method, answer.map_or_else(|fault| format!("{fault:?}"), |_| "answered".into()));
        }
    });
}

#[test]
fn every_method_has_a_help() {
    compare("", |run| {
        let methods = run.rpc("system.listMethods", json!([])).unwrap();
        for method in methods.as_array().unwrap() {
            let help = run.rpc("system.methodHelp", json!([method])).unwrap();
            let lines = help.as_str().unwrap().lines().filter(|line| line.contains('@'));
            // rsup's wording differs. The parts that tools parse are the same: types, and names of parameters.
            let marks: Vec<String> =
                lines.map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")).collect();
            assert!(help.as_str().unwrap().len() > 10, "{method}: {help}");
            run.note(method.as_str().unwrap(), marks.join(", "));
        }
    });
}
