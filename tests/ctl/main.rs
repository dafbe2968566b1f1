//! `rsupctl` and the real `supervisorctl` side by side: the same commands must give the same answers and exit codes.
//!
//! The server is the real Supervisor, one for each client, or a `Fake` that gives the answers of a test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]
#![allow(clippy::disallowed_methods, missing_docs)]

#[path = "../harness/mod.rs"]
mod harness;

mod fake;
mod finding;
mod health;
mod interactive;

use fake::{Answer, Fake};
use harness::{Ran, Sandbox, Subject, oracle, run, skip};
use rsup::wire::http::{AnswerFraming, ParsedRequest, Response, parse_request};
use rsup::wire::xmlrpc::{RESPONSE_CLOSE, RESPONSE_OPEN, Value, write_value};
use serde_json::json;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

/// `rsupctl`, in a directory where it finds no configuration.
pub fn rsupctl() -> Command {
    let mut command = without_configuration(Command::new(env!("CARGO_BIN_EXE_rsup")));
    command.arg("ctl");
    command
}

/// The same, called `supervisorctl`: its texts are Supervisor's.
pub fn called_supervisorctl() -> Command {
    static LINK: std::sync::LazyLock<tempfile::TempDir> = std::sync::LazyLock::new(|| {
        let dir = tempfile::Builder::new().prefix("rl").tempdir_in("/tmp").unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_rsup"), dir.path().join("supervisorctl")).unwrap();
        dir
    });
    without_configuration(Command::new(LINK.path().join("supervisorctl")))
}

pub fn without_configuration(mut command: Command) -> Command {
    command.env_clear().env("PATH", "/usr/bin:/bin").env("LANG", "C.UTF-8").current_dir("/proc/self");
    command
}

/// Runs the real client many times in one process, since its start takes most of its time.
const DRIVER: &str = "
import contextlib, io, json, sys
from supervisor import supervisorctl
from supervisor.options import ClientOptions

def run(args):
    out, err = io.StringIO(), io.StringIO()
    options = ClientOptions()
    options.stdout, options.stderr = out, err
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            supervisorctl.main(args, options)
        except SystemExit as end:
            return [end.code, out.getvalue(), err.getvalue()]

json.dump([run(args) for args in json.load(sys.stdin)], sys.stdout)
";

/// Runs the real client with each of these command lines.
fn theirs(lines: &[Vec<String>]) -> Vec<Ran> {
    let mut python = without_configuration(Command::new(oracle().unwrap().join("bin/python")));
    let ran = with_input(python.args(["-c", DRIVER]), &serde_json::to_string(lines).unwrap());
    let all: Vec<(i32, String, String)> =
        serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    all.into_iter().map(|(code, out, err)| Ran { code, out, err }).collect()
}

/// Runs rsupctl with each of them.
fn ours(lines: &[Vec<String>]) -> Vec<Ran> {
    lines.iter().map(|args| run(called_supervisorctl().args(args))).collect()
}

/// Each of `lines` as a command line for the server at `url`.
fn at(url: &str, lines: &[&str]) -> Vec<Vec<String>> {
    lines.iter().map(|line| vec!["-s".to_owned(), url.to_owned(), (*line).to_owned()]).collect()
}

/// Both clients must print the same. `of` is for the message of a failure.
fn assert_alike(lines: &[Vec<String>], of: &str) -> Vec<Ran> {
    let ours = ours(lines);
    for ((args, theirs), ours) in lines.iter().zip(theirs(lines)).zip(&ours) {
        assert_eq!(shown(ours), shown(&theirs), "{args:?} {of}");
    }
    harness::compared(lines.len());
    ours
}

/// The part of an answer that must be equal. A Python error of Supervisor is one line of rsup's; rsup words help and mistakes in a
/// configuration differently.
fn shown(ran: &Ran) -> String {
    let mut lines: Vec<&str> = ran
        .out
        .lines()
        .map(|line| ["error: ", "ERROR: CANT_REREAD: "].into_iter().find(|own| line.starts_with(own)).unwrap_or(line))
        .collect();
    if let Some(complaint) = lines.iter().position(|line| {
        (line.starts_with("Error: ") && !line.starts_with("Error: bad")) || line.ends_with("name supplied")
    }) {
        lines.truncate(complaint + 1);
    }
    if lines.contains(&"Server requires authentication") {
        lines.retain(|line| *line != "error: ");
    }
    // The clients do not run in the same second.
    let text = lines.join("\n");
    let mut pieces = text.split("uptime ");
    let mut shown = format!("exit={} {}", ran.code, pieces.next().unwrap_or_default());
    for piece in pieces {
        shown += "uptime ";
        shown += piece.trim_start_matches(|c: char| c.is_ascii_digit() || c == ':');
    }
    shown
}

