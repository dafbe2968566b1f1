//! The PyPI package supervisor-stdout: its listener runs unmodified, and rsup does the job of its handler.

use crate::harness::{third_party, wait_for};
use std::fs;

/// Runs the package's own `main`. The handler that follows it in the file is Python 2 code, which the listener does not call.
const LISTENER: &str = "\
import importlib.util
path = importlib.util.find_spec('supervisor_stdout').origin
source = open(path).read()
exec(compile(source.split('def event_handler')[0], path, 'exec'))
main()
";

/// Sixty lines, each written in two parts, with letters of more than one byte.
fn writer(redirection: &str) -> String {
    format!(
        "sh -c 'for i in $(seq 60); do printf \"ä$i \"; sleep 0.01; echo \"ö$i€\"; done{redirection}; exec sleep 1000'"
    )
}

#[test]
fn the_package_supervisor_stdout_prints_whole_lines_with_their_programs_names() {
    let Some(program) = third_party("supervisor_stdout") else { return };
    let python = program.with_file_name("python");
    let conf = format!(
        "[program:web]\ncommand={}\nstdout_events_enabled=true\n\
        [program:db]\ncommand={}\nstderr_events_enabled=true\n\
        [eventlistener:stdout]\ncommand={} {{dir}}/listener.py\nbuffer_size=1000\nevents=PROCESS_LOG\n\
        result_handler=supervisor_stdout:event_handler\nenvironment=PYTHONIOENCODING=\"utf-8\"\n",
        writer(""),
        writer(" >&2"),
        python.display(),
    );
    let mut sandbox = crate::harness::Sandbox::new(crate::harness::Subject::Rsup, &conf);
    sandbox.write("listener.py", LISTENER);
    sandbox.start();
    for name in ["web stdout", "db stderr"] {
        let last = format!("{name} | ä60 ö60€\n");
        wait_for(&format!("{last:?} on stdout"), || sandbox.read("stdout").contains(&last).then_some(()));
    }
    assert_eq!(sandbox.state("stdout"), "RUNNING");
    assert_eq!(sandbox.stop(), 0);
    let stdout = sandbox.read("stdout");
    for name in ["web stdout", "db stderr"] {
        let lines: Vec<&str> = stdout.lines().filter(|line| line.starts_with(name)).collect();
        let wanted: Vec<String> = (1..=60).map(|i| format!("{name} | ä{i} ö{i}€")).collect();
        assert_eq!(lines, wanted);
    }
    let is_whole = |line: &&str| line.contains(" | ä") || line.as_bytes().get(4) == Some(&b'-');
    assert_eq!(stdout.lines().find(|line| !is_whole(line)), None, "no line is torn");
    assert!(!sandbox.log().contains("cannot be loaded") && !sandbox.log().contains("UNKNOWN"), "{}", sandbox.log());
}

/// A listener in sh that answers each event with the content of `{dir}/answer`.
const ANSWERS: &str =
    "sh -c 'echo READY; read line; printf \"RESULT %%s\\n\" $(wc -c <{dir}/answer); cat {dir}/answer; echo READY; cat'";

#[test]
fn a_result_that_the_handler_cannot_read_makes_the_listener_unknown() {
    let conf = format!(
        "[eventlistener:l]\ncommand={ANSWERS}\nevents=REMOTE_COMMUNICATION\nresult_handler=supervisor_stdout:event_handler\n\
        [supervisord]\nloglevel=debug\n"
    );
    for (answer, logged) in [
        ("OK", "l: event caused an error"),
        ("processname:x\nline\n", "l: event caused an error"),
        ("channel:stderr processname:x\none\ntwo\n", "l: event was processed"),
    ] {
        let mut sandbox = crate::harness::Sandbox::new(crate::harness::Subject::Rsup, &conf);
        fs::write(sandbox.dir.join("answer"), answer).unwrap();
        sandbox.start();
        sandbox.until("l", "RUNNING");
        sandbox.rpc("supervisor.sendRemoteCommEvent", serde_json::json!(["t", "d"])).unwrap();
        sandbox.until_log(logged, 1);
        if logged.ends_with("processed") {
            sandbox.until_file("stdout", "x stderr | one\nx stderr | two\n");
        } else {
            sandbox.until_log("has entered the UNKNOWN state", 1);
        }
        assert_eq!(sandbox.stop(), 0);
    }
}
