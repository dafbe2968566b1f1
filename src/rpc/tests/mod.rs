pub(crate) mod fake;

use super::*;
use crate::config::model::{AutoRestart, LogPlace, User};
use crate::posix::Exit;
use crate::supervision::Input;
use crate::wire::xmlrpc::{parse_response, write_call};
use fake::{FakeHost, config, group, process, program};

type Outcome = Result<Value, (i64, String)>;

/// Makes a call and lets time pass until it is answered. Returns the answer and how often it paused.
fn ask_patiently(host: &mut FakeHost, has_supervisor: bool, method: &str, params: &[Value]) -> (Outcome, u32) {
    let (mut out, mut pauses) = (Answer::default(), 0);
    let document = write_call(method, params);
    let mut progress =
        call(document.as_bytes(), Namespaces { supervisor: has_supervisor, twiddler: false }, host, 7, &mut out)
            .unwrap();
    loop {
        progress = match progress {
            RequestProgress::Done => break,
            RequestProgress::Paused(pending) => {
                pauses += 1;
                pending.continue_answer(host, 7, &mut out)
            }
            RequestProgress::Waiting(pending) => {
                for _ in 0..100 {
                    if !host.replies.is_empty() {
                        break;
                    }
                    host.pass(1);
                }
                let (ticket, reply) = host.replies.pop_front().expect("an answer within 100 seconds");
                assert_eq!(ticket, 7);
                pending.resume(reply, host, ticket, &mut out)
            }
        }
    }
    let answer = parse_response(out.as_bytes()).unwrap_or_else(|why| panic!("{why}: {out:?}"));
    (answer.map_err(|fault| (fault.code, fault.text)), pauses)
}

fn ask(host: &mut FakeHost, method: &str, params: &[Value]) -> Outcome {
    ask_patiently(host, true, &format!("supervisor.{method}"), params).0
}

fn ask_system(host: &mut FakeHost, method: &str, params: &[Value]) -> Outcome {
    ask_patiently(host, true, &format!("system.{method}"), params).0
}

fn fault(code: i64, text: &str) -> Outcome {
    Err((code, text.into()))
}

fn text(value: &str) -> Value {
    value.into()
}

const YES: Outcome = Ok(Value::Bool(true));

fn statuses(answer: Outcome) -> Vec<String> {
    let text = |status: &Value, key: &str| status.member(key).and_then(Value::as_str).unwrap().to_owned();
    let one = |status: &Value| {
        let code = status.member("status").and_then(Value::as_int).unwrap();
        format!("{}:{} {code} {}", text(status, "group"), text(status, "name"), text(status, "description"))
    };
    answer.unwrap().as_array().unwrap().iter().map(one).collect()
}

fn two() -> FakeHost {
    FakeHost::new(vec![program("a", |_| {}), group("g", vec![process("x", |_| {}), process("missing", |_| {})])])
}

const ALL: &str = "addProcessGroup clearAllProcessLogs clearLog clearProcessLog clearProcessLogs getAPIVersion getAllConfigInfo \
    getAllProcessInfo getIdentification getPID getProcessInfo getState getSupervisorVersion getVersion readLog readMainLog \
    readProcessLog readProcessStderrLog readProcessStdoutLog reloadConfig removeProcessGroup restart sendProcessStdin \
    sendRemoteCommEvent shutdown signalAllProcesses signalProcess signalProcessGroup startAllProcesses startProcess \
    startProcessGroup stopAllProcesses stopProcess stopProcessGroup tailProcessLog tailProcessStderrLog tailProcessStdoutLog";