/// Equal servers, so that no client sees the effects of another: the real Supervisor for each client, and rsup for rsupctl.
struct Servers {
    theirs: Sandbox,
    ours: Sandbox,
    rsup: Sandbox,
}

impl Servers {
    fn start(conf: &str) -> Option<Servers> {
        if oracle().is_none() {
            skip("no real Supervisor");
            return None;
        }
        let [theirs, ours, rsup] = [Subject::Supervisor, Subject::Supervisor, Subject::Rsup].map(|subject| {
            let mut sandbox = Sandbox::new(subject, conf);
            sandbox.launch(&["-n", "-c", "{dir}/supervisord.conf"]);
            sandbox
        });
        let servers = Servers { theirs, ours, rsup };
        for sandbox in servers.all() {
            harness::wait_for("a socket", || sandbox.dir.join("sock").exists().then_some(()));
        }
        Some(servers)
    }

    fn all(&self) -> [&Sandbox; 3] {
        [&self.theirs, &self.ours, &self.rsup]
    }

    fn until(&self, name: &str, state: &str) {
        self.all().iter().for_each(|sandbox| sandbox.until(name, state));
    }

    /// Runs the clients, each with its own server, and compares the outputs without values that differ between equal runs.
    fn same(&self, lines: &[&str]) -> Vec<String> {
        let url = |sandbox: &Sandbox| sandbox.fill("unix://{dir}/sock");
        let theirs = theirs(&at(&url(&self.theirs), lines));
        let wanted: Vec<String> = theirs.iter().map(|ran| self.theirs.normal(&shown(ran))).collect();
        for sandbox in [&self.ours, &self.rsup] {
            for ((line, ours), wanted) in lines.iter().zip(ours(&at(&url(sandbox), lines))).zip(&wanted) {
                assert_eq!(&sandbox.normal(&shown(&ours)), wanted, "{line:?} at {:?}: {ours:?}", sandbox.subject);
            }
        }
        harness::compared(lines.len());
        wanted
    }
}

const PROGRAMS: &str = "[program:up]\ncommand=/bin/sh -c \"echo grüße; echo oh >&2; exec sleep 1000\"\nstdout_logfile={dir}/up.out\n\
    [program:down]\ncommand=/bin/sleep 1000\nautostart=false\n\
    [program:gone]\ncommand=/no/such/program\nautostart=false\nstartretries=0\n\
    [program:data]\ncommand=/etc/passwd\nautostart=false\nstartretries=0\n\
    [program:brief]\ncommand=/bin/true\nautostart=false\nstartretries=0\nautorestart=false\n\
    [group:g]\nprograms=one,two\npriority=5\n\
    [program:one]\ncommand=/bin/sleep 1000\npriority=1\n[program:two]\ncommand=/bin/sleep 1000\npriority=2\n\
    [program:a_name_that_is_longer_than_thirty_letters]\ncommand=/bin/sleep 1000\nautostart=false\n";

#[test]
fn every_command_answers_alike() {
    let Some(servers) = Servers::start(PROGRAMS) else { return };
    for name in ["up", "g:one", "g:two"] {
        servers.until(name, "RUNNING");
    }
    for sandbox in servers.all() {
        sandbox.until_file("up.out", "grüße");
    }
    servers.same(&[
        "status",
        "status all",
        "status up",
        "status g:*",
        "status g:",
        "status nobody",
        "status nobody up",
        "status nobody down",
        "status nogroup:* g:nobody",
        "status g",
        "status up up",
        "pid down",
        "pid nobody",
        "pid g:*",
        "version",
        "version x",
        "avail",
        "avail x",
        "start",
        "start up",
        "start nobody",
        "start gone data",
        "start nogroup:*",
        "start g:nobody",
        "start down nobody",
        "stop",
        "stop down",
        "stop down nobody",
        "stop nogroup:*",
        "restart",
        "restart up",
        "restart down",
        "restart g:one",
        "restart nobody nogroup:*",
        "signal",
        "signal HUP",
        "signal CONT up",
        "signal 18 up",
        "signal BOGUS up",
        "signal CONT nobody gone",
        "signal CONT g:*",
        "signal CONT nogroup:*",
        "signal CONT all x",
        "clear",
        "clear nobody",
        "clear down up",
        "tail",
        "tail up",
        "tail up stdout",
        "tail up stderr",
        "tail -3 up",
        "tail -0 up",
        "tail --2 up",
        "tail nobody",
        "tail up foo",
        "tail up STDERR",
        "tail -x up",
        "tail - up",
        "tail -5",
        "tail a b c d",
        "tail a b c",
        "tail down",
        "maintail -x",
        "maintail x",
        "maintail a b",
        "fg",
        "fg nobody",
        "fg gone",
        "fg a b",
        "add",
        "add nobody",
        "add up",
        "remove",
        "remove nobody",
        "remove up",
        "remove down nobody",
        "add down",
        "reread",
        "reread x",
        "update",
        "update nobody",
        "update all",
        "shutdown x",
        "reload x",
        "bogus",
        "!ls",
        "?nothing",
        "help",
        "?",
        "help nothing",
        "exit",
        "quit",
        "open",
        "open ftp://x",
        "  status   down ",
        "status;down",
        "status",
        "status up down",
    ]);
    // Pids always differ, so both clients use the same server.
    let url = servers.theirs.fill("unix://{dir}/sock");
    let open = format!("open {url}");
    let ran = assert_alike(&at(&url, &["pid", "pid up", "pid all", "start up", &open]), "");
    assert_eq!(ran[0].out, format!("{}\n", servers.theirs.pid()));
    assert_eq!(ran[1].out, format!("{}\n", servers.theirs.pid_of("up")));
    assert_eq!((ran[4].code, ran[4].out.lines().count()), (0, 8));
    servers.same(&["shutdown"]);
}

