//! Ansible's and Salt's modules for Supervisor, unmodified, with both supervisors; with rsup through both clients.

use super::Run;
use crate::compare_unstarted;
use crate::harness::{Sandbox, Subject, free_port, oracle, rsup, run as finish, third_party};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

/// In Supervisor 4 the exit code of `status` is 3 if a program does not run. Salt then writes ERROR before the first line, so the
/// first program is one that no step uses.
const PROGRAMS: &str = "[program:0]\ncommand=/bin/cat\nautostart=false\n\
     [program:a]\ncommand=/bin/sh -c \"trap 'echo USR1' USR1; while :; do sleep 0.1; done\"\nstdout_logfile={dir}/a.out\n\
     [program:broken]\ncommand=/no/such\nautostart=false\nstartretries=0\n\
     [group:g]\nprograms=b,c\n[program:b]\ncommand=/bin/sleep 1000\nautostart=false\n\
     [program:c]\ncommand=/bin/sleep 1000\nautostart=false\n";

/// A command with the `supervisorctl` of `client` in its PATH, and without the settings of the user who runs the tests.
fn command(run: &Run, program: &PathBuf, client: Subject) -> Command {
    let real = oracle().map(|venv| venv.join("bin/supervisorctl")).filter(|_| client == Subject::Supervisor);
    let link = run.dir.join("client/supervisorctl");
    if !link.exists() {
        std::fs::create_dir(run.dir.join("client")).unwrap();
        std::os::unix::fs::symlink(real.unwrap_or_else(rsup), link).unwrap();
    }
    let mut command = Command::new(program);
    command.current_dir(&run.dir).env_clear().env("RSUP_TEST_SANDBOX", &run.dir).env("HOME", &run.dir);
    command.env("LANG", "C.UTF-8").env("PATH", format!("{}/client:/usr/bin:/bin", run.dir.display()));
    command
}

/// Runs the steps with each supervisor and its own client, and with rsup and the real client. All must give the same answers.
fn with_each_client(steps: impl Fn(&mut Run, Subject) + Sync) {
    compare_unstarted(PROGRAMS, |run: &mut Run| {
        steps(run, run.subject);
        if run.is_rsup() && oracle().is_some() {
            let mut other = Run { sandbox: Sandbox::new(Subject::Rsup, PROGRAMS), notes: Vec::new() };
            steps(&mut other, Subject::Supervisor);
            assert_eq!(run.notes, other.notes, "rsupctl's and the real client's");
        }
    });
}

/// The members of an answer that must be the same.
fn pick(answer: &Value, keys: &[&str]) -> String {
    let there = keys.iter().filter(|key| !answer[**key].is_null());
    there.map(|key| format!("{key}={}", answer[*key])).collect::<Vec<_>>().join(" ")
}

#[test]
fn ansible_has_the_same_answers() {
    let Some(playbook) = third_party("ansible-playbook") else { return };
    with_each_client(|run, client| {
        let port = free_port();
        let tcp = format!("[inet_http_server]\nport=127.0.0.1:{port}\nusername=me\npassword=secret\n");
        run.sandbox.reconfigure(&format!("{PROGRAMS}{tcp}"));
        run.sandbox.write("play.yml", &include_str!("../python/ansible.yml").replace("{port}", &port.to_string()));
        run.sandbox.start();
        run.until("a", "RUNNING");
        let mut play = command(run, &playbook, client);
        play.args(["-i", "localhost,", "play.yml"]).env("ANSIBLE_STDOUT_CALLBACK", "ansible.posix.json");
        for folder in ["HOME", "LOCAL_TEMP", "REMOTE_TEMP"] {
            play.env(format!("ANSIBLE_{folder}"), run.dir.join(format!("ansible-{folder}")));
        }
        let ran = finish(&mut play);
        let start = ran.out.find('{').unwrap_or_else(|| panic!("no answer: {ran:?}"));
        let answer: Value = serde_json::from_str(&ran.out[start..]).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
        let (mut changed, mut failed) = (Vec::new(), Vec::new());
        for task in answer["plays"][0]["tasks"].as_array().unwrap() {
            let (name, result) = (task["task"]["name"].as_str().unwrap(), &task["hosts"]["localhost"]);
            let output =
                pick(result, &["changed", "failed", "msg", "affected", "rc", "stdout", "stderr", "name", "state"]);
            run.note(name, output.replace(&port.to_string(), "{port}"));
            if result["changed"] == true {
                changed.push(name);
            }
            if result["failed"] == true {
                failed.push(name);
            }
        }
        run.note("exit code", ran.code);
        assert_eq!(changed, ANSIBLE_CHANGES, "{failed:?}");
        assert_eq!(failed, ANSIBLE_FAILS);
        assert_eq!([run.state("a"), run.state("new")], ["STOPPED", "STOPPED"]);
    });
}