#[test]
fn every_method_of_supervisor_exists_and_is_documented() {
    let mut host = two();
    let listed = ask_system(&mut host, "listMethods", &[]).unwrap();
    let listed: Vec<&str> = listed.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let supervisors = ALL.split_whitespace().map(|name| format!("supervisor.{name}"));
    let systems = ["listMethods", "methodHelp", "methodSignature", "multicall"].map(|name| format!("system.{name}"));
    assert_eq!(listed, supervisors.chain(systems).collect::<Vec<_>>());
    for name in listed {
        let help = ask_system(&mut host, "methodHelp", &[text(name)]).unwrap();
        let signature = ask_system(&mut host, "methodSignature", &[text(name)]).unwrap();
        let types: Vec<&str> = signature.as_array().unwrap().iter().map(|kind| kind.as_str().unwrap()).collect();
        let help = help.as_str().unwrap();
        let documented =
            |tag| help.lines().filter(move |line: &&str| line.starts_with(tag)).map(|l| l.split(' ').nth(1).unwrap());
        assert_eq!(types, documented("@return").chain(documented("@param")).collect::<Vec<_>>(), "{name}");
    }
    for name in ["bogus", "supervisor._update", "getState"] {
        assert_eq!(ask_system(&mut host, "methodHelp", &[text(name)]), fault(4, "SIGNATURE_UNSUPPORTED"));
        assert_eq!(ask_system(&mut host, "methodSignature", &[text(name)]), fault(4, "SIGNATURE_UNSUPPORTED"));
    }
}

#[test]
fn without_the_interface_only_system_is_served() {
    let mut host = two();
    let mut ask = |method: &str, params: &[Value]| ask_patiently(&mut host, false, method, params).0;
    assert_eq!(ask("supervisor.getState", &[]), fault(1, "UNKNOWN_METHOD"));
    assert_eq!(ask("system.methodHelp", &[text("supervisor.getState")]), fault(4, "SIGNATURE_UNSUPPORTED"));
    assert_eq!(ask("system.listMethods", &[]).unwrap().as_array().unwrap().len(), 4);
}

#[test]
fn too_few_and_too_many_parameters_are_a_fault() {
    let mut host = two();
    for name in ALL.split_whitespace() {
        let signature = ask_system(&mut host, "methodSignature", &[text(&format!("supervisor.{name}"))]).unwrap();
        let count = signature.as_array().unwrap().len() - 1;
        assert_eq!(ask(&mut host, name, &vec![text("a"); count + 1]), fault(2, "INCORRECT_PARAMETERS"), "{name}");
        let has_default = signature.as_array().unwrap().last().unwrap().as_str() == Some("boolean") && count > 0;
        if let Some(few) = count.checked_sub(if has_default { 2 } else { 1 }) {
            assert_eq!(ask(&mut host, name, &vec![text("a"); few]), fault(2, "INCORRECT_PARAMETERS"), "{name}");
        }
    }
    for name in ["bogus", "getState.x", "_update", ""] {
        assert_eq!(ask(&mut host, name, &[]), fault(1, "UNKNOWN_METHOD"));
    }
}

#[test]
fn parameters_of_the_wrong_type_are_a_fault() {
    let mut host = two();
    for (method, params) in [
        ("getProcessInfo", vec![Value::Int(5)]),
        ("startProcess", vec![Value::Nil]),
        ("stopProcessGroup", vec![Value::Array(vec![])]),
        ("addProcessGroup", vec![Value::Struct(vec![])]),
        ("signalProcess", vec![text("a"), Value::Array(vec![])]),
        ("readLog", vec![text("x"), Value::Int(0)]),
        ("readProcessLog", vec![text("a"), Value::Int(0), text("1.5")]),
        ("sendProcessStdin", vec![text("a"), Value::Int(5)]),
    ] {
        let (code, text) = ask(&mut host, method, &params).unwrap_err();
        assert!(code == 2 && text.contains(" must be "), "{method}: {text}");
    }
}

#[test]
fn while_stopping_only_events_and_system_are_served() {
    for restart in [false, true] {
        let mut host = FakeHost::new(vec![program("stubborn", |p| p.autostart = true)]);
        host.pass(5);
        host.next = Ok(config(vec![]));
        assert_eq!(ask(&mut host, if restart { "restart" } else { "shutdown" }, &[]), YES);
        for name in ALL.split_whitespace() {
            let signature = ask_system(&mut host, "methodSignature", &[text(&format!("supervisor.{name}"))]).unwrap();
            let params = vec![text("a"); signature.as_array().unwrap().len() - 1];
            let expected = if name == "sendRemoteCommEvent" { YES } else { fault(6, "SHUTDOWN_STATE") };
            assert_eq!(ask(&mut host, name, &params), expected, "{name}");
        }
    }
}