#[test]
fn a_changed_configuration_is_read_and_applied_alike() {
    let Some(servers) = Servers::start(
        "[program:keep]\ncommand=/bin/sleep 1000\n[program:change]\ncommand=/bin/sleep 1000\n[program:drop]\ncommand=/bin/sleep 1000\n",
    ) else {
        return;
    };
    for name in ["keep", "change", "drop"] {
        servers.until(name, "RUNNING");
    }
    let reconfigure = |conf: &str| servers.all().iter().for_each(|sandbox| sandbox.reconfigure(conf));
    reconfigure(
        "[program:keep]\ncommand=/bin/sleep 1000\n[program:change]\ncommand=/bin/sleep 2000\n[program:new]\ncommand=/bin/sleep 1000\n",
    );
    assert_eq!(servers.same(&["reread"]), ["exit=0 change: changed\ndrop: disappeared\nnew: available"]);
    let output = servers.same(&["avail", "update keep nobody", "update drop", "update", "update"]);
    assert_eq!(output[1], "exit=1 ERROR: no such group: nobody");
    assert_eq!(output[2], "exit=0 drop: stopped\ndrop: removed process group");
    assert_eq!(output[3], "exit=0 change: stopped\nchange: updated process group\nnew: added process group");
    assert_eq!(output[4], "exit=0 ");
    servers.until("new", "RUNNING");
    reconfigure("[program:keep]\ncommand=x\nstartsecs=x\n");
    let output = servers.same(&["reread", "update", "status nobody"]);
    assert!(output[0].starts_with("exit=1 ERROR: CANT_REREAD: "), "{output:?}");
    assert_eq!(output[1], "exit=1 error: ");
}

#[test]
fn a_missing_server_is_reported_alike() {
    if oracle().is_none() {
        return skip("no real Supervisor");
    }
    let dir = tempfile::tempdir().unwrap();
    let stale = dir.path().join("stale");
    harness::stale_socket(&stale);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let urls = [
        format!("unix://{}", stale.display()),
        format!("unix://{}/none", dir.path().display()),
        format!("http://127.0.0.1:{port}"),
        "ftp://x/".to_owned(),
        "unix:".to_owned(),
        "http://127.0.0.1:notaport".to_owned(),
    ];
    let lines = [
        "status",
        "start x",
        "stop x",
        "pid",
        "tail x",
        "restart x",
        "version",
        "shutdown",
        "reload",
        "avail",
        "reread",
        "update",
        "add x",
        "remove x",
        "signal HUP x",
        "clear x",
        "fg x",
        "help",
    ];
    for url in &urls {
        assert_alike(&at(url, &lines), "");
    }
}

const COMMANDS: [&str; 19] = [
    "status",
    "status x",
    "start x",
    "start g:*",
    "start all",
    "stop x",
    "stop all",
    "restart x",
    "signal HUP x",
    "signal HUP all",
    "clear x",
    "clear all",
    "tail x",
    "maintail",
    "pid x",
    "avail",
    "reread",
    "version",
    "shutdown",
];

