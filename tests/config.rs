//! Whole configurations: read by Supervisor's own code and by `rsup check`, the verdicts, texts and values compared.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects, clippy::disallowed_methods, missing_docs)]

#[path = "harness/mod.rs"]
mod harness;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config as Cases, TestRunner};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The environment of both readers.
const ENVIRONMENT: [(&str, &str); 3] = [("HOME", "/tmp"), ("X", "x;y z"), ("N", "3")];

/// Supervisor's own reader: tests/python/config.py.
struct Theirs {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Theirs {
    fn start() -> Option<Self> {
        let Some(oracle) = harness::oracle() else {
            harness::skip("no real Supervisor (tests/run makes one)");
            return None;
        };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/config.py");
        let mut python = Command::new(oracle.join("bin/python"));
        python.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = python.spawn().unwrap();
        let (questions, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Some(Self { child, questions, answers })
    }

    fn ask(&mut self, question: &Value) -> Result<Value, String> {
        writeln!(self.questions, "{question}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let mut answer: Value = serde_json::from_str(&line).expect("an answer");
        if answer[0] == "ok" { Ok(answer[1].take()) } else { Err(answer[1].as_str().unwrap().to_owned()) }
    }

    fn read(&mut self, file: &str, dir: &Path) -> Result<Value, String> {
        let environment: serde_json::Map<_, _> = ENVIRONMENT.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
        self.ask(&json!(["realize", file, dir, environment]))
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `rsup check` in a directory: exit code, stdout, and the problems as JSON.
fn check(file: &str, dir: &Path, options: &[&str]) -> (i32, String, Vec<Value>) {
    let run = |options: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rsup"));
        command.args(["check", "-c", file]).args(options).current_dir(dir).env_clear().envs(ENVIRONMENT);
        command.output().unwrap()
    };
    let problems = serde_json::from_slice(&run(&["--json"]).stdout).expect("problems as JSON");
    let output = run(options);
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap(), problems)
}

fn messages(problems: &[Value], severity: &str) -> Vec<String> {
    let wanted = problems.iter().filter(|problem| problem["severity"] == severity);
    wanted.map(|problem| problem["message"].as_str().unwrap().to_owned()).collect()
}

/// Our JSON in the shape of the script's.
fn reshaped(config: &Value, dir: &Path) -> Value {
    let server = &config["server"];
    let path = |value: &Value, name: &str| match value.as_str() {
        Some(path) => json!(path),
        None => json!(dir.join(name)),
    };
    let levels = json!({"critical": 50, "error": 40, "warn": 30, "info": 20, "debug": 10, "trace": 5, "blather": 3});
    let shared = &server["environment"];
    json!({
        "server": {
            "logfile": path(&server["logfile"], "supervisord.log"),
            "logfile_maxbytes": server["logfile_maxbytes"],
            "logfile_backups": server["logfile_backups"],
            "loglevel": levels[server["loglevel"].as_str().unwrap()],
            "pidfile": path(&server["pidfile"], "supervisord.pid"),
            "umask": server["umask"],
            "nodaemon": server["nodaemon"].as_bool().unwrap_or(false),
            "silent": server["silent"],
            "minfds": server["minfds"],
            "minprocs": server["minprocs"],
            "nocleanup": server["nocleanup"],
            "uid": server["user"]["uid"],
            "directory": server["directory"],
            "strip_ansi": server["strip_ansi"],
            "environment": shared,
            "identifier": server["identifier"],
        },
        "groups": config["groups"].as_array().unwrap().iter().map(|each| group(each, shared)).collect::<Vec<_>>(),
        "http": http(&config["http"]),
        "rpc_interfaces": config["rpc_interfaces"].as_array().unwrap().iter().map(|each| &each[0]).collect::<Vec<_>>(),
    })
}

fn owner(owner: &Value) -> Value {
    let number = |field: &str| owner[field].as_i64().unwrap_or(-1);
    json!([number("uid"), number("gid")])
}

fn http(servers: &Value) -> Value {
    let mut servers: Vec<Value> = servers.as_array().unwrap().clone();
    servers.sort_by_key(|server| server["section"].as_str().unwrap().to_owned());
    for server in &mut servers {
        let unix = server["address"].as_str().unwrap().starts_with("unix:");
        let (chmod, chown) = (server["chmod"].clone(), owner(&server["chown"]));
        for extra in ["allowed_hosts", "allowed_origins"] {
            server.as_object_mut().unwrap().remove(extra);
        }
        server["chmod"] = if unix { chmod } else { Value::Null };
        server["chown"] = if unix { chown } else { Value::Null };
    }
    json!(servers)
}

fn group(group: &Value, shared: &Value) -> Value {
    let processes = group["processes"].as_array().unwrap().iter().map(|each| process(each, shared));
    let mut shown = json!({
        "name": group["name"],
        "priority": group["priority"],
        "processes": processes.collect::<Vec<_>>(),
    });
    let kind = &group["kind"];
    match kind["type"].as_str().unwrap() {
        "eventlistener" => {
            let mut events = kind["events"].as_array().unwrap().clone();
            events.sort_by_key(Value::to_string);
            shown["events"] = json!(events);
            shown["buffer_size"] = kind["buffer_size"].clone();
        }
        "fcgi-program" => {
            shown["socket"] = kind["socket"].clone();
            shown["backlog"] = kind["backlog"].clone();
            if kind["socket"].as_str().unwrap().starts_with("unix:") {
                shown["owner"] = if kind["owner"].is_null() { Value::Null } else { owner(&kind["owner"]) };
                shown["mode"] = kind["mode"].clone();
            }
        }
        _ => {}
    }
    shown
}

fn process(process: &Value, shared: &Value) -> Value {
    let mut environment = std::collections::BTreeMap::new();
    for pair in shared.as_array().unwrap().iter().chain(process["environment"].as_array().unwrap()) {
        environment.insert(pair[0].as_str().unwrap().to_owned(), pair[1].clone());
    }
    let mut shown = json!({
        "uid": process["user"]["uid"],
        "serverurl": if process["serverurl"] == "AUTO" { Value::Null } else { process["serverurl"].clone() },
        "environment": environment.into_iter().map(|(key, value)| json!([key, value])).collect::<Vec<_>>(),
    });
    for field in [
        "name",
        "command",
        "directory",
        "umask",
        "priority",
        "autostart",
        "autorestart",
        "startsecs",
        "startretries",
        "stopsignal",
        "stopwaitsecs",
        "stopasgroup",
        "killasgroup",
        "exitcodes",
        "redirect_stderr",
    ] {
        shown[field] = process[field].clone();
    }
    for channel in ["stdout", "stderr"] {
        for (field, ours) in [
            ("logfile", "logfile"),
            ("logfile_maxbytes", "maxbytes"),
            ("logfile_backups", "backups"),
            ("capture_maxbytes", "capture_maxbytes"),
            ("events_enabled", "events_enabled"),
            ("syslog", "syslog"),
        ] {
            shown[format!("{channel}_{field}")] = process[channel][ours].clone();
        }
    }
    shown
}

/// Theirs, where two ways of saying one thing are brought to one.
fn settled(mut theirs: Value) -> Value {
    theirs.as_object_mut().unwrap().remove("warnings");
    for group in theirs["groups"].as_array_mut().unwrap() {
        for process in group["processes"].as_array_mut().unwrap() {
            for log in ["stdout_logfile", "stderr_logfile"] {
                if process[log] == "" {
                    process[log] = Value::Null;
                }
            }
            let codes: BTreeSet<u64> =
                process["exitcodes"].as_array().unwrap().iter().map(|code| code.as_u64().unwrap()).collect();
            process["exitcodes"] = json!(codes);
        }
    }
    theirs
}

/// Whether Supervisor's message is one of Python's about the type of a value. Ours says what the value must be.
fn is_about_a_type(message: &str) -> bool {
    const BEGINNINGS: [&str; 12] = [
        "invalid literal for int()",
        "not a valid boolean value",
        "not a valid list of exit codes",
        "not a valid port number",
        "no port number specified",
        "invalid 'autorestart' value",
        "bad logging level name",
        "Invalid socket_backlog value",
        "Invalid socket_mode value",
        "Invalid chmod value",
        "value '",
        "value \"",
    ];
    let is_octal = message.contains("can not be converted to an octal type");
    let is_port = message.contains(" bound (") && !message.ends_with("] socket");
    is_octal || is_port || BEGINNINGS.iter().any(|beginning| message.starts_with(beginning))
}

/// What of Supervisor's message can be expected in ours: no list of names, no tail with its own idea of the place.
fn essence(message: &str) -> String {
    let message = message.split(" Available names").next().unwrap();
    let message = message.rsplit_once(" in section '").map_or(message, |(message, _)| message);
    let message =
        message.strip_suffix(" socket").and_then(|m| m.rsplit_once(" in [")).map_or(message, |(message, _)| message);
    // The tuples are a formatting mistake of Supervisor's.
    for (theirs, ours) in [
        ("('Bad socket format %s', '", "Bad socket format "),
        ("('Unix socket path %s is not an absolute path', '", "Unix socket path "),
    ] {
        if let Some(rest) = message.strip_prefix(theirs) {
            return format!("{ours}{}", rest.split("')").next().unwrap());
        }
    }
    // It names the section of the member before.
    match message.split_once("] names unknown program") {
        Some((_, rest)) => format!("] names unknown program{rest}"),
        None => message.trim_end().to_owned(),
    }
}

fn agree(theirs: &mut Theirs, file: &str, dir: &Path) -> Result<(), TestCaseError> {
    let (code, dump, problems) = check(file, dir, &["--dump", "--json", "--secrets"]);
    match theirs.read(file, dir) {
        Err(why) => {
            let errors = messages(&problems, "error");
            prop_assert_eq!(code, 2, "Supervisor says: {}", why);
            let expected = if is_about_a_type(&why) { " must be ".to_owned() } else { essence(&why) };
            prop_assert!(errors.iter().any(|error| error.contains(&expected)), "{} is not in {:#?}", why, errors);
        }
        Ok(config) => {
            prop_assert_ne!(code, 2, "only we find errors: {:?}", messages(&problems, "error"));
            let warnings = messages(&problems, "warning");
            for warning in config["warnings"].as_array().unwrap().iter().map(|warning| warning.as_str().unwrap()) {
                prop_assert!(warnings.iter().any(|ours| ours == warning), "{} is not in {:#?}", warning, warnings);
            }
            let ours = reshaped(&serde_json::from_str(&dump).unwrap(), dir);
            prop_assert_eq!(settled(config), ours);
            dump_loads_again(file, dir, &dump)?;
        }
    }
    Ok(())
}

/// The dump, read from another directory, comes to the same configuration.
fn dump_loads_again(file: &str, dir: &Path, before: &str) -> Result<(), TestCaseError> {
    let (_, text, _) = check(file, dir, &["--dump", "--secrets"]);
    fs::create_dir_all(dir.join("dumped")).unwrap();
    fs::write(dir.join("dumped/x.conf"), &text).unwrap();
    let (_, after, problems) = check("dumped/x.conf", dir, &["--dump", "--json", "--secrets"]);
    prop_assert_eq!(messages(&problems, "error"), Vec::<String>::new(), "{}", text);
    prop_assert_eq!(before, &after, "{}", text);
    Ok(())
}

/// Generated files: each key with values that are mostly good.
const INT: &[&str] = &["0", "1", "5", "-1", "+2", " 7", "1_0", "%(ENV_N)s", "1.5", "x", ""];
const COUNT: &[&str] = &["1", "2", "3", "0", "-1", "%(ENV_N)s"];
const BOOL: &[&str] = &["true", "false", "on", "No", "1", "0", "%(ENV_N)s", "maybe", ""];
const SIZE: &[&str] = &["0", "1KB", "2 mb", "-1", "50MB", "%(ENV_N)sGB", "1.5MB", "10B", ""];
const OCTAL: &[&str] = &["022", "0700", "0o17", "8", "x", ""];
const USERS: &[&str] = &["root", "nobody", "0", "65534", "daemon", "no-such", ""];
const OWNERS: &[&str] = &["root", "root:root", "nobody:0", "0:0", "no-such", "root:no-such", ":"];
const LOG: &[&str] = &[
    "AUTO",
    "none",
    "OFF",
    "/tmp/a.log",
    "rel.log",
    "%(here)s/%(program_name)s.log",
    "/tmp/%(process_num)02d-%(group_name)s.log",
    "/nowhere/x.log",
    "syslog",
    "",
    "/tmp/%%%%x",
    "/tmp/%%x",
    "~/a.log",
    "/dev/stdout",
    "%(ENV_OWN)s.log",
];
const TEXT: &[&str] = &[
    "/bin/cat",
    "/bin/sh -c \"echo 'a' b\"",
    "sleep %(process_num)d ; comment",
    "x %(ENV_X)s",
    "x %(here)s %(host_node_name)s",
    "a #b",
    "a\n  b",
    "\n  a\n\n  b",
    "%(program_name)s %(group_name)s %(numprocs)d",
    "%(ENV_OWN)s",
    "%(nope)s",
    "100%",
    "100%%",
    "%(ENV_X)",
    "%(here)5.2s|",
    "",
    "a \\ \"b",
];
const ENV: &[&str] = &[
    "A=1",
    "A=\"1\",B='x y'",
    "OWN=/tmp/%(process_num)d",
    "OWN=\"%(ENV_X)s\"",
    "A=\"%%\"",
    "A=\"%%%%\"",
    "A=b@c",
    "A",
    "A=",
    "A=\"x",
    "A=%(here)s",
    "A=1,\n  B=2,",
    "",
    "A=http://h:1/p?q=1",
    "A=a#b,B=2",
    "A=%(program_name)s",
    "A=%(ENV_OWN)s",
];
const SIGNAL: &[&str] = &["TERM", "sigint", "9", "RTMIN", "0", "65", "FOO", ""];
const PORT: &[&str] = &["9001", "*:9001", "LocalHost:80", ":80", "0", "70000", "x", "a:", "", "%(ENV_N)s", "%(here)s"];
const NAME: &[&str] = &[
    "%(program_name)s",
    "%(program_name)s_%(process_num)02d",
    "p%(process_num)d",
    "x y",
    "%(group_name)s-%(process_num)d",
    "%(ENV_X)s%(process_num)d",
];

const PROGRAM: &[(&str, &[&str])] = &[
    ("priority", INT),
    ("autostart", BOOL),
    ("autorestart", &["true", "unexpected", "FALSE", "never"]),
    ("startsecs", INT),
    ("startretries", INT),
    ("stopsignal", SIGNAL),
    ("stopwaitsecs", INT),
    ("stopasgroup", BOOL),
    ("killasgroup", BOOL),
    ("exitcodes", &["0", "0,2", " 1 , 2 ", "", "256", "a", "1,"]),
    ("user", USERS),
    ("redirect_stderr", BOOL),
    ("stdout_logfile", LOG),
    ("stderr_logfile", LOG),
    ("stdout_logfile_maxbytes", SIZE),
    ("stderr_logfile_backups", INT),
    ("stdout_capture_maxbytes", SIZE),
    ("stderr_events_enabled", BOOL),
    ("stdout_syslog", BOOL),
    ("environment", ENV),
    ("environment", ENV),
    ("directory", TEXT),
    ("umask", OCTAL),
    ("serverurl", &["AUTO", " auto", "", "unix:///x", "%(here)s"]),
    ("process_name", NAME),
    ("numprocs", COUNT),
    ("numprocs_start", INT),
    ("priority", &["%(program_name)s", "1"]),
    ("Unknown", TEXT),
];
const SERVER: &[(&str, &[&str])] = &[
    ("logfile", &["/tmp/x.log", "x.log", "%(here)s/x.log", "/nowhere/x", "syslog", "~/x.log", "NONE"]),
    ("logfile_maxbytes", SIZE),
    ("logfile_backups", INT),
    ("loglevel", &["info", "DEBUG", "warning", "blather"]),
    ("pidfile", &["/tmp/x.pid", "x.pid", "/nowhere/x"]),
    ("umask", OCTAL),
    ("nodaemon", BOOL),
    ("silent", BOOL),
    ("minfds", &["1024", "x"]),
    ("minprocs", &["10"]),
    ("nocleanup", BOOL),
    ("childlogdir", &["/tmp", "/nowhere", "%(here)s"]),
    ("user", USERS),
    ("directory", &["/tmp", "/nowhere", "~"]),
    ("strip_ansi", BOOL),
    ("environment", ENV),
    ("identifier", TEXT),
];
const LISTENER: &[(&str, &[&str])] = &[
    ("events", &["TICK_5", "event", "PROCESS_STATE, tick", "NOPE", "", "TICK_5,"]),
    ("buffer_size", INT),
    ("result_handler", &["supervisor.dispatchers:default_handler"]),
];
const FCGI: &[(&str, &[&str])] = &[
    (
        "socket",
        &["unix:///tmp/%(program_name)s.sock", "tcp://localhost:9000", "tcp://x:0", "unix://tmp/x", "tcp:9", ""],
    ),
    ("socket_owner", OWNERS),
    ("socket_mode", OCTAL),
    ("socket_backlog", INT),
];
const UNIX: &[(&str, &[&str])] = &[
    ("file", &["/tmp/x.sock", "%(here)s/x.sock", "x/../y.sock", "~/s", "%(nope)s"]),
    ("chmod", OCTAL),
    ("chown", OWNERS),
    ("username", &["u", "", "%(ENV_X)s"]),
    ("password", &["p", "%(ENV_X)s", "%(here)s"]),
];
const INET: &[(&str, &[&str])] =
    &[("port", PORT), ("username", &["u", ""]), ("password", &["p", "{SHA}82ab876d1387bfafe46cc1c8a2ef074eae50cb1d"])];

type Keys = &'static [(&'static str, &'static [&'static str])];