#[test]
fn the_supervisor_itself() {
    let mut host = two();
    assert_eq!(ask(&mut host, "getAPIVersion", &[]), Ok(text("3.0")));
    assert_eq!(ask(&mut host, "getVersion", &[]), Ok(text("3.0")));
    assert_eq!(ask(&mut host, "getSupervisorVersion", &[]), Ok(text("4.3.0")));
    assert_eq!(ask(&mut host, "getIdentification", &[]), Ok(text("the <one>")));
    assert_eq!(ask(&mut host, "getPID", &[]), Ok(Value::Int(std::process::id().into())));
    let state = ask(&mut host, "getState", &[]).unwrap();
    assert_eq!(state, Value::Struct(vec![("statecode".into(), 1.into()), ("statename".into(), "RUNNING".into())]));
    assert_eq!(ask(&mut host, "sendRemoteCommEvent", &[text("a"), Value::Int(1)]), YES);
    assert_eq!(ask(&mut host, "clearLog", &[]), fault(20, "NO_FILE"));
    host.main_log = Some("/x".into());
    assert_eq!(ask(&mut host, "clearLog", &[]), YES);
}

#[test]
fn configurations_are_read_anew() {
    let mut host = two();
    assert_eq!(ask(&mut host, "reloadConfig", &[]), fault(92, "CANT_REREAD: no such file"));
    assert_eq!(ask(&mut host, "restart", &[]), fault(92, "CANT_REREAD: no such file"));
    host.next = Ok(config(vec![program("a", |p| p.startsecs = 9), program("new", |_| {})]));
    let names = |names: &[&str]| Value::Array(names.iter().map(|name| text(name)).collect());
    let diff = Value::Array(vec![Value::Array(vec![names(&["new"]), names(&["a"]), names(&["g"])])]);
    assert_eq!(ask(&mut host, "reloadConfig", &[]), Ok(diff));
    assert_eq!(ask(&mut host, "addProcessGroup", &[text("new")]), YES);
    assert_eq!(ask(&mut host, "addProcessGroup", &[text("new")]), fault(90, "ALREADY_ADDED: new"));
    assert_eq!(ask(&mut host, "addProcessGroup", &[text("zz")]), fault(10, "BAD_NAME: zz"));
    assert_eq!(ask(&mut host, "removeProcessGroup", &[text("zz")]), fault(10, "BAD_NAME: zz"));
    assert_eq!(ask(&mut host, "startProcess", &[text("new")]), YES);
    assert_eq!(ask(&mut host, "removeProcessGroup", &[text("new")]), fault(91, "STILL_RUNNING: new"));
    assert_eq!(ask(&mut host, "removeProcessGroup", &[text("g")]), YES);
    assert_eq!(ask(&mut host, "getProcessInfo", &[text("g:x")]), fault(10, "BAD_NAME: g:x"));
}

#[test]
fn processes_start_and_stop_with_and_without_waiting() {
    let mut host = two();
    assert_eq!(ask(&mut host, "startProcess", &[text("a"), Value::Bool(false)]), YES);
    assert_eq!(ask(&mut host, "getProcessInfo", &[text("a")]).unwrap().member("statename"), Some(&text("STARTING")));
    assert_eq!(ask(&mut host, "startProcess", &[text("a")]), fault(60, "ALREADY_STARTED: a"));
    assert_eq!(ask(&mut host, "stopProcess", &[text("a")]), YES);
    assert_eq!(ask(&mut host, "stopProcess", &[text("a")]), fault(70, "NOT_RUNNING: a"));
    assert_eq!(ask(&mut host, "startProcess", &[text("a"), Value::Int(1)]), YES);
    assert_eq!(ask(&mut host, "getProcessInfo", &[text("a")]).unwrap().member("statename"), Some(&text("RUNNING")));
    let missing = "NO_FILE: can't find command '/bin/missing'";
    assert_eq!(ask(&mut host, "startProcess", &[text("g:missing")]), fault(20, missing));
    for method in ["startProcess", "stopProcess", "getProcessInfo", "clearProcessLogs"] {
        for name in ["zz", "g:zz", "g", ""] {
            assert_eq!(ask(&mut host, method, &[text(name)]), fault(10, &format!("BAD_NAME: {name}")));
        }
    }
    let started = ["g:missing 20 NO_FILE: can't find command '/bin/missing'", "g:x 80 OK"];
    assert_eq!(statuses(ask(&mut host, "startProcess", &[text("g:*")])), started);
    assert_eq!(statuses(ask(&mut host, "stopProcess", &[text("g:")])), ["g:x 80 OK"]);
    let at_once = ["g:x 80 OK", started[0]];
    assert_eq!(statuses(ask(&mut host, "startProcessGroup", &[text("g"), Value::Bool(false)])), at_once);
    assert_eq!(ask(&mut host, "startProcessGroup", &[text("zz")]), fault(10, "BAD_NAME: zz"));
    assert_eq!(statuses(ask(&mut host, "stopAllProcesses", &[])), ["a:a 80 OK", "g:x 80 OK"]);
    assert_eq!(statuses(ask(&mut host, "startAllProcesses", &[])), [started[0], "a:a 80 OK", "g:x 80 OK"]);
}