#[test]
fn every_fault_is_reported_alike() {
    if oracle().is_none() {
        return skip("no real Supervisor");
    }
    for code in [1, 2, 3, 6, 10, 11, 20, 21, 30, 40, 50, 60, 70, 90, 91, 92, 999] {
        let faulty = move |method: &str, _: &[Value]| match method {
            "supervisor.getVersion" => Answer::Value("3.0".into()),
            _ => Answer::Fault(code, "NAME: more"),
        };
        let lines = [&COMMANDS[..], &["reload", "update", "add x", "remove x"]].concat();
        assert_alike(&at(&Fake::start(faulty).url(), &lines), &format!("with fault {code}"));
    }
    // As the result for each process of a list.
    for code in [10, 11, 20, 21, 30, 40, 50, 60, 70, 80, 90, 999] {
        let items = move |method: &str, _: &[Value]| match method {
            "supervisor.getVersion" => Answer::Value("3.0".into()),
            _ => {
                let text = |t: &str| Value::from(t);
                let member = |name: &str, value| (name.to_owned(), value);
                let item = |name: &str, status: i32| {
                    Value::Struct(vec![
                        member("name", text(name)),
                        member("group", text("g")),
                        member("status", status.into()),
                        member("description", text("because")),
                    ])
                };
                Answer::Value(Value::Array(vec![item("a", 80), item("g", code), item("c", 80)]))
            }
        };
        let lines = ["start g:*", "start all", "stop g:*", "stop all", "signal HUP g:*", "signal HUP all", "clear all"];
        assert_alike(&at(&Fake::start(items).url(), &lines), &format!("with status {code}"));
    }
}

#[test]
fn unexpected_answers_are_reported_alike() {
    if oracle().is_none() {
        return skip("no real Supervisor");
    }
    let strange: [fn(&str, &[Value]) -> Answer; 6] = [
        |_, _| Answer::Fault(6, "SHUTDOWN_STATE"),
        |_, _| Answer::Http(500),
        |_, _| Answer::Http(401),
        |_, _| Answer::Http(404),
        |_, _| Answer::Raw(""),
        |_, _| Answer::Raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
    ];
    for answer in strange {
        assert_alike(&at(&Fake::start(answer).url(), &COMMANDS), "");
    }
    let fake = Fake::start(|_, _| Answer::Fault(1, "UNKNOWN_METHOD"));
    let lines = at(&fake.url(), &["status", "pid"]);
    for (code, ran) in [4, 3, 4, 3].into_iter().zip([theirs(&lines), ours(&lines)].concat()) {
        assert!(ran.code == code && ran.out.contains("[rpcinterface:supervisor]"), "{ran:?}");
    }
    let fake = Fake::start(|_, _| Answer::Value("9.9".into()));
    let lines = at(&fake.url(), &["pid"]);
    for ran in [theirs(&lines), ours(&lines)].concat() {
        assert!(ran.code == 5 && ran.out.contains("9.9"), "{ran:?}");
    }
}

#[test]
fn a_password_is_sent_and_asked_for() {
    let guarded = "[inet_http_server]\nport=127.0.0.1:{port}\nusername=me\npassword=se:cret\n";
    let Some(_) = oracle() else { return skip("no real Supervisor") };
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut sandbox = Sandbox::new(Subject::Supervisor, &guarded.replace("{port}", &port.to_string()));
    sandbox.start();
    let url = format!("http://localhost:{port}");
    let words = |line: &str| ["-s", &url].into_iter().chain(line.split(' ')).map(str::to_owned).collect();
    let lines = ["version", "-u me version", "-u me -p wrong version", "-u me -p se:cret version"];
    let lines: Vec<Vec<String>> = lines.into_iter().map(words).collect();
    let codes: Vec<i32> = assert_alike(&lines, "").iter().map(|ran| ran.code).collect();
    assert_eq!(codes, [1, 1, 1, 0]);
}