/// A section: its name, what it must have, and some of its other keys.
fn section(name: &'static [&'static str], first: Keys, keys: Keys, up_to: usize) -> impl Strategy<Value = String> {
    let line = |(key, values): (&'static str, &'static [&'static str])| {
        // The first half of the values are the good ones, and more likely.
        let good = values[..values.len().div_ceil(2)].to_vec();
        prop_oneof![6 => select(good), 1 => select(values.to_vec())].prop_map(move |value| format!("{key}={value}\n"))
    };
    let keys = if keys.is_empty() { first } else { keys };
    let first: Vec<_> = first.iter().map(|pair| line(*pair).boxed()).collect();
    let rest = proptest::collection::vec(select(keys.to_vec()).prop_flat_map(line), 0..up_to);
    (select(name.to_vec()), first, rest)
        .prop_map(|(name, first, rest)| format!("[{name}]\n{}{}", first.concat(), rest.concat()))
}

fn file() -> impl Strategy<Value = String> {
    let command: Keys =
        &[("command", &["/bin/cat %(process_num)s", "sleep 1", "x", "", "%(ENV_OWN)s", "%(nope)s", "a ; b"])];
    let programs = section(
        &["program:a", "program:b", "program:c", "program:d", "program: e", "program:f g"],
        command,
        PROGRAM,
        5,
    );
    let listeners = section(&["eventlistener:l", "eventlistener: m"], &LISTENER[..1], PROGRAM, 3);
    let pools = section(&["eventlistener:l"], &[("command", &["x"])], LISTENER, 4);
    let fcgi = section(&["fcgi-program:a", "fcgi-program:z"], &FCGI[..1], FCGI, 4);
    let fcgi_program = section(&["fcgi-program:z"], &[("command", &["x"])], PROGRAM, 3);
    let member: &[&str] = &["a", "b", "a,b", "b, z", "", "a,", "nobody", " e", "e"];
    let members: Keys = Box::leak(Box::new([("programs", member)]));
    let groups = section(&["group:g", "group:a", "group:x:y"], members, &[("priority", INT)], 2);
    let defaults = section(&["DEFAULT"], &[], &[("startsecs", INT), ("environment", ENV), ("username", &["u"])], 2);
    let rpc = section(
        &["rpcinterface:supervisor"],
        &[("supervisor.rpcinterface_factory", &["supervisor.rpcinterface:make_main_rpcinterface"])],
        &[],
        1,
    );
    let servers = prop_oneof![
        section(&["unix_http_server", "unix_http_server:x"], &UNIX[..1], UNIX, 3),
        section(&["inet_http_server", "inet_http_server:x"], &INET[..1], INET, 3),
    ];
    let include = section(
        &["include"],
        &[("files", &["inc.conf", "*.inc none/*", "%(here)s/inc.conf", "%(host_node_name)s*", "%(nope)s"])],
        &[],
        1,
    );
    let any = prop_oneof![
        8 => programs, 1 => (listeners, pools).prop_map(|(a, b)| a + &b), 1 => (fcgi, fcgi_program).prop_map(|(a, b)| a + &b), 2 => groups,
        1 => defaults, 1 => rpc, 1 => servers, 1 => include,
    ];
    (section(&["supervisord"], &[], SERVER, 4), proptest::collection::vec(any, 0..5))
        .prop_map(|(server, rest)| server + &rest.concat())
}

#[test]
fn generated_files_mean_what_they_mean_to_supervisor() {
    let Some(theirs) = Theirs::start() else { return };
    let theirs = RefCell::new(theirs);
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("inc.conf"), "[program:inc]\ncommand=%(here)s/inc\n[program:a]\nstartsecs=2\n").unwrap();
    fs::write(dir.path().join("b.inc"), "[supervisord]\nidentifier=inc\n").unwrap();
    let cases = std::env::var("RSUP_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(400);
    let mut runner =
        TestRunner::new(Cases { cases, failure_persistence: None, max_shrink_iters: 400, ..Cases::default() });
    let result = runner.run(&file(), |text| {
        fs::write(dir.path().join("x.conf"), &text).unwrap();
        agree(&mut theirs.borrow_mut(), "x.conf", dir.path())
    });
    result.unwrap_or_else(|why| panic!("{why}"));
    harness::compared(cases.try_into().unwrap());
}

/// The directory of configurations from public repositories, where this machine has one.
fn real_configurations() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/real-configs");
    let dir = std::env::var_os("RSUP_REAL_CONFIGS").map_or_else(beside, PathBuf::from);
    if !dir.is_dir() {
        harness::skip("no directory of real configurations ($RSUP_REAL_CONFIGS)");
        return None;
    }
    Some(dir)
}