#[test]
fn signals_go_by_name_and_number() {
    let mut host = two();
    ask(&mut host, "startProcess", &[text("a")]).unwrap();
    for signal in [text("CONT"), text("SIGHUP"), text("18"), Value::Int(18), Value::Int(0), Value::Bool(true)] {
        assert_eq!(ask(&mut host, "signalProcess", &[text("a"), signal]), YES);
    }
    assert_eq!(ask(&mut host, "signalProcess", &[text("a"), text("BOGUS")]), fault(11, "BAD_SIGNAL: BOGUS"));
    assert_eq!(ask(&mut host, "signalProcess", &[text("a"), Value::Int(999)]), fault(11, "BAD_SIGNAL: 999"));
    assert_eq!(ask(&mut host, "signalProcess", &[text("a"), text("")]), fault(11, "BAD_SIGNAL: "));
    assert_eq!(ask(&mut host, "signalProcess", &[text("g:x"), text("CONT")]), fault(70, "NOT_RUNNING: g:x"));
    assert_eq!(ask(&mut host, "signalProcess", &[text("zz"), text("BOGUS")]), fault(10, "BAD_NAME: zz"));
    assert_eq!(statuses(ask(&mut host, "signalProcessGroup", &[text("g"), text("CONT")])), Vec::<String>::new());
    assert_eq!(statuses(ask(&mut host, "signalAllProcesses", &[text("CONT")])), ["a:a 80 OK"]);
    assert_eq!(statuses(ask(&mut host, "signalAllProcesses", &[text("x")])), ["a:a 11 BAD_SIGNAL: x"]);
}

#[test]
fn text_is_written_to_stdin() {
    let mut host = two();
    assert_eq!(ask(&mut host, "sendProcessStdin", &[text("zz"), text("x")]), fault(10, "BAD_NAME: zz"));
    assert_eq!(ask(&mut host, "sendProcessStdin", &[text("a"), text("x")]), fault(70, "NOT_RUNNING: a"));
    ask(&mut host, "startProcess", &[text("a")]).unwrap();
    assert_eq!(ask(&mut host, "sendProcessStdin", &[text("a"), text("zä\n")]), YES);
    assert_eq!(ask(&mut host, "sendProcessStdin", &[text("a"), Value::Base64(b"b".into())]), YES);
    assert_eq!(host.stdin, "zä\nb".as_bytes());
}