#[test]
fn the_command_line_is_read_alike() {
    if oracle().is_none() {
        return skip("no real Supervisor");
    }
    let lines = [
        &["-Z"][..],
        &["--foo", "status"],
        &["-s"],
        &["--serverurl"],
        &["-s", "foo", "status"],
        &["--serv=x", "status"],
        &["-c", "/no/such/file", "status"],
        &["-u", "a", "-u", "b", "status"],
        &["--interactive=1"],
        &["-i", "-i"],
        &["--h=1"],
        &["-s", "unix:///none", "-r", "x", "status"],
        &["-s", "unix:///none", "--", "status"],
        &["-is", "unix:///none", "--user", "x", "status"],
        &["-sunix:///none", "status", "-h"],
        &["--p", "x", "--pr"],
    ];
    let words = |args: &[&str]| args.iter().map(|arg| (*arg).to_owned()).collect();
    let lines: Vec<Vec<String>> = lines.into_iter().map(words).collect();
    for ((args, theirs), ours) in lines.iter().zip(theirs(&lines)).zip(ours(&lines)) {
        let first = |ran: &Ran| ran.err.lines().next().unwrap_or_default().to_owned();
        assert_eq!((first(&ours), shown(&ours)), (first(&theirs), shown(&theirs)), "{args:?}");
        let last = |ran: &Ran| ran.err.lines().last().unwrap_or_default().starts_with("For help, use ");
        assert_eq!(last(&ours), last(&theirs), "{args:?}");
    }
    harness::compared(lines.len());
    for flag in ["-h", "-?", "--help", "--he"] {
        let ran = run(rsupctl().args([flag, "status"]));
        assert_eq!(ran.code, 0);
        for option in ["--configuration", "--serverurl", "--username", "--password", "--interactive", "--json"] {
            assert!(ran.out.contains(option), "{option}");
        }
    }
}

pub fn with_input(command: &mut Command, input: &str) -> Ran {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    Ran {
        code: harness::code_of(done.status),
        out: String::from_utf8(done.stdout).unwrap(),
        err: String::from_utf8(done.stderr).unwrap(),
    }
}

#[test]
fn shutdown_and_reload_ask_first_with_the_option_i() {
    if oracle().is_none() {
        return skip("no real Supervisor");
    }
    for line in ["shutdown", "reload"] {
        for input in ["Yes\n", "n\n", "", " y\n"] {
            let supervisorctl = without_configuration(Command::new(oracle().unwrap().join("bin/supervisorctl")));
            let [theirs, ours] = [supervisorctl, rsupctl()].map(|mut client| {
                let fake = Fake::start(|_, _| Answer::Value(true.into()));
                let ran = with_input(client.args(["-i", "-s", &fake.url(), line]), input);
                (ran, fake.methods())
            });
            assert_eq!(ours.1, theirs.1, "{line} {input:?}");
            // The question has no newline, so the next output is on the same line.
            let shown = |ran: &Ran| (ran.code, ran.out.split("error: ").next().unwrap().to_owned());
            assert_eq!(shown(&ours.0), shown(&theirs.0), "{line} {input:?}");
            harness::compared(1);
        }
    }
}

#[test]
fn every_command_can_print_json() {
    let mut sandbox = Sandbox::new(Subject::Rsup, PROGRAMS);
    sandbox.start();
    sandbox.until_file("up.out", "grüße");
    sandbox.until("up", "RUNNING");
    let url = sandbox.fill("unix://{dir}/sock");
    let output = |line: &str| {
        let ran = run(rsupctl().args(["--json", "-s", &url, line]));
        let read = serde_json::from_str::<serde_json::Value>(&ran.out);
        (ran.code, read.unwrap_or_else(|why| panic!("{line}: {why}: {ran:?}")))
    };
    for (line, code, wanted) in [
        (
            "start down up nobody",
            1,
            json!([
                {"name": "down", "result": "started"},
                {"name": "up", "error": "already started"},
                {"name": "nobody", "error": "no such process"},
            ]),
        ),
        ("stop down x:*", 1, json!([{"name": "down", "result": "stopped"}, {"name": "x:*", "error": "no such group"}])),
        ("restart g:one", 0, json!([{"name": "g:one", "result": "stopped"}, {"name": "g:one", "result": "started"}])),
        ("signal CONT up", 0, json!([{"name": "up", "result": "signalled"}])),
        ("clear up", 0, json!([{"name": "up", "result": "cleared"}])),
        ("tail -5 nobody", 1, json!([{"name": "nobody", "error": "nobody: ERROR (no such process name)"}])),
        ("tail up", 0, json!({"name": "up", "log": ""})),
        ("pid", 0, json!({"pid": sandbox.pid()})),
        (
            "pid up nobody",
            1,
            json!([
                {"name": "up", "pid": sandbox.pid_of("up")},
                {"name": "nobody", "error": "No such process nobody"},
            ]),
        ),
        ("version", 0, json!({"version": "4.3.0"})),
        ("reread", 0, json!([])),
        ("update nobody", 1, json!([])),
        ("remove up", 1, json!([{"name": "up", "error": "ERROR: process/group still running: up"}])),
        ("remove down", 0, json!([{"name": "down", "result": "removed process group"}])),
        ("add down", 0, json!([{"name": "down", "result": "added process group"}])),
    ] {
        assert_eq!(output(line), (code, wanted), "{line}");
    }
    assert_eq!(output("status up").1[0]["statename"], "RUNNING");
    assert_eq!(output("status").1.as_array().unwrap().len(), 8);
    assert_eq!(output("pid all").1.as_array().unwrap().len(), 8);
    assert_eq!(output("avail").1[7]["name"], "up");
    assert_eq!(output("help").1[0]["name"], "add");
    assert!(output("maintail").1["log"].as_str().unwrap().contains("spawned"));
    assert_eq!(output(&format!("open {url}")).1.as_array().unwrap().len(), 8);
    sandbox.reconfigure("[program:new]\ncommand=/bin/sleep 1000\n");
    assert_eq!(output("reread").1[7], json!({"name": "up", "result": "disappeared"}));
    assert_eq!(output("update new").1, json!([{"name": "new", "result": "added process group"}]));
    assert_eq!(output("shutdown").1, json!([{"result": "Shut down"}]));
    // Messages that are not answers are on stderr.
    let ran = run(rsupctl().args(["--json", "-s", "unix:///none", "status"]));
    assert_eq!(ran, Ran { code: 4, out: String::new(), err: "unix:///none no such file\n".into() });
}