#[test]
fn real_files_are_accepted_or_refused_as_by_supervisor() {
    let (Some(dir), Some(mut theirs)) = (real_configurations(), Theirs::start()) else { return };
    let mut files: Vec<PathBuf> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
    files.sort();
    harness::compared(files.len());
    for file in files {
        let name = file.to_str().unwrap();
        let place = tempfile::tempdir().unwrap();
        let (code, _, problems) = check(name, place.path(), &[]);
        let errors = messages(&problems, "error");
        match theirs.read(name, place.path()) {
            Ok(_) => assert_ne!(code, 2, "{name}: only we find errors: {errors:#?}"),
            // Accepted on purpose: a file without [supervisord], and plug-ins that we can only warn of.
            Err(why) if why.contains("does not include supervisord") || why.contains("cannot be resolved") => {}
            Err(why) => {
                assert_eq!(code, 2, "{name}: Supervisor says {why}");
                assert!(
                    errors.iter().any(|error| error.contains(&essence(&why))),
                    "{name}: {why} is not in {errors:#?}"
                );
            }
        }
    }
}

/// Both readers' verdict on a file: Supervisor's error, and our errors.
fn verdicts(theirs: &mut Theirs, text: &str) -> (Result<(), String>, Vec<String>) {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("x.conf"), text).unwrap();
    let (_, _, problems) = check("x.conf", place.path(), &[]);
    (theirs.read("x.conf", place.path()).map(drop), messages(&problems, "error"))
}