#[test]
fn logs_are_read_by_offset_and_length() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    std::fs::write(&path, "0123456789").unwrap();
    let gone = folder.path().join("gone");
    let no_file = format!("NO_FILE: {}", gone.display());
    let mut host = FakeHost::new(vec![program("a", |p| {
        p.stdout.logfile = LogPlace::File(path.clone());
        p.stderr.logfile = LogPlace::File(gone.clone());
    })]);
    let int = Value::Int;
    assert_eq!(ask(&mut host, "readLog", &[int(0), int(0)]), fault(20, "NO_FILE"));
    host.main_log = Some(path);
    let mut read = |name: &str, offset, length| {
        let mut params = if name.contains("Process") { vec![text("a")] } else { vec![] };
        params.extend([offset, length]);
        ask(&mut host, name, &params)
    };
    for name in ["readLog", "readMainLog", "readProcessLog", "readProcessStdoutLog"] {
        assert_eq!(read(name, int(-4), int(0)), Ok(text("6789")));
        assert_eq!(read(name, int(2), int(3)), Ok(text("234")));
        assert_eq!(read(name, text(" 2 "), Value::Double(3.7)), Ok(text("234")));
        assert_eq!(read(name, int(-1), int(1)), fault(3, "BAD_ARGUMENTS"));
        assert_eq!(read(name, int(0), int(-1)), fault(3, "BAD_ARGUMENTS"));
    }
    assert_eq!(read("readProcessStderrLog", int(0), int(0)), fault(20, &no_file));
    let tail =
        |text: &str, offset: i64, overflow: bool| Ok(Value::Array(vec![text.into(), offset.into(), overflow.into()]));
    assert_eq!(read("tailProcessLog", int(0), int(5)), tail("56789", 10, true));
    assert_eq!(read("tailProcessStdoutLog", int(5), int(10)), tail("0123456789", 10, false));
    assert_eq!(read("tailProcessStderrLog", int(0), int(5)), tail("", 0, false));
    assert_eq!(ask(&mut host, "tailProcessLog", &[text("g:*"), int(0), int(0)]), fault(10, "BAD_NAME: g:*"));
}

#[test]
fn a_long_log_is_read_in_many_turns() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let written = "a€<".repeat(500_000);
    std::fs::write(&path, &written).unwrap();
    let mut host = two();
    host.main_log = Some(path);
    let (answer, pauses) = ask_patiently(&mut host, true, "supervisor.readLog", &[Value::Int(0), Value::Int(0)]);
    assert_eq!(answer.unwrap().as_str().unwrap(), written);
    assert!(pauses > 5, "{pauses}");
    let read = || one("supervisor.readLog", Some(Value::Array(vec![Value::Int(-4), Value::Int(0)])));
    let calls = vec![read(), one("supervisor.getAPIVersion", None), read()];
    let answer = ask_system(&mut host, "multicall", &[Value::Array(calls)]).unwrap();
    assert_eq!(answer, Value::Array(vec![text("€<"), text("3.0"), text("€<")]));
}

#[test]
fn a_long_tail_is_read_piece_by_piece_whatever_length_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let written = "0123456789abcd€".repeat(4 * BYTES_A_TURN / 17);
    std::fs::write(&path, &written).unwrap();
    let mut host = FakeHost::new(vec![program("a", |p| p.stdout.logfile = LogPlace::File(path))]);
    let params = [text("a"), Value::Int(0), Value::Int(i64::MAX)];
    let (answer, pauses) = ask_patiently(&mut host, true, "supervisor.tailProcessLog", &params);
    let size = i64::try_from(written.len()).unwrap();
    assert_eq!(answer, Ok(Value::Array(vec![written.into(), size.into(), false.into()])));
    assert!(pauses >= 3, "{pauses}");
}

#[test]
fn logs_are_cleared() {
    let mut host = two();
    let (a, x) = (host.id("a"), host.id("g:x"));
    assert_eq!(ask(&mut host, "clearProcessLogs", &[text("g:x")]), YES);
    assert_eq!(ask(&mut host, "clearProcessLog", &[text("a")]), fault(30, "FAILED: EIO"));
    assert_eq!(host.cleared, [x, a]);
    let all = ["a:a 30 FAILED: EIO", "g:x 80 OK", "g:missing 80 OK"];
    assert_eq!(statuses(ask(&mut host, "clearAllProcessLogs", &[])), all);
}

/// `description`, `exitstatus` and `spawnerr` of the one program.
fn shown(host: &mut FakeHost) -> (String, String, i64, String) {
    let all = ask(host, "getAllProcessInfo", &[]).unwrap();
    let info = &all.as_array().unwrap()[0];
    let text = |key| info.member(key).and_then(Value::as_str).unwrap().to_owned();
    (
        text("statename"),
        text("description"),
        info.member("exitstatus").and_then(Value::as_int).unwrap(),
        text("spawnerr"),
    )
}