const ANSIBLE_CHANGES: &[&str] = &[
    "a stopped",
    "a would be started",
    "a restarted, which does not run",
    "a restarted, which runs",
    "a signalled",
    "a signalled by number",
    "group started",
    "one of the group stopped",
    "group signalled",
    "group restarted",
    "group stopped",
    "group absent",
    "group present again",
    "a new program",
    "new would be present",
    "new present",
    "new started",
    "new would be absent",
    "new stopped and absent",
    "restarted brings what is new in the file",
    "over TCP",
    "all stopped",
];

const ANSIBLE_FAILS: &[&str] = &[
    "a signalled badly",
    "nobody started",
    "nobody restarted",
    "nobody present",
    "broken started",
    "new absent, which runs",
    "over TCP with a wrong password",
    "where nobody listens",
    "no such configuration",
    "all restarted",
];

#[test]
fn salt_has_the_same_answers() {
    let Some(salt_call) = third_party("salt-call") else { return };
    with_each_client(|run, client| {
        std::fs::create_dir(run.dir.join("states")).unwrap();
        std::fs::create_dir(run.dir.join("salt")).unwrap();
        run.sandbox.write("states/steps.sls", include_str!("../python/salt.sls"));
        let minion =
            "id: test\nroot_dir: {dir}/salt\nfile_client: local\nuse_superseded: [module.run]\nlog_level: quiet\n";
        run.sandbox.write("salt/minion", minion);
        run.sandbox.start();
        run.until("a", "RUNNING");
        let call = |run: &Run, args: &[&str]| {
            let mut call = command(run, &salt_call, client);
            call.args(["--local", "--config-dir=salt", "--file-root=states", "--out=json"]).args(args);
            finish(&mut call)
        };
        let conf = run.fill("conf_file={dir}/supervisord.conf");
        for args in [["supervisord.status", ""], ["supervisord.options", "a"], ["supervisord.options", "nobody"]] {
            let given: Vec<&str> = args.into_iter().chain([conf.as_str()]).filter(|arg| !arg.is_empty()).collect();
            let ran = call(run, &given);
            run.note(&format!("{args:?}"), format!("{} {:?} {:?}", ran.code, ran.out, ran.err));
        }
        let ran = call(run, &["state.apply", "steps"]);
        let answer: Value = serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
        let steps = answer["local"].as_object().unwrap_or_else(|| panic!("no steps: {ran:?}"));
        let mut steps: Vec<&Value> = steps.values().collect();
        steps.sort_by_key(|step| step["__run_num__"].as_i64());
        let (mut changed, mut failed) = (Vec::new(), Vec::new());
        for step in steps {
            let name = step["__id__"].as_str().unwrap();
            run.note(name, pick(step, &["name", "result", "comment", "changes"]));
            if step["changes"].as_object().is_some_and(|changes| !changes.is_empty()) {
                changed.push(name);
            }
            if step["result"] == false {
                failed.push(name);
            }
        }
        run.note("exit code", ran.code);
        assert_eq!(failed, ["nobody runs", "broken runs", "5 status_bool", "6 status_bool"], "{changed:?}");
        changed.retain(|name| !name.starts_with(|c: char| c.is_ascii_digit()));
        assert_eq!(changed, SALT_CHANGES);
        assert_eq!(["a", "g:b", "g:c", "new"].map(|name| run.state(name)), ["STOPPED"; 4]);
    });
}

const SALT_CHANGES: &[&str] = &[
    "a is dead",
    "a runs",
    "a is restarted",
    "the group runs",
    "one of the group is dead",
    "the rest of the group runs",
    "the group is restarted",
    "a new program",
    "a new program",
    "it changes",
    "it runs after that",
    "a file of its own",
    "a file of its own",
];