#[test]
fn the_sample_is_accepted_by_both() {
    let Some(mut theirs) = Theirs::start() else { return };
    let print = |arguments: &[&str]| {
        let sample = Command::new(env!("CARGO_BIN_EXE_rsup")).arg("sample-config").args(arguments).output().unwrap();
        String::from_utf8(sample.stdout).unwrap()
    };
    assert_eq!(verdicts(&mut theirs, &print(&[])), (Ok(()), vec![]));
    let sample = print(&["--all"]);
    assert_eq!(verdicts(&mut theirs, &sample), (Ok(()), vec![]));
    for row in rsup::config::options::SECTION_KINDS.iter().flat_map(|kind| (kind.rows)()) {
        assert!(sample.contains(&format!("{}=", row.key)), "{}", row.key);
    }
}

#[test]
fn every_options_example_is_accepted_by_both() {
    let Some(mut theirs) = Theirs::start() else { return };
    for kind in rsup::config::options::SECTION_KINDS {
        let (title, needed) = match kind.title {
            "program:x" => (kind.title, "command=/bin/cat"),
            "group:x" => (kind.title, "programs=web"),
            "eventlistener:x" => (kind.title, "command=/bin/cat\nevents=TICK_5"),
            "fcgi-program:x" => (kind.title, "command=/bin/cat\nsocket=unix:///tmp/x.sock"),
            "unix_http_server" => (kind.title, "file=/tmp/x.sock\nusername=a\npassword=b"),
            "inet_http_server" => (kind.title, "port=9001\nusername=a\npassword=b"),
            "rpcinterface:x" => ("rpcinterface:supervisor", ""),
            other => (other, ""),
        };
        for row in (kind.rows)() {
            // The options that a listener may not have: it cannot wait, and has a protocol on stdout.
            let refused = ["redirect_stderr", "depends_on", "after", "restart_with", "oneshot", "ready", "watchdog"];
            if kind.title == "eventlistener:x" && refused.contains(&row.key) {
                continue;
            }
            let name = match row.key {
                "numprocs" => "process_name=x%(process_num)s",
                "watchdog" => "ready=notify",
                _ => "",
            };
            let text = format!(
                "[supervisord]\n[program:db]\ncommand=/bin/cat\n[program:web]\ncommand=/bin/cat\n[program:worker]\ncommand=/bin/cat\n[{title}]\n{needed}\n{name}\n{}={}\n",
                row.key, row.example
            );
            assert_eq!(verdicts(&mut theirs, &text), (Ok(()), vec![]), "{text}");
        }
        harness::compared((kind.rows)().len());
    }
}