/// Programs that cannot be started for each kind of reason, with the expected message.
const FAILING: &str = "[program:log]\ncommand=/bin/sleep 1000\nautostart=false\nstartretries=0\nstdout_logfile={dir}/no.dir/x\n\
    [program:brief]\ncommand=/bin/false\nautostart=false\nstartretries=0\n\
    [group:g]\nprograms=one,two\n[program:one]\ncommand=/bin/false\nautostart=false\nstartretries=0\n\
    [program:two]\ncommand=/bin/sleep 1000\nautostart=false\n";

#[test]
fn a_spawn_error_is_followed_by_its_reason() {
    let mut sandbox = Sandbox::new(Subject::Rsup, &FAILING.replace("no.dir", "gone"));
    std::fs::create_dir(sandbox.dir.join("gone")).unwrap();
    sandbox.start();
    std::fs::remove_dir(sandbox.dir.join("gone")).unwrap();
    let result = |line: &str| {
        let ran = sandbox.ctl(&line.split(' ').collect::<Vec<_>>());
        (ran.code, ran.out)
    };
    let brief = |name: &str| {
        format!("{name}: ERROR (spawn error)\n{name}: Exited too quickly (process log may have details)\n")
    };
    assert_eq!(result("start brief"), (7, brief("brief")));
    assert_eq!(result("restart brief"), (7, format!("brief: ERROR (not running)\n{}", brief("brief"))));
    let (code, output) = result("start g:*");
    assert!(code == 7 && output.contains(&brief("g:one")) && output.contains("g:two: started\n"), "{output}");
    let (code, output) = result("start log");
    let reason = output.strip_prefix("log: ERROR (spawn error)\nlog: ").unwrap_or_else(|| panic!("{output}"));
    assert!(code == 7 && reason.contains("ENOENT") && reason.lines().count() == 1, "{output}");
    let (code, output) = result("start all");
    assert!(code == 7 && output.contains(&format!("log: {reason}")) && output.contains(&brief("brief")), "{output}");
    let ran = sandbox.ctl(&["start", "brief", "--json"]);
    let read: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        read,
        json!([{"name": "brief", "error": "spawn error", "reason": "Exited too quickly (process log may have details)"}])
    );
    // A start without waiting.
    sandbox.rpc("supervisor.removeProcessGroup", json!(["log"])).unwrap();
    let conf = sandbox
        .read("supervisord.conf")
        .replace("[program:log]\ncommand=/bin/sleep 1000\nautostart=false", "[program:log]\ncommand=/bin/sleep 1000");
    std::fs::create_dir(sandbox.dir.join("gone")).unwrap();
    sandbox.write("supervisord.conf", &conf);
    sandbox.rpc("supervisor.reloadConfig", json!([])).unwrap();
    std::fs::remove_dir(sandbox.dir.join("gone")).unwrap();
    assert_eq!(result("add log"), (0, format!("log: added process group\nlog: ERROR (spawn error)\nlog: {reason}")));
}