#[test]
fn each_state_has_its_description() {
    let mut host = FakeHost::new(vec![program("a", |p| {
        p.startretries = 0;
        p.autorestart = AutoRestart::Never;
    })]);
    let is = |state: &str, description: &str, exit, err: &str| (state.into(), description.into(), exit, err.into());
    assert_eq!(shown(&mut host), is("STOPPED", "Not started", 0, ""));
    ask(&mut host, "startProcess", &[text("a"), Value::Bool(false)]).unwrap();
    assert_eq!(shown(&mut host), is("STARTING", "", 0, ""));
    host.pass(29);
    assert_eq!(shown(&mut host), is("RUNNING", "pid 1000, uptime 0:00:29", 0, ""));
    for (secs, uptime) in [(86_400 + 3661, "1 day, 1:01:01"), (2 * 86_400 + 5, "2 days, 0:00:05"), (-9, "0:00:00")] {
        host.now.wall.secs = 1_700_000_000 + secs;
        assert_eq!(shown(&mut host).1, format!("pid 1000, uptime {uptime}"));
    }
    host.now.wall.secs = 1_700_000_000;
    host.input(Input::Exited(0, Exit::Code(3), false));
    let when =
        std::process::Command::new("date").args(["-d@1700000000", "+%b %d %I:%M %p"]).env("LC_ALL", "C").output();
    let when = String::from_utf8(when.unwrap().stdout).unwrap();
    assert_eq!(shown(&mut host), is("EXITED", when.trim(), 3, "Bad exit code 3"));
    ask(&mut host, "startProcess", &[text("a"), Value::Bool(false)]).unwrap();
    assert_eq!(shown(&mut host), is("STARTING", "", 0, ""));
    ask(&mut host, "stopProcess", &[text("a")]).unwrap();
    assert_eq!(shown(&mut host), is("STOPPED", when.trim(), -1, ""));
    ask(&mut host, "startProcess", &[text("a"), Value::Bool(false)]).unwrap();
    host.input(Input::Exited(0, Exit::Code(4), false));
    host.pass(3);
    let why = "Exited too quickly (process log may have details)";
    assert_eq!(shown(&mut host), is("FATAL", why, 0, why));
}

#[test]
fn getprocessinfo_has_the_members_in_order() {
    let mut host = two();
    let Value::Struct(members) = ask(&mut host, "getProcessInfo", &[text("g:x")]).unwrap() else { panic!() };
    let names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    let wanted = "name group start stop now state statename spawnerr exitstatus logfile stdout_logfile stderr_logfile pid description";
    assert_eq!(names.join(" "), wanted);
}

#[test]
fn every_option_of_a_configuration_is_returned() {
    let user = User { name: "u".into(), uid: 77 };
    let b = program("b", |p| {
        p.user = Some(std::rc::Rc::new(user));
        p.exitcodes = [2, 0].into_iter().collect();
        p.redirect_stderr = true;
        p.stdout.maxbytes = 5_000_000_000;
        p.command = "a <b> & c".into();
    });
    let mut host = FakeHost::new(vec![b, group("z", vec![process("a", |_| {})])]);
    host.next = Ok(config(vec![program("b", |_| {}), group("z", vec![process("a", |_| {})]), program("c", |_| {})]));
    let all = ask(&mut host, "getAllConfigInfo", &[]).unwrap();
    let [Value::Struct(a), b @ Value::Struct(_)] = all.as_array().unwrap() else { panic!("{all:?}") };
    assert_eq!(a.len(), 29);
    assert_eq!(a[0], ("autostart".into(), Value::Bool(false)));
    assert_eq!(b.member("uid"), Some(&Value::Int(77)));
    assert_eq!(b.member("exitcodes"), Some(&Value::Array(vec![0.into(), 2.into()])));
    assert_eq!(b.member("stderr_logfile"), Some(&text("none")));
    assert_eq!(b.member("stdout_logfile"), Some(&text("auto")));
    assert_eq!(b.member("stdout_logfile_maxbytes"), Some(&Value::Int(i32::MAX.into())));
    assert_eq!(b.member("command"), Some(&text("a <b> & c")));
    assert_eq!(b.member("inuse"), Some(&Value::Bool(true)));
    ask(&mut host, "reloadConfig", &[]).unwrap();
    let all = ask(&mut host, "getAllConfigInfo", &[]).unwrap();
    let inuse: Vec<_> = all.as_array().unwrap().iter().map(|info| info.member("inuse").unwrap().as_bool()).collect();
    assert_eq!(inuse, [Some(true), Some(true), Some(false)]);
}

