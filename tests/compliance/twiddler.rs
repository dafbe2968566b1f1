//! The methods of supervisor_twiddler, and rsup's implementation of them.

use crate::harness::{free_port, oracle, over_tcp, skip, xmlrpc};
use crate::{Run, compare, compare_unstarted};
use serde_json::{Value, json};

const CONF: &str = "[rpcinterface:twiddler]\nsupervisor.rpcinterface_factory=supervisor_twiddler.rpcinterface:make_twiddler_rpcinterface\n\
                    [program:a]\ncommand=/bin/sleep 1000\npriority=2\n[group:g]\nprograms=b\npriority=1\n[program:b]\ncommand=/bin/sleep 1000\nautostart=false\n";

/// Whether the real Supervisor has the plug-in (true if there is no real Supervisor).
fn is_installed() -> bool {
    let lib = oracle().map(|venv| std::fs::read_dir(venv.join("lib")).unwrap());
    let there = lib.is_none_or(|mut lib| {
        lib.any(|python| python.unwrap().path().join("site-packages/supervisor_twiddler").exists())
    });
    if !there {
        skip("supervisor_twiddler is not installed beside the real Supervisor");
    }
    there
}

/// Calls a method. Notes the answer without the place in a file, which Supervisor adds to the text of a fault.
fn ask(run: &mut Run, method: &str, params: Value) -> Result<Value, (i64, String)> {
    let answer = run.rpc(&format!("twiddler.{method}"), params.clone());
    let comparable = answer.clone().map_err(|(code, text)| {
        let text =
            text.split(" in section").next().unwrap_or_default().split(';').next().unwrap_or_default().to_owned();
        (code, text)
    });
    run.note(&format!("{method}{params}"), format!("{comparable:?}"));
    answer
}

fn names(run: &Run) -> Vec<String> {
    let all = run.rpc("supervisor.getAllProcessInfo", json!([])).unwrap();
    all.as_array().unwrap().iter().map(|info| format!("{}:{}", info["group"], info["name"])).collect()
}

#[test]
fn programs_are_added_to_and_removed_from_a_group() {
    if !is_installed() {
        return;
    }
    compare(CONF, |run| {
        run.until("a", "RUNNING");
        ask(run, "getAPIVersion", json!([])).unwrap();
        ask(run, "getGroupNames", json!([])).unwrap();
        ask(run, "addProgramToGroup", json!(["g", "new", {"command": "/bin/sleep 1000", "STOPSIGNAL": "KILL"}]))
            .unwrap();
        run.until("g:new", "RUNNING");
        let many = json!(["a", "n", {"command": "/bin/cat", "numprocs": "2", "process_name": "%(group_name)s_%(process_num)d", "autostart": "false"}]);
        ask(run, "addProgramToGroup", many.clone()).unwrap();
        ask(run, "addProgramToGroup", many).unwrap_err();
        for params in [
            json!(["zz", "x", {"command": "/bin/cat"}]),
            json!(["a", "x", {"command": "/bin/cat", "numprocs": 2}]),
            json!(["a", "x", {}]),
            json!(["a", "x", "command=/bin/cat"]),
            json!(["a", "x"]),
        ] {
            ask(run, "addProgramToGroup", params).unwrap_err();
        }
        // The text differs: rsup describes the value in plain words (docs/compat.md).
        let soon = json!(["a", "x", {"command": "/bin/cat", "startsecs": "soon"}]);
        let (code, text) = run.rpc("twiddler.addProgramToGroup", soon).unwrap_err();
        assert!(text.starts_with("INCORRECT_PARAMETERS: ") && text.contains("soon"), "{text}");
        run.note("a value of a wrong type", code);
        run.note("processes", names(run).join(" "));
        run.note("changed", run.rpc("supervisor.reloadConfig", json!([])).unwrap());
        run.rpc("supervisor.startProcess", json!(["a:a_1"])).unwrap();
        ask(run, "removeProcessFromGroup", json!(["g", "new"])).unwrap_err();
        run.rpc("supervisor.stopProcess", json!(["g:new"])).unwrap();
        for (group, process) in [("g", "new"), ("g", "new"), ("a", "a_0"), ("zz", "x"), ("g", "b")] {
            let _ = ask(run, "removeProcessFromGroup", json!([group, process]));
        }
        run.note("processes", names(run).join(" "));
        assert_eq!(run.state("a:a_1"), "RUNNING");
        assert_eq!(run.stop(), 0);
    });
}