#[test]
fn a_similar_command_or_name_is_suggested() {
    let mut sandbox = Sandbox::new(Subject::Rsup, PROGRAMS);
    sandbox.start();
    sandbox.until("g:one", "RUNNING");
    let url = sandbox.fill("unix://{dir}/sock");
    let a_group = "g is a group: write g:* for all of its processes, or one of them, such as g:one";
    for (line, code, wanted) in [
        ("sttaus", 1, "unknown command 'sttaus'; did you mean status?".to_owned()),
        ("restrat up", 1, "unknown command 'restrat'; did you mean restart?".into()),
        ("bogus", 1, "unknown command 'bogus'; type help for a list of commands".into()),
        ("help stat", 0, "*** No help on stat\ndid you mean status?".into()),
        ("status g", 4, format!("g: ERROR (no such process)\n{a_group}")),
        ("status dwon", 4, "dwon: ERROR (no such process)\ndid you mean down?".into()),
        ("status nobody", 4, "nobody: ERROR (no such process)".into()),
        ("start g", 1, format!("g: ERROR (no such process)\n{a_group}")),
        ("stop g:oen", 1, "g:oen: ERROR (no such process)\ndid you mean g:one?".into()),
        ("stop gg:*", 1, "gg: ERROR (no such group)\ndid you mean g:*?".into()),
        ("signal HUP g", 1, format!("g: ERROR (no such process)\n{a_group}")),
        ("clear g", 1, format!("g: ERROR (no such process)\n{a_group}")),
        ("pid g", 1, format!("No such process g\n{a_group}")),
        ("tail upp", 1, "upp: ERROR (no such process name)\ndid you mean up?".into()),
        ("fg upp", 1, "ERROR: bad process name supplied\ndid you mean up?".into()),
        ("remove g:*", 1, "ERROR: no such process/group: g:*\nwrite the group alone: g".into()),
        ("add dwon", 1, "ERROR: no such process/group: dwon\ndid you mean down?".into()),
        ("update dwon", 1, "ERROR: no such group: dwon\ndid you mean down?".into()),
    ] {
        let ran = run(rsupctl().args(["-s", &url, line]));
        assert_eq!((ran.code, ran.out, ran.err), (code, format!("{wanted}\n"), String::new()), "{line}");
        // Under the name supervisorctl the texts are Supervisor's. The exit codes are always the same.
        let as_there = run(called_supervisorctl().args(["-s", &url, line]));
        let first = if code == 1 && wanted.starts_with("unknown") {
            "*** Unknown syntax: "
        } else {
            wanted.lines().next().unwrap()
        };
        assert!(as_there.code == code && as_there.out.starts_with(first), "{as_there:?}");
        assert_eq!(as_there.out.lines().count(), 1, "{as_there:?}");
    }
    let ran = run(rsupctl().args(["-s", &url, "--json", "stop", "g"]));
    assert_eq!((ran.code, ran.err.as_str()), (1, ""));
}

#[test]
fn an_unknown_subcommand_suggests_a_similar_one() {
    let rsup = env!("CARGO_BIN_EXE_rsup");
    let ran = |words: &[&str]| run(without_configuration(Command::new(rsup)).args(words));
    for (word, wanted) in [
        ("chekc", "did you mean check?".to_owned()),
        ("status", format!("did you mean {rsup} ctl status?")),
        ("x.conf", format!("to run the programs of a configuration, write {rsup} -c x.conf")),
        ("foo", format!("to run one program, write {rsup} -- foo")),
    ] {
        let ran = ran(&[word, "more"]);
        let wanted = format!("Error: unknown command '{word}'; {wanted}\nFor help, use {rsup} -h\n");
        assert_eq!((ran.code, ran.out.as_str(), ran.err), (2, "", wanted));
    }
    let (help, option) = (ran(&["help"]), ran(&["-h"]));
    assert!(help.code == 0 && help.out.starts_with("usage: ") && help == option, "{help:?}");
}

#[test]
fn json_may_follow_the_command() {
    let info = |name: &str| Value::Struct(vec![("name".into(), name.into()), ("group".into(), name.into())]);
    let infos = Value::Array(vec![info("é\"\n"), info("b")]);
    let fake = Fake::start(move |method, _| match method {
        "supervisor.getVersion" => Answer::Value("3.0".into()),
        _ => Answer::Value(infos.clone()),
    });
    for args in [&["--json", "status"][..], &["status", "--json"], &["status --json all"]] {
        let ran = run(rsupctl().args(["-s", &fake.url()]).args(args));
        let read: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!((&read[0]["name"], &read[1]["name"]), (&"é\"\n".into(), &"b".into()));
    }
    let ran = run(rsupctl().args(["-s", &fake.url(), "--json", "status", "b", "nobody"]));
    let read: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((read.as_array().unwrap().len(), &*ran.err), (1, "nobody: ERROR (no such process)\n"));
}

#[test]
fn one_connection_serves_all_calls() {
    let fake = Fake::start(|method, _| match method {
        "supervisor.getVersion" => Answer::Value("3.0".into()),
        _ => Answer::Value(Value::Array(vec![])),
    });
    let ran = run(rsupctl().args(["-s", &fake.url(), "start", "a:*", "b:*", "c:*"]));
    assert_eq!((ran.code, fake.methods().len(), fake.connections()), (0, 4, 1));
}