fn one(method: &str, params: Option<Value>) -> Value {
    let name = ("methodName".to_owned(), text(method));
    Value::Struct(std::iter::once(name).chain(params.map(|params| ("params".into(), params))).collect())
}

#[test]
fn multicall_makes_one_call_after_the_other() {
    let mut host = two();
    let calls = vec![
        one("supervisor.getAPIVersion", None),
        one("supervisor.startProcess", Some(Value::Array(vec![text("a")]))),
        one("supervisor.stopProcess", Some(Value::Array(vec![text("a")]))),
        one("supervisor.stopProcess", Some(Value::Array(vec![text("a")]))),
        one("bogus", None),
        one("system.multicall", None),
        one("supervisor.getState", Some(Value::Int(5))),
        Value::Struct(vec![]),
        text("x"),
        one("supervisor.startProcessGroup", Some(Value::Array(vec![text("g")]))),
    ];
    let answer = ask_system(&mut host, "multicall", &[Value::Array(calls)]).unwrap();
    let [version, started, stopped, again, bogus, nested, params, nameless, nothing, group] =
        answer.as_array().unwrap()
    else {
        panic!("{answer:?}")
    };
    let fault_of = fault;
    let fault = |value: &Value| value.member("faultString").and_then(Value::as_str).unwrap().to_owned();
    assert_eq!((version, started, stopped), (&text("3.0"), &Value::Bool(true), &Value::Bool(true)));
    assert_eq!(again.member("faultCode"), Some(&Value::Int(70)));
    assert_eq!(fault(again), "NOT_RUNNING: a");
    assert_eq!(fault(bogus), "UNKNOWN_METHOD");
    assert_eq!(fault(nested), "INCORRECT_PARAMETERS: Recursive system.multicall forbidden");
    assert_eq!(fault(params), "INCORRECT_PARAMETERS");
    assert_eq!((fault(nameless), fault(nothing)), (fault(nameless), "INCORRECT_PARAMETERS: No methodName".into()));
    assert_eq!(group.as_array().unwrap().len(), 2);
    assert_eq!(ask_system(&mut host, "multicall", &[Value::Array(vec![])]), Ok(Value::Array(vec![])));
    assert_eq!(ask_system(&mut host, "multicall", &[Value::Int(1)]).unwrap_err().0, 2);
    assert_eq!(ask_system(&mut host, "multicall", &[]), fault_of(2, "INCORRECT_PARAMETERS"));
}

#[test]
fn a_long_multicall_pauses_and_its_answer_has_a_limit() {
    let mut host = FakeHost::new((0..100).map(|n| program(&format!("p{n}"), |_| {})).collect());
    let calls = vec![one("supervisor.getAllProcessInfo", None); 1000];
    let (answer, pauses) = ask_patiently(&mut host, true, "system.multicall", &[Value::Array(calls)]);
    let answer = answer.unwrap();
    assert!(pauses as usize > 1000 / CALLS_A_TURN, "{pauses}: long answers make a turn shorter");
    let whole = answer.as_array().unwrap().iter().filter(|result| result.as_array().is_some()).count();
    assert!(whole > 100 && whole < 900, "{whole}");
    let last = answer.as_array().unwrap().last().unwrap();
    assert_eq!(last.member("faultString"), Some(&text("FAILED: the answer is too long")));
}

#[test]
fn invalid_documents_are_refused() {
    let mut host = two();
    for document in [
        "",
        "<methodCall/>",
        "<methodCall></methodCall>",
        "no xml",
        "<methodCall><methodName></methodName></methodCall>",
    ] {
        assert!(
            call(
                document.as_bytes(),
                Namespaces { supervisor: true, twiddler: false },
                &mut host,
                1,
                &mut Answer::default()
            )
            .is_err(),
            "{document}"
        );
    }
}