#[test]
fn lines_are_logged_and_every_method_has_its_help() {
    if !is_installed() {
        return;
    }
    compare(CONF, |run| {
        for params in [
            json!(["one"]),
            json!(["two", "warn"]),
            json!(["three", 50]),
            json!(["four", "x"]),
            json!(["five", 7]),
            json!([]),
        ] {
            let _ = ask(run, "log", params);
        }
        let lines: Vec<String> = run
            .messages()
            .into_iter()
            .filter(|line| ["one", "two", "three"].iter().any(|word| line.ends_with(word)))
            .collect();
        run.note("log", lines.join("; "));
        let methods = run.rpc("system.listMethods", json!([])).unwrap();
        for method in methods.as_array().unwrap().iter().filter(|name| name.as_str().unwrap().starts_with("twiddler."))
        {
            run.call("system.methodSignature", json!([method])).unwrap();
        }
    });
}

#[test]
fn a_program_added_to_a_pool_is_not_a_listener() {
    if !is_installed() {
        return;
    }
    let conf = format!("{CONF}[eventlistener:l]\ncommand=/bin/sleep 1000\nevents=REMOTE_COMMUNICATION\n");
    compare(&conf, |run| {
        run.until("l", "RUNNING");
        let words = "/bin/sh -c \"echo READY; exec cat\"";
        let options = json!({"command": words, "stdout_logfile": run.fill("{dir}/new.out")});
        ask(run, "addProgramToGroup", json!(["l", "new", options])).unwrap();
        run.until("l:new", "RUNNING");
        run.until_file("new.out", "READY\n");
        run.rpc("supervisor.sendRemoteCommEvent", json!(["t", "one"])).unwrap();
        run.rpc("supervisor.sendProcessStdin", json!(["l:new", "by hand\n"])).unwrap();
        run.until_file("new.out", "by hand\n");
        run.note("its output", run.read("new.out"));
        run.note("processes", names(run).join(" "));
        assert_eq!(run.stop(), 0);
    });
}

#[test]
fn a_whitelist_limits_the_methods() {
    if !is_installed() {
        return;
    }
    compare(
        &CONF.replace("make_twiddler_rpcinterface\n", "make_twiddler_rpcinterface\nwhitelist=log, getAPIVersion\n"),
        |run| {
            ask(run, "getAPIVersion", json!([])).unwrap();
            ask(run, "log", json!(["x"])).unwrap();
            ask(run, "getGroupNames", json!([])).unwrap_err();
            ask(run, "removeProcessFromGroup", json!(["a", "a"])).unwrap_err();
        },
    );
}

#[test]
fn it_is_not_served_over_tcp_without_a_password_nor_without_its_section() {
    compare_unstarted("", |run| {
        if !run.is_rsup() {
            return;
        }
        let (open, closed) = (free_port(), free_port());
        run.reconfigure(&format!(
            "{CONF}[inet_http_server]\nport=127.0.0.1:{open}\n[inet_http_server:2]\nport=127.0.0.1:{closed}\nusername=u\npassword=p\n"
        ));
        run.sandbox.start();
        let ask = |port, fields: &str| {
            let body = xmlrpc::call("twiddler.getGroupNames", &json!([]));
            let reply =
                over_tcp(port, &format!("POST /RPC2 HTTP/1.0\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len()));
            xmlrpc::response(reply.unwrap().split_once("\r\n\r\n").unwrap().1)
        };
        assert_eq!(ask(open, "").unwrap_err().1, "UNKNOWN_METHOD");
        assert_eq!(ask(closed, "Authorization: Basic dTpw\r\n").unwrap(), json!(["g", "a"]));
        assert_eq!(run.rpc("twiddler.getGroupNames", json!([])).unwrap(), json!(["g", "a"]));
        assert_eq!(run.stop(), 0);
        run.reconfigure("");
        run.sandbox.start();
        assert_eq!(run.rpc("twiddler.getGroupNames", json!([])).unwrap_err().1, "UNKNOWN_METHOD");
        assert_eq!(run.rpc("system.listMethods", json!([])).unwrap().as_array().unwrap().len(), 41);
    });
}