#[test]
fn a_name_cannot_control_the_terminal() {
    let infos = Value::Array(vec![Value::Struct(vec![
        ("name".into(), "a\u{9b}2Jb".into()),
        ("group".into(), "g".into()),
        ("state".into(), 20.into()),
        ("statename".into(), "RUNNING".into()),
    ])]);
    let fake = Fake::start(move |method, _| match method {
        "supervisor.getVersion" => Answer::Value("3.0".into()),
        _ => Answer::Value(infos.clone()),
    });
    let url = fake.url();
    let piped = run(rsupctl().args(["-s", &url, "status"]));
    assert!(piped.out.contains('\u{9b}'), "a pipe gets the name as it is: {piped:?}");
    let pty = nix::pty::openpty(None, None).unwrap();
    let mut child = rsupctl().args(["-s", &url, "status"]).stdout(pty.slave).spawn().unwrap();
    assert!(child.wait().unwrap().success());
    let mut seen = vec![0; 4096];
    let length = nix::unistd::read(&pty.master, &mut seen).unwrap();
    let seen = String::from_utf8_lossy(&seen[..length]).into_owned();
    assert!(seen.starts_with("g:a?2Jb "), "{seen:?}");
}

#[test]
fn a_closed_pipe_is_not_an_error_and_a_full_disk_is() {
    let fake = Fake::start(|_, _| Answer::Value("3.0".into()));
    let ran_with = |stdout: Stdio| {
        let child = rsupctl().args(["-s", &fake.url(), "version"]).stdout(stdout).stderr(Stdio::piped()).spawn();
        let output = child.unwrap().wait_with_output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(ran_with(writer.into()), (Some(0), String::new()));
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let (code, message) = ran_with(full.into());
    assert_eq!(code, Some(1));
    assert!(
        message.ends_with("rsup ctl: cannot write to stdout: ENOSPC\n") && message.lines().count() == 1,
        "{message}"
    );
}

#[test]
fn the_shell_exits_with_1_if_its_output_cannot_be_written() {
    let sandbox = Sandbox::new(Subject::Rsup, "");
    for name in ["rsupctl", "supervisorctl"] {
        let mut command = sandbox.command_of("sh".as_ref());
        command.args(["-c", "echo version | bin/$0 -c supervisord.conf >/dev/full", name]);
        let ran = run(&mut command);
        assert_eq!((ran.code, &*ran.err), (1, &*format!("bin/{name}: cannot write to stdout: ENOSPC\n")));
    }
}

/// Like a server without a password: refuses a GET by another name than an IP address. Returns the Host fields of GETs.
fn serve_by_ip_address_only(listener: &std::net::TcpListener, gets: usize) -> Vec<String> {
    let mut hosts = Vec::new();
    while hosts.len() < gets {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = Vec::new();
        let request = loop {
            match parse_request(&buffer).unwrap() {
                ParsedRequest::Complete { request, .. } => break request,
                ParsedRequest::Partial { .. } => {
                    let mut piece = [0; 4096];
                    let length = stream.read(&mut piece).unwrap();
                    buffer.extend_from_slice(&piece[..length]);
                }
            }
        };
        let host = request.headers.first("host").unwrap().trim().to_owned();
        let is_ip_address = host.parse::<std::net::SocketAddr>().is_ok();
        let response = match request.method.as_str() {
            "POST" => {
                let mut body = String::from(RESPONSE_OPEN);
                write_value(&"3.0".into(), &mut body);
                Response::xml(body + RESPONSE_CLOSE)
            }
            _ if is_ip_address => Response::text(200, "a line"),
            _ => Response::text(403, "refused"),
        };
        if request.method == "GET" {
            hosts.push(host);
        }
        let mut out = Vec::new();
        response.write_head(AnswerFraming::LAST, "now", &mut out);
        out.extend(response.body.iter().flatten());
        stream.write_all(&out).unwrap();
    }
    hosts
}

#[test]
fn a_log_is_followed_by_ip_address_if_the_server_does_not_know_the_name() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || serve_by_ip_address_only(&listener, 2));
    let ran = run(rsupctl().args(["-s", &format!("http://localhost:{port}"), "tail", "-f", "a"]));
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "==> Press Ctrl-C to exit <==\na line\n", ""));
    assert_eq!(server.join().unwrap(), [format!("localhost:{port}"), format!("127.0.0.1:{port}")]);
}
